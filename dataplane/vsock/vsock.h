/* SPDX-License-Identifier: MIT */
/*
 * A VM's vsock, put together: mux, transport, services. What listens on the host's CID:
 *
 *	stream 620    what TSI has dialled for the guest (tsi.h)
 *	stream 1026   env (env.h)
 *	any other     what netctld connects for it (ports.h), else RST
 *	datagrams     TSI (tsi.h)
 *
 * and the guest is reached from the host by the hybrid socket (host_socket.h), forwards (forward.h)
 * and vsock_connect(). Where the VMM owns the mux, transport_hybrid.h does all this by sockets.
 */
#ifndef DATAPLANE_VSOCK_VSOCK_H
#define DATAPLANE_VSOCK_VSOCK_H

#include "dataplane/busy.h"
#include "dataplane/counters.h"
#include "dataplane/egress/dial.h"
#include "dataplane/loop.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/net.h"
#include "dataplane/vsock/connection.h"
#include "dataplane/vsock/target.h"
#include "dataplane/vsock/tsi.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VSOCK_CID_FIRST 3u
#define VSOCK_CID_LAST (UINT32_MAX - 1) /* above it is VMADDR_CID_ANY, and Linux has 32 bits */

enum vsock_kind { VSOCK_KIND_NONE, VSOCK_KIND_VHOST, VSOCK_KIND_STREAM, VSOCK_KIND_HYBRID };

#define VSOCK_SESSION_MS 100
#define VSOCK_SESSION_BURST 32 /* more than a VMM's messages to set up a device */

struct flow_info;
struct flow_memory;
struct limits;
struct vhost_session;
struct vsock;

/* What the vsock works with; all outlive it. */
struct vsock_parts {
	struct loop *loop;
	struct counters *counters;
	struct egress *egress;
	struct dns *dns;
	const struct net *net; /* shared, may change */
	struct limits *limits; /* NULL: none */
};

/* What it asks of netctld and tells it. */
struct vsock_events {
	void *arg;
	/* As vsock_env_events.ask. */
	bool (*env_get)(void *arg);
	/* A VMM connected or is gone (text says why); or (refused) a second one was turned away. */
	void (*changed)(void *arg, enum vsock_kind kind, bool up, const char *text, bool refused);
	/* vsock_session() gives something else than before: VSOCK_SESSION_BURST times at once, then at most every VSOCK_SESSION_MS. */
	void (*session)(void *arg);
	/* As vsock_dials_events.ask. */
	bool (*dial)(void *arg, unsigned question, bool vmm, uint32_t port);
	struct tsi_events tsi;
};

/* NULL without memory. */
struct vsock *vsock_new(const struct vsock_parts *parts, const struct vsock_events *events);
void vsock_free(struct vsock *vsock); /* NULL is ignored */

/*
 * Owns fd, also on failure; replaces what was there, and so ends its connections. NONE and HYBRID
 * have no fd. Listeners that the new kind does not have (enum vsock_use) are closed. 0, -EDOM: no
 * guest has such a CID, -EINVAL: an fd of the wrong kind.
 */
int vsock_set(struct vsock *vsock, enum vsock_kind kind, int fd, bool listener, uint64_t guest_cid);
/*
 * Another life of the guest begins, in two steps with a barrier between: services and connections end
 * and nothing moves; what waits for the guest goes, and it is told.
 */
void vsock_reset_begin(struct vsock *vsock);
void vsock_reset_end(struct vsock *vsock);
void vsock_busy(const struct vsock *vsock, struct busy *busy);
size_t vsock_count(const struct vsock *vsock); /* connections */
/* As vsock_mux_flows(); those of a VMM that owns the mux are not known. */
size_t vsock_flows(const struct vsock *vsock, uint32_t *cursor, struct flow_info *out, size_t max);
/* As vsock_mux_set_memory(). */
void vsock_set_memory(struct vsock *vsock, struct flow_memory *memory, bool reset);
/* Whether a VMM is connected; a HYBRID one is not seen to come and go. */
bool vsock_is_up(const struct vsock *vsock);
/* VHOST: the VMM's session for a successor, and the guest's CID; false: there is none. */
bool vsock_session(const struct vsock *vsock, struct vhost_session *out, uint64_t *guest_cid);
/* As vhost_user_resume(), after vsock_set(); -ENOTSUP: another kind is in force. */
int vsock_resume(struct vsock *vsock, const struct vhost_session *session);
/* What is in force. Its listener's fd is still the vsock's; -1: there is none. */
struct vsock_in_force {
	enum vsock_kind kind;
	int listener;
	uint64_t guest_cid;
};
struct vsock_in_force vsock_in_force(const struct vsock *vsock);

/* For what tsi.h has for the rest of the worker. */
struct tsi *vsock_tsi(struct vsock *vsock);
/* As vsock_env_answer(). */
void vsock_env_arrived(struct vsock *vsock, const void *document, size_t len);
/* As vsock_dials_answer(). */
void vsock_dialled(struct vsock *vsock, unsigned question, int fd, bool tcp);

/* ---- listeners ---- */

enum vsock_use {
	VSOCK_USE_HOST, /* the hybrid socket; port is 0. Not with HYBRID, whose VMM has it */
	VSOCK_USE_PORT, /* connections of the guest's to the host's `port`. With HYBRID only */
};

struct vsock_listener {
	enum vsock_use use;
	uint32_t port;
};

/* Owns fd, a listening unix socket, also on failure; replaces the one of the same use and port.
 * 0, -ENOTSUP: not with this kind, -EINVAL: no listening socket, -ENOSPC, -ENOMEM. */
int vsock_listen(struct vsock *vsock, const struct vsock_listener *listener, int fd);
int vsock_unlisten(struct vsock *vsock, const struct vsock_listener *listener); /* 0, -ENOENT */
size_t vsock_listener_count(const struct vsock *vsock);
/* The listener at index, its fd still the vsock's. False beyond the end. */
bool vsock_listener_at(
	const struct vsock *vsock, size_t index, struct vsock_listener *out, int *fd);

/* ---- from the host ---- */

struct vsock_forwards;
struct vsock_forwards *vsock_forwards(const struct vsock *vsock);
/* As vsock_open(). */
int vsock_connect(struct vsock *vsock, const struct vsock_target *target,
	const struct vsock_host *host, const struct endpoint *client,
	const struct vsock_conn_events *events);

/* Closes the listening sockets that are the host's: the VMM's, the hybrid socket, ports, forwards.
 * What stands goes on. */
void vsock_close_listeners(struct vsock *vsock);
/* That, and resets every connection on both sides, as far as there is room to tell the guest. */
void vsock_shutdown(struct vsock *vsock);

#endif
