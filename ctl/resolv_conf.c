/* SPDX-License-Identifier: MIT */
/* resolv.conf(5). See resolv_conf.h. */
#include "ctl/resolv_conf.h"

#include "ctl/file_stamp.h"

#include <event2/event.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct resolv_conf {
	resolv_conf_fn *changed;
	void *arg;
	struct event *look;
	struct file_stamp seen;
	struct endpoint servers[RESOLV_CONF_MAX];
	size_t n;
	char path[PATH_MAX];
};

size_t resolv_conf_read(const char *path, struct endpoint servers[RESOLV_CONF_MAX])
{
	char line[512], word[64];
	FILE *f = fopen(path, "re");
	size_t n = 0;

	memset(servers, 0, RESOLV_CONF_MAX * sizeof(*servers));
	while (f && n < RESOLV_CONF_MAX && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "nameserver %63s", word) != 1)
			continue;
		if (addr_parse(word, &servers[n].addr) == 0)
			servers[n++].port = 53;
	}
	if (f)
		fclose(f);
	if (!n) {
		servers[0].addr = addr_from_v4(0x7f000001);
		servers[0].port = 53;
		n = 1;
	}
	return n;
}

static void look_again(struct resolv_conf *conf, bool first)
{
	struct endpoint servers[RESOLV_CONF_MAX];
	struct file_stamp now;
	size_t n;

	file_stamp_of(conf->path, &now); /* none is as one without servers */
	if (!first && file_stamp_equal(&now, &conf->seen))
		return;
	conf->seen = now;
	n = resolv_conf_read(conf->path, servers);
	if (!first && n == conf->n && memcmp(servers, conf->servers, sizeof(servers)) == 0)
		return;
	memcpy(conf->servers, servers, sizeof(servers));
	conf->n = n;
	conf->changed(conf->arg, conf->servers, n);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_again(arg, false);
}

struct resolv_conf *resolv_conf_new(
	struct event_base *base, const char *path, resolv_conf_fn *changed, void *arg)
{
	static const struct timeval often = {.tv_sec = RESOLV_CONF_S};
	struct resolv_conf *conf = calloc(1, sizeof(*conf));

	if (!conf)
		return NULL;
	conf->changed = changed;
	conf->arg = arg;
	snprintf(conf->path, sizeof(conf->path), "%s", path);
	conf->look = event_new(base, -1, EV_PERSIST, on_look, conf);
	event_add(conf->look, &often);
	look_again(conf, true);
	return conf;
}

void resolv_conf_free(struct resolv_conf *conf)
{
	if (!conf)
		return;
	event_free(conf->look);
	free(conf);
}
