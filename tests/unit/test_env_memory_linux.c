/* SPDX-License-Identifier: MIT */
/* Who may read all of netctld's memory finds no secret in it, a moment after it came. */
#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

#include <fcntl.h>
#include <inttypes.h>

#define VALUE "wiped-when-sealed-51d0c2"
#define SHOWN "kept-for-all-to-see-a83f"
#define REGION_MAX ((uint64_t)256 << 20) /* no more is in use; sanitizers reserve terabytes */

static struct api_rig rig;

static void set_up(void)
{
	api_rig_start(&rig);
	api_expect(&rig, 201, "POST", "/v1/vms", "{\"name\":\"web\",\"link\":{\"kind\":\"none\"}}");
}

static void tear_down(void)
{
	api_rig_stop(&rig);
}

static int count_in(const char *text, size_t len, const char *bytes)
{
	size_t want = strlen(bytes);
	const char *p = text;
	int n = 0;

	while (len >= want && (p = memmem(p, len - (size_t)(p - text), bytes, want))) {
		n++;
		p++;
	}
	return n;
}

static int count_in_region(int fd, uint64_t from, uint64_t to, const char *bytes)
{
	static char text[(1 << 20) + 64];
	size_t keep = 0, want = strlen(bytes);
	int n = 0;

	for (uint64_t at = from; at < to;) {
		size_t some = to - at < 1 << 20 ? (size_t)(to - at) : 1 << 20;
		ssize_t got = pread(fd, text + keep, some, (off_t)at);

		if (got <= 0)
			break;
		n += count_in(text, keep + (size_t)got, bytes);
		/* A match may lie across two reads; what is kept is too short to match again. */
		some = keep + (size_t)got;
		keep = some < want - 1 ? some : want - 1;
		memmove(text, text + some - keep, keep);
		at += (uint64_t)got;
	}
	return n;
}

/* How often netctld's memory holds these bytes, or -1 where we may not look. */
static int count_in_memory(const char *bytes)
{
	char name[64], line[512];
	uint64_t from, to;
	FILE *maps;
	int fd, n = 0;
	char mode;

	snprintf(name, sizeof(name), "/proc/%d/mem", (int)rig.pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	snprintf(name, sizeof(name), "/proc/%d/maps", (int)rig.pid);
	maps = fopen(name, "re");
	if (fd < 0 || !maps) {
		if (fd >= 0)
			close(fd);
		if (maps)
			fclose(maps);
		return -1;
	}
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %c", &from, &to, &mode) == 3 &&
			mode == 'r' && to - from <= REGION_MAX && from <= INT64_MAX)
			n += count_in_region(fd, from, to, bytes);
	}
	fclose(maps);
	close(fd);
	return n;
}

START_TEST(memory_holds_no_secret)
{
	static char large[60000];
	int len = snprintf(large, sizeof(large), "%030000d" VALUE, 0);

	memset(large + len, 'x', sizeof(large) - 1 - (size_t)len);
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", "{\"A\":\"" SHOWN "\"}");
	api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/S", VALUE);
	api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/LARGE", large);
	api_expect(&rig, 400, "PUT", "/v1/vms/web/secrets/a%20b", large);
	api_expect(&rig, 404, "PUT", "/v1/vms/nobody/secrets/S", VALUE);
	api_expect(&rig, 405, "POST", "/v1/vms/web/secrets/S", VALUE);
	poll(NULL, 0, 300);
	if (count_in_memory(SHOWN) < 0)
		return; /* netctld keeps its memory from us */
	ck_assert_int_gt(count_in_memory(SHOWN), 0);
	ck_assert_int_eq(count_in_memory(VALUE), 0);
}
END_TEST

START_TEST(memory_holds_no_password_of_a_proxy)
{
	api_expect(&rig, 200, "PATCH", "/v1/vms/web",
		"{\"proxy\":{\"url\":\"socks5://joe@192.0.2.1\"}}");
	/* With a worker, to which it is told. */
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards",
		"{\"listen\":{\"port\":0},\"to\":{\"port\":80}}");
	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", VALUE);
	api_expect(&rig, 400, "PATCH", "/v1/vms/web", "{\"ttl\":-1}");
	poll(NULL, 0, 300);
	if (count_in_memory(VALUE) >= 0)
		ck_assert_int_eq(count_in_memory(VALUE), 0);
}
END_TEST

/* Its own user may not, either: no dump, no ptrace. */
START_TEST(no_core_is_dumped)
{
	char name[64], line[256], limit[32] = "";
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/limits", (int)rig.pid);
	f = fopen(name, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "Max core file size %31s", limit);
	fclose(f);
	ck_assert_str_eq(limit, "0");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("netctld's memory");
	TCase *tc = tcase_create("memory");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, memory_holds_no_secret);
	tcase_add_test(tc, memory_holds_no_password_of_a_proxy);
	tcase_add_test(tc, no_core_is_dumped);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
