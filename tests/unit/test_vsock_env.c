/* SPDX-License-Identifier: MIT */
/* The env service, by a guest that reads it, and what a VM's vsock can be set to. */
#include "dataplane/vsock/env.h"
#include "dataplane/vsock/vsock.h"
#include "tests/unit/vsock_rig.h"

static struct vsock *vsock;
static unsigned asked;
static bool away;

static bool env_get(void *arg)
{
	(void)arg;
	asked++;
	return !away;
}

static void setup(void)
{
	struct vsock_parts parts = {.counters = &rig.counters};
	struct vsock_events events = {.env_get = env_get};
	int fds[2];

	memset(&rig, 0, sizeof(rig));
	rig.buf_alloc = 1 << 20;
	asked = 0;
	away = false;
	rig.loop = loop_new();
	parts.loop = rig.loop;
	vsock = vsock_new(&parts, &events);
	ck_assert_ptr_nonnull(vsock);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_STREAM, fds[0], false, RIG_CID), 0);
	rig.guest = fds[1];
	rig_expect_greeting();
}

static void teardown(void)
{
	vsock_free(vsock);
	loop_free(rig.loop);
	if (rig.guest >= 0)
		close(rig.guest);
}

START_TEST(the_guest_reads_the_document_and_then_the_end)
{
	static const char text[] = "{\"env\":{},\"secrets\":{\"KEY\":\"value\"}}";

	guest_send(VSOCK_OP_REQUEST, 1000, VSOCK_ENV_PORT, 0);
	RIG_UNTIL(asked == 1);
	guest_expect_nothing();
	vsock_env_arrived(vsock, text, strlen(text));
	guest_expect(VSOCK_OP_RESPONSE, 1000);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 1000).len, strlen(text));
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, text, strlen(text));
	ck_assert_uint_eq(guest_expect(VSOCK_OP_SHUTDOWN, 1000).flags, VSOCK_SHUT_BOTH);
	guest_send(VSOCK_OP_RST, 1000, VSOCK_ENV_PORT, 0);
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_ENV_READS), 1);
}
END_TEST

START_TEST(a_large_document_comes_in_pieces_of_the_guests_credit)
{
	static uint8_t document[1200000];
	uint32_t got = 0;

	for (size_t i = 0; i < sizeof(document); i++)
		document[i] = (uint8_t)(i * 11 + (i >> 9));
	rig.buf_alloc = 50000;
	guest_send(VSOCK_OP_REQUEST, 1000, VSOCK_ENV_PORT, 0);
	RIG_UNTIL(asked == 1);
	vsock_env_arrived(vsock, document, sizeof(document));
	guest_expect(VSOCK_OP_RESPONSE, 1000);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, VSOCK_ENV_PORT, VSOCK_SHUT_SEND);
	while (got < sizeof(document)) {
		struct vsock_packet packet = guest_next();

		if (packet.op == VSOCK_OP_CREDIT_REQUEST)
			continue;
		ck_assert_int_eq(packet.op, VSOCK_OP_RW);
		ck_assert_mem_eq(rig.in + VSOCK_HLEN, document + got, packet.len);
		got += packet.len;
		ck_assert_uint_le(got - rig.fwd_cnt, 50000);
		if (got - rig.fwd_cnt == 50000) {
			rig.fwd_cnt = got;
			guest_send(VSOCK_OP_CREDIT_UPDATE, 1000, VSOCK_ENV_PORT, 0);
		}
	}
	ck_assert_uint_eq(guest_expect(VSOCK_OP_SHUTDOWN, 1000).flags, VSOCK_SHUT_BOTH);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, VSOCK_ENV_PORT, VSOCK_SHUT_BOTH);
	guest_expect(VSOCK_OP_RST, 1000);
}
END_TEST

START_TEST(readers_wait_in_line)
{
	char text[4];

	for (uint32_t i = 0; i < 40; i++)
		guest_send(VSOCK_OP_REQUEST, 1000 + i, VSOCK_ENV_PORT, 0);
	guest_send(VSOCK_OP_RST, 1001, VSOCK_ENV_PORT, 0);
	for (uint32_t i = 0, n = 0; i < 40; i++) {
		if (i == 1)
			continue;
		RIG_UNTIL(asked == n + 1);
		snprintf(text, sizeof(text), "%03u", i);
		vsock_env_arrived(vsock, text, 3);
		guest_expect(VSOCK_OP_RESPONSE, 1000 + i);
		guest_expect(VSOCK_OP_RW, 1000 + i);
		ck_assert_mem_eq(rig.in + VSOCK_HLEN, text, 3);
		guest_expect(VSOCK_OP_SHUTDOWN, 1000 + i);
		n++;
	}
	rig_run(5);
	ck_assert_uint_eq(asked, 39);
}
END_TEST

START_TEST(a_reader_that_left_gets_nothing_and_the_next_does)
{
	guest_send(VSOCK_OP_REQUEST, 1000, VSOCK_ENV_PORT, 0);
	RIG_UNTIL(asked == 1);
	guest_send(VSOCK_OP_RST, 1000, VSOCK_ENV_PORT, 0);
	rig_run(5);
	vsock_env_arrived(vsock, "late", 4);
	guest_expect_nothing();
	guest_send(VSOCK_OP_REQUEST, 1000, VSOCK_ENV_PORT, 0);
	RIG_UNTIL(asked == 2);
	vsock_env_arrived(vsock, "{}", 2);
	guest_expect(VSOCK_OP_RESPONSE, 1000);
}
END_TEST

START_TEST(without_netctld_the_guest_is_refused)
{
	away = true;
	guest_send(VSOCK_OP_REQUEST, 1000, VSOCK_ENV_PORT, 0);
	guest_expect(VSOCK_OP_RST, 1000);
	away = false;
	guest_send(VSOCK_OP_REQUEST, 1000, VSOCK_ENV_PORT, 0);
	RIG_UNTIL(asked == 2);
	vsock_env_arrived(vsock, NULL, 0);
	guest_expect(VSOCK_OP_RST, 1000);
}
END_TEST

START_TEST(documents_that_nobody_fetches_are_bounded)
{
	static uint8_t document[2 << 20];
	struct vsock_packet packet = {0};
	uint32_t n = 0;

	rig.buf_alloc = 0;
	for (; n < 20 && packet.op != VSOCK_OP_RST; n++) {
		guest_send(VSOCK_OP_REQUEST, 1000 + n, VSOCK_ENV_PORT, 0);
		RIG_UNTIL(asked == n + 1);
		vsock_env_arrived(vsock, document, sizeof(document));
		do {
			packet = guest_next();
		} while (packet.op == VSOCK_OP_CREDIT_REQUEST);
	}
	ck_assert_uint_eq(n, VSOCK_ENV_HELD_MAX / sizeof(document) + 1);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BOUNDS), 1);
}
END_TEST

START_TEST(any_other_port_is_nobodys)
{
	guest_send(VSOCK_OP_REQUEST, 1000, 1025, 0);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(what_cannot_be_set_is_refused)
{
	static const uint64_t cids[] = {0, 1, 2, UINT32_MAX, (uint64_t)1 << 32 | 3};

	for (size_t i = 0; i < sizeof(cids) / sizeof(*cids); i++) {
		int fd = os_socket(AF_UNIX, SOCK_STREAM, 0, true);

		ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_STREAM, fd, true, cids[i]), -EDOM);
	}
	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_HYBRID, os_dup(rig.guest), false, 3), -EINVAL);
	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_STREAM, -1, false, 3), -EINVAL);
	guest_send(VSOCK_OP_REQUEST, 1000, VSOCK_ENV_PORT, 0);
	RIG_UNTIL(asked == 1);
	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_NONE, -1, false, 0), 0);
	rig_run(1);
	ck_assert(host_is_at_end(rig.guest));
	vsock_env_arrived(vsock, "late", 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsock_env");
	TCase *t = tcase_create("env");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, the_guest_reads_the_document_and_then_the_end);
	tcase_add_test(t, a_large_document_comes_in_pieces_of_the_guests_credit);
	tcase_add_test(t, readers_wait_in_line);
	tcase_add_test(t, a_reader_that_left_gets_nothing_and_the_next_does);
	tcase_add_test(t, without_netctld_the_guest_is_refused);
	tcase_add_test(t, documents_that_nobody_fetches_are_bounded);
	tcase_add_test(t, any_other_port_is_nobodys);
	tcase_add_test(t, what_cannot_be_set_is_refused);
	suite_add_tcase(s, t);
	return run_suite(s);
}
