/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets of forwards: made, checked when handed over, and explained when they fail.
 *
 * TCP listeners have SO_REUSEADDR (a port in TIME_WAIT is no port in use), UDP sockets have not (two
 * would share a port). IPv6 sockets are IPV6_V6ONLY, so that each address is one socket. All are
 * non-blocking and close-on-exec.
 */
#ifndef CTL_LISTENER_H
#define CTL_LISTENER_H

#include "common/addr.h"

#include <stdbool.h>
#include <stddef.h>

enum listener_kind { LISTENER_TCP, LISTENER_UDP, LISTENER_UNIX };

/* Binds and listens; a port of 0 becomes the one that the system chose. fd or -errno. */
int listener_open(enum listener_kind kind, struct endpoint *at);

/*
 * Whether fd is such a socket, bound and (but for UDP) listening; *at becomes its address. Sets it
 * non-blocking. 0 or -errno: -ENOTSOCK, -EPROTOTYPE another kind of socket, -EINVAL not listening or
 * not bound.
 */
int listener_check(enum listener_kind kind, int fd, struct endpoint *at);

/* One line: "address in use", "ports below 1024 need root or CAP_NET_BIND_SERVICE", … */
const char *listener_error(int err, const struct endpoint *at);

/* What an fd is, for errors: "a TCP socket", "a unix stream socket that listens", "no socket", … */
const char *listener_describe(int fd, char *buf, size_t len);

#endif
