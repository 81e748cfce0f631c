/* SPDX-License-Identifier: MIT */
/* The sandbox from the outside: what /proc says of one that is in it, and which level is reached. */
#include "tests/unit/sandbox_rig_linux.h"

#include <dirent.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

static int handed[4]; /* fds that the test hands to the child */

/* ---- what it says from outside ---- */

static void wait_and_hold(void)
{
	char byte;

	if (write(handed[1], "r", 1) != 1 || read(handed[0], &byte, 1) < 0)
		_exit(EXIT_FAILURE);
}

static int holds(void)
{
	wait_and_hold();
	return 0;
}

/* The value of a line of /proc/PID/status, as text. */
static void status_line(pid_t pid, const char *key, char *out, size_t len)
{
	char path[64], line[256];
	FILE *file;

	out[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) != 0 || line[strlen(key)] != ':')
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(out, len, "%s",
			line + strlen(key) + 1 + strspn(line + strlen(key) + 1, "\t "));
	}
	fclose(file);
}

static void assert_status(pid_t pid, const char *key, const char *want)
{
	char got[128];

	status_line(pid, key, got, sizeof(got));
	ck_assert_msg(strcmp(got, want) == 0, "%s: %s, not %s", key, got, want);
}

static int entries_of_root(pid_t pid)
{
	char path[64];
	DIR *dir;
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/root/", (int)pid);
	dir = opendir(path);
	ck_assert_msg(dir != NULL, "%s: errno %d", path, errno);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

/* Starts a child that sits in the sandbox until its pipe is closed. */
static pid_t start_held(enum setting setting, int *release)
{
	int in[2], out[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(os_pipe(in), 0);
	ck_assert_int_eq(os_pipe(out), 0);
	handed[0] = in[0];
	handed[1] = out[1];
	pid = start(setting, handed, 2, holds);
	close(in[0]);
	close(out[1]);
	*release = in[1];
	if (read(out[0], &byte, 1) != 1) {
		ck_assert(skipped(finish(pid)));
		pid = -1;
	}
	close(out[0]);
	return pid;
}

START_TEST(proc_shows_the_sandbox)
{
	static const char none[] = "0000000000000000";
	enum setting setting = (enum setting)_i;
	char ids[128];
	int release;
	pid_t pid;

	if (skip_setting(setting))
		return;
	pid = start_held(setting, &release);
	if (pid < 0)
		return;

	assert_status(pid, "CapInh", none);
	assert_status(pid, "CapPrm", none);
	assert_status(pid, "CapEff", none);
	assert_status(pid, "CapAmb", none);
	assert_status(pid, "CapBnd", none);
	assert_status(pid, "NoNewPrivs", "1");
	assert_status(pid, "Seccomp", "2");
	assert_status(pid, "Threads", "1");
	status_line(pid, "Uid", ids, sizeof(ids));
	ck_assert_msg(!is_root() || strncmp(ids, "0\t", 2) != 0, "runs as root: %s", ids);
	if (setting == AS_ROOT)
		assert_status(pid, "Groups", "");
	if (is_root() && level_of(setting) == SANDBOX_NAMESPACE)
		ck_assert_int_eq(entries_of_root(pid), 0);
	close(release);
	ck_assert_int_eq(finish(pid), 0);
}
END_TEST

static bool same_namespace(pid_t pid, const char *kind)
{
	char path[64], ours[64], theirs[64];
	ssize_t a, b;

	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	a = readlink(path, ours, sizeof(ours));
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
	b = readlink(path, theirs, sizeof(theirs));
	ck_assert_int_gt(a, 0);
	ck_assert_int_gt(b, 0);
	return a == b && memcmp(ours, theirs, (size_t)a) == 0;
}

START_TEST(only_the_network_is_shared)
{
	int release;
	pid_t pid;

	if (!is_root()) /* nobody else may look */
		return;
	pid = start_held((enum setting)_i, &release);

	ck_assert(same_namespace(pid, "net"));
	ck_assert(!same_namespace(pid, "user"));
	ck_assert(!same_namespace(pid, "mnt"));
	ck_assert(!same_namespace(pid, "ipc"));
	ck_assert(!same_namespace(pid, "uts"));
	close(release);
	ck_assert_int_eq(finish(pid), 0);
}
END_TEST

/* ---- levels ---- */

START_TEST(levels_have_names)
{
	enum sandbox_level level;

	for (int i = SANDBOX_NAMESPACE; i <= SANDBOX_WEAK; i++) {
		ck_assert_int_eq(
			sandbox_level_parse(sandbox_level_name((enum sandbox_level)i), &level), 0);
		ck_assert_int_eq(level, i);
	}
	ck_assert_int_eq(sandbox_level_parse("strong", &level), -EINVAL);
}
END_TEST

/* Enters from a setting; the exit status is the level, or EXIT_REFUSED with the text. */
static int enter(enum setting setting, enum sandbox_level least, char *text, size_t len)
{
	int fds[2], status;
	enum sandbox_level got;
	struct error err = {0};
	ssize_t n;
	pid_t pid;

	ck_assert_int_eq(os_pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		take_setting(setting);
		if (sandbox_enter(least, &fds[1], 1, &got, &err) == 0)
			_exit((int)got);
		_exit(write(fds[1], err.text, strlen(err.text)) > 0 ? EXIT_REFUSED : EXIT_FAILURE);
	}
	close(fds[1]);
	n = read(fds[0], text, len - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	status = finish(pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(weak_must_be_permitted)
{
	char text[512];
	int got = enter(WITHOUT_ANY, SANDBOX_LANDLOCK, text, sizeof(text));

	if (got == EXIT_SKIPPED)
		return;
	ck_assert_int_eq(got, EXIT_REFUSED);
	ck_assert_ptr_nonnull(strstr(text, "level landlock is wanted, weak is what there is"));
	ck_assert_ptr_nonnull(strstr(text, "namespaces: No space left on device"));
	ck_assert_ptr_nonnull(strstr(text, "Landlock: Operation not supported"));
}
END_TEST

START_TEST(namespaces_can_be_demanded)
{
	char text[512];
	int got = enter(WITHOUT_NAMESPACES, SANDBOX_NAMESPACE, text, sizeof(text));

	if (got == EXIT_SKIPPED)
		return;
	ck_assert_int_eq(got, EXIT_REFUSED);
	ck_assert_ptr_nonnull(strstr(text, "level namespace is wanted"));
}
END_TEST

START_TEST(permitted_weak_is_the_last_resort)
{
	char text[512];
	int got = enter(AS_USER, SANDBOX_WEAK, text, sizeof(text));

	if (got != EXIT_SKIPPED)
		ck_assert_int_eq(got, SANDBOX_NAMESPACE);
}
END_TEST

/* The weakest level's filter must not lean on what the others add: no path can even be asked about. */
static int asks_about_a_path(void)
{
	struct stat st;

	return syscall(SYS_newfstatat, AT_FDCWD, "/", &st, AT_EMPTY_PATH) < 0 ? errno : 0;
}

START_TEST(empty_path_names_nothing)
{
	int status = inside((enum setting)_i, NULL, 0, asks_about_a_path);

	if (skipped(status))
		return;
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EACCES);
}
END_TEST

/* ---- abstract unix sockets, which lie in the network namespace that we keep ---- */

static struct sockaddr_un abstract;
static socklen_t abstract_len;

static int sends_to_abstract(void)
{
	return sendto(handed[0], "x", 1, 0, (struct sockaddr *)&abstract, abstract_len) < 0 ? errno
											    : 0;
}

START_TEST(a_dgram_link_reaches_no_abstract_socket)
{
	int pair[2], server = socket(AF_UNIX, SOCK_DGRAM, 0), status;

	if (skip_setting((enum setting)_i) || syscall(SYS_landlock_create_ruleset, NULL, 0, 1U) < 6)
		return;
	abstract.sun_family = AF_UNIX;
	abstract_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
		(unsigned)snprintf(abstract.sun_path + 1, 32, "netctl-test-%d", (int)getpid()));
	ck_assert_int_eq(bind(server, (struct sockaddr *)&abstract, abstract_len), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	handed[0] = pair[0];

	status = inside((enum setting)_i, handed, 1, sends_to_abstract);

	ck_assert(skipped(status) || (WIFEXITED(status) && WEXITSTATUS(status) == EPERM));
}
END_TEST

START_TEST(a_directory_is_not_kept)
{
	enum sandbox_level got;
	struct error err;
	int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_eq(sandbox_enter(SANDBOX_WEAK, &dir, 1, &got, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "sandbox: file descriptors"));
}
END_TEST

static Suite *sandbox_levels_suite(void)
{
	Suite *suite = suite_create("sandbox_levels");
	TCase *shows = tcase_create("shows"), *levels = tcase_create("levels");
	const int first = AS_ROOT, end = SETTINGS;

	tcase_add_loop_test(shows, proc_shows_the_sandbox, first, end);
	tcase_add_loop_test(shows, only_the_network_is_shared, AS_ROOT, AS_USER + 1);
	tcase_add_test(levels, levels_have_names);
	tcase_add_test(levels, weak_must_be_permitted);
	tcase_add_test(levels, namespaces_can_be_demanded);
	tcase_add_test(levels, permitted_weak_is_the_last_resort);
	tcase_add_loop_test(levels, empty_path_names_nothing, WITHOUT_NAMESPACES, SETTINGS);
	tcase_add_loop_test(levels, a_dgram_link_reaches_no_abstract_socket, AS_ROOT, WITHOUT_ANY);
	tcase_add_test(levels, a_directory_is_not_kept);
	suite_add_tcase(suite, shows);
	suite_add_tcase(suite, levels);
	return suite;
}

int main(void)
{
	return run_suite(sandbox_levels_suite());
}
