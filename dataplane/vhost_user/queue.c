/* SPDX-License-Identifier: MIT */
/*
 * A ring's life within a session: started and stopped as the front-end sets it, kicked by the
 * guest, given turns by the loop, flushed at the end of each pass.
 *
 * kick and call are eventfds, but nothing here depends on that: a kick is anything readable, a call
 * is 8 bytes.
 */
#include "dataplane/vhost_user/server_internal.h"

#include "common/os.h"

#include <errno.h>
#include <unistd.h>

/* For so long a guest may be without chains that it does not wait for. An interrupt costs it more
 * than such a chain is worth. */
#define IDLE_MS 4

static void queue_turn(struct task *task)
{
	struct vhost_queue *q =
		(struct vhost_queue *)((char *)task - offsetof(struct vhost_queue, turn));
	struct vhost_user *server = q->owner;
	enum vhost_turn how;

	if (!q->running || server->failed || q->ring.broken)
		return;
	virtq_no_kicks(&q->ring);
	how = server->device->turn(server->arg, q->index, &q->ring);
	if (how == VHOST_AGAIN || (how == VHOST_EMPTY && virtq_await(&q->ring, 0)))
		loop_defer(server->loop, &q->turn);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct vhost_queue *q = arg;
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	(void)what;
	/* Nothing will come from it any more, and it would be ready forever. */
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		event_del(q->kicked);
	loop_defer(q->owner->loop, &q->turn);
}

static void interrupt(const struct vhost_queue *q)
{
	uint64_t one = 1;

	/* Where there is no room for it an earlier one was not taken yet, and serves as well. */
	if (q->call >= 0 && write(q->call, &one, sizeof(one)) < 0)
		return;
}

static void idle_over(struct timer *timer)
{
	vhost_queue_flush(
		(struct vhost_queue *)((char *)timer - offsetof(struct vhost_queue, idle)));
}

void vhost_queue_init(struct vhost_queue *q, struct vhost_user *owner, unsigned index)
{
	q->owner = owner;
	q->index = index;
	q->kick = q->call = -1;
	q->turn.run = queue_turn;
	q->idle.fire = idle_over;
}

static int start(struct vhost_queue *q)
{
	struct vhost_user *server = q->owner;
	int err;

	q->config.features = server->features;
	err = q->resume ? virtq_resume(&q->ring, &server->memory, &q->config)
			: virtq_start(&q->ring, &server->memory, &q->config);
	if (err < 0)
		return err;
	q->kicked = event_new(loop_base(server->loop), q->kick, EV_READ | EV_PERSIST, on_kick, q);
	if (!q->kicked)
		return -ENOMEM;
	event_priority_set(q->kicked, LOOP_DATA);
	if (event_add(q->kicked, NULL) < 0) {
		event_free(q->kicked);
		q->kicked = NULL;
		return -EINVAL;
	}
	q->running = true;
	q->resume = false;
	if (server->device->started)
		server->device->started(server->arg, q->index, &q->ring);
	/* Kicks and calls may have been lost on the way from one back-end to the next. */
	loop_defer(server->loop, &q->turn);
	interrupt(q);
	return 0;
}

void vhost_queue_stop(struct vhost_queue *q)
{
	struct vhost_user *server = q->owner;

	if (!q->running)
		return;
	server->device->stopped(server->arg, q->index, &q->ring);
	vhost_queue_flush(q);
	q->running = false;
	loop_cancel(server->loop, &q->turn);
	event_free(q->kicked);
	q->kicked = NULL;
	q->config.next_avail = q->ring.next_avail;
}

int vhost_queue_update(struct vhost_queue *q)
{
	bool wanted = q->have_addr && q->kick >= 0 && q->enabled;

	if (wanted && !q->running)
		return start(q);
	if (!wanted)
		vhost_queue_stop(q);
	return 0;
}

void vhost_queue_set_kick(struct vhost_queue *q, int fd)
{
	vhost_queue_stop(q);
	if (q->kick >= 0)
		close(q->kick);
	q->kick = fd;
	if (fd >= 0)
		os_set_nonblock(fd, true);
}

void vhost_queue_set_call(struct vhost_queue *q, int fd)
{
	if (q->call >= 0)
		close(q->call);
	q->call = fd;
	if (fd >= 0)
		os_set_nonblock(fd, true);
	/* One to the former fd may have been lost. */
	if (q->running)
		interrupt(q);
}

void vhost_queue_reset(struct vhost_queue *q)
{
	vhost_queue_stop(q);
	vhost_queue_set_kick(q, -1);
	vhost_queue_set_call(q, -1);
	q->config = (struct virtq_config){0};
	q->have_addr = q->enabled = q->resume = false;
}

void vhost_queue_flush(struct vhost_queue *q)
{
	timer_disarm(loop_wheel(q->owner->loop), &q->idle);
	if (q->running && virtq_publish(&q->ring))
		interrupt(q);
}

void vhost_queue_end_pass(struct vhost_queue *q)
{
	if (!q->running || !virtq_pushed(&q->ring))
		return;
	if (!virtq_may_wait(&q->ring))
		vhost_queue_flush(q);
	else if (!timer_armed(&q->idle))
		timer_arm(loop_wheel(q->owner->loop), &q->idle, IDLE_MS);
}
