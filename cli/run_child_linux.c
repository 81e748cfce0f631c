/* SPDX-License-Identifier: MIT */
/*
 * init: process 1 of COMMAND's PID namespace, from its clone to its end. See run_linux.h.
 *
 * Whose network namespace it is. Where netctl holds CAP_SYS_ADMIN and CAP_NET_ADMIN it needs no
 * user namespace, and COMMAND stays a process of netctl's own, less the capabilities. Everyone
 * else, and --map-root, gets a user namespace: right after the clone init holds all capabilities
 * in it, under whatever id, so one map of the caller's id (to itself, or to 0) is enough and no
 * second namespace is needed.
 *
 * What COMMAND is left with. Unless it is mapped to root: no capability in any set, an empty
 * bounding set, SECBIT_NOROOT (locked) and no_new_privs, so that nothing it executes gains any.
 * init gives the same up before it forks. It can still make user namespaces of its own.
 *
 * The terminal. COMMAND stays in netctl's process group: what the terminal sends goes to both, so
 * pipelines and scripts see nothing unusual; init, process 1, ignores all of it. But that group's
 * id reads as 0 in the PID namespace, which shells with job control do not all take well. So where
 * netctl is started by hand (it leads the foreground group, and stdin, stdout and stderr are the
 * terminal) COMMAND gets the foreground with a group of its own. When that stops, netctl takes
 * the terminal, stops as well, and gives it back when it is continued.
 */
#include "cli/run_linux.h"

#include "common/error.h"
#include "common/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CAP_LIMIT 64 /* beyond the last capability of any kernel */

int run_fail(struct run_message *msg, const char *fmt, ...)
{
	va_list ap;

	memset(msg, 0, sizeof(*msg));
	msg->type = RUN_FAILED;
	va_start(ap, fmt);
	vsnprintf(msg->text, sizeof(msg->text), fmt, ap);
	va_end(ap);
	return -1;
}

int run_send(int control, const struct run_message *msg, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} box = {0};
	struct run_message copy = *msg;
	struct iovec iov = {&copy, sizeof(copy)};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;
	ssize_t n;

	if (fd >= 0) {
		hdr.msg_control = box.buf;
		hdr.msg_controllen = sizeof(box.buf);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	do
		n = os_sendmsg(control, &hdr, 0);
	while (n == -EINTR);
	return n < 0 ? (int)n : 0;
}

int run_receive(int control, struct run_message *msg, int *fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} box;
	struct iovec iov = {msg, sizeof(*msg)};
	struct msghdr hdr = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = box.buf,
		.msg_controllen = sizeof(box.buf)};
	struct cmsghdr *cmsg;
	ssize_t n;

	*fd = -1;
	do
		n = os_recvmsg(control, &hdr, 0);
	while (n == -EINTR);
	if (n < 0)
		return (int)n;
	if (n != sizeof(*msg))
		return -ECONNRESET;
	cmsg = CMSG_FIRSTHDR(&hdr);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS && cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	return 0;
}

/* --- capabilities --- */

static bool may_do_without_userns(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	const uint32_t wanted = 1u << CAP_SYS_ADMIN | 1u << CAP_NET_ADMIN | 1u << CAP_SETPCAP;

	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & wanted) == wanted;
}

static int drop_capabilities(struct run_message *msg)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (unsigned long cap = 0; cap < CAP_LIMIT; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return run_fail(msg, "capability bounding set: %s", errno_text(errno));
	if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) < 0 ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		syscall(SYS_capset, &header, none) < 0)
		return run_fail(msg, "dropping capabilities: %s", errno_text(errno));
	return 0;
}

/* --- COMMAND and its end --- */

/* Gives the terminal to the group. */
static void put_foreground(pid_t group)
{
	sigset_t ttou, old;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	sigprocmask(SIG_BLOCK, &ttou, &old);
	tcsetpgrp(STDIN_FILENO, group);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

/* Whether a command that could not be executed is there at all. execvp(3) says "permission denied"
 * also for a directory of PATH that may not be searched, and a shell then says "not found". */
static bool exists(const char *command)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	if (strchr(command, '/'))
		return true;
	while (path) {
		size_t n = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)n, path, command);
		if (n && access(file, F_OK) == 0)
			return true;
		path = path[n] ? path + n + 1 : NULL;
	}
	return false;
}

static void execute(const struct run_setup *setup)
{
	bool missing;
	int err;

	if (setup->own_group) {
		setpgid(0, 0);
		put_foreground(getpid());
	}
	/* What netctl's caller ignored stays ignored; what was made ours goes back. */
	sigprocmask(SIG_SETMASK, &setup->mask, NULL);
	execvp(setup->command[0], setup->command);
	err = errno;
	missing = err == ENOENT || err == ENOTDIR || (err == EACCES && !exists(setup->command[0]));
	fprintf(stderr, "netctl: run: %s: %s\n", setup->command[0],
		missing ? "command not found" : strerror(err));
	_exit(missing ? 127 : 126);
}

/* Reaps all that can be; exits with COMMAND's status if it is among them. */
static void reap(const struct run_setup *setup, pid_t command)
{
	struct run_message stopped = {.type = RUN_STOPPED};
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | (setup->own_group ? WUNTRACED : 0))) > 0) {
		if (pid != command)
			continue;
		if (!WIFSTOPPED(status))
			_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
		/* A group of outside this namespace reads as 0. */
		stopped.foreground = tcgetpgrp(STDIN_FILENO) > 0;
		run_send(setup->control, &stopped, -1);
	}
}

static void serve(const struct run_setup *setup, pid_t command, int sigfd)
{
	struct pollfd pfd[2] = {
		{.fd = sigfd, .events = POLLIN}, {.fd = setup->control, .events = POLLIN}};
	struct signalfd_siginfo info;
	struct run_message msg;
	int fd;

	for (;;) {
		reap(setup, command);
		if (poll(pfd, 2, -1) < 0)
			continue;
		if (pfd[0].revents && read(sigfd, &info, sizeof(info)) < 0)
			continue;
		if (!pfd[1].revents)
			continue;
		if (run_receive(setup->control, &msg, &fd) < 0)
			_exit(128 + SIGKILL);
		if (msg.type == RUN_SIGNAL)
			kill(command, msg.signal);
		if (msg.type == RUN_CONTINUE && msg.foreground)
			put_foreground(command);
		if (msg.type == RUN_CONTINUE)
			kill(-command, SIGCONT);
	}
}

static int wait_for_message(
	const struct run_setup *setup, enum run_message_type type, struct run_message *msg)
{
	int fd;

	if (run_receive(setup->control, msg, &fd) < 0 || msg->type != type)
		_exit(RUN_FAILURE);
	return 0;
}

/* All that needs the namespaces' capabilities. Returns 0, or -1 with the text in msg. */
static int prepare(const struct run_setup *setup, struct run_message *msg)
{
	struct run_net net;
	int tap;

	wait_for_message(setup, RUN_GO, msg);
	if (run_netns_open_tap(&tap, msg) < 0)
		return -1;
	*msg = (struct run_message){.type = RUN_TAP};
	if (run_send(setup->control, msg, tap) < 0)
		_exit(RUN_FAILURE);
	close(tap);
	wait_for_message(setup, RUN_NET, msg);
	net = msg->net;
	if (run_netns_configure(&net, msg) < 0 || run_mount_all(setup, &net, msg) < 0)
		return -1;
	return setup->map_root ? 0 : drop_capabilities(msg);
}

static void init_main(const struct run_setup *setup)
{
	struct run_message msg;
	sigset_t chld;
	pid_t command;
	int sigfd;

	/* netctl may be dead by now; then the first message never comes. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_NAME, "netctl-init", 0, 0, 0);
	close(setup->other);
	if (setup->watch >= 0)
		close(setup->watch);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	sigfd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sigfd < 0 || prepare(setup, &msg) < 0) {
		if (sigfd < 0)
			run_fail(&msg, "signalfd: %s", errno_text(errno));
		run_send(setup->control, &msg, -1);
		_exit(RUN_FAILURE);
	}
	command = fork();
	if (command == 0)
		execute(setup);
	if (command < 0) {
		run_fail(&msg, "fork: %s", errno_text(errno));
		run_send(setup->control, &msg, -1);
		_exit(RUN_FAILURE);
	}
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	serve(setup, command, sigfd);
}

/* --- netctl's side --- */

static int write_proc(pid_t pid, const char *name, const char *text)
{
	char path[64];
	int fd, err = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* Every id that is mapped here, to itself. */
static int identity_map(const char *own, char *buf, size_t len)
{
	unsigned inside, outside, count;
	size_t used = 0;
	FILE *file = fopen(own, "re");

	if (!file)
		return -errno;
	while (fscanf(file, "%u %u %u", &inside, &outside, &count) == 3 && used < len)
		used += (size_t)snprintf(
			buf + used, len - used, "%u %u %u\n", inside, inside, count);
	fclose(file);
	return used && used < len ? 0 : -EINVAL;
}

static int write_all_ids(pid_t pid)
{
	char uids[1024], gids[1024];
	int err = identity_map("/proc/self/uid_map", uids, sizeof(uids));

	if (!err)
		err = identity_map("/proc/self/gid_map", gids, sizeof(gids));
	if (!err)
		err = write_proc(pid, "uid_map", uids);
	if (!err)
		err = write_proc(pid, "gid_map", gids);
	return err;
}

static int write_maps(const struct run_setup *setup, pid_t pid)
{
	char text[64];
	int err;

	/* Root keeps all ids, so that what it runs may still change to them. */
	if (geteuid() == 0 && write_all_ids(pid) == 0)
		return 0;
	err = write_proc(pid, "setgroups", "deny");
	if (err < 0 && err != -ENOENT)
		return err;
	snprintf(text, sizeof(text), "%u %u 1\n", setup->map_root ? 0 : geteuid(), geteuid());
	err = write_proc(pid, "uid_map", text);
	if (err < 0)
		return err;
	snprintf(text, sizeof(text), "%u %u 1\n", setup->map_root ? 0 : getegid(), getegid());
	return write_proc(pid, "gid_map", text);
}

static int clone_failed(const struct run *run, const struct run_setup *setup, int err)
{
	const char *hint = "";

	if (setup->userns && (err == EPERM || err == ENOSPC || err == EUSERS))
		hint = " (are user namespaces allowed here? See kernel.unprivileged_userns_clone, "
		       "user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)";
	return cli_error(run->cli, -1, "namespaces: %s%s", errno_text(err), hint);
}

int run_child_start(const struct run *run, struct run_setup *setup, struct run_child *child)
{
	int flags = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | SIGCHLD, pair[2], err;
	struct run_message go = {.type = RUN_GO};

	setup->userns = setup->map_root || !may_do_without_userns();
	if (setup->userns)
		flags |= CLONE_NEWUSER;
	err = os_socketpair(AF_UNIX, SOCK_SEQPACKET, false, pair);
	if (err < 0)
		return cli_error(run->cli, -1, "socketpair: %s", errno_text(err));
	setup->other = child->control = pair[0];
	setup->control = pair[1];
	fflush(NULL);
	/* As fork(2) with new namespaces; none of our platforms has its arguments in another order. */
	child->pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
	if (child->pid == 0)
		init_main(setup);
	err = errno;
	close(setup->control);
	if (child->pid < 0)
		return clone_failed(run, setup, err);
	err = setup->userns ? write_maps(setup, child->pid) : 0;
	if (err < 0)
		return cli_error(run->cli, -1, "id map of the user namespace: %s", errno_text(err));
	err = run_send(child->control, &go, -1);
	if (err < 0)
		return cli_error(run->cli, -1, "init: %s", errno_text(err));
	return 0;
}
