/* SPDX-License-Identifier: MIT */
/*
 * Links: attaching, the transmit queue, coming and going. See link.h; the kinds are in stream.c,
 * dgram.c and tap_*.c.
 */
#include "dataplane/link/link_internal.h"

#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Written out at once beyond this, while still in the processor's cache. */
#define FLUSH_BYTES (32u << 10)
#define ACCEPT_PAUSE_MS 100
#define DISCARD_MAX (8u << 20) /* more than kernels keep for us */

static void stop_io(struct link *link);

/* ---- the transmit queue ---- */

static void queue_clear(struct link *link)
{
	while (link->first && link->first->next) {
		struct chunk *chunk = link->first;

		link->first = chunk->next;
		free(chunk);
	}
	link->last = link->first;
	if (link->first)
		link->first->head = link->first->tail = 0;
	link->queued_frames = link->queued_bytes = link->head_left = 0;
	link->pad = (struct flow_memory_tx){0};
	link->reserved = NULL;
	link->blocked = false;
}

static struct chunk *chunk_add(struct link *link)
{
	struct chunk *chunk = malloc(sizeof(*chunk));

	if (!chunk)
		return NULL;
	chunk->next = NULL;
	chunk->head = chunk->tail = 0;
	if (link->last)
		link->last->next = chunk;
	else
		link->first = chunk;
	link->last = chunk;
	return chunk;
}

uint8_t *link_reserve(struct link *link, size_t max)
{
	size_t need = LINK_RECORD_HLEN + link->header_len + max;
	struct chunk *chunk = link->last;

	link->reserved = NULL;
	if (!link->up) {
		counter_inc(link->counters, COUNTER_DROP_LINK_DOWN);
		return NULL;
	}
	if (max > link->caps.max_frame) {
		counter_inc(link->counters, COUNTER_DROP_FRAME_LENGTH);
		return NULL;
	}
	if (link->queued_frames >= LINK_QUEUE_FRAMES ||
		link->queued_bytes + need > LINK_QUEUE_BYTES) {
		counter_inc(link->counters, COUNTER_DROP_QUEUE_FULL);
		return NULL;
	}
	if (!chunk || chunk->tail + need > sizeof(chunk->data))
		chunk = chunk_add(link);
	if (!chunk)
		return NULL;
	link->reserved = chunk->data + chunk->tail;
	return link->reserved + LINK_RECORD_HLEN + link->header_len;
}

static void flush(struct link *link)
{
	int err;

	if ((!link->queued_frames && !link->pad.left) || link->blocked)
		return;
	err = link->ops->drain(link);
	if (err == 0)
		return;
	/* Who commits a frame must not see its flows ended from within: a loss waits for the hook. */
	link->blocked = true;
	if (err == -EAGAIN)
		event_add(link->writable, NULL);
	else
		link->broken = -err;
}

void link_commit(struct link *link, size_t len, const struct link_meta *meta)
{
	static const struct link_meta plain;
	size_t body = link->header_len + len;

	if (!link->reserved)
		return;
	store_be32(link->reserved, (uint32_t)body);
	if (link->header_len)
		link->ops->fill_header(link->reserved + LINK_RECORD_HLEN, meta ? meta : &plain);
	if (link->watch)
		link->watch(link->watch_arg, true,
			link->reserved + LINK_RECORD_HLEN + link->header_len, len);
	link->reserved = NULL;
	link->last->tail += LINK_RECORD_HLEN + body;
	link->queued_frames++;
	link->queued_bytes += LINK_RECORD_HLEN + body;
	counter_inc(link->counters, COUNTER_LINK_TX_FRAMES);
	counter_add(link->counters, COUNTER_LINK_TX_BYTES, len);
	loop_moved(link->loop, len);
	if (link->queued_bytes >= FLUSH_BYTES)
		flush(link);
}

static void chunk_done(struct link *link)
{
	struct chunk *chunk = link->first;

	if (chunk->next) {
		link->first = chunk->next;
		free(chunk);
	} else {
		chunk->head = chunk->tail = 0;
	}
}

void link_written(struct link *link, size_t len)
{
	link->queued_bytes -= len;
	while (len) {
		struct chunk *chunk = link->first;
		size_t take;

		if (!link->head_left) {
			link->head_size = LINK_RECORD_HLEN + load_be32(chunk->data + chunk->head);
			link->head_left = link->head_size;
		}
		take = len < link->head_left ? len : link->head_left;
		len -= take;
		chunk->head += take;
		link->head_left -= take;
		if (link->head_left)
			return;
		link->queued_frames--;
		if (chunk->head == chunk->tail)
			chunk_done(link);
	}
}

size_t link_room(struct link *link)
{
	if (link->up && !link->blocked && link->queued_bytes < LINK_CHUNK)
		return LINK_CHUNK - link->queued_bytes;
	link->room_asked = true;
	return 0;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct link *link = arg;

	(void)fd;
	(void)what;
	link->blocked = false;
	flush(link);
}

static void flush_hook(struct loop_hook *hook)
{
	struct link *link = (struct link *)((char *)hook - offsetof(struct link, flush_hook));

	flush(link);
	if (link->broken)
		link_lost(link, strerror(link->broken));
	if (link->room_asked && link->up && !link->blocked) {
		link->room_asked = false;
		link->events.room(link->events.arg);
	}
}

/* ---- receiving ---- */

void link_deliver(struct link *link, const uint8_t *frame, size_t len, const struct link_meta *meta)
{
	if (len < ETH_HLEN || len > LINK_FRAME_MAX) {
		counter_inc(link->counters, COUNTER_DROP_FRAME_LENGTH);
		return;
	}
	counter_inc(link->counters, COUNTER_LINK_RX_FRAMES);
	counter_add(link->counters, COUNTER_LINK_RX_BYTES, len);
	loop_moved(link->loop, len);
	if (link->watch)
		link->watch(link->watch_arg, false, frame, len);
	link->events.frame(link->events.arg, frame, len, meta);
}

int link_rx_budget(struct link *link)
{
	uint64_t pass = loop_pass(link->loop);
	bool busy = pass - link->rx_pass <= 1;

	link->rx_pass = pass;
	return busy ? LINK_RX_FRAMES : 1;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct link *link = arg;

	(void)fd;
	(void)what;
	loop_defer(link->loop, &link->receive_task);
}

static void receive_task(struct task *task)
{
	struct link *link = (struct link *)((char *)task - offsetof(struct link, receive_task));

	if (link->up && link->ops->receive(link) && link->up)
		loop_defer(link->loop, &link->receive_task);
}

/* ---- coming and going ---- */

static int start_io(struct link *link, int fd)
{
	struct event_base *base = loop_base(link->loop);
	int err = os_set_nonblock(fd, true);

	if (!err)
		err = link->ops->start(link, fd);
	if (err < 0)
		return err;
	if (!link->rx) {
		link->rx_size = LINK_CHUNK;
		link->rx = malloc(link->rx_size);
		if (!link->rx)
			return -ENOMEM;
	}
	link->fd = fd;
	link->have = 0;
	link->skip = 0;
	link->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, link);
	link->writable = event_new(base, fd, EV_WRITE, on_writable, link);
	if (!link->readable || !link->writable || event_add(link->readable, NULL) < 0) {
		stop_io(link);
		return -ENOMEM;
	}
	event_priority_set(link->readable, LOOP_DATA);
	event_priority_set(link->writable, LOOP_DATA);
	queue_clear(link);
	link->up = true;
	counter_inc(link->counters, COUNTER_LINK_UPS);
	return 0;
}

static void free_event(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

/* Leaves the fd open, in nobody's hands. */
static void stop_io(struct link *link)
{
	link->up = false;
	loop_cancel(link->loop, &link->receive_task);
	timer_disarm(loop_wheel(link->loop), &link->probe_timer);
	free_event(&link->readable);
	free_event(&link->writable);
	queue_clear(link);
	link->fd = -1;
	link->resync = false;
	link->broken = 0;
}

void link_lost(struct link *link, const char *why)
{
	int fd = link->fd;

	if (!link->up)
		return;
	stop_io(link);
	link->events.changed(link->events.arg, false, why);
	if (link->kind == LINK_KIND_DGRAM)
		link->events.returned(link->events.arg, fd);
	else
		close(fd);
}

static void accept_resume(struct timer *timer)
{
	struct link *link = (struct link *)((char *)timer - offsetof(struct link, accept_timer));

	event_add(link->acceptable, NULL);
}

static void on_acceptable(evutil_socket_t listener, short what, void *arg)
{
	struct link *link = arg;
	int fd = os_accept(listener, NULL, NULL);

	(void)what;
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
		event_del(link->acceptable);
		timer_arm(loop_wheel(link->loop), &link->accept_timer, ACCEPT_PAUSE_MS);
		return;
	}
	if (fd < 0)
		return;
	/* The one we have may be gone already without our having read its end. */
	if (link->up && link->ops->receive(link))
		loop_defer(link->loop, &link->receive_task);
	if (link->up) {
		close(fd);
		counter_inc(link->counters, COUNTER_LINK_REFUSED);
		link->events.refused(link->events.arg);
		return;
	}
	if (start_io(link, fd) < 0)
		close(fd);
	else
		link->events.changed(link->events.arg, true, "");
}

static int start_listener(struct link *link, int fd)
{
	int err = os_set_nonblock(fd, true);

	if (err < 0)
		return err;
	link->acceptable = event_new(
		loop_base(link->loop), fd, EV_READ | EV_PERSIST, on_acceptable, link);
	if (!link->acceptable || event_add(link->acceptable, NULL) < 0) {
		free_event(&link->acceptable);
		return -ENOMEM;
	}
	event_priority_set(link->acceptable, LOOP_DATA);
	link->listener = fd;
	return 0;
}

static void detach(struct link *link)
{
	bool was_up = link->up;
	int fd = link->fd;

	stop_io(link);
	if (fd >= 0)
		close(fd);
	timer_disarm(loop_wheel(link->loop), &link->accept_timer);
	free_event(&link->acceptable);
	if (link->listener >= 0)
		close(link->listener);
	link->listener = -1;
	link->kind = LINK_KIND_NONE;
	link->ops = NULL;
	if (was_up)
		link->events.changed(link->events.arg, false, "detached");
}

static const struct link_ops *ops_of(enum link_kind kind)
{
	switch (kind) {
	case LINK_KIND_STREAM:
		return &link_stream_ops;
	case LINK_KIND_DGRAM:
		return &link_dgram_ops;
	case LINK_KIND_TAP:
		return &link_tap_ops;
	case LINK_KIND_NONE:
		break;
	}
	return NULL;
}

int link_attach(struct link *link, enum link_kind kind, int fd, bool listener)
{
	const struct link_ops *ops = ops_of(kind);
	int err;

	/* A stream link may get its listener and, from a dead worker, the connection: keep the other. */
	if (!(kind == LINK_KIND_STREAM && link->kind == LINK_KIND_STREAM &&
		    (listener ? link->listener < 0 : link->fd < 0)))
		detach(link);
	if (!ops) {
		if (fd >= 0)
			close(fd);
		return kind == LINK_KIND_NONE ? 0 : -EINVAL;
	}
	link->kind = kind;
	link->ops = ops;
	if (listener && kind != LINK_KIND_STREAM)
		err = -EINVAL;
	else
		err = listener ? start_listener(link, fd) : start_io(link, fd);
	if (err < 0) {
		close(fd);
		if (link->fd < 0 && link->listener < 0)
			link->kind = LINK_KIND_NONE;
		return err;
	}
	if (link->fd == fd)
		link->events.changed(link->events.arg, true, "");
	return 0;
}

struct link *link_new(
	struct loop *loop, struct counters *counters, const struct link_events *events)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->loop = loop;
	link->counters = counters;
	link->events = *events;
	link->fd = link->listener = -1;
	link->receive_task.run = receive_task;
	link->accept_timer.fire = accept_resume;
	link->flush_hook.run = flush_hook;
	loop_add_hook(loop, &link->flush_hook);
	return link;
}

void link_free(struct link *link)
{
	if (!link)
		return;
	link->up = false; /* nobody wants to hear of it any more */
	detach(link);
	loop_remove_hook(link->loop, &link->flush_hook);
	free(link->first);
	free(link->rx);
	free(link);
}

int link_resume(struct link *link, int fd, const struct mac *ours, const struct mac *guest)
{
	struct flow_memory_tx tx = flow_memory_tx(link->memory);
	int err = link_attach(link, LINK_KIND_STREAM, fd, false);

	if (err < 0)
		return err;
	/* A hint that a captured worker may have left. */
	if (tx.left < tx.size && tx.size <= LINK_RECORD_HLEN + LINK_FRAME_MAX)
		link->pad = tx;
	flow_memory_set_tx(link->memory, link->pad);
	link->resync = true;
	link->resync_dst = *ours;
	link->resync_src = *guest;
	return 0;
}

/* What lies waiting, as far as a guest that goes on sending lets it end. */
static void discard_received(struct link *link)
{
	const uint64_t *received = &link->counters->value[COUNTER_LINK_RX_BYTES];
	uint64_t begin = *received, before;
	bool more = true;

	for (before = begin; link->up && more && *received - begin < DISCARD_MAX;
		before = *received)
		more = link->ops->receive(link) || *received != before;
	if (link->up && link->ops->drop_part)
		link->ops->drop_part(link);
}

void link_reset(struct link *link)
{
	struct flow_memory_tx pad;
	bool blocked;

	if (!link->up)
		return;
	discard_received(link);
	if (!link->up)
		return;
	pad = link->pad;
	if (link->head_left)
		pad = (struct flow_memory_tx){(uint32_t)link->head_left, (uint32_t)link->head_size};
	blocked = link->blocked; /* then writable is awaited */
	queue_clear(link);
	link->pad = pad;
	link->blocked = blocked;
}

void link_watch(struct link *link, link_watch_fn *watch, void *arg)
{
	link->watch = watch;
	link->watch_arg = arg;
}

size_t link_queued(const struct link *link)
{
	return link->queued_frames;
}

void link_set_memory(struct link *link, struct flow_memory *memory)
{
	link->memory = memory;
}

int link_listener_fd(const struct link *link)
{
	return link->listener;
}

int link_connected_fd(const struct link *link)
{
	return link->fd;
}

enum link_kind link_kind(const struct link *link)
{
	return link->kind;
}

const struct link_caps *link_caps(const struct link *link)
{
	return &link->caps;
}

bool link_is_up(const struct link *link)
{
	return link->up;
}
