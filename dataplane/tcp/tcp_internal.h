/* SPDX-License-Identifier: MIT */
/*
 * The splice engine's theory, and what its files share. Nobody else includes this.
 *
 *	   guest's TCP  ⇄  frames  ⇄  flow  ⇄  host socket  ⇄  host's TCP  ⇄  peer
 *
 * Guest to host. A segment that is next in order is written to the host socket, and only then
 * acknowledged. What a partial write left over goes to the flow's spill buffer and is acknowledged
 * as well, since we hold it now; its size is bounded by the window that we had advertised. While
 * anything is spilled the window's right edge stands still, so the guest runs into it; when the
 * socket is writable again the spill goes first and the window opens. A segment out of order is
 * kept aside, within bounds, and answered by a duplicate ACK that says so (reorder.c).
 *
 * Host to guest. Bytes are peeked from the host socket straight into an outgoing frame and
 * consumed there when the guest acknowledges them; until then they are the socket's, and a
 * retransmission peeks them again. So no payload is buffered here, and the peer feels the guest's
 * window as its own.
 *
 * A rate of the VM's (limits.h) is a slow far end to both: bytes of the guest's are spilled as if the
 * socket took no more, bytes of the host's are not peeked yet.
 *
 * Sequence numbers of ours, towards the guest (RFC 9293 section 3.3.1):
 *
 *	   snd_una                    snd_nxt           snd_una + snd_wnd
 *	------|==========================|---------------------|------
 *	       peeked, in flight ("held")    may be peeked now
 *
 * and the guest's, towards us:
 *
 *	   rcv_nxt (all before is the host kernel's or spilled)       rcv_adv (right edge advertised)
 *	------|===========================================================|------
 *
 * The states. A direction's end is a flag and no state, since the two ends are independent:
 *
 *	guest's SYN ─► DIALLING ─ host connected, SYN-ACK sent ─► SYN_RCVD ─ guest's ACK ─► ESTABLISHED
 *	client accepted, SYN sent ─► SYN_SENT ─ guest's SYN-ACK, ACK sent ─► ESTABLISHED
 *
 *	guest_fin    the guest's FIN was received in order (rcv_nxt counts it)
 *	host_shut    and passed on by shutdown(SHUT_WR), after the spill
 *	host_eof     the host socket's end was peeked
 *	fin_sent     our FIN was sent (snd_nxt counts it)
 *	             and is acknowledged when snd_una == snd_nxt
 *
 * A flow whose both directions have ended is closed in order and forgotten: no TIME-WAIT, since
 * whoever misses the last ACK asks again and gets the RST of an unknown flow, and by then all data
 * has been acknowledged in both directions.
 *
 * Loss towards the guest (a full NIC queue, a test's relay): three duplicate ACKs or a timer resend
 * the first unacknowledged segment, each partial ACK the next (RFC 6582 without a congestion
 * window: the link's own queue is what is congested, and it tells by link_room()).
 */
#ifndef DATAPLANE_TCP_TCP_INTERNAL_H
#define DATAPLANE_TCP_TCP_INTERNAL_H

#include "dataplane/tcp/tcp.h"

#include "common/siphash.h"
#include "dataplane/acceptor.h"
#include "dataplane/egress/dial.h"
#include "dataplane/egress/verify.h"
#include "dataplane/limits.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/flow_memory.h"
#include "dataplane/stack/frame.h"
#include "dataplane/stack/icmp.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/tcp/host_side.h"

#include <event2/event_struct.h>

/* ms */
#define TCP_SYN_RTO 200
#define TCP_SYN_TRIES 6
#define TCP_RTO_MIN 200
#define TCP_RTO_MAX 10000
#define TCP_DEAD_MS (2 * 60 * 1000) /* no ACK for what is in flight: RST */
#define TCP_IDLE_MS ((2 * 60 + 4) * 60 * 1000)
#define TCP_KEEPALIVE_MS (60 * 60 * 1000) /* probes from here on */
#define TCP_KEEPALIVE_EACH_MS (75 * 1000)
#define TCP_HALF_CLOSED_MS (5 * 60 * 1000)
#define TCP_ACK_DELAY_MS 2

#define TCP_SLICE (64u << 10)      /* bytes a flow may send in its turn */
#define TCP_ACK_EVERY (128u << 10) /* bytes received before an ACK goes out at once */
#define TCP_SPILL_MAX (64u << 20)  /* over all flows */
#define TCP_FIRST_ROOM (64u << 10) /* offered before anything is known of the host's buffer */
#define TCP_WSCALE 8               /* ours: windows up to 16 MiB */
#define TCP_SNAT_PORT_FIRST 61000

enum tcp_state { TCP_DIALLING, TCP_SYN_RCVD, TCP_SYN_SENT, TCP_ESTABLISHED };

enum tcp_ack { TCP_ACK_NONE, TCP_ACK_LATER, TCP_ACK_SOON };

struct tcp_flow {
	struct flow_entry entry; /* first: flow_table gives it back */
	struct tcp *tcp;
	struct host_side host;          /* fd -1 while dialling */
	struct egress_request *request; /* the dial, while dialling */
	struct egress_pass pass;        /* zeros for inbound flows and our own DNS */
	struct verify *verify;          /* while the guest's names are looked at, else NULL */
	struct tcp_open *open;          /* who waits for the guest's answer, or NULL */
	struct event ready;             /* edge-triggered, both ways */
	struct task task;               /* sends what the host has */
	struct timer timer;             /* handshake, retransmission, window probes */
	struct timer idle_timer;        /* idle, half-closed, keepalive */
	struct tcp_flow *ack_next, **ack_prev; /* in one of tcp's two lists of ACKs owed */
	uint8_t *spill; /* spill_len bytes acknowledged, not yet written, from spill_at on */
	uint32_t spill_len, spill_at, spill_size;
	struct reorder *reorder; /* segments beyond a gap; NULL where there is none */
	struct limits_waiter pace[LIMITS_WAYS]; /* for the VM's rates */
	uint64_t born, active;                  /* ms */
	uint64_t acked_at; /* ms: the guest last acknowledged something new, or nothing is due */
	uint64_t tx_bytes, rx_bytes; /* from the guest, to the guest */
	uint32_t isn, snd_una, snd_nxt, snd_wnd;
	uint32_t recover; /* RFC 6582: recovery lasts until this is acknowledged */
	uint32_t rcv_nxt, rcv_adv;
	uint32_t unacked; /* bytes received since our last ACK */
	uint32_t room,
		room_asked; /* what the host's buffer can take: now by estimate, when asked */
	uint16_t mss;       /* payload a segment towards the guest */
	uint8_t state;      /* enum tcp_state */
	uint8_t ack_owed;   /* enum tcp_ack: which list */
	uint8_t snd_wscale; /* the guest's */
	uint8_t tries;      /* of the handshake, or doublings of the RTO */
	uint8_t dup_acks;
	bool wscale_ok; /* both sides sent the option */
	bool sack_ok;   /* the guest takes selective ACKs */
	bool inbound : 1;
	bool guest_fin : 1, host_shut : 1, host_eof : 1, fin_sent : 1;
	bool readable : 1;     /* the host socket may have more (or its end) */
	bool host_closing : 1; /* its end has come, behind what is there to read */
	bool recovering : 1;
	bool interactive : 1; /* answers follow requests within TCP_ACK_DELAY_MS */
	bool event_added : 1;
	uint64_t data_at; /* ms: last payload from the guest */
};

struct tcp_listener {
	struct tcp_listener *next;
	struct tcp *tcp;
	struct worker_forward forward;
	struct acceptor acceptor;
};

struct tcp {
	struct loop *loop;
	struct output *out;
	const struct net *net;
	struct counters *counters;
	struct egress *egress;
	struct dns *dns;
	struct icmp *icmp;
	struct limits *limits;
	struct flow_memory *memory;

	struct flow_table *flows;
	struct siphash_key isn_key;
	struct tcp_flow *ack_soon, *ack_later;
	struct timer ack_timer;
	struct loop_hook hook;
	size_t spilled;     /* bytes of memory in all spill and reorder buffers */
	size_t unverified;  /* and held by verifiers */
	short ready_events; /* what is asked of libevent for a host socket */
	struct task
		room; /* head of a list: tasks of flows that wait for the link's room, in turn */

	struct tcp_listener *listeners;
	size_t listener_count;
	struct accept_group inbound; /* a place is a flow in SYN_SENT */
	uint16_t next_snat_port;

	/* a predecessor's flows, to be reset */
	struct flow_key *orphans;
	size_t orphan_count, orphan_at;
	unsigned orphan_rounds;
	struct task orphan_task;
	struct timer orphan_timer;
};

/* A received segment, its header taken apart; host byte order. */
struct segment {
	struct flow_key key;
	uint32_t seq, ack;
	uint32_t len; /* of the payload */
	const uint8_t *data;
	uint16_t window; /* not scaled */
	uint8_t flags;
	uint16_t mss;  /* of the option, 0: none */
	int8_t wscale; /* of the option, -1: none */
	bool sack_ok;  /* SACK-permitted */
	const struct packet *packet;
};

/* a is before b on the circle of sequence numbers. */
static inline bool seq_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool seq_le(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

/* Bytes peeked and not yet consumed: what is in flight, without our FIN. */
static inline uint32_t flow_held(const struct tcp_flow *f)
{
	return f->snd_nxt - f->snd_una - (f->fin_sent && f->snd_una != f->snd_nxt);
}

static inline bool flow_fin_acked(const struct tcp_flow *f)
{
	return f->fin_sent && f->snd_una == f->snd_nxt;
}

/* segment.c: reading and writing segments */
bool segment_parse(const struct packet *packet, struct segment *s);
void segment_send_rst(struct tcp *tcp, const struct segment *s);    /* for an unknown flow */
void segment_send(struct tcp_flow *f, uint8_t flags, uint32_t seq); /* no payload */
void segment_send_syn(struct tcp_flow *f, bool ack);
/* Peeks up to len bytes, `again` from snd_una on, into a segment. What host_side_peek() gives;
 * -ENOBUFS where the link had no room. */
ssize_t segment_send_data(struct tcp_flow *f, size_t len, bool again);

/* reorder.c: segments beyond a gap */
#define SACK_BLOCKS_MAX 4
struct sack_block {
	uint32_t begin, end; /* [begin, end) */
};
void reorder_put(struct tcp_flow *f, uint32_t seq, const uint8_t *data, uint32_t len);
/* What has become in order now; it goes away once rcv_nxt has moved past it. */
bool reorder_next(struct tcp_flow *f, const uint8_t **data, uint32_t *len);
unsigned reorder_blocks(const struct tcp_flow *f, struct sack_block blocks[SACK_BLOCKS_MAX]);
void reorder_free(struct tcp_flow *f);

/* flow.c: the life of a flow */
struct tcp_flow *flow_new(struct tcp *tcp, const struct flow_key *key, bool inbound);
int flow_connect_host(struct tcp_flow *f, int fd, bool is_tcp); /* owns fd */
void flow_forget(struct tcp_flow *f); /* frees; the host side is aborted where still open */
void flow_reset(struct tcp_flow *f);  /* RST both ways, and forget */
void flow_established(struct tcp_flow *f);
void flow_touch(struct tcp_flow *f);

/* handshake.c */
void handshake_syn(struct tcp *tcp, const struct segment *s);
void handshake_input(struct tcp_flow *f, const struct segment *s); /* states before ESTABLISHED */
/* Asks the guest for a connection to its port. Owns fd. NULL without room for another flow. */
struct tcp_flow *handshake_to_guest(
	struct tcp *tcp, uint16_t port, int fd, bool is_tcp, const struct endpoint *client);
void handshake_timeout(struct tcp_flow *f);

/* splice.c: bytes */
void splice_input(struct tcp_flow *f, const struct segment *s);
void splice_wake(struct tcp_flow *f); /* something may be sent: queue the flow's task */
void splice_send_task(struct task *task);
void splice_writable(struct tcp_flow *f);
/* limits_waiter.go */
void splice_go_in(struct limits_waiter *waiter);
void splice_go_out(struct limits_waiter *waiter);
void splice_free_spill(struct tcp_flow *f);
bool splice_host_failed(struct tcp_flow *f); /* takes the error that the socket holds */
void splice_finish(struct tcp_flow *f);      /* closes in order once both directions have ended */

/* Writes the guest's bytes, or spills them. How many, or -1: the flow is gone. */
ssize_t splice_write(struct tcp_flow *f, const uint8_t *data, uint32_t len);
void splice_taken(struct tcp_flow *f, uint32_t n); /* so many are ours now, and acknowledged */

/* checked.c: flows whose guest must name the server */
bool checked_begin(struct tcp_flow *f); /* as its pass wants it; false without memory */
/* In-order payload. False: the flow is gone. */
bool checked_input(struct tcp_flow *f, const uint8_t *data, uint32_t len);
bool checked_fin(struct tcp_flow *f);    /* likewise */
bool checked_stands(struct tcp_flow *f); /* whether it can go by what its pass wants now */
void checked_end(struct tcp_flow *f);

/* window.c: windows, ACKs, retransmission */
uint16_t window_field(struct tcp_flow *f); /* moves rcv_adv */
void window_ack_owed(struct tcp_flow *f, enum tcp_ack how);
void window_ack_done(struct tcp_flow *f); /* one has just gone out */
void window_flush_acks(struct tcp *tcp);
/* The guest's ACK and window; false where the flow is gone. */
bool window_ack_input(struct tcp_flow *f, const struct segment *s);
uint32_t window_usable(const struct tcp_flow *f);
void window_arm(struct tcp_flow *f); /* the retransmission timer, where something waits */
void window_timeout(struct tcp_flow *f);

/* orphans.c */
void orphans_take(struct tcp *tcp);
void orphans_start(struct tcp *tcp);
void orphans_stop(struct tcp *tcp);

#endif
