/* SPDX-License-Identifier: MIT */
/* What a worker keeps until netctld has written it down: none is lost or told twice over its deaths. */
#include "dataplane/control_internal.h"

#include "common/os.h"
#include "proto/rpc.h"
#include "tests/unit/check_main.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct control *control;
static struct event_base *base;

/* A netctld, and what it was told. */
static struct {
	struct rpc *rpc;
	unsigned n;
	uint64_t flows;
	uint64_t first, last; /* numbers */
	bool greeted;
} netctld;

static void on_hello(void *arg, const Netdp__Hello *hello)
{
	(void)arg;
	(void)hello;
	netctld.greeted = true;
}

static void on_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	(void)arg;
	(void)fds;
	(void)n_fds;
	if (!netctld.n++)
		netctld.first = env->number;
	ck_assert_uint_gt(env->number, netctld.last);
	netctld.last = env->number;
	if (env->body_case == NETDP__ENVELOPE__BODY_FLOW_REFUSED)
		netctld.flows += env->flow_refused->count;
}

static void on_worker_hello(void *arg, const Netdp__Hello *hello)
{
	(void)arg;
	control->greeted = true;
	control_events_resume(control, hello);
}

static void on_worker_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	(void)arg;
	(void)fds;
	(void)n_fds;
	ck_assert_int_eq(env->body_case, NETDP__ENVELOPE__BODY_EVENTS_SEEN);
	control_events_seen(control, env->events_seen->through);
}

static void on_closed(void *arg, int err, const char *text)
{
	(void)arg;
	(void)err;
	(void)text;
}

static void turn(void)
{
	for (int i = 0; i < 50; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void begin(bool numbers)
{
	static const struct rpc_ops worker_ops = {
		.hello = on_worker_hello, .event = on_worker_event, .closed = on_closed};
	static const struct rpc_ops ops = {
		.hello = on_hello, .event = on_event, .closed = on_closed};
	static const char *const features[] = {RPC_FEATURE_NUMBERS, NULL};
	int pair[2];

	memset(&netctld, 0, sizeof(netctld));
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, pair), 0);
	control->rpc = rpc_new(base, pair[0], "worker", NULL, &worker_ops, control);
	netctld.rpc = rpc_new(base, pair[1], "netctld", numbers ? features : NULL, &ops, NULL);
	turn();
	ck_assert(netctld.greeted && control->greeted);
}

static void end(void)
{
	rpc_free(control->rpc);
	rpc_free(netctld.rpc);
	control->rpc = netctld.rpc = NULL;
	control->greeted = false;
}

static void seen(uint64_t through)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__EventsSeen msg = NETDP__EVENTS_SEEN__INIT;

	msg.through = through;
	env.body_case = NETDP__ENVELOPE__BODY_EVENTS_SEEN;
	env.events_seen = &msg;
	ck_assert_int_eq(rpc_event(netctld.rpc, &env, NULL, 0), 0);
	turn();
}

static void refuse(uint32_t addr, uint32_t count)
{
	struct endpoint dst = {addr_from_v4(addr), 80};

	control_refused(control, 6, &dst, -1, "a.example", count);
	turn();
}

static void set_up(void)
{
	base = event_base_new();
	control = calloc(1, sizeof(*control));
	ck_assert_ptr_nonnull(control);
	control->base = base;
	control->since_ms = 1000;
	control_events_begin(control);
}

static void tear_down(void)
{
	end();
	free(control);
	event_base_free(base);
}

START_TEST(what_is_not_written_down_is_told_again)
{
	uint64_t second;

	begin(true);
	refuse(1, 1);
	refuse(2, 10);
	second = netctld.last;
	refuse(3, 100);
	ck_assert_uint_eq(netctld.flows, 111);
	seen(second);
	end();
	refuse(3, 1000); /* another event: the one before may be written already */
	begin(true);
	ck_assert_uint_eq(netctld.n, 2);
	ck_assert_uint_eq(netctld.flows, 1100);
	ck_assert_uint_gt(netctld.first, second);
	seen(netctld.last);
	end();
	begin(true);
	ck_assert_uint_eq(netctld.n, 0);
}
END_TEST

START_TEST(what_is_seen_before_it_was_sent_is_nonsense)
{
	refuse(1, 1);
	begin(true);
	seen(UINT64_MAX);
	refuse(2, 1);
	end();
	begin(true);
	ck_assert_uint_eq(netctld.n, 1);
}
END_TEST

START_TEST(while_nobody_listens_the_same_is_one_event)
{
	for (int i = 0; i < 5000; i++)
		refuse(i % 3, 1);
	begin(true);
	ck_assert_uint_eq(netctld.n, 3);
	ck_assert_uint_eq(netctld.flows, 5000);
}
END_TEST

START_TEST(while_nobody_listens_all_are_counted_few_named)
{
	for (uint32_t i = 0; i < 5000; i++)
		refuse(i, 1);
	control_link_changed(control, false, LINK_KIND_TAP, "gone", false);
	begin(true);
	ck_assert_uint_le(netctld.n, CONTROL_EVENTS_MAX);
	ck_assert_uint_eq(netctld.flows, 5000);
	ck_assert_uint_eq(control->dropped_events, 0);
}
END_TEST

START_TEST(a_netctld_that_answers_none_is_told_each_once)
{
	begin(false);
	for (uint32_t i = 0; i < 2000; i++)
		refuse(i, 1);
	ck_assert_uint_eq(netctld.n, 2000);
	end();
	refuse(1, 1);
	begin(false);
	ck_assert_uint_eq(netctld.n, 1);
	ck_assert_uint_eq(control->dropped_events, 0);
}
END_TEST

START_TEST(a_netctld_that_never_writes_bounds_what_is_kept)
{
	begin(true);
	for (uint32_t i = 0; i < 3 * CONTROL_EVENTS_MAX; i++)
		refuse(i, 1);
	ck_assert_uint_eq(netctld.n, 3 * CONTROL_EVENTS_MAX);
	ck_assert_uint_eq(control->n_events, CONTROL_EVENTS_MAX);
	ck_assert_uint_eq(control->dropped_events, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("control_events");
	TCase *tc = tcase_create("control_events");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, what_is_not_written_down_is_told_again);
	tcase_add_test(tc, what_is_seen_before_it_was_sent_is_nonsense);
	tcase_add_test(tc, while_nobody_listens_the_same_is_one_event);
	tcase_add_test(tc, while_nobody_listens_all_are_counted_few_named);
	tcase_add_test(tc, a_netctld_that_answers_none_is_told_each_once);
	tcase_add_test(tc, a_netctld_that_never_writes_bounds_what_is_kept);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
