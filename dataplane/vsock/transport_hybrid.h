/* SPDX-License-Identifier: MIT */
/*
 * The vsock transport "hybrid": the VMM owns the mux (Firecracker, cloud-hypervisor) and translates
 * between the guest's connections and unix sockets, by Firecracker's convention. There are no
 * packets here and no credit, only sockets: the VMM's on one side, the host's on the other.
 *
 *	guest → host  the VMM connects to PATH_PORT, where we listen. 1026 is served here (env_socket.h).
 *	              For any other port netctld connects what it leads to (dial.h), and the two
 *	              sockets are kept in step (relay.h); where there is nothing the VMM's is closed.
 *	host → guest  netctld connects to the VMM's PATH; we say CONNECT PORT, the VMM answers
 *	              OK HOSTPORT once the guest has accepted, or closes (line.h).
 *
 * The VMM has no connection of its own to us, so it is never seen to come or go; and it serves the host's
 * programs at PATH itself. TSI needs the mux and does not exist here.
 *
 * Bounds: 256 ports, as many connections as the mux has (VSOCK_CONNS_MAX), and acceptor.h's for
 * clients that are not served yet. What has been asked of netctld or the VMM and is not
 * answered in VSOCK_REQUEST_MS or VSOCK_LINE_MS is given up.
 */
#ifndef DATAPLANE_VSOCK_TRANSPORT_HYBRID_H
#define DATAPLANE_VSOCK_TRANSPORT_HYBRID_H

#include "dataplane/vsock/connection.h"
#include "dataplane/vsock/dial.h"
#include "dataplane/vsock/env.h"

#define VSOCK_HYBRID_PORTS_MAX 257u /* netctld's 256 maps, and env */

struct limits;
struct vsock_hybrid;

/* dials and env outlive it. NULL without memory. */
struct vsock_hybrid *vsock_hybrid_new(struct loop *loop, struct counters *counters,
	struct vsock_dials *dials, struct vsock_env *env);
/* Until then there are none. */
void vsock_hybrid_set_limits(struct vsock_hybrid *hybrid, struct limits *limits);
void vsock_hybrid_free(struct vsock_hybrid *hybrid); /* NULL is ignored */

/* Off: every connection ends and every listener is closed. On again: the connections end. */
void vsock_hybrid_set(struct vsock_hybrid *hybrid, bool on);
bool vsock_hybrid_is_on(const struct vsock_hybrid *hybrid);
/* Every connection ends, the host's sides abruptly. */
void vsock_hybrid_reset(struct vsock_hybrid *hybrid);

/* Owns fd, a listening unix socket, also on failure; replaces the port's. 0, -ENOTSUP: off,
 * -ENOSPC, -EINVAL, -ENOMEM. */
int vsock_hybrid_listen(struct vsock_hybrid *hybrid, uint32_t port, int fd);
int vsock_hybrid_unlisten(struct vsock_hybrid *hybrid, uint32_t port); /* 0 or -ENOENT */
void vsock_hybrid_unlisten_all(struct vsock_hybrid *hybrid);
size_t vsock_hybrid_port_count(const struct vsock_hybrid *hybrid);
/* The port at index, its fd still the hybrid's. False beyond the end. */
bool vsock_hybrid_port_at(const struct vsock_hybrid *hybrid, size_t index, uint32_t *port, int *fd);

/* As vsock_mux_connect(), for vsock_open(): the events' conn is NULL. */
int vsock_hybrid_open(struct vsock_hybrid *hybrid, uint32_t port, const struct vsock_host *host,
	const struct vsock_conn_events *events);

/* Connections that stand, and those under way. */
size_t vsock_hybrid_count(const struct vsock_hybrid *hybrid);
size_t vsock_hybrid_pending(const struct vsock_hybrid *hybrid);

#endif
