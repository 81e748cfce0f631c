/* SPDX-License-Identifier: MIT */
/* The sandbox from the inside: children enter it and try what must kill them. */
#include "tests/unit/sandbox_rig_linux.h"

#include <arpa/inet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>

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

static Suite *sandbox_kills_suite(void)
{
	Suite *suite = suite_create("sandbox_kills");
	TCase *kills = tcase_create("kills");

	tcase_set_timeout(kills, 30);
	tcase_add_loop_test(kills, forbidden_call_kills_as_root, 0, FORBIDDEN);
	tcase_add_loop_test(kills, forbidden_call_kills_as_user, 0, FORBIDDEN);
	tcase_add_loop_test(kills, forbidden_call_kills_by_landlock, 0, FORBIDDEN);
	tcase_add_loop_test(kills, forbidden_call_kills_when_weak, 0, FORBIDDEN);
	suite_add_tcase(suite, kills);
	return suite;
}

int main(void)
{
	return run_suite(sandbox_kills_suite());
}
