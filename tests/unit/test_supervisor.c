/* SPDX-License-Identifier: MIT */
/* A worker's life under ctl/supervisor.h, and what ctl/worker_client.h says to it. */
#include "tests/unit/supervisor_fixture.h"

/* ---- a worker's life ---- */

START_TEST(a_wanted_worker_comes_and_greets)
{
	struct supervised_info info;

	start_web();
	supervised_info(web.slot, &info);
	ck_assert_int_eq(info.state, SUPERVISED_UP);
	ck_assert_int_eq(web.how, SUPERVISED_NEW);
	ck_assert_int_gt(info.pid, 1);
	ck_assert(!info.outdated);
	ck_assert_int_eq(spawner_up, 1);
	ck_assert_uint_eq(worker_client_version(web.client), RPC_VERSION);
}
END_TEST

static void on_description(void *arg, int code, const char *text, struct worker_description *d)
{
	struct outcome *outcome = arg;

	on_done(outcome, code, text);
	ck_assert_int_eq(code, 0);
	ck_assert(d->configured);
	ck_assert_str_eq(d->vm, "web");
	ck_assert_uint_eq(d->mtu, 1500);
	ck_assert_int_ge(d->flow_memory, 0);
	ck_assert_int_eq(d->link, WORKER_LINK_NONE);
	ck_assert(*d->sandbox);
}

START_TEST(a_configured_worker_describes_itself)
{
	struct outcome outcome = {0}, again = {0};
	int memory = os_shm_create("flows", FLOW_MEMORY_SIZE);
	struct worker_config config = config_of(memory);

	start_web();
	worker_client_configure(web.client, &config, on_done, &outcome);
	worker_client_describe(web.client, on_description, &again);
	close(memory);
	WAIT(again.calls, 2000);
	ck_assert_int_eq(outcome.code, 0);
	worker_client_configure(web.client, &config, on_done, &outcome);
	WAIT(outcome.calls == 2, 2000);
	ck_assert_int_lt(outcome.code, 0);
}
END_TEST

START_TEST(nothing_but_a_configuration_comes_first)
{
	struct outcome outcome = {0};

	start_web();
	worker_client_forward_delete(web.client, "tcp:127.0.0.1:1", on_done, &outcome);
	WAIT(outcome.calls, 2000);
	ck_assert_int_eq(outcome.code, -EINVAL);
	ck_assert_str_eq(outcome.text, "not configured yet");
}
END_TEST

START_TEST(bad_values_are_refused_by_the_worker)
{
	struct outcome outcome = {0};
	struct worker_config config = config_of(-1);

	start_web();
	config.mtu = 100;
	worker_client_configure(web.client, &config, on_done, &outcome);
	WAIT(outcome.calls, 2000);
	ck_assert_int_eq(outcome.code, -EINVAL);
	config = config_of(-1);
	addr_parse("10.0.3.15", &config.guest);
	worker_client_configure(web.client, &config, on_done, &outcome);
	WAIT(outcome.calls == 2, 2000);
	ck_assert_int_eq(outcome.code, -EINVAL);
	configure_web();
	worker_client_link_set(web.client, WORKER_LINK_STREAM, -1, true, 0, on_done, &outcome);
	WAIT(outcome.calls == 3, 2000);
	ck_assert_int_eq(outcome.code, -EINVAL);
}
END_TEST

START_TEST(forwards_come_back_over_several_pages)
{
	struct outcome outcome = {0};

	start_web();
	configure_web();
	for (int i = 0; i < 40; i++)
		forward_web();
	worker_client_forwards(web.client, on_forwards, &outcome);
	WAIT(outcome.calls, 2000);
}
END_TEST

static void on_flows(
	void *arg, int code, const char *text, const struct worker_flow *flows, size_t n, bool more)
{
	(void)flows;
	on_done(arg, code, text);
	ck_assert_int_eq(code, 0);
	ck_assert_uint_eq(n, 0);
	ck_assert(!more);
}

START_TEST(a_worker_tells_its_counters_and_flows)
{
	struct outcome stats = {0}, flows = {0};

	start_web();
	configure_web();
	worker_client_stats(web.client, on_stats, &stats);
	worker_client_flows(web.client, 100, on_flows, &flows);
	WAIT(stats.calls && flows.calls, 2000);
}
END_TEST

START_TEST(a_killed_worker_is_replaced_within_a_second)
{
	struct outcome outcome = {0};
	uint64_t since;

	start_web();
	since = clock_ms();
	kill(worker_pid(&web), SIGSTOP); /* so that this call is under way */
	worker_client_forward_delete(web.client, "x", on_done, &outcome);
	kill(worker_pid(&web), SIGKILL);
	WAIT(web.ups == 2, 5000);
	ck_assert_int_le((int)(clock_ms() - since), 1000);
	ck_assert_int_eq(web.downs, 1);
	ck_assert_str_eq(web.text, "killed by signal 9");
	ck_assert_int_eq(web.how, SUPERVISED_AGAIN);
	ck_assert_int_eq(outcome.calls, 1);
	ck_assert_int_eq(outcome.code, -ECONNRESET);
}
END_TEST

START_TEST(the_back_off_doubles)
{
	struct supervised_info info;
	uint64_t since;

	start_web();
	since = clock_ms();
	for (int i = 0; i < 4; i++) {
		kill(worker_pid(&web), SIGKILL);
		WAIT(web.ups == i + 2, 5000);
	}
	ck_assert_int_ge((int)(clock_ms() - since), 50 + 100 + 200 + 400);
	supervised_info(web.slot, &info);
	ck_assert_uint_eq(info.restarts, 4);
}
END_TEST

START_TEST(supervised_kill_replaces)
{
	start_web();
	supervised_kill(web.slot);
	WAIT(web.ups == 2, 5000);
	ck_assert_int_eq(web.downs, 1);
}
END_TEST

START_TEST(a_worker_not_wanted_any_more_ends_in_peace)
{
	struct outcome outcome = {0};
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	kill(pid, SIGSTOP);
	worker_client_forward_delete(web.client, "x", on_done, &outcome);
	supervised_want(web.slot, false);
	ck_assert_int_eq(outcome.code, -ECANCELED);
	kill(pid, SIGCONT);
	WAIT(has_ended(pid), 1500);
	ck_assert_int_eq(web.downs, 0);
	supervised_want(web.slot, true);
	WAIT(web.ups == 2, 5000);
	ck_assert_int_eq(web.how, SUPERVISED_NEW);
}
END_TEST

START_TEST(a_removed_worker_leaves_its_ports_free)
{
	uint16_t port;

	start_web();
	configure_web();
	port = forward_web();
	ck_assert(!port_is_free(port));
	supervised_remove(web.slot, on_gone, &web);
	WAIT(web.gone, 3000);
	ck_assert(port_is_free(port));
	ck_assert_int_eq(web.downs, 0);
}
END_TEST

START_TEST(a_worker_that_does_not_end_is_killed)
{
	pid_t pid;

	start_web();
	pid = worker_pid(&web);
	kill(pid, SIGSTOP);
	supervised_remove(web.slot, on_gone, &web);
	WAIT(web.gone, 4000);
	ck_assert_int_lt(kill(pid, 0), 0);
}
END_TEST

START_TEST(a_slot_without_worker_goes_at_once)
{
	add(&db, "db");
	supervisor_start(supervisor);
	supervised_remove(db.slot, on_gone, &db);
	ck_assert_int_eq(db.gone, 0);
	WAIT(db.gone, 1000);
}
END_TEST

START_TEST(names_are_taken_once)
{
	int err;

	add(&web, "web");
	ck_assert_ptr_null(supervisor_add(supervisor, "web", &slot_ops, &web, &err));
	ck_assert_int_eq(err, -EEXIST);
}
END_TEST

static Suite *supervisor_suite(void)
{
	const TTest *const tests[] = {
		a_wanted_worker_comes_and_greets,
		a_configured_worker_describes_itself,
		nothing_but_a_configuration_comes_first,
		bad_values_are_refused_by_the_worker,
		forwards_come_back_over_several_pages,
		a_worker_tells_its_counters_and_flows,
		a_killed_worker_is_replaced_within_a_second,
		the_back_off_doubles,
		supervised_kill_replaces,
		a_worker_not_wanted_any_more_ends_in_peace,
		a_removed_worker_leaves_its_ports_free,
		a_worker_that_does_not_end_is_killed,
		a_slot_without_worker_goes_at_once,
		names_are_taken_once,
	};
	Suite *suite = suite_create("supervisor");
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
	return run_suite(supervisor_suite());
}
