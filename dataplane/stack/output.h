/* SPDX-License-Identifier: MIT */
/*
 * Frames towards the guest: Ethernet and IP headers around what a protocol fills in.
 *
 *	uint8_t *l4 = output_begin(out, &ip, max);
 *	if (!l4) return;           // link down or queue full: counted there
 *	… fill l4 …
 *	output_end(out, l4_len, OUTPUT_CSUM_UDP);
 */
#ifndef DATAPLANE_STACK_OUTPUT_H
#define DATAPLANE_STACK_OUTPUT_H

#include "dataplane/link/link.h"
#include "dataplane/stack/frame.h"
#include "dataplane/stack/net.h"

struct output {
	struct link *link;
	const struct net *net;
	uint16_t next_id; /* IP identification of fragments */
	uint8_t *frame;   /* the reservation between begin and end */
};

struct output_ip {
	struct addr src, dst;
	uint8_t proto;
	uint8_t ttl; /* 0: 64 */
	uint8_t tos;
	uint16_t id;
	uint16_t frag; /* IP4_DF, IP4_MF and offset; host order */
};

/* Which checksum output_end() fills in or leaves to the link. The field must be zero. */
enum output_csum { OUTPUT_CSUM_NONE, OUTPUT_CSUM_UDP, OUTPUT_CSUM_TCP };

/* Largest L4 part of a packet that needs no fragmentation: the MTU less the IP header. */
size_t output_l4_max(const struct output *out);

uint8_t *output_begin(struct output *out, const struct output_ip *ip, size_t l4_max);
void output_end(struct output *out, size_t l4_len, enum output_csum csum);
/* TCP only, where the link has gso: payload beyond gso_size is cut by the guest's kernel. */
void output_end_gso(struct output *out, size_t l4_len, size_t hdr_len, uint16_t gso_size);

/* A bare frame (ARP): Ethernet header filled, returns what follows it. */
uint8_t *output_begin_eth(struct output *out, const struct mac *dst, uint16_t type, size_t max);
void output_end_eth(struct output *out, size_t len);

#endif
