/* SPDX-License-Identifier: MIT */
/* The flow memory: 40 bytes a slot, used byte, ports, addresses; 12 of vsock's. See flow_memory.h. */
#include "dataplane/stack/flow_memory.h"

#include "common/be.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct flow_memory {
	int fd;
	uint8_t *map;
	size_t size;
};

/* An entry: 1 byte "in use", 3 unused, ports (big-endian), addresses. */
enum { AT_USED = 0, AT_GUEST_PORT = 4, AT_REMOTE_PORT = 6, AT_GUEST = 8, AT_REMOTE = 24 };
/* One of vsock's. */
enum { AT_PAIR_GUEST = 4, AT_PAIR_HOST = 8 };

struct flow_memory *flow_memory_open(int fd)
{
	struct flow_memory *m = calloc(1, sizeof(*m));
	/* Not fstat(3), which the sandbox may refuse: glibc makes a call by path of it. */
	off_t end = lseek(fd, 0, SEEK_END);

	if (!m || end < (off_t)FLOW_MEMORY_SIZE_V1)
		goto fail;
	m->size = end < (off_t)FLOW_MEMORY_SIZE ? FLOW_MEMORY_SIZE_V1 : FLOW_MEMORY_SIZE;
	m->map = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m->map == MAP_FAILED)
		goto fail;
	m->fd = fd;
	return m;
fail:
	free(m);
	close(fd);
	return NULL;
}

void flow_memory_free(struct flow_memory *m)
{
	if (!m)
		return;
	munmap(m->map, m->size);
	close(m->fd);
	free(m);
}

int flow_memory_fd(const struct flow_memory *m)
{
	return m->fd;
}

void flow_memory_set(struct flow_memory *m, uint32_t slot, const struct flow_key *key)
{
	uint8_t *p;

	if (!m || slot >= FLOW_MEMORY_SLOTS)
		return;
	p = m->map + (size_t)slot * FLOW_MEMORY_ENTRY;
	store_be16(p + AT_GUEST_PORT, key->guest.port);
	store_be16(p + AT_REMOTE_PORT, key->remote.port);
	memcpy(p + AT_GUEST, key->guest.addr.b, 16);
	memcpy(p + AT_REMOTE, key->remote.addr.b, 16);
	p[AT_USED] = 1;
}

void flow_memory_clear(struct flow_memory *m, uint32_t slot)
{
	if (m && slot < FLOW_MEMORY_SLOTS)
		m->map[(size_t)slot * FLOW_MEMORY_ENTRY + AT_USED] = 0;
}

bool flow_memory_next(const struct flow_memory *m, uint32_t *slot, struct flow_key *key)
{
	if (!m)
		return false;
	while (*slot < FLOW_MEMORY_SLOTS) {
		const uint8_t *p = m->map + (size_t)(*slot)++ * FLOW_MEMORY_ENTRY;

		if (p[AT_USED] != 1)
			continue;
		key->guest.port = load_be16(p + AT_GUEST_PORT);
		key->remote.port = load_be16(p + AT_REMOTE_PORT);
		memcpy(key->guest.addr.b, p + AT_GUEST, 16);
		memcpy(key->remote.addr.b, p + AT_REMOTE, 16);
		return true;
	}
	return false;
}

static uint8_t *pair_at(const struct flow_memory *m, uint32_t slot)
{
	if (!m || m->size < FLOW_MEMORY_SIZE || slot >= FLOW_MEMORY_VSOCK_SLOTS)
		return NULL;
	return m->map + FLOW_MEMORY_SIZE_V1 + (size_t)slot * FLOW_MEMORY_VSOCK_ENTRY;
}

void flow_memory_set_pair(struct flow_memory *m, uint32_t slot, const struct flow_memory_pair *pair)
{
	uint8_t *p = pair_at(m, slot);

	if (!p)
		return;
	store_be32(p + AT_PAIR_GUEST, pair->guest_port);
	store_be32(p + AT_PAIR_HOST, pair->host_port);
	p[AT_USED] = 1;
}

void flow_memory_clear_pair(struct flow_memory *m, uint32_t slot)
{
	uint8_t *p = pair_at(m, slot);

	if (p)
		p[AT_USED] = 0;
}

bool flow_memory_pair(const struct flow_memory *m, uint32_t slot, struct flow_memory_pair *pair)
{
	const uint8_t *p = pair_at(m, slot);

	if (!p || p[AT_USED] != 1)
		return false;
	pair->guest_port = load_be32(p + AT_PAIR_GUEST);
	pair->host_port = load_be32(p + AT_PAIR_HOST);
	return true;
}

static uint8_t *link_note(const struct flow_memory *m)
{
	return m->map + (size_t)FLOW_MEMORY_SLOTS * FLOW_MEMORY_ENTRY;
}

struct flow_memory_tx flow_memory_tx(const struct flow_memory *m)
{
	if (!m)
		return (struct flow_memory_tx){0};
	return (struct flow_memory_tx){load_be32(link_note(m)), load_be32(link_note(m) + 4)};
}

void flow_memory_set_tx(struct flow_memory *m, struct flow_memory_tx tx)
{
	if (!m)
		return;
	store_be32(link_note(m), tx.left);
	store_be32(link_note(m) + 4, tx.size);
}
