/* SPDX-License-Identifier: MIT */
/*
 * Where a permitted flow's destination lies for the host. Whether it is reached straight there or
 * by a proxy is proxy.h's to say.
 */
#ifndef DATAPLANE_EGRESS_ROUTE_H
#define DATAPLANE_EGRESS_ROUTE_H

#include "common/addr.h"
#include "dataplane/egress/dial.h"
#include "dataplane/stack/net.h"

struct egress_route {
	struct endpoint via; /* what the host connects to */
};

/* What the policy judges in dst's place: the host's loopback is the gateway address to it. */
static inline struct endpoint egress_judged(
	const struct net *net, enum egress_who who, const struct endpoint *dst)
{
	struct endpoint judged = *dst;

	if (who == EGRESS_TSI && (addr_is_loopback(&dst->addr) || addr_is_unspecified(&dst->addr)))
		judged.addr = net->gateway;
	return judged;
}

/* For a guest the gateway address is the host's loopback; that it may go there the policy has
 * said before. */
static inline struct egress_route egress_route(
	const struct net *net, enum egress_who who, const struct endpoint *dst)
{
	static const struct addr loopback6 = {{[15] = 1}};
	struct egress_route route = {.via = *dst};

	if (who != EGRESS_OPERATOR && addr_eq(&dst->addr, &net->gateway))
		route.via.addr = addr_from_v4(0x7f000001);
	else if (who == EGRESS_TSI && addr_is_unspecified(&dst->addr))
		route.via.addr = addr_is_v4(&dst->addr) ? addr_from_v4(0x7f000001) : loopback6;
	return route;
}

#endif
