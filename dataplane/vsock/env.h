/* SPDX-License-Identifier: MIT */
/*
 * The env service, stream port 1026: a guest that connects is sent one JSON document and then the
 * end. The document is netctld's and asked for at each read, so a guest always sees the latest;
 * nothing of it is kept here, and every copy is wiped as soon as it has gone on.
 *
 * One question is open at a time and the others wait in line, which keeps each guest's REQUEST
 * within its deadline (a question is answered in well under a millisecond). Documents that
 * guests do not fetch are bounded (VSOCK_ENV_HELD_MAX): beyond that a REQUEST is refused, as it is
 * where netctld is away.
 */
#ifndef DATAPLANE_VSOCK_ENV_H
#define DATAPLANE_VSOCK_ENV_H

#include "dataplane/counters.h"
#include "dataplane/loop.h"
#include "dataplane/vsock/connection.h"

#define VSOCK_ENV_PORT 1026u
#define VSOCK_ENV_HELD_MAX (16u << 20) /* bytes of documents, all connections together */

struct vsock_env;

struct vsock_env_events {
	void *arg;
	/* Asks netctld; vsock_env_answer() follows, exactly once, from the loop. False: it is away. */
	bool (*ask)(void *arg);
};

struct vsock_env *vsock_env_new(
	struct loop *loop, struct counters *counters, const struct vsock_env_events *events);
void vsock_env_free(struct vsock_env *env); /* after its connections; NULL is ignored */

/* A guest's REQUEST for the port. */
void vsock_env_request(struct vsock_env *env, struct vsock_conn *conn);

/* Whoever else reads the document; embedded in its owner, zeroed but for done. */
struct vsock_env_reader {
	TAILQ_ENTRY(vsock_env_reader) entry; /* in the line */
	struct vsock_env *env;               /* NULL: neither waits nor holds anything */
	size_t held;                         /* bytes of its document */
	bool waiting;
	/* Once, from the loop: the document, to be copied, and then vsock_env_leave() tells that
	 * the copy is gone; or NULL: none is to be had, and the reader has left. */
	void (*done)(struct vsock_env_reader *reader, const void *document, size_t len);
};

void vsock_env_read(struct vsock_env *env, struct vsock_env_reader *reader);
/* It does not want the document any more, or does not hold it. */
void vsock_env_leave(struct vsock_env_reader *reader);

/* What ask() asked for; copied. NULL: there is none to be had. */
void vsock_env_answer(struct vsock_env *env, const void *document, size_t len);

#endif
