/* SPDX-License-Identifier: MIT */
/*
 * netctld's view of a worker's vsock: requests, questions, events. See worker_client.h.
 *
 * A question is answered at once (TsiListen) or, where a connection has to be made first, when that
 * stands (VsockDial). A worker that asks faster than it reads answers, or has too many questions
 * open, gets EAGAIN: each answer holds an fd of ours.
 */
#include "ctl/worker_client_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWERS_QUEUED_MAX 8192 /* bytes that the worker has not read */
#define LISTENERS_A_MESSAGE 16

/* ---- targets ---- */

bool worker_target_read(const Netdp__Target *msg, struct worker_target *out)
{
	switch (msg->kind_case) {
	case NETDP__TARGET__KIND_PORT:
		*out = (struct worker_target){WORKER_TO_PORT, msg->port};
		return msg->port <= UINT16_MAX;
	case NETDP__TARGET__KIND_VSOCK:
		*out = (struct worker_target){WORKER_TO_VSOCK, msg->vsock};
		return true;
	case NETDP__TARGET__KIND_TSI_FIRST:
		*out = (struct worker_target){WORKER_TO_TSI_FIRST, 0};
		return true;
	case NETDP__TARGET__KIND_TSI_VM_PORT:
		*out = (struct worker_target){WORKER_TO_TSI_VM_PORT, msg->tsi_vm_port};
		return true;
	case NETDP__TARGET__KIND_TSI_BOUND_PORT:
		*out = (struct worker_target){WORKER_TO_TSI_BOUND_PORT, msg->tsi_bound_port};
		return msg->tsi_bound_port <= UINT16_MAX;
	default:
		return false;
	}
}

void worker_target_put(const struct worker_target *target, Netdp__Target *out)
{
	netdp__target__init(out);
	switch (target->kind) {
	case WORKER_TO_PORT:
		out->kind_case = NETDP__TARGET__KIND_PORT;
		out->port = target->port;
		break;
	case WORKER_TO_VSOCK:
		out->kind_case = NETDP__TARGET__KIND_VSOCK;
		out->vsock = target->port;
		break;
	case WORKER_TO_TSI_FIRST:
		out->kind_case = NETDP__TARGET__KIND_TSI_FIRST;
		out->tsi_first = true;
		break;
	case WORKER_TO_TSI_VM_PORT:
		out->kind_case = NETDP__TARGET__KIND_TSI_VM_PORT;
		out->tsi_vm_port = target->port;
		break;
	case WORKER_TO_TSI_BOUND_PORT:
		out->kind_case = NETDP__TARGET__KIND_TSI_BOUND_PORT;
		out->tsi_bound_port = target->port;
		break;
	}
}

/* ---- parts ---- */

static bool read_kind(Netdp__VsockKind kind, enum worker_vsock_kind *out)
{
	*out = (enum worker_vsock_kind)kind;
	return (unsigned)kind <= NETDP__VSOCK_KIND__VSOCK_HYBRID;
}

static bool is_family(uint32_t family)
{
	return family == TSI_INET || family == TSI_INET6;
}

bool worker_tsi_listener_read(const Netdp__TsiListener *msg, struct tsi_listener *out)
{
	memset(out, 0, sizeof(*out));
	out->fd = -1;
	if (!msg || !is_family(msg->family) || msg->type > UINT16_MAX)
		return false;
	out->svm_port = msg->svm_port;
	out->vm_port = msg->vm_port;
	out->family = (int)msg->family;
	out->type = (int)msg->type;
	out->backlog = msg->backlog;
	return wire_get_endpoint(msg->addr, msg->port, &out->addr);
}

struct tsi_proxy *worker_tsi_proxies_read(Netdp__TsiProxy *const *list, size_t n)
{
	struct tsi_proxy *proxies;

	if (n > TSI_PROXIES_MAX)
		return NULL;
	proxies = worker_client_alloc(n, sizeof(*proxies));
	for (size_t i = 0; i < n; i++) {
		const Netdp__TsiProxy *msg = list[i];

		proxies[i].svm_port = msg->svm_port;
		proxies[i].family = (int)msg->family;
		proxies[i].connected = msg->peer.len != 0;
		if (!is_family(msg->family) ||
			(proxies[i].connected &&
				!wire_get_endpoint(msg->peer, msg->peer_port, &proxies[i].peer))) {
			free(proxies);
			return NULL;
		}
	}
	return proxies;
}

/* ---- questions ---- */

static bool is_flooding(const struct worker_client *client)
{
	return rpc_queued(client->rpc) > ANSWERS_QUEUED_MAX;
}

static void ask_dial(struct worker_client *client, uint64_t id, const Netdp__VsockDial *msg)
{
	if (!client->events->vsock_dial) {
		rpc_reply_status(client->rpc, id, -ENOSYS, NULL);
		return;
	}
	if (client->dials >= WORKER_DIALS_MAX || is_flooding(client)) {
		rpc_reply_status(client->rpc, id, -EAGAIN, "too many at once");
		return;
	}
	client->dials++;
	client->events->vsock_dial(client->events_arg, id, msg->vmm, msg->port);
}

void worker_client_dialed(struct worker_client *client, uint64_t question, int fd, bool tcp)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockDialed msg = NETDP__VSOCK_DIALED__INIT;

	client->dials--;
	if (fd < 0) {
		rpc_reply_status(client->rpc, question, fd, NULL);
		return;
	}
	msg.tcp = tcp;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_DIALED;
	env.vsock_dialed = &msg;
	rpc_reply(client->rpc, question, &env, &fd, 1);
}

static bool ask_listen(struct worker_client *client, uint64_t id, const Netdp__TsiListen *msg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiListening answer = NETDP__TSI_LISTENING__INIT;
	struct tsi_listener asked;
	struct endpoint host;
	int fd;

	if (!worker_tsi_listener_read(msg->listener, &asked))
		return false;
	fd = !client->events->tsi_listen ? -ENOSYS
		: is_flooding(client)
		? -EAGAIN
		: client->events->tsi_listen(client->events_arg, &asked, &host);
	if (fd < 0) {
		rpc_reply_status(client->rpc, id, fd, NULL);
		return true;
	}
	answer.addr = wire_put_addr(&host.addr);
	answer.port = host.port;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_LISTENING;
	env.tsi_listening = &answer;
	rpc_reply(client->rpc, id, &env, &fd, 1);
	return true;
}

bool worker_client_vsock_request(
	struct worker_client *client, uint64_t id, const Netdp__Envelope *env, bool *good)
{
	if (env->body_case == NETDP__ENVELOPE__BODY_VSOCK_DIAL)
		ask_dial(client, id, env->vsock_dial);
	else if (env->body_case == NETDP__ENVELOPE__BODY_TSI_LISTEN)
		*good = ask_listen(client, id, env->tsi_listen);
	else
		return false;
	return true;
}

/* ---- events ---- */

static bool on_vsock_changed(struct worker_client *client, const Netdp__VsockChanged *msg)
{
	struct worker_vsock_event event = {.up = msg->up, .refused = msg->refused};

	if (!read_kind(msg->kind, &event.kind))
		return false;
	wire_get_remark(msg->text, event.text, sizeof(event.text));
	if (client->events->vsock_changed)
		client->events->vsock_changed(client->events_arg, &event);
	return true;
}

static bool on_proxies(struct worker_client *client, const Netdp__TsiProxies *msg)
{
	struct tsi_proxy *proxies = worker_tsi_proxies_read(msg->proxies, msg->n_proxies);

	if (!proxies)
		return false;
	if (client->events->tsi_proxies)
		client->events->tsi_proxies(client->events_arg, proxies, msg->n_proxies);
	free(proxies);
	return true;
}

bool worker_client_vsock_event(struct worker_client *client, const Netdp__Envelope *env, bool *good)
{
	switch (env->body_case) {
	case NETDP__ENVELOPE__BODY_VSOCK_CHANGED:
		*good = on_vsock_changed(client, env->vsock_changed);
		return true;
	case NETDP__ENVELOPE__BODY_TSI_CLOSED:
		if (client->events->tsi_closed)
			client->events->tsi_closed(client->events_arg, env->tsi_closed->svm_port);
		return true;
	case NETDP__ENVELOPE__BODY_TSI_PROXIES:
		*good = on_proxies(client, env->tsi_proxies);
		return true;
	default:
		return false;
	}
}

/* ---- requests that are answered by a Status ---- */

void worker_client_vsock_set(struct worker_client *client, enum worker_vsock_kind kind, int vmm,
	uint64_t cid, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockSet msg = NETDP__VSOCK_SET__INIT;

	msg.kind = (Netdp__VsockKind)kind;
	msg.listener = vmm >= 0;
	msg.cid = cid;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_SET;
	env.vsock_set = &msg;
	worker_client_call_plain(
		client, &env, &vmm, vmm >= 0 ? 1 : 0, WORKER_CLIENT_DEADLINE_MS, done, arg);
}

void worker_client_vsock_listen(struct worker_client *client, enum worker_vsock_use use,
	uint32_t port, int fd, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockListen msg = NETDP__VSOCK_LISTEN__INIT;

	msg.use = (Netdp__VsockUse)use;
	msg.port = port;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_LISTEN;
	env.vsock_listen = &msg;
	worker_client_call_plain(client, &env, &fd, 1, WORKER_CLIENT_DEADLINE_MS, done, arg);
}

void worker_client_vsock_unlisten(struct worker_client *client, enum worker_vsock_use use,
	uint32_t port, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockUnlisten msg = NETDP__VSOCK_UNLISTEN__INIT;

	msg.use = (Netdp__VsockUse)use;
	msg.port = port;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_UNLISTEN;
	env.vsock_unlisten = &msg;
	worker_client_call_plain(client, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, done, arg);
}

void worker_client_stream_attach(struct worker_client *client, const struct worker_stream *stream,
	int fd, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__StreamAttach msg = NETDP__STREAM_ATTACH__INIT;
	Netdp__Target target;

	worker_target_put(&stream->target, &target);
	msg.target = &target;
	msg.prefix = wire_put(stream->prefix, stream->prefix_len);
	msg.tcp = stream->tcp;
	if (stream->tcp) {
		msg.client = wire_put_addr(&stream->client.addr);
		msg.client_port = stream->client.port;
	}
	env.body_case = NETDP__ENVELOPE__BODY_STREAM_ATTACH;
	env.stream_attach = &msg;
	worker_client_call_plain(client, &env, &fd, 1, WORKER_STREAM_DEADLINE_MS, done, arg);
}

/* ---- TsiRestore, in as many messages as its fds need ---- */

struct restore_call {
	worker_done_fn *done;
	void *arg;
	unsigned pending;
	int code;
	char text[256];
};

static void on_restored(void *arg, int code, const char *text)
{
	struct restore_call *call = arg;

	if (code && !call->code) {
		call->code = code;
		snprintf(call->text, sizeof(call->text), "%s", text);
	}
	if (--call->pending)
		return;
	if (call->done)
		call->done(call->arg, call->code, call->text);
	free(call);
}

static void put_listener(const struct tsi_listener *listener, Netdp__TsiListener *out)
{
	netdp__tsi_listener__init(out);
	out->svm_port = listener->svm_port;
	out->vm_port = listener->vm_port;
	out->family = (uint32_t)listener->family;
	out->type = (uint32_t)listener->type;
	out->backlog = listener->backlog;
	out->addr = wire_put_addr(&listener->addr.addr);
	out->port = listener->addr.port;
}

struct proxies_msg {
	Netdp__TsiProxy *list;
	Netdp__TsiProxy **pointers;
};

static void put_proxies(const struct vm_tsi *tsi, struct proxies_msg *out)
{
	out->list = worker_client_alloc(tsi->n_proxies, sizeof(*out->list));
	out->pointers = worker_client_alloc(tsi->n_proxies, sizeof(*out->pointers));
	for (size_t i = 0; i < tsi->n_proxies; i++) {
		const struct tsi_proxy *proxy = &tsi->proxies[i];

		netdp__tsi_proxy__init(&out->list[i]);
		out->list[i].svm_port = proxy->svm_port;
		out->list[i].family = (uint32_t)proxy->family;
		if (proxy->connected) {
			out->list[i].peer = wire_put_addr(&proxy->peer.addr);
			out->list[i].peer_port = proxy->peer.port;
		}
		out->pointers[i] = &out->list[i];
	}
}

/* The next listeners that have a socket, from *at on, and with the first of all the proxies. */
static void restore_some(struct worker_client *client, const struct vm_tsi *tsi,
	const struct tsi_listener **at, bool first, struct restore_call *call)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiRestore msg = NETDP__TSI_RESTORE__INIT;
	Netdp__TsiListener list[LISTENERS_A_MESSAGE], *pointers[LISTENERS_A_MESSAGE];
	int fds[LISTENERS_A_MESSAGE];
	struct proxies_msg proxies = {NULL, NULL};
	size_t n = 0;

	for (; *at && n < LISTENERS_A_MESSAGE; *at = TAILQ_NEXT(*at, next)) {
		if ((*at)->fd < 0)
			continue;
		put_listener(*at, &list[n]);
		pointers[n] = &list[n];
		fds[n++] = (*at)->fd;
	}
	msg.n_listeners = n;
	msg.listeners = pointers;
	if (first) {
		put_proxies(tsi, &proxies);
		msg.n_proxies = tsi->n_proxies;
		msg.proxies = proxies.pointers;
	}
	env.body_case = NETDP__ENVELOPE__BODY_TSI_RESTORE;
	env.tsi_restore = &msg;
	call->pending++;
	worker_client_call_plain(
		client, &env, fds, n, WORKER_CLIENT_DEADLINE_MS, on_restored, call);
	free(proxies.list);
	free(proxies.pointers);
}

void worker_client_tsi_restore(
	struct worker_client *client, const struct vm_tsi *tsi, worker_done_fn *done, void *arg)
{
	const struct tsi_listener *at = TAILQ_FIRST(&tsi->listeners);
	struct restore_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct restore_call){.done = done, .arg = arg};
	restore_some(client, tsi, &at, true, call);
	while (at)
		restore_some(client, tsi, &at, false, call);
}
