/* SPDX-License-Identifier: MIT */
/* Handed directories on macOS, which has neither O_PATH nor /proc. See place.h. */
#include "ctl/place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/ucred.h>
#include <sys/un.h>
#include <unistd.h>

#define WRITE 2u

int place_peer_groups(int client, struct place *place)
{
	struct xucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(client, SOL_LOCAL, LOCAL_PEERCRED, &cred, &len) < 0)
		return -errno;
	for (short i = 0; i < cred.cr_ngroups; i++)
		place->gids[place->n_gids++] = cred.cr_groups[i];
	return 0;
}

int place_path(int directory, char *buf, size_t len)
{
	char path[MAXPATHLEN];

	if (fcntl(directory, F_GETPATH, path) < 0)
		return -errno;
	if (strlen(path) >= len)
		return -ENAMETOOLONG;
	strcpy(buf, path);
	return 0;
}

int place_step(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* By the working directory, which nothing else of netctld uses: it has one thread. */
static int connect_in(int directory, const char *name, int fd)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int back = open(".", O_RDONLY | O_CLOEXEC), err = 0;

	if (back < 0)
		return -errno;
	strcpy(un.sun_path, name);
	if (fchdir(directory) < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		err = -errno;
	if (fchdir(back) < 0 && !err)
		err = -errno;
	close(back);
	return err;
}

int place_connect_at(const struct place *place, const char *name, int fd)
{
	struct stat st;

	if (strlen(name) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return -ENAMETOOLONG;
	if (fstatat(place->directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return place_allows(place, &st, WRITE) ? connect_in(place->directory, name, fd) : -EACCES;
}
