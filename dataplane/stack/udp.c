/* SPDX-License-Identifier: MIT */
/*
 * UDP. See udp.h; udp_sock.c moves the bytes, udp_forward.c has the inbound flows.
 *
 *	guest G ──► R   G:g in the table?  no: a socket bound to port g, if the host has it free
 *	                R among its peers? no: the egress is asked, then R is one
 *	                … and out of G's socket to R (127.0.0.1 where R is the gateway)
 *	guest G ◄── R   came to G's socket; R among its peers, else dropped
 *
 * The egress is asked once for a peer, not once for a datagram: a new policy meets peers that
 * stand in udp_recheck() only. What the kernel learns from ICMP comes by the socket's error queue
 * and is put back into ICMP, quoting the datagram as the guest had sent it.
 */
#include "dataplane/stack/udp_flow.h"

#include "dataplane/egress/dial.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/fragment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MTU_MIN 68 /* RFC 791 */
#define MANY_FLOWS 2048
#define PEERS_FEW 32

struct udp *udp_new(struct loop *loop, struct output *out, const struct net *net,
	struct counters *counters, struct egress *egress, struct dns *dns, struct icmp *icmp)
{
	struct udp *udp = calloc(1, sizeof(*udp));

	if (!udp)
		return NULL;
	udp->loop = loop;
	udp->out = out;
	udp->net = net;
	udp->counters = counters;
	udp->egress = egress;
	udp->dns = dns;
	udp->icmp = icmp;
	udp->flows = flow_table_new(UDP_FLOWS_MAX);
	udp->clients = flow_table_new(UDP_CLIENTS_MAX);
	if (!udp->flows || !udp->clients || udp_io_init(&udp->io, loop, out->link, counters) < 0) {
		flow_table_free(udp->flows);
		flow_table_free(udp->clients);
		free(udp);
		return NULL;
	}
	return udp;
}

void udp_free(struct udp *udp)
{
	if (!udp)
		return;
	udp_reset(udp);
	udp_forwards_clear(udp);
	udp_io_clear(&udp->io);
	flow_table_free(udp->flows);
	flow_table_free(udp->clients);
	free(udp);
}

void udp_set_limits(struct udp *udp, struct limits *limits)
{
	udp->limits = limits;
}

/* ---- to the guest ---- */

void udp_deliver(struct udp *udp, const struct endpoint *src, const struct endpoint *guest,
	const void *data, size_t len)
{
	struct output_ip ip = {.src = src->addr, .dst = guest->addr, .proto = IP_PROTO_UDP};
	struct udp_hdr head = {.src = be16(src->port), .dst = be16(guest->port)};
	uint64_t sum;
	uint8_t *l4;

	if (len > UDP_PAYLOAD_MAX || !limits_datagram(udp->limits, LIMITS_IN, len))
		return;
	head.len = be16((uint16_t)(UDP_HLEN + len));
	counter_inc(udp->counters, COUNTER_UDP_RX_DATAGRAMS);
	counter_add(udp->counters, COUNTER_UDP_RX_BYTES, len);
	if (UDP_HLEN + len > output_l4_max(udp->out)) {
		sum = csum_pseudo(&src->addr, &guest->addr, IP_PROTO_UDP, UDP_HLEN + len);
		sum = csum_add(csum_add(sum, &head, UDP_HLEN), data, len);
		head.csum = be16((uint16_t)~csum_fold(sum));
		if (be16_get(head.csum) == 0) /* which would say that there is none */
			head.csum = be16(0xffff);
		fragment_output(udp->out, udp->counters, &ip, &head, UDP_HLEN, data, len);
		return;
	}
	ip.frag = IP4_DF;
	l4 = output_begin(udp->out, &ip, UDP_HLEN + len);
	if (!l4)
		return;
	memcpy(l4, &head, UDP_HLEN);
	memcpy(l4 + UDP_HLEN, data, len);
	output_end(udp->out, UDP_HLEN + len, OUTPUT_CSUM_UDP);
}

void udp_deliver_batch(struct udp_flow *flow, const struct endpoint *src,
	const struct endpoint *guest, const struct udp_batch_rx *rx)
{
	size_t at = 0;

	flow->used = loop_now(flow->udp->loop);
	flow->rx_bytes += rx->len;
	do {
		size_t len = rx->len - at < rx->segment ? rx->len - at : rx->segment;

		udp_deliver(flow->udp, src, guest, rx->data + at, len);
		at += len;
	} while (at < rx->len);
}

void udp_relay_error(struct udp *udp, const struct flow_key *key, const struct udp_batch_error *e)
{
	int code = icmp_code_of(e->err);
	struct icmp_relay relay = {
		.proto = IP_PROTO_UDP,
		.type = e->icmp ? e->type : ICMP_UNREACHABLE,
		.code = e->icmp ? e->code : (uint8_t)code,
		.from = e->from,
		.key = *key,
		.data = e->data,
		.data_len = e->data_len,
	};

	if (!e->icmp && code < 0)
		return;
	if (e->err == EMSGSIZE) {
		uint32_t mtu = e->mtu < MTU_MIN ? MTU_MIN : e->mtu;

		if (e->mtu == 0) /* nobody said */
			mtu = 1280;
		relay.type = ICMP_UNREACHABLE;
		relay.code = ICMP_CODE_FRAGMENTATION;
		relay.mtu = (uint16_t)(mtu > UINT16_MAX ? UINT16_MAX : mtu);
	}
	icmp_relay_error(udp->icmp, &relay);
}

/* ---- outbound flows ---- */

static struct flow_key out_key(const struct endpoint *guest, int family)
{
	struct flow_key key = {.guest = *guest};

	key.remote.addr = family == AF_INET ? addr_from_v4(0) : addr_any;
	return key;
}

struct udp_out *udp_out_find(const struct udp *udp, const struct endpoint *guest, int family)
{
	struct flow_key key = out_key(guest, family);

	return (struct udp_out *)flow_table_find(udp->flows, &key);
}

static void out_free(struct udp_out *out)
{
	struct udp *udp = out->flow.udp;

	udp_sock_close(&out->sock);
	udp_by_relay_clear(out);
	timer_disarm(loop_wheel(udp->loop), &out->flow.idle);
	flow_table_remove(udp->flows, &out->flow.entry);
	udp_peers_clear(&out->peers);
	free(out);
}

static struct udp_out *of_sock(struct udp_sock *sock)
{
	return (struct udp_out *)((char *)sock - offsetof(struct udp_out, sock));
}

static void out_received(struct udp_sock *sock, const struct udp_batch_rx *rx)
{
	struct udp_out *out = of_sock(sock);
	struct udp *udp = out->flow.udp;
	const struct udp_peer *peer = udp_peers_find(&out->peers, &rx->src);
	struct endpoint src;

	if (!peer) {
		counter_inc(udp->counters, COUNTER_UDP_STRANGERS);
		return;
	}
	egress_account(udp->egress, &peer->pass, 0, rx->len);
	src = egress_from_host(udp->egress, &rx->src);
	udp_deliver_batch(&out->flow, &src, &out->flow.entry.key.guest, rx);
}

static void out_failed(struct udp_sock *sock, const struct udp_batch_error *error)
{
	struct udp_out *out = of_sock(sock);
	struct flow_key key = {.guest = out->flow.entry.key.guest};

	if (!udp_peers_find(&out->peers, &error->dst))
		return;
	key.remote = egress_from_host(out->flow.udp->egress, &error->dst);
	udp_relay_error(out->flow.udp, &key, error);
}

static const struct udp_sock_ops out_ops = {.received = out_received, .failed = out_failed};

static void out_idle(struct timer *timer)
{
	struct udp_out *out =
		(struct udp_out *)((char *)timer - offsetof(struct udp_out, flow.idle));
	struct udp *udp = out->flow.udp;
	uint64_t quiet = loop_now(udp->loop) - out->flow.used;
	uint64_t limit = out->dns_only ? UDP_IDLE_DNS_MS : UDP_IDLE_MS;

	if (quiet >= limit)
		out_free(out);
	else
		timer_arm(loop_wheel(udp->loop), timer, limit - quiet);
}

/* A flow for the guest's socket, or NULL and why in *err (positive; 0 for nothing to say). */
static struct udp_out *out_new(struct udp *udp, const struct flow_key *key, int family, int *err)
{
	struct udp_out *out;
	int fd;

	*err = 0;
	if (flow_table_count(udp->flows) >= UDP_FLOWS_MAX) {
		counter_inc(udp->counters, COUNTER_UDP_BOUNDS);
		return NULL;
	}
	fd = egress_udp_open(udp->egress, family, key->guest.port);
	if (fd < 0) {
		*err = -fd;
		return NULL;
	}
	out = calloc(1, sizeof(*out));
	if (!out) {
		close(fd);
		return NULL;
	}
	out->flow.entry.key = *key;
	out->flow.udp = udp;
	out->flow.idle.fire = out_idle;
	out->flow.created = loop_now(udp->loop);
	out->dns_only = true;
	udp_by_relay_init(out);
	if (udp_sock_open(&out->sock, &udp->io, fd, family, UDP_BATCH_ERRORS | UDP_BATCH_GRO,
		    &out_ops) < 0) {
		close(fd);
		free(out);
		return NULL;
	}
	out->sock.ttl = 64;
	if (flow_table_insert(udp->flows, &out->flow.entry) < 0) {
		udp_sock_close(&out->sock);
		free(out);
		return NULL;
	}
	timer_arm(loop_wheel(udp->loop), &out->flow.idle, UDP_IDLE_DNS_MS);
	counter_inc(udp->counters, COUNTER_UDP_FLOWS);
	return out;
}

static void refuse(struct udp *udp, const struct packet *p, int err)
{
	int code = icmp_code_of(err);

	if (code >= 0)
		icmp_send_error(udp->icmp, p, ICMP_UNREACHABLE, (uint8_t)code, 0);
}

/* Many peers for a few flows or a few for many: a guest must not make both. */
static size_t peers_max(const struct udp *udp)
{
	return flow_table_count(udp->flows) > MANY_FLOWS ? PEERS_FEW : UDP_PEERS_MAX;
}

/* The flow of the guest's socket, made where there is none; NULL and the guest was told. */
static struct udp_out *out_open(struct udp *udp, const struct packet *p, const struct flow_key *key)
{
	int err, family = addr_family(&key->remote.addr);
	struct flow_key open = out_key(&key->guest, family);
	struct udp_out *out = out_new(udp, &open, family, &err);

	if (!out)
		refuse(udp, p, err);
	return out;
}

/* The flow for a datagram whose destination may be new to it; NULL where it cannot go out. */
static struct udp_out *out_admit(struct udp *udp, struct udp_out *out, const struct packet *p,
	const struct flow_key *key, struct endpoint *host)
{
	struct egress_pass pass = {.era = 0};
	int err;

	if ((out ? limits_contact(udp->limits) : limits_flow(udp->limits)) < 0)
		return NULL;
	err = egress_udp_permit(udp->egress, EGRESS_GUEST, &key->remote, host, &pass);
	if (err < 0) {
		refuse(udp, p, -err);
		return NULL;
	}
	if (!out)
		out = out_open(udp, p, key);
	if (!out) {
		egress_leave(&pass);
		return NULL;
	}
	if (key->remote.port != DNS_PORT)
		out->dns_only = false;
	return udp_peers_add(&out->peers, host, &pass, peers_max(udp)) < 0 ? NULL : out;
}

static void out_send(struct udp *udp, const struct packet *p, const struct flow_key *key,
	const uint8_t *data, size_t len)
{
	struct udp_out *out = udp_out_find(udp, &key->guest, addr_family(&key->remote.addr));
	struct endpoint host = egress_to_host(udp->egress, EGRESS_GUEST, &key->remote);
	struct udp_peer *peer = out ? udp_peers_find(&out->peers, &host) : NULL;
	int way;

	if (!peer) {
		out = out_admit(udp, out, p, key, &host);
		peer = out ? udp_peers_find(&out->peers, &host) : NULL;
	}
	if (!peer)
		return;
	way = udp_relay_way(&out->relay, peer);
	if (way < 0) { /* "host unreachable" is nothing that UDP's users are told */
		if (way != -EAGAIN)
			refuse(udp, p, EACCES);
		return;
	}
	out->flow.used = loop_now(udp->loop);
	out->flow.tx_bytes += len;
	egress_account(udp->egress, &peer->pass, len, 0);
	if (way) {
		udp_by_relay_send(out, &host, data, len);
		return;
	}
	udp_sock_ttl(&out->sock, p->ttl ? p->ttl : 1);
	udp_sock_send(&out->sock, &host, NULL, data, len);
}

/* ---- from the guest ---- */

void udp_input(struct udp *udp, const struct packet *p)
{
	struct cursor c = {p->l4, p->l4_len};
	const struct udp_hdr *head = cursor_take(&c, UDP_HLEN);
	struct flow_key key = {.guest = {.addr = p->src}, .remote = {.addr = p->dst}};
	size_t len = head ? be16_get(head->len) : 0;
	struct flow_entry *client = NULL;

	if (!head || len < UDP_HLEN || len > p->l4_len || be16_get(head->dst) == 0) {
		counter_inc(udp->counters, COUNTER_DROP_MALFORMED);
		return;
	}
	if (addr_is_multicast(&p->dst) || net_is_broadcast(udp->net, &p->dst)) {
		counter_inc(udp->counters, COUNTER_DROP_MULTICAST);
		return;
	}
	len -= UDP_HLEN;
	if (!limits_datagram(udp->limits, LIMITS_OUT, len))
		return;
	key.guest.port = be16_get(head->src);
	key.remote.port = be16_get(head->dst);
	if (flow_table_count(udp->clients))
		client = flow_table_find(udp->flows, &key);
	if (client)
		udp_client_send((struct udp_client *)client, c.p, len);
	else if (dns_answers_for(udp->dns, &key.remote))
		dns_udp_query(udp->dns, &(struct dns_from){key.guest, key.remote, 0}, c.p, len);
	else
		out_send(udp, p, &key, c.p, len);
}

/* ---- all flows ---- */

void udp_room(struct udp *udp)
{
	udp_io_room(&udp->io);
}

static void flow_free(struct flow_entry *e)
{
	struct udp_flow *flow = (struct udp_flow *)e;

	if (flow->forward)
		udp_client_free((struct udp_client *)flow);
	else
		out_free((struct udp_out *)flow);
}

void udp_reset(struct udp *udp)
{
	uint32_t slot = 0;
	struct flow_entry *e;

	udp_io_flush(&udp->io);
	udp_io_room(&udp->io);
	while ((e = flow_table_next(udp->flows, &slot)))
		flow_free(e);
}

void udp_reroute(struct udp *udp)
{
	uint32_t slot = 0;
	struct flow_entry *e;

	while ((e = flow_table_next(udp->flows, &slot))) {
		if (!((struct udp_flow *)e)->forward)
			out_free((struct udp_out *)e);
	}
}

static bool still_allowed(void *arg, struct udp_peer *peer)
{
	const struct udp *udp = arg;
	struct endpoint dst = egress_from_host(udp->egress, &peer->host);

	return !dns_answers_for(udp->dns, &dst) &&
		egress_stands(udp->egress, EGRESS_GUEST, IP_PROTO_UDP, &dst, &peer->pass);
}

void udp_recheck(struct udp *udp)
{
	uint32_t slot = 0;
	struct flow_entry *e;

	while ((e = flow_table_next(udp->flows, &slot))) {
		struct udp_out *out = (struct udp_out *)e;

		if (out->flow.forward)
			continue;
		udp_peers_filter(&out->peers, still_allowed, udp);
		if (out->peers.count == 0)
			out_free(out);
	}
}

size_t udp_flow_count(const struct udp *udp)
{
	return flow_table_count(udp->flows);
}

bool udp_flow_next(const struct udp *udp, uint32_t *cursor, struct flow_info *info)
{
	const struct flow_entry *e = flow_table_next(udp->flows, cursor);
	const struct udp_flow *flow = (const struct udp_flow *)e;
	uint64_t now = loop_now(udp->loop);

	if (!e)
		return false;
	*info = (struct flow_info){
		.proto = IP_PROTO_UDP,
		.inbound = flow->forward != NULL,
		.key = e->key,
		.age_ms = now - flow->created,
		.idle_ms = now - flow->used,
		.tx_bytes = flow->tx_bytes,
		.rx_bytes = flow->rx_bytes,
	};
	if (flow->forward) {
		info->host = ((const struct udp_client *)flow)->by_client.key.remote;
		info->state = "forward";
	} else {
		const struct udp_out *out = (const struct udp_out *)flow;

		info->host = udp_peers_last(&out->peers);
		info->key.remote = egress_from_host(udp->egress, &info->host);
		info->state = out->dns_only ? "dns" : "open";
	}
	return true;
}
