/* SPDX-License-Identifier: MIT */
/*
 * Guest memory of any content, with a ring at its start: descriptors, avail ring, used ring. The
 * first byte chooses features and the size of the ring, the second how many chains are offered.
 *
 * Whatever is taken out must lie in guest memory and be as long as it says.
 */
#include "common/os.h"
#include "dataplane/vhost_user/virtq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEM_SIZE 0x10000u
#define MEM_HALF (MEM_SIZE / 2)
#define USER UINT64_C(0x10000000)
#define AVAIL_AT 0x1000u
#define USED_AT 0x2000u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct guest_memory memory;
static struct virtq q;
static struct virtq_chain chain;

static void start(void)
{
	struct guest_range half = {0, MEM_HALF, USER, 0};
	int fd = os_shm_create("fuzz", MEM_SIZE);

	/* The halves touch each other for the guest only. */
	if (guest_memory_add(&memory, &half, os_dup(fd)) < 0)
		abort();
	half = (struct guest_range){MEM_HALF, MEM_HALF, USER << 1, MEM_HALF};
	if (guest_memory_add(&memory, &half, fd) < 0)
		abort();
}

static void check_piece(const struct iovec *piece)
{
	const uint8_t *p = piece->iov_base;

	for (unsigned i = 0; i < memory.count; i++) {
		const struct guest_region *r = &memory.region[i];

		if (p >= r->base && p < r->base + r->range.size &&
			piece->iov_len <= (size_t)(r->base + r->range.size - p))
			return;
	}
	abort();
}

static void check_chain(void)
{
	static uint8_t scratch[4096];
	static struct iovec pieces[VIRTQ_PIECES_MAX];
	size_t out = 0, in = 0, n;

	for (unsigned i = 0; i < chain.out_count + chain.in_count; i++) {
		check_piece(&chain.iov[i]);
		if (i < chain.out_count)
			out += chain.iov[i].iov_len;
		else
			in += chain.iov[i].iov_len;
	}
	if (out != chain.out_len || in != chain.in_len)
		abort();
	n = virtq_chain_read(&chain, 44, scratch, sizeof(scratch));
	if (n > sizeof(scratch) || n + 44 > (out > 44 ? out : 44))
		abort();
	virtq_chain_write(&chain, 0, "written by the device", 21);
	if (virtq_chain_pieces(&chain, true, 10, 100, pieces) > chain.in_count)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct virtq_config config = {
		.desc_user = USER, .avail_user = USER + AVAIL_AT, .used_user = USER + USED_AT};
	size_t low;

	if (size < 2)
		return 0;
	if (!memory.count)
		start();
	config.size = 1u << (bytes[0] & 7);
	config.features = (uint64_t)(bytes[0] >> 6) << VIRTIO_RING_F_INDIRECT_DESC;
	size = size - 2 < MEM_SIZE ? size - 2 : MEM_SIZE;
	low = size < MEM_HALF ? size : MEM_HALF;
	memset(memory.region[0].base, 0, MEM_HALF);
	memcpy(memory.region[0].base, bytes + 2, low);
	memcpy(memory.region[1].base, bytes + 2 + low, size - low);
	if (virtq_start(&q, &memory, &config) < 0)
		abort();
	q.avail->idx = bytes[1];
	for (int i = 0; i < 256; i++) {
		int got = virtq_pop(&q, &chain);

		if (got == 0 || got == -EPROTO)
			break;
		if (got < 0)
			continue;
		check_chain();
		virtq_push(&q, chain.head, (uint32_t)chain.in_len);
	}
	virtq_publish(&q);
	virtq_await(&q, 0);
	return 0;
}
