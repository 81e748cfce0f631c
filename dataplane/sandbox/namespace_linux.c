/* SPDX-License-Identifier: MIT */
/* An empty root, in namespaces of our own. See linux.c for the order of things. */
#include "dataplane/sandbox/linux.h"

#include <errno.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A read-only tmpfs of one inode, its own root directory, in the place of everything. */
static int empty_root(void)
{
	/* Nothing that we do here may show in the namespace we came from, nor the other way round. */
	if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	if (mount("none", "/", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
		    "size=4k,nr_inodes=1,mode=0555") < 0)
		return -errno;
	/* "/" is still what lies under the new mount, ".." of it is what lies on top. */
	if (chdir("/..") < 0)
		return -errno;
	/* Puts the old root over the new one and takes it off again: pivot_root(2), NOTES. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	if (umount2(".", MNT_DETACH) < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}

int namespace_enter(bool with_user)
{
	/* Each hides what the system call filter makes unreachable anyway; a kernel may lack them. */
	static const int more[] = {CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};

	if (unshare(CLONE_NEWNS | (with_user ? CLONE_NEWUSER : 0)) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
		unshare(more[i]);
	return empty_root();
}

int namespace_user(void)
{
	return unshare(CLONE_NEWUSER) < 0 ? -errno : 0;
}

int namespace_verify(void)
{
	static const char *const places[] = {"/", ".", "..", "/.."};
	struct statfs fs;

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		if (statfs(places[i], &fs) < 0)
			return -errno;
		/* The one inode is the root directory itself. */
		if (fs.f_type != TMPFS_MAGIC || !(fs.f_flags & ST_RDONLY) || fs.f_files != 1)
			return -EEXIST;
	}
	return 0;
}
