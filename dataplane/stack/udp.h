/* SPDX-License-Identifier: MIT */
/*
 * UDP (RFC 768) between the guest and sockets of the host's.
 *
 * Outbound, a flow is a guest socket (address, port) and a destination family, and has one host
 * socket, bound to the guest's port where that is free, whatever the destinations (RFC 4787:
 * endpoint-independent mapping, so STUN works). Only whom it sent to may answer (address- and
 * port-dependent filtering), by a bounded set of peers per flow. The gateway's port 53 is our
 * resolver, its other ports are the host's loopback where the egress allows that.
 *
 * Inbound, a forward is a bound socket that netctld handed over. Each client of it is a flow: the
 * guest sees the client's own address, or the gateway's with a port of 61000–65535 (see DESIGN).
 *
 * Flows end after 60 s without a datagram (10 s where they only spoke DNS); there are at most
 * 16,384, of both kinds.
 */
#ifndef DATAPLANE_STACK_UDP_H
#define DATAPLANE_STACK_UDP_H

#include "dataplane/loop.h"
#include "dataplane/stack/flow.h"
#include "dataplane/stack/icmp.h"
#include "dataplane/stack/output.h"
#include "dataplane/worker.h"

struct dns;
struct egress;
struct limits;
struct udp;

struct udp *udp_new(struct loop *loop, struct output *out, const struct net *net,
	struct counters *counters, struct egress *egress, struct dns *dns, struct icmp *icmp);
void udp_free(struct udp *udp); /* before its loop; closes all sockets, forwards' too */
void udp_set_limits(struct udp *udp, struct limits *limits); /* until then there are none */

/* A UDP packet of the guest's, whole, its checksum right or absent. Not for DHCP. */
void udp_input(struct udp *udp, const struct packet *packet);

/* Sends a datagram to the guest, cut into fragments where it exceeds the MTU. */
void udp_deliver(struct udp *udp, const struct endpoint *src, const struct endpoint *guest,
	const void *data, size_t len);

/* Call from the link's room event: sockets that waited for room are read again. */
void udp_room(struct udp *udp);

void udp_reset(struct udp *udp);   /* ends all flows, keeps forwards: another guest, or none */
void udp_reroute(struct udp *udp); /* ends outbound flows: their next datagram begins anew */
void udp_recheck(struct udp *udp); /* ends what a new policy forbids */

/* Owns fd, a bound UDP socket, also on failure. 0, -EEXIST for an id in use, -EINVAL, -ENOMEM. */
int udp_forward_add(struct udp *udp, int fd, const struct worker_forward *forward);
int udp_forward_delete(struct udp *udp, const char *id); /* 0 or -ENOENT */
size_t udp_forward_count(const struct udp *udp);
/* The forward at index, in the order of addition, its fd still ours; NULL beyond the end. */
const struct worker_forward *udp_forward_at(const struct udp *udp, size_t index, int *fd);

size_t udp_flow_count(const struct udp *udp);
/* The flow at *cursor or after it, 0 first; false at the end. */
bool udp_flow_next(const struct udp *udp, uint32_t *cursor, struct flow_info *info);

#endif
