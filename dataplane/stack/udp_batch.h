/* SPDX-License-Identifier: MIT */
/*
 * Datagram sockets, many datagrams a system call: udp_batch_linux.c (recvmmsg, sendmmsg, UDP_GRO,
 * UDP_SEGMENT, the error queue) and udp_batch_darwin.c (one at a time, no errors told).
 *
 * UDP sockets may be of AF_INET or AF_INET6 (then IPv4 peers are mapped in what the kernel sees as
 * they are here). All sockets are non-blocking; errors are negative errno.
 */
#ifndef DATAPLANE_STACK_UDP_BATCH_H
#define DATAPLANE_STACK_UDP_BATCH_H

#include "common/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define UDP_BATCH_MAX 64     /* messages a call */
#define UDP_BATCH_ROOM 65536 /* bytes a message */
#define UDP_PAYLOAD_MAX 65507

enum udp_batch_flags {
	UDP_BATCH_ERRORS = 1, /* ICMP errors and the like come by udp_batch_error() */
	UDP_BATCH_GRO = 2,    /* messages may be several datagrams of one size */
	UDP_BATCH_LOCAL = 4,  /* the address that a datagram came to is told */
};

/* Sets a socket up as far as the system can; nothing of it is essential. */
void udp_batch_setup(int fd, int family, unsigned flags);
/* The TTL of what is sent from now on. */
void udp_batch_set_ttl(int fd, int family, uint8_t ttl);

/* ---- receiving ---- */

struct udp_batch_rx {
	const uint8_t *data;
	size_t len;
	size_t segment; /* length of each datagram in it but the last; len where it is one */
	struct endpoint src;
	struct addr local; /* with UDP_BATCH_LOCAL, else unset */
};

struct udp_batch;

/* Buffers to receive into, touched (and so in memory) only as far as they get used. */
struct udp_batch *udp_batch_new(void);
void udp_batch_free(struct udp_batch *batch);

/* How many messages came, of at most max (≤ UDP_BATCH_MAX); 0 where there are none. */
int udp_batch_recv(struct udp_batch *batch, int fd, size_t max);
/* The i-th of the last call; valid until the next. */
const struct udp_batch_rx *udp_batch_at(const struct udp_batch *batch, size_t i);

/* ---- sending ---- */

struct udp_batch_tx {
	const uint8_t *data;
	size_t len;
	struct endpoint dst;
	struct addr local; /* to send from, where set */
};

/*
 * Sends count (≤ UDP_BATCH_MAX) datagrams in order. Returns how many were sent, or the error of
 * the first. *gso_max is the socket's: the longest datagram worth joining with its likes, which
 * starts at UDP_PAYLOAD_MAX and shrinks as the kernel refuses.
 */
int udp_batch_send(
	int fd, int family, const struct udp_batch_tx *const *tx, size_t count, uint16_t *gso_max);

/* ---- errors ---- */

struct udp_batch_error {
	int err;   /* positive errno */
	bool icmp; /* type, code and from are those of an ICMP (v4) message */
	uint8_t type, code;
	uint32_t mtu;        /* for EMSGSIZE, else 0 */
	struct endpoint dst; /* where the datagram at fault went to */
	struct addr from;    /* who said so; unset where the host itself did */
	uint8_t data[536];   /* of its payload, what is known */
	size_t data_len;
};

/* The next error that lies waiting: 1, or 0 where there is none. */
int udp_batch_error(int fd, struct udp_batch_error *error);

/* ---- ping sockets ---- */

/* Receives one ICMP message into buf; *icmp points at its header there. Its length or -errno. */
ssize_t udp_batch_recv_ping(
	int fd, uint8_t *buf, size_t room, struct addr *src, const uint8_t **icmp);

#endif
