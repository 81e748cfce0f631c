/* SPDX-License-Identifier: MIT */
/*
 * TSI, Transparent Socket Impersonation: what a guest's kernel without a network of its own asks of
 * its host. The protocol's page gives the wire; here is what becomes of it.
 *
 * A socket of a program in the guest is a pair there: one of the guest's own stack, and a vsock
 * socket with a random port, svm_port, under which we know it (struct tsi_sock). Control requests
 * come as datagrams whose destination port is the operation; whoever asked waits without a timeout,
 * so each of CONNECT, GETNAME, LISTEN and ACCEPT is answered exactly once, errors too, and for the
 * answer the mux has kept room before we look at the request.
 *
 *	outbound stream                             listener
 *
 *	CREATE ─► IDLE ─ CONNECT ─► CONNECTING      LISTEN ─► asked of netctld ─► LISTENING
 *	            ▲                   │ connected              │ 5 s              │ client
 *	            ├── refused, 10 s ──┤              -EADDRNOTAVAIL     REQUEST to vm_port
 *	            │                   ▼
 *	            └──── 10 s ────── PARKED ── REQUEST to 620 ─► CLAIMED, a vsock_conn
 *
 *	datagrams   CONNECT or SENDTO_ADDR say where, payloads follow; see dgram.c
 *
 * Where a destination lies. The door (egress_dial()) judges and dials, and never waits. Before it:
 *
 *   - loopback, unspecified or the guest's own address, and a port that a listener of this VM has
 *     bound: that listener, whatever the policy, since for the program they are one machine. The
 *     connection to it is a second one of the mux, joined to the first by a socketpair.
 *   - other loopback or unspecified addresses are the host's loopback (EGRESS_TSI), which the policy
 *     judges as the gateway address: it is open by host_access. Refused it is -ECONNREFUSED, since
 *     programs wait for ports of their own machine in loops and give up at -EACCES, which is what
 *     all other refusals are.
 *   - the guest's address where nobody listens: -ECONNREFUSED. It is not the host's to dial.
 *   - port 53 of the gateway address, and of any while the policy has names: our DNS.
 *
 * Names (GETNAME). Of an outbound stream: what the guest dialled, and the host socket's near end. Of
 * a connection accepted from a listener: the real client, and what the application bound; where
 * it bound no address in particular, the guest's. Host ports of listeners are never shown: they
 * change when a VM is restored. A client without an address that its socket's family can carry is
 * the gateway. A client's name is kept until the guest releases it, or until 1,024 others have
 * ended after it, since it may be asked when the client has gone again.
 *
 * RELEASE comes when a guest's socket closes, before the stream's SHUTDOWN, and so says nothing
 * about bytes: a claimed stream is the mux's, ends as connections do and takes what was sent along.
 *
 * What netctld keeps for our successor: listeners with their sockets (it made them; it hears of their
 * end), and datagram sockets (it hears of the list once a second). A guest does not see that a
 * worker died: its listeners listen, its datagram sockets go on from another host port; streams are
 * reset by the mux. When the guest itself goes, all of this goes.
 *
 * The table holds 4,096 sockets. When it is full the one longest unused goes that has nothing
 * under way: a claimed stream loses its name only, a datagram socket comes back with its next
 * SENDTO_ADDR.
 */
#include "dataplane/vsock/tsi_internal.h"

#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- sockets ---- */

size_t tsi_bucket(const struct tsi *tsi, uint32_t svm_port, uint32_t host_port)
{
	uint32_t ports[2] = {svm_port, host_port};

	return siphash(&tsi->key, ports, sizeof(ports)) & (TSI_BUCKETS - 1);
}

struct tsi_sock *tsi_find(const struct tsi *tsi, uint32_t svm_port)
{
	struct tsi_sock *sock = tsi->socks[tsi_bucket(tsi, svm_port, 0)];

	while (sock && sock->svm_port != svm_port)
		sock = sock->hash_next;
	return sock;
}

/* As tsi_find(), for an operation on it. */
static struct tsi_sock *use(struct tsi *tsi, uint32_t svm_port)
{
	struct tsi_sock *sock = tsi_find(tsi, svm_port);

	if (!sock)
		return NULL;
	TAILQ_REMOVE(&tsi->used, sock, used);
	TAILQ_INSERT_TAIL(&tsi->used, sock, used);
	return sock;
}

static bool is_busy(const struct tsi_sock *sock)
{
	return sock->state == TSI_CONNECTING || sock->state == TSI_PARKED ||
		sock->state == TSI_LISTENING;
}

/* Room for one more. */
static bool make_room(struct tsi *tsi)
{
	struct tsi_sock *sock;

	if (tsi->n_socks < TSI_PROXIES_MAX)
		return true;
	counter_inc(tsi->parts.counters, COUNTER_TSI_BOUNDS);
	TAILQ_FOREACH(sock, &tsi->used, used) {
		if (is_busy(sock))
			continue;
		tsi_remove(sock);
		return true;
	}
	return false;
}

struct tsi_sock *tsi_add(struct tsi *tsi, uint32_t svm_port, uint32_t family, uint32_t type)
{
	struct tsi_sock *sock, **bucket = &tsi->socks[tsi_bucket(tsi, svm_port, 0)];

	if (!make_room(tsi))
		return NULL;
	sock = calloc(1, sizeof(*sock));
	if (!sock)
		return NULL;
	*sock = (struct tsi_sock){
		.tsi = tsi,
		.serial = ++tsi->next_serial,
		.svm_port = svm_port,
		.family = (uint16_t)family,
		.type = (uint8_t)type,
		.fd = -1,
		.hash_next = *bucket,
	};
	*bucket = sock;
	TAILQ_INSERT_TAIL(&tsi->used, sock, used);
	tsi->n_socks++;
	if (type == TSI_DGRAM) {
		tsi->n_dgrams++;
		tsi_changed(tsi);
	}
	return sock;
}

void tsi_remove(struct tsi_sock *sock)
{
	struct tsi *tsi = sock->tsi;
	struct tsi_sock **at = &tsi->socks[tsi_bucket(tsi, sock->svm_port, 0)];

	if (sock->type == TSI_DGRAM) {
		tsi_dgram_remove(sock);
		tsi->n_dgrams--;
		tsi_changed(tsi);
	} else if (sock->state == TSI_LISTENING) {
		tsi_listen_remove(sock);
	} else {
		tsi_stream_remove(sock);
	}
	while (*at != sock)
		at = &(*at)->hash_next;
	*at = sock->hash_next;
	TAILQ_REMOVE(&tsi->used, sock, used);
	tsi->n_socks--;
	free(sock);
}

/* ---- netctld's list of datagram sockets ---- */

void tsi_changed(struct tsi *tsi)
{
	uint64_t since = loop_now(tsi->parts.loop) - tsi->told;

	if (!timer_armed(&tsi->tell))
		timer_arm(loop_wheel(tsi->parts.loop), &tsi->tell,
			since < TSI_TELL_MS ? TSI_TELL_MS - since : 0);
}

static void on_tell(struct timer *timer)
{
	struct tsi *tsi = (struct tsi *)((char *)timer - offsetof(struct tsi, tell));

	tsi->told = loop_now(tsi->parts.loop);
	if (!tsi->events.proxies(tsi->events.arg))
		tsi_changed(tsi);
}

/* ---- destinations ---- */

bool tsi_is_loopback(const struct tsi *tsi, const struct endpoint *dst)
{
	return addr_is_loopback(&dst->addr) || addr_is_unspecified(&dst->addr) ||
		addr_eq(&dst->addr, &tsi->parts.net->guest);
}

bool tsi_is_dns(const struct tsi *tsi, const struct endpoint *dst)
{
	return dns_answers_for(tsi->parts.dns, dst);
}

int tsi_refusal(const struct tsi *tsi, const struct endpoint *dst, int err)
{
	return err == -EACCES && tsi_is_loopback(tsi, dst) ? -ECONNREFUSED : err;
}

/* ---- names ---- */

uint16_t tsi_made_up_port(struct tsi *tsi)
{
	const uint16_t first = 32768;

	return (uint16_t)(first + tsi->next_port++ % (65536u - first));
}

struct endpoint tsi_unspecified(uint32_t family)
{
	struct endpoint none = {.addr = addr_any};

	if (family == TSI_INET)
		none.addr = addr_from_v4(0);
	return none;
}

/* The name of a socket that no client came through. */
static int name_of(const struct tsi_sock *sock, bool peer, struct endpoint *name)
{
	if (peer) {
		*name = sock->peer;
		return sock->has_peer ? 0 : -ENOTCONN;
	}
	if (sock->type == TSI_DGRAM)
		*name = tsi_dgram_name(sock);
	else if (sock->state == TSI_LISTENING)
		*name = tsi_listen_name(sock);
	else
		*name = sock->has_peer ? sock->local : tsi_unspecified(sock->family);
	return 0;
}

static int find_name(
	struct tsi *tsi, const struct tsi_getname *request, uint32_t *family, struct endpoint *name)
{
	const struct tsi_sock *sock;

	if (tsi_client_name(tsi, request, family, name))
		return 0;
	sock = use(tsi, request->svm_port);
	if (!sock)
		return -EINVAL;
	*family = sock->family;
	return name_of(sock, request->peer, name);
}

/* ---- the operations ---- */

void tsi_reply(struct tsi *tsi, enum tsi_op op, uint32_t guest_port, int err)
{
	uint8_t result[TSI_RESULT_LEN];

	if (tsi->resetting)
		return; /* nobody waits for it any more */
	tsi_write_result(result, err);
	vsock_mux_reply(tsi->parts.mux, op, guest_port, result, sizeof(result));
}

static void malformed(struct tsi *tsi)
{
	counter_inc(tsi->parts.counters, COUNTER_TSI_MALFORMED);
}

static void on_create(struct tsi *tsi, struct cursor body)
{
	struct tsi_create request;
	struct tsi_sock *old;

	if (tsi_read_create(body, &request) < 0 || !request.svm_port ||
		(request.family != TSI_INET && request.family != TSI_INET6) ||
		(request.type != TSI_STREAM && request.type != TSI_DGRAM)) {
		malformed(tsi);
		return;
	}
	old = tsi_find(tsi, request.svm_port);
	if (old) /* a new socket of that number, so that one has gone */
		tsi_remove(old);
	tsi_add(tsi, request.svm_port, request.family, request.type);
}

static void on_connect(struct tsi *tsi, struct cursor body, uint32_t reply_port)
{
	struct tsi_connect request;
	struct tsi_sock *sock;
	int err = tsi_read_connect(body, &request);

	if (err < 0)
		malformed(tsi);
	sock = err == 0 ? use(tsi, request.svm_port) : NULL;
	if (err == 0 && !sock)
		err = -EINVAL;
	if (err == 0 && sock->family == TSI_INET && !addr_is_v4(&request.to.at.addr))
		err = -EAFNOSUPPORT;
	if (err == 0 && sock->type == TSI_STREAM) {
		tsi_stream_connect(sock, &request.to.at, reply_port);
		return;
	}
	if (err == 0)
		err = tsi_dgram_connect(sock, &request.to.at);
	tsi_reply(tsi, TSI_CONNECT, reply_port, err);
}

static void on_getname(struct tsi *tsi, struct cursor body, uint32_t reply_port)
{
	uint8_t reply[TSI_NAME_LEN];
	struct tsi_getname request;
	struct endpoint name;
	uint32_t family = TSI_INET;
	int err = tsi_read_getname(body, &request);

	if (err < 0)
		malformed(tsi);
	else
		err = find_name(tsi, &request, &family, &name);
	tsi_write_name(reply, err, family, err < 0 ? NULL : &name);
	vsock_mux_reply(tsi->parts.mux, TSI_GETNAME, reply_port, reply, sizeof(reply));
}

static void on_sendto_addr(struct tsi *tsi, struct cursor body)
{
	struct tsi_connect request;
	int err = tsi_read_connect(body, &request);
	struct tsi_sock *sock = use(tsi, request.svm_port);

	if (err < 0 || !request.svm_port || (sock && sock->type != TSI_DGRAM) ||
		(sock && sock->family == TSI_INET && !addr_is_v4(&request.to.at.addr))) {
		malformed(tsi);
		if (sock && sock->type == TSI_DGRAM)
			tsi_dgram_address(sock, NULL);
		return;
	}
	if (!sock)
		sock = tsi_add(tsi, request.svm_port, request.to.family, TSI_DGRAM);
	if (sock)
		tsi_dgram_address(sock, &request.to.at);
}

static void on_payload(struct tsi *tsi, const struct vsock_packet *packet,
	const struct iovec *payload, unsigned pieces)
{
	bool addressed = packet->dst_port == TSI_SENDTO_DATA;
	struct tsi_sock *sock = use(tsi, addressed ? packet->src_port : packet->dst_port);

	if (sock && sock->type == TSI_DGRAM)
		tsi_dgram_payload(sock, addressed, payload, pieces, packet->len);
	else
		counter_inc(tsi->parts.counters, COUNTER_TSI_DROPPED);
}

static void on_listen(struct tsi *tsi, struct cursor body, uint32_t reply_port)
{
	struct tsi_listen request;
	int err = tsi_read_listen(body, &request);

	if (err == 0 && (!request.svm_port || !request.vm_port))
		err = -EINVAL;
	if (err < 0) {
		malformed(tsi);
		tsi_reply(tsi, TSI_LISTEN, reply_port, err);
		return;
	}
	use(tsi, request.svm_port);
	tsi_listen_request(tsi, &request, reply_port);
}

static void on_accept(struct tsi *tsi, struct cursor body, uint32_t reply_port)
{
	const struct tsi_sock *sock;
	uint32_t svm_port;
	int err = tsi_read_accept(body, &svm_port);

	if (err < 0)
		malformed(tsi);
	sock = err < 0 ? NULL : use(tsi, svm_port);
	tsi_reply(tsi, TSI_ACCEPT, reply_port, sock && tsi_listen_stands(sock) ? 0 : -EINVAL);
}

static void on_release(struct tsi *tsi, struct cursor body)
{
	struct tsi_release request;
	struct tsi_sock *sock;

	if (tsi_read_release(body, &request) < 0) {
		malformed(tsi);
		return;
	}
	if (tsi_client_release(tsi, &request))
		return;
	sock = tsi_find(tsi, request.svm_port);
	/* Any other port is that of an accepted connection, whose name is not known any more. */
	if (sock && (request.peer_port == 0 || request.peer_port == TSI_STREAM_PORT))
		tsi_remove(sock);
}

static bool has_reply(uint32_t op)
{
	return op == TSI_CONNECT || op == TSI_GETNAME || op == TSI_LISTEN || op == TSI_ACCEPT;
}

/* The request's first bytes, once and for all: the guest could change its own. */
static struct cursor gather(uint8_t *to, size_t max, const struct iovec *payload, unsigned pieces)
{
	size_t len = 0;

	for (unsigned i = 0; i < pieces && len < max; i++) {
		size_t n = payload[i].iov_len < max - len ? payload[i].iov_len : max - len;

		if (n)
			memcpy(to + len, payload[i].iov_base, n);
		len += n;
	}
	return (struct cursor){to, len};
}

void tsi_datagram(struct tsi *tsi, const struct vsock_packet *packet, const struct iovec *payload,
	unsigned pieces)
{
	uint8_t request[TSI_REQUEST_MAX];
	struct cursor body;

	if (packet->dst_port < TSI_PROXY_CREATE || packet->dst_port > TSI_PROXY_RELEASE ||
		packet->dst_port == TSI_SENDTO_DATA) {
		on_payload(tsi, packet, payload, pieces);
		return;
	}
	if (has_reply(packet->dst_port) && !vsock_mux_owe(tsi->parts.mux)) {
		counter_inc(tsi->parts.counters, COUNTER_TSI_DROPPED);
		return;
	}
	counter_inc(tsi->parts.counters, COUNTER_TSI_REQUESTS);
	body = gather(request, sizeof(request), payload, pieces);
	switch (packet->dst_port) {
	case TSI_PROXY_CREATE:
		on_create(tsi, body);
		break;
	case TSI_CONNECT:
		on_connect(tsi, body, packet->src_port);
		break;
	case TSI_GETNAME:
		on_getname(tsi, body, packet->src_port);
		break;
	case TSI_SENDTO_ADDR:
		on_sendto_addr(tsi, body);
		break;
	case TSI_LISTEN:
		on_listen(tsi, body, packet->src_port);
		break;
	case TSI_ACCEPT:
		on_accept(tsi, body, packet->src_port);
		break;
	default:
		on_release(tsi, body);
		break;
	}
}

/* ---- all of them ---- */

void tsi_reset(struct tsi *tsi)
{
	struct tsi_sock *sock;

	tsi->resetting = true;
	while ((sock = TAILQ_FIRST(&tsi->used)))
		tsi_remove(sock);
	tsi_listen_reset(tsi);
	tsi_dgram_reset(tsi);
	tsi->resetting = false;
}

void tsi_recheck(struct tsi *tsi)
{
	struct tsi_sock *sock;

	tsi_stream_recheck(tsi);
	TAILQ_FOREACH(sock, &tsi->used, used) {
		if (sock->type == TSI_DGRAM)
			tsi_dgram_recheck(sock);
	}
}

void tsi_reroute(struct tsi *tsi)
{
	struct tsi_sock *sock;

	TAILQ_FOREACH(sock, &tsi->used, used) {
		if (sock->type == TSI_DGRAM)
			tsi_dgram_remove(sock);
	}
}

int tsi_restore_proxy(struct tsi *tsi, const struct tsi_proxy *proxy)
{
	struct tsi_sock *sock = tsi_find(tsi, proxy->svm_port);

	if (sock)
		tsi_remove(sock);
	sock = tsi_add(tsi, proxy->svm_port, proxy->family, TSI_DGRAM);
	if (!sock)
		return -ENOMEM;
	sock->has_peer = proxy->connected;
	sock->peer = proxy->peer;
	return 0;
}

bool tsi_proxy_next(const struct tsi *tsi, uint32_t *cursor, struct tsi_proxy *out)
{
	const struct tsi_sock *sock = NULL;
	uint32_t bucket = *cursor / TSI_PROXIES_MAX, at = *cursor % TSI_PROXIES_MAX;

	/* The cursor is a bucket, and how many of its chain have been seen. */
	for (; bucket < TSI_BUCKETS; bucket++, at = 0) {
		uint32_t seen = 0;

		for (sock = tsi->socks[bucket]; sock; sock = sock->hash_next) {
			if (sock->type == TSI_DGRAM && seen++ == at)
				break;
		}
		if (sock)
			break;
	}
	if (!sock)
		return false;
	*cursor = bucket * TSI_PROXIES_MAX + at + 1;
	*out = (struct tsi_proxy){.svm_port = sock->svm_port,
		.family = sock->family,
		.connected = sock->has_peer,
		.peer = sock->peer};
	return true;
}

size_t tsi_proxy_count(const struct tsi *tsi)
{
	return tsi->n_dgrams;
}

size_t tsi_pending(const struct tsi *tsi)
{
	return tsi->connecting + tsi->parked + tsi->n_asking;
}

size_t tsi_queued(const struct tsi *tsi)
{
	return tsi->n_answers;
}

/* ---- life ---- */

struct tsi *tsi_new(const struct tsi_parts *parts, const struct tsi_events *events)
{
	struct tsi *tsi = calloc(1, sizeof(*tsi));

	if (!tsi)
		return NULL;
	tsi->buf = malloc(VSOCK_PAYLOAD_MAX); /* untouched: no memory */
	if (!tsi->buf) {
		free(tsi);
		return NULL;
	}
	tsi->parts = *parts;
	tsi->events = *events;
	tsi->tell.fire = on_tell;
	os_random(&tsi->key, sizeof(tsi->key));
	TAILQ_INIT(&tsi->used);
	TAILQ_INIT(&tsi->streams);
	TAILQ_INIT(&tsi->ready);
	TAILQ_INIT(&tsi->answers);
	tsi_listen_init(tsi);
	return tsi;
}

void tsi_free(struct tsi *tsi)
{
	struct timer_wheel *wheel;

	if (!tsi)
		return;
	wheel = loop_wheel(tsi->parts.loop);
	tsi->events = (struct tsi_events){0};
	tsi->ending = true;
	tsi_reset(tsi);
	timer_disarm(wheel, &tsi->tell);
	timer_disarm(wheel, &tsi->ask_timer);
	accept_group_close(&tsi->accepting);
	loop_cancel(tsi->parts.loop, &tsi->ask_task);
	free(tsi->buf);
	free(tsi);
}
