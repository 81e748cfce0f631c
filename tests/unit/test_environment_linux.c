/* SPDX-License-Identifier: MIT */
/* What stands in netctld's environment does not get to the spawner and the workers. */
#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <fcntl.h>

#define VALUE "of-the-operator-only-77d1"

static struct api_rig rig;

static void set_up(void)
{
	setenv("HTTP_PROXY", "http://joe:" VALUE "@proxy.example", 1);
	setenv("https_proxy", "http://joe:" VALUE "@proxy.example", 1);
	setenv("SOME_TOKEN", VALUE, 1);
	api_rig_start(&rig);
	api_expect(
		&rig, 201, "POST", "/v1/vms", "{\"name\":\"web\",\"link\":{\"kind\":\"stream\"}}");
}

static void tear_down(void)
{
	api_rig_stop(&rig);
}

/* With a newline in place of each NUL. */
static const char *environ_of(int pid)
{
	static char text[65536];
	char path[64];
	size_t used = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_msg(fd >= 0 || errno == EACCES, "%s: %s", path, strerror(errno));
	while (fd >= 0 && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	if (fd >= 0)
		close(fd);
	text[used] = '\0';
	for (size_t i = 0; i < used; i++)
		text[i] = (char)(text[i] ? text[i] : '\n');
	return text;
}

static int parent_of(int pid)
{
	char path[64], text[512] = "";
	FILE *f;
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
	fclose(f);
	ck_assert_int_eq(sscanf(strrchr(text, ')'), ") %*c %d", &parent), 1);
	return parent;
}

static int worker(void)
{
	for (int i = 0; i < 500; i++) {
		api_expect(&rig, 200, "GET", "/v1/vms/web", NULL);
		if (atoi(api_text(&rig, "worker.pid")) > 0)
			return atoi(api_text(&rig, "worker.pid"));
		poll(NULL, 0, 20);
	}
	ck_abort_msg("no worker: %s", rig.body);
	return 0;
}

START_TEST(a_worker_has_next_to_nothing)
{
	int pid = worker();

	ck_assert_ptr_null(strstr(environ_of(pid), VALUE));
	ck_assert_ptr_null(strstr(environ_of(pid), "HOME="));
	ck_assert_ptr_null(strstr(environ_of(parent_of(pid)), VALUE));
	ck_assert_ptr_null(strstr(environ_of(parent_of(pid)), "HOME="));
}
END_TEST

/* netctld's own has what it does not know of, and no proxy's password. */
START_TEST(netctld_keeps_no_proxy)
{
	ck_assert_ptr_null(strstr(environ_of(rig.pid), "joe:"));
	ck_assert(!*environ_of(rig.pid) || strstr(environ_of(rig.pid), "SOME_TOKEN=" VALUE));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("environment");
	TCase *tc = tcase_create("environment");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, a_worker_has_next_to_nothing);
	tcase_add_test(tc, netctld_keeps_no_proxy);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
