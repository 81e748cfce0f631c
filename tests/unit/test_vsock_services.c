/* SPDX-License-Identifier: MIT */
/* Ports that netctld connects, the hybrid socket, forwards; with a guest that speaks packets. */
#include "tests/unit/services_rig.h"

static struct sockaddr_un un;
static struct sockaddr_in in;

/* ---- ports ---- */

START_TEST(a_guest_reaches_what_netctld_connects)
{
	int fd;

	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	RIG_UNTIL(n_dials == 1);
	ck_assert(!dials[0].vmm);
	ck_assert_uint_eq(dials[0].port, 5000);
	guest_expect_nothing();
	fd = dial_answer(0);
	guest_expect(VSOCK_OP_RESPONSE, 1000);
	guest_rw(1000, 5000, "ping", 4);
	host_hears(fd, "ping");
	host_say(fd, "pong");
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 1000).len, 4);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "pong", 4);
	close(fd);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_SHUTDOWN, 1000).flags, VSOCK_SHUT_SEND);
}
END_TEST

START_TEST(nobody_there_is_refused)
{
	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	RIG_UNTIL(n_dials == 1);
	vsock_dialled(vsock, dials[0].question, -ENOENT, false);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_DIALS_FAILED), 1);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_REFUSED), 1);
}
END_TEST

START_TEST(where_netctld_is_away_all_are_refused)
{
	away = true;
	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	guest_send(VSOCK_OP_REQUEST, 1001, 5000, 0);
	guest_expect(VSOCK_OP_RST, 1000);
	guest_expect(VSOCK_OP_RST, 1001);
	away = false;
	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	RIG_UNTIL(n_dials == 1);
}
END_TEST

START_TEST(so_many_questions_are_open_and_the_others_wait_in_line)
{
	for (uint32_t i = 0; i < VSOCK_DIALS_MAX + 6; i++)
		guest_send(VSOCK_OP_REQUEST, 1000 + i, 5000 + i, 0);
	RIG_UNTIL(n_dials == VSOCK_DIALS_MAX);
	rig_run(20);
	ck_assert_uint_eq(n_dials, VSOCK_DIALS_MAX);
	vsock_dialled(vsock, dials[7].question, -ENOENT, false);
	guest_expect(VSOCK_OP_RST, 1007);
	RIG_UNTIL(n_dials == VSOCK_DIALS_MAX + 1);
	ck_assert_uint_eq(dials[VSOCK_DIALS_MAX].port, 5000 + VSOCK_DIALS_MAX);
	/* Who gives up leaves the line. */
	guest_send(VSOCK_OP_RST, 1000 + VSOCK_DIALS_MAX + 1, 5000 + VSOCK_DIALS_MAX + 1, 0);
	rig_run(5);
	close(dial_answer(8));
	guest_expect(VSOCK_OP_RESPONSE, 1008);
	RIG_UNTIL(n_dials == VSOCK_DIALS_MAX + 2);
	ck_assert_uint_eq(dials[VSOCK_DIALS_MAX + 1].port, 5000 + VSOCK_DIALS_MAX + 2);
}
END_TEST

START_TEST(a_question_unanswered_ends_with_the_requests_deadline)
{
	int fd;

	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	RIG_UNTIL(n_dials == 1);
	rig_sleep(VSOCK_REQUEST_MS + 100);
	guest_expect(VSOCK_OP_RST, 1000);
	fd = dial_answer(0); /* late: nobody wants it */
	ck_assert_int_eq(host_next(fd), 0);
	close(fd);
}
END_TEST

START_TEST(a_guest_that_gives_up_leaves_nothing)
{
	int fd;

	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	RIG_UNTIL(n_dials == 1);
	guest_send(VSOCK_OP_RST, 1000, 5000, 0);
	rig_run(5);
	fd = dial_answer(0);
	ck_assert_int_eq(host_next(fd), 0);
	guest_expect_nothing();
	close(fd);
}
END_TEST

START_TEST(a_guests_reset_resets_the_tcp_service)
{
	int fds[2];

	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	RIG_UNTIL(n_dials == 1);
	tcp_pair(fds);
	vsock_dialled(vsock, dials[0].question, fds[0], true);
	guest_expect(VSOCK_OP_RESPONSE, 1000);
	guest_send(VSOCK_OP_RST, 1000, 5000, 0);
	ck_assert_int_eq(host_next(fds[1]), -ECONNRESET);
	close(fds[1]);
}
END_TEST

/* ---- the hybrid socket ---- */

static void setup_host_socket(void)
{
	struct vsock_listener listener = {.use = VSOCK_USE_HOST};

	services_setup();
	ck_assert_int_eq(vsock_listen(vsock, &listener, listen_unix(&un)), 0);
}

static void teardown_host_socket(void)
{
	unlink(un.sun_path);
	services_teardown();
}

static uint32_t guest_asked(uint32_t port)
{
	struct vsock_packet packet = guest_expect(VSOCK_OP_REQUEST, port);

	return packet.src_port;
}

static void client_is_closed(int fd)
{
	ssize_t n = host_next(fd);

	ck_assert_msg(n == 0 || n == -ECONNRESET, "it read %zd", n);
	close(fd);
}

START_TEST(a_client_says_connect_and_is_told_when_the_guest_has_accepted)
{
	int fd = connect_unix(&un);
	char ok[32];
	uint32_t port;

	host_say(fd, "CONNECT 52\nhel");
	port = guest_asked(52);
	host_hears_nothing(fd);
	host_say(fd, "lo");
	guest_send(VSOCK_OP_RESPONSE, 52, port, 0);
	guest_rw(52, port, "welcome", 7);
	snprintf(ok, sizeof(ok), "OK %u\nwelcome", port);
	host_hears(fd, ok);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 52).len, 3);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "hel", 3);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 52).len, 2);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "lo", 2);
	close(fd);
}
END_TEST

START_TEST(a_line_may_come_in_pieces)
{
	int fd = connect_unix(&un);

	host_say(fd, "CONN");
	rig_run(5);
	host_say(fd, "ECT 4294967295");
	rig_run(5);
	host_say(fd, "\n");
	guest_asked(UINT32_MAX);
	close(fd);
}
END_TEST

START_TEST(a_port_that_the_guest_refuses_closes_the_client)
{
	int fd = connect_unix(&un);

	host_say(fd, "CONNECT 52\n");
	guest_send(VSOCK_OP_RST, 52, guest_asked(52), 0);
	client_is_closed(fd);
}
END_TEST

START_TEST(anything_but_the_line_closes_the_client)
{
	static const char *const lines[] = {"connect 52\n", "CONNECT\n", "CONNECT \n",
		"CONNECT 5x\n", "CONNECT 4294967296\n", "CONNECT 99999999999\n", "CONNECT -1\n",
		" CONNECT 52\n", "CONNECT  52\n", "CONNECT 52 \n", "CONNECT 52\r\n", "\n",
		"GET / HTTP/1.1\n", "CONNECT 52CONNECT 52CONNECT 52CONNECT 52"};
	const unsigned n = sizeof(lines) / sizeof(*lines);

	for (unsigned i = 0; i < n; i++) {
		int fd = connect_unix(&un);

		host_say(fd, lines[i]);
		client_is_closed(fd);
	}
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_LINES), n);
}
END_TEST

START_TEST(a_client_that_says_nothing_has_five_seconds)
{
	int fd = connect_unix(&un);

	host_say(fd, "CONNECT 52");
	rig_run(5);
	rig_sleep(4900);
	host_hears_nothing(fd);
	rig_sleep(200);
	client_is_closed(fd);
	guest_expect_nothing();
}
END_TEST

START_TEST(a_guest_that_does_not_answer_has_five_seconds)
{
	int fd = connect_unix(&un);

	host_say(fd, "CONNECT 52\n");
	guest_asked(52);
	rig_sleep(VSOCK_REQUEST_MS + 100);
	guest_expect(VSOCK_OP_RST, 52);
	client_is_closed(fd);
}
END_TEST

START_TEST(without_a_guest_the_client_is_closed)
{
	int fd = connect_unix(&un);

	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_NONE, -1, false, 0), 0);
	host_say(fd, "CONNECT 52\n");
	client_is_closed(fd);
	fd = connect_unix(&un); /* the socket stays */
	host_say(fd, "CONNECT 52\n");
	client_is_closed(fd);
}
END_TEST

START_TEST(so_many_clients_may_be_unserved_and_the_others_wait)
{
	int fds[ACCEPT_UNDER_WAY_MAX + 1];

	for (unsigned i = 0; i < ACCEPT_UNDER_WAY_MAX; i++)
		fds[i] = connect_unix(&un);
	RIG_UNTIL(rig_count(COUNTER_VSOCK_HOST_CLIENTS) == ACCEPT_UNDER_WAY_MAX);
	fds[ACCEPT_UNDER_WAY_MAX] = connect_unix(&un);
	host_say(fds[ACCEPT_UNDER_WAY_MAX], "CONNECT 52\n");
	guest_expect_nothing();
	close(fds[0]);
	guest_asked(52);
	for (unsigned i = 1; i <= ACCEPT_UNDER_WAY_MAX; i++)
		close(fds[i]);
}
END_TEST

START_TEST(a_client_may_say_all_and_end_before_the_guest_answers)
{
	int fd = connect_unix(&un);
	char ok[32];
	uint32_t port;

	host_say(fd, "CONNECT 52\nbye");
	shutdown(fd, SHUT_WR);
	port = guest_asked(52);
	guest_send(VSOCK_OP_RESPONSE, 52, port, 0);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 52).len, 3);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_SHUTDOWN, 52).flags, VSOCK_SHUT_SEND);
	snprintf(ok, sizeof(ok), "OK %u\n", port);
	host_hears(fd, ok);
	close(fd);
}
END_TEST

START_TEST(a_listener_is_replaced_or_taken_away_and_its_clients_go_on)
{
	struct vsock_listener listener = {.use = VSOCK_USE_HOST}, at;
	int fd = connect_unix(&un), listening, old;

	host_say(fd, "CONNECT ");
	rig_run(5);
	ck_assert(vsock_listener_at(vsock, 0, &at, &old));
	ck_assert_int_eq(at.use, VSOCK_USE_HOST);
	ck_assert(!vsock_listener_at(vsock, 1, &at, &listening));
	unlink(un.sun_path);
	ck_assert_int_eq(vsock_listen(vsock, &listener, listen_unix(&un)), 0);
	ck_assert_uint_eq(vsock_listener_count(vsock), 1);
	host_say(fd, "52\n");
	guest_asked(52);
	close(fd);
	ck_assert_int_eq(vsock_unlisten(vsock, &listener), 0);
	ck_assert_int_eq(vsock_unlisten(vsock, &listener), -ENOENT);
	ck_assert_uint_eq(vsock_listener_count(vsock), 0);
	ck_assert_int_eq(vsock_listen(vsock, &listener, os_dup(0)), -EINVAL);
	listener = (struct vsock_listener){VSOCK_USE_PORT, 5000};
	ck_assert_int_eq(vsock_listen(vsock, &listener, os_dup(0)), -ENOTSUP);
}
END_TEST

/* ---- forwards ---- */

static struct worker_forward forward(const char *id, enum vsock_target_kind kind, uint32_t port)
{
	struct worker_forward f = {.proto = 6, .to = {kind, port}};

	snprintf(f.id, sizeof(f.id), "%s", id);
	return f;
}

static void setup_forward(void)
{
	struct worker_forward f = forward("web", VSOCK_TO_PORT, 52);

	services_setup();
	ck_assert_int_eq(vsock_forward_add(vsock_forwards(vsock), listen_tcp(&in), &f), 0);
}

START_TEST(a_client_is_the_guests)
{
	int fd = connect_tcp(&in);
	uint32_t port = guest_asked(52);

	host_say(fd, "hello");
	guest_expect_nothing();
	guest_send(VSOCK_OP_RESPONSE, 52, port, 0);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 52).len, 5);
	guest_rw(52, port, "welcome", 7);
	host_hears(fd, "welcome");
	guest_send(VSOCK_OP_SHUTDOWN, 52, port, VSOCK_SHUT_SEND);
	ck_assert_int_eq(host_next(fd), 0);
	close(fd);
	ck_assert_uint_eq(
		guest_expect(VSOCK_OP_SHUTDOWN, 52).flags & VSOCK_SHUT_SEND, VSOCK_SHUT_SEND);
}
END_TEST

START_TEST(a_refused_client_is_reset)
{
	int fd = connect_tcp(&in);

	guest_send(VSOCK_OP_RST, 52, guest_asked(52), 0);
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	close(fd);
	fd = connect_tcp(&in);
	guest_asked(52);
	rig_sleep(VSOCK_REQUEST_MS + 100);
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	close(fd);
	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_NONE, -1, false, 0), 0);
	fd = connect_tcp(&in);
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	close(fd);
}
END_TEST

START_TEST(a_unix_client_is_served_alike)
{
	struct worker_forward f = forward("unix:/p", VSOCK_TO_PORT, 53);
	int fd;
	uint32_t port;

	f.unix_listener = true;
	ck_assert_int_eq(vsock_forward_add(vsock_forwards(vsock), listen_unix(&un), &f), 0);
	fd = connect_unix(&un);
	port = guest_asked(53);
	guest_send(VSOCK_OP_RESPONSE, 53, port, 0);
	guest_rw(53, port, "hi", 2);
	host_hears(fd, "hi");
	close(fd);
	unlink(un.sun_path);
}
END_TEST

START_TEST(accepting_pauses_while_the_guest_is_asked_about_so_many)
{
	int fds[ACCEPT_UNDER_WAY_MAX + 10];
	uint32_t ports[ACCEPT_UNDER_WAY_MAX];

	for (unsigned i = 0; i < ACCEPT_UNDER_WAY_MAX + 10; i++)
		fds[i] = connect_tcp(&in);
	for (unsigned i = 0; i < ACCEPT_UNDER_WAY_MAX; i++)
		ports[i] = guest_asked(52);
	guest_expect_nothing();
	guest_send(VSOCK_OP_RESPONSE, 52, ports[0], 0);
	guest_asked(52);
	guest_expect_nothing();
	guest_send(VSOCK_OP_RST, 52, ports[1], 0);
	guest_asked(52);
	guest_expect_nothing();
	for (unsigned i = 0; i < ACCEPT_UNDER_WAY_MAX + 10; i++)
		close(fds[i]);
}
END_TEST

START_TEST(a_deleted_forward_s_connections_go_on)
{
	struct vsock_forwards *forwards = vsock_forwards(vsock);
	struct worker_forward again = forward("web", VSOCK_TO_PORT, 53);
	int fd = connect_tcp(&in), listening;
	uint32_t port = guest_asked(52);

	guest_send(VSOCK_OP_RESPONSE, 52, port, 0);
	ck_assert_int_eq(vsock_forward_add(forwards, os_dup(fd), &again), -EEXIST);
	ck_assert_uint_eq(vsock_forward_count(forwards), 1);
	ck_assert_uint_eq(vsock_forward_at(forwards, 0, &listening)->to.port, 52);
	ck_assert_ptr_null(vsock_forward_at(forwards, 1, &listening));
	ck_assert_int_eq(vsock_forward_delete(forwards, "web"), 0);
	ck_assert_int_eq(vsock_forward_delete(forwards, "web"), -ENOENT);
	guest_rw(52, port, "on", 2);
	host_hears(fd, "on");
	close(fd);
	ck_assert_int_eq(vsock_forward_add(forwards, os_dup(0), &again), -EINVAL);
}
END_TEST

START_TEST(a_forward_finds_the_guests_tsi_listener)
{
	struct tsi_listener listener = {.svm_port = 9, .vm_port = 700, .family = 2, .type = 1};
	struct vsock_forwards *forwards = vsock_forwards(vsock);
	struct worker_forward bound = forward("bound", VSOCK_TO_TSI_BOUND_PORT, 80);
	struct worker_forward vm_port = forward("vm_port", VSOCK_TO_TSI_VM_PORT, 700);
	struct worker_forward first = forward("first", VSOCK_TO_TSI_FIRST, 0);
	struct sockaddr_in at[3], own;
	int fd;

	ck_assert_int_eq(vsock_forward_add(forwards, listen_tcp(&at[0]), &bound), 0);
	ck_assert_int_eq(vsock_forward_add(forwards, listen_tcp(&at[1]), &vm_port), 0);
	ck_assert_int_eq(vsock_forward_add(forwards, listen_tcp(&at[2]), &first), 0);
	for (int i = 0; i < 3; i++) {
		fd = connect_tcp(&at[i]);
		ck_assert_int_eq(host_next(fd), -ECONNRESET);
		close(fd);
	}
	listener.addr.port = 80;
	ck_assert_int_eq(tsi_restore_listener(vsock_tsi(vsock), &listener, listen_tcp(&own)), 0);
	for (int i = 0; i < 3; i++) {
		fd = connect_tcp(&at[i]);
		guest_send(VSOCK_OP_RST, 700, guest_asked(700), 0);
		ck_assert_int_eq(host_next(fd), -ECONNRESET);
		close(fd);
	}
}
END_TEST

/* ---- ends ---- */

START_TEST(a_shutdown_resets_both_sides_and_closes_what_listens)
{
	int fd = connect_tcp(&in);
	uint32_t port = guest_asked(52);

	guest_send(VSOCK_OP_RESPONSE, 52, port, 0);
	rig_run(5);
	vsock_shutdown(vsock);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_RST_SENT), 1); /* at once: the loop may end */
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	guest_expect(VSOCK_OP_RST, 52);
	close(fd);
	fd = connect_tcp(&in);
	rig_run(5);
	ck_assert_int_eq(host_next(fd), -ECONNREFUSED);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsock_services");
	TCase *ports = tcase_create("ports");
	TCase *host = tcase_create("host socket");
	TCase *fwd = tcase_create("forwards");

	tcase_add_checked_fixture(ports, services_setup, services_teardown);
	tcase_add_test(ports, a_guest_reaches_what_netctld_connects);
	tcase_add_test(ports, nobody_there_is_refused);
	tcase_add_test(ports, where_netctld_is_away_all_are_refused);
	tcase_add_test(ports, so_many_questions_are_open_and_the_others_wait_in_line);
	tcase_add_test(ports, a_question_unanswered_ends_with_the_requests_deadline);
	tcase_add_test(ports, a_guest_that_gives_up_leaves_nothing);
	tcase_add_test(ports, a_guests_reset_resets_the_tcp_service);
	suite_add_tcase(s, ports);
	tcase_add_checked_fixture(host, setup_host_socket, teardown_host_socket);
	tcase_set_timeout(host, 30);
	tcase_add_test(host, a_client_says_connect_and_is_told_when_the_guest_has_accepted);
	tcase_add_test(host, a_line_may_come_in_pieces);
	tcase_add_test(host, a_port_that_the_guest_refuses_closes_the_client);
	tcase_add_test(host, anything_but_the_line_closes_the_client);
	tcase_add_test(host, a_client_that_says_nothing_has_five_seconds);
	tcase_add_test(host, a_guest_that_does_not_answer_has_five_seconds);
	tcase_add_test(host, without_a_guest_the_client_is_closed);
	tcase_add_test(host, so_many_clients_may_be_unserved_and_the_others_wait);
	tcase_add_test(host, a_client_may_say_all_and_end_before_the_guest_answers);
	tcase_add_test(host, a_listener_is_replaced_or_taken_away_and_its_clients_go_on);
	suite_add_tcase(s, host);
	tcase_add_checked_fixture(fwd, setup_forward, services_teardown);
	tcase_set_timeout(fwd, 30);
	tcase_add_test(fwd, a_client_is_the_guests);
	tcase_add_test(fwd, a_refused_client_is_reset);
	tcase_add_test(fwd, a_unix_client_is_served_alike);
	tcase_add_test(fwd, accepting_pauses_while_the_guest_is_asked_about_so_many);
	tcase_add_test(fwd, a_deleted_forward_s_connections_go_on);
	tcase_add_test(fwd, a_forward_finds_the_guests_tsi_listener);
	tcase_add_test(fwd, a_shutdown_resets_both_sides_and_closes_what_listens);
	suite_add_tcase(s, fwd);
	return run_suite(s);
}
