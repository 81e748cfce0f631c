/* SPDX-License-Identifier: MIT */
/*
 * The VM's hybrid socket, where we own the mux: a program of the host's connects, says
 * CONNECT PORT, and is told OK HOSTPORT once the guest has accepted; from there on the socket is the
 * connection (line.h). A client that says anything else, or nothing for 5 s, or whose port the
 * guest refuses, is closed. Bounded: see acceptor.h.
 */
#ifndef DATAPLANE_VSOCK_HOST_SOCKET_H
#define DATAPLANE_VSOCK_HOST_SOCKET_H

#include "dataplane/vsock/mux.h"

struct vsock_host_socket;

struct vsock_host_socket *vsock_host_socket_new(
	struct loop *loop, struct counters *counters, struct vsock_mux *mux);
/* After the mux's last reset, whose connections tell it of their end; NULL is ignored. */
void vsock_host_socket_free(struct vsock_host_socket *socket);

/* Owns fd, a listening unix socket, also on failure; replaces the one that was there, whose clients
 * go on, but not where it fails. -1: none. 0, -EINVAL or -ENOMEM. */
int vsock_host_socket_listen(struct vsock_host_socket *socket, int fd);
int vsock_host_socket_fd(const struct vsock_host_socket *socket); /* still its own; or -1 */
/* Closes the clients that have not been served yet. */
void vsock_host_socket_reset(struct vsock_host_socket *socket);

#endif
