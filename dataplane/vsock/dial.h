/* SPDX-License-Identifier: MIT */
/*
 * Host sockets that netctld connects for the vsock: what a port of the host's leads to, and where
 * the VMM listens, are names, and names are netctld's.
 *
 * One question a connection. VSOCK_DIALS_MAX are open at a time and the others wait in line, each
 * within its owner's deadline; where netctld is away all that wait are told at once.
 */
#ifndef DATAPLANE_VSOCK_DIAL_H
#define DATAPLANE_VSOCK_DIAL_H

#include "dataplane/counters.h"
#include "dataplane/loop.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define VSOCK_DIALS_MAX 64u /* questions open at netctld */

struct vsock_dials;

/* Embedded in its owner, zeroed but for the first three. */
struct vsock_dial {
	bool vmm;      /* to the VMM's own socket (hybrid), port is ignored */
	uint32_t port; /* else: the host's, for which the guest asks */
	/* Once, never from within vsock_dial(): a connected, non-blocking stream socket, which is
	 * the receiver's (TCP has had tcp_socket_splice()), or -errno: -ENOENT nobody listens there,
	 * -ENOTCONN netctld is away, … */
	void (*done)(struct vsock_dial *dial, int fd, bool tcp);
	TAILQ_ENTRY(vsock_dial) entry; /* in the line */
	enum { VSOCK_DIAL_IDLE, VSOCK_DIAL_WAITING, VSOCK_DIAL_ASKED } state;
	unsigned question;
};

struct vsock_dials_events {
	void *arg;
	/* Asks netctld; vsock_dials_answer() follows, exactly once, from the loop. False, or
	 * NULL: nobody is there. */
	bool (*ask)(void *arg, unsigned question, bool vmm, uint32_t port);
};

struct vsock_dials *vsock_dials_new(
	struct loop *loop, struct counters *counters, const struct vsock_dials_events *events);
void vsock_dials_free(struct vsock_dials *dials); /* after its dials; NULL is ignored */

void vsock_dial(struct vsock_dials *dials, struct vsock_dial *dial);
/* done() will not be called. An idle one is left alone. */
void vsock_dial_cancel(struct vsock_dials *dials, struct vsock_dial *dial);

/* What ask() asked for: fd, which is owned, or -errno. */
void vsock_dials_answer(struct vsock_dials *dials, unsigned question, int fd, bool tcp);

#endif
