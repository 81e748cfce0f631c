/* SPDX-License-Identifier: MIT */
/*
 * netctl secret: values that go into the guest and are shown by nobody.
 *
 * A value is read from the standard input or a file, never from the command line, which every user of
 * the host can see. Our own memory of it is wiped, libcurl's buffers included, and never dumped.
 */
#include "cli/args.h"
#include "cli/file.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"
#include "common/os.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define SECRET_MAX ((size_t)64 << 10)

enum { OPT_FROM_FILE = 'f' };

static struct termios echoing; /* the terminal, as it was */

static void on_signal(int number)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &echoing);
	signal(number, SIG_DFL);
	raise(number);
}

static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
#define N_DEADLY (sizeof(deadly) / sizeof(*deadly))

/* One line, typed unseen. 0 or -errno. */
static int read_typed(const char *name, char **out, size_t *len)
{
	struct sigaction act = {.sa_handler = on_signal}, old[N_DEADLY];
	struct termios silent;
	int err;

	if (tcgetattr(STDIN_FILENO, &echoing) < 0)
		return -errno;
	sigemptyset(&act.sa_mask);
	for (size_t i = 0; i < N_DEADLY; i++)
		sigaction(deadly[i], &act, &old[i]);
	silent = echoing;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	fprintf(stderr, "%s, then Return and Control-D (it is not shown): ", name);
	err = file_read("-", SECRET_MAX, out, len);
	tcsetattr(STDIN_FILENO, TCSANOW, &echoing);
	for (size_t i = 0; i < N_DEADLY; i++)
		sigaction(deadly[i], &old[i], NULL);
	fprintf(stderr, "\n");
	if (!err && *len && (*out)[*len - 1] == '\n')
		--*len;
	return err;
}

static int secret_set(struct cli *cli, const struct args *args)
{
	const char *name = args->words[1], *file = args_value(args, OPT_FROM_FILE);
	char *value = NULL;
	size_t len = 0;
	int err, status;

	os_no_dump();
	http_wipe_buffers();
	if (!file && isatty(STDIN_FILENO))
		err = read_typed(name, &value, &len);
	else
		err = file_read(file ? file : "-", SECRET_MAX, &value, &len);
	if (err == -EFBIG)
		return cli_error(
			cli, STATUS_FAILURE, "secret %s: more than %zu bytes", name, SECRET_MAX);
	if (err < 0)
		return cli_error(cli, STATUS_FAILURE, "%s: %s",
			file && strcmp(file, "-") != 0 ? file : "stdin", strerror(-err));
	status = http_call_bytes(cli, "PUT",
		http_path("vms", args->words[0], "secrets", name, NULL), value, len, NULL);
	os_wipe(value, SECRET_MAX);
	free(value);
	return status;
}

static void add_row(struct table *table, const char *vm, struct json_object *secret)
{
	(void)vm;
	table_row(table, doc_text(secret, "name"));
}

static int secret_list(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {"NAME", NULL};
	const char *vm = args->words[0];

	return list_show(cli, http_path("vms", vm, "secrets", NULL), headings, add_row, vm);
}

static int secret_delete(struct cli *cli, const struct args *args)
{
	return http_call(cli, "DELETE",
		http_path("vms", args->words[0], "secrets", args->words[1], NULL), NULL, NULL);
}

static const struct option set_options[] = {
	{OPT_FROM_FILE, 0, "from-file", "FILE", "take the value from FILE, not from stdin"},
	{0},
};

static const struct command commands[] = {
	{
		.name = "set",
		.usage = "VM NAME [--from-file FILE]",
		.summary = "Give a VM a secret; its value is read from stdin or a file",
		.example = "printf %s \"$TOKEN\" | netctl secret set web API_TOKEN",
		.options = set_options,
		.min_words = 2,
		.max_words = 2,
		.run = secret_set,
		.notes =
			"The value is taken byte for byte, a last line feed too, and at most 64 KiB\n"
			"long. Typed at a terminal it is not shown, and its last line feed is left\n"
			"out. The guest sees it at its next read.\n",
	},
	{
		.name = "list",
		.usage = "VM",
		.summary = "List the names of a VM's secrets",
		.example = "netctl secret list web",
		.min_words = 1,
		.max_words = 1,
		.run = secret_list,
	},
	{
		.name = "delete",
		.usage = "VM NAME",
		.summary = "Take a secret away",
		.example = "netctl secret delete web API_TOKEN",
		.min_words = 2,
		.max_words = 2,
		.run = secret_delete,
	},
	{0},
};

const struct noun noun_secret = {
	"secret", "Values that only the guest gets: set, list, delete", commands};
