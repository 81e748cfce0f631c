/* SPDX-License-Identifier: MIT */
/* Where a forward may lead: a port, a vsock port, a TSI listener; what the worker is told of it. */
#include "tests/unit/check_main.h"
#include "tests/unit/vm_rig.h"

static struct vm_rig rig;
static struct vm *vm;
static struct error err;

static void set_up(void)
{
	vm_rig_start(&rig);
	vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"vsock\":{\"kind\":\"stream\"}}");
}

static void tear_down(void)
{
	vm_rig_stop(&rig);
}

static int read_forward(const char *proto, const char *to, struct forward_spec *spec)
{
	char text[256];
	struct json_object *doc;
	int status;

	snprintf(text, sizeof(text), "{\"listen\":{\"proto\":\"%s\",\"port\":0},\"to\":%s}", proto,
		to);
	doc = json_tokener_parse(text);
	ck_assert_msg(doc != NULL, "%s", text);
	memset(&err, 0, sizeof(err));
	status = forward_spec_read(doc, "", false, spec, &err);
	json_object_put(doc);
	return status;
}

static const struct {
	const char *to;
	struct worker_target target;
} targets[] = {
	{"{\"port\":80}", {WORKER_TO_PORT, 80}},
	{"{\"vsock\":4294967294}", {WORKER_TO_VSOCK, 4294967294}},
	{"{\"tsi\":\"first\"}", {WORKER_TO_TSI_FIRST, 0}},
	{"{\"tsi\":{\"vm_port\":70000}}", {WORKER_TO_TSI_VM_PORT, 70000}},
	{"{\"tsi\":{\"bound_port\":80}}", {WORKER_TO_TSI_BOUND_PORT, 80}},
};

#define N_TARGETS (sizeof(targets) / sizeof(*targets))

START_TEST(each_target_reads_back)
{
	for (size_t i = 0; i < N_TARGETS; i++) {
		struct forward_spec spec, again;
		struct json_object *doc;

		ck_assert_msg(read_forward("tcp", targets[i].to, &spec) == 0, "%s", err.text);
		ck_assert_int_eq(spec.target.kind, targets[i].target.kind);
		ck_assert_uint_eq(spec.target.port, targets[i].target.port);
		doc = forward_spec_json(&spec);
		ck_assert_int_eq(forward_spec_read(doc, "", true, &again, &err), 0);
		json_object_put(doc);
		ck_assert(forward_spec_equal(&spec, &again));
	}
}
END_TEST

START_TEST(bad_targets_name_the_field)
{
	static const struct {
		const char *proto, *to, *field;
	} bad[] = {
		{"tcp", "{}", "to.port"},
		{"tcp", "{\"vsock\":0}", "to.vsock"},
		{"tcp", "{\"vsock\":4294967295}", "to.vsock"},
		{"tcp", "{\"vsock\":5,\"port\":5}", "to.port"},
		{"tcp", "{\"tsi\":\"last\"}", "to.tsi"},
		{"tcp", "{\"tsi\":7}", "to.tsi"},
		{"tcp", "{\"tsi\":{}}", "to.tsi.vm_port"},
		{"tcp", "{\"tsi\":{\"bound_port\":65536}}", "to.tsi.bound_port"},
		{"tcp", "{\"tsi\":{\"bound_port\":1,\"vm_port\":1}}", "to.tsi.vm_port"},
		{"udp", "{\"vsock\":5}", "to"},
		{"udp", "{\"tsi\":\"first\"}", "to"},
	};
	struct forward_spec spec;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ck_assert_msg(read_forward(bad[i].proto, bad[i].to, &spec) < 0, "%s", bad[i].to);
		ck_assert_msg(strcmp(err.field, bad[i].field) == 0, "%s: %s", bad[i].to, err.field);
	}
}
END_TEST

static Netdp__Target__KindCase told;

static bool note_forward(
	struct vm_rig *r, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	(void)r;
	(void)id;
	(void)fds;
	(void)n_fds;
	if (env->body_case == NETDP__ENVELOPE__BODY_FORWARD_ADD)
		told = env->forward_add->target->kind_case;
	return false;
}

START_TEST(worker_is_told_of_the_target)
{
	struct forward_spec spec;
	struct forward *made;
	bool is_new;

	rig.answer = note_forward;
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
	ck_assert_int_eq(read_forward("tcp", "{\"tsi\":{\"bound_port\":80}}", &spec), 0);
	ck_assert_int_eq(vm_forwards_add(vm, &spec, 1, NULL, -1, &made, &is_new, NULL, &err), 0);
	RIG_WAIT(&rig, rig.seen[NETDP__ENVELOPE__BODY_FORWARD_ADD] == 1);
	ck_assert_int_eq(told, NETDP__TARGET__KIND_TSI_BOUND_PORT);
}
END_TEST

/* ---- adoption ---- */

static int their_fd;
static Netdp__Target__KindCase their_kind;

static bool at_work(
	struct vm_rig *r, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	Netdp__Envelope reply = NETDP__ENVELOPE__INIT;
	Netdp__Description description;
	Netdp__Configure conf;
	Netdp__LinkSet link = NETDP__LINK_SET__INIT;
	Netdp__Forwards forwards = NETDP__FORWARDS__INIT;
	Netdp__ForwardAdd forward, *list[] = {&forward};
	Netdp__Target target = NETDP__TARGET__INIT;
	const struct forward *ours = TAILQ_FIRST(&vm->forwards);
	struct addr subnet;
	char name[] = "web";

	(void)fds;
	(void)n_fds;
	netdp__description__init(&description);
	netdp__configure__init(&conf);
	netdp__forward_add__init(&forward);
	addr_parse("10.0.2.0", &subnet);
	if (env->body_case == NETDP__ENVELOPE__BODY_DESCRIBE) {
		conf.vm = name;
		conf.subnet = conf.gateway = conf.guest = wire_put_addr(&subnet);
		conf.subnet_bits = 120;
		conf.mtu = 1500;
		description.config = &conf;
		description.link = &link;
		description.configured = true;
		reply.body_case = NETDP__ENVELOPE__BODY_DESCRIPTION;
		reply.description = &description;
		rpc_reply(r->rpc, id, &reply, NULL, 0);
		return true;
	}
	if (env->body_case == NETDP__ENVELOPE__BODY_VSOCK_GET ||
		env->body_case == NETDP__ENVELOPE__BODY_TSI_GET) {
		rpc_reply_status(r->rpc, id, -ENOSYS, "of an earlier release");
		return true;
	}
	if (env->body_case != NETDP__ENVELOPE__BODY_FORWARDS_GET)
		return false;
	target.kind_case = their_kind;
	target.vsock = 5000;
	forward.id = wire_put_text(ours->id);
	forward.proto = NETDP__PROTO__PROTO_TCP;
	forward.addr = wire_put_addr(&ours->spec.listen.addr);
	forward.port = ours->spec.listen.port;
	forward.target = &target;
	forwards.forwards = list;
	forwards.n_forwards = forwards.total = 1;
	reply.body_case = NETDP__ENVELOPE__BODY_FORWARDS;
	reply.forwards = &forwards;
	rpc_reply(r->rpc, id, &reply, &their_fd, 1);
	return true;
}

static void adopt(Netdp__Target__KindCase kind)
{
	struct forward_spec spec;
	struct forward *made;
	bool is_new;

	ck_assert_int_eq(read_forward("tcp", "{\"vsock\":5000}", &spec), 0);
	ck_assert_int_eq(vm_forwards_add(vm, &spec, 1, NULL, -1, &made, &is_new, NULL, &err), 0);
	their_fd = made->fd;
	made->fd = -1;
	their_kind = kind;
	vm->settled = false;
	rig.answer = at_work;
	vm_rig_worker(&rig, vm, SUPERVISED_ADOPTED);
	close(their_fd);
}

START_TEST(adopted_forward_of_the_same_target_stays)
{
	adopt(NETDP__TARGET__KIND_VSOCK);
	for (int i = 0; i < 5; i++)
		vm_rig_turn(&rig);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_FORWARD_DELETE], 0);
	ck_assert_uint_eq(rig.seen[NETDP__ENVELOPE__BODY_FORWARD_ADD], 0);
}
END_TEST

START_TEST(adopted_forward_of_another_target_is_made_anew)
{
	adopt(NETDP__TARGET__KIND_TSI_VM_PORT);
	RIG_WAIT(&rig, rig.seen[NETDP__ENVELOPE__BODY_FORWARD_DELETE] == 1);
	/* An earlier release that knows no vsock is given one all the same, and says what it thinks. */
	RIG_WAIT(&rig, rig.seen[NETDP__ENVELOPE__BODY_VSOCK_SET] == 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("forward targets");
	TCase *tc = tcase_create("forward targets");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, each_target_reads_back);
	tcase_add_test(tc, bad_targets_name_the_field);
	tcase_add_test(tc, worker_is_told_of_the_target);
	tcase_add_test(tc, adopted_forward_of_the_same_target_stays);
	tcase_add_test(tc, adopted_forward_of_another_target_is_made_anew);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
