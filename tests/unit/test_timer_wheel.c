/* SPDX-License-Identifier: MIT */
/*
 * The timer wheel, against a clock of the test's own: level boundaries, callbacks that arm and
 * disarm, wheels that stood still for hours, and a random run against a plain list.
 */
#include "dataplane/stack/timer_wheel.h"
#include "tests/unit/check_main.h"

#define LONGEST ((1ull << 24) - (1ull << 19)) /* what a delay is cut to */

struct probe {
	struct timer timer; /* first */
	uint64_t fired_at;
	unsigned fired;
	struct probe *victim; /* disarmed by this one's callback */
	uint64_t again;       /* re-armed with this delay */
	struct probe *other;  /* armed with other_in */
	uint64_t other_in;
};

static struct timer_wheel *wheel;
static uint64_t now;
static bool check_order;
static uint64_t last_fired;

static uint64_t test_clock(void *arg)
{
	(void)arg;
	return now;
}

/* ck_assert tells its parent of each line that it passes, which is too slow for this. */
static void must(bool ok, const char *what)
{
	if (!ok)
		ck_abort_msg("%s", what);
}

static void fire(struct timer *timer)
{
	struct probe *p = (struct probe *)timer;

	must(!timer_armed(timer), "still armed while it fires");
	must(timer->expires <= now, "fired early");
	must(!check_order || last_fired <= timer->expires, "fired out of order");
	last_fired = timer->expires;
	p->fired++;
	p->fired_at = timer->expires;
	if (p->victim)
		timer_disarm(wheel, &p->victim->timer);
	if (p->again)
		timer_arm(wheel, timer, p->again);
	if (p->other)
		timer_arm(wheel, &p->other->timer, p->other_in);
}

static struct probe probe(void)
{
	return (struct probe){.timer = {.fire = fire}};
}

static void setup_at(uint64_t start)
{
	timer_wheel_free(wheel);
	now = start;
	last_fired = 0;
	check_order = false;
	wheel = timer_wheel_new(now);
	ck_assert_ptr_nonnull(wheel);
	timer_wheel_set_clock(wheel, test_clock, NULL);
}

static void setup(void)
{
	wheel = NULL;
	setup_at(1000);
}

static void teardown(void)
{
	timer_wheel_free(wheel);
}

static void run_at(uint64_t ms)
{
	now = ms;
	timer_wheel_run(wheel, now);
}

/* Sleeps as the loop does: exactly as long as the wheel says, until the time is reached. */
static void sleep_until(uint64_t ms)
{
	while (now < ms) {
		uint64_t wait = timer_wheel_wait(wheel, now);

		run_at(wait > ms - now ? ms : now + wait);
	}
}

START_TEST(an_empty_wheel_need_not_be_woken)
{
	ck_assert_uint_eq(timer_wheel_wait(wheel, now), UINT64_MAX);
	run_at(now + (1ull << 40));
	ck_assert_uint_eq(timer_wheel_wait(wheel, now), UINT64_MAX);
}
END_TEST

/* From every kind of start, delays around each level's boundary fire on the millisecond. */
START_TEST(fires_on_time_at_level_boundaries)
{
	static const uint64_t starts[] = {0, 1, 63, 64, 65, 4095, 4096, 262143, 262144, 16777215,
		16777216, (1ull << 24) - 65, (1ull << 40) + 4097};
	static const uint64_t delays[] = {1, 2, 62, 63, 64, 65, 127, 128, 4031, 4095, 4096, 4097,
		8191, 262143, 262144, 262145, 3600000, 7440000, LONGEST - 1, LONGEST};

	for (size_t i = 0; i < sizeof(starts) / sizeof(*starts); i++) {
		for (size_t k = 0; k < sizeof(delays) / sizeof(*delays); k++) {
			struct probe p = probe();

			setup_at(starts[i]);
			timer_arm(wheel, &p.timer, delays[k]);
			sleep_until(starts[i] + delays[k] - 1);
			ck_assert_uint_eq(p.fired, 0);
			sleep_until(starts[i] + delays[k]);
			ck_assert_uint_eq(p.fired, 1);
			ck_assert_uint_eq(timer_wheel_wait(wheel, now), UINT64_MAX);
		}
	}
}
END_TEST

START_TEST(longer_delays_are_cut)
{
	struct probe p = probe();

	timer_arm(wheel, &p.timer, LONGEST + 1);
	ck_assert_uint_eq(p.timer.expires, 1000 + LONGEST);
	timer_arm(wheel, &p.timer, UINT64_MAX);
	ck_assert_uint_eq(p.timer.expires, 1000 + LONGEST);
	sleep_until(1000 + LONGEST);
	ck_assert_uint_eq(p.fired, 1);
}
END_TEST

START_TEST(zero_fires_at_the_next_run)
{
	struct probe p = probe();

	timer_arm(wheel, &p.timer, 0);
	ck_assert_uint_eq(p.fired, 0);
	run_at(now + 1);
	ck_assert_uint_eq(p.fired, 1);
}
END_TEST

START_TEST(arming_again_moves)
{
	struct probe p = probe();

	timer_arm(wheel, &p.timer, 10);
	timer_arm(wheel, &p.timer, 100000);
	run_at(now + 50);
	ck_assert_uint_eq(p.fired, 0);
	timer_arm(wheel, &p.timer, 5);
	run_at(now + 5);
	ck_assert_uint_eq(p.fired, 1);
}
END_TEST

START_TEST(disarming_is_idempotent)
{
	struct probe p = probe();

	timer_disarm(wheel, &p.timer);
	timer_arm(wheel, &p.timer, 10);
	timer_disarm(wheel, &p.timer);
	timer_disarm(wheel, &p.timer);
	ck_assert(!timer_armed(&p.timer));
	ck_assert_uint_eq(timer_wheel_wait(wheel, now), UINT64_MAX);
	run_at(now + 100);
	ck_assert_uint_eq(p.fired, 0);
}
END_TEST

START_TEST(a_callback_may_arm_its_own_timer_again)
{
	struct probe p = probe();

	p.again = 64;
	timer_arm(wheel, &p.timer, 64);
	sleep_until(1000 + 64 * 1000);
	ck_assert_uint_eq(p.fired, 1000);
}
END_TEST

/* Its own slot is being emptied when a callback disarms a neighbour in it. */
START_TEST(a_callback_may_disarm_a_neighbour)
{
	struct probe a = probe(), b = probe(), c = probe();

	a.victim = &b;
	timer_arm(wheel, &a.timer, 5000);
	timer_arm(wheel, &b.timer, 5000);
	timer_arm(wheel, &c.timer, 5000);
	sleep_until(now + 5000);
	ck_assert_uint_eq(a.fired, 1);
	ck_assert_uint_eq(b.fired, 0);
	ck_assert_uint_eq(c.fired, 1);
	ck_assert_uint_eq(timer_wheel_wait(wheel, now), UINT64_MAX);
}
END_TEST

START_TEST(a_callback_may_arm_a_neighbour_that_is_due_too)
{
	struct probe a = probe(), b = probe();

	a.other = &b;
	a.other_in = 1;
	timer_arm(wheel, &a.timer, 100);
	timer_arm(wheel, &b.timer, 100);
	sleep_until(now + 100);
	ck_assert_uint_eq(a.fired, 1);
	ck_assert_uint_eq(b.fired, 0);
	sleep_until(now + 1);
	ck_assert_uint_eq(b.fired, 1);
}
END_TEST

/* The loop slept for hours, nothing being armed; the wheel still believes in the old time. */
START_TEST(delays_count_from_the_clock_not_from_the_wheel)
{
	struct probe p = probe();

	now += 100ull * 3600 * 1000;
	timer_arm(wheel, &p.timer, 200);
	run_at(now + 199);
	ck_assert_uint_eq(p.fired, 0);
	run_at(now + 1);
	ck_assert_uint_eq(p.fired, 1);
}
END_TEST

START_TEST(a_late_run_fires_all_in_order)
{
	enum { COUNT = 500 };
	static struct probe p[COUNT];

	check_order = true;
	for (int i = 0; i < COUNT; i++) {
		p[i] = probe();
		timer_arm(wheel, &p[i].timer, (uint64_t)(i * 7919 % COUNT) * 1000 + 1);
	}
	run_at(now + COUNT * 1000);
	for (int i = 0; i < COUNT; i++)
		ck_assert_uint_eq(p[i].fired, 1);
}
END_TEST

/* ---- the model ---- */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t draw(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static uint64_t any_delay(void)
{
	static const uint64_t spans[] = {2, 64, 70, 4096, 5000, 300000, LONGEST};

	return 1 + draw(spans[draw(7)]);
}

#define TIMERS 64

static struct probe timers[TIMERS];
static uint64_t due[TIMERS]; /* 0: not armed */

static void check_model(void)
{
	uint64_t next = UINT64_MAX, wait = timer_wheel_wait(wheel, now);

	for (int i = 0; i < TIMERS; i++) {
		if (due[i] && due[i] <= now) {
			must(timers[i].fired == 1, "due, and not fired once");
			must(timers[i].fired_at == due[i], "another time than it was armed for");
			due[i] = 0;
			timers[i].fired = 0;
		}
		must(timers[i].fired == 0, "fired early");
		must(timer_armed(&timers[i].timer) == (due[i] != 0), "armed or not");
		if (due[i] && due[i] < next)
			next = due[i];
	}
	/* It may want to be woken early, never late, and not at all without a timer. */
	must(next == UINT64_MAX ? wait == UINT64_MAX : wait <= next - now, "woken late");
}

START_TEST(agrees_with_a_plain_list)
{
	for (int i = 0; i < TIMERS; i++)
		timers[i] = probe();
	check_order = true;
	for (int step = 0; step < 200000; step++) {
		int i = (int)draw(TIMERS);
		uint64_t delay = any_delay();

		switch (draw(4)) {
		case 0:
			timer_arm(wheel, &timers[i].timer, delay);
			due[i] = now + (delay > LONGEST ? LONGEST : delay);
			break;
		case 1:
			timer_disarm(wheel, &timers[i].timer);
			due[i] = 0;
			break;
		case 2: /* as the loop does */
			delay = timer_wheel_wait(wheel, now);
			run_at(now + (delay == UINT64_MAX ? draw(1000) : delay));
			break;
		default: /* late */
			run_at(now + any_delay() / (1 + draw(100)));
			break;
		}
		check_model();
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("timer_wheel");
	TCase *t = tcase_create("timer_wheel");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, an_empty_wheel_need_not_be_woken);
	tcase_add_test(t, fires_on_time_at_level_boundaries);
	tcase_add_test(t, longer_delays_are_cut);
	tcase_add_test(t, zero_fires_at_the_next_run);
	tcase_add_test(t, arming_again_moves);
	tcase_add_test(t, disarming_is_idempotent);
	tcase_add_test(t, a_callback_may_arm_its_own_timer_again);
	tcase_add_test(t, a_callback_may_disarm_a_neighbour);
	tcase_add_test(t, a_callback_may_arm_a_neighbour_that_is_due_too);
	tcase_add_test(t, delays_count_from_the_clock_not_from_the_wheel);
	tcase_add_test(t, a_late_run_fires_all_in_order);
	tcase_add_test(t, agrees_with_a_plain_list);
	suite_add_tcase(s, t);
	return run_suite(s);
}
