/* SPDX-License-Identifier: MIT */
/*
 * Blocks of pcapng as they come from a worker, which nobody trusts: whole ones only, of the kinds
 * and lengths that ours have, so that a file is well formed wherever it is cut.
 */
#ifndef CLI_PCAPNG_H
#define CLI_PCAPNG_H

#include <stddef.h>
#include <stdint.h>

#define PCAPNG_BLOCK_MAX ((size_t)512 << 10)

enum pcapng_kind {
	PCAPNG_SECTION,
	PCAPNG_INTERFACE,
	PCAPNG_STATISTICS,
	PCAPNG_PACKET,
};

/* The length of the block that begins here, and its kind; 0 where it is not there in full, -EPROTO
 * for none of ours. */
long pcapng_block(const uint8_t *data, size_t len, enum pcapng_kind *kind);

/* What statistics say; each is left as it is where they do not say. */
void pcapng_statistics(const uint8_t *block, size_t len, uint64_t *received, uint64_t *dropped);

#endif
