/* SPDX-License-Identifier: MIT */
/* What a worker tells becomes an event once, whichever netctld is told. */
#include "tests/unit/vm_rig.h"

#include "tests/unit/check_main.h"

static struct vm_rig rig;
static struct vm *vm;

static void set_up(void)
{
	vm_rig_start(&rig);
	vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"link\":{\"kind\":\"stream\"}}");
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
}

static void tear_down(void)
{
	vm_rig_stop(&rig);
}

static void tell_refusal(uint64_t number, uint16_t port)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__FlowRefused msg;
	struct addr to = addr_from_v4(0x01020304);

	netdp__flow_refused__init(&msg);
	msg.proto = NETDP__PROTO__PROTO_TCP;
	msg.addr = wire_put_addr(&to);
	msg.port = port;
	msg.rule = -1;
	msg.count = 1;
	env.number = number;
	env.body_case = NETDP__ENVELOPE__BODY_FLOW_REFUSED;
	env.flow_refused = &msg;
	ck_assert_int_eq(rpc_event(rig.rpc, &env, NULL, 0), 0);
}

static void tell_link(uint64_t number, bool up)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__LinkChanged msg;

	netdp__link_changed__init(&msg);
	msg.up = up;
	msg.kind = NETDP__LINK_KIND__LINK_STREAM;
	env.number = number;
	env.body_case = NETDP__ENVELOPE__BODY_LINK_CHANGED;
	env.link_changed = &msg;
	ck_assert_int_eq(rpc_event(rig.rpc, &env, NULL, 0), 0);
}

START_TEST(the_worker_may_forget_what_is_written)
{
	tell_refusal(5, 80);
	tell_refusal(6, 81);
	RIG_WAIT(&rig, rig.events_seen == 6);
	ck_assert_uint_eq(vm_rig_events(&rig, "flow.refused"), 2);
}
END_TEST

START_TEST(what_is_told_twice_is_one_event)
{
	tell_refusal(5, 80);
	RIG_WAIT(&rig, rig.events_seen == 5);
	rig.events_seen = 0;
	tell_refusal(5, 80);
	RIG_WAIT(&rig, rig.events_seen == 5);
	tell_refusal(6, 81);
	RIG_WAIT(&rig, rig.events_seen == 6);
	ck_assert_uint_eq(vm_rig_events(&rig, "flow.refused"), 2);
}
END_TEST

START_TEST(refusals_come_before_what_is_told_later)
{
	struct worker_refused_event *kept = vm->refusals.kept;

	tell_refusal(5, 80);
	tell_link(6, true);
	RIG_WAIT(&rig, rig.events_seen == 6);
	ck_assert_uint_eq(vm_rig_events(&rig, "flow.refused"), 1);
	ck_assert_uint_eq(vm_rig_events(&rig, "link.up"), 1);
	ck_assert_int_eq(kept[0].proto, 6);
	ck_assert_uint_eq(vm->refusals.n, 0);
}
END_TEST

START_TEST(the_next_netctld_knows_what_was_told)
{
	tell_refusal(5, 80);
	tell_link(6, true);
	RIG_WAIT(&rig, rig.events_seen == 6);
	/* As in a new process: */
	memset(&vm->told, 0, sizeof(vm->told));
	ck_assert_int_eq(vms_restore_told(&rig.daemon.vms, &(struct error){0}), 0);
	ck_assert_uint_eq(vm->told.last, 6);
	ck_assert(vm->told.link);
	rig.events_seen = 0;
	tell_refusal(5, 80);
	tell_link(6, true);
	RIG_WAIT(&rig, rig.events_seen == 6);
	tell_link(7, false);
	RIG_WAIT(&rig, rig.events_seen == 7);
	ck_assert_uint_eq(vm_rig_events(&rig, "flow.refused"), 1);
	ck_assert_uint_eq(vm_rig_events(&rig, "link.up"), 1);
	ck_assert_uint_eq(vm_rig_events(&rig, "link.down"), 1);
}
END_TEST

START_TEST(another_worker_counts_anew)
{
	tell_refusal(500, 80);
	RIG_WAIT(&rig, rig.events_seen == 500);
	vm_rig_death(&rig, vm);
	vm_rig_worker(&rig, vm, SUPERVISED_AGAIN);
	RIG_WAIT(&rig, vm->configured);
	tell_refusal(5, 80); /* its clock was set back */
	RIG_WAIT(&rig, vm_rig_events(&rig, "flow.refused") == 2);
}
END_TEST

START_TEST(another_worker_counts_anew_for_the_next_netctld_too)
{
	tell_link(500, true);
	RIG_WAIT(&rig, rig.events_seen == 500);
	vm_rig_death(&rig, vm);
	vm_rig_worker(&rig, vm, SUPERVISED_AGAIN);
	RIG_WAIT(&rig, vm->configured);
	/* As in a new process: */
	memset(&vm->told, 0, sizeof(vm->told));
	ck_assert_int_eq(vms_restore_told(&rig.daemon.vms, &(struct error){0}), 0);
	tell_link(5, true);
	RIG_WAIT(&rig, vm_rig_events(&rig, "link.up") == 2);
}
END_TEST

START_TEST(the_rest_of_many_is_no_broken_protocol)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__FlowRefused msg;
	struct addr none = addr_any;

	netdp__flow_refused__init(&msg);
	msg.addr = wire_put_addr(&none);
	msg.rule = -1;
	msg.count = 40;
	env.number = 1;
	env.body_case = NETDP__ENVELOPE__BODY_FLOW_REFUSED;
	env.flow_refused = &msg;
	ck_assert_int_eq(rpc_event(rig.rpc, &env, NULL, 0), 0);
	RIG_WAIT(&rig, rig.events_seen == 1);
	ck_assert_uint_eq(vm_rig_events(&rig, "worker.died"), 0);
}
END_TEST

static void tell_trouble(void)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ProxyTrouble msg;

	netdp__proxy_trouble__init(&msg);
	msg.reason = wire_put_text("timeout");
	msg.count = 1;
	env.body_case = NETDP__ENVELOPE__BODY_PROXY_TROUBLE;
	env.proxy_trouble = &msg;
	rpc_event(rig.rpc, &env, NULL, 0);
}

START_TEST(a_worker_that_tells_without_end_is_cut_off)
{
	for (unsigned i = 0; i < 40 && vm->configured; i++) {
		for (unsigned k = 0; k < 100; k++)
			tell_trouble();
		vm_rig_turn(&rig);
	}
	RIG_WAIT(&rig, !vm->configured);
	ck_assert_uint_eq(vm_rig_events(&rig, "proxy.failed"), 2048);
	ck_assert_uint_eq(vm_rig_events(&rig, "worker.died"), 1);
}
END_TEST

START_TEST(what_was_told_before_costs_nothing)
{
	tell_link(1, true);
	for (unsigned i = 0; i < 40; i++) {
		for (unsigned k = 0; k < 100; k++)
			tell_link(1, true);
		vm_rig_turn(&rig);
	}
	tell_link(2, false);
	RIG_WAIT(&rig, rig.events_seen == 2);
	ck_assert_uint_eq(vm_rig_events(&rig, "worker.died"), 0);
}
END_TEST

START_TEST(a_number_that_cannot_be_kept_is_none)
{
	tell_link((uint64_t)INT64_MAX + 1, true);
	RIG_WAIT(&rig, !vm->configured);
	ck_assert_uint_eq(vm_rig_events(&rig, "link.up"), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vm_tell");
	TCase *tc = tcase_create("vm_tell");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, the_worker_may_forget_what_is_written);
	tcase_add_test(tc, what_is_told_twice_is_one_event);
	tcase_add_test(tc, refusals_come_before_what_is_told_later);
	tcase_add_test(tc, the_next_netctld_knows_what_was_told);
	tcase_add_test(tc, another_worker_counts_anew);
	tcase_add_test(tc, another_worker_counts_anew_for_the_next_netctld_too);
	tcase_add_test(tc, the_rest_of_many_is_no_broken_protocol);
	tcase_add_test(tc, a_worker_that_tells_without_end_is_cut_off);
	tcase_add_test(tc, what_was_told_before_costs_nothing);
	tcase_add_test(tc, a_number_that_cannot_be_kept_is_none);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
