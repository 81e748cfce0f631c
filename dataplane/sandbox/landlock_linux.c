/* SPDX-License-Identifier: MIT */
/*
 * Landlock (Linux 5.13) with every right on files handled and none granted: a file that was not open
 * yet stays closed. TCP is left alone, it is what the worker is for. From ABI 6 (Linux 6.12) also no
 * abstract unix sockets and no signals beyond ourselves.
 *
 * The numbers are the kernel's (linux/landlock.h), written out since that header may be older than
 * the kernel that we run on.
 */
#include "dataplane/sandbox/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif

#define RULESET_VERSION 1U /* landlock_create_ruleset(): tell the ABI */

/* struct landlock_ruleset_attr as of ABI 6. A kernel takes a prefix of what it knows. */
struct ruleset {
	uint64_t access_fs;  /* handled, so denied without a rule */
	uint64_t access_net; /* ABI 4; 0: not handled */
	uint64_t scoped;     /* ABI 6 */
};

#define SCOPE_ABSTRACT_UNIX_SOCKET 1U
#define SCOPE_SIGNAL 2U

/* Rights on files that an ABI knows: the lowest so many bits. */
static uint64_t all_rights(int abi)
{
	int bits = abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13;

	return (UINT64_C(1) << bits) - 1;
}

int landlock_enter(void)
{
	struct ruleset rules = {0};
	size_t size;
	int abi, fd, rc = 0;

	abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, RULESET_VERSION);
	if (abi < 1)
		return abi < 0 && errno != ENOSYS ? -errno : -EOPNOTSUPP;
	rules.access_fs = all_rights(abi);
	if (abi >= 6)
		rules.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
	size = abi >= 6 ? sizeof(rules) : sizeof(rules.access_fs);
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	if (fd < 0)
		return -errno;
	/* Needs no_new_privs, which is set by now. */
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

int landlock_verify(void)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return -EEXIST;
	}
	return errno == EACCES ? 0 : -errno;
}
