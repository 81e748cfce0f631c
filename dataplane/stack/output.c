/* SPDX-License-Identifier: MIT */
/* Frames towards the guest. See output.h. */
#include "dataplane/stack/output.h"

#include "dataplane/stack/arp.h"

#include <string.h>

#define DEFAULT_TTL 64

size_t output_l4_max(const struct output *out)
{
	size_t by_mtu = out->net->mtu - IP4_HLEN;
	size_t by_link = link_caps(out->link)->max_frame - ETH_HLEN - IP4_HLEN;

	return by_mtu < by_link ? by_mtu : by_link;
}

uint8_t *output_begin_eth(struct output *out, const struct mac *dst, uint16_t type, size_t max)
{
	uint8_t *frame = link_reserve(out->link, ETH_HLEN + max);
	struct eth_hdr *eth = (struct eth_hdr *)frame;

	if (!frame)
		return NULL;
	eth->dst = *dst;
	eth->src = out->net->gateway_mac;
	eth->type = be16(type);
	out->frame = frame;
	return frame + ETH_HLEN;
}

void output_end_eth(struct output *out, size_t len)
{
	link_commit(out->link, ETH_HLEN + len, NULL);
}

static void fill_ip(uint8_t *p, const struct output_ip *ip)
{
	struct ip4_hdr *h = (struct ip4_hdr *)p;

	*h = (struct ip4_hdr){
		.version_ihl = 0x45,
		.tos = ip->tos,
		.id = be16(ip->id),
		.frag = be16(ip->frag),
		.ttl = ip->ttl ? ip->ttl : DEFAULT_TTL,
		.proto = ip->proto,
		.src = be32(addr_v4(&ip->src)),
		.dst = be32(addr_v4(&ip->dst)),
	};
}

uint8_t *output_begin(struct output *out, const struct output_ip *ip, size_t l4_max)
{
	uint8_t *p;

	/* A guest that has not spoken yet: kernels ignore most of what comes to the broadcast MAC, so
	 * make it speak. */
	if (!out->net->guest_mac_known)
		arp_ask(out);
	p = output_begin_eth(out, &out->net->guest_mac, ETHERTYPE_IPV4, IP4_HLEN + l4_max);
	if (!p)
		return NULL;
	fill_ip(p, ip);
	return p + IP4_HLEN;
}

static uint64_t pseudo(const struct ip4_hdr *h, size_t l4_len)
{
	uint8_t tail[4] = {0, h->proto};

	store_be16(tail + 2, (uint16_t)l4_len);
	return csum_add(csum_add(0, &h->src, 8), tail, sizeof(tail));
}

static void finish(struct output *out, size_t l4_len, size_t csum_offset, struct link_meta *meta)
{
	struct ip4_hdr *h = (struct ip4_hdr *)(out->frame + ETH_HLEN);
	uint8_t *l4 = out->frame + ETH_HLEN + IP4_HLEN;
	uint16_t sum;

	h->total_len = be16((uint16_t)(IP4_HLEN + l4_len));
	h->csum = be16((uint16_t)~csum_fold(csum_add(0, h, IP4_HLEN)));
	if (csum_offset && link_caps(out->link)->csum) {
		store_be16(l4 + csum_offset, csum_fold(pseudo(h, l4_len)));
		meta->csum_partial = true;
		meta->csum_start = ETH_HLEN + IP4_HLEN;
		meta->csum_offset = (uint16_t)csum_offset;
	} else if (csum_offset) {
		sum = (uint16_t)~csum_fold(csum_add(pseudo(h, l4_len), l4, l4_len));
		/* 0 says "no checksum" in UDP, and is the same number as 0xffff. */
		store_be16(l4 + csum_offset, sum ? sum : 0xffff);
	}
	link_commit(out->link, ETH_HLEN + IP4_HLEN + l4_len, meta);
}

void output_end(struct output *out, size_t l4_len, enum output_csum csum)
{
	static const size_t offsets[] = {
		[OUTPUT_CSUM_NONE] = 0,
		[OUTPUT_CSUM_UDP] = offsetof(struct udp_hdr, csum),
		[OUTPUT_CSUM_TCP] = offsetof(struct tcp_hdr, csum),
	};
	struct link_meta meta = {0};

	finish(out, l4_len, offsets[csum], &meta);
}

void output_end_gso(struct output *out, size_t l4_len, size_t hdr_len, uint16_t gso_size)
{
	struct link_meta meta = {0};

	if (l4_len > hdr_len + gso_size) {
		meta.gso_size = gso_size;
		meta.hdr_len = (uint16_t)(ETH_HLEN + IP4_HLEN + hdr_len);
	}
	finish(out, l4_len, offsetof(struct tcp_hdr, csum), &meta);
}
