/* SPDX-License-Identifier: MIT */
/* A control connection. See channel.h. */
#include "proto/channel.h"

#include "common/error.h"
#include "common/os.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

struct out_frame {
	TAILQ_ENTRY(out_frame) link;
	uint8_t *bytes;
	size_t len;
	size_t sent;
	int fds[FRAME_FDS_MAX]; /* duplicates, ours; they go with the first byte */
	size_t n_fds;
};

struct channel {
	int fd;
	const struct channel_ops *ops;
	void *arg;
	struct event *readable;
	struct event *writable;
	struct event *ending; /* activated to tell of the end from the loop */
	struct frame_reader reader;
	TAILQ_HEAD(, out_frame) queue;
	size_t queued_bytes;
	size_t queued_frames;
	int err; /* why it ended, once it has */
	char text[160];
	bool in_callback;
	bool freed; /* during a callback: free after it */
};

union cmsg_space {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * FRAME_FDS_MAX)];
};

/* ---- the end ---- */

static void out_frame_free(struct out_frame *frame)
{
	for (size_t i = 0; i < frame->n_fds; i++)
		close(frame->fds[i]);
	frame_free(frame->bytes, frame->len);
	free(frame);
}

/* Closes everything; the struct stays. */
static void shut(struct channel *channel)
{
	struct out_frame *frame;

	if (channel->readable)
		event_del(channel->readable);
	if (channel->writable)
		event_del(channel->writable);
	if (channel->fd >= 0)
		close(channel->fd);
	channel->fd = -1;
	while ((frame = TAILQ_FIRST(&channel->queue))) {
		TAILQ_REMOVE(&channel->queue, frame, link);
		out_frame_free(frame);
	}
	channel->queued_bytes = channel->queued_frames = 0;
}

static void destroy(struct channel *channel)
{
	shut(channel);
	frame_reader_clear(&channel->reader);
	if (channel->readable)
		event_free(channel->readable);
	if (channel->writable)
		event_free(channel->writable);
	if (channel->ending)
		event_free(channel->ending);
	free(channel);
}

void channel_abort(struct channel *channel, int err, const char *text)
{
	if (channel->err)
		return;
	channel->err = err;
	snprintf(channel->text, sizeof(channel->text), "%s", text);
	shut(channel);
	event_active(channel->ending, EV_TIMEOUT, 1);
}

static void on_ending(evutil_socket_t fd, short what, void *arg)
{
	struct channel *channel = arg;

	(void)fd;
	(void)what;
	frame_reader_clear(&channel->reader);
	channel->in_callback = true;
	channel->ops->closed(channel->arg, channel->err, channel->text);
	channel->in_callback = false;
	if (channel->freed)
		destroy(channel);
}

void channel_free(struct channel *channel)
{
	if (!channel)
		return;
	if (!channel->in_callback) {
		destroy(channel);
		return;
	}
	shut(channel);
	channel->freed = true;
}

/* ---- reading ---- */

/* The fds of all control messages, in order. Returns how many, or -EPROTO with all closed. */
static int collect_fds(struct msghdr *msg, int *fds)
{
	size_t n = 0;
	bool broken = (msg->msg_flags & MSG_CTRUNC) != 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
			c->cmsg_len < CMSG_LEN(0))
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < FRAME_FDS_MAX) {
				fds[n++] = fd;
			} else {
				close(fd);
				broken = true;
			}
		}
	}
	if (!broken)
		return (int)n;
	while (n)
		close(fds[--n]);
	return -EPROTO;
}

/* One recvmsg into the reader. 1 with *env: a frame; 0: more may come; -EAGAIN: not now; else the
 * channel was aborted. */
static int read_some(struct channel *channel, Netdp__Envelope **env)
{
	union cmsg_space control;
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	int fds[FRAME_FDS_MAX], n_fds, got;
	const char *why = "";
	ssize_t n;

	iov.iov_base = frame_reader_room(&channel->reader, &iov.iov_len);
	n = os_recvmsg(channel->fd, &msg, 0);
	if (n == -EINTR)
		return 0;
	if (n == -EAGAIN || n == -EWOULDBLOCK)
		return -EAGAIN;
	if (n < 0) {
		channel_abort(channel, (int)n, errno_text((int)n));
		return (int)n;
	}
	n_fds = collect_fds(&msg, fds);
	if (n_fds < 0) {
		channel_abort(channel, -EPROTO, "more file descriptors than a frame may carry");
		return -EPROTO;
	}
	if (n == 0) {
		while (n_fds)
			close(fds[--n_fds]);
		channel_abort(channel, -ECONNRESET,
			channel->reader.head_got ? "connection closed within a frame"
						 : "connection closed");
		return -ECONNRESET;
	}
	got = frame_reader_fed(&channel->reader, (size_t)n, fds, (size_t)n_fds, env, &why);
	if (got < 0)
		channel_abort(channel, got, why);
	return got;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct channel *channel = arg;
	int frames = 0;

	(void)fd;
	(void)what;
	channel->in_callback = true;
	while (frames < CHANNEL_TURN && !channel->err && !channel->freed) {
		Netdp__Envelope *env = NULL;
		int got = read_some(channel, &env);

		if (got < 0)
			break;
		if (!got)
			continue;
		channel->ops->frame(channel->arg, env, channel->reader.fds, channel->reader.n_fds);
		frame_reader_next(&channel->reader);
		frames++;
	}
	channel->in_callback = false;
	if (channel->freed)
		destroy(channel);
}

/* ---- sending ---- */

static ssize_t write_frame(struct channel *channel, const uint8_t *bytes, size_t len, size_t sent,
	const int *fds, size_t n_fds)
{
	union cmsg_space control;
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(&iov.iov_base, &(const uint8_t *){bytes + sent}, sizeof(iov.iov_base));
	iov.iov_len = len - sent;
	if (sent == 0 && n_fds) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	return os_sendmsg(channel->fd, &msg, 0);
}

static bool not_now(ssize_t n)
{
	return n == -EAGAIN || n == -EWOULDBLOCK || n == -EINTR || n == -ENOBUFS;
}

/* Leaves the end of the connection to reading, which may find frames before it. */
static void send_failed(struct channel *channel, int err)
{
	if (err == -EPIPE || err == -ECONNRESET)
		event_active(channel->readable, EV_READ, 1);
	else
		channel_abort(channel, err, errno_text(err));
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct channel *channel = arg;
	struct out_frame *frame;
	int turns = 0;

	(void)fd;
	(void)what;
	while ((frame = TAILQ_FIRST(&channel->queue)) && turns++ < CHANNEL_TURN) {
		ssize_t n = write_frame(
			channel, frame->bytes, frame->len, frame->sent, frame->fds, frame->n_fds);

		if (not_now(n))
			return;
		if (n < 0) {
			event_del(channel->writable);
			send_failed(channel, (int)n);
			return;
		}
		frame->sent += (size_t)n;
		while (frame->n_fds)
			close(frame->fds[--frame->n_fds]);
		if (frame->sent < frame->len)
			continue;
		TAILQ_REMOVE(&channel->queue, frame, link);
		channel->queued_bytes -= frame->len;
		channel->queued_frames--;
		out_frame_free(frame);
	}
	if (TAILQ_EMPTY(&channel->queue))
		event_del(channel->writable);
}

/* Takes bytes over, on success only. */
static int enqueue(struct channel *channel, uint8_t *bytes, size_t len, size_t sent, const int *fds,
	size_t n_fds)
{
	struct out_frame *frame = calloc(1, sizeof(*frame));

	if (!frame)
		return -ENOMEM;
	for (size_t i = 0; sent == 0 && i < n_fds; i++) {
		int fd = os_dup(fds[i]);

		if (fd < 0) {
			out_frame_free(frame);
			return fd;
		}
		frame->fds[frame->n_fds++] = fd;
	}
	frame->bytes = bytes;
	frame->len = len;
	frame->sent = sent;
	TAILQ_INSERT_TAIL(&channel->queue, frame, link);
	channel->queued_bytes += len;
	channel->queued_frames++;
	event_add(channel->writable, NULL);
	return 0;
}

int channel_send(struct channel *channel, Netdp__Envelope *env, const int *fds, size_t n_fds)
{
	uint8_t *bytes;
	size_t len = 0, sent = 0;
	int err = 0;

	if (channel->err || channel->freed)
		return -ENOTCONN;
	if (n_fds > FRAME_FDS_MAX)
		return -EMSGSIZE;
	env->fds = (uint32_t)n_fds;
	bytes = frame_pack(env, &len, &err);
	if (!bytes)
		return err;
	if (channel->queued_bytes + len > CHANNEL_QUEUE_MAX ||
		channel->queued_frames >= CHANNEL_QUEUE_FRAMES) {
		frame_free(bytes, len);
		return -ENOBUFS;
	}
	if (TAILQ_EMPTY(&channel->queue)) {
		ssize_t n = write_frame(channel, bytes, len, 0, fds, n_fds);

		if (n < 0 && !not_now(n)) {
			frame_free(bytes, len);
			send_failed(channel, (int)n);
			return -ENOTCONN;
		}
		sent = n < 0 ? 0 : (size_t)n;
	}
	if (sent < len) {
		err = enqueue(channel, bytes, len, sent, fds, n_fds);
		if (!err)
			return 0;
		if (sent) /* half a frame is out: nothing sensible can follow it */
			channel_abort(channel, err, errno_text(err));
	}
	frame_free(bytes, len);
	return err;
}

size_t channel_queued(const struct channel *channel)
{
	return channel->queued_bytes;
}

struct channel *channel_new(
	struct event_base *base, int fd, const struct channel_ops *ops, void *arg)
{
	struct channel *channel = calloc(1, sizeof(*channel));

	if (!channel) {
		close(fd);
		return NULL;
	}
	channel->fd = fd;
	channel->ops = ops;
	channel->arg = arg;
	TAILQ_INIT(&channel->queue);
	channel->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, channel);
	channel->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, channel);
	channel->ending = event_new(base, -1, 0, on_ending, channel);
	if (!channel->readable || !channel->writable || !channel->ending ||
		os_set_nonblock(fd, true) < 0) {
		destroy(channel);
		return NULL;
	}
	event_priority_set(channel->readable, 0);
	event_priority_set(channel->writable, 0);
	event_priority_set(channel->ending, 0);
	if (event_add(channel->readable, NULL) < 0) {
		destroy(channel);
		return NULL;
	}
	return channel;
}
