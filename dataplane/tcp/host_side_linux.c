/* SPDX-License-Identifier: MIT */
/* What Linux adds to a stream socket: a peek offset (TCP since 6.9), discarding, memory figures. */
#include "dataplane/tcp/host_side.h"

#include <linux/sock_diag.h>
#include <sys/socket.h>

size_t host_side_os_room(int fd)
{
	uint32_t mem[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(mem);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len) < 0)
		return 0;
	if (mem[SK_MEMINFO_WMEM_QUEUED] >= mem[SK_MEMINFO_SNDBUF])
		return 0;
	/* The kernel counts its own overhead, too: take a quarter off. */
	return (size_t)(mem[SK_MEMINFO_SNDBUF] - mem[SK_MEMINFO_WMEM_QUEUED]) / 4 * 3;
}

bool host_side_os_peek_offset(int fd, int offset)
{
	return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)) == 0;
}

bool host_side_os_can_discard(bool tcp)
{
	return tcp;
}

ssize_t host_side_os_discard(int fd, size_t len)
{
	return recv(fd, NULL, len, MSG_TRUNC);
}
