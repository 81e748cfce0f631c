/* SPDX-License-Identifier: MIT */
/*
 * netctld's VMs in the test's own process, and the test as their worker: it says what a worker would
 * and sees what it is told.
 *
 *	static struct vm_rig rig;           vm_rig_start(&rig), vm_rig_stop(&rig)
 *	vm = vm_rig_vm(&rig, "{…}");        vm_rig_worker(&rig, vm, SUPERVISED_NEW);
 *	rig.seen[NETDP__ENVELOPE__BODY_…]   how often it was told that
 *
 * Requests are answered by a Status of rig.code; those that want more by rig.answer().
 */
#ifndef TESTS_UNIT_VM_RIG_H
#define TESTS_UNIT_VM_RIG_H

#include "common/clock.h"
#include "common/log.h"
#include "common/os.h"
#include "common/unix_socket.h"
#include "ctl/json_read.h"
#include "ctl/netctld.h"
#include "ctl/supervisor_internal.h"
#include "ctl/worker_client_internal.h"
#include "proto/rpc.h"

#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RIG_BODIES 192

struct vm_rig {
	char dir[64];
	struct netctld daemon; /* base, store, events, supervisor and vms of it */
	/* the worker */
	struct rpc *rpc;
	pid_t pid;
	int code;
	unsigned seen[RIG_BODIES];
	uint64_t events_seen; /* through */
	int fd;               /* the last one that came, or -1 */
	bool (*answer)(struct vm_rig *rig, uint64_t id, const Netdp__Envelope *env, int *fds,
		size_t n_fds);
	/* the answer to the worker's last question */
	unsigned answers;
	int status;
	int answer_fd;
	Netdp__Envelope__BodyCase answer_body;
	struct endpoint answer_at;
	bool answer_tcp;
};

static inline void vm_rig_turn(struct vm_rig *rig)
{
	struct timeval tv = {.tv_usec = 5000};

	event_base_loopexit(rig->daemon.base, &tv);
	event_base_loop(rig->daemon.base, EVLOOP_ONCE);
	event_base_loop(rig->daemon.base, EVLOOP_NONBLOCK);
}

#define RIG_WAIT(rig, cond)                                                                        \
	do {                                                                                       \
		uint64_t until = clock_ms() + 15000;                                               \
		while (!(cond) && clock_ms() < until)                                              \
			vm_rig_turn(rig);                                                          \
		ck_assert_msg((cond), "not in time: %s", #cond);                                   \
	} while (0)

/* ---- the worker's end ---- */

static inline void rig_on_request(
	void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct vm_rig *rig = arg;
	Netdp__Envelope reply = NETDP__ENVELOPE__INIT;
	Netdp__Description description;

	netdp__description__init(&description);
	rig->seen[env->body_case]++;
	if (rig->answer && rig->answer(rig, id, env, fds, n_fds))
		return;
	if (n_fds) {
		if (rig->fd >= 0)
			close(rig->fd);
		rig->fd = fds[0];
		fds[0] = -1;
	}
	if (env->body_case == NETDP__ENVELOPE__BODY_DESCRIBE) {
		reply.body_case = NETDP__ENVELOPE__BODY_DESCRIPTION;
		reply.description = &description;
		rpc_reply(rig->rpc, id, &reply, NULL, 0);
		return;
	}
	rpc_reply_status(rig->rpc, id, rig->code, "as the test says");
}

static inline void rig_on_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct vm_rig *rig = arg;

	(void)fds;
	(void)n_fds;
	if (env->body_case == NETDP__ENVELOPE__BODY_EVENTS_SEEN)
		rig->events_seen = env->events_seen->through;
}

static inline void rig_on_closed(void *arg, int err, const char *text)
{
	(void)arg;
	(void)err;
	(void)text;
}

static inline void rig_on_answer(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct vm_rig *rig = arg;

	(void)text;
	rig->answers++;
	rig->status = code;
	if (code)
		return;
	rig->answer_body = reply->body_case;
	ck_assert_uint_eq(n_fds, 1);
	if (rig->answer_fd >= 0)
		close(rig->answer_fd);
	rig->answer_fd = fds[0];
	fds[0] = -1;
	if (reply->body_case == NETDP__ENVELOPE__BODY_VSOCK_DIALED)
		rig->answer_tcp = reply->vsock_dialed->tcp;
	if (reply->body_case == NETDP__ENVELOPE__BODY_TSI_LISTENING)
		ck_assert(wire_get_endpoint(
			reply->tsi_listening->addr, reply->tsi_listening->port, &rig->answer_at));
}

/* A question of the worker's; rig->answers counts, rig->status and the others say what came. */
static inline void vm_rig_ask(struct vm_rig *rig, Netdp__Envelope *env)
{
	rpc_call(rig->rpc, env, NULL, 0, 10000, rig_on_answer, rig);
}

static inline int vm_rig_asked(struct vm_rig *rig, Netdp__Envelope *env)
{
	unsigned before = rig->answers;

	vm_rig_ask(rig, env);
	RIG_WAIT(rig, rig->answers == before + 1);
	return rig->status;
}

/* As if the spawner had started one: a process that only sleeps has its pid. */
static inline void vm_rig_worker(struct vm_rig *rig, struct vm *vm, enum supervised_how how)
{
	static const struct rpc_ops ops = {
		.request = rig_on_request, .event = rig_on_event, .closed = rig_on_closed};
	struct process *process;
	int pair[2];

	if (rig->rpc)
		rpc_free(rig->rpc);
	if (rig->pid > 0) {
		kill(rig->pid, SIGKILL);
		waitpid(rig->pid, NULL, 0);
	}
	rig->pid = fork();
	if (rig->pid == 0) {
		os_die_with_parent(SIGKILL);
		for (;;)
			pause();
	}
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, pair), 0);
	memset(rig->seen, 0, sizeof(rig->seen));
	rig->events_seen = 0;
	rig->rpc = rpc_new(rig->daemon.base, pair[1], "worker", NULL, &ops, rig);
	process = process_new(rig->daemon.supervisor, vm->slot, vm->config.name, how);
	vm->slot->process = process;
	process_spawned(process, 1, rig->pid, pair[0]);
	process->known = false; /* no spawner tells of its end */
	RIG_WAIT(rig, supervised_client(vm->slot) != NULL);
	if (how == SUPERVISED_ADOPTED)
		RIG_WAIT(rig, !vm->adopting);
	else
		RIG_WAIT(rig, !vm->describing);
}

/* It dies, and its VM has been told. */
static inline void vm_rig_death(struct vm_rig *rig, struct vm *vm)
{
	rpc_free(rig->rpc);
	rig->rpc = NULL;
	RIG_WAIT(rig, !vm->configured && !vm->slot->process);
}

/* ---- VMs ---- */

static inline struct vm *vm_rig_vm(struct vm_rig *rig, const char *text)
{
	struct json_object *doc = json_tokener_parse(text);
	struct vm_request request;
	struct error err = {0};
	struct vm *vm;

	ck_assert_msg(vm_request_read(&rig->daemon.vms, doc, VM_LINK_NONE, &request, &err) == 0,
		"%s", err.text);
	vm = vm_create(&rig->daemon.vms, &request, false, &err);
	ck_assert_msg(vm != NULL, "%s", err.text);
	vm_request_free(&request);
	json_object_put(doc);
	return vm;
}

static inline void rig_on_spawner(void *arg, bool up, const char *text)
{
	(void)arg;
	(void)up;
	(void)text;
}

static inline void vm_rig_start(struct vm_rig *rig)
{
	static const struct supervisor_ops ops = {.spawner = rig_on_spawner};
	struct netctld *d = &rig->daemon;
	struct supervisor_config config = {.no_start = true};
	char path[128];
	struct error err;

	signal(SIGPIPE, SIG_IGN);
	log_init(LOG_LEVEL_ERROR);
	memset(rig, 0, sizeof(*rig));
	rig->fd = rig->answer_fd = -1;
	strcpy(rig->dir, "/tmp/nctl.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(rig->dir));
	snprintf(path, sizeof(path), "%s/vms", rig->dir);
	ck_assert_int_eq(mkdir(path, 0750), 0);
	config.runtime_dir = rig->dir;
	d->base = event_base_new();
	snprintf(path, sizeof(path), "%s/netctl.db", rig->dir);
	ck_assert_int_eq(store_open(path, &d->store, &err), 0);
	d->events = events_new(d->base, d->store, &err);
	d->supervisor = supervisor_new(d->base, &config, &ops, rig);
	d->vms.base = d->base;
	d->vms.store = d->store;
	d->vms.events = d->events;
	d->vms.supervisor = d->supervisor;
	d->vms.runtime_dir = rig->dir;
	d->vms.group = (gid_t)-1;
	vms_init(&d->vms);
}

static inline void vm_rig_stop(struct vm_rig *rig)
{
	struct netctld *d = &rig->daemon;
	char command[128];

	vms_free(&d->vms);
	supervisor_free(d->supervisor);
	if (rig->rpc)
		rpc_free(rig->rpc);
	if (rig->pid > 0) {
		kill(rig->pid, SIGKILL);
		waitpid(rig->pid, NULL, 0);
	}
	events_free(d->events);
	store_close(d->store);
	event_base_free(d->base);
	if (rig->fd >= 0)
		close(rig->fd);
	if (rig->answer_fd >= 0)
		close(rig->answer_fd);
	snprintf(command, sizeof(command), "rm -rf '%s'", rig->dir);
	ck_assert_int_eq(
		system(command), 0); /* NOLINT(cert-env33-c): a fixed command on our directory */
}

/* How many events of this type there were. */
static inline void rig_count_event(void *arg, const struct store_event *event)
{
	struct {
		const char *type;
		unsigned n;
	} *count = arg;

	count->n += strcmp(event->type, count->type) == 0;
}

static inline unsigned vm_rig_events(struct vm_rig *rig, const char *type)
{
	struct {
		const char *type;
		unsigned n;
	} count = {type, 0};
	struct error err;

	ck_assert_int_ge(
		events_read(rig->daemon.events, 0, 10000, rig_count_event, &count, &err), 0);
	return count.n;
}

/* A listening socket below the VM's directory. */
static inline int vm_rig_listen(struct vm_rig *rig, const struct vm *vm, const char *name)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/vms/%s/%s", rig->dir, vm->config.name, name);
	fd = unix_listen(path, SOCK_STREAM, 0600);
	ck_assert_msg(fd >= 0, "%s: %s", path, errno_text(fd));
	return fd;
}

/* Whether fds (a connected socket, and one that was accepted or accepts now) are each other's ends. */
static inline bool vm_rig_joined(int connected, int listener)
{
	int fd = os_accept(listener, NULL, NULL);
	char byte = 0;
	bool joined;

	if (fd < 0)
		return false;
	joined = os_send(fd, "x", 1, 0) == 1 && recv(connected, &byte, 1, 0) == 1 && byte == 'x';
	close(fd);
	return joined;
}

#endif
