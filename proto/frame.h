/* SPDX-License-Identifier: MIT */
/*
 * Frames of the control protocol as bytes: a 4-byte big-endian length, then that many bytes of a
 * packed Envelope. Pure state machine, no socket: channel.c feeds it from recvmsg, tests and
 * fuzzers from wherever they like.
 *
 * Two bounds hold against a hostile peer: a frame is at most FRAME_MAX bytes with its length, and
 * unpacking one takes at most FRAME_ARENA_MAX of memory (a packed message of 2-byte fields would
 * otherwise grow a hundredfold). All memory that held a frame is wiped before it is freed, since a
 * frame may carry a secret.
 */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "netdp.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD 4
#define FRAME_MAX (4u << 20)
#define FRAME_BODY_MAX (FRAME_MAX - FRAME_HEAD)
#define FRAME_FDS_MAX 16
#define FRAME_ARENA_MAX (32u << 20)

struct frame_chunk;

struct frame_reader {
	uint8_t head[FRAME_HEAD];
	size_t head_got;
	uint8_t *body; /* NULL while the head is incomplete, or the body empty */
	size_t body_len;
	size_t body_got;
	int fds[FRAME_FDS_MAX]; /* came with the first byte; owned */
	size_t n_fds;
	struct frame_chunk *arena; /* holds the envelope unpacked last */
};

/* A zeroed struct is a new reader. Clearing it closes its fds and wipes and frees its memory. */
void frame_reader_clear(struct frame_reader *reader);

/* Where the next bytes go and how many are wanted at most, never beyond the current frame. */
void *frame_reader_room(struct frame_reader *reader, size_t *len);

/*
 * n bytes (≤ what room() said) were put there, and with them came these fds, which the reader owns
 * from now on, in any case. Returns 1 and *env when the frame is complete (env and reader->fds live until
 * frame_reader_next()), 0 when more is wanted, or an error after which the reader is only good for
 * clearing: -EPROTO (length, fds that did not come with the first byte, fds not as many as the
 * envelope says, bytes that are no envelope), -ENOMEM; *why says it in words.
 */
int frame_reader_fed(struct frame_reader *reader, size_t n, const int *fds, size_t n_fds,
	Netdp__Envelope **env, const char **why);

/* Ready for the next frame: closes the fds that nobody took (those not -1), wipes. */
void frame_reader_next(struct frame_reader *reader);

/* A packed frame, length first, in memory of its own: free with frame_free(). NULL: too long
 * (-EMSGSIZE) or no memory (-ENOMEM), in *err. */
uint8_t *frame_pack(const Netdp__Envelope *env, size_t *len, int *err);
void frame_free(uint8_t *frame, size_t len); /* wipes */

#endif
