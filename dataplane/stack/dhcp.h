/* SPDX-License-Identifier: MIT */
/*
 * A DHCP server for one guest (RFC 2131; options of RFC 2132, domain search of RFC 3397).
 *
 * There is one address to give, net->guest, and whoever sits on the link gets it. Nothing here
 * can run out, so DISCOVER commits nothing and a lease is only a note of who asked last.
 */
#ifndef DATAPLANE_STACK_DHCP_H
#define DATAPLANE_STACK_DHCP_H

#include "dataplane/stack/output.h"
#include "dataplane/worker.h"

struct dhcp;

struct dhcp_events {
	void *arg;
	/* The guest took its lease, renewed it under another name or MAC, or gave it up (addr unset). */
	void (*lease)(void *arg, const struct worker_lease *lease);
};

struct dhcp *dhcp_new(struct output *out, const struct net *net, struct counters *counters,
	const struct dhcp_events *events);
void dhcp_free(struct dhcp *dhcp);

/* UDP to port 67 of the gateway or a broadcast address; its source may be 0.0.0.0. */
void dhcp_input(struct dhcp *dhcp, const struct packet *packet);

bool dhcp_lease(const struct dhcp *dhcp, struct worker_lease *out); /* false: none */
void dhcp_restore(struct dhcp *dhcp, const struct worker_lease *lease);

#endif
