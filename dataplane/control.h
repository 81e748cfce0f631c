/* SPDX-License-Identifier: MIT */
/*
 * The worker's end of the control protocol: netctld's requests become calls of worker.h, what the
 * worker reports becomes events.
 *
 * Connections. The worker is born with a control connection to the netctld that asked for it and a
 * lifeline to its spawner. When netctld goes the worker works on; its successor comes as a
 * ControlFresh over the lifeline, and replaces whatever connection there is. Events that find no
 * netctld wait in a bounded queue (the oldest are dropped and counted); what the guest is (its
 * MAC, lease) is in the Description that the new netctld asks for, its names are sent again, and so
 * is a dgram socket whose peer had gone.
 *
 * Without a lifeline nobody can ever connect again once netctld has gone too. Then the worker closes
 * its listeners at once, so that the ports are free for a successor, keeps the flows it has, and
 * exits after CONTROL_ORPHAN_MS.
 *
 * SIGTERM, SIGINT and a Shutdown (from either) end it orderly.
 */
#ifndef DATAPLANE_CONTROL_H
#define DATAPLANE_CONTROL_H

#include "dataplane/sandbox/sandbox.h"

#define CONTROL_ORPHAN_MS 600000

struct control_options {
	int control_fd; /* both owned */
	int lifeline_fd;
	const char *vm;           /* a label */
	enum sandbox_level least; /* the worst sandbox that will do */
};

/* A worker's whole life: the sandbox, then the loop until the end. Returns main()'s exit status. */
int control_run(const struct control_options *options);

#endif
