/* SPDX-License-Identifier: MIT */
/*
 * A worker's vhost-user session: what it tells of it, and what its successor is given. See
 * worker_client.h. The numbers are passed on unread; how many there are, and how many fds belong to
 * them, is checked.
 */
#include "ctl/worker_client_internal.h"

#include <string.h>
#include <unistd.h>

/* How many fds such a session has. */
static size_t fds_of(const struct worker_vhost_session *s)
{
	size_t n = 1 + s->n_regions;

	for (size_t i = 0; i < s->n_queues; i++)
		n += (size_t)s->queues[i].has_kick + (size_t)s->queues[i].has_call;
	return n;
}

static void read_region(const Netdp__VhostRegion *msg, struct worker_vhost_region *out)
{
	*out = (struct worker_vhost_region){msg->guest, msg->size, msg->user, msg->offset};
}

static void read_queue(const Netdp__VhostQueue *msg, struct worker_vhost_queue *out)
{
	*out = (struct worker_vhost_queue){
		.size = msg->size,
		.desc = msg->desc,
		.avail = msg->avail,
		.used = msg->used,
		.next_avail = msg->next_avail,
		.enabled = msg->enabled,
		.has_addr = msg->has_addr,
		.has_kick = msg->has_kick,
		.has_call = msg->has_call,
	};
}

static bool read_session(
	const Netdp__VhostSession *msg, size_t n_fds, struct worker_vhost_session *out)
{
	memset(out, 0, sizeof(*out));
	if (msg->n_regions > WORKER_VHOST_REGIONS_MAX || msg->n_queues > WORKER_VHOST_QUEUES_MAX)
		return false;
	out->features = msg->features;
	out->protocol_features = msg->protocol_features;
	out->status = msg->status;
	out->cid = msg->cid;
	out->n_regions = msg->n_regions;
	out->n_queues = msg->n_queues;
	for (size_t i = 0; i < msg->n_regions; i++)
		read_region(msg->regions[i], &out->regions[i]);
	for (size_t i = 0; i < msg->n_queues; i++)
		read_queue(msg->queues[i], &out->queues[i]);
	if (n_fds == 0) /* there is none any more */
		return msg->n_regions == 0 && msg->n_queues == 0;
	return fds_of(out) == n_fds;
}

bool worker_client_vhost_session(
	struct worker_client *client, const Netdp__VhostSession *msg, int *fds, size_t n_fds)
{
	struct worker_vhost_session session;

	if (!read_session(msg, n_fds, &session))
		return false;
	session.n_fds = n_fds;
	for (size_t i = 0; i < n_fds; i++) {
		session.fds[i] = fds[i];
		fds[i] = -1;
	}
	if (client->events->vhost_session)
		client->events->vhost_session(client->events_arg, &session);
	for (size_t i = 0; i < session.n_fds; i++)
		close(session.fds[i]);
	return true;
}

static void put_region(const struct worker_vhost_region *region, Netdp__VhostRegion *msg)
{
	netdp__vhost_region__init(msg);
	msg->guest = region->guest;
	msg->size = region->size;
	msg->user = region->user;
	msg->offset = region->offset;
}

static void put_queue(const struct worker_vhost_queue *queue, Netdp__VhostQueue *msg)
{
	netdp__vhost_queue__init(msg);
	msg->size = queue->size;
	msg->desc = queue->desc;
	msg->avail = queue->avail;
	msg->used = queue->used;
	msg->next_avail = queue->next_avail;
	msg->enabled = queue->enabled;
	msg->has_addr = queue->has_addr;
	msg->has_kick = queue->has_kick;
	msg->has_call = queue->has_call;
}

void worker_client_vhost_resume(struct worker_client *client,
	const struct worker_vhost_session *session, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VhostResume resume = NETDP__VHOST_RESUME__INIT;
	Netdp__VhostSession msg = NETDP__VHOST_SESSION__INIT;
	Netdp__VhostRegion regions[WORKER_VHOST_REGIONS_MAX],
		*region_list[WORKER_VHOST_REGIONS_MAX];
	Netdp__VhostQueue queues[WORKER_VHOST_QUEUES_MAX], *queue_list[WORKER_VHOST_QUEUES_MAX];

	for (size_t i = 0; i < session->n_regions; i++) {
		put_region(&session->regions[i], &regions[i]);
		region_list[i] = &regions[i];
	}
	for (size_t i = 0; i < session->n_queues; i++) {
		put_queue(&session->queues[i], &queues[i]);
		queue_list[i] = &queues[i];
	}
	msg.features = session->features;
	msg.protocol_features = session->protocol_features;
	msg.status = session->status;
	msg.cid = session->cid;
	msg.n_regions = session->n_regions;
	msg.regions = region_list;
	msg.n_queues = session->n_queues;
	msg.queues = queue_list;
	resume.session = &msg;
	env.body_case = NETDP__ENVELOPE__BODY_VHOST_RESUME;
	env.vhost_resume = &resume;
	worker_client_call_plain(
		client, &env, session->fds, session->n_fds, WORKER_CLIENT_DEADLINE_MS, done, arg);
}
