/* SPDX-License-Identifier: MIT */
/*
 * One hierarchical timer wheel for all timers of a worker (Varghese and Lauck, 1987, scheme 6).
 *
 * Four levels of 64 slots, a millisecond a slot at the lowest, reach 4.6 hours; longer delays are
 * cut to that. Arming, disarming and firing cost O(1), and a timer costs its owner 40 bytes. A
 * timer never fires early; it may fire late by what the loop was busy with.
 */
#ifndef DATAPLANE_STACK_TIMER_WHEEL_H
#define DATAPLANE_STACK_TIMER_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in its owner, zeroed but for `fire`; not armed while `next` is NULL. */
struct timer {
	struct timer *next, *prev;
	uint64_t expires; /* ms on the wheel's clock */
	void (*fire)(struct timer *timer);
};

struct timer_wheel;

struct timer_wheel *timer_wheel_new(uint64_t now_ms);
void timer_wheel_free(struct timer_wheel *wheel);
/* Where timer_arm() gets the time from; without it, from the latest timer_wheel_run(). The wheel
 * itself stands still while the loop sleeps, so delays must not be counted from its own time. */
void timer_wheel_set_clock(struct timer_wheel *wheel, uint64_t (*now)(void *arg), void *arg);

/* Arms, or moves an armed timer. delay in ms; 0 fires at the next run. */
void timer_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t delay_ms);
void timer_disarm(struct timer_wheel *wheel, struct timer *timer);

static inline bool timer_armed(const struct timer *timer)
{
	return timer->next != NULL;
}

/* Fires all that is due; a callback may arm and disarm any timer, its own too. */
void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ms);

/* Ms from now to when timer_wheel_run() must be called next (possibly for nothing but moving
 * timers down a level); UINT64_MAX where no timer is armed. */
uint64_t timer_wheel_wait(const struct timer_wheel *wheel, uint64_t now_ms);

#endif
