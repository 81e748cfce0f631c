/* SPDX-License-Identifier: MIT */
/*
 * A whole worker behind a stream link, and a guest whose segments the test writes by hand. The
 * host's side is real: sockets on loopback, which the guest reaches by the gateway's address.
 *
 * The clock is the rig's: rig_sleep() lets time pass at once. Included by one file a program.
 */
#ifndef TESTS_UNIT_TCP_RIG_H
#define TESTS_UNIT_TCP_RIG_H

#include "common/clock.h"
#include "common/os.h"
#include "common/policy_table.h"
#include "dataplane/stack/flow_memory.h"
#include "dataplane/stack/frame.h"
#include "dataplane/worker.h"
#include "tests/unit/check_main.h"
#include "tests/unit/rig_clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RIG_FRAME_MAX 70000
#define GATEWAY 0x0a000202u
#define GUEST 0x0a00020fu

/* ---- the rig ---- */

struct rig {
	struct worker *worker;
	struct net net;
	int guest;    /* the VMM's end of the link */
	int listener; /* a server's on the host */
	uint16_t port;
	uint16_t next_port; /* of the guest's */
	unsigned refusals;
	unsigned macs, leases; /* events */
	struct mac mac;        /* of the latest */
};

/* A connection as the guest's kernel would keep it. */
struct peer {
	uint32_t remote; /* address */
	uint16_t remote_port, port;
	uint32_t seq, ack; /* snd_nxt and rcv_nxt */
	uint32_t edge;     /* right edge of what we may send */
	uint8_t wscale;    /* theirs */
	uint16_t mss;      /* theirs */
	uint16_t window;   /* what we advertise, not scaled */
	uint8_t our_wscale;
};

/* A segment that the guest received. */
struct seen {
	uint8_t frame[RIG_FRAME_MAX];
	uint8_t proto, flags, wscale;
	uint32_t src, seq, ack;
	uint16_t sport, dport, window, mss;
	bool has_wscale, sack_ok;
	unsigned blocks;
	uint32_t block[4][2];
	const uint8_t *data, *l4;
	size_t len, l4_len;
};

static struct rig rig;
static struct seen seen;

static const struct mac rig_guest_mac = {{0x52, 0x54, 0, 0, 0, 1}};
static const struct mac rig_gateway_mac = {{0x52, 0x55, 10, 0, 2, 2}};

static void rig_on_link(void *arg, bool up, enum link_kind kind, const char *text, bool refused)
{
	(void)arg;
	(void)up;
	(void)kind;
	(void)text;
	(void)refused;
}

static void rig_on_fd(void *arg, int fd)
{
	(void)arg;
	close(fd);
}

static void rig_on_mac(void *arg, const struct mac *mac)
{
	(void)arg;
	rig.macs++;
	rig.mac = *mac;
}

static void rig_on_lease(void *arg, const struct worker_lease *lease)
{
	(void)arg;
	(void)lease;
	rig.leases++;
}

static void rig_on_names(void *arg, const struct worker_name *names, size_t count)
{
	(void)arg;
	(void)names;
	(void)count;
}

static void rig_on_refused(
	void *arg, uint8_t proto, const struct endpoint *dst, int32_t by, uint32_t count)
{
	(void)arg;
	(void)proto;
	(void)dst;
	(void)by;
	rig.refusals += count;
}

static inline void rig_policy(bool allow, bool cut)
{
	struct policy_input in = {.default_allow = allow, .default_by = POLICY_BY_DEFAULT};
	struct error err;
	uint8_t *blob;
	size_t len;

	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	ck_assert_int_eq(worker_policy_set(rig.worker, blob, len, cut, &err), 0);
	free(blob);
}

static void rig_stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(worker_loop(rig.worker));
}

/* Lets the loop run for so many real milliseconds. */
static inline void rig_run(int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	struct event_base *base = loop_base(worker_loop(rig.worker));

	event_base_once(base, -1, EV_TIMEOUT, rig_stop, NULL, &tv);
	if (loop_run(worker_loop(rig.worker)) != 0)
		ck_abort_msg("the loop failed");
}

/* Lets so many milliseconds of the rig's clock pass, with their timers. */
static inline void rig_sleep(uint64_t ms)
{
	rig_run(1); /* what has been sent so far came before */
	rig_ahead_ns += ms * 1000000;
	rig_run(2);
}

#define RIG_UNTIL(condition)                                                                       \
	do {                                                                                       \
		for (int rig_waited = 0; !(condition) && rig_waited < 1000; rig_waited++)          \
			rig_run(1);                                                                \
		ck_assert_msg(condition, "waited in vain for %s", #condition);                     \
	} while (0)

static inline uint64_t rig_count(enum counter id)
{
	return worker_counters(rig.worker)->value[id];
}

static inline uint32_t rig_flows(void)
{
	uint32_t tcp, udp, icmp;

	worker_flow_counts(rig.worker, &tcp, &udp, &icmp);
	return tcp;
}

static inline int rig_listen(uint16_t *port, int backlog)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(in);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(fd, backlog), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*port = ntohs(in.sin_port);
	return fd;
}

static inline void rig_new_worker(int memory_fd, bool reset_flows)
{
	struct worker_events events = {
		.link_changed = rig_on_link,
		.link_returned = rig_on_fd,
		.guest_seen = rig_on_mac,
		.lease = rig_on_lease,
		.names = rig_on_names,
		.refused = rig_on_refused,
	};
	struct worker_config config = {.vm = "web"};
	struct error err;
	int fds[2];

	config.net = (struct net){
		.gateway = addr_from_v4(GATEWAY),
		.guest = addr_from_v4(GUEST),
		.gateway_mac = rig_gateway_mac,
		.guest_mac = rig_guest_mac,
		.guest_mac_known = true,
		.mtu = 1500,
		.host_access = true,
	};
	prefix_parse("10.0.2.0/24", false, &config.net.subnet);
	rig.worker = worker_new(&events);
	ck_assert_ptr_nonnull(rig.worker);
	ck_assert_int_eq(worker_configure(rig.worker, &config, memory_fd, reset_flows, &err), 0);
	rig_policy(true, false);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(worker_link_set(rig.worker, LINK_KIND_STREAM, fds[0], false, 0, &err), 0);
	rig.guest = fds[1];
}

static inline void rig_setup(void)
{
	memset(&rig, 0, sizeof(rig));
	rig_new_worker(-1, false);
	rig.next_port = 40000;
	rig.listener = rig_listen(&rig.port, 512);
}

static inline void rig_teardown(void)
{
	worker_free(rig.worker);
	close(rig.guest);
	close(rig.listener);
}

/* ---- what the guest sends ---- */

static inline void rig_send_ip(uint8_t proto, uint32_t dst, const void *l4, size_t len)
{
	static uint8_t record[RIG_FRAME_MAX];
	struct eth_hdr *eth = (struct eth_hdr *)(record + 4);
	struct ip4_hdr *h = (struct ip4_hdr *)(record + 4 + ETH_HLEN);
	size_t total = 4 + ETH_HLEN + IP4_HLEN + len, done = 0;

	store_be32(record, (uint32_t)(total - 4));
	*eth = (struct eth_hdr){
		.dst = rig_gateway_mac, .src = rig_guest_mac, .type = be16(ETHERTYPE_IPV4)};
	*h = (struct ip4_hdr){
		.version_ihl = 0x45,
		.total_len = be16((uint16_t)(IP4_HLEN + len)),
		.ttl = 64,
		.proto = proto,
		.src = be32(GUEST),
		.dst = be32(dst),
	};
	h->csum = be16((uint16_t)~csum_fold(csum_add(0, h, IP4_HLEN)));
	memcpy(record + 4 + ETH_HLEN + IP4_HLEN, l4, len);
	while (done < total) {
		ssize_t n = os_send(rig.guest, record + done, total - done, 0);

		if (n < 0)
			rig_run(1);
		else
			done += (size_t)n;
	}
}

struct out {
	uint8_t flags;
	uint32_t seq, ack;
	const void *data;
	size_t len;
	const void *options; /* of a length that is a multiple of 4 */
	size_t options_len;
};

/* Any segment at all. */
static inline void send_raw(const struct peer *p, struct out o)
{
	static uint8_t l4[RIG_FRAME_MAX];
	struct addr src = addr_from_v4(GUEST), dst = addr_from_v4(p->remote);
	struct tcp_hdr *h = (struct tcp_hdr *)l4;
	size_t hlen = TCP_HLEN + o.options_len;

	*h = (struct tcp_hdr){
		.src = be16(p->port),
		.dst = be16(p->remote_port),
		.seq = be32(o.seq),
		.ack = be32(o.ack),
		.offset = (uint8_t)(hlen / 4 << 4),
		.flags = o.flags,
		.window = be16(p->window),
	};
	if (o.options_len)
		memcpy(l4 + TCP_HLEN, o.options, o.options_len);
	if (o.len)
		memcpy(l4 + hlen, o.data, o.len);
	h->csum = be16((uint16_t)~csum_fold(
		csum_add(csum_pseudo(&src, &dst, IP_PROTO_TCP, hlen + o.len), l4, hlen + o.len)));
	rig_send_ip(IP_PROTO_TCP, p->remote, l4, hlen + o.len);
}

/* The connection's next segment. */
static inline void send_segment(struct peer *p, uint8_t flags, const void *data, size_t len)
{
	send_raw(p,
		(struct out){
			.flags = flags, .seq = p->seq, .ack = p->ack, .data = data, .len = len});
	p->seq += (uint32_t)len + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
}

static inline void send_ack(struct peer *p)
{
	send_segment(p, TCP_ACK, NULL, 0);
}

/* ---- what the guest receives ---- */

static inline bool rig_read(void *buf, size_t len, int timeout_ms)
{
	uint8_t *p = buf;

	for (int waited = 0; len;) {
		ssize_t n = read(rig.guest, p, len);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (waited++ >= timeout_ms) {
			return false;
		} else {
			rig_run(1);
		}
	}
	return true;
}

static inline void parse_seen_options(const uint8_t *o, size_t len)
{
	for (size_t i = 0; i < len && o[i]; i += o[i] == 1 ? 1 : o[i + 1]) {
		if (o[i] == 2)
			seen.mss = load_be16(o + i + 2);
		else if (o[i] == 3) {
			seen.has_wscale = true;
			seen.wscale = o[i + 2];
		} else if (o[i] == 4)
			seen.sack_ok = true;
		else if (o[i] == 5) {
			seen.blocks = (o[i + 1] - 2u) / 8;
			for (unsigned b = 0; b < seen.blocks; b++) {
				seen.block[b][0] = load_be32(o + i + 2 + 8 * b);
				seen.block[b][1] = load_be32(o + i + 6 + 8 * b);
			}
		}
	}
}

/* Takes the frame in `seen` apart; every one of ours must be well-formed. */
static inline void parse_seen(size_t frame_len)
{
	const struct ip4_hdr *ip = (const struct ip4_hdr *)(seen.frame + ETH_HLEN);
	const struct tcp_hdr *h = (const struct tcp_hdr *)(seen.frame + ETH_HLEN + IP4_HLEN);
	struct addr src = addr_from_v4(be32_get(ip->src)), dst = addr_from_v4(be32_get(ip->dst));
	size_t hlen;

	seen.proto = ip->proto;
	seen.src = be32_get(ip->src);
	seen.l4 = (const uint8_t *)h;
	seen.l4_len = frame_len - ETH_HLEN - IP4_HLEN;
	if (be16_get(ip->total_len) != IP4_HLEN + seen.l4_len ||
		csum_fold(csum_add(0, ip, IP4_HLEN)) != 0xffff)
		ck_abort_msg("a malformed IP packet");
	if (seen.proto != IP_PROTO_TCP)
		return;
	if (csum_fold(csum_add(
		    csum_pseudo(&src, &dst, IP_PROTO_TCP, seen.l4_len), h, seen.l4_len)) != 0xffff)
		ck_abort_msg("a wrong TCP checksum");
	hlen = (size_t)(h->offset >> 4) * 4;
	seen.sport = be16_get(h->src);
	seen.dport = be16_get(h->dst);
	seen.seq = be32_get(h->seq);
	seen.ack = be32_get(h->ack);
	seen.flags = h->flags;
	seen.window = be16_get(h->window);
	parse_seen_options((const uint8_t *)h + TCP_HLEN, hlen - TCP_HLEN);
	seen.data = (const uint8_t *)h + hlen;
	seen.len = seen.l4_len - hlen;
}

/* The next IP packet, whatever it is; false where none comes in time. */
static inline bool recv_packet(int timeout_ms)
{
	uint8_t head[4];
	size_t len;

	do {
		memset(&seen, 0, offsetof(struct seen, frame));
		memset((uint8_t *)&seen + sizeof(seen.frame), 0, sizeof(seen) - sizeof(seen.frame));
		if (!rig_read(head, 4, timeout_ms))
			return false;
		len = load_be32(head);
		if (len > sizeof(seen.frame) || !rig_read(seen.frame, len, 1000))
			ck_abort_msg("a frame of %zu bytes", len);
	} while (load_be16(seen.frame + 12) != ETHERTYPE_IPV4);
	parse_seen(len);
	return true;
}

/* The next segment of this connection's (others are passed over). */
static inline bool recv_for(const struct peer *p, int timeout_ms)
{
	while (recv_packet(timeout_ms)) {
		if (seen.proto == IP_PROTO_TCP && seen.dport == p->port &&
			seen.sport == p->remote_port)
			return true;
	}
	return false;
}

static inline void recv_segment(const struct peer *p)
{
	ck_assert_msg(recv_for(p, 1000), "the guest received nothing");
}

static inline void recv_nothing(const struct peer *p)
{
	bool any = recv_for(p, 10);

	ck_assert_msg(!any, "the guest received flags %02x seq %u len %zu", seen.flags, seen.seq,
		seen.len);
}

/* Passes over the rest of what comes. */
static inline void recv_rest(const struct peer *p)
{
	while (recv_for(p, 4))
		;
}

/* Receives until a segment with this flag comes. */
static inline void recv_flag(const struct peer *p, uint8_t flag)
{
	do {
		recv_segment(p);
	} while (!(seen.flags & flag));
}

/* Reads in-order bytes as a guest's kernel does, and acknowledges them. */
static inline size_t guest_read(struct peer *p, uint8_t *buf, size_t len)
{
	size_t have = 0;

	while (have < len && recv_for(p, 300)) {
		if (seen.len && seen.seq == p->ack) {
			size_t take = seen.len < len - have ? seen.len : len - have;

			memcpy(buf + have, seen.data, take);
			have += take;
			p->ack += (uint32_t)seen.len;
		}
		if (seen.len)
			send_ack(p);
	}
	return have;
}

static inline void expect_rst(const struct peer *p)
{
	recv_flag(p, TCP_RST);
	ck_assert_uint_eq(seen.seq, p->ack);
}

/* ---- handshakes ---- */

static const uint8_t syn_options[] = {2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7}; /* MSS 1460, SACK, 7 */

static inline struct peer new_peer(uint32_t remote, uint16_t remote_port)
{
	return (struct peer){
		.remote = remote,
		.remote_port = remote_port,
		.port = rig.next_port++,
		.seq = 0xfffff000u + rig.next_port, /* wraps soon */
		.window = 512,
		.our_wscale = 7,
	};
}

static inline void send_syn(struct peer *p)
{
	uint16_t window = p->window;

	p->window = 65535;
	send_raw(p,
		(struct out){.flags = TCP_SYN,
			.seq = p->seq,
			.options = syn_options,
			.options_len = 12});
	p->window = window;
	p->seq++;
}

static inline void take_syn(struct peer *p)
{
	p->ack = seen.seq + 1;
	p->wscale = seen.has_wscale ? seen.wscale : 0;
	p->mss = seen.mss;
	p->edge = seen.ack + seen.window;
}

/* Connects to the server on the host; its end in *host. */
static inline struct peer connect_to(uint16_t port, int listener, int *host)
{
	struct peer p = new_peer(GATEWAY, port);

	send_syn(&p);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_SYN | TCP_ACK);
	take_syn(&p);
	send_ack(&p);
	for (int i = 0; (*host = os_accept(listener, NULL, NULL)) < 0 && i < 1000; i++)
		rig_run(1);
	ck_assert_int_ge(*host, 0);
	rig_run(1);
	return p;
}

static inline struct peer connect_peer(int *host)
{
	return connect_to(rig.port, rig.listener, host);
}

/* ---- the host's side ---- */

/* Reads len bytes at the host's end, letting the worker run; returns how many came. */
static inline size_t host_read(int fd, void *buf, size_t len)
{
	size_t have = 0;

	for (int waited = 0; have < len && waited < 1000;) {
		ssize_t n = recv(fd, (uint8_t *)buf + have, len - have, 0);

		if (n == 0)
			break;
		if (n < 0) {
			rig_run(1);
			waited++;
			continue;
		}
		have += (size_t)n;
	}
	return have;
}

/* What the host's end reads next: 0 the end, a negative errno, or > 0 bytes. */
static inline ssize_t host_next(int fd)
{
	uint8_t byte;
	ssize_t n = -EAGAIN;

	for (int waited = 0; n == -EAGAIN && waited < 500; waited++) {
		rig_run(1);
		n = recv(fd, &byte, 1, 0);
		if (n < 0)
			n = -errno;
	}
	return n;
}

static inline void host_write(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = os_send(fd, p, len, 0);

		if (n < 0) {
			rig_run(1);
			continue;
		}
		p += n;
		len -= (size_t)n;
	}
}

static inline void host_reset(int fd)
{
	struct linger reset = {1, 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

/* Bytes whose place can be told. */
static inline const uint8_t *pattern(size_t len)
{
	static uint8_t bytes[8 << 20];

	ck_assert_uint_le(len, sizeof(bytes));
	if (!bytes[1]) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(i * 2654435761u >> 13);
		bytes[1] = 1;
	}
	return bytes;
}

#endif
