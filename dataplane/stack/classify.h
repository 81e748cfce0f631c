/* SPDX-License-Identifier: MIT */
/*
 * Where each frame of the guest's goes: Ethernet and IPv4 headers are checked here, once, and
 * what is behind them is handed to the protocol it is for.
 */
#ifndef DATAPLANE_STACK_CLASSIFY_H
#define DATAPLANE_STACK_CLASSIFY_H

#include "dataplane/link/link.h"
#include "dataplane/stack/net.h"

struct arp;
struct dhcp;
struct fragments;
struct icmp;
struct tcp;
struct udp;

struct classify {
	struct net *net; /* its guest_mac is learned here */
	struct counters *counters;
	struct arp *arp;
	struct dhcp *dhcp;
	struct fragments *fragments;
	struct icmp *icmp;
	struct udp *udp;
	struct tcp *tcp;
	/* The guest's MAC was learned, or has changed. */
	void (*guest_seen)(void *arg, const struct mac *mac);
	void *arg;
};

/* A frame of at least 14 bytes, of any content. */
void classify_frame(
	struct classify *c, const uint8_t *frame, size_t len, const struct link_meta *meta);

#endif
