/* SPDX-License-Identifier: MIT */
/*
 * TSI behind a mux and its stream transport (vsock_rig.h), with an egress door, a DNS and a netctld
 * in the test's hands. The guest is what a kernel does: its control requests come from port
 * TSI_CONTROL. Servers are real sockets on loopback, which the guest reaches as the gateway.
 */
#ifndef TESTS_UNIT_TSI_RIG_H
#define TESTS_UNIT_TSI_RIG_H

#include "common/policy_table.h"
#include "dataplane/acceptor.h"
#include "dataplane/stack/dns_message.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/vsock/tsi.h"
#include "dataplane/vsock/tsi_message.h"
#include "tests/unit/vsock_rig.h"

#include <stdlib.h>

#define TSI_CONTROL 900u
#define TSI_SVM 70000u
#define TSI_VM 80000u

static struct {
	struct tsi *tsi;
	struct egress *egress;
	struct dns *dns;
	struct net net;
	bool away;      /* netctld */
	unsigned asked; /* by listen(), of it */
	uint32_t asked_svm_ports[64];
	unsigned failed; /* listen_failed() */
	unsigned closed, lists;
	uint32_t closed_svm_port;
} host;

/* ---- netctld ---- */

static bool on_tsi_listen(void *arg, const struct tsi_listener *listener)
{
	(void)arg;
	if (host.away)
		return false;
	host.asked_svm_ports[host.asked++ % 64] = listener->svm_port;
	return true;
}

static void on_tsi_listen_failed(void *arg, const struct tsi_listener *listener, int err)
{
	(void)arg;
	(void)listener;
	ck_assert_int_lt(err, 0);
	host.failed++;
}

static void on_tsi_closed(void *arg, uint32_t svm_port)
{
	(void)arg;
	host.closed++;
	host.closed_svm_port = svm_port;
}

static bool on_tsi_proxies(void *arg)
{
	(void)arg;
	host.lists++;
	return true;
}

/* ---- addresses and sockets of the host ---- */

static inline struct endpoint tsi_at(const char *addr, uint16_t port)
{
	struct endpoint at = {.port = port};

	ck_assert_int_eq(addr_parse(addr, &at.addr), 0);
	return at;
}

static inline struct endpoint tsi_name(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct endpoint name;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	ck_assert_int_eq(endpoint_from_sockaddr((struct sockaddr *)&ss, len, &name), 0);
	return name;
}

/* A socket bound to loopback; a stream socket listens. */
static inline int tsi_server(int type, int backlog)
{
	struct endpoint at = tsi_at("127.0.0.1", 0);
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&at, &ss);
	int fd = os_socket(AF_INET, type, 0, true);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&ss, len), 0);
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, backlog), 0);
	return fd;
}

/* A non-blocking connection to where a socket is bound. */
static inline int tsi_dial(int server)
{
	struct endpoint at = tsi_name(server);
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&at, &ss);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	ck_assert_int_ge(fd, 0);
	ck_assert(connect(fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS);
	return fd;
}

static inline int tsi_accept(int server)
{
	int fd = os_accept(server, NULL, NULL);

	for (int waited = 0; fd == -EAGAIN && waited < 3000; waited++) {
		rig_run(1);
		fd = os_accept(server, NULL, NULL);
	}
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Time passes, as far as timers see. */
static inline void tsi_later(uint64_t ms)
{
	timer_wheel_run(loop_wheel(rig.loop), loop_now(rig.loop) + ms);
}

static inline void tsi_policy(bool allow)
{
	struct policy_input in = {.default_allow = allow, .default_by = POLICY_BY_DEFAULT};
	uint8_t *blob;
	size_t len;

	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	ck_assert_int_eq(egress_policy_set(host.egress, blob, len, 0), 0);
	free(blob);
}

/* ---- the guest's bodies ---- */

struct body {
	uint8_t b[512];
	uint32_t len;
};

static inline void put32(struct body *body, uint32_t v)
{
	vsock_store32(body->b + body->len, v);
	body->len += 4;
}

static inline void put16(struct body *body, uint16_t v)
{
	vsock_store16(body->b + body->len, v);
	body->len += 2;
}

/* u32 addr_len, u8 addr[128], of the family that the address has. */
static inline void put_addr(struct body *body, const struct endpoint *at)
{
	bool v4 = addr_is_v4(&at->addr);
	uint8_t *addr = body->b + body->len + 4;

	put32(body, v4 ? 16 : 28);
	memset(addr, 0, TSI_ADDR_MAX);
	vsock_store16(addr, v4 ? TSI_INET : TSI_INET6);
	store_be16(addr + 2, at->port);
	memcpy(addr + (v4 ? 4 : 8), at->addr.b + (v4 ? 12 : 0), v4 ? 4 : 16);
	body->len += TSI_ADDR_MAX;
}

static inline struct body connect_body(uint32_t svm_port, const struct endpoint *to)
{
	struct body body = {.len = 0};

	put32(&body, svm_port);
	put_addr(&body, to);
	return body;
}

static inline struct body listen_body(
	uint32_t svm_port, uint32_t vm_port, const struct endpoint *at)
{
	struct body body = {.len = 0};

	put32(&body, svm_port);
	put32(&body, vm_port);
	put32(&body, 128);
	put_addr(&body, at);
	return body;
}

/* ---- what the guest does ---- */

static inline void tsi_dgram(
	uint32_t guest_port, uint32_t host_port, const void *payload, uint32_t len)
{
	struct vsock_packet packet = guest_packet(VSOCK_OP_RW, guest_port, host_port);

	packet.type = VSOCK_TYPE_DGRAM;
	packet.len = len;
	guest_send_packet(&packet, payload);
}

static inline void tsi_tell(enum tsi_op op, const struct body *body)
{
	tsi_dgram(TSI_CONTROL, op, body->b, body->len);
}

/* The reply, which must be the next packet; its body is at rig.in + VSOCK_HLEN. */
static inline void tsi_expect(enum tsi_op op, uint32_t len)
{
	struct vsock_packet packet = guest_expect(VSOCK_OP_RW, TSI_CONTROL);

	ck_assert_int_eq(packet.type, VSOCK_TYPE_DGRAM);
	ck_assert_uint_eq(packet.src_cid, VSOCK_CID_HOST);
	ck_assert_uint_eq(packet.src_port, op);
	ck_assert_uint_eq(packet.len, len);
}

static inline int32_t tsi_result(enum tsi_op op)
{
	tsi_expect(op, TSI_RESULT_LEN);
	return (int32_t)vsock_load32(rig.in + VSOCK_HLEN);
}

static inline int32_t tsi_ask(enum tsi_op op, const struct body *body)
{
	tsi_tell(op, body);
	return tsi_result(op);
}

static inline void tsi_create(uint32_t svm_port, uint16_t family, uint16_t type)
{
	struct body body = {.len = 0};

	put32(&body, svm_port);
	put16(&body, family);
	put16(&body, type);
	tsi_tell(TSI_PROXY_CREATE, &body);
}

static inline int32_t tsi_connect(uint32_t svm_port, const char *addr, uint16_t port)
{
	struct endpoint to = tsi_at(addr, port);
	struct body body = connect_body(svm_port, &to);

	return tsi_ask(TSI_CONNECT, &body);
}

/* A stream to a server of the host's, claimed. */
static inline void tsi_stream(uint32_t svm_port, int server)
{
	tsi_create(svm_port, TSI_INET, TSI_STREAM);
	ck_assert_int_eq(tsi_connect(svm_port, "10.0.2.2", tsi_name(server).port), 0);
	guest_send(VSOCK_OP_REQUEST, svm_port, TSI_STREAM_PORT, 0);
	guest_expect(VSOCK_OP_RESPONSE, svm_port);
}

static inline int32_t tsi_getname(
	uint32_t svm_port, uint32_t peer_port, bool peer, struct endpoint *name)
{
	const uint8_t *reply = rig.in + VSOCK_HLEN, *addr = reply + 8;
	struct body body = {.len = 0};
	uint32_t len;

	put32(&body, svm_port);
	put32(&body, peer_port);
	put32(&body, peer);
	tsi_tell(TSI_GETNAME, &body);
	tsi_expect(TSI_GETNAME, TSI_NAME_LEN);
	len = vsock_load32(reply + 4);
	*name = (struct endpoint){.port = load_be16(addr + 2)};
	if (len == 28) {
		ck_assert_uint_eq(vsock_load16(addr), 10);
		memcpy(name->addr.b, addr + 8, 16);
	} else if (len) {
		ck_assert_uint_eq(len, 16);
		ck_assert_uint_eq(vsock_load16(addr), 2);
		name->addr = addr_from_v4(load_be32(addr + 4));
	}
	return (int32_t)vsock_load32(reply);
}

/* The name must be this one, in a sockaddr of the family. */
#define TSI_EXPECT_NAME(svm_port, peer_port, peer, family, expected)                               \
	do {                                                                                       \
		struct endpoint its, want = expected;                                              \
		ck_assert_int_eq(tsi_getname(svm_port, peer_port, peer, &its), 0);                 \
		ck_assert_uint_eq(vsock_load16(rig.in + VSOCK_HLEN + 8), family);                  \
		ck_assert_uint_eq(its.port, want.port);                                            \
		ck_assert_mem_eq(its.addr.b, want.addr.b, 16);                                     \
	} while (0)

static inline int32_t tsi_ask_accept(uint32_t svm_port)
{
	struct body body = {.len = 0};

	put32(&body, svm_port);
	put32(&body, 0);
	return tsi_ask(TSI_ACCEPT, &body);
}

static inline void tsi_release(uint32_t svm_port, uint32_t peer_port)
{
	struct body body = {.len = 0};

	put32(&body, svm_port);
	put32(&body, peer_port);
	tsi_tell(TSI_PROXY_RELEASE, &body);
}

static inline void tsi_tell_listen(
	uint32_t svm_port, uint32_t vm_port, const char *addr, uint16_t port)
{
	struct endpoint at = tsi_at(addr, port);
	struct body body = listen_body(svm_port, vm_port, &at);

	tsi_tell(TSI_LISTEN, &body);
}

/* A listener; the host's end of it, of which the test has a duplicate. */
static inline int tsi_listen_on(
	uint32_t svm_port, uint32_t vm_port, const char *addr, uint16_t port)
{
	unsigned before = host.asked;
	int fd = tsi_server(SOCK_STREAM, 512);

	tsi_tell_listen(svm_port, vm_port, addr, port);
	RIG_UNTIL(host.asked == before + 1);
	tsi_listening(host.tsi, svm_port, os_dup(fd));
	ck_assert_int_eq(tsi_result(TSI_LISTEN), 0);
	return fd;
}

/* The guest accepts a client of its listener; its host port. */
static inline uint32_t tsi_take(uint32_t vm_port)
{
	struct vsock_packet request = guest_expect(VSOCK_OP_REQUEST, vm_port);

	guest_send(VSOCK_OP_RESPONSE, vm_port, request.src_port, 0);
	return request.src_port;
}

/* ---- life ---- */

static bool on_tsi_request(void *arg, struct vsock_conn *conn)
{
	return conn->host_port == TSI_STREAM_PORT ? tsi_request(host.tsi, conn)
						  : rig_request(arg, conn);
}

static void on_tsi_datagram(
	void *arg, const struct vsock_packet *packet, const struct iovec *payload, unsigned pieces)
{
	(void)arg;
	tsi_datagram(host.tsi, packet, payload, pieces);
}

static enum vsock_turn on_tsi_send(void *arg)
{
	(void)arg;
	return tsi_send(host.tsi);
}

static void on_tsi_gone(void *arg)
{
	(void)arg;
	tsi_reset(host.tsi);
}

static void on_tsi_dns(void *arg, const struct dns_from *from, const uint8_t *msg, size_t len)
{
	(void)arg;
	tsi_dns_answer(host.tsi, from, msg, len);
}

static inline void tsi_setup(void)
{
	const struct vsock_mux_events events = {
		.request = on_tsi_request,
		.datagram = on_tsi_datagram,
		.send = on_tsi_send,
		.gone = on_tsi_gone,
	};
	const struct tsi_events tsi_events = {
		.listen = on_tsi_listen,
		.listen_failed = on_tsi_listen_failed,
		.closed = on_tsi_closed,
		.proxies = on_tsi_proxies,
	};
	const struct dns_events dns_events = {.answer = on_tsi_dns};
	struct tsi_parts parts;

	memset(&rig, 0, sizeof(rig));
	memset(&host, 0, sizeof(host));
	rig.guest = -1;
	rig.buf_alloc = 1 << 20;
	os_raise_nofile();
	addr_parse("10.0.2.2", &host.net.gateway);
	addr_parse("10.0.2.15", &host.net.guest);
	host.net.host_access = true;
	rig.loop = loop_new();
	host.egress = egress_new(rig.loop, &rig.counters, &host.net);
	tsi_policy(true);
	host.dns = dns_new(rig.loop, host.egress, &rig.counters, &host.net, &dns_events);
	rig.mux = vsock_mux_new(rig.loop, &rig.counters, &events);
	parts = (struct tsi_parts){
		.loop = rig.loop,
		.counters = &rig.counters,
		.mux = rig.mux,
		.egress = host.egress,
		.dns = host.dns,
		.net = &host.net,
	};
	host.tsi = tsi_new(&parts, &tsi_events);
	rig.stream = vsock_stream_new(rig.loop, &rig.counters, rig.mux);
	ck_assert(rig.loop && host.egress && host.dns && rig.mux && host.tsi && rig.stream);
	rig_attach_guest();
	rig_expect_greeting();
}

static inline void tsi_teardown(void)
{
	vsock_stream_free(rig.stream);
	vsock_mux_free(rig.mux);
	tsi_free(host.tsi);
	dns_free(host.dns);
	egress_free(host.egress);
	loop_free(rig.loop);
	if (rig.guest >= 0)
		close(rig.guest);
	for (size_t i = 0; i < rig.n_hosts; i++) {
		if (rig.hosts[i] >= 0)
			close(rig.hosts[i]);
	}
}

#endif
