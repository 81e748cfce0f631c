/* SPDX-License-Identifier: MIT */
/*
 * The allow-list of system calls. Whatever is not in it kills the whole process by SIGSYS, which
 * the spawner sees in the exit status and the kernel notes in its audit log (type 1326, syscall=N).
 *
 * Nothing here takes a path, makes a process or a thread, or makes memory executable. Names are
 * libseccomp's; one that an architecture does not have (epoll_wait on aarch64) is passed over, as is
 * a call of another ABI of the same machine (i386, x32), which kills.
 *
 * Arguments of type int are compared by their low 32 bits, since that is what the kernel looks at
 * and the C library may leave anything above.
 *
 * With a sanitizer linked in, what its run time calls on its own is refused by an error instead
 * (openat) or allowed (sigaltstack), and a call outside the list is named on stderr before it kills.
 */
#include "dataplane/sandbox/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#endif

#define INT_MASK UINT64_C(0xffffffff)
/* The argument is an int of this value; or its bits under mask are. */
#define INT_IS(n, value) SCMP_CMP64(n, SCMP_CMP_MASKED_EQ, INT_MASK, (uint32_t)(value))
#define INT_BITS(n, mask, value)                                                                   \
	SCMP_CMP64(n, SCMP_CMP_MASKED_EQ, (uint32_t)(mask), (uint32_t)(value))
#define ANY_OF(list) list, sizeof(list) / sizeof(*(list))

/* Allowed with whatever arguments: they can only touch what the process has already. */
static const char *const plain[] = {
	/* data */
	"read",
	"write",
	"readv",
	"writev",
	"recvfrom",
	"recvmsg",
	"recvmmsg",
	"sendto",
	"sendmsg",
	"sendmmsg",
	"lseek",
	"close",
	/* sockets; what they are of is socket()'s business */
	"accept4",
	"bind",
	"connect",
	"getpeername",
	"getsockname",
	"shutdown",
	/* the loop: libevent, epoll */
	"epoll_create1",
	"epoll_ctl",
	"epoll_pwait",
	"epoll_pwait2",
	"epoll_wait",
	"eventfd2",
	"pipe2",
	"poll",
	"ppoll",
	"timerfd_create",
	"timerfd_gettime",
	"timerfd_settime",
	/* malloc and its fellows */
	"brk",
	"mremap",
	"munmap",
	"sysinfo",
	/* clocks, where the vDSO does not serve them */
	"clock_getres",
	"clock_gettime",
	"clock_nanosleep",
	"gettimeofday",
	"nanosleep",
	"time",
	/* the rest of a C program's life */
	"exit",
	"exit_group",
	"fstat",
	"getegid",
	"geteuid",
	"getgid",
	"getpid",
	"getrandom",
	"gettid",
	"getuid",
	"restart_syscall",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sched_yield",
	"sigaltstack",
};

static const int fcntl_commands[] = {
	F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS};

/* The last three set up a tap that was handed; none can attach an fd to another device. */
static const int ioctl_requests[] = {
	FIONREAD, SIOCOUTQ, (int)TUNGETIFF, (int)TUNSETVNETHDRSZ, (int)TUNSETOFFLOAD};

static const int madvise_advice[] = {
	MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_WILLNEED};

static const int futex_operations[] = {
	FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET};

static const int getsockopt_levels[] = {
	SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP};

/* Socket options that can be set: buffers, timers and what a datagram carries. No filters, no devices,
 * no groups, no upper layer protocols. */
static const struct {
	int level;
	int option;
} setsockopt_options[] = {
	{SOL_SOCKET, SO_BROADCAST},
	{SOL_SOCKET, SO_KEEPALIVE},
	{SOL_SOCKET, SO_LINGER},
	{SOL_SOCKET, SO_OOBINLINE},
	{SOL_SOCKET, SO_PEEK_OFF},
	{SOL_SOCKET, SO_RCVBUF},
	{SOL_SOCKET, SO_RCVLOWAT},
	{SOL_SOCKET, SO_RCVTIMEO},
	{SOL_SOCKET, SO_REUSEADDR},
	{SOL_SOCKET, SO_REUSEPORT},
	{SOL_SOCKET, SO_RXQ_OVFL},
	{SOL_SOCKET, SO_SNDBUF},
	{SOL_SOCKET, SO_SNDTIMEO},
	{IPPROTO_TCP, TCP_CORK},
	{IPPROTO_TCP, TCP_INQ},
	{IPPROTO_TCP, TCP_KEEPCNT},
	{IPPROTO_TCP, TCP_KEEPIDLE},
	{IPPROTO_TCP, TCP_KEEPINTVL},
	{IPPROTO_TCP, TCP_LINGER2},
	{IPPROTO_TCP, TCP_MAXSEG},
	{IPPROTO_TCP, TCP_NODELAY},
	{IPPROTO_TCP, TCP_NOTSENT_LOWAT},
	{IPPROTO_TCP, TCP_QUICKACK},
	{IPPROTO_TCP, TCP_SYNCNT},
	{IPPROTO_TCP, TCP_USER_TIMEOUT},
	{IPPROTO_TCP, TCP_WINDOW_CLAMP},
	{IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT},
	{IPPROTO_IP, IP_MTU_DISCOVER},
	{IPPROTO_IP, IP_PKTINFO},
	{IPPROTO_IP, IP_RECVERR},
	{IPPROTO_IP, IP_RECVTOS},
	{IPPROTO_IP, IP_RECVTTL},
	{IPPROTO_IP, IP_TOS},
	{IPPROTO_IP, IP_TTL},
	{IPPROTO_IPV6, IPV6_DONTFRAG},
	{IPPROTO_IPV6, IPV6_MTU_DISCOVER},
	{IPPROTO_IPV6, IPV6_RECVERR},
	{IPPROTO_IPV6, IPV6_RECVHOPLIMIT},
	{IPPROTO_IPV6, IPV6_RECVPKTINFO},
	{IPPROTO_IPV6, IPV6_RECVTCLASS},
	{IPPROTO_IPV6, IPV6_TCLASS},
	{IPPROTO_IPV6, IPV6_UNICAST_HOPS},
	{IPPROTO_IPV6, IPV6_V6ONLY},
	{IPPROTO_UDP, UDP_CORK},
	{IPPROTO_UDP, UDP_GRO},
	{IPPROTO_UDP, UDP_SEGMENT},
};

/* Sockets that can be made. Type is compared without SOCK_NONBLOCK and SOCK_CLOEXEC. */
static const struct {
	int family;
	int type;
	int protocol;
} sockets[] = {
	{AF_INET, SOCK_STREAM, 0},
	{AF_INET, SOCK_STREAM, IPPROTO_TCP},
	{AF_INET, SOCK_DGRAM, 0},
	{AF_INET, SOCK_DGRAM, IPPROTO_UDP},
	{AF_INET, SOCK_DGRAM, IPPROTO_ICMP},
	{AF_INET6, SOCK_STREAM, 0},
	{AF_INET6, SOCK_STREAM, IPPROTO_TCP},
	{AF_INET6, SOCK_DGRAM, 0},
	{AF_INET6, SOCK_DGRAM, IPPROTO_UDP},
	{AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6},
};

#define SOCKET_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

/* One way in which a call is allowed; a call may have several. */
static int rule(scmp_filter_ctx ctx, uint32_t action, const char *name, unsigned count,
	const struct scmp_arg_cmp *args)
{
	int number = seccomp_syscall_resolve_name(name);

	/* Unknown to this libseccomp: it stays forbidden. */
	if (number == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(ctx, action, number, count, args);
}

static int rules_plain(scmp_filter_ctx ctx)
{
	for (size_t i = 0; i < sizeof(plain) / sizeof(*plain); i++) {
		int rc = rule(ctx, SCMP_ACT_ALLOW, plain[i], 0, NULL);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Allows a call where argument `n`, less the bits of `ignore`, is one of a list. */
static int rules_list(scmp_filter_ctx ctx, const char *name, unsigned n, int ignore,
	const int *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct scmp_arg_cmp arg = INT_BITS(n, ~ignore, list[i]);
		int rc = rule(ctx, SCMP_ACT_ALLOW, name, 1, &arg);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int rules_sockets(scmp_filter_ctx ctx)
{
	struct scmp_arg_cmp pair[] = {
		INT_IS(0, AF_UNIX), INT_BITS(1, ~SOCKET_FLAGS, SOCK_STREAM), INT_IS(2, 0)};
	int rc;

	for (size_t i = 0; i < sizeof(sockets) / sizeof(*sockets); i++) {
		struct scmp_arg_cmp args[] = {INT_IS(0, sockets[i].family),
			INT_BITS(1, ~SOCKET_FLAGS, sockets[i].type),
			INT_IS(2, sockets[i].protocol)};

		rc = rule(ctx, SCMP_ACT_ALLOW, "socket", 3, args);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < sizeof(setsockopt_options) / sizeof(*setsockopt_options); i++) {
		struct scmp_arg_cmp args[] = {INT_IS(1, setsockopt_options[i].level),
			INT_IS(2, setsockopt_options[i].option)};

		rc = rule(ctx, SCMP_ACT_ALLOW, "setsockopt", 2, args);
		if (rc < 0)
			return rc;
	}
	rc = rules_list(ctx, "getsockopt", 1, 0, ANY_OF(getsockopt_levels));
	if (rc < 0)
		return rc;
	/* Not datagrams: one of those could be connected to another socket. */
	return rule(ctx, SCMP_ACT_ALLOW, "socketpair", 3, pair);
}

/* Memory that is not executable, and never becomes so. The protection is a long. */
static int rules_memory(scmp_filter_ctx ctx)
{
	struct scmp_arg_cmp no_exec = SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	int rc;

	rc = rule(ctx, SCMP_ACT_ALLOW, "mmap", 1, &no_exec);
	if (rc < 0)
		return rc;
	rc = rule(ctx, SCMP_ACT_ALLOW, "mprotect", 1, &no_exec);
	if (rc < 0)
		return rc;
	return rules_list(ctx, "madvise", 2, 0, ANY_OF(madvise_advice));
}

/* Calls on ourselves: a title, abort(), limits as they are, locks of the C library. */
static int rules_self(scmp_filter_ctx ctx)
{
	struct scmp_arg_cmp name = INT_IS(0, PR_SET_NAME);
	struct scmp_arg_cmp own = INT_IS(0, getpid());
	struct scmp_arg_cmp limits[] = {INT_IS(0, 0), SCMP_CMP64(2, SCMP_CMP_EQ, 0, 0)};
	int rc;

	rc = rule(ctx, SCMP_ACT_ALLOW, "prctl", 1, &name);
	if (rc < 0)
		return rc;
	rc = rule(ctx, SCMP_ACT_ALLOW, "tgkill", 1, &own);
	if (rc < 0)
		return rc;
	rc = rule(ctx, SCMP_ACT_ALLOW, "prlimit64", 2, limits);
	if (rc < 0)
		return rc;
	return rules_list(ctx, "futex", 1, FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME,
		ANY_OF(futex_operations));
}

/*
 * fstat(3) of glibc 2.33 to 2.38 is newfstatat(fd, "", …, AT_EMPTY_PATH), and a filter cannot see
 * that the path is empty. In an empty root it does not matter; elsewhere fstat(3) fails.
 */
static int rules_stat(scmp_filter_ctx ctx, enum sandbox_level level)
{
	struct scmp_arg_cmp empty = INT_IS(3, AT_EMPTY_PATH);

	return rule(ctx, level == SANDBOX_NAMESPACE ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EACCES),
		"newfstatat", 1, &empty);
}

#ifdef SANITIZED
static bool entered;

/* The leak checker's thread and its ptrace would die here, and we with it. */
int __lsan_is_turned_off(void)
{
	return entered;
}

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	char line[96];
	int len = snprintf(
		line, sizeof(line), "error sandbox sandbox.killed syscall=%d\n", info->si_syscall);

	(void)context;
	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		_exit(127);
	/* Blocked until we return; then it kills as the filter alone would have. */
	raise(sig);
}

static int rules_sanitizer(scmp_filter_ctx ctx)
{
	static const char *const refused[] = {"open", "openat", "readlink", "readlinkat", "access",
		"stat", "sched_getaffinity", "getcwd", "uname"};
	struct scmp_arg_cmp terminal = INT_IS(1, TCGETS);
	struct sigaction action = {
		.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND};
	__sanitizer_sandbox_arguments arguments = {0};

	entered = true;
	__sanitizer_sandbox_on_notify(&arguments); /* reads /proc/self/maps while it can */
	sigaction(SIGSYS, &action, NULL);
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		int rc = rule(ctx, SCMP_ACT_ERRNO(EACCES), refused[i], 0, NULL);

		if (rc < 0)
			return rc;
	}
	return rule(ctx, SCMP_ACT_ALLOW, "ioctl", 1, &terminal);
}

#define KILL SCMP_ACT_TRAP
#else
static int rules_sanitizer(scmp_filter_ctx ctx)
{
	(void)ctx;
	return 0;
}

#define KILL SCMP_ACT_KILL_PROCESS
#endif

static int rules_all(scmp_filter_ctx ctx, enum sandbox_level level)
{
	int rc;

	rc = rules_plain(ctx);
	if (rc < 0)
		return rc;
	rc = rules_sockets(ctx);
	if (rc < 0)
		return rc;
	rc = rules_memory(ctx);
	if (rc < 0)
		return rc;
	rc = rules_self(ctx);
	if (rc < 0)
		return rc;
	rc = rules_list(ctx, "fcntl", 1, 0, ANY_OF(fcntl_commands));
	if (rc < 0)
		return rc;
	rc = rules_list(ctx, "ioctl", 1, 0, ANY_OF(ioctl_requests));
	if (rc < 0)
		return rc;
	rc = rules_stat(ctx, level);
	if (rc < 0)
		return rc;
	return rules_sanitizer(ctx);
}

int seccomp_enter(enum sandbox_level level)
{
	scmp_filter_ctx ctx = seccomp_init(KILL);
	int rc;

	if (!ctx)
		return -ENOMEM;
	rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (rc == 0)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 1);
	/* A tree instead of a list: libseccomp 2.5. */
	if (rc == 0)
		seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc == 0)
		rc = rules_all(ctx, level);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	return rc;
}
