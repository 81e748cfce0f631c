/* SPDX-License-Identifier: MIT */
/*
 * A whole worker in its sandbox, a process of its own, with the test as its netctld and its spawner;
 * and vsock_rig.h's guest, once attached. Included by one file a program.
 */
#ifndef TESTS_UNIT_VSOCK_WORKER_RIG_H
#define TESTS_UNIT_VSOCK_WORKER_RIG_H

#include "dataplane/control.h"
#include "proto/rpc.h"
#include "proto/wire.h"
#include "tests/unit/vsock_rig.h"

#include <signal.h>
#include <sys/wait.h>

typedef void worker_asked_fn(
	void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds);

static pid_t worker;
static int lifeline;
static struct rpc *rpc;
static worker_asked_fn *asked; /* what the worker asks of netctld goes there */
static unsigned answers;
static int code;
/* Sees a good reply, and takes what it wants of the fds; NULL: nobody does. */
static void (*on_reply)(const Netdp__Envelope *reply, int *fds, size_t n_fds);
static bool netctld_gone; /* the test has closed the connection, or will have it replaced */

static void on_asked(void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	asked(arg, id, env, fds, n_fds);
}

static void on_closed(void *arg, int err, const char *text)
{
	(void)arg;
	if (!netctld_gone)
		ck_abort_msg("the worker has gone: %s (%d)", text, err);
}

static const struct rpc_ops worker_ops = {.request = on_asked, .closed = on_closed};

static void on_done(
	void *arg, int err, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	(void)arg;
	(void)text;
	if (err == 0 && on_reply)
		on_reply(reply, fds, n_fds);
	code = err;
	answers++;
}

static inline int ask(Netdp__Envelope *env, const int *fds, size_t n_fds)
{
	unsigned before = answers;

	rpc_call(rpc, env, fds, n_fds, 10000, on_done, NULL);
	RIG_UNTIL(answers == before + 1);
	return code;
}

static inline void configure(void)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Configure msg;
	struct addr subnet, gateway, guest;
	struct mac mac = {{0x52, 0x55, 0, 0, 0, 1}};

	netdp__configure__init(&msg);
	addr_parse("10.0.2.0", &subnet);
	addr_parse("10.0.2.2", &gateway);
	addr_parse("10.0.2.15", &guest);
	msg.vm = wire_put_text("web");
	msg.hostname = wire_put_text("web");
	msg.subnet = wire_put_addr(&subnet);
	msg.subnet_bits = 120;
	msg.gateway = wire_put_addr(&gateway);
	msg.guest = wire_put_addr(&guest);
	msg.gateway_mac = wire_put_mac(&mac);
	msg.mtu = 1500;
	env.body_case = NETDP__ENVELOPE__BODY_CONFIGURE;
	env.configure = &msg;
	ck_assert_int_eq(ask(&env, NULL, 0), 0);
}

/* fd is closed here. */
static inline int set_vsock(Netdp__VsockKind kind, int fd, uint64_t cid)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockSet msg = NETDP__VSOCK_SET__INIT;
	int err;

	msg.kind = kind;
	msg.cid = cid;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_SET;
	env.vsock_set = &msg;
	err = ask(&env, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		close(fd);
	return err;
}

static inline void worker_setup(worker_asked_fn *request)
{
	int control[2], life[2];

	memset(&rig, 0, sizeof(rig));
	rig.guest = -1;
	netctld_gone = false;
	on_reply = NULL;
	asked = request;
	rig.buf_alloc = 1 << 20;
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, control), 0);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, life), 0);
	worker = fork();
	if (worker == 0) {
		struct control_options options = {control[1], life[1], "web", SANDBOX_WEAK};

		close(control[0]);
		close(life[0]);
		_exit(control_run(&options));
	}
	close(control[1]);
	close(life[1]);
	lifeline = life[0];
	rig.loop = loop_new();
	os_set_nonblock(control[0], true);
	rpc = rpc_new(loop_base(rig.loop), control[0], "netctld", NULL, &worker_ops, NULL);
	ck_assert_ptr_nonnull(rpc);
	configure();
}

static inline void worker_attach_guest(void)
{
	int vmm[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, vmm), 0);
	rig.guest = vmm[1];
	ck_assert_int_eq(set_vsock(NETDP__VSOCK_KIND__VSOCK_STREAM, vmm[0], RIG_CID), 0);
	rig_expect_greeting();
}

static inline void worker_teardown(void)
{
	int status;

	rpc_free(rpc);
	if (lifeline >= 0)
		close(lifeline);
	kill(worker, SIGTERM);
	ck_assert_int_eq(waitpid(worker, &status, 0), worker);
	ck_assert_msg(status == 0, "the worker ended with status %x", (unsigned)status);
	loop_free(rig.loop);
	if (rig.guest >= 0)
		close(rig.guest);
}

#endif
