/* SPDX-License-Identifier: MIT */
/* TSI's outbound streams: dialled, parked, claimed; refused, slow, to the guest itself; their ends. */
#include "tests/unit/tsi_rig.h"

/* The guest's own listener and a stream to it that is claimed; the listener's end is host_port. */
static uint32_t own_stream(uint32_t svm_port)
{
	tsi_create(svm_port, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(svm_port, "127.0.0.1", 80), 0);
	guest_send(VSOCK_OP_REQUEST, svm_port, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, svm_port);
	return tsi_take(TSI_VM);
}

START_TEST(a_stream_is_dialled_then_claimed)
{
	int server = tsi_server(SOCK_STREAM, 5), far;
	struct vsock_packet packet;
	char buf[5];

	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", tsi_name(server).port), 0);
	far = tsi_accept(server);
	ck_assert_uint_eq(tsi_pending(host.tsi), 1);
	guest_send(VSOCK_OP_REQUEST, TSI_SVM, TSI_STREAM_PORT, 0);
	packet = guest_expect(VSOCK_OP_RESPONSE, TSI_SVM);
	ck_assert_uint_eq(packet.src_port, TSI_STREAM_PORT);
	ck_assert_uint_eq(tsi_pending(host.tsi), 0);
	guest_rw(TSI_SVM, TSI_STREAM_PORT, "hello", 5);
	host_read(far, buf, 5);
	ck_assert_mem_eq(buf, "hello", 5);
	ck_assert_int_eq(os_send(far, "world", 5, 0), 5);
	packet = guest_expect(VSOCK_OP_RW, TSI_SVM);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "world", 5);
	close(far);
	close(server);
}
END_TEST

START_TEST(its_names_are_what_was_dialled_and_the_near_end)
{
	int server = tsi_server(SOCK_STREAM, 5);
	struct endpoint peer = tsi_at("10.0.2.2", tsi_name(server).port), near;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int far;

	tsi_create(TSI_SVM, TSI_INET6, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", peer.port), 0);
	far = tsi_accept(server);
	ck_assert_int_eq(getpeername(far, (struct sockaddr *)&ss, &len), 0);
	endpoint_from_sockaddr((struct sockaddr *)&ss, len, &near);
	guest_send(VSOCK_OP_REQUEST, TSI_SVM, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, TSI_SVM);
	TSI_EXPECT_NAME(TSI_SVM, TSI_STREAM_PORT, true, TSI_INET6, peer);
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET6, near);
	close(far);
	close(server);
}
END_TEST

START_TEST(ipv6_is_dialled_and_named)
{
	struct sockaddr_storage ss;
	struct endpoint at = tsi_at("::1", 0);
	socklen_t len = endpoint_to_sockaddr(&at, &ss);
	int server = os_socket(AF_INET6, SOCK_STREAM, 0, true), far;

	if (server < 0 || bind(server, (struct sockaddr *)&ss, len) < 0)
		return; /* a host without IPv6 */
	ck_assert_int_eq(listen(server, 5), 0);
	at = tsi_name(server);
	tsi_policy(false);
	tsi_create(TSI_SVM, TSI_INET6, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "::1", at.port), 0);
	far = tsi_accept(server);
	TSI_EXPECT_NAME(TSI_SVM, 0, true, TSI_INET6, at);
	tsi_create(TSI_SVM + 1, TSI_INET6, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 1, "::", at.port), 0);
	host.net.host_access = false;
	tsi_create(TSI_SVM + 2, TSI_INET6, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 2, "::1", at.port), -111);
	/* An AF_INET socket has no IPv6. */
	tsi_create(TSI_SVM + 3, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 3, "::1", at.port), -97);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 3, "::ffff:10.0.2.2", 1), -13);
	close(far);
	close(server);
}
END_TEST

START_TEST(nobody_there_is_econnrefused_and_the_socket_goes_on)
{
	int server = tsi_server(SOCK_STREAM, 5);
	uint16_t port = tsi_name(server).port;

	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", 1), -111);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", port), 0);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", port), -106);
	close(server);
}
END_TEST

START_TEST(what_the_policy_refuses_is_eacces_but_for_loopback)
{
	tsi_policy(false);
	host.net.host_access = false;
	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "192.0.2.1", 80), -13);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", 80), -13);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "127.0.0.1", 80), -111);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "0.0.0.0", 80), -111);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.15", 80), -111);
	ck_assert_uint_eq(rig_count(COUNTER_EGRESS_REFUSED_POLICY), 4);
}
END_TEST

START_TEST(loopback_is_the_hosts_where_it_may_be_reached)
{
	int server = tsi_server(SOCK_STREAM, 5), far;

	tsi_policy(false);
	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "127.0.0.1", tsi_name(server).port), 0);
	far = tsi_accept(server);
	TSI_EXPECT_NAME(TSI_SVM, 0, true, TSI_INET, tsi_at("127.0.0.1", tsi_name(server).port));
	close(far);
	close(server);
}
END_TEST

/* A server whose backlog is full: a connect to it hangs. */
static int slow_server(int fill[4])
{
	int server = tsi_server(SOCK_STREAM, 0);

	for (int i = 0; i < 4; i++)
		fill[i] = tsi_dial(server);
	return server;
}

START_TEST(a_slow_destination_is_etimedout_and_delays_nobody)
{
	int fill[4], slow = slow_server(fill), server = tsi_server(SOCK_STREAM, 5);
	struct endpoint to = tsi_at("10.0.2.2", tsi_name(slow).port);
	struct body body = connect_body(TSI_SVM, &to);

	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	tsi_tell(TSI_CONNECT, &body);
	tsi_create(TSI_SVM + 1, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 1, "10.0.2.2", tsi_name(server).port), 0);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", to.port), -114);
	ck_assert_uint_eq(tsi_pending(host.tsi), 2);
	tsi_later(TSI_CONNECT_MS);
	ck_assert_int_eq(tsi_result(TSI_CONNECT), -110);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_CONNECT_TIMEOUTS), 1);
	ck_assert_uint_eq(egress_half_open(host.egress), 0);
	guest_expect_nothing();
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(slow);
	close(server);
}
END_TEST

START_TEST(a_socket_that_is_closed_while_it_connects_is_answered)
{
	int fill[4], slow = slow_server(fill);
	struct endpoint to = tsi_at("10.0.2.2", tsi_name(slow).port);
	struct body body = connect_body(TSI_SVM, &to);

	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	tsi_tell(TSI_CONNECT, &body);
	tsi_release(TSI_SVM, 0);
	ck_assert_int_lt(tsi_result(TSI_CONNECT), 0);
	ck_assert_uint_eq(egress_half_open(host.egress), 0);
	ck_assert_uint_eq(tsi_pending(host.tsi), 0);
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(slow);
}
END_TEST

START_TEST(so_many_connects_to_one_slow_destination_and_no_more)
{
	int fill[4], slow = slow_server(fill);
	struct endpoint to = tsi_at("10.0.2.2", tsi_name(slow).port);

	for (uint32_t i = 0; i <= EGRESS_HALF_OPEN_EACH; i++) {
		struct body body = connect_body(TSI_SVM + i, &to);

		tsi_create(TSI_SVM + i, TSI_INET, TSI_STREAM);
		tsi_tell(TSI_CONNECT, &body);
	}
	ck_assert_int_eq(tsi_result(TSI_CONNECT), -11);
	guest_expect_nothing();
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(slow);
}
END_TEST

START_TEST(a_claim_of_nothing_is_reset)
{
	guest_send(VSOCK_OP_REQUEST, TSI_SVM, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RST, TSI_SVM);
	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	guest_send(VSOCK_OP_REQUEST, TSI_SVM, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RST, TSI_SVM);
}
END_TEST

START_TEST(what_nobody_claims_is_closed_after_a_while)
{
	int server = tsi_server(SOCK_STREAM, 5), far;

	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", tsi_name(server).port), 0);
	far = tsi_accept(server);
	tsi_later(TSI_PARK_MS);
	RIG_UNTIL(host_is_at_end(far));
	guest_send(VSOCK_OP_REQUEST, TSI_SVM, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RST, TSI_SVM);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_UNCLAIMED), 1);
	/* And the socket can connect again. */
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", tsi_name(server).port), 0);
	close(far);
	close(server);
}
END_TEST

START_TEST(a_release_before_shutdown_loses_no_byte)
{
	static uint8_t sent[200000], got[200000];
	int server = tsi_server(SOCK_STREAM, 5), far, small = 4096;

	os_random(sent, sizeof(sent));
	setsockopt(server, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	tsi_stream(TSI_SVM, server);
	far = tsi_accept(server);
	for (uint32_t at = 0; at < sizeof(sent); at += 50000)
		guest_rw(TSI_SVM, TSI_STREAM_PORT, sent + at, 50000);
	tsi_release(TSI_SVM, TSI_STREAM_PORT);
	guest_send(VSOCK_OP_SHUTDOWN, TSI_SVM, TSI_STREAM_PORT, VSOCK_SHUT_BOTH);
	host_read(far, got, sizeof(got));
	ck_assert_mem_eq(got, sent, sizeof(got));
	RIG_UNTIL(host_is_at_end(far));
	ck_assert_int_eq(recv(far, got, 1, 0), 0); /* orderly */
	close(far);
	close(server);
}
END_TEST

START_TEST(a_stream_to_the_guests_own_listener_whatever_the_policy)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	struct vsock_packet packet;
	struct endpoint near;
	uint32_t host_port;

	tsi_policy(false);
	host.net.host_access = false;
	host_port = own_stream(TSI_SVM + 1);
	guest_rw(TSI_SVM + 1, TSI_STREAM_PORT, "ping", 4);
	packet = guest_expect(VSOCK_OP_RW, TSI_VM);
	ck_assert_uint_eq(packet.src_port, host_port);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "ping", 4);
	guest_rw(TSI_VM, host_port, "pong", 4);
	packet = guest_expect(VSOCK_OP_RW, TSI_SVM + 1);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "pong", 4);
	/* Both ends have the same names for it. */
	ck_assert_int_eq(tsi_getname(TSI_SVM + 1, 0, false, &near), 0);
	ck_assert(addr_is_loopback(&near.addr) && near.port);
	TSI_EXPECT_NAME(TSI_SVM + 1, 0, true, TSI_INET, tsi_at("127.0.0.1", 80));
	TSI_EXPECT_NAME(TSI_SVM, host_port, true, TSI_INET, near);
	/* The host's socket for the listener had no part in it. */
	ck_assert_int_eq(os_accept(server, NULL, NULL), -EAGAIN);
	close(server);
}
END_TEST

START_TEST(the_guests_own_addresses_reach_its_listener)
{
	static const char *const addrs[] = {
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.2.15", "::1", "::"};
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);

	tsi_policy(false);
	host.net.host_access = false;
	for (uint32_t i = 0; i < 6; i++) {
		tsi_create(TSI_SVM + 1 + i, TSI_INET6, TSI_STREAM);
		ck_assert_int_eq(tsi_connect(TSI_SVM + 1 + i, addrs[i], 80), 0);
	}
	tsi_create(TSI_SVM + 9, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 9, "127.0.0.1", 81), -111);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 9, "10.0.2.2", 80), -13);
	close(server);
}
END_TEST

START_TEST(ends_and_half_closes_pass_to_the_guests_own_listener)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	uint32_t host_port = own_stream(TSI_SVM + 1);
	struct vsock_packet packet;

	guest_rw(TSI_SVM + 1, TSI_STREAM_PORT, "last", 4);
	guest_send(VSOCK_OP_SHUTDOWN, TSI_SVM + 1, TSI_STREAM_PORT, VSOCK_SHUT_SEND);
	guest_expect(VSOCK_OP_RW, TSI_VM);
	packet = guest_expect(VSOCK_OP_SHUTDOWN, TSI_VM);
	ck_assert_uint_eq(packet.flags, VSOCK_SHUT_SEND);
	guest_rw(TSI_VM, host_port, "answer", 6);
	guest_expect(VSOCK_OP_RW, TSI_SVM + 1);
	guest_send(VSOCK_OP_SHUTDOWN, TSI_VM, host_port, VSOCK_SHUT_BOTH);
	/* In which order the two hear of it is the mux's. */
	packet = guest_next();
	if (packet.dst_port == TSI_VM)
		packet = guest_next();
	ck_assert_uint_eq(packet.dst_port, TSI_SVM + 1);
	ck_assert_int_eq(packet.op, VSOCK_OP_SHUTDOWN);
	close(server);
}
END_TEST

START_TEST(a_reset_passes_between_the_guests_own_ends)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	uint32_t host_port = own_stream(TSI_SVM + 1);

	guest_send(VSOCK_OP_RST, TSI_SVM + 1, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RST, TSI_VM);
	host_port = own_stream(TSI_SVM + 2);
	guest_send(VSOCK_OP_RST, TSI_VM, host_port, 0);
	guest_expect(VSOCK_OP_RST, TSI_SVM + 2);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
	/* One that ends before the listener has accepted it. */
	tsi_create(TSI_SVM + 3, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 3, "127.0.0.1", 80), 0);
	guest_send(VSOCK_OP_REQUEST, TSI_SVM + 3, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, TSI_SVM + 3);
	host_port = guest_expect(VSOCK_OP_REQUEST, TSI_VM).src_port;
	guest_send(VSOCK_OP_RST, TSI_SVM + 3, TSI_STREAM_PORT, 0);
	guest_send(VSOCK_OP_RESPONSE, TSI_VM, host_port, 0);
	guest_expect(VSOCK_OP_RST, TSI_VM);
	/* And one that is refused. */
	tsi_create(TSI_SVM + 4, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 4, "127.0.0.1", 80), 0);
	guest_send(VSOCK_OP_REQUEST, TSI_SVM + 4, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, TSI_SVM + 4);
	host_port = guest_expect(VSOCK_OP_REQUEST, TSI_VM).src_port;
	guest_send(VSOCK_OP_RST, TSI_VM, host_port, 0);
	guest_expect(VSOCK_OP_RST, TSI_SVM + 4);
	close(server);
}
END_TEST

START_TEST(a_listener_that_has_gone_resets_the_claim)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);

	tsi_create(TSI_SVM + 1, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 1, "127.0.0.1", 80), 0);
	tsi_release(TSI_SVM, TSI_STREAM_PORT);
	guest_send(VSOCK_OP_REQUEST, TSI_SVM + 1, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RST, TSI_SVM + 1);
	close(server);
}
END_TEST

START_TEST(port_53_of_the_gateway_is_our_dns)
{
	static const uint8_t query[] = {0, 31, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 'h',
		'o', 's', 't', 8, 'i', 'n', 't', 'e', 'r', 'n', 'a', 'l', 0, 0, 1, 0, 1};

	tsi_policy(false);
	host.net.host_access = false;
	ck_assert_int_eq(dns_hosts_set(host.dns, NULL, 0, true), 0);
	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", 53), 0);
	guest_send(VSOCK_OP_REQUEST, TSI_SVM, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, TSI_SVM);
	guest_rw(TSI_SVM, TSI_STREAM_PORT, query, sizeof(query));
	ck_assert_uint_gt(guest_expect(VSOCK_OP_RW, TSI_SVM).len, sizeof(query));
	ck_assert_uint_eq(load_be16(rig.in + VSOCK_HLEN + 2), 0x1234);
	ck_assert_uint_eq(load_be16(rig.in + VSOCK_HLEN + 8), 1);
}
END_TEST

START_TEST(a_new_policy_cuts_what_it_forbids)
{
	int server = tsi_server(SOCK_STREAM, 5), listener, far;

	listener = tsi_listen_on(TSI_SVM + 9, TSI_VM, "0.0.0.0", 80);
	tsi_stream(TSI_SVM, server);
	far = tsi_accept(server);
	tsi_create(TSI_SVM + 1, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 1, "10.0.2.2", tsi_name(server).port), 0);
	own_stream(TSI_SVM + 2);
	tsi_recheck(host.tsi);
	guest_expect_nothing();
	tsi_policy(false);
	host.net.host_access = false;
	tsi_recheck(host.tsi);
	guest_expect(VSOCK_OP_RST, TSI_SVM);
	RIG_UNTIL(host_is_at_end(far));
	ck_assert_uint_eq(tsi_pending(host.tsi), 0);
	guest_expect_nothing(); /* its own stream stands */
	close(far);
	close(server);
	close(listener);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tsi_stream");
	TCase *t = tcase_create("stream");

	tcase_add_checked_fixture(t, tsi_setup, tsi_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_stream_is_dialled_then_claimed);
	tcase_add_test(t, its_names_are_what_was_dialled_and_the_near_end);
	tcase_add_test(t, ipv6_is_dialled_and_named);
	tcase_add_test(t, nobody_there_is_econnrefused_and_the_socket_goes_on);
	tcase_add_test(t, what_the_policy_refuses_is_eacces_but_for_loopback);
	tcase_add_test(t, loopback_is_the_hosts_where_it_may_be_reached);
	tcase_add_test(t, a_slow_destination_is_etimedout_and_delays_nobody);
	tcase_add_test(t, a_socket_that_is_closed_while_it_connects_is_answered);
	tcase_add_test(t, so_many_connects_to_one_slow_destination_and_no_more);
	tcase_add_test(t, a_claim_of_nothing_is_reset);
	tcase_add_test(t, what_nobody_claims_is_closed_after_a_while);
	tcase_add_test(t, a_release_before_shutdown_loses_no_byte);
	tcase_add_test(t, a_stream_to_the_guests_own_listener_whatever_the_policy);
	tcase_add_test(t, the_guests_own_addresses_reach_its_listener);
	tcase_add_test(t, ends_and_half_closes_pass_to_the_guests_own_listener);
	tcase_add_test(t, a_reset_passes_between_the_guests_own_ends);
	tcase_add_test(t, a_listener_that_has_gone_resets_the_claim);
	tcase_add_test(t, port_53_of_the_gateway_is_our_dns);
	tcase_add_test(t, a_new_policy_cuts_what_it_forbids);
	suite_add_tcase(s, t);
	return run_suite(s);
}
