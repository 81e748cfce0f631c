/* SPDX-License-Identifier: MIT */
/* The names of the levels. What they mean is in sandbox.h, how they are reached in linux.c, darwin.c. */
#include "dataplane/sandbox/sandbox.h"

#include <errno.h>
#include <string.h>

static const char *const names[] = {
	[SANDBOX_NAMESPACE] = "namespace",
	[SANDBOX_LANDLOCK] = "landlock",
	[SANDBOX_WEAK] = "weak",
};

const char *sandbox_level_name(enum sandbox_level level)
{
	return names[level];
}

int sandbox_level_parse(const char *name, enum sandbox_level *out)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*out = (enum sandbox_level)i;
			return 0;
		}
	}
	return -EINVAL;
}
