/* SPDX-License-Identifier: MIT */
/* Address changes by looking. See host_addrs.h. */
#include "ctl/host_addrs.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#define POLL_S 3

struct host_addrs {
	host_addrs_fn *changed;
	void *arg;
	struct event *look;
	struct prefix *own;
	int n;
};

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct host_addrs *addrs = arg;
	struct prefix *own = NULL;
	int n = host_addrs_read(&own);

	(void)fd;
	(void)what;
	if (n < 0)
		return;
	if (addrs->own && n == addrs->n && memcmp(own, addrs->own, (size_t)n * sizeof(*own)) == 0) {
		free(own);
		return;
	}
	free(addrs->own);
	addrs->own = own;
	addrs->n = n;
	addrs->changed(addrs->arg, own, (size_t)n);
}

struct host_addrs *host_addrs_new(struct event_base *base, host_addrs_fn *changed, void *arg)
{
	static const struct timeval often = {.tv_sec = POLL_S};
	struct host_addrs *addrs = calloc(1, sizeof(*addrs));

	if (!addrs)
		return NULL;
	addrs->changed = changed;
	addrs->arg = arg;
	addrs->look = event_new(base, -1, EV_PERSIST, on_look, addrs);
	event_add(addrs->look, &often);
	on_look(-1, 0, addrs);
	return addrs;
}

void host_addrs_free(struct host_addrs *addrs)
{
	if (!addrs)
		return;
	event_free(addrs->look);
	free(addrs->own);
	free(addrs);
}
