/* SPDX-License-Identifier: MIT */
/* The Internet checksum (RFC 1071). See frame.h. */
#include "dataplane/stack/frame.h"

#include <string.h>

/*
 * Sums 32-bit words in the machine's own byte order into 64 bits, which a megabyte cannot
 * overflow; one's complement addition commutes with swapping bytes, so folding swaps once.
 */
uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t a = 0, b = 0, c = 0, d = 0;

	for (; len >= 32; p += 32, len -= 32) {
		uint64_t w[4];

		memcpy(w, p, 32);
		a += (w[0] & UINT32_MAX) + (w[0] >> 32);
		b += (w[1] & UINT32_MAX) + (w[1] >> 32);
		c += (w[2] & UINT32_MAX) + (w[2] >> 32);
		d += (w[3] & UINT32_MAX) + (w[3] >> 32);
	}
	sum += a + b + c + d;
	for (; len >= 4; p += 4, len -= 4) {
		uint32_t w;

		memcpy(&w, p, 4);
		sum += w;
	}
	if (len) {
		uint32_t w = 0;

		memcpy(&w, p, len);
		sum += w;
	}
	return sum;
}

uint16_t csum_fold(uint64_t sum)
{
	uint8_t wire[2];
	uint16_t native;

	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	native = (uint16_t)((sum & 0xffff) + (sum >> 16));
	memcpy(wire, &native, 2);
	return load_be16(wire);
}

uint64_t csum_pseudo(const struct addr *src, const struct addr *dst, uint8_t proto, size_t l4_len)
{
	uint8_t tail[8] = {0};
	uint64_t sum;

	store_be32(tail, (uint32_t)l4_len);
	tail[7] = proto;
	if (addr_is_v4(src)) {
		sum = csum_add(0, src->b + 12, 4);
		sum = csum_add(sum, dst->b + 12, 4);
	} else {
		sum = csum_add(0, src->b, 16);
		sum = csum_add(sum, dst->b, 16);
	}
	return csum_add(sum, tail, sizeof(tail));
}
