/* SPDX-License-Identifier: MIT */
/*
 * Two stream sockets of the host's kept in step, where the VMM owns the mux and a connection of the
 * guest's is a socket of the VMM's.
 *
 * Both directions alike, from one end to the other:
 *
 *	bytes    are read only while the other end takes them; what it did not take of a read
 *	         (at most RELAY_SLICE) is held and goes first, so a slow end slows the other
 *	         down. An idle relay holds nothing.
 *	the end  of file is passed on by shutdown(SHUT_WR), behind what is held. Both passed: the
 *	         relay is over, in order.
 *	deaf     an end that reads no more (a unix socket's EPIPE) ends the direction: the other
 *	         end is not read any more either.
 *	a reset  of either end ends the relay at once, abruptly towards the other: RST, where that is
 *	         TCP. A unix socket has no such thing; it is closed.
 *
 * The VM's rates (limits.h) hold for what is read from either end.
 *
 * What waits for an end behind the other's end has RELAY_DRAIN_MS from its last progress on; else a
 * relay may be idle for as long as it likes. A turn moves RELAY_SLICE each way.
 */
#ifndef DATAPLANE_VSOCK_RELAY_H
#define DATAPLANE_VSOCK_RELAY_H

#include "dataplane/counters.h"
#include "dataplane/loop.h"

#include <stdbool.h>
#include <stddef.h>

#define RELAY_SLICE (64u << 10)
#define RELAY_DRAIN_MS 120000

struct limits;
struct relays;

/* One end. */
struct relay_end {
	int fd;             /* connected, non-blocking, close-on-exec */
	bool tcp;           /* and then it has had tcp_socket_splice() */
	bool guest;         /* the guest's end, the VMM's socket; one of the two is */
	const void *prefix; /* bytes that were read from it already; copied */
	size_t prefix_len;
};

/* max: how many there may be. NULL without memory. */
struct relays *relays_new(struct loop *loop, struct counters *counters, size_t max);
void relays_free(struct relays *relays); /* resets first; NULL is ignored */

void relays_set_limits(
	struct relays *relays, struct limits *limits); /* until then there are none */

/* Owns both fds, also on failure. ended() (may be NULL) is called once when it is over, not on
 * failure. 0, -EMFILE: at a bound, -EAGAIN: at the rate of new flows, -ENOMEM. */
int relays_start(
	struct relays *relays, const struct relay_end ends[2], void (*ended)(void *arg), void *arg);
void relays_reset(struct relays *relays); /* ends them all, abruptly */
size_t relays_count(const struct relays *relays);

#endif
