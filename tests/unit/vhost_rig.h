/* SPDX-License-Identifier: MIT */
/*
 * The guest's side of a split virtqueue, built by hand in memory that the test shares with the code
 * under test: a file of 1 MiB in two regions, one right behind the other for the guest, but not for
 * the VMM.
 */
#ifndef TESTS_UNIT_VHOST_RIG_H
#define TESTS_UNIT_VHOST_RIG_H

#include "common/os.h"
#include "dataplane/vhost_user/virtq.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEM_SIZE (1u << 20)
#define MEM_HALF (MEM_SIZE / 2)
#define USER_LOW UINT64_C(0x700000000000)
#define USER_HIGH UINT64_C(0x600000000000)

/* Where things lie in the guest's memory; a guest address is an offset into the file, too. */
#define RING_AT(n) (0x10000u * ((n) + 1))
#define RING_AVAIL 0x4000u
#define RING_USED 0x6000u
#define DATA_AT 0x60000u /* 128 KiB here, and what follows behind the border */

static const struct guest_range mem_ranges[] = {
	{.guest = 0, .size = MEM_HALF, .user = USER_LOW, .offset = 0},
	{.guest = MEM_HALF, .size = MEM_HALF, .user = USER_HIGH, .offset = MEM_HALF},
};

struct guest {
	int fd;
	uint8_t *bytes;
};

static struct guest guest;

static inline int mem_file(size_t size)
{
	char path[] = "/tmp/netctl-vhost-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static inline void guest_setup(void)
{
	guest.fd = mem_file(MEM_SIZE);
	guest.bytes = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, guest.fd, 0);
	ck_assert_ptr_ne(guest.bytes, MAP_FAILED);
}

static inline void guest_teardown(void)
{
	munmap(guest.bytes, MEM_SIZE);
	close(guest.fd);
}

/* ---- the driver ---- */

struct driver {
	uint32_t size, at; /* descriptors; guest address of the ring */
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;
	uint16_t seen; /* used elements */
};

static inline struct driver driver_new(unsigned ring, uint32_t size)
{
	uint8_t *at = guest.bytes + RING_AT(ring);

	return (struct driver){
		.size = size,
		.at = RING_AT(ring),
		.desc = (struct virtq_desc *)at,
		.avail = (struct virtq_avail *)(at + RING_AVAIL),
		.used = (struct virtq_used *)(at + RING_USED),
	};
}

static inline struct virtq_config driver_config(const struct driver *d, uint64_t features)
{
	return (struct virtq_config){
		.size = d->size,
		.desc_user = USER_LOW + d->at,
		.avail_user = USER_LOW + d->at + RING_AVAIL,
		.used_user = USER_LOW + d->at + RING_USED,
		.features = features,
	};
}

static inline void driver_offer(struct driver *d, uint16_t head)
{
	d->avail->ring[d->avail->idx % d->size] = head;
	__atomic_store_n(&d->avail->idx, (uint16_t)(d->avail->idx + 1), __ATOMIC_RELEASE);
}

static inline uint16_t *driver_used_event(struct driver *d)
{
	return &d->avail->ring[d->size];
}

static inline uint16_t driver_avail_event(const struct driver *d)
{
	uint16_t v;

	memcpy(&v, &d->used->ring[d->size], sizeof(v));
	return v;
}

/* Whether the next used element is there and is this. */
static inline bool driver_got(struct driver *d, uint32_t head, uint32_t len)
{
	const struct virtq_used_elem *elem = &d->used->ring[d->seen % d->size];

	if (__atomic_load_n(&d->used->idx, __ATOMIC_ACQUIRE) == d->seen)
		return false;
	d->seen++;
	return elem->id == head && elem->len == len;
}

#endif
