/* SPDX-License-Identifier: MIT */
/*
 * Datagram batches on macOS, where each datagram is a system call. See udp_batch.h.
 *
 * There is no error queue: a socket that is not connected hears of no ICMP error.
 */
#define __APPLE_USE_RFC_3542 1
#include "dataplane/stack/udp_batch.h"

#include "common/os.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define RECEIVE_BUFFER (1 << 20)
#define CONTROL_ROOM 128

struct control {
	_Alignas(struct cmsghdr) uint8_t room[CONTROL_ROOM];
};

struct udp_batch {
	uint8_t *buffers;
	struct udp_batch_rx rx[UDP_BATCH_MAX];
};

static void set(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

void udp_batch_setup(int fd, int family, unsigned flags)
{
	set(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
	if (flags & UDP_BATCH_LOCAL) {
		if (family == AF_INET6)
			set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
		else
			set(fd, IPPROTO_IP, IP_RECVPKTINFO, 1);
	}
}

void udp_batch_set_ttl(int fd, int family, uint8_t ttl)
{
	if (family == AF_INET)
		set(fd, IPPROTO_IP, IP_TTL, ttl);
	else
		set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl);
}

struct udp_batch *udp_batch_new(void)
{
	struct udp_batch *b = calloc(1, sizeof(*b));
	void *map;

	if (!b)
		return NULL;
	map = mmap(NULL, (size_t)UDP_BATCH_MAX * UDP_BATCH_ROOM, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANON, -1, 0);
	if (map == MAP_FAILED) {
		free(b);
		return NULL;
	}
	b->buffers = map;
	return b;
}

void udp_batch_free(struct udp_batch *b)
{
	if (!b)
		return;
	munmap(b->buffers, (size_t)UDP_BATCH_MAX * UDP_BATCH_ROOM);
	free(b);
}

static void read_control(struct msghdr *msg, struct udp_batch_rx *rx)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			rx->local = addr_from_v4(ntohl(info.ipi_addr.s_addr));
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(rx->local.b, &info.ipi6_addr, sizeof(rx->local.b));
		}
	}
}

int udp_batch_recv(struct udp_batch *b, int fd, size_t max)
{
	size_t n;

	for (n = 0; n < max; n++) {
		struct udp_batch_rx *rx = &b->rx[n];
		uint8_t *buf = b->buffers + n * UDP_BATCH_ROOM;
		struct iovec iov = {buf, UDP_BATCH_ROOM};
		struct sockaddr_storage name;
		struct control control;
		struct msghdr msg = {
			.msg_name = &name,
			.msg_namelen = sizeof(name),
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.room,
			.msg_controllen = sizeof(control.room),
		};
		ssize_t got = recvmsg(fd, &msg, MSG_DONTWAIT);

		if (got < 0)
			return n || errno == EAGAIN ? (int)n : -errno;
		*rx = (struct udp_batch_rx){
			.data = buf, .len = (size_t)got, .segment = (size_t)got};
		if (endpoint_from_sockaddr((struct sockaddr *)&name, msg.msg_namelen, &rx->src) < 0)
			rx->src = (struct endpoint){.addr = addr_any};
		read_control(&msg, rx);
	}
	return (int)n;
}

const struct udp_batch_rx *udp_batch_at(const struct udp_batch *b, size_t i)
{
	return &b->rx[i];
}

/* The kernel wants addresses of the socket's own family. */
static socklen_t fill_name(const struct endpoint *e, int family, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	if (family == AF_INET)
		return endpoint_to_sockaddr(e, ss);
	memset(in6, 0, sizeof(*in6));
	in6->sin6_len = sizeof(*in6);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(e->port);
	memcpy(&in6->sin6_addr, e->addr.b, sizeof(e->addr.b));
	return sizeof(*in6);
}

static void put_local(struct msghdr *msg, int family, const struct addr *local)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	if (family == AF_INET) {
		struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(addr_v4(local))};

		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		msg->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in6_pktinfo info = {0};

		memcpy(&info.ipi6_addr, local->b, sizeof(local->b));
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		msg->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

int udp_batch_send(
	int fd, int family, const struct udp_batch_tx *const *tx, size_t count, uint16_t *gso_max)
{
	(void)gso_max;
	for (size_t i = 0; i < count; i++) {
		struct iovec iov = {(void *)(uintptr_t)tx[i]->data, tx[i]->len};
		struct sockaddr_storage name;
		struct control control = {0};
		struct msghdr msg = {.msg_name = &name, .msg_iov = &iov, .msg_iovlen = 1};
		ssize_t got;

		msg.msg_namelen = fill_name(&tx[i]->dst, family, &name);
		if (!addr_eq(&tx[i]->local, &addr_any)) {
			msg.msg_control = control.room;
			msg.msg_controllen = sizeof(control.room);
			put_local(&msg, family, &tx[i]->local);
		}
		got = os_sendmsg(fd, &msg, MSG_DONTWAIT);
		if (got < 0)
			return i ? (int)i : (int)got;
	}
	return (int)count;
}

int udp_batch_error(int fd, struct udp_batch_error *error)
{
	(void)fd;
	(void)error;
	return 0;
}

/* Unlike Linux, macOS gives the IP header too. */
ssize_t udp_batch_recv_ping(
	int fd, uint8_t *buf, size_t room, struct addr *src, const uint8_t **icmp)
{
	struct sockaddr_storage name;
	struct iovec iov = {buf, room};
	struct msghdr msg = {
		.msg_name = &name,
		.msg_namelen = sizeof(name),
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	ssize_t got = recvmsg(fd, &msg, MSG_DONTWAIT);
	struct endpoint from;
	size_t skip = 0;

	if (got < 0)
		return -errno;
	*src = addr_any;
	if (endpoint_from_sockaddr((struct sockaddr *)&name, msg.msg_namelen, &from) == 0)
		*src = from.addr;
	if (name.ss_family == AF_INET && got > 0)
		skip = (size_t)(buf[0] & 0x0f) * 4;
	if ((size_t)got < skip)
		return -EBADMSG;
	*icmp = buf + skip;
	return got - (ssize_t)skip;
}
