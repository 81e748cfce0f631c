/* SPDX-License-Identifier: MIT */
/*
 * A split virtqueue (virtio 1.2, section 2.7), from the device's side, over guest memory.
 *
 * The driver fills descriptors and writes the head of each chain into the avail ring. The device
 * takes chains out with virtq_pop(), gives each back with virtq_push(), and shows the driver what
 * it gave back, all at once, with virtq_publish(), which also says whether to interrupt.
 *
 * Each descriptor and each ring index is copied once, and only the copy is checked and used. A
 * chain that breaks the rules (a loop, more descriptors than its table has, an address that is no
 * memory, a readable part behind a writable one, an indirect table within another or not agreed
 * upon) is given back unused and counted; the ring goes on. Indices that make no sense break the
 * ring until it is started again, since nothing in it can be trusted any more.
 *
 * Chains that are given back in the order in which they were taken are all accounted for by
 * used->idx alone: who comes after a back-end that died goes on from there (virtq_resume()).
 *
 * A chain's pointers are valid until the memory table changes, that is until the callback in which
 * it was popped returns: a device keeps numbers of chains, never pointers. The bytes they point to
 * change at any time.
 *
 * Integers are little-endian in guest memory and so is every host that we run on.
 */
#ifndef DATAPLANE_VHOST_USER_VIRTQ_H
#define DATAPLANE_VHOST_USER_VIRTQ_H

#include "dataplane/vhost_user/memory.h"

#include <sys/uio.h>

#define VIRTQ_SIZE_MAX 1024   /* descriptors in a ring, or in an indirect table */
#define VIRTQ_PIECES_MAX 1024 /* of a chain, in our memory; IOV_MAX */

#define VIRTQ_DESC_NEXT 1
#define VIRTQ_DESC_WRITE 2 /* by the device */
#define VIRTQ_DESC_INDIRECT 4

#define VIRTQ_AVAIL_NO_INTERRUPT 1
#define VIRTQ_USED_NO_NOTIFY 1

#define VIRTIO_RING_F_INDIRECT_DESC 28
#define VIRTIO_RING_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32

/* As they lie in guest memory. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct virtq_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* size heads, then used_event */
};

struct virtq_used_elem {
	uint32_t id;
	uint32_t len;
};

struct virtq_used {
	uint16_t flags;
	uint16_t idx;
	struct virtq_used_elem ring[]; /* size of them, then avail_event, a uint16_t */
};

/* What a ring is started with. */
struct virtq_config {
	uint32_t size;      /* a power of two, at most VIRTQ_SIZE_MAX */
	uint64_t desc_user; /* the VMM's addresses */
	uint64_t avail_user;
	uint64_t used_user;
	uint16_t next_avail; /* index of the first chain to take */
	uint64_t features;   /* as agreed upon; bits VIRTIO_RING_F_* count */
};

struct virtq {
	const struct guest_memory *memory;
	struct virtq_config config;
	bool event_idx, indirect;
	bool broken; /* pop fails, push and publish do nothing */

	const struct virtq_desc *desc;
	struct virtq_avail *avail;
	struct virtq_used *used;

	uint16_t next_avail; /* of the next chain to take */
	uint16_t next_used;  /* of the next chain to give back */
	uint16_t published;  /* used->idx as we wrote it last */
	bool urgent;         /* the driver waits for some of what was pushed since */
	uint32_t held;       /* chains taken and not given back */
	uint64_t refused;    /* chains that broke the rules */

	struct virtq_desc table[VIRTQ_SIZE_MAX]; /* copy of an indirect table */
};

/* Pieces that the device reads (out) come first, then those it writes (in). */
struct virtq_chain {
	uint16_t head;
	unsigned out_count, in_count;
	size_t out_len, in_len; /* bytes */
	struct iovec iov[VIRTQ_PIECES_MAX];
};

/* Begins where used->idx stands. -EINVAL: a size or an address that cannot be. */
int virtq_start(
	struct virtq *q, const struct guest_memory *memory, const struct virtq_config *config);
/* Begins there with taking chains, too: where a back-end that died left off. */
int virtq_resume(
	struct virtq *q, const struct guest_memory *memory, const struct virtq_config *config);
/* Looks the addresses up again after the memory table or config.*_user changed. -EINVAL: broken. */
int virtq_remap(struct virtq *q);

/* Chains that wait to be taken, as far as the ring can be believed. */
uint16_t virtq_waiting(const struct virtq *q);
/*
 * Takes the next chain. 1: here it is; 0: none; -EBADMSG: there was one, but it broke the rules and
 * was given back (counts as work done); -EAGAIN: as before, but chains taken earlier are still
 * held, and are to be given back first; -EPROTO: the ring is broken.
 */
int virtq_pop(struct virtq *q, struct virtq_chain *chain);
/* Puts the n chains popped last back as the next to be taken; none of them was pushed. */
void virtq_unpop(struct virtq *q, uint16_t n);
/* Gives a chain back, of which the device wrote the first len bytes of the `in` part. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t len);
/* Likewise a chain that was only read, and whose return nobody in the guest waits for. */
void virtq_push_idly(struct virtq *q, uint16_t head);
/* Whether something was pushed and not yet published; and whether that may wait: none of it is
 * urgent, nor is it a good part of the ring. */
bool virtq_pushed(const struct virtq *q);
bool virtq_may_wait(const struct virtq *q);
/* Shows the driver what was pushed. True: it wants to be interrupted for it. */
bool virtq_publish(struct virtq *q);
/* Asks the driver not to kick (it may nevertheless). */
void virtq_no_kicks(struct virtq *q);
/*
 * Asks the driver to kick when more than n chains wait to be taken. True where they do already, for
 * which no kick need come.
 */
bool virtq_await(struct virtq *q, uint16_t n);

/* Copies up to len bytes from the out part at `offset`, or to the in part. Returns how many. */
size_t virtq_chain_read(const struct virtq_chain *chain, size_t offset, void *to, size_t len);
size_t virtq_chain_write(
	const struct virtq_chain *chain, size_t offset, const void *from, size_t len);
/*
 * The pieces of the out or in part from `offset` on, at most len bytes, for readv(2) and writev(2);
 * `to` has room for VIRTQ_PIECES_MAX. Returns how many.
 */
unsigned virtq_chain_pieces(
	const struct virtq_chain *chain, bool in, size_t offset, size_t len, struct iovec *to);

#endif
