/* SPDX-License-Identifier: MIT */
/* The sandbox from the inside: children enter it and do what a worker does, which must work. */
#include "tests/unit/sandbox_rig_linux.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>

static int handed[4]; /* fds that the test hands to the child */

static int loopback(int family, int type)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	int fd = socket(family, type, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -1;
	return fd;
}

/* Connects to the handed listener, accepts there, and moves bytes as the splice does. */
static int does_tcp(void)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	struct linger linger = {1, 0};
	char buf[64];
	int on = 1, err = -1, out, in;
	struct pollfd ready;

	NEED(getsockname(handed[0], (struct sockaddr *)&sa, &len) == 0);
	out = os_socket(AF_INET, SOCK_STREAM, 0, true);
	NEED(out >= 0);
	NEED(setsockopt(out, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
	NEED(setsockopt(out, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
	NEED(connect(out, (struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS);
	in = os_accept(handed[0], NULL, NULL);
	NEED(in >= 0);
	ready = (struct pollfd){.fd = out, .events = POLLOUT};
	NEED(poll(&ready, 1, 2000) == 1);
	len = sizeof(err);
	NEED(getsockopt(out, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err == 0);
	NEED(os_send(out, "hello", 5, 0) == 5);
	ready = (struct pollfd){.fd = in, .events = POLLIN};
	NEED(poll(&ready, 1, 2000) == 1);
	on = 0;
	setsockopt(in, SOL_SOCKET, SO_PEEK_OFF, &on, sizeof(on));
	NEED(recv(in, buf, sizeof(buf), MSG_PEEK) == 5);
	NEED(ioctl(in, FIONREAD, &err) == 0 && err == 5);
	NEED(recv(in, NULL, 5, MSG_TRUNC) == 5);
	NEED(ioctl(in, SIOCOUTQ, &err) == 0);
	NEED(shutdown(out, SHUT_WR) == 0);
	NEED(close(out) == 0 && close(in) == 0);
	return 0;
}

static int does_udp(void)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	char one[] = "one", two[] = "two", in[2][16];
	struct iovec iov[2] = {{one, 3}, {two, 3}};
	struct mmsghdr batch[2] = {{.msg_hdr = {.msg_iov = &iov[0], .msg_iovlen = 1}},
		{.msg_hdr = {.msg_iov = &iov[1], .msg_iovlen = 1}}};
	int a = loopback(AF_INET, SOCK_DGRAM), b = loopback(AF_INET, SOCK_DGRAM), on = 1;

	NEED(a >= 0 && b >= 0);
	NEED(getsockname(b, (struct sockaddr *)&sa, &len) == 0);
	NEED(setsockopt(a, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)) == 0);
	NEED(setsockopt(b, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) == 0);
	NEED(connect(a, (struct sockaddr *)&sa, len) == 0);
	NEED(sendmmsg(a, batch, 2, 0) == 2);
	iov[0] = (struct iovec){in[0], 16};
	iov[1] = (struct iovec){in[1], 16};
	NEED(recvmmsg(b, batch, 2, MSG_WAITFORONE, NULL) >= 1);
	NEED(memcmp(in[0], "one", 3) == 0);
	NEED(sendto(a, "x", 1, 0, NULL, 0) == 1);
	return 0;
}

/* Where the host forbids ping sockets they are refused, not deadly. */
static int does_ping_socket(void)
{
	int v4 = os_socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP, true);
	int v6 = os_socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, true);

	NEED(v4 >= 0 || v4 == -EACCES || v4 == -EPERM);
	NEED(v6 >= 0 || v6 == -EACCES || v6 == -EPERM || v6 == -EAFNOSUPPORT);
	return 0;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	char buf[8];

	if ((what & EV_READ) && read((int)fd, buf, sizeof(buf)) > 0)
		++*(int *)arg;
	if (what & (EV_TIMEOUT | EV_SIGNAL))
		++*(int *)arg;
}

static int does_libevent(void)
{
	struct event_config *config = event_config_new();
	struct timeval soon = {0, 1000};
	struct event_base *base;
	int pair[2], seen = 0;
	struct event *reads, *timer, *signals;

	NEED(config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0);
	base = event_base_new_with_config(config);
	NEED(base && strcmp(event_base_get_method(base), "epoll") == 0);
	NEED(event_base_priority_init(base, 2) == 0);
	NEED(os_socketpair(AF_UNIX, SOCK_STREAM, true, pair) == 0);
	reads = event_new(base, pair[0], EV_READ | EV_PERSIST, on_event, &seen);
	timer = event_new(base, -1, 0, on_event, &seen);
	signals = event_new(base, SIGTERM, EV_SIGNAL | EV_PERSIST, on_event, &seen);
	NEED(event_add(reads, NULL) == 0 && event_add(timer, &soon) == 0);
	NEED(event_add(signals, NULL) == 0);
	NEED(write(pair[1], "x", 1) == 1);
	NEED(raise(SIGTERM) == 0);
	for (int turns = 0; seen < 3 && turns < 1000; turns++)
		NEED(event_base_loop(base, EVLOOP_ONCE) == 0);
	NEED(seen == 3);
	event_free(reads);
	event_free(timer);
	event_free(signals);
	event_base_free(base);
	event_config_free(config);
	return 0;
}

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int does_memory(void)
{
	char *blocks[64];
	uint8_t seed[32];
	int *list;

	for (int i = 0; i < 64; i++) {
		blocks[i] = malloc((size_t)1 << (10 + i % 12));
		NEED(blocks[i]);
		memset(blocks[i], i, (size_t)1 << (10 + i % 12));
	}
	list = calloc(1 << 20, sizeof(int));
	NEED(list);
	list = realloc(list, (4 << 20) * sizeof(int));
	NEED(list);
	qsort(list, 1 << 16, sizeof(int), compare_ints);
	os_random(seed, sizeof(seed));
	for (int i = 0; i < 64; i++)
		free(blocks[i]);
	free(list);
	return 0;
}

/* Flow memory arrives as a memfd; links and listeners as sockets. */
static int does_fd_passing(void)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	int fd;
	char *map;

	NEED(os_recvmsg(handed[0], &msg, 0) == 1);
	NEED(CMSG_FIRSTHDR(&msg) && CMSG_FIRSTHDR(&msg)->cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	NEED(lseek(fd, 0, SEEK_END) == 4096);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(map != MAP_FAILED);
	memcpy(map, "written", 8);
	NEED(munmap(map, 4096) == 0);
	NEED(os_sendmsg(handed[0], &msg, 0) == 1);
	return 0;
}

static int does_tap(void)
{
	struct ifreq request = {0};
	struct virtio_net_hdr_mrg_rxbuf packet = {0};
	int header = sizeof(packet);

	NEED(ioctl(handed[0], TUNGETIFF, &request) == 0 && (request.ifr_flags & IFF_TAP));
	NEED(ioctl(handed[0], TUNSETVNETHDRSZ, &header) == 0);
	NEED(ioctl(handed[0], TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) == 0);
	NEED(write(handed[0], &packet, sizeof(packet)) < 0 && errno == EINVAL);
	return 0;
}

static int does_odds_and_ends(void)
{
	struct rlimit limit;
	int fds[2], copy;

	NEED(os_pipe(fds) == 0);
	copy = os_dup(fds[0]);
	NEED(copy >= 0);
	NEED(os_set_nonblock(copy, true) == 0);
	NEED(prctl(PR_SET_NAME, "netdp") == 0);
	NEED(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 0);
	NEED(read(0, &copy, 1) == 0); /* stdin is /dev/null */
	NEED(dprintf(STDERR_FILENO, "%s", "") == 0);
	return 0;
}

START_TEST(tcp_works)
{
	handed[0] = loopback(AF_INET, SOCK_STREAM);
	ck_assert_int_eq(listen(handed[0], 8), 0);

	check_works((enum setting)_i, handed, 1, does_tcp);
}
END_TEST

START_TEST(udp_works)
{
	check_works((enum setting)_i, NULL, 0, does_udp);
}
END_TEST

START_TEST(ping_sockets_do_not_kill)
{
	check_works((enum setting)_i, NULL, 0, does_ping_socket);
}
END_TEST

START_TEST(libevent_works)
{
	check_works((enum setting)_i, NULL, 0, does_libevent);
}
END_TEST

START_TEST(memory_works)
{
	check_works((enum setting)_i, NULL, 0, does_memory);
}
END_TEST

START_TEST(odds_and_ends_work)
{
	check_works((enum setting)_i, NULL, 0, does_odds_and_ends);
}
END_TEST

/* A tap in a network namespace of its own, made by somebody who may. */
START_TEST(tap_can_be_set_up)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

	if (!is_root() || unshare(CLONE_NEWNET) < 0)
		return;
	handed[0] = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (handed[0] < 0 || ioctl(handed[0], TUNSETIFF, &request) < 0)
		return;

	check_works((enum setting)_i, handed, 1, does_tap);
}
END_TEST

START_TEST(fds_can_be_received)
{
	char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0}, text[8] = "";
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	int pair[2], memory;

	if (skip_setting((enum setting)_i))
		return;
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, pair), 0);
	memory = os_shm_create("test", 4096);
	ck_assert_int_ge(memory, 0);
	*header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(header), &memory, sizeof(memory));
	ck_assert_int_eq(os_sendmsg(pair[1], &msg, 0), 1);

	handed[0] = pair[0];
	check_works((enum setting)_i, handed, 1, does_fd_passing);

	if (pread(memory, text, sizeof(text), 0) == 8 && text[0])
		ck_assert_str_eq(text, "written");
}
END_TEST

/* ---- abort still leaves a mark ---- */

static int does_abort(void)
{
	abort();
}

START_TEST(abort_is_sigabrt)
{
	int status;

	if (skip_setting((enum setting)_i))
		return;
	status = inside((enum setting)_i, NULL, 0, does_abort);
	ck_assert(skipped(status) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
}
END_TEST

/* ---- what is kept ---- */

static int writes_to_unkept(void)
{
	NEED(write(handed[0], "a", 1) == 1);
	NEED(write(handed[1], "b", 1) < 0 && errno == EBADF);
	return 0;
}

START_TEST(only_handed_fds_stay)
{
	int kept[2], lost[2];

	ck_assert_int_eq(os_pipe(kept), 0);
	ck_assert_int_eq(os_pipe(lost), 0);
	handed[0] = kept[1];
	handed[1] = lost[1];

	check_works((enum setting)_i, handed, 1, writes_to_unkept);
}
END_TEST

static Suite *sandbox_works_suite(void)
{
	Suite *suite = suite_create("sandbox_works");
	TCase *works = tcase_create("works");
	const int first = AS_ROOT, end = SETTINGS;

	tcase_set_timeout(works, 30);
	tcase_add_loop_test(works, tcp_works, first, end);
	tcase_add_loop_test(works, udp_works, first, end);
	tcase_add_loop_test(works, ping_sockets_do_not_kill, first, end);
	tcase_add_loop_test(works, libevent_works, first, end);
	tcase_add_loop_test(works, memory_works, first, end);
	tcase_add_loop_test(works, odds_and_ends_work, first, end);
	tcase_add_loop_test(works, tap_can_be_set_up, first, end);
	tcase_add_loop_test(works, fds_can_be_received, first, end);
	tcase_add_loop_test(works, only_handed_fds_stay, first, end);
	tcase_add_loop_test(works, abort_is_sigabrt, first, end);
	suite_add_tcase(suite, works);
	return suite;
}

int main(void)
{
	return run_suite(sandbox_works_suite());
}
