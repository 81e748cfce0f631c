/* SPDX-License-Identifier: MIT */
/*
 * A worker's vsock and TSI listeners, page by page, for the netctld that adopts it. See
 * worker_client.h; what is not as the protocol wants it gives -EPROTO.
 */
#include "ctl/worker_client_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* ---- Vsock ---- */

struct vsock_call {
	struct worker_client *client;
	worker_vsock_fn *done;
	void *arg;
	struct worker_vsock vsock;
};

static void ask_vsock(struct vsock_call *call);

static void finish_vsock(struct vsock_call *call, int code, const char *text)
{
	call->done(call->arg, code, text, code == 0 ? &call->vsock : NULL);
	close_fd(call->vsock.vmm);
	for (size_t i = 0; i < call->vsock.n; i++)
		close_fd(call->vsock.listeners[i].fd);
	free(call->vsock.listeners);
	free(call);
}

/* What only the first page says. Returns how many fds it has used, or -1. */
static int read_set(struct vsock_call *call, const Netdp__Vsock *msg, int *fds, size_t n_fds)
{
	const Netdp__VsockSet *set = msg->set;

	if (!set || (unsigned)set->kind > NETDP__VSOCK_KIND__VSOCK_HYBRID ||
		(set->listener && n_fds < 1))
		return -1;
	call->vsock.kind = (enum worker_vsock_kind)set->kind;
	call->vsock.cid = set->cid;
	call->vsock.up = msg->up;
	if (!set->listener)
		return 0;
	call->vsock.vmm = take(&fds[0]);
	return 1;
}

static bool read_vsock(struct vsock_call *call, const Netdp__Vsock *msg, int *fds, size_t n_fds)
{
	struct worker_vsock *vsock = &call->vsock;
	int used = vsock->listeners ? 0 : read_set(call, msg, fds, n_fds);

	if (used < 0 || msg->n_listeners != n_fds - (size_t)used ||
		msg->total > WORKER_VSOCK_LISTENERS_MAX ||
		vsock->n + msg->n_listeners > WORKER_VSOCK_LISTENERS_MAX)
		return false;
	if (!vsock->listeners)
		vsock->listeners = worker_client_alloc(
			WORKER_VSOCK_LISTENERS_MAX, sizeof(*vsock->listeners));
	for (size_t i = 0; i < msg->n_listeners; i++) {
		const Netdp__VsockListen *listen = msg->listeners[i];
		struct worker_vsock_listener *out = &vsock->listeners[vsock->n];

		if ((unsigned)listen->use > NETDP__VSOCK_USE__VSOCK_USE_PORT)
			return false;
		out->use = (enum worker_vsock_use)listen->use;
		out->port = listen->port;
		out->fd = take(&fds[(size_t)used + i]);
		vsock->n++;
	}
	return true;
}

static void on_vsock(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct vsock_call *call = arg;
	char remark[512];

	wire_get_remark(text, remark, sizeof(remark));
	if (code < 0) {
		finish_vsock(call, code, remark);
		return;
	}
	if (reply->body_case != NETDP__ENVELOPE__BODY_VSOCK ||
		!read_vsock(call, reply->vsock, fds, n_fds)) {
		finish_vsock(call, -EPROTO, "a malformed vsock");
		return;
	}
	/* A page without news would be asked for for ever. */
	if (call->vsock.n < reply->vsock->total && reply->vsock->n_listeners)
		ask_vsock(call);
	else
		finish_vsock(call, 0, "");
}

static void ask_vsock(struct vsock_call *call)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockGet msg = NETDP__VSOCK_GET__INIT;

	msg.skip = (uint32_t)call->vsock.n;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_GET;
	env.vsock_get = &msg;
	rpc_call(call->client->rpc, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, on_vsock, call);
}

void worker_client_vsock(struct worker_client *client, worker_vsock_fn *done, void *arg)
{
	struct vsock_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct vsock_call){.client = client, .done = done, .arg = arg, .vsock.vmm = -1};
	ask_vsock(call);
}

/* ---- Tsi ---- */

struct tsi_call {
	struct worker_client *client;
	worker_tsi_fn *done;
	void *arg;
	struct tsi_listener *listeners;
	size_t n;
	struct tsi_proxy *proxies;
	size_t n_proxies;
};

static void ask_tsi(struct tsi_call *call);

static void finish_tsi(struct tsi_call *call, int code, const char *text)
{
	struct worker_tsi tsi = {call->listeners, call->n, call->proxies, call->n_proxies};

	call->done(call->arg, code, text, code == 0 ? &tsi : NULL);
	for (size_t i = 0; i < call->n; i++)
		close_fd(call->listeners[i].fd);
	free(call->listeners);
	free(call->proxies);
	free(call);
}

static bool read_tsi(struct tsi_call *call, const Netdp__Tsi *msg, int *fds, size_t n_fds)
{
	if (msg->n_listeners != n_fds || msg->total > TSI_LISTENERS_MAX ||
		call->n + msg->n_listeners > TSI_LISTENERS_MAX)
		return false;
	if (!call->listeners) {
		call->proxies = worker_tsi_proxies_read(msg->proxies, msg->n_proxies);
		if (!call->proxies)
			return false;
		call->n_proxies = msg->n_proxies;
		call->listeners = worker_client_alloc(TSI_LISTENERS_MAX, sizeof(*call->listeners));
	}
	for (size_t i = 0; i < msg->n_listeners; i++) {
		if (!worker_tsi_listener_read(msg->listeners[i], &call->listeners[call->n]))
			return false;
		call->listeners[call->n++].fd = take(&fds[i]);
	}
	return true;
}

static void on_tsi(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct tsi_call *call = arg;
	char remark[512];

	wire_get_remark(text, remark, sizeof(remark));
	if (code < 0) {
		finish_tsi(call, code, remark);
		return;
	}
	if (reply->body_case != NETDP__ENVELOPE__BODY_TSI ||
		!read_tsi(call, reply->tsi, fds, n_fds)) {
		finish_tsi(call, -EPROTO, "a malformed list of TSI listeners");
		return;
	}
	if (call->n < reply->tsi->total && reply->tsi->n_listeners)
		ask_tsi(call);
	else
		finish_tsi(call, 0, "");
}

static void ask_tsi(struct tsi_call *call)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__TsiGet msg = NETDP__TSI_GET__INIT;

	msg.skip = (uint32_t)call->n;
	env.body_case = NETDP__ENVELOPE__BODY_TSI_GET;
	env.tsi_get = &msg;
	rpc_call(call->client->rpc, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, on_tsi, call);
}

void worker_client_tsi(struct worker_client *client, worker_tsi_fn *done, void *arg)
{
	struct tsi_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct tsi_call){.client = client, .done = done, .arg = arg};
	ask_tsi(call);
}
