/* SPDX-License-Identifier: MIT */
/* The host's side of a splice. See host_side.h. */
#include "dataplane/tcp/host_side.h"

#include "common/os.h"
#include "common/tcp_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t scratch[HOST_SIDE_HELD_MAX]; /* bytes read into nowhere */

void host_side_init(struct host_side *host, int fd, bool tcp)
{
	*host = (struct host_side){
		.fd = fd,
		.tcp = tcp,
		.peek_offset = host_side_os_peek_offset(fd, 0),
		.discard = host_side_os_can_discard(tcp),
	};
}

int host_side_put_back(struct host_side *host, const void *bytes, size_t len)
{
	if (!len)
		return 0;
	host->prefix = malloc(len);
	if (!host->prefix)
		return -ENOMEM;
	memcpy(host->prefix, bytes, len);
	host->prefix_len = len;
	host->prefix_at = 0;
	return 0;
}

static void drop_prefix(struct host_side *host)
{
	free(host->prefix);
	host->prefix = NULL;
	host->prefix_len = host->prefix_at = 0;
}

static size_t prefix_left(const struct host_side *host)
{
	return host->prefix_len - host->prefix_at;
}

/* How many of n bytes, counted from the first that is not consumed, are the socket's. */
static size_t of_socket(const struct host_side *host, size_t n)
{
	size_t left = prefix_left(host);

	return n > left ? n - left : 0;
}

static size_t copy_prefix(const struct host_side *host, void *buf, size_t len, size_t skip)
{
	size_t left = prefix_left(host), n;

	if (skip >= left)
		return 0;
	n = len < left - skip ? len : left - skip;
	memcpy(buf, host->prefix + host->prefix_at + skip, n);
	return n;
}

size_t host_side_held_max(const struct host_side *host)
{
	return host->peek_offset ? SIZE_MAX : HOST_SIDE_HELD_MAX;
}

/* Peeks past `skip` bytes by reading them into nowhere. */
static ssize_t peek_skipping(int fd, void *buf, size_t len, size_t skip)
{
	struct iovec iov[2] = {{scratch, skip}, {buf, len}};
	struct msghdr msg = {.msg_iov = skip ? iov : iov + 1, .msg_iovlen = skip ? 2 : 1};
	ssize_t n;

	if (skip > sizeof(scratch))
		return -EAGAIN;
	n = recvmsg(fd, &msg, MSG_PEEK);
	if (n < 0)
		return -errno;
	if (n == 0 && skip == 0)
		return 0;
	return (size_t)n > skip ? n - (ssize_t)skip : -EAGAIN;
}

static ssize_t peek_socket(struct host_side *host, void *buf, size_t len, size_t held)
{
	ssize_t n;

	if (!host->peek_offset)
		return peek_skipping(host->fd, buf, len, held);
	n = recv(host->fd, buf, len, MSG_PEEK);
	return n < 0 ? -errno : n;
}

static ssize_t peek_socket_again(
	struct host_side *host, void *buf, size_t len, size_t skip, size_t held)
{
	ssize_t n;

	if (!host->peek_offset)
		return peek_skipping(host->fd, buf, len, skip);
	host_side_os_peek_offset(host->fd, (int)skip);
	n = recv(host->fd, buf, len, MSG_PEEK);
	if (n < 0)
		n = -errno;
	host_side_os_peek_offset(host->fd, (int)held);
	return n;
}

/* What was peeked behind n bytes of the prefix, with them. Only an error would not come again. */
static ssize_t behind_prefix(size_t n, ssize_t more)
{
	if (more > 0)
		return (ssize_t)n + more;
	return n && (more == 0 || more == -EAGAIN || more == -EINTR) ? (ssize_t)n : more;
}

ssize_t host_side_peek(struct host_side *host, void *buf, size_t len, size_t held)
{
	size_t n = copy_prefix(host, buf, len, held);

	if (n == len)
		return (ssize_t)n;
	return behind_prefix(
		n, peek_socket(host, (uint8_t *)buf + n, len - n, of_socket(host, held)));
}

ssize_t host_side_peek_again(
	struct host_side *host, void *buf, size_t len, size_t skip, size_t held)
{
	size_t n = copy_prefix(host, buf, len, skip);

	if (n == len)
		return (ssize_t)n;
	return behind_prefix(n,
		peek_socket_again(host, (uint8_t *)buf + n, len - n, of_socket(host, skip),
			of_socket(host, held)));
}

static size_t consume_prefix(struct host_side *host, size_t len)
{
	size_t n = len < prefix_left(host) ? len : prefix_left(host);

	host->prefix_at += n;
	if (!prefix_left(host))
		drop_prefix(host);
	return n;
}

int host_side_consume(struct host_side *host, size_t len)
{
	if (host->prefix)
		len -= consume_prefix(host, len);
	while (len) {
		size_t want = host->discard || len < sizeof(scratch) ? len : sizeof(scratch);
		ssize_t n = host->discard ? host_side_os_discard(host->fd, want)
					  : recv(host->fd, scratch, want, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t host_side_write(struct host_side *host, const void *buf, size_t len)
{
	return os_send(host->fd, buf, len, 0);
}

ssize_t host_side_writev(struct host_side *host, const struct iovec *bytes, unsigned pieces)
{
	/* sendmsg(2) only reads the list. */
	struct msghdr msg = {
		.msg_iov = (struct iovec *)(uintptr_t)bytes, .msg_iovlen = (size_t)pieces};

	return os_sendmsg(host->fd, &msg, 0);
}

size_t host_side_room(const struct host_side *host)
{
	return host_side_os_room(host->fd);
}

int host_side_half_close(struct host_side *host)
{
	return shutdown(host->fd, SHUT_WR) < 0 ? -errno : 0;
}

void host_side_close(struct host_side *host)
{
	drop_prefix(host);
	if (host->fd < 0)
		return;
	if (host->tcp)
		tcp_socket_close_orderly(host->fd);
	else
		close(host->fd);
	host->fd = -1;
}

void host_side_abort(struct host_side *host)
{
	drop_prefix(host);
	if (host->fd < 0)
		return;
	close(host->fd);
	host->fd = -1;
}
