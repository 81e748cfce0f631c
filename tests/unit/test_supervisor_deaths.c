/* SPDX-License-Identifier: MIT */
/* The deaths of netctld and of the spawner, as ctl/supervisor.h stands them. */
#include "tests/unit/supervisor_fixture.h"

/* ---- netctld's death ---- */

START_TEST(a_live_worker_is_adopted_with_its_listeners)
{
	struct outcome outcome = {0};
	uint16_t port;
	pid_t pid;

	start_web();
	configure_web();
	pid = worker_pid(&web);
	for (int i = 0; i < 39; i++)
		forward_web();
	port = forward_web();
	lose_netctld();
	ck_assert(!port_is_free(port));
	start_web();
	ck_assert_int_eq(web.how, SUPERVISED_ADOPTED);
	ck_assert_int_eq(worker_pid(&web), pid);
	worker_client_forwards(web.client, on_forwards, &outcome);
	WAIT(outcome.calls, 2000);
	WAIT(spawner_up, 1000);
}
END_TEST

START_TEST(a_worker_is_adopted_again_and_again)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	for (int i = 0; i < 5; i++) {
		lose_netctld();
		start_web();
		ck_assert_int_eq(worker_pid(&web), pid);
	}
}
END_TEST

START_TEST(a_worker_of_no_vm_is_killed)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	lose_netctld();
	add(&db, "db");
	supervisor_start(supervisor);
	WAIT(has_ended(pid), 3000);
}
END_TEST

START_TEST(an_adopted_worker_that_hangs_is_replaced)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	kill(pid, SIGSTOP);
	lose_netctld();
	add(&web, "web");
	supervised_want(web.slot, true);
	supervisor_start(supervisor);
	WAIT(web.ups == 1, 10000);
	ck_assert_int_ne(worker_pid(&web), pid);
	ck_assert_int_lt(kill(pid, 0), 0);
}
END_TEST

START_TEST(what_our_predecessor_started_ends_with_us)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	lose_netctld();
	start_web();
	stop_count = 0;
	supervisor_stop(supervisor, on_stopped, NULL);
	WAIT(stop_count, 2000);
	ck_assert_int_lt(kill(pid, 0), 0);
	lose_netctld();
}
END_TEST

/* ---- the spawner's death ---- */

static pid_t start_foreign_spawner(void)
{
	char path[128];
	pid_t pid = fork();

	snprintf(path, sizeof(path), "%s/netdp.sock", directory);
	if (pid == 0) {
		execl(program, "netdp", "--listen", path, "--log-level", "error", (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 500; i++) {
		int fd = unix_connect(path, SOCK_STREAM, 0, false);

		if (fd >= 0) {
			close(fd);
			return pid;
		}
		usleep(10000);
	}
	ck_abort_msg("no spawner");
	return -1;
}

START_TEST(workers_outlive_their_spawner)
{
	struct outcome outcome = {0};
	pid_t spawner = start_foreign_spawner(), pid;

	start_web();
	pid = worker_pid(&web);
	kill(spawner, SIGKILL);
	waitpid(spawner, NULL, 0);
	WAIT(!supervisor_spawner_up(supervisor), 1000);
	worker_client_stats(web.client, on_stats, &outcome);
	WAIT(outcome.calls, 1000);
	WAIT(supervisor_spawner_up(supervisor), 3000); /* one of our own */
	ck_assert_int_eq(worker_pid(&web), pid);
	add(&db, "db");
	supervised_want(db.slot, true);
	WAIT(db.ups, 5000);
	/* Without its spawner a worker still ends, and is replaced. */
	kill(pid, SIGKILL);
	WAIT(web.ups == 2, 3000);
	ck_assert_int_eq(web.downs, 1);
}
END_TEST

START_TEST(a_worker_without_spawner_and_netctld_closes_its_listeners)
{
	pid_t spawner = start_foreign_spawner(), pid;
	uint16_t port;

	start_web();
	configure_web();
	pid = worker_pid(&web);
	port = forward_web();
	kill(spawner, SIGKILL);
	waitpid(spawner, NULL, 0);
	lose_netctld();
	WAIT(port_is_free(port), 2000);
	ck_assert_int_eq(kill(pid, 0), 0);
	kill(pid, SIGTERM);
	WAIT(has_ended(pid), 2000);
}
END_TEST

START_TEST(a_spawner_that_was_found_is_left)
{
	pid_t spawner = start_foreign_spawner(), pid;
	int status;

	start_web();
	pid = worker_pid(&web);
	stop_count = 0;
	supervisor_stop(supervisor, on_stopped, NULL);
	WAIT(stop_count, 1000);
	usleep(100000);
	ck_assert_int_eq(kill(pid, 0), 0);
	ck_assert_int_eq(kill(spawner, 0), 0);
	kill(spawner, SIGTERM);
	ck_assert_int_eq(waitpid(spawner, &status, 0), spawner);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_lt(kill(pid, 0), 0);
	lose_netctld();
}
END_TEST

START_TEST(a_missing_spawner_is_waited_for)
{
	pid_t spawner;

	supervisor_free(supervisor);
	supervisor = make(true, NULL);
	add(&web, "web");
	supervised_want(web.slot, true);
	supervisor_start(supervisor);
	WAIT(spawner_told, 1000);
	ck_assert_int_eq(spawner_up, 0);
	ck_assert_ptr_nonnull(strstr(spawner_text, "no such file or directory"));
	spawner = start_foreign_spawner();
	WAIT(web.ups, 3000);
	kill(spawner, SIGTERM);
	waitpid(spawner, NULL, 0);
	WAIT(web.downs, 1000);
}
END_TEST

START_TEST(a_missing_program_is_named)
{
	supervisor_free(supervisor);
	supervisor = make(false, "/nonexistent/netdp");
	supervisor_start(supervisor);
	WAIT(spawner_told, 1000);
	ck_assert_str_eq(spawner_text,
		"netdp cannot be started: /nonexistent/netdp: no such file or directory");
}
END_TEST

/* ---- strangers ---- */

START_TEST(a_spawner_of_another_version_is_named)
{
	static const uint8_t hello[] = {0, 0, 0, 4, 0x1a, 2, 0x08, 7};
	char path[128];
	int fd, got = -1;

	snprintf(path, sizeof(path), "%s/netdp.sock", directory);
	fd = unix_listen(path, SOCK_STREAM, 0600);
	supervisor_start(supervisor);
	for (int i = 0; i < 200 && got < 0; i++) {
		turn();
		got = os_accept(fd, NULL, NULL);
	}
	ck_assert_int_eq(os_send(got, hello, sizeof(hello), 0), (ssize_t)sizeof(hello));
	WAIT(spawner_told, 2000);
	ck_assert_int_eq(spawner_up, 0);
	ck_assert_ptr_nonnull(strstr(spawner_text, "speaks protocol 7, this program 1"));
	close(got);
	close(fd);
}
END_TEST

START_TEST(the_spawner_survives_garbage)
{
	char path[128], junk[64];
	int fd;

	start_web();
	snprintf(path, sizeof(path), "%s/netdp.sock", directory);
	for (int i = 0; i < 50; i++) {
		os_random(junk, sizeof(junk));
		fd = unix_connect(path, SOCK_STREAM, 1000, false);
		ck_assert_int_ge(fd, 0);
		ck_assert(os_send(fd, junk, sizeof(junk), 0) > 0);
		close(fd);
	}
	add(&db, "db");
	supervised_want(db.slot, true);
	WAIT(db.ups, 5000);
}
END_TEST

static Suite *supervisor_deaths_suite(void)
{
	const TTest *const tests[] = {
		a_live_worker_is_adopted_with_its_listeners,
		a_worker_is_adopted_again_and_again,
		a_worker_of_no_vm_is_killed,
		an_adopted_worker_that_hangs_is_replaced,
		what_our_predecessor_started_ends_with_us,
		workers_outlive_their_spawner,
		a_worker_without_spawner_and_netctld_closes_its_listeners,
		a_spawner_that_was_found_is_left,
		a_missing_spawner_is_waited_for,
		a_missing_program_is_named,
		a_spawner_of_another_version_is_named,
		the_spawner_survives_garbage,
	};
	Suite *suite = suite_create("supervisor_deaths");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return run_suite(supervisor_deaths_suite());
}
