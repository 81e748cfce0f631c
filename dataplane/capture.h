/* SPDX-License-Identifier: MIT */
/*
 * Copies of a link's frames for somebody who looks on, as pcapng (draft-ietf-opsawg-pcapng).
 *
 * Each capture has a socket, whose other end is the reader's. Whole blocks go into a buffer of
 * CAPTURE_BUFFER bytes and out of it as the reader takes them, a bounded piece in a turn of the loop.
 * A reader that is too slow loses frames, which are counted in the interface statistics; nothing
 * ever waits for it. While there is no capture a frame costs one test of a pointer.
 *
 *	reader shuts its writing side ──► the last statistics, then the end of the stream
 *	reader closes                 ──► the end
 */
#ifndef DATAPLANE_CAPTURE_H
#define DATAPLANE_CAPTURE_H

#include "dataplane/link/link.h"
#include "dataplane/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAPTURES_MAX 4
#define CAPTURE_BUFFER (2u << 20)
#define CAPTURE_PORTS_MAX 8
#define CAPTURE_SNAPLEN 262144u /* more than a frame has */

struct captures;

struct capture_wish {
	uint32_t snaplen;                  /* bytes kept of a frame; 0: all */
	uint16_t ports[CAPTURE_PORTS_MAX]; /* TCP or UDP, either end; none: all frames */
	size_t n_ports;
};

/* name is the interface's. NULL without memory. */
struct captures *captures_new(struct loop *loop, struct link *link, const char *name);
/* The name may be known later. */
void captures_set_name(struct captures *captures, const char *name);
/* Tells each reader what it missed, as far as that takes it at once. */
void captures_free(struct captures *captures);

/* Takes fd, a connected stream socket, in any case. 0, -EMFILE beyond CAPTURES_MAX, -ENOTSOCK,
 * -ENOMEM. */
int captures_start(struct captures *captures, const struct capture_wish *wish, int fd);
size_t captures_count(const struct captures *captures);

/* capture_filter.c: whether a frame is TCP or UDP from or to one of these ports. */
bool capture_wants(const struct capture_wish *wish, const uint8_t *frame, size_t len);

#endif
