/* SPDX-License-Identifier: MIT */
/* Captures. See capture.h. */
#include "dataplane/capture.h"

#include "common/clock.h"
#include "common/os.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_BYTES (64u << 10)
#define STATS_MS 1000 /* between two statistics */

/* Blocks, options and their lengths. */
#define BLOCK_SECTION 0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_STATISTICS 5u
#define BLOCK_PACKET 6u
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define LINKTYPE_ETHERNET 1u
#define OPT_END 0u
#define OPT_SHB_USERAPPL 4u
#define OPT_IF_NAME 2u
#define OPT_EPB_FLAGS 2u
#define OPT_ISB_START 2u
#define OPT_ISB_END 3u
#define OPT_ISB_RECEIVED 4u
#define OPT_ISB_DROPPED 5u
#define FLAG_INBOUND 1u /* to the interface: from the guest */
#define FLAG_OUTBOUND 2u
#define PACKET_HLEN 28u
#define PACKET_TLEN 16u /* flags, end of options, length */
#define STATISTICS_LEN 76u
#define HEAD_LEN 256u

struct capture {
	LIST_ENTRY(capture) next;
	struct captures *all;
	struct capture_wish wish;
	int fd;
	struct event *readable, *writable;
	struct task drain;
	bool waiting; /* for writable */
	bool ending;  /* the last statistics are in the buffer */
	bool missed;  /* frames, since the last statistics */
	uint64_t begun_us, received, dropped;
	uint64_t stats_ms; /* of the last ones */
	size_t at, len;    /* what waits lies at …, round the end */
	uint8_t buffer[CAPTURE_BUFFER];
};

struct captures {
	LIST_HEAD(, capture) list;
	size_t n;
	struct loop *loop;
	struct link *link;
	char name[72];
};

/* ---- blocks ---- */

/* A block under construction; what is written lies in the machine's byte order, as pcapng allows. */
struct block {
	uint8_t *data;
	size_t len;
};

static void put_bytes(struct block *b, const void *bytes, size_t len)
{
	memcpy(b->data + b->len, bytes, len);
	b->len += len;
}

static void put_u32(struct block *b, uint32_t value)
{
	put_bytes(b, &value, sizeof(value));
}

static void put_two(struct block *b, uint32_t first, uint32_t second)
{
	uint16_t both[2] = {(uint16_t)first, (uint16_t)second};

	put_bytes(b, both, sizeof(both));
}

static void pad(struct block *b)
{
	while (b->len % 4)
		b->data[b->len++] = 0;
}

static void put_text(struct block *b, uint32_t option, const char *text)
{
	put_two(b, option, (uint32_t)strlen(text));
	put_bytes(b, text, strlen(text));
	pad(b);
}

static void put_time(struct block *b, uint64_t us)
{
	put_u32(b, (uint32_t)(us >> 32));
	put_u32(b, (uint32_t)us);
}

static void put_u64(struct block *b, uint32_t option, uint64_t value)
{
	put_two(b, option, sizeof(value));
	put_bytes(b, &value, sizeof(value));
}

static size_t begin(struct block *b, uint32_t type)
{
	size_t start = b->len;

	put_u32(b, type);
	put_u32(b, 0); /* until end() */
	return start;
}

static void end(struct block *b, size_t start)
{
	uint32_t len = (uint32_t)(b->len - start) + 4;

	memcpy(b->data + start + 4, &len, sizeof(len));
	put_u32(b, len);
}

/* ---- the buffer ---- */

static void append(struct capture *c, const void *bytes, size_t len)
{
	size_t to = (c->at + c->len) % CAPTURE_BUFFER;
	size_t first = len < CAPTURE_BUFFER - to ? len : CAPTURE_BUFFER - to;

	memcpy(c->buffer + to, bytes, first);
	memcpy(c->buffer, (const uint8_t *)bytes + first, len - first);
	c->len += len;
}

static void wake(struct capture *c)
{
	if (!c->waiting)
		loop_defer(c->all->loop, &c->drain);
}

/* Room for these is always left. */
static void append_statistics(struct capture *c)
{
	uint8_t data[STATISTICS_LEN];
	struct block b = {data, 0};
	size_t start = begin(&b, BLOCK_STATISTICS);
	uint64_t now = clock_wall_us();

	put_u32(&b, 0);
	put_time(&b, now);
	put_two(&b, OPT_ISB_START, 8);
	put_time(&b, c->begun_us);
	put_two(&b, OPT_ISB_END, 8);
	put_time(&b, now);
	put_u64(&b, OPT_ISB_RECEIVED, c->received);
	put_u64(&b, OPT_ISB_DROPPED, c->dropped);
	put_u32(&b, OPT_END);
	end(&b, start);
	append(c, data, b.len);
	c->missed = false;
	c->stats_ms = loop_now(c->all->loop);
}

static void append_head(struct capture *c)
{
	uint8_t data[HEAD_LEN];
	struct block b = {data, 0};
	uint64_t unknown = UINT64_MAX;
	size_t start = begin(&b, BLOCK_SECTION);

	put_u32(&b, BYTE_ORDER_MAGIC);
	put_two(&b, 1, 0);
	put_bytes(&b, &unknown, sizeof(unknown));
	put_text(&b, OPT_SHB_USERAPPL, "netctl " NETCTL_VERSION);
	put_u32(&b, OPT_END);
	end(&b, start);
	start = begin(&b, BLOCK_INTERFACE);
	put_two(&b, LINKTYPE_ETHERNET, 0);
	put_u32(&b, c->wish.snaplen);
	put_text(&b, OPT_IF_NAME, c->all->name);
	put_u32(&b, OPT_END);
	end(&b, start);
	append(c, data, b.len);
}

static bool has_room(const struct capture *c, size_t len)
{
	return c->len + len + STATISTICS_LEN <= CAPTURE_BUFFER;
}

static void append_packet(struct capture *c, bool to_guest, const uint8_t *frame, size_t len)
{
	uint32_t kept = len < c->wish.snaplen ? (uint32_t)len : c->wish.snaplen;
	uint32_t padding = (4 - kept % 4) % 4;
	uint32_t total = PACKET_HLEN + kept + padding + PACKET_TLEN;
	uint8_t head[PACKET_HLEN], tail[3 + PACKET_TLEN] = {0};
	struct block h = {head, 0}, t = {tail, padding};

	put_u32(&h, BLOCK_PACKET);
	put_u32(&h, total);
	put_u32(&h, 0);
	put_time(&h, clock_wall_us());
	put_u32(&h, kept);
	put_u32(&h, (uint32_t)len);
	put_two(&t, OPT_EPB_FLAGS, 4);
	put_u32(&t, to_guest ? FLAG_OUTBOUND : FLAG_INBOUND);
	put_u32(&t, OPT_END);
	put_u32(&t, total);
	append(c, head, h.len);
	append(c, frame, kept);
	append(c, tail, t.len);
}

static void take(struct capture *c, bool to_guest, const uint8_t *frame, size_t len)
{
	size_t most = PACKET_HLEN + len + 3 + PACKET_TLEN;

	if (c->ending || !capture_wants(&c->wish, frame, len))
		return;
	c->received++;
	if (!has_room(c, most)) {
		c->dropped++;
		c->missed = true;
		return;
	}
	append_packet(c, to_guest, frame, len);
	if (c->missed && has_room(c, STATISTICS_LEN) &&
		loop_now(c->all->loop) - c->stats_ms >= STATS_MS)
		append_statistics(c);
	wake(c);
}

static void on_frame(void *arg, bool to_guest, const uint8_t *frame, size_t len)
{
	struct captures *all = arg;
	struct capture *c;

	LIST_FOREACH(c, &all->list, next)
		take(c, to_guest, frame, len);
}

/* ---- the reader ---- */

static void capture_free(struct capture *c)
{
	struct captures *all = c->all;

	LIST_REMOVE(c, next);
	loop_cancel(all->loop, &c->drain);
	if (c->readable)
		event_free(c->readable);
	if (c->writable)
		event_free(c->writable);
	close(c->fd);
	free(c);
	if (!--all->n)
		link_watch(all->link, NULL, NULL);
}

/* At most `most` bytes. 0, -EAGAIN, or the reader has gone. */
static int send_some(struct capture *c, size_t most)
{
	while (c->len && most) {
		size_t n = CAPTURE_BUFFER - c->at;
		ssize_t sent;

		n = n < c->len ? n : c->len;
		n = n < most ? n : most;
		sent = os_send(c->fd, c->buffer + c->at, n, MSG_DONTWAIT);
		if (sent < 0)
			return sent == -EINTR ? -EAGAIN : (int)sent;
		c->at = (c->at + (size_t)sent) % CAPTURE_BUFFER;
		c->len -= (size_t)sent;
		most -= (size_t)sent;
	}
	return 0;
}

static void on_drain(struct task *task)
{
	struct capture *c = (struct capture *)((char *)task - offsetof(struct capture, drain));
	int err = send_some(c, TURN_BYTES);

	if (err == -EAGAIN) {
		c->waiting = event_add(c->writable, NULL) == 0;
		if (c->waiting)
			return;
	}
	if (err < 0 || (c->ending && !c->len))
		capture_free(c);
	else if (c->len)
		loop_defer(c->all->loop, &c->drain);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct capture *c = arg;

	(void)fd;
	(void)what;
	c->waiting = false;
	wake(c);
}

/* A reader has nothing to say; its end is what we wait for. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct capture *c = arg;
	char ignored[64];
	ssize_t n = recv((int)fd, ignored, sizeof(ignored), MSG_DONTWAIT);

	(void)what;
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	if (n < 0) {
		capture_free(c);
		return;
	}
	event_del(c->readable);
	append_statistics(c);
	c->ending = true;
	wake(c);
}

/* ---- life ---- */

static bool is_stream_socket(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss), type_len = sizeof(int);
	int type = 0;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM &&
		getpeername(fd, (struct sockaddr *)&ss, &len) == 0;
}

static bool listen_to(struct capture *c)
{
	struct event_base *base = loop_base(c->all->loop);

	c->readable = event_new(base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
	c->writable = event_new(base, c->fd, EV_WRITE, on_writable, c);
	if (!c->readable || !c->writable)
		return false;
	event_priority_set(c->readable, LOOP_DATA);
	event_priority_set(c->writable, LOOP_DATA);
	return event_add(c->readable, NULL) == 0;
}

int captures_start(struct captures *captures, const struct capture_wish *wish, int fd)
{
	struct capture *c = NULL;
	int err = 0;

	if (captures->n == CAPTURES_MAX)
		err = -EMFILE;
	else if (!is_stream_socket(fd))
		err = -ENOTSOCK;
	else if (!(c = calloc(1, sizeof(*c))))
		err = -ENOMEM;
	if (err) {
		close(fd);
		return err;
	}
	c->all = captures;
	c->fd = fd;
	c->wish = *wish;
	if (!c->wish.snaplen || c->wish.snaplen > CAPTURE_SNAPLEN)
		c->wish.snaplen = CAPTURE_SNAPLEN;
	c->drain.run = on_drain;
	c->begun_us = clock_wall_us();
	LIST_INSERT_HEAD(&captures->list, c, next);
	captures->n++;
	if (!listen_to(c)) {
		capture_free(c);
		return -ENOMEM;
	}
	append_head(c);
	wake(c);
	link_watch(captures->link, on_frame, captures);
	return 0;
}

struct captures *captures_new(struct loop *loop, struct link *link, const char *name)
{
	struct captures *captures = calloc(1, sizeof(*captures));

	if (!captures)
		return NULL;
	LIST_INIT(&captures->list);
	captures->loop = loop;
	captures->link = link;
	captures_set_name(captures, name);
	return captures;
}

void captures_set_name(struct captures *captures, const char *name)
{
	snprintf(captures->name, sizeof(captures->name), "%s", name);
}

void captures_free(struct captures *captures)
{
	struct capture *c;

	if (!captures)
		return;
	while ((c = LIST_FIRST(&captures->list))) {
		if (!c->ending)
			append_statistics(c);
		send_some(c, CAPTURE_BUFFER);
		capture_free(c);
	}
	free(captures);
}

size_t captures_count(const struct captures *captures)
{
	return captures->n;
}
