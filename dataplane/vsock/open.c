/* SPDX-License-Identifier: MIT */
/* Connections of the host's to the guest. See open.h. */
#include "dataplane/vsock/open.h"

#include "dataplane/vsock/mux.h"
#include "dataplane/vsock/transport_hybrid.h"
#include "dataplane/vsock/tsi.h"

#include <errno.h>
#include <unistd.h>

static enum tsi_target tsi_target_of(enum vsock_target_kind kind)
{
	switch (kind) {
	case VSOCK_TO_TSI_VM_PORT:
		return TSI_VM_PORT;
	case VSOCK_TO_TSI_BOUND_PORT:
		return TSI_BOUND_PORT;
	default:
		return TSI_FIRST;
	}
}

int vsock_open(const struct vsock_ways *ways, const struct vsock_target *target,
	const struct vsock_host *host, const struct endpoint *client,
	const struct vsock_conn_events *events)
{
	bool hybrid = vsock_hybrid_is_on(ways->hybrid);

	if (target->kind == VSOCK_TO_PORT && hybrid)
		return vsock_hybrid_open(ways->hybrid, target->port, host, events);
	if (target->kind == VSOCK_TO_PORT)
		return vsock_mux_connect(ways->mux, target->port, host, events);
	if (!hybrid && target->kind != VSOCK_TO_NOTHING)
		return tsi_open(
			ways->tsi, tsi_target_of(target->kind), target->port, host, client, events);
	close(host->fd);
	return -ENOTSUP;
}
