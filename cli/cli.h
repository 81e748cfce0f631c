/* SPDX-License-Identifier: MIT */
/*
 * netctl's frame: what every command gets, and what a command is.
 *
 * main.c holds the table of nouns; each noun is one file that exports one `const struct noun`.
 * A command gets its arguments already taken apart (struct args) and returns an exit status. It
 * prints its result on stdout and one line on stderr for what went wrong.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#ifndef NETCTL_VERSION
#define NETCTL_VERSION "0.0.0"
#endif

enum exit_status {
	STATUS_OK = 0,
	STATUS_FAILURE = 1,
	STATUS_USAGE = 2,
	STATUS_NOT_FOUND = 3,   /* the daemon's 404 */
	STATUS_REFUSED = 4,     /* the daemon's 403 and 409 */
	STATUS_UNREACHABLE = 5, /* no daemon answers */
	STATUS_DIFFERENT = 6,   /* apply --dry-run: something would change */
};

enum output { OUTPUT_TABLE, OUTPUT_JSON };

struct noun;
struct command;
struct http;

struct cli {
	const struct noun *const *nouns; /* NULL-terminated */
	const struct noun *noun;         /* being run, for messages */
	const struct command *command;
	enum output output;
	bool quiet;         /* say nothing of errors: it will be tried again */
	bool colour;        /* stdout is a terminal that wants it */
	const char *socket; /* -s, else $NETCTL_SOCKET, else NULL */
	bool socket_told;   /* it was -s */
	char api_path[256]; /* the socket in use; "" until found (socket.h) */
	struct http *http;  /* opened at first use (http.h) */
	/* A file that a request was made from, for complaints about its fields; text is malloc'd. */
	const char *file; /* its name, or NULL */
	char *file_text;
	const char *file_field; /* what leads to it in the request: "policy." or "" */
};

/* An option "--name METAVAR"; without a metavar it is a flag. */
struct option {
	char id;
	char letter; /* its short form, or 0 */
	const char *name;
	const char *metavar;
	const char *help;
};

struct given {
	char id;
	const char *value; /* NULL for a flag */
};

/* A command line taken apart: options in the order given, then what is left. */
struct args {
	struct given *given;
	size_t n_given;
	char **words;
	size_t n_words;
};

struct command {
	const char *name;  /* the verb; NULL where the noun has no verbs */
	const char *usage; /* "VM SPEC [--snat]": needed words come first */
	const char *summary;
	const char *example;
	const struct option *options; /* ends with a NULL name; may be NULL */
	size_t min_words, max_words;
	bool in_order; /* options end at the first word, as for env(1) */
	int failure;   /* exit status of a bad command line, 0 for STATUS_USAGE */
	int (*run)(struct cli *cli, const struct args *args);
	const char *notes; /* more to say in the help, or NULL */
};

struct noun {
	const char *name;
	const char *summary;
	const struct command
		*commands; /* ends with a NULL run; one with a NULL name stands alone */
};

/* Takes argv apart, finds the command and runs it. Returns the exit status. */
int cli_main(const struct noun *const *nouns, int argc, char **argv);

/* "netctl: vm create: <text>", as is fit for a terminal. Each returns the given status. */
int cli_error(const struct cli *cli, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "netctl: <text>": what the daemon says names its object by itself. */
int cli_problem(const struct cli *cli, int status, const char *text, const char *field);
/* As cli_error with STATUS_USAGE and a pointer to the help. */
int cli_usage_error(const struct cli *cli, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Copies text without control characters: names come from guests and other people. */
char *cli_clean(const char *text, char *buf, size_t len);

#endif
