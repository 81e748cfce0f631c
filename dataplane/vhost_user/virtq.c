/* SPDX-License-Identifier: MIT */
/* A split virtqueue, the device's side. See virtq.h. */
#include "dataplane/vhost_user/virtq.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are read as they lie");
_Static_assert(sizeof(struct virtq_desc) == 16, "a descriptor is 16 bytes");
_Static_assert(sizeof(struct virtq_used_elem) == 8, "a used element is 8 bytes");

#define IDLE_PART 8 /* of the ring: so much of it the driver can do without for a while */

/* Ring fields that the driver reads or writes meanwhile. */
static uint16_t load(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static uint16_t *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->config.size];
}

static uint16_t *avail_event(const struct virtq *q)
{
	return (uint16_t *)&q->used->ring[q->config.size];
}

/* ---- starting ---- */

static void *part(const struct virtq *q, uint64_t user, size_t len, size_t align)
{
	void *p = guest_memory_user(q->memory, user, len);

	return (uintptr_t)p % align ? NULL : p;
}

int virtq_remap(struct virtq *q)
{
	uint32_t size = q->config.size;
	size_t event = sizeof(uint16_t);

	q->desc = part(q, q->config.desc_user, size * sizeof(*q->desc), sizeof(*q->desc));
	q->avail = part(q, q->config.avail_user,
		sizeof(*q->avail) + size * sizeof(*q->avail->ring) + event, event);
	q->used = part(q, q->config.used_user,
		sizeof(*q->used) + size * sizeof(*q->used->ring) + event, sizeof(uint32_t));
	if (q->desc && q->avail && q->used)
		return 0;
	q->broken = true;
	return -EINVAL;
}

int virtq_start(
	struct virtq *q, const struct guest_memory *memory, const struct virtq_config *config)
{
	uint32_t size = config->size;

	memset(q, 0, offsetof(struct virtq, table));
	q->broken = true;
	if (size == 0 || size > VIRTQ_SIZE_MAX || (size & (size - 1)) != 0)
		return -EINVAL;
	q->memory = memory;
	q->config = *config;
	q->event_idx = config->features >> VIRTIO_RING_F_EVENT_IDX & 1;
	q->indirect = config->features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	if (virtq_remap(q) < 0)
		return -EINVAL;
	q->broken = false;
	q->next_avail = config->next_avail;
	q->next_used = q->published = load(&q->used->idx);
	return 0;
}

int virtq_resume(
	struct virtq *q, const struct guest_memory *memory, const struct virtq_config *config)
{
	int err = virtq_start(q, memory, config);

	q->next_avail = q->next_used;
	return err;
}

/* ---- taking chains ---- */

/* Appends a descriptor's memory, in as many pieces as there are regions under it. */
static int add(const struct virtq *q, struct virtq_chain *chain, const struct virtq_desc *d)
{
	bool in = d->flags & VIRTQ_DESC_WRITE;
	uint64_t at = d->addr;
	size_t left = d->len;

	if (!in && chain->in_count)
		return -EBADMSG;
	while (left) {
		unsigned n = chain->out_count + chain->in_count;
		size_t len = left;
		void *p = guest_memory_at(q->memory, at, &len);

		if (!p || n == VIRTQ_PIECES_MAX)
			return -EBADMSG;
		chain->iov[n] = (struct iovec){p, len};
		if (in)
			chain->in_count++;
		else
			chain->out_count++;
		at += len;
		left -= len;
	}
	if (in)
		chain->in_len += d->len;
	else
		chain->out_len += d->len;
	/* What was written is told in 32 bits. */
	return chain->in_len + chain->out_len > UINT32_MAX ? -EBADMSG : 0;
}

/*
 * Follows a chain through a table of descriptors. 0: to its end; 1: to a descriptor that leads to
 * an indirect table, which is copied to *indirect (none is allowed where that is NULL).
 */
static int walk(const struct virtq *q, struct virtq_chain *chain, const struct virtq_desc *table,
	uint32_t count, uint32_t at, struct virtq_desc *indirect)
{
	for (uint32_t n = 0; n < count; n++) {
		struct virtq_desc d;
		int err;

		memcpy(&d, table + at, sizeof(d));
		/* From here on the compiler must not look at the guest's bytes again. */
		atomic_signal_fence(memory_order_seq_cst);
		if (d.flags & VIRTQ_DESC_INDIRECT) {
			if (!indirect || d.flags & VIRTQ_DESC_NEXT)
				return -EBADMSG;
			*indirect = d;
			return 1;
		}
		err = add(q, chain, &d);
		if (err < 0 || !(d.flags & VIRTQ_DESC_NEXT))
			return err;
		at = d.next;
		if (at >= count)
			return -EBADMSG;
	}
	/* More steps than descriptors: a loop. */
	return -EBADMSG;
}

static int fill(struct virtq *q, struct virtq_chain *chain)
{
	struct virtq_desc indirect = {0};
	int got = walk(
		q, chain, q->desc, q->config.size, chain->head, q->indirect ? &indirect : NULL);
	uint32_t count;

	if (got <= 0)
		return got;
	count = indirect.len / sizeof(struct virtq_desc);
	if (count == 0 || count > VIRTQ_SIZE_MAX || indirect.len % sizeof(struct virtq_desc) ||
		!guest_memory_copy(q->memory, indirect.addr, q->table, indirect.len))
		return -EBADMSG;
	return walk(q, chain, q->table, count, 0, NULL);
}

static int break_ring(struct virtq *q)
{
	q->broken = true;
	return -EPROTO;
}

uint16_t virtq_waiting(const struct virtq *q)
{
	return q->broken ? 0 : (uint16_t)(load(&q->avail->idx) - q->next_avail);
}

int virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
	uint16_t waiting;

	if (q->broken)
		return -EPROTO;
	waiting = (uint16_t)(load(&q->avail->idx) - q->next_avail);
	if (waiting == 0)
		return 0;
	/* Neither more than the ring has place for, nor more than it has descriptors. */
	if (waiting > q->config.size || q->held >= q->config.size)
		return break_ring(q);
	chain->head = load(&q->avail->ring[q->next_avail & (q->config.size - 1)]);
	if (chain->head >= q->config.size)
		return break_ring(q);
	chain->out_count = chain->in_count = 0;
	chain->out_len = chain->in_len = 0;
	q->next_avail++;
	q->held++;
	if (fill(q, chain) == 0)
		return 1;
	if (q->held > 1) {
		virtq_unpop(q, 1);
		return -EAGAIN;
	}
	q->refused++;
	virtq_push(q, chain->head, 0);
	return -EBADMSG;
}

void virtq_unpop(struct virtq *q, uint16_t n)
{
	if (q->broken || q->held < n)
		return;
	q->next_avail = (uint16_t)(q->next_avail - n);
	q->held -= n;
}

/* ---- giving them back ---- */

static void give_back(struct virtq *q, uint16_t head, uint32_t len)
{
	struct virtq_used_elem *elem;

	if (q->broken || q->held == 0)
		return;
	q->held--;
	elem = &q->used->ring[q->next_used++ & (q->config.size - 1)];
	elem->id = head;
	elem->len = len;
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t len)
{
	give_back(q, head, len);
	q->urgent = true;
}

void virtq_push_idly(struct virtq *q, uint16_t head)
{
	give_back(q, head, 0);
}

bool virtq_pushed(const struct virtq *q)
{
	return q->next_used != q->published;
}

bool virtq_may_wait(const struct virtq *q)
{
	uint16_t pushed = (uint16_t)(q->next_used - q->published);

	/* Without indirect tables a chain may be much of the ring. */
	return !q->urgent && q->indirect && pushed < q->config.size / IDLE_PART;
}

bool virtq_publish(struct virtq *q)
{
	uint16_t former = q->published;

	if (q->broken || q->next_used == former)
		return false;
	store(&q->used->idx, q->next_used);
	q->published = q->next_used;
	q->urgent = false;
	/* The index must be out before we look whether the driver sleeps. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_idx)
		return !(load(&q->avail->flags) & VIRTQ_AVAIL_NO_INTERRUPT);
	/* Whether used_event is one of those published just now. */
	return (uint16_t)(q->next_used - load(used_event(q)) - 1) <
		(uint16_t)(q->next_used - former);
}

void virtq_no_kicks(struct virtq *q)
{
	if (!q->broken && !q->event_idx)
		store(&q->used->flags, VIRTQ_USED_NO_NOTIFY);
}

bool virtq_await(struct virtq *q, uint16_t n)
{
	if (q->broken)
		return false;
	if (!q->event_idx)
		store(&q->used->flags, 0);
	else
		store(avail_event(q), (uint16_t)(q->next_avail + n));
	/* The wish must be out before we look whether it came too late. */
	atomic_thread_fence(memory_order_seq_cst);
	return virtq_waiting(q) > n;
}

/* ---- a chain's bytes ---- */

unsigned virtq_chain_pieces(
	const struct virtq_chain *chain, bool in, size_t offset, size_t len, struct iovec *to)
{
	const struct iovec *from = chain->iov + (in ? chain->out_count : 0);
	unsigned count = in ? chain->in_count : chain->out_count, n = 0;

	for (unsigned i = 0; i < count && len; i++) {
		size_t take;

		if (offset >= from[i].iov_len) {
			offset -= from[i].iov_len;
			continue;
		}
		take = from[i].iov_len - offset;
		take = take < len ? take : len;
		to[n++] = (struct iovec){(uint8_t *)from[i].iov_base + offset, take};
		offset = 0;
		len -= take;
	}
	return n;
}

size_t virtq_chain_read(const struct virtq_chain *chain, size_t offset, void *to, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < chain->out_count && done < len; i++) {
		const struct iovec *piece = &chain->iov[i];
		size_t take;

		if (offset >= piece->iov_len) {
			offset -= piece->iov_len;
			continue;
		}
		take = piece->iov_len - offset;
		take = take < len - done ? take : len - done;
		memcpy((uint8_t *)to + done, (const uint8_t *)piece->iov_base + offset, take);
		offset = 0;
		done += take;
	}
	/* So that the compiler does not look at the guest's bytes again in place of the copy. */
	atomic_signal_fence(memory_order_seq_cst);
	return done;
}

size_t virtq_chain_write(
	const struct virtq_chain *chain, size_t offset, const void *from, size_t len)
{
	const struct iovec *pieces = chain->iov + chain->out_count;
	size_t done = 0;

	for (unsigned i = 0; i < chain->in_count && done < len; i++) {
		size_t take;

		if (offset >= pieces[i].iov_len) {
			offset -= pieces[i].iov_len;
			continue;
		}
		take = pieces[i].iov_len - offset;
		take = take < len - done ? take : len - done;
		memcpy((uint8_t *)pieces[i].iov_base + offset, (const uint8_t *)from + done, take);
		offset = 0;
		done += take;
	}
	return done;
}
