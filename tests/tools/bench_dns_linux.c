/* SPDX-License-Identifier: MIT */
/*
 * bench_dns: the two ends of a measurement in DNS answers.
 *
 *	bench_dns serve ADDR PORT	PORT 0 is any; "port N" is the first line printed
 *	bench_dns load  ADDR PORT SECONDS CONCURRENT NAMES
 *
 * The server says of every name that it is 192.0.2.1 for five minutes. The load is so many stub
 * resolvers at a time: each asks for a name from a fresh socket, as C libraries do, waits for the
 * answer, and begins anew. NAMES is how many different names there are in turn, 0 that none is asked
 * for twice. It prints what was done within SECONDS, and what had no answer after LOST_MS:
 *
 *	{"done":N,"lost":N,"seconds":S}
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONCURRENT_MAX 512
#define LOST_MS 2000
#define HEADER 12
#define PACKET 512

static void fail(const char *what)
{
	fprintf(stderr, "bench_dns: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void usage(void)
{
	fprintf(stderr, "bench_dns serve ADDR PORT | load ADDR PORT SECONDS CONCURRENT NAMES\n");
	exit(2);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sockaddr_in address(const char *addr, const char *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (inet_pton(AF_INET, addr, &sin.sin_addr) != 1)
		usage();
	return sin;
}

/* ---- the server ---- */

/* Makes an answer of a question; returns its length. */
static size_t answer(uint8_t packet[PACKET], size_t len)
{
	static const uint8_t record[] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 1};

	if (len <= HEADER || len + sizeof(record) > PACKET)
		return 0;
	packet[2] |= 0x80;
	packet[3] = 0x80;
	packet[7] = 1;
	memcpy(packet + len, record, sizeof(record));
	return len + sizeof(record);
}

static void serve(const char *addr, const char *port)
{
	struct sockaddr_in sin = address(addr, port);
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
	uint8_t packet[PACKET];

	if (fd < 0 || bind(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 ||
		getsockname(fd, (struct sockaddr *)&sin, &len) < 0)
		fail("serve");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	printf("port %u\n", ntohs(sin.sin_port));
	fflush(stdout);
	for (;;) {
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(
			fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &from_len);
		size_t out = n > 0 ? answer(packet, (size_t)n) : 0;

		if (out)
			sendto(fd, packet, out, 0, (struct sockaddr *)&from, from_len);
	}
}

/* ---- the load ---- */

struct load {
	struct sockaddr_in to;
	uint64_t first, names, asked, done, lost;
	unsigned concurrent;
	struct pollfd at[CONCURRENT_MAX];
	uint16_t ids[CONCURRENT_MAX];
	double since[CONCURRENT_MAX];
};

static size_t question(uint8_t packet[PACKET], uint16_t id, uint64_t name)
{
	static const uint8_t zone[] = {5, 'b', 'e', 'n', 'c', 'h', 7, 'e', 'x', 'a', 'm', 'p', 'l',
		'e', 0, 0, 1, 0, 1}; /* and the type A, the class IN */
	uint8_t *p = packet + HEADER;
	int n;

	memset(packet, 0, HEADER);
	packet[0] = (uint8_t)(id >> 8);
	packet[1] = (uint8_t)id;
	packet[2] = 1; /* RD */
	packet[5] = 1;
	n = snprintf((char *)p + 1, 32, "n%" PRIu64, name);
	*p = (uint8_t)n;
	p += 1 + n;
	memcpy(p, zone, sizeof(zone));
	return (size_t)(p + sizeof(zone) - packet);
}

static void ask(struct load *l, unsigned i)
{
	uint8_t packet[PACKET];
	uint64_t name = l->first + (l->names ? l->asked % l->names : l->asked);
	size_t len;

	if (l->at[i].fd >= 0)
		close(l->at[i].fd);
	l->at[i].fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (l->at[i].fd < 0 || connect(l->at[i].fd, (struct sockaddr *)&l->to, sizeof(l->to)) < 0)
		fail("connect");
	l->ids[i] = (uint16_t)l->asked++;
	len = question(packet, l->ids[i], name);
	if (send(l->at[i].fd, packet, len, 0) < 0 && errno != EAGAIN && errno != ECONNREFUSED)
		fail("send");
	l->since[i] = now();
}

static void take(struct load *l, unsigned i)
{
	uint8_t packet[PACKET];
	ssize_t n = recv(l->at[i].fd, packet, sizeof(packet), 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < HEADER || packet[0] != l->ids[i] >> 8 || packet[1] != (l->ids[i] & 255) ||
		packet[3] & 15 || !packet[7]) {
		fprintf(stderr, "bench_dns: not an answer: %s\n",
			n < 0 ? strerror(errno) : "its code");
		exit(1);
	}
	l->done++;
	ask(l, i);
}

static void load(struct load *l, double duration)
{
	double begin = now(), end = begin + duration, t;

	for (unsigned i = 0; i < l->concurrent; i++) {
		l->at[i] = (struct pollfd){.fd = -1, .events = POLLIN};
		ask(l, i);
	}
	while ((t = now()) < end) {
		int ready = poll(l->at, l->concurrent, 100);

		for (unsigned i = 0; i < l->concurrent; i++) {
			if (ready > 0 && l->at[i].revents) {
				take(l, i);
			} else if (t - l->since[i] > LOST_MS / 1e3) {
				l->lost++;
				ask(l, i);
			}
		}
	}
	printf("{\"done\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"seconds\":%.6f}\n", l->done, l->lost,
		t - begin);
}

int main(int argc, char **argv)
{
	static struct load l;

	if (argc == 4 && !strcmp(argv[1], "serve")) {
		serve(argv[2], argv[3]);
	} else if (argc == 7 && !strcmp(argv[1], "load")) {
		l.to = address(argv[2], argv[3]);
		l.concurrent = (unsigned)atoi(argv[5]);
		l.names = (uint64_t)atoll(argv[6]);
		if (l.concurrent < 1 || l.concurrent > CONCURRENT_MAX)
			usage();
		/* Not those of a run before. */
		l.first = (uint64_t)(now() * 1e9);
		load(&l, atof(argv[4]));
	} else {
		usage();
	}
	return 0;
}
