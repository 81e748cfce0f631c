/* SPDX-License-Identifier: MIT */
/* Names in what a guest says. See unit.h. */
#include "dataplane/egress/unit.h"

#include <string.h>

void unit_name(const char *text, size_t len, char name[POLICY_NAME_LEN])
{
	char copy[POLICY_NAME_LEN + 1]; /* a trailing dot more than a name has */

	name[0] = '\0';
	/* A NUL inside would hide what is behind it; `*` is for rules. */
	if (len >= sizeof(copy) || memchr(text, '\0', len) || memchr(text, '*', len))
		return;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (policy_name_parse(copy, name) < 0)
		name[0] = '\0';
}
