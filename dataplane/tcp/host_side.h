/* SPDX-License-Identifier: MIT */
/*
 * The host's side of a splice: any stream socket. TCP, a unix socket, or a socketpair to a service
 * of the worker's own.
 *
 * Bytes from the host stay in the socket until the guest acknowledged them: they are peeked, in
 * order, beyond the `held` bytes that were peeked already and not consumed yet, and consumed on
 * the guest's ACK. Where the kernel keeps a peek offset (SO_PEEK_OFF) peeking costs no skipping;
 * elsewhere the held bytes are read again into nowhere, so at most 256 KiB may be held.
 *
 * Bytes that somebody has read from the socket already can be put back: they are peeked first.
 */
#ifndef DATAPLANE_TCP_HOST_SIDE_H
#define DATAPLANE_TCP_HOST_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define HOST_SIDE_HELD_MAX (256u << 10) /* without a peek offset */

struct host_side {
	int fd;
	bool tcp;         /* else a unix socket */
	bool peek_offset; /* the kernel keeps one */
	bool discard;     /* the kernel can consume without copying */
	/* What was put back and is not consumed yet: from prefix_at on; NULL: nothing. */
	uint8_t *prefix;
	size_t prefix_len, prefix_at;
};

/* Takes a connected, non-blocking socket. For TCP the caller has called tcp_socket_splice(). */
void host_side_init(struct host_side *host, int fd, bool tcp);

/* Before anything is peeked. The bytes are copied. 0 or -ENOMEM. */
int host_side_put_back(struct host_side *host, const void *bytes, size_t len);

/* How many bytes may be held at a time. */
size_t host_side_held_max(const struct host_side *host);

/* The bytes behind the held ones: > 0 how many, 0 the end (without a peek offset: only seen when
 * nothing is held), -EAGAIN, or the error that ended the connection. */
ssize_t host_side_peek(struct host_side *host, void *buf, size_t len, size_t held);
/* The held bytes from `skip` on, again; what is peeked next stays the same. */
ssize_t host_side_peek_again(
	struct host_side *host, void *buf, size_t len, size_t skip, size_t held);
/* Drops len held bytes. 0 or -errno. */
int host_side_consume(struct host_side *host, size_t len);

ssize_t host_side_write(struct host_side *host, const void *buf, size_t len);
ssize_t host_side_writev(struct host_side *host, const struct iovec *bytes, unsigned pieces);
/* How many bytes the send buffer could take, roughly. */
size_t host_side_room(const struct host_side *host);

int host_side_half_close(struct host_side *host); /* no more writing: FIN */
void host_side_close(struct host_side *host);     /* in order: what was written arrives */
void host_side_abort(struct host_side *host);     /* RST, where the socket has such a thing */

/* How much the send buffer of a socket could take; in host_side_linux.c and host_side_darwin.c. */
size_t host_side_os_room(int fd);
bool host_side_os_peek_offset(int fd, int offset);
bool host_side_os_can_discard(bool tcp);
ssize_t host_side_os_discard(int fd, size_t len);

#endif
