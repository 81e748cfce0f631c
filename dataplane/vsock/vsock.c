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
	struct vsock_stream *stream;
};

static bool on_request(void *arg, struct vsock_conn *conn)
{
	struct vsock *vsock = arg;

	if (conn->host_port != VSOCK_ENV_PORT)
		return false;
	vsock_env_request(vsock->env, conn);
	return true;
}

struct vsock *vsock_new(const struct vsock_parts *parts, const struct vsock_events *events)
{
	struct vsock *vsock = calloc(1, sizeof(*vsock));
	struct loop *loop = parts->loop;
	struct counters *counters = parts->counters;
	struct vsock_mux_events mux_events = {.arg = vsock, .request = on_request};
	struct vsock_env_events env_events = {.arg = events->arg, .ask = events->env_get};

	if (!vsock)
		return NULL;
	vsock->env = vsock_env_new(loop, counters, &env_events);
	vsock->mux = vsock->env ? vsock_mux_new(loop, counters, &mux_events) : NULL;
	vsock->stream = vsock->mux ? vsock_stream_new(loop, counters, vsock->mux) : NULL;
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

void vsock_reset_begin(struct vsock *vsock)
{
	vsock_mux_hold(vsock->mux);
}

void vsock_reset_end(struct vsock *vsock)
{
	vsock_stream_reset(vsock->stream);
	vsock_mux_release(vsock->mux);
}

void vsock_busy(const struct vsock *vsock, struct busy *busy)
{
	vsock_mux_busy(vsock->mux, busy);
	busy->queued += (uint32_t)vsock_stream_queued(vsock->stream);
}

size_t vsock_count(const struct vsock *vsock)
{
	return vsock_mux_count(vsock->mux);
}

void vsock_env_arrived(struct vsock *vsock, const void *document, size_t len)
{
	vsock_env_answer(vsock->env, document, len);
}
