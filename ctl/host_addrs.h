/* SPDX-License-Identifier: MIT */
/*
 * The addresses of the host's own interfaces, watched, for the policy `public`: no guest may reach
 * the host by an address that looks like anybody's.
 *
 * host_addrs_linux.c listens to rtnetlink(7); host_addrs_darwin.c looks every few seconds. Both read
 * them with getifaddrs(3).
 */
#ifndef CTL_HOST_ADDRS_H
#define CTL_HOST_ADDRS_H

#include "common/addr.h"

#include <stddef.h>

struct event_base;
struct host_addrs;

/* own: whole addresses (128 bits), sorted, each once. */
typedef void host_addrs_fn(void *arg, const struct prefix *own, size_t n);

/* Calls changed() once from inside, and then at each change. NULL without memory. */
struct host_addrs *host_addrs_new(struct event_base *base, host_addrs_fn *changed, void *arg);
void host_addrs_free(struct host_addrs *addrs);

/* The addresses now; the caller frees *own. Returns how many, or -errno. Shared by both systems. */
int host_addrs_read(struct prefix **own);

#endif
