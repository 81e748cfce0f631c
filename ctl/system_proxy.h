/* SPDX-License-Identifier: MIT */
/*
 * The system's own settings of proxies, in the form that netctld.conf has: the last source of
 * host_proxy.h. macOS has some (System Settings, Network, Proxies, and configuration profiles); Linux
 * has none.
 *
 * Its HTTP proxy is the one for port 80, its HTTPS proxy, an HTTP proxy too, that for port 443, and its
 * SOCKS proxy, version 5, that for all others. Those for FTP and RTSP, and a user whose password is in
 * a keychain, are not read.
 */
#ifndef CTL_SYSTEM_PROXY_H
#define CTL_SYSTEM_PROXY_H

#include "ctl/host_proxy.h"
#include "ctl/proxy_config.h"

#include <stdbool.h>
#include <stddef.h>

#define SYSTEM_PROXY_URL_LEN (PROXY_HOST_LEN + 32)

struct system_proxy {
	char urls[HOST_PROXY_KINDS][SYSTEM_PROXY_URL_LEN]; /* "": none */
	bool automatic;                 /* by a PAC file, or by looking for one (WPAD) */
	char exceptions[NO_PROXY_LEN];  /* with commas between */
	size_t n_exceptions, n_unknown; /* in that list, and left out of it */
};

/* What is set now. False: there are no such settings, or they cannot be read now. */
bool system_proxy_read(struct system_proxy *settings);

/* ---- for who reads them, into zeros ---- */

/* One that is in use. What is no host, or no port, becomes a URL that does not parse: nobody goes
 * straight there for a slip of the pen. */
void system_proxy_put(
	struct system_proxy *settings, enum host_proxy_of which, const char *host, int port);
/* An item of the list of exceptions, in the system's form: also 169.254/16 and 192.168.*. What we have
 * no form for, or no room, is counted. */
void system_proxy_except(struct system_proxy *settings, const char *item);

bool system_proxy_equal(const struct system_proxy *a, const struct system_proxy *b);

#endif
