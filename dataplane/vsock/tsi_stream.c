/* SPDX-License-Identifier: MIT */
/*
 * TSI's outbound streams: dialled at CONNECT, parked until the guest claims them by a REQUEST to
 * port 620, and from then on a connection of the mux's like any other. See tsi.c.
 *
 * A stream to a listener of the guest's own is parked as the listener's name only. When it is
 * claimed a second connection is opened, to the listener's vm_port, and the two are given the ends
 * of a socketpair (struct own_pair). Ends pass through the pair as ends of file; a socketpair has
 * no reset, so an abrupt end of one connection is carried to the other by hand.
 */
#include "dataplane/vsock/tsi_internal.h"

#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A claimed stream, to be cut when a new policy forbids it. */
struct tsi_stream {
	TAILQ_ENTRY(tsi_stream) entry;
	struct tsi *tsi;
	struct vsock_conn *conn;
	struct endpoint dst;
	struct egress_pass pass;
};

struct own_pair {
	struct vsock_conn *near; /* of who connected; NULL once over */
	struct vsock_conn *far;  /* the listener's; NULL before the guest accepted it, too */
	unsigned alive;
	bool reset; /* one of them has ended abruptly */
};

static struct timer_wheel *wheel(const struct tsi *tsi)
{
	return loop_wheel(tsi->parts.loop);
}

/* ---- back to idle ---- */

static void stop_dialling(struct tsi_sock *sock)
{
	if (sock->dialling)
		egress_cancel(sock->dialling);
	sock->dialling = NULL;
	timer_disarm(wheel(sock->tsi), &sock->timer);
	sock->tsi->connecting--;
	sock->state = TSI_IDLE;
}

static void connect_failed(struct tsi_sock *sock, int err)
{
	counter_inc(sock->tsi->parts.counters, COUNTER_TSI_CONNECT_FAILED);
	egress_leave(&sock->pass);
	sock->has_peer = false;
	tsi_reply(sock->tsi, TSI_CONNECT, sock->reply_port, err);
}

static void unpark(struct tsi_sock *sock)
{
	timer_disarm(wheel(sock->tsi), &sock->timer);
	sock->tsi->parked--;
	sock->fd = -1;
}

static void drop_parked(struct tsi_sock *sock)
{
	if (sock->fd >= 0)
		close(sock->fd);
	egress_leave(&sock->pass);
	unpark(sock);
	sock->state = TSI_IDLE;
	sock->has_peer = false;
}

static void on_timer(struct timer *timer)
{
	struct tsi_sock *sock =
		(struct tsi_sock *)((char *)timer - offsetof(struct tsi_sock, timer));
	struct counters *counters = sock->tsi->parts.counters;

	if (sock->state == TSI_PARKED) {
		counter_inc(counters, COUNTER_TSI_UNCLAIMED);
		drop_parked(sock);
		return;
	}
	counter_inc(counters, COUNTER_TSI_CONNECT_TIMEOUTS);
	stop_dialling(sock);
	connect_failed(sock, -ETIMEDOUT);
}

void tsi_stream_remove(struct tsi_sock *sock)
{
	if (sock->state == TSI_CONNECTING) {
		stop_dialling(sock);
		connect_failed(sock, -EINVAL);
	} else if (sock->state == TSI_PARKED) {
		drop_parked(sock);
	}
}

/* ---- CONNECT ---- */

/* The near end of what has no socket of the host's with a name. */
static struct endpoint made_up_name(const struct tsi_sock *sock)
{
	struct endpoint name = {sock->tsi->parts.net->guest, tsi_made_up_port(sock->tsi)};

	if (addr_is_loopback(&sock->peer.addr))
		name.addr = sock->peer.addr;
	return name;
}

/* fd -1: to a listener of the guest's own. */
static void park(struct tsi_sock *sock, int fd, bool tcp)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	sock->fd = fd;
	sock->tcp = tcp;
	if (!tcp || fd < 0 || getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
		endpoint_from_sockaddr((struct sockaddr *)&ss, len, &sock->local) < 0)
		sock->local = made_up_name(sock);
	sock->state = TSI_PARKED;
	sock->timer.fire = on_timer;
	timer_arm(wheel(sock->tsi), &sock->timer, TSI_PARK_MS);
	sock->tsi->parked++;
	counter_inc(sock->tsi->parts.counters, COUNTER_TSI_CONNECTS);
	tsi_reply(sock->tsi, TSI_CONNECT, sock->reply_port, 0);
}

static void on_dialled(void *arg, int fd)
{
	struct tsi_sock *sock = arg;

	sock->dialling = NULL;
	stop_dialling(sock);
	if (fd >= 0)
		park(sock, fd, true);
	else
		connect_failed(sock, fd);
}

static void dial(struct tsi_sock *sock)
{
	struct tsi *tsi = sock->tsi;
	int fd = limits_flow(tsi->parts.limits);

	if (fd < 0) {
		connect_failed(sock, fd);
		return;
	}
	fd = egress_dial(tsi->parts.egress, EGRESS_TSI, IP_PROTO_TCP, &sock->peer, &sock->pass,
		on_dialled, sock, &sock->dialling);

	if (fd >= 0) {
		park(sock, fd, true);
	} else if (fd == -EINPROGRESS) {
		sock->state = TSI_CONNECTING;
		sock->timer.fire = on_timer;
		timer_arm(wheel(tsi), &sock->timer, TSI_CONNECT_MS);
		tsi->connecting++;
	} else {
		connect_failed(sock, tsi_refusal(tsi, &sock->peer, fd));
	}
}

static void connect_dns(struct tsi_sock *sock)
{
	int fd = dns_tcp_accept(sock->tsi->parts.dns);

	if (fd < 0)
		connect_failed(sock, fd);
	else
		park(sock, fd, false);
}

void tsi_stream_connect(struct tsi_sock *sock, const struct endpoint *dst, uint32_t reply_port)
{
	struct tsi *tsi = sock->tsi;
	const struct tsi_sock *own = tsi_listen_find(tsi, dst);

	if (sock->state != TSI_IDLE) {
		tsi_reply(tsi, TSI_CONNECT, reply_port,
			sock->state == TSI_CONNECTING ? -EALREADY : -EISCONN);
		return;
	}
	sock->reply_port = reply_port;
	sock->has_peer = true;
	sock->peer = *dst;
	if (own) {
		sock->own = own->svm_port;
		park(sock, -1, false);
	} else if (addr_eq(&dst->addr, &tsi->parts.net->guest)) {
		connect_failed(sock, -ECONNREFUSED);
	} else if (tsi_is_dns(tsi, dst)) {
		connect_dns(sock);
	} else {
		dial(sock);
	}
}

/* ---- a claim: to a listener of the guest's own ---- */

static void leave(struct own_pair *pair)
{
	if (--pair->alive == 0)
		free(pair);
}

static void end_closed(
	struct own_pair *pair, const struct vsock_conn *conn, struct vsock_conn *other)
{
	if (conn->guest_shut != VSOCK_SHUT_BOTH && conn->shut_sent != VSOCK_SHUT_BOTH) {
		pair->reset = true;
		if (other)
			vsock_conn_kill(other); /* which comes here, too */
	}
	leave(pair);
}

static void on_near_closed(void *arg, struct vsock_conn *conn)
{
	struct own_pair *pair = arg;

	pair->near = NULL;
	end_closed(pair, conn, pair->far);
}

static void on_far_closed(void *arg, struct vsock_conn *conn)
{
	struct own_pair *pair = arg;

	pair->far = NULL;
	end_closed(pair, conn, pair->near);
}

static void on_far_opened(void *arg, struct vsock_conn *conn)
{
	struct own_pair *pair = arg;

	pair->far = conn;
	if (pair->reset)
		vsock_conn_kill(conn);
}

/* The guest hears of its own connection first: it asked for that. */
static void join(struct own_pair *pair, struct vsock_conn *conn, int near_fd)
{
	const struct vsock_conn_events events = {.arg = pair, .closed = on_near_closed};
	const struct vsock_host host = {.fd = near_fd};

	*pair = (struct own_pair){.near = conn, .alive = 2};
	vsock_conn_watch(conn, &events);
	vsock_conn_accept(conn, &host);
}

static void join_listener(
	struct own_pair *pair, struct tsi_sock *own, const struct endpoint *client, int far_fd)
{
	const struct vsock_conn_events events = {
		.arg = pair, .opened = on_far_opened, .closed = on_far_closed};
	const struct vsock_host host = {.fd = far_fd};

	if (tsi_listen_open(own, &host, client, &events) == 0)
		return;
	if (pair->near)
		vsock_conn_kill(pair->near);
	leave(pair);
}

static bool claim_own(struct tsi_sock *sock, struct vsock_conn *conn)
{
	struct tsi_sock *own = tsi_find(sock->tsi, sock->own);
	struct own_pair *pair;
	int fds[2];

	if (!own || !tsi_listen_stands(own))
		return false;
	pair = calloc(1, sizeof(*pair));
	if (!pair || os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0) {
		free(pair);
		return false;
	}
	join(pair, conn, fds[0]);
	join_listener(pair, own, &sock->local, fds[1]);
	return true;
}

/* ---- a claim: to a host socket ---- */

static void on_stream_moved(void *arg, size_t from_guest, size_t to_guest)
{
	const struct tsi_stream *stream = arg;

	egress_account(stream->tsi->parts.egress, &stream->pass, from_guest, to_guest);
}

static void on_stream_closed(void *arg, struct vsock_conn *conn)
{
	struct tsi_stream *stream = arg;

	(void)conn;
	egress_leave(&stream->pass);
	TAILQ_REMOVE(&stream->tsi->streams, stream, entry);
	free(stream);
}

static void on_stream_late(void *arg)
{
	struct tsi_stream *stream = arg;

	vsock_conn_kill(stream->conn);
}

/* As its pass wants it. False without memory. */
static bool begin_verify(struct tsi_stream *stream)
{
	struct tsi *tsi = stream->tsi;
	struct verify_flow flow = {
		.loop = tsi->parts.loop,
		.counters = tsi->parts.counters,
		.egress = tsi->parts.egress,
		.who = EGRESS_TSI,
		.dst = stream->dst,
		.pass = &stream->pass,
		.memory = &tsi->unverified,
		.late = on_stream_late,
		.arg = stream,
	};
	struct verify *verify;

	if (!verify_wanted(&stream->pass))
		return true;
	verify = verify_new(&flow);
	if (verify)
		vsock_conn_verify(stream->conn, verify);
	return verify != NULL;
}

static bool claim_host(struct tsi_sock *sock, struct vsock_conn *conn)
{
	struct vsock_host host = {.fd = sock->fd, .tcp = sock->tcp};
	struct tsi_stream *stream = calloc(1, sizeof(*stream));
	const struct vsock_conn_events events = {
		.arg = stream, .closed = on_stream_closed, .moved = on_stream_moved};

	if (!stream) {
		egress_leave(&sock->pass);
		close(sock->fd);
		return false;
	}
	*stream = (struct tsi_stream){
		.tsi = sock->tsi, .conn = conn, .dst = sock->peer, .pass = sock->pass};
	sock->pass = (struct egress_pass){.era = 0};
	if (!begin_verify(stream)) {
		egress_leave(&stream->pass);
		free(stream);
		close(sock->fd);
		return false;
	}
	TAILQ_INSERT_TAIL(&sock->tsi->streams, stream, entry);
	conn->peer = sock->peer;
	vsock_conn_watch(conn, &events);
	vsock_conn_accept(conn, &host);
	return true;
}

bool tsi_request(struct tsi *tsi, struct vsock_conn *conn)
{
	struct tsi_sock *sock = tsi_find(tsi, conn->guest_port);
	bool claimed;

	if (!sock || sock->type != TSI_STREAM || sock->state != TSI_PARKED)
		return false;
	claimed = sock->fd < 0 ? claim_own(sock, conn) : claim_host(sock, conn);
	unpark(sock);
	sock->state = claimed ? TSI_CLAIMED : TSI_IDLE;
	return claimed;
}

/* ---- a new policy ---- */

/* One without a pass is with our own DNS; and a resolver may be left to its own no more once the
 * policy has names. */
static bool still_allowed(struct tsi *tsi, const struct endpoint *peer, struct egress_pass *pass)
{
	return !pass->verdict.allow ||
		(!tsi_is_dns(tsi, peer) &&
			egress_stands(tsi->parts.egress, EGRESS_TSI, IP_PROTO_TCP, peer, pass));
}

/* A stream also needs its verifier, if it is not too late for that. */
static bool stream_stands(struct tsi_stream *stream)
{
	const struct vsock_conn *conn = stream->conn;

	if (!still_allowed(stream->tsi, &stream->dst, &stream->pass))
		return false;
	if (!verify_wanted(&stream->pass) || stream->pass.verified || conn->verify)
		return true;
	return !conn->rx_cnt && begin_verify(stream);
}

void tsi_stream_recheck(struct tsi *tsi)
{
	struct tsi_stream *stream, *next;
	struct tsi_sock *sock;

	for (stream = TAILQ_FIRST(&tsi->streams); stream; stream = next) {
		next = TAILQ_NEXT(stream, entry);
		if (!stream_stands(stream))
			vsock_conn_kill(stream->conn);
	}
	TAILQ_FOREACH(sock, &tsi->used, used) {
		bool parked = sock->state == TSI_PARKED && sock->fd >= 0;

		if (sock->type != TSI_STREAM || !(parked || sock->state == TSI_CONNECTING) ||
			still_allowed(tsi, &sock->peer, &sock->pass))
			continue;
		if (parked) {
			drop_parked(sock);
		} else {
			stop_dialling(sock);
			connect_failed(sock, tsi_refusal(tsi, &sock->peer, -EACCES));
		}
	}
}
