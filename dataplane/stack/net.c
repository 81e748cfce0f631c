/* SPDX-License-Identifier: MIT */
/* A VM's addresses. See net.h. */
#include "dataplane/stack/net.h"

static uint32_t host_mask(const struct net *net)
{
	unsigned bits = net->subnet.bits < 96 ? 0 : net->subnet.bits - 96u;

	return bits ? (uint32_t)((1ull << (32 - bits)) - 1) : UINT32_MAX;
}

bool net_is_broadcast(const struct net *net, const struct addr *addr)
{
	uint32_t v4 = addr_v4(addr), mask = host_mask(net);

	if (!addr_is_v4(addr))
		return false;
	return v4 == UINT32_MAX || (prefix_contains(&net->subnet, addr) && (v4 & mask) == mask);
}

bool net_guest_source(const struct net *net, const struct addr *addr)
{
	if (!addr_is_v4(addr) || !prefix_contains(&net->subnet, addr) ||
		addr_eq(addr, &net->gateway))
		return false;
	return (addr_v4(addr) & host_mask(net)) != 0 && !net_is_broadcast(net, addr);
}
