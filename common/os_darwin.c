/* SPDX-License-Identifier: MIT */
/* macOS' side of os.h. */
#define __STDC_WANT_LIB_EXT1__ 1 /* memset_s */

#include "common/os.h"

#include "common/wipe_registers.h"

#include <errno.h>
#include <fcntl.h>
#include <mach-o/dyld.h>
#include <malloc/malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* No SOCK_CLOEXEC: a fork in another thread could inherit the fd, but we have one thread. */
static int prepare(int fd, bool nonblock)
{
	int on = 1, err;

	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || (nonblock && os_set_nonblock(fd, true) < 0)) {
		err = -errno;
		close(fd);
		return err;
	}
	setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
	return fd;
}

int os_socket(int family, int type, int protocol, bool nonblock)
{
	int fd = socket(family, type, protocol);

	return fd < 0 ? -errno : prepare(fd, nonblock);
}

int os_socketpair(int family, int type, bool nonblock, int fds[2])
{
	if (socketpair(family, type, 0, fds) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		int err = prepare(fds[i], nonblock);

		if (err < 0) {
			close(fds[!i]);
			return err;
		}
	}
	return 0;
}

int os_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	int got = accept(fd, sa, len);

	return got < 0 ? -errno : prepare(got, true);
}

int os_pipe(int fds[2])
{
	if (pipe(fds) < 0)
		return -errno;
	fcntl(fds[0], F_SETFD, FD_CLOEXEC);
	fcntl(fds[1], F_SETFD, FD_CLOEXEC);
	return 0;
}

int os_dup(int fd)
{
	int got = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return got < 0 ? -errno : got;
}

int os_open_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int os_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

ssize_t os_send(int fd, const void *buf, size_t len, int flags)
{
	ssize_t n = send(fd, buf, len, flags);

	return n < 0 ? -errno : n;
}

ssize_t os_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t n = sendmsg(fd, msg, flags);

	return n < 0 ? -errno : n;
}

ssize_t os_recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t n = recvmsg(fd, msg, flags);

	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd_in;

			memcpy(&fd_in, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			fcntl(fd_in, F_SETFD, FD_CLOEXEC);
		}
	}
	return n;
}

int os_peer(int fd, struct os_peer *peer)
{
	socklen_t len = sizeof(peer->pid);

	if (getpeereid(fd, &peer->uid, &peer->gid) < 0)
		return -errno;
	if (getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, &peer->pid, &len) < 0)
		peer->pid = -1;
	return 0;
}

int os_shm_create(const char *name, size_t size)
{
	char path[32];
	int fd;

	(void)name;
	snprintf(path, sizeof(path), "/netctl.%d.%08x", getpid(), arc4random());
	fd = shm_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return -errno;
	shm_unlink(path);
	if (ftruncate(fd, (off_t)size) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd;
}

void os_random(void *buf, size_t len)
{
	arc4random_buf(buf, len);
}

void os_tcp_keepidle(int fd, int seconds)
{
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPALIVE, &seconds, sizeof(seconds));
}

struct timespec os_mtime(const struct stat *file)
{
	return file->st_mtimespec;
}

void os_wipe(void *buf, size_t len)
{
	memset_s(buf, len, 0, len);
	wipe_registers();
}

size_t os_alloc_size(void *memory)
{
	return malloc_size(memory);
}

int os_no_dump(void)
{
	struct rlimit none = {0, 0};

	ptrace(PT_DENY_ATTACH, 0, 0, 0);
	return setrlimit(RLIMIT_CORE, &none) < 0 ? -errno : 0;
}

uint64_t os_raise_nofile(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 256;
	/* The kernel refuses more than OPEN_MAX or kern.maxfilesperproc even where the hard limit is infinite. */
	for (rlim_t want = 1048576; want > lim.rlim_cur; want /= 2) {
		struct rlimit try = {want < lim.rlim_max ? want : lim.rlim_max, lim.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &try) == 0)
			return try.rlim_cur;
	}
	return lim.rlim_cur;
}

int os_self_path(char *buf, size_t len)
{
	uint32_t size = (uint32_t)len;

	return _NSGetExecutablePath(buf, &size) < 0 ? -ENAMETOOLONG : 0;
}

int os_die_with_parent(int sig)
{
	(void)sig;
	return -ENOTSUP;
}
