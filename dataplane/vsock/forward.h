/* SPDX-License-Identifier: MIT */
/*
 * Forwards to the guest's vsock and its TSI listeners: listening sockets, TCP and unix, that netctld
 * bound and handed over. A client is accepted and the guest asked at once; one that is refused, or
 * for whom there is no guest or no listener, is reset. Bounds: acceptor.h.
 */
#ifndef DATAPLANE_VSOCK_FORWARD_H
#define DATAPLANE_VSOCK_FORWARD_H

#include "dataplane/counters.h"
#include "dataplane/loop.h"
#include "dataplane/vsock/open.h"

#include <stddef.h>

struct vsock_forwards;
struct worker_forward;

/* ways is not copied and outlives it. */
struct vsock_forwards *vsock_forwards_new(
	struct loop *loop, struct counters *counters, const struct vsock_ways *ways);
/* After the connections, which tell it of their end; NULL is ignored. */
void vsock_forwards_free(struct vsock_forwards *forwards);

/* Owns fd, a listening TCP or unix stream socket, also on failure. 0, -EEXIST, -EINVAL, -ENOMEM. */
int vsock_forward_add(
	struct vsock_forwards *forwards, int fd, const struct worker_forward *forward);
/* 0 or -ENOENT; its connections go on. */
int vsock_forward_delete(struct vsock_forwards *forwards, const char *id);
void vsock_forwards_clear(struct vsock_forwards *forwards); /* deletes them all */
size_t vsock_forward_count(const struct vsock_forwards *forwards);
const struct worker_forward *vsock_forward_at(
	const struct vsock_forwards *forwards, size_t index, int *fd);

#endif
