/* SPDX-License-Identifier: MIT */
/*
 * What udp.c (outbound flows) and udp_forward.c (inbound ones) share; nobody else includes it.
 *
 * Both kinds lie in one table under the 4-tuple as the guest sees it. An outbound flow has every
 * destination of its family, so its key's remote is unset: ::ffff:0.0.0.0 or ::, port 0.
 */
#ifndef DATAPLANE_STACK_UDP_FLOW_H
#define DATAPLANE_STACK_UDP_FLOW_H

#include "dataplane/egress/udp_relay.h"
#include "dataplane/limits.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/stack/udp.h"
#include "dataplane/stack/udp_peers.h"
#include "dataplane/stack/udp_sock.h"

#define UDP_FLOWS_MAX 16384
#define UDP_CLIENTS_MAX 8192 /* of forwards, so that strangers cannot take all flows */
#define UDP_IDLE_MS 60000
#define UDP_IDLE_DNS_MS 10000

struct udp_forward;

struct udp {
	struct loop *loop;
	struct output *out;
	const struct net *net;
	struct counters *counters;
	struct egress *egress;
	struct dns *dns;
	struct icmp *icmp;
	struct limits *limits;
	struct udp_io io;
	struct flow_table *flows;
	struct flow_table *clients; /* the forwards' flows, by forward and client */
	struct udp_forward **forwards;
	size_t forward_count;
	uint64_t next_serial; /* of forwards */
	uint16_t next_port;   /* of the gateway, for clients that cannot keep their address */
};

struct udp_flow {
	struct flow_entry entry; /* in udp->flows */
	struct udp *udp;
	struct timer idle;
	struct udp_forward *forward; /* NULL: outbound */
	uint64_t created, used;      /* ms */
	uint64_t tx_bytes, rx_bytes; /* from the guest, to the guest */
};

struct udp_out {
	struct udp_flow flow;
	struct udp_sock sock;
	struct udp_peers peers; /* as the host names them */
	bool dns_only;          /* has sent to port 53 and nowhere else */
	struct udp_relay relay;
	struct udp_sock by_relay; /* fd -1: none */
};

/* A client of a forward. */
struct udp_client {
	struct udp_flow flow;
	struct flow_entry by_client; /* in udp->clients: remote is the client, guest the forward */
	struct addr local;           /* of the host's, which it sent to; unset unless needed */
};

struct udp_forward {
	struct worker_forward spec;
	struct udp *udp;
	struct udp_sock sock;
	uint64_t serial;
};

/* udp.c */
struct udp_out *udp_out_find(const struct udp *udp, const struct endpoint *guest, int family);
void udp_deliver_batch(struct udp_flow *flow, const struct endpoint *src,
	const struct endpoint *guest, const struct udp_batch_rx *rx);
void udp_relay_error(struct udp *udp, const struct flow_key *key, const struct udp_batch_error *e);

/* udp_by_relay.c */
void udp_by_relay_init(struct udp_out *out);
void udp_by_relay_clear(struct udp_out *out);
/* Sends by the relay, now or once it stands. */
void udp_by_relay_send(
	struct udp_out *out, const struct endpoint *host, const void *data, size_t len);

/* udp_forward.c */
void udp_client_send(struct udp_client *client, const void *data, size_t len);
void udp_client_free(struct udp_client *client);
void udp_forwards_clear(struct udp *udp);

#endif
