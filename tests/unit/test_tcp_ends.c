/* SPDX-License-Identifier: MIT */
/* TCP's ends: FIN and RST in both directions and orders, half-closed connections, a worker's end. */
#include "tests/unit/tcp_rig.h"

static struct peer p;
static int host;

static void setup(void)
{
	rig_setup();
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	p = connect_peer(&host);
}

static void teardown(void)
{
	if (host >= 0)
		close(host);
	rig_teardown();
}

static void guest_fin(void)
{
	send_segment(&p, TCP_FIN | TCP_ACK, NULL, 0);
	do {
		recv_segment(&p);
	} while (seen.ack != p.seq);
}

static void take_fin(void)
{
	do {
		recv_segment(&p);
	} while (!(seen.flags & TCP_FIN));
	ck_assert_uint_eq(seen.seq + seen.len, p.ack);
	p.ack++;
	send_ack(&p);
}

START_TEST(the_guests_end_comes_first)
{
	uint8_t buf[64];

	send_segment(&p, TCP_ACK, "question", 8);
	guest_fin();
	ck_assert_uint_eq(host_read(host, buf, 8), 8);
	ck_assert_int_eq(host_next(host), 0);
	host_write(host, "the answer", 10);
	ck_assert_uint_eq(guest_read(&p, buf, 10), 10);
	close(host);
	host = -1;
	take_fin();
	RIG_UNTIL(rig_flows() == 0);
	recv_nothing(&p);
}
END_TEST

START_TEST(the_hosts_end_comes_first)
{
	uint8_t buf[64];

	host_write(host, "greeting", 8);
	shutdown(host, SHUT_WR);
	ck_assert_uint_eq(guest_read(&p, buf, 8), 8);
	take_fin();
	ck_assert_uint_eq(rig_flows(), 1);
	send_segment(&p, TCP_ACK, "thanks", 6);
	ck_assert_uint_eq(host_read(host, buf, 6), 6);
	guest_fin();
	ck_assert_int_eq(host_next(host), 0);
	RIG_UNTIL(rig_flows() == 0);
}
END_TEST

/* The far end's answer comes long after the FIN, and whole. */
START_TEST(an_answer_may_take_minutes_after_the_fin)
{
	uint8_t *buf = malloc(200000);

	guest_fin();
	for (int i = 0; i < 4; i++)
		rig_sleep(60000);
	host_write(host, pattern(200000), 200000);
	ck_assert_uint_eq(guest_read(&p, buf, 200000), 200000);
	ck_assert_int_eq(memcmp(buf, pattern(200000), 200000), 0);
	free(buf);
}
END_TEST

START_TEST(five_minutes_of_silence_end_a_half_closed_connection)
{
	guest_fin();
	rig_sleep(299000);
	ck_assert_uint_eq(rig_flows(), 1);
	rig_sleep(2000);
	ck_assert_uint_eq(rig_flows(), 0);
	recv_flag(&p, TCP_RST);
	ck_assert_int_eq(host_next(host), 0); /* the FIN */
}
END_TEST

START_TEST(both_ends_cross)
{
	uint32_t fin_seq = p.seq;

	shutdown(host, SHUT_WR);
	recv_flag(&p, TCP_FIN);
	/* The guest's FIN left before it saw ours. */
	send_raw(&p, (struct out){.flags = TCP_FIN | TCP_ACK, .seq = fin_seq, .ack = p.ack});
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, fin_seq + 1);
	p.seq++;
	p.ack++;
	ck_assert_uint_eq(rig_flows(), 1);
	send_ack(&p);
	ck_assert_int_eq(host_next(host), 0);
	RIG_UNTIL(rig_flows() == 0);
}
END_TEST

START_TEST(a_lost_fin_is_sent_again)
{
	shutdown(host, SHUT_WR);
	recv_flag(&p, TCP_FIN);
	rig_sleep(210);
	recv_segment(&p);
	ck_assert(seen.flags & TCP_FIN);
	ck_assert_uint_eq(seen.seq, p.ack);
	p.ack++;
	send_ack(&p);
	rig_sleep(20000);
	recv_nothing(&p);
}
END_TEST

START_TEST(a_fin_with_data_and_one_that_is_repeated)
{
	uint8_t buf[8];
	uint32_t base = p.seq;

	send_segment(&p, TCP_FIN | TCP_ACK, "last", 4);
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + 5);
	send_raw(&p,
		(struct out){.flags = TCP_FIN | TCP_ACK,
			.seq = base,
			.ack = p.ack,
			.data = "last",
			.len = 4});
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base + 5);
	ck_assert_uint_eq(host_read(host, buf, 8), 4);
	ck_assert_int_eq(host_next(host), 0);
}
END_TEST

START_TEST(data_after_a_fin_is_nothing)
{
	guest_fin();
	send_raw(&p,
		(struct out){
			.flags = TCP_ACK, .seq = p.seq, .ack = p.ack, .data = "more", .len = 4});
	send_raw(&p,
		(struct out){.flags = TCP_ACK | TCP_FIN,
			.seq = p.seq,
			.ack = p.ack,
			.data = "more",
			.len = 4});
	ck_assert_int_eq(host_next(host), 0);
	ck_assert_uint_eq(rig_flows(), 1);
	shutdown(host, SHUT_WR);
	recv_flag(&p, TCP_FIN);
	ck_assert_uint_eq(seen.ack, p.seq);
}
END_TEST

/* The FIN lies behind a gap: it counts when the gap is filled and it is sent again, not before. */
START_TEST(a_fin_behind_a_gap_waits)
{
	uint32_t base = p.seq;
	uint8_t buf[8];

	send_raw(&p,
		(struct out){.flags = TCP_ACK | TCP_FIN,
			.seq = base + 3,
			.ack = p.ack,
			.data = "def",
			.len = 3});
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, base);
	send_raw(&p,
		(struct out){.flags = TCP_ACK, .seq = base, .ack = p.ack, .data = "abc", .len = 3});
	recv_segment(&p);
	ck_assert_uint_ge(seen.ack, base + 6);
	ck_assert_uint_eq(host_read(host, buf, 6), 6);
	ck_assert_int_eq(memcmp(buf, "abcdef", 6), 0);
	send_raw(&p, (struct out){.flags = TCP_ACK | TCP_FIN, .seq = base + 6, .ack = p.ack});
	ck_assert_int_eq(host_next(host), 0);
}
END_TEST

/* ---- resets ---- */

START_TEST(the_guests_reset_is_the_hosts)
{
	send_raw(&p, (struct out){.flags = TCP_RST | TCP_ACK, .seq = p.seq, .ack = p.ack});
	ck_assert_int_eq(host_next(host), -ECONNRESET);
	ck_assert_uint_eq(rig_flows(), 0);
	recv_nothing(&p);
}
END_TEST

START_TEST(the_hosts_reset_is_the_guests)
{
	host_reset(host);
	host = -1;
	expect_rst(&p);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

START_TEST(the_hosts_reset_comes_through_a_closed_window)
{
	p.window = 0;
	send_ack(&p);
	rig_run(2);
	host_write(host, pattern(100000), 100000);
	rig_run(2);
	recv_rest(&p);
	host_reset(host);
	host = -1;
	expect_rst(&p);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

/* In flight, and the guest does not answer: its reset cannot wait for that. */
START_TEST(the_hosts_reset_comes_while_bytes_are_in_flight)
{
	p.window = 20;
	send_ack(&p);
	rig_run(2);
	host_write(host, pattern(100000), 100000);
	rig_run(2);
	recv_rest(&p);
	host_reset(host);
	host = -1;
	recv_flag(&p, TCP_RST);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

/* First its end, then a reset: a guest that only listens would wait for five minutes. */
START_TEST(the_hosts_reset_after_its_end_is_the_guests)
{
	shutdown(host, SHUT_WR);
	take_fin();
	rig_run(2);
	ck_assert_uint_eq(rig_flows(), 1);
	host_reset(host);
	host = -1;
	expect_rst(&p);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

START_TEST(the_hosts_reset_after_the_guests_end_is_the_guests)
{
	guest_fin();
	host_reset(host);
	host = -1;
	expect_rst(&p);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

/* The guest writes to a host that has closed: its kernel resets, and so do we. */
START_TEST(writing_to_a_closed_host_is_reset)
{
	close(host);
	host = -1;
	take_fin();
	for (int i = 0; i < 5 && rig_flows(); i++) {
		send_segment(&p, TCP_ACK, "data", 4);
		rig_run(2);
	}
	recv_flag(&p, TCP_RST);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

START_TEST(an_answer_to_a_flow_that_is_gone_is_reset_by_its_number)
{
	host_reset(host);
	host = -1;
	expect_rst(&p);
	send_segment(&p, TCP_ACK, "late", 4);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST);
	ck_assert_uint_eq(seen.seq, p.ack);
}
END_TEST

/* ---- from above ---- */

START_TEST(a_policy_may_cut_what_it_now_forbids)
{
	struct worker_host none = {0};
	struct error err;

	rig_policy(false, true); /* host_access does not ask it for the gateway */
	ck_assert_uint_eq(rig_flows(), 1);
	worker_hosts_set(rig.worker, &none, 0, false, &err);
	rig_policy(true, true);
	expect_rst(&p);
	ck_assert_uint_eq(rig_flows(), 0);
	ck_assert_int_eq(host_next(host), -ECONNRESET);
}
END_TEST

START_TEST(shutting_down_resets_both_sides)
{
	worker_shutdown(rig.worker, false);
	rig_run(2);
	expect_rst(&p);
	ck_assert_int_eq(recv(host, &(char){0}, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
}
END_TEST

START_TEST(a_link_that_goes_down_resets_the_host)
{
	shutdown(rig.guest, SHUT_RDWR);
	ck_assert_int_eq(host_next(host), -ECONNRESET);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

/* A predecessor died: each of its flows is asked about, and the guest's answer draws a RST of
 * exactly the number that it believes. */
START_TEST(orphans_are_asked_for_and_reset)
{
	int fd = os_shm_create("flows", FLOW_MEMORY_SIZE), again = os_dup(fd);
	struct flow_memory *memory = flow_memory_open(os_dup(fd));
	struct flow_key key = {
		.guest = {addr_from_v4(GUEST), 50001}, .remote = {addr_from_v4(0xc6336402), 443}};
	struct flow_key forged = {
		.guest = {addr_from_v4(0x08080808), 1}, .remote = {addr_from_v4(0xc6336402), 443}};
	struct peer old = {.remote = 0xc6336402,
		.remote_port = 443,
		.port = 50001,
		.seq = 77,
		.ack = 99,
		.window = 1};
	struct flow_key any;
	uint32_t slot = 0;

	flow_memory_set(memory, 7, &key);
	flow_memory_set(memory, 8, &forged);
	worker_free(rig.worker);
	close(rig.guest);
	rig_new_worker(fd, true);
	for (int round = 0; round < 2; round++) {
		ck_assert(recv_packet(1000));
		ck_assert_uint_eq(seen.dport, 50001); /* and never the forged one */
		ck_assert_uint_eq(seen.flags, TCP_ACK);
		ck_assert_uint_eq(seen.src, 0xc6336402);
		rig_sleep(750);
	}
	send_ack(&old); /* the challenge ACK */
	recv_segment(&old);
	ck_assert_uint_eq(seen.flags, TCP_RST);
	ck_assert_uint_eq(seen.seq, 99);
	rig_sleep(5000);
	ck_assert(!recv_packet(5)); /* nothing to another's address, and no third round */
	ck_assert(!flow_memory_next(memory, &slot, &any));
	flow_memory_free(memory);
	close(again);
}
END_TEST

/* What a successor would be told: exactly the flows that live. */
START_TEST(live_flows_are_noted)
{
	int fd = os_shm_create("flows", FLOW_MEMORY_SIZE), hosts[5];
	struct flow_memory *memory = flow_memory_open(os_dup(fd));
	struct peer peers[5];
	struct flow_key key;
	uint32_t slot = 0, n = 0;

	worker_free(rig.worker);
	close(rig.guest);
	rig_new_worker(fd, false);
	for (int i = 0; i < 5; i++)
		peers[i] = connect_peer(&hosts[i]);
	host_reset(hosts[1]);
	host_reset(hosts[3]);
	RIG_UNTIL(rig_flows() == 3);
	while (flow_memory_next(memory, &slot, &key)) {
		ck_assert(key.guest.port == peers[0].port || key.guest.port == peers[2].port ||
			key.guest.port == peers[4].port);
		n++;
	}
	ck_assert_uint_eq(n, 3);
	flow_memory_free(memory);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp_ends");
	TCase *f = tcase_create("fin"), *r = tcase_create("rst"), *a = tcase_create("above");

	tcase_add_checked_fixture(f, setup, teardown);
	tcase_set_timeout(f, 20);
	tcase_add_test(f, the_guests_end_comes_first);
	tcase_add_test(f, the_hosts_end_comes_first);
	tcase_add_test(f, an_answer_may_take_minutes_after_the_fin);
	tcase_add_test(f, five_minutes_of_silence_end_a_half_closed_connection);
	tcase_add_test(f, both_ends_cross);
	tcase_add_test(f, a_lost_fin_is_sent_again);
	tcase_add_test(f, a_fin_with_data_and_one_that_is_repeated);
	tcase_add_test(f, data_after_a_fin_is_nothing);
	tcase_add_test(f, a_fin_behind_a_gap_waits);
	suite_add_tcase(s, f);
	tcase_add_checked_fixture(r, setup, teardown);
	tcase_add_test(r, the_guests_reset_is_the_hosts);
	tcase_add_test(r, the_hosts_reset_is_the_guests);
	tcase_add_test(r, the_hosts_reset_comes_through_a_closed_window);
	tcase_add_test(r, the_hosts_reset_comes_while_bytes_are_in_flight);
	tcase_add_test(r, the_hosts_reset_after_its_end_is_the_guests);
	tcase_add_test(r, the_hosts_reset_after_the_guests_end_is_the_guests);
	tcase_add_test(r, writing_to_a_closed_host_is_reset);
	tcase_add_test(r, an_answer_to_a_flow_that_is_gone_is_reset_by_its_number);
	suite_add_tcase(s, r);
	tcase_add_checked_fixture(a, setup, teardown);
	tcase_add_test(a, a_policy_may_cut_what_it_now_forbids);
	tcase_add_test(a, shutting_down_resets_both_sides);
	tcase_add_test(a, a_link_that_goes_down_resets_the_host);
	tcase_add_test(a, orphans_are_asked_for_and_reset);
	tcase_add_test(a, live_flows_are_noted);
	suite_add_tcase(s, a);
	return run_suite(s);
}
