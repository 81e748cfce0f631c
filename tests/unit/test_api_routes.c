/* SPDX-License-Identifier: MIT */
/* The HTTP API against its contract: each route of openapi.yaml is served, and no other. */
#include "ctl/api/routes.h"

#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

#include <ctype.h>
#include <stdbool.h>

static struct api_rig rig;

static void set_up(void)
{
	api_rig_start(&rig);
}

static void tear_down(void)
{
	api_rig_stop(&rig);
}

/* ---- the contract ---- */

struct operation {
	char method[8];
	char path[64];
};

/* Reads `  /path:` and `    method:` lines; the file is ours and keeps to that. */
static size_t read_contract(struct operation *out, size_t max)
{
	const char *source = getenv("NETCTL_SOURCE");
	char name[512], line[512], path[64] = "";
	size_t n = 0;
	FILE *f;

	snprintf(name, sizeof(name), "%s/ctl/api/openapi.yaml", source ? source : ".");
	f = fopen(name, "r");
	ck_assert_msg(f != NULL, "%s", name);
	while (fgets(line, sizeof(line), f) && strncmp(line, "components:", 11) != 0) {
		char word[62];

		if (sscanf(line, "  /%60[^:]:", word) == 1 && line[2] == '/')
			snprintf(path, sizeof(path), "/%s", word);
		else if (sscanf(line, "    %7[a-z]:", word) == 1 && line[4] != ' ' &&
			strcmp(word, "paramet") != 0 && *path) {
			ck_assert_uint_lt(n, max);
			for (char *p = word; *p; p++)
				*p = (char)toupper((unsigned char)*p);
			snprintf(out[n].method, sizeof(out[n].method), "%.7s", word);
			snprintf(out[n++].path, sizeof(out[0].path), "%s", path);
		}
	}
	fclose(f);
	return n;
}

START_TEST(contract_and_table_agree)
{
	struct operation contract[64];
	size_t n = read_contract(contract, 64), routes = 0;

	for (const struct api_route *r = api_routes; r->path; r++, routes++) {
		size_t i = 0;

		while (i < n &&
			(strcmp(contract[i].path, r->path) != 0 ||
				strcmp(contract[i].method, r->method) != 0))
			i++;
		ck_assert_msg(i < n, "%s %s is not in openapi.yaml", r->method, r->path);
	}
	ck_assert_uint_eq(routes, n);
}
END_TEST

/* What answers each operation on a VM `web` with a forward. */
static const struct {
	const char *method, *path, *url, *body;
	int status;
} drives[] = {
	{"GET", "/v1/version", "/v1/version", NULL, 200},
	{"GET", "/v1/health", "/v1/health", NULL, 200},
	{"GET", "/metrics", "/metrics", NULL, 200},
	{"GET", "/v1/events", "/v1/events?since=0", NULL, 200},
	/* More of these in test_state.c. */
	{"GET", "/v1/state", "/v1/state", NULL, 200},
	{"PUT", "/v1/state", "/v1/state?dry_run=1", "{\"vms\":[]}", 200},
	{"GET", "/v1/vms", "/v1/vms", NULL, 200},
	{"POST", "/v1/vms", "/v1/vms", "{\"name\":\"other\"}", 201},
	{"GET", "/v1/vms/{vm}", "/v1/vms/web", NULL, 200},
	{"PATCH", "/v1/vms/{vm}", "/v1/vms/web", "{\"ttl\":3600}", 200},
	{"GET", "/v1/vms/{vm}/forwards", "/v1/vms/web/forwards", NULL, 200},
	{"POST", "/v1/vms/{vm}/forwards", "/v1/vms/web/forwards",
		"{\"listen\":{\"port\":0},\"to\":{\"port\":80}}", 201},
	{"GET", "/v1/vms/{vm}/forwards/{id}", "/v1/vms/web/forwards/%s", NULL, 200},
	{"DELETE", "/v1/vms/{vm}/forwards/{id}", "/v1/vms/web/forwards/%s", NULL, 204},
	{"GET", "/v1/vms/{vm}/policy", "/v1/vms/web/policy", NULL, 200},
	{"PUT", "/v1/vms/{vm}/policy", "/v1/vms/web/policy?cut_existing=1", "\"none\"", 200},
	{"POST", "/v1/vms/{vm}/policy/check", "/v1/vms/web/policy/check",
		"{\"to\":\"1.1.1.1\",\"port\":1}", 200},
	{"GET", "/v1/vms/{vm}/policy/stats", "/v1/vms/web/policy/stats", NULL, 200},
	{"GET", "/v1/vms/{vm}/hosts", "/v1/vms/web/hosts", NULL, 200},
	{"PUT", "/v1/vms/{vm}/hosts", "/v1/vms/web/hosts",
		"{\"items\":[{\"name\":\"A.internal\",\"addresses\":[\"1.2.3.4\"]}]}", 200},
	{"GET", "/v1/vms/{vm}/env", "/v1/vms/web/env", NULL, 200},
	{"PUT", "/v1/vms/{vm}/env", "/v1/vms/web/env", "{\"A\":\"1\"}", 200},
	{"PATCH", "/v1/vms/{vm}/env", "/v1/vms/web/env", "{\"A\":null}", 200},
	{"GET", "/v1/vms/{vm}/secrets", "/v1/vms/web/secrets", NULL, 200},
	{"PUT", "/v1/vms/{vm}/secrets/{name}", "/v1/vms/web/secrets/A", "value", 204},
	{"DELETE", "/v1/vms/{vm}/secrets/{name}", "/v1/vms/web/secrets/A", NULL, 204},
	/* More of these in test_vm_proxy.c. */
	{"PUT", "/v1/vms/{vm}/proxy/password", "/v1/vms/web/proxy/password", "value", 409},
	{"DELETE", "/v1/vms/{vm}/proxy/password", "/v1/vms/web/proxy/password", NULL, 404},
	{"GET", "/v1/vms/{vm}/maps", "/v1/vms/web/maps", NULL, 200},
	{"POST", "/v1/vms/{vm}/maps", "/v1/vms/web/maps",
		"{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:9\"}}", 201},
	{"DELETE", "/v1/vms/{vm}/maps/{port}", "/v1/vms/web/maps/5000", NULL, 204},
	{"GET", "/v1/vms/{vm}/listeners", "/v1/vms/web/listeners", NULL, 200},
	/* More of these in test_snapshot_api.c. */
	{"POST", "/v1/vms/{vm}/reset", "/v1/vms/web/reset", NULL, 204},
	{"POST", "/v1/vms/{vm}/snapshots", "/v1/vms/web/snapshots", NULL, 201},
	{"GET", "/v1/vms/{vm}/snapshots", "/v1/vms/web/snapshots", NULL, 200},
	{"POST", "/v1/vms/{vm}/restore", "/v1/vms/web/restore", "{\"snapshot\":\"0\"}", 404},
	{"GET", "/v1/snapshots", "/v1/snapshots", NULL, 200},
	{"POST", "/v1/snapshots", "/v1/snapshots", NULL, 400},
	{"GET", "/v1/snapshots/{id}", "/v1/snapshots/0", NULL, 404},
	{"DELETE", "/v1/snapshots/{id}", "/v1/snapshots/0", NULL, 404},
	{"GET", "/v1/snapshots/{id}/export", "/v1/snapshots/0/export", NULL, 404},
	{"GET", "/v1/vms/{vm}/stats", "/v1/vms/web/stats", NULL, 200},
	{"GET", "/v1/vms/{vm}/flows", "/v1/vms/web/flows?limit=10", NULL, 200},
	{"DELETE", "/v1/vms/{vm}", "/v1/vms/web", NULL, 204},
};

#define N_DRIVES (sizeof(drives) / sizeof(*drives))

START_TEST(each_route_answers)
{
	struct operation contract[64];
	size_t n = read_contract(contract, 64);
	char id[160], url[600];

	ck_assert_uint_eq(n, N_DRIVES);
	api_expect(&rig, 201, "POST", "/v1/vms",
		"{\"name\":\"web\",\"vsock\":{\"kind\":\"stream\"},"
		"\"forwards\":[{\"listen\":{\"port\":0},\"to\":{\"port\":80}}]}");
	api_expect(&rig, 200, "GET", "/v1/vms/web/forwards", NULL);
	ck_assert_uint_lt(strlen(api_text(&rig, "items.0.id")), sizeof(id));
	strcpy(id, api_text(&rig, "items.0.id"));
	for (size_t i = 0; i < N_DRIVES; i++) {
		size_t j = 0;

		while (j < n &&
			(strcmp(contract[j].path, drives[i].path) != 0 ||
				strcmp(contract[j].method, drives[i].method) != 0))
			j++;
		ck_assert_msg(
			j < n, "%s %s is not in openapi.yaml", drives[i].method, drives[i].path);
		snprintf(url, sizeof(url), "%s", drives[i].url);
		if (strstr(url, "%s"))
			memcpy(strstr(url, "%s"), id, strlen(id) + 1);
		api_expect(&rig, drives[i].status, drives[i].method, url, drives[i].body);
	}
}
END_TEST

/* ---- what is wrong ---- */

START_TEST(unknown_route_is_404)
{
	api_expect(&rig, 404, "GET", "/v2/vms", NULL);
	api_expect(&rig, 404, "GET", "/v1/vms/", NULL);
	api_expect(&rig, 404, "GET", "/v1/vms/web/nothing", NULL);
}
END_TEST

START_TEST(wrong_method_is_405_with_allow)
{
	api_expect(&rig, 405, "DELETE", "/v1/vms", NULL);
	ck_assert_ptr_nonnull(strstr(rig.head, "Allow: GET, POST"));
	api_expect(&rig, 405, "POST", "/v1/version", "{}");
	ck_assert_ptr_nonnull(strstr(rig.head, "Allow: GET"));
}
END_TEST

START_TEST(unknown_vm_is_404_everywhere)
{
	static const char *const paths[] = {"", "/forwards", "/forwards/x", "/policy", "/hosts",
		"/env", "/secrets", "/maps", "/listeners", "/stats", "/flows"};
	char url[64];

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		snprintf(url, sizeof(url), "/v1/vms/nobody%s", paths[i]);
		api_expect_field(&rig, 404, "vm", "GET", url, NULL);
	}
	api_expect_field(&rig, 404, "vm", "DELETE", "/v1/vms/nobody", NULL);
	api_expect_field(&rig, 404, "vm", "PUT", "/v1/vms/nobody/policy", "\"none\"");
}
END_TEST

START_TEST(bad_bodies_name_the_field)
{
	api_expect(&rig, 400, "POST", "/v1/vms", "{\"name\":");
	api_expect(&rig, 400, "POST", "/v1/vms", "");
	api_expect(&rig, 400, "POST", "/v1/vms", "[]");
	api_expect_field(&rig, 400, "colour", "POST", "/v1/vms", "{\"name\":\"a\",\"colour\":1}");
	api_expect_field(&rig, 400, "net.subnet", "POST", "/v1/vms",
		"{\"name\":\"a\",\"net\":{\"subnet\":\"10.0.0.0/31\"}}");
	api_expect_field(&rig, 400, "policy.rules[0].action", "POST", "/v1/vms",
		"{\"name\":\"a\",\"policy\":{\"preset\":\"open\",\"rules\":[{\"action\":1}]}}");
	api_expect_field(&rig, 400, "forwards[0].listen.port", "POST", "/v1/vms",
		"{\"name\":\"a\",\"forwards\":[{\"listen\":{\"port\":99999},\"to\":{\"port\":1}}]}");
	api_expect_field(&rig, 400, "since", "GET", "/v1/events?since=x", NULL);
	api_expect(&rig, 200, "GET", "/v1/vms", NULL);
	ck_assert_str_eq(api_text(&rig, "items"), "[ ]");
}
END_TEST

START_TEST(maps_are_kept_and_named)
{
	static const char map[] = "{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:9\"}}";

	api_expect(
		&rig, 201, "POST", "/v1/vms", "{\"name\":\"a\",\"vsock\":{\"kind\":\"stream\"}}");
	api_expect(&rig, 201, "POST", "/v1/vms/a/maps", map);
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	api_expect(&rig, 200, "POST", "/v1/vms/a/maps", map);
	api_expect_field(&rig, 409, "port", "POST", "/v1/vms/a/maps",
		"{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:10\"}}");
	api_expect(&rig, 200, "GET", "/v1/vms/a/maps", NULL);
	ck_assert_str_eq(api_text(&rig, "items.0.to.tcp"), "127.0.0.1:9");
	api_expect(&rig, 200, "GET", "/v1/vms/a", NULL);
	ck_assert_str_eq(api_text(&rig, "maps"), "1");
	ck_assert_str_eq(api_text(&rig, "vsock.cid"), "3");
	ck_assert_str_eq(api_text(&rig, "vsock.connected"), "false");
	api_expect_field(&rig, 404, "port", "DELETE", "/v1/vms/a/maps/5001", NULL);
	api_expect_field(&rig, 404, "port", "DELETE", "/v1/vms/a/maps/x", NULL);
	api_expect(&rig, 204, "DELETE", "/v1/vms/a/maps/5000", NULL);
	api_expect_field(&rig, 409, "vsock", "PATCH", "/v1/vms/a", "{\"vsock\":{\"cid\":4}}");
}
END_TEST

START_TEST(body_above_the_limit_is_refused)
{
	static char body[(1 << 20) + 2];

	memset(body, ' ', sizeof(body) - 1);
	api_call(&rig, "POST", "/v1/vms", body);
	ck_assert_int_eq(rig.status, 413);
}
END_TEST

/* ---- create, change ---- */

START_TEST(same_again_is_200_other_is_409)
{
	api_expect(&rig, 201, "POST", "/v1/vms", "{\"name\":\"a\"}");
	api_expect(&rig, 200, "POST", "/v1/vms", "{\"name\":\"a\",\"policy\":\"public\"}");
	api_expect_field(
		&rig, 409, "name", "POST", "/v1/vms", "{\"name\":\"a\",\"policy\":\"none\"}");
	api_expect_field(&rig, 409, "name", "POST", "/v1/vms",
		"{\"name\":\"a\",\"net\":{\"subnet\":\"10.1.0.0/24\"}}");
}
END_TEST

START_TEST(patch_changes_what_it_may)
{
	api_expect(
		&rig, 201, "POST", "/v1/vms", "{\"name\":\"a\",\"dns\":{\"search\":[\"x.org\"]}}");
	api_expect(&rig, 200, "PATCH", "/v1/vms/a",
		"{\"dns\":{\"upstreams\":[\"9.9.9.9\"]},\"host_access\":true}");
	ck_assert_str_eq(api_text(&rig, "dns.upstreams.0"), "9.9.9.9");
	ck_assert_str_eq(api_text(&rig, "dns.search.0"), "x.org");
	ck_assert_str_eq(api_text(&rig, "host_access"), "true");
	api_expect(&rig, 200, "PATCH", "/v1/vms/a",
		"{\"policy\":{\"default\":\"deny\"},\"dns\":null}");
	ck_assert_str_eq(api_text(&rig, "policy.default"), "deny");
	ck_assert_str_eq(api_text(&rig, "dns.upstreams.0"), "");
	api_expect_field(
		&rig, 409, "net", "PATCH", "/v1/vms/a", "{\"net\":{\"subnet\":\"10.9.0.0/24\"}}");
	api_expect_field(&rig, 409, "name", "PATCH", "/v1/vms/a", "{\"name\":\"b\"}");
	api_expect_field(&rig, 400, "speed", "PATCH", "/v1/vms/a", "{\"speed\":1}");
}
END_TEST

START_TEST(ttl_deletes_an_idle_vm)
{
	api_expect(&rig, 201, "POST", "/v1/vms", "{\"name\":\"a\",\"ttl\":1}");
	for (int i = 0; i < 40; i++) {
		api_call(&rig, "GET", "/v1/vms/a", NULL);
		if (rig.status == 404)
			return;
		poll(NULL, 0, 100);
	}
	ck_abort_msg("the VM is still there");
}
END_TEST

START_TEST(events_tell_in_order)
{
	const char *created, *deleted;

	api_expect(&rig, 201, "POST", "/v1/vms", "{\"name\":\"a\",\"link\":{\"kind\":\"none\"}}");
	api_expect(&rig, 204, "DELETE", "/v1/vms/a", NULL);
	api_expect(&rig, 200, "GET", "/v1/events", NULL);
	created = strstr(rig.body, "\"vm.created\"");
	deleted = strstr(rig.body, "\"vm.deleted\"");
	ck_assert(created && deleted && created < deleted);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("API routes");
	TCase *tc = tcase_create("API routes");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, contract_and_table_agree);
	tcase_add_test(tc, each_route_answers);
	tcase_add_test(tc, unknown_route_is_404);
	tcase_add_test(tc, wrong_method_is_405_with_allow);
	tcase_add_test(tc, unknown_vm_is_404_everywhere);
	tcase_add_test(tc, bad_bodies_name_the_field);
	tcase_add_test(tc, maps_are_kept_and_named);
	tcase_add_test(tc, body_above_the_limit_is_refused);
	tcase_add_test(tc, same_again_is_200_other_is_409);
	tcase_add_test(tc, patch_changes_what_it_may);
	tcase_add_test(tc, ttl_deletes_an_idle_vm);
	tcase_add_test(tc, events_tell_in_order);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
