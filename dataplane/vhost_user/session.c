/* SPDX-License-Identifier: MIT */
/*
 * A session given to whoever keeps it, and taken up again by another process. See server.h.
 *
 * What comes back has been in other hands, maybe of a captured worker: it is checked as if the
 * front-end had said it, by the same means.
 */
#include "dataplane/vhost_user/server_internal.h"

#include <errno.h>
#include <unistd.h>

bool vhost_user_session(const struct vhost_user *s, struct vhost_session *out)
{
	if (s->fd < 0 || s->failed)
		return false;
	*out = (struct vhost_session){
		.fd = s->fd,
		.features = s->features,
		.protocol_features = s->protocol_features,
		.status = s->status,
		.n_regions = s->memory.count,
		.n_queues = s->device->queues,
	};
	for (unsigned i = 0; i < s->memory.count; i++) {
		out->range[i] = s->memory.region[i].range;
		out->region_fd[i] = s->memory.region[i].fd;
	}
	for (unsigned i = 0; i < s->device->queues; i++) {
		const struct vhost_queue *q = &s->queue[i];

		out->queue[i] = (struct vhost_session_queue){
			.config = q->config,
			.have_addr = q->have_addr,
			.enabled = q->enabled,
			.kick = q->kick,
			.call = q->call,
		};
	}
	return true;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void close_regions(const struct vhost_session *session, unsigned from)
{
	for (unsigned i = from; i < session->n_regions; i++)
		close_fd(session->region_fd[i]);
}

static void close_queues(const struct vhost_session *session, unsigned from)
{
	for (unsigned i = from; i < session->n_queues; i++) {
		close_fd(session->queue[i].kick);
		close_fd(session->queue[i].call);
	}
}

void vhost_session_close(const struct vhost_session *session)
{
	close_fd(session->fd);
	close_regions(session, 0);
	close_queues(session, 0);
}

static bool queue_may_be(const struct vhost_session_queue *q)
{
	uint32_t size = q->config.size;

	return size <= VIRTQ_SIZE_MAX && (size & (size - 1)) == 0;
}

static bool may_be(const struct vhost_user *s, const struct vhost_session *session)
{
	if (session->n_regions > GUEST_REGIONS_MAX || session->n_queues != s->device->queues ||
		session->features & ~vhost_user_offered(s) ||
		session->protocol_features & ~vhost_user_protocol_offered() ||
		session->status > UINT8_MAX || !vhost_user_is_stream(session->fd))
		return false;
	for (unsigned i = 0; i < session->n_queues; i++) {
		if (!queue_may_be(&session->queue[i]))
			return false;
	}
	return true;
}

/* Takes the regions' fds in any case. */
static int resume_memory(struct vhost_user *s, const struct vhost_session *session)
{
	for (unsigned i = 0; i < session->n_regions; i++) {
		int err = guest_memory_add(&s->memory, &session->range[i], session->region_fd[i]);

		if (err < 0) {
			close_regions(session, i + 1);
			return err;
		}
	}
	return 0;
}

/* Takes the queues' fds in any case. */
static int resume_queues(struct vhost_user *s, const struct vhost_session *session)
{
	int err = 0;

	for (unsigned i = 0; i < session->n_queues; i++) {
		const struct vhost_session_queue *from = &session->queue[i];
		struct vhost_queue *q = &s->queue[i];
		int rc;

		q->config = from->config;
		q->have_addr = from->have_addr;
		q->enabled = from->enabled;
		/* Only where it ran; else its front-end has said, or will say, where it begins. */
		q->resume = from->have_addr && from->enabled && from->kick >= 0;
		vhost_queue_set_kick(q, from->kick);
		vhost_queue_set_call(q, from->call);
		rc = err < 0 ? 0 : vhost_queue_update(q);
		err = rc < 0 ? rc : err;
	}
	return err;
}

int vhost_user_resume(struct vhost_user *s, const struct vhost_session *session)
{
	int err;

	if (!may_be(s, session)) {
		vhost_session_close(session);
		return -EINVAL;
	}
	vhost_user_end(s, "another session goes on");
	err = vhost_user_begin(s, session->fd);
	if (err < 0) {
		close_regions(session, 0);
		close_queues(session, 0);
		return err;
	}
	s->features = session->features;
	s->protocol_features = session->protocol_features;
	s->status = session->status;
	err = resume_memory(s, session);
	if (err < 0)
		close_queues(session, 0);
	else
		err = resume_queues(s, session);
	if (err < 0)
		vhost_user_end(s, "the session cannot go on");
	return err;
}
