/* SPDX-License-Identifier: MIT */
/*
 * TCP between the guest and the host, spliced and not terminated (RFC 9293; ISNs of RFC 6528,
 * RST and SYN handling of RFC 5961, recovery of RFC 6582).
 *
 * There is no TCP stack here. The guest's kernel has one and so has the host's; this module keeps
 * their two half-conversations in step. tcp_internal.h holds the theory and the states.
 */
#ifndef DATAPLANE_TCP_TCP_H
#define DATAPLANE_TCP_TCP_H

#include "dataplane/busy.h"
#include "dataplane/loop.h"
#include "dataplane/stack/flow.h"
#include "dataplane/stack/output.h"
#include "dataplane/worker.h"

struct dns;
struct egress;
struct flow_memory;
struct icmp;
struct limits;
struct tcp;

#define TCP_FLOWS_MAX 65536u

struct tcp_env {
	struct loop *loop;
	struct output *out;
	const struct net *net;
	struct counters *counters;
	struct egress *egress;
	struct dns *dns;
	struct icmp *icmp;
	struct limits *limits; /* NULL: none */
};

struct tcp *tcp_new(const struct tcp_env *env); /* NULL without memory */
void tcp_free(struct tcp *tcp);                 /* before its loop; host sides are reset */

/* The file in which live flows are noted from now on; may be NULL. Flows that a dead predecessor
 * left in it are reset towards the guest as soon as the link is up, where reset_flows says so. */
void tcp_set_memory(struct tcp *tcp, struct flow_memory *memory, bool reset_flows);

/* A TCP packet of the guest's, its checksum right. */
void tcp_input(struct tcp *tcp, const struct packet *packet);

void tcp_link_up(struct tcp *tcp);
/* The guest's MAC is known now: what was sent to everybody is sent again, to it. */
void tcp_guest_seen(struct tcp *tcp);
void tcp_room(struct tcp *tcp);    /* from the link's room event */
void tcp_reset(struct tcp *tcp);   /* resets all flows on the host's side: another guest, or none */
void tcp_recheck(struct tcp *tcp); /* resets, on both sides, what a new policy forbids */
void tcp_shutdown(struct tcp *tcp); /* resets all flows on both sides, closes all listeners */

/* Who waits for the guest to take a connection; embedded in its owner. */
struct tcp_open {
	struct tcp_flow *flow;
	/* Once: 0, or -ECONNREFUSED: refused, or never answered. */
	void (*done)(struct tcp_open *open, int err);
};

/* A connected, non-blocking stream socket; TCP after tcp_socket_splice(). */
struct tcp_host {
	int fd;
	bool tcp;           /* else a unix socket */
	const void *prefix; /* bytes that were read from it already; copied */
	size_t prefix_len;
};

/*
 * Opens a connection to the guest's port for a host socket, whose far end the guest sees as it does
 * a forward's client; NULL where that has no address. Owns host->fd, also on failure. 0: done()
 * follows, or -errno and it does not (-ENOTCONN: no guest, -EAGAIN: too many are under way).
 */
int tcp_open(struct tcp *tcp, struct tcp_open *open, uint16_t port, const struct tcp_host *host,
	const struct endpoint *client);
/* Resets it; done() is not called. */
void tcp_open_cancel(struct tcp_open *open);

/* Owns fd, a listening TCP or unix stream socket, also on failure. 0, -EEXIST, -EINVAL, -ENOMEM. */
int tcp_forward_add(struct tcp *tcp, int fd, const struct worker_forward *forward);
int tcp_forward_delete(struct tcp *tcp, const char *id); /* 0 or -ENOENT; its flows go on */
size_t tcp_forward_count(const struct tcp *tcp);
const struct worker_forward *tcp_forward_at(const struct tcp *tcp, size_t index, int *fd);

size_t tcp_flow_count(const struct tcp *tcp);
/* Adds half-open flows (pending), established ones (live), and those with unwritten bytes (queued). */
void tcp_busy(const struct tcp *tcp, struct busy *busy);
/* The flow at *cursor or after it, 0 first; false at the end. */
bool tcp_flow_next(const struct tcp *tcp, uint32_t *cursor, struct flow_info *info);

#endif
