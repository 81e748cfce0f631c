/* SPDX-License-Identifier: MIT */
/*
 * The host's own proxies, for VMs with the proxy `host`: what netctld.conf says, key by key, else
 * what netctld's environment said when it started, as curl(1) reads it, else what the system's settings
 * say (system_proxy.h):
 *
 *	http-proxy    http_proxy (lower case only)    HTTP     flows to port 80
 *	https-proxy   https_proxy, HTTPS_PROXY        HTTPS    flows to port 443
 *	all-proxy     all_proxy, ALL_PROXY            SOCKS    all others, and those two where theirs
 *	                                                       is not set
 *	no-proxy      no_proxy, NO_PROXY              bypass   destinations that go straight there
 *
 * Where the system's settings are automatic (PAC, WPAD), which is not evaluated, and have no SOCKS proxy
 * besides, that is one that we cannot speak to.
 *
 * The file and the settings are watched: looked at every HOST_PROXY_S seconds. A file that has gone counts
 * as gone at the second look; one that cannot be read keeps what it said, and where it never could be
 * read, nothing goes straight there. Values have passwords in
 * them: they are wiped where they stood in the environment, which is not handed on to the programs that
 * netctld starts, and here when they go.
 */
#ifndef CTL_HOST_PROXY_H
#define CTL_HOST_PROXY_H

#include "ctl/proxy_config.h"

#include <stdbool.h>

#define HOST_PROXY_S 2

enum host_proxy_of { HOST_PROXY_HTTP, HOST_PROXY_HTTPS, HOST_PROXY_ALL, HOST_PROXY_KINDS };

struct host_proxy {
	bool set;    /* there is one for these flows */
	bool usable; /* and we can speak to it; else what goes by it is refused */
	struct proxy_url url;
	char password[PROXY_WORD_LEN];
};

struct event_base;
struct host_proxies;

/* Takes the environment's values; path is the file, or "". changed() is called from the loop. NULL
 * without memory. */
struct host_proxies *host_proxies_new(
	struct event_base *base, const char *path, void (*changed)(void *arg), void *arg);
void host_proxies_free(struct host_proxies *proxies); /* NULL is ignored */

/* HTTP and HTTPS fall back to ALL here. Valid until the next change. */
const struct host_proxy *host_proxies_of(
	const struct host_proxies *proxies, enum host_proxy_of which);
/* The list of exceptions, as it was written. */
const char *host_proxies_exceptions(const struct host_proxies *proxies);

/* Whether it is a key of the file that is read here. */
bool host_proxy_key(const char *key);

#endif
