/* SPDX-License-Identifier: MIT */
/* Options of spliced TCP sockets. See tcp_socket.h. */
#include "common/tcp_socket.h"

#include "common/os.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEPALIVE_IDLE_S 15

void tcp_socket_splice(int fd)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

void tcp_socket_keepalive(int fd)
{
	int on = 1, each_s = 5, probes = 3;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	os_tcp_keepidle(fd, KEEPALIVE_IDLE_S);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each_s, sizeof(each_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

void tcp_socket_close_orderly(int fd)
{
	struct linger off = {0, 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
	close(fd);
}
