/* SPDX-License-Identifier: MIT */
/* What the process is and holds: fds, user, capabilities, limits. See linux.c for the order. */
#include "common/os.h"
#include "dataplane/sandbox/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SANDBOX_USER "netdp"
#define SANDBOX_NOBODY 65534
#define SANDBOX_KEEP_MAX 64

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Closes first..last, both included. */
static int close_fds(unsigned first, unsigned last)
{
	long open_max;

	if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
		return 0;
	/* Before Linux 5.9, or in a container whose filter does not know it. */
	open_max = sysconf(_SC_OPEN_MAX);
	if (open_max < 0 || open_max > 1 << 20)
		open_max = 1 << 20;
	for (unsigned fd = first; fd <= last && fd < (unsigned long)open_max; fd++)
		close((int)fd);
	return 0;
}

/* Gives fds 0 and 1 that nobody handed, and a closed stderr, to /dev/null. */
static int quiet_stdio(const int *fds, size_t n)
{
	bool mine[2] = {true, true};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int rc = 0;

	if (null < 0)
		return -errno;
	for (size_t i = 0; i < n; i++) {
		if (fds[i] < 2)
			mine[fds[i]] = false;
	}
	for (int fd = 0; fd < 2; fd++) {
		if (mine[fd] && null != fd && dup2(null, fd) < 0)
			rc = -errno;
	}
	if (fcntl(STDERR_FILENO, F_GETFD) < 0 && dup2(null, STDERR_FILENO) < 0)
		rc = -errno;
	if (null > STDERR_FILENO)
		close(null);
	return rc;
}

int privilege_fds(const int *keep, size_t kept)
{
	int fds[SANDBOX_KEEP_MAX];
	struct stat st;
	unsigned from = STDERR_FILENO + 1;
	int rc;

	if (kept > SANDBOX_KEEP_MAX)
		return -E2BIG;
	for (size_t i = 0; i < kept; i++) {
		if (keep[i] < 0 || fstat(keep[i], &st) < 0)
			return -EBADF;
		/* A directory is a way back to the host's files, a block device one to its disks. */
		if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
			return -EISDIR;
		fds[i] = keep[i];
	}
	qsort(fds, kept, sizeof(*fds), compare_fds);
	rc = quiet_stdio(fds, kept);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < kept; i++) {
		if ((unsigned)fds[i] < from)
			continue;
		rc = (unsigned)fds[i] > from ? close_fds(from, (unsigned)fds[i] - 1) : 0;
		if (rc < 0)
			return rc;
		from = (unsigned)fds[i] + 1;
	}
	return close_fds(from, ~0U);
}

void privilege_user(uid_t *uid, gid_t *gid)
{
	/* Not getpwnam(), which may load modules and leave connections to name services behind. */
	FILE *file = fopen("/etc/passwd", "re");
	struct passwd entry = {0}, *found;
	char text[1024];

	*uid = SANDBOX_NOBODY;
	*gid = SANDBOX_NOBODY;
	if (!file)
		return;
	while (fgetpwent_r(file, &entry, text, sizeof(text), &found) == 0) {
		if (strcmp(entry.pw_name, SANDBOX_USER) != 0 || entry.pw_uid == 0)
			continue;
		*uid = entry.pw_uid;
		*gid = entry.pw_gid;
		break;
	}
	fclose(file);
}

int privilege_drop_user(uid_t uid, gid_t gid)
{
	if (geteuid() != 0)
		return 0;
	if (setresgid(gid, gid, gid) < 0)
		return errno == EINVAL ? 0 : -errno;
	if (setgroups(0, NULL) < 0)
		return -errno;
	if (setresuid(uid, uid, uid) < 0)
		return -errno;
	return setuid(0) == 0 ? -EPERM : 0;
}

void privilege_drop_bounding(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

/* root is nobody special any more, and none of this can be taken back. Needs CAP_SETPCAP. */
static void lock_securebits(void)
{
	prctl(PR_SET_SECUREBITS,
		SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
			SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
			SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
		0, 0, 0);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

int privilege_drop(void)
{
	/* RLIMIT_FSIZE must stay: stderr may be a file. */
	struct rlimit none = {0, 0};
	int rc;

	lock_securebits();
	rc = drop_capabilities();
	if (rc < 0)
		return rc;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (setrlimit(RLIMIT_NPROC, &none) < 0 || setrlimit(RLIMIT_MSGQUEUE, &none) < 0)
		return -errno;
	/* After the change of user, which sets it anew. */
	return os_no_dump();
}

int privilege_verify(bool bounding)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		if (data[i].effective || data[i].permitted || data[i].inheritable)
			return -EPERM;
	}
	for (int cap = 0; bounding && cap <= CAP_LAST_CAP; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			return -EPERM;
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return -EPERM;
	return 0;
}
