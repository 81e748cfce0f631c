/* SPDX-License-Identifier: MIT */
/*
 * A VM's whole vsock with vsock_rig.h's guest behind its stream transport, and the test as netctld:
 * what is asked is noted in `dials` and `env_asked`, and answered by the test. The host's sockets
 * are real.
 *
 * The clock is the rig's: rig_sleep() lets time pass at once. Included by one file a program.
 */
#ifndef TESTS_UNIT_SERVICES_RIG_H
#define TESTS_UNIT_SERVICES_RIG_H

#include "dataplane/acceptor.h"
#include "dataplane/vsock/dial.h"
#include "dataplane/vsock/forward.h"
#include "dataplane/vsock/vsock.h"
#include "dataplane/worker.h"
#include "tests/unit/rig_clock.h"
#include "tests/unit/vsock_rig.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#define DIALS 1000

/* Lets so many milliseconds of the rig's clock pass, with their timers. */
static inline void rig_sleep(uint64_t ms)
{
	rig_run(2);
	rig_ahead_ns += ms * 1000000;
	rig_run(5);
}

/* ---- netctld ---- */

struct dial_asked {
	unsigned question;
	bool vmm;
	uint32_t port;
};

static struct vsock *vsock;
static struct dial_asked dials[DIALS];
static size_t n_dials;
static unsigned env_asked;
static bool away;

static bool rig_dial(void *arg, unsigned question, bool vmm, uint32_t port)
{
	(void)arg;
	if (away)
		return false;
	ck_assert_uint_lt(n_dials, DIALS);
	dials[n_dials++] = (struct dial_asked){question, vmm, port};
	return true;
}

static bool rig_env_get(void *arg)
{
	(void)arg;
	env_asked++;
	return !away;
}

/* Answers dials[n] by a unix socket whose far end is returned. */
static inline int dial_answer(size_t n)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	vsock_dialled(vsock, dials[n].question, fds[0], false);
	return fds[1];
}

/* ---- sockets of the host's ---- */

static inline int listen_tcp(struct sockaddr_in *in)
{
	socklen_t len = sizeof(*in);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	*in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)in, sizeof(*in)), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)in, &len), 0);
	return fd;
}

static inline int connect_tcp(const struct sockaddr_in *in)
{
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	ck_assert_int_ge(fd, 0);
	if (connect(fd, (const struct sockaddr *)in, sizeof(*in)) < 0)
		ck_assert_int_eq(errno, EINPROGRESS);
	return fd;
}

/* Two ends of a TCP connection. */
static inline void tcp_pair(int fds[2])
{
	struct sockaddr_in in;
	int listener = listen_tcp(&in);

	fds[0] = connect_tcp(&in);
	fds[1] = -EAGAIN;
	while (fds[1] < 0)
		fds[1] = os_accept(listener, NULL, NULL);
	close(listener);
}

static inline int listen_unix(struct sockaddr_un *un)
{
	static unsigned serial;
	int fd = os_socket(AF_UNIX, SOCK_STREAM, 0, true);

	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(un->sun_path, sizeof(un->sun_path), "/tmp/netctl-unit-%d-%u", (int)getpid(),
		serial++);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)un, sizeof(*un)), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	return fd;
}

static inline int connect_unix(const struct sockaddr_un *un)
{
	int fd = os_socket(AF_UNIX, SOCK_STREAM, 0, true);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)un, sizeof(*un)), 0);
	return fd;
}

static inline void host_say(int fd, const char *text)
{
	ck_assert_int_eq(os_send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

/* Reads exactly this. */
static inline void host_hears(int fd, const char *text)
{
	char buf[256];

	host_read(fd, buf, strlen(text));
	ck_assert_mem_eq(buf, text, strlen(text));
}

/* What the far end reads next, waiting for it: 0 the end, > 0 bytes, or -errno. */
static inline ssize_t host_next(int fd)
{
	uint8_t byte;
	ssize_t n = -EAGAIN;

	for (int waited = 0; n == -EAGAIN && waited < 2000; waited++) {
		rig_run(1);
		n = recv(fd, &byte, 1, 0);
		if (n < 0)
			n = -errno;
	}
	return n;
}

static inline void host_hears_nothing(int fd)
{
	uint8_t byte;

	rig_run(20);
	ck_assert_int_lt(recv(fd, &byte, 1, MSG_PEEK), 0);
	ck_assert_int_eq(errno, EAGAIN);
}

static inline void host_reset(int fd)
{
	struct linger reset = {1, 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

/* ---- life ---- */

static inline void services_attach_guest(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(vsock_set(vsock, VSOCK_KIND_STREAM, fds[0], false, RIG_CID), 0);
	rig.guest = fds[1];
	rig_expect_greeting();
}

static inline void services_setup_alone(void)
{
	static const struct net net = {.host_access = true};
	struct vsock_parts parts = {.counters = &rig.counters, .net = &net};
	struct vsock_events events = {.env_get = rig_env_get, .dial = rig_dial};

	memset(&rig, 0, sizeof(rig));
	rig.guest = -1;
	rig.buf_alloc = 1 << 20;
	n_dials = 0;
	env_asked = 0;
	away = false;
	os_raise_nofile();
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	rig.loop = loop_new();
	ck_assert_ptr_nonnull(rig.loop);
	parts.loop = rig.loop;
	vsock = vsock_new(&parts, &events);
	ck_assert_ptr_nonnull(vsock);
}

static inline void services_setup(void)
{
	services_setup_alone();
	services_attach_guest();
}

static inline void services_teardown(void)
{
	vsock_free(vsock);
	loop_free(rig.loop);
	if (rig.guest >= 0)
		close(rig.guest);
}

#endif
