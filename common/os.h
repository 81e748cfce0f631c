/* SPDX-License-Identifier: MIT */
/*
 * What differs between operating systems, behind one header: os_linux.c and os_darwin.c.
 *
 * Every fd made here is close-on-exec. Errors are negative errno.
 */
#ifndef COMMON_OS_H
#define COMMON_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct stat;

int os_socket(int family, int type, int protocol, bool nonblock);
int os_socketpair(int family, int type, bool nonblock, int fds[2]);
int os_accept(int fd, struct sockaddr *sa, socklen_t *len); /* non-blocking, no SIGPIPE */
int os_pipe(int fds[2]);
int os_dup(int fd);
int os_set_nonblock(int fd, bool on);
/* For use as a place only (O_PATH), where the system has such a thing. */
int os_open_directory(const char *path);
/* When the file was written last. */
struct timespec os_mtime(const struct stat *file);

/* send(2)/sendmsg(2) that never raise SIGPIPE. */
ssize_t os_send(int fd, const void *buf, size_t len, int flags);
ssize_t os_sendmsg(int fd, const struct msghdr *msg, int flags);
/* recvmsg(2) whose received fds are close-on-exec. */
ssize_t os_recvmsg(int fd, struct msghdr *msg, int flags);

/* After how many seconds of silence SO_KEEPALIVE asks whether a TCP socket's peer is there. */
void os_tcp_keepidle(int fd, int seconds);

/* The peer of a connected unix socket. pid is -1 where the system does not tell. */
struct os_peer {
	uid_t uid;
	gid_t gid;
	pid_t pid;
};
int os_peer(int fd, struct os_peer *peer);

/* An anonymous shared memory file of a fixed size, sealed against resizing where the system can. */
int os_shm_create(const char *name, size_t size);

/* A whole buffer of random bytes from the kernel; aborts the program where there is none. */
void os_random(void *buf, size_t len);
/* Overwrites memory in a way the compiler keeps, and the registers that copied it. */
void os_wipe(void *buf, size_t len);
/* How many bytes the allocator holds for what malloc(3) gave: all of them may be written. */
size_t os_alloc_size(void *memory);
/* No core dumps, no ptrace by others of our uid. */
int os_no_dump(void);
/* Raises RLIMIT_NOFILE to its hard limit; returns the limit in force. */
uint64_t os_raise_nofile(void);
/* Absolute path of the running program. 0 or -errno. */
int os_self_path(char *buf, size_t len);
/* Asks to get `sig` when the parent dies; 0, or -ENOTSUP where the system cannot. */
int os_die_with_parent(int sig);

#endif
