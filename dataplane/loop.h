/* SPDX-License-Identifier: MIT */
/*
 * The worker's loop: libevent below, fairness above.
 *
 * A pass is: descriptors that are ready (control at priority 0, the rest at 1), timers, then
 * tasks in the order in which they were queued, for at most a millisecond, then the hooks (the
 * link is flushed there). A task does one bounded slice of work (64 frames, 64 KiB) and queues
 * itself again if more is left, so whoever else waits gets a turn first. The loop sleeps only
 * when no task is queued.
 *
 * Callbacks of events should do little: note what is ready and queue a task.
 */
#ifndef DATAPLANE_LOOP_H
#define DATAPLANE_LOOP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct timer_wheel;

enum loop_priority { LOOP_CONTROL, LOOP_DATA, LOOP_PRIORITIES };

/* A piece of deferred work; embedded in its owner, zeroed but for `run`. */
struct task {
	struct task *next, *prev; /* in the queue; NULL while not queued */
	void (*run)(struct task *task);
};

/* Called at the end of each pass. */
struct loop_hook {
	struct loop_hook *next;
	void (*run)(struct loop_hook *hook);
};

struct loop *loop_new(void); /* NULL without memory or epoll */
void loop_free(struct loop *loop);
struct event_base *loop_base(struct loop *loop);
struct timer_wheel *loop_wheel(struct loop *loop);

/* Milliseconds, monotonic, as of this pass: cheap, and the same for all in a pass. While the loop
 * does not run it is the clock's. */
uint64_t loop_now(struct loop *loop);

/* So many bytes went through in this pass; from it the loop sees exchange from bulk. */
void loop_moved(struct loop *loop, size_t bytes);

uint64_t loop_pass(const struct loop *loop); /* a number that grows by one each pass */

void loop_defer(struct loop *loop, struct task *task); /* no-op where queued already */
void loop_cancel(struct loop *loop, struct task *task);
/* The latest added runs first. */
void loop_add_hook(struct loop *loop, struct loop_hook *hook);
void loop_remove_hook(struct loop *loop, struct loop_hook *hook);

int loop_run(struct loop *loop); /* until loop_stop(); 0 or -errno */
void loop_stop(struct loop *loop);

#endif
