/* SPDX-License-Identifier: MIT */
/*
 * The sandbox from the inside: children enter it and try what must kill them and what must work;
 * and from the outside: what /proc says of one that is in it. As root and as an ordinary user, at the
 * level "namespace" and, by taking namespaces away, at what is left then.
 */
#include "common/os.h"
#include "dataplane/sandbox/sandbox.h"
#include "tests/unit/check_main.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#define ORDINARY_UID 1234
#define EXIT_REFUSED 100 /* sandbox_enter() said no */
#define EXIT_SKIPPED 101 /* this machine cannot make the setting */

/* Where a child stands when it enters. */
enum setting {
	AS_ROOT,            /* of the machine; left out where the tests run as somebody else */
	AS_USER,            /* ordinary */
	WITHOUT_USER_NS,    /* root of a user namespace that may not have another one */
	WITHOUT_NAMESPACES, /* the same without mount namespaces either */
	WITHOUT_ANY,        /* the same in a kernel without Landlock */
	SETTINGS,
};

static const char *const setting_names[] = {"root", "user", "no-user-ns", "no-ns", "nothing"};

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

static void become_ordinary(void)
{
	if (geteuid() != 0)
		return;
	if (setgroups(0, NULL) < 0 || setresgid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID) < 0 ||
		setresuid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID) < 0)
		_exit(EXIT_SKIPPED);
	prctl(PR_SET_DUMPABLE, 1); /* as a process that never was root is */
}

/* A user namespace in which a limit says that there are to be no more of some kinds. */
static void take_namespaces(bool all)
{
	char map[32];

	become_ordinary();
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
	if (unshare(CLONE_NEWUSER) < 0 || !write_file("/proc/self/setgroups", "deny") ||
		!write_file("/proc/self/uid_map", map))
		_exit(EXIT_SKIPPED);
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)getegid());
	if (!write_file("/proc/sys/user/max_user_namespaces", "0") ||
		(all && !write_file("/proc/sys/user/max_mnt_namespaces", "0")))
		_exit(EXIT_SKIPPED);
}

/* A filter under which Landlock is not there. */
static void take_landlock(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int number = seccomp_syscall_resolve_name("landlock_create_ruleset");

	if (!ctx || seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), number, 0) < 0 ||
		seccomp_load(ctx) < 0)
		_exit(EXIT_FAILURE);
	seccomp_release(ctx);
}

static void take_setting(enum setting setting)
{
	switch (setting) {
	case AS_ROOT:
		break;
	case AS_USER:
		become_ordinary();
		break;
	case WITHOUT_USER_NS:
		take_namespaces(false);
		break;
	case WITHOUT_ANY:
		take_landlock();
		take_namespaces(true);
		break;
	case WITHOUT_NAMESPACES:
	case SETTINGS:
		take_namespaces(true);
		break;
	}
}

static bool have_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1U) >= 1;
}

/* What sandbox_enter() should reach there. */
static enum sandbox_level level_of(enum setting setting)
{
	if (setting < WITHOUT_NAMESPACES)
		return SANDBOX_NAMESPACE;
	return setting == WITHOUT_NAMESPACES && have_landlock() ? SANDBOX_LANDLOCK : SANDBOX_WEAK;
}

/* Forks a child that enters the sandbox with these fds and exits with what fn returns. */
static pid_t start(enum setting setting, const int *keep, size_t kept, int (*fn)(void))
{
	pid_t pid = fork();
	enum sandbox_level want, got;
	struct error err = {0};

	ck_assert_int_ge(pid, 0);
	if (pid > 0)
		return pid;
	want = level_of(setting);
	take_setting(setting);
	if (sandbox_enter(want, keep, kept, &got, &err) < 0) {
		dprintf(STDERR_FILENO, "setting %d: %s\n", (int)setting, err.text);
		_exit(EXIT_REFUSED);
	}
	if (got != want)
		_exit(EXIT_REFUSED);
	_exit(fn());
}

static int finish(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static int inside(enum setting setting, const int *keep, size_t kept, int (*fn)(void))
{
	return finish(start(setting, keep, kept, fn));
}

static bool skipped(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
}

/* Root of the machine, not of a user namespace that somebody made for himself. */
static bool is_root(void)
{
	unsigned long inside_id, outside_id, count = 0;
	FILE *map = fopen("/proc/self/uid_map", "r");

	if (map && fscanf(map, "%lu %lu %lu", &inside_id, &outside_id, &count) != 3)
		count = 0;
	if (map)
		fclose(map);
	return geteuid() == 0 && count > 65536;
}

static bool skip_setting(enum setting setting)
{
	return setting == AS_ROOT && !is_root();
}

/* ---- what kills ---- */

static int tries_open(void)
{
	return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
}

static int tries_creat(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/x", O_CREAT | O_WRONLY, 0600) < 0 ? errno : 0;
}

static int tries_openat2(void)
{
	return syscall(437, AT_FDCWD, "/", NULL, 0) < 0 ? errno : 0;
}

static int tries_unlink(void)
{
	return unlinkat(AT_FDCWD, "/x", 0) < 0 ? errno : 0;
}

static int tries_statx(void)
{
	struct statx st;

	return statx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, &st) < 0 ? errno : 0;
}

static int tries_unix(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int tries_unix_dgram_pair(void)
{
	int fds[2];

	return socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) < 0 ? errno : 0;
}

static int tries_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0) < 0 ? errno : 0;
}

static int tries_packet(void)
{
	return socket(AF_PACKET, SOCK_RAW, htons(3)) < 0 ? errno : 0;
}

static int tries_old_packet(void)
{
	return socket(AF_INET, SOCK_PACKET, 0) < 0 ? errno : 0;
}

static int tries_vsock(void)
{
	return socket(AF_VSOCK, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int tries_raw(void)
{
	return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0 ? errno : 0;
}

static int tries_sctp(void)
{
	return socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP) < 0 ? errno : 0;
}

static int tries_listen(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return listen(fd, 1) < 0 ? errno : 0;
}

static int tries_attach_filter(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, "", 0) < 0 ? errno : 0;
}

static int tries_bind_to_device(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) < 0 ? errno : 0;
}

static int tries_ulp(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 4) < 0 ? errno : 0;
}

static int tries_interface_ioctl(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char request[256] = "lo";

	return ioctl(fd, SIOCGIFADDR, request) < 0 ? errno : 0;
}

static int tries_tunsetiff(void)
{
	char request[256] = {0};

	return ioctl(0, TUNSETIFF, request) < 0 ? errno : 0;
}

static int tries_terminal_input(void)
{
	return ioctl(2, TIOCSTI, "x") < 0 ? errno : 0;
}

static int tries_execve(void)
{
	char *argv[] = {NULL};

	return execve("/bin/true", argv, argv) < 0 ? errno : 0;
}

static int tries_fork(void)
{
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid < 0 ? errno : 0;
}

static int tries_clone3(void)
{
	return syscall(435, NULL, 0) < 0 ? errno : 0;
}

static int tries_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ? errno : 0;
}

static int tries_kill(void)
{
	return kill(1, 0) < 0 ? errno : 0;
}

static int tries_tgkill_other(void)
{
	return syscall(SYS_tgkill, 1, 1, 0) < 0 ? errno : 0;
}

static int tries_pidfd(void)
{
	return syscall(434, 1, 0) < 0 ? errno : 0;
}

static int tries_vm_read(void)
{
	return syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0) < 0 ? errno : 0;
}

static void *page(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int tries_mprotect_exec(void)
{
	return mprotect(page(), 4096, PROT_READ | PROT_EXEC) < 0 ? errno : 0;
}

static int tries_mmap_exec(void)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? errno : 0;
}

static int tries_pkey_mprotect_exec(void)
{
	return syscall(SYS_pkey_mprotect, page(), 4096, PROT_EXEC, -1) < 0 ? errno : 0;
}

static int tries_personality(void)
{
	return syscall(SYS_personality, 0x0400000) < 0 ? errno : 0;
}

static int tries_memfd(void)
{
	return memfd_create("x", 0) < 0 ? errno : 0;
}

static int tries_keyctl(void)
{
	return syscall(SYS_keyctl, 0, -3, 0) < 0 ? errno : 0;
}

static int tries_mount(void)
{
	return syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL) < 0 ? errno : 0;
}

static int tries_unshare(void)
{
	return unshare(CLONE_NEWUSER) < 0 ? errno : 0;
}

static int tries_setns(void)
{
	return setns(0, 0) < 0 ? errno : 0;
}

static int tries_chroot(void)
{
	return chroot("/") < 0 ? errno : 0;
}

static int tries_setuid(void)
{
	return syscall(SYS_setuid, 0) < 0 ? errno : 0;
}

static int tries_capset(void)
{
	return syscall(SYS_capset, NULL, NULL) < 0 ? errno : 0;
}

static int tries_prctl(void)
{
	return prctl(PR_SET_DUMPABLE, 1) < 0 ? errno : 0;
}

static int tries_setrlimit(void)
{
	struct rlimit lim = {0, 0};

	return syscall(SYS_prlimit64, 0, RLIMIT_CORE, &lim, NULL) < 0 ? errno : 0;
}

static int tries_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0) < 0 ? errno : 0;
}

static int tries_perf(void)
{
	return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0) < 0 ? errno : 0;
}

static int tries_io_uring(void)
{
	return syscall(425, 1, NULL) < 0 ? errno : 0;
}

static int tries_userfaultfd(void)
{
	return syscall(SYS_userfaultfd, 0) < 0 ? errno : 0;
}

static int tries_fcntl_owner(void)
{
	return fcntl(0, F_SETOWN, 1) < 0 ? errno : 0;
}

static int tries_sysv(void)
{
	return syscall(SYS_shmget, 0, 4096, 0) < 0 ? errno : 0;
}

/* Where the sanitizers' run time makes the same call by itself it is refused, and does not kill. */
static const struct forbidden {
	const char *name;
	int (*fn)(void);
	bool refused_when_sanitized;
} forbidden[] = {
	{"open", tries_open, true},
	{"creat", tries_creat, true},
	{"openat2", tries_openat2, false},
	{"unlink", tries_unlink, false},
	{"statx", tries_statx, false},
	{"unix", tries_unix, false},
	{"unix dgram pair", tries_unix_dgram_pair, false},
	{"netlink", tries_netlink, false},
	{"packet", tries_packet, false},
	{"SOCK_PACKET", tries_old_packet, false},
	{"vsock", tries_vsock, false},
	{"raw", tries_raw, false},
	{"sctp", tries_sctp, false},
	{"listen", tries_listen, false},
	{"SO_ATTACH_FILTER", tries_attach_filter, false},
	{"SO_BINDTODEVICE", tries_bind_to_device, false},
	{"TCP_ULP", tries_ulp, false},
	{"SIOCGIFADDR", tries_interface_ioctl, false},
	{"TUNSETIFF", tries_tunsetiff, false},
	{"TIOCSTI", tries_terminal_input, false},
	{"execve", tries_execve, false},
	{"fork", tries_fork, false},
	{"clone3", tries_clone3, false},
	{"ptrace", tries_ptrace, false},
	{"kill", tries_kill, false},
	{"tgkill another", tries_tgkill_other, false},
	{"pidfd_open", tries_pidfd, false},
	{"process_vm_readv", tries_vm_read, false},
	{"mprotect exec", tries_mprotect_exec, false},
	{"mmap exec", tries_mmap_exec, false},
	{"pkey_mprotect exec", tries_pkey_mprotect_exec, false},
	{"personality", tries_personality, false},
	{"memfd_create", tries_memfd, false},
	{"keyctl", tries_keyctl, false},
	{"mount", tries_mount, false},
	{"unshare", tries_unshare, false},
	{"setns", tries_setns, false},
	{"chroot", tries_chroot, false},
	{"setuid", tries_setuid, false},
	{"capset", tries_capset, false},
	{"prctl", tries_prctl, false},
	{"prlimit64", tries_setrlimit, false},
	{"bpf", tries_bpf, false},
	{"perf_event_open", tries_perf, false},
	{"io_uring_setup", tries_io_uring, false},
	{"userfaultfd", tries_userfaultfd, false},
	{"F_SETOWN", tries_fcntl_owner, false},
	{"shmget", tries_sysv, false},
};

#define FORBIDDEN ((int)(sizeof(forbidden) / sizeof(*forbidden)))

static void check_forbidden(enum setting setting, const struct forbidden *call)
{
	int status;

	if (skip_setting(setting))
		return;
	status = inside(setting, NULL, 0, call->fn);
	if (skipped(status))
		return;
	if (SANITIZED && call->refused_when_sanitized) {
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == EACCES,
			"%s as %s: status %#x, not EACCES", call->name, setting_names[setting],
			(unsigned)status);
		return;
	}
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS,
		"%s as %s: status %#x, not SIGSYS", call->name, setting_names[setting],
		(unsigned)status);
}

START_TEST(forbidden_call_kills_as_root)
{
	check_forbidden(AS_ROOT, &forbidden[_i]);
}
END_TEST

START_TEST(forbidden_call_kills_as_user)
{
	check_forbidden(AS_USER, &forbidden[_i]);
}
END_TEST

START_TEST(forbidden_call_kills_by_landlock)
{
	check_forbidden(WITHOUT_NAMESPACES, &forbidden[_i]);
}
END_TEST

START_TEST(forbidden_call_kills_when_weak)
{
	check_forbidden(WITHOUT_ANY, &forbidden[_i]);
}
END_TEST

/* ---- what works ---- */

#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			dprintf(STDERR_FILENO, "line %d: %s: errno %d\n", __LINE__, #condition,    \
				errno);                                                            \
			return EXIT_FAILURE;                                                       \
		}                                                                                  \
	} while (0)

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

static void check_works(enum setting setting, const int *keep, size_t kept, int (*fn)(void))
{
	int status;

	if (skip_setting(setting))
		return;
	status = inside(setting, keep, kept, fn);
	if (skipped(status))
		return;
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "as %s: status %#x",
		setting_names[setting], (unsigned)status);
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

/* ---- what is kept, and what it says from outside ---- */

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

static void wait_and_hold(void)
{
	char byte;

	if (write(handed[1], "r", 1) != 1 || read(handed[0], &byte, 1) < 0)
		_exit(EXIT_FAILURE);
}

static int holds(void)
{
	wait_and_hold();
	return 0;
}

/* The value of a line of /proc/PID/status, as text. */
static void status_line(pid_t pid, const char *key, char *out, size_t len)
{
	char path[64], line[256];
	FILE *file;

	out[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) != 0 || line[strlen(key)] != ':')
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(out, len, "%s",
			line + strlen(key) + 1 + strspn(line + strlen(key) + 1, "\t "));
	}
	fclose(file);
}

static void assert_status(pid_t pid, const char *key, const char *want)
{
	char got[128];

	status_line(pid, key, got, sizeof(got));
	ck_assert_msg(strcmp(got, want) == 0, "%s: %s, not %s", key, got, want);
}

static int entries_of_root(pid_t pid)
{
	char path[64];
	DIR *dir;
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/root/", (int)pid);
	dir = opendir(path);
	ck_assert_msg(dir != NULL, "%s: errno %d", path, errno);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

/* Starts a child that sits in the sandbox until its pipe is closed. */
static pid_t start_held(enum setting setting, int *release)
{
	int in[2], out[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(os_pipe(in), 0);
	ck_assert_int_eq(os_pipe(out), 0);
	handed[0] = in[0];
	handed[1] = out[1];
	pid = start(setting, handed, 2, holds);
	close(in[0]);
	close(out[1]);
	*release = in[1];
	if (read(out[0], &byte, 1) != 1) {
		ck_assert(skipped(finish(pid)));
		pid = -1;
	}
	close(out[0]);
	return pid;
}

START_TEST(proc_shows_the_sandbox)
{
	static const char none[] = "0000000000000000";
	enum setting setting = (enum setting)_i;
	char ids[128];
	int release;
	pid_t pid;

	if (skip_setting(setting))
		return;
	pid = start_held(setting, &release);
	if (pid < 0)
		return;

	assert_status(pid, "CapInh", none);
	assert_status(pid, "CapPrm", none);
	assert_status(pid, "CapEff", none);
	assert_status(pid, "CapAmb", none);
	assert_status(pid, "CapBnd", none);
	assert_status(pid, "NoNewPrivs", "1");
	assert_status(pid, "Seccomp", "2");
	assert_status(pid, "Threads", "1");
	status_line(pid, "Uid", ids, sizeof(ids));
	ck_assert_msg(!is_root() || strncmp(ids, "0\t", 2) != 0, "runs as root: %s", ids);
	if (setting == AS_ROOT)
		assert_status(pid, "Groups", "");
	if (is_root() && level_of(setting) == SANDBOX_NAMESPACE)
		ck_assert_int_eq(entries_of_root(pid), 0);
	close(release);
	ck_assert_int_eq(finish(pid), 0);
}
END_TEST

static bool same_namespace(pid_t pid, const char *kind)
{
	char path[64], ours[64], theirs[64];
	ssize_t a, b;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	a = readlink(path, ours, sizeof(ours));
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
	b = readlink(path, theirs, sizeof(theirs));
	ck_assert_int_gt(a, 0);
	ck_assert_int_gt(b, 0);
	return a == b && memcmp(ours, theirs, (size_t)a) == 0;
}

START_TEST(only_the_network_is_shared)
{
	int release;
	pid_t pid;

	if (!is_root()) /* nobody else may look */
		return;
	pid = start_held((enum setting)_i, &release);

	ck_assert(same_namespace(pid, "net"));
	ck_assert(!same_namespace(pid, "user"));
	ck_assert(!same_namespace(pid, "mnt"));
	ck_assert(!same_namespace(pid, "ipc"));
	ck_assert(!same_namespace(pid, "uts"));
	close(release);
	ck_assert_int_eq(finish(pid), 0);
}
END_TEST

/* ---- levels ---- */

START_TEST(levels_have_names)
{
	enum sandbox_level level;

	for (int i = SANDBOX_NAMESPACE; i <= SANDBOX_WEAK; i++) {
		ck_assert_int_eq(
			sandbox_level_parse(sandbox_level_name((enum sandbox_level)i), &level), 0);
		ck_assert_int_eq(level, i);
	}
	ck_assert_int_eq(sandbox_level_parse("strong", &level), -EINVAL);
}
END_TEST

/* Enters from a setting; the exit status is the level, or EXIT_REFUSED with the text. */
static int enter(enum setting setting, enum sandbox_level least, char *text, size_t len)
{
	int fds[2], status;
	enum sandbox_level got;
	struct error err = {0};
	ssize_t n;
	pid_t pid;

	ck_assert_int_eq(os_pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		take_setting(setting);
		if (sandbox_enter(least, &fds[1], 1, &got, &err) == 0)
			_exit((int)got);
		_exit(write(fds[1], err.text, strlen(err.text)) > 0 ? EXIT_REFUSED : EXIT_FAILURE);
	}
	close(fds[1]);
	n = read(fds[0], text, len - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	status = finish(pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(weak_must_be_permitted)
{
	char text[512];
	int got = enter(WITHOUT_ANY, SANDBOX_LANDLOCK, text, sizeof(text));

	if (got == EXIT_SKIPPED)
		return;
	ck_assert_int_eq(got, EXIT_REFUSED);
	ck_assert_ptr_nonnull(strstr(text, "level landlock is wanted, weak is what there is"));
	ck_assert_ptr_nonnull(strstr(text, "namespaces: No space left on device"));
	ck_assert_ptr_nonnull(strstr(text, "Landlock: Operation not supported"));
}
END_TEST

START_TEST(namespaces_can_be_demanded)
{
	char text[512];
	int got = enter(WITHOUT_NAMESPACES, SANDBOX_NAMESPACE, text, sizeof(text));

	if (got == EXIT_SKIPPED)
		return;
	ck_assert_int_eq(got, EXIT_REFUSED);
	ck_assert_ptr_nonnull(strstr(text, "level namespace is wanted"));
}
END_TEST

START_TEST(permitted_weak_is_the_last_resort)
{
	char text[512];
	int got = enter(AS_USER, SANDBOX_WEAK, text, sizeof(text));

	if (got != EXIT_SKIPPED)
		ck_assert_int_eq(got, SANDBOX_NAMESPACE);
}
END_TEST

/* The weakest level's filter must not lean on what the others add: no path can even be asked about. */
static int asks_about_a_path(void)
{
	struct stat st;

	return syscall(SYS_newfstatat, AT_FDCWD, "/", &st, AT_EMPTY_PATH) < 0 ? errno : 0;
}

START_TEST(empty_path_names_nothing)
{
	int status = inside((enum setting)_i, NULL, 0, asks_about_a_path);

	if (skipped(status))
		return;
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EACCES);
}
END_TEST

/* ---- abstract unix sockets, which lie in the network namespace that we keep ---- */

static struct sockaddr_un abstract;
static socklen_t abstract_len;

static int sends_to_abstract(void)
{
	return sendto(handed[0], "x", 1, 0, (struct sockaddr *)&abstract, abstract_len) < 0 ? errno
											    : 0;
}

START_TEST(a_dgram_link_reaches_no_abstract_socket)
{
	int pair[2], server = socket(AF_UNIX, SOCK_DGRAM, 0), status;

	if (skip_setting((enum setting)_i) || syscall(SYS_landlock_create_ruleset, NULL, 0, 1U) < 6)
		return;
	abstract.sun_family = AF_UNIX;
	abstract_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
		(unsigned)snprintf(abstract.sun_path + 1, 32, "netctl-test-%d", (int)getpid()));
	ck_assert_int_eq(bind(server, (struct sockaddr *)&abstract, abstract_len), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	handed[0] = pair[0];

	status = inside((enum setting)_i, handed, 1, sends_to_abstract);

	ck_assert(skipped(status) || (WIFEXITED(status) && WEXITSTATUS(status) == EPERM));
}
END_TEST

START_TEST(a_directory_is_not_kept)
{
	enum sandbox_level got;
	struct error err;
	int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_eq(sandbox_enter(SANDBOX_WEAK, &dir, 1, &got, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "sandbox: file descriptors"));
}
END_TEST

static Suite *sandbox_suite(void)
{
	Suite *suite = suite_create("sandbox");
	TCase *kills = tcase_create("kills"), *works = tcase_create("works"),
	      *shows = tcase_create("shows"), *levels = tcase_create("levels");
	const int first = AS_ROOT, end = SETTINGS;

	tcase_set_timeout(kills, 30);
	tcase_set_timeout(works, 30);
	tcase_add_loop_test(kills, forbidden_call_kills_as_root, 0, FORBIDDEN);
	tcase_add_loop_test(kills, forbidden_call_kills_as_user, 0, FORBIDDEN);
	tcase_add_loop_test(kills, forbidden_call_kills_by_landlock, 0, FORBIDDEN);
	tcase_add_loop_test(kills, forbidden_call_kills_when_weak, 0, FORBIDDEN);
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
	tcase_add_loop_test(shows, proc_shows_the_sandbox, first, end);
	tcase_add_loop_test(shows, only_the_network_is_shared, AS_ROOT, AS_USER + 1);
	tcase_add_test(levels, levels_have_names);
	tcase_add_test(levels, weak_must_be_permitted);
	tcase_add_test(levels, namespaces_can_be_demanded);
	tcase_add_test(levels, permitted_weak_is_the_last_resort);
	tcase_add_loop_test(levels, empty_path_names_nothing, WITHOUT_NAMESPACES, SETTINGS);
	tcase_add_loop_test(levels, a_dgram_link_reaches_no_abstract_socket, AS_ROOT, WITHOUT_ANY);
	tcase_add_test(levels, a_directory_is_not_kept);
	suite_add_tcase(suite, kills);
	suite_add_tcase(suite, works);
	suite_add_tcase(suite, shows);
	suite_add_tcase(suite, levels);
	return suite;
}

int main(void)
{
	return run_suite(sandbox_suite());
}
