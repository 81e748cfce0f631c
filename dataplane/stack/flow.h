/* SPDX-License-Identifier: MIT */
/*
 * A hash table of flows, keyed by (guest endpoint, remote endpoint) as the guest sees them, and a
 * dense slot number per flow for walking and for the flow memory.
 *
 * The hash is SipHash under a secret of the worker, since the guest chooses the keys. Entries are
 * embedded in their owners. The table grows with its load and never beyond `max` entries.
 */
#ifndef DATAPLANE_STACK_FLOW_H
#define DATAPLANE_STACK_FLOW_H

#include "common/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flow_key {
	struct endpoint guest;
	struct endpoint remote;
};

struct flow_entry {
	struct flow_entry *next; /* in its bucket */
	struct flow_key key;
	uint32_t hash;
	uint32_t slot;
};

struct flow_table;

struct flow_table *flow_table_new(size_t max);
void flow_table_free(struct flow_table *table); /* entries are their owners' */
size_t flow_table_count(const struct flow_table *table);

struct flow_entry *flow_table_find(const struct flow_table *table, const struct flow_key *key);
/* entry->key is set by the caller and not in the table yet. 0, -ENOSPC at max, -ENOMEM. */
int flow_table_insert(struct flow_table *table, struct flow_entry *entry);
void flow_table_remove(struct flow_table *table, struct flow_entry *entry);

/* The first entry at or after *slot, which then becomes the slot after it; NULL at the end.
 * Removing entries during a walk is allowed. */
struct flow_entry *flow_table_next(const struct flow_table *table, uint32_t *slot);

#define FLOW_VSOCK                                                                                 \
	40 /* a flow's proto: Linux's number of the family, in place of an IP protocol's */

/* One row of `netctl flows`, as every protocol reports it. Texts are static. */
struct flow_info {
	uint8_t proto; /* IP_PROTO_*, or FLOW_VSOCK */
	bool inbound;
	/* Of a vsock connection only the remote, where TSI leads to one; else unset, as the host may be. */
	struct flow_key key;
	uint32_t vsock_guest, vsock_host; /* its ports */
	struct endpoint host;
	const char *state;
	uint64_t age_ms, idle_ms;
	uint64_t tx_bytes, rx_bytes; /* from the guest, to the guest */
};

#endif
