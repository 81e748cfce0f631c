/* SPDX-License-Identifier: MIT */
/*
 * Clients of listening sockets, TCP and unix: accepted while there is a place for them.
 *
 * Acceptors come in groups. A group has so many places for clients that are not served yet, whose
 * handshake with the guest is under way; its owner counts them. While none is free, and for a
 * moment when descriptors run out, nothing is accepted, and clients wait in the kernel's backlog.
 * The last EGRESS_RESERVED_FDS descriptors are for other things than clients.
 */
#ifndef DATAPLANE_ACCEPTOR_H
#define DATAPLANE_ACCEPTOR_H

#include "dataplane/counters.h"
#include "dataplane/loop.h"
#include "dataplane/stack/timer_wheel.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define ACCEPT_UNDER_WAY_MAX 256u

struct acceptor;

struct accept_group {
	struct loop *loop;
	struct counters *counters;
	enum counter no_fds;
	LIST_HEAD(, acceptor) acceptors;
	size_t under_way;   /* places taken, of ACCEPT_UNDER_WAY_MAX */
	struct timer pause; /* armed: there was no descriptor just now */
};

struct acceptor {
	LIST_ENTRY(acceptor) entry;
	struct accept_group *group;
	int fd; /* the listening socket */
	struct event *ready;
	bool paused;
	void *arg;
	/* A client: its socket, non-blocking, the receiver's, and its address. The acceptor may not
	 * be stopped in it. */
	void (*client)(void *arg, int fd, const struct sockaddr *sa, socklen_t len);
};

void accept_group_init(struct accept_group *group, struct loop *loop, struct counters *counters,
	enum counter no_fds);
void accept_group_close(struct accept_group *group); /* its acceptors were stopped before */
void accept_group_enter(struct accept_group *group); /* takes a place */
void accept_group_leave(struct accept_group *group); /* and gives it back */

/* Sets what is not set: client and arg are. Owns fd, also on failure. 0, -EINVAL: not a listening
 * socket, -ENOMEM. */
int acceptor_start(struct acceptor *acceptor, struct accept_group *group, int fd);
void acceptor_stop(struct acceptor *acceptor); /* closes fd */

#endif
