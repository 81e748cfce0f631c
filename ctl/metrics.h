/* SPDX-License-Identifier: MIT */
/*
 * A scrape in Prometheus' text format, version 0.0.4: samples are added as they come, and printed
 * by family, VM and label. Families and the values of their labels are those of this program,
 * whatever a worker says, so that none can be made more: a counter's family is its name
 * ("link.rx.frames" is netctl_link_rx_frames_total), those of drops are one family by cause.
 */
#ifndef CTL_METRICS_H
#define CTL_METRICS_H

#include "ctl/worker_client.h"

#include <stddef.h>
#include <stdint.h>

struct evbuffer;
struct metrics;

enum metric {
	METRIC_BUILD,
	METRIC_VMS,
	METRIC_SPAWNER_UP,
	METRIC_EVENTS,
	/* a VM's */
	METRIC_LINK_CONNECTED,
	METRIC_VSOCK_CONNECTED,
	METRIC_FORWARDS,
	METRIC_WORKER_UP,
	METRIC_WORKER_ANSWERED,
	METRIC_WORKER_RESTARTS,
	METRIC_FLOWS,
	METRIC_DROPS,
	METRIC_FIXED /* how many; counters follow */
};

/* The labels of METRIC_FLOWS. */
enum metric_flows {
	METRIC_FLOWS_TCP,
	METRIC_FLOWS_UDP,
	METRIC_FLOWS_ICMP,
	METRIC_FLOWS_VSOCK,
	METRIC_FLOWS_TSI_LISTENER,
	METRIC_FLOWS_TSI_PROXY,
};

/* NULL without memory; then and where later memory is short samples are missing. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);

/* A VM whose samples follow: its number. Call in the order of names. */
unsigned metrics_vm(struct metrics *metrics, const char *name);
#define METRICS_NO_VM 0u

void metrics_add(
	struct metrics *metrics, enum metric metric, unsigned vm, unsigned label, uint64_t value);
/* All that a worker counts. */
void metrics_add_stats(struct metrics *metrics, unsigned vm, const struct worker_stats *stats);

void metrics_print(struct metrics *metrics, struct evbuffer *out);

#endif
