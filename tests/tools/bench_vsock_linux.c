/* SPDX-License-Identifier: MIT */
/*
 * bench_vsock: the two ends of a measurement over vsock.
 *
 *	bench_vsock serve    PORT			in the guest, for ever
 *	bench_vsock send     SOCKET PORT SECONDS	on the host: one stream from the guest
 *	bench_vsock receive  SOCKET PORT SECONDS	on the host: one stream to the guest
 *	bench_vsock exchange SOCKET PORT SECONDS SIZE	on the host: round trips, one at a time
 *	bench_vsock hold     SOCKET PORT COUNT		on the host: connections that do nothing
 *
 * The host's end opens every connection, by the convention that Firecracker began: it connects to the
 * unix socket SOCKET, says "CONNECT PORT\n" and reads "OK N\n". All that is asked of the guest and
 * all time is measured on the host, whose clock is the better one:
 *
 *	{"bytes":N,"seconds":S}		from the first byte to the receiver's having the last
 *	{"done":N,"seconds":S}		round trips
 *	{"held":N}			as soon as they all stand; they end with our standard input
 *
 * A connection begins with a record of 32 bytes of text, "OP MS SIZE\n", from the host. Streams are
 * made of chunks of 128 KiB (as iperf3's writes); the first byte of the last one says so, since not
 * every back-end can close half of a connection. Its receiver answers by a record "done 0 BYTES\n".
 * The guest serves one connection after another, so only one measurement may run at a time.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (128 * 1024)
#define RECORD 32
#define LAST 1         /* the first byte of the last chunk */
#define BACKLOG 4096   /* the kernel's usual bound */
#define PATIENCE_S 120 /* beyond what was asked for, before all is given up */

struct record {
	char op[16];
	unsigned ms;
	uint64_t size;
};

static unsigned char chunk[CHUNK];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_vsock: %s: %s\n", what, errno ? strerror(errno) : "ended early");
	exit(1);
}

static bool send_all(int fd, const void *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = send(fd, (const char *)data + at, len - at, MSG_NOSIGNAL);

		if (n < 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static bool receive_all(int fd, void *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(fd, (char *)data + at, len - at, 0);

		if (n == 0)
			errno = 0;
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* --- records --- */

static bool record_put(int fd, const char *op, unsigned ms, uint64_t size)
{
	char text[RECORD + 1];

	memset(text, ' ', sizeof(text));
	text[snprintf(text, RECORD, "%s %u %" PRIu64, op, ms, size)] = ' ';
	text[RECORD - 1] = '\n';
	return send_all(fd, text, RECORD);
}

static bool record_get(int fd, struct record *r)
{
	char text[RECORD + 1] = "";

	return receive_all(fd, text, RECORD) &&
		sscanf(text, "%15s %u %" SCNu64, r->op, &r->ms, &r->size) == 3;
}

/* --- streams --- */

static bool stream_send(int fd, unsigned ms)
{
	double end = now() + ms / 1e3;
	unsigned char last;

	do {
		last = chunk[0] = now() < end ? 0 : LAST;
		if (!send_all(fd, chunk, CHUNK))
			return false;
	} while (last != LAST);
	return true;
}

/* To the end of the last chunk. How many bytes, or 0. Sets *began when the first came. */
static uint64_t stream_receive(int fd, double *began)
{
	uint64_t bytes = 0, end = UINT64_MAX;

	while (bytes < end) {
		ssize_t n = recv(fd, chunk, CHUNK, 0);
		size_t head = (CHUNK - bytes % CHUNK) % CHUNK; /* a chunk's first byte, if here */

		if (n == 0)
			errno = 0;
		if (n <= 0)
			return 0;
		if (!bytes)
			*began = now();
		if (head < (size_t)n && chunk[head] == LAST)
			end = bytes + head + CHUNK;
		bytes += (uint64_t)n;
	}
	return bytes;
}

/* --- the guest --- */

static void echo(int fd, size_t size)
{
	while (size <= CHUNK && receive_all(fd, chunk, size) && send_all(fd, chunk, size))
		;
}

/* Accepts until there are count connections, fd among them, and keeps all as long as fd lives. */
static void hold(int listener, int fd, size_t count)
{
	int *fds = calloc(count, sizeof(*fds));
	size_t n = 0;

	if (!fds)
		return;
	while (n + 1 < count && (fds[n] = accept(listener, NULL, NULL)) >= 0)
		n++;
	record_put(fd, "done", 0, n + 1);
	receive_all(fd, chunk, 1);
	while (n)
		close(fds[--n]);
	free(fds);
}

static void serve_one(int listener, int fd)
{
	struct record r;
	double began;

	if (!record_get(fd, &r))
		return;
	if (!strcmp(r.op, "send")) {
		stream_send(fd, r.ms);
		receive_all(fd, chunk, 1); /* its end */
	} else if (!strcmp(r.op, "receive")) {
		record_put(fd, "done", 0, stream_receive(fd, &began));
		receive_all(fd, chunk, 1);
	} else if (!strcmp(r.op, "exchange")) {
		echo(fd, r.size);
	} else if (!strcmp(r.op, "hold")) {
		hold(listener, fd, r.size);
	}
}

static int serve(unsigned port)
{
	struct sockaddr_vm at = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
	int fd, listener = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
		listen(listener, BACKLOG) < 0)
		die("vsock");
	printf("serving\n");
	fflush(stdout);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		serve_one(listener, fd);
		close(fd);
	}
	die("accept");
	return 1;
}

/* --- the host --- */

static int open_guest(const char *path, const char *port)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char line[64], byte = 0;
	size_t len = 0;
	int n = snprintf(line, sizeof(line), "CONNECT %s\n", port);

	if (strlen(path) >= sizeof(at.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	strcpy(at.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
		!send_all(fd, line, (size_t)n))
		die(path);
	/* Byte by byte, since what follows may be the guest's. */
	while (byte != '\n' && len < sizeof(line) - 1) {
		if (!receive_all(fd, &byte, 1))
			die("CONNECT");
		line[len++] = byte;
	}
	line[len] = '\0';
	if (strncmp(line, "OK ", 3) != 0) {
		errno = EPROTO;
		die("CONNECT");
	}
	return fd;
}

static void ask(int fd, const char *op, double seconds, uint64_t size)
{
	if (!record_put(fd, op, (unsigned)(seconds * 1e3), size))
		die(op);
}

static uint64_t answer(int fd)
{
	struct record r;

	if (!record_get(fd, &r) || strcmp(r.op, "done") != 0)
		die("the guest's answer");
	return r.size;
}

static void host_stream(int fd, const char *op, double seconds)
{
	double began = now();
	uint64_t bytes;

	ask(fd, op, seconds, 0);
	if (!strcmp(op, "send")) {
		bytes = stream_receive(fd, &began);
	} else {
		if (!stream_send(fd, (unsigned)(seconds * 1e3)))
			die(op);
		bytes = answer(fd);
	}
	if (!bytes)
		die(op);
	printf("{\"bytes\":%" PRIu64 ",\"seconds\":%.6f}\n", bytes, now() - began);
}

static void host_exchange(int fd, double seconds, size_t size)
{
	double began, at;
	uint64_t done = 0;

	ask(fd, "exchange", seconds, size);
	began = at = now();
	for (; at - began < seconds; at = now(), done++)
		if (!send_all(fd, chunk, size) || !receive_all(fd, chunk, size))
			die("exchange");
	printf("{\"done\":%" PRIu64 ",\"seconds\":%.6f}\n", done, at - began);
}

static void host_hold(int fd, const char *path, const char *port, size_t count)
{
	int *held = calloc(count, sizeof(*held));
	struct rlimit files;

	if (!held)
		die("hold");
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	ask(fd, "hold", 0, count);
	for (size_t n = 1; n < count; n++)
		held[n] = open_guest(path, port);
	printf("{\"held\":%" PRIu64 "}\n", answer(fd));
	fflush(stdout);
	while (read(0, chunk, 1) > 0)
		;
	for (size_t n = 1; n < count; n++)
		close(held[n]);
	free(held);
}

static int client(int argc, char **argv)
{
	const char *op = argv[1];
	double seconds = atof(argv[4]);
	size_t size = argc == 6 ? strtoul(argv[5], NULL, 10) : 0;
	bool is_hold = !strcmp(op, "hold");
	int fd;

	alarm((is_hold ? 0 : (unsigned)seconds) + PATIENCE_S);
	fd = open_guest(argv[2], argv[3]);
	if (is_hold)
		host_hold(fd, argv[2], argv[3], strtoul(argv[4], NULL, 10));
	else if (!strcmp(op, "exchange"))
		host_exchange(fd, seconds, size);
	else
		host_stream(fd, op, seconds);
	return 0;
}

int main(int argc, char **argv)
{
	const char *op = argc > 1 ? argv[1] : "";

	if (argc == 3 && !strcmp(op, "serve"))
		return serve((unsigned)strtoul(argv[2], NULL, 10));
	if (argc == 5 && (!strcmp(op, "send") || !strcmp(op, "receive") || !strcmp(op, "hold")))
		return client(argc, argv);
	if (argc == 6 && !strcmp(op, "exchange") && strtoul(argv[5], NULL, 10) - 1 < CHUNK)
		return client(argc, argv);
	fprintf(stderr,
		"usage: bench_vsock serve PORT\n"
		"       bench_vsock send|receive SOCKET PORT SECONDS\n"
		"       bench_vsock exchange SOCKET PORT SECONDS SIZE\n"
		"       bench_vsock hold SOCKET PORT COUNT\n");
	return 2;
}
