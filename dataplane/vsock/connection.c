/* SPDX-License-Identifier: MIT */
/* One vsock connection. See connection.h. */
#include "dataplane/vsock/connection.h"

#include "common/os.h"
#include "dataplane/stack/flow.h"
#include "dataplane/vsock/mux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPILL_FIRST 4096u
#define TELL_PART 4 /* of what the guest may send, taken since it was told: news worth a packet */

static void count(struct vsock_conn *conn, enum counter id)
{
	counter_inc(vsock_mux_counters(conn->mux), id);
}

static void arm(struct vsock_conn *conn, uint64_t ms)
{
	timer_arm(loop_wheel(vsock_mux_loop(conn->mux)), &conn->timer, ms);
}

static void disarm(struct vsock_conn *conn)
{
	timer_disarm(loop_wheel(vsock_mux_loop(conn->mux)), &conn->timer);
}

/* ---- what it leads to ---- */

static void on_host_ready(evutil_socket_t fd, short what, void *arg);

/*
 * Watches the host's socket for EV_READ, EV_WRITE, both or 0, by edges; one that was missed comes at
 * once. False without memory: then it is watched for nothing.
 */
static bool watch(struct vsock_conn *conn, short what)
{
	if (conn->watched == what)
		return true;
	if (conn->watched)
		event_del(&conn->ready);
	conn->watched = 0;
	if (!what)
		return true;
	event_assign(&conn->ready, loop_base(vsock_mux_loop(conn->mux)), conn->host.fd,
		(short)(what | EV_ET | EV_PERSIST), on_host_ready, conn);
	event_priority_set(&conn->ready, LOOP_DATA);
	if (event_add(&conn->ready, NULL) < 0)
		return false;
	conn->watched = (uint8_t)what;
	return true;
}

static void drop_prefix(struct vsock_conn *conn)
{
	if (conn->prefix && conn->secret)
		os_wipe(conn->prefix, conn->prefix_len);
	free(conn->prefix);
	conn->prefix = NULL;
	conn->prefix_len = conn->prefix_at = 0;
}

static void drop_spill(struct vsock_conn *conn)
{
	vsock_mux_spilled(conn->mux, -(ptrdiff_t)conn->spill_len);
	free(conn->spill);
	conn->spill = NULL;
	conn->spill_len = conn->spill_at = conn->spill_size = 0;
}

static void drop_verify(struct vsock_conn *conn)
{
	verify_free(conn->verify);
	conn->verify = NULL;
}

static void leave_line(struct vsock_conn *conn)
{
	struct limits *limits = vsock_mux_limits(conn->mux);

	limits_leave(limits, LIMITS_IN, &conn->pace[LIMITS_IN]);
	limits_leave(limits, LIMITS_OUT, &conn->pace[LIMITS_OUT]);
}

static void leave_host(struct vsock_conn *conn, bool orderly)
{
	leave_line(conn);
	watch(conn, 0);
	drop_verify(conn);
	conn->readable = false;
	if (orderly)
		host_side_close(&conn->host);
	else
		host_side_abort(&conn->host);
	drop_prefix(conn);
	drop_spill(conn);
}

static void moved(struct vsock_conn *conn, size_t from_guest, size_t to_guest)
{
	conn->tx_bytes += from_guest;
	conn->rx_bytes += to_guest;
	conn->active = loop_now(vsock_mux_loop(conn->mux));
	if (conn->events.moved)
		conn->events.moved(conn->events.arg, from_guest, to_guest);
}

static void tell_closed(struct vsock_conn *conn)
{
	struct vsock_conn_events events = conn->events;

	conn->events = (struct vsock_conn_events){0};
	if (events.closed)
		events.closed(events.arg, conn);
}

void vsock_conn_free(struct vsock_conn *conn)
{
	leave_host(conn, false);
	tell_closed(conn);
	disarm(conn);
	leave_line(conn);
	vsock_mux_remove(conn->mux, conn);
	free(conn);
}

/* An RST for the guest is all that is left of it. */
static void end(struct vsock_conn *conn, bool orderly)
{
	if (conn->state == VSOCK_DEAD)
		return;
	leave_host(conn, orderly);
	tell_closed(conn);
	disarm(conn);
	conn->state = VSOCK_DEAD;
	conn->owe_rst = true;
	vsock_mux_want_turn(conn->mux, conn, true);
}

void vsock_conn_kill(struct vsock_conn *conn)
{
	if (conn->linked)
		end(conn, false);
	else
		vsock_conn_free(conn); /* the guest has had its RST */
}

static void want_shut(struct vsock_conn *conn, unsigned flags)
{
	conn->shut_wanted |= (uint8_t)flags;
	if (conn->shut_wanted != conn->shut_sent)
		vsock_mux_want_turn(conn->mux, conn, true);
}

/*
 * Both ends' ends, whenever one of them or the spill has moved. May end the connection; false
 * where it did.
 */
static bool check_ends(struct vsock_conn *conn)
{
	if (conn->state != VSOCK_OPEN && conn->state != VSOCK_DRAINING)
		return true;
	if (conn->spill_len)
		return true;
	if (conn->guest_shut == VSOCK_SHUT_BOTH) {
		if (conn->linked) {
			end(conn, true);
		} else {
			leave_host(conn, true);
			vsock_conn_free(conn);
		}
		return false;
	}
	if (conn->guest_shut & VSOCK_SHUT_SEND && !conn->host_shut) {
		conn->host_shut = true;
		if (conn->host.fd >= 0)
			host_side_half_close(&conn->host);
	}
	if (conn->host.fd >= 0 && conn->host_shut && conn->shut_wanted & VSOCK_SHUT_SEND)
		want_shut(conn, VSOCK_SHUT_BOTH);
	return true;
}

/* ---- guest to host ---- */

/* How much the guest may have on the way: of what we allow no more than its own buffer's size,
 * which is what Linux caps it to. */
static uint32_t guest_limit(const struct vsock_conn *conn)
{
	return conn->peer_buf_alloc < VSOCK_CREDIT ? conn->peer_buf_alloc : VSOCK_CREDIT;
}

static void taken(struct vsock_conn *conn, uint32_t n)
{
	uint32_t news, limit = guest_limit(conn), believed_used = conn->rx_cnt - conn->told_fwd_cnt;

	conn->fwd_cnt += n;
	news = conn->fwd_cnt - conn->told_fwd_cnt;
	if (conn->state != VSOCK_OPEN || !news || believed_used <= limit / 2)
		return;
	if (news >= limit / TELL_PART || !conn->spill_len) {
		conn->owe_credit = true;
		vsock_mux_want_turn(conn->mux, conn, true);
	}
}

/* Keeps the payload's bytes from `skip` on, len of them. */
static bool spill(struct vsock_conn *conn, const struct iovec *payload, unsigned pieces,
	size_t skip, uint32_t len)
{
	uint32_t need = conn->spill_len + len, size = conn->spill_size;

	if (conn->spill_at && conn->spill_at + need > size) {
		memmove(conn->spill, conn->spill + conn->spill_at, conn->spill_len);
		conn->spill_at = 0;
	}
	if (need > size) {
		uint8_t *grown;

		size = size ? size : SPILL_FIRST;
		while (size < need)
			size *= 2;
		grown = realloc(conn->spill, size);
		if (!grown)
			return false;
		conn->spill = grown;
		conn->spill_size = size;
	}
	for (unsigned i = 0; i < pieces; i++) {
		size_t n = payload[i].iov_len;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		memcpy(conn->spill + conn->spill_at + conn->spill_len,
			(const uint8_t *)payload[i].iov_base + skip, n - skip);
		conn->spill_len += (uint32_t)(n - skip);
		skip = 0;
	}
	vsock_mux_spilled(conn->mux, (ptrdiff_t)len);
	return true;
}

/* The host reads no more. What it did not read counts as taken, or the guest could not go on to its end. */
static void host_went_deaf(struct vsock_conn *conn)
{
	uint32_t lost = conn->spill_len;

	conn->host_deaf = conn->host_shut = true;
	drop_spill(conn);
	taken(conn, lost);
	want_shut(conn, VSOCK_SHUT_RECEIVE);
}

/* len bytes of these pieces, from `skip` on, as far as they fit. Returns how many pieces these are,
 * and how many bytes. */
static unsigned cut(const struct iovec *bytes, unsigned pieces, size_t skip, size_t *len,
	struct iovec out[VSOCK_IOV_MAX])
{
	size_t left = *len;
	unsigned n = 0;

	for (unsigned i = 0; i < pieces && n < VSOCK_IOV_MAX && left; i++) {
		size_t have = bytes[i].iov_len;

		if (skip >= have) {
			skip -= have;
			continue;
		}
		have = have - skip < left ? have - skip : left;
		out[n++] = (struct iovec){(uint8_t *)bytes[i].iov_base + skip, have};
		skip = 0;
		left -= have;
	}
	*len -= left;
	return n;
}

static size_t length_of(const struct iovec *bytes, unsigned pieces)
{
	size_t len = 0;

	for (unsigned i = 0; i < pieces; i++)
		len += bytes[i].iov_len;
	return len;
}

/* host_side_writev() of what the VM's rate allows. What that leaves waits for it, or for the host. */
static ssize_t write_paced(struct vsock_conn *conn, const struct iovec *bytes, unsigned pieces)
{
	struct limits *limits = vsock_mux_limits(conn->mux);
	struct limits_waiter *pace = &conn->pace[LIMITS_OUT];
	size_t len = length_of(bytes, pieces), done = 0;

	while (done < len) {
		struct iovec part[VSOCK_IOV_MAX];
		size_t allowed = limits_ask(limits, LIMITS_OUT, pace, len - done);
		unsigned n_parts = cut(bytes, pieces, done, &allowed, part);
		ssize_t n = allowed ? host_side_writev(&conn->host, part, n_parts) : -EAGAIN;

		limits_took(limits, LIMITS_OUT, pace, n > 0 ? (size_t)n : 0);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < allowed)
			break;
	}
	return (ssize_t)done;
}

/* Writes what the host takes of these bytes. How many, or -1: the connection is dead or freed. */
static ssize_t write_host(struct vsock_conn *conn, const struct iovec *bytes, unsigned pieces)
{
	ssize_t n;

	do {
		n = limits_paced(vsock_mux_limits(conn->mux), LIMITS_OUT)
			? write_paced(conn, bytes, pieces)
			: host_side_writev(&conn->host, bytes, pieces);
	} while (n == -EINTR);
	if (n >= 0)
		return n;
	if (n == -EAGAIN || n == -EWOULDBLOCK)
		return 0;
	if (n == -EPIPE && conn->state == VSOCK_OPEN) {
		host_went_deaf(conn);
		return 0;
	}
	if (n == -EFAULT)
		vsock_mux_fault(conn->mux);
	vsock_conn_kill(conn);
	return -1;
}

static void flush_spill(struct vsock_conn *conn)
{
	ssize_t n = 1;

	while (conn->spill_len && n > 0) {
		struct iovec bytes = {conn->spill + conn->spill_at, conn->spill_len};

		n = write_host(conn, &bytes, 1);
		if (n < 0)
			return;
		if (!conn->spill_len)
			break; /* gone deaf */
		conn->spill_at += (uint32_t)n;
		conn->spill_len -= (uint32_t)n;
		vsock_mux_spilled(conn->mux, -n);
		if (!conn->spill_len)
			drop_spill(conn);
		if (n)
			taken(conn, (uint32_t)n);
	}
	check_ends(conn);
}

static void on_pace_out(struct limits_waiter *pace)
{
	struct vsock_conn *conn =
		(struct vsock_conn *)((char *)pace - offsetof(struct vsock_conn, pace[LIMITS_OUT]));

	if (conn->spill_len)
		flush_spill(conn);
	else
		limits_leave(vsock_mux_limits(conn->mux), LIMITS_OUT, pace);
}

/* Writes the payload or spills it. False: the connection is dead or freed. */
static bool give_host(
	struct vsock_conn *conn, const struct iovec *payload, unsigned pieces, uint32_t len)
{
	ssize_t n = 0;

	if (!conn->host_deaf && !conn->spill_len) {
		n = write_host(conn, payload, pieces);
		if (n < 0)
			return false;
	}
	if (conn->host_deaf) {
		taken(conn, len);
		return true;
	}
	if ((uint32_t)n < len &&
		(!spill(conn, payload, pieces, (size_t)n, len - (uint32_t)n) ||
			!watch(conn, conn->watched | EV_WRITE))) {
		vsock_conn_kill(conn);
		return false;
	}
	if (n)
		taken(conn, (uint32_t)n);
	return true;
}

/* One piece through the verifier. False: the connection is dead or freed. */
static bool give_verified(struct vsock_conn *conn, const uint8_t *bytes, size_t len)
{
	struct verify_span span;

	for (; len; bytes += span.taken, len -= span.taken) {
		struct iovec part;

		if (!verify_feed(conn->verify, bytes, len, &span)) {
			vsock_conn_kill(conn);
			return false;
		}
		/* sendmsg(2) only reads it. */
		part = (struct iovec){(void *)(uintptr_t)span.bytes, span.len};
		if (span.len && !give_host(conn, &part, 1, (uint32_t)span.len))
			return false;
	}
	return true;
}

static void on_verified_payload(
	struct vsock_conn *conn, const struct iovec *payload, unsigned pieces)
{
	for (unsigned i = 0; i < pieces; i++) {
		if (!give_verified(conn, payload[i].iov_base, payload[i].iov_len))
			return;
	}
	if (verify_settled(conn->verify))
		drop_verify(conn);
}

static void on_payload(
	struct vsock_conn *conn, const struct iovec *payload, unsigned pieces, uint32_t len)
{
	if (conn->guest_shut & VSOCK_SHUT_SEND) {
		count(conn, COUNTER_VSOCK_BAD_PACKETS);
		vsock_conn_kill(conn);
		return;
	}
	if (conn->rx_cnt - conn->fwd_cnt + len > VSOCK_CREDIT) {
		count(conn, COUNTER_VSOCK_CREDIT_OVERRUNS);
		vsock_conn_kill(conn);
		return;
	}
	conn->rx_cnt += len;
	moved(conn, len, 0);
	if (conn->verify)
		on_verified_payload(conn, payload, pieces);
	else
		give_host(conn, payload, pieces, len);
}

/* ---- host to guest ---- */

static uint32_t peer_room(const struct vsock_conn *conn)
{
	uint32_t used = conn->tx_cnt - conn->peer_fwd_cnt;

	return used < conn->peer_buf_alloc ? conn->peer_buf_alloc - used : 0;
}

static bool has_data(const struct vsock_conn *conn)
{
	return conn->state == VSOCK_OPEN && !conn->owe_open &&
		!(conn->guest_shut & VSOCK_SHUT_RECEIVE) &&
		!(conn->shut_wanted & VSOCK_SHUT_SEND) && (conn->prefix || conn->readable);
}

static struct vsock_packet packet_of(
	const struct vsock_conn *conn, enum vsock_op op, uint32_t flags, uint32_t len)
{
	return (struct vsock_packet){
		.src_cid = VSOCK_CID_HOST,
		.dst_cid = vsock_mux_guest_cid(conn->mux),
		.src_port = conn->host_port,
		.dst_port = conn->guest_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.flags = flags,
		.buf_alloc = VSOCK_CREDIT,
		.fwd_cnt = conn->fwd_cnt,
	};
}

static bool send_op(struct vsock_conn *conn, enum vsock_op op, uint32_t flags)
{
	struct vsock_packet packet = packet_of(conn, op, flags, 0);

	if (!vsock_mux_send(conn->mux, &packet, NULL))
		return false;
	conn->told_fwd_cnt = conn->fwd_cnt;
	conn->owe_credit = false;
	return true;
}

static bool owes(const struct vsock_conn *conn)
{
	return conn->owe_open || conn->owe_credit || conn->owe_credit_request ||
		conn->shut_wanted != conn->shut_sent;
}

/* What is owed besides data, first things first. False: no room. */
static bool send_control(struct vsock_conn *conn)
{
	if (conn->owe_open) {
		if (!send_op(conn, conn->opener ? VSOCK_OP_REQUEST : VSOCK_OP_RESPONSE, 0))
			return false;
		conn->owe_open = false;
	}
	if (conn->owe_credit && !send_op(conn, VSOCK_OP_CREDIT_UPDATE, 0))
		return false;
	if (conn->owe_credit_request) {
		if (!send_op(conn, VSOCK_OP_CREDIT_REQUEST, 0))
			return false;
		conn->owe_credit_request = false;
	}
	if (conn->shut_wanted != conn->shut_sent) {
		if (!send_op(conn, VSOCK_OP_SHUTDOWN, conn->shut_wanted))
			return false;
		conn->shut_sent = conn->shut_wanted;
		if (conn->shut_sent == VSOCK_SHUT_BOTH)
			arm(conn, VSOCK_SHUTDOWN_MS);
	}
	return true;
}

/* The host's bytes into the reservation: how many, 0 at the end, or -errno. */
static ssize_t read_host(struct vsock_conn *conn, struct iovec *iov, int pieces)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)pieces};
	ssize_t n;

	do {
		n = recvmsg(conn->host.fd, &msg, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t read_prefix(struct vsock_conn *conn, const struct iovec *iov, int pieces)
{
	size_t done = 0;

	for (int i = 0; i < pieces && conn->prefix_at < conn->prefix_len; i++) {
		size_t left = conn->prefix_len - conn->prefix_at;
		size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;

		memcpy(iov[i].iov_base, conn->prefix + conn->prefix_at, n);
		if (conn->secret)
			os_wipe(conn->prefix + conn->prefix_at, n);
		conn->prefix_at += n;
		done += n;
	}
	if (conn->prefix_at == conn->prefix_len)
		drop_prefix(conn);
	return (ssize_t)done;
}

/* No more comes from the host's side. */
static void host_ended(struct vsock_conn *conn)
{
	conn->readable = false;
	want_shut(conn, conn->host.fd < 0 ? VSOCK_SHUT_BOTH : VSOCK_SHUT_SEND);
	check_ends(conn);
}

static void on_pace_in(struct limits_waiter *pace)
{
	struct vsock_conn *conn =
		(struct vsock_conn *)((char *)pace - offsetof(struct vsock_conn, pace[LIMITS_IN]));

	if (has_data(conn))
		vsock_mux_want_turn(conn->mux, conn, false);
	else
		limits_leave(vsock_mux_limits(conn->mux), LIMITS_IN, pace);
}

/* Room for a payload: how many bytes the VM's rate allows, and in how many pieces the transport has
 * room for these, 0: none. */
static size_t reserve_paced(
	struct vsock_conn *conn, size_t len, struct iovec iov[VSOCK_IOV_MAX], int *pieces)
{
	struct limits *limits = vsock_mux_limits(conn->mux);

	len = limits_ask(limits, LIMITS_IN, &conn->pace[LIMITS_IN], len);
	if (!len)
		return 0;
	*pieces = vsock_mux_reserve(conn->mux, len, iov);
	if (!*pieces)
		limits_took(limits, LIMITS_IN, &conn->pace[LIMITS_IN], 0);
	return len;
}

static enum vsock_turn send_data(struct vsock_conn *conn)
{
	struct iovec iov[VSOCK_IOV_MAX];
	uint32_t room = peer_room(conn);
	struct vsock_packet packet;
	int pieces = 0;
	ssize_t n;

	if (!room) {
		if (!conn->credit_asked) {
			conn->credit_asked = conn->owe_credit_request = true;
			vsock_mux_want_turn(conn->mux, conn, true);
		}
		return VSOCK_TURN_DONE;
	}
	if (!reserve_paced(conn, room < VSOCK_SLICE ? room : VSOCK_SLICE, iov, &pieces))
		return VSOCK_TURN_DONE; /* on_pace_in() follows */
	if (!pieces)
		return VSOCK_TURN_BLOCKED;
	n = conn->prefix ? read_prefix(conn, iov, pieces) : read_host(conn, iov, pieces);
	limits_took(vsock_mux_limits(conn->mux), LIMITS_IN, &conn->pace[LIMITS_IN],
		n > 0 ? (size_t)n : 0);
	if (n == -EAGAIN || n == -EWOULDBLOCK) {
		conn->readable = false;
		n = watch(conn, conn->watched | EV_READ) ? 0 : -ENOMEM;
		if (!n)
			return VSOCK_TURN_DONE;
	}
	if (n < 0) {
		if (n == -EFAULT)
			vsock_mux_fault(conn->mux);
		vsock_conn_kill(conn);
		return VSOCK_TURN_DONE;
	}
	if (n == 0) {
		host_ended(conn);
		return VSOCK_TURN_DONE;
	}
	packet = packet_of(conn, VSOCK_OP_RW, 0, (uint32_t)n);
	vsock_mux_commit(conn->mux, &packet, conn->secret);
	conn->told_fwd_cnt = conn->fwd_cnt;
	conn->owe_credit = false;
	conn->tx_cnt += (uint32_t)n;
	moved(conn, 0, (size_t)n);
	if (!conn->prefix && conn->host.fd < 0)
		host_ended(conn);
	return has_data(conn) ? VSOCK_TURN_MORE : VSOCK_TURN_DONE;
}

enum vsock_turn vsock_conn_send(struct vsock_conn *conn)
{
	if (conn->owe_rst) {
		if (!send_op(conn, VSOCK_OP_RST, 0))
			return VSOCK_TURN_BLOCKED;
		count(conn, COUNTER_VSOCK_RST_SENT);
		vsock_conn_free(conn);
		return VSOCK_TURN_GONE;
	}
	if (owes(conn)) {
		if (!send_control(conn))
			return VSOCK_TURN_BLOCKED;
		return has_data(conn) ? VSOCK_TURN_MORE : VSOCK_TURN_DONE;
	}
	return has_data(conn) ? send_data(conn) : VSOCK_TURN_DONE;
}

/* ---- events ---- */

/*
 * Each step of the far end is an edge: what it reads while nothing waits for room, what it writes
 * while there is more than the guest takes. To be woken costs more than most else here, so an edge
 * that is no news ends its watch, until somebody waits for the next one.
 */
static void on_host_ready(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_conn *conn = arg;
	short wanted = conn->watched;

	(void)fd;
	if (what & EV_READ && conn->readable)
		wanted &= ~EV_READ;
	if (what & EV_WRITE && !conn->spill_len)
		wanted &= ~EV_WRITE;
	if (!watch(conn, wanted)) {
		vsock_conn_kill(conn);
		return;
	}
	if (what & EV_READ) {
		conn->readable = true;
		if (has_data(conn))
			vsock_mux_want_turn(conn->mux, conn, false);
	}
	if (what & EV_WRITE && conn->spill_len)
		flush_spill(conn);
}

static void on_deadline(struct timer *timer)
{
	struct vsock_conn *conn =
		(struct vsock_conn *)((char *)timer - offsetof(struct vsock_conn, timer));

	count(conn, COUNTER_VSOCK_TIMEOUTS);
	if (conn->state == VSOCK_OPEN && conn->shut_sent == VSOCK_SHUT_BOTH)
		end(conn, true);
	else
		vsock_conn_kill(conn);
}

/* ---- the guest's packets ---- */

static void on_guest_shutdown(struct vsock_conn *conn, uint32_t flags)
{
	uint8_t before = conn->guest_shut;

	conn->guest_shut |= flags & VSOCK_SHUT_BOTH;
	if (conn->guest_shut == before)
		return;
	if (flags & VSOCK_SHUT_SEND && conn->verify && !verify_end(conn->verify)) {
		vsock_conn_kill(conn);
		return;
	}
	if (conn->guest_shut & VSOCK_SHUT_RECEIVE) {
		drop_prefix(conn);
		conn->readable = false;
		if (conn->host.fd >= 0)
			shutdown(conn->host.fd, SHUT_RD);
	}
	if (conn->guest_shut == VSOCK_SHUT_BOTH && conn->spill_len) {
		conn->state = VSOCK_DRAINING;
		arm(conn, VSOCK_DRAIN_MS);
	}
	if (conn->guest_shut == VSOCK_SHUT_RECEIVE && conn->host.fd < 0)
		want_shut(conn, VSOCK_SHUT_BOTH);
	check_ends(conn);
}

static void on_guest_rst(struct vsock_conn *conn)
{
	count(conn, COUNTER_VSOCK_RST_RECEIVED);
	if (conn->state == VSOCK_DRAINING) {
		vsock_mux_unlink(conn->mux, conn);
		return;
	}
	if (conn->state == VSOCK_OPEN && conn->shut_sent == VSOCK_SHUT_BOTH)
		leave_host(conn, true);
	vsock_conn_free(conn);
}

static void on_guest_response(struct vsock_conn *conn)
{
	if (conn->state != VSOCK_CONNECTING || conn->owe_open) {
		count(conn, COUNTER_VSOCK_BAD_PACKETS);
		vsock_conn_kill(conn);
		return;
	}
	conn->state = VSOCK_OPEN;
	disarm(conn);
	if (conn->events.opened)
		conn->events.opened(conn->events.arg, conn);
	if (has_data(conn))
		vsock_mux_want_turn(conn->mux, conn, false);
}

static void on_credit(struct vsock_conn *conn, const struct vsock_packet *packet)
{
	bool had = peer_room(conn) != 0;

	conn->peer_buf_alloc = packet->buf_alloc;
	conn->peer_fwd_cnt = packet->fwd_cnt;
	if (had || !peer_room(conn))
		return;
	conn->credit_asked = false;
	if (has_data(conn))
		vsock_mux_want_turn(conn->mux, conn, false);
}

void vsock_conn_input(struct vsock_conn *conn, const struct vsock_packet *packet,
	const struct iovec *payload, unsigned pieces)
{
	bool open = conn->state == VSOCK_OPEN || conn->state == VSOCK_DRAINING;

	if (packet->op == VSOCK_OP_RST) {
		on_guest_rst(conn);
		return;
	}
	if (conn->state == VSOCK_DEAD)
		return; /* its RST is on the way */
	on_credit(conn, packet);
	if (packet->op == VSOCK_OP_RESPONSE) {
		on_guest_response(conn);
	} else if (packet->op == VSOCK_OP_SHUTDOWN && open) {
		on_guest_shutdown(conn, packet->flags);
	} else if (packet->op == VSOCK_OP_RW && open) {
		on_payload(conn, payload, pieces, packet->len);
	} else if (packet->op == VSOCK_OP_CREDIT_UPDATE) {
		return;
	} else if (packet->op == VSOCK_OP_CREDIT_REQUEST) {
		conn->owe_credit = true;
		vsock_mux_want_turn(conn->mux, conn, true);
	} else if (packet->op == VSOCK_OP_SHUTDOWN && conn->state == VSOCK_WAITING) {
		vsock_conn_kill(conn); /* it did not want to wait */
	} else {
		/* A REQUEST for what is there, bytes for what is not open, an unknown op. */
		count(conn, COUNTER_VSOCK_BAD_PACKETS);
		vsock_conn_kill(conn);
	}
}

/* ---- beginnings ---- */

struct vsock_conn *vsock_conn_new(struct vsock_mux *mux, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->mux = mux;
	conn->guest_port = guest_port;
	conn->host_port = host_port;
	conn->host.fd = -1;
	conn->born = conn->active = loop_now(vsock_mux_loop(mux));
	conn->timer.fire = on_deadline;
	conn->pace[LIMITS_IN].go = on_pace_in;
	conn->pace[LIMITS_OUT].go = on_pace_out;
	arm(conn, VSOCK_REQUEST_MS);
	return conn;
}

static int take_host(struct vsock_conn *conn, const struct vsock_host *host)
{
	conn->host = (struct host_side){.fd = host->fd, .tcp = host->tcp};
	conn->host_deaf = host->fd < 0;
	conn->secret = host->secret;
	if (host->prefix_len) {
		conn->prefix = malloc(host->prefix_len);
		if (!conn->prefix)
			return -ENOMEM;
		memcpy(conn->prefix, host->prefix, host->prefix_len);
		conn->prefix_len = host->prefix_len;
	}
	if (host->fd < 0)
		return 0;
	return watch(conn, EV_READ) ? 0 : -ENOMEM;
}

int vsock_conn_ask(struct vsock_conn *conn, const struct vsock_host *host,
	const struct vsock_conn_events *events)
{
	int err = take_host(conn, host);

	if (err < 0)
		return err;
	if (events)
		conn->events = *events;
	conn->state = VSOCK_CONNECTING;
	conn->opener = conn->owe_open = true;
	vsock_mux_want_turn(conn->mux, conn, true);
	return 0;
}

void vsock_conn_watch(struct vsock_conn *conn, const struct vsock_conn_events *events)
{
	conn->events = *events;
}

int vsock_conn_accept(struct vsock_conn *conn, const struct vsock_host *host)
{
	int err = take_host(conn, host);

	if (err < 0) {
		vsock_conn_kill(conn);
		return err;
	}
	conn->state = VSOCK_OPEN;
	conn->owe_open = true;
	if (conn->secret)
		arm(conn, VSOCK_SECRET_MS);
	else
		disarm(conn);
	if (!conn->prefix && host->fd < 0)
		want_shut(conn, VSOCK_SHUT_BOTH);
	vsock_mux_want_turn(conn->mux, conn, true);
	return 0;
}

void vsock_conn_verify(struct vsock_conn *conn, struct verify *verify)
{
	conn->verify = verify;
}

/* ---- for show ---- */

static const char *state_name(const struct vsock_conn *conn)
{
	switch ((enum vsock_state)conn->state) {
	case VSOCK_WAITING:
		return "dialling";
	case VSOCK_CONNECTING:
		return "syn-sent";
	case VSOCK_DRAINING:
	case VSOCK_DEAD:
		return "closing";
	case VSOCK_OPEN:
		break;
	}
	if (conn->guest_shut & VSOCK_SHUT_SEND && conn->shut_sent & VSOCK_SHUT_SEND)
		return "closing";
	if (conn->guest_shut & VSOCK_SHUT_SEND)
		return "guest-closed";
	return conn->shut_sent & VSOCK_SHUT_SEND ? "host-closed" : "established";
}

void vsock_conn_info(const struct vsock_conn *conn, struct flow_info *info)
{
	uint64_t now = loop_now(vsock_mux_loop(conn->mux));
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	*info = (struct flow_info){
		.proto = FLOW_VSOCK,
		.inbound = conn->opener,
		.key.remote = conn->peer,
		.vsock_guest = conn->guest_port,
		.vsock_host = conn->host_port,
		.state = state_name(conn),
		.age_ms = now - conn->born,
		.idle_ms = now - conn->active,
		.tx_bytes = conn->tx_bytes,
		.rx_bytes = conn->rx_bytes,
	};
	if (conn->host.fd >= 0 && conn->host.tcp &&
		getpeername(conn->host.fd, (struct sockaddr *)&ss, &len) == 0)
		endpoint_from_sockaddr((struct sockaddr *)&ss, len, &info->host);
}

void vsock_conn_refuse(struct vsock_conn *conn)
{
	count(conn, COUNTER_VSOCK_REFUSED);
	vsock_conn_kill(conn);
}
