/* SPDX-License-Identifier: MIT */
/* A VM's vsock, put together. See vsock.h. */
#include "dataplane/vsock/vsock.h"

#include "dataplane/vsock/env.h"
#include "dataplane/vsock/mux.h"
#include "dataplane/vsock/transport_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct vsock {
	struct vsock_mux *mux;
	struct vsock_env *env;
	struct tsi *tsi;
	struct vsock_stream *stream;
};

static bool on_request(void *arg, struct vsock_conn *conn)
{
	struct vsock *vsock = arg;

	if (conn->host_port == TSI_STREAM_PORT)
		return tsi_request(vsock->tsi, conn);
	if (conn->host_port != VSOCK_ENV_PORT)
		return false;
	vsock_env_request(vsock->env, conn);
	return true;
}

static void on_datagram(
	void *arg, const struct vsock_packet *packet, const struct iovec *payload, unsigned pieces)
{
	struct vsock *vsock = arg;

	tsi_datagram(vsock->tsi, packet, payload, pieces);
}

static enum vsock_turn on_send(void *arg)
{
	struct vsock *vsock = arg;

	return tsi_send(vsock->tsi);
}

static void on_gone(void *arg)
{
	struct vsock *vsock = arg;

	tsi_reset(vsock->tsi);
}

static struct tsi *make_tsi(
	struct vsock_mux *mux, const struct vsock_parts *parts, const struct vsock_events *events)
{
	struct tsi_parts tsi_parts = {
		.loop = parts->loop,
		.counters = parts->counters,
		.mux = mux,
		.egress = parts->egress,
		.dns = parts->dns,
		.net = parts->net,
	};

	return tsi_new(&tsi_parts, &events->tsi);
}

struct vsock *vsock_new(const struct vsock_parts *parts, const struct vsock_events *events)
{
	struct vsock *vsock = calloc(1, sizeof(*vsock));
	struct loop *loop = parts->loop;
	struct counters *counters = parts->counters;
	struct vsock_mux_events mux_events = {
		.arg = vsock,
		.request = on_request,
		.datagram = on_datagram,
		.send = on_send,
		.gone = on_gone,
	};
	struct vsock_env_events env_events = {.arg = events->arg, .ask = events->env_get};

	if (!vsock)
		return NULL;
	vsock->env = vsock_env_new(loop, counters, &env_events);
	vsock->mux = vsock->env ? vsock_mux_new(loop, counters, &mux_events) : NULL;
	vsock->tsi = vsock->mux ? make_tsi(vsock->mux, parts, events) : NULL;
	vsock->stream = vsock->tsi ? vsock_stream_new(loop, counters, vsock->mux) : NULL;
	if (vsock->stream)
		return vsock;
	vsock_free(vsock);
	return NULL;
}

void vsock_free(struct vsock *vsock)
{
	if (!vsock)
		return;
	vsock_stream_free(vsock->stream);
	vsock_mux_free(vsock->mux);
	tsi_free(vsock->tsi);
	vsock_env_free(vsock->env);
	free(vsock);
}

static int refused(int fd, int err)
{
	if (fd >= 0)
		close(fd);
	return err;
}

int vsock_set(struct vsock *vsock, enum vsock_kind kind, int fd, bool listener, uint64_t guest_cid)
{
	if (kind == VSOCK_KIND_NONE) {
		vsock_stream_attach(vsock->stream, -1, false, 0);
		return refused(fd, fd < 0 ? 0 : -EINVAL);
	}
	if (kind != VSOCK_KIND_STREAM)
		return refused(fd, -ENOTSUP);
	if (guest_cid < VSOCK_CID_FIRST || guest_cid > VSOCK_CID_LAST)
		return refused(fd, -EDOM);
	if (fd < 0)
		return -EINVAL;
	return vsock_stream_attach(vsock->stream, fd, listener, guest_cid);
}

struct tsi *vsock_tsi(struct vsock *vsock)
{
	return vsock->tsi;
}

void vsock_env_arrived(struct vsock *vsock, const void *document, size_t len)
{
	vsock_env_answer(vsock->env, document, len);
}
