/* SPDX-License-Identifier: MIT */
/*
 * Requests, replies and events over a channel, and the Hello that comes first both ways.
 *
 * Each end may ask the other. A request gets exactly one reply of its id, in time or not at all:
 * then its `done` says -ETIMEDOUT, and a late reply is dropped with its fds. A message without a
 * body that we know is answered ENOSYS if it is a request, else ignored; unknown fields are
 * ignored.
 *
 * Versions: each end speaks RPC_VERSION and the one before. A peer whose Hello is further away, or
 * whose first frame is no Hello, or none within RPC_HELLO_MS, is closed with -EPROTO. The version
 * in use is the lower of the two.
 *
 * Callbacks come from the loop, never from inside a function here (but rpc_free() and rpc_cancel(),
 * which fail pending calls). rpc_free() may be called from any callback.
 */
#ifndef PROTO_RPC_H
#define PROTO_RPC_H

#include "proto/channel.h"

#define RPC_VERSION 1u
#define RPC_HELLO_MS 10000
#define RPC_CALLS_MAX 4096
#define RPC_FEATURE_NUMBERS "event-numbers" /* of a netctld that answers by EventsSeen */

struct rpc;

struct rpc_ops {
	/* The peer's Hello, which suits us. May be NULL. */
	void (*hello)(void *arg, const Netdp__Hello *hello);
	/* To be answered by rpc_reply() or rpc_reply_status(), now or later. NULL: all get ENOSYS.
	 * fds: take those to be kept by setting them to -1. */
	void (*request)(void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds);
	/* May be NULL. fds as above. */
	void (*event)(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds);
	/* Once; all pending calls were failed with -ECONNRESET before. */
	void (*closed)(void *arg, int err, const char *text);
};

/* code: 0, or a negative errno: of the peer's Status, or of the call itself (-ETIMEDOUT,
 * -ECONNRESET, -ECANCELED, -ENOBUFS, …). text is never NULL. reply is NULL where code is not 0;
 * else it may be a Status too. fds as above. */
typedef void rpc_done_fn(void *arg, int code, const char *text, const Netdp__Envelope *reply,
	int *fds, size_t n_fds);

/* Takes fd in any case. program: as in Hello; features: NULL or a NULL-terminated list, not kept.
 * NULL without memory. */
struct rpc *rpc_new(struct event_base *base, int fd, const char *program,
	const char *const *features, const struct rpc_ops *ops, void *arg);
/* Pending calls are failed with -ECANCELED from inside. NULL is ignored. */
void rpc_free(struct rpc *rpc);

/* env's id, reply and fds are filled in. done is called exactly once (may be NULL). */
void rpc_call(struct rpc *rpc, Netdp__Envelope *env, const int *fds, size_t n_fds,
	unsigned deadline_ms, rpc_done_fn *done, void *arg);
/* Fails all pending calls with -ECANCELED, from inside; their replies will be dropped. */
void rpc_cancel(struct rpc *rpc);
/* A reply that cannot be sent ends the connection. */
void rpc_reply(struct rpc *rpc, uint64_t id, Netdp__Envelope *env, const int *fds, size_t n_fds);
/* code: 0 or a negative errno. text may be NULL. */
void rpc_reply_status(struct rpc *rpc, uint64_t id, int code, const char *text);
/* 0 or what channel_send() says. */
int rpc_event(struct rpc *rpc, Netdp__Envelope *env, const int *fds, size_t n_fds);

/* The version in use; 0 before the peer's Hello. */
uint32_t rpc_version(const struct rpc *rpc);
size_t rpc_queued(const struct rpc *rpc);
/* Ends the connection; closed(err, text) follows from the loop. */
void rpc_abort(struct rpc *rpc, int err, const char *text);

#endif
