/* SPDX-License-Identifier: MIT */
/* Fragments: put together in any order, within bounds, and never where they overlap. */
#include "tests/unit/stack_rig.h"

#define SIZE 8000 /* bytes of a datagram's data */

static uint8_t data[65536];

static void fill(void)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
}

static void setup(void)
{
	rig_setup();
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	fill();
}

/* One fragment of l4 (of total bytes); start is a multiple of 8. */
static void send_piece(const uint8_t *l4, size_t total, uint16_t id, size_t start, size_t len)
{
	struct rig_ip ip = {.dst = "10.0.2.2", .proto = IP_PROTO_UDP, .id = id};

	ip.frag = (uint16_t)(start / 8 | (start + len < total ? IP4_MF : 0));
	rig_send_ip(ip, l4 + start, len);
}

static const uint8_t *datagram(uint16_t dport, size_t len)
{
	return rig_udp(NULL, "10.0.2.2", 4000, dport, data, len);
}

/* A datagram whose pieces come in the given order arrives whole at a socket of the host's. */
static void arrives(const size_t *order, size_t pieces)
{
	static uint8_t got[65536];
	uint16_t port = 0;
	struct endpoint from;
	int host = rig_host_udp("127.0.0.1", &port);
	size_t total = UDP_HLEN + SIZE, each = 1480;
	const uint8_t *l4 = datagram(port, SIZE);

	for (size_t i = 0; i < pieces; i++) {
		size_t start = order[i] * each;

		send_piece(l4, total, 7, start, total - start < each ? total - start : each);
	}
	ck_assert_int_eq(rig_host_recv(host, got, sizeof(got), &from), SIZE);
	ck_assert_mem_eq(got, data, SIZE);
	ck_assert_uint_eq(rig_count(COUNTER_FRAGMENTS_REASSEMBLED), 1);
	close(host);
}

START_TEST(in_order)
{
	arrives((size_t[]){0, 1, 2, 3, 4, 5}, 6);
}
END_TEST

START_TEST(in_any_order)
{
	arrives((size_t[]){5, 0, 3, 1, 4, 2}, 6);
}
END_TEST

START_TEST(repeated_pieces_do_no_harm)
{
	arrives((size_t[]){0, 1, 1, 0, 5, 2, 3, 5, 4}, 9);
}
END_TEST

START_TEST(the_longest_datagram_passes)
{
	static uint8_t got[65536];
	uint16_t port = 0;
	struct endpoint from;
	int host = rig_host_udp("127.0.0.1", &port);
	size_t total = UDP_HLEN + 65507;
	const uint8_t *l4 = datagram(port, 65507);

	for (size_t at = 0; at < total; at += 1480)
		send_piece(l4, total, 9, at, total - at < 1480 ? total - at : 1480);
	ck_assert_int_eq(rig_host_recv(host, got, sizeof(got), &from), 65507);
	ck_assert_mem_eq(got, data, 65507);
	close(host);
}
END_TEST

START_TEST(an_overlap_drops_the_whole)
{
	const uint8_t *l4 = datagram(9, 3000);

	send_piece(l4, 3008, 3, 0, 1480);
	send_piece(l4, 3008, 3, 1472, 1480);
	send_piece(l4, 3008, 3, 1480, 1528);
	rig_run(20);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAGMENT_OVERLAP), 1);
	ck_assert_uint_eq(rig_count(COUNTER_FRAGMENTS_REASSEMBLED), 0);
}
END_TEST

START_TEST(a_repetition_with_other_bytes_is_an_overlap)
{
	const uint8_t *l4 = datagram(9, 3000);

	send_piece(l4, 3008, 3, 0, 1480);
	send_piece(data + 100, 3008, 3, 0, 1480);
	send_piece(l4, 3008, 3, 1480, 1528);
	rig_run(20);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAGMENT_OVERLAP), 1);
	ck_assert_uint_eq(rig_count(COUNTER_FRAGMENTS_REASSEMBLED), 0);
}
END_TEST

START_TEST(nothing_may_lie_beyond_the_end)
{
	const uint8_t *l4 = datagram(9, 3000);

	send_piece(l4, 3008, 3, 1480, 1528);
	send_piece(l4, 65000, 3, 3008, 800);
	rig_run(20);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAGMENT_OVERLAP), 1);
}
END_TEST

START_TEST(a_wrong_checksum_is_dropped)
{
	uint8_t l4[3008];

	memcpy(l4, datagram(9, 3000), sizeof(l4));
	l4[2000] ^= 1;
	send_piece(l4, 3008, 3, 0, 1480);
	send_piece(l4, 3008, 3, 1480, 1528);
	rig_run(20);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_CHECKSUM), 1);
	ck_assert_uint_eq(rig_count(COUNTER_FRAGMENTS_REASSEMBLED), 0);
}
END_TEST

START_TEST(what_never_ends_times_out)
{
	const uint8_t *l4 = datagram(9, 3000);

	send_piece(l4, 3008, 3, 0, 1480);
	rig_run(20);
	rig_sleep(14000);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAGMENT_TIMEOUT), 0);
	rig_sleep(1100);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAGMENT_TIMEOUT), 1);
	send_piece(l4, 3008, 3, 1480, 1528);
	rig_run(20);
	ck_assert_uint_eq(rig_count(COUNTER_FRAGMENTS_REASSEMBLED), 0);
}
END_TEST

START_TEST(the_oldest_make_room)
{
	const uint8_t *l4 = datagram(9, 3000);

	for (uint16_t id = 0; id < 200; id++) {
		send_piece(l4, 3008, id, 0, 1480);
		rig_run(1);
	}
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAGMENT_BOUNDS), 200 - 64);
	send_piece(l4, 3008, 199, 1480, 1528);
	rig_run(20);
	ck_assert_uint_eq(rig_count(COUNTER_FRAGMENTS_REASSEMBLED), 1);
}
END_TEST

START_TEST(large_ones_are_fewer)
{
	for (uint16_t id = 0; id < 64; id++) {
		send_piece(data, 65000, id, 60000, 1480);
		rig_run(1);
	}
	/* 64 KiB of buffer and a list of ranges each: 15 fit. */
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAGMENT_BOUNDS), 64 - 15);
}
END_TEST

START_TEST(tiny_pieces_are_bounded)
{
	for (size_t at = 0; at < 300 * 16; at += 16) {
		send_piece(data, 65000, 1, at, 8);
		rig_run(1);
	}
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAGMENT_BOUNDS), 1);
}
END_TEST

START_TEST(impossible_pieces_are_malformed)
{
	struct rig_ip ip = {.dst = "10.0.2.2", .proto = IP_PROTO_UDP, .id = 1};

	ip.frag = IP4_MF | 10; /* not a multiple of 8 */
	rig_send_ip(ip, data, 100 + 1);
	ip.frag = 8191; /* ends beyond 64 KiB */
	rig_send_ip(ip, data, 1000);
	ip.frag = IP4_MF | 10; /* empty */
	rig_send_ip(ip, data, 0);
	rig_run(20);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_MALFORMED), 3);
}
END_TEST

/* What the guest would put together from the fragments that come. */
static void guest_gets(size_t len)
{
	static uint8_t whole[65536];
	size_t have = 0, total = 0;

	while (!total || have < total) {
		const struct rig_frame *f = rig_recv();
		uint16_t frag = be16_get(f->ip->frag);
		size_t start = (size_t)(frag & IP4_OFFSET) * 8;

		ck_assert_uint_le(f->len, ETH_HLEN + rig.net.mtu);
		memcpy(whole + start, f->l4, f->l4_len);
		have += f->l4_len;
		if (!(frag & IP4_MF))
			total = start + f->l4_len;
	}
	ck_assert_uint_eq(total, UDP_HLEN + len);
	ck_assert_uint_eq(be16_get(((struct udp_hdr *)whole)->len), total);
	ck_assert_mem_eq(whole + UDP_HLEN, data, len);
	ck_assert_uint_eq(csum_fold(csum_add(csum_pseudo(&rig.net.gateway, &rig.net.guest,
						     IP_PROTO_UDP, total),
				  whole, total)),
		0xffff);
}

START_TEST(datagrams_above_the_mtu_are_cut)
{
	struct endpoint src = {rig.net.gateway, 9}, dst = {rig.net.guest, 4000};
	static const size_t sizes[] = {1472, 1473, 8192, 1480 * 3 - 8, 1480 * 3 - 7, 65507};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		udp_deliver(rig.udp, &src, &dst, data, sizes[i]);
		guest_gets(sizes[i]);
	}
	ck_assert_uint_eq(rig_count(COUNTER_FRAGMENTS_OUT), 2 + 6 + 3 + 4 + 45);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fragment");
	TCase *in = tcase_create("in"), *bounds = tcase_create("bounds"),
	      *out = tcase_create("out");

	tcase_add_checked_fixture(in, setup, rig_teardown);
	tcase_add_test(in, in_order);
	tcase_add_test(in, in_any_order);
	tcase_add_test(in, repeated_pieces_do_no_harm);
	tcase_add_test(in, the_longest_datagram_passes);
	tcase_add_test(in, an_overlap_drops_the_whole);
	tcase_add_test(in, a_repetition_with_other_bytes_is_an_overlap);
	tcase_add_test(in, nothing_may_lie_beyond_the_end);
	tcase_add_test(in, a_wrong_checksum_is_dropped);
	suite_add_tcase(suite, in);
	tcase_add_checked_fixture(bounds, setup, rig_teardown);
	tcase_add_test(bounds, what_never_ends_times_out);
	tcase_add_test(bounds, the_oldest_make_room);
	tcase_add_test(bounds, large_ones_are_fewer);
	tcase_add_test(bounds, tiny_pieces_are_bounded);
	tcase_add_test(bounds, impossible_pieces_are_malformed);
	suite_add_tcase(suite, bounds);
	tcase_add_checked_fixture(out, setup, rig_teardown);
	tcase_add_test(out, datagrams_above_the_mtu_are_cut);
	suite_add_tcase(suite, out);
	return run_suite(suite);
}
