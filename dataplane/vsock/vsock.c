/* SPDX-License-Identifier: MIT */
/* A VM's vsock, put together. See vsock.h. */
#include "dataplane/vsock/vsock.h"

#include "dataplane/vsock/dial.h"
#include "dataplane/vsock/env.h"
#include "dataplane/vsock/forward.h"
#include "dataplane/vsock/host_socket.h"
#include "dataplane/vsock/mux.h"
#include "dataplane/vsock/open.h"
#include "dataplane/vsock/ports.h"
#include "dataplane/vsock/transport_hybrid.h"
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
	struct vsock_dials *dials;
	struct vsock_host_socket *host_socket;
	struct vsock_forwards *forwards;
	struct vsock_ways ways;
	struct tsi *tsi;
	struct vsock_vmm_events vmm_events;
	struct vsock_stream *stream;
	struct vsock_vhost *vhost;
	struct vsock_hybrid *hybrid;
	struct timer session_timer; /* armed: the credit is not full */
	unsigned session_credit;    /* how often the session may be told of now */
	bool session_untold;
	bool ending;
};

static bool on_request(void *arg, struct vsock_conn *conn)
{
	struct vsock *vsock = arg;

	if (conn->host_port == TSI_STREAM_PORT)
		return tsi_request(vsock->tsi, conn);
	if (conn->host_port == VSOCK_ENV_PORT)
		vsock_env_request(vsock->env, conn);
	else
		vsock_ports_request(vsock->dials, conn);
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

	if (!vsock->ending)
		tsi_reset(vsock->tsi);
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
 * The guest decides how often its driver starts over, and who is told of it is everybody's: he hears
 * of all that a start consists of at once, so that a death right behind it finds him up to date; then
 * at most every VSOCK_SESSION_MS, and always of the latest.
 */
static void tell_session(struct vsock *vsock)
{
	if (!vsock->session_untold || !vsock->session_credit || !vsock->events.session)
		return;
	vsock->session_untold = false;
	vsock->session_credit--;
	if (!timer_armed(&vsock->session_timer))
		timer_arm(loop_wheel(vsock->loop), &vsock->session_timer, VSOCK_SESSION_MS);
	vsock->events.session(vsock->events.arg);
}

static void on_session_timer(struct timer *timer)
{
	struct vsock *vsock =
		(struct vsock *)((char *)timer - offsetof(struct vsock, session_timer));

	vsock->session_credit++;
	tell_session(vsock);
	if (vsock->session_credit < VSOCK_SESSION_BURST && !timer_armed(timer))
		timer_arm(loop_wheel(vsock->loop), timer, VSOCK_SESSION_MS);
}

static void on_session(void *arg)
{
	struct vsock *vsock = arg;

	vsock->session_untold = true;
	tell_session(vsock);
}

/* ---- life ---- */

static struct tsi *make_tsi(const struct vsock *vsock, const struct vsock_parts *parts)
{
	struct tsi_parts tsi_parts = {
		.loop = parts->loop,
		.counters = parts->counters,
		.mux = vsock->mux,
		.egress = parts->egress,
		.dns = parts->dns,
		.net = parts->net,
		.limits = parts->limits,
	};

	return tsi_new(&tsi_parts, &vsock->events.tsi);
}

/* What leads between host sockets and the guest, where mux and env stand. */
static bool make_services(struct vsock *vsock, struct loop *loop, struct counters *counters)
{
	struct vsock_dials_events dials_events = {
		.arg = vsock->events.arg, .ask = vsock->events.dial};

	vsock->dials = vsock_dials_new(loop, counters, &dials_events);
	if (!vsock->dials)
		return false;
	vsock->hybrid = vsock_hybrid_new(loop, counters, vsock->dials, vsock->env);
	vsock->host_socket = vsock_host_socket_new(loop, counters, vsock->mux);
	vsock->ways = (struct vsock_ways){
		.mux = vsock->mux, .tsi = vsock->tsi, .hybrid = vsock->hybrid};
	vsock->forwards = vsock_forwards_new(loop, counters, &vsock->ways);
	return vsock->hybrid && vsock->host_socket && vsock->forwards;
}

static bool make(struct vsock *vsock, const struct vsock_parts *parts)
{
	struct loop *loop = parts->loop;
	struct counters *counters = parts->counters;
	struct vsock_mux_events mux_events = {
		.arg = vsock,
		.request = on_request,
		.datagram = on_datagram,
		.send = on_send,
		.gone = on_gone,
	};
	struct vsock_env_events env_events = {
		.arg = vsock->events.arg, .ask = vsock->events.env_get};

	vsock->env = vsock_env_new(loop, counters, &env_events);
	vsock->mux = vsock->env ? vsock_mux_new(loop, counters, &mux_events) : NULL;
	if (vsock->mux)
		vsock_mux_set_limits(vsock->mux, parts->limits);
	vsock->tsi = vsock->mux ? make_tsi(vsock, parts) : NULL;
	vsock->stream = vsock->tsi ? vsock_stream_new(loop, counters, vsock->mux) : NULL;
	if (!vsock->stream)
		return false;
	vsock_stream_watch(vsock->stream, &vsock->vmm_events);
	vsock->vhost = vsock_vhost_new(loop, counters, vsock->mux, &vsock->vmm_events);
	if (!vsock->vhost || !make_services(vsock, loop, counters))
		return false;
	vsock_hybrid_set_limits(vsock->hybrid, parts->limits);
	return true;
}

struct vsock *vsock_new(const struct vsock_parts *parts, const struct vsock_events *events)
{
	struct vsock *vsock = calloc(1, sizeof(*vsock));

	if (!vsock)
		return NULL;
	vsock->loop = parts->loop;
	vsock->events = *events;
	vsock->session_timer.fire = on_session_timer;
	vsock->session_credit = VSOCK_SESSION_BURST;
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
	/* Nobody hears of it, and what is noted is the successor's. */
	vsock->ending = true;
	vsock->events.changed = NULL;
	vsock->events.session = NULL;
	if (vsock->mux)
		vsock_set_memory(vsock, NULL, false);
	timer_disarm(loop_wheel(vsock->loop), &vsock->session_timer);
	vsock_stream_free(vsock->stream);
	vsock_vhost_free(vsock->vhost);
	/* Connections tell the services of their end. */
	vsock_mux_free(vsock->mux);
	tsi_free(vsock->tsi);
	vsock_hybrid_free(vsock->hybrid);
	vsock_host_socket_free(vsock->host_socket);
	vsock_forwards_free(vsock->forwards);
	vsock_dials_free(vsock->dials);
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
static void change_kind(struct vsock *vsock, enum vsock_kind kind)
{
	vsock_stream_attach(vsock->stream, -1, false, 0);
	vsock_vhost_attach(vsock->vhost, -1, false, 0);
	vsock_hybrid_set(vsock->hybrid, kind == VSOCK_KIND_HYBRID);
	vsock_host_socket_reset(vsock->host_socket);
	if (kind == VSOCK_KIND_HYBRID)
		vsock_host_socket_listen(vsock->host_socket, -1);
	vsock->kind = kind;
}

int vsock_set(struct vsock *vsock, enum vsock_kind kind, int fd, bool listener, uint64_t guest_cid)
{
	bool has_fd = kind == VSOCK_KIND_STREAM || kind == VSOCK_KIND_VHOST;

	if (has_fd != (fd >= 0))
		return refused(fd, -EINVAL);
	if (has_fd && (guest_cid < VSOCK_CID_FIRST || guest_cid > VSOCK_CID_LAST))
		return refused(fd, -EDOM);
	change_kind(vsock, kind);
	vsock->guest_cid = guest_cid;
	if (!has_fd)
		return 0;
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
	return vsock_stream_is_up(vsock->stream) || vsock_vhost_is_up(vsock->vhost) ||
		vsock_hybrid_is_on(vsock->hybrid);
}

struct vsock_in_force vsock_in_force(const struct vsock *vsock)
{
	int fd = vsock_vhost_listener_fd(vsock->vhost);

	return (struct vsock_in_force){
		.kind = vsock->kind,
		.listener = fd >= 0 ? fd : vsock_stream_listener_fd(vsock->stream),
		.guest_cid = vsock->guest_cid,
	};
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

void vsock_reset_begin(struct vsock *vsock)
{
	vsock_mux_hold(vsock->mux);
	tsi_reset(vsock->tsi); /* there may be some without a guest: a restored VM's */
	vsock_hybrid_reset(vsock->hybrid);
	vsock_host_socket_reset(vsock->host_socket);
}

void vsock_reset_end(struct vsock *vsock)
{
	if (vsock->kind == VSOCK_KIND_STREAM)
		vsock_stream_reset(vsock->stream);
	else if (vsock->kind == VSOCK_KIND_VHOST)
		vsock_vhost_reset(vsock->vhost);
	vsock_mux_release(vsock->mux);
}

void vsock_busy(const struct vsock *vsock, struct busy *busy)
{
	vsock_mux_busy(vsock->mux, busy);
	busy->pending += (uint32_t)(tsi_pending(vsock->tsi) + vsock_hybrid_pending(vsock->hybrid));
	busy->live += (uint32_t)vsock_hybrid_count(vsock->hybrid);
	busy->queued += (uint32_t)(tsi_queued(vsock->tsi) + vsock_stream_queued(vsock->stream) +
		vsock_vhost_queued(vsock->vhost));
}

size_t vsock_count(const struct vsock *vsock)
{
	return vsock_mux_count(vsock->mux) + vsock_hybrid_count(vsock->hybrid);
}

struct tsi *vsock_tsi(struct vsock *vsock)
{
	return vsock->tsi;
}

size_t vsock_flows(const struct vsock *vsock, uint32_t *cursor, struct flow_info *out, size_t max)
{
	return vsock_mux_flows(vsock->mux, cursor, out, max);
}

void vsock_env_arrived(struct vsock *vsock, const void *document, size_t len)
{
	vsock_env_answer(vsock->env, document, len);
}

void vsock_dialled(struct vsock *vsock, unsigned question, int fd, bool tcp)
{
	vsock_dials_answer(vsock->dials, question, fd, tcp);
}

/* ---- listeners ---- */

int vsock_listen(struct vsock *vsock, const struct vsock_listener *listener, int fd)
{
	if (listener->use == VSOCK_USE_PORT)
		return vsock_hybrid_listen(vsock->hybrid, listener->port, fd);
	if (vsock->kind == VSOCK_KIND_HYBRID)
		return refused(fd, -ENOTSUP);
	return vsock_host_socket_listen(vsock->host_socket, fd);
}

int vsock_unlisten(struct vsock *vsock, const struct vsock_listener *listener)
{
	if (listener->use == VSOCK_USE_PORT)
		return vsock_hybrid_unlisten(vsock->hybrid, listener->port);
	if (vsock_host_socket_fd(vsock->host_socket) < 0)
		return -ENOENT;
	return vsock_host_socket_listen(vsock->host_socket, -1);
}

size_t vsock_listener_count(const struct vsock *vsock)
{
	return vsock_hybrid_port_count(vsock->hybrid) +
		(vsock_host_socket_fd(vsock->host_socket) >= 0);
}

bool vsock_listener_at(const struct vsock *vsock, size_t index, struct vsock_listener *out, int *fd)
{
	int host = vsock_host_socket_fd(vsock->host_socket);

	if (host >= 0 && index == 0) {
		*out = (struct vsock_listener){.use = VSOCK_USE_HOST};
		*fd = host;
		return true;
	}
	out->use = VSOCK_USE_PORT;
	return vsock_hybrid_port_at(vsock->hybrid, index - (host >= 0), &out->port, fd);
}

void vsock_close_listeners(struct vsock *vsock)
{
	vsock_stream_stop_listening(vsock->stream);
	vsock_vhost_stop_listening(vsock->vhost);
	vsock_host_socket_listen(vsock->host_socket, -1);
	vsock_hybrid_unlisten_all(vsock->hybrid);
	vsock_forwards_clear(vsock->forwards);
}

void vsock_shutdown(struct vsock *vsock)
{
	vsock_close_listeners(vsock);
	vsock_hybrid_reset(vsock->hybrid);
	vsock_mux_shutdown(vsock->mux);
}

/* ---- from the host ---- */

struct vsock_forwards *vsock_forwards(const struct vsock *vsock)
{
	return vsock->forwards;
}

int vsock_connect(struct vsock *vsock, const struct vsock_target *target,
	const struct vsock_host *host, const struct endpoint *client,
	const struct vsock_conn_events *events)
{
	return vsock_open(&vsock->ways, target, host, client, events);
}
