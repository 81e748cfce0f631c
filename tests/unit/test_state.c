/* SPDX-License-Identifier: MIT */
/* The wanted state: how documents differ, and that netctld is brought to one as a whole or not at all. */
#include "ctl/state.h"

#include "common/unix_socket.h"
#include "ctl/json_read.h"
#include "ctl/listener.h"
#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

/* ---- differences ---- */

/* The changes from one document to another, as one text. NULL: there is none. */
static const char *difference(const char *from, const char *to)
{
	static char text[4096];
	struct json_object *changes = json_object_new_array();
	struct json_object *old = from ? json_tokener_parse(from) : NULL;
	struct json_object *new = to ? json_tokener_parse(to) : NULL;

	ck_assert(!from == !old && !to == !new);
	state_diff(changes, "web", old, new);
	snprintf(text, sizeof(text), "%s", json_text(changes));
	json_object_put(changes);
	json_object_put(old);
	json_object_put(new);
	return text;
}

START_TEST(same_documents_differ_in_nothing)
{
	ck_assert_str_eq(difference("{\"name\":\"web\",\"a\":[1,{\"b\":null}]}",
				 "{\"a\":[1,{\"b\":null}],\"name\":\"web\"}"),
		"[]");
}
END_TEST

START_TEST(a_setting_nobody_knows_differs_by_its_path)
{
	ck_assert_str_eq(difference("{\"new\":{\"deep\":1}}", "{\"new\":{\"deep\":2}}"),
		"[{\"op\":\"change\",\"vm\":\"web\",\"field\":\"new.deep\",\"from\":1,\"to\":2}]");
	ck_assert_str_eq(difference("{\"new\":1}", "{}"),
		"[{\"op\":\"remove\",\"vm\":\"web\",\"field\":\"new\",\"from\":1}]");
	ck_assert_str_eq(difference("{}", "{\"new\":1}"),
		"[{\"op\":\"add\",\"vm\":\"web\",\"field\":\"new\",\"to\":1}]");
}
END_TEST

START_TEST(a_vm_as_a_whole)
{
	ck_assert_str_eq(difference("{\"name\":\"web\",\"ttl\":1}", NULL),
		"[{\"op\":\"remove\",\"vm\":\"web\"}]");
	ck_assert_str_eq(difference(NULL, "{\"name\":\"web\",\"ttl\":1,\"env\":{},\"maps\":[]}"),
		"[{\"op\":\"add\",\"vm\":\"web\"},"
		"{\"op\":\"add\",\"vm\":\"web\",\"field\":\"ttl\",\"to\":1}]");
}
END_TEST

/* A rule put first is one line, not one for each that it shifts. */
START_TEST(lists_differ_where_they_do)
{
	ck_assert_str_eq(
		difference("{\"r\":[\"a\",\"b\",\"c\"]}", "{\"r\":[\"x\",\"a\",\"b\",\"c\"]}"),
		"[{\"op\":\"add\",\"vm\":\"web\",\"field\":\"r[0]\",\"to\":\"x\"}]");
	ck_assert_str_eq(difference("{\"r\":[\"a\",\"b\",\"c\"]}", "{\"r\":[\"a\",\"c\"]}"),
		"[{\"op\":\"remove\",\"vm\":\"web\",\"field\":\"r[1]\",\"from\":\"b\"}]");
	ck_assert_str_eq(difference("{\"r\":[\"a\",\"a\"]}", "{\"r\":[\"a\"]}"),
		"[{\"op\":\"remove\",\"vm\":\"web\",\"field\":\"r[1]\",\"from\":\"a\"}]");
	ck_assert_str_eq(difference("{\"r\":[]}", "{\"r\":[]}"), "[]");
}
END_TEST

#define FORWARD(port, to) "{\"listen\":{\"port\":" port "},\"to\":{\"port\":" to "}}"

START_TEST(the_order_of_forwards_is_no_difference)
{
	ck_assert_str_eq(
		difference("{\"forwards\":[" FORWARD("1", "80") "," FORWARD("2", "81") "]}",
			"{\"forwards\":[" FORWARD("2", "81") "," FORWARD("1", "80") "]}"),
		"[]");
	ck_assert_str_eq(difference("{\"forwards\":[" FORWARD("1", "80") "]}",
				 "{\"forwards\":[" FORWARD("1", "81") "]}"),
		"[{\"op\":\"change\",\"vm\":\"web\","
		"\"field\":\"forwards[tcp:127.0.0.1:1].to.port\",\"from\":80,\"to\":81}]");
	/* Two at any port are two. */
	ck_assert_ptr_nonnull(
		strstr(difference("{\"forwards\":[]}",
			       "{\"forwards\":[" FORWARD("0", "80") "," FORWARD("0", "80") "]}"),
			"forwards[tcp:127.0.0.1:0 (2)]"));
	ck_assert_str_eq(difference("{\"hosts\":{\"items\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}",
				 "{\"hosts\":{\"items\":[{\"name\":\"b\"},{\"name\":\"a\"}]}}"),
		"[]");
}
END_TEST

/* ---- a netctld ---- */

static struct api_rig rig;

static void set_up(void)
{
	api_rig_start(&rig);
}

static void tear_down(void)
{
	api_rig_stop(&rig);
}

/* Everything of a VM; %d is a port, %s the directory. */
static const char full[] = "{\"vms\":[{\"name\":\"a\",\"link\":{\"kind\":\"none\"},"
			   "\"vsock\":{\"kind\":\"hybrid\",\"path\":\"%s/run/vms/a/v.sock\"},"
			   "\"policy\":{\"default\":\"deny\",\"rules\":[]},\"env\":{\"A\":1},"
			   "\"hosts\":{\"items\":[{\"name\":\"db\",\"addresses\":[\"10.0.2.9\"]}]},"
			   "\"forwards\":[{\"listen\":{\"port\":%d},\"to\":{\"port\":80}},"
			   "{\"listen\":{\"unix\":\"%s/run/vms/a/p.sock\"},\"to\":{\"vsock\":7}}],"
			   "\"maps\":[{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:9\"}},"
			   "{\"port\":5001,\"to\":{\"tcp\":\"127.0.0.1:9\"}}]}]}";

static const char *document(int port)
{
	static char text[2048];

	snprintf(text, sizeof(text), full, rig.dir, port, rig.dir);
	return text;
}

static int free_port(int *fd)
{
	struct endpoint at = {.port = 0};

	ck_assert_int_eq(addr_parse("127.0.0.1", &at.addr), 0);
	*fd = listener_open(LISTENER_TCP, &at);
	ck_assert_int_ge(*fd, 0);
	return at.port;
}

static bool exists(const char *below)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/run/vms/%s", rig.dir, below);
	return access(path, F_OK) == 0;
}

static const char *state(void)
{
	static char text[16384];

	api_expect(&rig, 200, "GET", "/v1/state", NULL);
	snprintf(text, sizeof(text), "%.16000s", rig.body);
	return text;
}

START_TEST(applied_is_exported_and_the_same_again_is_nothing)
{
	char first[16384];

	api_expect(&rig, 200, "PUT", "/v1/state", document(0));
	ck_assert_str_eq(api_text(&rig, "changes.0.op"), "add");
	strcpy(first, state());
	ck_assert(exists("a/v.sock_5000") && exists("a/v.sock_5001") && exists("a/p.sock"));
	for (int i = 0; i < 2; i++) {
		api_expect(&rig, 200, "PUT", "/v1/state", i ? document(0) : first);
		ck_assert_str_eq(api_text(&rig, "changes"), "[ ]");
	}
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	ck_assert_str_eq(state(), first);
}
END_TEST

START_TEST(all_parts_change_and_go)
{
	static const char less[] =
		"{\"vms\":[{\"name\":\"a\",\"link\":{\"kind\":\"none\"},"
		"\"vsock\":{\"kind\":\"hybrid\",\"path\":\"%s/run/vms/a/v.sock\"},"
		"\"maps\":[{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:10\"}}],"
		"\"forwards\":[{\"listen\":{\"unix\":\"%s/run/vms/a/p.sock\"},\"to\":{\"vsock\":8}}]}]}";
	char text[1024];

	api_expect(&rig, 200, "PUT", "/v1/state", document(0));
	snprintf(text, sizeof(text), less, rig.dir, rig.dir);
	api_expect(&rig, 200, "PUT", "/v1/state", text);
	/* Whose target changed keeps its socket. */
	ck_assert(exists("a/v.sock_5000") && !exists("a/v.sock_5001") && exists("a/p.sock"));
	api_expect(&rig, 200, "GET", "/v1/vms/a/forwards", NULL);
	ck_assert_str_eq(api_text(&rig, "items.0.to.vsock"), "8");
	ck_assert_str_eq(api_text(&rig, "items.0.error"), "");
	api_expect(&rig, 200, "GET", "/v1/vms/a/maps", NULL);
	ck_assert_str_eq(api_text(&rig, "items.0.to.tcp"), "127.0.0.1:10");
	api_expect(&rig, 200, "GET", "/v1/vms/a", NULL);
	ck_assert_str_eq(api_text(&rig, "policy.preset"), "public");
	api_expect(&rig, 200, "PUT", "/v1/state", "{\"vms\":[]}");
	ck_assert(!exists("a"));
}
END_TEST

/* Of what is made before the one that fails, nothing is left; what there was is as it was. */
START_TEST(refused_it_leaves_nothing)
{
	char before[16384], text[2048];
	int fd, port = free_port(&fd);

	api_expect(&rig, 200, "PUT", "/v1/state", document(0));
	strcpy(before, state());
	snprintf(text, sizeof(text),
		"{\"vms\":[{\"name\":\"b\",\"forwards\":[{\"listen\":{\"unix\":"
		"\"%s/run/vms/b/p.sock\"},\"to\":{\"port\":1}}]},"
		"{\"name\":\"a\",\"link\":{\"kind\":\"none\"},"
		"\"vsock\":{\"kind\":\"hybrid\",\"path\":\"%s/run/vms/a/v.sock\"},"
		"\"env\":{},\"maps\":[{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:8\"}},"
		"{\"port\":5002,\"to\":{\"tcp\":\"127.0.0.1:8\"}}],"
		"\"forwards\":[{\"listen\":{\"unix\":\"%s/run/vms/a/p.sock\"},\"to\":{\"port\":2}}]},"
		"{\"name\":\"c\",\"forwards\":[{\"listen\":{\"port\":%d},\"to\":{\"port\":1}}]}]}",
		rig.dir, rig.dir, rig.dir, port);
	api_expect_field(&rig, 409, "vms[2].forwards[0].listen", "PUT", "/v1/state", text);
	ck_assert_str_eq(state(), before);
	ck_assert(!exists("b") && !exists("c") && !exists("a/v.sock_5002"));
	ck_assert(exists("a/v.sock_5000") && exists("a/v.sock_5001") && exists("a/p.sock"));
	close(fd);
	/* The names are free. */
	api_expect(&rig, 200, "PUT", "/v1/state", text);
	ck_assert(exists("b/p.sock") && exists("c/link.sock") && !exists("a/v.sock_5001"));
}
END_TEST

START_TEST(a_dry_run_makes_nothing)
{
	api_expect(&rig, 200, "PUT", "/v1/state?dry_run=1", document(0));
	ck_assert_str_eq(api_text(&rig, "applied"), "false");
	ck_assert_str_eq(api_text(&rig, "changes.0.op"), "add");
	ck_assert(!exists("a"));
	api_expect(&rig, 404, "GET", "/v1/vms/a", NULL);
}
END_TEST

START_TEST(a_port_is_passed_on)
{
	static const char of[] =
		"{\"vms\":[{\"name\":\"%s\",\"link\":{\"kind\":\"none\"},\"forwards\":"
		"[{\"listen\":{\"port\":%d},\"to\":{\"port\":%d}}]}]}";
	static const struct {
		const char *vm;
		int to;
	} steps[] = {{"a", 80}, {"a", 81}, {"b", 81}, {"a", 80}};
	char text[256];
	int fd, port = free_port(&fd);

	close(fd);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		snprintf(text, sizeof(text), of, steps[i].vm, port, steps[i].to);
		api_expect(&rig, 200, "PUT", "/v1/state", text);
		snprintf(text, sizeof(text), "/v1/vms/%s/forwards", steps[i].vm);
		api_expect(&rig, 200, "GET", text, NULL);
		ck_assert_int_eq(atoi(api_text(&rig, "items.0.to.port")), steps[i].to);
		ck_assert_str_eq(api_text(&rig, "items.0.error"), "");
	}
}
END_TEST

START_TEST(bad_documents_name_the_field)
{
	api_expect_field(&rig, 400, "vms", "PUT", "/v1/state", "{}");
	api_expect_field(
		&rig, 400, "state_version", "PUT", "/v1/state", "{\"state_version\":2,\"vms\":[]}");
	api_expect_field(&rig, 400, "vms[0]", "PUT", "/v1/state", "{\"vms\":[1]}");
	api_expect_field(&rig, 400, "vms[1].name", "PUT", "/v1/state",
		"{\"vms\":[{\"name\":\"a\"},{\"name\":\"a\"}]}");
	api_expect_field(&rig, 400, "vms[0].maps[0].port", "PUT", "/v1/state",
		"{\"vms\":[{\"name\":\"a\",\"maps\":[{\"port\":0}]}]}");
	api_expect_field(&rig, 400, "vms[0].hosts.items", "PUT", "/v1/state",
		"{\"vms\":[{\"name\":\"a\",\"hosts\":{}}]}");
	api_expect_field(&rig, 400, "vms[0].secrets[0]", "PUT", "/v1/state",
		"{\"vms\":[{\"name\":\"a\",\"secrets\":[\"a b\"]}]}");
	api_expect_field(&rig, 400, "dry_run", "PUT", "/v1/state?dry_run=2", "{\"vms\":[]}");
	ck_assert(!exists("a"));
}
END_TEST

/* ---- gvproxy.sock ---- */

/* One request there; what came back, without its head's other lines: "200 body". */
static const char *gvproxy(const char *method, const char *path, const char *body)
{
	static char text[4096];
	char raw[4096];
	int fd = api_rig_connect(&rig, "vms/a/gvproxy.sock");
	size_t used = 0;
	ssize_t n;

	n = snprintf(raw, sizeof(raw),
		"%s /services/forwarder/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		"Content-Length: %zu\r\n\r\n%s",
		method, path, strlen(body), body);
	ck_assert_int_eq(os_send(fd, raw, (size_t)n, 0), n);
	while ((n = recv(fd, raw + used, sizeof(raw) - 1 - used, 0)) > 0)
		used += (size_t)n;
	close(fd);
	raw[used] = '\0';
	ck_assert_ptr_nonnull(strstr(raw, "\r\n\r\n"));
	snprintf(text, sizeof(text), "%.3s %.4000s", raw + strlen("HTTP/1.1 "),
		strstr(raw, "\r\n\r\n") + 4);
	return text;
}

START_TEST(gvproxy_exposes_lists_and_takes_back)
{
	char body[128];
	int fd, port = free_port(&fd);

	close(fd);
	api_expect(&rig, 201, "POST", "/v1/vms", "{\"name\":\"a\",\"link\":{\"kind\":\"none\"}}");
	ck_assert_str_eq(gvproxy("GET", "all", ""), "200 []\n");
	snprintf(body, sizeof(body), "{\"local\":\":%d\",\"remote\":\":80\",\"x\":1}", port);
	ck_assert_str_eq(gvproxy("POST", "expose", body), "200 ");
	ck_assert_ptr_nonnull(strstr(gvproxy("POST", "expose", body), "500 proxy already running"));
	ck_assert_ptr_nonnull(strstr(gvproxy("GET", "all", ""), "\"remote\":\"10.0.2.15:80\""));
	ck_assert_str_eq(gvproxy("POST", "unexpose", body), "200 ");
	ck_assert_str_eq(gvproxy("POST", "unexpose", body), "500 proxy not found\n");
	ck_assert_str_eq(gvproxy("GET", "unexpose", ""), "400 post only\n");
	ck_assert_str_eq(gvproxy("GET", "nothing", ""), "404 404 page not found\n");
	ck_assert_ptr_nonnull(strstr(gvproxy("POST", "expose", "{"), "400 not JSON"));
	api_expect(&rig, 204, "DELETE", "/v1/vms/a", NULL);
	ck_assert(!exists("a"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("the wanted state");
	TCase *tc = tcase_create("differences");

	tcase_add_test(tc, same_documents_differ_in_nothing);
	tcase_add_test(tc, a_setting_nobody_knows_differs_by_its_path);
	tcase_add_test(tc, a_vm_as_a_whole);
	tcase_add_test(tc, lists_differ_where_they_do);
	tcase_add_test(tc, the_order_of_forwards_is_no_difference);
	suite_add_tcase(suite, tc);
	tc = tcase_create("a netctld");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, applied_is_exported_and_the_same_again_is_nothing);
	tcase_add_test(tc, all_parts_change_and_go);
	tcase_add_test(tc, refused_it_leaves_nothing);
	tcase_add_test(tc, a_dry_run_makes_nothing);
	tcase_add_test(tc, a_port_is_passed_on);
	tcase_add_test(tc, bad_documents_name_the_field);
	tcase_add_test(tc, gvproxy_exposes_lists_and_takes_back);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
