/* SPDX-License-Identifier: MIT */
/* A vhost-user session that outlives its back-end: kept, given to a successor, refused. */
#include "tests/unit/vhost_echo_rig.h"

#include <fcntl.h>

static int dup_fd(int fd)
{
	return fd < 0 ? -1 : os_dup(fd);
}

/* As whoever keeps it has it: with fds of its own. */
static struct vhost_session keep(void)
{
	struct vhost_session s;

	ck_assert(vhost_user_session(server, &s));
	s.fd = os_dup(s.fd);
	for (unsigned i = 0; i < s.n_regions; i++)
		s.region_fd[i] = os_dup(s.region_fd[i]);
	for (unsigned i = 0; i < s.n_queues; i++) {
		s.queue[i].kick = dup_fd(s.queue[i].kick);
		s.queue[i].call = dup_fd(s.queue[i].call);
	}
	return s;
}

/* The back-end dies; it does nothing any more. */
static void die(void)
{
	vhost_user_free(server);
	memset(&seen, 0, sizeof(seen));
	server = vhost_user_new(loop, &device, NULL);
	ck_assert_ptr_nonnull(server);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(a_session_is_told_of_as_it_changes)
{
	unsigned before = seen.sessions;

	get(VHOST_USER_GET_FEATURES);
	run(2);
	ck_assert_uint_eq(seen.sessions, before);
	ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, 0, 0));
	UNTIL(seen.sessions == before + 1);
}
END_TEST

START_TEST(a_successor_goes_on_and_the_front_end_sees_nothing)
{
	struct vhost_session s;

	offer(0, 0, 'a');
	do_kick(0);
	UNTIL(echoed(0, 0, 'a'));
	s = keep();
	die();
	ck_assert_int_eq(vhost_user_resume(server, &s), 0);
	ck_assert_uint_eq(seen.ups, 1);
	offer(0, 1, 'b');
	offer(1, 2, 'c');
	do_kick(0);
	do_kick(1);
	UNTIL(echoed(0, 1, 'b'));
	UNTIL(echoed(1, 2, 'c'));
	ck_assert_uint_eq(get_base(0), 2);
	ck_assert_uint_eq(get_base(1), 1);
	/* None was served twice. */
	ck_assert_uint_eq(driver[0].used->idx, 2);
}
END_TEST

START_TEST(chains_that_the_dead_one_held_are_taken_again)
{
	struct vhost_session s;

	seen.holding = true;
	offer(0, 0, 'a');
	offer(0, 1, 'b');
	do_kick(0);
	UNTIL(vhost_user_queue(server, 0)->held == 2);
	s = keep();
	die();
	ck_assert_int_eq(vhost_user_resume(server, &s), 0);
	/* Without another kick. */
	UNTIL(echoed(0, 0, 'a'));
	UNTIL(echoed(0, 1, 'b'));
}
END_TEST

START_TEST(rings_that_stood_still_do_so_again)
{
	struct vhost_session s;

	offer(0, 0, 'a');
	do_kick(0);
	UNTIL(echoed(0, 0, 'a'));
	ck_assert_uint_eq(get_base(0), 1);
	s = keep();
	die();
	ck_assert_int_eq(vhost_user_resume(server, &s), 0);
	ck_assert_ptr_null(vhost_user_queue(server, 0));
	ck_assert_uint_eq(get_base(0), 1);
	offer(0, 1, 'b');
	give_kick(0);
	UNTIL(echoed(0, 1, 'b'));
}
END_TEST

START_TEST(a_front_end_that_left_meanwhile_ends_it)
{
	struct vhost_session s = keep();

	die();
	close(vmm);
	vmm = -1;
	ck_assert_int_eq(vhost_user_resume(server, &s), 0);
	UNTIL(seen.downs == 1);
	ck_assert(!vhost_user_session(server, &s));
}
END_TEST

static void no_change(struct vhost_session *s)
{
	(void)s;
}

static void too_many_regions(struct vhost_session *s)
{
	close(s->region_fd[1]);
	s->n_regions = 1;
}

static void no_features(struct vhost_session *s)
{
	s->features |= BIT(63);
}

static void no_queues(struct vhost_session *s)
{
	for (unsigned i = 0; i < s->n_queues; i++) {
		close(s->queue[i].kick);
		close(s->queue[i].call);
	}
	s->n_queues = 0;
}

static void odd_size(struct vhost_session *s)
{
	s->queue[1].config.size = 24;
}

static void rings_elsewhere(struct vhost_session *s)
{
	s->queue[1].config.used_user = 3;
}

static void no_connection(struct vhost_session *s)
{
	close(s->fd);
	s->fd = os_dup(guest.fd);
}

static void a_kick_that_is_none(struct vhost_session *s)
{
	close(s->queue[0].kick);
	s->queue[0].kick = os_dup(guest.fd);
}

static const struct {
	void (*change)(struct vhost_session *s);
	bool good;
} sessions[] = {
	{no_change, true}, {no_features, false}, {no_queues, false}, {odd_size, false},
	{rings_elsewhere, false}, {no_connection, false}, {a_kick_that_is_none, false},
	{too_many_regions, true}, /* the rings are in the first */
};

START_TEST(what_cannot_be_is_refused_and_leaves_nothing)
{
	struct vhost_session s = keep();
	unsigned before;
	int err;

	die();
	sessions[_i].change(&s);
	before = open_fds();
	err = vhost_user_resume(server, &s);
	ck_assert_int_eq(err == 0, sessions[_i].good);
	ck_assert_int_eq(vhost_user_connected_fd(server) >= 0, sessions[_i].good);
	if (err < 0)
		ck_assert_uint_eq(open_fds(), before - 1 - s.n_regions - 2 * s.n_queues);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_session");
	TCase *t = tcase_create("session");

	tcase_add_checked_fixture(t, up_setup, teardown);
	tcase_add_test(t, a_session_is_told_of_as_it_changes);
	tcase_add_test(t, a_successor_goes_on_and_the_front_end_sees_nothing);
	tcase_add_test(t, chains_that_the_dead_one_held_are_taken_again);
	tcase_add_test(t, rings_that_stood_still_do_so_again);
	tcase_add_test(t, a_front_end_that_left_meanwhile_ends_it);
	tcase_add_loop_test(t, what_cannot_be_is_refused_and_leaves_nothing, 0,
		sizeof(sessions) / sizeof(*sessions));
	suite_add_tcase(s, t);
	return run_suite(s);
}
