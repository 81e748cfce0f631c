/* SPDX-License-Identifier: MIT */
/*
 * One vsock connection: a state machine between the guest's packets and a host socket.
 *
 * Credit (virtio 1.2, section 5.10.6.3). Each end tells in every packet how large its receive
 * buffer is (buf_alloc) and how much it has taken out of it so far (fwd_cnt); the other end never
 * has more than buf_alloc bytes on the way or waiting. Both are real here:
 *
 *	host → guest   tx_cnt - peer_fwd_cnt ≤ peer_buf_alloc. Bytes are read from the host socket
 *	               straight into the outgoing packet, and only as many as that allows; the
 *	               rest stays in the socket, so the peer feels the guest's buffer as its own.
 *	guest → host   rx_cnt - fwd_cnt ≤ VSOCK_CREDIT, else the guest has overstepped and is reset.
 *	               A payload is written to the host socket at once; what that cannot take is
 *	               spilled, and fwd_cnt stands still until the host has it. So a spill is
 *	               never longer than the credit given.
 *
 * A CREDIT_UPDATE goes out when the guest believes less than half of the buffer free and the host
 * took a quarter of it, or all, since it was told; mostly other packets carry the news. Half of what
 * counts is also half of the guest's own buffer: Linux has no more than that on the way, whatever
 * we allow, and would wait for a word that never came.
 *
 * A connection whose guest must name the server has a verifier (egress/verify.h) between payload and
 * host. What that holds back counts as waiting, as spilled bytes do.
 *
 * A rate of the VM's (limits.h) works by the same: what may not go out yet is spilled, what may not
 * come in yet stays in the socket.
 *
 * The states:
 *
 *	guest's REQUEST ─► WAITING ── accept ─► OPEN ──┬─► DEAD (RST owed) ─► gone
 *	our REQUEST ─► CONNECTING ── RESPONSE ─► OPEN ─┴─► DRAINING ─► DEAD or gone
 *
 * Ends. A direction's end is a flag of its own. The guest's SHUTDOWN(SEND) becomes shutdown(SHUT_WR)
 * once the spill is out; the host's end of file becomes SHUTDOWN(SEND). A host that does not read
 * any more (EPIPE) becomes SHUTDOWN(RECEIVE), and the guest's SHUTDOWN(RECEIVE) ends reading from
 * the host. Where both directions have ended we say SHUTDOWN(both), which the guest answers by RST;
 * if it does not in 8 s we send one. A guest that says SHUTDOWN(both) has closed: RST answers it
 * once the spill is out (DRAINING; should its own RST come before, then its ports are free
 * again and the rest goes out nevertheless). An RST without all this is an abrupt end, and so is what the
 * host sees then: TCP's RST, where the socket has SO_LINGER set; see tcp/host_side.h.
 */
#ifndef DATAPLANE_VSOCK_CONNECTION_H
#define DATAPLANE_VSOCK_CONNECTION_H

#include "common/addr.h"
#include "dataplane/egress/verify.h"
#include "dataplane/limits.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/tcp/host_side.h"
#include "dataplane/vsock/packet.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#define VSOCK_CREDIT (256u << 10)     /* our buf_alloc */
#define VSOCK_SLICE VSOCK_PAYLOAD_MAX /* bytes a connection may send in its turn */

/* ms */
#define VSOCK_REQUEST_MS 5000  /* a REQUEST, ours or the guest's, unanswered */
#define VSOCK_SHUTDOWN_MS 8000 /* our SHUTDOWN(both) without RST */
#define VSOCK_DRAIN_MS 120000  /* the guest has closed, the host does not take the rest */
#define VSOCK_SECRET_MS 30000  /* a secret that the guest does not fetch */

struct vsock_mux;
struct vsock_conn;

/* For who opened or answers the connection; each may be NULL. */
struct vsock_conn_events {
	void *arg;
	void (*opened)(void *arg, struct vsock_conn *conn); /* the guest has accepted */
	/* The last that is heard of conn: it ended, was refused, or never came about. */
	void (*closed)(void *arg, struct vsock_conn *conn);
	/* Payload bytes that the guest gave or was sent; nothing may be done to conn from here. */
	void (*moved)(void *arg, size_t from_guest, size_t to_guest);
};

/* What a connection leads to: bytes of our own, then a host socket's; either may be missing. */
struct vsock_host {
	const void *prefix; /* copied */
	size_t prefix_len;
	bool secret; /* the prefix's copies are wiped */
	int fd;      /* a connected, non-blocking stream socket; or -1 */
	bool tcp;
};

enum vsock_state {
	VSOCK_WAITING,    /* the guest asked; whoever listens has not answered yet */
	VSOCK_CONNECTING, /* we ask the guest */
	VSOCK_OPEN,
	VSOCK_DRAINING, /* the guest has closed; the spill is still to be written */
	VSOCK_DEAD,     /* over, but for the RST that is owed */
};

struct vsock_conn {
	TAILQ_ENTRY(vsock_conn) all;
	TAILQ_ENTRY(vsock_conn) turn; /* in one of the mux's two queues */
	struct vsock_conn *hash_next;
	struct vsock_mux *mux;
	struct vsock_conn_events events;
	struct host_side host; /* fd -1: none, or none any more */
	struct verify *verify; /* while the guest's names are looked at, else NULL */
	struct event ready;    /* of the host's socket, edge-triggered */
	struct timer timer;    /* the state's deadline */
	struct limits_waiter pace[LIMITS_WAYS]; /* for the VM's rates */
	struct endpoint peer;        /* whom it leads to, for show; port 0: nobody with a name */
	uint64_t born, active;       /* ms */
	uint64_t tx_bytes, rx_bytes; /* from the guest, to the guest */
	uint8_t *prefix;             /* to be sent first; NULL when done */
	size_t prefix_len, prefix_at;
	uint8_t *spill; /* spill_len bytes that the host has not taken yet, from spill_at on */
	uint32_t spill_len, spill_at, spill_size;
	uint32_t guest_port, host_port;
	uint32_t serial;                       /* grows with each, below VSOCK_SERIALS; the mux's */
	uint32_t peer_buf_alloc, peer_fwd_cnt; /* as the guest told last */
	uint32_t tx_cnt;                       /* payload bytes sent to the guest, mod 2^32 */
	uint32_t rx_cnt;                       /* and received from it */
	uint32_t fwd_cnt;                      /* and of these taken by the host */
	uint32_t told_fwd_cnt;                 /* what the guest knows of that */
	uint8_t state;                         /* enum vsock_state */
	uint8_t guest_shut;                    /* VSOCK_SHUT_*: what the guest has said */
	uint8_t shut_wanted, shut_sent;        /* what we have to say, and have said */
	uint8_t queued;                        /* enum vsock_queue, the mux's */
	uint8_t watched;                       /* EV_READ, EV_WRITE: what `ready` waits for */
	uint16_t note;                         /* likewise: in the flow memory */
	bool secret : 1;
	bool linked : 1;       /* its ports lead to it */
	bool readable : 1;     /* the host socket may have more (or its end) */
	bool host_shut : 1;    /* the guest's end was passed on */
	bool host_deaf : 1;    /* nobody there takes bytes of the guest any more */
	bool credit_asked : 1; /* CREDIT_REQUEST sent since credit came last */
	bool owe_open : 1;     /* REQUEST or RESPONSE, by `opener` */
	bool opener : 1;       /* we are the one who asked */
	bool owe_credit : 1;
	bool owe_credit_request : 1;
	bool owe_rst : 1;
};

enum vsock_turn {
	VSOCK_TURN_DONE,    /* nothing more to send now */
	VSOCK_TURN_MORE,    /* another turn, please */
	VSOCK_TURN_BLOCKED, /* the transport has no room */
	VSOCK_TURN_GONE,    /* the connection exists no more */
};

struct flow_info;
/* What `netctl flows` shows of it. */
void vsock_conn_info(const struct vsock_conn *conn, struct flow_info *info);

/* Made by the mux only. Not linked yet. NULL without memory. */
struct vsock_conn *vsock_conn_new(struct vsock_mux *mux, uint32_t guest_port, uint32_t host_port);
/* Sends a REQUEST for it. Owns host->fd, also on failure. 0 or -errno; then free it. */
int vsock_conn_ask(struct vsock_conn *conn, const struct vsock_host *host,
	const struct vsock_conn_events *events);
/* A packet of it came in, with packet->len bytes of payload in these pieces. May free it. */
void vsock_conn_input(struct vsock_conn *conn, const struct vsock_packet *packet,
	const struct iovec *payload, unsigned pieces);
/* Its turn to send. */
enum vsock_turn vsock_conn_send(struct vsock_conn *conn);
/* Ends it abruptly towards the host, by RST towards the guest. */
void vsock_conn_kill(struct vsock_conn *conn);
/* Ends it abruptly towards the host, without a word to the guest. */
void vsock_conn_free(struct vsock_conn *conn);

/* ---- for who answers a guest's REQUEST (WAITING) ---- */

/* Who hears of its end while it waits. */
void vsock_conn_watch(struct vsock_conn *conn, const struct vsock_conn_events *events);
/* RESPONSE. Owns host->fd, also on failure: then the guest is refused. 0 or -errno. */
int vsock_conn_accept(struct vsock_conn *conn, const struct vsock_host *host);
void vsock_conn_refuse(struct vsock_conn *conn); /* RST */
/* Payload goes through the verifier from now on, which is the connection's to free. */
void vsock_conn_verify(struct vsock_conn *conn, struct verify *verify);

#endif
