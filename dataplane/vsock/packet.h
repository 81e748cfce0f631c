/* SPDX-License-Identifier: MIT */
/*
 * A virtio-vsock packet's header (virtio 1.2, section 5.10.6): 44 bytes, little-endian on the
 * wire, host byte order in struct vsock_packet. Pure translation: nothing is judged here.
 */
#ifndef DATAPLANE_VSOCK_PACKET_H
#define DATAPLANE_VSOCK_PACKET_H

#include <stdint.h>

#define VSOCK_HLEN 44u
#define VSOCK_PAYLOAD_MAX (64u << 10) /* of a packet, in either direction */
#define VSOCK_CID_HOST 2u

enum vsock_type { VSOCK_TYPE_STREAM = 1, VSOCK_TYPE_SEQPACKET = 2, VSOCK_TYPE_DGRAM = 3 };

enum vsock_op {
	VSOCK_OP_NONE, /* no packet of a connection: the stream transport's own */
	VSOCK_OP_REQUEST,
	VSOCK_OP_RESPONSE,
	VSOCK_OP_RST,
	VSOCK_OP_SHUTDOWN,
	VSOCK_OP_RW,
	VSOCK_OP_CREDIT_UPDATE,
	VSOCK_OP_CREDIT_REQUEST,
};

/* SHUTDOWN's flags: what its sender will not do any more. */
#define VSOCK_SHUT_RECEIVE 1u
#define VSOCK_SHUT_SEND 2u
#define VSOCK_SHUT_BOTH 3u

struct vsock_packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len; /* payload bytes behind the header */
	uint16_t type, op;
	uint32_t flags;
	uint32_t buf_alloc; /* the sender's receive buffer, bytes */
	uint32_t fwd_cnt;   /* bytes that it took out of it since the connection began, mod 2^32 */
};

static inline uint16_t vsock_load16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t vsock_load32(const uint8_t *p)
{
	return vsock_load16(p) | (uint32_t)vsock_load16(p + 2) << 16;
}

static inline uint64_t vsock_load64(const uint8_t *p)
{
	return vsock_load32(p) | (uint64_t)vsock_load32(p + 4) << 32;
}

static inline void vsock_store16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void vsock_store32(uint8_t *p, uint32_t v)
{
	vsock_store16(p, (uint16_t)v);
	vsock_store16(p + 2, (uint16_t)(v >> 16));
}

static inline void vsock_store64(uint8_t *p, uint64_t v)
{
	vsock_store32(p, (uint32_t)v);
	vsock_store32(p + 4, (uint32_t)(v >> 32));
}

/* From VSOCK_HLEN bytes. */
static inline void vsock_packet_read(struct vsock_packet *out, const uint8_t *p)
{
	*out = (struct vsock_packet){
		.src_cid = vsock_load64(p),
		.dst_cid = vsock_load64(p + 8),
		.src_port = vsock_load32(p + 16),
		.dst_port = vsock_load32(p + 20),
		.len = vsock_load32(p + 24),
		.type = vsock_load16(p + 28),
		.op = vsock_load16(p + 30),
		.flags = vsock_load32(p + 32),
		.buf_alloc = vsock_load32(p + 36),
		.fwd_cnt = vsock_load32(p + 40),
	};
}

static inline void vsock_packet_write(const struct vsock_packet *packet, uint8_t *p)
{
	vsock_store64(p, packet->src_cid);
	vsock_store64(p + 8, packet->dst_cid);
	vsock_store32(p + 16, packet->src_port);
	vsock_store32(p + 20, packet->dst_port);
	vsock_store32(p + 24, packet->len);
	vsock_store16(p + 28, packet->type);
	vsock_store16(p + 30, packet->op);
	vsock_store32(p + 32, packet->flags);
	vsock_store32(p + 36, packet->buf_alloc);
	vsock_store32(p + 40, packet->fwd_cnt);
}

#endif
