/* SPDX-License-Identifier: MIT */
/* What worker_client.c (requests) and worker_answers.c (what a worker says) share. */
#ifndef CTL_WORKER_CLIENT_INTERNAL_H
#define CTL_WORKER_CLIENT_INTERNAL_H

#include "ctl/worker_client.h"
#include "proto/rpc.h"
#include "proto/wire.h"

struct worker_client {
	struct rpc *rpc;
	char vm[64];
	char release[32];
	char last_words[256]; /* why a worker that never worked gave up */
	const struct worker_client_events *events;
	void *events_arg;
	const struct worker_client_hooks *hooks;
	void *arg;
};

/* calloc() of at least one byte that aborts where there is no memory: a completion is owed. */
void *worker_client_alloc(size_t n, size_t size);

void worker_client_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds);

#endif
