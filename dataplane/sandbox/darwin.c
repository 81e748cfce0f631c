/* SPDX-License-Identifier: MIT */
/*
 * macOS' sandbox: Seatbelt, by the profile language that sandbox_init(3) takes as a string. It has
 * one level, which we call "namespace" as the best there is: no files, no processes, no Mach
 * services, the network by IP alone and without listening.
 *
 * sandbox_init(3) is deprecated without a successor for programs outside the App Sandbox; browsers
 * and OpenSSH still depend on it.
 */
#include "common/os.h"
#include "dataplane/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sandbox.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SANDBOX_USER "_netdp"
#define SANDBOX_NOBODY ((uid_t)-2)

/* The system's own random device and clocks need no right. */
static const char profile[] = "(version 1)"
			      "(deny default)"
			      "(allow network-outbound (remote ip))"
			      "(allow network-inbound (local ip))"
			      "(allow network-bind (local udp))"
			      "(deny network* (remote unix-socket))"
			      "(allow system-socket (socket-domain AF_INET))"
			      "(allow system-socket (socket-domain AF_INET6))"
			      "(allow signal (target self))"
			      "(allow sysctl-read)";

static bool is_kept(int fd, const int *keep, size_t kept)
{
	for (size_t i = 0; i < kept; i++) {
		if (keep[i] == fd)
			return true;
	}
	return fd == STDERR_FILENO;
}

static int close_others(const int *keep, size_t kept)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int max = getdtablesize();
	struct stat st;

	if (null < 0)
		return -errno;
	for (size_t i = 0; i < kept; i++) {
		if (keep[i] < 0 || fstat(keep[i], &st) < 0)
			return -EBADF;
		if (S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
			return -EISDIR;
	}
	for (int fd = 0; fd < STDERR_FILENO; fd++) {
		if (!is_kept(fd, keep, kept) && fd != null && dup2(null, fd) < 0)
			return -errno;
	}
	for (int fd = STDERR_FILENO + 1; fd < max; fd++) {
		if (!is_kept(fd, keep, kept))
			close(fd);
	}
	return 0;
}

static int drop_user(void)
{
	struct passwd *entry = getpwnam(SANDBOX_USER);
	uid_t uid = entry ? entry->pw_uid : SANDBOX_NOBODY;
	gid_t gid = entry ? entry->pw_gid : (gid_t)SANDBOX_NOBODY;

	if (geteuid() != 0)
		return 0;
	if (setgroups(1, &gid) < 0 || setregid(gid, gid) < 0 || setreuid(uid, uid) < 0)
		return -errno;
	return setuid(0) == 0 ? -EPERM : 0;
}

int sandbox_enter(enum sandbox_level least, const int *keep, size_t kept, enum sandbox_level *got,
	struct error *err)
{
	struct rlimit none = {0, 0};
	char *text = NULL;
	int rc;

	(void)least; /* one level, the best */
	rc = drop_user();
	if (rc == 0)
		rc = close_others(keep, kept);
	if (rc == 0)
		rc = os_no_dump();
	if (rc == 0 && setrlimit(RLIMIT_NPROC, &none) < 0)
		rc = -errno;
	if (rc < 0)
		return error_set(err, 500, NULL, "sandbox: privileges: %s", errno_text(rc));
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
	if (sandbox_init(profile, 0, &text) < 0) {
		error_set(err, 500, NULL, "sandbox: %s", text ? text : "refused");
		sandbox_free_error(text);
		return -1;
	}
#pragma clang diagnostic pop
	rc = open("/dev/null", O_RDONLY);
	if (rc >= 0) {
		close(rc);
		return error_set(err, 500, NULL, "sandbox: files can still be opened");
	}
	*got = SANDBOX_NAMESPACE;
	return 0;
}
