/* SPDX-License-Identifier: MIT */
/*
 * TSI between a worker and netctld: the sockets of the guest's listeners are asked for, netctld is
 * told what the guest has, asks for it when it adopts the worker, and gives a new worker what its
 * predecessor had.
 */
#include "common/log.h"
#include "dataplane/control_internal.h"
#include "dataplane/vsock/tsi_message.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdlib.h>

#define LISTENERS_A_MESSAGE FRAME_FDS_MAX
#define PROXIES_BACKLOG (1u << 20) /* unsent bytes beyond which the list waits */

/* ---- messages ---- */

static bool get_family(uint32_t family)
{
	return family == TSI_INET || family == TSI_INET6;
}

static bool get_listener(const Netdp__TsiListener *msg, struct tsi_listener *out)
{
	*out = (struct tsi_listener){
		.svm_port = msg->svm_port,
		.vm_port = msg->vm_port,
		.family = msg->family,
		.type = msg->type,
		.backlog = msg->backlog,
	};
	return msg->svm_port && msg->vm_port && get_family(msg->family) &&
		msg->type == TSI_STREAM && wire_get_endpoint(msg->addr, msg->port, &out->addr) &&
		(msg->family == TSI_INET6 || addr_is_v4(&out->addr.addr));
}

static void put_listener(const struct tsi_listener *l, Netdp__TsiListener *out)
{
	netdp__tsi_listener__init(out);
	out->svm_port = l->svm_port;
	out->vm_port = l->vm_port;
	out->family = l->family;
	out->type = l->type;
	out->backlog = l->backlog;
	out->addr = wire_put_addr(&l->addr.addr);
	out->port = l->addr.port;
}

static bool get_proxy(const Netdp__TsiProxy *msg, struct tsi_proxy *out)
{
	*out = (struct tsi_proxy){
		.svm_port = msg->svm_port, .family = msg->family, .connected = msg->peer.len != 0};
	return msg->svm_port && get_family(msg->family) &&
		(!out->connected ||
			(wire_get_endpoint(msg->peer, msg->peer_port, &out->peer) &&
				(msg->family == TSI_INET6 || addr_is_v4(&out->peer.addr))));
}

/* The datagram sockets as messages, which point into it. */
struct proxy_list {
	struct tsi_proxy *proxies;
	Netdp__TsiProxy *messages, **pointers;
	size_t n;
};

static void free_proxies(struct proxy_list *list)
{
	free(list->proxies);
	free(list->messages);
	free(list->pointers);
}

static bool put_proxies(const struct tsi *tsi, struct proxy_list *list)
{
	size_t max = tsi_proxy_count(tsi);
	uint32_t cursor = 0;

	*list = (struct proxy_list){
		.proxies = calloc(max + 1, sizeof(*list->proxies)),
		.messages = calloc(max + 1, sizeof(*list->messages)),
		.pointers = calloc(max + 1, sizeof(*list->pointers)),
	};
	if (!list->proxies || !list->messages || !list->pointers) {
		free_proxies(list);
		return false;
	}
	for (; list->n < max && tsi_proxy_next(tsi, &cursor, &list->proxies[list->n]); list->n++) {
		const struct tsi_proxy *proxy = &list->proxies[list->n];
		Netdp__TsiProxy *msg = &list->messages[list->n];

		netdp__tsi_proxy__init(msg);
		msg->svm_port = proxy->svm_port;
		msg->family = proxy->family;
		if (proxy->connected) {
			msg->peer = wire_put_addr(&proxy->peer.addr);
			msg->peer_port = proxy->peer.port;
		}
		list->pointers[list->n] = msg;
	}
	return true;
}

/* ---- a listener's socket ---- */

struct question {
	struct control *control;
	uint32_t svm_port;
};

static void on_listening(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct question *question = arg;
	struct control *control = question->control;
	int fd = code < 0 ? code : -EPROTO;

	if (code == 0 && reply->body_case == NETDP__ENVELOPE__BODY_TSI_LISTENING && n_fds == 1) {
		fd = fds[0];
		fds[0] = -1;
	}
	if (fd < 0)
		log_info(control->label, "tsi.unbound", "svm_port=%u reason=\"%s\" code=%d",
			question->svm_port, text, -fd);
	tsi_listening(worker_tsi(control->worker), question->svm_port, fd);
	free(question);
}

static bool on_listen(void *arg, const struct tsi_listener *listener)
{
	struct control *control = arg;
	struct question *question = malloc(sizeof(*question));
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiListen ask = NETDP__TSI_LISTEN__INIT;
	Netdp__TsiListener msg;

	if (!question || !control_can_send(control)) {
		free(question);
		return false;
	}
	*question = (struct question){.control = control, .svm_port = listener->svm_port};
	put_listener(listener, &msg);
	ask.listener = &msg;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_LISTEN;
	env.tsi_listen = &ask;
	rpc_call(control->rpc, &env, NULL, 0, TSI_LISTEN_MS, on_listening, question);
	return true;
}

static void on_listen_failed(void *arg, const struct tsi_listener *listener, int err)
{
	const struct control *control = arg;
	char addr[ENDPOINT_STRLEN];

	log_warn(control->label, "tsi.listen_failed", "addr=%s svm_port=%u reason=\"%s\"",
		endpoint_format(&listener->addr, addr, sizeof(addr)), listener->svm_port,
		control_can_send(control) ? errno_text(err) : "netctld is away");
}

/* ---- events; whoever adopts us asks for all of it ---- */

static void on_closed(void *arg, uint32_t svm_port)
{
	struct control *control = arg;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiClosed closed = NETDP__TSI_CLOSED__INIT;

	if (!control_can_send(control))
		return;
	closed.svm_port = svm_port;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_CLOSED;
	env.tsi_closed = &closed;
	if (rpc_event(control->rpc, &env, NULL, 0) < 0)
		control_count_dropped(control);
}

static bool on_proxies(void *arg)
{
	struct control *control = arg;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiProxies proxies = NETDP__TSI_PROXIES__INIT;
	struct proxy_list list;
	bool told;

	if (!control_can_send(control) || rpc_queued(control->rpc) > PROXIES_BACKLOG ||
		!put_proxies(worker_tsi(control->worker), &list))
		return false;
	proxies.n_proxies = list.n;
	proxies.proxies = list.pointers;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_PROXIES;
	env.tsi_proxies = &proxies;
	told = rpc_event(control->rpc, &env, NULL, 0) == 0;
	free_proxies(&list);
	return told;
}

struct tsi_events control_tsi_events(struct control *control)
{
	return (struct tsi_events){
		.arg = control,
		.listen = on_listen,
		.listen_failed = on_listen_failed,
		.closed = on_closed,
		.proxies = on_proxies,
	};
}

/* ---- requests ---- */

void control_tsi_get(const struct request *r)
{
	const struct tsi *tsi = worker_tsi(r->worker);
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Tsi answer = NETDP__TSI__INIT;
	Netdp__TsiListener list[LISTENERS_A_MESSAGE], *pointers[LISTENERS_A_MESSAGE];
	int fds[LISTENERS_A_MESSAGE];
	struct proxy_list proxies = {0};
	size_t n = 0;

	for (; n < LISTENERS_A_MESSAGE; n++) {
		const struct tsi_listener *l = tsi_listener_at(
			tsi, (size_t)r->env->tsi_get->skip + n, &fds[n]);

		if (!l)
			break;
		put_listener(l, &list[n]);
		pointers[n] = &list[n];
	}
	if (!r->env->tsi_get->skip && !put_proxies(tsi, &proxies)) {
		request_refuse(r, -ENOMEM, NULL);
		return;
	}
	answer.n_listeners = n;
	answer.listeners = pointers;
	answer.total = (uint32_t)tsi_listener_count(tsi);
	answer.n_proxies = proxies.n;
	answer.proxies = proxies.pointers;
	env.body_case = NETDP__ENVELOPE__BODY_TSI;
	env.tsi = &answer;
	rpc_reply(r->control->rpc, r->id, &env, fds, n);
	free_proxies(&proxies);
}

static bool well_formed(const struct request *r)
{
	const Netdp__TsiRestore *msg = r->env->tsi_restore;
	struct tsi_listener listener;
	struct tsi_proxy proxy;

	if (msg->n_listeners != r->n_fds || msg->n_proxies > TSI_PROXIES_MAX)
		return false;
	for (size_t i = 0; i < msg->n_listeners; i++) {
		if (!get_listener(msg->listeners[i], &listener))
			return false;
	}
	for (size_t i = 0; i < msg->n_proxies; i++) {
		if (!get_proxy(msg->proxies[i], &proxy))
			return false;
	}
	return true;
}

/* As much as can be; the answer is the first failure, if any. */
void control_tsi_restore(const struct request *r)
{
	const Netdp__TsiRestore *msg = r->env->tsi_restore;
	struct tsi *tsi = worker_tsi(r->worker);
	struct tsi_listener listener;
	struct tsi_proxy proxy;
	int code = 0, err;

	if (!well_formed(r)) {
		request_refuse(r, -EINVAL, "tsi: malformed");
		return;
	}
	for (size_t i = 0; i < msg->n_listeners; i++) {
		get_listener(msg->listeners[i], &listener);
		err = tsi_restore_listener(tsi, &listener, r->fds[i]);
		r->fds[i] = -1;
		code = code ? code : err;
	}
	for (size_t i = 0; i < msg->n_proxies; i++) {
		get_proxy(msg->proxies[i], &proxy);
		err = tsi_restore_proxy(tsi, &proxy);
		code = code ? code : err;
	}
	request_refuse(r, code, code ? "tsi: not all could be restored" : NULL);
}
