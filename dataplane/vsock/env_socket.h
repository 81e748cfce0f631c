/* SPDX-License-Identifier: MIT */
/*
 * The env service for clients that are sockets: where the VMM owns the mux, a guest's connection to
 * port 1026 is one of the VMM's to us. A client is sent the document and the end, what it says is
 * thrown away, and it is closed once it has ended, too.
 *
 * What it does not take at once is kept and wiped as it goes, for VSOCK_SECRET_MS at most; then it has
 * VSOCK_SHUTDOWN_MS for its own end.
 */
#ifndef DATAPLANE_VSOCK_ENV_SOCKET_H
#define DATAPLANE_VSOCK_ENV_SOCKET_H

#include "dataplane/loop.h"
#include "dataplane/vsock/env.h"

struct vsock_env_socket; /* one client */

/* Owns fd, connected and non-blocking, also on failure. gone() is called once, also by stop(): the
 * client is no more. NULL without memory, and then it is not. */
struct vsock_env_socket *vsock_env_socket_serve(
	struct vsock_env *env, struct loop *loop, int fd, void (*gone)(void *arg), void *arg);
void vsock_env_socket_stop(struct vsock_env_socket *client); /* abruptly */

#endif
