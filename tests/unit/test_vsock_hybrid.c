/* SPDX-License-Identifier: MIT */
/* The transport whose VMM owns the mux: the test is the VMM, and netctld. */
#include "dataplane/vsock/env.h"
#include "tests/unit/services_rig.h"

static struct sockaddr_un un, env_un;
static struct sockaddr_in in;
static size_t n_answered; /* of the dials to the VMM */

static int listen_at(uint32_t port, struct sockaddr_un *at)
{
	struct vsock_listener listener = {VSOCK_USE_PORT, port};

	return vsock_listen(vsock, &listener, listen_unix(at));
}

static void setup(void)
{
	struct worker_forward f = {.id = "web", .proto = 6, .to = {VSOCK_TO_PORT, 52}};

	services_setup_alone();
	n_answered = 0;
	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_HYBRID, -1, false, 0), 0);
	ck_assert_int_eq(listen_at(5000, &un), 0);
	ck_assert_int_eq(listen_at(VSOCK_ENV_PORT, &env_un), 0);
	ck_assert_int_eq(vsock_forward_add(vsock_forwards(vsock), listen_tcp(&in), &f), 0);
}

static void teardown(void)
{
	unlink(un.sun_path);
	unlink(env_un.sun_path);
	services_teardown();
}

/* ---- guest to host ---- */

START_TEST(a_guests_connection_is_kept_in_step_with_what_netctld_connects)
{
	int vmm = connect_unix(&un), fd;

	host_say(vmm, "early ");
	RIG_UNTIL(n_dials == 1);
	ck_assert(!dials[0].vmm);
	ck_assert_uint_eq(dials[0].port, 5000);
	fd = dial_answer(0);
	host_say(vmm, "bird");
	host_hears(fd, "early bird");
	host_say(fd, "worm");
	host_hears(vmm, "worm");
	shutdown(vmm, SHUT_WR);
	ck_assert_int_eq(host_next(fd), 0);
	host_say(fd, "s");
	host_hears(vmm, "s");
	close(fd);
	ck_assert_int_eq(host_next(vmm), 0);
	close(vmm);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_RELAYS), 1);
}
END_TEST

START_TEST(where_nobody_is_the_vmm_s_connection_is_closed)
{
	int vmm = connect_unix(&un);

	RIG_UNTIL(n_dials == 1);
	vsock_dialled(vsock, dials[0].question, -ENOENT, false);
	ck_assert_int_eq(host_next(vmm), 0);
	close(vmm);
	away = true;
	vmm = connect_unix(&un);
	ck_assert_int_eq(host_next(vmm), 0);
	close(vmm);
}
END_TEST

START_TEST(netctld_has_five_seconds)
{
	int vmm = connect_unix(&un), fd;

	RIG_UNTIL(n_dials == 1);
	rig_sleep(4900);
	host_hears_nothing(vmm);
	rig_sleep(200);
	ck_assert_int_eq(host_next(vmm), 0);
	close(vmm);
	fd = dial_answer(0);
	ck_assert_int_eq(host_next(fd), 0);
	close(fd);
}
END_TEST

START_TEST(so_many_connections_may_be_unserved)
{
	int fds[ACCEPT_UNDER_WAY_MAX + 1];

	for (unsigned i = 0; i <= ACCEPT_UNDER_WAY_MAX; i++)
		fds[i] = connect_unix(&un);
	RIG_UNTIL(rig_count(COUNTER_VSOCK_IN) == ACCEPT_UNDER_WAY_MAX);
	rig_run(10);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_IN), ACCEPT_UNDER_WAY_MAX);
	ck_assert_uint_eq(n_dials, VSOCK_DIALS_MAX);
	vsock_dialled(vsock, dials[0].question, -ENOENT, false);
	RIG_UNTIL(rig_count(COUNTER_VSOCK_IN) == ACCEPT_UNDER_WAY_MAX + 1);
	for (unsigned i = 0; i <= ACCEPT_UNDER_WAY_MAX; i++)
		close(fds[i]);
}
END_TEST

/* ---- env ---- */

START_TEST(env_is_the_document_and_the_end)
{
	static const char text[] = "{\"env\":{},\"secrets\":{\"KEY\":\"value\"}}";
	int vmm = connect_unix(&env_un);

	RIG_UNTIL(env_asked == 1);
	vsock_env_arrived(vsock, text, strlen(text));
	host_hears(vmm, text);
	ck_assert_int_eq(host_next(vmm), 0);
	host_say(vmm, "thanks");
	close(vmm);
	ck_assert_uint_eq(n_dials, 0);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_ENV_READS), 1);
}
END_TEST

/* The lowest descriptor that is free. */
static int next_fd(void)
{
	int fd = os_dup(0);

	close(fd);
	return fd;
}

START_TEST(a_reader_that_ends_first_is_served_and_closed)
{
	int vmm = connect_unix(&env_un), accepted = next_fd();

	shutdown(vmm, SHUT_WR);
	RIG_UNTIL(env_asked == 1);
	rig_run(5);
	vsock_env_arrived(vsock, "{}", 2);
	host_hears(vmm, "{}");
	ck_assert_int_eq(host_next(vmm), 0);
	ck_assert_int_eq(next_fd(), accepted); /* nothing waits for an end that has come */
	close(vmm);
}
END_TEST

START_TEST(a_large_document_waits_for_its_reader_so_long)
{
	static char document[1 << 20], got[1 << 20];
	int vmm = connect_unix(&env_un), slow = connect_unix(&env_un);

	memset(document, 'x', sizeof(document));
	RIG_UNTIL(env_asked == 1);
	vsock_env_arrived(vsock, document, sizeof(document));
	RIG_UNTIL(env_asked == 2);
	vsock_env_arrived(vsock, document, sizeof(document));
	host_read(vmm, got, sizeof(got));
	ck_assert_mem_eq(got, document, sizeof(got));
	ck_assert_int_eq(host_next(vmm), 0);
	close(vmm);
	rig_sleep(VSOCK_SECRET_MS + 100);
	ck_assert_int_eq(os_send(slow, "x", 1, 0), -EPIPE);
	close(slow);
}
END_TEST

START_TEST(a_reader_that_does_not_close_has_eight_seconds)
{
	int vmm = connect_unix(&env_un);

	RIG_UNTIL(env_asked == 1);
	vsock_env_arrived(vsock, "{}", 2);
	host_hears(vmm, "{}");
	rig_sleep(VSOCK_SHUTDOWN_MS - 100);
	host_say(vmm, "x");
	rig_sleep(200);
	ck_assert_int_eq(os_send(vmm, "x", 1, 0), -EPIPE);
	close(vmm);
}
END_TEST

START_TEST(without_a_document_the_reader_is_closed)
{
	int vmm = connect_unix(&env_un);

	RIG_UNTIL(env_asked == 1);
	vsock_env_arrived(vsock, NULL, 0);
	ck_assert_int_eq(host_next(vmm), 0);
	close(vmm);
	away = true;
	vmm = connect_unix(&env_un);
	ck_assert_int_eq(host_next(vmm), 0);
	close(vmm);
}
END_TEST

/* A guest that reads and a worker's bounds: all documents together are at most so long. */
START_TEST(documents_that_are_not_fetched_are_bounded)
{
	static char document[1 << 20];
	int fds[20];

	for (unsigned i = 0; i < 20; i++) {
		fds[i] = connect_unix(&env_un);
		RIG_UNTIL(env_asked == i + 1);
		vsock_env_arrived(vsock, document, sizeof(document));
	}
	ck_assert_uint_eq(
		rig_count(COUNTER_VSOCK_ENV_READS), VSOCK_ENV_HELD_MAX / sizeof(document));
	ck_assert_int_eq(host_next(fds[19]), 0);
	close(fds[0]);
	rig_run(5);
	close(fds[19]);
	fds[19] = connect_unix(&env_un);
	RIG_UNTIL(env_asked == 21);
	vsock_env_arrived(vsock, document, sizeof(document));
	ck_assert_int_eq(host_next(fds[19]), 1);
	for (unsigned i = 1; i < 20; i++)
		close(fds[i]);
}
END_TEST

/* ---- host to guest ---- */

/* The VMM's end of the connection that a forward's client has begun. */
static int vmm_asked(void)
{
	int vmm;

	RIG_UNTIL(n_dials > n_answered);
	ck_assert(dials[n_answered].vmm);
	vmm = dial_answer(n_answered++);
	host_hears(vmm, "CONNECT 52\n");
	return vmm;
}

START_TEST(a_forward_asks_the_vmm)
{
	int fd = connect_tcp(&in), vmm;

	host_say(fd, "hello");
	vmm = vmm_asked();
	host_hears_nothing(vmm);
	host_say(vmm, "OK 1073741824\nwelcome");
	host_hears(fd, "welcome");
	host_hears(vmm, "hello");
	shutdown(fd, SHUT_WR);
	ck_assert_int_eq(host_next(vmm), 0);
	close(vmm);
	ck_assert_int_eq(host_next(fd), 0);
	close(fd);
}
END_TEST

START_TEST(an_answer_may_come_in_pieces)
{
	int fd = connect_tcp(&in), vmm = vmm_asked();

	host_say(vmm, "O");
	rig_run(5);
	host_say(vmm, "K 1");
	rig_run(5);
	host_say(vmm, "\n");
	host_say(fd, "x");
	host_hears(vmm, "x");
	close(fd);
	close(vmm);
}
END_TEST

START_TEST(what_the_vmm_refuses_is_reset)
{
	static const char *const lines[] = {"", "OK\n", "OK x\n", "ok 1\n", "NO 1\n", "\n",
		"OK 4294967296\n", "OK 1OK 1OK 1OK 1OK 1OK 1OK 1OK 1OK 1"};

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		int fd = connect_tcp(&in), vmm = vmm_asked();

		host_say(vmm, lines[i]);
		if (!*lines[i])
			close(vmm);
		ck_assert_int_eq(host_next(fd), -ECONNRESET);
		close(fd);
		if (*lines[i])
			close(vmm);
	}
}
END_TEST

START_TEST(the_vmm_has_five_seconds)
{
	int fd = connect_tcp(&in), vmm = vmm_asked();

	host_say(vmm, "OK 1");
	rig_sleep(4900);
	host_hears_nothing(fd);
	rig_sleep(200);
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	close(fd);
	close(vmm);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_TIMEOUTS), 1);
	fd = connect_tcp(&in);
	RIG_UNTIL(n_dials == 2);
	rig_sleep(VSOCK_REQUEST_MS + 100);
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	close(fd);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_TIMEOUTS), 2);
}
END_TEST

static unsigned opened, closed;

static void on_opened(void *arg, struct vsock_conn *conn)
{
	ck_assert_ptr_null(conn);
	(*(unsigned *)arg)++;
}

static void on_closed(void *arg, struct vsock_conn *conn)
{
	ck_assert_ptr_null(conn);
	(void)arg;
	closed++;
}

START_TEST(a_prefix_comes_first_and_the_end_is_told_once)
{
	struct vsock_conn_events events = {
		.arg = &opened, .opened = on_opened, .closed = on_closed};
	struct vsock_target to = {VSOCK_TO_PORT, 52}, tsi = {VSOCK_TO_TSI_FIRST, 0};
	int fds[2], vmm;
	struct vsock_host host = {.prefix = "GET ", .prefix_len = 4};

	opened = closed = 0;
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	host.fd = fds[0];
	host_say(fds[1], "/");
	ck_assert_int_eq(vsock_connect(vsock, &to, &host, NULL, &events), 0);
	vmm = vmm_asked();
	ck_assert_uint_eq(opened, 0);
	host_say(vmm, "OK 1\n");
	host_hears(vmm, "GET /");
	ck_assert_uint_eq(opened, 1);
	ck_assert_uint_eq(closed, 0);
	close(fds[1]);
	close(vmm);
	RIG_UNTIL(closed == 1);
	/* TSI needs the mux. */
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	host.fd = fds[0];
	ck_assert_int_eq(vsock_connect(vsock, &tsi, &host, NULL, &events), -ENOTSUP);
	ck_assert_int_eq(host_next(fds[1]), 0);
	close(fds[1]);
	ck_assert_uint_eq(closed, 1);
}
END_TEST

/* ---- listeners ---- */

START_TEST(listeners_are_replaced_listed_and_taken_away)
{
	struct vsock_listener port = {VSOCK_USE_PORT, 5000}, host = {.use = VSOCK_USE_HOST}, at;
	struct sockaddr_un other;
	int fd, vmm;

	ck_assert_int_eq(vsock_listen(vsock, &host, listen_unix(&other)), -ENOTSUP);
	unlink(other.sun_path);
	unlink(un.sun_path);
	ck_assert_int_eq(listen_at(5000, &un), 0);
	ck_assert_uint_eq(vsock_listener_count(vsock), 2);
	vmm = connect_unix(&un);
	RIG_UNTIL(n_dials == 1);
	ck_assert_uint_eq(dials[0].port, 5000);
	for (size_t i = 0; i < 2; i++) {
		ck_assert(vsock_listener_at(vsock, i, &at, &fd));
		ck_assert_int_eq(at.use, VSOCK_USE_PORT);
		ck_assert(at.port == 5000 || at.port == VSOCK_ENV_PORT);
	}
	ck_assert(!vsock_listener_at(vsock, 2, &at, &fd));
	ck_assert_int_eq(vsock_unlisten(vsock, &port), 0);
	ck_assert_int_eq(vsock_unlisten(vsock, &port), -ENOENT);
	fd = dial_answer(0); /* what was accepted goes on */
	host_say(vmm, "x");
	host_hears(fd, "x");
	close(fd);
	close(vmm);
}
END_TEST

START_TEST(the_number_of_ports_is_bounded)
{
	struct vsock_listener port = {.use = VSOCK_USE_PORT};
	struct sockaddr_un at;

	for (port.port = 6000; port.port < 6255; port.port++) {
		ck_assert_int_eq(vsock_listen(vsock, &port, listen_unix(&at)), 0);
		unlink(at.sun_path);
	}
	ck_assert_int_eq(vsock_listen(vsock, &port, listen_unix(&at)), -ENOSPC);
	unlink(at.sun_path);
	port.port = 5000;
	unlink(un.sun_path);
	ck_assert_int_eq(vsock_listen(vsock, &port, listen_unix(&un)), 0);
}
END_TEST

START_TEST(another_kind_ends_all_of_it)
{
	int vmm = connect_unix(&un), asking, client = connect_tcp(&in), reader, fd;

	RIG_UNTIL(n_dials == 2);
	fd = dial_answer(dials[0].vmm ? 1 : 0);
	host_say(vmm, "x");
	host_hears(fd, "x");
	asking = connect_unix(&un);
	reader = connect_unix(&env_un);
	RIG_UNTIL(n_dials == 3 && env_asked == 1);
	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_NONE, -1, false, 0), 0);
	ck_assert_int_eq(host_next(vmm), 0);
	ck_assert_int_eq(host_next(asking), 0);
	ck_assert_int_eq(host_next(reader), 0);
	ck_assert_int_eq(host_next(client), -ECONNRESET);
	ck_assert_uint_eq(vsock_listener_count(vsock), 0);
	vsock_env_arrived(vsock, "late", 4);
	close(dial_answer(2));
	close(vmm);
	close(asking);
	close(reader);
	close(client);
	close(fd);
	/* And no TSI or mux of before shines through. */
	services_attach_guest();
	client = connect_tcp(&in);
	guest_expect(VSOCK_OP_REQUEST, 52);
	close(client);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsock_hybrid");
	TCase *t = tcase_create("hybrid");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, a_guests_connection_is_kept_in_step_with_what_netctld_connects);
	tcase_add_test(t, where_nobody_is_the_vmm_s_connection_is_closed);
	tcase_add_test(t, netctld_has_five_seconds);
	tcase_add_test(t, so_many_connections_may_be_unserved);
	tcase_add_test(t, env_is_the_document_and_the_end);
	tcase_add_test(t, a_reader_that_ends_first_is_served_and_closed);
	tcase_add_test(t, a_large_document_waits_for_its_reader_so_long);
	tcase_add_test(t, a_reader_that_does_not_close_has_eight_seconds);
	tcase_add_test(t, without_a_document_the_reader_is_closed);
	tcase_add_test(t, documents_that_are_not_fetched_are_bounded);
	tcase_add_test(t, a_forward_asks_the_vmm);
	tcase_add_test(t, an_answer_may_come_in_pieces);
	tcase_add_test(t, what_the_vmm_refuses_is_reset);
	tcase_add_test(t, the_vmm_has_five_seconds);
	tcase_add_test(t, a_prefix_comes_first_and_the_end_is_told_once);
	tcase_add_test(t, listeners_are_replaced_listed_and_taken_away);
	tcase_add_test(t, the_number_of_ports_is_bounded);
	tcase_add_test(t, another_kind_ends_all_of_it);
	suite_add_tcase(s, t);
	return run_suite(s);
}
