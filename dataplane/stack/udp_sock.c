/* SPDX-License-Identifier: MIT */
/* Host sockets of UDP. See udp_sock.h. */
#include "dataplane/stack/udp_sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARENA_SIZE (64u * 1024)
#define SLICE_BYTES (64u * 1024)
#define SLICE_ERRORS 64
#define FIRST_AVERAGE 2048

static void flush_hook(struct loop_hook *hook)
{
	udp_io_flush((struct udp_io *)((char *)hook - offsetof(struct udp_io, flush)));
}

int udp_io_init(struct udp_io *io, struct loop *loop, struct link *link, struct counters *counters)
{
	io->loop = loop;
	io->link = link;
	io->counters = counters;
	io->parked_end = &io->parked;
	io->arena = malloc(ARENA_SIZE);
	io->batch = udp_batch_new();
	if (!io->arena || !io->batch) {
		udp_io_clear(io);
		return -ENOMEM;
	}
	io->flush.run = flush_hook;
	loop_add_hook(loop, &io->flush);
	return 0;
}

void udp_io_clear(struct udp_io *io)
{
	if (io->flush.run)
		loop_remove_hook(io->loop, &io->flush);
	free(io->arena);
	udp_batch_free(io->batch);
	io->arena = NULL;
	io->batch = NULL;
}

/* ---- sending ---- */

/* Something could not be sent, at least not in the kernel's own words later. */
static void unsent(struct udp_sock *sock, const struct udp_batch_tx *tx, int err)
{
	struct udp_batch_error error = {.err = err, .dst = tx->dst, .from = addr_any};

	error.data_len = tx->len < sizeof(error.data) ? tx->len : sizeof(error.data);
	memcpy(error.data, tx->data, error.data_len);
	counter_inc(sock->io->counters, COUNTER_UDP_SEND_ERRORS);
	sock->ops->failed(sock, &error);
}

static bool would_block(int err)
{
	return err == -EAGAIN || err == -EWOULDBLOCK || err == -ENOBUFS || err == -ENOMEM;
}

/*
 * An error may be that of an earlier datagram, of which the error queue tells more; having been
 * told here it is gone. So each datagram is tried again once.
 */
static void flush_sock(struct udp_sock *sock)
{
	const struct udp_batch_tx *tx[UDP_BATCH_MAX];
	struct udp_io *io = sock->io;
	size_t count = sock->pending, at = 0;
	bool again = false;

	for (size_t i = 0, n = sock->first; i < count; n = io->next[n])
		tx[i++] = &io->tx[n];
	sock->pending = 0;
	while (at < count) {
		int got = udp_batch_send(
			sock->fd, sock->family, tx + at, count - at, &sock->gso_max);

		if (got > 0) {
			at += (size_t)got;
			again = false;
		} else if (would_block(got)) {
			counter_add(io->counters, COUNTER_UDP_SEND_ERRORS, count - at);
			return;
		} else if (!again) {
			again = true;
		} else {
			unsent(sock, tx[at++], -got);
			again = false;
		}
	}
}

void udp_io_flush(struct udp_io *io)
{
	struct udp_sock *sock = io->dirty;

	io->dirty = NULL;
	while (sock) {
		struct udp_sock *next = sock->dirty_next;

		flush_sock(sock);
		sock = next;
	}
	io->used = 0;
	io->count = 0;
}

void udp_sock_send(struct udp_sock *sock, const struct endpoint *dst, const struct addr *local,
	const void *data, size_t len)
{
	struct udp_io *io = sock->io;
	uint16_t n;

	if (len > UDP_PAYLOAD_MAX)
		return;
	if (io->count == UDP_BATCH_MAX || io->used + len > ARENA_SIZE)
		udp_io_flush(io);
	n = io->count++;
	memcpy(io->arena + io->used, data, len);
	io->tx[n] = (struct udp_batch_tx){
		.data = io->arena + io->used,
		.len = len,
		.dst = *dst,
		.local = local ? *local : addr_any,
	};
	io->used += len;
	if (sock->pending++) {
		io->next[sock->last] = n;
	} else {
		sock->first = n;
		sock->dirty_next = io->dirty;
		io->dirty = sock;
	}
	sock->last = n;
	counter_inc(io->counters, COUNTER_UDP_TX_DATAGRAMS);
	counter_add(io->counters, COUNTER_UDP_TX_BYTES, len);
}

void udp_sock_ttl(struct udp_sock *sock, uint8_t ttl)
{
	if (ttl == sock->ttl)
		return;
	if (sock->pending)
		udp_io_flush(sock->io);
	udp_batch_set_ttl(sock->fd, sock->family, ttl);
	sock->ttl = ttl;
}

/* ---- receiving ---- */

static void park(struct udp_sock *sock)
{
	struct udp_io *io = sock->io;

	if (sock->parked)
		return;
	sock->parked = true;
	sock->parked_next = NULL;
	*io->parked_end = sock;
	io->parked_end = &sock->parked_next;
	event_del(&sock->event);
}

static void unpark(struct udp_sock *sock)
{
	struct udp_io *io = sock->io;
	struct udp_sock **at = &io->parked;

	while (*at != sock)
		at = &(*at)->parked_next;
	*at = sock->parked_next;
	if (io->parked_end == &sock->parked_next)
		io->parked_end = at;
	sock->parked = false;
}

void udp_io_room(struct udp_io *io)
{
	struct udp_sock *sock = io->parked;

	io->parked = NULL;
	io->parked_end = &io->parked;
	for (; sock; sock = sock->parked_next) {
		sock->parked = false;
		event_add(&sock->event, NULL);
		loop_defer(io->loop, &sock->task);
	}
}

static void read_errors(struct udp_sock *sock)
{
	struct udp_batch_error error;

	for (int i = 0; i < SLICE_ERRORS; i++) {
		if (udp_batch_error(sock->fd, &error) <= 0)
			return;
		sock->ops->failed(sock, &error);
	}
}

/* The event is level-triggered: what is left calls again. */
static void receive(struct task *task)
{
	struct udp_sock *sock = (struct udp_sock *)((char *)task - offsetof(struct udp_sock, task));
	struct udp_io *io = sock->io;
	size_t max = SLICE_BYTES / sock->average, bytes = 0;
	int got;

	if (link_is_up(io->link) && link_room(io->link) == 0) {
		park(sock);
		return;
	}
	if (max > UDP_BATCH_MAX)
		max = UDP_BATCH_MAX;
	got = udp_batch_recv(io->batch, sock->fd, max ? max : 1);
	if (got <= 0) {
		read_errors(sock);
		return;
	}
	for (int i = 0; i < got; i++) {
		const struct udp_batch_rx *rx = udp_batch_at(io->batch, (size_t)i);

		bytes += rx->len;
		sock->ops->received(sock, rx);
	}
	sock->average = (uint32_t)((3 * (size_t)sock->average + bytes / (size_t)got) / 4) + 1;
	if ((size_t)got == max)
		loop_defer(io->loop, &sock->task);
}

static void readable(evutil_socket_t fd, short what, void *arg)
{
	struct udp_sock *sock = arg;

	(void)fd;
	(void)what;
	loop_defer(sock->io->loop, &sock->task);
}

int udp_sock_open(struct udp_sock *sock, struct udp_io *io, int fd, int family, unsigned flags,
	const struct udp_sock_ops *ops)
{
	*sock = (struct udp_sock){
		.io = io,
		.ops = ops,
		.fd = fd,
		.family = (sa_family_t)family,
		.gso_max = UDP_PAYLOAD_MAX,
		.average = FIRST_AVERAGE,
		.task.run = receive,
	};
	udp_batch_setup(fd, family, flags);
	event_assign(&sock->event, loop_base(io->loop), fd, EV_READ | EV_PERSIST, readable, sock);
	event_priority_set(&sock->event, LOOP_DATA);
	return event_add(&sock->event, NULL) < 0 ? -ENOMEM : 0;
}

void udp_sock_close(struct udp_sock *sock)
{
	if (sock->pending)
		udp_io_flush(sock->io);
	if (sock->parked)
		unpark(sock);
	else
		event_del(&sock->event);
	loop_cancel(sock->io->loop, &sock->task);
	close(sock->fd);
	sock->fd = -1;
}
