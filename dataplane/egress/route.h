/* SPDX-License-Identifier: MIT */
/*
 * How a permitted flow gets to its destination. Today there is one way, straight there; a proxy
 * would be another: `via` its address, and a kind that says what to speak before the first byte.
 */
#ifndef DATAPLANE_EGRESS_ROUTE_H
#define DATAPLANE_EGRESS_ROUTE_H

#include "common/addr.h"
#include "dataplane/stack/net.h"

#include <stdbool.h>

struct egress_route {
	struct endpoint via; /* what the host connects to */
};

/* For a guest the gateway address is the host's loopback; that it may go there the policy has
 * said before. */
static inline struct egress_route egress_route(
	const struct net *net, bool guest, const struct endpoint *dst)
{
	struct egress_route route = {.via = *dst};

	if (guest && addr_eq(&dst->addr, &net->gateway))
		route.via.addr = addr_from_v4(0x7f000001);
	return route;
}

#endif
