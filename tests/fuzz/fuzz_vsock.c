/* SPDX-License-Identifier: MIT */
/*
 * A guest that says anything: packets made of 8 bytes of input each, on few ports, so that they
 * meet connections; and, where the first byte is odd, the bare stream as it is.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_vsock.c libnetdp_core.a …
 */
#include "common/os.h"
#include "dataplane/vsock/mux.h"
#include "dataplane/vsock/transport_stream.h"

#include <stdlib.h>
#include <unistd.h>

#define CID 7u
#define HOSTS 64

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct {
	struct loop *loop;
	struct counters counters;
	struct vsock_mux *mux;
	struct vsock_stream *stream;
	int guest;
	int hosts[HOSTS];
	size_t n_hosts;
} fuzz;

/* Port 0 listens with a host socket, 1 with bytes, 2 refuses; 3 is nobody's. */
static bool on_request(void *arg, struct vsock_conn *conn)
{
	struct vsock_host host = {.fd = -1, .prefix = "a document", .prefix_len = 10};
	int fds[2];

	(void)arg;
	if (conn->host_port == 2) {
		vsock_conn_refuse(conn);
	} else if (conn->host_port == 1) {
		host.secret = true;
		vsock_conn_accept(conn, &host);
	} else if (conn->host_port == 0 && fuzz.n_hosts < HOSTS &&
		os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) == 0) {
		host.fd = fds[0];
		fuzz.hosts[fuzz.n_hosts++] = fds[1];
		vsock_conn_accept(conn, &host);
	} else {
		return false;
	}
	return true;
}

static void start(void)
{
	struct vsock_mux_events events = {.request = on_request};

	fuzz.loop = loop_new();
	fuzz.mux = vsock_mux_new(fuzz.loop, &fuzz.counters, &events);
	fuzz.stream = vsock_stream_new(fuzz.loop, &fuzz.counters, fuzz.mux);
	if (!fuzz.stream)
		abort();
}

static void stop_soon(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(fuzz.loop);
}

/* A few passes, and away with what came out. */
static void run(void)
{
	static uint8_t scratch[1 << 16];
	struct timeval now = {0};

	for (int i = 0; i < 3; i++) {
		event_base_once(loop_base(fuzz.loop), -1, EV_TIMEOUT, stop_soon, NULL, &now);
		loop_run(fuzz.loop);
	}
	while (read(fuzz.guest, scratch, sizeof(scratch)) > 0)
		;
}

static void send_one(const uint8_t *in)
{
	static uint8_t out[VSOCK_HLEN + VSOCK_PAYLOAD_MAX];
	struct vsock_packet packet = {
		.src_cid = in[0] & 0x80 ? in[0] : CID,
		.dst_cid = in[0] & 0x40 ? in[0] : VSOCK_CID_HOST,
		.src_port = in[0] & 3,
		.dst_port = in[1] & 0x80 ? VSOCK_HOST_PORT_FIRST + (in[1] & 3) : in[1] & 3,
		.type = in[2] & 0xf0 ? VSOCK_TYPE_STREAM : in[2],
		.op = in[3] & 0x0f,
		.flags = in[3] >> 4,
		.buf_alloc = (uint32_t)in[4] << (in[2] & 0x0f),
		.fwd_cnt = in[5],
	};

	if (packet.op == VSOCK_OP_RW || in[2] == 0x13)
		packet.len = (uint32_t)(in[6] << 8 | in[7]);
	vsock_packet_write(&packet, out);
	os_send(fuzz.guest, out, VSOCK_HLEN + packet.len, 0);
}

/* What the host's ends do in the meantime. */
static void stir(uint8_t how)
{
	static uint8_t scratch[1 << 16];
	int fd = fuzz.n_hosts ? fuzz.hosts[how % fuzz.n_hosts] : -1;
	struct vsock_host none = {.fd = -1, .prefix = "x", .prefix_len = 1};

	if (how >> 6 == 0)
		vsock_mux_connect(fuzz.mux, how & 3, &none, NULL);
	if (fd < 0)
		return;
	if (how >> 6 == 1)
		os_send(fd, scratch, 1u << (how & 15), 0);
	else if (how >> 6 == 2)
		shutdown(fd, how & 1 ? SHUT_WR : SHUT_RD);
	else
		(void)!read(fd, scratch, sizeof(scratch));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	int fds[2];

	if (!fuzz.loop)
		start();
	if (size < 1 || os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0)
		return 0;
	fuzz.guest = fds[1];
	if (vsock_stream_attach(fuzz.stream, fds[0], false, CID) < 0)
		abort();
	if (bytes[0] & 1) {
		os_send(fuzz.guest, bytes + 1, size - 1, 0);
		run();
	} else {
		for (size_t at = 1; at + 9 <= size; at += 9) {
			send_one(bytes + at);
			stir(bytes[at + 8]);
			run();
		}
	}
	if (vsock_stream_attach(fuzz.stream, -1, false, 0) < 0 || vsock_mux_count(fuzz.mux))
		abort();
	close(fuzz.guest);
	while (fuzz.n_hosts)
		close(fuzz.hosts[--fuzz.n_hosts]);
	return 0;
}
