/* SPDX-License-Identifier: MIT */
/* Linux's side of os.h. */
#include "common/os.h"

#include "common/wipe_registers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int os_socket(int family, int type, int protocol, bool nonblock)
{
	int fd = socket(family, type | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0), protocol);

	return fd < 0 ? -errno : fd;
}

int os_socketpair(int family, int type, bool nonblock, int fds[2])
{
	return socketpair(family, type | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0), 0, fds) < 0
		? -errno
		: 0;
}

int os_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	int got = accept4(fd, sa, len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return got < 0 ? -errno : got;
}

int os_pipe(int fds[2])
{
	return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
}

int os_dup(int fd)
{
	int got = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return got < 0 ? -errno : got;
}

int os_open_directory(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

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
	ssize_t n = send(fd, buf, len, flags | MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

ssize_t os_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t n = sendmsg(fd, msg, flags | MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

ssize_t os_recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t n = recvmsg(fd, msg, flags | MSG_CMSG_CLOEXEC);

	return n < 0 ? -errno : n;
}

int os_peer(int fd, struct os_peer *peer)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*peer = (struct os_peer){.uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
	return 0;
}

int os_shm_create(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

void os_random(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno != EINTR)
			abort();
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

void os_tcp_keepidle(int fd, int seconds)
{
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
}

struct timespec os_mtime(const struct stat *file)
{
	return file->st_mtim;
}

void os_wipe(void *buf, size_t len)
{
	explicit_bzero(buf, len);
	wipe_registers();
}

size_t os_alloc_size(void *memory)
{
	return malloc_usable_size(memory);
}

int os_no_dump(void)
{
	struct rlimit none = {0, 0};

	if (prctl(PR_SET_DUMPABLE, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	return 0;
}

uint64_t os_raise_nofile(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 1024;
	if (lim.rlim_cur != lim.rlim_max) {
		struct rlimit want = {lim.rlim_max, lim.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &want) == 0)
			lim = want;
	}
	return lim.rlim_cur;
}

int os_self_path(char *buf, size_t len)
{
	ssize_t n = readlink("/proc/self/exe", buf, len - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

int os_die_with_parent(int sig)
{
	return prctl(PR_SET_PDEATHSIG, sig) < 0 ? -errno : 0;
}
