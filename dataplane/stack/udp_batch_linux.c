/* SPDX-License-Identifier: MIT */
/*
 * Datagram batches on Linux. See udp_batch.h.
 *
 * Sending joins neighbours of one destination and one length (the last may be shorter) into a
 * message with UDP_SEGMENT: the kernel then walks its stack once for up to 64 KiB and cuts at the
 * very end, for receivers on this machine with UDP_GRO not even there. A device whose MTU is too
 * small for the datagrams (EINVAL, EMSGSIZE), or that cannot sum them (EIO), refuses; the socket
 * then stops trying for datagrams of that length.
 */
#include "dataplane/stack/udp_batch.h"

#include "common/os.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define RECEIVE_BUFFER (1 << 20)
#define GSO_SEGMENTS 64
#define GSO_BYTES 65000
#define CONTROL_ROOM 128

struct control {
	_Alignas(struct cmsghdr) uint8_t room[CONTROL_ROOM];
};

struct udp_batch {
	uint8_t *buffers; /* UDP_BATCH_MAX of UDP_BATCH_ROOM, mapped */
	struct mmsghdr msgs[UDP_BATCH_MAX];
	struct iovec iov[UDP_BATCH_MAX];
	struct sockaddr_storage names[UDP_BATCH_MAX];
	struct control controls[UDP_BATCH_MAX];
	struct udp_batch_rx rx[UDP_BATCH_MAX];
};

static void set(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

void udp_batch_setup(int fd, int family, unsigned flags)
{
	set(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
	if (flags & UDP_BATCH_ERRORS) {
		set(fd, IPPROTO_IP, IP_RECVERR, 1);
		if (family == AF_INET6)
			set(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
	}
	if (flags & UDP_BATCH_GRO)
		set(fd, IPPROTO_UDP, UDP_GRO, 1);
	if (flags & UDP_BATCH_LOCAL) {
		set(fd, IPPROTO_IP, IP_PKTINFO, 1);
		if (family == AF_INET6)
			set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	}
}

void udp_batch_set_ttl(int fd, int family, uint8_t ttl)
{
	if (family == AF_INET)
		set(fd, IPPROTO_IP, IP_TTL, ttl);
	else
		set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl);
}

/* ---- receiving ---- */

struct udp_batch *udp_batch_new(void)
{
	struct udp_batch *b = calloc(1, sizeof(*b));
	void *map;

	if (!b)
		return NULL;
	map = mmap(NULL, (size_t)UDP_BATCH_MAX * UDP_BATCH_ROOM, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED) {
		free(b);
		return NULL;
	}
	b->buffers = map;
	for (size_t i = 0; i < UDP_BATCH_MAX; i++) {
		b->iov[i].iov_base = b->buffers + i * UDP_BATCH_ROOM;
		b->iov[i].iov_len = UDP_BATCH_ROOM;
	}
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
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			int size;

			memcpy(&size, CMSG_DATA(c), sizeof(size));
			if (size > 0)
				rx->segment = (size_t)size;
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			rx->local = addr_from_v4(ntohl(info.ipi_spec_dst.s_addr));
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			/* A mapped address came with IP_PKTINFO too, which knows better. */
			if (addr_eq(&rx->local, &addr_any))
				memcpy(rx->local.b, &info.ipi6_addr, sizeof(rx->local.b));
		}
	}
}

int udp_batch_recv(struct udp_batch *b, int fd, size_t max)
{
	int got;

	for (size_t i = 0; i < max; i++) {
		b->msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &b->names[i],
			.msg_namelen = sizeof(b->names[i]),
			.msg_iov = &b->iov[i],
			.msg_iovlen = 1,
			.msg_control = b->controls[i].room,
			.msg_controllen = sizeof(b->controls[i].room),
		};
	}
	got = recvmmsg(fd, b->msgs, (unsigned)max, MSG_DONTWAIT, NULL);
	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	for (int i = 0; i < got; i++) {
		struct udp_batch_rx *rx = &b->rx[i];
		struct msghdr *msg = &b->msgs[i].msg_hdr;

		*rx = (struct udp_batch_rx){
			.data = b->iov[i].iov_base,
			.len = b->msgs[i].msg_len,
			.segment = b->msgs[i].msg_len,
		};
		if (endpoint_from_sockaddr(msg->msg_name, msg->msg_namelen, &rx->src) < 0)
			rx->src = (struct endpoint){.addr = addr_any};
		if (msg->msg_controllen)
			read_control(msg, rx);
	}
	return got;
}

const struct udp_batch_rx *udp_batch_at(const struct udp_batch *b, size_t i)
{
	return &b->rx[i];
}

/* ---- sending ---- */

/* A message in the making: neighbours [first, first + count) of the datagrams. */
struct tx_group {
	struct sockaddr_storage name;
	struct control control;
	size_t count;
};

static void put_control(struct msghdr *msg, int level, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)((uint8_t *)msg->msg_control + msg->msg_controllen);

	memset(c, 0, CMSG_SPACE(len));
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	msg->msg_controllen += CMSG_SPACE(len);
}

static void put_local(struct msghdr *msg, int family, const struct addr *local)
{
	if (addr_is_v4(local)) {
		struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(addr_v4(local))};

		put_control(msg, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else if (family == AF_INET6) {
		struct in6_pktinfo info = {0};

		memcpy(&info.ipi6_addr, local->b, sizeof(local->b));
		put_control(msg, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

/* How many of tx may go as one message. */
static size_t group_length(const struct udp_batch_tx *const *tx, size_t count, uint16_t gso_max)
{
	size_t len = tx[0]->len, total = len, n = 1;

	if (len == 0 || len > gso_max)
		return 1;
	while (n < count && n < GSO_SEGMENTS && tx[n]->len > 0 && tx[n]->len <= len &&
		total + tx[n]->len <= GSO_BYTES && endpoint_eq(&tx[n]->dst, &tx[0]->dst) &&
		addr_eq(&tx[n]->local, &tx[0]->local)) {
		total += tx[n]->len;
		if (tx[n++]->len < len)
			break;
	}
	return n;
}

static void fill_message(struct msghdr *msg, struct tx_group *g, int family, struct iovec *iov,
	const struct udp_batch_tx *const *tx)
{
	for (size_t i = 0; i < g->count; i++) {
		iov[i].iov_base = (void *)(uintptr_t)tx[i]->data;
		iov[i].iov_len = tx[i]->len;
	}
	*msg = (struct msghdr){.msg_name = &g->name, .msg_iov = iov, .msg_iovlen = g->count};
	msg->msg_namelen = endpoint_to_sockaddr(&tx[0]->dst, &g->name);
	msg->msg_control = g->control.room;
	if (!addr_eq(&tx[0]->local, &addr_any))
		put_local(msg, family, &tx[0]->local);
	if (g->count > 1) {
		uint16_t size = (uint16_t)tx[0]->len;

		put_control(msg, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
	}
	if (!msg->msg_controllen)
		msg->msg_control = NULL;
}

/* One sendmmsg(2). Returns datagrams sent or -errno; *first is how many the first message held. */
static int send_groups(int fd, int family, const struct udp_batch_tx *const *tx, size_t count,
	uint16_t gso_max, size_t *first)
{
	struct tx_group groups[UDP_BATCH_MAX];
	struct mmsghdr msgs[UDP_BATCH_MAX];
	struct iovec iov[UDP_BATCH_MAX];
	size_t n = 0, at = 0;
	int sent, datagrams = 0;

	do {
		groups[n].count = group_length(tx + at, count - at, gso_max);
		fill_message(&msgs[n].msg_hdr, &groups[n], family, iov + at, tx + at);
		at += groups[n++].count;
	} while (at < count);
	*first = groups[0].count;
	sent = sendmmsg(fd, msgs, (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return -errno;
	for (int i = 0; i < sent; i++)
		datagrams += (int)groups[i].count;
	return datagrams;
}

int udp_batch_send(
	int fd, int family, const struct udp_batch_tx *const *tx, size_t count, uint16_t *gso_max)
{
	size_t done = 0, first;

	while (done < count) {
		int got = send_groups(fd, family, tx + done, count - done, *gso_max, &first);

		if (got == -EINTR)
			continue;
		if (got > 0) {
			done += (size_t)got;
			continue;
		}
		if (first > 1 && (got == -EINVAL || got == -EMSGSIZE || got == -EIO)) {
			*gso_max = got == -EIO ? 0 : (uint16_t)(tx[done]->len - 1);
			continue;
		}
		return done ? (int)done : got;
	}
	return (int)done;
}

/* ---- errors ---- */

static void read_error(const struct cmsghdr *c, struct udp_batch_error *error)
{
	struct sock_extended_err e;
	struct sockaddr_storage from;
	size_t room = c->cmsg_len - CMSG_LEN(0);
	struct endpoint offender;

	if (room < sizeof(e))
		return;
	memcpy(&e, CMSG_DATA(c), sizeof(e));
	error->err = (int)e.ee_errno;
	error->mtu = e.ee_errno == EMSGSIZE ? e.ee_info : 0;
	error->icmp = e.ee_origin == SO_EE_ORIGIN_ICMP;
	error->type = e.ee_type;
	error->code = e.ee_code;
	room -= sizeof(e);
	if (room > sizeof(from))
		room = sizeof(from);
	memset(&from, 0, sizeof(from));
	memcpy(&from, CMSG_DATA(c) + sizeof(e), room);
	if (e.ee_origin != SO_EE_ORIGIN_LOCAL &&
		endpoint_from_sockaddr((struct sockaddr *)&from, (socklen_t)room, &offender) == 0)
		error->from = offender.addr;
}

int udp_batch_error(int fd, struct udp_batch_error *error)
{
	struct sockaddr_storage name;
	_Alignas(struct cmsghdr) uint8_t control[256];
	struct iovec iov = {error->data, sizeof(error->data)};
	struct msghdr msg = {
		.msg_name = &name,
		.msg_namelen = sizeof(name),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t got = recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT);

	if (got < 0)
		return 0;
	error->err = 0;
	error->icmp = false;
	error->type = error->code = 0;
	error->mtu = 0;
	error->from = addr_any;
	error->data_len = (size_t)got < sizeof(error->data) ? (size_t)got : sizeof(error->data);
	if (endpoint_from_sockaddr((struct sockaddr *)&name, msg.msg_namelen, &error->dst) < 0)
		error->dst = (struct endpoint){.addr = addr_any};
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
			(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			read_error(c, error);
	}
	return 1;
}

/* ---- ping sockets ---- */

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

	if (got < 0)
		return -errno;
	*src = addr_any;
	if (endpoint_from_sockaddr((struct sockaddr *)&name, msg.msg_namelen, &from) == 0)
		*src = from.addr;
	*icmp = buf;
	return got;
}
