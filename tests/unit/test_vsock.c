/* SPDX-License-Identifier: MIT */
/* vsock connections as a guest sees them that speaks packets: bytes, credit, ends. */
#include "tests/unit/vsock_rig.h"

#include <fcntl.h>

static uint8_t block[VSOCK_PAYLOAD_MAX];

/* ---- beginnings ---- */

START_TEST(bytes_go_both_ways)
{
	char text[16] = {0};
	struct vsock_packet packet;

	guest_open(1000);
	guest_rw(1000, RIG_SOCKET, "question", 8);
	host_read(rig.hosts[0], text, 8);
	ck_assert_str_eq(text, "question");
	ck_assert_int_eq(os_send(rig.hosts[0], "answer", 6, 0), 6);
	packet = guest_expect(VSOCK_OP_RW, 1000);
	ck_assert_uint_eq(packet.len, 6);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "answer", 6);
	ck_assert_uint_eq(packet.fwd_cnt, 8);
	guest_expect_nothing();
}
END_TEST

START_TEST(nobody_listens_says_rst)
{
	struct vsock_packet packet;

	guest_send(VSOCK_OP_REQUEST, 1000, 99, 0);
	packet = guest_expect(VSOCK_OP_RST, 1000);
	ck_assert_uint_eq(packet.src_port, 99);
	guest_expect_nothing();
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
}
END_TEST

START_TEST(who_answers_later_may_refuse_or_accept)
{
	struct vsock_host host = rig_host();

	guest_send(VSOCK_OP_REQUEST, 1000, RIG_LATER, 0);
	RIG_UNTIL(rig.later);
	guest_expect_nothing();
	vsock_conn_refuse(rig.later);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert_uint_eq(rig.closed, 1);
	guest_send(VSOCK_OP_REQUEST, 1000, RIG_LATER, 0);
	RIG_UNTIL(rig.later);
	ck_assert_int_eq(vsock_conn_accept(rig.later, &host), 0);
	guest_expect(VSOCK_OP_RESPONSE, 1000);
}
END_TEST

START_TEST(the_host_connects_with_a_prefix)
{
	struct vsock_host host = rig_host();
	struct vsock_packet packet;

	host.prefix = "first ";
	host.prefix_len = 6;
	ck_assert_int_eq(os_send(rig.hosts[0], "then", 4, 0), 4);
	ck_assert_int_eq(vsock_mux_connect(rig.mux, 80, &host, &rig_conn_events), 0);
	packet = guest_expect(VSOCK_OP_REQUEST, 80);
	ck_assert_uint_ge(packet.src_port, VSOCK_HOST_PORT_FIRST);
	guest_expect_nothing();
	guest_send(VSOCK_OP_RESPONSE, 80, packet.src_port, 0);
	guest_expect(VSOCK_OP_RW, 80);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "first ", 6);
	guest_expect(VSOCK_OP_RW, 80);
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, "then", 4);
	ck_assert_uint_eq(rig.opened, 1);
}
END_TEST

START_TEST(a_guest_that_refuses_ends_the_hosts_connection)
{
	struct vsock_host host = rig_host();
	struct vsock_packet packet;

	ck_assert_int_eq(vsock_mux_connect(rig.mux, 80, &host, &rig_conn_events), 0);
	packet = guest_expect(VSOCK_OP_REQUEST, 80);
	guest_send(VSOCK_OP_RST, 80, packet.src_port, 0);
	RIG_UNTIL(rig.closed == 1);
	ck_assert_uint_eq(rig.opened, 0);
	ck_assert(host_is_at_end(rig.hosts[0]));
	guest_expect_nothing();
}
END_TEST

START_TEST(without_a_guest_the_host_is_refused_at_once)
{
	struct vsock_host host;

	close(rig.guest);
	rig.guest = -1;
	RIG_UNTIL(!vsock_stream_is_up(rig.stream));
	host = rig_host();
	ck_assert_int_eq(vsock_mux_connect(rig.mux, 80, &host, NULL), -ENOTCONN);
	ck_assert(host_is_at_end(rig.hosts[0]));
}
END_TEST

/* ---- credit ---- */

START_TEST(the_guests_buffer_is_never_overrun)
{
	uint32_t got = 0;
	struct vsock_packet packet;

	rig.buf_alloc = 10000;
	guest_open(1000);
	ck_assert_int_eq(os_send(rig.hosts[0], block, 50000, 0), 50000);
	while (got < 50000) {
		do {
			packet = guest_next();
			if (packet.op == VSOCK_OP_RW)
				got += packet.len;
			ck_assert_uint_le(got - rig.fwd_cnt, 10000);
		} while (packet.op == VSOCK_OP_RW && got < 50000);
		if (got < 50000)
			ck_assert_int_eq(packet.op, VSOCK_OP_CREDIT_REQUEST);
		ck_assert_uint_eq(got - rig.fwd_cnt, 10000);
		rig.fwd_cnt = got;
		guest_send(VSOCK_OP_CREDIT_UPDATE, 1000, RIG_SOCKET, 0);
	}
	/* Whether there was more could not be known. */
	guest_expect(VSOCK_OP_CREDIT_REQUEST, 1000);
	guest_expect_nothing();
}
END_TEST

START_TEST(credit_comes_when_the_host_took_the_bytes)
{
	uint32_t sent = 0, fwd_cnt = 0, got = 0;
	struct vsock_packet packet;

	guest_open(1000);
	/* As much as may be sent, and no byte of it read. */
	while (sent - fwd_cnt < VSOCK_CREDIT) {
		uint32_t n = VSOCK_CREDIT - (sent - fwd_cnt);

		n = n < sizeof(block) ? n : sizeof(block);
		guest_rw(1000, RIG_SOCKET, block, n);
		sent += n;
		rig_run(1);
		while (guest_poll(&packet)) {
			ck_assert_int_eq(packet.op, VSOCK_OP_CREDIT_UPDATE);
			fwd_cnt = packet.fwd_cnt;
		}
	}
	guest_expect_nothing();
	while (got < sent) {
		uint32_t n = sent - got < sizeof(block) ? sent - got : sizeof(block);

		host_read(rig.hosts[0], block, n);
		got += n;
	}
	packet = guest_expect(VSOCK_OP_CREDIT_UPDATE, 1000);
	while (guest_poll(&packet))
		rig_run(1);
	ck_assert_uint_gt(packet.fwd_cnt, sent - VSOCK_CREDIT / 2);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_CREDIT_OVERRUNS), 0);
}
END_TEST

/* Linux sends no more unanswered than its own receive buffer would hold. */
START_TEST(credit_comes_to_a_guest_with_a_small_buffer)
{
	struct vsock_packet packet;

	rig.buf_alloc = 8192;
	guest_open(1000);
	for (unsigned n = 1; n <= 8; n++) {
		guest_rw(1000, RIG_SOCKET, block, 8192);
		host_read(rig.hosts[0], block, 8192);
		packet = guest_expect(VSOCK_OP_CREDIT_UPDATE, 1000);
		ck_assert_uint_eq(packet.fwd_cnt, n * 8192);
	}
}
END_TEST

START_TEST(a_guest_that_oversteps_is_reset)
{
	struct vsock_packet packet = {0};
	unsigned sent = 0;

	guest_open(1000);
	for (; sent < 40 && packet.op != VSOCK_OP_RST; sent++) {
		guest_rw(1000, RIG_SOCKET, block, sizeof(block));
		rig_run(1);
		while (packet.op != VSOCK_OP_RST && guest_poll(&packet))
			;
	}
	ck_assert_int_eq(packet.op, VSOCK_OP_RST);
	ck_assert_uint_ge(sent, 5);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_CREDIT_OVERRUNS), 1);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
}
END_TEST

START_TEST(a_credit_request_is_answered)
{
	guest_open(1000);
	guest_send(VSOCK_OP_CREDIT_REQUEST, 1000, RIG_SOCKET, 0);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_CREDIT_UPDATE, 1000).buf_alloc, VSOCK_CREDIT);
	guest_expect_nothing();
}
END_TEST

static void guest_takes(uint32_t len)
{
	for (uint32_t got = 0; got < len;) {
		struct vsock_packet packet = guest_next();

		if (packet.op != VSOCK_OP_RW)
			continue;
		got += packet.len;
		rig.fwd_cnt += packet.len;
		ck_assert_uint_le(got, len);
		guest_send(VSOCK_OP_CREDIT_UPDATE, 1000, RIG_SOCKET, 0);
	}
}

/* Its writes while the guest takes nothing are no news; the next one after that is. */
START_TEST(a_host_that_writes_on_is_heard_again)
{
	rig.buf_alloc = 1000;
	guest_open(1000);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 10; i++) {
			ck_assert_int_eq(os_send(rig.hosts[0], block, 1000, 0), 1000);
			rig_run(1);
		}
		guest_takes(10000);
		rig_run(1);
	}
}
END_TEST

/* Nor are its reads while nothing waits for them; but once something does, they are. */
START_TEST(a_host_that_reads_on_is_heard_again)
{
	static uint8_t buf[VSOCK_PAYLOAD_MAX];

	rig.narrow = true;
	guest_open(1000);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 10; i++) {
			guest_rw(1000, RIG_SOCKET, block, 100);
			host_read(rig.hosts[0], buf, 100);
			rig_run(1);
		}
		guest_rw(1000, RIG_SOCKET, block, sizeof(block));
		rig_run(1);
		host_read(rig.hosts[0], buf, sizeof(buf));
	}
}
END_TEST

/* What the guest sends in the tests below: byte i of the stream. */
static uint8_t byte_at(uint32_t i)
{
	return (uint8_t)(i * 7 + (i >> 8) * 13 + (i >> 16));
}

#define BULK (24u << 20)

/* Both ways at once, at the pace of a guest and a host that each keep to their rules. */
START_TEST(much_goes_both_ways_unharmed)
{
	static uint8_t buf[VSOCK_PAYLOAD_MAX];
	uint32_t to_host = 0, at_host = 0, to_guest = 0, at_guest = 0, fwd_cnt = 0;
	struct vsock_packet packet;

	rig.buf_alloc = 100000;
	guest_open(1000);
	while (at_host < BULK || at_guest < BULK) {
		uint32_t room = VSOCK_CREDIT - (to_host - fwd_cnt), n;
		ssize_t got;

		n = room < sizeof(buf) ? room : sizeof(buf);
		n = BULK - to_host < n ? BULK - to_host : n;
		for (uint32_t i = 0; i < n; i++)
			buf[i] = byte_at(to_host + i);
		if (n)
			guest_rw(1000, RIG_SOCKET, buf, n);
		to_host += n;
		n = BULK - to_guest < sizeof(buf) ? BULK - to_guest : sizeof(buf);
		for (uint32_t i = 0; i < n; i++)
			buf[i] = byte_at(to_guest + i);
		got = n ? os_send(rig.hosts[0], buf, n, 0) : 0;
		to_guest += got > 0 ? (uint32_t)got : 0;
		rig_run(0);
		got = recv(rig.hosts[0], buf, sizeof(buf), 0);
		for (ssize_t i = 0; i < got; i++) {
			if (buf[i] != byte_at(at_host++))
				ck_abort_msg("byte %u at the host", at_host - 1);
		}
		while (guest_poll(&packet)) {
			fwd_cnt = packet.fwd_cnt;
			ck_assert_int_ne(packet.op, VSOCK_OP_RST);
			if (packet.op == VSOCK_OP_CREDIT_REQUEST)
				guest_send(VSOCK_OP_CREDIT_UPDATE, 1000, RIG_SOCKET, 0);
			for (uint32_t i = 0; packet.op == VSOCK_OP_RW && i < packet.len; i++) {
				if (rig.in[VSOCK_HLEN + i] != byte_at(at_guest++))
					ck_abort_msg("byte %u at the guest", at_guest - 1);
			}
			ck_assert_uint_le(at_guest - rig.fwd_cnt, rig.buf_alloc);
			if (at_guest - rig.fwd_cnt > rig.buf_alloc / 2) {
				rig.fwd_cnt = at_guest;
				guest_send(VSOCK_OP_CREDIT_UPDATE, 1000, RIG_SOCKET, 0);
			}
		}
	}
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_RX_BYTES), BULK);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_TX_BYTES), BULK);
}
END_TEST

/* ---- ends ---- */

START_TEST(the_guests_half_close_is_the_hosts_end_of_file)
{
	guest_open(1000);
	guest_rw(1000, RIG_SOCKET, "last", 4);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, VSOCK_SHUT_SEND);
	host_read(rig.hosts[0], block, 4);
	RIG_UNTIL(host_is_at_end(rig.hosts[0]));
	ck_assert_int_eq(os_send(rig.hosts[0], "still", 5, 0), 5);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 1000).len, 5);
	shutdown(rig.hosts[0], SHUT_WR);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_SHUTDOWN, 1000).flags, VSOCK_SHUT_BOTH);
	guest_send(VSOCK_OP_RST, 1000, RIG_SOCKET, 0);
	RIG_UNTIL(vsock_mux_count(rig.mux) == 0);
	guest_expect_nothing();
}
END_TEST

START_TEST(the_hosts_half_close_is_a_shutdown)
{
	guest_open(1000);
	ck_assert_int_eq(os_send(rig.hosts[0], "last", 4, 0), 4);
	shutdown(rig.hosts[0], SHUT_WR);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 1000).len, 4);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_SHUTDOWN, 1000).flags, VSOCK_SHUT_SEND);
	guest_rw(1000, RIG_SOCKET, "still", 5);
	host_read(rig.hosts[0], block, 5);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, VSOCK_SHUT_BOTH);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
}
END_TEST

START_TEST(a_host_that_reads_no_more_is_told_to_the_guest)
{
	guest_open(1000);
	shutdown(rig.hosts[0], SHUT_RD);
	guest_rw(1000, RIG_SOCKET, "unread", 6);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_SHUTDOWN, 1000).flags, VSOCK_SHUT_RECEIVE);
	guest_rw(1000, RIG_SOCKET, "on its way", 10);
	ck_assert_int_eq(os_send(rig.hosts[0], "still", 5, 0), 5);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 1000).len, 5);
}
END_TEST

START_TEST(a_guest_that_reads_no_more_gets_nothing_more)
{
	guest_open(1000);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, VSOCK_SHUT_RECEIVE);
	rig_run(5);
	os_send(rig.hosts[0], "unwanted", 8, 0);
	guest_expect_nothing();
	guest_rw(1000, RIG_SOCKET, "but", 3);
	host_read(rig.hosts[0], block, 3);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, VSOCK_SHUT_SEND);
	guest_expect(VSOCK_OP_RST, 1000);
}
END_TEST

/* A close does not cost what the host has not read yet, even where the guest forgets all. */
START_TEST(a_closed_connections_bytes_still_arrive)
{
	static uint8_t buf[VSOCK_PAYLOAD_MAX];
	struct vsock_packet packet;
	uint32_t sent = 0;

	guest_open(1000);
	for (; sent < VSOCK_CREDIT; sent += sizeof(buf)) {
		for (uint32_t i = 0; i < sizeof(buf); i++)
			buf[i] = byte_at(sent + i);
		guest_rw(1000, RIG_SOCKET, buf, sizeof(buf));
	}
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, VSOCK_SHUT_BOTH);
	rig_run(5);
	while (guest_poll(&packet))
		ck_assert_int_eq(packet.op, VSOCK_OP_CREDIT_UPDATE);
	guest_send(VSOCK_OP_RST, 1000, RIG_SOCKET, 0);
	rig_run(5);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 1);
	guest_open(1000); /* its ports are free again */
	for (uint32_t at = 0; at < sent; at += sizeof(buf)) {
		host_read(rig.hosts[0], buf, sizeof(buf));
		for (uint32_t i = 0; i < sizeof(buf); i++) {
			if (buf[i] != byte_at(at + i))
				ck_abort_msg("byte %u", at + i);
		}
	}
	RIG_UNTIL(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 1);
	ck_assert(!host_is_at_end(rig.hosts[1]));
}
END_TEST

START_TEST(an_rst_ends_it_for_the_host)
{
	guest_open(1000);
	guest_send(VSOCK_OP_RST, 1000, RIG_SOCKET, 0);
	RIG_UNTIL(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
	guest_expect_nothing();
}
END_TEST

START_TEST(deadlines_end_what_the_guest_leaves_open)
{
	struct vsock_host host = rig_host();

	ck_assert_int_eq(vsock_mux_connect(rig.mux, 80, &host, &rig_conn_events), 0);
	guest_expect(VSOCK_OP_REQUEST, 80);
	guest_open(1000);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, VSOCK_SHUT_SEND);
	RIG_UNTIL(host_is_at_end(rig.hosts[1]));
	shutdown(rig.hosts[1], SHUT_WR);
	guest_expect(VSOCK_OP_SHUTDOWN, 1000);
	rig_run(VSOCK_REQUEST_MS - 500);
	ck_assert_uint_eq(rig.closed, 0);
	rig_run(1000);
	ck_assert_uint_eq(rig.closed, 1);
	guest_expect(VSOCK_OP_RST, 80);
	rig_run(VSOCK_SHUTDOWN_MS - VSOCK_REQUEST_MS);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_TIMEOUTS), 2);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
}
END_TEST

/* ---- many ---- */

START_TEST(a_thousand_connections_at_once)
{
	struct vsock_packet packet;
	uint32_t answers = 0;

	for (uint32_t i = 0; i < 1000; i++)
		guest_open(1000 + i);
	for (uint32_t i = 0; i < 1000; i++)
		guest_rw(1000 + i, RIG_SOCKET, &i, sizeof(i));
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t number;

		host_read(rig.hosts[i], &number, sizeof(number));
		ck_assert_uint_eq(number, i);
		ck_assert_int_eq(os_send(rig.hosts[i], &number, sizeof(number), 0), 4);
	}
	for (; answers < 1000; answers++) {
		uint32_t number;

		packet = guest_next();
		ck_assert_int_eq(packet.op, VSOCK_OP_RW);
		memcpy(&number, rig.in + VSOCK_HLEN, sizeof(number));
		ck_assert_uint_eq(packet.dst_port, 1000 + number);
	}
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 1000);
}
END_TEST

START_TEST(connections_are_bounded)
{
	struct vsock_packet packet;

	for (uint32_t i = 0; i < VSOCK_CONNS_MAX; i++)
		guest_send(VSOCK_OP_REQUEST, i, RIG_LATER, 0);
	RIG_UNTIL(vsock_mux_count(rig.mux) == VSOCK_CONNS_MAX);
	ck_assert_uint_le(sizeof(struct vsock_conn), 1024);
	guest_send(VSOCK_OP_REQUEST, VSOCK_CONNS_MAX, RIG_LATER, 0);
	packet = guest_expect(VSOCK_OP_RST, VSOCK_CONNS_MAX);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BOUNDS), 1);
	guest_send(VSOCK_OP_RST, 0, RIG_LATER, 0);
	guest_open(5);
	(void)packet;
}
END_TEST

START_TEST(a_host_that_reads_nothing_delays_nobody)
{
	char text[4];

	guest_open(1000);
	guest_open(1001);
	for (uint32_t sent = 0; sent < VSOCK_CREDIT; sent += sizeof(block))
		guest_rw(1000, RIG_SOCKET, block, sizeof(block));
	guest_rw(1001, RIG_SOCKET, "fast", 4);
	host_read(rig.hosts[1], text, 4);
	ck_assert_mem_eq(text, "fast", 4);
}
END_TEST

#define SLOW 300u

/* Beyond 64 MiB that no host takes the guest's packets stay where they are, and none is lost. */
START_TEST(what_hosts_do_not_take_is_bounded)
{
	uint8_t head[VSOCK_HLEN];
	uint64_t sent = 0, got = 0;
	size_t at = 0, total;

	rig.narrow = true;
	for (uint32_t i = 0; i < SLOW; i++)
		guest_open(1000 + i);
	total = SLOW * 4 * (size_t)(VSOCK_HLEN + VSOCK_PAYLOAD_MAX);
	for (int waited = 0; sent < total; waited++) {
		uint32_t n = (uint32_t)(sent / (VSOCK_HLEN + VSOCK_PAYLOAD_MAX));
		struct vsock_packet packet = guest_packet(VSOCK_OP_RW, 1000 + n % SLOW, RIG_SOCKET);
		ssize_t done;

		at = (size_t)(sent % (VSOCK_HLEN + VSOCK_PAYLOAD_MAX));
		packet.len = VSOCK_PAYLOAD_MAX;
		vsock_packet_write(&packet, head);
		done = at < VSOCK_HLEN ? os_send(rig.guest, head + at, VSOCK_HLEN - at, 0)
				       : os_send(rig.guest, block + (at - VSOCK_HLEN),
						 VSOCK_HLEN + VSOCK_PAYLOAD_MAX - at, 0);
		if (done > 0) {
			sent += (uint64_t)done;
			waited = 0;
			continue;
		}
		rig_run(1);
		if (waited == 20 && !got) {
			ck_assert_uint_ge(sent, VSOCK_SPILL_MAX);
			ck_assert_uint_lt(sent, VSOCK_SPILL_MAX + (8u << 20));
		}
		for (size_t i = 0; waited >= 20 && i < SLOW; i++) {
			done = recv(rig.hosts[i], block, sizeof(block), 0);
			got += done > 0 ? (uint64_t)done : 0;
		}
	}
	for (int waited = 0; got < (uint64_t)SLOW * VSOCK_CREDIT && waited < 5000; waited++) {
		for (size_t i = 0; i < SLOW; i++) {
			ssize_t n = recv(rig.hosts[i], block, sizeof(block), 0);

			got += n > 0 ? (uint64_t)n : 0;
		}
		rig_run(1);
	}
	ck_assert_uint_eq(got, (uint64_t)SLOW * VSOCK_CREDIT);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_CREDIT_OVERRUNS), 0);
}
END_TEST

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* 500 lives, each with all kinds of connections in all kinds of states. */
START_TEST(resets_leave_nothing_behind)
{
	int before = open_fds();

	for (int life = 0; life < 500; life++) {
		struct vsock_host host = rig_host();

		vsock_mux_connect(rig.mux, 80, &host, NULL);
		guest_send(VSOCK_OP_REQUEST, 1, RIG_SOCKET, 0);
		guest_send(VSOCK_OP_REQUEST, 2, RIG_LATER, 0);
		guest_send(VSOCK_OP_REQUEST, 3, 99, 0);
		for (int i = 0; i < life % 5; i++)
			guest_rw(1, RIG_SOCKET, block, sizeof(block));
		if (life % 3 == 0)
			guest_send(VSOCK_OP_SHUTDOWN, 1, RIG_SOCKET, VSOCK_SHUT_BOTH);
		rig_run(life % 2);
		close(rig.guest);
		rig_attach_guest();
		rig.have = 0;
		rig_expect_greeting();
		ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
		while (rig.n_hosts)
			close(rig.hosts[--rig.n_hosts]);
	}
	guest_expect_nothing();
	ck_assert_int_eq(open_fds(), before);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsock");
	TCase *b = tcase_create("beginnings"), *c = tcase_create("credit");
	TCase *e = tcase_create("ends"), *m = tcase_create("many");

	tcase_add_checked_fixture(b, rig_setup, rig_teardown);
	tcase_add_test(b, bytes_go_both_ways);
	tcase_add_test(b, nobody_listens_says_rst);
	tcase_add_test(b, who_answers_later_may_refuse_or_accept);
	tcase_add_test(b, the_host_connects_with_a_prefix);
	tcase_add_test(b, a_guest_that_refuses_ends_the_hosts_connection);
	tcase_add_test(b, without_a_guest_the_host_is_refused_at_once);
	suite_add_tcase(s, b);
	tcase_add_checked_fixture(c, rig_setup, rig_teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, the_guests_buffer_is_never_overrun);
	tcase_add_test(c, credit_comes_when_the_host_took_the_bytes);
	tcase_add_test(c, credit_comes_to_a_guest_with_a_small_buffer);
	tcase_add_test(c, a_guest_that_oversteps_is_reset);
	tcase_add_test(c, a_credit_request_is_answered);
	tcase_add_test(c, a_host_that_writes_on_is_heard_again);
	tcase_add_test(c, a_host_that_reads_on_is_heard_again);
	tcase_add_test(c, much_goes_both_ways_unharmed);
	suite_add_tcase(s, c);
	tcase_add_checked_fixture(e, rig_setup, rig_teardown);
	tcase_set_timeout(e, 30);
	tcase_add_test(e, the_guests_half_close_is_the_hosts_end_of_file);
	tcase_add_test(e, the_hosts_half_close_is_a_shutdown);
	tcase_add_test(e, a_host_that_reads_no_more_is_told_to_the_guest);
	tcase_add_test(e, a_guest_that_reads_no_more_gets_nothing_more);
	tcase_add_test(e, a_closed_connections_bytes_still_arrive);
	tcase_add_test(e, an_rst_ends_it_for_the_host);
	tcase_add_test(e, deadlines_end_what_the_guest_leaves_open);
	suite_add_tcase(s, e);
	tcase_add_checked_fixture(m, rig_setup, rig_teardown);
	tcase_set_timeout(m, 60);
	tcase_add_test(m, a_thousand_connections_at_once);
	tcase_add_test(m, connections_are_bounded);
	tcase_add_test(m, a_host_that_reads_nothing_delays_nobody);
	tcase_add_test(m, what_hosts_do_not_take_is_bounded);
	tcase_add_test(m, resets_leave_nothing_behind);
	suite_add_tcase(s, m);
	return run_suite(s);
}
