/* SPDX-License-Identifier: MIT */
/* Whom a guest socket has sent to. See udp_peers.h. */
#include "dataplane/stack/udp_peers.h"

#include "dataplane/egress/dial.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 2

void udp_peers_clear(struct udp_peers *peers)
{
	for (uint16_t i = 0; i < peers->count; i++)
		egress_leave(&peers->v[i].pass);
	free(peers->v);
	*peers = (struct udp_peers){0};
}

struct udp_peer *udp_peers_find(struct udp_peers *peers, const struct endpoint *host)
{
	if (peers->count && endpoint_eq(&peers->v[peers->last].host, host)) {
		peers->v[peers->last].used = ++peers->uses;
		return &peers->v[peers->last];
	}
	for (uint16_t i = 0; i < peers->count; i++) {
		if (!endpoint_eq(&peers->v[i].host, host))
			continue;
		peers->v[i].used = ++peers->uses;
		peers->last = i;
		return &peers->v[i];
	}
	return NULL;
}

static int grow(struct udp_peers *peers)
{
	size_t room = peers->room ? (size_t)peers->room * 2 : FIRST_ROOM;
	struct udp_peer *v = realloc(peers->v, room * sizeof(*v));

	if (!v)
		return -ENOMEM;
	peers->v = v;
	peers->room = (uint16_t)room;
	return 0;
}

/* By how far back, so that the count of uses may wrap. */
static uint16_t quietest(const struct udp_peers *peers)
{
	uint16_t found = 0;

	for (uint16_t i = 1; i < peers->count; i++) {
		if (peers->uses - peers->v[i].used > peers->uses - peers->v[found].used)
			found = i;
	}
	return found;
}

int udp_peers_add(
	struct udp_peers *peers, const struct endpoint *host, struct egress_pass *pass, size_t max)
{
	uint16_t i;

	if (peers->count >= max) {
		i = quietest(peers);
		egress_leave(&peers->v[i].pass);
	} else {
		if (peers->count == peers->room && grow(peers) < 0) {
			egress_leave(pass);
			return -ENOMEM;
		}
		i = peers->count++;
	}
	peers->v[i] = (struct udp_peer){
		.host = *host, .pass = *pass, .relay = UDP_PEER_UNMET, .used = ++peers->uses};
	*pass = (struct egress_pass){.era = 0};
	peers->last = i;
	return 0;
}

void udp_peers_filter(
	struct udp_peers *peers, bool (*keep)(void *arg, struct udp_peer *peer), void *arg)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < peers->count; i++) {
		if (keep(arg, &peers->v[i]))
			peers->v[kept++] = peers->v[i];
		else
			egress_leave(&peers->v[i].pass);
	}
	peers->count = kept;
	peers->last = 0;
}

struct endpoint udp_peers_last(const struct udp_peers *peers)
{
	return peers->count ? peers->v[peers->last].host : (struct endpoint){.addr = addr_any};
}
