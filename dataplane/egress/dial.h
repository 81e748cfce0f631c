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
 * A guest's flow may go by a proxy (egress_proxies_set()). TCP then comes out as if it had been
 * connected to the destination; for UDP see egress_udp_way(). Where the proxy is of no use the error
 * is -EHOSTUNREACH, not the destination's; never does a flow then go straight there unless the
 * settings say so.
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
#include "dataplane/egress/proxy.h"
#include "dataplane/egress/proxy_log.h"
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

/* Swaps the policy at once; flows that stand are their owners' to re-check by egress_stands().
 * document is the number of what the table was compiled from: where it is that of the table before
 * (only what netctld knows of the host has changed) the rules count on; 0 is none. */
int egress_policy_set(struct egress *egress, const void *table, size_t len, uint64_t document);
/* Who lists the names of addresses; until then no rule matches by name. */
void egress_set_names(struct egress *egress, const struct policy_names *names);
const struct policy_names *egress_names(const struct egress *egress);
/* The table in force, for policy_table_*(); NULL before the first. Not across a swap. */
const void *egress_table(const struct egress *egress);
/* The rules count from zero. */
void egress_restart_counts(struct egress *egress);
/* What its rules have counted; not across a swap. */
const struct rule_counts *egress_rule_counts(const struct egress *egress);
void egress_on_refused(struct egress *egress, egress_refused_fn fn, void *arg);

/* Reports the refusals of the last second now. */
void egress_report_refusals(struct egress *egress);

/* The verdict on a guest's flow to dst (as the guest names it); nothing is counted or reported.
 * proto is IP_PROTO_*; dst.port is ignored for ICMP. Its name is the name log's. */
struct policy_verdict egress_check(const struct egress *egress, enum egress_who who, uint8_t proto,
	const struct endpoint *dst);

/* Whether the policy of now admits a flow that stands. If so the pass is of its rule from now on;
 * the name that admitted the flow first counts though its answer is too old by now. */
bool egress_stands(struct egress *egress, enum egress_who who, uint8_t proto,
	const struct endpoint *dst, struct egress_pass *pass);
/*
 * Whether a flow may go on as one to this server name, which the guest's own bytes gave: all rules
 * are asked as if the address had this name only (policy_table_judge_as()). If so the pass is of
 * that rule and name; if not the refusal is counted and reported with the name.
 */
bool egress_admit_as(struct egress *egress, enum egress_who who, uint8_t proto,
	const struct endpoint *dst, const char *name, struct egress_pass *pass);
/* And where the guest's bytes give no name though they might: as if the address had none. */
bool egress_admit_nameless(struct egress *egress, enum egress_who who, uint8_t proto,
	const struct endpoint *dst, struct egress_pass *pass);
/* Refuses a flow that has a pass for another reason than its name (it gave none, or came by a
 * protocol that has none to read); counted and reported. */
void egress_refuse(struct egress *egress, uint8_t proto, const struct endpoint *dst,
	const struct egress_pass *pass);
/* Counts and reports that a guest asked `asked` for a name that no rule could admit. */
void egress_refuse_name(
	struct egress *egress, uint8_t proto, const struct endpoint *asked, const char *name);
/* Bytes of the flow, from the guest and to it. */
void egress_account(
	struct egress *egress, const struct egress_pass *pass, uint64_t tx, uint64_t rx);
/* The flow is over. Any pass may be given, also twice. */
void egress_leave(struct egress_pass *pass);

/*
 * Opens a socket connected to dst. TCP: fd ≥ 0 where it stands already (usual for loopback), and
 * -EINPROGRESS where done will be called later, not before this returns, and *request may be
 * cancelled until then. A refusal that is known at once is returned at once. Other protocols
 * never wait: UDP is a connected socket, ICMP a connected ping socket (SOCK_DGRAM; the kernel
 * owns the echo identifier). request may be NULL for these.
 *
 * pass, which must be zeros, says what admitted a guest's flow unless an error is returned; NULL
 * for the operator. It is the caller's to leave, also where done() brings an error.
 */
int egress_dial(struct egress *egress, enum egress_who who, uint8_t proto,
	const struct endpoint *dst, struct egress_pass *pass, egress_done_fn done, void *arg,
	struct egress_request **request);
void egress_cancel(struct egress_request *request);
size_t egress_half_open(const struct egress *egress);

/*
 * An unconnected UDP socket for a guest socket, of AF_INET or AF_INET6, bound to the guest's port
 * where that is free on the host and else to any. Whatever is sent through it must have passed
 * egress_udp_permit() before.
 */
int egress_udp_open(struct egress *egress, int family, uint16_t port);

/* Asks the policy about a new destination: 0, the address to send to and a pass as for
 * egress_dial(), or -EACCES (counted and reported). */
int egress_udp_permit(struct egress *egress, enum egress_who who, const struct endpoint *dst,
	struct endpoint *host, struct egress_pass *pass);

/*
 * By which way a datagram to a permitted host address goes: 0 and straight there (choice->server is
 * NULL) or by an association with that SOCKS5 server (udp_relay.h), or -EHOSTUNREACH where there is
 * none (counted, reported).
 */
int egress_udp_way(struct egress *egress, const struct endpoint *host,
	const struct egress_pass *pass, struct proxy_choice *choice);

/* Owns proxies, which may be NULL: none. False: they are what they were, and nothing has changed.
 * Flows that stand stay on their way. */
bool egress_proxies_set(struct egress *egress, struct proxies *proxies);
struct proxies *egress_proxies(const struct egress *egress);
/* Whether 198.18.0.0/15 stands for names. */
bool egress_fake_ip(const struct egress *egress);
void egress_on_proxy_trouble(struct egress *egress, proxy_trouble_fn fn, void *arg);

/* Where a guest's destination lies for the host: the gateway is 127.0.0.1, others themselves. */
struct endpoint egress_to_host(
	const struct egress *egress, enum egress_who who, const struct endpoint *dst);
/* The reverse, for the source of an answer: loopback addresses are the gateway. */
struct endpoint egress_from_host(const struct egress *egress, const struct endpoint *src);

#endif
