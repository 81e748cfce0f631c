/* SPDX-License-Identifier: MIT */
/* A VM's settings: what is read, what each error names, and that the text reads back. */
#include "ctl/vm_config.h"

#include "ctl/json_read.h"
#include "tests/unit/check_main.h"

#include <string.h>

static struct error err;
static struct vm_config config;

static int read_text(const char *text)
{
	struct json_object *doc = json_tokener_parse(text);
	int status;

	ck_assert_ptr_nonnull(doc);
	status = vm_config_read(doc, "/run/netctl", VM_LINK_STREAM, &config, &err);
	json_object_put(doc);
	return status;
}

START_TEST(defaults)
{
	char text[ADDR_STRLEN];

	ck_assert_int_eq(read_text("{\"name\":\"web\"}"), 0);
	ck_assert_str_eq(config.path, "/run/netctl/vms/web/link.sock");
	ck_assert_str_eq(addr_format(&config.gateway, text, sizeof(text)), "10.0.2.2");
	ck_assert_str_eq(addr_format(&config.guest, text, sizeof(text)), "10.0.2.15");
	ck_assert_uint_eq(vm_config_mtu(&config, false), 65520);
	ck_assert_uint_eq(vm_config_mtu(&config, true), 1500);
}
END_TEST

START_TEST(small_subnet_has_a_guest_too)
{
	char text[ADDR_STRLEN];

	ck_assert_int_eq(read_text("{\"name\":\"a\",\"net\":{\"subnet\":\"192.168.9.8/29\"}}"), 0);
	ck_assert_str_eq(addr_format(&config.guest, text, sizeof(text)), "192.168.9.11");
}
END_TEST

START_TEST(text_reads_back)
{
	struct vm_config first;
	struct json_object *doc;

	ck_assert_int_eq(
		read_text(
			"{\"name\":\"a.b\",\"link\":{\"kind\":\"dgram\",\"path\":\"/tmp/x.sock\",\"handed\":true,"
			"\"mtu\":4000},\"net\":{\"subnet\":\"172.16.0.0/16\",\"mac\":\"52:54:00:01:02:03\"},"
			"\"dns\":{\"upstreams\":[\"1.1.1.1\",\"[::1]:5353\"],\"search\":[\"example.com\"],"
			"\"unlisted\":\"answer\"},"
			"\"host_access\":true,\"ttl\":60,\"limits\":{\"rate_in\":1000000000000,"
			"\"rate_out\":8000,\"max_flows\":1,\"new_flows\":1000000}}"),
		0);
	first = config;
	doc = vm_config_json(&config);
	ck_assert_int_eq(vm_config_read(doc, "/run/netctl", VM_LINK_NONE, &config, &err), 0);
	json_object_put(doc);
	ck_assert_mem_eq(&first, &config, sizeof(config));
}
END_TEST

static const struct {
	const char *doc;
	const char *field;
} bad[] = {
	{"{}", "name"},
	{"{\"name\":7}", "name"},
	{"{\"name\":\"\"}", "name"},
	{"{\"name\":\"Web\"}", "name"},
	{"{\"name\":\"-web\"}", "name"},
	{"{\"name\":\"../web\"}", "name"},
	{"{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", "name"},
	{"{\"name\":\"a\",\"link\":[]}", "link"},
	{"{\"name\":\"a\",\"link\":{\"kind\":\"wire\"}}", "link.kind"},
	{"{\"name\":\"a\",\"link\":{\"speed\":1}}", "link.speed"},
	{"{\"name\":\"a\",\"link\":{\"mtu\":100}}", "link.mtu"},
	{"{\"name\":\"a\",\"link\":{\"mtu\":\"1500\"}}", "link.mtu"},
	{"{\"name\":\"a\",\"link\":{\"path\":\"/tmp/link.sock\"}}", "link.path"},
	{"{\"name\":\"a\",\"link\":{\"path\":\"/run/netctl/vms/a/../b/link.sock\"}}", "link.path"},
	{"{\"name\":\"a\",\"link\":{\"path\":\"/run/netctl/vms/b/link.sock\"}}", "link.path"},
	{"{\"name\":\"a\",\"link\":{\"path\":\"link.sock\",\"handed\":true}}", "link.path"},
	{"{\"name\":\"a\",\"link\":{\"handed\":true}}", "link.path"},
	{"{\"name\":\"a\",\"link\":{\"kind\":\"none\",\"path\":\"/x\"}}", "link.path"},
	{"{\"name\":\"a\",\"link\":{\"handed\":true,\"path\":\"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}",
		"link.path"},
	{"{\"name\":\"a\",\"net\":{\"subnet\":\"10.0.0.0/30\"}}", "net.subnet"},
	{"{\"name\":\"a\",\"net\":{\"subnet\":\"10.0.0.1/24\"}}", "net.subnet"},
	{"{\"name\":\"a\",\"net\":{\"subnet\":\"fd00::/64\"}}", "net.subnet"},
	{"{\"name\":\"a\",\"net\":{\"subnet\":\"127.0.0.0/8\"}}", "net.subnet"},
	{"{\"name\":\"a\",\"net\":{\"mac\":\"01:00:5e:00:00:01\"}}", "net.mac"},
	{"{\"name\":\"a\",\"net\":{\"mac\":\"52:54\"}}", "net.mac"},
	{"{\"name\":\"a\",\"dns\":{\"upstreams\":[\"one\"]}}", "dns.upstreams[0]"},
	{"{\"name\":\"a\",\"dns\":{\"upstreams\":[\"1.1.1.1\",\"0.0.0.0\"]}}", "dns.upstreams[1]"},
	{"{\"name\":\"a\",\"dns\":{\"search\":[\"a..b\"]}}", "dns.search[0]"},
	{"{\"name\":\"a\",\"dns\":{\"unlisted\":\"maybe\"}}", "dns.unlisted"},
	{"{\"name\":\"a\",\"dns\":{\"unlisted\":true}}", "dns.unlisted"},
	{"{\"name\":\"a\",\"host_access\":1}", "host_access"},
	{"{\"name\":\"a\",\"ttl\":-1}", "ttl"},
	{"{\"name\":\"a\",\"limits\":[]}", "limits"},
	{"{\"name\":\"a\",\"limits\":{\"rate\":1}}", "limits.rate"},
	{"{\"name\":\"a\",\"limits\":{\"rate_in\":7999}}", "limits.rate_in"},
	{"{\"name\":\"a\",\"limits\":{\"rate_in\":\"100mbit\"}}", "limits.rate_in"},
	{"{\"name\":\"a\",\"limits\":{\"rate_out\":1000000000001}}", "limits.rate_out"},
	{"{\"name\":\"a\",\"limits\":{\"rate_out\":99999999999999999999}}", "limits.rate_out"},
	{"{\"name\":\"a\",\"limits\":{\"max_flows\":0}}", "limits.max_flows"},
	{"{\"name\":\"a\",\"limits\":{\"new_flows\":1000001}}", "limits.new_flows"},
};

START_TEST(error_names_its_field)
{
	ck_assert_int_eq(read_text(bad[_i].doc), -1);
	ck_assert_str_eq(err.field, bad[_i].field);
	ck_assert_int_eq(err.status, 400);
}
END_TEST

static const struct {
	const char *target, *patch, *result;
} patches[] = {
	/* RFC 7396, appendix A */
	{"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
	{"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
	{"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
	{"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
	{"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
	{"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
	{"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
	{"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
	{"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
	{"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
	{"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
};

START_TEST(merge_patch)
{
	struct json_object *target = json_tokener_parse(patches[_i].target);
	struct json_object *patch = json_tokener_parse(patches[_i].patch);
	struct json_object *merged = json_merge_patch(target, patch);

	ck_assert_str_eq(json_text(merged), patches[_i].result);
	json_object_put(target);
	json_object_put(patch);
	json_object_put(merged);
}
END_TEST

static const char *const not_json[] = {"", " ", "{", "{\"a\":1", "{\"a\":1}}", "{'a':1}",
	"{\"a\":1,}", "nul", "null", "\xff", "{\"a\":\"\xff\"}",
	"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"};

START_TEST(what_is_not_json_is_refused)
{
	ck_assert_ptr_null(json_read(not_json[_i], strlen(not_json[_i]), &err));
	ck_assert_int_eq(err.status, 400);
}
END_TEST

static const char *const is_json[] = {"{}", " {\"a\" : 1 } \n", "\"public\"", "7", "true", "[1]"};

START_TEST(what_is_json_is_read)
{
	struct json_object *doc = json_read(is_json[_i], strlen(is_json[_i]), &err);

	ck_assert_msg(doc != NULL, "%s", err.text);
	json_object_put(doc);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("VM settings");
	TCase *tc = tcase_create("VM settings");

	tcase_add_test(tc, defaults);
	tcase_add_test(tc, small_subnet_has_a_guest_too);
	tcase_add_test(tc, text_reads_back);
	tcase_add_loop_test(tc, error_names_its_field, 0, sizeof(bad) / sizeof(*bad));
	tcase_add_loop_test(tc, merge_patch, 0, sizeof(patches) / sizeof(*patches));
	tcase_add_loop_test(
		tc, what_is_not_json_is_refused, 0, sizeof(not_json) / sizeof(*not_json));
	tcase_add_loop_test(tc, what_is_json_is_read, 0, sizeof(is_json) / sizeof(*is_json));
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
