/* SPDX-License-Identifier: MIT */
/*
 * A worker's stack without TCP behind a stream link whose other end the test holds: it sends
 * frames as a guest would and reads what the guest would see. Policy: everything, host_access on.
 *
 * The clock is the rig's: rig_sleep() lets time pass at once. Included by one file a program.
 */
#ifndef TESTS_UNIT_STACK_RIG_H
#define TESTS_UNIT_STACK_RIG_H

#include "common/os.h"
#include "common/policy_table.h"
#include "dataplane/egress/dial.h"
#include "dataplane/link/link.h"
#include "dataplane/stack/arp.h"
#include "dataplane/stack/classify.h"
#include "dataplane/stack/dhcp.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/fragment.h"
#include "dataplane/stack/icmp.h"
#include "dataplane/stack/udp.h"
#include "tests/unit/check_main.h"
#include "tests/unit/rig_clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define RIG_FRAME_MAX 70000

/* ---- the rig ---- */

struct rig {
	struct loop *loop;
	struct counters counters;
	struct link *link;
	struct net net;
	struct output out;
	struct egress *egress;
	struct dns *dns;
	struct icmp *icmp;
	struct udp *udp;
	struct arp *arp;
	struct dhcp *dhcp;
	struct fragments *fragments;
	struct classify classify;
	struct worker_lease lease; /* of the last event */
	unsigned leases;           /* events */
	int guest;                 /* the VMM's end of the link */
};

/* What the guest received: the frame and where its parts are. */
struct rig_frame {
	uint8_t bytes[RIG_FRAME_MAX];
	size_t len;
	const struct eth_hdr *eth;
	const struct ip4_hdr *ip;
	const uint8_t *l4;
	size_t l4_len;
	const struct udp_hdr *udp; /* l4, where it is that */
	const struct icmp_hdr *icmp;
	const uint8_t *data; /* behind the UDP or ICMP header */
	size_t data_len;
};

static struct rig rig;
static struct rig_frame rig_seen;

static const struct mac rig_guest_mac = {{0x52, 0x54, 0, 0, 0, 1}};
static const struct mac rig_gateway_mac = {{0x52, 0x55, 10, 0, 2, 2}};
static const struct mac rig_broadcast_mac = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

static inline struct addr rig_addr(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(text, &a), 0);
	return a;
}

static inline struct endpoint rig_at(const char *text)
{
	struct endpoint e;

	ck_assert_int_eq(endpoint_parse(text, &e), 0);
	return e;
}

static void rig_on_frame(void *arg, const uint8_t *frame, size_t len, const struct link_meta *meta)
{
	(void)arg;
	classify_frame(&rig.classify, frame, len, meta);
}

static void rig_on_changed(void *arg, bool up, const char *text)
{
	(void)arg;
	(void)up;
	(void)text;
}

static void rig_on_nothing(void *arg)
{
	(void)arg;
}

static void rig_on_fd(void *arg, int fd)
{
	(void)arg;
	close(fd);
}

static void rig_on_room(void *arg)
{
	(void)arg;
	udp_room(rig.udp);
}

static void rig_on_mac(void *arg, const struct mac *mac)
{
	(void)arg;
	(void)mac;
}

static void rig_on_lease(void *arg, const struct worker_lease *lease)
{
	(void)arg;
	rig.lease = *lease;
	rig.leases++;
}

static void rig_on_answer(void *arg, const struct dns_from *from, const uint8_t *msg, size_t len)
{
	(void)arg;
	udp_deliver(rig.udp, &from->asked, &from->guest, msg, len);
}

/* Allows everything, or nothing but the gateway. */
static inline void rig_policy(bool allow)
{
	struct policy_input in = {.default_allow = allow, .default_by = POLICY_BY_DEFAULT};
	uint8_t *blob;
	size_t len;

	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	ck_assert_int_eq(egress_policy_set(rig.egress, blob, len, 0), 0);
	free(blob);
}

static void rig_net(struct net *net)
{
	*net = (struct net){
		.gateway = rig_addr("10.0.2.2"),
		.guest = rig_addr("10.0.2.15"),
		.gateway_mac = rig_gateway_mac,
		.guest_mac = rig_broadcast_mac,
		.mtu = 1500,
		.host_access = true,
		.hostname = "web",
	};
	ck_assert_int_eq(prefix_parse("10.0.2.0/24", false, &net->subnet), 0);
}

static void rig_link(void)
{
	struct link_events events = {
		.frame = rig_on_frame,
		.changed = rig_on_changed,
		.refused = rig_on_nothing,
		.returned = rig_on_fd,
		.room = rig_on_room,
	};
	int fds[2];

	rig.link = link_new(rig.loop, &rig.counters, &events);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(link_attach(rig.link, LINK_KIND_STREAM, fds[0], false), 0);
	rig.guest = fds[1];
}

static inline void rig_setup(void)
{
	struct dns_events dns_events = {.answer = rig_on_answer};
	struct dhcp_events dhcp_events = {.lease = rig_on_lease};

	memset(&rig, 0, sizeof(rig));
	rig.loop = loop_new();
	rig_net(&rig.net);
	rig_link();
	rig.out = (struct output){.link = rig.link, .net = &rig.net};
	rig.egress = egress_new(rig.loop, &rig.counters, &rig.net);
	rig_policy(true);
	rig.dns = dns_new(rig.loop, rig.egress, &rig.counters, &rig.net, &dns_events);
	rig.icmp = icmp_new(rig.loop, &rig.out, &rig.net, &rig.counters, rig.egress);
	rig.udp = udp_new(
		rig.loop, &rig.out, &rig.net, &rig.counters, rig.egress, rig.dns, rig.icmp);
	rig.arp = arp_new(&rig.out, &rig.net, &rig.counters);
	rig.dhcp = dhcp_new(&rig.out, &rig.net, &rig.counters, &dhcp_events);
	rig.fragments = fragments_new(rig.loop, &rig.counters);
	ck_assert(rig.udp && rig.arp && rig.dhcp && rig.fragments);
	rig.classify = (struct classify){
		.net = &rig.net,
		.counters = &rig.counters,
		.arp = rig.arp,
		.dhcp = rig.dhcp,
		.fragments = rig.fragments,
		.icmp = rig.icmp,
		.udp = rig.udp,
		.guest_seen = rig_on_mac,
	};
}

static inline void rig_teardown(void)
{
	udp_free(rig.udp);
	icmp_free(rig.icmp);
	fragments_free(rig.fragments);
	arp_free(rig.arp);
	dhcp_free(rig.dhcp);
	dns_free(rig.dns);
	egress_free(rig.egress);
	link_free(rig.link);
	loop_free(rig.loop);
	close(rig.guest);
}

static void rig_stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(rig.loop);
}

/* Lets the loop run for so many real milliseconds. */
static inline void rig_run(int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	ck_assert_int_eq(
		event_base_once(loop_base(rig.loop), -1, EV_TIMEOUT, rig_stop, NULL, &tv), 0);
	ck_assert_int_eq(loop_run(rig.loop), 0);
}

/* Lets so many milliseconds of the rig's clock pass, with their timers. */
static inline void rig_sleep(uint64_t ms)
{
	rig_ahead_ns += ms * 1000000;
	rig_run(5);
}

static inline uint64_t rig_count(enum counter id)
{
	return rig.counters.value[id];
}

/* ---- what the guest sends ---- */

static inline void rig_send_frame(const void *frame, size_t len)
{
	uint8_t head[4];
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)frame, len}};

	store_be32(head, (uint32_t)len);
	ck_assert_int_eq(writev(rig.guest, iov, 2), (ssize_t)(len + sizeof(head)));
}

struct rig_ip {
	const char *src, *dst;
	uint8_t proto, ttl;
	uint16_t id, frag;
};

static inline void rig_send_ip(struct rig_ip ip, const void *l4, size_t len)
{
	static uint8_t frame[RIG_FRAME_MAX];
	struct eth_hdr *eth = (struct eth_hdr *)frame;
	struct ip4_hdr *h = (struct ip4_hdr *)(frame + ETH_HLEN);
	struct addr src = rig_addr(ip.src ? ip.src : "10.0.2.15"), dst = rig_addr(ip.dst);

	*eth = (struct eth_hdr){
		.dst = rig_gateway_mac, .src = rig_guest_mac, .type = be16(ETHERTYPE_IPV4)};
	*h = (struct ip4_hdr){
		.version_ihl = 0x45,
		.total_len = be16((uint16_t)(IP4_HLEN + len)),
		.id = be16(ip.id),
		.frag = be16(ip.frag),
		.ttl = ip.ttl ? ip.ttl : 64,
		.proto = ip.proto,
		.src = be32(addr_v4(&src)),
		.dst = be32(addr_v4(&dst)),
	};
	h->csum = be16((uint16_t)~csum_fold(csum_add(0, h, IP4_HLEN)));
	memcpy(frame + ETH_HLEN + IP4_HLEN, l4, len);
	rig_send_frame(frame, ETH_HLEN + IP4_HLEN + len);
}

/* A UDP header with its data and checksum, in a buffer that lasts until the next call. */
static inline const uint8_t *rig_udp(const char *src, const char *dst, uint16_t sport,
	uint16_t dport, const void *data, size_t len)
{
	static uint8_t l4[RIG_FRAME_MAX];
	struct udp_hdr *udp = (struct udp_hdr *)l4;
	struct addr from = rig_addr(src ? src : "10.0.2.15"), to = rig_addr(dst);
	uint64_t sum;

	*udp = (struct udp_hdr){
		.src = be16(sport),
		.dst = be16(dport),
		.len = be16((uint16_t)(UDP_HLEN + len)),
	};
	memcpy(l4 + UDP_HLEN, data, len);
	sum = csum_pseudo(&from, &to, IP_PROTO_UDP, UDP_HLEN + len);
	udp->csum = be16((uint16_t)~csum_fold(csum_add(sum, l4, UDP_HLEN + len)));
	return l4;
}

static inline void rig_send_udp(
	const char *dst, uint16_t sport, uint16_t dport, const void *data, size_t len)
{
	rig_send_ip((struct rig_ip){.dst = dst, .proto = IP_PROTO_UDP},
		rig_udp(NULL, dst, sport, dport, data, len), UDP_HLEN + len);
}

/* ---- what the guest receives ---- */

static inline bool rig_read_all(void *buf, size_t len, int timeout_ms)
{
	uint8_t *p = buf;
	int waited = 0;

	while (len) {
		ssize_t n = read(rig.guest, p, len);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (waited >= timeout_ms) {
			return false;
		} else {
			rig_run(2);
			waited += 2;
		}
	}
	return true;
}

static inline bool rig_checksum_ok(const struct rig_frame *f)
{
	struct addr src = addr_from_v4(be32_get(f->ip->src)),
		    dst = addr_from_v4(be32_get(f->ip->dst));
	uint64_t sum = 0;

	if (csum_fold(csum_add(0, f->ip, IP4_HLEN)) != 0xffff)
		return false;
	if (be16_get(f->ip->frag) & (IP4_MF | IP4_OFFSET))
		return true;
	if (f->ip->proto == IP_PROTO_UDP)
		sum = csum_pseudo(&src, &dst, IP_PROTO_UDP, f->l4_len);
	return csum_fold(csum_add(sum, f->l4, f->l4_len)) == 0xffff;
}

static inline bool rig_read_frame(struct rig_frame *f, int timeout_ms)
{
	uint8_t head[4];

	if (!rig_read_all(head, sizeof(head), timeout_ms))
		return false;
	f->len = load_be32(head);
	ck_assert_uint_le(f->len, sizeof(f->bytes));
	ck_assert(rig_read_all(f->bytes, f->len, 1000));
	f->eth = (const struct eth_hdr *)f->bytes;
	return true;
}

/* The gateway asks for our MAC until it has seen a frame of ours. */
static inline bool rig_is_arp_request(const struct rig_frame *f)
{
	return be16_get(f->eth->type) == ETHERTYPE_ARP && load_be16(f->bytes + ETH_HLEN + 6) == 1;
}

/* The next frame, or NULL where none comes in time. IP packets are checked for form. */
static inline const struct rig_frame *rig_recv_for(int timeout_ms)
{
	struct rig_frame *f = &rig_seen;

	do {
		if (!rig_read_frame(f, timeout_ms))
			return NULL;
	} while (rig_is_arp_request(f));
	if (be16_get(f->eth->type) != ETHERTYPE_IPV4)
		return f;
	f->ip = (const struct ip4_hdr *)(f->bytes + ETH_HLEN);
	f->l4 = f->bytes + ETH_HLEN + IP4_HLEN;
	f->l4_len = be16_get(f->ip->total_len) - IP4_HLEN;
	ck_assert_uint_eq(f->len, ETH_HLEN + IP4_HLEN + f->l4_len);
	f->udp = (const struct udp_hdr *)f->l4;
	f->icmp = (const struct icmp_hdr *)f->l4;
	f->data = f->l4 + UDP_HLEN;
	f->data_len = f->l4_len - UDP_HLEN;
	ck_assert(rig_checksum_ok(f));
	return f;
}

static inline const struct rig_frame *rig_recv(void)
{
	const struct rig_frame *f = rig_recv_for(2000);

	ck_assert_msg(f != NULL, "the guest received nothing");
	return f;
}

static inline void rig_nothing_comes(void)
{
	ck_assert_ptr_null(rig_recv_for(30));
}

/* ---- the host's side ---- */

/* A UDP socket of the host's; its port in *port, which 0 leaves to the kernel. */
static inline int rig_host_udp(const char *addr, uint16_t *port)
{
	struct endpoint e = {rig_addr(addr), *port};
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&e, &ss);
	int fd = os_socket(ss.ss_family, SOCK_DGRAM, 0, true);

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(bind(fd, (struct sockaddr *)&ss, len) == 0, "bind: %s", strerror(errno));
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	ck_assert_int_eq(endpoint_from_sockaddr((struct sockaddr *)&ss, len, &e), 0);
	*port = e.port;
	return fd;
}

/* A datagram that reached fd, -1 where none does. */
static inline ssize_t rig_host_recv(int fd, void *buf, size_t room, struct endpoint *from)
{
	for (int i = 0; i < 200; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);
		ssize_t n = recvfrom(fd, buf, room, 0, (struct sockaddr *)&ss, &len);

		if (n >= 0) {
			ck_assert_int_eq(
				endpoint_from_sockaddr((struct sockaddr *)&ss, len, from), 0);
			return n;
		}
		rig_run(2);
	}
	return -1;
}

static inline void rig_host_send(int fd, const struct endpoint *to, const void *data, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t ss_len = endpoint_to_sockaddr(to, &ss);

	ck_assert_int_eq(sendto(fd, data, len, 0, (struct sockaddr *)&ss, ss_len), (ssize_t)len);
}

#endif
