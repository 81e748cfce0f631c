/* SPDX-License-Identifier: MIT */
/*
 * What link.c and the kinds of links share. Nobody else includes this.
 *
 * The transmit queue is a list of chunks. A chunk holds records back to back: a 4-byte big-endian
 * length, then that many bytes: the link's own header (virtio-net's on a tap) and the frame. On a
 * stream link the records are the wire format itself.
 */
#ifndef DATAPLANE_LINK_LINK_INTERNAL_H
#define DATAPLANE_LINK_LINK_INTERNAL_H

#include "dataplane/link/link.h"

#include "dataplane/stack/flow_memory.h"
#include "dataplane/stack/frame.h"
#include "dataplane/stack/timer_wheel.h"

#define LINK_QUEUE_FRAMES 8192u
#define LINK_QUEUE_BYTES (16u << 20)
#define LINK_RX_FRAMES 64 /* a turn */
#define LINK_CHUNK (256u << 10)
#define LINK_RECORD_HLEN 4u
#define LINK_FRAME_MAX (65535 + ETH_HLEN)
/* The most that any kind puts before a frame, rounded up. */
#define LINK_HEADER_MAX 16u

struct chunk {
	struct chunk *next;
	size_t head, tail; /* what is to be written out lies between */
	uint8_t data[LINK_CHUNK];
};

struct link_ops {
	/* Checks and prepares fd, sets caps and header_len. 0 or -errno. */
	int (*start)(struct link *link, int fd);
	/* Reads and delivers at most LINK_RX_FRAMES. True where more may be waiting. */
	bool (*receive)(struct link *link);
	/* Makes nothing of the part of a frame that was received; NULL where there are no parts. */
	void (*drop_part)(struct link *link);
	/* Writes out the queue: 0 all, -EAGAIN full, other: the link is broken. */
	int (*drain)(struct link *link);
	/* Fills the link's own header before a frame; NULL where there is none. */
	void (*fill_header)(uint8_t *header, const struct link_meta *meta);
};

struct link {
	struct loop *loop;
	struct counters *counters;
	struct link_events events;
	link_watch_fn *watch; /* NULL: nobody looks on */
	void *watch_arg;
	struct flow_memory *memory;

	enum link_kind kind;
	const struct link_ops *ops;
	struct link_caps caps;
	size_t header_len; /* bytes before each frame */
	int fd, listener;
	struct event *readable, *writable, *acceptable;
	struct task receive_task;
	struct loop_hook flush_hook;
	struct timer accept_timer; /* ends a pause of accept after EMFILE */
	struct timer probe_timer;  /* dgram: is the peer still there? */
	bool up;
	bool blocked; /* the kernel's buffer is full; waiting for writable */
	bool room_asked;
	int broken; /* errno of a failed write, to be acted on at the end of the pass */

	/* transmit queue */
	struct chunk *first, *last;
	size_t queued_frames, queued_bytes;
	size_t head_left; /* bytes of a partly written first record, 0 at a record's start */
	size_t head_size; /* of that record */
	/* to be sent first: the rest of a record that a dead worker broke off */
	struct flow_memory_tx pad;
	uint8_t *reserved; /* where the reserved record begins */
	uint64_t sent_at;  /* ms, last commit */

	/* receive buffer; `have` bytes of an unfinished record at its start (stream) */
	uint8_t *rx;
	size_t rx_size, have;
	uint64_t rx_pass; /* the loop's pass of the latest receive */
	uint64_t skip;    /* bytes of an oversize record still to be thrown away */
	bool resync;      /* taken over from a dead worker: look for a frame's start */
	struct mac resync_dst, resync_src;
};

extern const struct link_ops link_stream_ops, link_dgram_ops, link_tap_ops;

/* Delivers one frame upward, or counts why not. */
void link_deliver(
	struct link *link, const uint8_t *frame, size_t len, const struct link_meta *meta);
/*
 * How many frames to read now. One, where the link was quiet during the last pass: a lone frame is
 * then served without a second read that finds nothing. If there is more, epoll says so again.
 */
int link_rx_budget(struct link *link);
/* The peer is gone or broke the framing. May hand the fd back (dgram) or wait for the next (listener). */
void link_lost(struct link *link, const char *why);
/* So many bytes at the head of the queue were written; records may be taken in parts. */
void link_written(struct link *link, size_t len);

#endif
