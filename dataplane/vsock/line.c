/* SPDX-License-Identifier: MIT */
/* The line with which a hybrid vsock socket begins. See line.h. */
#include "dataplane/vsock/line.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* ---- the two forms ---- */

/* WORD, one space, a decimal number, the newline. */
static bool parse(const char *text, size_t len, const char *word, uint32_t *number)
{
	size_t at = strlen(word);
	uint64_t value = 0;

	if (len < at + 3 || memcmp(text, word, at) != 0 || text[at++] != ' ' ||
		text[len - 1] != '\n' || len - 1 - at > 10)
		return false;
	for (; at < len - 1; at++) {
		if (text[at] < '0' || text[at] > '9')
			return false;
		value = value * 10 + (uint64_t)(text[at] - '0');
	}
	*number = (uint32_t)value;
	return value <= UINT32_MAX;
}

bool vsock_line_connect(const char *text, size_t len, uint32_t *port)
{
	return parse(text, len, "CONNECT", port);
}

bool vsock_line_ok(const char *text, size_t len, uint32_t *port)
{
	return parse(text, len, "OK", port);
}

/* ---- reading one ---- */

void vsock_line_stop(struct vsock_line *line)
{
	if (!line->readable)
		return;
	timer_disarm(loop_wheel(line->loop), &line->deadline);
	event_free(line->readable);
	line->readable = NULL;
}

static void finish(struct vsock_line *line, int err)
{
	vsock_line_stop(line);
	line->done(line, err);
}

static void on_deadline(struct timer *timer)
{
	finish((struct vsock_line *)((char *)timer - offsetof(struct vsock_line, deadline)),
		-ETIMEDOUT);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_line *line = arg;
	ssize_t n = recv(fd, line->text + line->len, sizeof(line->text) - line->len, 0);
	const char *newline;

	(void)what;
	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			finish(line, -errno);
		return;
	}
	newline = memchr(line->text + line->len, '\n', (size_t)n);
	line->len += (uint8_t)n;
	if (newline) {
		line->end = (uint8_t)(newline + 1 - line->text);
		finish(line, 0);
	} else if (n == 0) {
		finish(line, -ECONNRESET);
	} else if (line->len == sizeof(line->text)) {
		finish(line, -EPROTO);
	}
}

int vsock_line_read(struct vsock_line *line, struct loop *loop, int fd)
{
	line->loop = loop;
	line->len = line->end = 0;
	line->deadline.fire = on_deadline;
	line->readable = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, line);
	if (!line->readable || event_add(line->readable, NULL) < 0) {
		if (line->readable)
			event_free(line->readable);
		line->readable = NULL;
		return -ENOMEM;
	}
	event_priority_set(line->readable, LOOP_DATA);
	timer_arm(loop_wheel(loop), &line->deadline, VSOCK_LINE_MS);
	return 0;
}
