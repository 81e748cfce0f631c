/* SPDX-License-Identifier: MIT */
/*
 * A whole worker in its sandbox, in a process of its own, with the test as its netctld, its spawner
 * and, once attached, its guest (vsock_rig.h). A call that the sandbox forbids kills it, and the teardown says so.
 */
#ifndef TESTS_UNIT_WORKER_RIG_H
#define TESTS_UNIT_WORKER_RIG_H

#include "dataplane/control.h"
#include "proto/rpc.h"
#include "proto/wire.h"
#include "tests/unit/vsock_rig.h"

#include <signal.h>
#include <sys/wait.h>

static struct {
	pid_t pid;
	int lifeline;
	struct rpc *rpc;
	unsigned answers; /* to ask() */
	int code;         /* of the latest */
	bool left;        /* the test has closed the connection, or will have it replaced */
	/* What the worker asks and tells; NULL is not expected. fds are the receiver's. */
	void (*request)(uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds);
	void (*event)(const Netdp__Envelope *env);
	void (*event_fds)(const Netdp__Envelope *env, int *fds, size_t n_fds); /* likewise */
	/* The latest answer that is no Status; fds are the receiver's. May be NULL. */
	void (*reply)(const Netdp__Envelope *env, int *fds, size_t n_fds);
} worker;

static void worker_on_request(
	void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	(void)arg;
	ck_assert_ptr_nonnull(worker.request);
	worker.request(id, env, fds, n_fds);
}

static void worker_on_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	(void)arg;
	if (worker.event)
		worker.event(env);
	if (worker.event_fds)
		worker.event_fds(env, fds, n_fds);
}

static void worker_on_closed(void *arg, int err, const char *text)
{
	(void)arg;
	if (!worker.left)
		ck_abort_msg("the worker has gone: %s (%d)", text, err);
}

static const struct rpc_ops worker_ops = {
	.request = worker_on_request, .event = worker_on_event, .closed = worker_on_closed};

static void worker_on_done(
	void *arg, int err, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	(void)arg;
	(void)text;
	worker.code = err;
	worker.answers++;
	if (err == 0 && worker.reply && reply->body_case != NETDP__ENVELOPE__BODY_STATUS)
		worker.reply(reply, fds, n_fds);
}

/* The code of the answer. */
static inline int worker_ask(Netdp__Envelope *env, const int *fds, size_t n_fds)
{
	unsigned before = worker.answers;

	rpc_call(worker.rpc, env, fds, n_fds, 10000, worker_on_done, NULL);
	RIG_UNTIL(worker.answers == before + 1);
	return worker.code;
}

static inline void worker_setup_config(void)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Configure msg;
	struct addr subnet, gateway, ours;
	struct mac mac = {{0x52, 0x55, 0, 0, 0, 1}};

	netdp__configure__init(&msg);
	addr_parse("10.0.2.0", &subnet);
	addr_parse("10.0.2.2", &gateway);
	addr_parse("10.0.2.15", &ours);
	msg.vm = wire_put_text("web");
	msg.hostname = wire_put_text("web");
	msg.subnet = wire_put_addr(&subnet);
	msg.subnet_bits = 120;
	msg.gateway = wire_put_addr(&gateway);
	msg.guest = wire_put_addr(&ours);
	msg.gateway_mac = wire_put_mac(&mac);
	msg.mtu = 1500;
	msg.host_access = true;
	env.body_case = NETDP__ENVELOPE__BODY_CONFIGURE;
	env.configure = &msg;
	ck_assert_int_eq(worker_ask(&env, NULL, 0), 0);
}

/* fd is closed here. */
static inline int worker_set_vsock(Netdp__VsockKind kind, int fd, uint64_t cid)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockSet msg = NETDP__VSOCK_SET__INIT;
	int err;

	msg.kind = kind;
	msg.cid = cid;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_SET;
	env.vsock_set = &msg;
	err = worker_ask(&env, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		close(fd);
	return err;
}

static inline void worker_setup(void)
{
	int control[2], life[2];

	memset(&rig, 0, sizeof(rig));
	rig.guest = -1;
	rig.buf_alloc = 1 << 20;
	worker.left = false;
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, control), 0);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, life), 0);
	worker.pid = fork();
	if (worker.pid == 0) {
		struct control_options options = {control[1], life[1], "web", SANDBOX_WEAK};

		close(control[0]);
		close(life[0]);
		_exit(control_run(&options));
	}
	close(control[1]);
	close(life[1]);
	worker.lifeline = life[0];
	rig.loop = loop_new();
	os_set_nonblock(control[0], true);
	worker.rpc = rpc_new(loop_base(rig.loop), control[0], "netctld", NULL, &worker_ops, NULL);
	ck_assert_ptr_nonnull(worker.rpc);
	worker_setup_config();
}

/* vsock_rig.h's guest, which speaks bare packets. */
static inline void worker_attach_guest(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	rig.guest = fds[1];
	ck_assert_int_eq(worker_set_vsock(NETDP__VSOCK_KIND__VSOCK_STREAM, fds[0], RIG_CID), 0);
	rig_expect_greeting();
}

static inline void worker_teardown(void)
{
	int status;

	rpc_free(worker.rpc);
	if (worker.lifeline >= 0)
		close(worker.lifeline);
	kill(worker.pid, SIGTERM);
	ck_assert_int_eq(waitpid(worker.pid, &status, 0), worker.pid);
	ck_assert_msg(status == 0, "the worker ended with status %x", (unsigned)status);
	loop_free(rig.loop);
	if (rig.guest >= 0)
		close(rig.guest);
}

#endif
