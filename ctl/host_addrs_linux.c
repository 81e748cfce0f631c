/* SPDX-License-Identifier: MIT */
/* Address changes by rtnetlink(7). See host_addrs.h. */
#include "ctl/host_addrs.h"

#include "common/log.h"
#include "common/os.h"

#include <event2/event.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SETTLE_US 50000 /* changes come in bursts */
#define POLL_S 30       /* should netlink be denied */

struct host_addrs {
	host_addrs_fn *changed;
	void *arg;
	int fd;
	struct event *readable;
	struct event *look;
	struct prefix *own;
	int n;
};

static void look_again(struct host_addrs *addrs)
{
	static const struct timeval slow = {.tv_sec = POLL_S};
	struct prefix *own = NULL;
	int n = host_addrs_read(&own);

	if (addrs->fd < 0)
		evtimer_add(addrs->look, &slow);
	if (n < 0) {
		log_warn("host", "addresses.unknown", "reason=%d", n);
		return;
	}
	if (addrs->own && n == addrs->n && memcmp(own, addrs->own, (size_t)n * sizeof(*own)) == 0) {
		free(own);
		return;
	}
	free(addrs->own);
	addrs->own = own;
	addrs->n = n;
	addrs->changed(addrs->arg, own, (size_t)n);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_again(arg);
}

/* What exactly changed does not matter, nor whether messages were lost. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval soon = {.tv_usec = SETTLE_US};
	struct host_addrs *addrs = arg;
	char scratch[8192];

	(void)what;
	for (int i = 0; i < 64 && recv(fd, scratch, sizeof(scratch), MSG_DONTWAIT) > 0; i++)
		;
	if (!evtimer_pending(addrs->look, NULL))
		evtimer_add(addrs->look, &soon);
}

static int open_netlink(void)
{
	struct sockaddr_nl at = {
		.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR};
	int fd = os_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, true);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

struct host_addrs *host_addrs_new(struct event_base *base, host_addrs_fn *changed, void *arg)
{
	struct host_addrs *addrs = calloc(1, sizeof(*addrs));

	if (!addrs)
		return NULL;
	addrs->changed = changed;
	addrs->arg = arg;
	addrs->fd = open_netlink();
	addrs->look = evtimer_new(base, on_look, addrs);
	if (addrs->fd >= 0) {
		addrs->readable = event_new(
			base, addrs->fd, EV_READ | EV_PERSIST, on_readable, addrs);
		event_add(addrs->readable, NULL);
	}
	look_again(addrs);
	return addrs;
}

void host_addrs_free(struct host_addrs *addrs)
{
	if (!addrs)
		return;
	if (addrs->readable)
		event_free(addrs->readable);
	if (addrs->fd >= 0)
		close(addrs->fd);
	event_free(addrs->look);
	free(addrs->own);
	free(addrs);
}
