/* SPDX-License-Identifier: MIT */
/* Bare vsock packets over a unix stream. See transport_stream.h. */
#include "dataplane/vsock/transport_stream.h"

#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RX_SIZE (256u << 10)
#define RX_PACKETS 64 /* a turn */
#define TX_DATA (256u << 10)
#define TX_CONTROL (64u << 10)
#define TX_SIZE (TX_DATA + VSOCK_HLEN + VSOCK_PAYLOAD_MAX + TX_CONTROL)
/* Written out at once beyond this, while still in the processor's cache. */
#define TX_FLUSH (128u << 10)
#define SOCKET_BUFFER (2 << 20)
#define ACCEPT_PAUSE_MS 100
#define DISCARD_MAX (8u << 20) /* more than kernels keep for us */
#define EVENT_TRANSPORT_RESET 0

struct vsock_stream {
	struct loop *loop;
	struct counters *counters;
	struct vsock_mux *mux;
	const struct vsock_vmm_events *events; /* or NULL */
	uint64_t guest_cid;
	int fd, listener;
	struct event *readable, *writable, *acceptable;
	struct task receive_task;
	struct loop_hook flush_hook;
	struct timer accept_timer; /* ends a pause of accept after EMFILE */
	bool blocked;              /* the kernel's buffer is full; waiting for writable */
	bool paused;               /* nothing is read until there is room for answers */
	bool room_asked;           /* by the mux, in vain */
	bool broken;               /* a write failed; acted on at the end of the pass */
	bool drop_next;            /* a packet whose header came in part was one of the old life */
	bool reset_owed;           /* TRANSPORT_RESET, to the next VMM */
	uint8_t *rx;
	size_t have;   /* bytes at its start */
	uint64_t skip; /* bytes of an overlong packet still to be thrown away */
	uint8_t *tx;
	size_t head, tail; /* what is to be written out lies between */
	size_t head_left;  /* bytes of a partly written first packet, 0 at a packet's start */
	size_t dirty;      /* tx was written to up to here since it was wiped */
	bool secret;       /* and with a secret */
};

static void lost(struct vsock_stream *s, const char *why);

/* ---- towards the VMM ---- */

static size_t queued(const struct vsock_stream *s)
{
	return s->tail - s->head;
}

/* A written secret must not lie about until something overwrites it. */
static void tx_wipe(struct vsock_stream *s)
{
	if (s->secret)
		os_wipe(s->tx, s->dirty);
	s->secret = false;
	s->dirty = 0;
}

static size_t packet_size(const uint8_t *header)
{
	struct vsock_packet packet;

	vsock_packet_read(&packet, header);
	return VSOCK_HLEN + packet.len;
}

static void written(struct vsock_stream *s, size_t n)
{
	while (n) {
		size_t take;

		if (!s->head_left)
			s->head_left = packet_size(s->tx + s->head);
		take = n < s->head_left ? n : s->head_left;
		s->head += take;
		s->head_left -= take;
		n -= take;
	}
}

static void flush(struct vsock_stream *s)
{
	while (!s->blocked && queued(s)) {
		ssize_t n = os_send(s->fd, s->tx + s->head, queued(s), 0);

		if (n == -EINTR)
			continue;
		if (n < 0) {
			/* Whose packet this is must not be ended from within. */
			s->blocked = true;
			if (n == -EAGAIN || n == -EWOULDBLOCK)
				event_add(s->writable, NULL);
			else
				s->broken = true;
			return;
		}
		written(s, (size_t)n);
	}
	if (!queued(s)) {
		s->head = s->tail = 0;
		tx_wipe(s);
	}
}

/* Whether so many bytes fit behind what is queued now; makes it so. */
static bool fits(struct vsock_stream *s, size_t len)
{
	if (queued(s) + len > TX_SIZE)
		return false;
	if (s->tail + len <= TX_SIZE)
		return true;
	memmove(s->tx, s->tx + s->head, queued(s));
	s->tail -= s->head;
	if (s->secret)
		os_wipe(s->tx + s->tail, s->dirty - s->tail);
	s->dirty = s->tail;
	s->head = 0;
	return true;
}

/* The payload lies behind the header already. */
static void append(struct vsock_stream *s, const struct vsock_packet *packet)
{
	vsock_packet_write(packet, s->tx + s->tail);
	s->tail += VSOCK_HLEN + packet->len;
	if (s->tail > s->dirty)
		s->dirty = s->tail;
}

static bool stream_send(void *arg, const struct vsock_packet *packet, const void *payload)
{
	struct vsock_stream *s = arg;

	if (s->fd < 0 || !fits(s, VSOCK_HLEN + packet->len)) {
		s->room_asked = true;
		return false;
	}
	if (packet->len)
		memcpy(s->tx + s->tail + VSOCK_HLEN, payload, packet->len);
	append(s, packet);
	return true;
}

static int stream_reserve(void *arg, size_t max, struct iovec iov[VSOCK_IOV_MAX])
{
	struct vsock_stream *s = arg;

	if (queued(s) >= TX_FLUSH)
		flush(s);
	if (s->fd < 0 || queued(s) > TX_DATA || !fits(s, VSOCK_HLEN + max)) {
		s->room_asked = true;
		return 0;
	}
	iov[0] = (struct iovec){s->tx + s->tail + VSOCK_HLEN, max};
	return 1;
}

static void stream_commit(void *arg, const struct vsock_packet *packet, bool secret)
{
	struct vsock_stream *s = arg;

	s->secret |= secret;
	append(s, packet);
}

static bool room_for_answers(const struct vsock_stream *s)
{
	return queued(s) + TX_CONTROL / 2 <= TX_SIZE;
}

static void go_on_reading(struct vsock_stream *s)
{
	if (!s->paused || !room_for_answers(s) || !vsock_mux_ready(s->mux))
		return;
	s->paused = false;
	event_add(s->readable, NULL);
	loop_defer(s->loop, &s->receive_task);
}

static void stream_resume(void *arg)
{
	go_on_reading(arg);
}

static const struct vsock_transport_ops stream_ops = {
	.send = stream_send,
	.reserve = stream_reserve,
	.commit = stream_commit,
	.resume = stream_resume,
};

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_stream *s = arg;

	(void)fd;
	(void)what;
	s->blocked = false;
	flush(s);
}

static void flush_hook(struct loop_hook *hook)
{
	struct vsock_stream *s =
		(struct vsock_stream *)((char *)hook - offsetof(struct vsock_stream, flush_hook));

	if (s->fd < 0)
		return;
	flush(s);
	if (s->broken) {
		lost(s, "connection closed");
		return;
	}
	go_on_reading(s);
	if (s->room_asked && queued(s) <= TX_DATA / 2) {
		s->room_asked = false;
		vsock_mux_room(s->mux);
	}
}

/* ---- from the VMM ---- */

static void skip_some(struct vsock_stream *s, size_t *at)
{
	size_t left = s->have - *at;
	size_t n = s->skip < left ? (size_t)s->skip : left;

	*at += n;
	s->skip -= n;
}

static bool may_deliver(struct vsock_stream *s)
{
	if (room_for_answers(s) && vsock_mux_ready(s->mux))
		return true;
	s->paused = true;
	event_del(s->readable);
	return false;
}

/* One packet at *at. False: it is not complete, or must wait. */
static bool deliver(struct vsock_stream *s, size_t *at)
{
	struct vsock_packet packet;
	struct iovec payload;

	skip_some(s, at);
	if (s->have - *at < VSOCK_HLEN || !may_deliver(s))
		return false;
	vsock_packet_read(&packet, s->rx + *at);
	if (s->drop_next) {
		s->drop_next = false;
		s->skip = (uint64_t)packet.len + VSOCK_HLEN;
		skip_some(s, at);
		return true;
	}
	if (packet.op == VSOCK_OP_NONE || packet.len > VSOCK_PAYLOAD_MAX) {
		s->skip = (uint64_t)packet.len + VSOCK_HLEN;
		if (packet.op == VSOCK_OP_NONE)
			counter_inc(s->counters, COUNTER_VSOCK_BAD_PACKETS);
		else
			vsock_mux_malformed(s->mux, &packet);
		skip_some(s, at);
		return true;
	}
	if (s->have - *at < VSOCK_HLEN + packet.len)
		return false;
	payload = (struct iovec){s->rx + *at + VSOCK_HLEN, packet.len};
	vsock_mux_input(s->mux, &packet, &payload, 1);
	*at += VSOCK_HLEN + packet.len;
	return true;
}

static void receive_task(struct task *task)
{
	struct vsock_stream *s =
		(struct vsock_stream *)((char *)task - offsetof(struct vsock_stream, receive_task));
	size_t at = 0;
	int packets = 0;

	if (s->fd < 0 || s->paused)
		return;
	if (s->have < RX_SIZE) {
		ssize_t n = recv(s->fd, s->rx + s->have, RX_SIZE - s->have, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			lost(s, "connection closed");
			return;
		}
		if (n > 0)
			s->have += (size_t)n;
	}
	while (packets < RX_PACKETS && deliver(s, &at))
		packets++;
	memmove(s->rx, s->rx + at, s->have - at);
	s->have -= at;
	if (packets == RX_PACKETS)
		loop_defer(s->loop, &s->receive_task);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_stream *s = arg;

	(void)fd;
	(void)what;
	loop_defer(s->loop, &s->receive_task);
}

/* ---- coming and going ---- */

static void free_event(struct event **event)
{
	if (*event)
		event_free(*event);
	*event = NULL;
}

static void lost(struct vsock_stream *s, const char *why)
{
	bool was_up = s->fd >= 0;

	vsock_mux_attach(s->mux, NULL, NULL, 0);
	loop_cancel(s->loop, &s->receive_task);
	free_event(&s->readable);
	free_event(&s->writable);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->head = s->tail = s->head_left = s->have = 0;
	s->skip = 0;
	s->drop_next = false;
	if (s->tx)
		tx_wipe(s);
	s->blocked = s->paused = s->room_asked = s->broken = false;
	if (was_up && s->events && s->events->changed)
		s->events->changed(s->events->arg, false, why);
}

static void tell_cid(struct vsock_stream *s)
{
	struct vsock_packet packet = {
		.src_cid = VSOCK_CID_HOST, .dst_cid = s->guest_cid, .len = 8, .op = VSOCK_OP_NONE};

	vsock_store64(s->tx + s->tail + VSOCK_HLEN, s->guest_cid);
	append(s, &packet);
}

static void tell_reset(struct vsock_stream *s)
{
	struct vsock_packet packet = {
		.src_cid = VSOCK_CID_HOST, .dst_cid = s->guest_cid, .len = 4, .op = VSOCK_OP_NONE};

	vsock_store32(s->tx + s->tail + VSOCK_HLEN, EVENT_TRANSPORT_RESET);
	append(s, &packet);
	s->reset_owed = false;
}

/* Leaves fd alone where it fails. */
static int start(struct vsock_stream *s, int fd)
{
	struct event_base *base = loop_base(s->loop);
	int type = 0, size = SOCKET_BUFFER, err = os_set_nonblock(fd, true);
	socklen_t len = sizeof(type);

	if (err < 0)
		return err;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return -EINVAL;
	/* As far as the host allows. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (!s->rx)
		s->rx = malloc(RX_SIZE);
	if (!s->tx)
		s->tx = malloc(TX_SIZE);
	if (!s->rx || !s->tx)
		return -ENOMEM;
	s->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, s);
	s->writable = event_new(base, fd, EV_WRITE, on_writable, s);
	if (!s->readable || !s->writable || event_add(s->readable, NULL) < 0) {
		free_event(&s->readable);
		free_event(&s->writable);
		return -ENOMEM;
	}
	event_priority_set(s->readable, LOOP_DATA);
	event_priority_set(s->writable, LOOP_DATA);
	s->fd = fd;
	/* Its former connection's end has told its guest of all that was. */
	vsock_mux_forget(s->mux);
	vsock_mux_attach(s->mux, &stream_ops, s, s->guest_cid);
	tell_cid(s);
	if (s->reset_owed)
		tell_reset(s);
	counter_inc(s->counters, COUNTER_VSOCK_UPS);
	if (s->events && s->events->changed)
		s->events->changed(s->events->arg, true, "");
	return 0;
}

static void accept_resume(struct timer *timer)
{
	struct vsock_stream *s = (struct vsock_stream *)((char *)timer -
		offsetof(struct vsock_stream, accept_timer));

	event_add(s->acceptable, NULL);
}

/* Whether the VMM that we have is still there: its end may not have been read yet. */
static bool still_there(struct vsock_stream *s)
{
	uint8_t byte;

	if (s->fd < 0)
		return false;
	if (recv(s->fd, &byte, 1, MSG_PEEK) != 0)
		return true;
	lost(s, "connection closed");
	return false;
}

static void on_acceptable(evutil_socket_t listener, short what, void *arg)
{
	struct vsock_stream *s = arg;
	int fd = os_accept(listener, NULL, NULL);

	(void)what;
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
		event_del(s->acceptable);
		timer_arm(loop_wheel(s->loop), &s->accept_timer, ACCEPT_PAUSE_MS);
		return;
	}
	if (fd < 0)
		return;
	if (still_there(s)) {
		close(fd);
		counter_inc(s->counters, COUNTER_VSOCK_VMM_REFUSED);
		if (s->events && s->events->refused)
			s->events->refused(s->events->arg);
	} else if (start(s, fd) < 0) {
		close(fd);
	}
}

static int start_listener(struct vsock_stream *s, int fd)
{
	int err = os_set_nonblock(fd, true);

	if (err < 0)
		return err;
	s->acceptable = event_new(loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_acceptable, s);
	if (!s->acceptable || event_add(s->acceptable, NULL) < 0) {
		free_event(&s->acceptable);
		return -ENOMEM;
	}
	event_priority_set(s->acceptable, LOOP_DATA);
	s->listener = fd;
	return 0;
}

int vsock_stream_listener_fd(const struct vsock_stream *s)
{
	return s->listener;
}

void vsock_stream_stop_listening(struct vsock_stream *s)
{
	timer_disarm(loop_wheel(s->loop), &s->accept_timer);
	free_event(&s->acceptable);
	if (s->listener >= 0)
		close(s->listener);
	s->listener = -1;
}

static void detach(struct vsock_stream *s)
{
	if (s->fd >= 0)
		lost(s, "detached");
	vsock_stream_stop_listening(s);
}

int vsock_stream_attach(struct vsock_stream *s, int fd, bool listener, uint64_t guest_cid)
{
	int err;

	detach(s);
	if (fd < 0)
		return 0;
	s->guest_cid = guest_cid;
	err = listener ? start_listener(s, fd) : start(s, fd);
	if (err < 0)
		close(fd);
	return err;
}

/* ---- another life of the guest ---- */

/* What lies waiting, as far as a guest that goes on sending lets it end. */
static void discard_received(struct vsock_stream *s)
{
	size_t total = 0;
	ssize_t n;

	do {
		size_t at = 0;

		skip_some(s, &at);
		while (s->have - at >= VSOCK_HLEN) {
			s->skip = packet_size(s->rx + at);
			skip_some(s, &at);
		}
		memmove(s->rx, s->rx + at, s->have - at);
		s->have -= at;
		n = recv(s->fd, s->rx + s->have, RX_SIZE - s->have, 0);
		if (n > 0)
			s->have += (size_t)n;
		total += n > 0 ? (size_t)n : 0;
	} while (n > 0 && total < DISCARD_MAX);
	s->drop_next = s->have > 0;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		lost(s, n ? strerror(errno) : "the VMM closed the connection");
}

void vsock_stream_reset(struct vsock_stream *s)
{
	s->reset_owed = true;
	if (s->fd < 0)
		return;
	discard_received(s);
	if (s->fd < 0)
		return;
	s->tail = s->head + s->head_left;
	if (s->secret)
		os_wipe(s->tx + s->tail, s->dirty - s->tail);
	s->dirty = s->tail;
	if (!fits(s, VSOCK_HLEN + 4))
		return;
	tell_reset(s);
	vsock_mux_forget(s->mux);
}

size_t vsock_stream_queued(const struct vsock_stream *s)
{
	size_t at = s->head + s->head_left, n = s->head_left > 0;

	for (; at < s->tail; n++)
		at += packet_size(s->tx + at);
	return n;
}

void vsock_stream_watch(struct vsock_stream *s, const struct vsock_vmm_events *events)
{
	s->events = events;
}

bool vsock_stream_is_up(const struct vsock_stream *s)
{
	return s->fd >= 0;
}

struct vsock_stream *vsock_stream_new(
	struct loop *loop, struct counters *counters, struct vsock_mux *mux)
{
	struct vsock_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->loop = loop;
	s->counters = counters;
	s->mux = mux;
	s->fd = s->listener = -1;
	s->receive_task.run = receive_task;
	s->accept_timer.fire = accept_resume;
	s->flush_hook.run = flush_hook;
	loop_add_hook(loop, &s->flush_hook);
	return s;
}

void vsock_stream_free(struct vsock_stream *s)
{
	if (!s)
		return;
	detach(s);
	loop_remove_hook(s->loop, &s->flush_hook);
	free(s->rx);
	free(s->tx);
	free(s);
}
