/* SPDX-License-Identifier: MIT */
/* Connections of the host's to the guest. See open.h. */
#include "dataplane/vsock/open.h"

#include "dataplane/vsock/mux.h"
#include "dataplane/vsock/transport_hybrid.h"
#include "dataplane/vsock/tsi.h"

#include <errno.h>
#include <unistd.h>

int vsock_open(const struct vsock_ways *ways, const struct vsock_target *target,
	const struct vsock_host *host, const struct endpoint *client,
	const struct vsock_conn_events *events)
{
	(void)client;
	bool hybrid = vsock_hybrid_is_on(ways->hybrid);

	if (target->kind == VSOCK_TO_PORT && hybrid)
		return vsock_hybrid_open(ways->hybrid, target->port, host, events);
	if (target->kind == VSOCK_TO_PORT)
		return vsock_mux_connect(ways->mux, target->port, host, events);
	close(host->fd);
	return -ENOTSUP;
}
