/* SPDX-License-Identifier: MIT */
/*
 * bench_http: the two ends of a measurement in requests, each cheap enough not to be what bounds it.
 *
 *	bench_http serve ADDR PORT			PORT 0 is any; "port N" is the first line printed
 *	bench_http load  ADDR PORT SECONDS CONNS close	a connection for each request
 *	bench_http load  ADDR PORT SECONDS CONNS keep	all requests of a connection one after another
 *
 * Both are one process around epoll. The server knows one page, and closes first when asked to by
 * "Connection: close": so TIME_WAIT stays on its side, and no client runs out of ports. The client
 * opens the next connection when one has ended, and prints what was done within SECONDS:
 *
 *	{"done":N,"failed":N,"seconds":S}
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGE_SIZE 612 /* of nginx's page of welcome, by tradition */
#define MAX_CONNS 1024
#define MAX_EVENTS 64
#define GIVE_UP 1000 /* failures in a row */

/* The client's connection. */
struct conn {
	int fd;
	bool asked;
	size_t have; /* bytes of the reply to come that are here */
	size_t want; /* of the whole reply; 0: not known yet */
	char head[1024];
};

struct load {
	struct sockaddr_in to;
	int poll;
	bool keep;
	char request[256];
	size_t request_len;
	uint64_t done, failed;
	unsigned failed_in_a_row;
	struct conn conns[MAX_CONNS];
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_http: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in address(const char *addr, const char *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};

	sa.sin_port = htons((uint16_t)atoi(port));
	if (inet_pton(AF_INET, addr, &sa.sin_addr) != 1) {
		fprintf(stderr, "bench_http: %s: not an IPv4 address\n", addr);
		exit(2);
	}
	return sa;
}

static void watch(int poll, int fd, uint32_t events, epoll_data_t data)
{
	struct epoll_event event = {.events = events, .data = data};

	if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

/* --- the server --- */

static size_t make_reply(char *buf, size_t size, const char *connection)
{
	int n = snprintf(buf, size,
		"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/html\r\n"
		"Content-Length: %d\r\nConnection: %s\r\n\r\n",
		PAGE_SIZE, connection);

	memset(buf + n, 'x', PAGE_SIZE);
	return (size_t)n + PAGE_SIZE;
}

static void accept_all(int poll, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		int one = 1;

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		watch(poll, fd, EPOLLIN, (epoll_data_t){.fd = fd});
	}
}

/* A request is taken to come whole, as those of this program's other half do. */
static void answer(int fd)
{
	static char keep[1024], last[1024];
	static size_t keep_len, last_len;
	char request[2048];
	ssize_t n = read(fd, request, sizeof(request) - 1);
	bool close_it;

	if (!keep_len) {
		keep_len = make_reply(keep, sizeof(keep), "keep-alive");
		last_len = make_reply(last, sizeof(last), "close");
	}
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close(fd);
		return;
	}
	request[n] = '\0';
	close_it = strstr(request, "Connection: close") != NULL;
	n = write(fd, close_it ? last : keep, close_it ? last_len : keep_len);
	if (n < 0 || close_it)
		close(fd);
}

static int serve(const char *addr, const char *port)
{
	struct sockaddr_in sa = address(addr, port);
	socklen_t len = sizeof(sa);
	struct epoll_event events[MAX_EVENTS];
	int n, one = 1, poll = epoll_create1(EPOLL_CLOEXEC);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (poll < 0 || listener < 0 || bind(listener, (struct sockaddr *)&sa, len) < 0 ||
		listen(listener, 4096) < 0 ||
		getsockname(listener, (struct sockaddr *)&sa, &len) < 0)
		die(addr);
	printf("port %u\n", ntohs(sa.sin_port));
	fflush(stdout);
	watch(poll, listener, EPOLLIN, (epoll_data_t){.fd = listener});
	while ((n = epoll_wait(poll, events, MAX_EVENTS, -1)) >= 0 || errno == EINTR)
		for (int i = 0; i < n; i++)
			if (events[i].data.fd == listener)
				accept_all(poll, listener);
			else
				answer(events[i].data.fd);
	die("epoll_wait");
	return 1;
}

/* --- the client --- */

static void conn_open(struct load *load, struct conn *c)
{
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->asked = false;
	c->have = c->want = 0;
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&load->to, sizeof(load->to)) < 0 &&
		errno != EINPROGRESS)
		die("connect");
	watch(load->poll, c->fd, EPOLLIN | EPOLLOUT | EPOLLET, (epoll_data_t){.ptr = c});
}

static void conn_next(struct load *load, struct conn *c, bool done)
{
	close(c->fd);
	if (done) {
		load->done++;
		load->failed_in_a_row = 0;
	} else {
		load->failed++;
		if (++load->failed_in_a_row > GIVE_UP) {
			fprintf(stderr, "bench_http: nothing but failures\n");
			exit(1);
		}
	}
	conn_open(load, c);
}

static bool conn_ask(struct load *load, struct conn *c)
{
	c->asked = true;
	c->have = c->want = 0;
	return write(c->fd, load->request, load->request_len) == (ssize_t)load->request_len;
}

/* How long the reply is, once its head is here. */
static size_t whole_length(const struct conn *c)
{
	const char *end = strstr(c->head, "\r\n\r\n");
	const char *length = strstr(c->head, "Content-Length: ");

	if (!end || !length)
		return 0;
	return (size_t)(end + 4 - c->head) + strtoul(length + 16, NULL, 10);
}

/* Reads all that is there. */
static void conn_read(struct load *load, struct conn *c)
{
	for (;;) {
		char data[4096];
		ssize_t n = read(c->fd, data, sizeof(data));

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			conn_next(load, c, n == 0 && !load->keep && c->want && c->have == c->want);
			return;
		}
		if (!c->want) {
			size_t room = sizeof(c->head) - 1 - c->have;
			size_t take = (size_t)n < room ? (size_t)n : room;

			memcpy(c->head + c->have, data, take);
			c->head[c->have + take] = '\0';
			c->want = whole_length(c);
		}
		c->have += (size_t)n;
		if (load->keep && c->want && c->have >= c->want) {
			load->done++;
			if (!conn_ask(load, c))
				conn_next(load, c, false);
			return;
		}
	}
}

static void conn_event(struct load *load, struct conn *c, uint32_t events)
{
	if (!c->asked && (events & (EPOLLERR | EPOLLHUP))) {
		conn_next(load, c, false);
		return;
	}
	if (!c->asked && (events & EPOLLOUT) && !conn_ask(load, c)) {
		conn_next(load, c, false);
		return;
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		conn_read(load, c);
}

static int run_load(char **argv)
{
	static struct load load;
	double began, end, seconds = atof(argv[4]);
	int conns = atoi(argv[5]);

	if (conns < 1 || conns > MAX_CONNS) {
		fprintf(stderr, "bench_http: 1 to %d connections\n", MAX_CONNS);
		return 2;
	}
	load.to = address(argv[2], argv[3]);
	load.keep = !strcmp(argv[6], "keep");
	load.poll = epoll_create1(EPOLL_CLOEXEC);
	load.request_len = (size_t)snprintf(load.request, sizeof(load.request),
		"GET / HTTP/1.1\r\nHost: bench\r\nConnection: %s\r\n\r\n",
		load.keep ? "keep-alive" : "close");
	began = now();
	end = began + seconds;
	for (int i = 0; i < conns; i++)
		conn_open(&load, &load.conns[i]);
	while (now() < end) {
		struct epoll_event events[MAX_EVENTS];
		int n = epoll_wait(load.poll, events, MAX_EVENTS, 100);

		for (int i = 0; i < n; i++)
			conn_event(&load, events[i].data.ptr, events[i].events);
	}
	printf("{\"done\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"seconds\":%.6f}\n", load.done,
		load.failed, now() - began);
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 4 && !strcmp(argv[1], "serve"))
		return serve(argv[2], argv[3]);
	if (argc == 7 && !strcmp(argv[1], "load"))
		return run_load(argv);
	fprintf(stderr,
		"usage: bench_http serve ADDR PORT\n"
		"       bench_http load ADDR PORT SECONDS CONNS close|keep\n");
	return 2;
}
