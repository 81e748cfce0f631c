/* SPDX-License-Identifier: MIT */
/* A whole worker in its sandbox, with the test as netctld: what leads between host and guest. */
#include "dataplane/attach.h"
#include "tests/unit/worker_rig.h"

#include <netinet/in.h>
#include <sys/un.h>

#define FROM_HOST 20
#define PORTS 20u

static int far;       /* of the socket that netctld has connected last */
static unsigned asks; /* VsockDial */
static bool asked_vmm;

/* Port 5000 leads to a unix socket, 5001 to TCP, 5002 nowhere, 5003 to a netctld that errs; the VMM
 * is a unix socket, too. */
static void on_ask(uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	Netdp__Envelope reply = NETDP__ENVELOPE__INIT;
	Netdp__VsockDialed dialed = NETDP__VSOCK_DIALED__INIT;
	Netdp__EnvDocument document = NETDP__ENV_DOCUMENT__INIT;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(in);
	int pair[2] = {-1, -1}, listener;

	(void)fds;
	(void)n_fds;
	if (env->body_case == NETDP__ENVELOPE__BODY_ENV_GET) {
		document.document = wire_put("{}", 2);
		reply.body_case = NETDP__ENVELOPE__BODY_ENV_DOCUMENT;
		reply.env_document = &document;
		rpc_reply(worker.rpc, id, &reply, NULL, 0);
		return;
	}
	ck_assert_int_eq(env->body_case, NETDP__ENVELOPE__BODY_VSOCK_DIAL);
	asks++;
	asked_vmm = env->vsock_dial->vmm;
	reply.body_case = NETDP__ENVELOPE__BODY_VSOCK_DIALED;
	reply.vsock_dialed = &dialed;
	if (!asked_vmm && env->vsock_dial->port == 5002) {
		rpc_reply_status(worker.rpc, id, -ENOENT, "nobody");
		return;
	}
	if (!asked_vmm && env->vsock_dial->port == 5003) {
		rpc_reply(worker.rpc, id, &reply, NULL, 0);
		return;
	}
	if (!asked_vmm && env->vsock_dial->port == 5001) {
		dialed.tcp = true;
		listener = os_socket(AF_INET, SOCK_STREAM, 0, false);
		ck_assert_int_eq(bind(listener, (struct sockaddr *)&in, len), 0);
		ck_assert_int_eq(listen(listener, 1), 0);
		ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&in, &len), 0);
		pair[0] = os_socket(AF_INET, SOCK_STREAM, 0, false);
		ck_assert_int_eq(connect(pair[0], (struct sockaddr *)&in, len), 0);
		pair[1] = os_accept(listener, NULL, NULL);
		close(listener);
	} else {
		ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
		os_set_nonblock(pair[1], true);
	}
	far = pair[1];
	rpc_reply(worker.rpc, id, &reply, &pair[0], 1);
	close(pair[0]);
}

static void setup(void)
{
	asks = 0;
	worker.request = on_ask;
	worker_setup();
	worker_attach_guest();
}

static void setup_hybrid(void)
{
	asks = 0;
	worker.request = on_ask;
	worker_setup();
	ck_assert_int_eq(worker_set_vsock(NETDP__VSOCK_KIND__VSOCK_HYBRID, os_dup(0), 0), -EINVAL);
	ck_assert_int_eq(worker_set_vsock(NETDP__VSOCK_KIND__VSOCK_HYBRID, -1, 3), 0);
}

/* ---- sockets ---- */

static int listen_unix(struct sockaddr_un *un)
{
	static unsigned serial;
	int fd = os_socket(AF_UNIX, SOCK_STREAM, 0, true);

	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(un->sun_path, sizeof(un->sun_path), "/tmp/netctl-unit-%d-%u", (int)getpid(),
		serial++);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)un, sizeof(*un)), 0);
	ck_assert_int_eq(listen(fd, 64), 0);
	return fd;
}

static int connect_unix(const struct sockaddr_un *un)
{
	int fd = os_socket(AF_UNIX, SOCK_STREAM, 0, true);

	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0)
		return fd;
	close(fd);
	return -errno;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(os_send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void hears(int fd, const char *text)
{
	char buf[64];

	host_read(fd, buf, strlen(text));
	ck_assert_mem_eq(buf, text, strlen(text));
}

/* Waits for it: 0 or -errno. */
static int end_of(int fd)
{
	ssize_t n = -1;
	uint8_t byte;

	errno = EAGAIN;
	for (int waited = 0; n < 0 && errno == EAGAIN && waited < 3000; waited++) {
		rig_run(1);
		n = recv(fd, &byte, 1, 0);
	}
	return n < 0 ? -errno : (int)n;
}

/* ---- requests ---- */

/* fd is closed here. */
static int listen_on(Netdp__VsockUse use, uint32_t port, int fd)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockListen msg = NETDP__VSOCK_LISTEN__INIT;
	int err;

	msg.use = use;
	msg.port = port;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_LISTEN;
	env.vsock_listen = &msg;
	err = worker_ask(&env, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		close(fd);
	return err;
}

static int unlisten(Netdp__VsockUse use, uint32_t port)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockUnlisten msg = NETDP__VSOCK_UNLISTEN__INIT;

	msg.use = use;
	msg.port = port;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_UNLISTEN;
	env.vsock_unlisten = &msg;
	return worker_ask(&env, NULL, 0);
}

static int forward(const char *id, Netdp__Proto proto, Netdp__Target *target, int fd)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ForwardAdd msg;
	struct addr loopback;
	int err;

	netdp__forward_add__init(&msg);
	addr_parse("127.0.0.1", &loopback);
	msg.id = wire_put_text(id);
	msg.proto = proto;
	msg.addr = wire_put_addr(&loopback);
	msg.port = 1;
	msg.target = target;
	env.body_case = NETDP__ENVELOPE__BODY_FORWARD_ADD;
	env.forward_add = &msg;
	err = worker_ask(&env, &fd, 1);
	close(fd);
	return err;
}

static Netdp__Target target_vsock(uint32_t port)
{
	Netdp__Target target = NETDP__TARGET__INIT;

	target.kind_case = NETDP__TARGET__KIND_VSOCK;
	target.vsock = port;
	return target;
}

/* Asks without waiting for the answer; fd is closed here. */
static void attach_later(Netdp__Target *target, const void *prefix, size_t len, int fd)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__StreamAttach msg = NETDP__STREAM_ATTACH__INIT;

	msg.target = target;
	msg.prefix = wire_put(prefix, len);
	env.body_case = NETDP__ENVELOPE__BODY_STREAM_ATTACH;
	env.stream_attach = &msg;
	rpc_call(worker.rpc, &env, &fd, 1, 10000, worker_on_done, NULL);
	close(fd);
}

static int attach(Netdp__Target *target, const void *prefix, size_t len)
{
	unsigned before = worker.answers;
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	attach_later(target, prefix, len, fds[0]);
	RIG_UNTIL(worker.answers == before + 1);
	close(fds[1]);
	return worker.code;
}

/* ---- tests ---- */

START_TEST(the_guest_reaches_what_netctld_connects)
{
	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	guest_expect(VSOCK_OP_RESPONSE, 1000);
	guest_rw(1000, 5000, "ping", 4);
	hears(far, "ping");
	close(far);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_SHUTDOWN, 1000).flags, VSOCK_SHUT_SEND);
	guest_send(VSOCK_OP_REQUEST, 1001, 5001, 0);
	guest_expect(VSOCK_OP_RESPONSE, 1001);
	guest_rw(1001, 5001, "ping", 4);
	hears(far, "ping");
	guest_send(VSOCK_OP_RST, 1001, 5001, 0);
	ck_assert_int_eq(end_of(far), -ECONNRESET);
	close(far);
	guest_send(VSOCK_OP_REQUEST, 1002, 5002, 0);
	guest_expect(VSOCK_OP_RST, 1002);
	guest_send(VSOCK_OP_REQUEST, 1003, 5003, 0);
	guest_expect(VSOCK_OP_RST, 1003);
	ck_assert_uint_eq(asks, 4);
}
END_TEST

START_TEST(where_netctld_does_not_answer_the_guest_is_refused)
{
	worker.left = true;
	rpc_free(worker.rpc);
	worker.rpc = NULL;
	rig_run(20);
	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	guest_expect(VSOCK_OP_RST, 1000);
}
END_TEST

static int got_fds[FROM_HOST];
static size_t n_got;
static uint32_t total, first_port;
static Netdp__VsockKind kind;
static bool up;

static void keep_vsock(const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	ck_assert_int_eq(reply->body_case, NETDP__ENVELOPE__BODY_VSOCK);
	ck_assert_uint_eq(reply->vsock->n_listeners + reply->vsock->set->listener, n_fds);
	kind = reply->vsock->set->kind;
	total = reply->vsock->total;
	up = reply->vsock->up;
	if (reply->vsock->n_listeners)
		first_port = reply->vsock->listeners[0]->port;
	for (size_t i = 0; i < n_fds; i++) {
		got_fds[n_got++] = fds[i];
		fds[i] = -1;
	}
}

static void vsock_get(uint32_t skip)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockGet msg = NETDP__VSOCK_GET__INIT;

	worker.reply = keep_vsock;
	n_got = 0;
	msg.skip = skip;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_GET;
	env.vsock_get = &msg;
	ck_assert_int_eq(worker_ask(&env, NULL, 0), 0);
	worker.reply = NULL;
}

START_TEST(the_hybrid_socket_is_served_and_given_back)
{
	struct sockaddr_un un, own;
	socklen_t len = sizeof(own);
	uint32_t port;
	char ok[32];
	int fd;

	ck_assert_int_eq(listen_on(NETDP__VSOCK_USE__VSOCK_USE_HOST, 0, listen_unix(&un)), 0);
	fd = connect_unix(&un);
	say(fd, "CONNECT 52\n");
	port = guest_expect(VSOCK_OP_REQUEST, 52).src_port;
	guest_send(VSOCK_OP_RESPONSE, 52, port, 0);
	snprintf(ok, sizeof(ok), "OK %u\n", port);
	hears(fd, ok);
	close(fd);
	vsock_get(0);
	ck_assert_int_eq(kind, NETDP__VSOCK_KIND__VSOCK_STREAM);
	ck_assert(up);
	ck_assert_uint_eq(total, 1);
	ck_assert_uint_eq(n_got, 1);
	ck_assert_int_eq(getsockname(got_fds[0], (struct sockaddr *)&own, &len), 0);
	ck_assert_str_eq(own.sun_path, un.sun_path);
	close(got_fds[0]);
	ck_assert_int_eq(listen_on(NETDP__VSOCK_USE__VSOCK_USE_HOST, 0, os_dup(0)), -EINVAL);
	ck_assert_int_eq(listen_on(NETDP__VSOCK_USE__VSOCK_USE_HOST, 0, -1), -EINVAL);
	ck_assert_int_eq(listen_on((Netdp__VsockUse)7, 0, os_dup(0)), -EINVAL);
	ck_assert_int_eq(listen_on(NETDP__VSOCK_USE__VSOCK_USE_PORT, 52, os_dup(0)), -EOPNOTSUPP);
	ck_assert_int_eq(unlisten(NETDP__VSOCK_USE__VSOCK_USE_HOST, 0), 0);
	ck_assert_int_eq(unlisten(NETDP__VSOCK_USE__VSOCK_USE_HOST, 0), -ENOENT);
	ck_assert_int_eq(connect_unix(&un), -ECONNREFUSED);
	unlink(un.sun_path);
}
END_TEST

static Netdp__Target__KindCase targets[8];
static size_t n_targets;

static void keep_targets(const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	(void)fds;
	(void)n_fds;
	n_targets = reply->forwards->n_forwards;
	ck_assert_uint_le(n_targets, 8);
	for (size_t i = 0; i < n_targets; i++)
		targets[i] = reply->forwards->forwards[i]->target->kind_case;
}

static int delete_forward(const char *id)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ForwardDelete msg;

	netdp__forward_delete__init(&msg);
	msg.id = wire_put_text(id);
	env.body_case = NETDP__ENVELOPE__BODY_FORWARD_DELETE;
	env.forward_delete = &msg;
	return worker_ask(&env, NULL, 0);
}

START_TEST(forwards_of_each_target_are_one_list)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ForwardsGet get = NETDP__FORWARDS_GET__INIT;
	Netdp__Target to[6];
	struct sockaddr_un un[6];
	const Netdp__Proto tcp = NETDP__PROTO__PROTO_TCP;

	to[0] = target_vsock(52);
	for (int i = 1; i < 6; i++)
		netdp__target__init(&to[i]);
	to[1].kind_case = NETDP__TARGET__KIND_TSI_FIRST;
	to[1].tsi_first = true;
	to[2].kind_case = NETDP__TARGET__KIND_TSI_VM_PORT;
	to[2].tsi_vm_port = 700;
	to[3].kind_case = NETDP__TARGET__KIND_TSI_BOUND_PORT;
	to[3].tsi_bound_port = 80;
	to[4].kind_case = NETDP__TARGET__KIND_PORT;
	to[4].port = 80;
	to[5].kind_case = NETDP__TARGET__KIND_TSI_BOUND_PORT;
	to[5].tsi_bound_port = 65536;
	for (int i = 0; i < 5; i++) {
		char id[16];

		snprintf(id, sizeof(id), "f%d", i);
		ck_assert_int_eq(forward(id, tcp, &to[i], listen_unix(&un[i])), 0);
		ck_assert_int_eq(forward(id, tcp, &to[4 - i], listen_unix(&un[5])), -EEXIST);
		unlink(un[5].sun_path);
	}
	ck_assert_int_eq(forward("g", tcp, &to[5], os_dup(0)), -EINVAL);
	ck_assert_int_eq(forward("g", NETDP__PROTO__PROTO_UDP, &to[0],
				 os_socket(AF_INET, SOCK_DGRAM, 0, true)),
		-EINVAL);
	worker.reply = keep_targets;
	env.body_case = NETDP__ENVELOPE__BODY_FORWARDS_GET;
	env.forwards_get = &get;
	ck_assert_int_eq(worker_ask(&env, NULL, 0), 0);
	ck_assert_uint_eq(n_targets, 5);
	ck_assert_int_eq(targets[0], NETDP__TARGET__KIND_PORT);
	ck_assert_int_eq(targets[1], NETDP__TARGET__KIND_VSOCK);
	ck_assert_int_eq(targets[2], NETDP__TARGET__KIND_TSI_FIRST);
	ck_assert_int_eq(targets[3], NETDP__TARGET__KIND_TSI_VM_PORT);
	ck_assert_int_eq(targets[4], NETDP__TARGET__KIND_TSI_BOUND_PORT);
	worker.reply = NULL;
	for (int i = 0; i < 5; i++) {
		char id[16];

		snprintf(id, sizeof(id), "f%d", i);
		ck_assert_int_eq(delete_forward(id), 0);
		ck_assert_int_eq(connect_unix(&un[i]), -ECONNREFUSED);
		unlink(un[i].sun_path);
	}
	ck_assert_int_eq(delete_forward("f0"), -ENOENT);
}
END_TEST

START_TEST(an_attached_socket_is_answered_when_the_guest_has)
{
	Netdp__Target target = target_vsock(52), tsi = NETDP__TARGET__INIT, tcp = tsi;
	unsigned before = worker.answers;
	uint32_t port;
	static char prefix[(64 << 10) + 1];
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	say(fds[1], "body");
	attach_later(&target, "head ", 5, fds[0]);
	port = guest_expect(VSOCK_OP_REQUEST, 52).src_port;
	rig_run(20);
	ck_assert_uint_eq(worker.answers, before);
	guest_send(VSOCK_OP_RESPONSE, 52, port, 0);
	RIG_UNTIL(worker.answers == before + 1);
	ck_assert_int_eq(worker.code, 0);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 52).len, 5);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "head ", 5);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 52).len, 4);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "body", 4);
	close(fds[1]);
	guest_expect(VSOCK_OP_SHUTDOWN, 52);

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	attach_later(&target, NULL, 0, fds[0]);
	guest_send(VSOCK_OP_RST, 52, guest_expect(VSOCK_OP_REQUEST, 52).src_port, 0);
	RIG_UNTIL(worker.answers == before + 2);
	ck_assert_int_eq(worker.code, -ECONNREFUSED);
	close(fds[1]);

	tsi.kind_case = NETDP__TARGET__KIND_TSI_FIRST;
	tsi.tsi_first = true;
	ck_assert_int_eq(attach(&tsi, NULL, 0), -ENOENT);
	tcp.kind_case = NETDP__TARGET__KIND_PORT;
	tcp.port = 80;
	ck_assert_int_eq(attach(&tcp, NULL, 0), -ENOTCONN);
	tcp.port = 65536;
	ck_assert_int_eq(attach(&tcp, NULL, 0), -EINVAL);
	ck_assert_int_eq(attach(&target, prefix, sizeof(prefix)), -EINVAL);
}
END_TEST

START_TEST(so_many_may_be_under_way)
{
	Netdp__Target target = target_vsock(52);
	unsigned before = worker.answers;
	int far_ends[ATTACH_MAX], fds[2];
	uint32_t port = 0;

	for (unsigned i = 0; i < ATTACH_MAX; i++) {
		ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
		attach_later(&target, NULL, 0, fds[0]);
		far_ends[i] = fds[1];
		port = guest_expect(VSOCK_OP_REQUEST, 52).src_port;
	}
	ck_assert_int_eq(attach(&target, NULL, 0), -EAGAIN);
	guest_send(VSOCK_OP_RST, 52, port, 0);
	RIG_UNTIL(worker.answers == before + 2);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	attach_later(&target, NULL, 0, fds[0]);
	guest_expect(VSOCK_OP_REQUEST, 52);
	close(fds[1]);
	for (unsigned i = 0; i < ATTACH_MAX; i++)
		close(far_ends[i]);
	worker.left = true; /* what is pending fails with it */
}
END_TEST

/* The netctld that asked has gone: its successor hears nothing of it. */
START_TEST(an_answer_goes_to_who_asked_or_nobody)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ControlFresh fresh = NETDP__CONTROL_FRESH__INIT;
	Netdp__Target target = target_vsock(52);
	struct rpc *spawner, *old = worker.rpc;
	uint32_t port, port2;
	unsigned before;
	int fds[2], fds2[2], control[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	attach_later(&target, NULL, 0, fds[0]);
	port = guest_expect(VSOCK_OP_REQUEST, 52).src_port;
	worker.left = true;
	os_set_nonblock(worker.lifeline, true);
	spawner = rpc_new(loop_base(rig.loop), worker.lifeline, "spawner", NULL, &worker_ops, NULL);
	worker.lifeline = -1;
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, control), 0);
	env.body_case = NETDP__ENVELOPE__BODY_CONTROL_FRESH;
	env.control_fresh = &fresh;
	ck_assert_int_eq(rpc_event(spawner, &env, &control[1], 1), 0);
	close(control[1]);
	os_set_nonblock(control[0], true);
	worker.rpc = rpc_new(loop_base(rig.loop), control[0], "netctld", NULL, &worker_ops, NULL);
	RIG_UNTIL(rpc_version(worker.rpc) != 0);
	rpc_free(old);
	/* Its own third request is such a one, too: the two must not be taken for each other. */
	vsock_get(0);
	vsock_get(0);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds2), 0);
	attach_later(&target, NULL, 0, fds2[0]);
	port2 = guest_expect(VSOCK_OP_REQUEST, 52).src_port;
	before = worker.answers;
	guest_send(VSOCK_OP_RST, 52, port, 0);
	RIG_UNTIL(end_of(fds[1]) == 0);
	rig_run(20);
	ck_assert_uint_eq(worker.answers, before);
	guest_send(VSOCK_OP_RESPONSE, 52, port2, 0);
	RIG_UNTIL(worker.answers == before + 1);
	ck_assert_int_eq(worker.code, 0);
	close(fds[1]);
	close(fds2[1]);
	rpc_free(spawner);
}
END_TEST

/* ---- hybrid ---- */

START_TEST(where_the_vmm_owns_the_mux_sockets_are_kept_in_step)
{
	Netdp__Target target = target_vsock(52);
	struct sockaddr_un un, env_un;
	unsigned before;
	int vmm, fds[2];

	ck_assert_int_eq(listen_on(NETDP__VSOCK_USE__VSOCK_USE_HOST, 0, os_dup(0)), -EOPNOTSUPP);
	ck_assert_int_eq(listen_on(NETDP__VSOCK_USE__VSOCK_USE_PORT, 5000, listen_unix(&un)), 0);
	ck_assert_int_eq(
		listen_on(NETDP__VSOCK_USE__VSOCK_USE_PORT, 1026, listen_unix(&env_un)), 0);
	vmm = connect_unix(&un);
	say(vmm, "ping");
	RIG_UNTIL(asks == 1);
	hears(far, "ping");
	say(far, "pong");
	hears(vmm, "pong");
	close(far);
	RIG_UNTIL(host_is_at_end(vmm));
	close(vmm);
	vmm = connect_unix(&env_un);
	hears(vmm, "{}");
	RIG_UNTIL(host_is_at_end(vmm));
	close(vmm);

	before = worker.answers;
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	attach_later(&target, "head ", 5, fds[0]);
	RIG_UNTIL(asks == 2);
	ck_assert(asked_vmm);
	hears(far, "CONNECT 52\n");
	ck_assert_uint_eq(worker.answers, before);
	say(far, "OK 7\n");
	RIG_UNTIL(worker.answers == before + 1);
	ck_assert_int_eq(worker.code, 0);
	hears(far, "head ");
	close(far);
	close(fds[1]);
	unlink(un.sun_path);
	unlink(env_un.sun_path);
}
END_TEST

START_TEST(many_listeners_are_given_back_in_pages)
{
	struct sockaddr_un un[PORTS], own;
	socklen_t len = sizeof(own);

	for (uint32_t i = 0; i < PORTS; i++)
		ck_assert_int_eq(
			listen_on(NETDP__VSOCK_USE__VSOCK_USE_PORT, 6000 + i, listen_unix(&un[i])),
			0);
	vsock_get(0);
	ck_assert_int_eq(kind, NETDP__VSOCK_KIND__VSOCK_HYBRID);
	ck_assert_uint_eq(total, PORTS);
	ck_assert_uint_eq(n_got, FRAME_FDS_MAX - 1);
	ck_assert_uint_eq(first_port, 6000);
	for (size_t i = 0; i < n_got; i++)
		close(got_fds[i]);
	vsock_get(FRAME_FDS_MAX - 1);
	ck_assert_uint_eq(n_got, PORTS - (FRAME_FDS_MAX - 1));
	ck_assert_uint_eq(first_port, 6000 + FRAME_FDS_MAX - 1);
	ck_assert_int_eq(getsockname(got_fds[0], (struct sockaddr *)&own, &len), 0);
	ck_assert_str_eq(own.sun_path, un[FRAME_FDS_MAX - 1].sun_path);
	for (size_t i = 0; i < n_got; i++)
		close(got_fds[i]);
	for (uint32_t i = 0; i < PORTS; i++)
		unlink(un[i].sun_path);
}
END_TEST

/* ---- ends ---- */

/* Nobody can take the sockets over any more: they must be free for a successor. */
START_TEST(an_orphan_closes_what_listens)
{
	struct sockaddr_un vmm_un, un, forward_un;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockSet set = NETDP__VSOCK_SET__INIT;
	Netdp__Target target = target_vsock(52);
	int fd = listen_unix(&vmm_un);

	set.kind = NETDP__VSOCK_KIND__VSOCK_STREAM;
	set.cid = RIG_CID;
	set.listener = true;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_SET;
	env.vsock_set = &set;
	ck_assert_int_eq(worker_ask(&env, &fd, 1), 0);
	close(fd);
	close(rig.guest);
	rig.guest = connect_unix(&vmm_un);
	rig_expect_greeting();
	ck_assert_int_eq(listen_on(NETDP__VSOCK_USE__VSOCK_USE_HOST, 0, listen_unix(&un)), 0);
	ck_assert_int_eq(
		forward("f", NETDP__PROTO__PROTO_TCP, &target, listen_unix(&forward_un)), 0);
	vsock_get(0);
	ck_assert_uint_eq(n_got, 2);
	close(got_fds[0]);
	close(got_fds[1]);
	worker.left = true;
	rpc_free(worker.rpc);
	worker.rpc = NULL;
	close(worker.lifeline);
	worker.lifeline = -1;
	RIG_UNTIL(connect_unix(&un) == -ECONNREFUSED);
	ck_assert_int_eq(connect_unix(&vmm_un), -ECONNREFUSED);
	ck_assert_int_eq(connect_unix(&forward_un), -ECONNREFUSED);
	/* The VMM that is here stays. */
	guest_send(VSOCK_OP_REQUEST, 1000, 5000, 0);
	guest_expect(VSOCK_OP_RST, 1000);
	unlink(un.sun_path);
	unlink(vmm_un.sun_path);
	unlink(forward_un.sun_path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("services_worker");
	TCase *t = tcase_create("worker");
	TCase *h = tcase_create("hybrid");

	tcase_add_checked_fixture(t, setup, worker_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_guest_reaches_what_netctld_connects);
	tcase_add_test(t, where_netctld_does_not_answer_the_guest_is_refused);
	tcase_add_test(t, the_hybrid_socket_is_served_and_given_back);
	tcase_add_test(t, forwards_of_each_target_are_one_list);
	tcase_add_test(t, an_attached_socket_is_answered_when_the_guest_has);
	tcase_add_test(t, so_many_may_be_under_way);
	tcase_add_test(t, an_answer_goes_to_who_asked_or_nobody);
	tcase_add_test(t, an_orphan_closes_what_listens);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(h, setup_hybrid, worker_teardown);
	tcase_set_timeout(h, 60);
	tcase_add_test(h, where_the_vmm_owns_the_mux_sockets_are_kept_in_step);
	tcase_add_test(h, many_listeners_are_given_back_in_pages);
	suite_add_tcase(s, h);
	return run_suite(s);
}
