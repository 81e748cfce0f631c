/* SPDX-License-Identifier: MIT */
/*
 * A control connection: frames (frame.h) with file descriptors over a unix stream socket, in a
 * libevent loop, at its highest priority.
 *
 * Reading never goes past the current frame, since fds arrive with a frame's first byte; what
 * breaks the rules of fds (not as many as the envelope says, MSG_CTRUNC, fds elsewhere than with
 * the first byte) closes them all and the connection. At most CHANNEL_TURN frames are delivered in
 * a turn of the loop. Sending goes to the socket at once where it can, else into a queue of at
 * most CHANNEL_QUEUE_MAX bytes and CHANNEL_QUEUE_FRAMES frames.
 *
 * No callback is called from inside any function here; channel_free() may be called from any
 * callback.
 */
#ifndef PROTO_CHANNEL_H
#define PROTO_CHANNEL_H

#include "proto/frame.h"

#define CHANNEL_TURN 64
#define CHANNEL_QUEUE_MAX (16u << 20)
#define CHANNEL_QUEUE_FRAMES 8192

struct event_base;
struct channel;

struct channel_ops {
	/* env dies with the call. The fds are the channel's: it closes those that the callee does
	 * not take by setting them to -1. */
	void (*frame)(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds);
	/* Once, not after channel_free(): the connection is gone (-ECONNRESET: by the peer; -EPROTO: by
	 * its fault). The channel stays to be freed; sends on it fail with -ENOTCONN. */
	void (*closed)(void *arg, int err, const char *text);
};

/* Takes fd in any case and makes it non-blocking. NULL without memory. */
struct channel *channel_new(
	struct event_base *base, int fd, const struct channel_ops *ops, void *arg);
/* Closes at once; what is queued is lost. NULL is ignored. */
void channel_free(struct channel *channel);

/*
 * Sends env with these fds; its `fds` field is filled in here. The fds stay the caller's, who may
 * close them as soon as this returns (they are duplicated where they have to wait).
 * 0, -ENOBUFS (the queue is full: nothing was sent), -EMSGSIZE, -ENOTCONN, -ENOMEM, -EMFILE.
 */
int channel_send(struct channel *channel, Netdp__Envelope *env, const int *fds, size_t n_fds);

/* Bytes waiting in the queue. */
size_t channel_queued(const struct channel *channel);

/* Ends the connection by our own decision; closed(err, text) follows from the loop. */
void channel_abort(struct channel *channel, int err, const char *text);

#endif
