/* SPDX-License-Identifier: MIT */
/* Limits: who goes and who waits, in which turn, and what each half of a rate gets. On a stopped clock. */
#include "dataplane/limits.h"
#include "tests/unit/check_main.h"
#include "tests/unit/rig_clock.h"

#include <errno.h>
#include <string.h>

#define RATE 8000000u         /* a byte a µs */
#define DEPTH (RATE / 8 / 20) /* bytes a half holds: 50 ms */

static struct loop *loop;
static struct counters counters;
static struct limits limits;
static size_t flows;

struct stream {
	struct limits_waiter waiter;
	size_t want, got;
	unsigned turns;
};

static size_t count_flows(void *arg)
{
	(void)arg;
	return flows;
}

/* Takes one grant of what it wants. */
static void take(struct stream *s)
{
	size_t n = limits_ask(&limits, LIMITS_OUT, &s->waiter, s->want);

	limits_took(&limits, LIMITS_OUT, &s->waiter, n);
	s->got += n;
	s->want -= n;
}

static void on_go(struct limits_waiter *waiter)
{
	struct stream *s = (struct stream *)waiter;

	s->turns++;
	take(s);
	if (s->want)
		take(s); /* and waits for the next turn */
}

static void set(uint64_t in, uint64_t out)
{
	struct limits_config config = {.rate = {in, out}};

	ck_assert_int_eq(limits_set(&limits, &config), 0);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

/* A pass of the loop, so many ms later. */
static void pass(uint64_t ms)
{
	static const struct timeval soon = {.tv_usec = 1000};

	rig_ahead_ns += ms * 1000000;
	event_base_once(loop_base(loop), -1, EV_TIMEOUT, on_timeout, NULL, &soon);
	ck_assert_int_eq(loop_run(loop), 0);
}

static void setup(void)
{
	rig_frozen_ns = 5000000000;
	rig_ahead_ns = 0;
	flows = 0;
	memset(&counters, 0, sizeof(counters));
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	limits_init(&limits, loop, &counters, count_flows, NULL);
}

static void teardown(void)
{
	limits_clear(&limits);
	loop_free(loop);
}

static struct stream stream(size_t want)
{
	return (struct stream){.waiter.go = on_go, .want = want};
}

START_TEST(without_a_limit_all_goes)
{
	struct stream s = stream((size_t)1 << 40);

	take(&s);
	ck_assert_uint_eq(s.want, 0);
	ck_assert(limits_datagram(&limits, LIMITS_OUT, 65507));
	ck_assert(limits_datagram(NULL, LIMITS_IN, 65507));
	ck_assert_uint_eq(limits_ask(NULL, LIMITS_IN, &s.waiter, 77), 77);
	ck_assert_int_eq(limits_flow(NULL), 0);
	ck_assert_int_eq(limits_flow(&limits), 0);
}
END_TEST

START_TEST(one_way_is_none_of_the_other)
{
	struct stream s = stream(1 << 20);

	set(RATE, 0);
	ck_assert(limits_paced(&limits, LIMITS_IN));
	ck_assert(!limits_paced(&limits, LIMITS_OUT));
	take(&s);
	ck_assert_uint_eq(s.want, 0);
}
END_TEST

/* Asks as often as it is answered. */
static void take_all(struct stream *s)
{
	size_t before;

	do {
		before = s->got;
		take(s);
	} while (s->want && s->got != before);
}

START_TEST(a_burst_then_the_rate)
{
	struct stream s = stream(1 << 20);

	set(0, RATE);
	take_all(&s);
	/* The last grant may go into debt. */
	ck_assert_uint_ge(s.got, DEPTH);
	ck_assert_uint_le(s.got, DEPTH + LIMITS_GRANT_MIN);
	ck_assert(s.waiter.waiting);
	ck_assert_uint_eq(counters.value[COUNTER_LIMIT_OUT_WAITS], 1);
	for (int i = 0; i < 100; i++)
		pass(5);
	/* Half a second, whose datagrams' half is the streams', too. */
	ck_assert_uint_ge(s.got, DEPTH + RATE / 8 / 2 - LIMITS_GRANT_MIN);
	ck_assert_uint_le(s.got, DEPTH + RATE / 8 / 2 + LIMITS_GRANT_MIN);
}
END_TEST

START_TEST(what_was_not_used_is_given_back)
{
	struct limits_waiter w = {.go = on_go};

	set(0, RATE);
	ck_assert_uint_eq(limits_ask(&limits, LIMITS_OUT, &w, 10000), 10000);
	ck_assert_int_eq(limits.lanes[LIMITS_OUT].streams.level, (DEPTH - 10000) * 8);
	/* Asked again before it was taken, it is the same grant. */
	ck_assert_uint_eq(limits_ask(&limits, LIMITS_OUT, &w, 400), 400);
	limits_took(&limits, LIMITS_OUT, &w, 400);
	ck_assert_int_eq(limits.lanes[LIMITS_OUT].streams.level, (DEPTH - 400) * 8);
	ck_assert_uint_eq(limits_ask(&limits, LIMITS_OUT, &w, 100), 100);
	limits_leave(&limits, LIMITS_OUT, &w);
	ck_assert_int_eq(limits.lanes[LIMITS_OUT].streams.level, (DEPTH - 400) * 8);
}
END_TEST

START_TEST(who_came_first_goes_first)
{
	struct stream s[3] = {stream(1 << 20), stream(1 << 20), stream(1 << 20)};

	set(0, RATE);
	take_all(&s[0]);
	for (int i = 1; i < 3; i++) {
		take(&s[i]);
		ck_assert_uint_eq(s[i].got, 0);
	}
	/* Tokens are there again, and others wait: a newcomer stands behind them. */
	rig_ahead_ns += 20000000;
	s[0].got = 0;
	for (int i = 0; i < 200; i++)
		pass(5);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_gt(s[i].turns, 5);
		ck_assert_uint_ge(s[i].got, RATE / 8 / 3 * 8 / 10);
		ck_assert_uint_le(s[i].got, RATE / 8 / 3 * 12 / 10);
	}
}
END_TEST

START_TEST(who_leaves_is_not_called)
{
	struct stream first = stream(1 << 20), second = stream(1000), third = stream(1000);

	set(0, RATE);
	take_all(&first);
	take(&second);
	take(&third);
	limits_leave(&limits, LIMITS_OUT, &first.waiter);
	limits_leave(&limits, LIMITS_OUT, &second.waiter);
	pass(50);
	ck_assert_uint_eq(second.turns, 0);
	ck_assert_uint_eq(third.turns, 1);
	ck_assert_uint_eq(third.want, 0);
}
END_TEST

START_TEST(datagrams_are_dropped_beyond_it)
{
	unsigned passed = 0;

	set(0, RATE);
	for (int i = 0; i < 1000; i++)
		passed += limits_datagram(&limits, LIMITS_OUT, 972);
	ck_assert_uint_eq(passed, DEPTH / 1000);
	ck_assert_uint_eq(counters.value[COUNTER_DROP_LIMIT_OUT], 1000 - passed);
	/* 10 ms later, with the half that no stream uses. */
	rig_ahead_ns += 10000000;
	for (passed = 0; limits_datagram(&limits, LIMITS_OUT, 972);)
		passed++;
	ck_assert_uint_eq(passed, RATE / 8 / 100 / 1000);
}
END_TEST

START_TEST(a_datagram_longer_than_the_bucket_goes)
{
	set(0, LIMITS_RATE_MIN);
	ck_assert(limits_datagram(&limits, LIMITS_OUT, 65507));
	ck_assert(!limits_datagram(&limits, LIMITS_OUT, 1));
	/* 65,535 bytes are 65.5 s of a byte a ms, less what the bucket had. */
	rig_ahead_ns += 61000000000;
	ck_assert(!limits_datagram(&limits, LIMITS_OUT, 1));
	rig_ahead_ns += 2000000000;
	ck_assert(limits_datagram(&limits, LIMITS_OUT, 1));
}
END_TEST

START_TEST(both_kinds_at_once_have_half_each)
{
	struct stream s = stream(1 << 20);
	size_t datagrams = 0;

	set(0, RATE);
	take_all(&s);
	while (limits_datagram(&limits, LIMITS_OUT, 972))
		;
	s.got = 0;
	for (int i = 0; i < 100; i++) {
		pass(5);
		while (limits_datagram(&limits, LIMITS_OUT, 972))
			datagrams += 1000;
	}
	ck_assert_uint_ge(s.got, RATE / 8 / 4 - LIMITS_GRANT_MIN);
	ck_assert_uint_le(s.got, RATE / 8 / 4 + LIMITS_GRANT_MIN);
	ck_assert_uint_ge(datagrams, RATE / 8 / 4 - 2000);
	ck_assert_uint_le(datagrams, RATE / 8 / 4 + 2000);
}
END_TEST

START_TEST(who_waits_is_served_by_the_new_rate)
{
	struct stream s = stream(1 << 20);

	set(0, LIMITS_RATE_MIN);
	take_all(&s);
	ck_assert(s.waiter.waiting);
	/* The debt was of a slow rate: at most a bucket of it counts. */
	set(0, RATE);
	s.got = 0;
	pass(50);
	ck_assert_uint_ge(s.got, LIMITS_GRANT_MIN);
	set(0, 0);
	pass(1);
	ck_assert_uint_eq(s.want, 0);
	ck_assert(!s.waiter.waiting);
}
END_TEST

START_TEST(the_highest_rate_works)
{
	struct stream s = stream((size_t)1 << 32);

	set(0, LIMITS_RATE_MAX);
	take(&s);
	ck_assert_uint_eq(s.got, LIMITS_GRANT_MAX);
	rig_ahead_ns += 3600000000000000u;
	take(&s);
	ck_assert_uint_eq(s.got, 2 * LIMITS_GRANT_MAX);
	ck_assert_uint_gt(limits_window(&limits), 1u << 30);
}
END_TEST

START_TEST(rates_out_of_bounds_are_refused)
{
	struct limits_config config = {.rate = {LIMITS_RATE_MIN - 1, 0}};

	ck_assert_int_eq(limits_set(&limits, &config), -EINVAL);
	config.rate[LIMITS_IN] = 0;
	config.rate[LIMITS_OUT] = (uint64_t)LIMITS_RATE_MAX + 1;
	ck_assert_int_eq(limits_set(&limits, &config), -EINVAL);
	ck_assert(!limits_paced(&limits, LIMITS_OUT));
}
END_TEST

START_TEST(flows_are_counted)
{
	struct limits_config config = {.max_flows = 3};

	ck_assert_int_eq(limits_set(&limits, &config), 0);
	for (flows = 0; flows < 3; flows++)
		ck_assert_int_eq(limits_flow(&limits), 0);
	ck_assert_int_eq(limits_flow(&limits), -EMFILE);
	ck_assert_int_eq(limits_contact(&limits), 0); /* of one that is there */
	flows--;
	ck_assert_int_eq(limits_flow(&limits), 0);
	ck_assert_uint_eq(counters.value[COUNTER_LIMIT_FLOWS], 1);
}
END_TEST

START_TEST(new_flows_come_by_the_second)
{
	struct limits_config config = {.new_flows = 4};

	ck_assert_int_eq(limits_set(&limits, &config), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(limits_flow(&limits), 0);
	ck_assert_int_eq(limits_flow(&limits), -EAGAIN);
	rig_ahead_ns += 249000000;
	ck_assert_int_eq(limits_flow(&limits), -EAGAIN);
	rig_ahead_ns += 1000000;
	ck_assert_int_eq(limits_contact(&limits), 0);
	ck_assert_int_eq(limits_flow(&limits), -EAGAIN);
	ck_assert_uint_eq(counters.value[COUNTER_LIMIT_NEW_FLOWS], 3);
	rig_ahead_ns += 60000000000;
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(limits_flow(&limits), 0);
	ck_assert_int_eq(limits_flow(&limits), -EAGAIN);
	config.new_flows = 0;
	ck_assert_int_eq(limits_set(&limits, &config), 0);
	ck_assert_int_eq(limits_flow(&limits), 0);
}
END_TEST

static Suite *limits_suite(void)
{
	Suite *suite = suite_create("limits");
	TCase *tcase = tcase_create("limits");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, without_a_limit_all_goes);
	tcase_add_test(tcase, one_way_is_none_of_the_other);
	tcase_add_test(tcase, a_burst_then_the_rate);
	tcase_add_test(tcase, what_was_not_used_is_given_back);
	tcase_add_test(tcase, who_came_first_goes_first);
	tcase_add_test(tcase, who_leaves_is_not_called);
	tcase_add_test(tcase, datagrams_are_dropped_beyond_it);
	tcase_add_test(tcase, a_datagram_longer_than_the_bucket_goes);
	tcase_add_test(tcase, both_kinds_at_once_have_half_each);
	tcase_add_test(tcase, who_waits_is_served_by_the_new_rate);
	tcase_add_test(tcase, the_highest_rate_works);
	tcase_add_test(tcase, rates_out_of_bounds_are_refused);
	tcase_add_test(tcase, flows_are_counted);
	tcase_add_test(tcase, new_flows_come_by_the_second);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	return run_suite(limits_suite());
}
