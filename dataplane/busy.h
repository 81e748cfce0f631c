/* SPDX-License-Identifier: MIT */
/* What a snapshot of the VM would lose, as each module adds it up. */
#ifndef DATAPLANE_BUSY_H
#define DATAPLANE_BUSY_H

#include <stdint.h>

struct busy {
	uint32_t pending; /* handshakes and requests under way */
	uint32_t live;    /* connections */
	uint32_t queued;  /* packets for the guest, and flows whose bytes wait for their host */
};

#endif
