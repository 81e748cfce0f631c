/* SPDX-License-Identifier: MIT */
/*
 * The rig of the sandbox's tests: children that enter it, as root and as an ordinary user, at the level
 * "namespace" and, by taking namespaces away, at what is left then.
 */
#ifndef TESTS_UNIT_SANDBOX_RIG_LINUX_H
#define TESTS_UNIT_SANDBOX_RIG_LINUX_H

#include "common/os.h"
#include "dataplane/sandbox/sandbox.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ORDINARY_UID 1234
#define EXIT_REFUSED 100 /* sandbox_enter() said no */
#define EXIT_SKIPPED 101 /* this machine cannot make the setting */

/* Where a child stands when it enters. */
enum setting {
	AS_ROOT,            /* of the machine; left out where the tests run as somebody else */
	AS_USER,            /* ordinary */
	WITHOUT_USER_NS,    /* root of a user namespace that may not have another one */
	WITHOUT_NAMESPACES, /* the same without mount namespaces either */
	WITHOUT_ANY,        /* the same in a kernel without Landlock */
	SETTINGS,
};

static const char *const setting_names[] = {"root", "user", "no-user-ns", "no-ns", "nothing"};

static inline bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

static inline void become_ordinary(void)
{
	if (geteuid() != 0)
		return;
	if (setgroups(0, NULL) < 0 || setresgid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID) < 0 ||
		setresuid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID) < 0)
		_exit(EXIT_SKIPPED);
	prctl(PR_SET_DUMPABLE, 1); /* as a process that never was root is */
}

/* A user namespace in which a limit says that there are to be no more of some kinds. */
static inline void take_namespaces(bool all)
{
	char map[32];

	become_ordinary();
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
	if (unshare(CLONE_NEWUSER) < 0 || !write_file("/proc/self/setgroups", "deny") ||
		!write_file("/proc/self/uid_map", map))
		_exit(EXIT_SKIPPED);
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)getegid());
	if (!write_file("/proc/sys/user/max_user_namespaces", "0") ||
		(all && !write_file("/proc/sys/user/max_mnt_namespaces", "0")))
		_exit(EXIT_SKIPPED);
}

/* A filter under which Landlock is not there. */
static inline void take_landlock(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int number = seccomp_syscall_resolve_name("landlock_create_ruleset");

	if (!ctx || seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), number, 0) < 0 ||
		seccomp_load(ctx) < 0)
		_exit(EXIT_FAILURE);
	seccomp_release(ctx);
}

static inline void take_setting(enum setting setting)
{
	switch (setting) {
	case AS_ROOT:
		break;
	case AS_USER:
		become_ordinary();
		break;
	case WITHOUT_USER_NS:
		take_namespaces(false);
		break;
	case WITHOUT_ANY:
		take_landlock();
		take_namespaces(true);
		break;
	case WITHOUT_NAMESPACES:
	case SETTINGS:
		take_namespaces(true);
		break;
	}
}

static inline bool have_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1U) >= 1;
}

/* What sandbox_enter() should reach there. */
static inline enum sandbox_level level_of(enum setting setting)
{
	if (setting < WITHOUT_NAMESPACES)
		return SANDBOX_NAMESPACE;
	return setting == WITHOUT_NAMESPACES && have_landlock() ? SANDBOX_LANDLOCK : SANDBOX_WEAK;
}

/* Forks a child that enters the sandbox with these fds and exits with what fn returns. */
static inline pid_t start(enum setting setting, const int *keep, size_t kept, int (*fn)(void))
{
	pid_t pid = fork();
	enum sandbox_level want, got;
	struct error err = {0};

	ck_assert_int_ge(pid, 0);
	if (pid > 0)
		return pid;
	want = level_of(setting);
	take_setting(setting);
	if (sandbox_enter(want, keep, kept, &got, &err) < 0) {
		dprintf(STDERR_FILENO, "setting %d: %s\n", (int)setting, err.text);
		_exit(EXIT_REFUSED);
	}
	if (got != want)
		_exit(EXIT_REFUSED);
	_exit(fn());
}

static inline int finish(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static inline int inside(enum setting setting, const int *keep, size_t kept, int (*fn)(void))
{
	return finish(start(setting, keep, kept, fn));
}

static inline bool skipped(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
}

/* Root of the machine, not of a user namespace that somebody made for himself. */
static inline bool is_root(void)
{
	unsigned long inside_id, outside_id, count = 0;
	FILE *map = fopen("/proc/self/uid_map", "r");

	if (map && fscanf(map, "%lu %lu %lu", &inside_id, &outside_id, &count) != 3)
		count = 0;
	if (map)
		fclose(map);
	return geteuid() == 0 && count > 65536;
}

static inline bool skip_setting(enum setting setting)
{
	return setting == AS_ROOT && !is_root();
}

/* In a child: fails it, and says where. */
#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			dprintf(STDERR_FILENO, "line %d: %s: errno %d\n", __LINE__, #condition,    \
				errno);                                                            \
			return EXIT_FAILURE;                                                       \
		}                                                                                  \
	} while (0)

static inline void check_works(enum setting setting, const int *keep, size_t kept, int (*fn)(void))
{
	int status;

	if (skip_setting(setting))
		return;
	status = inside(setting, keep, kept, fn);
	if (skipped(status))
		return;
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "as %s: status %#x",
		setting_names[setting], (unsigned)status);
}

#endif
