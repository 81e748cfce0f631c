/* SPDX-License-Identifier: MIT */
/*
 * A VM's addresses, as netctld set them and as the guest's frames taught us. One per worker; the
 * modules of the stack share a pointer to it and treat it as read-only, but for the learning of
 * the guest's MAC in classify.c.
 */
#ifndef DATAPLANE_STACK_NET_H
#define DATAPLANE_STACK_NET_H

#include "common/addr.h"

#include <stdbool.h>
#include <stdint.h>

#define NET_HOSTNAME_MAX 64
#define NET_SEARCH_MAX 6

struct net {
	struct prefix subnet; /* 10.0.2.0/24, mapped */
	struct addr gateway;  /* ours: router, DNS, DHCP server */
	struct addr guest;    /* what DHCP gives out */
	struct mac gateway_mac;
	struct mac guest_mac; /* broadcast until learned */
	bool guest_mac_known;
	bool guest_mac_fixed; /* by configuration: frames of others are dropped */
	uint16_t mtu;         /* of the guest's NIC: the largest IP packet */
	bool host_access;     /* the gateway address reaches the host's loopback */
	char hostname[NET_HOSTNAME_MAX];
	char search[NET_SEARCH_MAX][256]; /* search domains, "" ends the list */
};

/* Whether a guest may send from this address: in the subnet, not the gateway, network or broadcast. */
bool net_guest_source(const struct net *net, const struct addr *addr);
/* 255.255.255.255 or the subnet's broadcast address. */
bool net_is_broadcast(const struct net *net, const struct addr *addr);

#endif
