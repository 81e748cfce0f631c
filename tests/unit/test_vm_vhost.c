/* SPDX-License-Identifier: MIT */
/* netctld's copy of a vhost-user session: kept, passed on, dropped; the test is the worker. */
#include "tests/unit/check_main.h"
#include "tests/unit/vm_rig.h"

#include <fcntl.h>

static struct vm_rig rig;
static struct vm *vm;
static int vmm;                 /* the VMM's end of its connection */
static int pair[2];             /* that, and the worker's */
static Netdp__VhostSession got; /* without its lists */
static size_t got_fds;
static uint64_t got_region, got_used;
static bool got_enabled;

static bool note_resume(
	struct vm_rig *r, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	const Netdp__VhostSession *msg;

	if (env->body_case != NETDP__ENVELOPE__BODY_VHOST_RESUME)
		return false;
	msg = env->vhost_resume->session;
	got = *msg;
	got_fds = n_fds;
	got_region = msg->n_regions ? msg->regions[0]->user : 0;
	got_used = msg->n_queues ? msg->queues[0]->used : 0;
	got_enabled = msg->n_queues && msg->queues[0]->enabled;
	/* The connection comes first: it is the VMM's. */
	ck_assert_int_eq(os_send(fds[0], "w", 1, 0), 1);
	rpc_reply_status(r->rpc, id, r->code, "as the test says");
	return true;
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void set_up(void)
{
	vm_rig_start(&rig);
	rig.answer = note_resume;
	memset(&got, 0, sizeof(got));
	vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"vsock\":{\"kind\":\"vhost\",\"cid\":5}}");
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, pair), 0);
	vmm = pair[0];
}

static void tear_down(void)
{
	if (vmm >= 0)
		close(vmm);
	close(pair[1]);
	vm_rig_stop(&rig);
}

/* A session of one region and one queue, with this many fds. */
static void tell(size_t n_fds)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VhostSession msg = NETDP__VHOST_SESSION__INIT;
	Netdp__VhostRegion region = NETDP__VHOST_REGION__INIT, *regions = &region;
	Netdp__VhostQueue queue = NETDP__VHOST_QUEUE__INIT, *queues = &queue;
	int fds[4] = {pair[1], pair[1], pair[1], pair[1]};

	region.user = 4711;
	queue.used = 815;
	queue.enabled = queue.has_kick = queue.has_call = true;
	msg.features = 1;
	msg.status = 15;
	msg.cid = 5;
	msg.n_regions = 1;
	msg.regions = &regions;
	msg.n_queues = 1;
	msg.queues = &queues;
	env.body_case = NETDP__ENVELOPE__BODY_VHOST_SESSION;
	env.vhost_session = &msg;
	ck_assert_int_eq(rpc_event(rig.rpc, &env, fds, n_fds), 0);
}

static void tell_none(void)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VhostSession msg = NETDP__VHOST_SESSION__INIT;

	env.body_case = NETDP__ENVELOPE__BODY_VHOST_SESSION;
	env.vhost_session = &msg;
	ck_assert_int_eq(rpc_event(rig.rpc, &env, NULL, 0), 0);
}

static void told(void)
{
	tell(4);
	RIG_WAIT(&rig, vm->vhost.session.n_fds == 4);
}

START_TEST(a_successor_gets_it_as_it_came)
{
	char byte = 0;

	told();
	vm_rig_death(&rig, vm);
	vm_rig_worker(&rig, vm, SUPERVISED_AGAIN);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VHOST_RESUME], 1);
	ck_assert_uint_eq(got_fds, 4);
	ck_assert_uint_eq(got.features, 1);
	ck_assert_uint_eq(got.status, 15);
	ck_assert_uint_eq(got_region, 4711);
	ck_assert_uint_eq(got_used, 815);
	ck_assert(got_enabled);
	ck_assert_int_eq(recv(vmm, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'w');
	/* And the next one, should that die too. */
	vm_rig_death(&rig, vm);
	vm_rig_worker(&rig, vm, SUPERVISED_AGAIN);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VHOST_RESUME], 1);
}
END_TEST

START_TEST(one_that_has_ended_is_nobodys)
{
	unsigned before = open_fds();

	told();
	ck_assert_uint_eq(open_fds(), before + 4);
	tell_none();
	RIG_WAIT(&rig, vm->vhost.session.n_fds == 0);
	ck_assert_uint_eq(open_fds(), before);
	vm_rig_death(&rig, vm);
	vm_rig_worker(&rig, vm, SUPERVISED_AGAIN);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VHOST_RESUME], 0);
}
END_TEST

START_TEST(a_newer_one_takes_its_place)
{
	unsigned before;

	told();
	before = open_fds();
	for (int i = 0; i < 20; i++)
		told();
	for (int i = 0; i < 5; i++)
		vm_rig_turn(&rig);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

START_TEST(a_vmm_that_left_without_a_worker_is_noticed)
{
	told();
	vm_rig_death(&rig, vm);
	vm_vhost_tick(vm);
	ck_assert_uint_eq(vm->vhost.session.n_fds, 4);
	close(vmm);
	vmm = -1;
	vm_vhost_tick(vm);
	ck_assert_uint_eq(vm->vhost.session.n_fds, 0);
	vm_rig_worker(&rig, vm, SUPERVISED_AGAIN);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_VHOST_RESUME], 0);
}
END_TEST

START_TEST(one_that_no_worker_can_use_is_dropped)
{
	told();
	vm_rig_death(&rig, vm);
	rig.code = -EINVAL;
	vm_rig_worker(&rig, vm, SUPERVISED_AGAIN);
	RIG_WAIT(&rig, vm->vhost.session.n_fds == 0);
	ck_assert_uint_ge(vm_rig_events(&rig, "vsock.failed"), 1);
}
END_TEST

START_TEST(fds_that_do_not_fit_are_a_fault)
{
	static const size_t wrong[] = {1, 2, 3};

	tell(wrong[_i]);
	RIG_WAIT(&rig, !vm->configured);
	ck_assert_uint_eq(vm->vhost.session.n_fds, 0);
}
END_TEST

START_TEST(a_vm_of_another_kind_keeps_none)
{
	struct vm *other = vm_rig_vm(&rig, "{\"name\":\"db\",\"vsock\":{\"kind\":\"stream\"}}");
	unsigned before;

	vm_rig_death(&rig, vm);
	vm_rig_worker(&rig, other, SUPERVISED_NEW);
	before = open_fds();
	tell(4);
	tell_none();
	for (int i = 0; i < 10; i++)
		vm_rig_turn(&rig);
	ck_assert_uint_eq(other->vhost.session.n_fds, 0);
	ck_assert_uint_eq(open_fds(), before);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vm_vhost");
	TCase *t = tcase_create("session");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_successor_gets_it_as_it_came);
	tcase_add_test(t, one_that_has_ended_is_nobodys);
	tcase_add_test(t, a_newer_one_takes_its_place);
	tcase_add_test(t, a_vmm_that_left_without_a_worker_is_noticed);
	tcase_add_test(t, one_that_no_worker_can_use_is_dropped);
	tcase_add_loop_test(t, fds_that_do_not_fit_are_a_fault, 0, 3);
	tcase_add_test(t, a_vm_of_another_kind_keeps_none);
	suite_add_tcase(s, t);
	return run_suite(s);
}
