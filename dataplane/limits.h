/* SPDX-License-Identifier: MIT */
/*
 * What an operator allows a VM: so many bits a second into the guest and out of it, so many flows, so
 * many new ones a second. All of a VM's traffic shares them, by its NIC and by vsock alike.
 *
 * Streams wait, datagrams are dropped. A stream's bytes are charged by their number, and what may
 * not move yet stays where it is, as if the far end took no more: bytes for the guest in the host's
 * socket, bytes of the guest's in the flow's spill, while the window or the credit that the guest has
 * runs out. So no byte of a TCP connection is lost to a limit, and both ends feel the rate as
 * they would feel a slow network. A datagram (with 28 bytes for its headers) has nobody to wait for it.
 *
 * A direction's rate is two halves, one for streams and one for datagrams, each with a bucket of
 * LIMITS_DEPTH_MS. What one bucket has no room for is the other's, so either has the whole rate while
 * the other is idle; a flood of datagrams leaves streams half of it, and a name is resolved in the
 * middle of a download.
 *
 *	earned ──half──► streams ──full──┐          ask: level > 0? a grant, else wait in line
 *	       └─half──► datagrams ◄─────┘ (and back)     datagram: level > 0? it goes, else dropped
 *
 * A grant is charged at once and may put the bucket into debt, by less than it is long: else what is
 * longer than the bucket is deep would never go. Waiters are served in turn, each by a grant.
 *
 * A new flow is asked about once, where it begins. Beyond the number of flows it is refused as at
 * any bound; beyond the rate of new ones a TCP SYN is dropped, which the guest repeats.
 *
 * Without a limit nothing here is called but a look at a flag. One thread, the worker's loop.
 */
#ifndef DATAPLANE_LIMITS_H
#define DATAPLANE_LIMITS_H

#include "dataplane/counters.h"
#include "dataplane/loop.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/token_bucket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define LIMITS_RATE_MIN 8000u /* bits a second */
#define LIMITS_RATE_MAX TOKEN_RATE_MAX
#define LIMITS_DEPTH_MS 50           /* of the rate; the loop may be busy for so long */
#define LIMITS_GRANT_MIN 4096u       /* bytes */
#define LIMITS_GRANT_MAX (64u << 10) /* one turn */
#define LIMITS_DATAGRAM_HLEN 28u     /* IPv4 and UDP or ICMP */

enum limits_way { LIMITS_IN, LIMITS_OUT, LIMITS_WAYS }; /* to the guest, from the guest */

struct limits_config {
	uint64_t rate[LIMITS_WAYS]; /* bits a second, LIMITS_RATE_MIN to _MAX; 0: no limit */
	uint32_t max_flows;         /* TCP, UDP, ICMP and vsock together; 0: no limit */
	uint32_t new_flows;         /* a second; 0: no limit */
};

/* A stream's way; embedded in its owner, zeroed but for `go`. */
struct limits_waiter {
	TAILQ_ENTRY(limits_waiter) entry;
	bool waiting;
	uint32_t want;  /* bytes, while waiting */
	uint32_t grant; /* charged, and not taken yet */
	/* It has waited for long enough: ask again. May free the owner. */
	void (*go)(struct limits_waiter *waiter);
};

struct limits;

struct limits_lane {
	struct limits *limits;
	bool paced;
	struct token_clock clock;
	struct token_bucket streams, datagrams; /* bits */
	TAILQ_HEAD(, limits_waiter) line;
	struct timer timer;
	struct task task;
};

struct limits {
	struct loop *loop;
	struct counters *counters;
	struct limits_config config;
	struct limits_lane lanes[LIMITS_WAYS];
	struct token_clock flow_clock;
	struct token_bucket flows;
	size_t (*count)(void *arg); /* of flows that are there */
	void *arg;
};

/* No limit yet. */
void limits_init(struct limits *limits, struct loop *loop, struct counters *counters,
	size_t (*count)(void *arg), void *arg);
void limits_clear(struct limits *limits); /* nobody waits any more */
/* From now on; who waits is served by the new rate. -EINVAL for a rate out of bounds. */
int limits_set(struct limits *limits, const struct limits_config *config);

/* ---- rates; a NULL limits is none, and so is one that has no rate this way ---- */

static inline bool limits_paced(const struct limits *limits, enum limits_way way)
{
	return limits && limits->lanes[way].paced;
}

/* How many of `want` bytes may move now, `want` where nothing limits it. 0: waiter->go() comes. Each
 * answer but 0 is followed by limits_took(). */
size_t limits_ask(
	struct limits *limits, enum limits_way way, struct limits_waiter *waiter, size_t want);
/* So many did; what else the answer allowed is given back. */
void limits_took(
	struct limits *limits, enum limits_way way, struct limits_waiter *waiter, size_t moved);
/* Waits no more and wants nothing. */
void limits_leave(struct limits *limits, enum limits_way way, struct limits_waiter *waiter);

/* Whether a datagram of so many bytes may go; else it was counted as dropped. */
bool limits_datagram(struct limits *limits, enum limits_way way, size_t len);

/* Bytes of a stream that may usefully be under way from the guest. */
uint32_t limits_window(const struct limits *limits);

/* ---- flows ---- */

/* One more flow: 0, -EMFILE: there are too many, -EAGAIN: too many were begun just now. Counted. */
int limits_flow(struct limits *limits);
/* The same for another destination of a flow that is there. */
int limits_contact(struct limits *limits);

#endif
