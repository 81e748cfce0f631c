/* SPDX-License-Identifier: MIT */
/* TCP's bytes from the host to the guest: the guest's window, loss, probes; and the fairness. */
#include "tests/unit/tcp_rig.h"

static struct peer p;
static int host;
static uint32_t first; /* sequence number of the host's first byte */

static void setup(void)
{
	rig_setup();
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	p = connect_peer(&host);
	first = p.ack;
}

static void teardown(void)
{
	if (host >= 0)
		close(host);
	rig_teardown();
}

/* Takes data segments without acknowledging them; returns how many bytes stand in order. */
static uint32_t take_burst(int timeout_ms)
{
	uint32_t end = p.ack;

	while (recv_for(&p, timeout_ms)) {
		if (seen.len && seen.seq == end) {
			if (memcmp(seen.data, pattern(1 << 20) + (end - first), seen.len) != 0)
				ck_abort_msg("wrong bytes at %u", end - first);
			end += (uint32_t)seen.len;
		}
	}
	return end - p.ack;
}

START_TEST(never_more_than_the_guests_window)
{
	static const uint16_t windows[] = {1, 5, 12, 40, 200};

	host_write(host, pattern(1 << 20), 1 << 20);
	for (size_t i = 0; i < sizeof(windows) / sizeof(*windows); i++) {
		uint32_t sent;

		/* All that is in flight is acknowledged, and so much more may come. */
		p.ack += take_burst(20);
		p.window = windows[i];
		send_ack(&p);
		sent = take_burst(20);
		ck_assert_uint_le(sent, (uint32_t)windows[i] << 7);
		/* And not much less: a whole segment would have been sent. */
		ck_assert_uint_gt(sent + 1460, (uint32_t)windows[i] << 7);
		p.ack += sent;
		send_ack(&p);
	}
}
END_TEST

START_TEST(segments_fit_the_mss)
{
	host_write(host, pattern(20000), 20000);
	for (size_t sum = 0; sum < 20000; sum += seen.len) {
		recv_segment(&p);
		ck_assert_uint_le(seen.len, 1460);
		ck_assert_uint_gt(seen.len, 0);
	}
}
END_TEST

START_TEST(bytes_stay_the_hosts_until_they_are_acknowledged)
{
	uint8_t *buf = malloc(1 << 20);

	host_write(host, pattern(1 << 20), 1 << 20);
	ck_assert_uint_eq(guest_read(&p, buf, 1 << 20), 1 << 20);
	ck_assert_int_eq(memcmp(buf, pattern(1 << 20), 1 << 20), 0);
	ck_assert_uint_eq(rig_count(COUNTER_TCP_RX_BYTES), 1 << 20);
	free(buf);
}
END_TEST

/* ---- windows of zero ---- */

START_TEST(a_closed_window_is_probed_and_reopens)
{
	uint8_t buf[1000];

	p.window = 0;
	send_ack(&p);
	rig_run(2);
	host_write(host, pattern(1000), 1000);
	recv_nothing(&p);
	/* A segment before the window draws an ACK that tells it; further and further apart. */
	for (int i = 0; i < 4; i++) {
		rig_sleep(200u << i);
		recv_segment(&p);
		ck_assert_uint_eq(seen.len, 0);
		ck_assert_uint_eq(seen.seq, p.ack - 1);
		send_ack(&p);
		recv_nothing(&p);
	}
	p.window = 512;
	send_ack(&p);
	ck_assert_uint_eq(guest_read(&p, buf, 1000), 1000);
}
END_TEST

START_TEST(a_guest_that_answers_probes_is_never_given_up)
{
	uint8_t buf[100];

	p.window = 0;
	send_ack(&p);
	rig_run(2);
	host_write(host, pattern(100), 100);
	for (int i = 0; i < 60; i++) {
		rig_sleep(10000);
		while (recv_for(&p, 3))
			ck_assert(!(seen.flags & TCP_RST));
		send_ack(&p);
	}
	p.window = 512;
	send_ack(&p);
	ck_assert_uint_eq(guest_read(&p, buf, 100), 100);
}
END_TEST

START_TEST(a_guest_that_answers_no_probe_is_given_up_after_two_minutes)
{
	p.window = 0;
	send_ack(&p);
	rig_run(2);
	host_write(host, pattern(100), 100);
	for (int i = 0; i < 11; i++)
		rig_sleep(10000);
	rig_run(2);
	ck_assert_uint_eq(rig_flows(), 1);
	rig_sleep(10001);
	rig_sleep(10001);
	ck_assert_uint_eq(rig_flows(), 0);
	recv_flag(&p, TCP_RST);
	ck_assert_int_eq(host_next(host), -ECONNRESET);
}
END_TEST

/* The guest took its window back, as a kernel short of memory does, and says so for minutes. */
START_TEST(a_window_taken_back_over_bytes_in_flight_is_no_death)
{
	uint8_t buf[3000];

	host_write(host, pattern(3000), 3000);
	take_burst(10);
	p.window = 0;
	for (int i = 0; i < 30; i++) {
		rig_sleep(10000);
		while (recv_for(&p, 3))
			ck_assert(!(seen.flags & TCP_RST));
		send_ack(&p);
	}
	p.window = 512;
	send_ack(&p);
	rig_sleep(10000);
	ck_assert_uint_eq(guest_read(&p, buf, 3000), 3000);
	ck_assert_int_eq(memcmp(buf, pattern(3000), 3000), 0);
}
END_TEST

/* ---- loss ---- */

START_TEST(what_is_not_acknowledged_is_sent_again)
{
	host_write(host, pattern(1000), 1000);
	ck_assert_uint_eq(take_burst(10), 1000);
	for (int i = 0; i < 5; i++) {
		rig_sleep(100u << i);
		recv_nothing(&p);
		rig_sleep((100u << i) + 10);
		recv_segment(&p);
		ck_assert_uint_eq(seen.seq, p.ack);
		ck_assert_uint_eq(seen.len, 1000);
		ck_assert_int_eq(memcmp(seen.data, pattern(1000), 1000), 0);
	}
	p.ack += 1000;
	send_ack(&p);
	rig_sleep(30000);
	recv_nothing(&p);
}
END_TEST

START_TEST(two_minutes_without_an_ack_end_it)
{
	host_write(host, pattern(1000), 1000);
	take_burst(10);
	for (int i = 0; i < 11; i++)
		rig_sleep(10000);
	ck_assert_uint_eq(rig_flows(), 1);
	rig_sleep(10001);
	rig_sleep(10001);
	ck_assert_uint_eq(rig_flows(), 0);
	ck_assert_int_eq(host_next(host), -ECONNRESET);
}
END_TEST

START_TEST(three_duplicate_acks_bring_it_at_once)
{
	uint32_t burst;

	host_write(host, pattern(20000), 20000);
	burst = take_burst(10);
	ck_assert_uint_eq(burst, 20000);
	send_ack(&p);
	send_ack(&p);
	recv_nothing(&p);
	send_ack(&p);
	recv_segment(&p);
	ck_assert_uint_eq(seen.seq, p.ack);
	ck_assert_uint_eq(seen.len, 1460);
	/* Each partial ACK brings the next (RFC 6582), each further duplicate nothing. */
	send_ack(&p);
	recv_nothing(&p);
	for (int i = 0; i < 3; i++) {
		p.ack += 1460;
		send_ack(&p);
		recv_segment(&p);
		ck_assert_uint_eq(seen.seq, p.ack);
		ck_assert_int_eq(memcmp(seen.data, pattern(20000) + 1460 * (i + 1), 1460), 0);
	}
	p.ack += 20000 - 3 * 1460;
	send_ack(&p);
	recv_nothing(&p);
}
END_TEST

START_TEST(window_updates_are_no_duplicates)
{
	host_write(host, pattern(20000), 20000);
	take_burst(10);
	for (int i = 0; i < 6; i++) {
		p.window++;
		send_ack(&p);
	}
	recv_nothing(&p);
}
END_TEST

START_TEST(old_acks_do_no_harm)
{
	uint8_t buf[1000];

	host_write(host, pattern(1000), 1000);
	guest_read(&p, buf, 1000);
	send_raw(&p, (struct out){.flags = TCP_ACK, .seq = p.seq, .ack = p.ack - 1000});
	send_raw(&p, (struct out){.flags = TCP_ACK, .seq = p.seq, .ack = p.ack - 0x40000000});
	host_write(host, pattern(1000), 1000);
	ck_assert_uint_eq(guest_read(&p, buf, 1000), 1000);
	ck_assert_uint_eq(rig_flows(), 1);
}
END_TEST

/* Every frame towards the guest is lost once in seven, pseudo-randomly. */
START_TEST(a_lossy_guest_gets_all)
{
	const size_t total = 300000;
	uint32_t seed = 99, base = p.ack;
	int idle = 0;

	host_write(host, pattern(total), total);
	while (p.ack - base < total && idle < 400) {
		if (!recv_for(&p, 2)) {
			rig_sleep(250);
			idle++;
			continue;
		}
		seed = seed * 1664525 + 1013904223;
		if (!seen.len || (seed >> 16) % 7 == 0)
			continue;
		if (seen.seq == p.ack) {
			if (memcmp(seen.data, pattern(total) + (p.ack - base), seen.len) != 0)
				ck_abort_msg("wrong bytes at %u", p.ack - base);
			p.ack += (uint32_t)seen.len;
		}
		send_ack(&p);
	}
	ck_assert_uint_eq(p.ack - base, total);
	ck_assert_uint_gt(rig_count(COUNTER_TCP_RETRANSMITS), 0);
}
END_TEST

/* ---- timers of an open connection ---- */

START_TEST(an_idle_connection_is_probed_from_an_hour_on)
{
	const uint64_t minute = 60000;

	rig_sleep(59 * minute);
	recv_nothing(&p);
	rig_sleep(61000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.len, 0);
	ck_assert_uint_eq(seen.seq, p.ack - 1);
	send_ack(&p); /* it lives: another hour */
	rig_sleep(59 * minute);
	recv_nothing(&p);
	ck_assert_uint_eq(rig_flows(), 1);
}
END_TEST

START_TEST(an_idle_connection_whose_guest_is_silent_ends_after_two_hours)
{
	for (int i = 0; i < 123; i++)
		rig_sleep(60000);
	ck_assert_uint_eq(rig_flows(), 1);
	rig_sleep(60000);
	rig_sleep(76000);
	ck_assert_uint_eq(rig_flows(), 0);
	ck_assert_int_eq(host_next(host), -ECONNRESET);
}
END_TEST

/* ---- fairness ---- */

/* Eight downloads share a link that is slower than all of them: none waits for the others. */
START_TEST(flows_share_a_slow_link)
{
	enum { FLOWS = 8 };
	struct peer peers[FLOWS];
	uint32_t base[FLOWS];
	int hosts[FLOWS];
	size_t total = 0, least = SIZE_MAX;

	for (int i = 0; i < FLOWS; i++) {
		peers[i] = connect_peer(&hosts[i]);
		peers[i].window = 65535; /* 8 MiB: no flow is held back by its own */
		send_ack(&peers[i]);
		base[i] = peers[i].ack;
	}
	while (total < 24 << 20) {
		for (int i = 0; i < FLOWS; i++) {
			while (os_send(hosts[i], pattern(65536), 65536, 0) > 0)
				;
		}
		/* The guest takes a little and acknowledges it. */
		for (int k = 0; k < 200 && recv_packet(1); k++) {
			for (int i = 0; i < FLOWS; i++) {
				struct peer *q = &peers[i];

				if (seen.dport != q->port || !seen.len)
					continue;
				if (seen.seq == q->ack) {
					q->ack += (uint32_t)seen.len;
					total += seen.len;
				}
				send_ack(q);
			}
		}
	}
	for (int i = 0; i < FLOWS; i++) {
		size_t got = peers[i].ack - base[i];

		least = got < least ? got : least;
		close(hosts[i]);
	}
	ck_assert_msg(least > total / FLOWS / 2, "one flow got %zu of %zu", least, total);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp_send");
	TCase *w = tcase_create("window"), *l = tcase_create("loss"), *i = tcase_create("idle");
	TCase *f = tcase_create("fair");

	tcase_add_checked_fixture(w, setup, teardown);
	tcase_set_timeout(w, 20);
	tcase_add_test(w, never_more_than_the_guests_window);
	tcase_add_test(w, segments_fit_the_mss);
	tcase_add_test(w, bytes_stay_the_hosts_until_they_are_acknowledged);
	tcase_add_test(w, a_closed_window_is_probed_and_reopens);
	tcase_add_test(w, a_guest_that_answers_probes_is_never_given_up);
	tcase_add_test(w, a_guest_that_answers_no_probe_is_given_up_after_two_minutes);
	tcase_add_test(w, a_window_taken_back_over_bytes_in_flight_is_no_death);
	suite_add_tcase(s, w);
	tcase_add_checked_fixture(l, setup, teardown);
	tcase_set_timeout(l, 30);
	tcase_add_test(l, what_is_not_acknowledged_is_sent_again);
	tcase_add_test(l, two_minutes_without_an_ack_end_it);
	tcase_add_test(l, three_duplicate_acks_bring_it_at_once);
	tcase_add_test(l, window_updates_are_no_duplicates);
	tcase_add_test(l, old_acks_do_no_harm);
	tcase_add_test(l, a_lossy_guest_gets_all);
	suite_add_tcase(s, l);
	tcase_add_checked_fixture(i, setup, teardown);
	tcase_add_test(i, an_idle_connection_is_probed_from_an_hour_on);
	tcase_add_test(i, an_idle_connection_whose_guest_is_silent_ends_after_two_hours);
	suite_add_tcase(s, i);
	tcase_add_checked_fixture(f, setup, teardown);
	tcase_set_timeout(f, 60);
	tcase_add_test(f, flows_share_a_slow_link);
	suite_add_tcase(s, f);
	return run_suite(s);
}
