/* SPDX-License-Identifier: MIT */
/*
 * A network namespace for a test alone: loopback up, 198.51.100.1 and .2 on it as addresses that
 * are not loopback, and ping sockets allowed or not. Needs root, or user namespaces.
 */
#ifndef TESTS_UNIT_NETNS_LINUX_H
#define TESTS_UNIT_NETNS_LINUX_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static inline bool netns_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static inline bool netns_address(int fd, const char *name, const char *addr)
{
	struct ifreq ifr = {0};
	struct sockaddr_in sin = {.sin_family = AF_INET};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	inet_pton(AF_INET, addr, &sin.sin_addr);
	memcpy(&ifr.ifr_addr, &sin, sizeof(sin));
	if (ioctl(fd, SIOCSIFADDR, &ifr) < 0)
		return false;
	inet_pton(AF_INET, "255.255.255.255", &sin.sin_addr);
	memcpy(&ifr.ifr_netmask, &sin, sizeof(sin));
	return ioctl(fd, SIOCSIFNETMASK, &ifr) == 0;
}

static inline bool netns_addresses(void)
{
	struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &up) == 0 &&
		netns_address(fd, "lo:1", "198.51.100.1") &&
		netns_address(fd, "lo:2", "198.51.100.2");

	if (fd >= 0)
		close(fd);
	return ok;
}

static inline bool netns_unshare(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();

	if (unshare(CLONE_NEWNET) == 0)
		return true;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	snprintf(map, sizeof(map), "0 %u 1\n", uid);
	if (!netns_write("/proc/self/uid_map", map) || !netns_write("/proc/self/setgroups", "deny"))
		return false;
	snprintf(map, sizeof(map), "0 %u 1\n", gid);
	return netns_write("/proc/self/gid_map", map);
}

/* False where this system does not let us; the test then has nothing to say. */
static inline bool netns_enter(bool ping)
{
	if (!netns_unshare() || !netns_addresses()) {
		fprintf(stderr, "no network namespace here: %s\n", strerror(errno));
		return false;
	}
	return netns_write("/proc/sys/net/ipv4/ping_group_range", ping ? "0 0" : "1 0") || !ping;
}

#endif
