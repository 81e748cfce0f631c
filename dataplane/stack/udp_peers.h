/* SPDX-License-Identifier: MIT */
/*
 * Whom a guest socket has sent to, and who may therefore answer it: at most 256 endpoints, as the
 * host's kernel names them. When there is no room the one that was quiet longest goes.
 */
#ifndef DATAPLANE_STACK_UDP_PEERS_H
#define DATAPLANE_STACK_UDP_PEERS_H

#include "common/addr.h"
#include "dataplane/egress/pass.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UDP_PEERS_MAX 256
#define UDP_PEER_STRAIGHT 0u      /* its datagrams go to host */
#define UDP_PEER_UNMET UINT32_MAX /* whether they do is to be asked: udp_relay_way() */

struct udp_peer {
	struct endpoint host;
	struct egress_pass pass; /* what admitted it; left by udp_peers */
	uint32_t relay;          /* UDP_PEER_*, or the association that it goes by */
	uint32_t used;           /* the flow's count of uses when this one was used last */
};

struct udp_peers { /* zeroed is empty */
	struct udp_peer *v;
	uint32_t uses;
	uint16_t count, room;
	uint16_t last; /* index of the one found last, which is the likeliest next */
};

void udp_peers_clear(struct udp_peers *peers);
/* The one that is host, which counts as a use, or NULL; valid until the next add. */
struct udp_peer *udp_peers_find(struct udp_peers *peers, const struct endpoint *host);
/* Adds one that is not there yet, without going beyond max (≤ UDP_PEERS_MAX), and moves the pass
 * there. 0, or -ENOMEM and the pass was left. */
int udp_peers_add(
	struct udp_peers *peers, const struct endpoint *host, struct egress_pass *pass, size_t max);
/* Keeps those for which keep() says so. */
void udp_peers_filter(
	struct udp_peers *peers, bool (*keep)(void *arg, struct udp_peer *peer), void *arg);
/* The one used last; unset where there is none. */
struct endpoint udp_peers_last(const struct udp_peers *peers);

#endif
