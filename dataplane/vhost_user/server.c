/* SPDX-License-Identifier: MIT */
/* The vhost-user server: connections, the session's begin and end. See server.h. */
#include "dataplane/vhost_user/server_internal.h"

#include "common/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES 64 /* a turn */
#define ACCEPT_PAUSE_MS 100

/* ---- the session's end ---- */

static void session_clear(struct vhost_user *s)
{
	for (unsigned i = 0; i < s->device->queues; i++)
		vhost_queue_reset(&s->queue[i]);
	guest_memory_clear(&s->memory);
	vhost_user_reader_clear(&s->reader);
	s->features = s->protocol_features = s->status = 0;
	s->changed = false;
	loop_cancel(s->loop, &s->end_task);
	s->failed = false;
	if (s->readable)
		event_free(s->readable);
	s->readable = NULL;
	close(s->fd);
	s->fd = -1;
}

static void session_end(struct vhost_user *s)
{
	if (s->fd < 0)
		return;
	session_clear(s);
	s->device->changed(s->arg, false, s->why);
}

void vhost_user_end(struct vhost_user *s, const char *why)
{
	if (s->fd >= 0 && !s->failed)
		snprintf(s->why, sizeof(s->why), "%s", why);
	session_end(s);
}

static void end_task(struct task *task)
{
	session_end((struct vhost_user *)((char *)task - offsetof(struct vhost_user, end_task)));
}

void vhost_user_fail(struct vhost_user *s, const char *why)
{
	if (s->fd < 0 || s->failed)
		return;
	s->failed = true;
	snprintf(s->why, sizeof(s->why), "%s", why);
	loop_defer(s->loop, &s->end_task);
}

/* ---- during a session ---- */

static void flush_hook(struct loop_hook *hook)
{
	struct vhost_user *s =
		(struct vhost_user *)((char *)hook - offsetof(struct vhost_user, flush_hook));

	if (s->fd < 0)
		return;
	for (unsigned i = 0; i < s->device->queues; i++)
		vhost_queue_end_pass(&s->queue[i]);
	if (guest_memory_faulted(&s->memory))
		vhost_user_fail(s, "guest memory was cut short");
	if (s->changed && !s->failed && s->device->session)
		s->device->session(s->arg);
	s->changed = false;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct vhost_user *s = arg;
	const char *why = "";

	(void)what;
	for (int i = 0; i < MESSAGES && !s->failed; i++) {
		int got = vhost_user_read(&s->reader, fd, &why);

		if (got == 0)
			return;
		if (got > 0) {
			got = vhost_user_request(s, &why);
			vhost_user_reader_clear(&s->reader);
		}
		if (got < 0) {
			/* It must not be read again before the session ends. */
			event_del(s->readable);
			vhost_user_fail(s, why);
			return;
		}
	}
}

int vhost_user_begin(struct vhost_user *s, int fd)
{
	int err = os_set_nonblock(fd, true);

	if (err < 0) {
		close(fd);
		return err;
	}
	s->readable = event_new(loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_readable, s);
	if (!s->readable || event_priority_set(s->readable, LOOP_CONTROL) < 0 ||
		event_add(s->readable, NULL) < 0) {
		if (s->readable)
			event_free(s->readable);
		s->readable = NULL;
		close(fd);
		return -ENOMEM;
	}
	s->fd = fd;
	s->changed = true;
	s->device->changed(s->arg, true, "");
	return 0;
}

/* ---- accepting ---- */

static void accept_resume(struct timer *timer)
{
	struct vhost_user *s =
		(struct vhost_user *)((char *)timer - offsetof(struct vhost_user, accept_timer));

	event_add(s->acceptable, NULL);
}

static void on_acceptable(evutil_socket_t listener, short what, void *arg)
{
	struct vhost_user *s = arg;
	int fd = os_accept(listener, NULL, NULL);

	(void)what;
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
		event_del(s->acceptable);
		timer_arm(loop_wheel(s->loop), &s->accept_timer, ACCEPT_PAUSE_MS);
		return;
	}
	if (fd < 0)
		return;
	/* The one we have may be gone already without our having read its end. */
	if (s->fd >= 0 && !s->failed)
		on_readable(s->fd, EV_READ, s);
	if (s->failed)
		session_end(s);
	if (s->fd >= 0) {
		close(fd);
		s->device->refused(s->arg);
		return;
	}
	vhost_user_begin(s, fd);
}

void vhost_user_stop_listening(struct vhost_user *s)
{
	timer_disarm(loop_wheel(s->loop), &s->accept_timer);
	if (s->acceptable)
		event_free(s->acceptable);
	s->acceptable = NULL;
	if (s->listener >= 0)
		close(s->listener);
	s->listener = -1;
}

static int listen_on(struct vhost_user *s, int fd)
{
	s->listener = fd;
	s->acceptable = event_new(loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_acceptable, s);
	if (os_set_nonblock(fd, true) < 0 || !s->acceptable ||
		event_priority_set(s->acceptable, LOOP_CONTROL) < 0 ||
		event_add(s->acceptable, NULL) < 0) {
		vhost_user_stop_listening(s);
		return -ENOMEM;
	}
	return 0;
}

bool vhost_user_is_stream(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

int vhost_user_attach(struct vhost_user *s, int fd, bool listener)
{
	vhost_user_stop_listening(s);
	vhost_user_end(s, "detached");
	if (fd < 0)
		return 0;
	if (!vhost_user_is_stream(fd)) {
		close(fd);
		return -EINVAL;
	}
	return listener ? listen_on(s, fd) : vhost_user_begin(s, fd);
}

int vhost_user_listener_fd(const struct vhost_user *s)
{
	return s->listener;
}

int vhost_user_connected_fd(const struct vhost_user *s)
{
	return s->fd;
}

/* ---- what the device's code uses ---- */

uint64_t vhost_user_features(const struct vhost_user *s)
{
	return s->features;
}

struct virtq *vhost_user_queue(struct vhost_user *s, unsigned queue)
{
	struct vhost_queue *q = &s->queue[queue];

	return q->running && !s->failed && !q->ring.broken ? &q->ring : NULL;
}

void vhost_user_want(struct vhost_user *s, unsigned queue, uint16_t n)
{
	struct vhost_queue *q = &s->queue[queue];

	if (q->running && virtq_await(&q->ring, n))
		loop_defer(s->loop, &q->turn);
}

struct vhost_user *vhost_user_new(struct loop *loop, const struct vhost_device *device, void *arg)
{
	struct vhost_user *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->queue = calloc(device->queues, sizeof(*s->queue));
	if (!s->queue) {
		free(s);
		return NULL;
	}
	s->loop = loop;
	s->device = device;
	s->arg = arg;
	s->fd = s->listener = -1;
	s->accept_timer.fire = accept_resume;
	s->end_task.run = end_task;
	s->flush_hook.run = flush_hook;
	for (unsigned i = 0; i < device->queues; i++)
		vhost_queue_init(&s->queue[i], s, i);
	loop_add_hook(loop, &s->flush_hook);
	return s;
}

void vhost_user_free(struct vhost_user *s)
{
	if (!s)
		return;
	loop_remove_hook(s->loop, &s->flush_hook);
	vhost_user_stop_listening(s);
	if (s->fd >= 0)
		session_clear(s);
	free(s->queue);
	free(s);
}
