/* SPDX-License-Identifier: MIT */
/*
 * Addresses of the proxies' host names, asked of the host's resolver and kept fresh.
 *
 * Each name is asked for when it is first wanted and every PROXY_NAMES_S seconds from then on. While
 * an answer fails to come the last one stays in force. libevent's own resolver asks (hosts(5), then
 * the servers of resolv.conf), so nothing here ever waits.
 */
#ifndef CTL_PROXY_NAMES_H
#define CTL_PROXY_NAMES_H

#include "common/addr.h"

#include <stdbool.h>
#include <stddef.h>

#define PROXY_NAMES_S 30
#define PROXY_ADDRS_MAX 8

struct event_base;
struct proxy_names;

/* changed() is called from the loop where a name's addresses are others than before. */
struct proxy_names *proxy_names_new(
	struct event_base *base, void (*changed)(void *arg, const char *name), void *arg);
void proxy_names_free(struct proxy_names *names); /* NULL is ignored */

/* The addresses of an address or name as known now, port 0; a name that is new is asked for. */
size_t proxy_names_get(
	struct proxy_names *names, const char *name, struct addr addrs[PROXY_ADDRS_MAX]);
/* The host has other DNS servers. */
void proxy_names_servers_changed(struct proxy_names *names);

#endif
