/* SPDX-License-Identifier: MIT */
/* Token buckets: what is earned to the last thousandth, and never more than fits; no overflow anywhere. */
#include "dataplane/token_bucket.h"
#include "tests/unit/check_main.h"

static struct token_clock clock_of(uint64_t rate, uint64_t at)
{
	struct token_clock c = {0};

	token_clock_set(&c, rate, at);
	return c;
}

START_TEST(nothing_is_lost_between_calls)
{
	struct token_clock c = clock_of(7, 1000);
	uint64_t sum = 0;

	/* Seven a second, asked each millisecond: none of them is a whole one. */
	for (uint64_t ms = 1001; ms <= 4000; ms++)
		sum += token_clock_earned(&c, ms);
	ck_assert_uint_eq(sum, 21);
	ck_assert_uint_eq(c.rest, 0);
}
END_TEST

START_TEST(a_call_within_the_same_ms_earns_nothing)
{
	struct token_clock c = clock_of(1000000, 5);

	ck_assert_uint_eq(token_clock_earned(&c, 6), 1000);
	ck_assert_uint_eq(token_clock_earned(&c, 6), 0);
}
END_TEST

START_TEST(a_clock_that_goes_back_earns_nothing)
{
	struct token_clock c = clock_of(1000000, 500);

	ck_assert_uint_eq(token_clock_earned(&c, 400), 0);
	ck_assert_uint_eq(token_clock_earned(&c, 500), 0);
	ck_assert_uint_eq(token_clock_earned(&c, 501), 1000);
}
END_TEST

START_TEST(the_highest_rate_over_the_longest_time_does_not_overflow)
{
	struct token_clock c = clock_of(TOKEN_RATE_MAX, 0);
	uint64_t day = token_clock_earned(&c, UINT64_MAX);

	ck_assert_uint_gt(day, TOKEN_RATE_MAX * 3600);
	ck_assert_uint_lt(day, (uint64_t)INT64_MAX);
	ck_assert_uint_eq(token_clock_earned(&c, UINT64_MAX), 0);
}
END_TEST

START_TEST(no_rate_earns_nothing)
{
	struct token_clock c = clock_of(0, 0);

	ck_assert_uint_eq(token_clock_earned(&c, 1000000), 0);
	ck_assert_uint_eq(token_clock_wait(&c, 1), UINT64_MAX);
}
END_TEST

static const struct {
	uint64_t rate, tokens, ms;
} waits[] = {
	{1000, 1, 1},
	{1000, 1000, 1000},
	{1000, 1001, 1001},
	{3, 1, 334}, /* rounded up: a timer that fires early would fire again */
	{3, 3, 1000},
	{8000, 524288, 65536},
	{TOKEN_RATE_MAX, 1, 1},
	{TOKEN_RATE_MAX, INT64_MAX, 9223372037},
	{1, UINT64_MAX, UINT64_MAX},
};

START_TEST(waits_are_rounded_up)
{
	struct token_clock c = clock_of(waits[_i].rate, 0);
	uint64_t ms = token_clock_wait(&c, waits[_i].tokens);

	ck_assert_uint_eq(ms, waits[_i].ms);
	if (waits[_i].tokens < 1000000)
		ck_assert_uint_ge(token_clock_earned(&c, ms), waits[_i].tokens);
}
END_TEST

START_TEST(a_new_bucket_is_full)
{
	struct token_bucket b = {0};

	token_bucket_set(&b, 100);
	ck_assert_int_eq(b.level, 100);
	ck_assert_uint_eq(token_bucket_fill(&b, 1), 1);
	ck_assert_int_eq(b.level, 100);
}
END_TEST

START_TEST(what_does_not_fit_is_returned)
{
	struct token_bucket b = {.level = 90, .depth = 100};

	ck_assert_uint_eq(token_bucket_fill(&b, 10), 0);
	ck_assert_int_eq(b.level, 100);
	b.level = 90;
	ck_assert_uint_eq(token_bucket_fill(&b, 11), 1);
	ck_assert_int_eq(b.level, 100);
}
END_TEST

START_TEST(debt_is_paid_first)
{
	struct token_bucket b = {.level = -50, .depth = 100};

	ck_assert_uint_eq(token_bucket_fill(&b, 49), 0);
	ck_assert_int_eq(b.level, -1);
	ck_assert_uint_eq(token_bucket_fill(&b, 200), 99);
	ck_assert_int_eq(b.level, 100);
}
END_TEST

START_TEST(the_largest_numbers_fit)
{
	struct token_bucket b = {.level = -(int64_t)TOKEN_RATE_MAX, .depth = INT64_MAX};

	ck_assert_uint_eq(token_bucket_fill(&b, UINT64_MAX),
		UINT64_MAX - (uint64_t)INT64_MAX - TOKEN_RATE_MAX);
	ck_assert_int_eq(b.level, INT64_MAX);
}
END_TEST

START_TEST(another_depth_keeps_what_fits)
{
	struct token_bucket b = {.level = 60, .depth = 100};

	token_bucket_set(&b, 200);
	ck_assert_int_eq(b.level, 60);
	token_bucket_set(&b, 50);
	ck_assert_int_eq(b.level, 50);
	/* The debt of a fast rate would take a slow one for ever. */
	b.level = -1000;
	token_bucket_set(&b, 40);
	ck_assert_int_eq(b.level, -40);
}
END_TEST

static Suite *token_bucket_suite(void)
{
	Suite *suite = suite_create("token_bucket");
	TCase *tcase = tcase_create("arithmetic");

	tcase_add_test(tcase, nothing_is_lost_between_calls);
	tcase_add_test(tcase, a_call_within_the_same_ms_earns_nothing);
	tcase_add_test(tcase, a_clock_that_goes_back_earns_nothing);
	tcase_add_test(tcase, the_highest_rate_over_the_longest_time_does_not_overflow);
	tcase_add_test(tcase, no_rate_earns_nothing);
	tcase_add_loop_test(tcase, waits_are_rounded_up, 0, (int)(sizeof(waits) / sizeof(*waits)));
	tcase_add_test(tcase, a_new_bucket_is_full);
	tcase_add_test(tcase, what_does_not_fit_is_returned);
	tcase_add_test(tcase, debt_is_paid_first);
	tcase_add_test(tcase, the_largest_numbers_fit);
	tcase_add_test(tcase, another_depth_keeps_what_fits);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return run_suite(token_bucket_suite());
}
