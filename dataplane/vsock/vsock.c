/* SPDX-License-Identifier: MIT */
/* A VM's vsock, put together. See vsock.h. */
#include "dataplane/vsock/vsock.h"

#include "dataplane/vsock/env.h"
#include "dataplane/vsock/mux.h"
#include "dataplane/vsock/transport_stream.h"
#include "dataplane/vsock/transport_vhost.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct vsock {
	struct loop *loop;
	struct vsock_events events;
	enum vsock_kind kind;
	uint64_t guest_cid;
	struct vsock_mux *mux;
	struct vsock_env *env;
	struct vsock_vmm_events vmm_events;
	struct vsock_stream *stream;
	struct vsock_vhost *vhost;
	struct timer session_timer; /* armed: somebody heard of the session just now */
	bool session_untold;
};

static bool on_request(void *arg, struct vsock_conn *conn)
{
	struct vsock *vsock = arg;

	if (conn->host_port != VSOCK_ENV_PORT)
		return false;
	vsock_env_request(vsock->env, conn);
	return true;
}

/* ---- what the transports tell ---- */

static void on_changed(void *arg, bool up, const char *text)
{
	struct vsock *vsock = arg;

	if (vsock->events.changed)
		vsock->events.changed(vsock->events.arg, vsock->kind, up, text, false);
}

static void on_refused(void *arg)
{
	struct vsock *vsock = arg;

	if (vsock->events.changed)
		vsock->events.changed(
			vsock->events.arg, vsock->kind, true, "refused: vsock in use", true);
}

/*
 * The guest decides how often its driver starts over, and who is told of it is everybody's: at
 * once, then at most every VSOCK_SESSION_MS, and always of the latest.
 */
static void tell_session(struct vsock *vsock)
{
	if (timer_armed(&vsock->session_timer) || !vsock->session_untold || !vsock->events.session)
		return;
	timer_arm(loop_wheel(vsock->loop), &vsock->session_timer, VSOCK_SESSION_MS);
	vsock->session_untold = false;
	vsock->events.session(vsock->events.arg);
}

static void on_session_timer(struct timer *timer)
{
	tell_session((struct vsock *)((char *)timer - offsetof(struct vsock, session_timer)));
}

static void on_session(void *arg)
{
	struct vsock *vsock = arg;

	vsock->session_untold = true;
	tell_session(vsock);
}

/* ---- life ---- */

static bool make(struct vsock *vsock, const struct vsock_parts *parts)
{
	struct loop *loop = parts->loop;
	struct counters *counters = parts->counters;
	struct vsock_mux_events mux_events = {.arg = vsock, .request = on_request};
	struct vsock_env_events env_events = {
		.arg = vsock->events.arg, .ask = vsock->events.env_get};

	vsock->env = vsock_env_new(loop, counters, &env_events);
	vsock->mux = vsock->env ? vsock_mux_new(loop, counters, &mux_events) : NULL;
	vsock->stream = vsock->mux ? vsock_stream_new(loop, counters, vsock->mux) : NULL;
	if (!vsock->stream)
		return false;
	vsock_stream_watch(vsock->stream, &vsock->vmm_events);
	vsock->vhost = vsock_vhost_new(loop, counters, vsock->mux, &vsock->vmm_events);
	return vsock->vhost != NULL;
}

struct vsock *vsock_new(const struct vsock_parts *parts, const struct vsock_events *events)
{
	struct vsock *vsock = calloc(1, sizeof(*vsock));

	if (!vsock)
		return NULL;
	vsock->loop = parts->loop;
	vsock->events = *events;
	vsock->session_timer.fire = on_session_timer;
	vsock->vmm_events = (struct vsock_vmm_events){
		.arg = vsock,
		.changed = on_changed,
		.refused = on_refused,
		.session = on_session,
	};
	if (make(vsock, parts))
		return vsock;
	vsock_free(vsock);
	return NULL;
}

void vsock_free(struct vsock *vsock)
{
	if (!vsock)
		return;
	timer_disarm(loop_wheel(vsock->loop), &vsock->session_timer);
	vsock_stream_free(vsock->stream);
	vsock_vhost_free(vsock->vhost);
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

/* One transport at a time. */
static void detach(struct vsock *vsock)
{
	vsock_stream_attach(vsock->stream, -1, false, 0);
	vsock_vhost_attach(vsock->vhost, -1, false, 0);
}

int vsock_set(struct vsock *vsock, enum vsock_kind kind, int fd, bool listener, uint64_t guest_cid)
{
	if (kind == VSOCK_KIND_NONE) {
		detach(vsock);
		vsock->kind = kind;
		return refused(fd, fd < 0 ? 0 : -EINVAL);
	}
	if (kind != VSOCK_KIND_STREAM && kind != VSOCK_KIND_VHOST)
		return refused(fd, -ENOTSUP);
	if (guest_cid < VSOCK_CID_FIRST || guest_cid > VSOCK_CID_LAST)
		return refused(fd, -EDOM);
	if (fd < 0)
		return -EINVAL;
	detach(vsock);
	vsock->kind = kind;
	vsock->guest_cid = guest_cid;
	return kind == VSOCK_KIND_VHOST
		? vsock_vhost_attach(vsock->vhost, fd, listener, guest_cid)
		: vsock_stream_attach(vsock->stream, fd, listener, guest_cid);
}

void vsock_set_memory(struct vsock *vsock, struct flow_memory *memory, bool reset)
{
	vsock_mux_set_memory(vsock->mux, memory, reset);
}

bool vsock_is_up(const struct vsock *vsock)
{
	return vsock_stream_is_up(vsock->stream) || vsock_vhost_is_up(vsock->vhost);
}

bool vsock_session(const struct vsock *vsock, struct vhost_session *out, uint64_t *guest_cid)
{
	*guest_cid = vsock->guest_cid;
	return vsock_vhost_session(vsock->vhost, out);
}

int vsock_resume(struct vsock *vsock, const struct vhost_session *session)
{
	if (vsock->kind == VSOCK_KIND_VHOST)
		return vsock_vhost_resume(vsock->vhost, session, vsock->guest_cid);
	vhost_session_close(session);
	return -ENOTSUP;
}

void vsock_env_arrived(struct vsock *vsock, const void *document, size_t len)
{
	vsock_env_answer(vsock->env, document, len);
}
