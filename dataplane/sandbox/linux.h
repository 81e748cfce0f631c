/* SPDX-License-Identifier: MIT */
/*
 * The parts of Linux's sandbox, in the order in which linux.c puts them together. Private to this
 * directory. All return 0 or -errno; after an error in what is not optional the process must exit.
 */
#ifndef DATAPLANE_SANDBOX_LINUX_H
#define DATAPLANE_SANDBOX_LINUX_H

#include "dataplane/sandbox/sandbox.h"

#include <stdbool.h>
#include <sys/types.h>

/* privilege_linux.c */

/* Points stdin and stdout at /dev/null and closes every fd but those of keep and stderr. */
int privilege_fds(const int *keep, size_t kept);
/* Whom a worker of root's becomes: user `netdp` if /etc/passwd has it, else 65534 (nobody). */
void privilege_user(uid_t *uid, gid_t *gid);
/*
 * Becomes that user, without supplementary groups. Does nothing and returns 0 where we are not root,
 * or root of a user namespace that has no such user: outside of it, that root is somebody ordinary.
 */
int privilege_drop_user(uid_t uid, gid_t gid);
/* Takes each capability that our user namespace can give out of the bounding set, where we may. */
void privilege_drop_bounding(void);
/* No capabilities, none to gain (securebits, no_new_privs), no cores, no new processes. */
int privilege_drop(void);
/* Looks whether privilege_drop() did it. */
int privilege_verify(bool bounding);

/* namespace_linux.c */

/* A mount namespace (and IPC, UTS, cgroup ones) of our own with an empty root. */
int namespace_enter(bool with_user);
/* A user namespace in which no id is mapped, for a process that has the others already. */
int namespace_user(void);
/* Looks whether there really is nothing left to open. */
int namespace_verify(void);

/* landlock_linux.c */

/* Refuses each access to files that this kernel's Landlock knows. -EOPNOTSUPP where there is none. */
int landlock_enter(void);
int landlock_verify(void);

/* seccomp_linux.c */

/* The last step: loads the allow-list of system calls, which differs a little by level. */
int seccomp_enter(enum sandbox_level level);

#endif
