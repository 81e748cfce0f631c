/* SPDX-License-Identifier: MIT */
/* What `vm create`, `vm set` and `run` say of a VM's limits. */
#ifndef CLI_LIMIT_OPTION_H
#define CLI_LIMIT_OPTION_H

#include "cli/cli.h"

#include <json-c/json.h>

/* Option ids shared by these commands. */
enum {
	OPT_RATE_IN = 'I',
	OPT_RATE_OUT = 'O',
	OPT_MAX_FLOWS = 'F',
	OPT_NEW_FLOWS = 'N',
};

#define OPTIONS_LIMIT                                                                              \
	{OPT_RATE_IN, 0, "rate-in", "RATE", "at most so much to the guest: 100mbit, or none"},     \
		{OPT_RATE_OUT, 0, "rate-out", "RATE", "at most so much from the guest"},           \
		{OPT_MAX_FLOWS, 0, "max-flows", "N", "at most so many flows at a time, or none"},  \
	{                                                                                          \
		OPT_NEW_FLOWS, 0, "new-flows", "N", "at most so many new flows a second, or none"  \
	}

/* Puts one of these options into a VM's document; "none" is null. An option of another id is left
 * alone. Returns 0 or STATUS_USAGE with the message printed. */
int limit_option_take(const struct cli *cli, struct json_object *body, const struct given *given);
/* The limits of a VM's document as text, "none" where there are none. Returns buf. */
char *limits_text(struct json_object *vm, char *buf, size_t len);

#endif
