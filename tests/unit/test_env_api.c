/* SPDX-License-Identifier: MIT */
/* Environment and secrets by the API and by netctl: routes, bounds, crashes, and where no value shows. */
#include "common/os.h"
#include "ctl/env.h"
#include "ctl/secret_key.h"
#include "tests/unit/api_rig.h"
#include "tests/unit/check_main.h"

#include <dirent.h>
#include <fcntl.h>

#define VALUE "hunter2-but-longer-7f3a"

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

/* ---- env ---- */

START_TEST(env_is_replaced_and_patched)
{
	api_expect(&rig, 200, "GET", "/v1/vms/web/env", NULL);
	ck_assert_str_eq(rig.body, "{}\n");
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", "{\"A\":\"1\",\"B\":{\"c\":2,\"d\":3}}");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web/env",
		"{\"A\":null,\"B\":{\"c\":null},\"E\":\"5\"}");
	ck_assert_str_eq(rig.body, "{\"B\":{\"d\":3},\"E\":\"5\"}\n");
	api_expect(&rig, 200, "GET", "/v1/vms/web/env", NULL);
	ck_assert_str_eq(rig.body, "{\"B\":{\"d\":3},\"E\":\"5\"}\n");
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", "{}");
	ck_assert_str_eq(rig.body, "{}\n");
}
END_TEST

START_TEST(env_that_is_no_object_is_refused)
{
	static const char *const bodies[] = {
		"[]", "\"A=1\"", "1", "null", "", "{\"A\":", "{'A':1}"};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		api_expect(&rig, 400, "PUT", "/v1/vms/web/env", bodies[i]);
		api_expect(&rig, 400, "PATCH", "/v1/vms/web/env", bodies[i]);
	}
}
END_TEST

START_TEST(env_grows_to_its_limit_only)
{
	static char body[700000];
	size_t len = (size_t)snprintf(body, sizeof(body), "{\"A\":\"");

	memset(body + len, 'a', sizeof(body) - len - 3);
	strcpy(body + sizeof(body) - 3, "\"}");
	api_expect(&rig, 200, "PATCH", "/v1/vms/web/env", body);
	body[2] = 'B';
	api_expect(&rig, 413, "PATCH", "/v1/vms/web/env", body);
	ck_assert_ptr_nonnull(strstr(rig.head, "application/problem+json"));
	api_expect(&rig, 200, "GET", "/v1/vms/web/env", NULL);
	ck_assert_ptr_null(strstr(rig.body, "\"B\""));
}
END_TEST

/* ---- secrets ---- */

START_TEST(secrets_are_listed_by_name_and_shown_by_nobody)
{
	static const char *const urls[] = {"/v1/vms/web/secrets", "/v1/vms/web/env", "/v1/vms/web",
		"/v1/vms", "/v1/events", "/metrics", "/v1/vms/web/stats"};

	api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/Z", VALUE);
	api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/A.b-c", VALUE);
	api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/Z", VALUE);
	api_expect(&rig, 200, "GET", "/v1/vms/web/secrets", NULL);
	ck_assert_str_eq(rig.body, "{\"items\":[{\"name\":\"A.b-c\"},{\"name\":\"Z\"}]}\n");
	for (size_t i = 0; i < sizeof(urls) / sizeof(*urls); i++) {
		api_call(&rig, "GET", urls[i], NULL);
		ck_assert_msg(!strstr(rig.body, VALUE), "%s: %s", urls[i], rig.body);
	}
	api_expect(&rig, 405, "GET", "/v1/vms/web/secrets/Z", NULL);
	ck_assert_ptr_nonnull(strstr(rig.head, "Allow: PUT, DELETE"));
	api_expect(&rig, 204, "DELETE", "/v1/vms/web/secrets/Z", NULL);
	api_expect_field(&rig, 404, "name", "DELETE", "/v1/vms/web/secrets/Z", NULL);
}
END_TEST

START_TEST(bad_secrets_are_refused_without_repeating_them)
{
	static char body[(64 << 10) + 2];

	api_expect_field(&rig, 400, "name", "PUT", "/v1/vms/web/secrets/a%20b", VALUE);
	ck_assert_ptr_null(strstr(rig.body, VALUE));
	api_expect_field(&rig, 404, "vm", "PUT", "/v1/vms/nobody/secrets/A", VALUE);
	ck_assert_ptr_null(strstr(rig.body, VALUE));
	api_expect(&rig, 400, "PUT", "/v1/vms/web/secrets/A", "");
	memset(body, 'x', sizeof(body) - 1);
	api_expect(&rig, 413, "PUT", "/v1/vms/web/secrets/A", body);
	body[64 << 10] = '\0';
	api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/A", body);
}
END_TEST

/* ---- crashes, and what lies on the disk ---- */

static char found[SECRET_MAX];
static size_t found_len;
static struct secret_key *key;

static void unseal(void *arg, const char *name, const void *sealed, size_t len)
{
	(void)arg;
	ck_assert_str_eq(name, "S");
	ck_assert_int_eq(secret_key_unseal(key, "web", name, sealed, len, (uint8_t *)found), 0);
	found_len = len - SECRET_KEY_OVERHEAD;
}

/* What the store now says of the secret S. */
static void read_store(void)
{
	char dir[96], path[128];
	struct store *store = NULL;
	struct error err;

	snprintf(dir, sizeof(dir), "%s/state", rig.dir);
	snprintf(path, sizeof(path), "%s/netctl.db", dir);
	found_len = 0;
	ck_assert_msg(store_open(path, &store, &err) == 0, "%s", err.text);
	ck_assert_msg(secret_key_open(store, dir, &key, &err) == 0, "%s", err.text);
	ck_assert_int_eq(store_secrets(store, "web", unseal, NULL, &err), 0);
	secret_key_free(key);
	store_close(store);
}

START_TEST(what_was_answered_survives_kill)
{
	char value[64];

	for (int i = 0; i < 5; i++) {
		snprintf(value, sizeof(value), VALUE "-%d", i * 10 + _i);
		api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/S", value);
	}
	api_rig_end(&rig, SIGKILL);
	read_store();
	ck_assert_uint_eq(found_len, strlen(value));
	ck_assert_mem_eq(found, value, found_len);
	api_rig_run(&rig);
	api_expect(&rig, 200, "GET", "/v1/vms/web/secrets", NULL);
	ck_assert_str_eq(rig.body, "{\"items\":[{\"name\":\"S\"}]}\n");
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", "{\"A\":\"kept\"}");
	api_rig_end(&rig, SIGKILL);
	api_rig_run(&rig);
	api_expect(&rig, 200, "GET", "/v1/vms/web/env", NULL);
	ck_assert_str_eq(rig.body, "{\"A\":\"kept\"}\n");
}
END_TEST

/* How often a file of the directory holds these bytes. */
static int count_in_files(const char *dir, const char *bytes, size_t len)
{
	static char text[16 << 20];
	struct dirent *entry;
	char name[512];
	DIR *list = opendir(dir);
	int n = 0;

	ck_assert_ptr_nonnull(list);
	while ((entry = readdir(list))) {
		FILE *f;
		size_t got;

		if (entry->d_type != DT_REG)
			continue;
		snprintf(name, sizeof(name), "%s/%s", dir, entry->d_name);
		f = fopen(name, "r");
		ck_assert_ptr_nonnull(f);
		got = fread(text, 1, sizeof(text), f);
		fclose(f);
		for (size_t i = 0; i + len <= got; i++)
			n += memcmp(text + i, bytes, len) == 0;
	}
	closedir(list);
	return n;
}

START_TEST(no_file_holds_a_value)
{
	char dir[96];

	snprintf(dir, sizeof(dir), "%s/state", rig.dir);
	api_expect(&rig, 200, "PUT", "/v1/vms/web/env", "{\"A\":\"plain-to-see-9c1e\"}");
	api_expect(&rig, 204, "PUT", "/v1/vms/web/secrets/S", VALUE);
	ck_assert_int_gt(count_in_files(dir, "plain-to-see-9c1e", 17), 0);
	ck_assert_int_eq(count_in_files(dir, VALUE, strlen(VALUE)), 0);
	api_rig_end(&rig, SIGTERM);
	ck_assert_int_gt(count_in_files(dir, "plain-to-see-9c1e", 17), 0);
	ck_assert_int_eq(count_in_files(dir, VALUE, strlen(VALUE)), 0);
	read_store();
	ck_assert_uint_eq(found_len, strlen(VALUE));
}
END_TEST

/* ---- netctl ---- */

/* Runs netctl with this standard input; its output goes to rig.body, both kinds of it. */
static int netctl(const char *input, char *const *words)
{
	const char *bin = getenv("NETCTL_BIN");
	char program[512], sock[128], *argv[16] = {(char[]){"netctl"}, (char[]){"-s"}, sock};
	int in[2], out[2], status = 0, n = 3;
	size_t used = 0;
	ssize_t got;
	pid_t pid;

	snprintf(program, sizeof(program), "%s/netctl", bin ? bin : ".");
	api_rig_path(&rig, sock, sizeof(sock), "api.sock");
	while (*words)
		argv[n++] = *words++;
	ck_assert_int_eq(os_pipe(in), 0);
	ck_assert_int_eq(os_pipe(out), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(out[1], 2);
		execv(program, argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	ck_assert_int_eq(write(in[1], input, strlen(input)), (ssize_t)strlen(input));
	close(in[1]);
	while ((got = read(out[0], rig.body + used, sizeof(rig.body) - 1 - used)) > 0)
		used += (size_t)got;
	close(out[0]);
	rig.body[used] = '\0';
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define NETCTL(input, ...) netctl(input, (char *const[]){__VA_ARGS__, NULL})
#define W(text) ((char[]){text})

START_TEST(netctl_sets_and_shows_env)
{
	ck_assert_int_eq(NETCTL("", W("env"), W("set"), W("web"), W("A=1"), W("B=x=y")), 0);
	ck_assert_int_eq(NETCTL("", W("env"), W("set"), W("web"), W("A=")), 0);
	ck_assert_int_eq(NETCTL("", W("env"), W("show"), W("web")), 0);
	ck_assert_str_eq(rig.body, "KEY  VALUE\nA    -\nB    x=y\n");
	ck_assert_int_eq(NETCTL("", W("env"), W("unset"), W("web"), W("A"), W("C")), 0);
	ck_assert_int_eq(NETCTL("", W("-o"), W("json"), W("env"), W("show"), W("web")), 0);
	ck_assert_str_eq(rig.body, "{\n  \"B\": \"x=y\"\n}\n");
	ck_assert_int_eq(NETCTL("{\"D\":[1]}", W("env"), W("load"), W("web"), W("-")), 0);
	ck_assert_int_eq(NETCTL("", W("env"), W("show"), W("web")), 0);
	ck_assert_ptr_nonnull(strstr(rig.body, "D    [ 1 ]"));
	ck_assert_int_eq(NETCTL("[]", W("env"), W("load"), W("web"), W("-")), 1);
	ck_assert_int_eq(NETCTL("", W("env"), W("load"), W("web"), W("/nowhere")), 1);
	ck_assert_int_eq(NETCTL("", W("env"), W("set"), W("web"), W("=x")), 2);
	ck_assert_int_eq(NETCTL("", W("env"), W("show"), W("nobody")), 3);
}
END_TEST

START_TEST(netctl_takes_secrets_from_stdin_or_a_file)
{
	char file[128];
	FILE *f;

	ck_assert_int_eq(NETCTL(VALUE "\n", W("secret"), W("set"), W("web"), W("S")), 0);
	ck_assert_str_eq(rig.body, "");
	ck_assert_int_eq(NETCTL("", W("secret"), W("list"), W("web")), 0);
	ck_assert_str_eq(rig.body, "NAME\nS\n");
	api_rig_end(&rig, SIGTERM);
	read_store();
	ck_assert_uint_eq(found_len, strlen(VALUE "\n"));
	ck_assert_mem_eq(found, VALUE "\n", found_len);

	api_rig_run(&rig);
	snprintf(file, sizeof(file), "%s/value", rig.dir);
	f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	fwrite("\0\xff", 1, 2, f);
	fclose(f);
	ck_assert_int_eq(
		NETCTL("", W("secret"), W("set"), W("web"), W("S"), W("--from-file"), file), 0);
	api_rig_end(&rig, SIGTERM);
	read_store();
	ck_assert_uint_eq(found_len, 2);
	ck_assert_mem_eq(found, "\0\xff", 2);
	api_rig_run(&rig);
	ck_assert_int_eq(NETCTL("", W("secret"), W("delete"), W("web"), W("S")), 0);
	ck_assert_int_eq(NETCTL("", W("secret"), W("delete"), W("web"), W("S")), 3);
}
END_TEST

START_TEST(netctl_does_not_repeat_what_it_cannot_set)
{
	ck_assert_int_eq(NETCTL(VALUE, W("secret"), W("set"), W("web"), W("a b")), 1);
	ck_assert_ptr_null(strstr(rig.body, VALUE));
	ck_assert_int_eq(NETCTL(VALUE, W("secret"), W("set"), W("nobody"), W("S")), 3);
	ck_assert_ptr_null(strstr(rig.body, VALUE));
	ck_assert_int_eq(NETCTL("", W("secret"), W("set"), W("web"), W("S")), 1);
	ck_assert_ptr_nonnull(strstr(rig.body, "empty"));
	ck_assert_int_eq(NETCTL("", W("secret"), W("set"), W("web"), W("S"), W("value")), 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("env API");
	TCase *tc = tcase_create("env API");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, env_is_replaced_and_patched);
	tcase_add_test(tc, env_that_is_no_object_is_refused);
	tcase_add_test(tc, env_grows_to_its_limit_only);
	tcase_add_test(tc, secrets_are_listed_by_name_and_shown_by_nobody);
	tcase_add_test(tc, bad_secrets_are_refused_without_repeating_them);
	tcase_add_loop_test(tc, what_was_answered_survives_kill, 0, 3);
	tcase_add_test(tc, no_file_holds_a_value);
	tcase_add_test(tc, netctl_sets_and_shows_env);
	tcase_add_test(tc, netctl_takes_secrets_from_stdin_or_a_file);
	tcase_add_test(tc, netctl_does_not_repeat_what_it_cannot_set);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
