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

/* "allow rule", "deny preset", … for a flow to `to`. */
static const char *verdict(const char *policy_text, const char *question, bool host_access)
{
	static char answer[64];
	struct policy *policy = read_text(policy_text);
	struct json_object *asked = json_tokener_parse(question), *doc;
	struct addr gateway = addr_from_v4(0x0a000202);
	struct prefix own = {addr_from_v4(0x05060708), 128};
	uint8_t *table = NULL;
	size_t len = 0;

	ck_assert_msg(policy != NULL, "%s", err.text);
	ck_assert_int_eq(policy_compile(policy, "", &own, 1, &table, &len, &err), 0);
	doc = policy_explain(policy, table, &gateway, host_access, asked, &err);
	ck_assert_msg(doc != NULL, "%s", err.text);
	snprintf(answer, sizeof(answer), "%s %s",
		json_object_get_string(json_object_object_get(doc, "verdict")),
		json_object_get_string(json_object_object_get(doc, "by")));
	json_object_put(doc);
	json_object_put(asked);
	free(table);
	policy_free(policy);
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
	{"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"10.0.0.0/8\",\"*.github.com\"]}]}",
		"rules[0].to[1]"},
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

START_TEST(name_is_told_to_be_unsupported)
{
	ck_assert_ptr_null(read_text(
		"{\"default\":\"deny\",\"rules\":[{\"action\":\"allow\",\"to\":[\"example.com\"]}]}"));
	ck_assert_ptr_nonnull(strstr(err.text, "names are not supported yet"));
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
	tcase_add_test(tc, name_is_told_to_be_unsupported);
	tcase_add_test(tc, bare_string_is_a_preset);
	tcase_add_test(tc, embedded_ipv4_prefix_is_refused);
	tcase_add_loop_test(tc, verdict_is_explained, 0, sizeof(verdicts) / sizeof(*verdicts));
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
