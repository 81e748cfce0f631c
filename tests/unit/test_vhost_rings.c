/* SPDX-License-Identifier: MIT */
/* The rings of the vhost-user server, by a front-end written by hand and a device that echoes. */
#include "tests/unit/vhost_echo_rig.h"

/* ---- rings ---- */

START_TEST(chains_are_served_on_a_kick_and_called_for_once)
{
	for (uint16_t i = 0; i < 8; i++)
		offer(1, i, (char)('a' + i));
	do_kick(1);
	for (uint16_t i = 0; i < 8; i++)
		UNTIL(echoed(1, i, (char)('a' + i)));
	ck_assert_uint_le(calls(1), 3);
	ck_assert_uint_eq(calls(0), 0);
}
END_TEST

START_TEST(a_disabled_ring_waits_and_goes_on_where_it_was)
{
	ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, 0, 0));
	ck_assert_uint_eq(seen.stops, 1);
	ck_assert_ptr_null(vhost_user_queue(server, 0));
	offer(0, 0, 'x');
	do_kick(0);
	run(10);
	ck_assert_uint_eq(driver[0].used->idx, 0);
	ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, 0, 1));
	UNTIL(echoed(0, 0, 'x'));
}
END_TEST

START_TEST(a_ring_that_was_stopped_says_where_and_starts_from_there)
{
	offer(0, 0, 'x');
	do_kick(0);
	UNTIL(echoed(0, 0, 'x'));
	ck_assert_uint_eq(get_base(0), 1);
	ck_assert_uint_eq(seen.stops, 1);
	ck_assert(ask_state(VHOST_USER_SET_VRING_BASE, 0, 1));
	offer(0, 1, 'y');
	give_call(0);
	give_kick(0);
	UNTIL(echoed(0, 1, 'y'));
	ck_assert_uint_ge(calls(0), 1);
	ck_assert_uint_eq(driver[0].used->idx, 2);
}
END_TEST

START_TEST(a_paused_device_is_called_again_when_it_wants)
{
	unsigned turns;

	seen.paused = true;
	offer(0, 0, 'x');
	do_kick(0);
	run(10);
	turns = seen.turns;
	run(10);
	ck_assert_uint_eq(seen.turns, turns);
	ck_assert_uint_eq(driver[0].used->idx, 0);
	seen.paused = false;
	vhost_user_want(server, 0, 0);
	UNTIL(echoed(0, 0, 'x'));
}
END_TEST

START_TEST(a_kick_that_was_closed_does_not_spin)
{
	unsigned turns;

	close(kick[0]);
	kick[0] = -1;
	run(10);
	turns = seen.turns;
	run(10);
	ck_assert_uint_eq(seen.turns, turns);
}
END_TEST

START_TEST(a_bad_chain_harms_nobody)
{
	driver[0].desc[0] = (struct virtq_desc){DATA_AT, 1, VIRTQ_DESC_NEXT, 0};
	driver_offer(&driver[0], 0);
	offer(0, 1, 'x');
	do_kick(0);
	UNTIL(driver[0].used->idx == 2);
	ck_assert(driver_got(&driver[0], 0, 0));
	ck_assert(echoed(0, 1, 'x'));
	ck_assert_uint_eq(vhost_user_queue(server, 0)->refused, 1);
}
END_TEST

START_TEST(a_broken_ring_leaves_the_other_alone)
{
	driver_offer(&driver[0], 0xffff);
	do_kick(0);
	run(5);
	ck_assert_ptr_null(vhost_user_queue(server, 0));
	offer(1, 0, 'x');
	do_kick(1);
	UNTIL(echoed(1, 0, 'x'));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_rings");
	TCase *t = tcase_create("rings");

	tcase_add_checked_fixture(t, up_setup, teardown);
	tcase_add_test(t, chains_are_served_on_a_kick_and_called_for_once);
	tcase_add_test(t, a_disabled_ring_waits_and_goes_on_where_it_was);
	tcase_add_test(t, a_ring_that_was_stopped_says_where_and_starts_from_there);
	tcase_add_test(t, a_paused_device_is_called_again_when_it_wants);
	tcase_add_test(t, a_kick_that_was_closed_does_not_spin);
	tcase_add_test(t, a_bad_chain_harms_nobody);
	tcase_add_test(t, a_broken_ring_leaves_the_other_alone);
	suite_add_tcase(s, t);
	return run_suite(s);
}
