/* SPDX-License-Identifier: MIT */
/* A link on a loop of its own, what it reports, and the other end in the test's hands. */
#ifndef TESTS_UNIT_LINK_RIG_H
#define TESTS_UNIT_LINK_RIG_H

#include "common/be.h"
#include "common/os.h"
#include "dataplane/link/link_internal.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define RIG_FRAMES 20000

struct rig {
	struct loop *loop;
	struct counters counters;
	struct link *link;
	int peer; /* the VMM's end */

	/* frames delivered: a number that the frame carries, and its length */
	size_t frames;
	uint32_t number[RIG_FRAMES];
	size_t length[RIG_FRAMES];

	unsigned ups, downs, refused, rooms;
	char why[128];
	int returned; /* fd or -1 */
};

static struct rig rig;

/* A frame's bytes follow from its number and length, so that each can be checked. */
static inline void rig_fill(uint8_t *frame, size_t len, uint32_t number)
{
	memset(frame, 0, ETH_HLEN);
	memcpy(frame, (uint8_t[]){0x52, 0x55, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2}, 12);
	for (size_t i = ETH_HLEN; i < len; i++)
		frame[i] = (uint8_t)(number * 31 + i);
	if (len >= ETH_HLEN + 4)
		store_be32(frame + ETH_HLEN, number);
}

static inline bool rig_is_right(const uint8_t *frame, size_t len, uint32_t number)
{
	static uint8_t want[LINK_FRAME_MAX];

	rig_fill(want, len, number);
	return memcmp(want, frame, len) == 0;
}

static void rig_frame(void *arg, const uint8_t *frame, size_t len, const struct link_meta *meta)
{
	uint32_t number = len >= ETH_HLEN + 4 ? load_be32(frame + ETH_HLEN) : 0;

	(void)arg;
	(void)meta;
	if (rig.frames >= RIG_FRAMES || !rig_is_right(frame, len, number))
		ck_abort_msg("frame %zu of %zu bytes is not as it was sent", rig.frames, len);
	rig.number[rig.frames] = number;
	rig.length[rig.frames++] = len;
}

static void rig_changed(void *arg, bool up, const char *text)
{
	(void)arg;
	rig.ups += up;
	rig.downs += !up;
	snprintf(rig.why, sizeof(rig.why), "%s", text);
}

static void rig_refused(void *arg)
{
	(void)arg;
	rig.refused++;
}

static void rig_returned(void *arg, int fd)
{
	(void)arg;
	rig.returned = fd;
}

static void rig_room(void *arg)
{
	(void)arg;
	rig.rooms++;
}

static inline void rig_new_link(void)
{
	struct link_events events = {
		.frame = rig_frame,
		.changed = rig_changed,
		.refused = rig_refused,
		.returned = rig_returned,
		.room = rig_room,
	};

	rig.link = link_new(rig.loop, &rig.counters, &events);
	ck_assert_ptr_nonnull(rig.link);
}

static inline void rig_setup(void)
{
	memset(&rig, 0, sizeof(rig));
	rig.peer = rig.returned = -1;
	rig.loop = loop_new();
	ck_assert_ptr_nonnull(rig.loop);
	rig_new_link();
}

static inline void rig_teardown(void)
{
	link_free(rig.link);
	loop_free(rig.loop);
	if (rig.peer >= 0)
		close(rig.peer);
	if (rig.returned >= 0)
		close(rig.returned);
}

/* A socketpair, one end of it the link's. */
static inline void rig_attach(enum link_kind kind, int type)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, type, true, fds), 0);
	ck_assert_int_eq(link_attach(rig.link, kind, fds[0], false), 0);
	rig.peer = fds[1];
}

static void rig_stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(rig.loop);
}

static inline void rig_run(int ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_once(loop_base(rig.loop), -1, EV_TIMEOUT, rig_stop, NULL, &tv);
	if (loop_run(rig.loop) != 0)
		ck_abort_msg("the loop failed");
}

/* Runs until the condition holds, for two seconds at most. */
#define RIG_UNTIL(condition)                                                                       \
	do {                                                                                       \
		for (int waited = 0; !(condition) && waited < 2000; waited++)                      \
			rig_run(1);                                                                \
		ck_assert_msg(condition, "waited in vain for %s", #condition);                     \
	} while (0)

static inline uint64_t rig_count(enum counter id)
{
	return rig.counters.value[id];
}

/* ---- what the VMM sends ---- */

static inline void rig_write(const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		ssize_t n = os_send(rig.peer, p, len, 0);

		if (n == -EAGAIN) {
			rig_run(1);
			continue;
		}
		if (n < 0)
			ck_abort_msg("send: %zd", n);
		p += n;
		len -= (size_t)n;
	}
}

/* A record of the stream link in buf; returns its length. */
static inline size_t rig_record(uint8_t *buf, size_t len, uint32_t number)
{
	store_be32(buf, (uint32_t)len);
	rig_fill(buf + 4, len, number);
	return len + 4;
}

/* ---- what we send ---- */

static inline bool rig_commit(size_t len, uint32_t number)
{
	uint8_t *frame = link_reserve(rig.link, len);

	if (!frame)
		return false;
	rig_fill(frame, len, number);
	link_commit(rig.link, len, NULL);
	return true;
}

/* Reads exactly len bytes at the VMM's end; false where they do not come. */
static inline bool rig_read(void *buf, size_t len)
{
	uint8_t *p = buf;

	for (int waited = 0; len && waited < 500;) {
		ssize_t n = recv(rig.peer, p, len, 0);

		if (n <= 0) {
			rig_run(1);
			waited++;
			continue;
		}
		p += n;
		len -= (size_t)n;
	}
	return len == 0;
}

/* The next record at the VMM's end: its frame's length, and number as sent; 0 where none comes. */
static inline size_t rig_read_record(uint32_t *number)
{
	static uint8_t frame[LINK_FRAME_MAX];
	uint8_t head[4];
	size_t len;

	if (!rig_read(head, 4))
		return 0;
	len = load_be32(head);
	if (len > sizeof(frame) || !rig_read(frame, len))
		ck_abort_msg("a record of %zu bytes", len);
	*number = len >= ETH_HLEN + 4 ? load_be32(frame + ETH_HLEN) : 0;
	if (!rig_is_right(frame, len, *number))
		ck_abort_msg("a record of %zu bytes that nobody sent", len);
	return len;
}

#endif
