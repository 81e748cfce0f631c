/* SPDX-License-Identifier: MIT */
/* Forward specs: what they become, and which part an error names. */
#include "cli/spec.h"
#include "tests/unit/check_main.h"

#include <string.h>
#include <unistd.h>

/* The spec's first item as JSON and its id. */
static void assert_item(const char *text, const char *json, const char *id)
{
	struct json_object *item;
	struct error err;
	struct spec spec;
	char buf[SPEC_ID_LEN];

	ck_assert_msg(spec_parse(text, &spec, &err) == 0, "%s: %s", text, err.text);
	item = spec_item(&spec, 0);
	ck_assert_str_eq(json_object_to_json_string_ext(
				 item, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		json);
	json_object_put(item);
	ck_assert_str_eq(spec_id(&spec, 0, buf, sizeof(buf)), id);
}

static void assert_fault(const char *text, const char *part, const char *words)
{
	struct error err;
	struct spec spec;

	ck_assert_msg(spec_parse(text, &spec, &err) < 0, "%s: taken", text);
	ck_assert_str_eq(err.field, part);
	ck_assert_msg(strstr(err.text, words) != NULL, "%s: %s", text, err.text);
	ck_assert_msg(strstr(err.text, part) != NULL, "%s: %s", text, err.text);
}

START_TEST(host_and_target)
{
	assert_item("8080:80",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"127.0.0.1\",\"port\":8080},\"to\":{\"port\":80}}",
		"tcp:127.0.0.1:8080");
}
END_TEST

START_TEST(any_free_port)
{
	assert_item("0:22",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"127.0.0.1\",\"port\":0},\"to\":{\"port\":22}}",
		"tcp:127.0.0.1:0");
}
END_TEST

START_TEST(udp_before_or_behind)
{
	const char *json = "{\"listen\":{\"proto\":\"udp\",\"addr\":\"127.0.0.1\",\"port\":53},"
			   "\"to\":{\"port\":5353}}";

	assert_item("udp:53:5353", json, "udp:127.0.0.1:53");
	assert_item("53:5353/udp", json, "udp:127.0.0.1:53");
	assert_item("udp:53:5353/udp", json, "udp:127.0.0.1:53");
}
END_TEST

START_TEST(bind_addresses)
{
	assert_item("192.0.2.1:80:80",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"192.0.2.1\",\"port\":80},\"to\":{\"port\":80}}",
		"tcp:192.0.2.1:80");
	assert_item("tcp:*:80:80",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"0.0.0.0\",\"port\":80},\"to\":{\"port\":80}}",
		"tcp:0.0.0.0:80");
	assert_item("[::1]:80:8080",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"::1\",\"port\":80},\"to\":{\"port\":8080}}",
		"tcp:[::1]:80");
}
END_TEST

START_TEST(vsock_and_tsi_targets)
{
	assert_item("1:vsock:4000000000",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"127.0.0.1\",\"port\":1},"
		"\"to\":{\"vsock\":4000000000}}",
		"tcp:127.0.0.1:1");
	assert_item("1:tsi",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"127.0.0.1\",\"port\":1},"
		"\"to\":{\"tsi\":\"first\"}}",
		"tcp:127.0.0.1:1");
	assert_item("1:tsi:80",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"127.0.0.1\",\"port\":1},"
		"\"to\":{\"tsi\":{\"vm_port\":80}}}",
		"tcp:127.0.0.1:1");
	assert_item("1:tsi@80",
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"127.0.0.1\",\"port\":1},"
		"\"to\":{\"tsi\":{\"bound_port\":80}}}",
		"tcp:127.0.0.1:1");
}
END_TEST

START_TEST(unix_paths)
{
	assert_item("unix:/p.sock:80", "{\"listen\":{\"unix\":\"/p.sock\"},\"to\":{\"port\":80}}",
		"unix:/p.sock");
	assert_item("unix:/a:b.sock:vsock:7",
		"{\"listen\":{\"unix\":\"/a:b.sock\"},\"to\":{\"vsock\":7}}", "unix:/a:b.sock");
	assert_item("unix:/p:tsi", "{\"listen\":{\"unix\":\"/p\"},\"to\":{\"tsi\":\"first\"}}",
		"unix:/p");
}
END_TEST

START_TEST(relative_unix_path_becomes_absolute)
{
	char cwd[128];
	struct error err;
	struct spec spec;

	ck_assert_int_eq(chdir("/tmp"), 0);
	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	ck_assert_int_eq(spec_parse("unix:x.sock:80", &spec, &err), 0);
	ck_assert_str_eq(spec.path, "/tmp/x.sock");
}
END_TEST

START_TEST(ranges_expand)
{
	struct json_object *item;
	struct error err;
	struct spec spec;
	char id[SPEC_ID_LEN];

	ck_assert_int_eq(spec_parse("8000-8009:9000-9009", &spec, &err), 0);
	ck_assert_uint_eq(spec.count, 10);
	item = spec_item(&spec, 9);
	ck_assert_str_eq(json_object_to_json_string_ext(item, JSON_C_TO_STRING_PLAIN),
		"{\"listen\":{\"proto\":\"tcp\",\"addr\":\"127.0.0.1\",\"port\":8009},"
		"\"to\":{\"port\":9009}}");
	json_object_put(item);
	ck_assert_str_eq(spec_id(&spec, 9, id, sizeof(id)), "tcp:127.0.0.1:8009");
	ck_assert_int_eq(spec_parse("1-256:1-256", &spec, &err), 0);
}
END_TEST

START_TEST(range_faults)
{
	assert_fault("8000-8009:9000-9008", "TARGET", "9 ports where HOST has 10");
	assert_fault("8000-8009:80", "TARGET", "1 ports where HOST has 10");
	assert_fault("1-257:1-257", "HOST", "256 are the most");
	assert_fault("10-5:1-6", "HOST", "backwards");
	assert_fault("5-10:10-5", "TARGET", "backwards");
	assert_fault("0-5:1-6", "HOST", "no part of a range");
	assert_fault("1-2:tsi", "HOST", "where TARGET is one");
	assert_fault("unix:/p:1-2", "TARGET", "one port");
}
END_TEST

START_TEST(faults_name_the_part)
{
	assert_fault("", "HOST", "missing");
	assert_fault("8080", "TARGET", "missing");
	assert_fault("8080:", "TARGET", "missing");
	assert_fault("8080:http", "TARGET", "\"http\"");
	assert_fault("8080:0", "TARGET", "\"0\"");
	assert_fault("8080:65536", "TARGET", "\"65536\"");
	assert_fault("65536:80", "HOST", "\"65536\"");
	assert_fault("80:80:80", "TARGET", "\"80:80\"");
	assert_fault("localhost:80:80", "BIND", "\"localhost\"");
	assert_fault("1.2.3:80:80", "BIND", "\"1.2.3\"");
	assert_fault("[::1:80:80", "BIND", "]:");
	assert_fault("[1.2.3.4]:80:80", "BIND", "IPv6");
	assert_fault("::1:80:80", "BIND", "brackets");
	assert_fault("80:80/sctp", "TARGET", "/udp");
	assert_fault("tcp:80:80/udp", "TARGET", "says tcp");
	assert_fault("udp:80:vsock:1", "TARGET", "no udp");
	assert_fault("80:vsock:", "TARGET", "no port");
	assert_fault("80:tsi:0", "TARGET", "\"0\"");
	assert_fault("80: 80", "TARGET", "\" 80\"");
	assert_fault("80:+80", "TARGET", "\"+80\"");
	assert_fault("unix::80", "PATH", "missing");
	assert_fault("unix:", "PATH", "missing");
	assert_fault("unix:/a/b", "TARGET", "missing");
	assert_fault("unix:/a:b/c", "TARGET", "missing");
}
END_TEST

START_TEST(long_path_is_a_fault)
{
	char text[300] = "unix:/";

	memset(text + 6, 'a', 200);
	strcpy(text + 206, ":80");
	assert_fault(text, "PATH", "201 bytes");
}
END_TEST

START_TEST(ids_are_told_from_specs)
{
	ck_assert(spec_is_id("tcp:127.0.0.1:8080"));
	ck_assert(spec_is_id("udp:[::1]:53"));
	ck_assert(spec_is_id("unix:/p.sock"));
	ck_assert(!spec_is_id("tcp:8080:80"));
	ck_assert(!spec_is_id("8080:80"));
	ck_assert(!spec_is_id("127.0.0.1:8080:80"));
}
END_TEST

static Suite *spec_suite(void)
{
	Suite *suite = suite_create("spec");
	TCase *tc = tcase_create("spec");

	tcase_add_test(tc, host_and_target);
	tcase_add_test(tc, any_free_port);
	tcase_add_test(tc, udp_before_or_behind);
	tcase_add_test(tc, bind_addresses);
	tcase_add_test(tc, vsock_and_tsi_targets);
	tcase_add_test(tc, unix_paths);
	tcase_add_test(tc, relative_unix_path_becomes_absolute);
	tcase_add_test(tc, ranges_expand);
	tcase_add_test(tc, range_faults);
	tcase_add_test(tc, faults_name_the_part);
	tcase_add_test(tc, long_path_is_a_fault);
	tcase_add_test(tc, ids_are_told_from_specs);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	return run_suite(spec_suite());
}
