/* SPDX-License-Identifier: MIT */
/* Whom a guest socket has sent to. See udp_peers.h. */
#include "dataplane/stack/udp_peers.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 2

void udp_peers_clear(struct udp_peers *peers)
{
	free(peers->v);
	*peers = (struct udp_peers){0};
}

bool udp_peers_find(struct udp_peers *peers, const struct endpoint *host)
{
	if (peers->count && endpoint_eq(&peers->v[peers->last].host, host)) {
		peers->v[peers->last].used = ++peers->uses;
		return true;
	}
	for (uint16_t i = 0; i < peers->count; i++) {
		if (!endpoint_eq(&peers->v[i].host, host))
			continue;
		peers->v[i].used = ++peers->uses;
		peers->last = i;
		return true;
	}
	return false;
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

int udp_peers_add(struct udp_peers *peers, const struct endpoint *host, size_t max)
{
	uint16_t i;

	if (peers->count >= max) {
		i = quietest(peers);
	} else {
		if (peers->count == peers->room && grow(peers) < 0)
			return -ENOMEM;
		i = peers->count++;
	}
	peers->v[i] = (struct udp_peer){.host = *host, .used = ++peers->uses};
	peers->last = i;
	return 0;
}

void udp_peers_filter(
	struct udp_peers *peers, bool (*keep)(void *arg, const struct endpoint *host), void *arg)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < peers->count; i++) {
		if (keep(arg, &peers->v[i].host))
			peers->v[kept++] = peers->v[i];
	}
	peers->count = kept;
	peers->last = 0;
}

struct endpoint udp_peers_last(const struct udp_peers *peers)
{
	return peers->count ? peers->v[peers->last].host : (struct endpoint){.addr = addr_any};
}
