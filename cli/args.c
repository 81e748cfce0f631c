/* SPDX-License-Identifier: MIT */
/* Options and words of one command. See args.h. */
#include "cli/args.h"

#include "cli/suggest.h"

#include <stdlib.h>
#include <string.h>

static const struct option common_options[] = {
	{ARG_SOCKET, 's', "socket", "SOCKET", NULL},
	{ARG_OUTPUT, 'o', "output", "json|table", NULL},
	{ARG_HELP, 'h', "help", NULL, NULL},
	{0},
};

static const struct option *by_name(const struct option *list, const char *name, size_t len)
{
	for (; list && list->name; list++)
		if (strlen(list->name) == len && !memcmp(list->name, name, len))
			return list;
	return NULL;
}

static const struct option *by_letter(const struct option *list, char letter)
{
	for (; list && list->name; list++)
		if (list->letter && list->letter == letter)
			return list;
	return NULL;
}

static int take_output(struct cli *cli, const char *value)
{
	if (value && !strcmp(value, "json"))
		cli->output = OUTPUT_JSON;
	else if (value && !strcmp(value, "table"))
		cli->output = OUTPUT_TABLE;
	else
		return cli_usage_error(
			cli, "-o %s: the outputs are json and table", value ? value : "");
	return 0;
}

static int unknown_option(struct cli *cli, const struct command *command, const char *word)
{
	struct suggestion best;

	suggest_init(&best, word + strspn(word, "-"));
	for (const struct option *o = command->options; o && o->name; o++)
		suggest_offer(&best, o->name);
	suggest_offer(&best, "help");
	if (best.word)
		return cli_usage_error(
			cli, "no option %s; is it --%s that is meant?", word, best.word);
	return cli_usage_error(cli, "no option %s", word);
}

static int took(struct cli *cli, struct args *out, const struct option *option, const char *value,
	bool *help)
{
	switch (option->id) {
	case ARG_SOCKET:
		cli->socket = value;
		cli->socket_told = true;
		return 0;
	case ARG_OUTPUT:
		return take_output(cli, value);
	case ARG_HELP:
		*help = true;
		return 0;
	default:
		out->given[out->n_given++] = (struct given){option->id, value};
		return 0;
	}
}

/* One "--name", "--name=value", "-x" or "-xvalue". Returns words used beyond it, or -1. */
static int take_option(struct cli *cli, const struct command *command, char *word, char *next,
	struct args *out, bool *help)
{
	const struct option *option;
	const char *value = NULL;
	bool is_long = word[1] == '-';

	if (is_long) {
		size_t len = strcspn(word + 2, "=");

		option = by_name(command->options, word + 2, len);
		if (!option)
			option = by_name(common_options, word + 2, len);
		if (word[2 + len] == '=')
			value = word + 3 + len;
	} else {
		option = by_letter(command->options, word[1]);
		if (!option)
			option = by_letter(common_options, word[1]);
		if (word[2])
			value = word + 2;
	}
	if (!option || (value && !option->metavar)) {
		if (!option)
			unknown_option(cli, command, word);
		else
			cli_usage_error(cli, "%s: the option takes no value", word);
		return -1;
	}
	if (option->metavar && !value && !next) {
		cli_usage_error(cli, "%s: %s is missing", word, option->metavar);
		return -1;
	}
	if (option->metavar && !value)
		return took(cli, out, option, next, help) ? -1 : 1;
	return took(cli, out, option, value, help) ? -1 : 0;
}

/* The nth needed word of a usage line, for messages. */
static int missing_word(struct cli *cli, const struct command *command, size_t n)
{
	const char *p = command->usage, *words = strstr(p, "--] ");

	if (words)
		p = words + 4;
	while (n--) {
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	return cli_usage_error(cli, "%.*s is missing", (int)strcspn(p, " ."), p);
}

int args_parse(struct cli *cli, const struct command *command, int argc, char **argv,
	struct args *out, bool *help)
{
	bool ended = false;

	*help = false;
	*out = (struct args){0};
	out->given = calloc((size_t)argc + 1, sizeof(*out->given));
	out->words = calloc((size_t)argc + 1, sizeof(*out->words));
	if (!out->given || !out->words)
		abort();
	for (int i = 0; i < argc; i++) {
		char *word = argv[i];
		int used;

		if (ended || word[0] != '-' || !word[1]) {
			out->words[out->n_words++] = word;
			ended = ended || command->in_order;
			continue;
		}
		if (!strcmp(word, "--")) {
			ended = true;
			continue;
		}
		used = take_option(cli, command, word, argv[i + 1], out, help);
		if (used < 0)
			return STATUS_USAGE;
		i += used;
	}
	if (*help)
		return 0;
	if (out->n_words < command->min_words)
		return missing_word(cli, command, out->n_words);
	if (out->n_words > command->max_words)
		return cli_usage_error(
			cli, "\"%s\" is one word too many", out->words[command->max_words]);
	return 0;
}

void args_free(struct args *args)
{
	free(args->given);
	free(args->words);
}

const char *args_value(const struct args *args, char id)
{
	const char *value = NULL;

	for (size_t i = 0; i < args->n_given; i++)
		if (args->given[i].id == id)
			value = args->given[i].value;
	return value;
}

bool args_has(const struct args *args, char id)
{
	for (size_t i = 0; i < args->n_given; i++)
		if (args->given[i].id == id)
			return true;
	return false;
}
