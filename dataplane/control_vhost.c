/* SPDX-License-Identifier: MIT */
/*
 * The VMM's connection to the vsock, as netctld hears of it, and the vhost-user session that it
 * keeps for a successor.
 *
 * A session goes out whole, with duplicates of all its fds, each time something of it has changed,
 * and to each new netctld; one without an fd says that there is none any more. What comes back is as
 * trustworthy as whoever sent it to netctld: a former worker of this VM.
 */
#include "dataplane/control_internal.h"
#include "dataplane/vhost_user/server.h"
#include "proto/wire.h"

#include <errno.h>
#include <string.h>

/* A connection, its regions, two for each of three queues. */
#define QUEUES_TOLD 3
_Static_assert(1 + GUEST_REGIONS_MAX + 2 * QUEUES_TOLD <= FRAME_FDS_MAX, "a session is one frame");

/* ---- events ---- */

void control_vsock_changed(void *arg, enum vsock_kind kind, bool up, const char *text, bool refused)
{
	struct control_event event = {
		.vsock = true, .vsock_kind = kind, .up = up, .refused = refused};

	wire_get_remark(text ? text : "", event.text, sizeof(event.text));
	control_event(arg, &event);
}

void control_vsock_put(
	const struct control_event *event, Netdp__VsockChanged *msg, Netdp__Envelope *env)
{
	netdp__vsock_changed__init(msg);
	msg->up = event->up;
	msg->kind = (Netdp__VsockKind)event->vsock_kind;
	msg->text = wire_put_text(event->text);
	msg->refused = event->refused;
	env->body_case = NETDP__ENVELOPE__BODY_VSOCK_CHANGED;
	env->vsock_changed = msg;
}

struct session_msg {
	Netdp__VhostSession msg;
	Netdp__VhostRegion regions[GUEST_REGIONS_MAX], *region_list[GUEST_REGIONS_MAX];
	Netdp__VhostQueue queues[QUEUES_TOLD], *queue_list[QUEUES_TOLD];
	int fds[FRAME_FDS_MAX];
	size_t n_fds;
};

static void put_region(const struct vhost_session *session, unsigned i, struct session_msg *out)
{
	Netdp__VhostRegion *msg = out->region_list[i] = &out->regions[i];

	netdp__vhost_region__init(msg);
	msg->guest = session->range[i].guest;
	msg->size = session->range[i].size;
	msg->user = session->range[i].user;
	msg->offset = session->range[i].offset;
	out->fds[out->n_fds++] = session->region_fd[i];
}

static bool put_fd(struct session_msg *out, int fd)
{
	if (fd >= 0)
		out->fds[out->n_fds++] = fd;
	return fd >= 0;
}

static void put_queue(const struct vhost_session *session, unsigned i, struct session_msg *out)
{
	const struct vhost_session_queue *queue = &session->queue[i];
	Netdp__VhostQueue *msg = out->queue_list[i] = &out->queues[i];

	netdp__vhost_queue__init(msg);
	msg->size = queue->config.size;
	msg->desc = queue->config.desc_user;
	msg->avail = queue->config.avail_user;
	msg->used = queue->config.used_user;
	msg->next_avail = queue->config.next_avail;
	msg->enabled = queue->enabled;
	msg->has_addr = queue->have_addr;
	msg->has_kick = put_fd(out, queue->kick);
	msg->has_call = put_fd(out, queue->call);
}

static void put_session(const struct vhost_session *session, struct session_msg *out)
{
	out->msg.features = session->features;
	out->msg.protocol_features = session->protocol_features;
	out->msg.status = session->status;
	put_fd(out, session->fd);
	for (unsigned i = 0; i < session->n_regions; i++)
		put_region(session, i, out);
	for (unsigned i = 0; i < session->n_queues && i < QUEUES_TOLD; i++)
		put_queue(session, i, out);
	out->msg.n_regions = session->n_regions;
	out->msg.regions = out->region_list;
	out->msg.n_queues = session->n_queues;
	out->msg.queues = out->queue_list;
}

void control_vsock_session(void *arg)
{
	struct control *control = arg;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	struct session_msg out;
	struct vhost_session session;

	if (!control_can_send(control))
		return; /* the next netctld is told */
	memset(&out, 0, sizeof(out));
	netdp__vhost_session__init(&out.msg);
	if (vsock_session(worker_vsock(control->worker), &session, &out.msg.cid))
		put_session(&session, &out);
	env.body_case = NETDP__ENVELOPE__BODY_VHOST_SESSION;
	env.vhost_session = &out.msg;
	if (rpc_event(control->rpc, &env, out.fds, out.n_fds) < 0)
		control_count_dropped(control);
}

/* ---- a dead worker's ---- */

/* Takes the next of the message's fds. -1: there is none. */
static int next_fd(const struct request *r, size_t *used)
{
	int fd = *used < r->n_fds ? r->fds[*used] : -1;

	if (fd >= 0)
		r->fds[(*used)++] = -1;
	return fd;
}

static bool read_queue(const Netdp__VhostQueue *msg, struct vhost_session_queue *out)
{
	if (msg->size > VIRTQ_SIZE_MAX || msg->next_avail > UINT16_MAX)
		return false;
	*out = (struct vhost_session_queue){
		.config =
			{
				.size = msg->size,
				.desc_user = msg->desc,
				.avail_user = msg->avail,
				.used_user = msg->used,
				.next_avail = (uint16_t)msg->next_avail,
			},
		.have_addr = msg->has_addr,
		.enabled = msg->enabled,
		.kick = -1,
		.call = -1,
	};
	return true;
}

/* All but the fds; how many there have to be, or 0 where it is malformed. */
static size_t read_session(const Netdp__VhostSession *msg, struct vhost_session *out)
{
	size_t fds = 1;

	if (!msg || msg->n_regions > GUEST_REGIONS_MAX || msg->n_queues > QUEUES_TOLD)
		return 0;
	out->features = msg->features;
	out->protocol_features = msg->protocol_features;
	out->status = msg->status;
	out->n_regions = (unsigned)msg->n_regions;
	out->n_queues = (unsigned)msg->n_queues;
	for (size_t i = 0; i < msg->n_regions; i++) {
		const Netdp__VhostRegion *region = msg->regions[i];

		out->range[i] = (struct guest_range){
			region->guest, region->size, region->user, region->offset};
		fds++;
	}
	for (size_t i = 0; i < msg->n_queues; i++) {
		if (!read_queue(msg->queues[i], &out->queue[i]))
			return 0;
		fds += (size_t)msg->queues[i]->has_kick + (size_t)msg->queues[i]->has_call;
	}
	return fds;
}

void control_vhost_resume(const struct request *r)
{
	const Netdp__VhostSession *msg = r->env->vhost_resume->session;
	struct vhost_session session = {.fd = -1};
	struct error err = {0};
	size_t used = 0, wanted = read_session(msg, &session);

	if (!wanted || wanted != r->n_fds) {
		request_refuse(r, -EINVAL, "vhost: malformed");
		return;
	}
	session.fd = next_fd(r, &used);
	for (unsigned i = 0; i < session.n_regions; i++)
		session.region_fd[i] = next_fd(r, &used);
	for (unsigned i = 0; i < session.n_queues; i++) {
		if (msg->queues[i]->has_kick)
			session.queue[i].kick = next_fd(r, &used);
		if (msg->queues[i]->has_call)
			session.queue[i].call = next_fd(r, &used);
	}
	request_answer(r, worker_vsock_resume(r->worker, &session, &err), &err);
}
