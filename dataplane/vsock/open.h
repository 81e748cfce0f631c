/* SPDX-License-Identifier: MIT */
/*
 * A connection of the host's to the guest, whichever transport it has: by the mux, by a TSI
 * listener of the guest's, or, where the VMM owns the mux, by the VMM's socket.
 */
#ifndef DATAPLANE_VSOCK_OPEN_H
#define DATAPLANE_VSOCK_OPEN_H

#include "common/addr.h"
#include "dataplane/vsock/connection.h"
#include "dataplane/vsock/target.h"

struct tsi;
struct vsock_hybrid;

struct vsock_ways {
	struct vsock_mux *mux;
	struct tsi *tsi;
	struct vsock_hybrid *hybrid;
};

/*
 * Opens one for host->fd, which is owned, also on failure. client is its far end's address, NULL
 * where that has none; TSI guests see it. events->opened: the guest has accepted; ->closed: it
 * refused or did not answer (REQUEST's deadline), or the connection is over; conn is NULL where the
 * VMM owns the mux. 0 or -errno, and then events hear nothing: -ENOTCONN no guest, -ENOENT no such
 * TSI listener, -ENOTSUP TSI where the VMM owns the mux, -EMFILE at a bound, -ENOMEM.
 */
int vsock_open(const struct vsock_ways *ways, const struct vsock_target *target,
	const struct vsock_host *host, const struct endpoint *client,
	const struct vsock_conn_events *events);

#endif
