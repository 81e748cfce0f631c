/* SPDX-License-Identifier: MIT */
/*
 * The line with which a hybrid socket begins, from a client and from a VMM: the parsers by
 * themselves, then a socket on which the input comes in the pieces that its first bytes say. What
 * was read behind a line and what is left in the socket must be the rest of the input.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_vsock_line.c libnetdp_core.a …
 */
#include "common/os.h"
#include "dataplane/vsock/line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct loop *loop;
static int result; /* 1: not done yet */

static void on_done(struct vsock_line *line, int err)
{
	(void)line;
	if (result != 1)
		abort();
	result = err;
}

static void stop_soon(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

static void run(void)
{
	struct timeval now = {0};

	for (int i = 0; i < 3; i++) {
		event_base_once(loop_base(loop), -1, EV_TIMEOUT, stop_soon, NULL, &now);
		loop_run(loop);
	}
}

/* A number that is taken is written the same way, but for zeros before it. */
static void check_form(const char *text, size_t len, const char *word, uint32_t port)
{
	char form[VSOCK_LINE_MAX];
	const char *digits = text + strlen(word) + 1;
	int n = snprintf(form, sizeof(form), "%u\n", port);

	while (*digits == '0' && digits[1] != '\n')
		digits++;
	if ((size_t)(text + len - digits) != (size_t)n || memcmp(digits, form, (size_t)n) != 0)
		abort();
}

static void parse(const char *text, size_t len)
{
	uint32_t port;

	if (vsock_line_connect(text, len, &port))
		check_form(text, len, "CONNECT", port);
	if (vsock_line_ok(text, len, &port))
		check_form(text, len, "OK", port);
}

static void check_rest(
	const struct vsock_line *line, int fd, const uint8_t *bytes, size_t sent, bool ended)
{
	const uint8_t *newline = memchr(bytes, '\n', sent);
	uint8_t rest[4096];
	ssize_t n;

	if (result == 1) {
		if (newline || sent >= VSOCK_LINE_MAX || ended)
			abort();
		return;
	}
	if (result == 0) {
		if (!newline || line->end != newline + 1 - bytes ||
			memcmp(line->text, bytes, line->len) != 0)
			abort();
		parse(line->text, line->end);
		n = recv(fd, rest, sizeof(rest), 0);
		if (n > 0 && memcmp(rest, bytes + line->len, (size_t)n) != 0)
			abort();
	} else if (result == -EPROTO) {
		if (memchr(bytes, '\n', VSOCK_LINE_MAX))
			abort();
	} else if (!ended) {
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct vsock_line line = {.done = on_done};
	size_t at = 0, piece;
	int fds[2];

	if (!loop)
		loop = loop_new();
	if (size < 2)
		return 0;
	parse((const char *)bytes + 2, size - 2);
	if (os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0)
		return 0;
	result = 1;
	if (vsock_line_read(&line, loop, fds[0]) < 0)
		abort();
	piece = 1 + bytes[0] % 40;
	while (2 + at < size) {
		size_t n = size - 2 - at < piece ? size - 2 - at : piece;

		if (os_send(fds[1], bytes + 2 + at, n, 0) != (ssize_t)n)
			break;
		at += n;
		run();
	}
	if (bytes[1] & 1) {
		shutdown(fds[1], SHUT_WR);
		run();
	}
	check_rest(&line, fds[0], bytes + 2, at, bytes[1] & 1);
	vsock_line_stop(&line);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
