/* SPDX-License-Identifier: MIT */
/* Handed directories on Linux. See place.h. */
#include "ctl/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WRITE 2u

int place_peer_groups(int client, struct place *place)
{
	socklen_t len = sizeof(place->gids);

	if (getsockopt(client, SOL_SOCKET, SO_PEERGROUPS, place->gids, &len) < 0)
		return -errno;
	place->n_gids = len / sizeof(*place->gids);
	return 0;
}

int place_path(int directory, char *buf, size_t len)
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", directory);
	n = readlink(link, buf, len);
	if (n < 0 || (size_t)n >= len)
		return n < 0 ? -errno : -ENAMETOOLONG;
	buf[n] = '\0';
	return 0;
}

int place_step(int directory, const char *name)
{
	int fd = openat(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* What was looked at is what is connected to, whatever its name has come to mean. */
static int connect_to(int file, int fd)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "/proc/self/fd/%d", file);
	return connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0 ? -errno : 0;
}

int place_connect_at(const struct place *place, const char *name, int fd)
{
	int file = openat(place->directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), err;
	struct stat st;

	if (file < 0)
		return -errno;
	err = fstat(file, &st) < 0                 ? -errno
		: !S_ISSOCK(st.st_mode)            ? -ENOTSOCK
		: !place_allows(place, &st, WRITE) ? -EACCES
						   : connect_to(file, fd);
	close(file);
	return err;
}
