/* SPDX-License-Identifier: MIT */
/*
 * The host's vsock ports that the worker does not serve itself: maps and vsock.sock_PORT. A guest's
 * REQUEST waits while netctld connects what the port leads to (dial.h), and is accepted with that
 * socket, or refused: nobody there, netctld away, or no answer within the REQUEST's deadline.
 */
#ifndef DATAPLANE_VSOCK_PORTS_H
#define DATAPLANE_VSOCK_PORTS_H

#include "dataplane/vsock/connection.h"
#include "dataplane/vsock/dial.h"

/* A guest's REQUEST. dials outlives the connection. */
void vsock_ports_request(struct vsock_dials *dials, struct vsock_conn *conn);

#endif
