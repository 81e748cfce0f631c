/* SPDX-License-Identifier: MIT */
/*
 * The vsock mux of a VM: (guest port, host port) → connection, and whose turn it is to send. It
 * routes and knows nothing of bytes: what a packet does is connection.c's, how it moves is the
 * transport's.
 *
 * A packet that belongs to no connection, or is none, is answered by RST (never an RST itself, nor
 * one whose source is not the guest's own CID, nor a datagram) and counted. Such an RST goes out
 * at once. All else that is to be sent is a flag of its connection, which then waits in one of two
 * queues, control ahead of data; so what is owed is bounded by the number of connections.
 *
 * Datagrams go to whoever takes them (TSI), who is not told of any that is no RW. Its replies are
 * never dropped: for each room is kept from the request on, and they go out ahead of all else. Its
 * other datagrams have a turn of their own, as often as the connections' data have together.
 *
 * The pairs of ports lie in the flow memory, too (notes.h). A predecessor's are reset towards the
 * guest as soon as there is one, each in a turn of the connections' own.
 *
 * Bounds: 10,000 connections; 64 MiB that hosts have not taken yet, 1,024 replies that are due or
 * wait for room, beyond either of which no packet is taken from the guest. Runs on the worker's
 * loop; nothing here blocks.
 */
#ifndef DATAPLANE_VSOCK_MUX_H
#define DATAPLANE_VSOCK_MUX_H

#include "dataplane/busy.h"
#include "dataplane/counters.h"
#include "dataplane/loop.h"
#include "dataplane/vsock/connection.h"
#include "dataplane/vsock/transport.h"

#define VSOCK_CONNS_MAX 10000u
#define VSOCK_SPILL_MAX (64u << 20)
#define VSOCK_SERIALS (1u << 30)
#define VSOCK_REPLIES_MAX 1024u
#define VSOCK_REPLY_MAX 136u             /* payload bytes of a reply */
#define VSOCK_HOST_PORT_FIRST (1u << 30) /* of connections that the host opens */

struct flow_memory;
struct limits;
struct vsock_mux;

struct vsock_mux_events {
	void *arg;
	/*
	 * The guest asks for conn->host_port. True: somebody answers it, now or later, by
	 * vsock_conn_accept() or vsock_conn_refuse(). False: nobody listens there.
	 */
	bool (*request)(void *arg, struct vsock_conn *conn);
	/* A datagram of the guest's to the host; op is RW. May be NULL. */
	void (*datagram)(void *arg, const struct vsock_packet *packet, const struct iovec *payload,
		unsigned pieces);
	/* The turn that vsock_mux_want_datagrams() asked for. May be NULL where nobody asks. */
	enum vsock_turn (*send)(void *arg);
	/* The guest has gone, its connections before, and replies are not due any more. May be NULL. */
	void (*gone)(void *arg);
};

struct vsock_mux *vsock_mux_new(
	struct loop *loop, struct counters *counters, const struct vsock_mux_events *events);
void vsock_mux_free(struct vsock_mux *mux); /* NULL is ignored; resets first */
void vsock_mux_set_limits(
	struct vsock_mux *mux, struct limits *limits); /* until then there are none */

/* The guest's end is here from now on, or (ops NULL) nowhere. Resets first. */
void vsock_mux_attach(struct vsock_mux *mux, const struct vsock_transport_ops *ops, void *arg,
	uint64_t guest_cid);
/* Once; the memory outlives the mux. reset: a dead predecessor's connections are noted there. */
void vsock_mux_set_memory(struct vsock_mux *mux, struct flow_memory *memory, bool reset);
/* The guest knows nothing of a predecessor's connections, or knows of their end. */
void vsock_mux_forget(struct vsock_mux *mux);
/* Another guest may come next: every connection ends, the host's sides abruptly. */
void vsock_mux_reset(struct vsock_mux *mux);
/* Every connection is reset on both sides, the guest told of as many as there is room for now. */
void vsock_mux_shutdown(struct vsock_mux *mux);

/* The same, and until release nothing is taken from the guest and nothing is sent to it. Then it hears
 * an RST for each connection that was, unless vsock_mux_forget() comes before. */
void vsock_mux_hold(struct vsock_mux *mux);
void vsock_mux_release(struct vsock_mux *mux);

/* Whether a packet may be handed in; after a no, ops->resume() comes. */
bool vsock_mux_ready(struct vsock_mux *mux);
/* packet->len bytes of payload, at most VSOCK_PAYLOAD_MAX, in pieces; they die with the call. */
void vsock_mux_input(struct vsock_mux *mux, const struct vsock_packet *packet,
	const struct iovec *payload, unsigned pieces);
/* A packet whose length cannot be: ends the connection that it names. */
void vsock_mux_malformed(struct vsock_mux *mux, const struct vsock_packet *packet);
/* The transport has room again. */
void vsock_mux_room(struct vsock_mux *mux);

/*
 * Opens a connection to the guest's port for a host socket, whose bytes follow the prefix (copied,
 * may be NULL). Owns fd, also on failure. events are told how it went. 0 or -errno.
 */
int vsock_mux_connect(struct vsock_mux *mux, uint32_t guest_port, const struct vsock_host *host,
	const struct vsock_conn_events *events);

size_t vsock_mux_count(const struct vsock_mux *mux);
/* Up to max connections from *cursor on (0 first), which moves behind them; fewer than max: no more. */
size_t vsock_mux_flows(
	const struct vsock_mux *mux, uint32_t *cursor, struct flow_info *out, size_t max);
/* Adds connections that come about (pending), stand (live), or have bytes for the host or an RST for
 * the guest waiting (queued). */
void vsock_mux_busy(const struct vsock_mux *mux, struct busy *busy);

/* ---- datagrams ---- */

/* A reply will be due: keeps room for it. False at the bound, where no packet should come from. */
bool vsock_mux_owe(struct vsock_mux *mux);
/* One for each that was owed; len ≤ VSOCK_REPLY_MAX. */
void vsock_mux_reply(struct vsock_mux *mux, uint32_t host_port, uint32_t guest_port,
	const void *payload, uint32_t len);
size_t vsock_mux_replies(const struct vsock_mux *mux); /* that wait for room */
/* There are datagrams to be sent, by vsock_mux_reserve() and vsock_mux_commit(). */
void vsock_mux_want_datagrams(struct vsock_mux *mux);

/* ---- for connection.c, and in a datagrams' turn ---- */

struct loop *vsock_mux_loop(struct vsock_mux *mux);
struct counters *vsock_mux_counters(struct vsock_mux *mux);
struct limits *vsock_mux_limits(const struct vsock_mux *mux); /* or NULL */
uint64_t vsock_mux_guest_cid(const struct vsock_mux *mux);
bool vsock_mux_send(struct vsock_mux *mux, const struct vsock_packet *packet, const void *payload);
int vsock_mux_reserve(struct vsock_mux *mux, size_t max, struct iovec iov[VSOCK_IOV_MAX]);
void vsock_mux_commit(struct vsock_mux *mux, const struct vsock_packet *packet, bool secret);
/* The payload or the reservation lies in memory that is gone (EFAULT). */
void vsock_mux_fault(struct vsock_mux *mux);
/* The connection has something to send; control goes ahead. */
void vsock_mux_want_turn(struct vsock_mux *mux, struct vsock_conn *conn, bool control);
/* Bytes kept for hosts: so many more, or fewer. */
void vsock_mux_spilled(struct vsock_mux *mux, ptrdiff_t bytes);
/* Its ports lead to nothing from now on. */
void vsock_mux_unlink(struct vsock_mux *mux, struct vsock_conn *conn);
/* Out of every list; the connection frees itself. */
void vsock_mux_remove(struct vsock_mux *mux, struct vsock_conn *conn);

#endif
