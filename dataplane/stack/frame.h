/* SPDX-License-Identifier: MIT */
/*
 * Ethernet, IPv4 (RFC 791), UDP (RFC 768), TCP (RFC 9293) and ICMP (RFC 792) headers as they lie
 * on the wire, a bounded cursor to read them with, and the Internet checksum (RFC 1071).
 */
#ifndef DATAPLANE_STACK_FRAME_H
#define DATAPLANE_STACK_FRAME_H

#include "common/addr.h"
#include "common/be.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_IPV6 0x86dd

#define IP_PROTO_ICMP 1
#define IP_PROTO_TCP 6
#define IP_PROTO_UDP 17

struct eth_hdr {
	struct mac dst, src;
	be16_t type;
};

struct ip4_hdr {
	uint8_t version_ihl;
	uint8_t tos;
	be16_t total_len;
	be16_t id;
	be16_t frag; /* IP4_DF, IP4_MF, offset in units of 8 bytes */
	uint8_t ttl;
	uint8_t proto;
	be16_t csum;
	be32_t src, dst;
};

#define IP4_DF 0x4000
#define IP4_MF 0x2000
#define IP4_OFFSET 0x1fff

struct udp_hdr {
	be16_t src, dst;
	be16_t len; /* header included */
	be16_t csum;
};

struct tcp_hdr {
	be16_t src, dst;
	be32_t seq, ack;
	uint8_t offset; /* high nibble: header length in units of 4 bytes */
	uint8_t flags;
	be16_t window;
	be16_t csum;
	be16_t urgent;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

struct icmp_hdr {
	uint8_t type, code;
	be16_t csum;
	be16_t id, seq; /* echo; elsewhere unused or next-hop MTU in seq */
};

#define ETH_HLEN sizeof(struct eth_hdr)
#define IP4_HLEN sizeof(struct ip4_hdr)
#define UDP_HLEN sizeof(struct udp_hdr)
#define TCP_HLEN sizeof(struct tcp_hdr)
#define ICMP_HLEN sizeof(struct icmp_hdr)

/* What is left to read of some bytes. cursor_take() gives the next n, or NULL and moves nothing. */
struct cursor {
	const uint8_t *p;
	size_t left;
};

static inline const void *cursor_take(struct cursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (n > c->left)
		return NULL;
	c->p += n;
	c->left -= n;
	return p;
}

/*
 * A received IP packet, checked: lengths lie inside the frame, the IP header checksum is right,
 * src is a permitted source, and the transport checksum was verified (or is vouched for by the
 * link, or absent where UDP allows that). Pointers are into the frame and die with the call.
 */
struct packet {
	struct addr src, dst;
	uint8_t proto;
	uint8_t ttl, tos;
	const uint8_t *ip; /* the IP header */
	size_t ip_hlen;
	const uint8_t *l4; /* the transport header; for a fragment, its payload */
	size_t l4_len;
	uint16_t id;
	uint16_t frag;     /* as in the header, host order; whole packets have offset 0 and no MF */
	bool csum_partial; /* the guest left the transport checksum to the link (never on the wire) */
};

/* One's complement sum, not folded; start with 0 or a former result. Any length and alignment;
 * only the last chunk may be of odd length. */
uint64_t csum_add(uint64_t sum, const void *data, size_t len);
uint16_t csum_fold(uint64_t sum); /* the 16-bit sum, host order, not complemented */
/* The sum of the pseudo-header; proto and l4_len in host order. */
uint64_t csum_pseudo(const struct addr *src, const struct addr *dst, uint8_t proto, size_t l4_len);

#endif
