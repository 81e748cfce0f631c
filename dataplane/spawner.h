/* SPDX-License-Identifier: MIT */
/*
 * The spawner: netdp as it is started by a service manager or by netctld. It turns requests into
 * worker processes and knows which of them live; it never sees a packet, a policy or a guest.
 */
#ifndef DATAPLANE_SPAWNER_H
#define DATAPLANE_SPAWNER_H

#include <stdbool.h>

struct spawner_options {
	const char *listen; /* path to listen on, or NULL: listen_fd is listening already */
	int listen_fd;      /* or -1; owned */
	const char *group; /* whose members may connect too, beside our own uid and root; or NULL */
	bool owned;        /* a netctld started us: said in Hello; see spawner.c about the end */
	const char *log_level; /* handed on to workers, or NULL */
};

/* Runs until SIGTERM, SIGINT or a Shutdown. Returns main()'s exit status. */
int spawner_run(const struct spawner_options *options);

#endif
