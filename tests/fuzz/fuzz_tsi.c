/* SPDX-License-Identifier: MIT */
/*
 * A guest that says anything to TSI: 12 bytes of input are a datagram or a packet of a stream, on few
 * ports and to few addresses, so that they meet; and what netctld, a server, time and the policy do
 * in the meantime. Nothing leaves the host: only its loopback is allowed.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_tsi.c libnetdp_core.a …
 */
#include "common/os.h"
#include "common/policy_table.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/vsock/transport_stream.h"
#include "dataplane/vsock/tsi.h"
#include "dataplane/vsock/tsi_message.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CID 7u
#define ASKED 64
#define STEP 12

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct {
	struct loop *loop;
	struct counters counters;
	struct net net;
	struct egress *egress;
	struct dns *dns;
	struct vsock_mux *mux;
	struct tsi *tsi;
	struct vsock_stream *stream;
	int guest;
	int servers[2]; /* TCP, UDP */
	uint16_t ports[2];
	bool away;
	uint32_t asked[ASKED];
	size_t n_asked;
} fuzz;

static bool on_listen(void *arg, const struct tsi_listener *listener)
{
	(void)arg;
	if (fuzz.away || fuzz.n_asked == ASKED)
		return false;
	for (size_t i = 0; i < fuzz.n_asked; i++) {
		if (fuzz.asked[i] == listener->svm_port)
			abort(); /* one question at a time */
	}
	fuzz.asked[fuzz.n_asked++] = listener->svm_port;
	return true;
}

static bool on_proxies(void *arg)
{
	(void)arg;
	return !fuzz.away;
}

static bool on_request(void *arg, struct vsock_conn *conn)
{
	(void)arg;
	return conn->host_port == TSI_STREAM_PORT && tsi_request(fuzz.tsi, conn);
}

static void on_datagram(
	void *arg, const struct vsock_packet *packet, const struct iovec *payload, unsigned pieces)
{
	(void)arg;
	tsi_datagram(fuzz.tsi, packet, payload, pieces);
}

static enum vsock_turn on_send(void *arg)
{
	(void)arg;
	return tsi_send(fuzz.tsi);
}

static void on_gone(void *arg)
{
	(void)arg;
	tsi_reset(fuzz.tsi);
}

static void on_answer(void *arg, const struct dns_from *from, const uint8_t *msg, size_t len)
{
	(void)arg;
	tsi_dns_answer(fuzz.tsi, from, msg, len);
}

/* A socket on loopback. */
static int serve(int type, uint16_t *port)
{
	struct endpoint at = {addr_from_v4(0x7f000001), 0};
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&at, &ss);
	int fd = os_socket(AF_INET, type, 0, true);

	if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) < 0 ||
		(type == SOCK_STREAM && listen(fd, 64) < 0) ||
		getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
		endpoint_from_sockaddr((struct sockaddr *)&ss, len, &at) < 0)
		abort();
	*port = at.port;
	return fd;
}

static void start(void)
{
	const struct vsock_mux_events events = {
		.request = on_request, .datagram = on_datagram, .send = on_send, .gone = on_gone};
	const struct tsi_events tsi_events = {.listen = on_listen, .proxies = on_proxies};
	const struct dns_events dns_events = {.answer = on_answer};
	const struct policy_input deny = {.default_by = POLICY_BY_DEFAULT};
	struct tsi_parts parts;
	uint8_t *table;
	size_t len;

	fuzz.loop = loop_new();
	addr_parse("10.0.2.2", &fuzz.net.gateway);
	addr_parse("10.0.2.15", &fuzz.net.guest);
	fuzz.egress = egress_new(fuzz.loop, &fuzz.counters, &fuzz.net);
	if (policy_table_compile(&deny, &table, &len, NULL) < 0 ||
		egress_policy_set(fuzz.egress, table, len, 0) < 0)
		abort();
	free(table);
	fuzz.dns = dns_new(fuzz.loop, fuzz.egress, &fuzz.counters, &fuzz.net, &dns_events);
	dns_hosts_set(fuzz.dns, NULL, 0, true);
	fuzz.mux = vsock_mux_new(fuzz.loop, &fuzz.counters, &events);
	parts = (struct tsi_parts){
		.loop = fuzz.loop,
		.counters = &fuzz.counters,
		.mux = fuzz.mux,
		.egress = fuzz.egress,
		.dns = fuzz.dns,
		.net = &fuzz.net,
	};
	fuzz.tsi = tsi_new(&parts, &tsi_events);
	fuzz.stream = vsock_stream_new(fuzz.loop, &fuzz.counters, fuzz.mux);
	fuzz.servers[0] = serve(SOCK_STREAM, &fuzz.ports[0]);
	fuzz.servers[1] = serve(SOCK_DGRAM, &fuzz.ports[1]);
	if (!fuzz.tsi || !fuzz.stream)
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

	for (int i = 0; i < 2; i++) {
		event_base_once(loop_base(fuzz.loop), -1, EV_TIMEOUT, stop_soon, NULL, &now);
		loop_run(fuzz.loop);
	}
	while (read(fuzz.guest, scratch, sizeof(scratch)) > 0)
		;
}

/* ---- the guest ---- */

static void put_addr(uint8_t *p, uint8_t how)
{
	static const uint32_t addrs[] = {0x0a000202, 0x7f000001, 0, 0x0a00020f, 0xc0000201,
		0x08080808, 0x7f010203, 0xffffffff};
	uint16_t port = how & 0x08 ? 80 : how & 0x10 ? 53 : fuzz.ports[how >> 5 & 1];
	bool six = how & 0x40;

	vsock_store32(p, six ? 28 : 16);
	vsock_store16(p + 4, six ? TSI_INET6 : TSI_INET);
	store_be16(p + 6, port);
	store_be32(p + (six ? 24 : 8), addrs[how & 7]);
	if (six && !(how & 0x80))
		p[22] = p[23] = 0xff;
}

/* A well-formed request of small numbers, then damaged as the input says. */
static void tell(const uint8_t *in)
{
	uint8_t out[VSOCK_HLEN + TSI_REQUEST_MAX + 1] = {0}, *body = out + VSOCK_HLEN;
	struct vsock_packet packet = {
		.src_cid = CID,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = in[1] & 7,
		.dst_port = in[0] & 8 ? (in[0] & 7u) : TSI_PROXY_CREATE + (in[0] & 7u),
		.type = VSOCK_TYPE_DGRAM,
		.op = VSOCK_OP_RW,
		.len = TSI_REQUEST_MAX,
	};

	vsock_store32(body, in[2] & 7);
	vsock_store32(body + 4, in[3] & 1 ? VSOCK_HOST_PORT_FIRST + (in[3] >> 1) : in[3]);
	vsock_store32(body + 8, in[4]);
	if (packet.dst_port == TSI_PROXY_CREATE) {
		vsock_store16(body + 4, in[3] & 1 ? TSI_INET : TSI_INET6);
		vsock_store16(body + 6, in[3] & 2 ? TSI_STREAM : TSI_DGRAM);
	}
	if (packet.dst_port == TSI_CONNECT || packet.dst_port == TSI_SENDTO_ADDR)
		put_addr(body + 4, in[5]);
	if (packet.dst_port == TSI_LISTEN)
		put_addr(body + 12, in[5]);
	if (in[6] & 0x80)
		body[in[7] % TSI_REQUEST_MAX] = in[8];
	if (in[6] & 0x40)
		packet.len = in[9] % (TSI_REQUEST_MAX + 1);
	vsock_packet_write(&packet, out);
	os_send(fuzz.guest, out, VSOCK_HLEN + packet.len, 0);
}

static void stream_packet(const uint8_t *in)
{
	uint8_t out[VSOCK_HLEN + 256] = {0};
	struct vsock_packet packet = {
		.src_cid = CID,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = in[1] & 7,
		.dst_port = in[2] & 1 ? TSI_STREAM_PORT : VSOCK_HOST_PORT_FIRST + (in[2] >> 1),
		.type = VSOCK_TYPE_STREAM,
		.op = in[3] % 9,
		.flags = in[4],
		.buf_alloc = (uint32_t)in[5] << 8,
		.fwd_cnt = in[6],
	};

	if (packet.op == VSOCK_OP_RW)
		packet.len = in[7];
	vsock_packet_write(&packet, out);
	os_send(fuzz.guest, out, VSOCK_HLEN + packet.len, 0);
}

/* ---- the host ---- */

static void answer_listen(uint8_t how)
{
	static const int errors[] = {-EADDRINUSE, -ECONNRESET, -ETIMEDOUT, -EPERM};
	uint32_t svm_port;
	int fd = how & 4 ? os_dup(fuzz.servers[how >> 3 & 1]) : errors[how & 3];

	if (!fuzz.n_asked)
		return;
	svm_port = fuzz.asked[--fuzz.n_asked];
	tsi_listening(fuzz.tsi, svm_port, fd);
}

static void serve_some(uint8_t how)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	uint8_t buf[2048];
	int fd;

	if (how & 1) {
		fd = os_accept(fuzz.servers[0], NULL, NULL);
		if (fd >= 0)
			close(fd);
		return;
	}
	if (recvfrom(fuzz.servers[1], buf, sizeof(buf), 0, (struct sockaddr *)&ss, &len) >= 0)
		sendto(fuzz.servers[1], buf, how * 8u, 0, (struct sockaddr *)&ss, len);
}

static void stir(uint8_t what, uint8_t how)
{
	struct vsock_host none = {.fd = -1, .prefix = "x", .prefix_len = 1};
	struct tsi_listener listener = {how & 7, how >> 3, TSI_INET, TSI_STREAM, 1, {{{0}}, 80}};
	struct tsi_proxy proxy = {how & 7, TSI_INET, how & 8, {fuzz.net.gateway, fuzz.ports[1]}};

	switch (what & 15) {
	case 0:
	case 1:
		answer_listen(how);
		break;
	case 2:
	case 3:
		serve_some(how);
		break;
	case 4:
		timer_wheel_run(loop_wheel(fuzz.loop), loop_now(fuzz.loop) + how * 100u);
		break;
	case 5:
		fuzz.away = how & 1;
		break;
	case 6:
		fuzz.net.host_access = how & 1;
		tsi_recheck(fuzz.tsi);
		break;
	case 7:
		tsi_open(fuzz.tsi, how & 3, how >> 2, &none, NULL, NULL);
		break;
	case 8:
		if (listener.svm_port)
			tsi_restore_listener(fuzz.tsi, &listener, os_dup(fuzz.servers[0]));
		break;
	case 9:
		if (proxy.svm_port)
			tsi_restore_proxy(fuzz.tsi, &proxy);
		break;
	default:
		break;
	}
}

static void check_empty(void)
{
	uint32_t cursor = 0;
	struct tsi_proxy proxy;
	int fd;

	if (vsock_mux_count(fuzz.mux) || tsi_listener_at(fuzz.tsi, 0, &fd) ||
		tsi_proxy_next(fuzz.tsi, &cursor, &proxy) || tsi_listener_count(fuzz.tsi) ||
		tsi_proxy_count(fuzz.tsi) || tsi_pending(fuzz.tsi) || tsi_queued(fuzz.tsi) ||
		vsock_mux_replies(fuzz.mux) || egress_half_open(fuzz.egress))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	int fds[2];

	if (!fuzz.loop)
		start();
	if (os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0)
		return 0;
	fuzz.guest = fds[1];
	fuzz.away = false;
	fuzz.net.host_access = true;
	if (vsock_stream_attach(fuzz.stream, fds[0], false, CID) < 0)
		abort();
	for (size_t at = 0; at + STEP <= size; at += STEP) {
		if (bytes[at] & 0x80)
			stream_packet(bytes + at);
		else
			tell(bytes + at);
		stir(bytes[at + 10], bytes[at + 11]);
		run();
	}
	if (vsock_stream_attach(fuzz.stream, -1, false, 0) < 0)
		abort();
	check_empty();
	close(fuzz.guest);
	while (fuzz.n_asked)
		answer_listen(0);
	return 0;
}
