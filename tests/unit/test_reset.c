/* SPDX-License-Identifier: MIT */
/* A worker between two lives of its guest: what ends, what stays, and what it says of being busy. */
#include "dataplane/vsock/packet.h"
#include "tests/unit/tcp_rig.h"

#include <fcntl.h>
#include <sys/socket.h>

#define CID 7u
#define VSOCK_PORT 5000u

static int vmm; /* the guest's end of the vsock */
static int clients;
static uint16_t clients_port;
static unsigned resets;

/* ---- the guest's vsock ---- */

static struct vsock_packet packet;
static uint8_t payload[VSOCK_PAYLOAD_MAX];

static bool vsock_read(void *buf, size_t len, int timeout_ms)
{
	uint8_t *p = buf;

	for (int waited = 0; len;) {
		ssize_t n = recv(vmm, p, len, 0);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (waited++ >= timeout_ms) {
			return false;
		} else {
			rig_run(1);
		}
	}
	return true;
}

static bool vsock_next(int timeout_ms)
{
	uint8_t head[VSOCK_HLEN];

	if (!vsock_read(head, sizeof(head), timeout_ms))
		return false;
	vsock_packet_read(&packet, head);
	ck_assert_uint_le(packet.len, sizeof(payload));
	if (!vsock_read(payload, packet.len, 1000))
		ck_abort_msg("a packet of %u bytes", packet.len);
	return true;
}

static void vsock_expect(enum vsock_op op, uint32_t len)
{
	ck_assert_msg(vsock_next(1000), "no packet came");
	ck_assert_uint_eq(packet.op, op);
	ck_assert_uint_eq(packet.len, len);
}

/* An answer to the packet that came last, or one of its connection's. */
static void vsock_send(enum vsock_op op, const void *data, uint32_t len)
{
	struct vsock_packet out = {
		.src_cid = CID,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = packet.dst_port,
		.dst_port = packet.src_port,
		.len = len,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.buf_alloc = 64 << 20,
	};
	uint8_t head[VSOCK_HLEN];

	vsock_packet_write(&out, head);
	host_write(vmm, head, sizeof(head));
	if (len)
		host_write(vmm, data, len);
}

static void vmm_connect(void)
{
	struct error err;
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(
		worker_vsock_set(rig.worker, VSOCK_KIND_STREAM, fds[0], false, CID, &err), 0);
	vmm = fds[1];
	vsock_expect(VSOCK_OP_NONE, 8);
}

/* ---- the rig's own ---- */

static void set_up(void)
{
	struct worker_forward forward = {.id = "tcp:127.0.0.1:1", .proto = IP_PROTO_TCP};
	struct error err;

	rig_setup();
	resets = 0;
	clients = rig_listen(&clients_port, 16);
	forward.to = (struct vsock_target){.kind = VSOCK_TO_PORT, .port = VSOCK_PORT};
	ck_assert_int_eq(worker_forward_add(rig.worker, &forward, clients, &err), 0);
	vmm_connect();
}

static void tear_down(void)
{
	rig_teardown();
	close(vmm);
}

static void on_reset(void *arg)
{
	(void)arg;
	resets++;
	loop_stop(worker_loop(rig.worker));
}

static void reset(void)
{
	unsigned before = resets;

	ck_assert_int_eq(worker_reset(rig.worker, on_reset, NULL), 0);
	ck_assert_int_eq(worker_reset(rig.worker, on_reset, NULL), -EALREADY);
	ck_assert_uint_eq(resets, before); /* a barrier, so it takes its time */
	RIG_UNTIL(resets > before);
	ck_assert_uint_eq(resets, before + 1);
}

/* A client of the forward to the guest's vsock port, accepted by the guest. */
static int vsock_client(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
		.sin_port = htons(clients_port),
		.sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, false);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	os_set_nonblock(fd, true);
	vsock_expect(VSOCK_OP_REQUEST, 0);
	ck_assert_uint_eq(packet.dst_port, VSOCK_PORT);
	vsock_send(VSOCK_OP_RESPONSE, NULL, 0);
	rig_run(1);
	return fd;
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static struct busy busy_now(void)
{
	struct busy busy;

	worker_busy(rig.worker, &busy);
	return busy;
}

static bool ended(int fd)
{
	ssize_t n = host_next(fd);

	return n == 0 || n == -ECONNRESET;
}

/* ---- reset ---- */

START_TEST(connections_end_and_new_ones_begin)
{
	struct peer old, new;
	int host, client, again;

	old = connect_peer(&host);
	client = vsock_client();
	reset();
	ck_assert_uint_eq(rig_flows(), 0);
	ck_assert_uint_eq(worker_vsock_count(rig.worker), 0);
	ck_assert(ended(host));
	ck_assert(ended(client));
	vsock_expect(VSOCK_OP_NONE, 4); /* TRANSPORT_RESET */
	ck_assert_uint_eq(vsock_load32(payload), 0);
	close(host);
	close(client);

	send_segment(&old, TCP_ACK | TCP_PSH, "x", 1);
	recv_segment(&old);
	ck_assert(seen.flags & TCP_RST);
	new = connect_peer(&again);
	send_segment(&new, TCP_ACK | TCP_PSH, "x", 1);
	ck_assert_int_eq(host_next(again), 1);
	close(again);
	client = vsock_client();
	vsock_send(VSOCK_OP_RW, "y", 1);
	ck_assert_int_eq(host_next(client), 1);
	close(client);
}
END_TEST

START_TEST(what_the_old_life_sent_has_no_effect)
{
	struct peer late = new_peer(GATEWAY, rig.port);
	uint8_t half[VSOCK_HLEN / 2] = {CID};
	int client = vsock_client();

	/* In the sockets, and in the middle of a packet, when the reset comes. */
	send_syn(&late);
	vsock_send(VSOCK_OP_RW, "late", 4);
	host_write(vmm, half, sizeof(half));
	reset();
	ck_assert(ended(client));
	close(client);
	vsock_expect(VSOCK_OP_NONE, 4);
	host_write(vmm, half, sizeof(half)); /* the rest of it */
	recv_nothing(&late);
	ck_assert_int_eq(os_accept(rig.listener, NULL, NULL), -EAGAIN);
	ck_assert(!vsock_next(20));
	close(vsock_client()); /* the framing holds */
}
END_TEST

START_TEST(what_waits_for_the_guest_is_dropped)
{
	const uint8_t *bytes = pattern(4 << 20);
	struct peer p;
	int host, client, rw = 0;

	client = vsock_client();
	p = connect_peer(&host);
	os_send(host, bytes, 60000, 0);
	/* More than the kernel keeps for a guest that does not read. */
	for (int i = 0; i < 50; i++) {
		os_send(client, bytes, 1 << 20, 0);
		rig_run(1);
	}
	ck_assert_uint_gt(busy_now().queued, 0);
	reset();
	ck_assert_uint_eq(link_queued(worker_link(rig.worker)), 0);
	ck_assert(ended(host));
	ck_assert(ended(client));
	close(host);
	close(client);
	/* What was in the kernel's hands, then the event, then nothing. */
	for (;;) {
		ck_assert(vsock_next(1000));
		if (packet.op == VSOCK_OP_NONE)
			break;
		ck_assert_uint_eq(packet.op, VSOCK_OP_RW);
		rw++;
	}
	ck_assert_int_gt(rw, 0);
	ck_assert(!vsock_next(20));
	recv_rest(&p);
	recv_nothing(&p);
}
END_TEST

START_TEST(a_vmm_that_comes_later_is_told)
{
	close(vmm);
	rig_run(5);
	reset();
	vmm_connect();
	vsock_expect(VSOCK_OP_NONE, 4);
	close(vmm);
	vmm_connect(); /* once */
	ck_assert(!vsock_next(20));
}
END_TEST

static void count_name(void *arg, const struct worker_name *names, size_t count)
{
	(void)names;
	*(size_t *)arg += count;
}

START_TEST(lease_names_and_mac_go_unless_the_next_life_has_them)
{
	struct worker_lease lease = {.addr = addr_from_v4(GUEST), .hostname = "old"}, now;
	struct worker_name name = {
		.addr = addr_from_v4(0x01020304), .name = "example.org", .until_ms = INT64_MAX};
	size_t names = 0;

	worker_lease_restore(rig.worker, &lease);
	worker_names_restore(rig.worker, &name, 1);
	reset();
	ck_assert(!worker_lease_now(rig.worker, &now));
	worker_names_walk(rig.worker, count_name, &names);
	ck_assert_uint_eq(names, 0);
	ck_assert(!worker_config(rig.worker)->net.guest_mac_known);

	ck_assert_int_eq(worker_reset(rig.worker, on_reset, NULL), 0);
	worker_lease_restore(rig.worker, &lease);
	worker_names_restore(rig.worker, &name, 1);
	worker_mac_restore(rig.worker, &rig_guest_mac);
	RIG_UNTIL(resets == 2);
	ck_assert(worker_lease_now(rig.worker, &now));
	ck_assert_str_eq(now.hostname, "old");
	worker_names_walk(rig.worker, count_name, &names);
	ck_assert_uint_eq(names, 1);
	ck_assert(worker_config(rig.worker)->net.guest_mac_known);
}
END_TEST

/* Passes over all that lies in a socket now. */
static void drain(int fd)
{
	static uint8_t bytes[65536];

	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

START_TEST(five_hundred_lives_leave_nothing)
{
	const uint8_t *bytes = pattern(65536);
	int before = open_fds(), host, client;

	for (int life = 0; life < 500; life++) {
		struct peer p = connect_peer(&host);
		struct peer half = new_peer(GATEWAY, rig.port);

		client = vsock_client();
		os_send(host, bytes, 65536, 0);
		os_send(client, bytes, 65536, 0);
		send_segment(&p, TCP_ACK | TCP_PSH, bytes, 1000);
		vsock_send(VSOCK_OP_RW, bytes, 1000);
		if (life % 3 == 0)
			rig_run(life % 2);
		send_syn(&half);
		reset();
		/* What was underway to the guest before; from here on it is a new one. */
		drain(rig.guest);
		drain(vmm);
		ck_assert_uint_eq(rig_flows(), 0);
		ck_assert_uint_eq(worker_vsock_count(rig.worker), 0);
		os_send(host, bytes, 1000, 0);
		os_send(client, bytes, 1000, 0);
		rig_run(life % 50 ? 1 : 20);
		ck_assert_msg(!recv_packet(0), "life %d: a packet for port %u", life, seen.dport);
		ck_assert_msg(!vsock_next(0), "life %d: a vsock packet, op %u", life, packet.op);
		close(host);
		close(client);
	}
	ck_assert_int_eq(open_fds(), before);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_PACKETS), 0);
}
END_TEST

/* ---- busy ---- */

START_TEST(idle_is_nothing_pending_live_or_queued)
{
	struct peer p, half = new_peer(0xc0000201, 80); /* nobody: 192.0.2.1 */
	struct busy busy = busy_now();
	int host, client;

	ck_assert(!busy.pending && !busy.live && !busy.queued);
	p = connect_peer(&host);
	client = vsock_client();
	busy = busy_now();
	ck_assert_uint_eq(busy.live, 2);
	ck_assert_uint_eq(busy.pending, 0);
	send_segment(&p, TCP_RST | TCP_ACK, NULL, 0);
	vsock_send(VSOCK_OP_RST, NULL, 0);
	RIG_UNTIL(!busy_now().live);
	close(host);
	close(client);
	send_syn(&half);
	for (int i = 0; i < 20 && !busy_now().pending && !recv_for(&half, 0); i++)
		rig_run(1);
	/* Where the host has no route it is refused at once. */
	ck_assert(busy_now().pending == 1 || seen.proto != 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("reset");
	TCase *t = tcase_create("reset"), *b = tcase_create("busy");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, connections_end_and_new_ones_begin);
	tcase_add_test(t, what_the_old_life_sent_has_no_effect);
	tcase_add_test(t, what_waits_for_the_guest_is_dropped);
	tcase_add_test(t, a_vmm_that_comes_later_is_told);
	tcase_add_test(t, lease_names_and_mac_go_unless_the_next_life_has_them);
	tcase_add_test(t, five_hundred_lives_leave_nothing);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(b, set_up, tear_down);
	tcase_add_test(b, idle_is_nothing_pending_live_or_queued);
	suite_add_tcase(s, b);
	return run_suite(s);
}
