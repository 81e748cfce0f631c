/* SPDX-License-Identifier: MIT */
/*
 * The flow memory: a shared file that netctld holds too, in which a worker notes its live TCP
 * flows and vsock connections, so that its successor can reset them towards the guest. Nothing but
 * 4-tuples and pairs of ports.
 *
 * A successor treats it as untrusted hints: an entry can at worst make us send the guest an ACK or
 * an RST. A file of a former release has no place for vsock's, and then none are noted.
 */
#ifndef DATAPLANE_STACK_FLOW_MEMORY_H
#define DATAPLANE_STACK_FLOW_MEMORY_H

#include "dataplane/stack/flow.h"

#define FLOW_MEMORY_SLOTS 65536u
#define FLOW_MEMORY_ENTRY 40u
#define FLOW_MEMORY_VSOCK_SLOTS 10000u
#define FLOW_MEMORY_VSOCK_ENTRY 12u
/* The slots, a page for what a link must tell its successor; then vsock's slots. */
#define FLOW_MEMORY_SIZE_V1 ((size_t)FLOW_MEMORY_SLOTS * FLOW_MEMORY_ENTRY + 4096)
#define FLOW_MEMORY_SIZE                                                                           \
	(FLOW_MEMORY_SIZE_V1 + (size_t)FLOW_MEMORY_VSOCK_SLOTS * FLOW_MEMORY_VSOCK_ENTRY)

struct flow_memory;

/* Maps fd (owned by the callee from now on). NULL where it is too small or cannot be mapped. */
struct flow_memory *flow_memory_open(int fd);
void flow_memory_free(struct flow_memory *memory);
int flow_memory_fd(const struct flow_memory *memory);

/* All are no-ops for memory NULL or slots beyond the end. */
void flow_memory_set(struct flow_memory *memory, uint32_t slot, const struct flow_key *key);
void flow_memory_clear(struct flow_memory *memory, uint32_t slot);
/* Copies the entry at *slot or the next one set, moves *slot past it; false at the end. */
bool flow_memory_next(const struct flow_memory *memory, uint32_t *slot, struct flow_key *key);

/* The same for vsock's connections. */
struct flow_memory_pair {
	uint32_t guest_port, host_port;
};
void flow_memory_set_pair(
	struct flow_memory *memory, uint32_t slot, const struct flow_memory_pair *pair);
void flow_memory_clear_pair(struct flow_memory *memory, uint32_t slot);
/* False where the slot is not set. */
bool flow_memory_pair(
	const struct flow_memory *memory, uint32_t slot, struct flow_memory_pair *pair);

/* How long the record last written to a stream link is, its length field included, and how much
 * of it is still to be written; both 0 without a memory. */
struct flow_memory_tx {
	uint32_t left, size;
};
struct flow_memory_tx flow_memory_tx(const struct flow_memory *memory);
void flow_memory_set_tx(struct flow_memory *memory, struct flow_memory_tx tx);

#endif
