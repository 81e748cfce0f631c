/* SPDX-License-Identifier: MIT */
/* Spans of time as people write them: "90s", "10m", "1h30m", "2d". */
#ifndef CLI_DURATION_H
#define CLI_DURATION_H

#include <stddef.h>
#include <stdint.h>

#define DURATION_MAX (3650ULL * 86400) /* seconds: ten years */
#define DURATION_STRLEN 32

/* Parts with a unit of d, h, m or s, each at most once and the largest first; a bare number is
 * seconds. Returns 0 with whole seconds, -EINVAL, or -ERANGE beyond DURATION_MAX. */
int duration_parse(const char *text, uint64_t *seconds);

/* The two largest parts: "1h30m", "2d". Writes into buf of DURATION_STRLEN and returns it. */
char *duration_format(uint64_t seconds, char *buf, size_t len);

#endif
