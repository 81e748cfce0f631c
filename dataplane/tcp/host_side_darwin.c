/* SPDX-License-Identifier: MIT */
/* macOS has no peek offset and no discarding read. */
#include "dataplane/tcp/host_side.h"

#include <errno.h>
#include <sys/socket.h>

size_t host_side_os_room(int fd)
{
	int size = 0, used = 0;
	socklen_t len = sizeof(size);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len) < 0)
		return 0;
	len = sizeof(used);
	if (getsockopt(fd, SOL_SOCKET, SO_NWRITE, &used, &len) < 0 || used >= size)
		return 0;
	return (size_t)(size - used);
}

bool host_side_os_peek_offset(int fd, int offset)
{
	(void)fd;
	(void)offset;
	return false;
}

bool host_side_os_can_discard(bool tcp)
{
	(void)tcp;
	return false;
}

ssize_t host_side_os_discard(int fd, size_t len)
{
	(void)fd;
	(void)len;
	errno = ENOTSUP;
	return -1;
}
