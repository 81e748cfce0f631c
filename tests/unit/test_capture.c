/* SPDX-License-Identifier: MIT */
/* Captures: whole blocks, a bounded buffer, counts of what a slow reader missed; and ports. */
#include "dataplane/capture.h"

#include "cli/pcapng.h"
#include "common/be.h"
#include "common/os.h"
#include "dataplane/link/link_internal.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *loop;
static struct link *link_;
static struct counters counters;
static struct captures *captures;
static struct capture_wish wish;
static int reader;
static uint8_t frame[2000];

/* What was read, block by block. */
static struct {
	unsigned kinds[4];
	uint64_t bytes, received, dropped;
	uint8_t data[2 * PCAPNG_BLOCK_MAX];
	size_t len;
	bool over;
} seen;

static void on_frame(void *arg, const uint8_t *bytes, size_t len, const struct link_meta *meta)
{
	(void)arg;
	(void)bytes;
	(void)len;
	(void)meta;
}

static void set_up(void)
{
	const struct link_events events = {.frame = on_frame};

	loop = loop_new();
	link_ = link_new(loop, &counters, &events);
	captures = captures_new(loop, link_, "web");
	memset(&wish, 0, sizeof(wish));
	memset(&seen, 0, sizeof(seen));
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	reader = -1;
}

static void tear_down(void)
{
	captures_free(captures);
	link_free(link_);
	loop_free(loop);
	if (reader >= 0)
		close(reader);
}

static int start(void)
{
	int pair[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, pair), 0);
	if (reader >= 0)
		close(reader);
	reader = pair[1];
	return captures_start(captures, &wish, pair[0]);
}

static void on_timer(struct timer *timer)
{
	(void)timer;
	loop_stop(loop);
}

/* A few passes of the loop. */
static void turn(void)
{
	struct timer timer = {.fire = on_timer};

	timer_arm(loop_wheel(loop), &timer, 1);
	loop_run(loop);
}

static void take_blocks(void)
{
	size_t at = 0;
	enum pcapng_kind kind;
	long len;

	while ((len = pcapng_block(seen.data + at, seen.len - at, &kind)) > 0) {
		seen.kinds[kind]++;
		if (kind == PCAPNG_STATISTICS)
			pcapng_statistics(
				seen.data + at, (size_t)len, &seen.received, &seen.dropped);
		at += (size_t)len;
	}
	ck_assert_int_eq(len, 0);
	seen.len -= at;
	memmove(seen.data, seen.data + at, seen.len);
}

static void read_some(void)
{
	ssize_t n;

	while ((n = recv(reader, seen.data + seen.len, sizeof(seen.data) - seen.len, 0)) > 0) {
		seen.len += (size_t)n;
		seen.bytes += (size_t)n;
		take_blocks();
	}
	seen.over = n == 0;
}

static void read_all(void)
{
	for (int i = 0; i < 500 && !seen.over; i++) {
		turn();
		read_some();
	}
	ck_assert(seen.over);
	ck_assert_uint_eq(seen.len, 0);
}

START_TEST(each_frame_is_a_block_and_the_end_has_statistics)
{
	ck_assert_int_eq(start(), 0);
	for (size_t len = 60; len < 64; len++)
		link_deliver(link_, frame, len, NULL);
	shutdown(reader, SHUT_WR);
	read_all();
	ck_assert_uint_eq(seen.kinds[PCAPNG_SECTION], 1);
	ck_assert_uint_eq(seen.kinds[PCAPNG_INTERFACE], 1);
	ck_assert_uint_eq(seen.kinds[PCAPNG_PACKET], 4);
	ck_assert_uint_eq(seen.kinds[PCAPNG_STATISTICS], 1);
	ck_assert_uint_eq(seen.received, 4);
	ck_assert_uint_eq(seen.dropped, 0);
	ck_assert_uint_eq(captures_count(captures), 0);
	ck_assert_ptr_null(link_->watch);
}
END_TEST

START_TEST(a_reader_that_does_not_read_loses_frames_that_are_counted)
{
	const unsigned n = 5000;

	ck_assert_int_eq(start(), 0);
	for (unsigned i = 0; i < n; i++) {
		link_deliver(link_, frame, 1500, NULL);
		if (i % 1000 == 0)
			turn();
	}
	shutdown(reader, SHUT_WR);
	read_all();
	ck_assert_uint_eq(seen.received, n);
	ck_assert_uint_gt(seen.dropped, 0);
	ck_assert_uint_eq(seen.kinds[PCAPNG_PACKET] + seen.dropped, n);
	ck_assert_uint_le(seen.bytes, 2 * CAPTURE_BUFFER);
}
END_TEST

START_TEST(a_reader_that_goes_ends_it)
{
	ck_assert_int_eq(start(), 0);
	link_deliver(link_, frame, 60, NULL);
	close(reader);
	reader = -1;
	for (int i = 0; i < 100 && captures_count(captures); i++)
		turn();
	ck_assert_uint_eq(captures_count(captures), 0);
	link_deliver(link_, frame, 60, NULL);
}
END_TEST

START_TEST(they_are_few_and_only_of_stream_sockets)
{
	int fds[CAPTURES_MAX], pair[2], pipes[2];

	for (int i = 0; i < CAPTURES_MAX; i++) {
		reader = -1;
		ck_assert_int_eq(start(), 0);
		fds[i] = reader;
	}
	reader = -1;
	ck_assert_int_eq(start(), -EMFILE);
	for (int i = 0; i < CAPTURES_MAX; i++)
		close(fds[i]);
	for (int i = 0; i < 100 && captures_count(captures); i++)
		turn();
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_DGRAM, true, pair), 0);
	ck_assert_int_eq(captures_start(captures, &wish, pair[0]), -ENOTSOCK);
	close(pair[1]);
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(captures_start(captures, &wish, pipes[1]), -ENOTSOCK);
	close(pipes[0]);
}
END_TEST

START_TEST(the_end_of_the_worker_is_told)
{
	ck_assert_int_eq(start(), 0);
	link_deliver(link_, frame, 60, NULL);
	captures_free(captures);
	captures = captures_new(loop, link_, "web");
	read_some();
	ck_assert(seen.over);
	ck_assert_uint_eq(seen.kinds[PCAPNG_PACKET], 1);
	ck_assert_uint_eq(seen.kinds[PCAPNG_STATISTICS], 1);
}
END_TEST

/* ---- ports ---- */

static size_t make_packet(uint16_t ethertype, uint8_t proto, uint16_t from, uint16_t to)
{
	uint8_t *ip = frame + ETH_HLEN;
	size_t hlen = ethertype == 0x86dd ? 40 : 24;

	memset(frame, 0, sizeof(frame));
	store_be16(frame + 12, ethertype);
	if (ethertype == 0x86dd) {
		ip[0] = 0x60;
		ip[6] = proto;
	} else {
		ip[0] = 0x46; /* with an option */
		ip[9] = proto;
	}
	store_be16(ip + hlen, from);
	store_be16(ip + hlen + 2, to);
	return ETH_HLEN + hlen + 4;
}

START_TEST(ports_choose_tcp_and_udp_of_either_end)
{
	size_t len;

	wish.n_ports = 2;
	wish.ports[0] = 80;
	wish.ports[1] = 53;
	len = make_packet(0x0800, 6, 1000, 80);
	ck_assert(capture_wants(&wish, frame, len));
	ck_assert(!capture_wants(&wish, frame, len - 1));
	store_be16(frame + ETH_HLEN + 6, 0x2000); /* a first fragment */
	ck_assert(capture_wants(&wish, frame, len));
	store_be16(frame + ETH_HLEN + 6, 1); /* a later one has no ports */
	ck_assert(!capture_wants(&wish, frame, len));
	len = make_packet(0x0800, 17, 53, 1000);
	ck_assert(capture_wants(&wish, frame, len));
	len = make_packet(0x86dd, 17, 1000, 53);
	ck_assert(capture_wants(&wish, frame, len));
	len = make_packet(0x0800, 1, 80, 53);
	ck_assert(!capture_wants(&wish, frame, len));
	len = make_packet(0x0800, 6, 81, 8080);
	ck_assert(!capture_wants(&wish, frame, len));
	len = make_packet(0x0806, 6, 80, 80);
	ck_assert(!capture_wants(&wish, frame, len));
}
END_TEST

START_TEST(no_length_of_a_frame_is_read_beyond)
{
	wish.n_ports = 1;
	wish.ports[0] = 80;
	for (unsigned ihl = 0; ihl < 16; ihl++) {
		size_t len = make_packet(0x0800, 6, 80, 80);

		frame[ETH_HLEN] = (uint8_t)(0x40 | ihl);
		for (size_t cut = 0; cut <= len; cut++) {
			uint8_t *exact = malloc(cut ? cut : 1);

			memcpy(exact, frame, cut);
			capture_wants(&wish, exact, cut); /* the sanitizers look */
			free(exact);
		}
	}
}
END_TEST

/* ---- netctl's side ---- */

START_TEST(only_blocks_of_ours_are_taken)
{
	uint32_t block[4] = {6, 16, 0, 16};
	const uint8_t *bytes = (const uint8_t *)block;
	enum pcapng_kind kind;

	ck_assert_int_eq(pcapng_block(bytes, 16, &kind), 16);
	ck_assert_int_eq(kind, PCAPNG_PACKET);
	ck_assert_int_eq(pcapng_block(bytes, 15, &kind), 0);
	ck_assert_int_eq(pcapng_block(bytes, 7, &kind), 0);
	block[3] = 12;
	ck_assert_int_eq(pcapng_block(bytes, 16, &kind), -EPROTO);
	block[1] = 18;
	ck_assert_int_eq(pcapng_block(bytes, 16, &kind), -EPROTO);
	block[1] = 8;
	ck_assert_int_eq(pcapng_block(bytes, 16, &kind), -EPROTO);
	block[1] = (uint32_t)PCAPNG_BLOCK_MAX + 4;
	ck_assert_int_eq(pcapng_block(bytes, 16, &kind), -EPROTO);
	block[0] = 3; /* a kind that none of ours has */
	block[1] = block[3] = 16;
	ck_assert_int_eq(pcapng_block(bytes, 16, &kind), -EPROTO);
}
END_TEST

START_TEST(statistics_with_options_that_run_over_say_nothing)
{
	uint32_t block[10] = {5, 40, 0, 0, 0, 4 | 8u << 16, 7, 0, 0, 40};
	uint64_t received = 1, dropped = 2;

	pcapng_statistics((const uint8_t *)block, 40, &received, &dropped);
	ck_assert_uint_eq(received, 7);
	ck_assert_uint_eq(dropped, 2);
	block[5] = 4 | 0xffffu << 16;
	received = 1;
	pcapng_statistics((const uint8_t *)block, 40, &received, &dropped);
	ck_assert_uint_eq(received, 1);
	pcapng_statistics((const uint8_t *)block, 12, &received, &dropped);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("capture");
	TCase *tc = tcase_create("capture");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, each_frame_is_a_block_and_the_end_has_statistics);
	tcase_add_test(tc, a_reader_that_does_not_read_loses_frames_that_are_counted);
	tcase_add_test(tc, a_reader_that_goes_ends_it);
	tcase_add_test(tc, they_are_few_and_only_of_stream_sockets);
	tcase_add_test(tc, the_end_of_the_worker_is_told);
	tcase_add_test(tc, ports_choose_tcp_and_udp_of_either_end);
	tcase_add_test(tc, no_length_of_a_frame_is_read_beyond);
	tcase_add_test(tc, only_blocks_of_ours_are_taken);
	tcase_add_test(tc, statistics_with_options_that_run_over_say_nothing);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
