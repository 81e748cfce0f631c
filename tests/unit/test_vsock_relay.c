/* SPDX-License-Identifier: MIT */
/* Two sockets kept in step: bytes, ends, resets, and what is waited for. */
#include "dataplane/vsock/relay.h"
#include "tests/unit/services_rig.h"

static struct relays *relays;
static unsigned ended;
static int a, b; /* the far ends */

static void on_ended(void *arg)
{
	ck_assert_ptr_eq(arg, &ended);
	ended++;
}

static void setup(void)
{
	memset(&rig, 0, sizeof(rig));
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	rig.loop = loop_new();
	relays = relays_new(rig.loop, &rig.counters, 2);
	ended = 0;
	a = b = -1;
}

static void teardown(void)
{
	relays_free(relays);
	loop_free(rig.loop);
	close(a);
	close(b);
}

static struct relay_end make_end(bool tcp, int *far)
{
	struct linger reset = {1, 0};
	int fds[2];

	if (tcp)
		tcp_pair(fds);
	else
		ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	*far = fds[1];
	if (tcp)
		setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	return (struct relay_end){.fd = fds[0], .tcp = tcp};
}

static void start(bool tcp_a, bool tcp_b)
{
	struct relay_end ends[2] = {make_end(tcp_a, &a), make_end(tcp_b, &b)};

	ck_assert_int_eq(relays_start(relays, ends, on_ended, &ended), 0);
}

/* Writes until nothing is taken any more; how much was. */
static size_t fill(int fd)
{
	static uint8_t bytes[1 << 16];
	size_t total = 0;

	for (int idle = 0; idle < 20;) {
		ssize_t n = os_send(fd, bytes, sizeof(bytes), 0);

		idle = n > 0 ? 0 : idle + 1;
		total += n > 0 ? (size_t)n : 0;
		rig_run(1);
	}
	return total;
}

static size_t drain(int fd, size_t len)
{
	static uint8_t bytes[1 << 16];
	size_t total = 0;

	for (int waited = 0; total < len && waited < 1000;) {
		ssize_t n = recv(fd, bytes, len - total, 0);

		if (n == 0)
			break;
		if (n < 0) {
			waited++;
			rig_run(1);
		} else {
			total += (size_t)n;
		}
	}
	rig_run(0);
	return total;
}

START_TEST(bytes_go_both_ways_behind_what_was_read_before)
{
	struct relay_end ends[2] = {make_end(false, &a), make_end(true, &b)};

	ends[0].prefix = "GET ";
	ends[0].prefix_len = 4;
	ends[1].prefix = "220 ";
	ends[1].prefix_len = 4;
	host_say(a, "/x");
	ck_assert_int_eq(relays_start(relays, ends, on_ended, &ended), 0);
	host_hears(b, "GET /x");
	host_say(b, "ready");
	host_hears(a, "220 ready");
	ck_assert_uint_eq(relays_count(relays), 1);
}
END_TEST

START_TEST(each_end_passes_on_its_own)
{
	start(false, true);
	host_say(a, "last");
	shutdown(a, SHUT_WR);
	host_hears(b, "last");
	ck_assert_int_eq(host_next(b), 0);
	host_say(b, "still here");
	host_hears(a, "still here");
	ck_assert_uint_eq(ended, 0);
	shutdown(b, SHUT_WR);
	ck_assert_int_eq(host_next(a), 0);
	RIG_UNTIL(ended == 1);
	ck_assert_uint_eq(relays_count(relays), 0);
}
END_TEST

START_TEST(a_slow_end_slows_the_other_and_loses_nothing)
{
	static uint8_t bytes[8 << 20], got[8 << 20];
	size_t sent = 0, have = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	start(false, false);
	for (int idle = 0; idle < 20;) {
		ssize_t n = os_send(a, bytes + sent, sizeof(bytes) - sent, 0);

		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? (size_t)n : 0;
		rig_run(1);
	}
	ck_assert_uint_lt(sent, 2 << 20);
	while (have < sizeof(bytes)) {
		ssize_t n = os_send(a, bytes + sent, sizeof(bytes) - sent, 0);

		sent += n > 0 ? (size_t)n : 0;
		if (sent == sizeof(bytes))
			shutdown(a, SHUT_WR);
		n = recv(b, got + have, sizeof(got) - have, 0);
		ck_assert_msg(n != 0, "the end came at %zu", have);
		have += n > 0 ? (size_t)n : 0;
		rig_run(0);
	}
	ck_assert(memcmp(got, bytes, sizeof(bytes)) == 0);
	ck_assert_int_eq(host_next(b), 0);
}
END_TEST

START_TEST(a_reset_is_passed_on)
{
	start(true, true);
	host_say(a, "x");
	host_hears(b, "x");
	host_reset(a);
	a = -1;
	ck_assert_int_eq(host_next(b), -ECONNRESET);
	ck_assert_uint_eq(ended, 1);
}
END_TEST

START_TEST(a_reset_is_seen_behind_an_end_and_behind_what_is_held)
{
	int c, d;
	struct relay_end ends[2];

	start(true, true);
	shutdown(a, SHUT_WR);
	ck_assert_int_eq(host_next(b), 0);
	host_reset(a);
	a = -1;
	RIG_UNTIL(ended == 1);
	ck_assert_int_eq(os_send(b, "x", 1, 0), -EPIPE); /* it was no close */
	ends[0] = make_end(true, &c);
	ends[1] = make_end(true, &d);
	ck_assert_int_eq(relays_start(relays, ends, on_ended, &ended), 0);
	fill(c);
	host_reset(c);
	RIG_UNTIL(ended == 2);
	close(d);
}
END_TEST

START_TEST(who_reads_no_more_ends_the_direction)
{
	start(false, false);
	fill(a);
	close(b);
	b = -1;
	RIG_UNTIL(ended == 1);
	ck_assert_int_eq(os_send(a, "x", 1, 0), -EPIPE);
}
END_TEST

START_TEST(a_deaf_end_may_still_speak)
{
	start(false, false);
	shutdown(b, SHUT_RD);
	host_say(a, "x");
	rig_run(5);
	ck_assert_int_eq(os_send(a, "y", 1, 0), -EPIPE);
	host_say(b, "but listen");
	host_hears(a, "but listen");
	ck_assert_uint_eq(ended, 0);
	close(b);
	b = -1;
	RIG_UNTIL(ended == 1);
}
END_TEST

START_TEST(what_waits_behind_an_end_waits_so_long_and_no_longer)
{
	struct relay_end ends[2] = {make_end(false, &a), make_end(false, &b)};
	int size = 4096;

	setsockopt(ends[1].fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	ck_assert_int_eq(relays_start(relays, ends, on_ended, &ended), 0);
	fill(a);
	close(a);
	a = -1;
	rig_sleep(RELAY_DRAIN_MS - 1000);
	ck_assert_uint_eq(ended, 0);
	/* Progress gives it time again, however small. */
	ck_assert_uint_eq(drain(b, 8192), 8192);
	rig_sleep(RELAY_DRAIN_MS - 1000);
	ck_assert_uint_eq(ended, 0);
	rig_sleep(2000);
	ck_assert_uint_eq(ended, 1);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_TIMEOUTS), 1);
}
END_TEST

START_TEST(an_idle_relay_stays)
{
	start(false, true);
	rig_sleep(86400000);
	rig_sleep(86400000);
	host_say(a, "good morning");
	host_hears(b, "good morning");
}
END_TEST

START_TEST(there_is_a_bound)
{
	int far[2];
	struct relay_end ends[2];

	start(false, false);
	ends[0] = make_end(false, &far[0]);
	ends[1] = make_end(false, &far[1]);
	ck_assert_int_eq(relays_start(relays, ends, NULL, NULL), 0);
	close(far[0]);
	close(far[1]);
	RIG_UNTIL(relays_count(relays) == 1);
	ends[0] = make_end(false, &far[0]);
	ends[1] = make_end(false, &far[1]);
	ck_assert_int_eq(relays_start(relays, ends, NULL, NULL), 0);
	close(far[0]);
	ends[0] = make_end(false, &far[0]);
	ends[1] = make_end(false, &a);
	ck_assert_int_eq(relays_start(relays, ends, on_ended, &ended), -EMFILE);
	ck_assert_int_eq(host_next(far[0]), 0);
	ck_assert_uint_eq(ended, 0);
	close(far[0]);
	close(far[1]);
}
END_TEST

START_TEST(a_reset_of_all_is_abrupt)
{
	start(true, false);
	relays_reset(relays);
	ck_assert_uint_eq(ended, 1);
	ck_assert_int_eq(host_next(a), -ECONNRESET);
	ck_assert_int_eq(host_next(b), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsock_relay");
	TCase *t = tcase_create("relay");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, bytes_go_both_ways_behind_what_was_read_before);
	tcase_add_test(t, each_end_passes_on_its_own);
	tcase_add_test(t, a_slow_end_slows_the_other_and_loses_nothing);
	tcase_add_test(t, a_reset_is_passed_on);
	tcase_add_test(t, a_reset_is_seen_behind_an_end_and_behind_what_is_held);
	tcase_add_test(t, who_reads_no_more_ends_the_direction);
	tcase_add_test(t, a_deaf_end_may_still_speak);
	tcase_add_test(t, what_waits_behind_an_end_waits_so_long_and_no_longer);
	tcase_add_test(t, an_idle_relay_stays);
	tcase_add_test(t, there_is_a_bound);
	tcase_add_test(t, a_reset_of_all_is_abrupt);
	suite_add_tcase(s, t);
	return run_suite(s);
}
