/* SPDX-License-Identifier: MIT */
/* Requests, replies and events. See rpc.h. */
#include "proto/rpc.h"

#include "common/clock.h"
#include "common/error.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

struct call {
	TAILQ_ENTRY(call) link;
	uint64_t id;
	uint64_t deadline; /* clock_ms(); 0 where it failed before it began */
	int err;           /* what it fails with when the deadline has come */
	rpc_done_fn *done;
	void *arg;
};

TAILQ_HEAD(calls, call);

struct rpc {
	struct channel *channel;
	const struct rpc_ops *ops;
	void *arg;
	struct event *timer; /* the next deadline */
	struct calls calls;
	size_t n_calls;
	uint64_t last_id;
	uint64_t hello_deadline;
	uint32_t version; /* 0 until the peer's Hello */
	bool closed;
	int in_callback;
	bool freed; /* during a callback */
};

static void enter(struct rpc *rpc)
{
	rpc->in_callback++;
}

/* The struct may be gone after this. */
static void leave(struct rpc *rpc)
{
	if (--rpc->in_callback || !rpc->freed)
		return;
	free(rpc);
}

/* ---- calls ---- */

static void finish(struct rpc *rpc, struct call *call, int code, const char *text,
	const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	TAILQ_REMOVE(&rpc->calls, call, link);
	rpc->n_calls--;
	if (call->done)
		call->done(call->arg, code, text, reply, fds, n_fds);
	free(call);
}

static void fail_all(struct rpc *rpc, int code, const char *text)
{
	struct call *call;

	while ((call = TAILQ_FIRST(&rpc->calls)))
		finish(rpc, call, call->err != -ETIMEDOUT ? call->err : code, text, NULL, NULL, 0);
}

/* Sets the timer to the earliest deadline. */
static void arm(struct rpc *rpc)
{
	uint64_t next = rpc->version || rpc->closed ? UINT64_MAX : rpc->hello_deadline;
	uint64_t now = clock_ms(), wait;
	struct timeval tv;
	struct call *call;

	if (rpc->freed)
		return; /* whoever frees fails what is pending, and what is added meanwhile */
	TAILQ_FOREACH(call, &rpc->calls, link) {
		if (call->deadline < next)
			next = call->deadline;
	}
	if (next == UINT64_MAX) {
		evtimer_del(rpc->timer);
		return;
	}
	wait = next > now ? next - now : 0;
	tv.tv_sec = (time_t)(wait / 1000);
	tv.tv_usec = (suseconds_t)(wait % 1000 * 1000);
	evtimer_add(rpc->timer, &tv);
}

static struct call *first_due(struct rpc *rpc, uint64_t now)
{
	struct call *call;

	TAILQ_FOREACH(call, &rpc->calls, link) {
		if (call->deadline <= now)
			return call;
	}
	return NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct rpc *rpc = arg;
	struct call *call;
	uint64_t now = clock_ms();

	(void)fd;
	(void)what;
	enter(rpc);
	while (!rpc->freed && (call = first_due(rpc, now)))
		finish(rpc, call, call->err, errno_text(call->err), NULL, NULL, 0);
	if (!rpc->freed) {
		if (!rpc->version && !rpc->closed && rpc->hello_deadline <= now)
			channel_abort(rpc->channel, -EPROTO, "no greeting in time");
		arm(rpc);
	}
	leave(rpc);
}

void rpc_call(struct rpc *rpc, Netdp__Envelope *env, const int *fds, size_t n_fds,
	unsigned deadline_ms, rpc_done_fn *done, void *arg)
{
	struct call *call = calloc(1, sizeof(*call));
	int err = -ENOTCONN;

	if (!call)
		abort(); /* a completion is owed, and there is no memory to remember it */
	*call = (struct call){.id = ++rpc->last_id,
		.deadline = clock_ms() + deadline_ms,
		.err = -ETIMEDOUT,
		.done = done,
		.arg = arg};
	env->id = call->id;
	env->reply = false;
	if (!rpc->closed && rpc->n_calls < RPC_CALLS_MAX)
		err = channel_send(rpc->channel, env, fds, n_fds);
	else if (!rpc->closed)
		err = -ENOBUFS;
	if (err < 0) {
		call->deadline = 0;
		call->err = err;
	}
	TAILQ_INSERT_TAIL(&rpc->calls, call, link);
	rpc->n_calls++;
	arm(rpc);
}

static struct call *find_call(struct rpc *rpc, uint64_t id)
{
	struct call *call;

	TAILQ_FOREACH(call, &rpc->calls, link) {
		if (call->id == id && call->deadline)
			return call;
	}
	return NULL;
}

static void on_reply(struct rpc *rpc, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct call *call = find_call(rpc, env->id);
	const Netdp__Status *status;

	if (!call)
		return; /* too late, or never asked */
	if (env->body_case != NETDP__ENVELOPE__BODY_STATUS) {
		finish(rpc, call, 0, "", env, fds, n_fds);
		return;
	}
	status = env->status;
	if (status->code > 0 && status->code < 4096)
		finish(rpc, call, -status->code, status->text, NULL, NULL, 0);
	else if (status->code == 0)
		finish(rpc, call, 0, "", env, fds, n_fds);
	else
		finish(rpc, call, -EPROTO, "a status that is no errno", NULL, NULL, 0);
}

/* ---- frames ---- */

static void on_hello(struct rpc *rpc, const Netdp__Envelope *env)
{
	char text[96];
	uint32_t theirs;

	if (env->body_case != NETDP__ENVELOPE__BODY_HELLO) {
		channel_abort(rpc->channel, -EPROTO, "the first message is no greeting");
		return;
	}
	theirs = env->hello->version;
	if (theirs == 0 || theirs > RPC_VERSION + 1 || theirs + 1 < RPC_VERSION) {
		snprintf(text, sizeof(text), "speaks protocol %u, this program %u", theirs,
			RPC_VERSION);
		channel_abort(rpc->channel, -EPROTO, text);
		return;
	}
	rpc->version = theirs < RPC_VERSION ? theirs : RPC_VERSION;
	if (rpc->ops->hello)
		rpc->ops->hello(rpc->arg, env->hello);
}

static void on_request(struct rpc *rpc, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	if (env->body_case == NETDP__ENVELOPE__BODY__NOT_SET || !rpc->ops->request)
		rpc_reply_status(rpc, env->id, -ENOSYS, "unknown request");
	else
		rpc->ops->request(rpc->arg, env->id, env, fds, n_fds);
}

static void on_frame(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct rpc *rpc = arg;

	enter(rpc);
	if (!rpc->version)
		on_hello(rpc, env);
	else if (env->body_case == NETDP__ENVELOPE__BODY_HELLO)
		channel_abort(rpc->channel, -EPROTO, "a second greeting");
	else if (env->reply)
		on_reply(rpc, env, fds, n_fds);
	else if (env->id)
		on_request(rpc, env, fds, n_fds);
	else if (env->body_case != NETDP__ENVELOPE__BODY__NOT_SET && rpc->ops->event)
		rpc->ops->event(rpc->arg, env, fds, n_fds);
	arm(rpc);
	leave(rpc);
}

static void on_closed(void *arg, int err, const char *text)
{
	struct rpc *rpc = arg;

	enter(rpc);
	rpc->closed = true;
	while (!rpc->freed && !TAILQ_EMPTY(&rpc->calls))
		finish(rpc, TAILQ_FIRST(&rpc->calls), -ECONNRESET, text, NULL, NULL, 0);
	arm(rpc);
	if (!rpc->freed)
		rpc->ops->closed(rpc->arg, err, text);
	leave(rpc);
}

static const struct channel_ops channel_ops = {on_frame, on_closed};

/* ---- sending ---- */

void rpc_reply(struct rpc *rpc, uint64_t id, Netdp__Envelope *env, const int *fds, size_t n_fds)
{
	int err;

	env->id = id;
	env->reply = true;
	if (rpc->closed)
		return;
	err = channel_send(rpc->channel, env, fds, n_fds);
	if (err < 0 && err != -ENOTCONN)
		channel_abort(rpc->channel, err, "a reply could not be sent");
}

void rpc_reply_status(struct rpc *rpc, uint64_t id, int code, const char *text)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Status status;
	char copy[512];

	snprintf(copy, sizeof(copy), "%s", text ? text : code ? errno_text(code) : "");
	netdp__status__init(&status);
	status.code = code < 0 ? -code : code;
	status.text = copy;
	env.body_case = NETDP__ENVELOPE__BODY_STATUS;
	env.status = &status;
	rpc_reply(rpc, id, &env, NULL, 0);
}

int rpc_event(struct rpc *rpc, Netdp__Envelope *env, const int *fds, size_t n_fds)
{
	env->id = 0;
	env->reply = false;
	return rpc->closed ? -ENOTCONN : channel_send(rpc->channel, env, fds, n_fds);
}

static void send_hello(struct rpc *rpc, const char *program, const char *const *features)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Hello hello;
	char names[16][64], *list[16], program_copy[32], release[] = NETCTL_VERSION;

	netdp__hello__init(&hello);
	while (features && hello.n_features < 16 && features[hello.n_features]) {
		snprintf(names[hello.n_features], sizeof(names[0]), "%s",
			features[hello.n_features]);
		list[hello.n_features] = names[hello.n_features];
		hello.n_features++;
	}
	snprintf(program_copy, sizeof(program_copy), "%s", program);
	hello.version = RPC_VERSION;
	hello.program = program_copy;
	hello.release = release;
	hello.features = list;
	env.body_case = NETDP__ENVELOPE__BODY_HELLO;
	env.hello = &hello;
	channel_send(rpc->channel, &env, NULL, 0); /* a failure shows when reading */
}

void rpc_cancel(struct rpc *rpc)
{
	enter(rpc);
	fail_all(rpc, -ECANCELED, "cancelled");
	arm(rpc);
	leave(rpc);
}

/* ---- life ---- */

struct rpc *rpc_new(struct event_base *base, int fd, const char *program,
	const char *const *features, const struct rpc_ops *ops, void *arg)
{
	struct rpc *rpc = calloc(1, sizeof(*rpc));

	if (!rpc) {
		close(fd);
		return NULL;
	}
	rpc->ops = ops;
	rpc->arg = arg;
	TAILQ_INIT(&rpc->calls);
	rpc->hello_deadline = clock_ms() + RPC_HELLO_MS;
	rpc->channel = channel_new(base, fd, &channel_ops, rpc);
	rpc->timer = evtimer_new(base, on_timer, rpc);
	if (!rpc->channel || !rpc->timer) {
		rpc_free(rpc);
		return NULL;
	}
	event_priority_set(rpc->timer, 0);
	send_hello(rpc, program, features);
	arm(rpc);
	return rpc;
}

void rpc_free(struct rpc *rpc)
{
	if (!rpc || rpc->freed)
		return;
	enter(rpc);
	rpc->freed = true;
	rpc->closed = true;
	fail_all(rpc, -ECANCELED, "cancelled");
	channel_free(rpc->channel);
	if (rpc->timer)
		event_free(rpc->timer);
	leave(rpc);
}

uint32_t rpc_version(const struct rpc *rpc)
{
	return rpc->version;
}

size_t rpc_queued(const struct rpc *rpc)
{
	return channel_queued(rpc->channel);
}

void rpc_abort(struct rpc *rpc, int err, const char *text)
{
	if (!rpc->closed)
		channel_abort(rpc->channel, err, text);
}
