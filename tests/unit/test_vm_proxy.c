/* SPDX-License-Identifier: MIT */
/* A VM's proxy by the API: its document, its password's life, records. */
#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

#include <sqlite3.h>

#define VALUE "spoken-to-the-proxy-9b1c"
#define VM                                                                                         \
	"{\"name\":\"web\",\"link\":{\"kind\":\"none\"},\"proxy\":{\"url\":\"socks5://joe@192.0.2.1:9\"}}"

static struct api_rig rig;

static void set_up(void)
{
	api_rig_start(&rig);
	api_expect(&rig, 201, "POST", "/v1/vms", VM);
}

static void tear_down(void)
{
	api_rig_stop(&rig);
}

static const char *shown(const char *path)
{
	api_expect(&rig, 200, "GET", "/v1/vms/web", NULL);
	ck_assert_ptr_null(strstr(rig.body, VALUE));
	return api_text(&rig, path);
}

START_TEST(the_document_has_it)
{
	ck_assert_str_eq(shown("proxy.url"), "socks5://joe@192.0.2.1:9");
	ck_assert_str_eq(shown("proxy.password"), "false");
	api_expect(&rig, 200, "POST", "/v1/vms", VM);
	api_expect(&rig, 409, "POST", "/v1/vms", "{\"name\":\"web\",\"link\":{\"kind\":\"none\"}}");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web", "{\"proxy\":{\"no_proxy\":[\"a.example\"]}}");
	ck_assert_str_eq(shown("proxy.url"), "socks5://joe@192.0.2.1:9");
	ck_assert_str_eq(shown("proxy.no_proxy.0"), "a.example");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web", "{\"proxy\":null}");
	ck_assert_str_eq(shown("proxy.url"), "none");
	api_expect_field(&rig, 400, "proxy.url", "PATCH", "/v1/vms/web",
		"{\"proxy\":{\"url\":\"http://joe:" VALUE "@h\"}}");
	ck_assert_ptr_null(strstr(rig.body, VALUE));
}
END_TEST

START_TEST(a_password_is_for_one_proxy)
{
	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", VALUE);
	ck_assert_str_eq(shown("proxy.password"), "true");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web", "{\"proxy\":{\"on_failure\":\"direct\"}}");
	ck_assert_str_eq(shown("proxy.password"), "true");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web",
		"{\"proxy\":{\"url\":\"socks5://joe@192.0.2.2:9\"}}");
	ck_assert_str_eq(shown("proxy.password"), "false");
	api_expect(&rig, 404, "DELETE", "/v1/vms/web/proxy/password", NULL);
	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", VALUE);
	api_expect(&rig, 204, "DELETE", "/v1/vms/web/proxy/password", NULL);
	ck_assert_str_eq(shown("proxy.password"), "false");
}
END_TEST

START_TEST(a_password_survives_a_crash)
{
	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", VALUE);
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	ck_assert_str_eq(shown("proxy.password"), "true");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web", "{\"proxy\":{\"url\":\"none\"}}");
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	ck_assert_str_eq(shown("proxy.password"), "false");
}
END_TEST

START_TEST(passwords_that_are_none)
{
	char large[300];

	memset(large, 'x', sizeof(large));
	large[255] = '\0';
	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", large);
	large[255] = 'x';
	large[256] = '\0';
	api_expect(&rig, 413, "PUT", "/v1/vms/web/proxy/password", large);
	api_expect(&rig, 400, "PUT", "/v1/vms/web/proxy/password", "");
	api_expect(&rig, 404, "PUT", "/v1/vms/nobody/proxy/password", VALUE);
	api_expect(&rig, 200, "PATCH", "/v1/vms/web",
		"{\"proxy\":{\"url\":\"socks5://192.0.2.1:9\"}}");
	api_expect_field(&rig, 409, "proxy.url", "PUT", "/v1/vms/web/proxy/password", VALUE);
}
END_TEST

/* Takes a record, and says its id. */
static const char *snapshot(void)
{
	static char id[32];

	api_expect(&rig, 201, "POST", "/v1/vms/web/snapshots", NULL);
	snprintf(id, sizeof(id), "%.31s", api_text(&rig, "id"));
	return id;
}

static void restore(int status, const char *id, const char *more)
{
	char body[128];

	snprintf(body, sizeof(body), "{\"snapshot\":\"%s\"%s}", id, more);
	api_expect(&rig, status, "POST", "/v1/vms/web/restore", body);
}

START_TEST(a_record_has_the_proxy_and_no_password)
{
	char path[96];
	const char *id;

	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", VALUE);
	id = snapshot();
	snprintf(path, sizeof(path), "/v1/snapshots/%s/export", id);
	api_expect(&rig, 200, "GET", path, NULL);
	ck_assert_ptr_null(strstr(rig.body, VALUE));
	ck_assert_ptr_nonnull(strstr(rig.body, "joe@192.0.2.1"));
	restore(200, id, ""); /* the password is for the same proxy: it stays */
	ck_assert_str_eq(api_text(&rig, "missing_secrets.0"), "");
	ck_assert_str_eq(shown("proxy.password"), "true");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web", "{\"proxy\":{\"url\":\"none\"}}");
	restore(409, id, ",\"require_secrets\":true");
	ck_assert_str_eq(shown("proxy.url"), "none");
	restore(200, id, "");
	ck_assert_str_eq(api_text(&rig, "missing_secrets.0"), "proxy password");
	ck_assert_str_eq(shown("proxy.url"), "socks5://joe@192.0.2.1:9");
	ck_assert_str_eq(shown("proxy.password"), "false");
}
END_TEST

START_TEST(a_record_of_none_brings_none)
{
	const char *id;

	api_expect(&rig, 200, "PATCH", "/v1/vms/web", "{\"proxy\":null}");
	id = snapshot();
	api_expect(&rig, 200, "PATCH", "/v1/vms/web",
		"{\"proxy\":{\"url\":\"socks5://joe@192.0.2.1:9\"}}");
	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", VALUE);
	restore(200, id, "");
	ck_assert_str_eq(shown("proxy.url"), "none");
	ck_assert_str_eq(shown("proxy.password"), "false");
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	ck_assert_str_eq(shown("proxy.url"), "none");
	ck_assert_str_eq(shown("proxy.password"), "false");
}
END_TEST

START_TEST(fake_addresses_and_the_preset)
{
	static const char check[] = "{\"to\":\"198.18.0.7\",\"port\":443}";

	api_expect(&rig, 200, "POST", "/v1/vms/web/policy/check", check);
	ck_assert_ptr_nonnull(strstr(rig.body, "\"deny\""));
	api_expect(&rig, 200, "PATCH", "/v1/vms/web", "{\"proxy\":{\"fake_ip\":\"on\"}}");
	api_expect(&rig, 200, "POST", "/v1/vms/web/policy/check", check);
	ck_assert_ptr_nonnull(strstr(rig.body, "\"allow\""));
	api_expect(&rig, 200, "POST", "/v1/vms/web/policy/check",
		"{\"to\":\"10.0.0.7\",\"port\":443}");
	ck_assert_ptr_nonnull(strstr(rig.body, "\"deny\""));
	ck_assert_str_eq(shown("proxy.fake_ip_in_force"), "true");
}
END_TEST

/* ---- a PATCH is one ---- */

#define CHANGE "{\"limits\":{\"rate_in\":1000000},\"proxy\":{\"url\":\"none\"},\"policy\":"

static void in_database(const char *sql)
{
	char path[128];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/state/netctl.db", rig.dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 5000);
	ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void expect_nothing_changed(void)
{
	ck_assert_str_eq(shown("proxy.url"), "socks5://joe@192.0.2.1:9");
	ck_assert_str_eq(shown("proxy.password"), "true");
	ck_assert_str_eq(shown("limits.rate_in"), "");
	ck_assert_str_eq(shown("policy.preset"), "public");
}

START_TEST(a_policy_that_does_not_compile_leaves_all_as_it_was)
{
	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", VALUE);
	api_expect_field(&rig, 400, "policy.rules[0]", "PATCH", "/v1/vms/web",
		CHANGE
		"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"64:ff9b::/112\"]}]}}");
	expect_nothing_changed();
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	expect_nothing_changed();
}
END_TEST

static const char *const writes[] = {
	"DELETE ON proxy_passwords", "UPDATE OF config ON vms", "UPDATE OF policy ON vms"};

START_TEST(a_write_that_fails_leaves_all_as_it_was)
{
	char sql[160];

	api_expect(&rig, 204, "PUT", "/v1/vms/web/proxy/password", VALUE);
	snprintf(sql, sizeof(sql),
		"CREATE TRIGGER no BEFORE %s BEGIN SELECT RAISE(ABORT, 'no'); END", writes[_i]);
	in_database(sql);
	api_expect(&rig, 500, "PATCH", "/v1/vms/web", CHANGE "\"none\"}");
	expect_nothing_changed();
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	expect_nothing_changed();
	in_database("DROP TRIGGER no");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web", CHANGE "\"none\"}");
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	ck_assert_str_eq(shown("proxy.password"), "false");
	ck_assert_str_eq(shown("limits.rate_in"), "1000000");
	ck_assert_str_eq(shown("policy.preset"), "none");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vm proxy");
	TCase *tc = tcase_create("proxy");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, the_document_has_it);
	tcase_add_test(tc, a_password_is_for_one_proxy);
	tcase_add_test(tc, a_password_survives_a_crash);
	tcase_add_test(tc, passwords_that_are_none);
	tcase_add_test(tc, a_record_has_the_proxy_and_no_password);
	tcase_add_test(tc, a_record_of_none_brings_none);
	tcase_add_test(tc, fake_addresses_and_the_preset);
	tcase_add_test(tc, a_policy_that_does_not_compile_leaves_all_as_it_was);
	tcase_add_loop_test(
		tc, a_write_that_fails_leaves_all_as_it_was, 0, sizeof(writes) / sizeof(*writes));
	suite_add_tcase(s, tc);
	return run_suite(s);
}
