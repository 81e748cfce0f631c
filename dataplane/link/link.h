/* SPDX-License-Identifier: MIT */
/*
 * A link: how Ethernet frames reach the guest's NIC and come from it.
 *
 * Code above asks for capabilities, never for kinds. Sending is reserve, fill in place, commit;
 * committed frames lie in a bounded queue (8192 frames, 16 MiB) that is written out at the end of
 * the pass, or at once when much has gathered, with order kept; what would exceed the bound is
 * dropped at the tail and counted. TCP asks link_room() first and so never fills the queue.
 *
 * One struct link lives as long as its worker; what it is attached to comes and goes.
 */
#ifndef DATAPLANE_LINK_LINK_H
#define DATAPLANE_LINK_LINK_H

#include "common/addr.h"
#include "dataplane/counters.h"
#include "dataplane/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum link_kind { LINK_KIND_NONE, LINK_KIND_STREAM, LINK_KIND_DGRAM, LINK_KIND_TAP };

struct link_caps {
	size_t max_frame; /* longest frame in bytes, Ethernet header included, GSO or not */
	bool gso;  /* TCP frames up to max_frame may exceed the MTU, cut by the guest's kernel */
	bool csum; /* transport checksums may stay partial in both directions */
};

/* What the link says of a received frame, and what is to be said of one sent: virtio-net's header. */
struct link_meta {
	bool csum_partial;    /* transport checksum holds the pseudo-header's sum only */
	uint16_t csum_start;  /* from the frame's start; sending only */
	uint16_t csum_offset; /* from csum_start; sending only */
	uint16_t gso_size;    /* payload bytes a segment, 0: no GSO */
	uint16_t hdr_len;     /* all headers, for GSO; sending only */
};

struct link_events {
	void *arg;
	/* A frame of at least 14 bytes; dies with the call. */
	void (*frame)(void *arg, const uint8_t *frame, size_t len, const struct link_meta *meta);
	/* Up, or down (text says why); the guest behind it may be another one now. */
	void (*changed)(void *arg, bool up, const char *text);
	/* A second VMM connected to the listener while one is served, and was turned away. */
	void (*refused)(void *arg);
	/* The peer of a dgram link has gone; the receiver owns fd now. */
	void (*returned)(void *arg, int fd);
	/* Room again after link_room() was found wanting. */
	void (*room)(void *arg);
};

struct flow_memory;
struct link;

struct link *link_new(
	struct loop *loop, struct counters *counters, const struct link_events *events);
void link_free(struct link *link);

/*
 * Takes ownership of fd, also on failure. kind NONE with fd -1 detaches. A listener (stream only)
 * accepts one VMM at a time. Replaces what was attached. 0, or -EINVAL for an fd of another kind.
 */
int link_attach(struct link *link, enum link_kind kind, int fd, bool listener);
/* Takes over a stream connection from a dead worker, mid-record maybe; see stream.c. Owns fd. */
int link_resume(struct link *link, int fd, const struct mac *ours, const struct mac *guest);
/* Where to note what a successor needs for that; may be NULL. */
void link_set_memory(struct link *link, struct flow_memory *memory);
/* The fds now in use, still owned by the link, or -1. */
int link_listener_fd(const struct link *link);
int link_connected_fd(const struct link *link);
enum link_kind link_kind(const struct link *link);

/*
 * Another guest comes next: frames that wait, in either direction, go nowhere; those received count
 * and are told as ever, the caller does not listen. A record that the VMM has begun to read is
 * completed with zeros. The link stays up, unless the VMM turns out to have gone.
 */
void link_reset(struct link *link);
size_t link_queued(const struct link *link); /* frames for the guest that wait */

const struct link_caps *link_caps(const struct link *link);
bool link_is_up(const struct link *link);

/* Frames of at most `bytes` altogether that could be committed now without queueing behind a full
 * kernel buffer; 0 asks for events.room(). */
size_t link_room(struct link *link);

/* Space for one frame of at most max bytes (≤ max_frame), or NULL (down, or the queue is full:
 * counted). Only one reservation at a time; a second reserve replaces an uncommitted one. */
uint8_t *link_reserve(struct link *link, size_t max);
/* Sends the first len bytes of the reservation; meta may be NULL. */
void link_commit(struct link *link, size_t len, const struct link_meta *meta);

/* Who looks on: told of each frame that comes from the guest or is committed to it. NULL: nobody. */
typedef void link_watch_fn(void *arg, bool to_guest, const uint8_t *frame, size_t len);
void link_watch(struct link *link, link_watch_fn *watch, void *arg);

#endif
