/* SPDX-License-Identifier: MIT */
/* ARP. See arp.h. */
#include "dataplane/stack/arp.h"

#include <stdlib.h>

#define ARP_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp {
	struct output *out;
	const struct net *net;
	struct counters *counters;
};

/* As on the wire, for Ethernet and IPv4. */
struct arp_packet {
	be16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	be16_t op;
	struct mac sender_mac;
	be32_t sender;
	struct mac target_mac;
	be32_t target;
};

struct arp *arp_new(struct output *out, const struct net *net, struct counters *counters)
{
	struct arp *arp = calloc(1, sizeof(*arp));

	if (!arp)
		return NULL;
	arp->out = out;
	arp->net = net;
	arp->counters = counters;
	return arp;
}

void arp_free(struct arp *arp)
{
	free(arp);
}

static bool well_formed(const struct arp_packet *p)
{
	return be16_get(p->hardware) == ARP_ETHERNET && be16_get(p->protocol) == ETHERTYPE_IPV4 &&
		p->hardware_len == sizeof(struct mac) && p->protocol_len == sizeof(be32_t);
}

static bool send_packet(struct output *out, uint16_t op, const struct mac *to,
	const struct mac *target_mac, uint32_t target)
{
	struct arp_packet *p = (struct arp_packet *)output_begin_eth(
		out, to, ETHERTYPE_ARP, sizeof(*p));

	if (!p)
		return false;
	*p = (struct arp_packet){
		.hardware = be16(ARP_ETHERNET),
		.protocol = be16(ETHERTYPE_IPV4),
		.hardware_len = sizeof(struct mac),
		.protocol_len = sizeof(be32_t),
		.op = be16(op),
		.sender_mac = out->net->gateway_mac,
		.sender = be32(addr_v4(&out->net->gateway)),
		.target_mac = *target_mac,
		.target = be32(target),
	};
	output_end_eth(out, sizeof(*p));
	return true;
}

static void reply(struct arp *arp, const struct arp_packet *request)
{
	const struct mac *to = &request->sender_mac;

	if (send_packet(arp->out, ARP_REPLY, to, to, be32_get(request->sender)))
		counter_inc(arp->counters, COUNTER_ARP_REPLIES);
}

void arp_ask(struct output *out)
{
	static const struct mac everybody = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, nobody;

	send_packet(out, ARP_REQUEST, &everybody, &nobody, addr_v4(&out->net->guest));
}

void arp_input(struct arp *arp, const uint8_t *frame, size_t len)
{
	struct cursor c = {frame, len};
	const struct eth_hdr *eth = cursor_take(&c, ETH_HLEN);
	const struct arp_packet *p = cursor_take(&c, sizeof(*p));

	if (!eth || !p || !well_formed(p)) {
		counter_inc(arp->counters, COUNTER_DROP_MALFORMED);
		return;
	}
	if (be16_get(p->op) != ARP_REQUEST || (p->sender_mac.b[0] & 1))
		return;
	if (be32_get(p->target) != addr_v4(&arp->net->gateway))
		return;
	/* Somebody who claims our address is not told that it is ours: that would be a quarrel. */
	if (be32_get(p->sender) == addr_v4(&arp->net->gateway))
		return;
	reply(arp, p);
}
