/* SPDX-License-Identifier: MIT */
/*
 * The stream link's framing, against a second reading of the same bytes that is too simple to be
 * wrong. The first byte chooses in what parts they are written; bit 7 takes the connection over
 * from a dead worker, where only crashes and frames of impossible lengths are looked for.
 */
#include "common/be.h"
#include "common/os.h"
#include "dataplane/link/link_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct loop *loop;
static struct counters counters;
static struct link *fuzzed;
static const uint8_t *expected; /* what is left of the input, NULL where anything may come */
static size_t expected_left;
static size_t frames;

/* The next record that is a frame; false where the input holds no more. */
static bool next_expected(const uint8_t **frame, size_t *len)
{
	while (expected_left >= 4) {
		size_t n = load_be32(expected);

		if (n > expected_left - 4)
			return false;
		*frame = expected + 4;
		*len = n;
		expected += 4 + n;
		expected_left -= 4 + n;
		if (n >= ETH_HLEN && n <= LINK_FRAME_MAX)
			return true;
	}
	return false;
}

static void on_frame(void *arg, const uint8_t *frame, size_t len, const struct link_meta *meta)
{
	const uint8_t *want;
	size_t want_len;

	(void)arg;
	(void)meta;
	frames++;
	if (len < ETH_HLEN || len > LINK_FRAME_MAX)
		abort();
	if (!expected)
		return;
	if (!next_expected(&want, &want_len) || want_len != len || memcmp(want, frame, len) != 0)
		abort();
}

static void on_changed(void *arg, bool up, const char *text)
{
	(void)arg;
	(void)up;
	(void)text;
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static void on_fd(void *arg, int fd)
{
	(void)arg;
	close(fd);
}

static void stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

static void turn(int passes)
{
	static const struct timeval now;

	while (passes--) {
		event_base_once(loop_base(loop), -1, EV_TIMEOUT, stop, NULL, &now);
		if (loop_run(loop) < 0)
			abort();
	}
}

static void start(void)
{
	struct link_events events = {.frame = on_frame,
		.changed = on_changed,
		.refused = on_nothing,
		.returned = on_fd,
		.room = on_nothing};

	loop = loop_new();
	fuzzed = link_new(loop, &counters, &events);
	if (!fuzzed)
		abort();
}

static void write_in_parts(int fd, const uint8_t *bytes, size_t size, size_t part)
{
	while (size) {
		size_t n = part && part < size ? part : size;
		ssize_t sent = os_send(fd, bytes, n, 0);

		if (sent > 0) {
			bytes += sent;
			size -= (size_t)sent;
		}
		turn(1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct mac ours = {{0x52, 0x55, 10, 0, 2, 2}},
				theirs = {{0x52, 0x54, 0, 0, 0, 1}};
	const uint8_t *frame;
	size_t len;
	int fds[2];

	if (size < 1)
		return 0;
	if (!loop)
		start();
	if (os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0)
		abort();
	expected = bytes[0] & 0x80 ? NULL : bytes + 1;
	expected_left = size - 1;
	if ((expected ? link_attach(fuzzed, LINK_KIND_STREAM, fds[0], false)
		      : link_resume(fuzzed, fds[0], &ours, &theirs)) < 0)
		abort();
	write_in_parts(fds[1], bytes + 1, size - 1, bytes[0] & 0x7f);
	/* 64 records a turn, of four bytes at least. */
	turn((int)(size / 4 / LINK_RX_FRAMES) + 3);
	/* Nothing may be left behind. */
	if (expected && next_expected(&frame, &len))
		abort();
	close(fds[1]);
	turn(2);
	if (link_is_up(fuzzed))
		abort();
	return 0;
}
