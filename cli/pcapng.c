/* SPDX-License-Identifier: MIT */
/* Blocks of pcapng. See pcapng.h. */
#include "cli/pcapng.h"

#include <errno.h>
#include <string.h>

#define HEAD_LEN 8u   /* type and length */
#define LENGTH_LEN 4u /* again, at the end */
#define MIN_LEN (HEAD_LEN + LENGTH_LEN)
#define STATISTICS_HLEN 20u
#define OPT_RECEIVED 4u
#define OPT_DROPPED 5u

static uint32_t load_u32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static int kind_of(uint32_t type, enum pcapng_kind *kind)
{
	switch (type) {
	case 0x0a0d0d0au:
		*kind = PCAPNG_SECTION;
		return 0;
	case 1:
		*kind = PCAPNG_INTERFACE;
		return 0;
	case 5:
		*kind = PCAPNG_STATISTICS;
		return 0;
	case 6:
		*kind = PCAPNG_PACKET;
		return 0;
	default:
		return -EPROTO;
	}
}

long pcapng_block(const uint8_t *data, size_t len, enum pcapng_kind *kind)
{
	uint32_t size;

	if (len < HEAD_LEN)
		return 0;
	size = load_u32(data + 4);
	if (kind_of(load_u32(data), kind) < 0 || size < MIN_LEN || size % 4 ||
		size > PCAPNG_BLOCK_MAX)
		return -EPROTO;
	if (len < size)
		return 0;
	return load_u32(data + size - LENGTH_LEN) == size ? (long)size : -EPROTO;
}

void pcapng_statistics(const uint8_t *block, size_t len, uint64_t *received, uint64_t *dropped)
{
	size_t at = STATISTICS_HLEN;

	while (at + 4 + LENGTH_LEN <= len) {
		uint16_t option[2]; /* code, length */
		size_t value = at + 4, next;

		memcpy(option, block + at, sizeof(option));
		next = value + (option[1] + 3u) / 4 * 4;
		if (next + LENGTH_LEN > len)
			return;
		if (option[0] == OPT_RECEIVED && option[1] == 8)
			memcpy(received, block + value, 8);
		if (option[0] == OPT_DROPPED && option[1] == 8)
			memcpy(dropped, block + value, 8);
		at = next;
	}
}
