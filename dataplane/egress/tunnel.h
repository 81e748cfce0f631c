/* SPDX-License-Identifier: MIT */
/*
 * A connection to a proxy in the making: TCP to one of its addresses, then the handshake
 * (handshake.h). What it ends with is a socket at the flow's first byte, as if it had been connected to
 * the destination itself: nothing of the flow was read, and nothing of the handshake is left in it.
 *
 * Deadlines: TUNNEL_CONNECT_MS for the proxy's own connection, over all its addresses but the last
 * within TUNNEL_ADDRESS_MS each; TUNNEL_ANSWER_MS for what it says, in which it connects to the
 * destination.
 */
#ifndef DATAPLANE_EGRESS_TUNNEL_H
#define DATAPLANE_EGRESS_TUNNEL_H

#include "dataplane/egress/dial.h"
#include "dataplane/egress/handshake.h"

#define TUNNEL_CONNECT_MS 8000u /* a guest's TSI connect has 10 s */
#define TUNNEL_ADDRESS_MS 3000u
#define TUNNEL_ANSWER_MS 30000u

struct tunnel;

struct tunnel_end {
	int fd;         /* the receiver's, or a negative errno for the guest */
	bool of_no_use; /* not the destination but the proxy has failed: trouble says how */
	enum proxy_trouble trouble;
	struct endpoint bound; /* of an association: where its datagrams go */
	struct endpoint proxy; /* at which address it was found */
};

/* Once, from the loop, never from within tunnel_new(). The tunnel is gone. */
typedef void (*tunnel_done_fn)(void *arg, const struct tunnel_end *end);

/* name may be NULL. NULL without memory. */
struct tunnel *tunnel_new(struct egress *egress, struct loop *loop, struct proxies *proxies,
	const struct proxy_server *server, enum socks5_command command, const struct endpoint *dst,
	const char *name, tunnel_done_fn done, void *arg);
void tunnel_cancel(struct tunnel *tunnel); /* done will not be called */

#endif
