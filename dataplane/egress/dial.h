/* SPDX-License-Identifier: MIT */
/*
 * The one door: every outbound socket of a worker is opened here.
 *
 * Who asks decides what is asked of whom: a guest's flow must pass the policy, and a gateway
 * address it names becomes the host's loopback where host_access is on; what the operator
 * configured (DNS upstreams) is dialled as it is. A guest without a network of its own (TSI) means the
 * host's loopback by loopback and unspecified addresses, too; the policy judges these as the
 * gateway address.
 *
 * Every fd given out is non-blocking, close-on-exec and the caller's to close. A guest's TCP
 * sockets carry TCP_NODELAY and SO_LINGER {1, 0}, so that a worker that dies resets them; clear
 * the linger before an orderly close (common/tcp_socket.h).
 *
 * Errors are negative errno. These are the door's own, and the kernel's never appear under them:
 *   -EACCES  the policy forbids it (counted, reported); an RST or "administratively prohibited"
 *   -EAGAIN  too many half-open connects, over all or to this destination: drop the SYN, the
 *            guest repeats it
 *   -EMFILE  no file descriptors to spare (ENFILE, ENOBUFS and ENOMEM too)
 *   -EPROTONOSUPPORT  the host does not let us ping
 * All others are the kernel's answer: -ECONNREFUSED, -ENETUNREACH, -EHOSTUNREACH, -ETIMEDOUT, …
 * A kernel's EACCES (a firewall of the host) is -EPERM here.
 */
#ifndef DATAPLANE_EGRESS_DIAL_H
#define DATAPLANE_EGRESS_DIAL_H

#include "common/addr.h"
#include "dataplane/counters.h"
#include "dataplane/egress/policy.h"
#include "dataplane/loop.h"
#include "dataplane/stack/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EGRESS_HALF_OPEN_MAX 1024u /* TCP connects under way, over all destinations */
#define EGRESS_HALF_OPEN_EACH 64u  /* and to one address and port */
#define EGRESS_CONNECT_MS 30000u
#define EGRESS_RESERVED_FDS 64 /* never given to guests' flows */

enum egress_who { EGRESS_GUEST, EGRESS_TSI, EGRESS_OPERATOR };

struct egress;
struct egress_request; /* a connect under way */

/* fd ≥ 0 is connected and the receiver's; else a negative errno. The request is gone. */
typedef void (*egress_done_fn)(void *arg, int fd);

/* net is shared and may change (host_access). NULL without memory. */
struct egress *egress_new(struct loop *loop, struct counters *counters, const struct net *net);
/* Cancels what is under way without calling back. */
void egress_free(struct egress *egress);

/* Swaps the policy at once; flows that stand are their owners' to re-check by egress_check(). */
int egress_policy_set(struct egress *egress, const void *table, size_t len);
void egress_on_refused(struct egress *egress, egress_refused_fn fn, void *arg);

/* Reports the refusals of the last second now. */
void egress_report_refusals(struct egress *egress);

/* The verdict on a guest's flow to dst (as the guest names it); nothing is counted or reported.
 * proto is IP_PROTO_*; dst.port is ignored for ICMP. by may be NULL. */
bool egress_check(const struct egress *egress, enum egress_who who, uint8_t proto,
	const struct endpoint *dst, int32_t *by);

/*
 * Opens a socket connected to dst. TCP: fd ≥ 0 where it stands already (usual for loopback), and
 * -EINPROGRESS where done will be called later, not before this returns, and *request may be
 * cancelled until then. A refusal that is known at once is returned at once. Other protocols
 * never wait: UDP is a connected socket, ICMP a connected ping socket (SOCK_DGRAM; the kernel
 * owns the echo identifier). request may be NULL for these.
 */
int egress_dial(struct egress *egress, enum egress_who who, uint8_t proto,
	const struct endpoint *dst, egress_done_fn done, void *arg,
	struct egress_request **request);
void egress_cancel(struct egress_request *request);
size_t egress_half_open(const struct egress *egress);

/*
 * An unconnected UDP socket for a guest socket, of AF_INET or AF_INET6, bound to the guest's port
 * where that is free on the host and else to any. Whatever is sent through it must have passed
 * egress_udp_permit() before.
 */
int egress_udp_open(struct egress *egress, int family, uint16_t port);

/* Asks the policy about a new destination: 0 and the address to send to, or -EACCES (counted and
 * reported). */
int egress_udp_permit(struct egress *egress, enum egress_who who, const struct endpoint *dst,
	struct endpoint *host);

/* Where a guest's destination lies for the host: the gateway is 127.0.0.1, others themselves. */
struct endpoint egress_to_host(
	const struct egress *egress, enum egress_who who, const struct endpoint *dst);
/* The reverse, for the source of an answer: loopback addresses are the gateway. */
struct endpoint egress_from_host(const struct egress *egress, const struct endpoint *src);

#endif
