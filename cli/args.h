/* SPDX-License-Identifier: MIT */
/* Options and words of one command. The values point into argv; args_free() frees the lists. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "cli/cli.h"

/* What may stand anywhere on a command line. */
enum { ARG_SOCKET = 1, ARG_OUTPUT, ARG_HELP };

/* Takes argv (without program and command names) apart by the command's options. -s, -o and
 * --help are understood as well: the first two are put into cli, the last sets *help.
 * Returns 0, or STATUS_USAGE with the message printed. */
int args_parse(struct cli *cli, const struct command *command, int argc, char **argv,
	struct args *out, bool *help);
void args_free(struct args *args);

/* The last value given for the option, or NULL; whether it was given at all. */
const char *args_value(const struct args *args, char id);
bool args_has(const struct args *args, char id);

#endif
