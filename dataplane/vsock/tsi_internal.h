/* SPDX-License-Identifier: MIT */
/*
 * What the files of TSI share; nobody else includes this.
 *
 *	tsi.c         the theory; what each operation does to whom; the table of sockets
 *	tsi_stream.c  outbound streams: dialled, parked, claimed; the guest's own loopback
 *	tsi_listen.c  listeners: asked of netctld, accepted from; their clients
 *	dgram.c       datagram sockets
 */
#ifndef DATAPLANE_VSOCK_TSI_INTERNAL_H
#define DATAPLANE_VSOCK_TSI_INTERNAL_H

#include "common/siphash.h"
#include "dataplane/acceptor.h"
#include "dataplane/limits.h"
#include "dataplane/stack/udp_peers.h"
#include "dataplane/vsock/tsi.h"
#include "dataplane/vsock/tsi_message.h"

#include <event2/event_struct.h>
#include <sys/queue.h>

#define TSI_BUCKETS 1024u      /* a power of two */
#define TSI_ASKS_MAX 8u        /* questions under way at netctld */
#define TSI_GONE_CLIENTS 1024u /* whose connection is over and whose name may still be asked */
#define TSI_ANSWERS_MAX (256u << 10) /* bytes of DNS answers that wait for room */

struct tsi_dgram;
struct listener;

enum tsi_state {
	TSI_IDLE,
	TSI_CONNECTING, /* a CONNECT waits for its reply */
	TSI_PARKED,     /* connected; the guest has yet to claim it */
	TSI_CLAIMED,    /* a connection of the mux's by now */
	TSI_LISTENING,  /* or asked netctld for it */
};

/* A socket of the guest's. */
struct tsi_sock {
	TAILQ_ENTRY(tsi_sock) used; /* the longest unused first */
	struct tsi_sock *hash_next;
	struct tsi *tsi;
	uint32_t svm_port;
	uint32_t serial; /* of another socket with that svm_port it is another */
	uint16_t family;
	uint8_t type;
	uint8_t state;        /* enum tsi_state; of streams */
	bool has_peer;        /* was connected */
	struct endpoint peer; /* to this, as the guest said */
	/* streams */
	struct endpoint local;           /* the near end, once connected */
	struct egress_request *dialling; /* CONNECTING */
	struct egress_pass pass;         /* CONNECTING, PARKED */
	struct timer timer;              /* CONNECTING, PARKED */
	uint32_t reply_port;             /* CONNECTING: the guest's */
	int fd;                          /* PARKED; -1: to a listener of the guest's own */
	bool tcp;
	uint32_t own;              /* PARKED, fd -1: that listener's svm_port */
	struct listener *listener; /* LISTENING */
	/* datagrams */
	struct tsi_dgram *dgram; /* NULL while unused */
};

TAILQ_HEAD(tsi_socks, tsi_sock);
TAILQ_HEAD(tsi_dgrams, tsi_dgram);
TAILQ_HEAD(tsi_answers, tsi_answer);
TAILQ_HEAD(tsi_streams, tsi_stream);
TAILQ_HEAD(listeners, listener);
TAILQ_HEAD(clients, client);

struct tsi {
	struct tsi_parts parts;
	struct tsi_events events;
	struct siphash_key key;
	struct tsi_sock *socks[TSI_BUCKETS]; /* by svm_port */
	struct tsi_socks used;
	size_t n_socks, n_dgrams; /* of the latter how many are datagram sockets */
	uint32_t next_serial;
	uint16_t next_port; /* of names that we make up */
	struct timer tell;  /* netctld of the datagram sockets */
	uint64_t told;      /* ms */
	bool resetting, ending;
	/* tsi_stream.c */
	struct tsi_streams streams; /* claimed */
	size_t connecting, parked;
	size_t unverified; /* bytes of memory held by verifiers */
	/* tsi_listen.c */
	struct listeners listeners; /* oldest first */
	size_t n_listeners, n_asking;
	uint32_t asked[TSI_ASKS_MAX]; /* svm_ports */
	size_t n_asked;
	struct task ask_task;
	struct timer ask_timer; /* netctld was away */
	struct accept_group accepting;
	struct client *clients[TSI_BUCKETS]; /* by svm_port and host port */
	struct clients gone;                 /* oldest first */
	size_t n_gone;
	/* dgram.c */
	struct tsi_dgrams ready; /* whose host sockets may have something */
	struct tsi_answers answers;
	size_t n_answers, answer_bytes;
	uint8_t *buf; /* a datagram on its way to the guest */
};

/* ---- tsi.c ---- */

size_t tsi_bucket(const struct tsi *tsi, uint32_t svm_port, uint32_t host_port);
struct tsi_sock *tsi_find(const struct tsi *tsi, uint32_t svm_port);
/* NULL at the bound, where nothing can go for it, or without memory. */
struct tsi_sock *tsi_add(struct tsi *tsi, uint32_t svm_port, uint32_t family, uint32_t type);
/* Closes what it has, but for a stream that was claimed; a CONNECT or LISTEN is answered. */
void tsi_remove(struct tsi_sock *sock);
void tsi_reply(struct tsi *tsi, enum tsi_op op, uint32_t guest_port, int err);
/* The list of datagram sockets is not what netctld knows. */
void tsi_changed(struct tsi *tsi);
/* Whether a destination means, to the guest, its own machine. */
bool tsi_is_loopback(const struct tsi *tsi, const struct endpoint *dst);
/* Whether our own DNS answers for it. */
bool tsi_is_dns(const struct tsi *tsi, const struct endpoint *dst);
/* What a refusal of the door's is to the guest. */
int tsi_refusal(const struct tsi *tsi, const struct endpoint *dst, int err);
uint16_t tsi_made_up_port(struct tsi *tsi);
struct endpoint tsi_unspecified(uint32_t family);

/* ---- tsi_stream.c ---- */

/* Replies, now or later. */
void tsi_stream_connect(struct tsi_sock *sock, const struct endpoint *dst, uint32_t reply_port);
void tsi_stream_remove(struct tsi_sock *sock);
void tsi_stream_recheck(struct tsi *tsi);

/* ---- tsi_listen.c ---- */

void tsi_listen_init(struct tsi *tsi);
void tsi_listen_request(struct tsi *tsi, const struct tsi_listen *request, uint32_t reply_port);
void tsi_listen_remove(struct tsi_sock *sock); /* and tells netctld */
void tsi_listen_reset(struct tsi *tsi);
bool tsi_listen_stands(const struct tsi_sock *sock);
struct endpoint tsi_listen_name(const struct tsi_sock *sock);
/* The listener of the guest's own that a stream to dst reaches; NULL: none. */
const struct tsi_sock *tsi_listen_find(const struct tsi *tsi, const struct endpoint *dst);
/* As tsi_open(), to this one. */
int tsi_listen_open(struct tsi_sock *sock, const struct vsock_host *host,
	const struct endpoint *client, const struct vsock_conn_events *events);
/* The name of an accepted connection's end, and its family; false where there is none. */
bool tsi_client_name(const struct tsi *tsi, const struct tsi_getname *request, uint32_t *family,
	struct endpoint *name);
/* False: there is none. */
bool tsi_client_release(struct tsi *tsi, const struct tsi_release *request);

/* ---- dgram.c ---- */

int tsi_dgram_connect(struct tsi_sock *sock, const struct endpoint *dst);
/* Where the next payload goes; NULL: nowhere. */
void tsi_dgram_address(struct tsi_sock *sock, const struct endpoint *dst);
/* SENDTO_DATA (addressed), or a connected socket's. */
void tsi_dgram_payload(struct tsi_sock *sock, bool addressed, const struct iovec *payload,
	unsigned pieces, uint32_t len);
struct endpoint tsi_dgram_name(const struct tsi_sock *sock);
void tsi_dgram_remove(struct tsi_sock *sock);
void tsi_dgram_reset(struct tsi *tsi);
void tsi_dgram_recheck(struct tsi_sock *sock);

#endif
