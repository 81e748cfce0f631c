/* SPDX-License-Identifier: MIT */
/* The guest's memory. See memory.h. */
#include "dataplane/vhost_user/memory.h"

#include "dataplane/vhost_user/fault.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

static int check(const struct guest_memory *memory, const struct guest_range *r, int fd)
{
	off_t end;

	if (r->size == 0 || r->size > INT64_MAX || r->guest > UINT64_MAX - r->size ||
		r->user > UINT64_MAX - r->size || r->offset > INT64_MAX - r->size)
		return -EINVAL;
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_range *other = &memory->region[i].range;

		if (overlap(r->guest, r->size, other->guest, other->size) ||
			overlap(r->user, r->size, other->user, other->size))
			return -EEXIST;
	}
	if (memory->count == GUEST_REGIONS_MAX)
		return -ENOSPC;
	/* Not fstat(3), which the sandbox may refuse: glibc makes a call by path of it. */
	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	return (uint64_t)end < r->offset + r->size ? -EINVAL : 0;
}

int guest_memory_add(struct guest_memory *memory, const struct guest_range *range, int fd)
{
	struct guest_region region = {.range = *range, .fd = fd};
	uint64_t within = range->offset % (uint64_t)sysconf(_SC_PAGESIZE);
	int err = check(memory, range, fd);

	if (err < 0)
		goto fail;
	region.map_len = (size_t)(range->size + within);
	region.map = mmap(NULL, region.map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		fd, (off_t)(range->offset - within));
	if (region.map == MAP_FAILED) {
		err = -errno;
		goto fail;
	}
	region.base = (uint8_t *)region.map + within;
	region.fault = fault_watch(region.map, region.map_len);
	if (region.fault < 0) {
		err = region.fault;
		munmap(region.map, region.map_len);
		goto fail;
	}
	memory->region[memory->count++] = region;
	return 0;
fail:
	close(fd);
	return err;
}

int guest_memory_take(
	struct guest_memory *memory, const struct guest_range *range, struct guest_region *out)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_range *have = &memory->region[i].range;

		if (have->guest != range->guest || have->size != range->size ||
			have->user != range->user)
			continue;
		*out = memory->region[i];
		memory->region[i] = memory->region[--memory->count];
		return 0;
	}
	return -ENOENT;
}

void guest_region_free(struct guest_region *region)
{
	fault_unwatch(region->fault);
	munmap(region->map, region->map_len);
	close(region->fd);
}

void guest_memory_clear(struct guest_memory *memory)
{
	while (memory->count)
		guest_region_free(&memory->region[--memory->count]);
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t guest, size_t *len)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *region = &memory->region[i];
		uint64_t at = guest - region->range.guest;

		if (guest < region->range.guest || at >= region->range.size)
			continue;
		if (*len > region->range.size - at)
			*len = (size_t)(region->range.size - at);
		return region->base + at;
	}
	return NULL;
}

void *guest_memory_user(const struct guest_memory *memory, uint64_t user, size_t len)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *region = &memory->region[i];
		uint64_t at = user - region->range.user;

		if (user >= region->range.user && at < region->range.size)
			return len <= region->range.size - at ? region->base + at : NULL;
	}
	return NULL;
}

bool guest_memory_copy(const struct guest_memory *memory, uint64_t guest, void *to, size_t len)
{
	uint8_t *p = to;

	while (len) {
		size_t n = len;
		const void *from = guest_memory_at(memory, guest, &n);

		if (!from)
			return false;
		memcpy(p, from, n);
		p += n;
		guest += n;
		len -= n;
	}
	/* So that the compiler does not look at the guest's bytes again in place of the copy. */
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

bool guest_memory_faulted(const struct guest_memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++) {
		if (fault_happened(memory->region[i].fault))
			return true;
	}
	return false;
}
