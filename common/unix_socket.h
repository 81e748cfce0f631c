/* SPDX-License-Identifier: MIT */
/* Unix domain sockets by path: length checked, stale files replaced, others' left alone. */
#ifndef COMMON_UNIX_SOCKET_H
#define COMMON_UNIX_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Longest path that fits a sockaddr_un here, without its NUL. */
size_t unix_path_max(void);

/*
 * Binds `path` and listens (SOCK_STREAM) or only binds (SOCK_DGRAM). A socket file that nobody
 * serves is replaced; one that answers gives -EADDRINUSE, a file of another kind -EEXIST, a long
 * path -ENAMETOOLONG. mode 0 leaves the caller's umask in force. Non-blocking. Returns the fd.
 */
int unix_listen(const char *path, int type, mode_t mode);

/* Connects; waits at most timeout_ms. Returns a blocking (or non-blocking) fd or -errno. */
int unix_connect(const char *path, int type, int timeout_ms, bool nonblock);

#endif
