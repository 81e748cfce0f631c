/* SPDX-License-Identifier: MIT */
/*
 * TSI: a guest's INET sockets as seen from the host (tsi.c has the theory). The guest asks in
 * datagrams to ports 1024 to 1031 of the host's CID, and claims what was dialled for it by a stream
 * to port 620.
 *
 * Each request that has a reply gets exactly one: errors are replies, too. Families and errno values
 * towards the guest are Linux's whatever the host is (tsi_message.h).
 *
 * What the guest listens on is bound by netctld, which is asked for it; here the socket is accepted
 * from. The datagram sockets are told to netctld, once a second at most, so that a successor or a
 * restored VM has them.
 *
 * Bounds: 256 listeners, those being asked for included; 4,096 proxies of either kind, beyond which
 * the one longest unused goes. Runs on the worker's loop; nothing here blocks.
 */
#ifndef DATAPLANE_VSOCK_TSI_H
#define DATAPLANE_VSOCK_TSI_H

#include "common/addr.h"
#include "dataplane/counters.h"
#include "dataplane/egress/dial.h"
#include "dataplane/loop.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/net.h"
#include "dataplane/vsock/mux.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TSI_STREAM_PORT 620u
#define TSI_LISTENERS_MAX 256u
#define TSI_PROXIES_MAX 4096u

/* ms */
#define TSI_CONNECT_MS 10000 /* then -ETIMEDOUT */
#define TSI_PARK_MS 10000    /* a connected socket that the guest does not claim */
#define TSI_LISTEN_MS 5000   /* netctld does not answer: -EADDRNOTAVAIL */
#define TSI_TELL_MS 1000     /* between two lists of proxies */

/* A listener as the guest asked for it. Numbers of families and types are Linux's. */
struct tsi_listener {
	uint32_t svm_port; /* the guest's control socket */
	uint32_t vm_port;  /* where it takes streams */
	uint32_t family;   /* 2, 10 */
	uint32_t type;     /* 1: stream */
	uint32_t backlog;
	struct endpoint addr; /* as the application bound it; port 0 where it did not say */
};

/* A datagram socket of the guest's. */
struct tsi_proxy {
	uint32_t svm_port;
	uint32_t family;
	bool connected;
	struct endpoint peer; /* where it is, as the guest named it */
};

struct tsi_events {
	void *arg;
	/* Asks netctld; tsi_listening() follows, once, from the loop. False: it is away. */
	bool (*listen)(void *arg, const struct tsi_listener *listener);
	/* The guest could not be given what it asked for, for its log; err is negative. */
	void (*listen_failed)(void *arg, const struct tsi_listener *listener, int err);
	void (*closed)(void *arg, uint32_t svm_port); /* a listener */
	/* The datagram sockets have changed (tsi_proxy_next()). False: to be told again later. */
	bool (*proxies)(void *arg);
};

/* What it works with; all outlive it, but for the mux (see tsi_free()). */
struct tsi_parts {
	struct loop *loop;
	struct counters *counters;
	struct vsock_mux *mux;
	struct egress *egress;
	struct dns *dns;
	const struct net *net; /* shared, may change */
	struct limits *limits; /* NULL: none */
};

struct limits;
struct tsi;

/* NULL without memory. */
struct tsi *tsi_new(const struct tsi_parts *parts, const struct tsi_events *events);
/* After the mux, whose connections tell it of their end. Nobody is told, and netctld's duplicates of
 * listeners go on listening: there may be a successor. NULL is ignored. */
void tsi_free(struct tsi *tsi);

/* Another guest may come next: every listener and proxy goes, and netctld is told. The mux has been
 * reset before (vsock_mux_events.gone is the place), so nobody waits for replies. */
void tsi_reset(struct tsi *tsi);
/* A new policy is in force: ends what it forbids. */
void tsi_recheck(struct tsi *tsi);
/* Datagram sockets' next payloads go out anew, by whatever way it is now. */
void tsi_reroute(struct tsi *tsi);

/* ---- from the mux ---- */

/* A guest's datagram to the host's CID. */
void tsi_datagram(struct tsi *tsi, const struct vsock_packet *packet, const struct iovec *payload,
	unsigned pieces);
/* A guest's REQUEST for TSI_STREAM_PORT. False: nothing is parked for it. */
bool tsi_request(struct tsi *tsi, struct vsock_conn *conn);
/* A turn to send datagrams to the guest. */
enum vsock_turn tsi_send(struct tsi *tsi);

/* ---- from the DNS ---- */

/* The answer to a datagram's question. */
void tsi_dns_answer(struct tsi *tsi, const struct dns_from *from, const uint8_t *msg, size_t len);

/* ---- clients of the guest's listeners ---- */

enum tsi_target {
	TSI_FIRST,      /* the oldest listener, IPv4 before IPv6; port is ignored */
	TSI_VM_PORT,    /* the one that takes streams at the guest's vsock port `port` */
	TSI_BOUND_PORT, /* the one whose application bound `port`, IPv4 before IPv6 */
};

/*
 * Opens a connection to a listener of the guest's for a host socket, as vsock_mux_connect() does.
 * client is what GETNAME gives the guest as the far end; NULL where that has no IP address, then it
 * is the gateway. Owns host->fd, also on failure. events may be NULL. 0 or -errno: -ENOENT without
 * such a listener, -ENOTCONN without a guest, -EMFILE, -ENOMEM; then events hear nothing.
 */
int tsi_open(struct tsi *tsi, enum tsi_target how, uint32_t port, const struct vsock_host *host,
	const struct endpoint *client, const struct vsock_conn_events *events);

/* ---- from netctld ---- */

/* What listen() asked for: fd, which is owned, is bound and listens; or a negative errno. */
void tsi_listening(struct tsi *tsi, uint32_t svm_port, int fd);

/* A predecessor's, or a snapshot's. Replaces what has that svm_port. Owns fd, also on failure. 0,
 * -EINVAL: not a listening socket, -EMFILE: at the bound, -ENOMEM. */
int tsi_restore_listener(struct tsi *tsi, const struct tsi_listener *listener, int fd);
int tsi_restore_proxy(struct tsi *tsi, const struct tsi_proxy *proxy);

/* The listener at index, oldest first, its fd still ours; NULL beyond the end. */
const struct tsi_listener *tsi_listener_at(const struct tsi *tsi, size_t index, int *fd);
/* Walks over the datagram sockets; *cursor is 0 first. False at the end. */
bool tsi_proxy_next(const struct tsi *tsi, uint32_t *cursor, struct tsi_proxy *out);

/* ---- figures ---- */

size_t tsi_listener_count(const struct tsi *tsi);
size_t tsi_proxy_count(const struct tsi *tsi); /* datagram sockets */
/* What the guest waits for, or has not claimed yet: connects, parked sockets, listens asked. */
size_t tsi_pending(const struct tsi *tsi);
/* Datagrams that wait for room towards the guest; its replies are vsock_mux_replies(). */
size_t tsi_queued(const struct tsi *tsi);

#endif
