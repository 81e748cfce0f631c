/* SPDX-License-Identifier: MIT */
/*
 * Host sockets of UDP flows and forwards, with what they share: buffers, batches and fairness.
 *
 * What is sent in a pass of the loop is copied into one arena, chained by socket, and leaves at
 * the end of the pass, or when 64 datagrams or 64 KiB are there: more at once would run over the
 * receiver, whose buffer is 208 KiB by Linux's default. What comes is read by a task, about
 * 64 KiB or 64 messages a slice, and only while the link has room: the kernel's buffer of the
 * socket is the queue, and drops when it is full.
 */
#ifndef DATAPLANE_STACK_UDP_SOCK_H
#define DATAPLANE_STACK_UDP_SOCK_H

#include "dataplane/counters.h"
#include "dataplane/link/link.h"
#include "dataplane/loop.h"
#include "dataplane/stack/udp_batch.h"

#include <event2/event_struct.h>

struct udp_sock;

struct udp_sock_ops {
	/* Datagrams of one sender. */
	void (*received)(struct udp_sock *sock, const struct udp_batch_rx *rx);
	/* The kernel says of a datagram sent before that it did not arrive. */
	void (*failed)(struct udp_sock *sock, const struct udp_batch_error *error);
};

struct udp_io {
	struct loop *loop;
	struct link *link;
	struct counters *counters;
	struct loop_hook flush;
	struct udp_batch *batch;
	struct udp_sock *dirty;  /* sockets with datagrams in the arena */
	struct udp_sock *parked; /* sockets that wait for room on the link, in turn */
	struct udp_sock **parked_end;
	uint8_t *arena;
	size_t used; /* bytes of the arena */
	uint16_t count;
	uint16_t next[UDP_BATCH_MAX]; /* the socket's next datagram */
	struct udp_batch_tx tx[UDP_BATCH_MAX];
};

struct udp_sock {
	struct udp_io *io;
	const struct udp_sock_ops *ops;
	int fd;
	sa_family_t family;
	bool parked;
	uint8_t ttl; /* of what is sent; 0: the system's default */
	uint16_t gso_max;
	uint16_t pending; /* datagrams in the arena */
	uint16_t first, last;
	uint32_t average; /* bytes a message received */
	struct udp_sock *dirty_next;
	struct udp_sock *parked_next;
	struct task task;
	struct event event;
};

int udp_io_init(struct udp_io *io, struct loop *loop, struct link *link, struct counters *counters);
void udp_io_clear(struct udp_io *io); /* all sockets closed before */
void udp_io_flush(struct udp_io *io);
void udp_io_room(struct udp_io *io); /* the link has room again */

/* Owns fd (non-blocking) once it succeeds; flags are those of udp_batch_setup(). 0 or -errno. */
int udp_sock_open(struct udp_sock *sock, struct udp_io *io, int fd, int family, unsigned flags,
	const struct udp_sock_ops *ops);
void udp_sock_close(struct udp_sock *sock);

/* Copies data; len ≤ UDP_PAYLOAD_MAX. local may be NULL. */
void udp_sock_send(struct udp_sock *sock, const struct endpoint *dst, const struct addr *local,
	const void *data, size_t len);
/* The TTL of what is sent after this. */
void udp_sock_ttl(struct udp_sock *sock, uint8_t ttl);

#endif
