/* SPDX-License-Identifier: MIT */
/*
 * The one line with which a hybrid vsock socket begins (Firecracker's convention):
 *
 *	to the socket    CONNECT PORT\n      the guest's port, decimal
 *	from the socket  OK HOSTPORT\n       the guest has accepted; else the connection just ends
 *
 * and then the stream's bytes, of which some may have come with the line: they are the reader's.
 * A line has a bounded length and a deadline. Nothing but these two forms is a line.
 */
#ifndef DATAPLANE_VSOCK_LINE_H
#define DATAPLANE_VSOCK_LINE_H

#include "dataplane/loop.h"
#include "dataplane/stack/timer_wheel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VSOCK_LINE_MAX 32u /* bytes, the newline too: "CONNECT 4294967295\n" are 19 */
#define VSOCK_LINE_MS 5000

/* Embedded in its owner, zeroed but for done. */
struct vsock_line {
	/* Once, from the loop: 0 and text[0..end) is a line, what came behind it text[end..len); or
	 * -ETIMEDOUT, -EPROTO: too long, -ECONNRESET: the end came first, or what reading said.
	 * Nothing is watched any more; the fd is its owner's. */
	void (*done)(struct vsock_line *line, int err);
	struct loop *loop;
	struct event *readable; /* NULL: at rest */
	struct timer deadline;
	uint8_t len, end;
	char text[VSOCK_LINE_MAX];
};

/* fd is a connected, non-blocking stream socket. 0 or -ENOMEM. */
int vsock_line_read(struct vsock_line *line, struct loop *loop, int fd);
void vsock_line_stop(struct vsock_line *line); /* done() will not be called */

/* Whether the bytes are such a line, its newline included. */
bool vsock_line_connect(const char *text, size_t len, uint32_t *port);
bool vsock_line_ok(const char *text, size_t len, uint32_t *port);

#endif
