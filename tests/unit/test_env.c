/* SPDX-License-Identifier: MIT */
/* A VM's environment and secrets: the document, its bounds, and what a restart keeps. */
#include "tests/unit/env_rig.h"

#include "ctl/worker_client.h"
#include "proto/frame.h"
#include "proto/rpc.h"

#include <errno.h>
#include <sqlite3.h>

START_TEST(nothing_set_is_two_empty_objects)
{
	ck_assert_str_eq(document(), "{\"env\":{},\"secrets\":{}}");
}
END_TEST

START_TEST(document_holds_both)
{
	set_env("{\"MODE\":\"a/b\",\"deep\":{\"n\":[1,2.50,null]}}");
	ck_assert_int_eq(set_secret("b.key", "two"), 0);
	ck_assert_int_eq(set_secret("A", "one"), 0);
	ck_assert_str_eq(document(),
		"{\"env\":{\"MODE\":\"a/b\",\"deep\":{\"n\":[1,2.50,null]}},"
		"\"secrets\":{\"A\":\"one\",\"b.key\":\"two\"}}");
}
END_TEST

START_TEST(text_survives_quoting)
{
	static const char value[] = "a\"b\\c\nd\te\r \xc3\xbc \xe2\x82\xac \xf0\x9f\x90\x9f /";
	struct json_object *doc, *secrets = NULL, *got = NULL;

	ck_assert_int_eq(set_secret("S", value), 0);
	doc = json_tokener_parse(document());
	json_object_object_get_ex(doc, "secrets", &secrets);
	json_object_object_get_ex(secrets, "S", &got);
	ck_assert_str_eq(json_object_get_string(got), value);
	json_object_put(doc);
}
END_TEST

static const struct {
	const char *bytes;
	size_t len;
	const char *base64;
} no_texts[] = {
	{"\0", 1, "AA=="}, {"a\0", 2, "YQA="}, {"\x01\x02\x03", 3, "AQID"}, {"\x7f", 1, "fw=="},
	{"\xff\xfe", 2, "//4="}, {"\xc0\x80", 2, "wIA="}, /* overlong */
	{"\xe0\x80\x80", 3, "4ICA"},                      /* overlong */
	{"\xed\xa0\x80", 3, "7aCA"},                      /* a surrogate */
	{"\xf4\x90\x80\x80", 4, "9JCAgA=="},              /* beyond U+10FFFF */
	{"\xe2\x82", 2, "4oI="},                          /* cut short */
};

START_TEST(what_is_no_text_is_base64)
{
	char want[128];

	ck_assert_int_eq(vm_secret_set(&vm, "S", no_texts[_i].bytes, no_texts[_i].len, &err), 0);
	snprintf(want, sizeof(want), "{\"env\":{},\"secrets\":{\"S\":{\"base64\":\"%s\"}}}",
		no_texts[_i].base64);
	ck_assert_str_eq(document(), want);
}
END_TEST

/* ---- bounds ---- */

START_TEST(bad_secrets_are_refused)
{
	static const char *const names[] = {"", ".a", "-a", "a b", "a/b", "\xc3\xbc", "a\n"};
	static char large[SECRET_MAX + 1], name[SECRET_NAME_MAX + 2];

	memset(large, 'x', sizeof(large));
	memset(name, 'n', SECRET_NAME_MAX + 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		ck_assert_msg(set_secret(names[i], "x") < 0, "%s", names[i]);
		ck_assert_int_eq(err.status, 400);
		ck_assert_str_eq(err.field, "name");
	}
	ck_assert_int_eq(set_secret(name, "x"), -1);
	ck_assert_int_eq(set_secret("S", ""), -1);
	ck_assert_int_eq(err.status, 400);
	ck_assert_int_eq(vm_secret_set(&vm, "S", large, sizeof(large), &err), -1);
	ck_assert_int_eq(err.status, 413);
	ck_assert_int_eq(vm_secret_set(&vm, "S", large, SECRET_MAX, &err), 0);
	name[SECRET_NAME_MAX] = '\0';
	ck_assert_int_eq(set_secret(name, "x"), 0);
}
END_TEST

START_TEST(too_many_secrets_are_refused)
{
	char name[16];

	vm.ephemeral = true; /* no need to write each */
	for (int i = 0; i < SECRETS_MAX; i++) {
		snprintf(name, sizeof(name), "S%d", i);
		ck_assert_int_eq(set_secret(name, "x"), 0);
	}
	ck_assert_int_eq(set_secret("ONE_MORE", "x"), -1);
	ck_assert_int_eq(err.status, 409);
	ck_assert_int_eq(set_secret("S0", "another"), 0);
	ck_assert_int_eq(vm_secret_delete(&vm, "S1", &err), 0);
	ck_assert_int_eq(set_secret("ONE_MORE", "x"), 0);
}
END_TEST

/* {"A":"aaa…"} of size - 1 bytes. */
static void fill_env(char *text, size_t size)
{
	size_t len = (size_t)snprintf(text, size, "{\"A\":\"");

	memset(text + len, 'a', size - len - 3);
	strcpy(text + size - 3, "\"}");
}

/* Quotes take two bytes each: no value takes more. */
START_TEST(largest_document_fits_a_control_frame)
{
	static char value[SECRET_MAX], text[ENV_MAX + 1];
	char name[16];

	vm.ephemeral = true;
	memset(value, '"', sizeof(value));
	for (size_t i = 0; i < SECRETS_BYTES_MAX / SECRET_MAX; i++) {
		snprintf(name, sizeof(name), "S%zu", i);
		ck_assert_int_eq(vm_secret_set(&vm, name, value, sizeof(value), &err), 0);
	}
	ck_assert_int_eq(set_secret("ONE_MORE", "x"), -1);
	ck_assert_int_eq(err.status, 409);
	fill_env(text, sizeof(text));
	set_env(text);
	ck_assert_uint_lt(strlen(document()), FRAME_BODY_MAX - 64);
}
END_TEST

START_TEST(env_above_its_limit_is_refused)
{
	static char text[ENV_MAX + 2];
	struct json_object *doc;

	set_env("{\"A\":\"old\"}");
	fill_env(text, sizeof(text));
	doc = json_tokener_parse(text);
	ck_assert_int_eq(vm_env_set(&vm, doc, &err), -1);
	ck_assert_int_eq(err.status, 413);
	json_object_put(doc);
	doc = json_tokener_parse("[1]");
	ck_assert_int_eq(vm_env_set(&vm, doc, &err), -1);
	ck_assert_int_eq(err.status, 400);
	json_object_put(doc);
	ck_assert_str_eq(document(), "{\"env\":{\"A\":\"old\"},\"secrets\":{}}");
}
END_TEST

/* ---- the store ---- */

START_TEST(restart_keeps_both)
{
	static const char want[] =
		"{\"env\":{\"A\":\"2\"},\"secrets\":{\"S\":\"new\",\"T\":{\"base64\":\"AP8=\"}}}";

	set_env("{\"A\":\"1\"}");
	set_env("{\"A\":\"2\"}");
	ck_assert_int_eq(set_secret("S", "old"), 0);
	ck_assert_int_eq(set_secret("S", "new"), 0);
	ck_assert_int_eq(set_secret("U", "gone"), 0);
	ck_assert_int_eq(vm_secret_set(&vm, "T", "\0\xff", 2, &err), 0);
	ck_assert_int_eq(vm_secret_delete(&vm, "U", &err), 0);
	ck_assert_int_eq(vm_secret_delete(&vm, "U", &err), -1);
	ck_assert_int_eq(err.status, 404);
	ck_assert_str_eq(document(), want);
	reopen();
	ck_assert_str_eq(document(), want);
}
END_TEST

START_TEST(ephemeral_vm_is_not_stored)
{
	int64_t n = -1;

	vm.ephemeral = true;
	set_env("{\"A\":\"1\"}");
	ck_assert_int_eq(set_secret("S", "value"), 0);
	ck_assert_str_eq(document(), "{\"env\":{\"A\":\"1\"},\"secrets\":{\"S\":\"value\"}}");
	ck_assert_int_eq(store_secrets_count(vms.store, &n, &err), 0);
	ck_assert_int_eq(n, 0);
	reopen();
	ck_assert_str_eq(document(), "{\"env\":{},\"secrets\":{}}");
}
END_TEST

START_TEST(deleting_the_vm_deletes_both)
{
	int64_t n = -1;

	set_env("{\"A\":\"1\"}");
	ck_assert_int_eq(set_secret("S", "value"), 0);
	ck_assert_int_eq(store_vm_delete(vms.store, "web", &err), 0);
	ck_assert_int_eq(store_secrets_count(vms.store, &n, &err), 0);
	ck_assert_int_eq(n, 0);
	reopen();
	ck_assert_str_eq(document(), "{\"env\":{},\"secrets\":{}}");
}
END_TEST

START_TEST(what_cannot_be_stored_is_not_kept)
{
	struct json_object *doc = json_tokener_parse("{\"A\":\"1\"}");

	ck_assert_int_eq(set_secret("S", "old"), 0);
	strcpy(vm.config.name, "nobody");
	ck_assert_int_eq(set_secret("T", "new"), -1);
	ck_assert_int_eq(vm_env_set(&vm, doc, &err), -1);
	strcpy(vm.config.name, "web");
	ck_assert_str_eq(document(), "{\"env\":{},\"secrets\":{\"S\":\"old\"}}");
	json_object_put(doc);
}
END_TEST

START_TEST(store_of_the_first_schema_is_brought_up_to_date)
{
	static const char undo[] =
		"DROP TABLE proxy_passwords; DROP TABLE event_numbers; DROP TABLE places;"
		"DROP TABLE snapshots; DROP TABLE maps;"
		"DROP TABLE env; DROP TABLE secrets;"
		"DELETE FROM marks WHERE name = 'key';"
		"PRAGMA user_version = 1";
	sqlite3 *db;

	close_all();
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, undo, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	open_all();
	set_env("{\"A\":\"1\"}");
	ck_assert_int_eq(set_secret("S", "value"), 0);
	reopen();
	ck_assert_str_eq(document(), "{\"env\":{\"A\":\"1\"},\"secrets\":{\"S\":\"value\"}}");
}
END_TEST

/* ---- the worker's question ---- */

static struct {
	int answers;
	int code;
	char text[256];
} answer;

static void on_answer(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	(void)arg;
	(void)text;
	(void)fds;
	(void)n_fds;
	answer.answers++;
	answer.code = code;
	if (code)
		return;
	ck_assert_int_eq(reply->body_case, NETDP__ENVELOPE__BODY_ENV_DOCUMENT);
	ck_assert_uint_lt(reply->env_document->document.len, sizeof(answer.text));
	memcpy(answer.text, reply->env_document->document.data, reply->env_document->document.len);
}

static void on_closed(void *arg, int code, const char *text)
{
	(void)arg;
	ck_abort_msg("closed: %d %s", code, text);
}

static const struct rpc_ops worker_ops = {.closed = on_closed};
static const struct worker_client_hooks hooks = {.closed = on_closed};

/* Asks netctld's side as a worker does. */
static void ask(const struct worker_client_events *events)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__EnvGet msg = NETDP__ENV_GET__INIT;
	struct worker_client *client;
	struct rpc *worker;
	int fds[2];

	memset(&answer, 0, sizeof(answer));
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	client = worker_client_new(vms.base, fds[0], "web", events, &vm, &hooks, NULL);
	worker = rpc_new(vms.base, fds[1], "worker", NULL, &worker_ops, NULL);
	env.body_case = NETDP__ENVELOPE__BODY_ENV_GET;
	env.env_get = &msg;
	rpc_call(worker, &env, NULL, 0, 5000, on_answer, NULL);
	while (!answer.answers)
		event_base_loop(vms.base, EVLOOP_ONCE);
	rpc_free(worker);
	worker_client_free(client);
}

START_TEST(worker_is_answered_what_now_holds)
{
	ck_assert_int_eq(set_secret("S", "first"), 0);
	ask(&vm_worker_ops.events);
	ck_assert_int_eq(answer.code, 0);
	ck_assert_str_eq(answer.text, "{\"env\":{},\"secrets\":{\"S\":\"first\"}}");
	ck_assert_int_eq(set_secret("S", "second"), 0);
	ask(&vm_worker_ops.events);
	ck_assert_str_eq(answer.text, "{\"env\":{},\"secrets\":{\"S\":\"second\"}}");
}
END_TEST

START_TEST(worker_is_told_that_there_is_no_document)
{
	static const struct worker_client_events none;

	ck_assert_int_eq(set_secret("S", "value"), 0);
	TAILQ_FIRST(&vm.env.secrets)->sealed[30] ^= 1;
	ask(&vm_worker_ops.events);
	ck_assert_int_eq(answer.code, -EIO);
	ask(&none);
	ck_assert_int_eq(answer.code, -ENOSYS);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("env");
	TCase *tc = tcase_create("env");

	tcase_add_checked_fixture(tc, env_rig_start, env_rig_stop);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, nothing_set_is_two_empty_objects);
	tcase_add_test(tc, document_holds_both);
	tcase_add_test(tc, text_survives_quoting);
	tcase_add_loop_test(
		tc, what_is_no_text_is_base64, 0, (int)(sizeof(no_texts) / sizeof(*no_texts)));
	tcase_add_test(tc, bad_secrets_are_refused);
	tcase_add_test(tc, too_many_secrets_are_refused);
	tcase_add_test(tc, largest_document_fits_a_control_frame);
	tcase_add_test(tc, env_above_its_limit_is_refused);
	tcase_add_test(tc, restart_keeps_both);
	tcase_add_test(tc, ephemeral_vm_is_not_stored);
	tcase_add_test(tc, deleting_the_vm_deletes_both);
	tcase_add_test(tc, what_cannot_be_stored_is_not_kept);
	tcase_add_test(tc, store_of_the_first_schema_is_brought_up_to_date);
	tcase_add_test(tc, worker_is_answered_what_now_holds);
	tcase_add_test(tc, worker_is_told_that_there_is_no_document);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
