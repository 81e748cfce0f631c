/* SPDX-License-Identifier: MIT */
/* TSI's listeners: asked of netctld, accepted from, published, closed; their clients' names. */
#include "tests/unit/tsi_rig.h"

/* What the guest is told when netctld answers so. */
static int32_t listen_result(uint32_t svm_port, int answer)
{
	unsigned before = host.asked;

	tsi_tell_listen(svm_port, TSI_VM, "0.0.0.0", 80);
	RIG_UNTIL(host.asked == before + 1);
	tsi_listening(host.tsi, svm_port, answer);
	return tsi_result(TSI_LISTEN);
}

START_TEST(netctld_binds_and_clients_reach_the_guest)
{
	struct vsock_packet request, packet;
	struct endpoint client;
	int server, fd;
	char buf[5];

	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 8080);
	ck_assert_int_eq(tsi_ask_accept(TSI_SVM), 0);
	fd = tsi_dial(server);
	client = tsi_name(fd);
	request = guest_expect(VSOCK_OP_REQUEST, TSI_VM);
	ck_assert_uint_ge(request.src_port, VSOCK_HOST_PORT_FIRST);
	guest_send(VSOCK_OP_RESPONSE, TSI_VM, request.src_port, 0);
	TSI_EXPECT_NAME(TSI_SVM, request.src_port, true, TSI_INET, client);
	TSI_EXPECT_NAME(TSI_SVM, request.src_port, false, TSI_INET, tsi_at("10.0.2.15", 8080));
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, tsi_at("10.0.2.15", 8080));
	guest_rw(TSI_VM, request.src_port, "hello", 5);
	host_read(fd, buf, 5);
	ck_assert_int_eq(os_send(fd, "world", 5, 0), 5);
	packet = guest_expect(VSOCK_OP_RW, TSI_VM);
	ck_assert_uint_eq(packet.src_port, request.src_port);
	close(fd);
	close(server);
}
END_TEST

START_TEST(names_have_the_listeners_family)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "::", 80), fd = tsi_dial(server);
	uint32_t port = tsi_take(TSI_VM);

	TSI_EXPECT_NAME(TSI_SVM, port, true, TSI_INET6, tsi_name(fd));
	TSI_EXPECT_NAME(TSI_SVM, port, false, TSI_INET6, tsi_at("10.0.2.15", 80));
	close(fd);
	close(server);
}
END_TEST

START_TEST(what_netctld_cannot_do_is_an_errno_the_guest_can_go_on_with)
{
	ck_assert_int_eq(listen_result(TSI_SVM, -EADDRINUSE), -98);
	ck_assert_int_eq(listen_result(TSI_SVM, -EACCES), -1);
	ck_assert_int_eq(listen_result(TSI_SVM, -EPERM), -1);
	ck_assert_int_eq(listen_result(TSI_SVM, -EMFILE), -99);
	ck_assert_int_eq(listen_result(TSI_SVM, -ENOSYS), -99);
	ck_assert_uint_eq(host.failed, 5);
	ck_assert_uint_eq(host.closed, 0);
	/* netctld may have bound it after our patience. */
	ck_assert_int_eq(listen_result(TSI_SVM, -ETIMEDOUT), -99);
	ck_assert_uint_eq(host.closed, 1);
	/* Not a listening socket. */
	ck_assert_int_eq(listen_result(TSI_SVM, tsi_server(SOCK_DGRAM, 0)), -99);
	ck_assert_uint_eq(host.closed, 2);
	ck_assert_uint_eq(tsi_listener_count(host.tsi), 0);
}
END_TEST

START_TEST(while_netctld_is_away_five_seconds_are_waited)
{
	host.away = true;
	tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	guest_expect_nothing();
	ck_assert_uint_eq(tsi_pending(host.tsi), 1);
	tsi_later(TSI_LISTEN_MS);
	ck_assert_int_eq(tsi_result(TSI_LISTEN), -99);
	ck_assert_uint_eq(host.failed, 1);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_LISTEN_TIMEOUTS), 1);
	ck_assert_uint_eq(tsi_pending(host.tsi), 0);
}
END_TEST

START_TEST(a_netctld_that_comes_back_in_time_is_asked)
{
	host.away = true;
	tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	rig_run(50);
	host.away = false;
	RIG_UNTIL(host.asked == 1);
	/* One that goes with the question is asked again. */
	tsi_listening(host.tsi, TSI_SVM, -ECONNRESET);
	RIG_UNTIL(host.asked == 2);
	tsi_listening(host.tsi, TSI_SVM, tsi_server(SOCK_STREAM, 5));
	ck_assert_int_eq(tsi_result(TSI_LISTEN), 0);
}
END_TEST

START_TEST(a_listen_on_a_listener_is_0_and_asks_nobody)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);

	for (int i = 0; i < 1000; i++) {
		struct endpoint at = tsi_at("0.0.0.0", 80);
		struct body body = listen_body(TSI_SVM, TSI_VM, &at);

		ck_assert_int_eq(tsi_ask(TSI_LISTEN, &body), 0);
	}
	ck_assert_uint_eq(host.asked, 1);
	close(server);
}
END_TEST

START_TEST(listening_in_a_loop_does_not_flood_netctld)
{
	for (uint32_t i = 0; i < 1000; i++) {
		tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 80);
		tsi_release(TSI_SVM, TSI_STREAM_PORT);
	}
	for (int i = 0; i < 1000; i++)
		ck_assert_int_lt(tsi_result(TSI_LISTEN), 0);
	rig_run(20);
	ck_assert_uint_le(host.asked, 1);
	/* And with a thousand sockets. */
	for (uint32_t i = 1; i <= 1000; i++)
		tsi_tell_listen(TSI_SVM + i, TSI_VM, "0.0.0.0", 80);
	for (uint32_t i = 0; i < 1000 - TSI_LISTENERS_MAX; i++)
		ck_assert_int_eq(tsi_result(TSI_LISTEN), -99);
	guest_expect_nothing();
	ck_assert_uint_le(host.asked, 8 + 1);
	/* An answer lets the next question out. */
	tsi_listening(host.tsi, host.asked_svm_ports[host.asked - 1], tsi_server(SOCK_STREAM, 5));
	ck_assert_int_eq(tsi_result(TSI_LISTEN), 0);
	ck_assert_uint_le(host.asked, 8 + 2);
}
END_TEST

START_TEST(a_question_that_outlives_its_listener_is_taken_back)
{
	int server = tsi_server(SOCK_STREAM, 5);

	tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	RIG_UNTIL(host.asked == 1);
	tsi_release(TSI_SVM, TSI_STREAM_PORT);
	ck_assert_int_lt(tsi_result(TSI_LISTEN), 0);
	tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 81);
	rig_run(20);
	ck_assert_uint_eq(host.asked, 1); /* one at a time */
	tsi_listening(host.tsi, TSI_SVM, os_dup(server));
	ck_assert_uint_eq(host.closed, 1);
	RIG_UNTIL(host.asked == 2);
	tsi_listening(host.tsi, TSI_SVM, os_dup(server));
	ck_assert_int_eq(tsi_result(TSI_LISTEN), 0);
	ck_assert_uint_eq(host.closed, 1);
	close(server);
}
END_TEST

START_TEST(a_release_closes_the_listener_and_not_its_connections)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80), fd = tsi_dial(server);
	uint32_t port = tsi_take(TSI_VM);
	struct endpoint at = tsi_name(server);
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&at, &ss);
	int late;
	char byte;

	tsi_release(TSI_SVM, port);
	ck_assert_int_eq(tsi_ask_accept(TSI_SVM), 0);
	ck_assert_uint_eq(host.closed, 0);
	tsi_release(TSI_SVM, TSI_STREAM_PORT);
	RIG_UNTIL(host.closed == 1);
	ck_assert_uint_eq(host.closed_svm_port, TSI_SVM);
	/* For netctld's duplicate, too. */
	late = os_socket(AF_INET, SOCK_STREAM, 0, false);
	ck_assert(connect(late, (struct sockaddr *)&ss, len) < 0 && errno == ECONNREFUSED);
	close(late);
	guest_rw(TSI_VM, port, "x", 1);
	host_read(fd, &byte, 1);
	close(server);
	close(fd);
}
END_TEST

START_TEST(a_client_that_the_guest_refuses_is_reset)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80), fd = tsi_dial(server);
	struct vsock_packet request = guest_expect(VSOCK_OP_REQUEST, TSI_VM);
	ssize_t n = -1;
	char byte;

	guest_send(VSOCK_OP_RST, TSI_VM, request.src_port, 0);
	for (errno = EAGAIN; n < 0 && errno == EAGAIN; n = recv(fd, &byte, 1, 0))
		rig_run(1);
	ck_assert(n < 0 && errno == ECONNRESET);
	close(fd);
	close(server);
}
END_TEST

START_TEST(accepting_pauses_at_256_under_way)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	int fds[300];
	uint32_t first = 0;

	for (int i = 0; i < 300; i++)
		fds[i] = tsi_dial(server);
	for (unsigned i = 0; i < ACCEPT_UNDER_WAY_MAX; i++) {
		uint32_t port = guest_expect(VSOCK_OP_REQUEST, TSI_VM).src_port;

		first = first ? first : port;
	}
	guest_expect_nothing();
	guest_send(VSOCK_OP_RESPONSE, TSI_VM, first, 0);
	guest_expect(VSOCK_OP_REQUEST, TSI_VM);
	guest_expect_nothing();
	for (int i = 0; i < 300; i++)
		close(fds[i]);
	close(server);
}
END_TEST

START_TEST(a_client_that_has_gone_is_named_until_it_is_released)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80), fd = tsi_dial(server);
	struct endpoint client = tsi_name(fd), name;
	uint32_t port = tsi_take(TSI_VM);
	struct linger reset = {1, 0};

	TSI_EXPECT_NAME(TSI_SVM, port, true, TSI_INET, client);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
	guest_expect(VSOCK_OP_RST, TSI_VM);
	tsi_release(TSI_SVM, TSI_STREAM_PORT); /* the listener: its clients outlive it */
	TSI_EXPECT_NAME(TSI_SVM, port, true, TSI_INET, client);
	tsi_release(TSI_SVM, port);
	ck_assert_int_eq(tsi_getname(TSI_SVM, port, true, &name), -22);
	close(server);
}
END_TEST

START_TEST(names_of_clients_that_have_gone_are_bounded)
{
	int server = tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80);
	struct endpoint name;
	uint32_t first = 0;

	for (unsigned i = 0; i < 1025; i++) {
		struct vsock_host none = {.fd = -1, .prefix = "x", .prefix_len = 1};
		uint32_t port;

		ck_assert_int_eq(tsi_open(host.tsi, TSI_FIRST, 0, &none, NULL, NULL), 0);
		port = tsi_take(TSI_VM);
		guest_expect(VSOCK_OP_RW, TSI_VM);
		guest_expect(VSOCK_OP_SHUTDOWN, TSI_VM);
		guest_send(VSOCK_OP_RST, TSI_VM, port, 0);
		if (i == 0) {
			first = port;
			ck_assert_int_eq(tsi_getname(TSI_SVM, first, true, &name), 0);
			ck_assert(addr_eq(&name.addr, &host.net.gateway) && name.port);
		}
	}
	ck_assert_int_eq(tsi_getname(TSI_SVM, first + 1, true, &name), 0);
	TSI_EXPECT_NAME(
		TSI_SVM, first, false, TSI_INET, tsi_at("10.0.2.15", 80)); /* the listener's */
	ck_assert_int_eq(tsi_getname(TSI_SVM, first, true, &name), -107);
	close(server);
}
END_TEST

static uint32_t opened_at(enum tsi_target how, uint32_t port)
{
	struct endpoint client = tsi_at("192.0.2.7", 4711);
	struct vsock_host none = {.fd = -1, .prefix = "x", .prefix_len = 1};
	struct vsock_packet request;

	if (tsi_open(host.tsi, how, port, &none, &client, &rig_conn_events) == -ENOENT)
		return 0;
	request = guest_next();
	ck_assert_int_eq(request.op, VSOCK_OP_REQUEST);
	guest_send(VSOCK_OP_RST, request.dst_port, request.src_port, 0);
	return request.dst_port;
}

START_TEST(a_listener_is_found_by_age_vm_port_and_bound_port)
{
	int servers[3];

	ck_assert_uint_eq(opened_at(TSI_FIRST, 0), 0);
	servers[0] = tsi_listen_on(TSI_SVM, TSI_VM, "::", 80);
	ck_assert_uint_eq(opened_at(TSI_FIRST, 0), TSI_VM);
	servers[1] = tsi_listen_on(TSI_SVM + 1, TSI_VM + 1, "0.0.0.0", 80);
	servers[2] = tsi_listen_on(TSI_SVM + 2, TSI_VM + 2, "0.0.0.0", 0);
	ck_assert_uint_eq(opened_at(TSI_FIRST, 0), TSI_VM + 1);
	ck_assert_uint_eq(opened_at(TSI_VM_PORT, TSI_VM), TSI_VM);
	ck_assert_uint_eq(opened_at(TSI_VM_PORT, TSI_VM + 2), TSI_VM + 2);
	ck_assert_uint_eq(opened_at(TSI_VM_PORT, 80), 0);
	ck_assert_uint_eq(opened_at(TSI_BOUND_PORT, 80), TSI_VM + 1);
	ck_assert_uint_eq(opened_at(TSI_BOUND_PORT, 81), 0);
	ck_assert_uint_eq(opened_at(TSI_BOUND_PORT, 0), 0);
	RIG_UNTIL(rig.closed == 5);
	for (int i = 0; i < 3; i++)
		close(servers[i]);
}
END_TEST

START_TEST(an_opened_clients_name_is_what_was_given)
{
	int servers[] = {tsi_listen_on(TSI_SVM, TSI_VM, "0.0.0.0", 80),
		tsi_listen_on(TSI_SVM + 1, TSI_VM + 1, "::", 80)};
	struct endpoint client = tsi_at("2001:db8::7", 4711);
	struct vsock_host one = rig_host(), two = rig_host();
	uint32_t port;

	/* An AF_INET socket cannot see an IPv6 client as it is. */
	ck_assert_int_eq(
		tsi_open(host.tsi, TSI_VM_PORT, TSI_VM, &one, &client, &rig_conn_events), 0);
	port = tsi_take(TSI_VM);
	TSI_EXPECT_NAME(TSI_SVM, port, true, TSI_INET, tsi_at("10.0.2.2", 4711));
	ck_assert_uint_eq(rig.opened, 1);
	ck_assert_int_eq(
		tsi_open(host.tsi, TSI_VM_PORT, TSI_VM + 1, &two, &client, &rig_conn_events), 0);
	port = tsi_take(TSI_VM + 1);
	TSI_EXPECT_NAME(TSI_SVM + 1, port, true, TSI_INET6, client);
	close(servers[0]);
	close(servers[1]);
}
END_TEST

START_TEST(without_a_guest_there_is_nobody_to_open_to)
{
	const struct tsi_listener listener = {TSI_SVM, TSI_VM, 2, 1, 5, tsi_at("0.0.0.0", 80)};
	int server = tsi_server(SOCK_STREAM, 5), fd;
	struct vsock_host one = rig_host();

	close(rig.guest);
	rig.guest = -1;
	RIG_UNTIL(!vsock_stream_is_up(rig.stream));
	ck_assert_int_eq(tsi_restore_listener(host.tsi, &listener, os_dup(server)), 0);
	ck_assert_int_eq(tsi_open(host.tsi, TSI_FIRST, 0, &one, NULL, NULL), -ENOTCONN);
	ck_assert(host_is_at_end(rig.hosts[0]));
	fd = tsi_dial(server);
	RIG_UNTIL(host_is_at_end(fd));
	close(fd);
	close(server);
}
END_TEST

START_TEST(another_family_or_kind_of_socket_does_not_listen)
{
	struct endpoint at = tsi_at("0.0.0.0", 80), six = tsi_at("::", 80);
	struct body body = listen_body(TSI_SVM, TSI_VM, &at);

	tsi_create(TSI_SVM, TSI_INET, TSI_DGRAM);
	ck_assert_int_eq(tsi_ask(TSI_LISTEN, &body), -22);
	tsi_create(TSI_SVM, TSI_INET, TSI_STREAM);
	body = listen_body(TSI_SVM, TSI_VM, &six);
	ck_assert_int_eq(tsi_ask(TSI_LISTEN, &body), -97);
	body = listen_body(0, TSI_VM, &at);
	ck_assert_int_eq(tsi_ask(TSI_LISTEN, &body), -22);
	vsock_store16(body.b + 16, 1);
	ck_assert_int_eq(tsi_ask(TSI_LISTEN, &body), -97);
	ck_assert_uint_eq(host.asked, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tsi_listen");
	TCase *t = tcase_create("listen");

	tcase_add_checked_fixture(t, tsi_setup, tsi_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, netctld_binds_and_clients_reach_the_guest);
	tcase_add_test(t, names_have_the_listeners_family);
	tcase_add_test(t, what_netctld_cannot_do_is_an_errno_the_guest_can_go_on_with);
	tcase_add_test(t, while_netctld_is_away_five_seconds_are_waited);
	tcase_add_test(t, a_netctld_that_comes_back_in_time_is_asked);
	tcase_add_test(t, a_listen_on_a_listener_is_0_and_asks_nobody);
	tcase_add_test(t, listening_in_a_loop_does_not_flood_netctld);
	tcase_add_test(t, a_question_that_outlives_its_listener_is_taken_back);
	tcase_add_test(t, a_release_closes_the_listener_and_not_its_connections);
	tcase_add_test(t, a_client_that_the_guest_refuses_is_reset);
	tcase_add_test(t, accepting_pauses_at_256_under_way);
	tcase_add_test(t, a_client_that_has_gone_is_named_until_it_is_released);
	tcase_add_test(t, names_of_clients_that_have_gone_are_bounded);
	tcase_add_test(t, a_listener_is_found_by_age_vm_port_and_bound_port);
	tcase_add_test(t, an_opened_clients_name_is_what_was_given);
	tcase_add_test(t, without_a_guest_there_is_nobody_to_open_to);
	tcase_add_test(t, another_family_or_kind_of_socket_does_not_listen);
	suite_add_tcase(s, t);
	return run_suite(s);
}
