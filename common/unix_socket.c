/* SPDX-License-Identifier: MIT */
/* Unix domain sockets by path. See unix_socket.h. */
#include "common/unix_socket.h"

#include "common/os.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

size_t unix_path_max(void)
{
	return sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
}

static int fill(const char *path, struct sockaddr_un *un)
{
	if (!*path || strlen(path) > unix_path_max())
		return -ENAMETOOLONG;
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	return 0;
}

/* 0 where the way is free (a dead socket was removed), else why it is not. */
static int clear_stale(const char *path, int type)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = unix_connect(path, type, 1000, false);
	if (fd >= 0) {
		close(fd);
		return -EADDRINUSE;
	}
	if (fd != -ECONNREFUSED)
		return fd == -ENOENT ? 0 : -EADDRINUSE;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int unix_listen(const char *path, int type, mode_t mode)
{
	struct sockaddr_un un;
	int fd, err;

	err = fill(path, &un);
	if (!err)
		err = clear_stale(path, type);
	if (err < 0)
		return err;
	fd = os_socket(AF_UNIX, type, 0, true);
	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	if ((mode && chmod(path, mode) < 0) || (type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0)) {
		err = -errno;
		close(fd);
		unlink(path);
		return err;
	}
	return fd;
}

int unix_connect(const char *path, int type, int timeout_ms, bool nonblock)
{
	struct sockaddr_un un;
	int fd, err, waited = 0;

	err = fill(path, &un);
	if (err < 0)
		return err;
	fd = os_socket(AF_UNIX, type, 0, true);
	if (fd < 0)
		return fd;
	/* A unix connect either stands at once or finds the backlog full (EAGAIN), which has no poll. */
	while (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		err = -errno;
		if ((err != -EAGAIN && err != -EINTR) || waited >= timeout_ms) {
			close(fd);
			return err == -EAGAIN ? -ETIMEDOUT : err;
		}
		poll(NULL, 0, 10);
		waited += 10;
	}
	if (!nonblock)
		os_set_nonblock(fd, false);
	return fd;
}
