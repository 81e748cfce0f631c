/* SPDX-License-Identifier: MIT */
/* Spans of time as text. See duration.h. */
#include "cli/duration.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	char letter;
	uint32_t seconds;
} units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};

#define N_UNITS (sizeof(units) / sizeof(*units))

int duration_parse(const char *text, uint64_t *seconds)
{
	uint64_t sum = 0;
	size_t unit = 0; /* the largest that may still come */

	if (!*text)
		return -EINVAL;
	while (*text) {
		const char *start = text;
		uint64_t n = 0;

		for (; *text >= '0' && *text <= '9'; text++) {
			n = n * 10 + (uint64_t)(*text - '0');
			if (n > DURATION_MAX)
				return -ERANGE;
		}
		if (text == start)
			return -EINVAL;
		if (!*text && !unit) {
			sum = n;
			break;
		}
		while (unit < N_UNITS && units[unit].letter != *text)
			unit++;
		if (unit == N_UNITS || !*text)
			return -EINVAL;
		sum += n * units[unit++].seconds;
		text++;
		if (sum > DURATION_MAX)
			return -ERANGE;
	}
	*seconds = sum;
	return 0;
}

char *duration_format(uint64_t seconds, char *buf, size_t len)
{
	for (size_t i = 0; i < N_UNITS; i++) {
		uint64_t n = seconds / units[i].seconds, rest;

		if (!n && units[i].letter != 's')
			continue;
		if (units[i].letter == 's') {
			snprintf(buf, len, "%llus", (unsigned long long)n);
			return buf;
		}
		rest = (seconds % units[i].seconds) / units[i + 1].seconds;
		if (rest)
			snprintf(buf, len, "%llu%c%llu%c", (unsigned long long)n, units[i].letter,
				(unsigned long long)rest, units[i + 1].letter);
		else
			snprintf(buf, len, "%llu%c", (unsigned long long)n, units[i].letter);
		return buf;
	}
	return buf;
}
