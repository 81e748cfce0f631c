/* SPDX-License-Identifier: MIT */
/* Where each frame goes. See classify.h. */
#include "dataplane/stack/classify.h"

#include "dataplane/stack/arp.h"
#include "dataplane/stack/dhcp.h"
#include "dataplane/stack/fragment.h"
#include "dataplane/stack/frame.h"
#include "dataplane/stack/icmp.h"
#include "dataplane/stack/udp.h"
#include "dataplane/tcp/tcp.h"

#define DHCP_SERVER_PORT 67

static void drop(struct classify *c, enum counter why)
{
	counter_inc(c->counters, why);
}

static void learn(struct classify *c, const struct mac *mac)
{
	c->net->guest_mac = *mac;
	c->net->guest_mac_known = true;
	c->guest_seen(c->arg, mac);
}

/* Whether the frame is for us and from whom it should be. */
static bool check_macs(struct classify *c, const struct eth_hdr *eth)
{
	struct net *net = c->net;

	if (!(eth->dst.b[0] & 1) && !mac_eq(&eth->dst, &net->gateway_mac)) {
		drop(c, COUNTER_DROP_DST_MAC);
		return false;
	}
	if (eth->src.b[0] & 1 || (net->guest_mac_fixed && !mac_eq(&eth->src, &net->guest_mac))) {
		drop(c, COUNTER_DROP_SOURCE);
		return false;
	}
	if (!net->guest_mac_known)
		learn(c, &eth->src);
	return true;
}

static bool is_dhcp(const struct packet *p)
{
	return p->proto == IP_PROTO_UDP && p->l4_len >= UDP_HLEN && !(p->frag & IP4_OFFSET) &&
		load_be16(p->l4 + offsetof(struct udp_hdr, dst)) == DHCP_SERVER_PORT;
}

/* Takes the IP header apart; false where the packet was dropped and counted. */
static bool parse_ip4(
	struct classify *c, struct cursor body, const struct link_meta *meta, struct packet *p)
{
	const struct ip4_hdr *h = (const struct ip4_hdr *)body.p;
	size_t hlen, total;

	if (body.left < IP4_HLEN || h->version_ihl >> 4 != 4)
		goto malformed;
	hlen = (size_t)(h->version_ihl & 15) * 4;
	total = be16_get(h->total_len);
	if (hlen < IP4_HLEN || hlen > total || total > body.left)
		goto malformed;
	if (csum_fold(csum_add(0, h, hlen)) != 0xffff) {
		drop(c, COUNTER_DROP_CHECKSUM);
		return false;
	}
	*p = (struct packet){
		.src = addr_from_v4(be32_get(h->src)),
		.dst = addr_from_v4(be32_get(h->dst)),
		.proto = h->proto,
		.ttl = h->ttl,
		.tos = h->tos,
		.ip = body.p,
		.ip_hlen = hlen,
		.l4 = body.p + hlen,
		.l4_len = total - hlen,
		.id = be16_get(h->id),
		.frag = be16_get(h->frag),
		.csum_partial = meta->csum_partial,
	};
	return true;
malformed:
	drop(c, COUNTER_DROP_MALFORMED);
	return false;
}

/* Transport checksums: verified here, unless nobody has filled them in. */
static bool check_transport(const struct packet *p)
{
	uint64_t sum = 0;

	switch (p->proto) {
	case IP_PROTO_TCP:
		if (p->csum_partial)
			return true;
		break;
	case IP_PROTO_UDP:
		if (p->csum_partial || p->l4_len < UDP_HLEN ||
			load_be16(p->l4 + offsetof(struct udp_hdr, csum)) == 0)
			return true;
		break;
	case IP_PROTO_ICMP:
		return csum_fold(csum_add(0, p->l4, p->l4_len)) == 0xffff;
	default:
		return true;
	}
	sum = csum_pseudo(&p->src, &p->dst, p->proto, p->l4_len);
	return csum_fold(csum_add(sum, p->l4, p->l4_len)) == 0xffff;
}

static void dispatch(struct classify *c, const struct packet *p)
{
	switch (p->proto) {
	case IP_PROTO_TCP:
		tcp_input(c->tcp, p);
		break;
	case IP_PROTO_UDP:
		if (is_dhcp(p) &&
			(net_is_broadcast(c->net, &p->dst) || addr_eq(&p->dst, &c->net->gateway)))
			dhcp_input(c->dhcp, p);
		else
			udp_input(c->udp, p);
		break;
	case IP_PROTO_ICMP:
		icmp_input(c->icmp, p);
		break;
	default:
		drop(c, COUNTER_DROP_PROTOCOL);
		icmp_send_error(c->icmp, p, ICMP_UNREACHABLE, ICMP_CODE_PROTOCOL, 0);
		break;
	}
}

static void input_ip4(struct classify *c, const struct eth_hdr *eth, struct cursor body,
	const struct link_meta *meta)
{
	const struct packet *whole;
	struct packet p;

	if (!parse_ip4(c, body, meta, &p))
		return;
	/* A guest without an address has one thing to say. */
	if (!net_guest_source(c->net, &p.src) && !(addr_is_unspecified(&p.src) && is_dhcp(&p))) {
		drop(c, COUNTER_DROP_SOURCE);
		return;
	}
	if (addr_eq(&p.src, &c->net->guest) && !mac_eq(&eth->src, &c->net->guest_mac))
		learn(c, &eth->src);
	if (p.frag & (IP4_MF | IP4_OFFSET)) {
		whole = NULL;
		if (p.proto == IP_PROTO_UDP || p.proto == IP_PROTO_ICMP)
			whole = fragment_input(c->fragments, &p);
		else
			drop(c, COUNTER_DROP_PROTOCOL);
		if (whole)
			dispatch(c, whole);
		return;
	}
	if (!check_transport(&p)) {
		drop(c, COUNTER_DROP_CHECKSUM);
		return;
	}
	dispatch(c, &p);
}

void classify_frame(
	struct classify *c, const uint8_t *frame, size_t len, const struct link_meta *meta)
{
	struct cursor body = {frame, len};
	const struct eth_hdr *eth = cursor_take(&body, ETH_HLEN);

	if (!eth) {
		drop(c, COUNTER_DROP_FRAME_LENGTH);
		return;
	}
	if (!check_macs(c, eth))
		return;
	switch (be16_get(eth->type)) {
	case ETHERTYPE_IPV4:
		input_ip4(c, eth, body, meta);
		break;
	case ETHERTYPE_ARP:
		arp_input(c->arp, frame, len);
		break;
	default:
		drop(c, COUNTER_DROP_ETHERTYPE);
		break;
	}
}
