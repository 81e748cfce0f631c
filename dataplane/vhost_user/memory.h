/* SPDX-License-Identifier: MIT */
/*
 * The guest's memory as the VMM hands it over: regions of files, mapped here, readable and
 * writable, never executable.
 *
 * A region has three addresses: the guest's physical one (in descriptors), the VMM's own (ring
 * addresses are given so) and ours. Every access goes through a function here that checks address
 * and length against the table; what it gives is valid until the table changes.
 *
 * The bytes are shared with a hostile guest and change at any time: copy once, check the copy.
 * Where the file behind a region was cut short the region turns into zeros (fault.h) and
 * guest_memory_faulted() says so.
 *
 * Errors are negative errno. Integers are in host byte order.
 */
#ifndef DATAPLANE_VHOST_USER_MEMORY_H
#define DATAPLANE_VHOST_USER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As many as a session's copy for a successor has room for, a file descriptor each. */
#define GUEST_REGIONS_MAX 8

/* As it is on the wire of vhost-user. */
struct guest_range {
	uint64_t guest;  /* physical address of its first byte */
	uint64_t size;   /* bytes */
	uint64_t user;   /* the VMM's address of its first byte */
	uint64_t offset; /* of its first byte in the file */
};

struct guest_region {
	struct guest_range range;
	int fd;         /* owned */
	uint8_t *base;  /* our address of its first byte */
	void *map;      /* the mapping, which begins at a page */
	size_t map_len; /* bytes */
	int fault;      /* number of the watch for SIGBUS */
};

/* Zeroed is empty. */
struct guest_memory {
	unsigned count;
	struct guest_region region[GUEST_REGIONS_MAX];
};

/*
 * Maps one more region; takes fd in any case. -EINVAL: an empty range, one that wraps or that ends
 * behind the end of the file; -EEXIST: it overlaps another; -ENOSPC: too many; or why mmap failed.
 */
int guest_memory_add(struct guest_memory *memory, const struct guest_range *range, int fd);
/* Takes a region out of the table, still mapped. -ENOENT where none has just these addresses. */
int guest_memory_take(
	struct guest_memory *memory, const struct guest_range *range, struct guest_region *out);
void guest_region_free(struct guest_region *region);
void guest_memory_clear(struct guest_memory *memory);

/* A guest-physical address as ours; *len is cut to what lies in one piece. NULL: no memory. */
void *guest_memory_at(const struct guest_memory *memory, uint64_t guest, size_t *len);
/* An address of the VMM's with all of len bytes behind it in one region, or NULL. */
void *guest_memory_user(const struct guest_memory *memory, uint64_t user, size_t len);
/* Copies from guest-physical addresses, over regions' borders too. False: not all is memory. */
bool guest_memory_copy(const struct guest_memory *memory, uint64_t guest, void *to, size_t len);
/* Whether a region has turned into zeros. */
bool guest_memory_faulted(const struct guest_memory *memory);

#endif
