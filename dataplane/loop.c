/* SPDX-License-Identifier: MIT */
/* The worker's loop. See loop.h. */
#include "dataplane/loop.h"

#include "common/clock.h"
#include "dataplane/stack/timer_wheel.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Polling. To be woken costs more than a small exchange itself, most of all in a virtual machine,
 * where an idle processor has to be called back from its host. So while small exchanges follow one
 * another, the loop looks for the next one for a moment before it sleeps (as KVM does for its
 * guests' halts). Waits that are short without it switch polling on; looking in vain a few times
 * switches it off, and each time more evidence is wanted to switch it on again. Bulk is left
 * alone: copying outweighs the wakeups there, and a sender wants the processor for itself.
 */
#define POLL_US 50
#define POLL_BULK (16u << 10) /* bytes a pass */
#define POLL_SHORT_US 1000    /* a wait that counts as evidence */
#define POLL_EVIDENCE 32      /* so many in a row */
#define POLL_EVIDENCE_MAX 8192
#define POLL_MISSES 8

/* Tasks run for at most this long before descriptors and timers are looked at again. */
#define TASK_BUDGET_US 1000

struct loop {
	struct event_base *base;
	struct event *wakeup; /* bounds a pass's sleep by the next timer */
	struct timer_wheel *wheel;
	struct task tasks; /* list head */
	struct loop_hook *hooks;
	uint64_t pass;
	size_t moved;        /* bytes in this pass */
	uint64_t poll_until; /* us; 0 while not polling */
	unsigned poll_misses;
	unsigned poll_evidence, poll_wanted; /* off while the former is less */
	uint64_t now;
	bool stale; /* the loop may have slept since `now` was read */
	bool running;
	bool stopped;
};

static void woken(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

uint64_t loop_now(struct loop *loop)
{
	if (loop->stale || !loop->running) {
		loop->now = clock_ms();
		loop->stale = false;
	}
	return loop->now;
}

uint64_t loop_pass(const struct loop *loop)
{
	return loop->pass;
}

static uint64_t wheel_now(void *arg)
{
	return loop_now(arg);
}

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	struct event_config *config = event_config_new();

	if (!loop || !config)
		goto fail;
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_NO_CACHE_TIME);
	loop->base = event_base_new_with_config(config);
	if (!loop->base || event_base_priority_init(loop->base, LOOP_PRIORITIES) < 0)
		goto fail;
	event_config_free(config);
	config = NULL;
	loop->now = clock_ms();
	loop->poll_wanted = POLL_EVIDENCE;
	loop->tasks.next = loop->tasks.prev = &loop->tasks;
	loop->wheel = timer_wheel_new(loop->now);
	if (loop->wheel)
		timer_wheel_set_clock(loop->wheel, wheel_now, loop);
	loop->wakeup = event_new(loop->base, -1, 0, woken, NULL);
	if (!loop->wheel || !loop->wakeup)
		goto fail;
	/* Not before the others: a pass serves one priority, and this one has nothing to do. */
	event_priority_set(loop->wakeup, LOOP_DATA);
	return loop;
fail:
	if (config)
		event_config_free(config);
	loop_free(loop);
	return NULL;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->wakeup)
		event_free(loop->wakeup);
	if (loop->base)
		event_base_free(loop->base);
	timer_wheel_free(loop->wheel);
	free(loop);
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

struct timer_wheel *loop_wheel(struct loop *loop)
{
	return loop->wheel;
}

void loop_defer(struct loop *loop, struct task *task)
{
	if (task->next)
		return;
	task->prev = loop->tasks.prev;
	task->next = &loop->tasks;
	task->prev->next = task;
	loop->tasks.prev = task;
}

void loop_cancel(struct loop *loop, struct task *task)
{
	(void)loop;
	if (!task->next)
		return;
	task->prev->next = task->next;
	task->next->prev = task->prev;
	task->next = task->prev = NULL;
}

void loop_add_hook(struct loop *loop, struct loop_hook *hook)
{
	hook->next = loop->hooks;
	loop->hooks = hook;
}

void loop_remove_hook(struct loop *loop, struct loop_hook *hook)
{
	struct loop_hook **at = &loop->hooks;

	while (*at && *at != hook)
		at = &(*at)->next;
	if (*at)
		*at = hook->next;
}

static void run_tasks(struct loop *loop)
{
	uint64_t end = clock_us() + TASK_BUDGET_US;
	struct task mark = {0};

	/* What is queued behind the mark was queued during this pass and waits for the next. */
	loop_defer(loop, &mark);
	while (loop->tasks.next != &mark) {
		struct task *task = loop->tasks.next;

		loop_cancel(loop, task);
		task->run(task);
		if (clock_us() >= end)
			break;
	}
	loop_cancel(loop, &mark);
}

void loop_moved(struct loop *loop, size_t bytes)
{
	loop->moved += bytes;
}

static void poll_missed(struct loop *loop)
{
	loop->poll_until = 0;
	if (++loop->poll_misses < POLL_MISSES)
		return;
	loop->poll_misses = loop->poll_evidence = 0;
	if (loop->poll_wanted < POLL_EVIDENCE_MAX)
		loop->poll_wanted *= 2;
}

/* After a pass: whether to look on for a moment. */
static void poll_decide(struct loop *loop)
{
	if (!loop->moved)
		return;
	if (loop->poll_until) {
		loop->poll_misses = 0;
		loop->poll_wanted = POLL_EVIDENCE;
	}
	loop->poll_until = 0;
	if (loop->moved < POLL_BULK && loop->poll_evidence >= loop->poll_wanted)
		loop->poll_until = clock_us() + POLL_US;
	loop->moved = 0;
}

static void poll_note_wait(struct loop *loop, uint64_t us)
{
	if (loop->poll_evidence >= loop->poll_wanted)
		return;
	loop->poll_evidence = us < POLL_SHORT_US ? loop->poll_evidence + 1 : 0;
}

static int wait_for_events(struct loop *loop)
{
	uint64_t wait, slept;
	int rc;

	if (loop->tasks.next != &loop->tasks || (loop->poll_until && clock_us() < loop->poll_until))
		return event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	if (loop->poll_until)
		poll_missed(loop);
	slept = clock_us();
	wait = timer_wheel_wait(loop->wheel, slept / 1000);
	if (wait != UINT64_MAX) {
		struct timeval tv = {
			.tv_sec = (time_t)(wait / 1000), .tv_usec = (int)(wait % 1000 * 1000)};

		event_add(loop->wakeup, &tv);
	}
	rc = event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
	poll_note_wait(loop, clock_us() - slept);
	return rc;
}

int loop_run(struct loop *loop)
{
	int err = 0;

	loop->running = true;
	loop->stopped = false;
	while (!loop->stopped) {
		loop->stale = true;
		loop->pass++;
		if (wait_for_events(loop) < 0) {
			err = -EIO;
			break;
		}
		timer_wheel_run(loop->wheel, loop_now(loop));
		run_tasks(loop);
		for (struct loop_hook *hook = loop->hooks; hook; hook = hook->next)
			hook->run(hook);
		poll_decide(loop);
	}
	loop->running = false;
	return err;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
	event_base_loopbreak(loop->base);
}
