/* SPDX-License-Identifier: MIT */
/* What worker.c (put together) and worker_holds.c (what it holds) share. Nobody else includes this. */
#ifndef DATAPLANE_WORKER_INTERNAL_H
#define DATAPLANE_WORKER_INTERNAL_H

#include "dataplane/capture.h"
#include "dataplane/egress/dial.h"
#include "dataplane/egress/names.h"
#include "dataplane/limits.h"
#include "dataplane/stack/arp.h"
#include "dataplane/stack/classify.h"
#include "dataplane/stack/dhcp.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/flow_memory.h"
#include "dataplane/stack/fragment.h"
#include "dataplane/stack/icmp.h"
#include "dataplane/stack/output.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/stack/udp.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/worker.h"

struct worker {
	struct worker_events events;
	struct worker_config config; /* config.net is the live one: all modules point to it */
	bool configured;
	struct loop *loop;
	struct counters counters;
	struct limits limits;
	struct link *link;
	struct output out;
	struct flow_memory *memory;
	struct egress *egress;
	struct dns *dns;
	struct names names;
	struct icmp *icmp;
	struct udp *udp;
	struct tcp *tcp;
	struct arp *arp;
	struct dhcp *dhcp;
	struct fragments *fragments;
	struct classify classify;
	struct timer tell_timer; /* armed: netctld heard of the guest just now */
	bool mac_untold, lease_untold;
	struct task barrier; /* of a reset */
	unsigned barrier_passes;
	bool resetting;
	void (*reset_done)(void *arg);
	void *reset_arg;
	struct vsock *vsock;
	struct attaches *attaches;
	struct captures *captures;
};

#endif
