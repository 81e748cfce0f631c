/* SPDX-License-Identifier: MIT */
/* A guest's TSI listeners on netctld's side: bound to loopback, within bounds, kept for a successor. */
#include "tests/unit/check_main.h"
#include "tests/unit/vm_rig.h"

static struct vm_rig rig;
static struct vm *vm;

static void set_up(void)
{
	vm_rig_start(&rig);
	vm = vm_rig_vm(&rig, "{\"name\":\"web\",\"vsock\":{\"kind\":\"stream\"}}");
	vm_rig_worker(&rig, vm, SUPERVISED_NEW);
}

static void tear_down(void)
{
	vm_rig_stop(&rig);
}

/* The guest listens at 0.0.0.0:8080, or [::]:8080. 0 with rig.answer_at, or a negative errno. */
static int guest_listens(uint32_t svm_port, uint32_t family)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiListen msg = NETDP__TSI_LISTEN__INIT;
	Netdp__TsiListener listener = NETDP__TSI_LISTENER__INIT;
	struct addr addr;

	addr_parse(family == 2 ? "0.0.0.0" : "::", &addr);
	listener.svm_port = svm_port;
	listener.vm_port = svm_port + 1;
	listener.family = family;
	listener.type = 1;
	listener.addr = wire_put_addr(&addr);
	listener.port = 8080;
	msg.listener = &listener;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_LISTEN;
	env.tsi_listen = &msg;
	return vm_rig_asked(&rig, &env);
}

static void guest_closes(uint32_t svm_port)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiClosed msg = NETDP__TSI_CLOSED__INIT;

	msg.svm_port = svm_port;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_CLOSED;
	env.tsi_closed = &msg;
	rpc_event(rig.rpc, &env, NULL, 0);
}

/* Whether anybody listens there. */
static bool answers(const struct endpoint *at)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(at, &ss);
	int fd = os_socket(ss.ss_family, SOCK_STREAM, 0, false);
	bool good = connect(fd, (struct sockaddr *)&ss, len) == 0;

	close(fd);
	return good;
}

START_TEST(listener_is_bound_to_loopback_and_listed)
{
	struct json_object *items, *item, *value = NULL;
	char text[ENDPOINT_STRLEN];

	ck_assert_int_eq(guest_listens(1000, 2), 0);
	ck_assert_int_eq(rig.answer_body, NETDP__ENVELOPE__BODY_TSI_LISTENING);
	ck_assert(addr_is_loopback(&rig.answer_at.addr));
	ck_assert(answers(&rig.answer_at));
	items = vm_tsi_json(vm);
	ck_assert_uint_eq(json_object_array_length(items), 1);
	item = json_object_array_get_idx(items, 0);
	json_object_object_get_ex(item, "host", &value);
	ck_assert_str_eq(
		json_object_get_string(value), endpoint_format(&rig.answer_at, text, sizeof(text)));
	json_object_object_get_ex(item, "addr", &value);
	ck_assert_str_eq(json_object_get_string(value), "0.0.0.0");
	json_object_object_get_ex(item, "family", &value);
	ck_assert_str_eq(json_object_get_string(value), "ipv4");
	json_object_put(items);
	ck_assert_uint_eq(vm_rig_events(&rig, "listener.added"), 1);
}
END_TEST

START_TEST(listener_of_ipv6_is_bound_to_loopback)
{
	ck_assert_int_eq(guest_listens(1000, 10), 0);
	ck_assert(addr_is_loopback(&rig.answer_at.addr));
	ck_assert(answers(&rig.answer_at));
}
END_TEST

START_TEST(closed_listener_is_gone_from_the_host)
{
	struct endpoint at;

	ck_assert_int_eq(guest_listens(1000, 2), 0);
	at = rig.answer_at;
	close(rig.answer_fd);
	rig.answer_fd = -1;
	guest_closes(999); /* unknown: of no matter */
	guest_closes(1000);
	RIG_WAIT(&rig, vm->tsi.n == 0);
	ck_assert(!answers(&at));
	ck_assert_uint_eq(vm_rig_events(&rig, "listener.closed"), 1);
}
END_TEST

START_TEST(at_most_256_and_the_same_again_replaces)
{
	for (uint32_t i = 0; i < TSI_LISTENERS_MAX; i++)
		ck_assert_int_eq(guest_listens(1000 + i, 2), 0);
	ck_assert_int_eq(guest_listens(9999, 2), -EMFILE);
	ck_assert_int_eq(guest_listens(1000, 2), 0);
	ck_assert_uint_eq(vm->tsi.n, TSI_LISTENERS_MAX);
	/* A guest that listens in a loop does not push all other events out. */
	ck_assert_uint_lt(vm_rig_events(&rig, "listener.added"), TSI_LISTENERS_MAX);
	RIG_WAIT(&rig, vm_rig_events(&rig, "listener.more") > 0);
}
END_TEST

START_TEST(malformed_listener_ends_the_worker)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiListen msg = NETDP__TSI_LISTEN__INIT;

	env.body_case = NETDP__ENVELOPE__BODY_TSI_LISTEN;
	env.tsi_listen = &msg;
	ck_assert_int_eq(vm_rig_asked(&rig, &env), -ECONNRESET);
}
END_TEST

/* ---- a successor ---- */

static unsigned restored_listeners, restored_proxies, restored_messages;
static struct endpoint restored_at;

static bool note_restore(
	struct vm_rig *r, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	if (env->body_case != NETDP__ENVELOPE__BODY_TSI_RESTORE)
		return false;
	ck_assert_uint_eq(env->tsi_restore->n_listeners, n_fds);
	restored_messages++;
	restored_listeners += (unsigned)n_fds;
	restored_proxies += (unsigned)env->tsi_restore->n_proxies;
	if (n_fds)
		ck_assert_int_eq(listener_check(LISTENER_TCP, fds[0], &restored_at), 0);
	rpc_reply_status(r->rpc, id, 0, NULL);
	return true;
}

static void tell_proxies(void)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiProxies msg = NETDP__TSI_PROXIES__INIT;
	Netdp__TsiProxy a = NETDP__TSI_PROXY__INIT, b = NETDP__TSI_PROXY__INIT;
	Netdp__TsiProxy *list[] = {&a, &b};
	struct addr peer;

	addr_parse("9.9.9.9", &peer);
	a.family = b.family = 2;
	a.svm_port = 1;
	b.svm_port = 2;
	b.peer = wire_put_addr(&peer);
	b.peer_port = 53;
	msg.proxies = list;
	msg.n_proxies = 2;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_PROXIES;
	env.tsi_proxies = &msg;
	rpc_event(rig.rpc, &env, NULL, 0);
	RIG_WAIT(&rig, vm->tsi.n_proxies == 2);
}

START_TEST(successor_gets_them_at_the_same_ports)
{
	struct endpoint at;

	ck_assert_int_eq(guest_listens(1000, 2), 0);
	at = rig.answer_at;
	for (uint32_t i = 1; i < 20; i++)
		ck_assert_int_eq(guest_listens(1000 + i, 2), 0);
	tell_proxies();
	ck_assert(vm->tsi.proxies[1].connected);
	vm_rig_death(&rig, vm);
	ck_assert_uint_eq(vm->tsi.n, 20);
	ck_assert(answers(&at));
	restored_listeners = restored_proxies = restored_messages = 0;
	rig.answer = note_restore;
	vm_rig_worker(&rig, vm, SUPERVISED_AGAIN);
	RIG_WAIT(&rig, restored_listeners == 20);
	ck_assert_uint_eq(restored_proxies, 2);
	ck_assert_uint_eq(restored_messages, 2); /* at most 16 fds go with one */
}
END_TEST

/* ---- what a worker claims at adoption ---- */

START_TEST(adopted_listener_must_be_on_loopback)
{
	struct endpoint open_to_all = {0}, local = {0};
	struct tsi_listener list[2] = {
		{.svm_port = 1, .family = TSI_INET, .type = TSI_STREAM},
		{.svm_port = 2, .family = TSI_INET, .type = TSI_STREAM},
	};
	struct worker_tsi theirs = {.listeners = list, .n = 2};

	addr_parse("0.0.0.0", &open_to_all.addr);
	addr_parse("127.0.0.1", &local.addr);
	list[0].fd = listener_open(LISTENER_TCP, &open_to_all);
	list[1].fd = listener_open(LISTENER_TCP, &local);
	vm_tsi_adopt(vm, &theirs);
	ck_assert_uint_eq(vm->tsi.n, 1);
	ck_assert_ptr_nonnull(vm_tsi_find(vm, 2));
	ck_assert_int_eq(list[1].fd, -1);
	ck_assert(endpoint_eq(&vm_tsi_find(vm, 2)->host, &local));
	close(list[0].fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("TSI listeners");
	TCase *tc = tcase_create("TSI listeners");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, listener_is_bound_to_loopback_and_listed);
	tcase_add_test(tc, listener_of_ipv6_is_bound_to_loopback);
	tcase_add_test(tc, closed_listener_is_gone_from_the_host);
	tcase_add_test(tc, at_most_256_and_the_same_again_replaces);
	tcase_add_test(tc, malformed_listener_ends_the_worker);
	tcase_add_test(tc, successor_gets_them_at_the_same_ports);
	tcase_add_test(tc, adopted_listener_must_be_on_loopback);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
