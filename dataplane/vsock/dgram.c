/* SPDX-License-Identifier: MIT */
/*
 * TSI's datagram sockets. See tsi.c.
 *
 *	guest                                   here                            host
 *	CONNECT to A            ──────►  the peer; asked of the policy
 *	RW to svm_port          ──────►                                ──────►  to the peer
 *	SENDTO_ADDR A           ──────►  where the next payloads go
 *	SENDTO_DATA             ──────►                                ──────►  to A
 *	RW from svm_port        ◄──────  from whom it has sent to      ◄──────  from anyone
 *
 * A guest's socket has one host socket for each family that it sends to (of an AF_INET socket that
 * is one), unconnected and on one port for all destinations, so that NAT and servers see one source
 * and STUN works. Each new destination is asked of the policy and then remembered with up to 255
 * others, and only from those something is delivered, since the wire has no source address and
 * the guest's kernel reports the last one it sent to. CONNECT forgets the others, as it does on
 * Linux.
 *
 * Nothing is queued here. What the guest sends goes out at once, from its own memory, or is lost, as
 * datagrams are. What comes waits in the host socket until the transport has room for it; one that
 * does not fit the guest's receive buffer is dropped whole. Answers of our own DNS wait within
 * bounds, since there is no socket for them to wait in.
 *
 * What goes by a SOCKS5 proxy (egress/udp_relay.h) has a host socket of its own, towards the relay.
 *
 * After 60 s of silence (10 s where it was used for DNS alone) the host socket goes, with whom may
 * answer; the guest's socket stays, with its peer.
 */
#include "dataplane/vsock/tsi_internal.h"

#include "common/os.h"
#include "dataplane/egress/udp_relay.h"
#include "dataplane/stack/dns_message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MS 60000
#define IDLE_DNS_MS 10000
#define SLICE_BYTES (64u << 10) /* a turn of a socket */
#define SLICE_DATAGRAMS 64
#define MANY_SOCKETS 1024
#define PEERS_FEW 32

/* A host socket. */
struct end {
	struct tsi_dgram *dgram;
	int fd;                /* -1: none */
	struct event readable; /* edge-triggered */
	bool ready;            /* may have something */
};

struct tsi_dgram {
	TAILQ_ENTRY(tsi_dgram) ready;
	bool queued; /* in tsi->ready */
	bool dns_only;
	bool addressed;     /* `to` is */
	struct endpoint to; /* of SENDTO_ADDR, as the guest said */
	struct tsi_sock *sock;
	struct end ends[2]; /* IPv4, IPv6 */
	struct end by_relay;
	struct udp_relay relay;
	struct udp_peers peers; /* as the host names them */
	struct timer idle;
};

/* An answer of our DNS. */
struct tsi_answer {
	TAILQ_ENTRY(tsi_answer) entry;
	uint32_t svm_port;
	uint32_t len;
	uint8_t msg[];
};

static struct timer_wheel *wheel(const struct tsi *tsi)
{
	return loop_wheel(tsi->parts.loop);
}

static void count(const struct tsi *tsi, enum counter id)
{
	counter_inc(tsi->parts.counters, id);
}

/* ---- life ---- */

static void end_close(struct end *end)
{
	if (end->fd < 0)
		return;
	event_del(&end->readable);
	close(end->fd);
	end->fd = -1;
	end->ready = false;
}

static void go_quiet(struct tsi_dgram *dgram)
{
	struct tsi *tsi = dgram->sock->tsi;

	if (dgram->queued)
		TAILQ_REMOVE(&tsi->ready, dgram, ready);
	timer_disarm(wheel(tsi), &dgram->idle);
	end_close(&dgram->ends[0]);
	end_close(&dgram->ends[1]);
	end_close(&dgram->by_relay);
	udp_relay_clear(&dgram->relay);
	udp_peers_clear(&dgram->peers);
	dgram->sock->dgram = NULL;
	free(dgram);
}

void tsi_dgram_remove(struct tsi_sock *sock)
{
	if (sock->dgram)
		go_quiet(sock->dgram);
}

static void on_idle(struct timer *timer)
{
	go_quiet((struct tsi_dgram *)((char *)timer - offsetof(struct tsi_dgram, idle)));
}

static void touch(struct tsi_dgram *dgram)
{
	timer_arm(wheel(dgram->sock->tsi), &dgram->idle, dgram->dns_only ? IDLE_DNS_MS : IDLE_MS);
}

static const struct udp_relay_events relay_events;

/* What the socket uses while it is used; NULL without memory. */
static struct tsi_dgram *in_use(struct tsi_sock *sock)
{
	struct tsi_dgram *dgram = sock->dgram;

	if (!dgram) {
		dgram = calloc(1, sizeof(*dgram));
		if (!dgram)
			return NULL;
		dgram->sock = sock;
		dgram->ends[0] = dgram->ends[1] = (struct end){.dgram = dgram, .fd = -1};
		dgram->by_relay = dgram->ends[0];
		udp_relay_init(&dgram->relay, sock->tsi->parts.egress, sock->tsi->parts.loop,
			sock->tsi->parts.counters, &relay_events);
		dgram->dns_only = true;
		dgram->idle.fire = on_idle;
		sock->dgram = dgram;
	}
	touch(dgram);
	return dgram;
}

/* ---- to the host ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct end *end = arg;
	struct tsi_dgram *dgram = end->dgram;
	struct tsi *tsi = dgram->sock->tsi;

	(void)fd;
	(void)what;
	end->ready = true;
	if (!dgram->queued)
		TAILQ_INSERT_TAIL(&tsi->ready, dgram, ready);
	dgram->queued = true;
	vsock_mux_want_datagrams(tsi->parts.mux);
}

/* The host socket for a destination, which is the guest's first of its family; 0 or -errno. */
static int end_open(struct tsi_dgram *dgram, struct end *end, int family)
{
	struct tsi *tsi = dgram->sock->tsi;
	int fd = egress_udp_open(tsi->parts.egress, family, 0);

	if (fd < 0)
		return fd;
	event_assign(&end->readable, loop_base(tsi->parts.loop), fd, EV_READ | EV_ET | EV_PERSIST,
		on_readable, end);
	event_priority_set(&end->readable, LOOP_DATA);
	if (event_add(&end->readable, NULL) < 0) {
		close(fd);
		return -ENOMEM;
	}
	end->fd = fd;
	return 0;
}

static struct end *end_for(struct tsi_dgram *dgram, const struct endpoint *host)
{
	return &dgram->ends[!addr_is_v4(&host->addr)];
}

/* Many peers for a few sockets or a few for many: a guest must not make both. */
static size_t peers_max(const struct tsi *tsi)
{
	return tsi->n_dgrams > MANY_SOCKETS ? PEERS_FEW : UDP_PEERS_MAX;
}

/* Where the host finds dst, asked of the policy where that is new, and its socket open. */
static int admit(struct tsi_dgram *dgram, const struct endpoint *dst, struct endpoint *host)
{
	struct tsi *tsi = dgram->sock->tsi;
	struct egress_pass pass = {.era = 0};
	struct end *end;
	int err;

	*host = egress_to_host(tsi->parts.egress, EGRESS_TSI, dst);
	if (udp_peers_find(&dgram->peers, host))
		return 0;
	if (addr_eq(&dst->addr, &tsi->parts.net->guest))
		return -ECONNREFUSED;
	err = dgram->peers.count ? limits_contact(tsi->parts.limits)
				 : limits_flow(tsi->parts.limits);
	if (err < 0)
		return err;
	err = egress_udp_permit(tsi->parts.egress, EGRESS_TSI, dst, host, &pass);
	if (err < 0)
		return tsi_refusal(tsi, dst, err);
	end = end_for(dgram, host);
	if (end->fd < 0)
		err = end_open(dgram, end, addr_family(&host->addr));
	if (err == 0)
		err = udp_peers_add(&dgram->peers, host, &pass, peers_max(tsi));
	egress_leave(&pass); /* unless it was moved */
	if (dst->port != DNS_PORT) {
		dgram->dns_only = false;
		touch(dgram);
	}
	return err;
}

static void send_by(struct end *end, const struct endpoint *to, const struct iovec *payload,
	unsigned pieces, uint32_t len)
{
	struct tsi *tsi = end->dgram->sock->tsi;
	struct sockaddr_storage ss;
	ssize_t n;
	/* sendmsg(2) only reads the list. */
	struct msghdr msg = {.msg_name = &ss,
		.msg_namelen = endpoint_to_sockaddr(to, &ss),
		.msg_iov = (struct iovec *)(uintptr_t)payload,
		.msg_iovlen = pieces};

	n = os_sendmsg(end->fd, &msg, 0);
	if (n == -EFAULT)
		vsock_mux_fault(tsi->parts.mux);
	if (n < 0) {
		count(tsi, COUNTER_TSI_SEND_ERRORS);
		return;
	}
	count(tsi, COUNTER_TSI_TX_DATAGRAMS);
	counter_add(tsi->parts.counters, COUNTER_TSI_TX_BYTES, len);
}

/* Behind the relay's header; len is the payload's. */
static void send_by_relay(struct tsi_dgram *dgram, const struct endpoint *host,
	const struct iovec *payload, unsigned pieces, uint32_t len)
{
	uint8_t head[SOCKS5_UDP_HEAD_MAX];
	struct iovec all[VSOCK_IOV_MAX + 1];

	if (!udp_relay_stands(&dgram->relay)) {
		udp_relay_hold(&dgram->relay, host, payload, pieces, len);
		return;
	}
	if (pieces > VSOCK_IOV_MAX) {
		count(dgram->sock->tsi, COUNTER_PROXY_UDP_DROPPED);
		return;
	}
	all[0] = (struct iovec){head, udp_relay_head(&dgram->relay, host, head)};
	memcpy(all + 1, payload, pieces * sizeof(*payload));
	send_by(&dgram->by_relay, udp_relay_at(&dgram->relay), all, pieces + 1, len);
	count(dgram->sock->tsi, COUNTER_PROXY_UDP_TX);
}

static void send_out(struct tsi_dgram *dgram, const struct endpoint *dst,
	const struct iovec *payload, unsigned pieces, uint32_t len)
{
	struct tsi *tsi = dgram->sock->tsi;
	struct udp_peer *peer = NULL;
	struct endpoint host;
	int way = admit(dgram, dst, &host);

	if (way == 0) {
		peer = udp_peers_find(&dgram->peers, &host);
		way = peer ? udp_relay_way(&dgram->relay, peer) : -ENOENT;
	}
	if (way < 0) {
		count(tsi, COUNTER_TSI_DROPPED);
		return;
	}
	egress_account(tsi->parts.egress, &peer->pass, len, 0);
	if (way)
		send_by_relay(dgram, &host, payload, pieces, len);
	else
		send_by(end_for(dgram, &host), &host, payload, pieces, len);
}

/* ---- the relay's life ---- */

static struct tsi_dgram *of_relay(struct udp_relay *relay)
{
	return (struct tsi_dgram *)((char *)relay - offsetof(struct tsi_dgram, relay));
}

static bool on_relay_stands(struct udp_relay *relay)
{
	struct tsi_dgram *dgram = of_relay(relay);
	struct udp_relay_held *held;

	if (end_open(dgram, &dgram->by_relay, addr_family(&relay->at.addr)) < 0)
		return false;
	while ((held = udp_relay_next(relay))) {
		const struct iovec piece = {held->data, held->len};

		send_by_relay(dgram, &held->host, &piece, 1, (uint32_t)held->len);
		free(held);
	}
	return true;
}

static void on_relay_ended(struct udp_relay *relay)
{
	struct tsi_dgram *dgram = of_relay(relay);
	struct udp_relay_held *held;

	end_close(&dgram->by_relay);
	while (relay->straight && (held = udp_relay_next(relay))) {
		const struct iovec piece = {held->data, held->len};

		send_by(end_for(dgram, &held->host), &held->host, &piece, 1, (uint32_t)held->len);
		free(held);
	}
}

static const struct udp_relay_events relay_events = {
	.stands = on_relay_stands, .ended = on_relay_ended};

/* The asker's address is the socket's number: no other asks from there. */
static void ask_dns(struct tsi_sock *sock, const struct endpoint *dst, const struct iovec *payload,
	unsigned pieces, uint32_t len)
{
	struct dns_from from = {.guest.port = 1,
		.asked = *dst,
		.proxy = (uint64_t)sock->serial << 32 | sock->svm_port};
	uint8_t query[DNS_QUERY_MAX + 1];
	size_t at = 0;

	if (len > sizeof(query))
		len = sizeof(query); /* too long as it is */
	for (unsigned i = 0; i < pieces && at < len; i++) {
		size_t n = payload[i].iov_len < len - at ? payload[i].iov_len : len - at;

		memcpy(query + at, payload[i].iov_base, n);
		at += n;
	}
	memcpy(from.guest.addr.b, &sock->serial, sizeof(sock->serial));
	dns_udp_query(sock->tsi->parts.dns, &from, query, at);
}

void tsi_dgram_payload(struct tsi_sock *sock, bool addressed, const struct iovec *payload,
	unsigned pieces, uint32_t len)
{
	struct tsi_dgram *dgram = in_use(sock);
	const struct endpoint *dst = sock->has_peer ? &sock->peer : NULL;

	if (!limits_datagram(sock->tsi->parts.limits, LIMITS_OUT, len))
		return;
	if (dgram && addressed && dgram->addressed)
		dst = &dgram->to;
	if (!dgram || !dst)
		count(sock->tsi, COUNTER_TSI_DROPPED);
	else if (tsi_is_dns(sock->tsi, dst))
		ask_dns(sock, dst, payload, pieces, len);
	else
		send_out(dgram, dst, payload, pieces, len);
}

void tsi_dgram_address(struct tsi_sock *sock, const struct endpoint *dst)
{
	struct tsi_dgram *dgram = in_use(sock);

	if (!dgram)
		return;
	dgram->addressed = dst != NULL;
	if (dst)
		dgram->to = *dst;
}

static bool is_peer(void *arg, struct udp_peer *peer)
{
	return endpoint_eq(&peer->host, arg);
}

int tsi_dgram_connect(struct tsi_sock *sock, const struct endpoint *dst)
{
	struct tsi *tsi = sock->tsi;
	struct tsi_dgram *dgram = in_use(sock);
	struct endpoint host;
	int err;

	if (!dgram)
		return -ENOMEM;
	if (tsi_is_dns(tsi, dst)) {
		udp_peers_clear(&dgram->peers);
	} else {
		err = admit(dgram, dst, &host);
		if (err < 0)
			return err;
		udp_peers_filter(&dgram->peers, is_peer, &host);
	}
	sock->has_peer = true;
	sock->peer = *dst;
	tsi_changed(tsi);
	count(tsi, COUNTER_TSI_CONNECTS);
	return 0;
}

/* ---- to the guest ---- */

enum sent { SENT, NO_ROOM };

static size_t room_of(const struct iovec *iov, int pieces)
{
	size_t room = 0;

	for (int i = 0; i < pieces; i++)
		room += iov[i].iov_len;
	return room;
}

/* Into the reservation, or nowhere where that is too short. */
static void fill(struct tsi *tsi, uint32_t svm_port, const struct iovec *iov, int pieces,
	const uint8_t *data, uint32_t len)
{
	struct vsock_packet packet = {
		.src_cid = VSOCK_CID_HOST,
		.dst_cid = vsock_mux_guest_cid(tsi->parts.mux),
		.src_port = svm_port,
		.dst_port = svm_port,
		.len = len,
		.type = VSOCK_TYPE_DGRAM,
		.op = VSOCK_OP_RW,
	};

	if (room_of(iov, pieces) < len) {
		count(tsi, COUNTER_TSI_TOO_LONG);
		return;
	}
	for (int i = 0; len; i++) {
		uint32_t n = iov[i].iov_len < len ? (uint32_t)iov[i].iov_len : len;

		memcpy(iov[i].iov_base, data, n);
		data += n;
		len -= n;
	}
	vsock_mux_commit(tsi->parts.mux, &packet, false);
	count(tsi, COUNTER_TSI_RX_DATAGRAMS);
	counter_add(tsi->parts.counters, COUNTER_TSI_RX_BYTES, packet.len);
}

/* What a datagram of a host socket's is: its payload begins at *head. NULL: a stranger's. */
static const struct udp_peer *sender_of(
	struct end *end, const struct endpoint *src, size_t len, size_t *head)
{
	struct tsi_dgram *dgram = end->dgram;
	const struct udp_peer *peer = NULL;

	*head = 0;
	if (end != &dgram->by_relay)
		peer = udp_peers_find(&dgram->peers, src);
	else if (endpoint_eq(src, udp_relay_at(&dgram->relay)))
		return udp_relay_from(
			&dgram->relay, &dgram->peers, dgram->sock->tsi->buf, len, head);
	if (!peer)
		count(dgram->sock->tsi, COUNTER_TSI_STRANGERS);
	return peer;
}

/* One datagram of a host socket's: its bytes, 0 also for none to be delivered; or -errno. */
static ssize_t receive(struct end *end, const struct iovec *iov, int pieces)
{
	struct tsi_dgram *dgram = end->dgram;
	struct tsi *tsi = dgram->sock->tsi;
	const struct udp_peer *peer;
	struct sockaddr_storage ss;
	socklen_t ss_len = sizeof(ss);
	struct endpoint src;
	size_t head;
	ssize_t n = recvfrom(
		end->fd, tsi->buf, VSOCK_PAYLOAD_MAX, 0, (struct sockaddr *)&ss, &ss_len);

	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? -EAGAIN : 0;
	if (endpoint_from_sockaddr((struct sockaddr *)&ss, ss_len, &src) < 0)
		return 0;
	peer = sender_of(end, &src, (size_t)n, &head);
	if (!peer)
		return 0;
	if (!limits_datagram(tsi->parts.limits, LIMITS_IN, (size_t)n))
		return n;
	egress_account(tsi->parts.egress, &peer->pass, 0, (uint64_t)n - head);
	touch(dgram);
	fill(tsi, dgram->sock->svm_port, iov, pieces, tsi->buf + head,
		(uint32_t)(n - (ssize_t)head));
	return n;
}

/* A slice of what a host socket has. */
static enum sent drain(struct end *end)
{
	struct vsock_mux *mux = end->dgram->sock->tsi->parts.mux;
	struct iovec iov[VSOCK_IOV_MAX];
	size_t bytes = 0;

	for (int i = 0; end->ready && i < SLICE_DATAGRAMS && bytes < SLICE_BYTES; i++) {
		int pieces = vsock_mux_reserve(mux, VSOCK_PAYLOAD_MAX, iov);
		ssize_t n;

		if (!pieces)
			return NO_ROOM;
		n = receive(end, iov, pieces);
		if (n < 0)
			end->ready = false;
		else
			bytes += (size_t)n;
	}
	return SENT;
}

static enum sent send_answer(struct tsi *tsi, struct tsi_answer *answer)
{
	struct iovec iov[VSOCK_IOV_MAX];
	int pieces = vsock_mux_reserve(tsi->parts.mux, answer->len, iov);

	if (!pieces)
		return NO_ROOM;
	fill(tsi, answer->svm_port, iov, pieces, answer->msg, answer->len);
	return SENT;
}

static void drop_answer(struct tsi *tsi, struct tsi_answer *answer)
{
	TAILQ_REMOVE(&tsi->answers, answer, entry);
	tsi->n_answers--;
	tsi->answer_bytes -= answer->len;
	free(answer);
}

enum vsock_turn tsi_send(struct tsi *tsi)
{
	struct tsi_answer *answer = TAILQ_FIRST(&tsi->answers);
	struct tsi_dgram *dgram = TAILQ_FIRST(&tsi->ready);

	if (answer) {
		if (send_answer(tsi, answer) == NO_ROOM)
			return VSOCK_TURN_BLOCKED;
		drop_answer(tsi, answer);
	} else if (dgram) {
		if (drain(&dgram->ends[0]) == NO_ROOM || drain(&dgram->ends[1]) == NO_ROOM ||
			drain(&dgram->by_relay) == NO_ROOM)
			return VSOCK_TURN_BLOCKED;
		TAILQ_REMOVE(&tsi->ready, dgram, ready);
		dgram->queued = dgram->ends[0].ready || dgram->ends[1].ready ||
			dgram->by_relay.ready;
		if (dgram->queued)
			TAILQ_INSERT_TAIL(&tsi->ready, dgram, ready);
	}
	return TAILQ_EMPTY(&tsi->answers) && TAILQ_EMPTY(&tsi->ready) ? VSOCK_TURN_DONE
								      : VSOCK_TURN_MORE;
}

void tsi_dns_answer(struct tsi *tsi, const struct dns_from *from, const uint8_t *msg, size_t len)
{
	const struct tsi_sock *sock = tsi_find(tsi, (uint32_t)from->proxy);
	struct tsi_answer *answer;

	if (!sock || sock->serial != from->proxy >> 32)
		return; /* whoever asked has gone */
	answer = tsi->answer_bytes + len <= TSI_ANSWERS_MAX ? malloc(sizeof(*answer) + len) : NULL;
	if (!answer) {
		count(tsi, COUNTER_TSI_DROPPED);
		return;
	}
	answer->svm_port = sock->svm_port;
	answer->len = (uint32_t)len;
	memcpy(answer->msg, msg, len);
	TAILQ_INSERT_TAIL(&tsi->answers, answer, entry);
	tsi->n_answers++;
	tsi->answer_bytes += len;
	vsock_mux_want_datagrams(tsi->parts.mux);
}

/* ---- names ---- */

/* The host's address towards the peer: that of a socket that is connected there. */
static struct addr near_address(const struct tsi_sock *sock)
{
	struct tsi *tsi = sock->tsi;
	struct endpoint host = egress_to_host(tsi->parts.egress, EGRESS_TSI, &sock->peer), near;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd = egress_dial(
		tsi->parts.egress, EGRESS_OPERATOR, IP_PROTO_UDP, &host, NULL, NULL, NULL, NULL);

	near = tsi_unspecified(sock->family);
	if (fd < 0)
		return near.addr;
	if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
		endpoint_from_sockaddr((struct sockaddr *)&ss, len, &near);
	close(fd);
	return near.addr;
}

struct endpoint tsi_dgram_name(const struct tsi_sock *sock)
{
	struct endpoint name = tsi_unspecified(sock->family);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	for (int i = 0; sock->dgram && i < 2; i++) {
		struct endpoint bound;
		int fd = sock->dgram->ends[i].fd;

		if (fd >= 0 && getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
			endpoint_from_sockaddr((struct sockaddr *)&ss, len, &bound) == 0)
			name.port = bound.port;
	}
	if (sock->has_peer)
		name.addr = tsi_is_dns(sock->tsi, &sock->peer) ? sock->tsi->parts.net->guest
							       : near_address(sock);
	return name;
}

/* ---- all of them ---- */

static bool still_allowed(void *arg, struct udp_peer *peer)
{
	const struct tsi *tsi = arg;

	return !tsi_is_dns(tsi, &peer->host) &&
		egress_stands(
			tsi->parts.egress, EGRESS_TSI, IP_PROTO_UDP, &peer->host, &peer->pass);
}

void tsi_dgram_recheck(struct tsi_sock *sock)
{
	if (!sock->dgram)
		return;
	udp_peers_filter(&sock->dgram->peers, still_allowed, sock->tsi);
	if (!sock->dgram->peers.count)
		go_quiet(sock->dgram);
}

void tsi_dgram_reset(struct tsi *tsi)
{
	struct tsi_answer *answer;

	while ((answer = TAILQ_FIRST(&tsi->answers)))
		drop_answer(tsi, answer);
}
