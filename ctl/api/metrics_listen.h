/* SPDX-License-Identifier: MIT */
/*
 * GET /metrics on a loopback port, for a Prometheus that cannot read a unix socket: that route and
 * nothing else. Whoever has an account on the host can read there what VMs there are. A Host header
 * that is not of loopback is refused, so that no page of a browser reads it under a name of its own.
 */
#ifndef CTL_API_METRICS_LISTEN_H
#define CTL_API_METRICS_LISTEN_H

#include "ctl/api/server.h"

/* *out is NULL where no metrics-listen is set. 0, or -1 with err. */
int metrics_listen(struct netctld *daemon, struct api **out, struct error *err);

#endif
