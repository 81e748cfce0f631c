/* SPDX-License-Identifier: MIT */
/* The mux's connections in the flow memory. See notes.h. */
#include "dataplane/vsock/notes.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS FLOW_MEMORY_VSOCK_SLOTS

_Static_assert(SLOTS < VSOCK_NOTE_NONE, "a slot's number is 16 bits");

void vsock_notes_open(struct vsock_notes *n, struct flow_memory *memory, bool orphans)
{
	struct flow_memory_pair pair;

	vsock_notes_close(n);
	n->free = calloc(SLOTS, sizeof(*n->free));
	n->orphans = calloc(SLOTS, sizeof(*n->orphans));
	if (!memory || !n->free || !n->orphans) {
		vsock_notes_close(n);
		return;
	}
	n->memory = memory;
	/* Lowest slots on top. */
	for (uint32_t slot = SLOTS; slot-- > 0;) {
		bool set = flow_memory_pair(memory, slot, &pair);

		if (set && orphans) {
			n->orphans[n->n_orphans++] = (uint16_t)slot;
			continue;
		}
		if (set)
			flow_memory_clear_pair(memory, slot);
		n->free[n->n_free++] = (uint16_t)slot;
	}
}

void vsock_notes_close(struct vsock_notes *n)
{
	free(n->free);
	free(n->orphans);
	*n = (struct vsock_notes){0};
}

uint16_t vsock_notes_add(struct vsock_notes *n, uint32_t guest_port, uint32_t host_port)
{
	struct flow_memory_pair pair = {guest_port, host_port};
	uint16_t slot;

	if (!n->n_free)
		return VSOCK_NOTE_NONE;
	slot = n->free[--n->n_free];
	flow_memory_set_pair(n->memory, slot, &pair);
	return slot;
}

void vsock_notes_drop(struct vsock_notes *n, uint16_t note)
{
	if (note == VSOCK_NOTE_NONE || !n->memory)
		return;
	flow_memory_clear_pair(n->memory, note);
	n->free[n->n_free++] = note;
}

void vsock_notes_disown(struct vsock_notes *n, uint16_t note)
{
	if (note == VSOCK_NOTE_NONE || !n->memory)
		return;
	/* A slot is an orphan's at most once, so there is room once those that were told are gone. */
	n->n_orphans -= n->orphan_at;
	memmove(n->orphans, n->orphans + n->orphan_at, n->n_orphans * sizeof(*n->orphans));
	n->orphan_at = 0;
	n->orphans[n->n_orphans++] = note;
}

bool vsock_notes_orphan(struct vsock_notes *n, struct flow_memory_pair *pair)
{
	while (n->orphan_at < n->n_orphans) {
		if (flow_memory_pair(n->memory, n->orphans[n->orphan_at], pair))
			return true;
		/* Somebody else wrote to the file. */
		vsock_notes_told(n);
	}
	return false;
}

void vsock_notes_told(struct vsock_notes *n)
{
	vsock_notes_drop(n, n->orphans[n->orphan_at++]);
}

void vsock_notes_forget(struct vsock_notes *n)
{
	while (n->orphan_at < n->n_orphans)
		vsock_notes_told(n);
}
