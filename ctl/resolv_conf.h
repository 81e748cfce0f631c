/* SPDX-License-Identifier: MIT */
/*
 * The host's DNS servers, as /etc/resolv.conf names them, watched: looked at every RESOLV_CONF_S
 * seconds, read again when its file is another one or its time or size changed. (A file that is
 * replaced by renaming, behind symbolic links, is what inotify is worst at.)
 */
#ifndef CTL_RESOLV_CONF_H
#define CTL_RESOLV_CONF_H

#include "common/addr.h"

#include <stddef.h>

#define RESOLV_CONF_S 2
#define RESOLV_CONF_MAX 8

struct event_base;
struct resolv_conf;

typedef void resolv_conf_fn(void *arg, const struct endpoint *servers, size_t n);

/* Calls changed() once from inside, and then at each change. NULL without memory. */
struct resolv_conf *resolv_conf_new(
	struct event_base *base, const char *path, resolv_conf_fn *changed, void *arg);
void resolv_conf_free(struct resolv_conf *conf);

/* The servers in a file, at most RESOLV_CONF_MAX; 127.0.0.1 where it names none, as resolv.conf(5)
 * says. Those with a scope ("fe80::1%eth0") are left out. */
size_t resolv_conf_read(const char *path, struct endpoint servers[RESOLV_CONF_MAX]);

#endif
