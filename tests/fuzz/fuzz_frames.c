/* SPDX-License-Identifier: MIT */
/*
 * A whole worker, and a guest that sends anything. Input is a series of commands, a byte each:
 * frames raw or behind headers that are right, segments of a TCP flow whose other side is a real
 * host socket, bytes and ends of that socket, time that passes. The policy allows nothing but the
 * gateway, where the one server is.
 *
 * What must hold: no crash, the loop goes on, and all flows and memory are gone once the link is.
 */
#include "common/os.h"
#include "common/policy_table.h"
#include "dataplane/stack/frame.h"
#include "dataplane/worker.h"
#include "tests/unit/rig_clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAME_MAX 2048u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* ---- the worker ---- */

static const uint8_t gateway_mac[] = {0x52, 0x55, 10, 0, 2, 2};
static const uint8_t guest_mac[] = {0x52, 0x54, 0, 0, 0, 1};

static struct worker *worker;
static int guest = -1, listener = -1, host = -1;
static uint16_t port;
/* The fuzzed connection as the guest sees it. */
static uint32_t our_seq, their_seq;

static void on_link(void *arg, bool up, enum link_kind kind, const char *text, bool refused)
{
	(void)arg;
	(void)up;
	(void)kind;
	(void)refused;
	if (!text)
		abort();
}

static void on_fd(void *arg, int fd)
{
	(void)arg;
	close(fd);
}

static void on_mac(void *arg, const struct mac *mac)
{
	(void)arg;
	if (mac->b[0] & 1)
		abort();
}

static void on_lease(void *arg, const struct worker_lease *lease)
{
	(void)arg;
	if (!memchr(lease->hostname, '\0', sizeof(lease->hostname)))
		abort();
}

static void on_names(void *arg, const struct worker_name *names, size_t count)
{
	(void)arg;
	(void)names;
	(void)count;
}

static void on_refused(void *arg, uint8_t proto, const struct endpoint *dst, int32_t by,
	const char *name, uint32_t count)
{
	(void)arg;
	(void)name;
	(void)proto;
	(void)dst;
	(void)by;
	(void)count;
}

static void stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(worker_loop(worker));
}

/* A few passes of the loop, without sleep. */
static void turn(int passes)
{
	static const struct timeval now;

	while (passes--) {
		event_base_once(loop_base(worker_loop(worker)), -1, EV_TIMEOUT, stop, NULL, &now);
		if (loop_run(worker_loop(worker)) < 0)
			abort();
	}
}

static void set_policy(void)
{
	struct policy_input in = {.default_allow = false, .default_by = POLICY_BY_DEFAULT};
	struct error err;
	uint8_t *blob;
	size_t len;

	if (policy_table_compile(&in, &blob, &len, NULL) < 0 ||
		worker_policy_set(worker, blob, len, 0, false, &err) < 0)
		abort();
	free(blob);
}

static int listen_on_loopback(uint16_t *where)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(in);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	if (bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(fd, 5) < 0 ||
		getsockname(fd, (struct sockaddr *)&in, &len) < 0)
		abort();
	*where = ntohs(in.sin_port);
	return fd;
}

static void start(void)
{
	struct worker_events events = {.link_changed = on_link,
		.link_returned = on_fd,
		.guest_seen = on_mac,
		.lease = on_lease,
		.names = on_names,
		.refused = on_refused};
	struct worker_config config = {.vm = "fuzz"};
	struct error err;

	config.net = (struct net){
		.gateway = addr_from_v4(0x0a000202),
		.guest = addr_from_v4(0x0a00020f),
		.mtu = 1500,
		.host_access = true,
		.hostname = "fuzz",
	};
	memcpy(config.net.gateway_mac.b, gateway_mac, 6);
	prefix_parse("10.0.2.0/24", false, &config.net.subnet);
	worker = worker_new(&events);
	if (!worker || worker_configure(worker, &config, -1, false, &err) < 0)
		abort();
	set_policy();
	listener = listen_on_loopback(&port);
}

static void attach(void)
{
	struct error err;
	int fds[2];

	if (os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0 ||
		worker_link_set(worker, LINK_KIND_STREAM, fds[0], false, 1500, &err) < 0)
		abort();
	guest = fds[1];
}

/* ---- what the guest hears: it follows its connection's numbers ---- */

static void hear(void)
{
	static uint8_t buf[1 << 18];
	ssize_t n = read(guest, buf, sizeof(buf));

	for (ssize_t at = 0; at + 4 < n;) {
		size_t len = load_be32(buf + at);
		const uint8_t *frame = buf + at + 4;
		const struct tcp_hdr *tcp = (const struct tcp_hdr *)(frame + ETH_HLEN + IP4_HLEN);

		if (len < ETH_HLEN || len > 65549)
			abort();
		at += 4 + (ssize_t)len;
		if (at > n || len < ETH_HLEN + IP4_HLEN + TCP_HLEN ||
			load_be16(frame + 12) != ETHERTYPE_IPV4 ||
			frame[ETH_HLEN + 9] != IP_PROTO_TCP || be16_get(tcp->src) != port)
			continue;
		if (tcp->flags & TCP_SYN)
			their_seq = be32_get(tcp->seq) + 1;
		else if (be32_get(tcp->seq) == their_seq)
			their_seq += (uint32_t)(len - ETH_HLEN - IP4_HLEN -
				(size_t)(tcp->offset >> 4) * 4);
	}
	if (host < 0)
		host = os_accept(listener, NULL, NULL);
}

/* ---- what the guest sends ---- */

struct input {
	const uint8_t *p;
	size_t left;
};

static uint8_t take(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static size_t take_bytes(struct input *in, uint8_t *to, size_t max)
{
	size_t n = take(in) * 8u;

	n = n < max ? n : max;
	n = n < in->left ? n : in->left;
	memcpy(to, in->p, n);
	in->p += n;
	in->left -= n;
	return n;
}

static void send_frame(uint8_t *record, size_t len)
{
	store_be32(record, (uint32_t)len);
	if (os_send(guest, record, len + 4, 0) < 0)
		turn(1);
}

static void send_ip(uint8_t *record, uint8_t proto, uint32_t dst, uint16_t frag, size_t l4_len)
{
	struct eth_hdr *eth = (struct eth_hdr *)(record + 4);
	struct ip4_hdr *ip = (struct ip4_hdr *)(record + 4 + ETH_HLEN);
	uint8_t *l4 = record + 4 + ETH_HLEN + IP4_HLEN;
	struct addr src = addr_from_v4(0x0a00020f), to = addr_from_v4(dst);
	size_t at = proto == IP_PROTO_TCP ? 16 : proto == IP_PROTO_UDP ? 6 : 2;
	uint64_t sum = proto == IP_PROTO_ICMP ? 0 : csum_pseudo(&src, &to, proto, l4_len);

	memcpy(eth->dst.b, gateway_mac, 6);
	memcpy(eth->src.b, guest_mac, 6);
	eth->type = be16(ETHERTYPE_IPV4);
	*ip = (struct ip4_hdr){
		.version_ihl = 0x45,
		.total_len = be16((uint16_t)(IP4_HLEN + l4_len)),
		.id = be16(frag >> 4),
		.frag = be16(frag),
		.ttl = 64,
		.proto = proto,
		.src = be32(0x0a00020f),
		.dst = be32(dst),
	};
	ip->csum = be16((uint16_t)~csum_fold(csum_add(0, ip, IP4_HLEN)));
	if (!frag && l4_len >= at + 2) {
		store_be16(l4 + at, 0);
		store_be16(l4 + at, (uint16_t)~csum_fold(csum_add(sum, l4, l4_len)));
	}
	send_frame(record, ETH_HLEN + IP4_HLEN + l4_len);
}

/* Any bytes behind a right IP header, to one of a few addresses. */
static void any_packet(struct input *in, uint8_t *record)
{
	static const uint32_t places[] = {
		0x0a000202, 0xffffffff, 0x0a0002ff, 0xc6336401, 0x7f000001, 0};
	static const uint8_t protos[] = {IP_PROTO_TCP, IP_PROTO_UDP, IP_PROTO_ICMP, 47};
	uint8_t how = take(in);
	uint16_t frag = how & 0x80 ? (uint16_t)(take(in) << 8 | take(in)) : 0;
	size_t n = take_bytes(in, record + 4 + ETH_HLEN + IP4_HLEN, 1480);

	send_ip(record, protos[how & 3], places[(how >> 2) % 6], frag, n);
}

/* A segment near the connection's numbers. */
static void segment(struct input *in, uint8_t *record)
{
	struct tcp_hdr *h = (struct tcp_hdr *)(record + 4 + ETH_HLEN + IP4_HLEN);
	uint8_t flags = take(in), near = take(in), scale = take(in);
	int32_t seq_off = (int8_t)take(in) * (1 << (scale & 15));
	int32_t ack_off = (int8_t)take(in) * (1 << (scale >> 4));
	size_t options = near & 8 ? 12 : 0, hlen = TCP_HLEN + options, n;

	for (size_t i = 0; i < options; i++)
		((uint8_t *)h)[TCP_HLEN + i] = take(in);
	n = take_bytes(in, (uint8_t *)h + hlen, 1400);
	*h = (struct tcp_hdr){
		.src = be16(50000 + (near & 1)),
		.dst = be16(near & 2 ? 53 : port),
		.seq = be32(our_seq + (uint32_t)seq_off),
		.ack = be32(their_seq + (uint32_t)ack_off),
		.offset = (uint8_t)(hlen / 4 << 4),
		.flags = flags,
		.window = be16((uint16_t)(near & 4 ? 0 : take(in) << 8 | 255)),
	};
	send_ip(record, IP_PROTO_TCP, 0x0a000202, 0, hlen + n);
	if (!seq_off)
		our_seq += (uint32_t)n + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
}

static void handshake(uint8_t *record)
{
	struct tcp_hdr *h = (struct tcp_hdr *)(record + 4 + ETH_HLEN + IP4_HLEN);

	for (int i = 0; i < 2; i++) {
		*h = (struct tcp_hdr){
			.src = be16(50000),
			.dst = be16(port),
			.seq = be32(our_seq),
			.ack = be32(their_seq),
			.offset = 8 << 4,
			.flags = i ? TCP_ACK : TCP_SYN,
			.window = be16(0xffff),
		};
		memcpy(h + 1, (uint8_t[]){2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7}, 12);
		send_ip(record, IP_PROTO_TCP, 0x0a000202, 0, TCP_HLEN + 12);
		our_seq += !i;
		turn(2);
		hear();
	}
}

static void host_does(struct input *in)
{
	static uint8_t bytes[1 << 16];
	uint8_t what = take(in);

	if (host < 0)
		return;
	if (what & 1 && os_send(host, bytes, (size_t)take(in) << 8 | 1, 0) < 0)
		return;
	if (what & 2 && recv(host, bytes, sizeof(bytes), 0) < 0)
		return;
	if (what & 4)
		shutdown(host, SHUT_WR);
	if (what & 8) {
		struct linger reset = {what >> 4 & 1, 0};

		setsockopt(host, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(host);
		host = -1;
	}
}

static void command(struct input *in)
{
	static uint8_t record[4 + FRAME_MAX];

	switch (take(in) % 8) {
	case 0:
		send_frame(record, take_bytes(in, record + 4, FRAME_MAX));
		break;
	case 1: /* another's frame: only its addresses are right */
		memcpy(record + 4, gateway_mac, 6);
		memcpy(record + 10, guest_mac, 6);
		send_frame(record, 12 + take_bytes(in, record + 16, FRAME_MAX - 12));
		break;
	case 2:
		any_packet(in, record);
		break;
	case 3:
		handshake(record);
		break;
	case 4:
	case 5:
		segment(in, record);
		break;
	case 6:
		host_does(in);
		break;
	default:
		rig_ahead_ns += (1ull << take(in) % 24) * 1000000;
		break;
	}
	turn(2);
	hear();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct input in = {bytes, size};
	uint32_t tcp, udp, icmp;

	if (!worker)
		start();
	attach();
	our_seq = 0xffffff00;
	while (in.left)
		command(&in);
	close(guest);
	turn(3);
	worker_flow_counts(worker, &tcp, &udp, &icmp);
	if (tcp || udp || icmp)
		abort();
	if (host >= 0)
		close(host);
	while ((host = os_accept(listener, NULL, NULL)) >= 0)
		close(host);
	host = -1;
	return 0;
}
