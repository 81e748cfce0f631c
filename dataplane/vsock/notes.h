/* SPDX-License-Identifier: MIT */
/*
 * The mux's connections as the flow memory knows them: their pairs of ports, and those of a dead
 * predecessor (orphans), of which the guest has to hear an RST. An orphan's note stays until that is
 * sent, so that it outlives more than one worker.
 *
 * A hint at most: whatever the pairs are, they cost the guest a few packets that it does not know.
 */
#ifndef DATAPLANE_VSOCK_NOTES_H
#define DATAPLANE_VSOCK_NOTES_H

#include "dataplane/stack/flow_memory.h"

#include <stddef.h>

#define VSOCK_NOTE_NONE UINT16_MAX

struct vsock_notes {
	struct flow_memory *memory; /* NULL: nothing is noted */
	uint16_t *free;             /* a stack of slots */
	size_t n_free;
	uint16_t *orphans; /* slots; those from orphan_at on are still to be told */
	size_t n_orphans, orphan_at;
};

/* Once. What lies there is a dead predecessor's if `orphans`, else forgotten. */
void vsock_notes_open(struct vsock_notes *notes, struct flow_memory *memory, bool orphans);
/* What is noted stays, for a successor. */
void vsock_notes_close(struct vsock_notes *notes);

/* The number of the connection's note from now on, maybe VSOCK_NOTE_NONE. */
uint16_t vsock_notes_add(struct vsock_notes *notes, uint32_t guest_port, uint32_t host_port);
void vsock_notes_drop(struct vsock_notes *notes, uint16_t note);

/* The connection's life has ended here, and not yet for the guest: its note is an orphan's now. */
void vsock_notes_disown(struct vsock_notes *notes, uint16_t note);

/* The next orphan to be told of, which vsock_notes_told() then strikes out; false: none is left. */
bool vsock_notes_orphan(struct vsock_notes *notes, struct flow_memory_pair *pair);
void vsock_notes_told(struct vsock_notes *notes);
/* The guest knows without being told: strikes out all of them. */
void vsock_notes_forget(struct vsock_notes *notes);

#endif
