/* SPDX-License-Identifier: MIT */
/* TSI's requests, whatever they are: exactly one reply each, or none; what an unknown or malformed one
 * does; bounds. */
#include "tests/unit/tsi_rig.h"

static const struct {
	enum tsi_op op;
	uint32_t len; /* of a whole request */
	uint32_t reply;
} operations[] = {
	{TSI_PROXY_CREATE, 8, 0},
	{TSI_CONNECT, 136, TSI_RESULT_LEN},
	{TSI_GETNAME, 12, TSI_NAME_LEN},
	{TSI_SENDTO_ADDR, 136, 0},
	{TSI_LISTEN, 144, TSI_RESULT_LEN},
	{TSI_ACCEPT, 8, TSI_RESULT_LEN},
	{TSI_PROXY_RELEASE, 8, 0},
};

START_TEST(a_body_cut_short_is_einval_or_silence)
{
	struct body body = {.b = {0x70, 0x11, 1}};
	unsigned sent = 0;

	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++) {
		for (body.len = 0; body.len < operations[i].len; body.len += 1, sent++) {
			tsi_tell(operations[i].op, &body);
			if (!operations[i].reply)
				continue;
			tsi_expect(operations[i].op, operations[i].reply);
			ck_assert_int_eq((int32_t)vsock_load32(rig.in + VSOCK_HLEN), -22);
		}
	}
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_TSI_MALFORMED), sent);
}
END_TEST

static int32_t connect_family(uint16_t family, uint32_t addr_len)
{
	struct endpoint to = tsi_at("10.0.2.2", 1);
	struct body body = connect_body(TSI_SVM, &to);

	vsock_store32(body.b + 4, addr_len);
	vsock_store16(body.b + 8, family);
	return tsi_ask(TSI_CONNECT, &body);
}

START_TEST(an_address_is_as_long_as_its_family_wants)
{
	tsi_create(TSI_SVM, TSI_INET6, TSI_STREAM);
	ck_assert_int_eq(connect_family(TSI_INET, 15), -22);
	ck_assert_int_eq(connect_family(TSI_INET, 129), -22);
	ck_assert_int_eq(connect_family(TSI_INET, UINT32_MAX), -22);
	ck_assert_int_eq(connect_family(TSI_INET6, 27), -22);
	ck_assert_int_eq(connect_family(TSI_INET, 1), -22);
	ck_assert_int_eq(connect_family(TSI_INET, 128), -111);
	ck_assert_int_eq(connect_family(1, 110), -97);
	ck_assert_int_eq(connect_family(0, 16), -97);
}
END_TEST

START_TEST(an_unknown_socket_cannot_connect_accept_or_be_named)
{
	struct endpoint name;

	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", 1), -22);
	ck_assert_int_eq(tsi_ask_accept(TSI_SVM), -22);
	ck_assert_int_eq(tsi_getname(TSI_SVM, 0, true, &name), -22);
	ck_assert_uint_eq(vsock_load32(rig.in + VSOCK_HLEN + 4), 0);
	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_ask_accept(TSI_SVM), -22);
	ck_assert_int_eq(tsi_getname(TSI_SVM, 0, true, &name), -107);
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, tsi_at("0.0.0.0", 0));
	ck_assert_uint_eq(rig_count(COUNTER_TSI_MALFORMED), 0);
}
END_TEST

START_TEST(a_release_of_what_was_never_there_is_normal)
{
	tsi_release(0, 0);
	tsi_release(TSI_SVM, 0);
	tsi_release(TSI_SVM, TSI_STREAM_PORT);
	tsi_release(TSI_SVM, 12345);
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_TSI_MALFORMED), 0);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_REQUESTS), 4);
}
END_TEST

START_TEST(a_socket_of_another_kind_is_not_created)
{
	tsi_create(TSI_SVM, 1, TSI_STREAM);
	tsi_create(TSI_SVM, TSI_INET, 3);
	tsi_create(0, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", 1), -22);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_MALFORMED), 3);
}
END_TEST

START_TEST(a_number_that_is_created_again_is_a_new_socket)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	struct endpoint name;

	tsi_create(TSI_SVM, TSI_INET6, TSI_DGRAM);
	ck_assert_int_eq(tsi_ask_accept(TSI_SVM), -22);
	ck_assert_uint_eq(host.closed, 1);
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET6, tsi_at("::", 0));
	tsi_release(TSI_SVM, 0);
	ck_assert_int_eq(tsi_getname(TSI_SVM, 0, false, &name), -22);
	close(server);
}
END_TEST

START_TEST(an_errno_is_linuxs)
{
	ck_assert_int_eq(tsi_errno(0), 0);
	ck_assert_int_eq(tsi_errno(EPERM), 1);
	ck_assert_int_eq(tsi_errno(EAGAIN), 11);
	ck_assert_int_eq(tsi_errno(EACCES), 13);
	ck_assert_int_eq(tsi_errno(EINVAL), 22);
	ck_assert_int_eq(tsi_errno(EAFNOSUPPORT), 97);
	ck_assert_int_eq(tsi_errno(EADDRINUSE), 98);
	ck_assert_int_eq(tsi_errno(EADDRNOTAVAIL), 99);
	ck_assert_int_eq(tsi_errno(ENETUNREACH), 101);
	ck_assert_int_eq(tsi_errno(ETIMEDOUT), 110);
	ck_assert_int_eq(tsi_errno(ECONNREFUSED), 111);
	ck_assert_int_eq(tsi_errno(EHOSTUNREACH), 113);
	ck_assert_int_eq(tsi_errno(123456), 22);
}
END_TEST

/* As many as go without anybody reading the replies. */
static unsigned stuff(const uint8_t *request, size_t len, unsigned wanted)
{
	unsigned sent = 0;
	size_t at = 0;

	for (int idle = 0; sent < wanted && idle < 50;) {
		ssize_t n = os_send(rig.guest, request + at, len - at, 0);

		if (n < 0) {
			rig_run(1);
			idle++;
			continue;
		}
		idle = 0;
		at = (at + (size_t)n) % len;
		sent += !at;
	}
	ck_assert_uint_eq(at, 0);
	return sent;
}

START_TEST(requests_whose_replies_are_not_read_are_not_read_either)
{
	const unsigned wanted = 100000;
	uint8_t request[VSOCK_HLEN + 12] = {0};
	struct vsock_packet packet = guest_packet(VSOCK_OP_RW, TSI_CONTROL, TSI_GETNAME);
	unsigned sent, got;
	int small = 1; /* whole requests fit or do not: as little as the kernel allows */

	setsockopt(rig.guest, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	packet.type = VSOCK_TYPE_DGRAM;
	packet.len = 12;
	vsock_packet_write(&packet, request);
	sent = stuff(request, sizeof(request), wanted);
	ck_assert_uint_lt(sent, wanted);
	ck_assert_uint_le(vsock_mux_replies(rig.mux), VSOCK_REPLIES_MAX);
	ck_assert_uint_lt(rig_count(COUNTER_TSI_REQUESTS), sent);
	/* Each is answered all the same once the guest reads. */
	for (got = 0; got < sent; got++)
		tsi_expect(TSI_GETNAME, TSI_NAME_LEN);
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_TSI_REQUESTS), sent);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_DROPPED), 0);
	ck_assert(vsock_mux_ready(rig.mux));
}
END_TEST

START_TEST(no_more_is_read_while_1024_replies_are_due)
{
	const unsigned sent = VSOCK_REPLIES_MAX + 100;
	int server = tsi_server(SOCK_STREAM, 5);

	for (unsigned i = 0; i < sent; i++)
		tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_TSI_REQUESTS), VSOCK_REPLIES_MAX);
	ck_assert(!vsock_mux_ready(rig.mux));
	ck_assert_uint_eq(host.asked, 1);
	tsi_listening(host.tsi, TSI_SVM, server);
	for (unsigned i = 0; i < sent; i++)
		ck_assert_int_eq(tsi_result(TSI_LISTEN), 0);
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_TSI_DROPPED), 0);
	ck_assert_uint_eq(host.asked, 1);
}
END_TEST

START_TEST(the_socket_longest_unused_goes_when_there_is_no_room)
{
	struct endpoint name;

	for (uint32_t i = 0; i < TSI_PROXIES_MAX; i++)
		tsi_create(TSI_SVM + i, TSI_INET, TSI_DGRAM);
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, tsi_at("0.0.0.0", 0));
	ck_assert_uint_eq(tsi_proxy_count(host.tsi), TSI_PROXIES_MAX);
	tsi_create(TSI_SVM + TSI_PROXIES_MAX, TSI_INET, TSI_DGRAM);
	ck_assert_int_eq(tsi_getname(TSI_SVM + 1, 0, false, &name), -22);
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, tsi_at("0.0.0.0", 0));
	TSI_EXPECT_NAME(TSI_SVM + TSI_PROXIES_MAX, 0, false, TSI_INET, tsi_at("0.0.0.0", 0));
	ck_assert_uint_eq(tsi_proxy_count(host.tsi), TSI_PROXIES_MAX);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_BOUNDS), 1);
}
END_TEST

START_TEST(netctld_hears_of_datagram_sockets_once_a_second)
{
	uint32_t cursor = 0;
	struct tsi_proxy proxy;

	for (uint32_t i = 0; i < 100; i++)
		tsi_create(TSI_SVM + i, TSI_INET, TSI_DGRAM);
	RIG_UNTIL(host.lists == 1);
	tsi_create(TSI_SVM + 100, TSI_INET6, TSI_DGRAM);
	tsi_release(TSI_SVM, 0);
	rig_run(100);
	ck_assert_uint_le(host.lists, 2); /* the first may have been told in between */
	tsi_later(TSI_TELL_MS);
	ck_assert_uint_ge(host.lists, 2);
	for (unsigned n = 0; n < 100; n++)
		ck_assert(tsi_proxy_next(host.tsi, &cursor, &proxy));
	ck_assert(!tsi_proxy_next(host.tsi, &cursor, &proxy));
	ck_assert_uint_eq(tsi_proxy_count(host.tsi), 100);
}
END_TEST

START_TEST(a_guest_that_goes_takes_its_sockets_along)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);

	tsi_create(TSI_SVM + 1, TSI_INET, TSI_DGRAM);
	tsi_tell_listen(TSI_SVM + 2, TSI_VM, "0.0.0.0", 81);
	RIG_UNTIL(host.asked == 2);
	close(rig.guest);
	rig.guest = -1;
	RIG_UNTIL(host.closed == 1);
	ck_assert_uint_eq(tsi_listener_count(host.tsi), 0);
	ck_assert_uint_eq(tsi_proxy_count(host.tsi), 0);
	ck_assert_uint_eq(tsi_pending(host.tsi), 0);
	/* What had been asked for in its name is not for the next. */
	rig_attach_guest();
	rig_expect_greeting();
	tsi_listening(host.tsi, TSI_SVM + 2, os_dup(server));
	ck_assert_uint_eq(host.closed, 2);
	ck_assert_uint_eq(host.closed_svm_port, TSI_SVM + 2);
	ck_assert_int_eq(tsi_ask_accept(TSI_SVM + 2), -22);
	close(server);
}
END_TEST

START_TEST(a_guest_that_comes_finds_what_was_restored)
{
	const struct tsi_listener listener = {TSI_SVM, TSI_VM, 2, 1, 5, tsi_at("0.0.0.0", 80)};
	const struct tsi_proxy proxy = {TSI_SVM + 1, 10, true, tsi_at("10.0.2.2", 53)};
	int fd, server = tsi_server(SOCK_STREAM, 5);

	close(rig.guest);
	rig.guest = -1;
	RIG_UNTIL(!vsock_stream_is_up(rig.stream));
	ck_assert_int_eq(tsi_restore_listener(host.tsi, &listener, os_dup(server)), 0);
	ck_assert_int_eq(tsi_restore_proxy(host.tsi, &proxy), 0);
	rig_attach_guest();
	rig_expect_greeting();
	ck_assert_int_eq(tsi_ask_accept(TSI_SVM), 0);
	TSI_EXPECT_NAME(TSI_SVM + 1, 0, true, TSI_INET6, tsi_at("10.0.2.2", 53));
	ck_assert_uint_eq(tsi_listener_at(host.tsi, 0, &fd)->backlog, 5);
	ck_assert_ptr_null(tsi_listener_at(host.tsi, 1, &fd));
	fd = tsi_dial(server);
	tsi_take(TSI_VM);
	ck_assert_uint_eq(host.closed, 0);
	/* Replacing one says nothing: netctld does it. */
	ck_assert_int_eq(tsi_restore_listener(host.tsi, &listener, os_dup(server)), 0);
	ck_assert_uint_eq(tsi_listener_count(host.tsi), 1);
	ck_assert_uint_eq(host.closed, 0);
	ck_assert_int_eq(tsi_restore_listener(host.tsi, &listener, os_dup(fd)), -EINVAL);
	ck_assert_uint_eq(tsi_listener_count(host.tsi), 0);
	close(fd);
	close(server);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tsi");
	TCase *t = tcase_create("tsi");

	tcase_add_checked_fixture(t, tsi_setup, tsi_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_body_cut_short_is_einval_or_silence);
	tcase_add_test(t, an_address_is_as_long_as_its_family_wants);
	tcase_add_test(t, an_unknown_socket_cannot_connect_accept_or_be_named);
	tcase_add_test(t, a_release_of_what_was_never_there_is_normal);
	tcase_add_test(t, a_socket_of_another_kind_is_not_created);
	tcase_add_test(t, a_number_that_is_created_again_is_a_new_socket);
	tcase_add_test(t, an_errno_is_linuxs);
	tcase_add_test(t, requests_whose_replies_are_not_read_are_not_read_either);
	tcase_add_test(t, no_more_is_read_while_1024_replies_are_due);
	tcase_add_test(t, the_socket_longest_unused_goes_when_there_is_no_room);
	tcase_add_test(t, netctld_hears_of_datagram_sockets_once_a_second);
	tcase_add_test(t, a_guest_that_goes_takes_its_sockets_along);
	tcase_add_test(t, a_guest_that_comes_finds_what_was_restored);
	suite_add_tcase(s, t);
	return run_suite(s);
}
