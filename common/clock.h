/* SPDX-License-Identifier: MIT */
/* Time: a monotonic clock for deadlines, the wall clock for people. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_ms(void); /* milliseconds, monotonic, from an arbitrary start */
uint64_t clock_us(void);
uint64_t clock_ns(void);
uint64_t clock_wall_us(void); /* microseconds since 1970-01-01 UTC */
int64_t clock_wall_ms(void);  /* milliseconds since 1970-01-01 UTC */

/* "2026-10-01T12:00:00.123Z"; buf of at least 25 bytes. Returns buf. */
#define CLOCK_RFC3339_LEN 25
char *clock_rfc3339(int64_t wall_ms, char *buf, size_t len);

#endif
