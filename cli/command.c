/* SPDX-License-Identifier: MIT */
/* From argv to a command, and the help for each. See cli.h. */
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/http.h"
#include "cli/json_line.h"
#include "cli/suggest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *cli_clean(const char *text, char *buf, size_t len)
{
	size_t n = 0;

	/* C1 controls are two bytes in UTF-8: 0xc2 0x80…0x9f. */
	for (; *text && n + 1 < len; text++) {
		unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];
		bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0;

		buf[n++] = c < 0x20 || c == 0x7f || c1 ? '?' : *text;
		if (c1)
			text++;
	}
	buf[n] = '\0';
	return buf;
}

static void say(const struct cli *cli, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void say(const struct cli *cli, const char *fmt, va_list ap)
{
	char text[1024], clean[1024];

	if (cli->quiet)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	fprintf(stderr, "netctl: ");
	if (cli->noun && cli->command)
		fprintf(stderr, "%s%s%s: ", cli->noun->name, cli->command->name ? " " : "",
			cli->command->name ? cli->command->name : "");
	fprintf(stderr, "%s\n", cli_clean(text, clean, sizeof(clean)));
}

int cli_error(const struct cli *cli, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(cli, fmt, ap);
	va_end(ap);
	return status;
}

/* Where the field stands in the file that the request was made from. */
static void say_line(const struct cli *cli, const char *field)
{
	size_t outer = cli->file ? strlen(cli->file_field) : 0;
	char clean[256];
	unsigned line;

	if (!cli->file || strncmp(field, cli->file_field, outer) != 0)
		return;
	line = json_line(cli->file_text, field + outer);
	if (line)
		fprintf(stderr, ", %s line %u", cli_clean(cli->file, clean, sizeof(clean)), line);
}

int cli_problem(const struct cli *cli, int status, const char *text, const char *field)
{
	char clean[1024], where[128];

	if (cli->quiet)
		return status;
	fprintf(stderr, "netctl: %s", cli_clean(text, clean, sizeof(clean)));
	if (*field && !strstr(text, field))
		fprintf(stderr, " (%s)", cli_clean(field, where, sizeof(where)));
	say_line(cli, field);
	fprintf(stderr, "\n");
	return status;
}

int cli_usage_error(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(cli, fmt, ap);
	va_end(ap);
	fprintf(stderr, "Try: netctl");
	if (cli->noun)
		fprintf(stderr, " %s", cli->noun->name);
	if (cli->command && cli->command->name)
		fprintf(stderr, " %s", cli->command->name);
	fprintf(stderr, " --help\n");
	return STATUS_USAGE;
}

static int help_all(const struct cli *cli)
{
	printf("Usage: netctl [-s SOCKET] [-o json|table] COMMAND ...\n\n"
	       "User-mode networking for microVMs and sandboxes.\n\n");
	for (const struct noun *const *n = cli->nouns; *n; n++)
		printf("  %-9s %s\n", (*n)->name, (*n)->summary);
	printf("\n  -s SOCKET       the daemon's api.sock (else $NETCTL_SOCKET, else the first that\n"
	       "                  answers of /run/netctl/ and $XDG_RUNTIME_DIR/netctl/)\n"
	       "  -o json|table   what to print; table is the default\n"
	       "  --version       print the version and exit\n\n"
	       "netctl COMMAND --help says more. Example:\n\n"
	       "  netctl run -- curl https://example.com/\n");
	return 0;
}

static int help_noun(const struct noun *noun)
{
	printf("Usage: netctl %s VERB ...\n\n%s.\n\n", noun->name, noun->summary);
	for (const struct command *c = noun->commands; c->run; c++)
		printf("  %-8s %s\n", c->name, c->summary);
	printf("\nnetctl %s VERB --help says more. Example:\n\n  %s\n", noun->name,
		noun->commands->example);
	return 0;
}

static int help_command(const struct noun *noun, const struct command *c)
{
	printf("Usage: netctl %s%s%s%s%s\n\n%s.\n", noun->name, c->name ? " " : "",
		c->name ? c->name : "", *c->usage ? " " : "", c->usage, c->summary);
	if (c->options && c->options->name)
		printf("\n");
	for (const struct option *o = c->options; o && o->name; o++) {
		char letter[5] = "    ", left[64];

		if (o->letter)
			snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		snprintf(left, sizeof(left), "%s--%s %s", letter, o->name,
			o->metavar ? o->metavar : "");
		printf("  %-26s %s\n", left, o->help);
	}
	if (c->notes)
		printf("\n%s", c->notes);
	printf("\nExample:\n\n  %s\n", c->example);
	return 0;
}

static bool wants_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help");
}

static int unknown_noun(struct cli *cli, const char *word)
{
	struct suggestion best;

	suggest_init(&best, word);
	for (const struct noun *const *n = cli->nouns; *n; n++)
		suggest_offer(&best, (*n)->name);
	if (best.word)
		return cli_usage_error(
			cli, "no command \"%s\"; is it \"%s\" that is meant?", word, best.word);
	return cli_usage_error(cli, "no command \"%s\"", word);
}

static int unknown_verb(struct cli *cli, const char *word)
{
	struct suggestion best;

	suggest_init(&best, word);
	for (const struct command *c = cli->noun->commands; c->run; c++)
		suggest_offer(&best, c->name);
	if (best.word)
		return cli_usage_error(cli, "no verb \"%s\" of %s; is it \"%s\" that is meant?",
			word, cli->noun->name, best.word);
	return cli_usage_error(cli, "no verb \"%s\" of %s", word, cli->noun->name);
}

static int run_command(struct cli *cli, const struct command *command, int argc, char **argv)
{
	struct args args;
	bool help;
	int status;

	cli->command = command;
	status = args_parse(cli, command, argc, argv, &args, &help);
	if (status && command->failure)
		status = command->failure;
	if (!status)
		status = help ? help_command(cli->noun, command) : command->run(cli, &args);
	args_free(&args);
	return status;
}

static int run_noun(struct cli *cli, int argc, char **argv)
{
	const struct command *c = cli->noun->commands;

	if (!c->name)
		return run_command(cli, c, argc, argv);
	if (!argc) {
		cli_usage_error(cli, "%s: a verb is missing", cli->noun->name);
		return STATUS_USAGE;
	}
	if (wants_help(argv[0]) && argc == 1)
		return help_noun(cli->noun);
	for (; c->run; c++)
		if (!strcmp(argv[0], c->name))
			return run_command(cli, c, argc - 1, argv + 1);
	return unknown_verb(cli, argv[0]);
}

/* Options before the noun. Returns how many words they took, or -1 with *status set. */
static int take_global(struct cli *cli, int argc, char **argv, int *status)
{
	static const struct command none = {.usage = "", .max_words = 0, .in_order = true};
	int n = 0;

	while (n < argc && argv[n][0] == '-') {
		struct args args;
		bool help;
		int words;

		if (!strcmp(argv[n], "--version") || !strcmp(argv[n], "-V")) {
			printf("netctl %s\n", NETCTL_VERSION);
			*status = 0;
			return -1;
		}
		/* "-s" and "-o" alone take the next word; "-sX" and "--x=X" do not. */
		words = argv[n][1] && (argv[n][1] == '-' ? !strchr(argv[n], '=') : !argv[n][2]);
		if (wants_help(argv[n]))
			words = 0;
		if (n + 1 + words > argc)
			words = 0;
		*status = args_parse(cli, &none, 1 + words, argv + n, &args, &help);
		args_free(&args);
		if (*status)
			return -1;
		if (help) {
			*status = help_all(cli);
			return -1;
		}
		n += 1 + words;
	}
	return n;
}

/* netctl help COMMAND [VERB] */
static int help_about(struct cli *cli, int argc, char **argv)
{
	const struct command *c;

	for (const struct noun *const *n = cli->nouns; *n; n++)
		if (!strcmp(argv[0], (*n)->name))
			cli->noun = *n;
	if (!cli->noun)
		return unknown_noun(cli, argv[0]);
	c = cli->noun->commands;
	if (!c->name)
		return help_command(cli->noun, c);
	if (argc == 1)
		return help_noun(cli->noun);
	for (; c->run; c++)
		if (!strcmp(argv[1], c->name))
			return help_command(cli->noun, c);
	return unknown_verb(cli, argv[1]);
}

int cli_main(const struct noun *const *nouns, int argc, char **argv)
{
	struct cli cli = {.nouns = nouns, .socket = getenv("NETCTL_SOCKET")};
	const char *term = getenv("TERM");
	int status = 0, used;

	cli.colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && term &&
		strcmp(term, "dumb") != 0;
	if (cli.socket && !*cli.socket)
		cli.socket = NULL;
	if (argc < 1)
		return STATUS_USAGE;
	used = take_global(&cli, argc - 1, argv + 1, &status);
	if (used < 0)
		return status;
	argc -= 1 + used;
	argv += 1 + used;
	if (!argc)
		return cli_usage_error(&cli, "a command is missing");
	if (wants_help(argv[0]))
		return argc > 1 ? help_about(&cli, argc - 1, argv + 1) : help_all(&cli);
	for (const struct noun *const *n = nouns; *n; n++)
		if (!strcmp(argv[0], (*n)->name))
			cli.noun = *n;
	if (!cli.noun)
		return unknown_noun(&cli, argv[0]);
	status = run_noun(&cli, argc - 1, argv + 1);
	http_close(&cli);
	free(cli.file_text);
	if (fflush(stdout) && !status)
		status = STATUS_FAILURE;
	return status;
}
