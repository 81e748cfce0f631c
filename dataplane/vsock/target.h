/* SPDX-License-Identifier: MIT */
/* Where in the guest a connection of the host's goes by its vsock. */
#ifndef DATAPLANE_VSOCK_TARGET_H
#define DATAPLANE_VSOCK_TARGET_H

#include <stdint.h>

enum vsock_target_kind {
	VSOCK_TO_NOTHING, /* not by the vsock */
	VSOCK_TO_PORT,    /* the guest's vsock port `port` */
	VSOCK_TO_TSI_FIRST,
	VSOCK_TO_TSI_VM_PORT, /* tsi.h's, of `port` */
	VSOCK_TO_TSI_BOUND_PORT,
};

struct vsock_target {
	enum vsock_target_kind kind;
	uint32_t port;
};

#endif
