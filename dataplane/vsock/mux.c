/* SPDX-License-Identifier: MIT */
/* The vsock mux. See mux.h. */
#include "dataplane/vsock/mux.h"

#include "common/os.h"
#include "common/siphash.h"
#include "dataplane/limits.h"
#include "dataplane/stack/flow.h"
#include "dataplane/vsock/notes.h"
#include "dataplane/vsock/tsi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUCKETS_FIRST 64u
#define TURNS 64                /* of connections, in a turn of the mux */
#define TURN_BYTES (256u << 10) /* of data, likewise */

enum vsock_queue { QUEUE_NONE, QUEUE_DATA, QUEUE_CONTROL };

TAILQ_HEAD(conn_list, vsock_conn);

struct reply {
	uint32_t host_port, guest_port, len;
	uint8_t payload[VSOCK_REPLY_MAX];
};

struct vsock_mux {
	struct loop *loop;
	struct counters *counters;
	struct vsock_mux_events events;
	struct limits *limits;
	const struct vsock_transport_ops *ops; /* NULL: no guest */
	void *transport;
	uint64_t guest_cid;
	struct siphash_key key;
	struct vsock_conn **buckets; /* by ports; n_buckets is a power of 2 */
	size_t n_buckets;
	size_t linked; /* connections in them */
	struct conn_list all;
	size_t count;                   /* of them */
	struct conn_list control, data; /* whose turn it is */
	struct reply *replies;          /* a ring of VSOCK_REPLIES_MAX, oldest first */
	size_t first_reply, n_replies;
	size_t owed;          /* replies that are yet to come */
	bool datagrams;       /* there are some to be sent */
	bool datagrams_first; /* before data of connections */
	struct vsock_notes notes;
	bool orphan_first; /* before a connection's data */
	struct task task;
	size_t spilled; /* bytes that hosts have not taken */
	size_t moved;   /* in this turn */
	uint32_t next_port, next_serial;
	bool full, data_full; /* no room in the transport: vsock_mux_room() will come */
	bool refused;         /* vsock_mux_ready() said no */
	bool held;
};

/* ---- ports to connections ---- */

static size_t bucket_of(const struct vsock_mux *mux, uint32_t guest_port, uint32_t host_port)
{
	uint32_t ports[2] = {guest_port, host_port};

	return siphash(&mux->key, ports, sizeof(ports)) & (mux->n_buckets - 1);
}

static struct vsock_conn *find(const struct vsock_mux *mux, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_conn *conn = mux->buckets[bucket_of(mux, guest_port, host_port)];

	while (conn && (conn->guest_port != guest_port || conn->host_port != host_port))
		conn = conn->hash_next;
	return conn;
}

static void put(struct vsock_mux *mux, struct vsock_conn *conn)
{
	struct vsock_conn **bucket =
		&mux->buckets[bucket_of(mux, conn->guest_port, conn->host_port)];

	conn->hash_next = *bucket;
	*bucket = conn;
}

/* Without memory the chains only grow longer. */
static void grow(struct vsock_mux *mux)
{
	struct vsock_conn **grown = calloc(mux->n_buckets * 2, sizeof(struct vsock_conn *));
	struct vsock_conn *conn;

	if (!grown)
		return;
	free(mux->buckets);
	mux->buckets = grown;
	mux->n_buckets *= 2;
	TAILQ_FOREACH(conn, &mux->all, all) {
		if (conn->linked)
			put(mux, conn);
	}
}

static struct vsock_conn *add(struct vsock_mux *mux, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_conn *conn;

	if (mux->count >= VSOCK_CONNS_MAX)
		return NULL;
	conn = vsock_conn_new(mux, guest_port, host_port);
	if (!conn)
		return NULL;
	if (mux->linked >= mux->n_buckets)
		grow(mux);
	conn->serial = mux->next_serial++ % VSOCK_SERIALS;
	conn->linked = true;
	put(mux, conn);
	mux->linked++;
	conn->note = vsock_notes_add(&mux->notes, guest_port, host_port);
	TAILQ_INSERT_TAIL(&mux->all, conn, all);
	mux->count++;
	return conn;
}

static void leave_queue(struct vsock_mux *mux, struct vsock_conn *conn)
{
	if (conn->queued == QUEUE_CONTROL)
		TAILQ_REMOVE(&mux->control, conn, turn);
	else if (conn->queued == QUEUE_DATA)
		TAILQ_REMOVE(&mux->data, conn, turn);
	conn->queued = QUEUE_NONE;
}

void vsock_mux_unlink(struct vsock_mux *mux, struct vsock_conn *conn)
{
	struct vsock_conn **at = &mux->buckets[bucket_of(mux, conn->guest_port, conn->host_port)];

	if (!conn->linked)
		return;
	while (*at != conn)
		at = &(*at)->hash_next;
	*at = conn->hash_next;
	leave_queue(mux, conn);
	conn->linked = false;
	mux->linked--;
	vsock_notes_drop(&mux->notes, conn->note);
}

void vsock_mux_remove(struct vsock_mux *mux, struct vsock_conn *conn)
{
	vsock_mux_unlink(mux, conn);
	leave_queue(mux, conn);
	TAILQ_REMOVE(&mux->all, conn, all);
	mux->count--;
}

/* ---- towards the guest ---- */

void vsock_mux_want_turn(struct vsock_mux *mux, struct vsock_conn *conn, bool control)
{
	if (conn->queued == QUEUE_CONTROL || (conn->queued == QUEUE_DATA && !control))
		return;
	leave_queue(mux, conn);
	if (control) {
		TAILQ_INSERT_TAIL(&mux->control, conn, turn);
		conn->queued = QUEUE_CONTROL;
	} else {
		TAILQ_INSERT_TAIL(&mux->data, conn, turn);
		conn->queued = QUEUE_DATA;
	}
	if (!mux->full)
		loop_defer(mux->loop, &mux->task);
}

static void first_again(struct vsock_mux *mux, struct vsock_conn *conn)
{
	if (conn->queued != QUEUE_NONE)
		return;
	conn->queued = mux->full ? QUEUE_CONTROL : QUEUE_DATA;
	if (mux->full)
		TAILQ_INSERT_HEAD(&mux->control, conn, turn);
	else
		TAILQ_INSERT_HEAD(&mux->data, conn, turn);
}

/* A packet may be taken from the guest again. */
static void go_on(struct vsock_mux *mux)
{
	if (!mux->refused || !vsock_mux_ready(mux))
		return;
	mux->refused = false;
	if (mux->ops)
		mux->ops->resume(mux->transport);
}

static void send_reply(struct vsock_mux *mux)
{
	const struct reply *reply = &mux->replies[mux->first_reply];
	struct vsock_packet packet = {
		.src_cid = VSOCK_CID_HOST,
		.dst_cid = mux->guest_cid,
		.src_port = reply->host_port,
		.dst_port = reply->guest_port,
		.len = reply->len,
		.type = VSOCK_TYPE_DGRAM,
		.op = VSOCK_OP_RW,
	};

	if (!vsock_mux_send(mux, &packet, reply->payload))
		return;
	mux->first_reply = (mux->first_reply + 1) % VSOCK_REPLIES_MAX;
	mux->n_replies--;
	go_on(mux);
}

static void datagrams_turn(struct vsock_mux *mux)
{
	enum vsock_turn turn;

	mux->datagrams = mux->datagrams_first = false;
	turn = mux->events.send(mux->events.arg);
	if (turn == VSOCK_TURN_MORE || turn == VSOCK_TURN_BLOCKED)
		mux->datagrams = true;
}

static bool send_rst(struct vsock_mux *mux, const struct vsock_packet *rst)
{
	if (!vsock_mux_send(mux, rst, NULL))
		return false;
	counter_inc(mux->counters, COUNTER_VSOCK_RST_SENT);
	return true;
}

/* The RST for one that a dead predecessor had. False: there is none left. */
static bool orphans_turn(struct vsock_mux *mux)
{
	struct flow_memory_pair pair;
	struct vsock_packet rst;

	if (!vsock_notes_orphan(&mux->notes, &pair))
		return false;
	rst = (struct vsock_packet){
		.src_cid = VSOCK_CID_HOST,
		.dst_cid = mux->guest_cid,
		.src_port = pair.host_port,
		.dst_port = pair.guest_port,
		.type = VSOCK_TYPE_STREAM,
		.op = VSOCK_OP_RST,
	};
	/* One that has come about meanwhile under the same ports is none of them. */
	if (find(mux, pair.guest_port, pair.host_port) || send_rst(mux, &rst))
		vsock_notes_told(&mux->notes);
	return true;
}

/* The next one's turn. False: nothing more can be sent now. */
static bool next_turn(struct vsock_mux *mux)
{
	struct vsock_conn *conn = TAILQ_FIRST(&mux->control);

	if (mux->full)
		return false;
	if (mux->n_replies) {
		send_reply(mux);
		return true;
	}
	if (!conn && !mux->data_full)
		conn = TAILQ_FIRST(&mux->data);
	mux->orphan_first = !mux->orphan_first;
	if ((!conn || mux->orphan_first) && orphans_turn(mux))
		return true;
	if (mux->datagrams && !mux->data_full && TAILQ_EMPTY(&mux->control) &&
		(mux->datagrams_first || !conn)) {
		datagrams_turn(mux);
		return true;
	}
	mux->datagrams_first = true;
	if (!conn)
		return false;
	leave_queue(mux, conn);
	switch (vsock_conn_send(conn)) {
	case VSOCK_TURN_MORE:
		vsock_mux_want_turn(mux, conn, false);
		break;
	case VSOCK_TURN_BLOCKED:
		first_again(mux, conn);
		break;
	case VSOCK_TURN_DONE:
	case VSOCK_TURN_GONE:
		break;
	}
	return true;
}

static void mux_task(struct task *task)
{
	struct vsock_mux *mux =
		(struct vsock_mux *)((char *)task - offsetof(struct vsock_mux, task));
	int turns = 0;

	if (!mux->ops || mux->held)
		return;
	mux->moved = 0;
	while (turns < TURNS && mux->moved < TURN_BYTES) {
		if (!next_turn(mux))
			return;
		turns++;
	}
	loop_defer(mux->loop, &mux->task);
}

bool vsock_mux_send(struct vsock_mux *mux, const struct vsock_packet *packet, const void *payload)
{
	if (!mux->ops || !mux->ops->send(mux->transport, packet, payload)) {
		mux->full = true;
		return false;
	}
	counter_inc(mux->counters, COUNTER_VSOCK_TX_PACKETS);
	return true;
}

int vsock_mux_reserve(struct vsock_mux *mux, size_t max, struct iovec iov[VSOCK_IOV_MAX])
{
	int pieces = mux->ops ? mux->ops->reserve(mux->transport, max, iov) : 0;

	mux->data_full = !pieces;
	return pieces;
}

void vsock_mux_commit(struct vsock_mux *mux, const struct vsock_packet *packet, bool secret)
{
	mux->ops->commit(mux->transport, packet, secret);
	mux->moved += packet->len;
	counter_inc(mux->counters, COUNTER_VSOCK_TX_PACKETS);
	counter_add(mux->counters, COUNTER_VSOCK_TX_BYTES, packet->len);
	loop_moved(mux->loop, packet->len);
}

void vsock_mux_fault(struct vsock_mux *mux)
{
	if (mux->ops && mux->ops->fault)
		mux->ops->fault(mux->transport);
}

void vsock_mux_room(struct vsock_mux *mux)
{
	mux->full = mux->data_full = false;
	loop_defer(mux->loop, &mux->task);
}

/* ---- from the guest ---- */

void vsock_mux_spilled(struct vsock_mux *mux, ptrdiff_t bytes)
{
	mux->spilled += (size_t)bytes;
	go_on(mux);
}

bool vsock_mux_ready(struct vsock_mux *mux)
{
	if (!mux->held && mux->spilled + VSOCK_PAYLOAD_MAX <= VSOCK_SPILL_MAX &&
		mux->owed + mux->n_replies < VSOCK_REPLIES_MAX)
		return true;
	mux->refused = true;
	return false;
}

/* RST for what is no connection. */
static void turn_away(struct vsock_mux *mux, const struct vsock_packet *packet)
{
	struct vsock_packet rst = {
		.src_cid = packet->dst_cid,
		.dst_cid = packet->src_cid,
		.src_port = packet->dst_port,
		.dst_port = packet->src_port,
		.type = packet->type,
		.op = VSOCK_OP_RST,
	};

	if (packet->op == VSOCK_OP_RST || packet->type == VSOCK_TYPE_DGRAM)
		return;
	send_rst(mux, &rst);
}

static void bad_packet(struct vsock_mux *mux, const struct vsock_packet *packet)
{
	counter_inc(mux->counters, COUNTER_VSOCK_BAD_PACKETS);
	turn_away(mux, packet);
}

static void on_request(struct vsock_mux *mux, const struct vsock_packet *packet)
{
	struct vsock_conn *conn = NULL;

	/* The second half of a TSI connect was asked about with the first. */
	if (packet->dst_port != TSI_STREAM_PORT && limits_flow(mux->limits) < 0) {
		turn_away(mux, packet);
		return;
	}
	conn = add(mux, packet->src_port, packet->dst_port);
	if (!conn) {
		counter_inc(mux->counters, COUNTER_VSOCK_BOUNDS);
		turn_away(mux, packet);
		return;
	}
	conn->peer_buf_alloc = packet->buf_alloc;
	conn->peer_fwd_cnt = packet->fwd_cnt;
	counter_inc(mux->counters, COUNTER_VSOCK_IN);
	if (!mux->events.request || !mux->events.request(mux->events.arg, conn))
		vsock_conn_refuse(conn);
}

/* Whether the packet is one that some connection could have; else it is answered. */
static bool plausible(struct vsock_mux *mux, const struct vsock_packet *packet)
{
	counter_inc(mux->counters, COUNTER_VSOCK_RX_PACKETS);
	if (packet->src_cid != mux->guest_cid) {
		/* Whoever that is, there is nobody to answer but the guest. */
		counter_inc(mux->counters, COUNTER_VSOCK_BAD_PACKETS);
		return false;
	}
	if (packet->dst_cid == VSOCK_CID_HOST &&
		(packet->type == VSOCK_TYPE_STREAM ||
			(packet->type == VSOCK_TYPE_DGRAM && packet->op == VSOCK_OP_RW &&
				mux->events.datagram)))
		return true;
	bad_packet(mux, packet);
	return false;
}

void vsock_mux_input(struct vsock_mux *mux, const struct vsock_packet *packet,
	const struct iovec *payload, unsigned pieces)
{
	struct vsock_conn *conn;

	if (packet->len && packet->op != VSOCK_OP_RW) {
		vsock_mux_malformed(mux, packet);
		return;
	}
	if (!plausible(mux, packet))
		return;
	counter_add(mux->counters, COUNTER_VSOCK_RX_BYTES, packet->len);
	loop_moved(mux->loop, packet->len ? packet->len : 1);
	if (packet->type == VSOCK_TYPE_DGRAM) {
		mux->events.datagram(mux->events.arg, packet, payload, pieces);
		return;
	}
	conn = find(mux, packet->src_port, packet->dst_port);
	if (conn)
		vsock_conn_input(conn, packet, payload, pieces);
	else if (packet->op == VSOCK_OP_REQUEST)
		on_request(mux, packet);
	else if (packet->op != VSOCK_OP_RST)
		bad_packet(mux, packet);
}

void vsock_mux_malformed(struct vsock_mux *mux, const struct vsock_packet *packet)
{
	struct vsock_conn *conn;

	if (!plausible(mux, packet))
		return;
	conn = packet->type == VSOCK_TYPE_STREAM ? find(mux, packet->src_port, packet->dst_port)
						 : NULL;
	if (!conn) {
		bad_packet(mux, packet);
		return;
	}
	counter_inc(mux->counters, COUNTER_VSOCK_BAD_PACKETS);
	vsock_conn_kill(conn);
}

/* ---- from the host ---- */

static uint32_t free_port(struct vsock_mux *mux, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = mux->next_port++;
		if (mux->next_port == UINT32_MAX)
			mux->next_port = VSOCK_HOST_PORT_FIRST;
	} while (find(mux, guest_port, port));
	return port;
}

int vsock_mux_connect(struct vsock_mux *mux, uint32_t guest_port, const struct vsock_host *host,
	const struct vsock_conn_events *events)
{
	struct vsock_conn *conn = NULL;
	int err = -ENOTCONN;

	if (mux->ops && limits_flow(mux->limits) < 0) {
		err = -EMFILE;
	} else if (mux->ops) {
		conn = add(mux, guest_port, free_port(mux, guest_port));
		err = mux->count < VSOCK_CONNS_MAX ? -ENOMEM : -EMFILE;
	}
	if (!conn) {
		if (host->fd >= 0)
			close(host->fd);
		return err;
	}
	err = vsock_conn_ask(conn, host, events);
	if (err < 0)
		vsock_conn_free(conn);
	else
		counter_inc(mux->counters, COUNTER_VSOCK_OUT);
	return err;
}

size_t vsock_mux_count(const struct vsock_mux *mux)
{
	return mux->count;
}

/* They stand in the order of their serials, until these begin anew. */
size_t vsock_mux_flows(
	const struct vsock_mux *mux, uint32_t *cursor, struct flow_info *out, size_t max)
{
	const struct vsock_conn *conn;
	size_t n = 0;

	TAILQ_FOREACH(conn, &mux->all, all) {
		if (conn->serial < *cursor)
			continue;
		if (n == max)
			break;
		vsock_conn_info(conn, &out[n++]);
		*cursor = conn->serial + 1;
	}
	return n;
}

void vsock_mux_busy(const struct vsock_mux *mux, struct busy *busy)
{
	const struct vsock_conn *conn;

	TAILQ_FOREACH(conn, &mux->all, all) {
		busy->pending += conn->state == VSOCK_WAITING || conn->state == VSOCK_CONNECTING;
		busy->live += conn->state == VSOCK_OPEN || conn->state == VSOCK_DRAINING;
		busy->queued += conn->state == VSOCK_DEAD || conn->spill_len ||
			(conn->verify && verify_held(conn->verify));
	}
	busy->queued += (uint32_t)mux->n_replies;
}

/* ---- datagrams ---- */

bool vsock_mux_owe(struct vsock_mux *mux)
{
	if (mux->owed + mux->n_replies >= VSOCK_REPLIES_MAX)
		return false;
	mux->owed++;
	return true;
}

void vsock_mux_reply(struct vsock_mux *mux, uint32_t host_port, uint32_t guest_port,
	const void *payload, uint32_t len)
{
	struct reply *reply =
		&mux->replies[(mux->first_reply + mux->n_replies) % VSOCK_REPLIES_MAX];

	mux->owed--;
	mux->n_replies++;
	*reply = (struct reply){.host_port = host_port, .guest_port = guest_port, .len = len};
	memcpy(reply->payload, payload, len);
	if (!mux->full)
		loop_defer(mux->loop, &mux->task);
}

size_t vsock_mux_replies(const struct vsock_mux *mux)
{
	return mux->n_replies;
}

void vsock_mux_want_datagrams(struct vsock_mux *mux)
{
	mux->datagrams = true;
	if (!mux->full)
		loop_defer(mux->loop, &mux->task);
}

/* ---- life ---- */

static void reset(struct vsock_mux *mux, bool had_guest)
{
	struct vsock_conn *conn;

	while ((conn = TAILQ_FIRST(&mux->all)))
		vsock_conn_free(conn);
	mux->owed = mux->n_replies = 0;
	if (had_guest && mux->events.gone)
		mux->events.gone(mux->events.arg);
	loop_cancel(mux->loop, &mux->task);
	mux->full = mux->data_full = mux->datagrams = mux->refused = false;
}

void vsock_mux_reset(struct vsock_mux *mux)
{
	reset(mux, mux->ops != NULL);
}

void vsock_mux_hold(struct vsock_mux *mux)
{
	bool refused = mux->refused; /* then the transport waits for resume() */
	struct vsock_conn *conn;

	mux->held = true;
	TAILQ_FOREACH(conn, &mux->all, all) {
		if (mux->ops && conn->linked) {
			vsock_notes_disown(&mux->notes, conn->note);
			conn->note = VSOCK_NOTE_NONE;
		}
	}
	vsock_mux_reset(mux);
	mux->refused = refused;
}

void vsock_mux_release(struct vsock_mux *mux)
{
	mux->held = false;
	go_on(mux);
	vsock_mux_room(mux);
}

void vsock_mux_shutdown(struct vsock_mux *mux)
{
	struct vsock_conn *conn, *next;

	for (conn = TAILQ_FIRST(&mux->all); conn; conn = next) {
		next = TAILQ_NEXT(conn, all);
		vsock_conn_kill(conn);
	}
	while (mux->ops && next_turn(mux))
		;
}

void vsock_mux_attach(
	struct vsock_mux *mux, const struct vsock_transport_ops *ops, void *arg, uint64_t guest_cid)
{
	bool had_guest = mux->ops != NULL;

	mux->ops = NULL;
	reset(mux, had_guest);
	mux->ops = ops;
	mux->transport = arg;
	mux->guest_cid = guest_cid;
	if (ops)
		loop_defer(mux->loop, &mux->task); /* for a predecessor's connections */
}

void vsock_mux_set_memory(struct vsock_mux *mux, struct flow_memory *memory, bool reset)
{
	vsock_notes_open(&mux->notes, memory, reset);
}

void vsock_mux_forget(struct vsock_mux *mux)
{
	vsock_notes_forget(&mux->notes);
}

struct vsock_mux *vsock_mux_new(
	struct loop *loop, struct counters *counters, const struct vsock_mux_events *events)
{
	struct vsock_mux *mux = calloc(1, sizeof(*mux));

	if (!mux)
		return NULL;
	mux->buckets = calloc(BUCKETS_FIRST, sizeof(struct vsock_conn *));
	mux->replies = calloc(VSOCK_REPLIES_MAX, sizeof(*mux->replies)); /* untouched: no memory */
	if (!mux->buckets || !mux->replies) {
		free(mux->buckets);
		free(mux->replies);
		free(mux);
		return NULL;
	}
	mux->n_buckets = BUCKETS_FIRST;
	mux->loop = loop;
	mux->counters = counters;
	mux->events = *events;
	mux->task.run = mux_task;
	os_random(&mux->key, sizeof(mux->key));
	/* Not where a predecessor began, some of whose connections the guest may still have. */
	os_random(&mux->next_port, sizeof(mux->next_port));
	mux->next_port = VSOCK_HOST_PORT_FIRST +
		mux->next_port % (UINT32_MAX - VSOCK_HOST_PORT_FIRST);
	TAILQ_INIT(&mux->all);
	TAILQ_INIT(&mux->control);
	TAILQ_INIT(&mux->data);
	return mux;
}

void vsock_mux_free(struct vsock_mux *mux)
{
	if (!mux)
		return;
	/* First: the guest was not told of the connections' end. */
	vsock_notes_close(&mux->notes);
	vsock_mux_attach(mux, NULL, NULL, 0);
	free(mux->buckets);
	free(mux->replies);
	free(mux);
}

struct loop *vsock_mux_loop(struct vsock_mux *mux)
{
	return mux->loop;
}

struct counters *vsock_mux_counters(struct vsock_mux *mux)
{
	return mux->counters;
}

struct limits *vsock_mux_limits(const struct vsock_mux *mux)
{
	return mux->limits;
}

void vsock_mux_set_limits(struct vsock_mux *mux, struct limits *limits)
{
	mux->limits = limits;
}

uint64_t vsock_mux_guest_cid(const struct vsock_mux *mux)
{
	return mux->guest_cid;
}
