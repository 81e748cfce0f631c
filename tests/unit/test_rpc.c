/* SPDX-License-Identifier: MIT */
/* proto/rpc.h: greetings, replies in time or not, what is unknown, ends. And proto/wire.h. */
#include "common/os.h"
#include "proto/rpc.h"
#include "proto/wire.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct end {
	struct rpc *rpc;
	int hellos;
	int events;
	int requests;
	int closed;
	char text[160];
	uint64_t last_id;
	bool silent; /* does not answer requests */
};

static struct event_base *base;
static struct end a, b;
static int raw; /* the other end of a lone rpc */

static void on_hello(void *arg, const Netdp__Hello *hello)
{
	struct end *e = arg;

	e->hellos++;
	ck_assert_str_eq(hello->program, "test");
	ck_assert_uint_eq(hello->n_features, 1);
}

static void on_request(void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct end *e = arg;

	(void)fds;
	(void)n_fds;
	e->requests++;
	e->last_id = id;
	if (e->silent)
		return;
	if (env->body_case == NETDP__ENVELOPE__BODY_KILL)
		rpc_reply_status(e->rpc, id, -ENOENT, "no such worker");
	else
		rpc_reply_status(e->rpc, id, 0, NULL);
}

static void on_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct end *e = arg;

	(void)env;
	(void)fds;
	(void)n_fds;
	e->events++;
}

static void on_closed(void *arg, int err, const char *text)
{
	struct end *e = arg;

	e->closed = err;
	snprintf(e->text, sizeof(e->text), "%s", text);
}

static const struct rpc_ops ops = {on_hello, on_request, on_event, on_closed};
static const char *const features[] = {"one", NULL};

static void pair_up(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	a.rpc = rpc_new(base, fds[0], "test", features, &ops, &a);
	b.rpc = rpc_new(base, fds[1], "test", features, &ops, &b);
}

static void lone(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	a.rpc = rpc_new(base, fds[0], "test", features, &ops, &a);
	raw = fds[1];
}

static void setup(void)
{
	base = event_base_new();
	raw = -1;
}

static void teardown(void)
{
	rpc_free(a.rpc);
	rpc_free(b.rpc);
	if (raw >= 0)
		close(raw);
	event_base_free(base);
}

static void turns(int n)
{
	while (n--)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void send_env(const Netdp__Envelope *env)
{
	size_t len;
	int err;
	uint8_t *frame = frame_pack(env, &len, &err);

	ck_assert_int_eq(os_send(raw, frame, len, 0), (ssize_t)len);
	frame_free(frame, len);
}

static void send_hello(uint32_t version)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Hello hello;
	char *list[] = {wire_put_text("one")};

	netdp__hello__init(&hello);
	hello.version = version;
	hello.program = wire_put_text("test");
	hello.n_features = 1;
	hello.features = list;
	env.body_case = NETDP__ENVELOPE__BODY_HELLO;
	env.hello = &hello;
	send_env(&env);
}

/* ---- calls ---- */

struct outcome {
	int calls;
	int code;
	char text[128];
	struct rpc **free_it;
};

static void on_done(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct outcome *outcome = arg;

	(void)fds;
	(void)n_fds;
	outcome->calls++;
	outcome->code = code;
	snprintf(outcome->text, sizeof(outcome->text), "%s", text);
	ck_assert(code ? !reply : reply != NULL);
	if (outcome->free_it) {
		rpc_free(*outcome->free_it);
		*outcome->free_it = NULL;
	}
}

static void call_kill(struct end *e, unsigned deadline_ms, struct outcome *outcome)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Kill msg = NETDP__KILL__INIT;

	env.body_case = NETDP__ENVELOPE__BODY_KILL;
	env.kill = &msg;
	rpc_call(e->rpc, &env, NULL, 0, deadline_ms, on_done, outcome);
}

static void call_describe(struct end *e, unsigned deadline_ms, struct outcome *outcome)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Describe msg = NETDP__DESCRIBE__INIT;

	env.body_case = NETDP__ENVELOPE__BODY_DESCRIBE;
	env.describe = &msg;
	rpc_call(e->rpc, &env, NULL, 0, deadline_ms, on_done, outcome);
}

START_TEST(both_ends_greet_and_ask)
{
	struct outcome one = {0}, two = {0};

	pair_up();
	call_describe(&a, 1000, &one); /* before any greeting was heard */
	call_kill(&b, 1000, &two);
	turns(4);
	ck_assert_int_eq(a.hellos, 1);
	ck_assert_int_eq(b.hellos, 1);
	ck_assert_uint_eq(rpc_version(a.rpc), RPC_VERSION);
	ck_assert_int_eq(one.calls, 1);
	ck_assert_int_eq(one.code, 0);
	ck_assert_int_eq(two.code, -ENOENT);
	ck_assert_str_eq(two.text, "no such worker");
}
END_TEST

START_TEST(events_have_no_answer)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ControlFresh msg = NETDP__CONTROL_FRESH__INIT;

	pair_up();
	env.body_case = NETDP__ENVELOPE__BODY_CONTROL_FRESH;
	env.control_fresh = &msg;
	ck_assert_int_eq(rpc_event(a.rpc, &env, NULL, 0), 0);
	turns(3);
	ck_assert_int_eq(b.events, 1);
	ck_assert_int_eq(b.requests, 0);
}
END_TEST

START_TEST(a_call_times_out_and_its_late_reply_is_dropped)
{
	struct outcome one = {0}, two = {0};

	pair_up();
	b.silent = true;
	call_describe(&a, 20, &one);
	for (int i = 0; i < 100 && !one.calls; i++) {
		turns(1);
		usleep(1000);
	}
	ck_assert_int_eq(one.code, -ETIMEDOUT);
	rpc_reply_status(b.rpc, b.last_id, 0, NULL);
	b.silent = false;
	call_describe(&a, 1000, &two);
	turns(3);
	ck_assert_int_eq(one.calls, 1);
	ck_assert_int_eq(two.code, 0);
}
END_TEST

START_TEST(calls_fail_before_the_end_is_told)
{
	struct outcome one = {0};

	pair_up();
	turns(2);
	b.silent = true;
	call_describe(&a, 1000, &one);
	turns(1);
	rpc_free(b.rpc);
	b.rpc = NULL;
	turns(2);
	ck_assert_int_eq(one.code, -ECONNRESET);
	ck_assert_int_eq(a.closed, -ECONNRESET);
	call_describe(&a, 1000, &one);
	turns(2);
	ck_assert_int_eq(one.calls, 2);
	ck_assert_int_eq(one.code, -ENOTCONN);
}
END_TEST

START_TEST(freeing_cancels)
{
	struct outcome one = {0};

	pair_up();
	call_describe(&a, 1000, &one);
	rpc_free(a.rpc);
	a.rpc = NULL;
	ck_assert_int_eq(one.calls, 1);
	ck_assert_int_eq(one.code, -ECANCELED);
}
END_TEST

START_TEST(an_rpc_may_be_freed_by_its_reply)
{
	struct outcome one = {.free_it = &a.rpc}, two = {0};

	pair_up();
	call_describe(&a, 1000, &one);
	call_describe(&a, 1000, &two);
	turns(4);
	ck_assert_int_eq(one.code, 0);
	ck_assert_int_eq(two.code, -ECANCELED);
}
END_TEST

/* ---- strangers ---- */

START_TEST(a_first_message_must_be_a_greeting)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Describe msg = NETDP__DESCRIBE__INIT;

	lone();
	env.id = 1;
	env.body_case = NETDP__ENVELOPE__BODY_DESCRIBE;
	env.describe = &msg;
	send_env(&env);
	turns(2);
	ck_assert_int_eq(a.closed, -EPROTO);
	ck_assert_int_eq(a.requests, 0);
}
END_TEST

START_TEST(a_version_too_far_away_is_named)
{
	lone();
	send_hello(RPC_VERSION + 2);
	turns(2);
	ck_assert_int_eq(a.closed, -EPROTO);
	ck_assert_str_eq(a.text, "speaks protocol 3, this program 1");
}
END_TEST

START_TEST(the_next_version_speaks_ours)
{
	lone();
	send_hello(RPC_VERSION + 1);
	turns(2);
	ck_assert_int_eq(a.closed, 0);
	ck_assert_uint_eq(rpc_version(a.rpc), RPC_VERSION);
}
END_TEST

START_TEST(an_unknown_request_is_answered_enosys)
{
	/* id 7, field 999 with an empty message */
	static const uint8_t frame[] = {0, 0, 0, 5, 0x08, 7, 0xba, 0x3e, 0};
	struct frame_reader reader = {0};
	Netdp__Envelope *env = NULL;
	const char *why;
	int got = 0, frames = 0;

	lone();
	send_hello(RPC_VERSION);
	ck_assert_int_eq(os_send(raw, frame, sizeof(frame), 0), (ssize_t)sizeof(frame));
	turns(2);
	ck_assert_int_eq(a.closed, 0);
	while (frames < 2) { /* its Hello, then the Status */
		size_t len;
		void *room = frame_reader_room(&reader, &len);
		ssize_t n = recv(raw, room, len, 0);

		ck_assert_int_gt(n, 0);
		got = frame_reader_fed(&reader, (size_t)n, NULL, 0, &env, &why);
		ck_assert_int_ge(got, 0);
		frames += got;
		if (got && frames < 2)
			frame_reader_next(&reader);
	}
	ck_assert_uint_eq(env->id, 7);
	ck_assert(env->reply);
	ck_assert_int_eq(env->body_case, NETDP__ENVELOPE__BODY_STATUS);
	ck_assert_int_eq(env->status->code, ENOSYS);
	frame_reader_clear(&reader);
}
END_TEST

START_TEST(an_unknown_event_and_a_strange_reply_are_ignored)
{
	static const uint8_t event[] = {0, 0, 0, 3, 0xba, 0x3e, 0};
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;

	lone();
	send_hello(RPC_VERSION);
	ck_assert_int_eq(os_send(raw, event, sizeof(event), 0), (ssize_t)sizeof(event));
	env.id = 12345;
	env.reply = true;
	send_env(&env);
	turns(2);
	ck_assert_int_eq(a.closed, 0);
	ck_assert_int_eq(a.events, 0);
}
END_TEST

START_TEST(a_second_greeting_closes)
{
	lone();
	send_hello(RPC_VERSION);
	send_hello(RPC_VERSION);
	turns(2);
	ck_assert_int_eq(a.closed, -EPROTO);
}
END_TEST

/* ---- values ---- */

START_TEST(values_are_checked)
{
	static uint8_t bytes[17] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 2, 0, 0};
	struct addr addr;
	struct mac mac;
	struct endpoint endpoint;
	struct prefix prefix;
	char text[8];

	ck_assert(wire_get_addr(wire_put(bytes, 16), &addr));
	ck_assert(!wire_get_addr(wire_put(bytes, 15), &addr));
	ck_assert(!wire_get_addr(wire_put(bytes, 17), &addr));
	ck_assert(!wire_get_mac(wire_put(bytes, 7), &mac));
	ck_assert(wire_get_endpoint(wire_put(bytes, 16), 65535, &endpoint));
	ck_assert(!wire_get_endpoint(wire_put(bytes, 16), 65536, &endpoint));
	ck_assert(wire_get_prefix(wire_put(bytes, 16), 120, &prefix));
	ck_assert(!wire_get_prefix(wire_put(bytes, 16), 110, &prefix)); /* host bits */
	ck_assert(!wire_get_prefix(wire_put(bytes, 16), 129, &prefix));
	ck_assert(wire_get_text("1234567", text, sizeof(text)));
	ck_assert(!wire_get_text("12345678", text, sizeof(text)));
	ck_assert(!wire_get_text("a\nb", text, sizeof(text)));
	wire_get_remark("ab\ncdefghij", text, sizeof(text));
	ck_assert_str_eq(text, "ab?cdef");
}
END_TEST

static Suite *rpc_suite(void)
{
	Suite *suite = suite_create("rpc");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, both_ends_greet_and_ask);
	tcase_add_test(tc, events_have_no_answer);
	tcase_add_test(tc, a_call_times_out_and_its_late_reply_is_dropped);
	tcase_add_test(tc, calls_fail_before_the_end_is_told);
	tcase_add_test(tc, freeing_cancels);
	tcase_add_test(tc, an_rpc_may_be_freed_by_its_reply);
	tcase_add_test(tc, a_first_message_must_be_a_greeting);
	tcase_add_test(tc, a_version_too_far_away_is_named);
	tcase_add_test(tc, the_next_version_speaks_ours);
	tcase_add_test(tc, an_unknown_request_is_answered_enosys);
	tcase_add_test(tc, an_unknown_event_and_a_strange_reply_are_ignored);
	tcase_add_test(tc, a_second_greeting_closes);
	tcase_add_test(tc, values_are_checked);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return run_suite(rpc_suite());
}
