/* SPDX-License-Identifier: MIT */
/* Links over sockets: framing, the bounded queue, coming and going. */
#include "tests/unit/link_rig.h"

#include "common/unix_socket.h"

#include <stdio.h>

static char directory[] = "/tmp/netctl-link-XXXXXX";
static char path[128];

static void stream_setup(void)
{
	rig_setup();
	rig_attach(LINK_KIND_STREAM, SOCK_STREAM);
}

static void dgram_setup(void)
{
	rig_setup();
	rig_attach(LINK_KIND_DGRAM, SOCK_DGRAM);
}

/* ---- stream: receiving ---- */

START_TEST(frames_are_found_wherever_the_stream_is_cut)
{
	uint8_t stream[400];
	size_t len = 0, sent = 0;

	len += rig_record(stream + len, 60, 1);
	len += rig_record(stream + len, 14, 0);
	len += rig_record(stream + len, 137, 3);
	for (size_t cut = 0; cut <= len; cut++) {
		rig_write(stream, cut);
		rig_run(1);
		rig_write(stream + cut, len - cut);
		sent += 3;
		RIG_UNTIL(rig.frames == sent);
		ck_assert_uint_eq(rig.length[sent - 3], 60);
		ck_assert_uint_eq(rig.length[sent - 2], 14);
		ck_assert_uint_eq(rig.length[sent - 1], 137);
	}
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAME_LENGTH), 0);
}
END_TEST

START_TEST(frames_come_byte_by_byte)
{
	uint8_t stream[64];
	size_t len = rig_record(stream, 40, 9);

	for (size_t i = 0; i < len; i++) {
		ck_assert_uint_eq(rig.frames, 0);
		rig_write(stream + i, 1);
		rig_run(1);
	}
	ck_assert_uint_eq(rig.frames, 1);
}
END_TEST

START_TEST(the_longest_frame_passes)
{
	static uint8_t record[LINK_FRAME_MAX + 4];
	size_t len = rig_record(record, LINK_FRAME_MAX, 5);

	for (int i = 0; i < 5; i++)
		rig_write(record, len);
	RIG_UNTIL(rig.frames == 5);
	ck_assert_uint_eq(rig.length[4], LINK_FRAME_MAX);
}
END_TEST

/* Whatever a length says, it says how far to skip, and what follows is taken. */
START_TEST(records_that_are_no_frames_are_skipped)
{
	static const uint32_t bad[] = {
		0, 1, 13, LINK_FRAME_MAX + 1, 100000, LINK_CHUNK - 4, LINK_CHUNK, 700000};
	static uint8_t junk[700000];
	uint8_t record[64], head[4];

	memset(junk, 0xee, sizeof(junk));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		store_be32(head, bad[i]);
		rig_write(head, 4);
		rig_write(junk, bad[i]);
		rig_write(record, rig_record(record, 60, (uint32_t)i));
		RIG_UNTIL(rig.frames == i + 1);
		ck_assert_uint_eq(rig.number[i], i);
		ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAME_LENGTH), i + 1);
	}
	ck_assert_uint_eq(rig.downs, 0);
}
END_TEST

START_TEST(a_turn_takes_64_frames_and_none_is_forgotten)
{
	static uint8_t stream[1000 * 24];
	size_t len = 0;

	for (uint32_t i = 0; i < 1000; i++)
		len += rig_record(stream + len, 20, i);
	rig_write(stream, len);
	ck_assert(rig.link->ops->receive(rig.link));
	ck_assert_uint_eq(rig.frames, LINK_RX_FRAMES);
	loop_defer(rig.loop, &rig.link->receive_task);
	RIG_UNTIL(rig.frames == 1000);
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(rig.number[i], i);
}
END_TEST

START_TEST(the_end_of_the_stream_is_the_links)
{
	close(rig.peer);
	rig.peer = -1;
	RIG_UNTIL(rig.downs == 1);
	ck_assert(!link_is_up(rig.link));
	ck_assert_ptr_null(link_reserve(rig.link, 100));
	ck_assert_uint_eq(rig_count(COUNTER_DROP_LINK_DOWN), 1);
	ck_assert_uint_eq(link_room(rig.link), 0);
}
END_TEST

/* ---- stream: sending ---- */

START_TEST(frames_arrive_in_order_and_whole)
{
	uint32_t number;

	for (uint32_t i = 0; i < 300; i++)
		ck_assert(rig_commit(14 + i * 200, i));
	for (uint32_t i = 0; i < 300; i++) {
		ck_assert_uint_eq(rig_read_record(&number), 14 + i * 200);
		ck_assert_uint_eq(number, i);
	}
	ck_assert_uint_eq(rig.link->queued_bytes, 0);
	ck_assert_uint_eq(rig.link->queued_frames, 0);
}
END_TEST

START_TEST(the_queue_takes_8192_frames_and_drops_the_tail)
{
	uint32_t number, i = 0;
	size_t stuck;

	/* The kernel's buffer first: what it holds is not the queue's. */
	while (!rig.link->blocked)
		ck_assert(rig_commit(60000, i++));
	while (rig.link->queued_frames < LINK_QUEUE_FRAMES)
		ck_assert(rig_commit(60, i++));
	stuck = i;
	for (int k = 0; k < 10; k++)
		ck_assert(!rig_commit(60, 1000000));
	ck_assert_uint_eq(rig_count(COUNTER_DROP_QUEUE_FULL), 10);
	for (i = 0; i < stuck; i++) {
		ck_assert_uint_ne(rig_read_record(&number), 0);
		ck_assert_uint_eq(number, i);
	}
	ck_assert(rig_commit(60, i));
	ck_assert_uint_eq(rig_read_record(&number), 60);
	ck_assert_uint_eq(number, i);
}
END_TEST

START_TEST(the_queue_takes_16_mib)
{
	uint32_t i = 0, number;

	while (rig_commit(LINK_FRAME_MAX, i))
		i++;
	ck_assert_uint_le(rig.link->queued_bytes, LINK_QUEUE_BYTES);
	ck_assert_uint_gt(rig.link->queued_bytes, LINK_QUEUE_BYTES - LINK_FRAME_MAX - 100);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_QUEUE_FULL), 1);
	for (uint32_t k = 0; k < i; k++) {
		ck_assert_uint_eq(rig_read_record(&number), LINK_FRAME_MAX);
		ck_assert_uint_eq(number, k);
	}
	/* One chunk stays for the next frame, the rest is given back. */
	ck_assert_ptr_null(rig.link->first->next);
}
END_TEST

/* The VMM reads a byte at a time, so the kernel takes records in any parts. */
START_TEST(partial_writes_keep_the_framing)
{
	int size = 4096;
	uint32_t number;

	setsockopt(link_connected_fd(rig.link), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	for (uint32_t i = 0; i < 2000; i++)
		ck_assert(rig_commit(100 + i % 1400, i));
	for (uint32_t i = 0; i < 2000; i++) {
		ck_assert_uint_eq(rig_read_record(&number), 100 + i % 1400);
		ck_assert_uint_eq(number, i);
	}
}
END_TEST

START_TEST(room_is_told_when_it_is_there_again)
{
	uint32_t i = 0, number;

	while (link_room(rig.link))
		ck_assert(rig_commit(60000, i++));
	rig_run(5);
	ck_assert_uint_eq(rig.rooms, 0);
	ck_assert_uint_le(rig.link->queued_bytes, LINK_CHUNK + 60000);
	while (i--)
		ck_assert_uint_ne(rig_read_record(&number), 0);
	RIG_UNTIL(rig.rooms == 1);
	ck_assert_uint_ne(link_room(rig.link), 0);
}
END_TEST

START_TEST(a_reservation_may_be_given_up_or_cut)
{
	uint8_t *frame = link_reserve(rig.link, 5000);
	uint32_t number;

	memset(frame, 0xee, 5000);
	frame = link_reserve(rig.link, 5000);
	rig_fill(frame, 100, 7);
	link_commit(rig.link, 100, NULL);
	link_commit(rig.link, 100, NULL); /* nothing is reserved */
	ck_assert_uint_eq(rig_read_record(&number), 100);
	ck_assert_uint_eq(number, 7);
	ck_assert_uint_eq(rig.link->queued_frames, 0);
	ck_assert_ptr_null(link_reserve(rig.link, LINK_FRAME_MAX + 1));
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAME_LENGTH), 1);
}
END_TEST

/* A peer that has gone is noticed by a write; who commits sees nothing of it until the pass ends. */
START_TEST(a_reset_drops_what_waits_in_both_directions)
{
	static uint8_t buf[LINK_FRAME_MAX];
	int size = 4096;
	uint32_t i = 0, number = 0;
	size_t len, zeros;

	/* The kernel's buffer is full, a record broken off in it; and half a frame has come. */
	setsockopt(link_connected_fd(rig.link), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	while (!rig.link->head_left)
		ck_assert(rig_commit(30000, i++));
	for (int k = 0; k < 100; k++)
		ck_assert(rig_commit(100, i++));
	ck_assert_uint_gt(rig.link->head_left, 0);
	len = rig_record(buf, 1000, 7);
	rig_write(buf, len);
	rig_write(buf, 500);
	link_reset(rig.link);
	ck_assert_uint_eq(link_queued(rig.link), 0);
	ck_assert_uint_eq(rig.frames, 1); /* as ever: who wants no more does not listen */
	rig_write(buf + 500, len - 500);
	ck_assert(rig_commit(60, 0xffffffff));

	/* All that the kernel had, the broken one with zeros behind, and then the new one. */
	for (uint32_t seen = 0; number != 0xffffffff; seen++) {
		ck_assert(rig_read(buf, 4));
		len = load_be32(buf);
		ck_assert(rig_read(buf, len));
		number = load_be32(buf + ETH_HLEN);
		ck_assert(number == seen || number == 0xffffffff);
		for (zeros = 0; zeros < len && !buf[len - 1 - zeros];)
			zeros++;
		ck_assert(zeros > 100 || rig_is_right(buf, len, number));
	}
	/* The frame that was cut in two by the reset is none. */
	len = rig_record(buf, 1000, 8);
	rig_write(buf, len);
	RIG_UNTIL(rig.frames == 2);
	ck_assert_uint_eq(rig.number[1], 8);
	ck_assert(link_is_up(rig.link));
}
END_TEST

START_TEST(a_broken_pipe_is_told_at_the_end_of_the_pass)
{
	shutdown(rig.peer, SHUT_RD);
	for (uint32_t i = 0; i < 4; i++)
		rig_commit(60000, i);
	ck_assert(link_is_up(rig.link));
	ck_assert_uint_eq(rig.downs, 0);
	RIG_UNTIL(rig.downs == 1);
}
END_TEST

/* ---- the listener ---- */

static void listener_setup(void)
{
	int fd;

	rig_setup();
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/link", directory);
	fd = unix_listen(path, SOCK_STREAM, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(link_attach(rig.link, LINK_KIND_STREAM, fd, true), 0);
}

static void listener_teardown(void)
{
	rig_teardown();
	unlink(path);
	rmdir(directory);
}

static int vmm(void)
{
	int fd = unix_connect(path, SOCK_STREAM, 1000, true);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(a_second_vmm_is_turned_away_and_the_first_unharmed)
{
	uint8_t record[64];
	int second;
	char byte;

	rig.peer = vmm();
	RIG_UNTIL(rig.ups == 1);
	second = vmm();
	RIG_UNTIL(rig.refused == 1);
	ck_assert_int_eq(read(second, &byte, 1), 0);
	close(second);
	rig_write(record, rig_record(record, 60, 1));
	RIG_UNTIL(rig.frames == 1);
	ck_assert_uint_eq(rig.downs, 0);
	ck_assert_uint_eq(rig_count(COUNTER_LINK_REFUSED), 1);
}
END_TEST

START_TEST(a_vmm_may_come_again_and_finds_nothing_of_the_old_one)
{
	uint8_t record[64];

	for (unsigned i = 1; i <= 5; i++) {
		rig.peer = vmm();
		RIG_UNTIL(rig.ups == i);
		rig_write(record, rig_record(record, 60, i));
		rig_write(record, 30); /* and half a record */
		rig_commit(60000, 9);  /* it never reads */
		RIG_UNTIL(rig.frames == i);
		close(rig.peer);
		RIG_UNTIL(rig.downs == i);
		ck_assert_uint_eq(rig.link->queued_bytes, 0);
	}
	rig.peer = -1;
}
END_TEST

/* It closed and came again before we looked: its place is free. */
START_TEST(a_vmm_that_reconnects_at_once_is_not_refused)
{
	rig.peer = vmm();
	RIG_UNTIL(rig.ups == 1);
	close(rig.peer);
	rig.peer = vmm();
	RIG_UNTIL(rig.ups == 2);
	ck_assert_uint_eq(rig.refused, 0);
	ck_assert_uint_eq(rig.downs, 1);
}
END_TEST

START_TEST(a_second_vmm_delays_no_frame_of_the_first)
{
	static uint8_t stream[100 * 24];
	size_t len = 0;
	int second;

	rig.peer = vmm();
	RIG_UNTIL(rig.ups == 1);
	for (uint32_t i = 0; i < 100; i++)
		len += rig_record(stream + len, 20, i);
	/* The frames come after epoll has spoken: only the listener's turn sees them. */
	event_del(rig.link->readable);
	rig_write(stream, len);
	second = vmm();
	RIG_UNTIL(rig.refused == 1);
	rig_run(5);
	ck_assert_uint_eq(rig.frames, 100);
	close(second);
}
END_TEST

START_TEST(detaching_closes_all)
{
	rig.peer = vmm();
	RIG_UNTIL(rig.ups == 1);
	ck_assert_int_eq(link_attach(rig.link, LINK_KIND_NONE, -1, false), 0);
	ck_assert_uint_eq(rig.downs, 1);
	ck_assert_int_eq(link_listener_fd(rig.link), -1);
	ck_assert_int_eq(link_connected_fd(rig.link), -1);
	ck_assert_int_eq(unix_connect(path, SOCK_STREAM, 0, true), -ECONNREFUSED);
}
END_TEST

/* ---- taking over from a dead worker ---- */

static const struct mac ours = {{0x52, 0x55, 0, 0, 0, 1}}, guests = {{0x52, 0x54, 0, 0, 0, 2}};

/* Whatever part of a record the dead worker had read, the next whole one is found. */
START_TEST(a_successor_finds_the_next_frame_from_any_byte_on)
{
	for (size_t cut = 0; cut <= 104; cut++) {
		uint8_t stream[104 + 64 + 64];
		size_t len = 0;
		int fds[2];

		len += rig_record(stream, 100, 1);
		len += rig_record(stream + len, 60, 2);
		len += rig_record(stream + len, 60, 3);
		rig.frames = 0;
		if (rig.peer >= 0)
			close(rig.peer);
		rig_run(1);
		ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
		rig.peer = fds[1];
		ck_assert_int_eq(link_resume(rig.link, fds[0], &ours, &guests), 0);
		rig_write(stream + cut, len - cut);
		RIG_UNTIL(rig.frames == (cut == 0 ? 3 : 2));
		ck_assert_uint_eq(rig.number[rig.frames - 2], 2);
		ck_assert_uint_eq(rig.number[rig.frames - 1], 3);
	}
}
END_TEST

/* The VMM's end: a record broken off after any byte is completed, and the next one is whole. */
START_TEST(a_record_broken_off_at_any_byte_is_completed)
{
	static const size_t lens[] = {100, 61, 62, 63, LINK_FRAME_MAX};
	struct flow_memory *memory = flow_memory_open(os_shm_create("flows", FLOW_MEMORY_SIZE));

	for (size_t k = 0; k < sizeof(lens) / sizeof(*lens); k++) {
		for (size_t cut = 1; cut < 12; cut++) {
			static uint8_t record[LINK_FRAME_MAX + 4], head[LINK_FRAME_MAX + 4];
			size_t whole = rig_record(record, lens[k], 1);
			uint32_t number;
			int fds[2];

			rig_teardown();
			rig_setup();
			link_set_memory(rig.link, memory);
			rig_attach(LINK_KIND_STREAM, SOCK_STREAM);
			/* The first life: the kernel takes `cut` bytes, then the worker dies. */
			rig.link->blocked = true;
			ck_assert(rig_commit(lens[k], 1));
			ck_assert_int_eq(
				os_send(link_connected_fd(rig.link), record, cut, 0), (ssize_t)cut);
			flow_memory_set_tx(memory,
				(struct flow_memory_tx){(uint32_t)(whole - cut), (uint32_t)whole});
			fds[0] = os_dup(link_connected_fd(rig.link));
			link_free(rig.link);
			/* The second. */
			rig_new_link();
			link_set_memory(rig.link, memory);
			ck_assert_int_eq(link_resume(rig.link, fds[0], &ours, &guests), 0);
			ck_assert(rig_commit(70, 2));
			ck_assert(rig_read(head, whole));
			ck_assert_uint_eq(load_be32(head), lens[k]);
			ck_assert_uint_eq(rig_read_record(&number), 70);
			ck_assert_uint_eq(number, 2);
		}
	}
	link_set_memory(rig.link, NULL);
	flow_memory_free(memory);
}
END_TEST

/* The same where the kernel cut it: what it took of the queue is noted with every write. */
START_TEST(what_the_kernel_cut_is_completed)
{
	struct flow_memory *memory = flow_memory_open(os_shm_create("flows", FLOW_MEMORY_SIZE));
	uint32_t i = 0, number;
	struct flow_memory_tx tx;
	int fd, size = 20000;
	size_t queued;

	link_set_memory(rig.link, memory);
	rig_attach(LINK_KIND_STREAM, SOCK_STREAM);
	setsockopt(link_connected_fd(rig.link), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	while (!rig.link->blocked)
		ck_assert(rig_commit(60000, i++));
	tx = flow_memory_tx(memory);
	queued = rig.link->queued_frames;
	ck_assert_uint_eq(tx.size, 60004);
	ck_assert_uint_gt(tx.left, 0);
	ck_assert_uint_eq(tx.left, rig.link->head_left);
	fd = os_dup(link_connected_fd(rig.link));
	link_free(rig.link);
	rig_new_link();
	link_set_memory(rig.link, memory);
	ck_assert_int_eq(link_resume(rig.link, fd, &ours, &guests), 0);
	ck_assert_uint_eq(flow_memory_tx(memory).left, tx.left);
	ck_assert(rig_commit(70, 1000));
	for (uint32_t k = 0; k < i - queued; k++) {
		ck_assert_uint_eq(rig_read_record(&number), 60000);
		ck_assert_uint_eq(number, k);
	}
	for (uint32_t k = 0; k < 15001; k++) {
		uint8_t word[4];

		if (!rig_read(word, 4) || (k == 0 && load_be32(word) != 60000))
			ck_abort_msg("the broken record ends after %u words", k);
	}
	ck_assert_uint_eq(rig_read_record(&number), 70);
	ck_assert_uint_eq(number, 1000);
	ck_assert_uint_eq(flow_memory_tx(memory).left, 0);
	link_set_memory(rig.link, NULL);
	flow_memory_free(memory);
}
END_TEST

/* A captured worker may have left any note. */
START_TEST(a_note_that_cannot_be_is_ignored)
{
	static const struct flow_memory_tx notes[] = {{100, 0}, {100, 50}, {UINT32_MAX, UINT32_MAX},
		{0x7fffffff, UINT32_MAX}, {LINK_FRAME_MAX + 1, LINK_FRAME_MAX + 5}, {60, 60}};
	struct flow_memory *memory = flow_memory_open(os_shm_create("flows", FLOW_MEMORY_SIZE));
	uint32_t number;

	link_set_memory(rig.link, memory);
	for (size_t i = 0; i < sizeof(notes) / sizeof(*notes); i++) {
		int fds[2];

		if (rig.peer >= 0)
			close(rig.peer);
		rig_run(1);
		flow_memory_set_tx(memory, notes[i]);
		ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
		rig.peer = fds[1];
		ck_assert_int_eq(link_resume(rig.link, fds[0], &ours, &guests), 0);
		ck_assert(rig_commit(70, 1));
		ck_assert_uint_eq(rig_read_record(&number), 70);
	}
	link_set_memory(rig.link, NULL);
	flow_memory_free(memory);
}
END_TEST

/* ---- dgram ---- */

START_TEST(a_datagram_is_a_frame)
{
	uint8_t frame[1514];

	for (uint32_t i = 0; i < 5; i++) {
		rig_fill(frame, 100 + i, i);
		rig_write(frame, 100 + i);
	}
	RIG_UNTIL(rig.frames == 5);
	ck_assert_uint_eq(rig.length[4], 104);
	ck_assert(rig_commit(200, 8));
	rig_run(1);
	ck_assert_int_eq(recv(rig.peer, frame, sizeof(frame), 0), 200);
	ck_assert(rig_is_right(frame, 200, 8));
}
END_TEST

START_TEST(vfkits_greeting_is_swallowed)
{
	uint8_t frame[60];

	rig_write("VFKT", 4);
	rig_fill(frame, sizeof(frame), 1);
	rig_write(frame, sizeof(frame));
	RIG_UNTIL(rig.frames == 1);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAME_LENGTH), 0);
}
END_TEST

START_TEST(datagrams_that_are_no_frames_are_counted)
{
	uint8_t frame[60];

	ck_assert_int_eq(send(rig.peer, "", 0, 0), 0);
	rig_write("0123456789abc", 13);
	rig_write("VFKX", 4);
	rig_fill(frame, sizeof(frame), 1);
	rig_write(frame, sizeof(frame));
	RIG_UNTIL(rig.frames == 1);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_FRAME_LENGTH), 3);
}
END_TEST

START_TEST(a_full_peer_makes_frames_wait_in_order)
{
	uint8_t frame[100];
	uint32_t i = 0, seen = 0;

	while (!rig.link->blocked)
		ck_assert(rig_commit(100, i++));
	while (rig.link->queued_frames < 1000)
		ck_assert(rig_commit(100, i++));
	while (seen < i) {
		if (recv(rig.peer, frame, sizeof(frame), 0) < 0) {
			rig_run(1);
			continue;
		}
		ck_assert_uint_eq(load_be32(frame + ETH_HLEN), seen++);
	}
	ck_assert_uint_eq(rig_count(COUNTER_DROP_QUEUE_FULL), 0);
}
END_TEST

START_TEST(a_peer_that_went_away_gives_the_socket_back)
{
	int fd = link_connected_fd(rig.link);

	close(rig.peer);
	rig.peer = -1;
	rig_commit(60, 1);
	RIG_UNTIL(rig.downs == 1);
	ck_assert_int_eq(rig.returned, fd);
	ck_assert_int_eq(link_connected_fd(rig.link), -1);
	ck_assert(!link_is_up(rig.link));
}
END_TEST

/* Nothing is to be sent, and no datagram socket tells of its peer's end: a probe asks. */
START_TEST(a_silent_peer_that_went_away_is_noticed_too)
{
	close(rig.peer);
	rig.peer = -1;
	for (int i = 0; i < 60 && !rig.downs; i++)
		rig_run(50);
	ck_assert_uint_eq(rig.downs, 1);
	ck_assert_int_ge(rig.returned, 0);
}
END_TEST

/* ---- descriptors of the wrong kind ---- */

START_TEST(wrong_descriptors_are_refused_and_closed)
{
	int fds[2], pipes[2];

	os_socketpair(AF_UNIX, SOCK_DGRAM, true, fds);
	ck_assert_int_eq(link_attach(rig.link, LINK_KIND_STREAM, fds[0], false), -EINVAL);
	ck_assert_int_eq(link_attach(rig.link, LINK_KIND_DGRAM, fds[1], true), -EINVAL);
	ck_assert_int_lt(os_dup(fds[0]), 0);
	ck_assert_int_lt(os_dup(fds[1]), 0);
	os_socketpair(AF_UNIX, SOCK_STREAM, true, fds);
	ck_assert_int_eq(link_attach(rig.link, LINK_KIND_DGRAM, fds[0], false), -EINVAL);
	ck_assert_int_eq(link_attach(rig.link, LINK_KIND_TAP, fds[1], false), -EINVAL);
	os_pipe(pipes);
	ck_assert_int_lt(link_attach(rig.link, LINK_KIND_STREAM, pipes[0], false), 0);
	ck_assert_int_lt(link_attach(rig.link, LINK_KIND_TAP, pipes[1], false), 0);
	ck_assert_int_lt(os_dup(pipes[0]), 0);
	ck_assert_int_eq(link_kind(rig.link), LINK_KIND_NONE);
	ck_assert_uint_eq(rig.ups + rig.downs, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("link");
	TCase *t = tcase_create("stream"), *l = tcase_create("listener");
	TCase *r = tcase_create("resume"), *d = tcase_create("dgram"), *w = tcase_create("wrong");

	tcase_set_timeout(t, 30);
	tcase_set_timeout(r, 30);
	tcase_add_checked_fixture(t, stream_setup, rig_teardown);
	tcase_add_test(t, frames_are_found_wherever_the_stream_is_cut);
	tcase_add_test(t, frames_come_byte_by_byte);
	tcase_add_test(t, the_longest_frame_passes);
	tcase_add_test(t, records_that_are_no_frames_are_skipped);
	tcase_add_test(t, a_turn_takes_64_frames_and_none_is_forgotten);
	tcase_add_test(t, the_end_of_the_stream_is_the_links);
	tcase_add_test(t, frames_arrive_in_order_and_whole);
	tcase_add_test(t, the_queue_takes_8192_frames_and_drops_the_tail);
	tcase_add_test(t, the_queue_takes_16_mib);
	tcase_add_test(t, partial_writes_keep_the_framing);
	tcase_add_test(t, room_is_told_when_it_is_there_again);
	tcase_add_test(t, a_reservation_may_be_given_up_or_cut);
	tcase_add_test(t, a_reset_drops_what_waits_in_both_directions);
	tcase_add_test(t, a_broken_pipe_is_told_at_the_end_of_the_pass);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(l, listener_setup, listener_teardown);
	tcase_add_test(l, a_second_vmm_is_turned_away_and_the_first_unharmed);
	tcase_add_test(l, a_vmm_may_come_again_and_finds_nothing_of_the_old_one);
	tcase_add_test(l, a_vmm_that_reconnects_at_once_is_not_refused);
	tcase_add_test(l, a_second_vmm_delays_no_frame_of_the_first);
	tcase_add_test(l, detaching_closes_all);
	suite_add_tcase(s, l);
	tcase_add_checked_fixture(r, rig_setup, rig_teardown);
	tcase_add_test(r, a_successor_finds_the_next_frame_from_any_byte_on);
	tcase_add_test(r, a_record_broken_off_at_any_byte_is_completed);
	tcase_add_test(r, what_the_kernel_cut_is_completed);
	tcase_add_test(r, a_note_that_cannot_be_is_ignored);
	suite_add_tcase(s, r);
	tcase_add_checked_fixture(d, dgram_setup, rig_teardown);
	tcase_add_test(d, a_datagram_is_a_frame);
	tcase_add_test(d, vfkits_greeting_is_swallowed);
	tcase_add_test(d, datagrams_that_are_no_frames_are_counted);
	tcase_add_test(d, a_full_peer_makes_frames_wait_in_order);
	tcase_add_test(d, a_peer_that_went_away_gives_the_socket_back);
	tcase_add_test(d, a_silent_peer_that_went_away_is_noticed_too);
	suite_add_tcase(s, d);
	tcase_add_checked_fixture(w, rig_setup, rig_teardown);
	tcase_add_test(w, wrong_descriptors_are_refused_and_closed);
	suite_add_tcase(s, w);
	return run_suite(s);
}
