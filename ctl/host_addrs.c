/* SPDX-License-Identifier: MIT */
/* getifaddrs(3) as a sorted list. See host_addrs.h. */
#include "ctl/host_addrs.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int by_bytes(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;

	return memcmp(x->addr.b, y->addr.b, sizeof(x->addr.b));
}

static socklen_t length_of(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET     ? sizeof(struct sockaddr_in)
		: sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					    : 0;
}

int host_addrs_read(struct prefix **own)
{
	struct ifaddrs *all, *one;
	struct endpoint e;
	size_t room = 0, n = 0, kept = 0;

	if (getifaddrs(&all) < 0)
		return -errno;
	for (one = all; one; one = one->ifa_next)
		room++;
	*own = calloc(room + 1, sizeof(**own));
	for (one = all; *own && one; one = one->ifa_next) {
		if (!one->ifa_addr ||
			endpoint_from_sockaddr(one->ifa_addr, length_of(one->ifa_addr), &e) < 0)
			continue;
		(*own)[n].addr = e.addr;
		(*own)[n++].bits = 128;
	}
	freeifaddrs(all);
	if (!*own)
		return -ENOMEM;
	qsort(*own, n, sizeof(**own), by_bytes);
	for (size_t i = 0; i < n; i++) {
		if (kept == 0 || by_bytes(&(*own)[kept - 1], &(*own)[i]) != 0)
			(*own)[kept++] = (*own)[i];
	}
	return (int)kept;
}
