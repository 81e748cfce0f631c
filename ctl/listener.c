/* SPDX-License-Identifier: MIT */
/* Listening sockets. See listener.h. */
#include "ctl/listener.h"

#include "common/error.h"
#include "common/os.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static int bind_socket(int fd, enum listener_kind kind, struct endpoint *at)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(at, &ss);
	int on = 1;

	if (kind == LISTENER_TCP && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (ss.ss_family == AF_INET6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&ss, len) < 0)
		return -errno;
	if (kind == LISTENER_TCP && listen(fd, SOMAXCONN) < 0)
		return -errno;
	len = sizeof(ss);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	return endpoint_from_sockaddr((struct sockaddr *)&ss, len, at);
}

int listener_open(enum listener_kind kind, struct endpoint *at)
{
	int type = kind == LISTENER_TCP ? SOCK_STREAM : SOCK_DGRAM;
	int fd = os_socket(addr_family(&at->addr), type, 0, true), err;

	if (fd < 0)
		return fd;
	err = bind_socket(fd, kind, at);
	if (!err)
		return fd;
	close(fd);
	return err;
}

static int option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -errno : value;
}

int listener_check(enum listener_kind kind, int fd, struct endpoint *at)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);
	int type = option(fd, SO_TYPE);

	if (type < 0)
		return type;
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -errno;
	if ((kind == LISTENER_UNIX) != (ss.ss_family == AF_UNIX))
		return -EPROTOTYPE;
	if (type != (kind == LISTENER_UDP ? SOCK_DGRAM : SOCK_STREAM))
		return -EPROTOTYPE;
	if (kind != LISTENER_UDP && option(fd, SO_ACCEPTCONN) != 1)
		return -EINVAL;
	if (kind != LISTENER_UNIX &&
		(endpoint_from_sockaddr((struct sockaddr *)&ss, len, at) < 0 || at->port == 0))
		return -EINVAL;
	return os_set_nonblock(fd, true);
}

const char *listener_error(int err, const struct endpoint *at)
{
	if ((err == -EACCES || err == -EPERM) && at && at->port < 1024)
		return "permission denied: ports below 1024 need root or CAP_NET_BIND_SERVICE";
	if (err == -EPROTOTYPE)
		return "the socket handed over is of another kind";
	if (err == -EINVAL)
		return "the socket handed over does not listen";
	return errno_text(err);
}

const char *listener_describe(int fd, char *buf, size_t len)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t ss_len = sizeof(ss);
	int type = option(fd, SO_TYPE);
	const char *family;

	if (type < 0) {
		snprintf(buf, len, "no socket");
		return buf;
	}
	getsockname(fd, (struct sockaddr *)&ss, &ss_len);
	family = ss.ss_family == AF_UNIX                              ? "unix"
		: ss.ss_family == AF_INET || ss.ss_family == AF_INET6 ? "IP"
								      : "foreign";
	snprintf(buf, len, "a%s %s %s socket%s", family[0] == 'I' ? "n" : "", family,
		type == SOCK_STREAM          ? "stream"
			: type == SOCK_DGRAM ? "datagram"
					     : "other",
		type == SOCK_STREAM && option(fd, SO_ACCEPTCONN) == 1 ? " that listens" : "");
	return buf;
}
