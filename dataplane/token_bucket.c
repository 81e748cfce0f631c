/* SPDX-License-Identifier: MIT */
/* Token buckets. See token_bucket.h. */
#include "dataplane/token_bucket.h"

#define ELAPSED_MAX ((uint64_t)1 << 23) /* ms, two hours: times TOKEN_RATE_MAX below 2^63 */

void token_clock_set(struct token_clock *clock, uint64_t rate, uint64_t now_ms)
{
	clock->rate = rate;
	clock->rest = 0;
	clock->at = now_ms;
}

uint64_t token_clock_earned(struct token_clock *clock, uint64_t now_ms)
{
	uint64_t elapsed = now_ms > clock->at ? now_ms - clock->at : 0, thousandths;

	if (!elapsed)
		return 0;
	if (elapsed > ELAPSED_MAX)
		elapsed = ELAPSED_MAX;
	thousandths = elapsed * clock->rate + clock->rest;
	clock->at = now_ms;
	clock->rest = thousandths % 1000;
	return thousandths / 1000;
}

uint64_t token_clock_wait(const struct token_clock *clock, uint64_t tokens)
{
	uint64_t whole, part;

	if (!clock->rate)
		return UINT64_MAX;
	/* In two steps, so that thousandfold tokens fit. */
	whole = tokens / clock->rate;
	part = (tokens % clock->rate * 1000 + clock->rate - 1) / clock->rate;
	return whole > UINT64_MAX / 1000 - 1 ? UINT64_MAX : whole * 1000 + part;
}

void token_bucket_set(struct token_bucket *bucket, int64_t depth)
{
	if (!bucket->depth || bucket->level > depth)
		bucket->level = depth;
	else if (bucket->level < -depth)
		bucket->level = -depth;
	bucket->depth = depth;
}

uint64_t token_bucket_fill(struct token_bucket *bucket, uint64_t tokens)
{
	uint64_t room = (uint64_t)bucket->depth - (uint64_t)bucket->level;

	if (tokens > room) {
		bucket->level = bucket->depth;
		return tokens - room;
	}
	bucket->level += (int64_t)tokens;
	return 0;
}
