/* SPDX-License-Identifier: MIT */
/* Policies as documents: what reads, what each error names, and what the verdicts then are. */
#include "ctl/policy.h"

#include "tests/unit/check_main.h"

#include <stdio.h>
#include <string.h>

static struct error err;

static struct policy *read_text(const char *text)
{
	struct json_object *doc = json_tokener_parse(text);
	struct policy *policy;

	ck_assert_ptr_nonnull(doc);
	policy = policy_read(doc, "", &err);
	json_object_put(doc);
	return policy;
}

/* The explanation of what a policy says of a question, where the address has these names. */
static struct json_object *explain(const char *policy_text, const char *question, bool host_access,
	const char *const *names, size_t n_names)
{
	struct policy *policy = read_text(policy_text);
	struct json_object *asked = json_tokener_parse(question), *doc;
	struct addr gateway = addr_from_v4(0x0a000202);
	struct prefix own = {addr_from_v4(0x05060708), 128};
	struct policy_question q;
	uint8_t *table = NULL;
	size_t len = 0;

	ck_assert_msg(policy != NULL, "%s", err.text);
	ck_assert_int_eq(policy_compile(policy, "", &own, 1, &table, &len, &err), 0);
	ck_assert_msg(policy_question_read(asked, &q, &err) == 0, "%s", err.text);
	doc = policy_explain(policy, table, &gateway, host_access, &q, names, n_names);
	json_object_put(asked);
	free(table);
	policy_free(policy);
	return doc;
}

static const char *text_of(struct json_object *doc, const char *key)
{
	struct json_object *value = json_object_object_get(doc, key);

	return value ? json_object_get_string(value) : "null";
}

/* "allow rule", "deny preset", … for a flow to `to`. */
static const char *verdict(const char *policy_text, const char *question, bool host_access)
{
	static char answer[64];
	struct json_object *doc = explain(policy_text, question, host_access, NULL, 0);

	snprintf(answer, sizeof(answer), "%s %s", text_of(doc, "verdict"), text_of(doc, "by"));
	json_object_put(doc);
	return answer;
}

static const struct {
	const char *doc;
	const char *field;
} bad[] = {
	{"{}", "preset"},
	{"{\"preset\":\"public\",\"default\":\"deny\"}", "preset"},
	{"{\"preset\":\"friendly\"}", "preset"},
	{"{\"default\":\"maybe\"}", "default"},
	{"{\"default\":\"deny\",\"rulez\":[]}", "rulez"},
	{"{\"default\":\"deny\",\"rules\":{}}", "rules"},
	{"{\"default\":\"deny\",\"rules\":[{}]}", "rules[0].action"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"drop\"}]}", "rules[0].action"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\"},{\"action\":\"allow\",\"x\":1}]}",
		"rules[1].x"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"10.0.0.0/8\",\"*.*.com\"]}]}",
		"rules[0].to[1]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"*\"]}]}",
		"rules[0].to[0]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"b\u00fccher.example\"]}]}",
		"rules[0].to[0]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"https://a.com/\"]}]}",
		"rules[0].to[0]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"a.com\",7]}]}",
		"rules[0].to[1]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"a.com\"],\"verify\":\"tls\"}]}",
		"rules[0].verify"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"10.0.0.0/8\"],\"verify\":\"dns\"}]}",
		"rules[0].verify"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"deny\",\"to\":[\"a.com\"],\"verify\":\"dns\"}]}",
		"rules[0].verify"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"10.0.0.1/8\"]}]}",
		"rules[0].to[0]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"1.2.3\"]}]}",
		"rules[0].to[0]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[]}]}", "rules[0].to"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"ports\":[\"70000\"]}]}",
		"rules[0].ports[0]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"ports\":[\"9-3\"]}]}",
		"rules[0].ports[0]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"ports\":[443]}]}",
		"rules[0].ports[0]"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"ports\":[\"1\"],\"proto\":\"icmp\"}]}",
		"rules[0].ports"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"proto\":\"sctp\"}]}",
		"rules[0].proto"},
};

START_TEST(error_names_its_field)
{
	ck_assert_ptr_null(read_text(bad[_i].doc));
	ck_assert_str_eq(err.field, bad[_i].field);
	ck_assert_int_eq(err.status, 400);
}
END_TEST

#define NAMED                                                                                      \
	"{\"default\":\"deny\",\"rules\":[{\"action\":\"deny\",\"to\":[\"bad.github.com\"]},"      \
	"{\"action\":\"allow\",\"to\":[\"*.GitHub.com.\",\"10.0.0.0/8\"],\"ports\":[\"443\"]},"    \
	"{\"action\":\"allow\",\"to\":[\"db.corp\"],\"verify\":\"dns\"}]}"

/* What is asked, under which name of the address, and "VERDICT BY RULE NAME VERIFY". */
static const struct {
	const char *question;
	const char *name;
	const char *answer;
} explained[] = {
	{"{\"to\":\"8.8.8.8\",\"port\":443}", NULL, "deny default null null null"},
	{"{\"to\":\"8.8.8.8\",\"port\":443}", "api.github.com",
		"allow rule 1 api.github.com strict"},
	{"{\"to\":\"8.8.8.8\",\"port\":443}", "bad.github.com", "deny rule 0 bad.github.com null"},
	{"{\"to\":\"8.8.8.8\",\"port\":80}", "api.github.com", "deny default null null null"},
	{"{\"to\":\"8.8.8.8\",\"port\":443,\"proto\":\"udp\"}", "api.github.com",
		"deny rule 1 api.github.com null"},
	{"{\"to\":\"10.1.1.1\",\"port\":443}", "api.github.com", "allow rule 1 null null"},
	{"{\"to\":\"10.1.1.1\",\"port\":5432}", "db.corp", "allow rule 2 db.corp dns"},
	{"{\"to\":\"api.GITHUB.com.\",\"port\":443}", NULL, "allow rule 1 api.github.com strict"},
	{"{\"to\":\"github.com\",\"port\":443}", NULL, "deny default null null null"},
	{"{\"to\":\"8.8.8.8\",\"port\":22,\"name\":\"db.corp\"}", NULL, "allow rule 2 db.corp dns"},
	{"{\"to\":\"10.1.1.1\",\"port\":22,\"name\":\"db.corp\"}", NULL,
		"deny default null null null"}, /* a prefix is there, but for other ports */
	{"{\"to\":\"192.168.0.1\",\"port\":22,\"name\":\"db.corp\"}", NULL,
		"deny default null null null"},
	{"{\"to\":\"169.254.169.254\",\"port\":443,\"name\":\"api.github.com\"}", NULL,
		"deny default null null null"},
};

START_TEST(names_are_explained)
{
	struct json_object *doc = explain(NAMED, explained[_i].question, false, &explained[_i].name,
		explained[_i].name ? 1 : 0);
	char answer[128];

	snprintf(answer, sizeof(answer), "%s %s %s %s %s", text_of(doc, "verdict"),
		text_of(doc, "by"), text_of(doc, "rule"), text_of(doc, "name"),
		text_of(doc, "verify"));
	ck_assert_str_eq(answer, explained[_i].answer);
	json_object_put(doc);
}
END_TEST

START_TEST(explanation_says_what_it_goes_by)
{
	const char *name = "api.github.com";
	struct json_object *doc = explain(
		NAMED, "{\"to\":\"8.8.8.8\",\"port\":443}", false, NULL, 0);

	ck_assert_str_eq(text_of(doc, "text"),
		"denied by default; the guest was given no name for this address");
	json_object_put(doc);
	doc = explain(NAMED, "{\"to\":\"8.8.8.8\",\"port\":443}", false, &name, 1);
	ck_assert_ptr_nonnull(
		strstr(text_of(doc, "text"), "rule 1 through the name api.github.com"));
	ck_assert_str_eq(json_object_to_json_string_ext(
				 json_object_object_get(doc, "names"), JSON_C_TO_STRING_PLAIN),
		"[\"api.github.com\"]");
	json_object_put(doc);
}
END_TEST

static const struct {
	const char *question;
	const char *more; /* what the text says beside "denied by default" */
} told[] = {
	{"{\"to\":\"192.168.0.1\",\"port\":22,\"name\":\"db.corp\"}",
		"; a private address: a name does not admit it"},
	{"{\"to\":\"9.9.9.9\",\"port\":53,\"proto\":\"udp\"}",
		"; the guest was given no name for this address"
		"; port 53 there is answered by the guest's own DNS all the same"},
	{"{\"to\":\"github.com\",\"port\":443}",
		"; the guest's DNS says that github.com does not exist"},
	{"{\"to\":\"x.github.com\",\"port\":80}", ""},
};

START_TEST(explanation_says_what_else_counts)
{
	struct json_object *doc = explain(NAMED, told[_i].question, false, NULL, 0);
	char text[256];

	snprintf(text, sizeof(text), "denied by default%s", told[_i].more);
	ck_assert_str_eq(text_of(doc, "text"), text);
	json_object_put(doc);
}
END_TEST

START_TEST(gateway_answers_dns_under_any_policy)
{
	struct json_object *doc = explain(
		"{\"default\":\"deny\"}", "{\"to\":\"10.0.2.2\",\"port\":53}", false, NULL, 0);

	ck_assert_ptr_nonnull(strstr(text_of(doc, "text"), "; port 53 there is answered"));
	json_object_put(doc);
	doc = explain("{\"default\":\"deny\"}", "{\"to\":\"9.9.9.9\",\"port\":53}", false, NULL, 0);
	ck_assert_str_eq(text_of(doc, "text"), "denied by default");
	json_object_put(doc);
}
END_TEST

START_TEST(hosts_vouch_for_private_addresses)
{
	struct policy *policy = read_text(NAMED);
	struct policy_question q = {.to = addr_from_v4(0xc0a80001),
		.name = "db.corp",
		.port = 22,
		.proto = POLICY_PROTO_TCP,
		.vouched = true};
	struct addr gateway = addr_from_v4(0x0a000202);
	struct json_object *doc;
	uint8_t *table = NULL;
	size_t len = 0;

	ck_assert_int_eq(policy_compile(policy, "", NULL, 0, &table, &len, &err), 0);
	doc = policy_explain(policy, table, &gateway, false, &q, NULL, 0);
	ck_assert_str_eq(text_of(doc, "verdict"), "allow");
	json_object_put(doc);
	free(table);
	policy_free(policy);
}
END_TEST

static const struct {
	const char *question;
	const char *field;
} bad_questions[] = {
	{"{\"port\":443}", "to"},
	{"{\"to\":\"1.2.3.4\"}", "port"},
	{"{\"to\":\"*.a.com\",\"port\":1}", "to"},
	{"{\"to\":\"a b\",\"port\":1}", "to"},
	{"{\"to\":\"1.2.3.4\",\"port\":65536}", "port"},
	{"{\"to\":\"1.2.3.4\",\"port\":1,\"proto\":\"sctp\"}", "proto"},
	{"{\"to\":\"1.2.3.4\",\"port\":1,\"name\":\"..\"}", "name"},
	{"{\"to\":\"a.com\",\"port\":1,\"name\":\"b.com\"}", "name"},
	{"{\"to\":\"a.com\",\"port\":1,\"x\":1}", "x"},
};

START_TEST(bad_question_names_its_field)
{
	struct json_object *asked = json_tokener_parse(bad_questions[_i].question);
	struct policy_question q;

	ck_assert_int_eq(policy_question_read(asked, &q, &err), -1);
	ck_assert_str_eq(err.field, bad_questions[_i].field);
	json_object_put(asked);
}
END_TEST

START_TEST(number_is_of_the_document)
{
	struct policy *a = read_text("{\"preset\":\"open\"}"), *b = read_text("\"open\""),
		      *c = read_text("\"none\"");

	ck_assert(policy_number(a) == policy_number(b));
	ck_assert(policy_number(a) != policy_number(c));
	policy_free(a);
	policy_free(b);
	policy_free(c);
}
END_TEST

START_TEST(bare_string_is_a_preset)
{
	struct policy *policy = read_text("\"none\"");

	ck_assert_ptr_nonnull(policy);
	ck_assert_str_eq(
		json_object_get_string(json_object_object_get(policy_doc(policy), "preset")),
		"none");
	policy_free(policy);
}
END_TEST

START_TEST(embedded_ipv4_prefix_is_refused)
{
	struct policy *policy = read_text(
		"{\"default\":\"deny\",\"rules\":[{\"action\":\"deny\",\"to\":[\"64:ff9b::/96\"]}]}");
	uint8_t *table = NULL;
	size_t len;

	ck_assert_ptr_nonnull(policy);
	ck_assert_int_eq(policy_compile(policy, "policy", NULL, 0, &table, &len, &err), -1);
	ck_assert_str_eq(err.field, "policy.rules[0]");
	policy_free(policy);
}
END_TEST

START_TEST(names_need_the_hosts_own_addresses)
{
	static const char *const docs[] = {
		"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"a.org\"]}]}",
		"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"5.0.0.0/8\"]}]}"};
	struct prefix own = {addr_from_v4(0x05060708), 128};
	struct addr other = addr_from_v4(0x05060709);
	struct policy_flow to_own = {&own.addr, 80, POLICY_PROTO_TCP};
	struct policy_flow to_other = {&other, 80, POLICY_PROTO_TCP};
	struct policy *policy = read_text(docs[0]);
	uint8_t *table;
	size_t len;

	ck_assert(policy_uses_own_addrs(policy));
	ck_assert_int_eq(policy_compile(policy, "", &own, 1, &table, &len, &err), 0);
	ck_assert(!policy_table_any_name_counts(table, &to_own));
	ck_assert(policy_table_any_name_counts(table, &to_other));
	free(table);
	policy_free(policy);
	policy = read_text(docs[1]);
	ck_assert(!policy_uses_own_addrs(policy));
	policy_free(policy);
}
END_TEST

static const struct {
	const char *doc;
	const char *question;
	bool host_access;
	const char *answer;
} verdicts[] = {
	{"\"public\"", "{\"to\":\"1.1.1.1\",\"port\":443}", false, "allow preset"},
	{"\"public\"", "{\"to\":\"10.1.1.1\",\"port\":443}", false, "deny preset"},
	{"\"public\"", "{\"to\":\"5.6.7.8\",\"port\":443}", false,
		"deny preset"}, /* the host's own */
	{"\"open\"", "{\"to\":\"10.1.1.1\",\"port\":443}", false, "allow preset"},
	{"\"open\"", "{\"to\":\"10.0.2.2\",\"port\":443}", false, "deny host_access"},
	{"\"none\"", "{\"to\":\"10.0.2.2\",\"port\":443}", true, "allow host_access"},
	{"\"none\"", "{\"to\":\"1.1.1.1\",\"proto\":\"icmp\"}", false, "deny preset"},
	{"{\"preset\":\"public\",\"rules\":[{\"action\":\"allow\",\"to\":[\"10.0.0.0/8\"],\"ports\":[\"80\",\"8000-8100\"]}]}",
		"{\"to\":\"10.1.1.1\",\"port\":8050}", false, "allow rule"},
	{"{\"preset\":\"public\",\"rules\":[{\"action\":\"allow\",\"to\":[\"10.0.0.0/8\"],\"ports\":[\"80\"]}]}",
		"{\"to\":\"10.1.1.1\",\"port\":81}", false, "deny preset"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"proto\":\"udp\"}]}",
		"{\"to\":\"1.1.1.1\",\"port\":53,\"proto\":\"udp\"}", false, "allow rule"},
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"proto\":\"udp\"}]}",
		"{\"to\":\"1.1.1.1\",\"port\":53}", false, "deny default"},
};

START_TEST(verdict_is_explained)
{
	ck_assert_str_eq(verdict(verdicts[_i].doc, verdicts[_i].question, verdicts[_i].host_access),
		verdicts[_i].answer);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy documents");
	TCase *tc = tcase_create("policy documents");

	tcase_add_loop_test(tc, error_names_its_field, 0, sizeof(bad) / sizeof(*bad));
	tcase_add_loop_test(tc, names_are_explained, 0, sizeof(explained) / sizeof(*explained));
	tcase_add_test(tc, explanation_says_what_it_goes_by);
	tcase_add_loop_test(tc, explanation_says_what_else_counts, 0, sizeof(told) / sizeof(*told));
	tcase_add_test(tc, gateway_answers_dns_under_any_policy);
	tcase_add_test(tc, hosts_vouch_for_private_addresses);
	tcase_add_loop_test(tc, bad_question_names_its_field, 0,
		sizeof(bad_questions) / sizeof(*bad_questions));
	tcase_add_test(tc, number_is_of_the_document);
	tcase_add_test(tc, bare_string_is_a_preset);
	tcase_add_test(tc, embedded_ipv4_prefix_is_refused);
	tcase_add_test(tc, names_need_the_hosts_own_addresses);
	tcase_add_loop_test(tc, verdict_is_explained, 0, sizeof(verdicts) / sizeof(*verdicts));
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
