/* SPDX-License-Identifier: MIT */
/* Snapshots, restore and reset by the API: what they keep, what is in the way, what bad input gets. */
#include "common/os.h"
#include "ctl/listener.h"
#include "ctl/record.h"
#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

static struct api_rig rig, other;
static char id[64], exported[1 << 20];

static void set_up(void)
{
	api_rig_start(&rig);
	api_expect(&rig, 201, "POST", "/v1/vms",
		"{\"name\":\"web\",\"link\":{\"kind\":\"none\"},\"vsock\":{\"kind\":\"stream\"}}");
}

static void tear_down(void)
{
	api_rig_stop(&rig);
}

/* What a snapshot is to bring back: a port, an environment, a map, names, a policy. */
static void furnish(void)
{
	char body[256];

	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards",
		"{\"listen\":{\"port\":0},\"to\":{\"vsock\":5000}}");
	snprintf(body, sizeof(body),
		"{\"listen\":{\"unix\":\"%s/run/vms/web/p.sock\"},\"to\":{\"port\":80}}", rig.dir);
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards", body);
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", "{\"A\":1.50}");
	api_expect(&rig, 201, "POST", "/v1/vms/web/maps",
		"{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:9\"}}");
	api_expect(&rig, 200, "PUT", "/v1/vms/web/hosts",
		"{\"items\":[{\"addresses\":[\"10.0.2.9\"],\"name\":\"db\"}]}"); /* sorted, as in a record */
	api_expect(&rig, 200, "PUT", "/v1/vms/web/policy", "{\"preset\":\"none\",\"rules\":[]}");
	api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/TOKEN", "hunter2-1b9c");
}

/* All of the above of a VM, as one text: the caller frees. */
static char *state_of(const char *vm)
{
	static const char *const parts[] = {"forwards", "env", "maps", "hosts", "policy"};
	char *text = calloc(1, 65536), path[96];

	ck_assert_ptr_nonnull(text);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		snprintf(path, sizeof(path), "/v1/vms/%s/%s", vm, parts[i]);
		api_expect(&rig, 200, "GET", path, NULL);
		snprintf(text + strlen(text), 65536 - strlen(text), "%.8000s", rig.body);
	}
	return text;
}

static void snapshot(void)
{
	api_expect(&rig, 201, "POST", "/v1/vms/web/snapshots", NULL);
	snprintf(id, sizeof(id), "%.63s", api_text(&rig, "id"));
}

static const char *path_of(const char *verb)
{
	static char path[128];

	snprintf(path, sizeof(path), "/v1/snapshots/%s%s", id, verb);
	return path;
}

static void export(void)
{
	api_expect(&rig, 200, "GET", path_of("/export"), NULL);
	snprintf(exported, sizeof(exported), "%s", rig.body);
}

static void restore(struct api_rig *where, int status, const char *vm, const char *more)
{
	char path[96], body[256];

	snprintf(path, sizeof(path), "/v1/vms/%s/restore", vm);
	snprintf(body, sizeof(body), "{\"snapshot\":\"%s\"%s}", id, more);
	api_expect(where, status, "POST", path, body);
}

/* ---- kept ---- */

START_TEST(snapshot_is_listed_shown_exported_and_deleted)
{
	api_expect(&rig, 201, "POST", "/v1/vms/web/snapshots",
		"{\"require_idle\":true,\"name\":\"nightly\"}");
	snprintf(id, sizeof(id), "%.63s", api_text(&rig, "id"));
	ck_assert_str_eq(api_text(&rig, "record_version"), "1");
	ck_assert_str_eq(api_text(&rig, "name"), "nightly");
	ck_assert_uint_eq(strlen(api_text(&rig, "sha256")), 64);
	api_expect(&rig, 200, "GET", "/v1/snapshots", NULL);
	ck_assert_str_eq(api_text(&rig, "items.0.id"), id);
	api_expect(&rig, 200, "GET", "/v1/vms/web/snapshots", NULL);
	ck_assert_str_eq(api_text(&rig, "items.0.id"), id);
	api_expect(&rig, 200, "GET", "/v1/vms/elsewhere/snapshots", NULL);
	ck_assert_str_eq(rig.body, "{\"items\":[]}\n");
	api_expect(&rig, 200, "GET", path_of(""), NULL);
	ck_assert_str_eq(api_text(&rig, "vm"), "web");
	export();
	ck_assert_int_eq(strncmp(exported, "{\"cid\":3,", 9), 0);
	api_expect(&rig, 200, "GET", path_of("?export=1"), NULL);
	ck_assert_str_eq(rig.body, exported);
	api_expect(&rig, 204, "DELETE", path_of(""), NULL);
	api_expect(&rig, 404, "GET", path_of(""), NULL);
	api_expect(&rig, 404, "DELETE", path_of(""), NULL);
	api_expect(&rig, 404, "GET", path_of("/export"), NULL);
}
END_TEST

START_TEST(what_was_answered_survives_kill_and_its_vm)
{
	furnish();
	snapshot();
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	api_expect(&rig, 200, "GET", path_of(""), NULL);
	api_expect(&rig, 204, "DELETE", "/v1/vms/web", NULL);
	api_expect(&rig, 200, "GET", path_of(""), NULL);
	ck_assert_str_eq(api_text(&rig, "forwards"), "2");
}
END_TEST

START_TEST(secrets_go_by_name_only)
{
	furnish();
	snapshot();
	export();
	ck_assert_ptr_nonnull(strstr(exported, "\"secrets\":[\"TOKEN\"]"));
	ck_assert_ptr_null(strstr(exported, "hunter2"));
}
END_TEST

START_TEST(record_that_does_not_fit_is_refused)
{
	static char body[1 << 20];

	snprintf(body, sizeof(body), "{\"A\":\"%0*d\"}", (int)sizeof(body) - 309, 0);
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", body);
	api_expect(&rig, 413, "POST", "/v1/vms/web/snapshots", NULL);
	ck_assert_ptr_nonnull(strstr(rig.body, "its env takes"));
}
END_TEST

START_TEST(bad_requests_are_refused)
{
	static const char *const bodies[] = {"[]", "{", "{\"idle\":true}", "{\"require_idle\":1}",
		"{\"name\":\"A B\"}", "{\"name\":7}"};
	static const char *const restores[] = {"[]", "{}", "{\"snapshot\":7}",
		"{\"snapshot\":\"x\",\"secrets\":[]}",
		"{\"snapshot\":\"x\",\"require_secrets\":0}"};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
		api_expect(&rig, 400, "POST", "/v1/vms/web/snapshots", bodies[i]);
	for (size_t i = 0; i < sizeof(restores) / sizeof(*restores); i++)
		api_expect(&rig, 400, "POST", "/v1/vms/web/restore", restores[i]);
	api_expect_field(&rig, 404, "snapshot", "POST", "/v1/vms/web/restore",
		"{\"snapshot\":\"0123456789abcdef\"}");
	api_expect_field(&rig, 404, "vm", "POST", "/v1/vms/nobody/restore", "{\"snapshot\":\"x\"}");
	api_expect_field(&rig, 404, "vm", "POST", "/v1/vms/nobody/snapshots", NULL);
	api_expect_field(&rig, 404, "vm", "POST", "/v1/vms/nobody/reset", NULL);
	api_expect(&rig, 200, "GET", "/v1/snapshots", NULL);
	ck_assert_str_eq(rig.body, "{\"items\":[]}\n");
}
END_TEST

/* ---- files ---- */

START_TEST(import_gives_what_was_exported)
{
	char sha256[80];

	furnish();
	snapshot();
	snprintf(sha256, sizeof(sha256), "%.79s", api_text(&rig, "sha256"));
	export();
	api_expect(&rig, 200, "POST", "/v1/snapshots", exported); /* it is there */
	api_expect(&rig, 204, "DELETE", path_of(""), NULL);
	api_expect(&rig, 201, "POST", "/v1/snapshots", exported);
	ck_assert_str_eq(api_text(&rig, "id"), id);
	ck_assert_str_eq(api_text(&rig, "sha256"), sha256);
	api_expect(&rig, 200, "GET", path_of("/export"), NULL);
	ck_assert_str_eq(rig.body, exported);
}
END_TEST

START_TEST(bad_files_are_refused)
{
	static char huge[(1 << 20) + 100];
	char *at;

	snapshot();
	export();
	at = strstr(exported, "\"web\"");
	at[1] = 'v';
	api_expect_field(&rig, 400, "sha256", "POST", "/v1/snapshots", exported);
	at[1] = 'w';
	exported[strlen(exported) / 2] = '\0';
	api_expect(&rig, 400, "POST", "/v1/snapshots", exported);
	ck_assert_ptr_nonnull(strstr(rig.body, "cut short"));
	api_expect_field(&rig, 400, "record_version", "POST", "/v1/snapshots",
		"{\"record_version\":2,\"sha256\":\"\"}");
	api_expect(&rig, 400, "POST", "/v1/snapshots", "");
	memset(huge, ' ', sizeof(huge) - 1);
	api_expect(&rig, 413, "POST", "/v1/snapshots", huge);
}
END_TEST

/* ---- restore ---- */

START_TEST(restore_brings_all_of_it_back)
{
	char *was, *is;

	furnish();
	was = state_of("web");
	snapshot();
	api_expect(&rig, 204, "DELETE", "/v1/vms/web", NULL);
	api_expect(&rig, 201, "POST", "/v1/vms",
		"{\"name\":\"web\",\"link\":{\"kind\":\"none\"},\"vsock\":{\"kind\":\"stream\",\"cid\":9}}");
	restore(&rig, 200, "web", "");
	ck_assert_str_eq(api_text(&rig, "missing_secrets.0"), "TOKEN");
	is = state_of("web");
	ck_assert_str_eq(is, was);
	free(is);
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	is = state_of("web");
	ck_assert_str_eq(is, was);
	free(is);
	free(was);
	api_expect(&rig, 200, "GET", "/v1/vms/web", NULL);
	ck_assert_str_eq(api_text(&rig, "vsock.cid"), "9");
}
END_TEST

START_TEST(restore_into_the_same_vm_undoes_what_came_since)
{
	char *was, *is;

	furnish();
	was = state_of("web");
	snapshot();
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards",
		"{\"listen\":{\"port\":0},\"to\":{\"vsock\":5001}}");
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", "{\"B\":2}");
	api_expect(&rig, 204, "DELETE", "/v1/vms/web/maps/5000", NULL);
	api_expect(&rig, 201, "POST", "/v1/vms/web/maps",
		"{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:10\"}}");
	api_expect(&rig, 201, "POST", "/v1/vms/web/maps",
		"{\"port\":6000,\"to\":{\"tcp\":\"127.0.0.1:10\"}}");
	restore(&rig, 200, "web", ",\"require_secrets\":true");
	ck_assert_str_eq(api_text(&rig, "missing_secrets"), "[ ]");
	is = state_of("web");
	ck_assert_str_eq(is, was);
	free(is);
	free(was);
}
END_TEST

START_TEST(another_vm_has_paths_of_its_own)
{
	char path[128];

	furnish();
	snapshot();
	api_expect(&rig, 204, "DELETE", "/v1/vms/web", NULL);
	api_expect(&rig, 201, "POST", "/v1/vms",
		"{\"name\":\"two\",\"link\":{\"kind\":\"none\"},\"vsock\":{\"kind\":\"stream\"}}");
	restore(&rig, 200, "two", "");
	snprintf(path, sizeof(path), "%s/run/vms/two/p.sock", rig.dir);
	api_expect(&rig, 200, "GET", "/v1/vms/two/forwards", NULL);
	ck_assert_str_eq(api_text(&rig, "items.1.listen.unix"), path);
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(another_daemon_restores_from_the_file)
{
	furnish();
	snapshot();
	export();
	api_expect(&rig, 204, "DELETE", "/v1/vms/web", NULL);
	api_rig_start(&other);
	api_expect(&other, 201, "POST", "/v1/vms",
		"{\"name\":\"web\",\"link\":{\"kind\":\"none\"},\"vsock\":{\"kind\":\"stream\",\"cid\":77}}");
	api_expect(&other, 201, "POST", "/v1/snapshots", exported);
	restore(&other, 200, "web", "");
	api_expect(&other, 200, "GET", "/v1/vms/web/env", NULL);
	ck_assert_str_eq(other.body, "{\"A\":1.50}\n");
	api_rig_stop(&other);
}
END_TEST

/* The host port of a forward. */
static struct endpoint port_of(const char *item)
{
	struct endpoint at = {.port = 0};

	api_expect(&rig, 200, "GET", "/v1/vms/web/forwards", NULL);
	addr_parse("127.0.0.1", &at.addr);
	at.port = (uint16_t)atoi(api_text(&rig, item));
	return at;
}

static int take_port(struct endpoint at)
{
	int fd = listener_open(LISTENER_TCP, &at);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(taken_port_is_named_and_nothing_is_restored)
{
	char path[128], *was, *is;
	struct endpoint first, last;
	int fd;

	furnish();
	api_expect(&rig, 201, "POST", "/v1/vms/web/forwards",
		"{\"listen\":{\"port\":0},\"to\":{\"vsock\":5001}}");
	snapshot();
	first = port_of("items.0.listen.port");
	last = port_of("items.2.listen.port");
	api_expect(&rig, 204, "DELETE", "/v1/vms/web", NULL);
	fd = take_port(last);
	api_expect(&rig, 201, "POST", "/v1/vms",
		"{\"name\":\"web\",\"link\":{\"kind\":\"none\"},\"vsock\":{\"kind\":\"stream\"}}");
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", "{\"B\":2}");
	api_expect(&rig, 201, "POST", "/v1/vms/web/maps",
		"{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:10\"}}");
	was = state_of("web");
	restore(&rig, 409, "web", "");
	ck_assert_ptr_nonnull(strstr(rig.body, "forward web/tcp:127.0.0.1:"));
	ck_assert_ptr_nonnull(strstr(rig.body, "address in use"));
	is = state_of("web");
	ck_assert_str_eq(is, was);
	/* The others, which were not in the way, are free again. */
	snprintf(path, sizeof(path), "%s/run/vms/web/p.sock", rig.dir);
	ck_assert_int_ne(access(path, F_OK), 0);
	close(take_port(first));
	free(is);
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	is = state_of("web");
	ck_assert_str_eq(is, was);
	free(is);
	free(was);
	close(fd);
	restore(&rig, 200, "web", ""); /* now it can be */
}
END_TEST

START_TEST(unsuitable_vms_are_refused)
{
	furnish();
	snapshot();
	api_expect(&rig, 204, "DELETE", "/v1/vms/web", NULL);
	api_expect(&rig, 201, "POST", "/v1/vms",
		"{\"name\":\"net\",\"link\":{\"kind\":\"none\"},\"net\":{\"subnet\":\"10.9.0.0/24\"},"
		"\"vsock\":{\"kind\":\"stream\"}}");
	restore(&rig, 409, "net", "");
	ck_assert_str_eq(api_text(&rig, "field"), "net.subnet");
	api_expect(&rig, 201, "POST", "/v1/vms",
		"{\"name\":\"novsock\",\"link\":{\"kind\":\"none\"}}");
	restore(&rig, 409, "novsock", "");
	ck_assert_str_eq(api_text(&rig, "field"), "vsock");
	api_expect(&rig, 201, "POST", "/v1/vms",
		"{\"name\":\"bare\",\"link\":{\"kind\":\"none\"},\"vsock\":{\"kind\":\"stream\"}}");
	restore(&rig, 409, "bare", ",\"require_secrets\":true");
	ck_assert_str_eq(api_text(&rig, "field"), "secrets");
	ck_assert_ptr_nonnull(strstr(rig.body, "TOKEN"));
	api_expect(&rig, 200, "GET", "/v1/vms/bare/forwards", NULL);
	ck_assert_str_eq(rig.body, "{\"items\":[]}\n");
}
END_TEST

/* ---- idle, reset ---- */

START_TEST(vm_says_that_it_is_idle)
{
	furnish();
	api_expect(&rig, 200, "GET", "/v1/vms/web", NULL);
	ck_assert_str_eq(api_text(&rig, "idle"), "true");
	ck_assert_str_eq(api_text(&rig, "busy.live"), "0");
}
END_TEST

START_TEST(reset_leaves_what_the_operator_gave)
{
	char *was, *is, pid[32];

	furnish();
	was = state_of("web");
	api_expect(&rig, 200, "GET", "/v1/vms/web", NULL);
	snprintf(pid, sizeof(pid), "%.31s", api_text(&rig, "worker.pid"));
	for (int i = 0; i < 20; i++)
		api_expect(&rig, 204, "POST", "/v1/vms/web/reset", NULL);
	is = state_of("web");
	ck_assert_str_eq(is, was);
	free(is);
	free(was);
	api_expect(&rig, 200, "GET", "/v1/vms/web", NULL);
	ck_assert_str_eq(api_text(&rig, "worker.pid"), pid);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("snapshot API");
	TCase *kept = tcase_create("kept"), *files = tcase_create("files");
	TCase *back = tcase_create("restore");
	TCase *all[] = {kept, files, back};

	for (size_t i = 0; i < 3; i++) {
		tcase_add_checked_fixture(all[i], set_up, tear_down);
		tcase_set_timeout(all[i], 60);
		suite_add_tcase(suite, all[i]);
	}
	tcase_add_test(kept, snapshot_is_listed_shown_exported_and_deleted);
	tcase_add_test(kept, what_was_answered_survives_kill_and_its_vm);
	tcase_add_test(kept, secrets_go_by_name_only);
	tcase_add_test(kept, record_that_does_not_fit_is_refused);
	tcase_add_test(kept, bad_requests_are_refused);
	tcase_add_test(files, import_gives_what_was_exported);
	tcase_add_test(files, bad_files_are_refused);
	tcase_add_test(back, restore_brings_all_of_it_back);
	tcase_add_test(back, restore_into_the_same_vm_undoes_what_came_since);
	tcase_add_test(back, another_vm_has_paths_of_its_own);
	tcase_add_test(back, another_daemon_restores_from_the_file);
	tcase_add_test(back, taken_port_is_named_and_nothing_is_restored);
	tcase_add_test(back, unsuitable_vms_are_refused);
	tcase_add_test(back, vm_says_that_it_is_idle);
	tcase_add_test(back, reset_leaves_what_the_operator_gave);
	return run_suite(suite);
}
