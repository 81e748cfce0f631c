/* SPDX-License-Identifier: MIT */
/*
 * ICMP. See icmp.h.
 *
 *	guest: echo request, id G, to R      ──►  ping socket connected to R, the kernel's own id K
 *	guest: echo reply, id G, from R      ◄──  R: echo reply, id K: id put back
 *	guest: error, quoting its own echo   ◄──  the socket's error queue
 *
 * A flow is (guest address, id) and R. The kernel matches answers by K alone, so who sent one is
 * checked here. TTLs are passed on, which makes traceroute by echo work.
 */
#include "dataplane/stack/icmp.h"

#include "dataplane/egress/dial.h"
#include "dataplane/limits.h"
#include "dataplane/stack/fragment.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/stack/udp_batch.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLOWS_MAX 4096
#define IDLE_MS 10000
#define SLICE 16 /* replies read before others get a turn */
#define BUFFER_SIZE 65536
#define ERRORS_PER_MS 1 /* after a burst of */
#define ERRORS_BURST 100
#define ERROR_MAX 576 /* bytes of a whole error, RFC 1812 section 4.3.2.3 */
#define QUOTE_MAX (ERROR_MAX - IP4_HLEN - ICMP_HLEN)

struct icmp {
	struct loop *loop;
	struct output *out;
	const struct net *net;
	struct counters *counters;
	struct egress *egress;
	struct limits *limits;
	struct flow_table *flows;
	uint64_t tokens_at; /* ms; when tokens was right */
	uint64_t tokens;
	uint8_t *buffer; /* of BUFFER_SIZE, for replies */
};

struct ping {
	struct flow_entry entry; /* guest.port is the id, remote.port 0 */
	struct icmp *icmp;
	int fd;
	uint8_t ttl;
	struct timer idle;
	struct task task;
	struct event event;
	uint64_t created, used; /* ms */
	uint64_t tx_bytes, rx_bytes;
	struct egress_pass pass;
};

struct icmp *icmp_new(struct loop *loop, struct output *out, const struct net *net,
	struct counters *counters, struct egress *egress)
{
	struct icmp *icmp = calloc(1, sizeof(*icmp));

	if (!icmp)
		return NULL;
	icmp->loop = loop;
	icmp->out = out;
	icmp->net = net;
	icmp->counters = counters;
	icmp->egress = egress;
	icmp->tokens = ERRORS_BURST;
	icmp->tokens_at = loop_now(loop);
	icmp->flows = flow_table_new(FLOWS_MAX);
	icmp->buffer = malloc(BUFFER_SIZE);
	if (!icmp->flows || !icmp->buffer) {
		flow_table_free(icmp->flows);
		free(icmp->buffer);
		free(icmp);
		return NULL;
	}
	return icmp;
}

static void ping_free(struct ping *ping)
{
	struct icmp *icmp = ping->icmp;

	event_del(&ping->event);
	loop_cancel(icmp->loop, &ping->task);
	timer_disarm(loop_wheel(icmp->loop), &ping->idle);
	flow_table_remove(icmp->flows, &ping->entry);
	egress_leave(&ping->pass);
	close(ping->fd);
	free(ping);
}

void icmp_reset(struct icmp *icmp)
{
	uint32_t slot = 0;
	struct flow_entry *e;

	while ((e = flow_table_next(icmp->flows, &slot)))
		ping_free((struct ping *)e);
}

void icmp_recheck(struct icmp *icmp)
{
	uint32_t slot = 0;
	struct flow_entry *e;

	while ((e = flow_table_next(icmp->flows, &slot))) {
		struct ping *ping = (struct ping *)e;

		if (!egress_stands(
			    icmp->egress, EGRESS_GUEST, IP_PROTO_ICMP, &e->key.remote, &ping->pass))
			ping_free(ping);
	}
}

void icmp_free(struct icmp *icmp)
{
	if (!icmp)
		return;
	icmp_reset(icmp);
	flow_table_free(icmp->flows);
	free(icmp->buffer);
	free(icmp);
}

void icmp_set_limits(struct icmp *icmp, struct limits *limits)
{
	icmp->limits = limits;
}

/* ---- errors to the guest ---- */

int icmp_code_of(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return ICMP_CODE_PORT;
	case ENETUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return ICMP_CODE_NET;
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ETIMEDOUT:
		return ICMP_CODE_HOST;
	case EACCES:
	case EPERM:
	case EPROTONOSUPPORT:
		return ICMP_CODE_PROHIBITED;
	case EMSGSIZE:
		return ICMP_CODE_FRAGMENTATION;
	default:
		return -1;
	}
}

static bool take_token(struct icmp *icmp)
{
	uint64_t now = loop_now(icmp->loop);

	icmp->tokens += (now - icmp->tokens_at) * ERRORS_PER_MS;
	icmp->tokens_at = now;
	if (icmp->tokens > ERRORS_BURST)
		icmp->tokens = ERRORS_BURST;
	if (icmp->tokens == 0)
		return false;
	icmp->tokens--;
	return true;
}

static bool is_error(uint8_t type)
{
	return type == ICMP_UNREACHABLE || type == 4 || type == 5 || type == ICMP_TIME_EXCEEDED ||
		type == ICMP_PARAMETER_PROBLEM;
}

/* An error that quotes the two pieces, cut to what an error may hold. */
static void emit(struct icmp *icmp, const struct addr *from, const struct addr *to,
	struct icmp_hdr head, const void *a, size_t a_len, const void *b, size_t b_len)
{
	struct output_ip ip = {.src = *from, .dst = *to, .proto = IP_PROTO_ICMP, .tos = 0xc0};
	size_t room = output_l4_max(icmp->out), len;
	uint8_t *l4;

	if (room > ICMP_HLEN + QUOTE_MAX)
		room = ICMP_HLEN + QUOTE_MAX;
	if (ICMP_HLEN + a_len > room)
		return;
	if (b_len > room - ICMP_HLEN - a_len)
		b_len = room - ICMP_HLEN - a_len;
	len = ICMP_HLEN + a_len + b_len;
	l4 = output_begin(icmp->out, &ip, len);
	if (!l4)
		return;
	head.csum = be16(0);
	memcpy(l4, &head, ICMP_HLEN);
	memcpy(l4 + ICMP_HLEN, a, a_len);
	if (b_len)
		memcpy(l4 + ICMP_HLEN + a_len, b, b_len);
	store_be16(
		l4 + offsetof(struct icmp_hdr, csum), (uint16_t)~csum_fold(csum_add(0, l4, len)));
	output_end(icmp->out, len, OUTPUT_CSUM_NONE);
	counter_inc(icmp->counters, COUNTER_ICMP_ERRORS_SENT);
}

void icmp_send_error(
	struct icmp *icmp, const struct packet *offending, uint8_t type, uint8_t code, uint16_t mtu)
{
	struct icmp_hdr head = {.type = type, .code = code, .seq = be16(mtu)};

	if (offending->frag & IP4_OFFSET)
		return;
	if (offending->proto == IP_PROTO_ICMP &&
		(offending->l4_len < ICMP_HLEN || is_error(offending->l4[0])))
		return;
	if (addr_is_multicast(&offending->dst) || net_is_broadcast(icmp->net, &offending->dst) ||
		!net_guest_source(icmp->net, &offending->src))
		return;
	if (!take_token(icmp))
		return;
	emit(icmp, &icmp->net->gateway, &offending->src, head, offending->ip, offending->ip_hlen,
		offending->l4, offending->l4_len);
}

/* Whose address an error may carry: a router's out there, never one that only the host knows. */
static const struct addr *error_source(const struct icmp *icmp, const struct addr *from)
{
	if (!addr_is_v4(from) || addr_is_loopback(from) || addr_is_unspecified(from) ||
		addr_is_multicast(from) || prefix_contains(&icmp->net->subnet, from))
		return &icmp->net->gateway;
	return from;
}

/* The guest's packet as it must have looked. */
static size_t rebuild_headers(const struct icmp_relay *error, uint8_t *p)
{
	struct ip4_hdr *ip = (struct ip4_hdr *)p;

	*ip = (struct ip4_hdr){
		.version_ihl = 0x45,
		.total_len = be16((uint16_t)(IP4_HLEN + UDP_HLEN + error->data_len)),
		.frag = be16(IP4_DF),
		.ttl = 1,
		.proto = error->proto,
		.src = be32(addr_v4(&error->key.guest.addr)),
		.dst = be32(addr_v4(&error->key.remote.addr)),
	};
	ip->csum = be16((uint16_t)~csum_fold(csum_add(0, ip, IP4_HLEN)));
	if (error->proto == IP_PROTO_UDP) {
		struct udp_hdr *udp = (struct udp_hdr *)(p + IP4_HLEN);

		*udp = (struct udp_hdr){
			.src = be16(error->key.guest.port),
			.dst = be16(error->key.remote.port),
			.len = be16((uint16_t)(UDP_HLEN + error->data_len)),
		};
	} else {
		struct icmp_hdr *echo = (struct icmp_hdr *)(p + IP4_HLEN);

		*echo = (struct icmp_hdr){
			.type = ICMP_ECHO_REQUEST,
			.id = be16(error->key.guest.port),
			.seq = be16(error->seq),
		};
	}
	return IP4_HLEN + UDP_HLEN;
}

void icmp_relay_error(struct icmp *icmp, const struct icmp_relay *error)
{
	struct icmp_hdr head = {.type = error->type, .code = error->code, .seq = be16(error->mtu)};
	uint8_t quoted[IP4_HLEN + UDP_HLEN];

	if (error->type != ICMP_UNREACHABLE && error->type != ICMP_TIME_EXCEEDED &&
		error->type != ICMP_PARAMETER_PROBLEM)
		return;
	if (!take_token(icmp))
		return;
	rebuild_headers(error, quoted);
	emit(icmp, error_source(icmp, &error->from), &error->key.guest.addr, head, quoted,
		sizeof(quoted), error->data, error->data_len);
}

/* ---- echo ---- */

static void send_reply(struct icmp *icmp, const struct flow_key *key, uint16_t seq,
	const uint8_t *data, size_t len)
{
	struct output_ip ip = {
		.src = key->remote.addr,
		.dst = key->guest.addr,
		.proto = IP_PROTO_ICMP,
		.frag = IP4_DF,
	};
	struct icmp_hdr head = {
		.type = ICMP_ECHO_REPLY, .id = be16(key->guest.port), .seq = be16(seq)};
	uint8_t *l4;

	if (!limits_datagram(icmp->limits, LIMITS_IN, len))
		return;
	head.csum = be16((uint16_t)~csum_fold(csum_add(csum_add(0, &head, ICMP_HLEN), data, len)));
	counter_inc(icmp->counters, COUNTER_ICMP_ECHO_REPLIES);
	if (ICMP_HLEN + len > output_l4_max(icmp->out)) {
		fragment_output(icmp->out, icmp->counters, &ip, &head, ICMP_HLEN, data, len);
		return;
	}
	l4 = output_begin(icmp->out, &ip, ICMP_HLEN + len);
	if (!l4)
		return;
	memcpy(l4, &head, ICMP_HLEN);
	memcpy(l4 + ICMP_HLEN, data, len);
	output_end(icmp->out, ICMP_HLEN + len, OUTPUT_CSUM_NONE);
}

static void relay_queued(struct ping *ping)
{
	struct udp_batch_error e;

	for (int i = 0; i < SLICE && udp_batch_error(ping->fd, &e) > 0; i++) {
		const struct icmp_hdr *echo = (const struct icmp_hdr *)e.data;
		struct icmp_relay relay = {
			.proto = IP_PROTO_ICMP,
			.type = e.type,
			.code = e.code,
			.mtu = (uint16_t)(e.mtu > UINT16_MAX ? UINT16_MAX : e.mtu),
			.from = e.from,
			.key = ping->entry.key,
		};
		int code = icmp_code_of(e.err);

		if (!e.icmp && code < 0)
			continue;
		if (!e.icmp) {
			relay.type = ICMP_UNREACHABLE;
			relay.code = (uint8_t)code;
		}
		if (e.data_len >= ICMP_HLEN) {
			relay.seq = be16_get(echo->seq);
			relay.data = e.data + ICMP_HLEN;
			relay.data_len = e.data_len - ICMP_HLEN;
		}
		icmp_relay_error(ping->icmp, &relay);
	}
}

static bool receive_one(struct ping *ping)
{
	struct icmp *icmp = ping->icmp;
	const uint8_t *p;
	struct addr src;
	ssize_t len = udp_batch_recv_ping(ping->fd, icmp->buffer, BUFFER_SIZE, &src, &p);
	const struct icmp_hdr *reply;

	if (len < 0) {
		relay_queued(ping);
		return false;
	}
	reply = (const struct icmp_hdr *)p;
	if ((size_t)len < ICMP_HLEN || reply->type != ICMP_ECHO_REPLY || reply->code != 0 ||
		!addr_eq(&src, &ping->entry.key.remote.addr))
		return true;
	ping->used = loop_now(icmp->loop);
	ping->rx_bytes += (size_t)len - ICMP_HLEN;
	egress_account(icmp->egress, &ping->pass, 0, (size_t)len - ICMP_HLEN);
	send_reply(icmp, &ping->entry.key, be16_get(reply->seq), p + ICMP_HLEN,
		(size_t)len - ICMP_HLEN);
	return true;
}

static void receive(struct task *task)
{
	struct ping *ping = (struct ping *)((char *)task - offsetof(struct ping, task));

	for (int i = 0; i < SLICE; i++) {
		if (!receive_one(ping))
			return;
	}
}

static void readable(evutil_socket_t fd, short what, void *arg)
{
	struct ping *ping = arg;

	(void)fd;
	(void)what;
	loop_defer(ping->icmp->loop, &ping->task);
}

static void idle(struct timer *timer)
{
	struct ping *ping = (struct ping *)((char *)timer - offsetof(struct ping, idle));
	uint64_t quiet = loop_now(ping->icmp->loop) - ping->used;

	if (quiet >= IDLE_MS)
		ping_free(ping);
	else
		timer_arm(loop_wheel(ping->icmp->loop), timer, IDLE_MS - quiet);
}

/* A flow for the guest's request, or NULL, the guest having been told why where it should be. */
static struct ping *ping_new(struct icmp *icmp, const struct flow_key *key, const struct packet *p)
{
	struct egress_pass pass = {.era = 0};
	struct ping *ping;
	int fd, code;

	if (flow_table_count(icmp->flows) >= FLOWS_MAX) {
		counter_inc(icmp->counters, COUNTER_ICMP_BOUNDS);
		return NULL;
	}
	if (limits_flow(icmp->limits) < 0)
		return NULL;
	fd = egress_dial(
		icmp->egress, EGRESS_GUEST, IP_PROTO_ICMP, &key->remote, &pass, NULL, NULL, NULL);
	if (fd < 0) {
		code = icmp_code_of(-fd);
		if (code >= 0)
			icmp_send_error(icmp, p, ICMP_UNREACHABLE, (uint8_t)code, 0);
		return NULL;
	}
	ping = calloc(1, sizeof(*ping));
	if (!ping) {
		egress_leave(&pass);
		close(fd);
		return NULL;
	}
	ping->entry.key = *key;
	ping->pass = pass;
	ping->icmp = icmp;
	ping->fd = fd;
	ping->ttl = 64;
	ping->idle.fire = idle;
	ping->task.run = receive;
	ping->created = loop_now(icmp->loop);
	udp_batch_setup(fd, AF_INET, UDP_BATCH_ERRORS);
	if (flow_table_insert(icmp->flows, &ping->entry) < 0) {
		egress_leave(&ping->pass);
		close(fd);
		free(ping);
		return NULL;
	}
	event_assign(&ping->event, loop_base(icmp->loop), fd, EV_READ | EV_PERSIST, readable, ping);
	event_priority_set(&ping->event, LOOP_DATA);
	if (event_add(&ping->event, NULL) < 0) {
		ping_free(ping);
		return NULL;
	}
	timer_arm(loop_wheel(icmp->loop), &ping->idle, IDLE_MS);
	return ping;
}

static void send_request(struct ping *ping, const struct packet *p)
{
	ssize_t sent;
	int code;

	if (p->ttl != ping->ttl) {
		udp_batch_set_ttl(ping->fd, AF_INET, p->ttl);
		ping->ttl = p->ttl;
	}
	/* The kernel puts its own id and checksum in. An earlier echo's error comes up once. */
	sent = send(ping->fd, p->l4, p->l4_len, MSG_DONTWAIT);
	if (sent < 0)
		sent = send(ping->fd, p->l4, p->l4_len, MSG_DONTWAIT);
	if (sent >= 0) {
		ping->tx_bytes += p->l4_len - ICMP_HLEN;
		egress_account(ping->icmp->egress, &ping->pass, p->l4_len - ICMP_HLEN, 0);
		return;
	}
	code = icmp_code_of(errno);
	if (code == ICMP_CODE_FRAGMENTATION)
		relay_queued(ping);
	else if (code >= 0)
		icmp_send_error(ping->icmp, p, ICMP_UNREACHABLE, (uint8_t)code, 0);
}

static void echo_request(struct icmp *icmp, const struct packet *p)
{
	const struct icmp_hdr *echo = (const struct icmp_hdr *)p->l4;
	struct flow_key key = {
		.guest = {.addr = p->src, .port = be16_get(echo->id)},
		.remote = {.addr = p->dst},
	};
	struct ping *ping;

	if (!limits_datagram(icmp->limits, LIMITS_OUT, p->l4_len - ICMP_HLEN))
		return;
	counter_inc(icmp->counters, COUNTER_ICMP_ECHO_REQUESTS);
	if (addr_eq(&p->dst, &icmp->net->gateway)) {
		send_reply(
			icmp, &key, be16_get(echo->seq), p->l4 + ICMP_HLEN, p->l4_len - ICMP_HLEN);
		return;
	}
	if (addr_is_multicast(&p->dst) || net_is_broadcast(icmp->net, &p->dst)) {
		counter_inc(icmp->counters, COUNTER_DROP_MULTICAST);
		return;
	}
	ping = (struct ping *)flow_table_find(icmp->flows, &key);
	if (!ping)
		ping = ping_new(icmp, &key, p);
	if (!ping)
		return;
	ping->used = loop_now(icmp->loop);
	send_request(ping, p);
}

void icmp_input(struct icmp *icmp, const struct packet *p)
{
	if (p->l4_len < ICMP_HLEN) {
		counter_inc(icmp->counters, COUNTER_DROP_MALFORMED);
		return;
	}
	/* Errors of the guest's about what came to it have nowhere to go: no ordinary socket of the
	 * host's can send them on. */
	if (p->l4[0] == ICMP_ECHO_REQUEST && p->l4[1] == 0)
		echo_request(icmp, p);
}

/* ---- listing ---- */

size_t icmp_flow_count(const struct icmp *icmp)
{
	return flow_table_count(icmp->flows);
}

bool icmp_flow_next(const struct icmp *icmp, uint32_t *cursor, struct flow_info *info)
{
	const struct ping *ping = (const struct ping *)flow_table_next(icmp->flows, cursor);
	uint64_t now = loop_now(icmp->loop);

	if (!ping)
		return false;
	*info = (struct flow_info){
		.proto = IP_PROTO_ICMP,
		.key = ping->entry.key,
		.host = ping->entry.key.remote,
		.state = "echo",
		.age_ms = now - ping->created,
		.idle_ms = now - ping->used,
		.tx_bytes = ping->tx_bytes,
		.rx_bytes = ping->rx_bytes,
	};
	return true;
}
