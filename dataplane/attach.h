/* SPDX-License-Identifier: MIT */
/*
 * Connections that somebody else accepted: a connected stream socket with the bytes that were read
 * from it already, handed over to become a connection to a port of the guest's vsock, to a TSI
 * listener of it, or to a TCP port of it. Who handed it over is told whether the guest took it, within
 * ATTACH_MS; a refused one is reset.
 */
#ifndef DATAPLANE_ATTACH_H
#define DATAPLANE_ATTACH_H

#include "common/addr.h"
#include "dataplane/counters.h"
#include "dataplane/loop.h"
#include "dataplane/vsock/target.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATTACH_MS 5000
#define ATTACH_MAX 256u /* under way */
#define ATTACH_PREFIX_MAX (64u << 10)

struct tcp;
struct vsock;

struct attach {
	struct vsock_target to; /* NOTHING: the TCP port `port` */
	uint16_t port;
	bool tcp; /* the socket is TCP, else unix */
	const void *prefix;
	size_t prefix_len;
	const struct endpoint *client; /* its far end; NULL where that is no IP address */
};

struct attaches;

struct attaches *attaches_new(
	struct loop *loop, struct counters *counters, struct tcp *tcp, struct vsock *vsock);
/* After tcp and vsock, whose connections tell it of their end; NULL is ignored. */
void attaches_free(struct attaches *attaches);

/*
 * Owns fd, also on failure. 0: done() is called once, with 0 or -ECONNREFUSED (refused, or not
 * answered in time), maybe after arg's owner would rather not hear of it. Or -errno and it is not:
 * -EINVAL no stream socket, -EAGAIN too many under way, or what vsock_open() and tcp_open() say.
 */
int attach_start(struct attaches *attaches, const struct attach *attach, int fd,
	void (*done)(void *arg, int err), void *arg);

#endif
