/* SPDX-License-Identifier: MIT */
/*
 * Connecting on a guest's behalf to a service of the host, without blocking the loop.
 *
 * TCP connects under way and unix sockets whose backlog is full are given DIAL_MS; a guest's own
 * patience is 5 s.
 */
#ifndef CTL_DIAL_H
#define CTL_DIAL_H

#include "common/addr.h"
#include "ctl/place.h"

#include <stdbool.h>

#define DIAL_MS 4000

struct dial;
struct event_base;

struct dial_to {
	bool tcp;
	struct endpoint at; /* of tcp */
	const struct place
		*place; /* of unix: where `path` is a name; NULL: where it is our own path */
	const char *path;
};

/* fd: connected, non-blocking and the callee's, or a negative errno. */
typedef void dial_done_fn(void *arg, int fd);

/* Copies what it needs of `to`. done is called once, from the loop, and the dial is gone then. NULL
 * without memory. */
struct dial *dial_new(
	struct event_base *base, const struct dial_to *to, dial_done_fn *done, void *arg);
/* Before it is done: nobody is called. */
void dial_free(struct dial *dial);

#endif
