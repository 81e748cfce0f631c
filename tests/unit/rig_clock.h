/* SPDX-License-Identifier: MIT */
/* The tests' clock, linked instead of common/clock.c: it can be put ahead, and stopped. */
#ifndef TESTS_UNIT_RIG_CLOCK_H
#define TESTS_UNIT_RIG_CLOCK_H

#include "common/clock.h"

#include <stdint.h>
#include <stdio.h>
#include <time.h>

static uint64_t rig_ahead_ns;
static uint64_t rig_frozen_ns; /* where not 0, the time that it is */

uint64_t clock_ns(void)
{
	struct timespec ts;

	if (rig_frozen_ns)
		return rig_frozen_ns + rig_ahead_ns;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec + rig_ahead_ns;
}

/* From here on only what is added to rig_ahead_ns lets time pass: all but the 50 ns that each look
 * at the microseconds takes, so that a loop which polls for a moment comes to the moment's end. */
static inline void rig_freeze(void)
{
	uint64_t ahead = rig_ahead_ns;

	rig_ahead_ns = 0;
	rig_frozen_ns = clock_ns();
	rig_ahead_ns = ahead;
}

uint64_t clock_us(void)
{
	static uint64_t looks;

	return (clock_ns() + (rig_frozen_ns ? 50 * looks++ : 0)) / 1000;
}

uint64_t clock_ms(void)
{
	return clock_ns() / 1000000;
}

int64_t clock_wall_ms(void)
{
	return 1700000000000 + (int64_t)clock_ms();
}

uint64_t clock_wall_us(void)
{
	return (uint64_t)clock_wall_ms() * 1000;
}

char *clock_rfc3339(int64_t wall_ms, char *buf, size_t len)
{
	snprintf(buf, len, "%lld", (long long)wall_ms);
	return buf;
}

#endif
