/* SPDX-License-Identifier: MIT */
/*
 * What a guest's bytes are taken apart into, to see which servers they name: units, each of which
 * goes to the host whole or not at all. Two parsers make them, sni.h and http_host.h; verify.h
 * asks the policy about their names. A parser sees the unit's bytes from its first one on, more of
 * them each time until it is whole, and finds it as soon as it is. It keeps no bytes.
 */
#ifndef DATAPLANE_EGRESS_UNIT_H
#define DATAPLANE_EGRESS_UNIT_H

#include "common/policy_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unit {
	size_t len;                 /* bytes */
	uint64_t skip;              /* behind it so many bytes are no matter of names */
	bool names;                 /* a server should be named by it */
	bool last;                  /* nothing behind it is a matter of names */
	char name[POLICY_NAME_LEN]; /* as policy_name_parse() leaves it; "": none */
};

/* The name in these bytes, or "" where they are none (an address, say). */
void unit_name(const char *text, size_t len, char name[POLICY_NAME_LEN]);

#endif
