/* SPDX-License-Identifier: MIT */
/* TCP's bytes from the guest to the host: order, gaps, windows, spill, and what RFC 5961 asks. */
#include "dataplane/tcp/tcp_internal.h"
#include "tests/unit/tcp_rig.h"

static struct peer p;
static int host;

static void setup(void)
{
	rig_setup();
	p = connect_peer(&host);
	p.edge = p.seq + ((uint32_t)seen.window << 0);
}

static void teardown(void)
{
	if (host >= 0)
		close(host);
	rig_teardown();
}

/* A part of the pattern, at its own place in sequence; the connection's numbers stay. */
static void send_part(uint32_t base, uint32_t begin, uint32_t end)
{
	send_raw(&p,
		(struct out){.flags = TCP_ACK,
			.seq = base + begin,
			.ack = p.ack,
			.data = pattern(end) + begin,
			.len = end - begin});
}

static void expect_pattern(size_t len)
{
	static uint8_t buf[8 << 20];

	ck_assert_uint_eq(host_read(host, buf, len), len);
	ck_assert_int_eq(memcmp(buf, pattern(len), len), 0);
}

static void expect_nothing_more(void)
{
	uint8_t byte;

	rig_run(3);
	ck_assert_int_lt(recv(host, &byte, 1, 0), 0);
}

/* ---- order ---- */

START_TEST(what_the_host_has_is_acknowledged)
{
	uint32_t base = p.seq;

	for (uint32_t i = 0; i < 10; i++) {
		send_part(base, i * 1000, i * 1000 + 1000);
		recv_segment(&p);
		ck_assert_uint_eq(seen.ack, base + i * 1000 + 1000);
		ck_assert_uint_eq(seen.flags, TCP_ACK);
	}
	expect_pattern(10000);
}
END_TEST

START_TEST(a_gap_draws_duplicate_acks_and_sack)
{
	uint32_t base = p.seq;

	send_part(base, 1000, 2000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base);
	ck_assert_uint_eq(seen.blocks, 1);
	ck_assert_uint_eq(seen.block[0][0], base + 1000);
	ck_assert_uint_eq(seen.block[0][1], base + 2000);
	send_part(base, 3000, 4000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base);
	ck_assert_uint_eq(seen.blocks, 2);
	/* The latest comes first (RFC 2018 section 4). */
	ck_assert_uint_eq(seen.block[0][0], base + 3000);
	ck_assert_uint_eq(seen.block[1][0], base + 1000);
	send_part(base, 0, 1000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + 2000);
	ck_assert_uint_eq(seen.blocks, 1);
	send_part(base, 2000, 3000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + 4000);
	ck_assert_uint_eq(seen.blocks, 0);
	expect_pattern(4000);
	expect_nothing_more();
}
END_TEST

START_TEST(more_gaps_than_sack_can_tell)
{
	uint32_t base = p.seq;

	for (uint32_t i = 0; i < 10; i++) {
		send_part(base, 1000 + i * 200, 1000 + i * 200 + 100);
		recv_segment(&p);
		ck_assert_uint_eq(seen.ack, base);
		ck_assert_uint_eq(seen.blocks, i < 4 ? i + 1 : 4);
		ck_assert_uint_eq(seen.block[0][0], base + 1000 + i * 200);
	}
	send_part(base, 0, 3000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + 3000);
	expect_pattern(3000);
	expect_nothing_more();
}
END_TEST

START_TEST(without_sack_permitted_there_are_no_blocks)
{
	struct peer q = new_peer(GATEWAY, rig.port);

	send_raw(&q, (struct out){.flags = TCP_SYN, .seq = q.seq++});
	recv_segment(&q);
	take_syn(&q);
	send_ack(&q);
	send_raw(&q,
		(struct out){
			.flags = TCP_ACK, .seq = q.seq + 5, .ack = q.ack, .data = "x", .len = 1});
	recv_segment(&q);
	ck_assert_uint_eq(seen.blocks, 0);
	ck_assert_uint_eq(seen.ack, q.seq);
}
END_TEST

/* Every byte twice, from all sides, and arrives once. */
START_TEST(overlaps_are_trimmed)
{
	uint32_t base = p.seq;

	send_part(base, 0, 100);
	send_part(base, 50, 150);  /* begins before rcv_nxt */
	send_part(base, 0, 150);   /* wholly old */
	send_part(base, 300, 400); /* beyond a gap */
	send_part(base, 350, 450); /* overlaps the end of what is held */
	send_part(base, 250, 320); /* and its beginning */
	send_part(base, 200, 500); /* covers it */
	send_part(base, 310, 390); /* lies inside */
	send_part(base, 149, 201); /* fills the gap, one byte too many on either side */
	expect_pattern(500);
	expect_nothing_more();
	recv_rest(&p);
	send_part(base, 0, 1);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + 500);
	ck_assert_uint_eq(seen.blocks, 0);
}
END_TEST

/* Segments of any cut, in any order, some more than once. */
START_TEST(any_order_arrives_in_order)
{
	uint32_t seed = 12345, order[200];

	for (int round = 0; round < 20; round++) {
		uint32_t base = p.seq, size = 997;

		for (uint32_t i = 0; i < 200; i++)
			order[i] = i % 100;
		for (uint32_t i = 199; i > 0; i--) {
			uint32_t k, tmp;

			seed = seed * 1664525 + 1013904223;
			k = (seed >> 8) % (i + 1);
			tmp = order[i];
			order[i] = order[k];
			order[k] = tmp;
		}
		for (uint32_t i = 0; i < 200; i++) {
			uint32_t begin = order[i] * size / 2, end = begin + size;

			send_part(base, begin, end);
			if (i % 50 == 49)
				recv_rest(&p);
		}
		p.seq = base + 99 * size / 2 + size;
		expect_pattern(99 * size / 2 + size);
		recv_rest(&p);
	}
	expect_nothing_more();
}
END_TEST

/* ---- the window ---- */

START_TEST(data_beyond_the_window_is_cut_off_and_acknowledged_up_to_it)
{
	uint32_t base = p.seq, window;

	send_part(base, 0, 1);
	recv_segment(&p);
	window = (uint32_t)seen.window << p.wscale;
	ck_assert_uint_ge(window, 65536 - 256);
	/* Out of the window altogether. */
	send_raw(&p,
		(struct out){.flags = TCP_ACK,
			.seq = base + 1 + window + 5000,
			.ack = p.ack,
			.data = "beyond",
			.len = 6});
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + 1);
	ck_assert_uint_eq(seen.blocks, 0);
	expect_pattern(1);
	expect_nothing_more();
}
END_TEST

/* Sends as fast as the window allows, and never beyond. Returns where it stands still. */
static uint32_t fill_window(uint32_t base, uint32_t at)
{
	uint32_t edge = at;

	for (int quiet = 0; quiet < 5;) {
		if (recv_for(&p, 5)) {
			uint32_t right = seen.ack - base + ((uint32_t)seen.window << p.wscale);

			/* A window never shrinks, but for what its scale rounds off. */
			if (right + 256 < edge)
				ck_abort_msg("the window shrank from %u to %u", edge, right);
			if (right > edge)
				edge = right;
			quiet = 0;
		} else {
			quiet++;
		}
		while (at < edge) {
			uint32_t n = edge - at < 16000 ? edge - at : 16000;

			send_part(base, at, at + n);
			at += n;
			quiet = 0;
		}
	}
	return at;
}

static void small_host_buffers(void)
{
	int size = 128 << 10;

	setsockopt(host, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

START_TEST(a_reader_that_stands_still_closes_the_window_and_loses_nothing)
{
	uint32_t base = p.seq, stuck;
	uint8_t *buf = malloc(8 << 20);
	size_t have = 0;

	small_host_buffers();
	send_part(base, 0, 1);
	stuck = fill_window(base, 1);
	ck_assert_uint_gt(rig_count(COUNTER_TCP_SPILLED_BYTES), 0);
	/* Everything sent was inside the window, so it is all acknowledged, and the window is shut. */
	send_part(base, 0, 1);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + stuck);
	ck_assert_uint_lt((uint32_t)seen.window << p.wscale, 256);
	ck_assert_uint_lt(stuck, 8 << 20);
	while (have < stuck) {
		size_t n = host_read(host, buf + have, stuck - have < 5000 ? stuck - have : 5000);

		ck_assert_uint_gt(n, 0);
		have += n;
	}
	ck_assert_int_eq(memcmp(buf, pattern(stuck), stuck), 0);
	free(buf);
	/* And it opens by itself. */
	do {
		recv_segment(&p);
	} while (!seen.window);
	send_part(base, stuck, stuck + 1000);
	ck_assert_uint_gt(host_next(host), 0);
}
END_TEST

/* Windows and others probe a closed window with a byte beyond it, and want an answer. */
START_TEST(a_probe_of_a_closed_window_is_answered)
{
	uint32_t base = p.seq, stuck;

	small_host_buffers();
	send_part(base, 0, 1);
	stuck = fill_window(base, 1);
	recv_rest(&p);
	send_part(base, stuck, stuck + 1);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + stuck);
	/* Linux: one old byte, no data. */
	recv_rest(&p);
	send_raw(&p, (struct out){.flags = TCP_ACK, .seq = base + stuck - 1, .ack = p.ack});
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + stuck);
	/* And with its FIN, which has no room either way: it may be taken, never lost. */
	recv_rest(&p);
	send_raw(&p, (struct out){.flags = TCP_ACK | TCP_FIN, .seq = base + stuck, .ack = p.ack});
	recv_segment(&p);
	ck_assert_uint_ge(seen.ack, base + stuck);
}
END_TEST

START_TEST(an_end_behind_spilled_bytes_comes_after_them)
{
	uint32_t base = p.seq, stuck;
	uint8_t *buf = malloc(8 << 20);

	small_host_buffers();
	send_part(base, 0, 1);
	stuck = fill_window(base, 1);
	p.seq = base + stuck;
	send_segment(&p, TCP_ACK | TCP_FIN, NULL, 0);
	rig_run(5);
	ck_assert_uint_eq(host_read(host, buf, stuck), stuck);
	ck_assert_int_eq(memcmp(buf, pattern(stuck), stuck), 0);
	ck_assert_int_eq(host_next(host), 0);
	free(buf);
}
END_TEST

START_TEST(a_host_that_resets_while_bytes_are_spilled_resets_the_guest)
{
	uint32_t base = p.seq;

	small_host_buffers();
	send_part(base, 0, 1);
	p.seq = base + fill_window(base, 1);
	host_reset(host);
	host = -1;
	recv_flag(&p, TCP_RST);
	ck_assert_uint_eq(seen.seq, p.ack);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

/* ---- the bound on what all flows spill ---- */

#define SPILL_SIZE 65536u

/*
 * A flow whose host took the first bytes of a full spill, `left` of them still being there, while
 * others use up what all may spill. Whether `more` further ones fit in.
 */
static void spill_where_nothing_may_grow(uint32_t left, uint32_t more)
{
	static struct counters counters;
	struct tcp tcp = {.counters = &counters, .spilled = TCP_SPILL_MAX - 1000};
	struct tcp_flow f = {.tcp = &tcp, .spill_size = SPILL_SIZE, .spill_len = left};
	const uint8_t *bytes = pattern(2 * SPILL_SIZE);

	f.spill_at = 1448;
	f.spill = malloc(SPILL_SIZE);
	memcpy(f.spill + f.spill_at, bytes, left);
	ck_assert_int_eq(splice_write(&f, bytes + left, more), more);
	ck_assert_uint_eq(f.spill_len, left + more);
	ck_assert_uint_le(f.spill_at + f.spill_len, f.spill_size);
	ck_assert_int_eq(memcmp(f.spill + f.spill_at, bytes, f.spill_len), 0);
	ck_assert_uint_eq(tcp.spilled, TCP_SPILL_MAX - 1000);
	splice_free_spill(&f);
}

START_TEST(at_the_bound_what_is_spilled_moves_to_make_room)
{
	spill_where_nothing_may_grow(SPILL_SIZE - 1448, 1448); /* to the last byte */
	spill_where_nothing_may_grow(50000, 15000);            /* and to less than there is */
}
END_TEST

/* ---- RFC 5961 ---- */

START_TEST(only_an_exact_reset_counts)
{
	static const int64_t off[] = {-1, 1, 1000, 60000, -1000, 1 << 30, -(1 << 30)};

	for (size_t i = 0; i < sizeof(off) / sizeof(*off); i++) {
		recv_rest(&p);
		send_raw(&p, (struct out){.flags = TCP_RST, .seq = p.seq + (uint32_t)off[i]});
		rig_run(2);
		ck_assert_uint_eq(rig_flows(), 1);
		if (off[i] > 0 && off[i] < 65000) { /* in the window: a challenge */
			recv_segment(&p);
			ck_assert_uint_eq(seen.flags, TCP_ACK);
			ck_assert_uint_eq(seen.ack, p.seq);
			ck_assert_uint_eq(seen.seq, p.ack);
		} else {
			recv_nothing(&p);
		}
	}
	send_raw(&p, (struct out){.flags = TCP_RST, .seq = p.seq});
	ck_assert_int_eq(host_next(host), -ECONNRESET);
	ck_assert_uint_eq(rig_flows(), 0);
	recv_nothing(&p);
}
END_TEST

START_TEST(a_syn_on_a_connection_is_challenged)
{
	struct peer again = p;

	again.seq += 12345;
	send_syn(&again);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_ACK);
	ck_assert_uint_eq(seen.ack, p.seq);
	ck_assert_uint_eq(rig_flows(), 1);
	/* A guest that began anew answers with a RST of that number; then its next SYN is welcome. */
	send_raw(&p, (struct out){.flags = TCP_RST, .seq = seen.ack});
	ck_assert_int_eq(host_next(host), -ECONNRESET);
	again.seq--;
	send_syn(&again);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_SYN | TCP_ACK);
}
END_TEST

START_TEST(an_ack_of_what_was_never_sent_is_challenged)
{
	send_raw(&p, (struct out){.flags = TCP_ACK, .seq = p.seq, .ack = p.ack + 1});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_ACK);
	ck_assert_uint_eq(seen.seq, p.ack);
	ck_assert_uint_eq(rig_flows(), 1);
}
END_TEST

START_TEST(a_segment_without_ack_changes_nothing)
{
	send_raw(&p, (struct out){.flags = 0, .seq = p.seq, .data = "no", .len = 2});
	send_raw(&p, (struct out){.flags = TCP_FIN, .seq = p.seq});
	expect_nothing_more();
	ck_assert_uint_eq(rig_count(COUNTER_TCP_BAD_SEGMENTS), 2);
	ck_assert_uint_eq(rig_flows(), 1);
}
END_TEST

START_TEST(a_keepalive_is_answered)
{
	send_raw(&p, (struct out){.flags = TCP_ACK, .seq = p.seq - 1, .ack = p.ack});
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, p.seq);
	send_raw(&p,
		(struct out){
			.flags = TCP_ACK, .seq = p.seq - 1, .ack = p.ack, .data = "x", .len = 1});
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, p.seq);
	expect_nothing_more();
}
END_TEST

/* ---- a guest that means harm ---- */

/* As many holes as there can be: what it costs is bounded, and the flow still works. */
START_TEST(a_guest_that_sends_every_other_byte_costs_little)
{
	uint32_t base = p.seq;
	clock_t began; /* of this process: a busy machine makes it no longer */

	send_part(base, 0, 1);
	recv_segment(&p);
	began = clock();
	for (uint32_t i = 0; i < 20000; i++) {
		send_part(base, 2 + i * 3 % 60000, 3 + i * 3 % 60000);
		if (i % 256 == 255)
			recv_rest(&p);
	}
	ck_assert_int_lt(clock() - began, 20 * CLOCKS_PER_SEC);
	for (uint32_t at = 1; at < 60003; at += 1000)
		send_part(base, at, at + 1000 < 60003 ? at + 1000 : 60003);
	expect_pattern(60003);
	expect_nothing_more();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp_data");
	TCase *o = tcase_create("order"), *w = tcase_create("window"), *r = tcase_create("rfc5961");
	TCase *h = tcase_create("harm");

	tcase_add_checked_fixture(o, setup, teardown);
	tcase_set_timeout(o, 30);
	tcase_add_test(o, what_the_host_has_is_acknowledged);
	tcase_add_test(o, a_gap_draws_duplicate_acks_and_sack);
	tcase_add_test(o, more_gaps_than_sack_can_tell);
	tcase_add_test(o, without_sack_permitted_there_are_no_blocks);
	tcase_add_test(o, overlaps_are_trimmed);
	tcase_add_test(o, any_order_arrives_in_order);
	suite_add_tcase(s, o);
	tcase_add_checked_fixture(w, setup, teardown);
	tcase_set_timeout(w, 30);
	tcase_add_test(w, data_beyond_the_window_is_cut_off_and_acknowledged_up_to_it);
	tcase_add_test(w, a_reader_that_stands_still_closes_the_window_and_loses_nothing);
	tcase_add_test(w, a_probe_of_a_closed_window_is_answered);
	tcase_add_test(w, an_end_behind_spilled_bytes_comes_after_them);
	tcase_add_test(w, a_host_that_resets_while_bytes_are_spilled_resets_the_guest);
	tcase_add_test(w, at_the_bound_what_is_spilled_moves_to_make_room);
	suite_add_tcase(s, w);
	tcase_add_checked_fixture(r, setup, teardown);
	tcase_add_test(r, only_an_exact_reset_counts);
	tcase_add_test(r, a_syn_on_a_connection_is_challenged);
	tcase_add_test(r, an_ack_of_what_was_never_sent_is_challenged);
	tcase_add_test(r, a_segment_without_ack_changes_nothing);
	tcase_add_test(r, a_keepalive_is_answered);
	suite_add_tcase(s, r);
	tcase_add_checked_fixture(h, setup, teardown);
	tcase_set_timeout(h, 60);
	tcase_add_test(h, a_guest_that_sends_every_other_byte_costs_little);
	suite_add_tcase(s, h);
	return run_suite(s);
}
