/* SPDX-License-Identifier: MIT */
/*
 * flows: many TCP connections at once, all of them alive.
 *
 *	flows serve ADDR PORT		echoes on any number of connections; prints "port N"
 *	flows hold ADDR PORT COUNT	opens COUNT, prints "held N", and on each SIGUSR1 sends eight
 *					bytes on every one and prints {"alive":N,"dead":N,"ms":N} when
 *					all have answered or none has for 20 s
 *
 * At most 48 connections are in the making at once: a data plane may drop the SYNs of more. And at
 * most 48 answers are awaited at once: a NIC's queue (500 frames on a tap) drops what thousands of
 * connections send in one burst, and a kernel whose retransmission timers fire together repeats
 * the burst, each time after twice the wait. Nothing is lost by that, but the last ones can stay
 * silent for a minute where little is drained from the queue while the burst lasts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PENDING_MAX 48
#define ASKED_MAX 48
#define SILENCE_MS 20000

static volatile sig_atomic_t asked;

static void on_ask(int number)
{
	(void)number;
	asked = 1;
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static struct sockaddr_in parse_addr(const char *addr, const char *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET};

	in.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	if (inet_pton(AF_INET, addr, &in.sin_addr) != 1) {
		fprintf(stderr, "flows: %s is no address\n", addr);
		exit(2);
	}
	return in;
}

static int new_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		perror("flows: socket");
		exit(1);
	}
	return fd;
}

static int open_listener(const struct sockaddr_in *at)
{
	struct sockaddr_in bound = {0};
	socklen_t len = sizeof(bound);
	int fd = new_socket(), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 || listen(fd, 4096) < 0 ||
		getsockname(fd, (struct sockaddr *)&bound, &len) < 0) {
		perror("flows: listen");
		exit(1);
	}
	printf("port %u\n", ntohs(bound.sin_port));
	fflush(stdout);
	return fd;
}

/* Echoes what is there. Returns false when the connection has ended. */
static bool echo(int fd)
{
	char data[4096];
	ssize_t n = read(fd, data, sizeof(data));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	return n > 0 && write(fd, data, (size_t)n) == n;
}

static void serve(const struct sockaddr_in *at)
{
	size_t room = 1024, count = 1;
	struct pollfd *fds = calloc(room, sizeof(*fds));

	fds[0] = (struct pollfd){.fd = open_listener(at), .events = POLLIN};
	for (;;) {
		int fd;

		if (poll(fds, (nfds_t)count, -1) < 0)
			continue;
		for (size_t i = count - 1; i > 0; i--) {
			if (!fds[i].revents || echo(fds[i].fd))
				continue;
			close(fds[i].fd);
			fds[i] = fds[--count];
		}
		while (fds[0].revents && (fd = accept(fds[0].fd, NULL, NULL)) >= 0) {
			fcntl(fd, F_SETFL, O_NONBLOCK);
			if (count == room) {
				room *= 2;
				fds = realloc(fds, room * sizeof(*fds));
				if (!fds)
					exit(1);
			}
			fds[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
		}
	}
}

/* Takes what has connected or failed out of the pending; returns how many stood. */
static size_t settle(struct pollfd *pending, size_t *in_making, int *held)
{
	size_t stood = 0;

	if (poll(pending, (nfds_t)*in_making, 1000) <= 0)
		return 0;
	for (size_t i = *in_making; i-- > 0;) {
		int error = 0;
		socklen_t len = sizeof(error);

		if (!pending[i].revents)
			continue;
		getsockopt(pending[i].fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error == 0)
			held[stood++] = pending[i].fd;
		else
			close(pending[i].fd);
		pending[i] = pending[--*in_making];
	}
	return stood;
}

static size_t open_all(const struct sockaddr_in *to, size_t count, int *held)
{
	struct pollfd pending[PENDING_MAX];
	size_t in_making = 0, tried = 0, stood = 0;

	while (tried < count || in_making > 0) {
		while (in_making < PENDING_MAX && tried < count) {
			int fd = new_socket();

			tried++;
			if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 &&
				errno != EINPROGRESS) {
				close(fd);
				continue;
			}
			pending[in_making++] = (struct pollfd){.fd = fd, .events = POLLOUT};
		}
		stood += settle(pending, &in_making, held + stood);
	}
	return stood;
}

/* Sends on connections that were not asked yet, as many as may be. */
static void ask(const int *held, size_t count, size_t *next, struct pollfd *waiting, size_t *n)
{
	for (; *n < ASKED_MAX && *next < count; ++*next) {
		if (write(held[*next], "12345678", 8) == 8)
			waiting[(*n)++] = (struct pollfd){.fd = held[*next], .events = POLLIN};
	}
}

/* Takes what has answered or failed out of the asked; returns how many answered. */
static size_t hear(struct pollfd *waiting, size_t *n)
{
	size_t alive = 0;
	char data[64];

	if (poll(waiting, (nfds_t)*n, 1000) <= 0)
		return 0;
	for (size_t i = *n; i-- > 0;) {
		if (!waiting[i].revents)
			continue;
		alive += read(waiting[i].fd, data, sizeof(data)) == 8;
		waiting[i] = waiting[--*n];
	}
	return alive;
}

static void round_trip(const int *held, size_t count)
{
	struct pollfd waiting[ASKED_MAX];
	long began = now_ms(), heard = began;
	size_t alive = 0, next = 0, n = 0;

	do {
		size_t more;

		ask(held, count, &next, waiting, &n);
		more = hear(waiting, &n);
		alive += more;
		if (more)
			heard = now_ms();
	} while ((n || next < count) && now_ms() - heard < SILENCE_MS);
	printf("{\"alive\":%zu,\"dead\":%zu,\"ms\":%ld}\n", alive, count - alive, now_ms() - began);
	fflush(stdout);
}

static void hold(const struct sockaddr_in *to, size_t count)
{
	int *held = calloc(count + 1, sizeof(*held));
	size_t stood = open_all(to, count, held);

	printf("held %zu\n", stood);
	fflush(stdout);
	for (;;) {
		while (!asked)
			poll(NULL, 0, 100);
		asked = 0;
		round_trip(held, stood);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;

	if (argc < 4) {
		fprintf(stderr, "usage: flows serve ADDR PORT | hold ADDR PORT COUNT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, on_ask);
	raise_limit();
	addr = parse_addr(argv[2], argv[3]);
	if (!strcmp(argv[1], "serve"))
		serve(&addr);
	else if (argc > 4)
		hold(&addr, strtoul(argv[4], NULL, 10));
	return 2;
}
