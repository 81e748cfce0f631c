/* SPDX-License-Identifier: MIT */
/*
 * Token buckets: a rate that is kept on the average, with a burst of bounded size.
 *
 *	struct token_clock   what a rate earns as time passes, to the last thousandth of a token
 *	struct token_bucket  what of it is saved: at most its depth. Below zero it is in debt
 *
 * Arithmetic only: whoever has them says what a token is, and what happens where there is none.
 */
#ifndef DATAPLANE_TOKEN_BUCKET_H
#define DATAPLANE_TOKEN_BUCKET_H

#include <stdint.h>

#define TOKEN_RATE_MAX 1000000000000u /* tokens a second: with it nothing below can overflow */

struct token_clock {
	uint64_t rate; /* tokens a second, at most TOKEN_RATE_MAX */
	uint64_t rest; /* thousandths of a token, below 1000 */
	uint64_t at;   /* ms: earned until then */
};

struct token_bucket {
	int64_t level, depth; /* level ≤ depth */
};

/* Goes on at this rate; what was earned before must have been taken. */
void token_clock_set(struct token_clock *clock, uint64_t rate, uint64_t now_ms);
/* Whole tokens since the last call. */
uint64_t token_clock_earned(struct token_clock *clock, uint64_t now_ms);
/* Ms until so many are earned, rounded up; UINT64_MAX where the rate is 0. */
uint64_t token_clock_wait(const struct token_clock *clock, uint64_t tokens);

/* A bucket of this depth from now on: full where it is new (depth 0), else what it has of that, and
 * no deeper in debt. */
void token_bucket_set(struct token_bucket *bucket, int64_t depth);
/* Puts tokens in. Returns those that it has no room for. */
uint64_t token_bucket_fill(struct token_bucket *bucket, uint64_t tokens);

#endif
