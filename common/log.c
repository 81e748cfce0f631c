/* SPDX-License-Identifier: MIT */
/* Log lines. See log.h. */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum log_level threshold = LOG_LEVEL_INFO;
static bool journal;

static const char *const names[] = {"error", "warn", "info", "debug", "trace"};
static const char *const prefixes[] = {"<3>", "<4>", "<6>", "<7>", "<7>"};

void log_init(enum log_level level)
{
	threshold = level;
	journal = getenv("JOURNAL_STREAM") != NULL;
}

int log_level_parse(const char *text, enum log_level *out)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

enum log_level log_level_now(void)
{
	return threshold;
}

void log_write(enum log_level level, const char *object, const char *event, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	size_t used;
	int n;

	if (level > threshold)
		return;
	n = snprintf(line, sizeof(line) - 1, "%s%s %s %s%s", journal ? prefixes[level] : "",
		names[level], object, event, *fmt ? " " : "");
	used = n < 0 ? 0 : (size_t)n < sizeof(line) - 1 ? (size_t)n : sizeof(line) - 2;
	va_start(ap, fmt);
	n = vsnprintf(line + used, sizeof(line) - 1 - used, fmt, ap);
	va_end(ap);
	if (n > 0)
		used += (size_t)n < sizeof(line) - 1 - used ? (size_t)n : sizeof(line) - 2 - used;
	/* A guest's or a peer's text must not forge lines of its own. */
	for (size_t i = 0; i < used; i++) {
		if ((unsigned char)line[i] < 0x20)
			line[i] = '?';
	}
	line[used++] = '\n';
	if (write(STDERR_FILENO, line, used) < 0)
		return; /* nowhere left to complain */
}
