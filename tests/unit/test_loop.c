/* SPDX-License-Identifier: MIT */
/* The loop: order within a pass, fairness between tasks and descriptors, sleeping and waking. */
#include "dataplane/loop.h"

#include "common/clock.h"
#include "common/os.h"
#include "dataplane/stack/timer_wheel.h"
#include "tests/unit/check_main.h"

#include <string.h>
#include <unistd.h>

static struct loop *loop;
static char trace[256];

static void note(char c)
{
	size_t n = strlen(trace);

	if (n < sizeof(trace) - 1)
		trace[n] = c;
}

struct job {
	struct task task; /* first */
	char name;
	int again; /* so many more times */
	struct job *cancels;
	uint64_t spin_us;
};

static void run_job(struct task *task)
{
	struct job *job = (struct job *)task;
	uint64_t end = clock_us() + job->spin_us;

	note(job->name);
	while (clock_us() < end)
		;
	if (job->cancels)
		loop_cancel(loop, &job->cancels->task);
	if (job->again-- > 0)
		loop_defer(loop, task);
}

static struct job job(char name)
{
	return (struct job){.task = {.run = run_job}, .name = name};
}

static void run_hook(struct loop_hook *hook)
{
	(void)hook;
	note('|');
}

static void stop_timer(struct timer *timer)
{
	(void)timer;
	loop_stop(loop);
}

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

/* Runs the loop for so long. */
static void run_for(unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_once(loop_base(loop), -1, EV_TIMEOUT, on_stop, NULL, &tv);
	ck_assert_int_eq(loop_run(loop), 0);
}

/* Runs the loop until so much is noted, which a busy machine may put off. */
static void run_until_noted(size_t n)
{
	for (int i = 0; i < 1000 && strlen(trace) < n; i++)
		run_for(2);
}

static void setup(void)
{
	memset(trace, 0, sizeof(trace));
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
}

static void teardown(void)
{
	loop_free(loop);
}

START_TEST(tasks_run_in_the_order_in_which_they_were_queued)
{
	struct job a = job('a'), b = job('b'), c = job('c');

	loop_defer(loop, &a.task);
	loop_defer(loop, &b.task);
	loop_defer(loop, &c.task);
	loop_defer(loop, &a.task); /* queued already */
	run_until_noted(3);
	run_for(2);
	ck_assert_str_eq(trace, "abc");
}
END_TEST

START_TEST(a_task_that_queues_itself_waits_for_the_next_pass)
{
	struct job a = job('a'), b = job('b');
	struct loop_hook hook = {.run = run_hook};

	a.again = 2;
	loop_add_hook(loop, &hook);
	loop_defer(loop, &a.task);
	loop_defer(loop, &b.task);
	run_until_noted(7);
	ck_assert_int_eq(strncmp(trace, "ab|a|a|", 7), 0);
	loop_remove_hook(loop, &hook);
}
END_TEST

START_TEST(a_task_may_cancel_another_and_itself)
{
	struct job a = job('a'), b = job('b'), c = job('c');

	a.cancels = &b;
	c.cancels = &c;
	loop_defer(loop, &a.task);
	loop_defer(loop, &b.task);
	loop_defer(loop, &c.task);
	run_until_noted(2);
	run_for(2);
	ck_assert_str_eq(trace, "ac");
}
END_TEST

/* A pass's tasks end after a millisecond; the rest keeps its place. */
START_TEST(long_tasks_let_descriptors_in_between)
{
	struct job a = job('a'), b = job('b'), c = job('c');
	struct loop_hook hook = {.run = run_hook};

	a.spin_us = b.spin_us = 2000;
	loop_add_hook(loop, &hook);
	loop_defer(loop, &a.task);
	loop_defer(loop, &b.task);
	loop_defer(loop, &c.task);
	run_until_noted(6);
	ck_assert_int_eq(strncmp(trace, "a|b|c|", 6), 0);
	loop_remove_hook(loop, &hook);
}
END_TEST

static void on_control(evutil_socket_t fd, short what, void *arg)
{
	char byte;

	(void)what;
	(void)arg;
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	note('C');
}

static void on_data(evutil_socket_t fd, short what, void *arg)
{
	char byte;

	(void)what;
	(void)arg;
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	note('D');
}

START_TEST(control_comes_before_data_and_both_before_tasks)
{
	int control[2], data[2];
	struct event *c, *d;
	struct job a = job('a');

	os_pipe(control);
	os_pipe(data);
	d = event_new(loop_base(loop), data[0], EV_READ | EV_PERSIST, on_data, NULL);
	c = event_new(loop_base(loop), control[0], EV_READ | EV_PERSIST, on_control, NULL);
	event_priority_set(d, LOOP_DATA);
	event_priority_set(c, LOOP_CONTROL);
	event_add(d, NULL);
	event_add(c, NULL);
	ck_assert_int_eq(write(data[1], "x", 1), 1);
	ck_assert_int_eq(write(control[1], "x", 1), 1);
	loop_defer(loop, &a.task);
	run_until_noted(3);
	ck_assert_str_eq(trace, "CDa");
	event_free(c);
	event_free(d);
	for (int i = 0; i < 2; i++) {
		close(control[i]);
		close(data[i]);
	}
}
END_TEST

/* A task that is always there, as a flow that sends flat out, does not keep a descriptor out. */
START_TEST(an_eternal_task_starves_nobody)
{
	struct job a = job('a');
	struct event *d;
	int data[2];

	a.again = 1 << 30;
	os_pipe(data);
	d = event_new(loop_base(loop), data[0], EV_READ | EV_PERSIST, on_data, NULL);
	event_priority_set(d, LOOP_DATA);
	event_add(d, NULL);
	loop_defer(loop, &a.task);
	ck_assert_int_eq(write(data[1], "x", 1), 1);
	run_for(5);
	ck_assert_ptr_nonnull(strchr(trace, 'D'));
	loop_cancel(loop, &a.task);
	event_free(d);
	close(data[0]);
	close(data[1]);
}
END_TEST

START_TEST(sleeps_until_the_next_timer_and_not_longer)
{
	struct timer t = {.fire = stop_timer};
	uint64_t began = clock_ms();

	timer_arm(loop_wheel(loop), &t, 70);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_ge(clock_ms() - began, 69);
	ck_assert_uint_lt(clock_ms() - began, 5000);
}
END_TEST

struct late {
	struct timer timer; /* first */
	uint64_t armed_at;
};

static void check_late(struct timer *timer)
{
	struct late *late = (struct late *)timer;

	ck_assert_uint_ge(clock_ms() - late->armed_at, 19);
	loop_stop(loop);
}

static struct late late = {.timer = {.fire = check_late}};

static void arm_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	late.armed_at = clock_ms();
	timer_arm(loop_wheel(loop), &late.timer, 20);
}

/* A delay counts from the callback that armed it, although the wheel stood still meanwhile. */
START_TEST(a_timer_armed_after_a_long_sleep_is_not_early)
{
	struct timeval tv = {.tv_usec = 60000};

	event_base_once(loop_base(loop), -1, EV_TIMEOUT, arm_late, NULL, &tv);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_ne(late.armed_at, 0);
}
END_TEST

static void wait_until(uint64_t ms)
{
	while (clock_ms() < ms)
		;
}

static void check_time_stands(struct task *task)
{
	uint64_t first = loop_now(loop);

	(void)task;
	wait_until(clock_ms() + 3);
	ck_assert_uint_eq(loop_now(loop), first);
	note('t');
}

START_TEST(the_time_is_the_same_for_a_whole_pass)
{
	struct task task = {.run = check_time_stands};
	uint64_t first = loop_now(loop);

	loop_defer(loop, &task);
	run_for(2);
	ck_assert_str_eq(trace, "t");
	ck_assert_uint_gt(loop_now(loop), first);
}
END_TEST

/* Else a timer that is armed before the loop runs is early by as long as that took. */
START_TEST(the_time_goes_on_while_the_loop_does_not_run)
{
	for (int i = 0; i < 2; i++) {
		uint64_t then = clock_ms() + 3;

		wait_until(then);
		ck_assert_uint_ge(loop_now(loop), then);
		run_for(1);
	}
}
END_TEST

START_TEST(hooks_run_latest_first_and_can_go)
{
	struct loop_hook a = {.run = run_hook}, b = {.run = run_hook}, stranger = {.run = run_hook};

	loop_add_hook(loop, &a);
	loop_add_hook(loop, &b);
	ck_assert_ptr_eq(b.next, &a);
	loop_remove_hook(loop, &stranger);
	loop_remove_hook(loop, &a);
	ck_assert_ptr_null(b.next);
	loop_remove_hook(loop, &b);
	run_for(2);
	ck_assert_str_eq(trace, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("loop");
	TCase *t = tcase_create("loop");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, tasks_run_in_the_order_in_which_they_were_queued);
	tcase_add_test(t, a_task_that_queues_itself_waits_for_the_next_pass);
	tcase_add_test(t, a_task_may_cancel_another_and_itself);
	tcase_add_test(t, long_tasks_let_descriptors_in_between);
	tcase_add_test(t, control_comes_before_data_and_both_before_tasks);
	tcase_add_test(t, an_eternal_task_starves_nobody);
	tcase_add_test(t, sleeps_until_the_next_timer_and_not_longer);
	tcase_add_test(t, a_timer_armed_after_a_long_sleep_is_not_early);
	tcase_add_test(t, the_time_is_the_same_for_a_whole_pass);
	tcase_add_test(t, the_time_goes_on_while_the_loop_does_not_run);
	tcase_add_test(t, hooks_run_latest_first_and_can_go);
	suite_add_tcase(s, t);
	return run_suite(s);
}
