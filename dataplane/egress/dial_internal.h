/* SPDX-License-Identifier: MIT */
/* What dial.c has for the other parts of the door. Nobody else includes this. */
#ifndef DATAPLANE_EGRESS_DIAL_INTERNAL_H
#define DATAPLANE_EGRESS_DIAL_INTERNAL_H

#include "dataplane/egress/dial.h"

/* As egress_dial() of TCP for a guest's flow, to an address that the operator has named, outside the
 * bounds of half-open connects: the flow counts as one already. */
int egress_dial_host(struct egress *egress, const struct endpoint *host, egress_done_fn done,
	void *arg, struct egress_request **request);

/* All associations of the worker's together (udp_relay.c keeps them within its bounds). */
struct egress_relays {
	size_t n;
	size_t held_bytes;
	size_t n_names;
};
struct egress_relays *egress_relays(struct egress *egress);

/* Counts it, and reports it soon. */
void egress_proxy_trouble(struct egress *egress, uint8_t server, enum proxy_trouble trouble);

#endif
