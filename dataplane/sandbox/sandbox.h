/* SPDX-License-Identifier: MIT */
/*
 * What a worker gives up, and when.
 *
 * A worker calls sandbox_enter() once, after its first fds are open and before it reads a byte of
 * control or guest data. There is no way back. What it keeps afterwards, and what for:
 *
 *	the fds named in `keep`     the control connection, the lifeline to the spawner
 *	stderr                      log lines; stdin and stdout lead to /dev/null
 *	the host's network          TCP, UDP and ping sockets of IPv4 and IPv6 are the guest's traffic:
 *	                            socket, connect, bind (UDP source ports), send, receive, options
 *	accept, fds by SCM_RIGHTS   listening sockets, links and flow memory are handed to it
 *	a stream socketpair         TCP flows of the guest that end in the worker itself (DNS)
 *	epoll, eventfd, timerfd     the loop
 *	memory                      anonymous or of handed fds, never executable
 *	clocks, random bytes, exit
 *
 * What is gone: every file (an empty, read-only root where the level is "namespace"), every
 * capability and any way to gain one, all other fds, core dumps and ptrace by others, new processes
 * and threads, exec, signals to others, AF_UNIX, netlink, packet and raw sockets, listen. A system
 * call outside the list kills the process by SIGSYS.
 *
 * What a captured worker can still do is therefore: open TCP, UDP and ping sockets from the host's
 * network, whatever the policy says; use the fds it was handed (of its own VM) as it likes, which for
 * a dgram link includes sending datagrams to abstract unix addresses where the kernel has no
 * Landlock scopes (before Linux 6.12); lie to netctld.
 *
 * The process must have one thread. Its pid stays, so the spawner's waitpid(2) goes on working (this
 * is why there is no PID namespace: it would need another fork, and hides only what a process
 * without /proc, kill and ptrace cannot reach anyway).
 */
#ifndef DATAPLANE_SANDBOX_SANDBOX_H
#define DATAPLANE_SANDBOX_SANDBOX_H

#include "common/error.h"

#include <stddef.h>

/* From best to worst. Each includes the system call filter. */
enum sandbox_level {
	SANDBOX_NAMESPACE, /* "namespace": own user and mount namespace, empty root. macOS: its sandbox */
	SANDBOX_LANDLOCK, /* "landlock": the host's root is there, Landlock refuses each access */
	SANDBOX_WEAK,     /* "weak": only the filter, which knows no call that takes a path */
};

/* "namespace", "landlock" or "weak"; never NULL. */
const char *sandbox_level_name(enum sandbox_level level);
/* 0, or -EINVAL for another word. */
int sandbox_level_parse(const char *name, enum sandbox_level *out);

/*
 * Enters the best level there is and says which in *got. `least` is the worst that will do:
 * SANDBOX_LANDLOCK unless the operator permits SANDBOX_WEAK. The fds in keep[0..kept) stay open, with
 * stderr; every other is closed, so an event_base is made afterwards. RLIMIT_NOFILE stays as it is
 * (raise it before). Returns 0, or -1 with err filled; then the process is in a state between, and
 * must exit.
 */
int sandbox_enter(enum sandbox_level least, const int *keep, size_t kept, enum sandbox_level *got,
	struct error *err);

#endif
