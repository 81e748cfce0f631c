/* SPDX-License-Identifier: MIT */
/* proto/frame.h and proto/channel.h: framing at every split, descriptors, bounds, garbage. */
#include "common/os.h"
#include "proto/channel.h"
#include "proto/wire.h"
#include "tests/unit/check_main.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT "a status of some length"

/* ---- helpers ---- */

static int open_fds(void)
{
	DIR *dir = opendir("/dev/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static uint8_t *status_frame(const char *text, uint32_t fds, size_t *len)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Status status;
	int err;
	uint8_t *frame;

	netdp__status__init(&status);
	status.text = wire_put_text(text);
	env.fds = fds;
	env.body_case = NETDP__ENVELOPE__BODY_STATUS;
	env.status = &status;
	frame = frame_pack(&env, len, &err);
	ck_assert_ptr_nonnull(frame);
	return frame;
}

/* Sends raw bytes with fds, as no well-behaved sender would. */
static void send_raw(int fd, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	char control[CMSG_SPACE(sizeof(int) * 32)] = {0};
	struct iovec iov = {.iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(&iov.iov_base, &bytes, sizeof(bytes));
	if (n_fds) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	ck_assert_int_eq(os_sendmsg(fd, &msg, 0), (ssize_t)len);
}

struct end {
	struct channel *channel;
	int frames;
	int closed;
	char text[160];
	char last[64];
	size_t last_fds;
	bool keep_fds; /* take what comes */
	bool free_in_frame;
	int kept[64];
	size_t n_kept;
};

static struct event_base *base;
static struct end end;
static int peer; /* the raw other end */

static void on_frame(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct end *e = arg;

	e->frames++;
	e->last_fds = n_fds;
	if (env->body_case == NETDP__ENVELOPE__BODY_STATUS)
		snprintf(e->last, sizeof(e->last), "%s", env->status->text);
	for (size_t i = 0; e->keep_fds && i < n_fds; i++) {
		e->kept[e->n_kept++] = fds[i];
		fds[i] = -1;
	}
	if (e->free_in_frame) {
		channel_free(e->channel);
		e->channel = NULL;
	}
}

static void on_closed(void *arg, int err, const char *text)
{
	struct end *e = arg;

	e->closed = err;
	snprintf(e->text, sizeof(e->text), "%s", text);
}

static const struct channel_ops ops = {on_frame, on_closed};

static void setup(void)
{
	int pair[2];

	base = event_base_new();
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	memset(&end, 0, sizeof(end));
	end.channel = channel_new(base, pair[0], &ops, &end);
	ck_assert_ptr_nonnull(end.channel);
	peer = pair[1];
}

static void teardown(void)
{
	channel_free(end.channel);
	while (end.n_kept)
		close(end.kept[--end.n_kept]);
	if (peer >= 0)
		close(peer);
	event_base_free(base);
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

/* ---- framing ---- */

START_TEST(a_frame_split_at_every_byte_arrives)
{
	size_t len;
	uint8_t *frame = status_frame(TEXT, 0, &len);

	for (size_t cut = 1; cut < len; cut++) {
		send_raw(peer, frame, cut, NULL, 0);
		turn();
		send_raw(peer, frame + cut, len - cut, NULL, 0);
		turn();
		ck_assert_int_eq(end.frames, (int)cut);
		ck_assert_str_eq(end.last, TEXT);
		*end.last = '\0';
	}
	for (size_t i = 0; i < len; i++) {
		send_raw(peer, frame + i, 1, NULL, 0);
		turn();
	}
	ck_assert_int_eq(end.frames, (int)len);
	frame_free(frame, len);
}
END_TEST

START_TEST(frames_glued_together_arrive_one_by_one)
{
	size_t len;
	uint8_t *frame = status_frame(TEXT, 0, &len);
	uint8_t *glued = malloc(len * 10);

	for (int i = 0; i < 10; i++)
		memcpy(glued + (size_t)i * len, frame, len);
	send_raw(peer, glued, len * 10, NULL, 0);
	turn();
	ck_assert_int_eq(end.frames, 10);
	free(glued);
	frame_free(frame, len);
}
END_TEST

START_TEST(a_turn_delivers_no_more_than_its_share)
{
	size_t len;
	uint8_t *frame = status_frame("", 0, &len);

	for (int i = 0; i < CHANNEL_TURN + 5; i++)
		send_raw(peer, frame, len, NULL, 0);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(end.frames, CHANNEL_TURN);
	event_base_loop(base, EVLOOP_ONCE);
	ck_assert_int_eq(end.frames, CHANNEL_TURN + 5);
	frame_free(frame, len);
}
END_TEST

START_TEST(an_empty_frame_is_an_empty_envelope)
{
	send_raw(peer, "\0\0\0\0", 4, NULL, 0);
	turn();
	ck_assert_int_eq(end.frames, 1);
	ck_assert_int_eq(end.closed, 0);
}
END_TEST

START_TEST(an_oversize_frame_closes)
{
	send_raw(peer, "\x00\x3f\xff\xfd", 4, NULL, 0); /* with its length one more than 4 MiB */
	turn();
	ck_assert_int_eq(end.closed, -EPROTO);
	ck_assert_str_eq(end.text, "frame too long");
}
END_TEST

START_TEST(garbage_closes)
{
	send_raw(peer, "\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\xff", 12, NULL, 0);
	turn();
	ck_assert_int_eq(end.closed, -EPROTO);
	ck_assert_int_eq(end.frames, 0);
}
END_TEST

/* 2 bytes on the wire unpack to some 100 in memory: 4 MiB of them must not become 200 MiB. */
START_TEST(a_bomb_closes)
{
	static uint8_t inner[4000000];
	uint8_t head[16] = {0}, *p = head + 4;
	size_t n = sizeof(inner) - 16, body;

	for (size_t i = 0; i < n; i += 2)
		inner[i] = 0x0a; /* Workers.workers, of length 0 */
	*p++ = 13 << 3 | 2;      /* Envelope.workers */
	for (size_t v = n; v; v >>= 7)
		*p++ = (uint8_t)((v & 0x7f) | (v >> 7 ? 0x80 : 0));
	body = (size_t)(p - head) - 4 + n;
	head[0] = (uint8_t)(body >> 24);
	head[1] = (uint8_t)(body >> 16);
	head[2] = (uint8_t)(body >> 8);
	head[3] = (uint8_t)body;
	send_raw(peer, head, (size_t)(p - head), NULL, 0);
	for (size_t sent = 0; sent < n && !end.closed; turn()) {
		size_t part = n - sent < 65536 ? n - sent : 65536;

		send_raw(peer, inner + sent, part, NULL, 0);
		sent += part;
	}
	turn();
	ck_assert_int_eq(end.closed, -EPROTO);
}
END_TEST

START_TEST(the_peers_end_is_told)
{
	close(peer);
	peer = -1;
	turn();
	ck_assert_int_eq(end.closed, -ECONNRESET);
	ck_assert_str_eq(end.text, "connection closed");
}
END_TEST

START_TEST(an_end_within_a_frame_is_told)
{
	send_raw(peer, "\0\0", 2, NULL, 0);
	close(peer);
	peer = -1;
	turn();
	ck_assert_int_eq(end.closed, -ECONNRESET);
	ck_assert_str_eq(end.text, "connection closed within a frame");
}
END_TEST

START_TEST(a_channel_may_be_freed_by_its_frame)
{
	size_t len;
	uint8_t *frame = status_frame("", 0, &len);

	end.free_in_frame = true;
	send_raw(peer, frame, len, NULL, 0);
	send_raw(peer, frame, len, NULL, 0);
	turn();
	ck_assert_int_eq(end.frames, 1);
	ck_assert_int_eq(end.closed, 0);
	frame_free(frame, len);
}
END_TEST

/* ---- descriptors ---- */

START_TEST(fds_arrive_with_their_frame)
{
	int before, null = open("/dev/null", O_RDWR), fds[16];
	size_t len, none_len;
	uint8_t *frame = status_frame(TEXT, 16, &len), *none = status_frame("", 0, &none_len);

	for (int i = 0; i < 16; i++)
		fds[i] = null;
	before = open_fds();
	end.keep_fds = true;
	send_raw(peer, none, none_len, NULL, 0);
	send_raw(peer, frame, len, fds, 16);
	send_raw(peer, none, none_len, NULL, 0);
	turn();
	ck_assert_int_eq(end.frames, 3);
	ck_assert_uint_eq(end.n_kept, 16);
	ck_assert_int_eq(open_fds(), before + 16);
	ck_assert(fcntl(end.kept[15], F_GETFD) & FD_CLOEXEC);
	close(null);
	frame_free(frame, len);
	frame_free(none, none_len);
}
END_TEST

START_TEST(fds_that_nobody_takes_are_closed)
{
	int null = open("/dev/null", O_RDWR), before;
	size_t len;
	uint8_t *frame = status_frame(TEXT, 1, &len);

	before = open_fds();
	send_raw(peer, frame, len, &null, 1);
	turn();
	ck_assert_uint_eq(end.last_fds, 1);
	ck_assert_int_eq(open_fds(), before);
	close(null);
	frame_free(frame, len);
}
END_TEST

struct broken {
	size_t sent;  /* fds sent with the first byte */
	size_t later; /* and with the fifth */
	uint32_t said;
};

static const struct broken broken[] = {
	{1, 0, 0},
	{0, 0, 1},
	{2, 0, 3},
	{17, 0, 16},
	{17, 0, 17},
	{30, 0, 16},
	{0, 1, 1},
	{1, 1, 2},
	{16, 16, 16},
};

START_TEST(a_mismatch_of_fds_closes_all_and_the_channel)
{
	const struct broken *b = &broken[_i];
	int null = open("/dev/null", O_RDWR), fds[32], before;
	size_t len;
	uint8_t *frame = status_frame(TEXT, b->said, &len);

	for (int i = 0; i < 32; i++)
		fds[i] = null;
	before = open_fds();
	end.keep_fds = true;
	send_raw(peer, frame, 4, fds, b->sent);
	send_raw(peer, frame + 4, len - 4, fds, b->later);
	turn();
	ck_assert_int_eq(end.closed, -EPROTO);
	ck_assert_int_eq(end.frames, 0);
	ck_assert_int_eq(open_fds(), before - 1); /* the channel's own is closed too */
	close(null);
	frame_free(frame, len);
}
END_TEST

/* ---- sending ---- */

static struct end other;

static void connect_other(void)
{
	memset(&other, 0, sizeof(other));
	other.channel = channel_new(base, peer, &ops, &other);
	peer = -1;
}

static int send_status(struct channel *channel, const char *text, const int *fds, size_t n_fds)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Status status;

	netdp__status__init(&status);
	status.text = wire_put_text(text);
	env.body_case = NETDP__ENVELOPE__BODY_STATUS;
	env.status = &status;
	return channel_send(channel, &env, fds, n_fds);
}

START_TEST(what_is_queued_arrives_in_order_with_its_fds)
{
	static char big[100000];
	int null = open("/dev/null", O_RDWR), before = open_fds(), sent = 0;

	connect_other();
	memset(big, 'x', sizeof(big) - 1);
	while (channel_queued(end.channel) < 2000000) {
		ck_assert_int_eq(send_status(end.channel, big, &null, 1), 0);
		sent++;
	}
	for (int i = 0; i < 1000 && other.frames < sent; i++)
		turn();
	ck_assert_int_eq(other.frames, sent);
	ck_assert_uint_eq(other.last_fds, 1);
	ck_assert_uint_eq(channel_queued(end.channel), 0);
	ck_assert_int_eq(open_fds(), before);
	close(null);
	channel_free(other.channel);
}
END_TEST

START_TEST(a_full_queue_refuses_and_keeps_nothing)
{
	static char big[1000000];
	int null = open("/dev/null", O_RDWR), before = open_fds(), sent = 0, err;

	memset(big, 'x', sizeof(big) - 1);
	while ((err = send_status(end.channel, big, &null, 1)) == 0)
		sent++;
	ck_assert_int_eq(err, -ENOBUFS);
	ck_assert_int_ge(sent, 16);
	ck_assert_int_le(open_fds(), before + sent);
	channel_free(end.channel);
	end.channel = NULL;
	ck_assert_int_eq(open_fds(), before - 1);
	close(null);
}
END_TEST

START_TEST(a_message_beyond_a_frame_is_refused)
{
	char *huge = calloc(1, FRAME_MAX + 1);

	memset(huge, 'x', FRAME_MAX);
	ck_assert_int_eq(send_status(end.channel, huge, NULL, 0), -EMSGSIZE);
	turn();
	ck_assert_int_eq(end.closed, 0);
	free(huge);
}
END_TEST

START_TEST(sending_to_a_peer_that_left_tells_of_its_end)
{
	close(peer);
	peer = -1;
	ck_assert_int_eq(send_status(end.channel, "", NULL, 0), -ENOTCONN);
	turn();
	ck_assert_int_eq(end.closed, -ECONNRESET);
	ck_assert_int_eq(send_status(end.channel, "", NULL, 0), -ENOTCONN);
}
END_TEST

/* What a peer sent before it left is delivered although our sending failed. */
START_TEST(frames_before_the_end_are_not_lost)
{
	size_t len;
	uint8_t *frame = status_frame(TEXT, 0, &len);

	send_raw(peer, frame, len, NULL, 0);
	close(peer);
	peer = -1;
	send_status(end.channel, "", NULL, 0);
	turn();
	ck_assert_int_eq(end.frames, 1);
	ck_assert_int_eq(end.closed, -ECONNRESET);
	frame_free(frame, len);
}
END_TEST

static Suite *channel_suite(void)
{
	Suite *suite = suite_create("channel");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, a_frame_split_at_every_byte_arrives);
	tcase_add_test(tc, frames_glued_together_arrive_one_by_one);
	tcase_add_test(tc, a_turn_delivers_no_more_than_its_share);
	tcase_add_test(tc, an_empty_frame_is_an_empty_envelope);
	tcase_add_test(tc, an_oversize_frame_closes);
	tcase_add_test(tc, garbage_closes);
	tcase_add_test(tc, a_bomb_closes);
	tcase_add_test(tc, the_peers_end_is_told);
	tcase_add_test(tc, an_end_within_a_frame_is_told);
	tcase_add_test(tc, a_channel_may_be_freed_by_its_frame);
	tcase_add_test(tc, fds_arrive_with_their_frame);
	tcase_add_test(tc, fds_that_nobody_takes_are_closed);
	tcase_add_loop_test(tc, a_mismatch_of_fds_closes_all_and_the_channel, 0,
		(int)(sizeof(broken) / sizeof(*broken)));
	tcase_add_test(tc, what_is_queued_arrives_in_order_with_its_fds);
	tcase_add_test(tc, a_full_queue_refuses_and_keeps_nothing);
	tcase_add_test(tc, a_message_beyond_a_frame_is_refused);
	tcase_add_test(tc, sending_to_a_peer_that_left_tells_of_its_end);
	tcase_add_test(tc, frames_before_the_end_are_not_lost);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return run_suite(channel_suite());
}
