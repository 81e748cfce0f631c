/* SPDX-License-Identifier: MIT */
/*
 * The gateway's DNS: a forwarder with local names (RFC 1035, 7766 for TCP, 6891 for EDNS).
 *
 * Queries come by UDP from the stack (dns_udp_query(), answered through a callback) and by TCP
 * over a socketpair (dns_tcp_accept()) whose other end the TCP engine splices to the guest. Local
 * names are answered at once; everything else goes to the upstreams in order, 2 s each, each
 * question with a fresh id from a fresh socket. What comes back also feeds the name log.
 *
 * Bounds: 1,024 questions under way, 64 TCP connections, 64 Ki log entries. One loop, no threads.
 */
#ifndef DATAPLANE_STACK_DNS_H
#define DATAPLANE_STACK_DNS_H

#include "common/addr.h"
#include "dataplane/counters.h"
#include "dataplane/egress/dial.h"
#include "dataplane/loop.h"
#include "dataplane/stack/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_PORT 53
#define DNS_QUERIES_MAX 1024u
#define DNS_UPSTREAMS_MAX 8u
#define DNS_UPSTREAM_MS 2000u
#define DNS_TCP_MAX 64u /* TCP connections of the guest */
#define DNS_TCP_IDLE_MS 10000u
#define DNS_NAMES_MAX 65536u /* entries of the name log */
#define DNS_NAMES_EACH 64u   /* of one address */
#define NAMES_TTL_MIN 30u    /* seconds that a name counts at least and at most, */
#define NAMES_TTL_MAX 3600u  /* whatever its answer's TTL */
#define DNS_HOSTS_MAX 4096u  /* local names */

struct dns_host {
	const char *name; /* any case, a trailing dot is ignored */
	const struct addr *addrs;
	size_t addr_count;
};

/* A name that an address was given out under. */
struct dns_name {
	struct addr addr;
	int64_t until_ms; /* wall clock; the answer's TTL, within the bounds above */
	const char *name; /* lower case, no trailing dot, at most 253 bytes; only for the call */
};

/* Who asked by a datagram, and so where the answer goes. */
struct dns_from {
	struct endpoint guest; /* unique among those of one `proxy` */
	struct endpoint asked; /* the gateway, port 53; or a redirected resolver */
	uint64_t proxy;        /* 0: a socket of the stack, which answers as `asked` to `guest`;
				  else TSI's number for a proxy */
};

struct dns_events {
	void *arg;
	/* An answer to dns_udp_query(). */
	void (*answer)(void *arg, const struct dns_from *from, const uint8_t *msg, size_t len);
	/* New or renewed names, gathered for up to a second, at most 4096 a call. May be NULL. */
	void (*names)(void *arg, const struct dns_name *names, size_t count);
};

struct dns;

/* net is shared: the gateway's address is read from it. NULL without memory. */
struct dns *dns_new(struct loop *loop, struct egress *egress, struct counters *counters,
	const struct net *net, const struct dns_events *events);
void dns_free(struct dns *dns);

/* Replaces the upstreams; questions under way keep to the new list. -E2BIG beyond the maximum. */
int dns_upstreams_set(struct dns *dns, const struct endpoint *upstreams, size_t count);
/* Replaces the local names, all or none: -EINVAL for what is no name, -E2BIG, -ENOMEM.
 * host_access: whether host.internal and its aliases are the gateway, else they do not exist. */
int dns_hosts_set(struct dns *dns, const struct dns_host *hosts, size_t count, bool host_access);

/* What becomes of questions for names that no rule could admit while the policy has names: they do not
 * exist (NXDOMAIN, as it is at first), or are answered as any. */
void dns_answer_unlisted(struct dns *dns, bool answer);

/* Whether what is sent to dst is ours to answer: the gateway's port 53, and any resolver's while the
 * policy has names, since the name log must hear of all that the guest is told. */
bool dns_answers_for(const struct dns *dns, const struct endpoint *dst);

/* A datagram from the guest. Any bytes; msg is only read during the call. The answer may come before
 * this returns, or when whoever asked has gone. */
void dns_udp_query(struct dns *dns, const struct dns_from *from, const uint8_t *msg, size_t len);

/* One end of a fresh non-blocking AF_UNIX stream pair that speaks DNS over TCP; the caller's to
 * close. -EAGAIN at DNS_TCP_MAX, -EMFILE. */
int dns_tcp_accept(struct dns *dns);

size_t dns_queries(const struct dns *dns); /* under way */

/* Another guest comes next: no question is answered any more, and the name log is empty. */
void dns_reset(struct dns *dns);

/* ---- the name log ---- */

/* What a predecessor or a snapshot knew; none for longer than answers of now count. */
void dns_names_restore(struct dns *dns, const struct dns_name *names, size_t count);
/* Calls fn with batches of at most 4096 of what is in the log and not expired. */
void dns_names_walk(const struct dns *dns,
	void (*fn)(void *arg, const struct dns_name *names, size_t count), void *arg);
/* The names of one address that count now, at most max: the last given out first, a question's
 * before its CNAMEs'. They live until the next answer. */
size_t dns_names_at(const struct dns *dns, const struct addr *addr, const char **names, size_t max);
/* Whether a local name has the address. */
bool dns_hosts_have(const struct dns *dns, const char *name, const struct addr *addr);

#endif
