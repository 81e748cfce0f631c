/* SPDX-License-Identifier: MIT */
/*
 * What a guest's UDP socket has with a SOCKS5 proxy: an association (RFC 1928 section 7), made when the
 * first datagram wants it and ended with the socket. Embedded in who has the socket (udp.c,
 * vsock/dgram.c), which sends and receives itself, by a host socket of the relay's family:
 *
 *	udp_relay_way(r, peer)   0: straight to peer->host
 *	                         1: to udp_relay_at(), behind udp_relay_head(); where the relay does not
 *	                            stand yet: udp_relay_hold(), and udp_relay_next() once it does
 *	                         else a negative errno: not at all; -EAGAIN: not now
 *	udp_relay_from()         whose a datagram from udp_relay_at() is
 *
 * A destination that the proxy is told by name is answered from an address that it found itself. The
 * first such address that is nobody's we know is taken for the one that was sent to last, for good.
 */
#ifndef DATAPLANE_EGRESS_UDP_RELAY_H
#define DATAPLANE_EGRESS_UDP_RELAY_H

#include "dataplane/counters.h"
#include "dataplane/egress/dial.h"
#include "dataplane/egress/socks5.h"
#include "dataplane/stack/udp_peers.h"

#include <sys/queue.h>

#define UDP_RELAYS_MAX 1024u /* a worker, made or in the making */
#define UDP_RELAY_HELD_MAX 16u
#define UDP_RELAY_HELD_BYTES (64u << 10)
#define UDP_RELAYS_HELD_BYTES (4u << 20) /* over all of a worker's */
#define UDP_RELAYS_NAMES_MAX 8192u       /* that destinations go by, likewise */

struct udp_relay;
struct udp_relay_name;
struct udp_relay_held;

struct udp_relay_events {
	/* It stands: what is held may go. False: the owner cannot send there, and it ends. */
	bool (*stands)(struct udp_relay *relay);
	/* It has ended, or did not come about. What is held goes, straight there where
	 * udp_relay_way() says so by now. Its address means nothing any more. */
	void (*ended)(struct udp_relay *relay);
};

/* Zeroed but for the first four, where it is embedded; nothing is allocated until it is used. */
struct udp_relay {
	struct egress *egress;
	struct loop *loop;
	struct counters *counters;
	const struct udp_relay_events *events;
	uint32_t serial; /* of the association: peers are introduced to each */
	bool counted;    /* among the worker's */
	bool standing;
	bool straight; /* the proxy was of no use, and the operator lets it all go straight there */
	bool direct_on_failure;
	uint8_t server;
	struct tunnel *tunnel; /* while it is made */
	int control;           /* its TCP connection, while it stands */
	struct event *over;    /* that connection's end */
	struct endpoint at;
	struct udp_relay_name *names;
	size_t n_names;
	TAILQ_HEAD(udp_relay_list, udp_relay_held) held;
	size_t n_held, held_bytes;
};

void udp_relay_init(struct udp_relay *relay, struct egress *egress, struct loop *loop,
	struct counters *counters, const struct udp_relay_events *events);
/* Ends it without a word. */
void udp_relay_clear(struct udp_relay *relay);

int udp_relay_way(struct udp_relay *relay, struct udp_peer *peer);
static inline bool udp_relay_stands(const struct udp_relay *relay)
{
	return relay->standing;
}

static inline const struct endpoint *udp_relay_at(const struct udp_relay *relay)
{
	return &relay->at;
}

/* The header of a datagram to host; returns its length. */
size_t udp_relay_head(const struct udp_relay *relay, const struct endpoint *host,
	uint8_t head[SOCKS5_UDP_HEAD_MAX]);
/* What a datagram from the relay is: its payload begins at *head, and the peer is whose it is. NULL:
 * nobody's, or malformed (counted). */
struct udp_peer *udp_relay_from(struct udp_relay *relay, struct udp_peers *peers,
	const uint8_t *data, size_t len, size_t *head);

/* Keeps a copy, or drops it (counted). */
void udp_relay_hold(struct udp_relay *relay, const struct endpoint *host, const struct iovec *data,
	unsigned pieces, size_t len);
/* Takes the oldest that is held, to be given to free(); NULL: none. */
struct udp_relay_held *udp_relay_next(struct udp_relay *relay);

struct udp_relay_held {
	TAILQ_ENTRY(udp_relay_held) entry;
	struct endpoint host;
	size_t len;
	uint8_t data[];
};

#endif
