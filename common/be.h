/* SPDX-License-Identifier: MIT */
/*
 * Big-endian integers as they lie on the wire.
 *
 * A be16_t or be32_t is a struct of bytes: it has no alignment, cannot be mixed up with a number
 * in host byte order, and may be laid over any position of a frame.
 */
#ifndef COMMON_BE_H
#define COMMON_BE_H

#include <stdint.h>

typedef struct {
	uint8_t b[2];
} be16_t;

typedef struct {
	uint8_t b[4];
} be32_t;

static inline uint16_t be16_get(be16_t v)
{
	return (uint16_t)(v.b[0] << 8 | v.b[1]);
}

static inline be16_t be16(uint16_t v)
{
	return (be16_t){{(uint8_t)(v >> 8), (uint8_t)v}};
}

static inline uint32_t be32_get(be32_t v)
{
	return (uint32_t)v.b[0] << 24 | (uint32_t)v.b[1] << 16 | (uint32_t)v.b[2] << 8 | v.b[3];
}

static inline be32_t be32(uint32_t v)
{
	return (be32_t){{(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}};
}

/* The same for a bare pointer, where no struct describes the bytes. */
static inline uint16_t load_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t load_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void store_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void store_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

#endif
