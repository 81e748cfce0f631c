/* SPDX-License-Identifier: MIT */
/*
 * The daemon, put together: what the API and attach.sock work on.
 *
 *	options → store → events → VMs (from the store) → supervisor (adopts) → api.sock, attach.sock
 */
#ifndef CTL_NETCTLD_H
#define CTL_NETCTLD_H

#include "ctl/events.h"
#include "ctl/options.h"
#include "ctl/vm.h"

struct api;
struct attach;
struct host_addrs;
struct resolv_conf;

struct netctld {
	struct options options;
	struct event_base *base;
	struct store *store;
	struct events *events;
	struct supervisor *supervisor;
	struct vms vms;
	struct host_addrs *host_addrs;
	struct resolv_conf *resolv_conf;
	struct api *api;
	struct api *metrics; /* on a port; or NULL */
	struct attach *attach;
	int lock;     /* of the state directory */
	bool serving; /* api.sock is open */
	bool stopping;
	int status; /* of the program */
	struct event *signals[3];
	struct event *patience; /* for a spawner before api.sock opens; for the end when stopping */
};

/* Runs until a signal. Returns the exit status. */
int netctld_run(struct netctld *daemon);

#endif
