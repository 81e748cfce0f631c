/* SPDX-License-Identifier: MIT */
/* Records: their canonical form, and what is read of a file that an enemy may have written. */
#include "ctl/record.h"

#include "ctl/json_read.h"
#include "tests/unit/check_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (2u << 20)

static struct error err;
static char file[FILE_MAX];
static size_t len;

/* Everything that a record may hold. */
static const char whole[] =
	"{\"record_version\":1,\"vm\":\"web\",\"name\":\"nightly\",\"created_ms\":1795624838645,"
	"\"cid\":3,\"net\":{\"subnet\":\"10.0.2.0/24\"},"
	"\"guest\":{\"mac\":\"52:54:00:00:00:02\",\"lease\":{\"addr\":\"10.0.2.15\","
	"\"mac\":\"52:54:00:00:00:02\",\"hostname\":\"guest\",\"since_ms\":1795624830000}},"
	"\"names\":[{\"addr\":\"192.0.2.7\",\"name\":\"example.org\",\"ttl_ms\":60000}],"
	"\"tsi\":{\"listeners\":[{\"svm_port\":70000,\"vm_port\":4294967295,\"family\":\"ipv4\","
	"\"type\":\"stream\",\"backlog\":128,\"addr\":\"0.0.0.0\",\"port\":8080}],"
	"\"proxies\":[{\"svm_port\":70001,\"family\":\"ipv6\",\"peer\":\"[2001:db8::1]:53\"},"
	"{\"svm_port\":70002,\"family\":\"ipv4\"}]},"
	"\"forwards\":[{\"listen\":{\"proto\":\"tcp\",\"addr\":\"127.0.0.1\",\"port\":8080},"
	"\"to\":{\"tsi\":\"first\"},\"snat\":false},{\"name\":\"p\","
	"\"listen\":{\"unix\":\"p.sock\"},\"to\":{\"port\":80},\"snat\":true},"
	"{\"listen\":{\"unix\":\"/srv/q.sock\"},\"to\":{\"vsock\":5000},\"handed\":true}],"
	"\"maps\":[{\"port\":5000,\"to\":{\"tcp\":\"127.0.0.1:80\"}},"
	"{\"port\":5001,\"to\":{\"unix\":\"svc.sock\"}}],"
	"\"policy\":{\"preset\":\"public\",\"rules\":[{\"action\":\"deny\"}]},"
	"\"hosts\":{\"items\":[{\"name\":\"db\",\"addresses\":[\"10.0.2.9\"]}]},"
	"\"env\":{\"A\":1.50,\"B\":[null,true,\"\\u00fc/\\u0001\"]},\"secrets\":[\"TOKEN\"]}";

static void use(const char *text)
{
	len = strlen(text);
	ck_assert_uint_lt(len, sizeof(file));
	memcpy(file, text, len + 1);
}

/* The canonical text of doc, with its hash. */
static void sign(struct json_object *doc)
{
	char sha256[RECORD_SHA256_LEN], *text;
	size_t n;

	json_object_object_del(doc, "sha256");
	text = record_canonical(doc, &n);
	record_hash(text, n, sha256);
	free(text);
	json_put_string(doc, "sha256", sha256);
	text = record_canonical(doc, &n);
	use(text);
	free(text);
}

static struct json_object *parse(const char *text)
{
	struct json_object *doc = json_tokener_parse(text);

	ck_assert_ptr_nonnull(doc);
	return doc;
}

static void make(void)
{
	struct json_object *doc = parse(whole);

	sign(doc);
	json_object_put(doc);
}

static struct record *read_file(void)
{
	struct record *record;

	memset(&err, 0, sizeof(err));
	record = record_read(file, len, &err);
	ck_assert_msg(!record == !!*err.text, "neither a record nor an error: %s", err.text);
	return record;
}

static void expect_refused(const char *words)
{
	struct record *record = read_file();

	ck_assert_msg(!record, "it was taken, without \"%s\"", words);
	ck_assert_msg(strstr(err.text, words) || strstr(err.field, words),
		"\"%s\" is not in: %s (%s)", words, err.text, err.field);
	ck_assert_int_eq(err.status, 400);
}

/* The whole record with the value at a path ("a.b", "a[1].b") replaced (NULL: taken out), signed. */
static void change(const char *path, const char *value)
{
	struct json_object *doc = parse(whole), *at = doc;
	char copy[128], *key, *end;

	snprintf(copy, sizeof(copy), "%s", path);
	for (key = copy; (end = strpbrk(key, ".[")); key = end + 1) {
		char last = *end;

		*end = '\0';
		if (*key)
			json_object_object_get_ex(at, key, &at);
		if (last == '[') {
			at = json_object_array_get_idx(at, (size_t)atoi(end + 1));
			end = strchr(end + 1, ']') + 1;
		}
		ck_assert_ptr_nonnull(at);
	}
	if (value)
		json_object_object_add(at, key, strcmp(value, "null") ? parse(value) : NULL);
	else
		json_object_object_del(at, key);
	sign(doc);
	json_object_put(doc);
}

/* ---- the canonical form ---- */

START_TEST(canonical_form_is_sorted_and_without_blanks)
{
	struct json_object *doc = parse(
		"{ \"b\" : [ 1, 2.50, {\"z\":null,\"a\":true} ],\n"
		"\"a\\u0001\\n\" : \"\\u00fc/\\\"\\\\\\u001f\", \"B\":{} }");
	size_t n;
	char *text = record_canonical(doc, &n);

	ck_assert_str_eq(text,
		"{\"B\":{},\"a\\u0001\\n\":\"\xc3\xbc/\\\"\\\\\\u001f\","
		"\"b\":[1,2.50,{\"a\":true,\"z\":null}]}");
	ck_assert_uint_eq(n, strlen(text));
	free(text);
	json_object_put(doc);
}
END_TEST

START_TEST(hash_is_sha256)
{
	char sha256[RECORD_SHA256_LEN];

	record_hash("abc", 3, sha256);
	ck_assert_str_eq(
		sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
END_TEST

START_TEST(layout_of_a_file_does_not_matter)
{
	struct json_object *doc;
	struct record *record, *again;

	make();
	record = read_file();
	ck_assert_ptr_nonnull(record);
	doc = parse(file);
	use(json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY));
	json_object_put(doc);
	again = read_file();
	ck_assert_msg(again != NULL, "%s", err.text);
	ck_assert_str_eq(record->text, again->text);
	ck_assert_str_eq(record->id, again->id);
	record_free(record);
	record_free(again);
}
END_TEST

/* ---- what is read ---- */

START_TEST(every_field_is_read)
{
	struct record *r;

	make();
	r = read_file();
	ck_assert_msg(r != NULL, "%s", err.text);
	ck_assert_str_eq(r->text, file);
	ck_assert_uint_eq(r->len, len);
	ck_assert_int_eq(strncmp(r->id, r->sha256, 16), 0);
	ck_assert_str_eq(r->vm, "web");
	ck_assert_str_eq(r->name, "nightly");
	ck_assert_int_eq(r->created_ms, 1795624838645);
	ck_assert_uint_eq(r->cid, 3);
	ck_assert(r->mac_known && r->has_lease);
	ck_assert_str_eq(r->lease.hostname, "guest");
	ck_assert_uint_eq(r->n_names, 1);
	ck_assert_int_eq(r->names[0].until_ms, 60000);
	ck_assert_uint_eq(r->n_listeners, 1);
	ck_assert_uint_eq(r->listeners[0].vm_port, UINT32_MAX);
	ck_assert_uint_eq(r->listeners[0].addr.port, 8080);
	ck_assert_uint_eq(r->n_proxies, 2);
	ck_assert(r->proxies[0].connected && !r->proxies[1].connected);
	ck_assert_uint_eq(r->n_forwards, 3);
	ck_assert(!r->forwards[0].below && r->forwards[1].below && !r->forwards[2].below);
	ck_assert_str_eq(r->forwards[1].spec.path, "p.sock");
	ck_assert(r->forwards[2].spec.handed);
	ck_assert_uint_eq(r->n_maps, 2);
	ck_assert(r->maps[1].below);
	ck_assert_str_eq(r->maps[1].spec.path, "svc.sock");
	ck_assert_uint_eq(r->n_secrets, 1);
	ck_assert_str_eq(r->secrets[0], "TOKEN");
	record_free(r);
}
END_TEST

/* What a byte's change leaves is refused, or says the very same (the one blank that there is). */
START_TEST(damage_at_every_byte_is_found)
{
	static const unsigned char masks[] = {0x01, 0x20, 0x80};
	char *good;

	make();
	good = strdup(file);
	for (size_t i = 0; i < len; i++) {
		for (size_t k = 0; k < sizeof(masks); k++) {
			struct record *record;

			file[i] = (char)(good[i] ^ masks[k]);
			record = read_file();
			ck_assert_msg(!record || strcmp(record->text, good) == 0,
				"byte %zu, %c to %c, changed it unseen", i, good[i], file[i]);
			record_free(record);
			file[i] = good[i];
		}
	}
	free(good);
}
END_TEST

START_TEST(file_cut_short_is_named_as_such)
{
	size_t all;

	make();
	all = len;
	for (len = 1; len < all; len++) {
		/* In the middle of a character it is no UTF-8 before it is short. */
		bool split = file[len - 1] == '\xc3';

		expect_refused(split ? "damaged" : "cut short");
	}
	len = 0;
	expect_refused("empty");
}
END_TEST

START_TEST(changed_contents_are_named_as_damage)
{
	make();
	*strstr(file, "nightly") = 'm';
	expect_refused("damaged");
}
END_TEST

START_TEST(newer_version_is_refused_whatever_else_it_says)
{
	use("{\"record_version\":2,\"whatever\":true}");
	expect_refused("newer netctl (record version 2, this one reads 1)");
}
END_TEST

START_TEST(what_is_no_record_is_refused)
{
	static const char *const texts[] = {"[]", "\"x\"", "1", "{}", "{\"record_version\":0}",
		"{\"record_version\":\"1\"}", "{\"record_version\":1}",
		"{\"record_version\":1,\"sha256\":\"aa\"}", "{'record_version':1}", "null"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		use(texts[i]);
		expect_refused("");
	}
}
END_TEST

/* Each is signed anew: the enemy can hash, too. */
START_TEST(every_field_is_checked)
{
	static const struct {
		const char *path, *value;
	} bad[] = {
		{"unknown", "1"},
		{"vm", NULL},
		{"vm", "\"../x\""},
		{"vm", "7"},
		{"name", "\"A B\""},
		{"created_ms", "-1"},
		{"created_ms", "253402300800000"},
		{"created_ms", "1.5"},
		{"cid", "2"},
		{"cid", "4294967295"},
		{"net", NULL},
		{"net.subnet", "\"10.0.2.1/24\""},
		{"net.gateway", "\"10.0.2.2\""},
		{"guest", NULL},
		{"guest.mac", "\"53:54:00:00:00:02\""},
		{"guest.mac", "null"},
		{"guest.lease.addr", "\"10.0.3.15\""},
		{"guest.lease.addr", "\"fd00::1\""},
		{"guest.lease.hostname", "\"a\\u0007\""},
		{"guest.lease.hostname",
			"\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""},
		{"guest.lease.since_ms", NULL},
		{"names", NULL},
		{"names", "{}"},
		{"names[0].addr", "\"example.org\""},
		{"names[0].name", "\"\""},
		{"names[0].name", "\"\\u00fc\""},
		{"names[0].ttl_ms", "0"},
		{"names[0].ttl_ms", "604800001"},
		{"names[0].until", "1"},
		{"tsi", NULL},
		{"tsi.listeners", NULL},
		{"tsi.proxies", NULL},
		{"tsi.listeners[0].svm_port", "-1"},
		{"tsi.listeners[0].vm_port", "4294967296"},
		{"tsi.listeners[0].family", "\"ipv5\""},
		{"tsi.listeners[0].type", "\"datagram\""},
		{"tsi.listeners[0].addr", "\"::\""},
		{"tsi.listeners[0].port", "65536"},
		{"tsi.listeners[0].fd", "3"},
		{"tsi.proxies[0].peer", "\"2001:db8::1\""},
		{"tsi.proxies[0].family", "4"},
		{"cid", NULL}, /* and TSI there is */
		{"forwards[0].listen.port", "0"},
		{"forwards[0].listen.proto", "\"sctp\""},
		{"forwards[0].to.tsi", "\"second\""},
		{"forwards[0].fd", "3"},
		{"forwards[1].listen.unix", "\"../p.sock\""},
		{"forwards[1].listen.unix", "\"a/../../p.sock\""},
		{"forwards[1].listen.unix", "\"\""},
		{"forwards[1].handed", "true"},
		{"forwards[1].to.port", "0"},
		{"maps[0].port", "1026"},
		{"maps[0].port", "5001"},
		{"maps[1].to.unix", "\"..\""},
		{"maps[1].handed", "true"},
		{"policy", NULL},
		{"policy", "null"},
		{"policy", "\"no-such-preset\""},
		{"policy.rules", "[{\"action\":\"maybe\"}]"},
		{"limits", "[]"},
		{"limits", "{\"rate_in\":1}"},
		{"limits", "{\"speed\":9000}"},
		{"hosts", NULL},
		{"hosts.items", "[{\"name\":\"db\",\"addresses\":[]}]"},
		{"env", "[]"},
		{"env", NULL},
		{"secrets", "[\"-x\"]"},
		{"secrets", "[7]"},
		{"secrets", "{\"TOKEN\":\"value\"}"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct record *record;

		change(bad[i].path, bad[i].value);
		record = read_file();
		ck_assert_msg(!record, "%s: %s was taken", bad[i].path,
			bad[i].value ? bad[i].value : "nothing");
		ck_assert_int_eq(err.status, 400);
		ck_assert_msg(
			!strstr(err.text, "damaged"), "%s: the test forgot to sign", bad[i].path);
	}
}
END_TEST

START_TEST(what_may_be_absent_may_be)
{
	static const char *const paths[] = {"name", "guest.mac", "guest.lease",
		"tsi.proxies[0].peer", "forwards[1].name", "forwards[0].snat"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		struct record *record;

		change(paths[i], NULL);
		record = read_file();
		ck_assert_msg(record != NULL, "without %s: %s", paths[i], err.text);
		record_free(record);
	}
}
END_TEST

/* A list of n copies of a value, with their numbers where it has a '#'. */
static const char *list_of(const char *value, unsigned n)
{
	static char text[FILE_MAX];
	size_t used = 1;

	text[0] = '[';
	for (unsigned i = 0; i < n; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%.*s%u%s",
			i ? "," : "", (int)strcspn(value, "#"), value, i + 1,
			strchr(value, '#') + 1);
	}
	ck_assert_uint_lt(used + 2, sizeof(text));
	snprintf(text + used, sizeof(text) - used, "]");
	return text;
}

START_TEST(lists_have_bounds)
{
	static const struct {
		const char *path, *value;
		unsigned max;
	} lists[] = {
		{"names", "{\"addr\":\"192.0.2.7\",\"name\":\"n#\",\"ttl_ms\":1}",
			RECORD_NAMES_MAX},
		{"tsi.listeners",
			"{\"svm_port\":#,\"vm_port\":1,\"family\":\"ipv4\",\"type\":\"stream\","
			"\"backlog\":1,\"addr\":\"0.0.0.0\",\"port\":1}",
			TSI_LISTENERS_MAX},
		{"tsi.proxies", "{\"svm_port\":#,\"family\":\"ipv4\"}", TSI_PROXIES_MAX},
		{"forwards", "{\"listen\":{\"port\":#},\"to\":{\"port\":1}}", FORWARDS_MAX},
		{"maps", "{\"port\":#,\"to\":{\"tcp\":\"127.0.0.1:80\"}}", MAPS_MAX},
		{"secrets", "\"S#\"", SECRETS_MAX},
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		struct record *record;

		change(lists[i].path, list_of(lists[i].value, lists[i].max));
		record = read_file();
		ck_assert_msg(
			record != NULL, "%s of %u: %s", lists[i].path, lists[i].max, err.text);
		record_free(record);
		change(lists[i].path, list_of(lists[i].value, lists[i].max + 1));
		expect_refused("more than");
	}
}
END_TEST

START_TEST(repetitions_are_refused)
{
	change("tsi.listeners",
		"[{\"svm_port\":1,\"vm_port\":1,\"family\":\"ipv4\",\"type\":\"stream\","
		"\"backlog\":1,\"addr\":\"0.0.0.0\",\"port\":1},"
		"{\"svm_port\":1,\"vm_port\":2,\"family\":\"ipv4\",\"type\":\"stream\","
		"\"backlog\":1,\"addr\":\"0.0.0.0\",\"port\":2}]");
	expect_refused("twice");
	change("forwards",
		"[{\"listen\":{\"port\":1},\"to\":{\"port\":1}},"
		"{\"listen\":{\"port\":1},\"to\":{\"port\":2}}]");
	expect_refused("twice");
}
END_TEST

START_TEST(deep_documents_are_refused)
{
	size_t n = 0;

	n += (size_t)snprintf(file, sizeof(file), "{\"record_version\":1,\"env\":");
	memset(file + n, '[', 100000);
	len = n + 100000;
	expect_refused("");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *form = tcase_create("canonical form"), *reading = tcase_create("reading");

	tcase_add_test(form, canonical_form_is_sorted_and_without_blanks);
	tcase_add_test(form, hash_is_sha256);
	tcase_add_test(form, layout_of_a_file_does_not_matter);
	tcase_set_timeout(reading, 60);
	tcase_add_test(reading, every_field_is_read);
	tcase_add_test(reading, damage_at_every_byte_is_found);
	tcase_add_test(reading, file_cut_short_is_named_as_such);
	tcase_add_test(reading, changed_contents_are_named_as_damage);
	tcase_add_test(reading, newer_version_is_refused_whatever_else_it_says);
	tcase_add_test(reading, what_is_no_record_is_refused);
	tcase_add_test(reading, every_field_is_checked);
	tcase_add_test(reading, what_may_be_absent_may_be);
	tcase_add_test(reading, lists_have_bounds);
	tcase_add_test(reading, repetitions_are_refused);
	tcase_add_test(reading, deep_documents_are_refused);
	suite_add_tcase(suite, form);
	suite_add_tcase(suite, reading);
	return run_suite(suite);
}
