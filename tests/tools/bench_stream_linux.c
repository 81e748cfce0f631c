/* SPDX-License-Identifier: MIT */
/*
 * bench_stream: the two ends of a measurement in bytes, TCP and UDP.
 *
 *	bench_stream serve       ADDR PORT		PORT 0 is any; "port N" is the first line printed
 *	bench_stream send        ADDR PORT SECONDS [AS]	one TCP stream to the server
 *	bench_stream receive     ADDR PORT SECONDS [AS]	one TCP stream from it
 *	bench_stream udp-send    ADDR PORT SECONDS RATE SIZE
 *	bench_stream udp-receive ADDR PORT SECONDS RATE SIZE
 *
 * RATE is bits a second of payload, SIZE bytes a datagram. The one who receives counts, from the
 * first byte to the last or for SECONDS, as iperf3 does; the client prints it:
 *
 *	{"bytes":N,"seconds":S,"sent":N,"received":N}	datagrams, and 0 for TCP
 *
 * AS is tls:NAME or http:NAME: what the client says begins as if it were such, with a ClientHello for
 * that name, or as the body of a request to it, for who looks at that. The server passes over it.
 *
 * Server and client talk in records of 64 bytes of text on the TCP connection:
 *
 *	client: OP MS RATE SIZE		then for "send" the stream, to its end
 *	server: BYTES NS 0 0		when SECONDS of a "send" are over
 *	server: PORT 0 0 0		before any UDP; "udp-receive" greets that port until data come
 *	sender: SENT 0 0 0		after the last datagram
 *	server: BYTES NS RECEIVED 0	after a "udp-send", when nothing has come for a while
 *
 * Reads and writes are of 128 KiB, iperf3's size, and datagrams go by 32 a call, for the tool shall
 * not be the bound. A sender that falls behind its rate by more than 2 ms forgives the rest, so that
 * no burst follows a pause that the scheduler made.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (128 * 1024)
#define RECORD 64
#define BATCH 32
#define PRELUDE 512 /* of AS */
#define MAX_DATAGRAM 65507
#define QUIET_MS 300          /* without a datagram: no more will come */
#define PATIENCE_S 20         /* beyond what was asked for, before all is given up */
#define SOCKET_BUFFER 8388608 /* of UDP, if it may be had */

struct record {
	char op[16];
	uint64_t a, b, c;
};

/* What the receiver of datagrams saw. */
struct arrival {
	uint64_t bytes, datagrams;
	double first, last; /* seconds */
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
	fprintf(stderr, "bench_stream: %s: %s\n", what, errno ? strerror(errno) : "ended early");
	exit(1);
}

static struct sockaddr_in address(const char *addr, unsigned port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};

	sa.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, addr, &sa.sin_addr) != 1) {
		fprintf(stderr, "bench_stream: %s: not an IPv4 address\n", addr);
		exit(2);
	}
	return sa;
}

/* --- records --- */

static void record_put(int fd, const char *op, uint64_t a, uint64_t b, uint64_t c)
{
	char text[RECORD];
	int n = snprintf(text, sizeof(text), "%s %" PRIu64 " %" PRIu64 " %" PRIu64, op, a, b, c);

	memset(text + n, ' ', sizeof(text) - (size_t)n);
	text[RECORD - 1] = '\n';
	if (send(fd, text, sizeof(text), MSG_NOSIGNAL) != (ssize_t)sizeof(text))
		die("control connection");
}

static struct record record_get(int fd)
{
	struct record r;
	char text[RECORD + 1] = "";

	errno = 0;
	if (recv(fd, text, RECORD, MSG_WAITALL) != RECORD)
		die("control connection");
	if (sscanf(text, "%15s %" SCNu64 " %" SCNu64 " %" SCNu64, r.op, &r.a, &r.b, &r.c) != 4)
		die("control connection's record");
	return r;
}

/* --- the beginning of something else --- */

static unsigned char *put16(unsigned char *p, size_t v)
{
	p[0] = (unsigned char)(v >> 8);
	p[1] = (unsigned char)v;
	return p + 2;
}

/* A ClientHello, padded, and the head of a record of application data. */
static void make_tls(unsigned char prelude[PRELUDE], const char *name)
{
	static const unsigned char head[] = {22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3};
	static const unsigned char data[] = {23, 3, 3, 0x40, 0};
	size_t hello = PRELUDE - sizeof(data), n = strlen(name);
	unsigned char *p = prelude + sizeof(head) + 32 + 1; /* random, no session */

	memset(prelude, 0, PRELUDE);
	memcpy(prelude, head, sizeof(head));
	put16(prelude + 3, hello - 5);
	put16(prelude + 7, hello - 9);
	p = put16(p, 2);
	p = put16(p, 0x1301);
	p = put16(p, 0x100); /* one compression: none */
	p = put16(p, (size_t)(prelude + hello - p) - 2);
	p = put16(p, 0);
	p = put16(p, n + 5);
	p = put16(p, n + 3);
	p = put16(p + 1, n);
	memcpy(p, name, n);
	p = put16(p + n, 21);
	put16(p, (size_t)(prelude + hello - p) - 2);
	memcpy(prelude + hello, data, sizeof(data));
}

static void make_http(unsigned char prelude[PRELUDE], const char *name)
{
	static const unsigned char end[] = {'\r', '\n', '\r', '\n'};
	int n = snprintf((char *)prelude, PRELUDE,
		"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000000000000\r\nX: ", name);

	memset(prelude + n, 'x', PRELUDE - (size_t)n);
	memcpy(prelude + PRELUDE - sizeof(end), end, sizeof(end));
}

static void prelude_send(int fd, const char *as)
{
	unsigned char prelude[PRELUDE];
	const char *name = strchr(as, ':');

	if (!name || strlen(name) > 200) {
		fprintf(stderr, "bench_stream: %s: not tls:NAME or http:NAME\n", as);
		exit(2);
	}
	if (!strncmp(as, "tls:", 4))
		make_tls(prelude, name + 1);
	else
		make_http(prelude, name + 1);
	if (send(fd, prelude, PRELUDE, MSG_NOSIGNAL) != PRELUDE)
		die("prelude");
}

/* No operation begins as it does. */
static void prelude_skip(int fd)
{
	unsigned char prelude[PRELUDE];

	if (recv(fd, prelude, 1, MSG_PEEK) == 1 && (prelude[0] == 22 || prelude[0] == 'P') &&
		recv(fd, prelude, PRELUDE, MSG_WAITALL) != PRELUDE)
		die("prelude");
}

/* --- TCP --- */

/* Until the time is over, or the other end has had enough. */
static void stream_send(int fd, double seconds)
{
	double end = now() + seconds;

	while (now() < end)
		if (send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL) < 0)
			return;
	shutdown(fd, SHUT_WR);
}

/* Until the stream ends, or for `seconds` from its first byte on. Sets them to what it was. */
static uint64_t stream_receive(int fd, double *seconds)
{
	struct timeval patience = {0, 50000};
	double began = 0, at = 0;
	uint64_t bytes = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (!bytes || at - began < *seconds) {
		ssize_t n = recv(fd, chunk, sizeof(chunk), 0);

		at = now();
		if (n == 0)
			break;
		if (n < 0 && errno != EAGAIN)
			die("recv");
		if (!bytes)
			began = at;
		if (n > 0)
			bytes += (uint64_t)n;
	}
	*seconds = bytes ? at - began : 0;
	return bytes;
}

/* What is left of a stream is of no interest, and would disturb what is measured next. */
static void stream_abort(int fd)
{
	struct linger hard = {1, 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

/* --- UDP --- */

static int udp_socket(void)
{
	int size = SOCKET_BUFFER, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

/* Sends on a connected socket. Returns how many datagrams went. */
static uint64_t udp_send(int fd, double seconds, uint64_t rate, size_t size)
{
	struct iovec iov = {chunk, size};
	struct mmsghdr batch[BATCH];
	double per_second = (double)rate / 8 / (double)size, most = per_second * 0.002 + 1;
	double began = now(), at = began, owed = 0, end = began + seconds;
	uint64_t sent = 0;

	for (int i = 0; i < BATCH; i++)
		batch[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
	while (at < end) {
		double then = at;
		int n;

		at = now();
		owed += (at - then) * per_second;
		if (owed > most)
			owed = most;
		if (owed < 1) {
			nanosleep(&(struct timespec){0, 20000}, NULL);
			continue;
		}
		n = sendmmsg(fd, batch, owed < BATCH ? (unsigned)owed : BATCH, 0);
		if (n < 0 && errno != ENOBUFS && errno != ECONNREFUSED && errno != EINTR)
			die("sendmmsg");
		if (n > 0) {
			sent += (uint64_t)n;
			owed -= n;
		}
	}
	return sent;
}

static void udp_take(int fd, struct arrival *arrival)
{
	static unsigned char data[BATCH][MAX_DATAGRAM + 1];
	struct mmsghdr batch[BATCH];
	struct iovec iov[BATCH];
	int n;

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){data[i], sizeof(data[i])};
		batch[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov[i], .msg_iovlen = 1}};
	}
	n = recvmmsg(fd, batch, BATCH, MSG_DONTWAIT, NULL);
	if (n <= 0)
		return;
	arrival->last = now();
	if (!arrival->datagrams)
		arrival->first = arrival->last;
	for (int i = 0; i < n; i++)
		arrival->bytes += batch[i].msg_len;
	arrival->datagrams += (uint64_t)n;
}

/*
 * Counts datagrams until the control connection has said how many were sent, and none comes any
 * more. Before the first one comes, `greet` is sent out every 50 ms, for the sender to know us.
 */
static uint64_t udp_receive(int fd, int control, const char *greet, struct arrival *arrival)
{
	struct pollfd fds[2] = {{fd, POLLIN, 0}, {control, POLLIN, 0}};
	uint64_t sent = 0;

	memset(arrival, 0, sizeof(*arrival));
	for (;;) {
		int n, wait = fds[1].fd < 0 ? QUIET_MS : arrival->datagrams ? 1000 : 50;

		if (greet && !arrival->datagrams)
			send(fd, greet, strlen(greet), 0);
		n = poll(fds, 2, wait);
		if (n == 0 && fds[1].fd < 0)
			return sent;
		if (n <= 0)
			continue;
		if (fds[0].revents)
			udp_take(fd, arrival);
		if (fds[1].fd >= 0 && fds[1].revents) {
			sent = record_get(control).a;
			fds[1].fd = -1;
			fds[1].revents = 0;
		}
	}
}

/* --- the server --- */

static void serve_udp(int control, struct sockaddr_in sa, const struct record *r)
{
	struct arrival arrival;
	socklen_t len = sizeof(sa);
	int fd = udp_socket();
	char greeting[64];

	sa.sin_port = 0;
	if (bind(fd, (struct sockaddr *)&sa, len) < 0 ||
		getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		die("bind");
	record_put(control, "port", ntohs(sa.sin_port), 0, 0);
	if (!strcmp(r->op, "udp-send")) {
		udp_receive(fd, control, NULL, &arrival);
		record_put(control, "done", arrival.bytes,
			(uint64_t)((arrival.last - arrival.first) * 1e9), arrival.datagrams);
		return;
	}
	if (recvfrom(fd, greeting, sizeof(greeting), 0, (struct sockaddr *)&sa, &len) < 0 ||
		connect(fd, (struct sockaddr *)&sa, len) < 0)
		die("greeting");
	record_put(control, "sent", udp_send(fd, (double)r->a / 1e3, r->b, r->c), 0, 0);
	/* The client closes when it has all. */
	if (recv(control, greeting, sizeof(greeting), 0) < 0)
		die("control connection");
}

static void serve_one(int fd, struct sockaddr_in sa)
{
	struct record r;
	double seconds;

	alarm(PATIENCE_S);
	prelude_skip(fd);
	r = record_get(fd);
	seconds = (double)r.a / 1e3;
	alarm((unsigned)seconds + PATIENCE_S);
	if (!strcmp(r.op, "send")) {
		uint64_t bytes = stream_receive(fd, &seconds);

		record_put(fd, "done", bytes, (uint64_t)(seconds * 1e9), 0);
		/* The client resets the connection when it has that. */
		while (recv(fd, chunk, sizeof(chunk), 0) > 0 || errno == EAGAIN)
			errno = 0;
	} else if (!strcmp(r.op, "receive")) {
		stream_send(fd, seconds);
	} else if (r.b > 0 && r.c > 0 && r.c <= MAX_DATAGRAM) {
		serve_udp(fd, sa, &r);
	}
}

static int serve(const char *addr, const char *port)
{
	struct sockaddr_in sa = address(addr, (unsigned)atoi(port));
	socklen_t len = sizeof(sa);
	int fd, one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, (struct sockaddr *)&sa, len) < 0 ||
		listen(listener, 64) < 0 || getsockname(listener, (struct sockaddr *)&sa, &len) < 0)
		die(addr);
	printf("port %u\n", ntohs(sa.sin_port));
	fflush(stdout);
	signal(SIGCHLD, SIG_IGN);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(listener);
			serve_one(fd, sa);
			exit(0);
		}
		close(fd);
	}
	die("accept");
	return 1;
}

/* --- the client --- */

static void print(uint64_t bytes, double seconds, uint64_t sent, uint64_t received)
{
	printf("{\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"sent\":%" PRIu64 ",\"received\":%" PRIu64
	       "}\n",
		bytes, seconds, sent, received);
}

static void client_udp(int control, const char *addr, const struct record *ask)
{
	struct sockaddr_in sa = address(addr, (unsigned)record_get(control).a);
	int fd = udp_socket();
	struct arrival arrival;
	struct record done;
	uint64_t sent;

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		die(addr);
	if (!strcmp(ask->op, "udp-send")) {
		sent = udp_send(fd, (double)ask->a / 1e3, ask->b, ask->c);
		record_put(control, "sent", sent, 0, 0);
		done = record_get(control);
		print(done.a, (double)done.b / 1e9, sent, done.c);
	} else {
		sent = udp_receive(fd, control, "hello", &arrival);
		print(arrival.bytes, arrival.last - arrival.first, sent, arrival.datagrams);
	}
}

static int client(int argc, char **argv)
{
	struct sockaddr_in sa = address(argv[2], (unsigned)atoi(argv[3]));
	double seconds = atof(argv[4]);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct record done, ask = {.a = (uint64_t)(seconds * 1e3)};
	uint64_t bytes;

	snprintf(ask.op, sizeof(ask.op), "%s", argv[1]);
	if (argc == 7) {
		ask.b = (uint64_t)atof(argv[5]);
		ask.c = (uint64_t)atoi(argv[6]);
	}
	alarm((unsigned)seconds + PATIENCE_S);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		die(argv[2]);
	if (argc == 6)
		prelude_send(fd, argv[5]);
	record_put(fd, ask.op, ask.a, ask.b, ask.c);
	if (argc == 7) {
		client_udp(fd, argv[2], &ask);
		return 0;
	}
	if (!strcmp(ask.op, "send")) {
		stream_send(fd, seconds);
		done = record_get(fd);
		print(done.a, (double)done.b / 1e9, 0, 0);
	} else {
		bytes = stream_receive(fd, &seconds);
		print(bytes, seconds, 0, 0);
	}
	stream_abort(fd);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (argc == 4 && !strcmp(what, "serve"))
		return serve(argv[2], argv[3]);
	if ((argc == 5 || argc == 6) && (!strcmp(what, "send") || !strcmp(what, "receive")))
		return client(argc, argv);
	if (argc == 7 && (!strcmp(what, "udp-send") || !strcmp(what, "udp-receive")))
		return client(argc, argv);
	fprintf(stderr,
		"usage: bench_stream serve ADDR PORT\n"
		"       bench_stream send|receive ADDR PORT SECONDS [AS]\n"
		"       bench_stream udp-send|udp-receive ADDR PORT SECONDS RATE SIZE\n");
	return 2;
}
