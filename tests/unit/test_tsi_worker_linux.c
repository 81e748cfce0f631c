/* SPDX-License-Identifier: MIT */
/* TSI of a whole worker in its sandbox: what it asks of netctld, tells it and takes from it. */
#include "tests/unit/tsi_rig.h"
#include "tests/unit/worker_rig.h"

static int listener = -1; /* given to the worker at its next TsiListen; else EADDRINUSE */
static unsigned listens, closed, lists;
static uint32_t asked_port, closed_port;
static size_t proxies; /* in the latest list */
static struct {
	size_t listeners, proxies;
	uint32_t total, svm_port, vm_port, bound;
	uint32_t stat_listeners, stat_proxies;
	int fd;
} got;

static void on_request(uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	Netdp__Envelope reply = NETDP__ENVELOPE__INIT;
	Netdp__TsiListening msg = NETDP__TSI_LISTENING__INIT;
	struct endpoint at;

	(void)fds;
	(void)n_fds;
	ck_assert_int_eq(env->body_case, NETDP__ENVELOPE__BODY_TSI_LISTEN);
	listens++;
	asked_port = env->tsi_listen->listener->port;
	if (listener < 0) {
		rpc_reply_status(worker.rpc, id, -EADDRINUSE, "taken");
		return;
	}
	at = tsi_name(listener);
	msg.addr = wire_put_addr(&at.addr);
	msg.port = at.port;
	reply.body_case = NETDP__ENVELOPE__BODY_TSI_LISTENING;
	reply.tsi_listening = &msg;
	rpc_reply(worker.rpc, id, &reply, &listener, 1);
}

static void on_event(const Netdp__Envelope *env)
{
	if (env->body_case == NETDP__ENVELOPE__BODY_TSI_CLOSED) {
		closed++;
		closed_port = env->tsi_closed->svm_port;
	} else if (env->body_case == NETDP__ENVELOPE__BODY_TSI_PROXIES) {
		lists++;
		proxies = env->tsi_proxies->n_proxies;
	}
}

static void on_reply(const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	if (env->body_case == NETDP__ENVELOPE__BODY_STATS) {
		got.stat_listeners = env->stats->tsi_listeners;
		got.stat_proxies = env->stats->tsi_proxies;
		return;
	}
	ck_assert_int_eq(env->body_case, NETDP__ENVELOPE__BODY_TSI);
	ck_assert_uint_eq(env->tsi->n_listeners, n_fds);
	got.listeners = n_fds;
	got.proxies = env->tsi->n_proxies;
	got.total = env->tsi->total;
	if (!n_fds)
		return;
	got.svm_port = env->tsi->listeners[0]->svm_port;
	got.vm_port = env->tsi->listeners[0]->vm_port;
	got.bound = env->tsi->listeners[0]->port;
	got.fd = fds[0];
	fds[0] = -1;
}

static void get_tsi(uint32_t skip)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiGet get = NETDP__TSI_GET__INIT;

	get.skip = skip;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_GET;
	env.tsi_get = &get;
	ck_assert_int_eq(worker_ask(&env, NULL, 0), 0);
}

static void set_policy(void)
{
	struct policy_input deny = {.default_by = POLICY_BY_DEFAULT};
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__PolicySet msg;
	uint8_t *table;
	size_t len;

	netdp__policy_set__init(&msg);
	ck_assert_int_eq(policy_table_compile(&deny, &table, &len, NULL), 0);
	msg.table = wire_put(table, len);
	env.body_case = NETDP__ENVELOPE__BODY_POLICY_SET;
	env.policy_set = &msg;
	ck_assert_int_eq(worker_ask(&env, NULL, 0), 0);
	free(table);
}

static void setup(void)
{
	worker.request = on_request;
	worker.event = on_event;
	worker.reply = on_reply;
	listener = -1;
	listens = closed = lists = 0;
	memset(&got, 0, sizeof(got));
	worker_setup();
	worker_attach_guest();
	set_policy();
}

static void teardown(void)
{
	worker_teardown();
	if (listener >= 0)
		close(listener);
}

START_TEST(streams_and_datagrams_go_out)
{
	int tcp = tsi_server(SOCK_STREAM, 5), udp = tsi_server(SOCK_DGRAM, 0), far;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct endpoint name;
	char buf[4];

	tsi_stream(TSI_SVM, tcp);
	far = tsi_accept(tcp);
	guest_rw(TSI_SVM, TSI_STREAM_PORT, "ping", 4);
	host_read(far, buf, 4);
	ck_assert_int_eq(tsi_getname(TSI_SVM, 0, false, &name), 0);
	ck_assert(addr_is_loopback(&name.addr));
	ck_assert_int_eq(tsi_connect(TSI_SVM, "192.0.2.1", 80), -106);
	tsi_create(TSI_SVM + 1, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 1, "192.0.2.1", 80), -13);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 1, "10.0.2.2", 53), 0);
	tsi_create(TSI_SVM + 2, TSI_INET, TSI_DGRAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 2, "10.0.2.2", tsi_name(udp).port), 0);
	tsi_dgram(TSI_SVM + 2, TSI_SVM + 2, "ping", 4);
	RIG_UNTIL(recv(udp, buf, 4, MSG_PEEK) == 4);
	ck_assert_int_eq(recvfrom(udp, buf, 4, 0, (struct sockaddr *)&ss, &len), 4);
	sendto(udp, "pong", 4, 0, (struct sockaddr *)&ss, len);
	guest_expect(VSOCK_OP_RW, TSI_SVM + 2);
	ck_assert_int_eq(tsi_getname(TSI_SVM + 2, 0, false, &name), 0);
	ck_assert(addr_is_loopback(&name.addr) && name.port);
	close(far);
	close(tcp);
	close(udp);
}
END_TEST

START_TEST(a_listener_is_asked_for_and_given_back)
{
	uint32_t port;
	int fd;

	tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 8080);
	ck_assert_int_eq(tsi_result(TSI_LISTEN), -98);
	listener = tsi_server(SOCK_STREAM, 5);
	tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 8080);
	ck_assert_int_eq(tsi_result(TSI_LISTEN), 0);
	ck_assert_uint_eq(listens, 2);
	ck_assert_uint_eq(asked_port, 8080);
	fd = tsi_dial(listener);
	port = tsi_take(TSI_VM);
	TSI_EXPECT_NAME(TSI_SVM, port, true, TSI_INET, tsi_name(fd));
	/* To itself. */
	tsi_create(TSI_SVM + 1, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM + 1, "127.0.0.1", 8080), 0);
	guest_send(VSOCK_OP_REQUEST, TSI_SVM + 1, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, TSI_SVM + 1);
	tsi_take(TSI_VM);
	/* As an adopting netctld asks. */
	get_tsi(0);
	ck_assert_uint_eq(got.total, 1);
	ck_assert_uint_eq(got.svm_port, TSI_SVM);
	ck_assert_uint_eq(got.vm_port, TSI_VM);
	ck_assert_uint_eq(got.bound, 8080);
	ck_assert_uint_eq(tsi_name(got.fd).port, tsi_name(listener).port);
	close(got.fd);
	get_tsi(1);
	ck_assert_uint_eq(got.listeners, 0);
	tsi_release(TSI_SVM, TSI_STREAM_PORT);
	RIG_UNTIL(closed == 1);
	ck_assert_uint_eq(closed_port, TSI_SVM);
	close(fd);
}
END_TEST

START_TEST(what_a_predecessor_had_is_restored)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiRestore msg = NETDP__TSI_RESTORE__INIT;
	Netdp__TsiListener l = NETDP__TSI_LISTENER__INIT, *ls = &l;
	Netdp__TsiProxy p = NETDP__TSI_PROXY__INIT, *ps = &p;
	struct endpoint at = tsi_at("0.0.0.0", 8080), peer = tsi_at("10.0.2.2", 53);
	Netdp__StatsGet stats = NETDP__STATS_GET__INIT;
	int fd;

	listener = tsi_server(SOCK_STREAM, 5);
	l.svm_port = TSI_SVM;
	l.vm_port = TSI_VM;
	l.family = TSI_INET;
	l.type = TSI_STREAM;
	l.addr = wire_put_addr(&at.addr);
	l.port = at.port;
	p.svm_port = TSI_SVM + 1;
	p.family = TSI_INET;
	p.peer = wire_put_addr(&peer.addr);
	p.peer_port = peer.port;
	msg.n_listeners = msg.n_proxies = 1;
	msg.listeners = &ls;
	msg.proxies = &ps;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_RESTORE;
	env.tsi_restore = &msg;
	ck_assert_int_eq(worker_ask(&env, NULL, 0), -EINVAL); /* without its socket */
	l.family = 3;
	ck_assert_int_eq(worker_ask(&env, &listener, 1), -EINVAL);
	l.family = TSI_INET;
	ck_assert_int_eq(worker_ask(&env, &rig.guest, 1), -EINVAL); /* of the wrong kind */
	ck_assert_int_eq(worker_ask(&env, &listener, 1), 0);
	ck_assert_int_eq(tsi_ask_accept(TSI_SVM), 0);
	TSI_EXPECT_NAME(TSI_SVM + 1, 0, true, TSI_INET, peer);
	fd = tsi_dial(listener);
	tsi_take(TSI_VM);
	env.body_case = NETDP__ENVELOPE__BODY_STATS_GET;
	env.stats_get = &stats;
	ck_assert_int_eq(worker_ask(&env, NULL, 0), 0);
	ck_assert_uint_eq(got.stat_listeners, 1);
	ck_assert_uint_eq(got.stat_proxies, 1);
	close(fd);
}
END_TEST

START_TEST(datagram_sockets_are_told_and_a_vmm_that_goes_ends_all)
{
	listener = tsi_server(SOCK_STREAM, 5);
	tsi_create(TSI_SVM + 1, TSI_INET, TSI_DGRAM);
	tsi_create(TSI_SVM + 2, TSI_INET6, TSI_DGRAM);
	RIG_UNTIL(proxies == 2);
	get_tsi(0);
	ck_assert_uint_eq(got.proxies, 2);
	tsi_tell_listen(TSI_SVM, TSI_VM, "0.0.0.0", 8080);
	ck_assert_int_eq(tsi_result(TSI_LISTEN), 0);
	shutdown(rig.guest, SHUT_RDWR);
	RIG_UNTIL(closed == 1);
	RIG_UNTIL(proxies == 0);
	get_tsi(0);
	ck_assert_uint_eq(got.total, 0);
	ck_assert_uint_le(lists, 3);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tsi_worker");
	TCase *t = tcase_create("worker");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, streams_and_datagrams_go_out);
	tcase_add_test(t, a_listener_is_asked_for_and_given_back);
	tcase_add_test(t, what_a_predecessor_had_is_restored);
	tcase_add_test(t, datagram_sockets_are_told_and_a_vmm_that_goes_ends_all);
	suite_add_tcase(s, t);
	return run_suite(s);
}
