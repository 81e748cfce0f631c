/* SPDX-License-Identifier: MIT */
/*
 * A mux and its stream transport on a loop of their own, and a guest that speaks packets in the
 * test's hands. Behind host port RIG_SOCKET is a socketpair whose far end is the test's; a REQUEST
 * for RIG_LATER waits for whatever the test does.
 */
#ifndef TESTS_UNIT_VSOCK_RIG_H
#define TESTS_UNIT_VSOCK_RIG_H

#include "common/os.h"
#include "dataplane/vsock/mux.h"
#include "dataplane/vsock/transport_stream.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RIG_CID 7u
#define RIG_SOCKET 5000u
#define RIG_LATER 5001u
#define RIG_HOSTS 2000

struct vsock_rig {
	struct loop *loop;
	struct counters counters;
	struct vsock_mux *mux;
	struct vsock_stream *stream;
	int guest;            /* the VMM's end */
	int hosts[RIG_HOSTS]; /* far ends, in the order of the requests */
	size_t n_hosts;
	struct vsock_conn *later;
	unsigned opened, closed;
	bool narrow;                 /* hosts' sockets take next to nothing */
	uint32_t buf_alloc, fwd_cnt; /* what the guest says in its next packets */
	uint8_t in[VSOCK_HLEN + VSOCK_PAYLOAD_MAX];
	size_t have;
};

static struct vsock_rig rig;

static void rig_stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(rig.loop);
}

static inline void rig_run(int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_once(loop_base(rig.loop), -1, EV_TIMEOUT, rig_stop, NULL, &tv);
	if (loop_run(rig.loop) != 0)
		ck_abort_msg("the loop failed");
}

/* Runs until the condition holds, for some seconds at most. */
#define RIG_UNTIL(condition)                                                                       \
	do {                                                                                       \
		for (int waited = 0; !(condition) && waited < 3000; waited++)                      \
			rig_run(1);                                                                \
		ck_assert_msg(condition, "waited in vain for %s", #condition);                     \
	} while (0)

static inline uint64_t rig_count(enum counter id)
{
	return rig.counters.value[id];
}

static void rig_opened(void *arg, struct vsock_conn *conn)
{
	(void)arg;
	(void)conn;
	rig.opened++;
}

static void rig_closed(void *arg, struct vsock_conn *conn)
{
	(void)arg;
	if (conn == rig.later)
		rig.later = NULL;
	rig.closed++;
}

static const struct vsock_conn_events rig_conn_events = {
	.opened = rig_opened, .closed = rig_closed};

/* A socketpair as a connection's host; the far end is rig.hosts[n]. */
static inline struct vsock_host rig_host(void)
{
	int fds[2], size = 4096;

	ck_assert_uint_lt(rig.n_hosts, RIG_HOSTS);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	if (rig.narrow)
		setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	rig.hosts[rig.n_hosts++] = fds[1];
	return (struct vsock_host){.fd = fds[0]};
}

static bool rig_request(void *arg, struct vsock_conn *conn)
{
	struct vsock_host host;

	(void)arg;
	if (conn->host_port == RIG_LATER) {
		rig.later = conn;
		vsock_conn_watch(conn, &rig_conn_events);
		return true;
	}
	if (conn->host_port != RIG_SOCKET)
		return false;
	host = rig_host();
	ck_assert_int_eq(vsock_conn_accept(conn, &host), 0);
	return true;
}

/* ---- the guest ---- */

static inline void guest_write(const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = os_send(rig.guest, p, len, 0);

		if (n == -EAGAIN) {
			rig_run(1);
			continue;
		}
		if (n < 0)
			ck_abort_msg("send: %zd", n);
		p += n;
		len -= (size_t)n;
	}
}

static inline struct vsock_packet guest_packet(
	enum vsock_op op, uint32_t guest_port, uint32_t host_port)
{
	return (struct vsock_packet){
		.src_cid = RIG_CID,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = guest_port,
		.dst_port = host_port,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.buf_alloc = rig.buf_alloc,
		.fwd_cnt = rig.fwd_cnt,
	};
}

static inline void guest_send_packet(const struct vsock_packet *packet, const void *payload)
{
	static uint8_t out[VSOCK_HLEN + VSOCK_PAYLOAD_MAX];

	vsock_packet_write(packet, out);
	if (payload)
		memcpy(out + VSOCK_HLEN, payload, packet->len);
	guest_write(out, VSOCK_HLEN + packet->len);
}

static inline void guest_send(
	enum vsock_op op, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
	struct vsock_packet packet = guest_packet(op, guest_port, host_port);

	packet.flags = flags;
	guest_send_packet(&packet, NULL);
}

static inline void guest_rw(
	uint32_t guest_port, uint32_t host_port, const void *payload, uint32_t len)
{
	struct vsock_packet packet = guest_packet(VSOCK_OP_RW, guest_port, host_port);

	packet.len = len;
	guest_send_packet(&packet, payload);
}

/* A packet that has come already; its payload is at rig.in + VSOCK_HLEN until the next call. */
static inline bool guest_poll(struct vsock_packet *packet)
{
	for (;;) {
		size_t want = VSOCK_HLEN;
		ssize_t n;

		if (rig.have >= VSOCK_HLEN) {
			vsock_packet_read(packet, rig.in);
			ck_assert_uint_le(packet->len, VSOCK_PAYLOAD_MAX);
			want += packet->len;
			if (rig.have == want) {
				rig.have = 0;
				return true;
			}
		}
		n = recv(rig.guest, rig.in + rig.have, want - rig.have, 0);
		if (n <= 0)
			return false;
		rig.have += (size_t)n;
	}
}

static inline struct vsock_packet guest_next(void)
{
	struct vsock_packet packet;

	for (int waited = 0; waited < 2000; waited++) {
		if (guest_poll(&packet))
			return packet;
		rig_run(1);
	}
	ck_abort_msg("no packet came");
}

/* The next packet, which must be this one. */
static inline struct vsock_packet guest_expect(enum vsock_op op, uint32_t guest_port)
{
	struct vsock_packet packet = guest_next();

	ck_assert_int_eq(packet.op, op);
	ck_assert_uint_eq(packet.dst_port, guest_port);
	ck_assert_uint_eq(packet.dst_cid, RIG_CID);
	return packet;
}

static inline void guest_expect_nothing(void)
{
	struct vsock_packet packet;

	rig_run(20);
	if (guest_poll(&packet))
		ck_abort_msg("op %u came", packet.op);
}

static inline void guest_open(uint32_t guest_port)
{
	struct vsock_packet packet;

	guest_send(VSOCK_OP_REQUEST, guest_port, RIG_SOCKET, 0);
	packet = guest_expect(VSOCK_OP_RESPONSE, guest_port);
	ck_assert_uint_eq(packet.buf_alloc, VSOCK_CREDIT);
	ck_assert_uint_eq(packet.src_port, RIG_SOCKET);
}

/* ---- the host's far ends ---- */

/* Reads exactly len bytes. */
static inline void host_read(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (int waited = 0; len; waited++) {
		ssize_t n = recv(fd, p, len, 0);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (n == 0 || waited > 2000)
			ck_abort_msg("%zu bytes are missing at the host", len);
		rig_run(1);
	}
}

static inline bool host_is_at_end(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* ---- life ---- */

static inline void rig_attach_guest(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(vsock_stream_attach(rig.stream, fds[0], false, RIG_CID), 0);
	rig.guest = fds[1];
}

static inline void rig_expect_greeting(void)
{
	struct vsock_packet packet = guest_next();

	ck_assert_int_eq(packet.op, VSOCK_OP_NONE);
	ck_assert_uint_eq(packet.len, 8);
	ck_assert_uint_eq(vsock_load64(rig.in + VSOCK_HLEN), RIG_CID);
}

static inline void rig_setup_alone(void)
{
	struct vsock_mux_events events = {.request = rig_request};

	memset(&rig, 0, sizeof(rig));
	rig.guest = -1;
	rig.buf_alloc = 1 << 20;
	os_raise_nofile();
	rig.loop = loop_new();
	ck_assert_ptr_nonnull(rig.loop);
	rig.mux = vsock_mux_new(rig.loop, &rig.counters, &events);
	ck_assert_ptr_nonnull(rig.mux);
	rig.stream = vsock_stream_new(rig.loop, &rig.counters, rig.mux);
	ck_assert_ptr_nonnull(rig.stream);
}

static inline void rig_setup(void)
{
	rig_setup_alone();
	rig_attach_guest();
	rig_expect_greeting();
}

static inline void rig_teardown(void)
{
	vsock_stream_free(rig.stream);
	vsock_mux_free(rig.mux);
	loop_free(rig.loop);
	if (rig.guest >= 0)
		close(rig.guest);
	for (size_t i = 0; i < rig.n_hosts; i++) {
		if (rig.hosts[i] >= 0)
			close(rig.hosts[i]);
	}
}

#endif
