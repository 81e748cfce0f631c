/* SPDX-License-Identifier: MIT */
/* vsock over a vhost-user device's rings: layouts of chains, room, what a guest may do wrong. */
#include "tests/unit/vsock_vhost_rig.h"

static uint8_t sent[128u << 10], got[128u << 10];

/* ---- data ---- */

START_TEST(the_device_is_a_vsock)
{
	struct vhost_user_config c = {.size = 8};

	ck_assert_uint_eq(get(VHOST_USER_GET_FEATURES) & 0xff, BIT(0) | BIT(3));
	request(VHOST_USER_GET_CONFIG, 0, &c, 12 + 8, NULL, 0);
	ck_assert_uint_eq(answer(VHOST_USER_GET_CONFIG, &c, sizeof(c)), 12 + 8);
	ck_assert_uint_eq(vsock_load64(c.bytes), RIG_CID);
	ck_assert_uint_ge(get(VHOST_USER_GET_QUEUE_NUM), 2);
}
END_TEST

static void receive(uint8_t *to, size_t len)
{
	while (len) {
		struct vsock_packet packet = rx_packet(to, true);

		ck_assert_uint_eq(packet.op, VSOCK_OP_RW);
		ck_assert_uint_gt(packet.len, 0);
		ck_assert_uint_le(packet.len, len);
		to += packet.len;
		len -= packet.len;
	}
}

START_TEST(bytes_go_both_ways)
{
	rx_fill(RING);
	guest_open(1000);
	tx_rw(1000, sent, 60000);
	host_read(rig.hosts[0], got, 60000);
	ck_assert_mem_eq(got, sent, 60000);
	host_write(rig.hosts[0], sent, 100000);
	receive(got, 100000);
	ck_assert_mem_eq(got, sent, 100000);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_PACKETS), 0);
	ck_assert(tx_all_back());
}
END_TEST

static const struct {
	unsigned pieces;
	uint32_t sizes[8];
} layouts[] = {
	{1, {RX_ROOM}},
	{2, {44, 4096}},
	{2, {45, 10}},
	{3, {10, 34, 100}},
	{8, {1, 1, 1, 40, 1, 1, 1, 1}},
	{3, {43, 1, 2000}},
	{2, {0, 100}},
};

#define LAYOUTS ((int)(sizeof(layouts) / sizeof(*layouts)))

START_TEST(rx_chains_are_laid_out_as_the_guest_likes)
{
	size_t have = 0;

	rx_offer(24);
	do_kick(RX);
	tx_send(VSOCK_OP_REQUEST, 1000, RIG_SOCKET, 0);
	ck_assert_uint_eq(rx_packet(NULL, false).op, VSOCK_OP_RESPONSE);
	host_write(rig.hosts[0], sent, 5000);
	while (have < 5000) {
		struct vsock_packet packet;

		/* Two at a time, so that they may be filled by one call. */
		rx_offer_pieces(0, layouts[_i].sizes, layouts[_i].pieces);
		rx_offer_pieces(8, layouts[_i].sizes, layouts[_i].pieces);
		rx_offer_pieces(16, layouts[_i].sizes, layouts[_i].pieces);
		do_kick(RX);
		for (int i = 0; i < 2 && have < 5000; i++) {
			packet = rx_packet(got + have, false);
			ck_assert_uint_eq(packet.op, VSOCK_OP_RW);
			have += packet.len;
		}
		if (have < 5000)
			have += rx_packet(got + have, false).len;
	}
	ck_assert_mem_eq(got, sent, 5000);
}
END_TEST

START_TEST(tx_chains_are_laid_out_as_the_guest_likes)
{
	static const uint32_t splits[][4] = {
		{44}, {10000}, {1, 1, 1, 1}, {43, 2}, {44, 1, 1}, {20, 24, 3000}};
	struct vsock_packet packet = tx_header(VSOCK_OP_RW, 1000, RIG_SOCKET);

	rx_fill(RING);
	guest_open(1000);
	packet.len = 7000;
	for (size_t i = 0; i < sizeof(splits) / sizeof(*splits); i++) {
		unsigned n = 0;

		while (n < 4 && splits[i][n])
			n++;
		tx_pieces(&packet, sent, 7000, splits[i], n);
		do_kick(TX);
		host_read(rig.hosts[0], got, 7000);
		ck_assert_mem_eq(got, sent, 7000);
	}
	/* Bytes behind what the header says are nobody's. */
	packet.len = 5;
	tx_pieces(&packet, sent, 100, splits[0], 1);
	tx_rw(1000, sent + 5, 1);
	host_read(rig.hosts[0], got, 6);
	ck_assert_mem_eq(got, sent, 6);
	ck_assert(host_is_at_end(rig.hosts[0]) == false);
}
END_TEST

START_TEST(many_packets_are_one_call)
{
	rx_fill(RING);
	guest_open(1000);
	run(5);
	calls(RX);
	host_write(rig.hosts[0], sent, 60000);
	run(20);
	ck_assert_uint_ge(rig_count(COUNTER_VSOCK_TX_BYTES), 60000);
	/* A pass each time that the appetite grew. */
	ck_assert_uint_le(calls(RX), 2);
}
END_TEST

/* Linux's rings have indirect tables; then chains of bytes come back when it suits. */
static void indirect_setup(void)
{
	rig_connected_setup();
	negotiate(BIT(0) | BIT(VIRTIO_RING_F_INDIRECT_DESC));
	set_ring(RX, 0);
	set_ring(TX, 0);
	enable_ring(RX);
	enable_ring(TX);
}

START_TEST(chains_that_may_wait_come_back_though_nothing_happens)
{
	rx_fill(RING);
	guest_open(1000);
	ck_assert(tx_all_back());
	for (unsigned i = 0; i < 10; i++) {
		tx_rw(1000, sent, 100);
		host_read(rig.hosts[0], got, 100);
		UNTIL(tx_all_back());
	}
}
END_TEST

/* ---- room ---- */

START_TEST(data_leaves_chains_for_control)
{
	unsigned data = 0;
	struct vsock_packet packet;

	rx_fill(RING);
	guest_open(1000);
	host_write(rig.hosts[0], sent, sizeof(sent));
	run(20);
	tx_send(VSOCK_OP_REQUEST, 1001, RIG_SOCKET, 0);
	do {
		packet = rx_packet(NULL, false);
		data += packet.op == VSOCK_OP_RW;
	} while (packet.op == VSOCK_OP_RW);
	ck_assert_uint_eq(packet.op, VSOCK_OP_RESPONSE);
	ck_assert_uint_eq(packet.dst_port, 1001);
	ck_assert_uint_eq(data, RING - 8);
}
END_TEST

START_TEST(a_guest_of_few_chains_gets_its_data)
{
	rx_fill(1);
	guest_open(1000);
	host_write(rig.hosts[0], sent, 20000);
	receive(got, 20000);
	ck_assert_mem_eq(got, sent, 20000);
}
END_TEST

START_TEST(answers_wait_for_chains_and_then_so_do_questions)
{
	unsigned sent_rsts = 0, asked = 0;

	/* A guest that gives no chain sends to what is not there. */
	while (asked < VIRTQ_SIZE_MAX + 100) {
		for (unsigned i = 0; i < TX_SLOTS; i++)
			tx_send(VSOCK_OP_RW, 1000 + asked + i, 9, 0);
		asked += TX_SLOTS;
		run(1);
		if (!tx_all_back())
			run(20);
		if (!tx_all_back())
			break;
	}
	ck_assert_uint_le(asked, VIRTQ_SIZE_MAX + TX_SLOTS);
	rx_fill(RING);
	while (sent_rsts < asked) {
		struct vsock_packet packet = rx_packet(NULL, true);

		ck_assert_uint_eq(packet.op, VSOCK_OP_RST);
		ck_assert_uint_eq(packet.dst_port, 1000 + sent_rsts);
		sent_rsts++;
	}
	ck_assert(tx_all_back());
}
END_TEST

START_TEST(without_event_idx_or_a_kick_too_many_nothing_spins)
{
	uint64_t turns;

	rx_fill(RING);
	guest_open(1000);
	host_write(rig.hosts[0], sent, sizeof(sent));
	run(20);
	/* Data is blocked, chains are there. */
	turns = loop_pass(loop);
	run(50);
	ck_assert_uint_le(loop_pass(loop) - turns, 20);
}
END_TEST

/* ---- hostile guests ---- */

START_TEST(a_chain_too_short_for_a_header_is_counted)
{
	static const uint32_t none[1] = {0};
	struct vsock_packet packet = tx_header(VSOCK_OP_REQUEST, 1000, RIG_SOCKET);

	rx_fill(RING);
	tx_pieces(&packet, NULL, 0, none, 0);
	driver[TX].desc[0].len = 43;
	do_kick(TX);
	UNTIL(tx_all_back());
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_PACKETS), 1);
	guest_open(1001);
}
END_TEST

START_TEST(a_length_beyond_the_chain_ends_the_connection)
{
	struct vsock_packet packet = tx_header(VSOCK_OP_RW, 1000, RIG_SOCKET);
	static const uint32_t sizes[] = {44};

	rx_fill(RING);
	guest_open(1000);
	packet.len = _i ? 101 : UINT32_MAX;
	tx_pieces(&packet, sent, 100, sizes, 1);
	do_kick(TX);
	rx_expect(VSOCK_OP_RST, 1000);
	UNTIL(host_is_at_end(rig.hosts[0]));
	guest_open(1001);
}
END_TEST

START_TEST(rx_chains_that_hold_nothing_come_back_empty)
{
	static const uint32_t tiny = 20, header_only = 44;
	uint32_t len;
	uint16_t n;

	rx_offer_pieces(0, &tiny, 1);
	rx_offer(1);
	do_kick(RX);
	tx_send(VSOCK_OP_REQUEST, 1000, RIG_SOCKET, 0);
	UNTIL(rx_poll(&n, &len));
	ck_assert_uint_eq(n, 0);
	ck_assert_uint_eq(len, 0);
	ck_assert_uint_eq(rx_packet(NULL, false).op, VSOCK_OP_RESPONSE);
	/* Enough for control, not for data. */
	rx_offer_pieces(2, &header_only, 1);
	rx_offer(3);
	do_kick(RX);
	host_write(rig.hosts[0], sent, 10);
	UNTIL(rx_poll(&n, &len));
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(len, 0);
	ck_assert_uint_eq(rx_packet(NULL, false).len, 10);
}
END_TEST

START_TEST(bad_rx_chains_among_good_ones_keep_the_order)
{
	unsigned offered = 16, back = 1;
	size_t have = 0;

	rx_fill(16);
	/* The seventh has no memory behind it. */
	driver[RX].desc[6].addr = UINT64_C(1) << 40;
	guest_open(1000);
	offered++;
	host_write(rig.hosts[0], sent, 30000);
	while (have < 30000) {
		const uint8_t *bytes = NULL;
		struct vsock_packet packet;
		uint32_t len;
		uint16_t n;

		UNTIL((bytes = rx_poll(&n, &len)));
		ck_assert_uint_lt(back, offered);
		ck_assert_uint_eq(n, driver[RX].avail->ring[back++ % RING]);
		if (len == 0) {
			ck_assert_uint_eq(n, 6);
			continue;
		}
		vsock_packet_read(&packet, bytes);
		memcpy(got + have, bytes + VSOCK_HLEN, packet.len);
		have += packet.len;
		rx_offer(n);
		offered++;
		do_kick(RX);
	}
	ck_assert_mem_eq(got, sent, 30000);
}
END_TEST

START_TEST(a_broken_ring_harms_nobody)
{
	rx_fill(RING);
	guest_open(1000);
	driver[_i ? RX : TX].avail->idx = (uint16_t)(driver[_i ? RX : TX].avail->idx + 1000);
	do_kick(RX);
	do_kick(TX);
	host_write(rig.hosts[0], sent, 1000);
	run(20);
	/* A new driver. */
	rings_new();
	ck_assert(ask_u64(VHOST_USER_SET_STATUS, 0));
	rings_start(0, 0);
	rx_fill(RING);
	guest_open(1001);
	ck_assert_uint_eq(rig.downs, 0);
}
END_TEST

/* ---- memory that goes ---- */

START_TEST(memory_cut_short_ends_the_session_and_nothing_else)
{
	rx_fill(RING);
	guest_open(1000);
	run(5);
	/* The next chain has a header that stays, and payload that goes. */
	driver[RX].desc[1] = (struct virtq_desc){
		RX_AT(1), VSOCK_HLEN, VIRTQ_DESC_WRITE | VIRTQ_DESC_NEXT, 31};
	driver[RX].desc[31] = (struct virtq_desc){TX_AT, 4096, VIRTQ_DESC_WRITE, 0};
	/* All of it, or what lies behind the rings and the first chains. */
	ck_assert_int_eq(ftruncate(guest.fd, _i & 1 ? 0 : MEM_HALF), 0);
	if (_i & 2) {
		host_write(rig.hosts[0], sent, sizeof(sent));
	} else if (_i & 1) {
		do_kick(TX);
	} else {
		/* A payload where there is no memory any more, a header where there is. */
		struct vsock_packet packet = tx_header(VSOCK_OP_RW, 1000, RIG_SOCKET);

		packet.len = 5000;
		vsock_packet_write(&packet, guest.bytes + DATA_AT);
		driver[TX].desc[30] = (struct virtq_desc){DATA_AT, 44, VIRTQ_DESC_NEXT, 31};
		driver[TX].desc[31] = (struct virtq_desc){TX_AT, 5000, 0, 0};
		driver_offer(&driver[TX], 30);
		do_kick(TX);
	}
	UNTIL(rig.downs == 1);
	ck_assert_str_eq(rig.why, "guest memory was cut short");
	UNTIL(host_is_at_end(rig.hosts[0]));
	ck_assert(!vsock_vhost_is_up(rig.vhost));
}
END_TEST

static void pattern_setup(void)
{
	fill_pattern(sent, sizeof(sent));
	rig_setup();
}

int main(void)
{
	Suite *s = suite_create("vsock_vhost");
	TCase *t = tcase_create("rings"), *indirect = tcase_create("indirect");

	tcase_add_checked_fixture(t, pattern_setup, rig_teardown);
	tcase_add_test(t, the_device_is_a_vsock);
	tcase_add_test(t, bytes_go_both_ways);
	tcase_add_loop_test(t, rx_chains_are_laid_out_as_the_guest_likes, 0, LAYOUTS);
	tcase_add_test(t, tx_chains_are_laid_out_as_the_guest_likes);
	tcase_add_test(t, many_packets_are_one_call);
	tcase_add_test(t, data_leaves_chains_for_control);
	tcase_add_test(t, a_guest_of_few_chains_gets_its_data);
	tcase_add_test(t, answers_wait_for_chains_and_then_so_do_questions);
	tcase_add_test(t, without_event_idx_or_a_kick_too_many_nothing_spins);
	tcase_add_test(t, a_chain_too_short_for_a_header_is_counted);
	tcase_add_loop_test(t, a_length_beyond_the_chain_ends_the_connection, 0, 2);
	tcase_add_test(t, rx_chains_that_hold_nothing_come_back_empty);
	tcase_add_test(t, bad_rx_chains_among_good_ones_keep_the_order);
	tcase_add_loop_test(t, a_broken_ring_harms_nobody, 0, 2);
	tcase_add_loop_test(t, memory_cut_short_ends_the_session_and_nothing_else, 0, 4);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(indirect, indirect_setup, rig_teardown);
	tcase_add_test(indirect, chains_that_may_wait_come_back_though_nothing_happens);
	suite_add_tcase(s, indirect);
	return run_suite(s);
}
