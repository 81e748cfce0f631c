/* SPDX-License-Identifier: MIT */
/*
 * relay: carries Ethernet frames between two ends of a link, and spoils some on the way.
 *
 *	relay END END [--drop PERMILLE] [--dup PERMILLE] [--reorder PERMILLE] [--seed S]
 *
 *	END	connect:PATH		unix stream, each frame after its length (4 bytes, big-endian)
 *		listen:PATH		the same, for one peer
 *		tap:NAME		makes this tap, without virtio-net headers
 *		taphdr:NAME		makes this tap, with them, and with TSO and checksum offload
 *		packet:NAME		a network interface of others, by a packet socket, with them
 *
 * Ends with and without virtio-net headers do not go together. `NAME@/proc/PID/ns/net` puts a tap or
 * a packet socket into another network namespace. Prints "ready" when the ends stand (a listener:
 * before its peer comes), and on SIGTERM, SIGINT, or when an end is gone, one line of counts.
 *
 * Each direction is a thread of its own, so that neither waits for the other, and has a random
 * sequence of its own: what happens to the i-th frame depends only on the seed and i. A reordered
 * frame waits until one to three others have passed it, or 5 ms.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FRAME (128 * 1024)
#define HOLD_MS 5

enum framing { FRAMING_LENGTH, FRAMING_MESSAGE };

struct end {
	const char *spec;
	enum framing framing;
	bool header; /* frames have a virtio-net header */
	bool listening;
	int fd;
};

struct counts {
	uint64_t frames, dropped, doubled, reordered;
};

struct direction {
	struct end *from, *to;
	uint64_t random;
	struct counts counts;
	uint8_t frame[MAX_FRAME], held[MAX_FRAME];
	size_t held_len;
	unsigned held_for; /* frames that still pass it; 0: nothing is held */
};

static unsigned drop, dup_, reorder; /* per thousand */
static struct direction directions[2];

static void die(const char *what, const char *object)
{
	fprintf(stderr, "relay: %s: %s: %s\n", object, what, strerror(errno));
	exit(1);
}

static void enter(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		die("network namespace", path);
	close(fd);
}

static int open_tap(const char *name, bool header)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (header)
		ifr.ifr_flags |= IFF_VNET_HDR;
	if (strlen(name) >= sizeof(ifr.ifr_name))
		die("name too long", name);
	strcpy(ifr.ifr_name, name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0)
		die("cannot make the tap", name);
	if (header && ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
		die("no offloads", name);
	return fd;
}

static int open_packet(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)), one = 1;
	int size = 16 * 1024 * 1024;
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name),
	};

	if (fd < 0 || at.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		die("no packet socket", name);
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
		setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0)
		die("packet socket", name);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return fd;
}

static int open_unix(const char *path, bool listening)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(at.sun_path))
		die("path too long", path);
	strcpy(at.sun_path, path);
	if (listening) {
		unlink(path);
		if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 1) < 0)
			die("cannot listen", path);
	} else if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		die("cannot connect", path);
	}
	return fd;
}

/* Opens a tap or a packet socket, in its namespace, and comes back from there. */
static void open_interface(struct end *end, const char *kind, char *name)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	char *at = strchr(name, '@');

	if (at) {
		*at = '\0';
		enter(at + 1);
	}
	end->framing = FRAMING_MESSAGE;
	end->header = strcmp(kind, "tap") != 0;
	end->fd = strcmp(kind, "packet") == 0 ? open_packet(name) : open_tap(name, end->header);
	if (at && setns(home, CLONE_NEWNET) < 0)
		die("network namespace", "home");
	close(home);
}

static void open_end(struct end *end, const char *spec)
{
	char kind[16] = "", name[256] = "";

	end->spec = spec;
	if (sscanf(spec, "%15[a-z]:%255s", kind, name) != 2) {
		errno = EINVAL;
		die("no such end", spec);
	}
	if (!strcmp(kind, "connect") || !strcmp(kind, "listen")) {
		end->listening = !strcmp(kind, "listen");
		end->fd = open_unix(name, end->listening);
		end->framing = FRAMING_LENGTH;
	} else if (!strcmp(kind, "tap") || !strcmp(kind, "taphdr") || !strcmp(kind, "packet")) {
		open_interface(end, kind, name);
	} else {
		errno = EINVAL;
		die("no such end", spec);
	}
}

static void await_peer(struct end *end)
{
	int fd;

	if (!end->listening)
		return;
	fd = accept4(end->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		die("accept", end->spec);
	close(end->fd);
	end->fd = fd;
}

static void finish(void)
{
	static const char *const names[] = {"forth", "back"};

	for (int i = 0; i < 2; i++) {
		const struct counts *c = &directions[i].counts;

		printf("%s\"%s\":{\"frames\":%" PRIu64 ",\"dropped\":%" PRIu64
		       ",\"doubled\":%" PRIu64 ",\"reordered\":%" PRIu64 "}%s",
			i ? "," : "{", names[i], c->frames, c->dropped, c->doubled, c->reordered,
			i ? "}\n" : "");
	}
	fflush(stdout);
	_exit(0);
}

static bool read_whole(int fd, void *buf, size_t len)
{
	for (uint8_t *at = buf; len > 0;) {
		ssize_t n = read(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* Reads one frame. Returns its length, or 0 when the end is gone. */
static size_t read_frame(const struct end *end, uint8_t *frame)
{
	uint32_t len;
	ssize_t n;

	if (end->framing == FRAMING_LENGTH) {
		if (!read_whole(end->fd, &len, sizeof(len)))
			return 0;
		len = ntohl(len);
		if (len == 0 || len > MAX_FRAME || !read_whole(end->fd, frame, len))
			return 0;
		return len;
	}
	do
		n = read(end->fd, frame, MAX_FRAME);
	while (n < 0 && (errno == EINTR || errno == ENETDOWN));
	return n < 0 ? 0 : (size_t)n;
}

/* What a tap or packet socket cannot take is lost, as on a wire. */
static bool write_frame(const struct end *end, uint8_t *frame, size_t len)
{
	uint32_t prefix = htonl((uint32_t)len);
	struct iovec iov[2] = {{&prefix, sizeof(prefix)}, {frame, len}};
	ssize_t n;

	if (end->framing == FRAMING_MESSAGE) {
		do
			n = write(end->fd, frame, len);
		while (n < 0 && (errno == EINTR || errno == ENOBUFS));
		return true;
	}
	do
		n = writev(end->fd, iov, 2);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return false;
	while (n < (ssize_t)(len + sizeof(prefix))) {
		size_t done = (size_t)n;
		const uint8_t *from = done < 4 ? (uint8_t *)&prefix + done : frame + done - 4;
		ssize_t more = write(end->fd, from, done < 4 ? 4 - done : len + 4 - done);

		if (more < 0 && errno != EINTR)
			return false;
		n += more > 0 ? more : 0;
	}
	return true;
}

/* True once in `of_thousand` of a thousand. */
static bool chance(struct direction *d, unsigned of_thousand)
{
	uint64_t z = d->random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z >> 11) % 1000 < of_thousand;
}

static bool release_held(struct direction *d)
{
	d->held_for = 0;
	return write_frame(d->to, d->held, d->held_len);
}

static bool pass_frame(struct direction *d, size_t len)
{
	bool dropped = chance(d, drop), doubled = chance(d, dup_), late = chance(d, reorder);

	d->counts.frames++;
	if (dropped) {
		d->counts.dropped++;
		return true;
	}
	if (late && d->held_for == 0) {
		d->counts.reordered++;
		memcpy(d->held, d->frame, len);
		d->held_len = len;
		d->held_for = 1 + (unsigned)(d->random >> 60) % 3;
		return true;
	}
	if (!write_frame(d->to, d->frame, len))
		return false;
	if (doubled) {
		d->counts.doubled++;
		if (!write_frame(d->to, d->frame, len))
			return false;
	}
	if (d->held_for > 0 && --d->held_for == 0)
		return release_held(d);
	return true;
}

static void *direction_main(void *arg)
{
	struct direction *d = arg;

	for (;;) {
		struct pollfd pfd = {.fd = d->from->fd, .events = POLLIN};
		int rc = poll(&pfd, 1, d->held_for ? HOLD_MS : -1);
		size_t len;

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc == 0) {
			if (!release_held(d))
				break;
			continue;
		}
		len = read_frame(d->from, d->frame);
		if (len == 0 || !pass_frame(d, len))
			break;
	}
	kill(getpid(), SIGTERM);
	return NULL;
}

static void parse_options(int argc, char **argv, uint64_t *seed)
{
	for (int i = 3; i + 1 < argc; i += 2) {
		unsigned long value = strtoul(argv[i + 1], NULL, 10);

		if (!strcmp(argv[i], "--drop"))
			drop = (unsigned)value;
		else if (!strcmp(argv[i], "--dup"))
			dup_ = (unsigned)value;
		else if (!strcmp(argv[i], "--reorder"))
			reorder = (unsigned)value;
		else if (!strcmp(argv[i], "--seed"))
			*seed = value;
		else
			exit(2);
	}
}

int main(int argc, char **argv)
{
	struct end ends[2];
	uint64_t seed = 1;
	sigset_t wanted;
	int caught;

	if (argc < 3) {
		fprintf(stderr,
			"usage: relay END END [--drop N] [--dup N] [--reorder N] [--seed S]\n");
		return 2;
	}
	memset(ends, 0, sizeof(ends));
	parse_options(argc, argv, &seed);
	open_end(&ends[0], argv[1]);
	open_end(&ends[1], argv[2]);
	if (ends[0].header != ends[1].header) {
		fprintf(stderr, "relay: one end has virtio-net headers, the other has not\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	printf("ready\n");
	fflush(stdout);
	await_peer(&ends[0]);
	await_peer(&ends[1]);

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	pthread_sigmask(SIG_BLOCK, &wanted, NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct direction *d = &directions[i];
		pthread_t thread;

		d->from = &ends[i];
		d->to = &ends[1 - i];
		d->random = seed * 2 + i;
		if (pthread_create(&thread, NULL, direction_main, d) != 0)
			die("thread", d->from->spec);
	}
	sigwait(&wanted, &caught);
	finish();
	return 0;
}
