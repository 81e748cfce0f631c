/* SPDX-License-Identifier: MIT */
/* What a program that we start finds in its environment. See environment.h. */
#include "common/environment.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define KEPT_MAX 16

extern char **environ;

static bool is_kept(const char *variable)
{
	static const char *const names[] = {"PATH", "JOURNAL_STREAM", "ASAN_OPTIONS",
		"LSAN_OPTIONS", "MSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		size_t len = strlen(names[i]);

		if (strncmp(variable, names[i], len) == 0 && variable[len] == '=')
			return true;
	}
	return false;
}

char *const *environment_for_workers(void)
{
	static char *kept[KEPT_MAX + 1];
	size_t n = 0;

	for (char **p = environ; p && *p && n < KEPT_MAX; p++) {
		if (is_kept(*p))
			kept[n++] = *p;
	}
	kept[n] = NULL;
	return kept;
}
