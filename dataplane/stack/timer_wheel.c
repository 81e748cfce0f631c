/* SPDX-License-Identifier: MIT */
/*
 * The timer wheel. See timer_wheel.h.
 *
 * Level L has 64 slots of 64^L ms. A timer lies in the lowest level whose span reaches it, in the
 * slot of its expiry time's digit (base 64) at that level. Whenever the time's lower digits roll
 * over, the slot that has come up at the next level is emptied and its timers are put in again,
 * now lower. A bitmap a level tells which slots hold anything, so idle time is skipped.
 */
#include "dataplane/stack/timer_wheel.h"

#include <stdlib.h>

#define LEVELS 4
#define BITS 6
#define SLOTS (1u << BITS)
#define REACH (1ull << (BITS * LEVELS))

struct timer_wheel {
	uint64_t now; /* all that expires at or before this has fired */
	uint64_t (*clock)(void *arg);
	void *clock_arg;
	uint64_t used[LEVELS];
	struct timer slot[LEVELS][SLOTS]; /* list heads */
};

struct timer_wheel *timer_wheel_new(uint64_t now_ms)
{
	struct timer_wheel *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->now = now_ms;
	for (unsigned level = 0; level < LEVELS; level++) {
		for (unsigned i = 0; i < SLOTS; i++)
			w->slot[level][i].next = w->slot[level][i].prev = &w->slot[level][i];
	}
	return w;
}

void timer_wheel_free(struct timer_wheel *wheel)
{
	free(wheel);
}

void timer_wheel_set_clock(struct timer_wheel *wheel, uint64_t (*now)(void *arg), void *arg)
{
	wheel->clock = now;
	wheel->clock_arg = arg;
}

static unsigned digit(uint64_t t, unsigned level)
{
	return t >> (BITS * level) & (SLOTS - 1);
}

static void insert(struct timer_wheel *w, struct timer *timer)
{
	uint64_t differ = timer->expires ^ w->now;
	unsigned level = 0, i;
	struct timer *head;

	/* The highest digit in which expiry and now differ is where the timer waits. */
	while (level < LEVELS - 1 && differ >> (BITS * (level + 1)))
		level++;
	i = digit(timer->expires, level);
	head = &w->slot[level][i];
	timer->prev = head->prev;
	timer->next = head;
	head->prev->next = timer;
	head->prev = timer;
	w->used[level] |= 1ull << i;
}

static void unlink_timer(struct timer *timer)
{
	timer->prev->next = timer->next;
	timer->next->prev = timer->prev;
	timer->next = timer->prev = NULL;
}

void timer_disarm(struct timer_wheel *w, struct timer *timer)
{
	struct timer *head;

	if (!timer->next)
		return;
	head = timer->next;
	/* The last one of a slot has the head on both sides; clear the slot's bit with it. */
	if (head == timer->prev && head >= &w->slot[0][0] &&
		head <= &w->slot[LEVELS - 1][SLOTS - 1]) {
		size_t at = (size_t)(head - &w->slot[0][0]);

		w->used[at / SLOTS] &= ~(1ull << at % SLOTS);
	}
	unlink_timer(timer);
}

void timer_arm(struct timer_wheel *w, struct timer *timer, uint64_t delay_ms)
{
	uint64_t now = w->clock ? w->clock(w->clock_arg) : w->now;

	timer_disarm(w, timer);
	if (delay_ms < 1)
		delay_ms = 1;
	/* One slot of the top level is the current one, one may have begun: stay clear of both. */
	if (delay_ms > REACH - 2 * (REACH / SLOTS))
		delay_ms = REACH - 2 * (REACH / SLOTS);
	timer->expires = (now > w->now ? now : w->now) + delay_ms;
	insert(w, timer);
}

/* Takes a slot's timers out and either fires them or puts them in at a lower level. */
static void empty_slot(struct timer_wheel *w, unsigned level, unsigned i)
{
	struct timer *head = &w->slot[level][i];
	struct timer list;

	if (head->next == head)
		return;
	list.next = head->next;
	list.prev = head->prev;
	list.next->prev = list.prev->next = &list;
	head->next = head->prev = head;
	w->used[level] &= ~(1ull << i);
	while (list.next != &list) {
		struct timer *timer = list.next;

		unlink_timer(timer);
		if (timer->expires <= w->now)
			timer->fire(timer);
		else
			insert(w, timer);
	}
}

/* The next time, after now, at which a slot in use comes up; UINT64_MAX for none. */
static uint64_t next_stop(const struct timer_wheel *w)
{
	uint64_t best = UINT64_MAX;

	for (unsigned level = 0; level < LEVELS; level++) {
		unsigned at = digit(w->now, level), shift;
		uint64_t turned, when;

		if (!w->used[level])
			continue;
		/* Rotate so that the slot after the current one is bit 0. */
		shift = (at + 1) & (SLOTS - 1);
		turned = shift ? w->used[level] >> shift | w->used[level] << (SLOTS - shift)
			       : w->used[level];
		when = (w->now >> (BITS * level)) + 1 + (unsigned)__builtin_ctzll(turned);
		when <<= BITS * level;
		if (when < best)
			best = when;
	}
	return best;
}

void timer_wheel_run(struct timer_wheel *w, uint64_t now_ms)
{
	while (w->now < now_ms) {
		uint64_t stop = next_stop(w);

		if (stop > now_ms) {
			w->now = now_ms;
			return;
		}
		w->now = stop;
		/* From the top, so that a timer that moves down to a slot due now fires now. */
		for (unsigned level = LEVELS; level-- > 0;) {
			if ((stop & ((1ull << (BITS * level)) - 1)) == 0)
				empty_slot(w, level, digit(stop, level));
		}
	}
}

uint64_t timer_wheel_wait(const struct timer_wheel *w, uint64_t now_ms)
{
	uint64_t stop = next_stop(w);

	if (stop == UINT64_MAX)
		return UINT64_MAX;
	return stop > now_ms ? stop - now_ms : 0;
}
