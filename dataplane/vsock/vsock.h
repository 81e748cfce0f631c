/* SPDX-License-Identifier: MIT */
/*
 * A VM's vsock, put together: mux, transport, services. What listens on the host's CID:
 *
 *	stream 1026   env (env.h)
 *	any other     nobody: RST
 */
#ifndef DATAPLANE_VSOCK_VSOCK_H
#define DATAPLANE_VSOCK_VSOCK_H

#include "dataplane/counters.h"
#include "dataplane/egress/dial.h"
#include "dataplane/loop.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VSOCK_CID_FIRST 3u
#define VSOCK_CID_LAST (UINT32_MAX - 1) /* above it is VMADDR_CID_ANY, and Linux has 32 bits */

enum vsock_kind { VSOCK_KIND_NONE, VSOCK_KIND_VHOST, VSOCK_KIND_STREAM, VSOCK_KIND_HYBRID };

#define VSOCK_SESSION_MS 100

struct flow_memory;
struct vhost_session;
struct vsock;

/* What the vsock works with; all outlive it. */
struct vsock_parts {
	struct loop *loop;
	struct counters *counters;
	struct egress *egress;
	struct dns *dns;
	const struct net *net; /* shared, may change */
};

/* What it asks of netctld and tells it. */
struct vsock_events {
	void *arg;
	/* As vsock_env_events.ask. */
	bool (*env_get)(void *arg);
	/* A VMM connected or is gone (text says why); or (refused) a second one was turned away. */
	void (*changed)(
		void *arg, enum vsock_kind kind, bool up, const char *text, bool refused);
	/* vsock_session() gives something else than before: at most every VSOCK_SESSION_MS. */
	void (*session)(void *arg);
};

/* NULL without memory. */
struct vsock *vsock_new(const struct vsock_parts *parts, const struct vsock_events *events);
void vsock_free(struct vsock *vsock); /* NULL is ignored */

/*
 * Owns fd, also on failure; replaces what was there, and so ends its connections. NONE with fd -1
 * takes it away. 0, -EDOM: no guest has such a CID, -EINVAL: an fd of the wrong kind, -ENOTSUP: a
 * transport that is not spoken.
 */
int vsock_set(struct vsock *vsock, enum vsock_kind kind, int fd, bool listener, uint64_t guest_cid);
/* As vsock_mux_set_memory(). */
void vsock_set_memory(struct vsock *vsock, struct flow_memory *memory, bool reset);
/* Whether a VMM is connected. */
bool vsock_is_up(const struct vsock *vsock);
/* VHOST: the VMM's session for a successor, and the guest's CID; false: there is none. */
bool vsock_session(const struct vsock *vsock, struct vhost_session *out, uint64_t *guest_cid);
/* As vhost_user_resume(), after vsock_set(); -ENOTSUP: another kind is in force. */
int vsock_resume(struct vsock *vsock, const struct vhost_session *session);
/* As vsock_env_answer(). */
void vsock_env_arrived(struct vsock *vsock, const void *document, size_t len);

#endif
