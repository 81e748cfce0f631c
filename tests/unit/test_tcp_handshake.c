/* SPDX-License-Identifier: MIT */
/* TCP's beginnings towards the host: honest handshakes, options, refusals, strangers' segments. */
#include "tests/unit/tcp_rig.h"

#include "dataplane/stack/icmp.h"

START_TEST(the_guest_sees_what_the_host_answered)
{
	int host;
	struct peer p = connect_peer(&host);
	uint8_t buf[16];

	ck_assert_uint_eq(seen.src, GATEWAY);
	ck_assert_uint_eq(p.ack - 1, seen.seq);
	ck_assert_uint_eq(p.mss, 1460);
	ck_assert(seen.has_wscale && seen.sack_ok);
	ck_assert_uint_ge(seen.window, 1460);
	send_segment(&p, TCP_ACK | TCP_PSH, "hello", 5);
	ck_assert_uint_eq(host_read(host, buf, 5), 5);
	ck_assert_int_eq(memcmp(buf, "hello", 5), 0);
	host_write(host, "world!", 6);
	ck_assert_uint_eq(guest_read(&p, buf, 6), 6);
	ck_assert_int_eq(memcmp(buf, "world!", 6), 0);
	ck_assert_uint_eq(rig_count(COUNTER_TCP_ESTABLISHED), 1);
	ck_assert_uint_eq(rig_flows(), 1);
	close(host);
}
END_TEST

START_TEST(isns_differ)
{
	uint32_t isn[8];

	for (int i = 0; i < 8; i++) {
		struct peer p = new_peer(GATEWAY, rig.port);

		send_syn(&p);
		recv_segment(&p);
		isn[i] = seen.seq;
		for (int k = 0; k < i; k++)
			ck_assert_uint_ne(isn[k], isn[i]);
	}
}
END_TEST

START_TEST(a_refusal_is_a_reset_at_once)
{
	struct peer p = new_peer(GATEWAY, 1);

	rig_freeze(); /* no timer can have a part in it */
	send_syn(&p);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST | TCP_ACK);
	ck_assert_uint_eq(seen.ack, p.seq);
	ck_assert_uint_eq(rig_flows(), 0);
	ck_assert_uint_eq(rig_count(COUNTER_TCP_REFUSED), 1);
}
END_TEST

START_TEST(what_the_policy_forbids_is_a_reset_and_reported)
{
	struct peer p = new_peer(0xc6336401, 80);

	rig_policy(false, false);
	send_syn(&p);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST | TCP_ACK);
	ck_assert_uint_eq(seen.ack, p.seq);
	ck_assert_uint_eq(rig_count(COUNTER_EGRESS_REFUSED_POLICY), 1);
}
END_TEST

/* A listener whose backlog two clients fill. */
static int full_listener(uint16_t *port, int fill[2])
{
	int listener = rig_listen(port, 0);
	struct sockaddr_in in = {.sin_family = AF_INET,
		.sin_port = htons(*port),
		.sin_addr = {htonl(INADDR_LOOPBACK)}};

	for (int i = 0; i < 2; i++) {
		fill[i] = os_socket(AF_INET, SOCK_STREAM, 0, true);
		if (connect(fill[i], (struct sockaddr *)&in, sizeof(in)) < 0)
			ck_assert_int_eq(errno, EINPROGRESS);
	}
	return listener;
}

/* A full backlog on loopback answers nothing: the connect hangs, and the guest must hear nothing. */
START_TEST(no_syn_ack_before_the_host_has_answered)
{
	uint16_t port;
	int fill[2], host, listener = full_listener(&port, fill);
	struct peer p = new_peer(GATEWAY, port);

	send_syn(&p);
	recv_nothing(&p);
	p.seq--;
	send_syn(&p); /* again: still nothing, and no second flow */
	recv_nothing(&p);
	ck_assert_uint_eq(rig_flows(), 1);
	for (int i = 0; i < 2; i++) {
		host = os_accept(listener, NULL, NULL);
		if (host >= 0)
			close(host);
		close(fill[i]);
	}
	/* The host's kernel repeats its own SYN after a second. */
	ck_assert(recv_for(&p, 3000));
	ck_assert_uint_eq(seen.flags, TCP_SYN | TCP_ACK);
	close(listener);
}
END_TEST

START_TEST(a_connect_without_answer_ends_as_unreachable)
{
	uint16_t port;
	int fill[2], listener = full_listener(&port, fill);
	struct peer p = new_peer(GATEWAY, port);
	const struct icmp_hdr *icmp;

	send_syn(&p);
	recv_nothing(&p);
	rig_sleep(29000);
	ck_assert_uint_eq(rig_flows(), 1);
	rig_sleep(1100);
	ck_assert_uint_eq(rig_flows(), 0);
	ck_assert(recv_packet(1000));
	ck_assert_uint_eq(seen.proto, IP_PROTO_ICMP);
	icmp = (const struct icmp_hdr *)seen.l4;
	ck_assert_uint_eq(icmp->type, ICMP_UNREACHABLE);
	ck_assert_uint_eq(icmp->code, ICMP_CODE_HOST);
	/* It quotes the guest's own SYN (RFC 792), by which the guest finds its socket. */
	ck_assert_uint_eq(load_be16(seen.l4 + ICMP_HLEN + IP4_HLEN), p.port);
	ck_assert_uint_eq(load_be16(seen.l4 + ICMP_HLEN + IP4_HLEN + 2), port);
	ck_assert_uint_eq(load_be32(seen.l4 + ICMP_HLEN + IP4_HLEN + 4), p.seq - 1);
	for (int i = 0; i < 2; i++)
		close(fill[i]);
	close(listener);
}
END_TEST

START_TEST(beyond_64_half_open_to_one_place_a_syn_is_dropped)
{
	uint16_t port;
	int fill[2], listener = full_listener(&port, fill);

	for (int i = 0; i < 70; i++) {
		struct peer p = new_peer(GATEWAY, port);

		send_syn(&p);
	}
	rig_run(5);
	ck_assert_uint_eq(rig_flows(), 64);
	ck_assert_uint_eq(rig_count(COUNTER_EGRESS_HALF_OPEN), 6);
	ck_assert(!recv_packet(5));
	for (int i = 0; i < 2; i++)
		close(fill[i]);
	close(listener);
}
END_TEST

/* ---- the guest's side of it ---- */

START_TEST(a_repeated_syn_gets_the_same_answer)
{
	struct peer p = new_peer(GATEWAY, rig.port);
	uint32_t isn;

	send_syn(&p);
	recv_segment(&p);
	isn = seen.seq;
	p.seq--;
	send_syn(&p);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_SYN | TCP_ACK);
	ck_assert_uint_eq(seen.seq, isn);
	ck_assert_uint_eq(seen.ack, p.seq);
	ck_assert_uint_eq(rig_flows(), 1);
}
END_TEST

/* 200 ms doubling, six in all, then both sides hear that it is over. */
START_TEST(an_unanswered_syn_ack_is_repeated_and_given_up)
{
	struct peer p = new_peer(GATEWAY, rig.port);
	uint32_t isn;
	int host;

	rig_freeze();
	send_syn(&p);
	recv_segment(&p);
	isn = seen.seq;
	host = os_accept(rig.listener, NULL, NULL);
	for (int i = 0; i < 5; i++) {
		rig_sleep(100u << i);
		recv_nothing(&p);
		rig_sleep((100u << i) + 10);
		recv_segment(&p);
		ck_assert_uint_eq(seen.flags, TCP_SYN | TCP_ACK);
		ck_assert_uint_eq(seen.seq, isn);
	}
	rig_sleep(200u << 5);
	recv_segment(&p);
	ck_assert(seen.flags & TCP_RST);
	ck_assert_uint_eq(seen.seq, isn + 1);
	ck_assert_uint_eq(rig_flows(), 0);
	ck_assert_int_eq(host_next(host), -ECONNRESET);
	close(host);
}
END_TEST

START_TEST(a_reset_before_the_last_ack_ends_it)
{
	struct peer p = new_peer(GATEWAY, rig.port);
	int host;

	send_syn(&p);
	recv_segment(&p);
	host = os_accept(rig.listener, NULL, NULL);
	send_raw(&p, (struct out){.flags = TCP_RST, .seq = p.seq + 1});
	rig_run(3);
	ck_assert_uint_eq(rig_flows(), 1); /* not its number: a blind attacker's */
	send_raw(&p, (struct out){.flags = TCP_RST, .seq = p.seq});
	ck_assert_int_eq(host_next(host), -ECONNRESET);
	ck_assert_uint_eq(rig_flows(), 0);
	close(host);
}
END_TEST

START_TEST(a_wrong_last_ack_is_reset_by_its_own_number)
{
	struct peer p = new_peer(GATEWAY, rig.port);

	send_syn(&p);
	recv_segment(&p);
	send_raw(&p, (struct out){.flags = TCP_ACK, .seq = p.seq, .ack = seen.seq + 77});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST);
	ck_assert_uint_eq(rig_flows(), 1);
}
END_TEST

START_TEST(data_may_come_with_the_last_ack)
{
	struct peer p = new_peer(GATEWAY, rig.port);
	uint8_t buf[8];
	int host;

	send_syn(&p);
	recv_segment(&p);
	take_syn(&p);
	send_segment(&p, TCP_ACK, "at once", 7);
	rig_run(2);
	host = os_accept(rig.listener, NULL, NULL);
	ck_assert_uint_eq(host_read(host, buf, 7), 7);
	close(host);
}
END_TEST

/* ---- options ---- */

static void syn_with(struct peer *p, const void *options, size_t len)
{
	send_raw(p,
		(struct out){
			.flags = TCP_SYN, .seq = p->seq, .options = options, .options_len = len});
	p->seq++;
	recv_segment(p);
	ck_assert_uint_eq(seen.flags, TCP_SYN | TCP_ACK);
	take_syn(p);
}

START_TEST(without_options_there_is_neither_scaling_nor_sack)
{
	struct peer p = new_peer(GATEWAY, rig.port);
	int host;

	p.window = 60000;
	syn_with(&p, NULL, 0);
	ck_assert(!seen.has_wscale && !seen.sack_ok);
	ck_assert_uint_eq(p.mss, 1460);
	send_ack(&p);
	rig_run(2);
	host = os_accept(rig.listener, NULL, NULL);
	host_write(host, pattern(2000), 2000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.len, 536); /* RFC 9293 section 3.7.1 */
	ck_assert_uint_eq(seen.window, 65535);
	close(host);
}
END_TEST

START_TEST(the_smaller_mss_counts)
{
	static const uint8_t options[] = {2, 4, 2, 188}; /* 700 */
	struct peer p = new_peer(GATEWAY, rig.port);
	int host;

	p.window = 60000;
	syn_with(&p, options, sizeof(options));
	send_ack(&p);
	rig_run(2);
	host = os_accept(rig.listener, NULL, NULL);
	host_write(host, pattern(2000), 2000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.len, 700);
	close(host);
}
END_TEST

START_TEST(an_absurd_mss_makes_no_slivers)
{
	static const uint8_t options[] = {2, 4, 0, 1};
	struct peer p = new_peer(GATEWAY, rig.port);
	int host;

	p.window = 60000;
	syn_with(&p, options, sizeof(options));
	send_ack(&p);
	rig_run(2);
	host = os_accept(rig.listener, NULL, NULL);
	host_write(host, pattern(200), 200);
	recv_segment(&p);
	ck_assert_uint_eq(seen.len, 48);
	close(host);
}
END_TEST

/* RFC 7323 section 2.3: a shift above 14 is 14. The guest's window is then 1 << 14. */
START_TEST(a_shift_beyond_14_is_14)
{
	static const uint8_t options[] = {2, 4, 5, 180, 1, 3, 3, 255};
	struct peer p = new_peer(GATEWAY, rig.port);
	int host;

	syn_with(&p, options, sizeof(options));
	p.window = 1;
	send_ack(&p);
	rig_run(2);
	host = os_accept(rig.listener, NULL, NULL);
	host_write(host, pattern(65536), 65536);
	for (size_t got = 0; recv_for(&p, 20); got += seen.len)
		ck_assert_uint_le(got + seen.len, 1 << 14);
	close(host);
}
END_TEST

START_TEST(malformed_options_end_the_list)
{
	static const uint8_t lists[][8] = {{2, 0, 5, 180, 1, 1, 1, 1}, {2, 1, 5, 180},
		{3, 255, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 2}, {2, 3, 5, 1, 3, 2, 1, 1},
		{0, 2, 4, 1, 1, 3, 3, 7}, {254, 2, 253, 6, 1, 1, 1, 1}};

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		struct peer p = new_peer(GATEWAY, rig.port);

		syn_with(&p, lists[i], 8);
		ck_assert(!seen.has_wscale && !seen.sack_ok);
	}
}
END_TEST

/* ---- segments of no flow ---- */

START_TEST(a_stranger_with_an_ack_is_reset_by_that_number)
{
	struct peer p = new_peer(GATEWAY, rig.port);

	send_raw(&p, (struct out){.flags = TCP_ACK, .seq = 1000, .ack = 0xfffffff0});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST);
	ck_assert_uint_eq(seen.seq, 0xfffffff0);
	send_raw(&p, (struct out){.flags = TCP_SYN | TCP_ACK, .seq = 1000, .ack = 77});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST);
	ck_assert_uint_eq(seen.seq, 77);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

START_TEST(a_stranger_without_an_ack_is_acknowledged_and_reset)
{
	struct peer p = new_peer(GATEWAY, rig.port);

	send_raw(&p, (struct out){.flags = TCP_FIN, .seq = 0xfffffffe, .data = "12345", .len = 5});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST | TCP_ACK);
	ck_assert_uint_eq(seen.seq, 0);
	ck_assert_uint_eq(seen.ack, 4);
	send_raw(&p, (struct out){.flags = TCP_SYN | TCP_FIN, .seq = 1});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST | TCP_ACK);
	ck_assert_uint_eq(seen.ack, 3);
	send_raw(&p, (struct out){.flags = 0, .seq = 1});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST | TCP_ACK);
}
END_TEST

START_TEST(a_strangers_reset_is_not_answered)
{
	struct peer p = new_peer(GATEWAY, rig.port);

	send_raw(&p, (struct out){.flags = TCP_RST, .seq = 1});
	send_raw(&p, (struct out){.flags = TCP_RST | TCP_ACK, .seq = 1, .ack = 1});
	recv_nothing(&p);
}
END_TEST

START_TEST(malformed_segments_are_dropped_and_counted)
{
	struct addr src = addr_from_v4(GUEST), dst = addr_from_v4(GATEWAY);

	for (size_t len = 0; len < 44; len++) {
		uint8_t l4[44] = {0};
		struct tcp_hdr *h = (struct tcp_hdr *)l4;

		*h = (struct tcp_hdr){
			.src = be16(1), .dst = be16(2), .flags = TCP_SYN, .offset = 0xf0};
		if (len >= TCP_HLEN)
			h->csum = be16((uint16_t)~csum_fold(
				csum_add(csum_pseudo(&src, &dst, IP_PROTO_TCP, len), l4, len)));
		rig_send_ip(IP_PROTO_TCP, GATEWAY, l4, len);
	}
	rig_run(5);
	ck_assert(!recv_packet(5));
	ck_assert_uint_eq(rig_count(COUNTER_DROP_MALFORMED) + rig_count(COUNTER_DROP_CHECKSUM), 44);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

START_TEST(nobody_connects_to_a_group_or_is_reset_by_one)
{
	static const uint32_t nobody[] = {0xffffffff, 0x0a0002ff, 0xe0000001, 0};

	for (int i = 0; i < 4; i++) {
		struct peer p = new_peer(nobody[i], 80);

		send_syn(&p);
		send_raw(&p, (struct out){.flags = TCP_ACK, .seq = 1, .ack = 1});
	}
	rig_run(3);
	ck_assert(!recv_packet(5));
	ck_assert_uint_eq(rig_count(COUNTER_DROP_MULTICAST), 8);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp_handshake");
	TCase *h = tcase_create("host"), *g = tcase_create("guest"), *o = tcase_create("options");
	TCase *n = tcase_create("no_flow");

	tcase_add_checked_fixture(h, rig_setup, rig_teardown);
	tcase_set_timeout(h, 20);
	tcase_add_test(h, the_guest_sees_what_the_host_answered);
	tcase_add_test(h, isns_differ);
	tcase_add_test(h, a_refusal_is_a_reset_at_once);
	tcase_add_test(h, what_the_policy_forbids_is_a_reset_and_reported);
	tcase_add_test(h, no_syn_ack_before_the_host_has_answered);
	tcase_add_test(h, a_connect_without_answer_ends_as_unreachable);
	tcase_add_test(h, beyond_64_half_open_to_one_place_a_syn_is_dropped);
	suite_add_tcase(s, h);
	tcase_add_checked_fixture(g, rig_setup, rig_teardown);
	tcase_add_test(g, a_repeated_syn_gets_the_same_answer);
	tcase_add_test(g, an_unanswered_syn_ack_is_repeated_and_given_up);
	tcase_add_test(g, a_reset_before_the_last_ack_ends_it);
	tcase_add_test(g, a_wrong_last_ack_is_reset_by_its_own_number);
	tcase_add_test(g, data_may_come_with_the_last_ack);
	suite_add_tcase(s, g);
	tcase_add_checked_fixture(o, rig_setup, rig_teardown);
	tcase_add_test(o, without_options_there_is_neither_scaling_nor_sack);
	tcase_add_test(o, the_smaller_mss_counts);
	tcase_add_test(o, an_absurd_mss_makes_no_slivers);
	tcase_add_test(o, a_shift_beyond_14_is_14);
	tcase_add_test(o, malformed_options_end_the_list);
	suite_add_tcase(s, o);
	tcase_add_checked_fixture(n, rig_setup, rig_teardown);
	tcase_add_test(n, a_stranger_with_an_ack_is_reset_by_that_number);
	tcase_add_test(n, a_stranger_without_an_ack_is_acknowledged_and_reset);
	tcase_add_test(n, a_strangers_reset_is_not_answered);
	tcase_add_test(n, malformed_segments_are_dropped_and_counted);
	tcase_add_test(n, nobody_connects_to_a_group_or_is_reset_by_one);
	suite_add_tcase(s, n);
	return run_suite(s);
}
