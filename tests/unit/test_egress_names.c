/* SPDX-License-Identifier: MIT */
/* Flows by name: what admits them, what still holds when the policy changes, what is counted. */
#include "dataplane/egress/dial.h"
#include "dataplane/stack/frame.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct loop *loop;
static struct counters counters;
static struct net net;
static struct egress *egress;
static const char *logged[4]; /* the names of every address */

static bool admit_logged(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)log;
	(void)flow;
	for (size_t i = 0; i < 4 && logged[i]; i++) {
		if (match(arg, logged[i]))
			return true;
	}
	return false;
}

static void know(const char *first, const char *second)
{
	logged[0] = first;
	logged[1] = first ? second : NULL;
	logged[2] = NULL;
}

/* A policy of rules that allow (or deny, with '!') one name each. */
static void set_names(uint64_t document, const char *a, const char *b)
{
	const char *text[] = {a, b}, *names[2];
	struct policy_rule rules[2];
	struct policy_input in = {.rules = rules, .default_by = POLICY_BY_DEFAULT};
	uint8_t *blob;
	size_t len;

	for (int i = 0; i < 2 && text[i]; i++) {
		bool allow = text[i][0] != '!';

		names[i] = text[i] + !allow;
		rules[in.n_rules++] = (struct policy_rule){
			.allow = allow, .names = &names[i], .n_names = 1, .by = i};
	}
	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	ck_assert_int_eq(egress_policy_set(egress, blob, len, document), 0);
	free(blob);
}

static void setup(void)
{
	struct policy_names names = {.admit = admit_logged};

	memset(&counters, 0, sizeof(counters));
	memset(&net, 0, sizeof(net));
	ck_assert_int_eq(addr_parse("10.0.2.2", &net.gateway), 0);
	loop = loop_new();
	egress = egress_new(loop, &counters, &net);
	egress_set_names(egress, &names);
	know(NULL, NULL);
}

static void teardown(void)
{
	egress_free(egress);
	loop_free(loop);
}

static struct endpoint there(void)
{
	struct endpoint e;

	ck_assert_int_eq(endpoint_parse("192.0.2.1:4433", &e), 0);
	return e;
}

/* Datagrams need no connect: the same door, without sockets. */
static int permit(struct egress_pass *pass)
{
	struct endpoint dst = there(), host;

	return egress_udp_permit(egress, EGRESS_GUEST, &dst, &host, pass);
}

static bool stands(struct egress_pass *pass)
{
	struct endpoint dst = there();

	return egress_stands(egress, EGRESS_GUEST, IP_PROTO_UDP, &dst, pass);
}

static bool admit_as(const char *name, struct egress_pass *pass)
{
	struct endpoint dst = there();

	return egress_admit_as(egress, EGRESS_GUEST, IP_PROTO_UDP, &dst, name, pass);
}

static const struct rule_count *row(int32_t by)
{
	const struct rule_count *count = rule_counts_of(egress_rule_counts(egress), by);

	ck_assert_ptr_nonnull(count);
	return count;
}

START_TEST(pass_says_what_admitted)
{
	struct egress_pass pass = {.era = 0};

	set_names(1, "a.org", "*.b.org");
	ck_assert_int_eq(permit(&pass), -EACCES);
	ck_assert(!pass.verdict.allow);
	know("x.b.org", NULL);
	ck_assert_int_eq(permit(&pass), 0);
	ck_assert_str_eq(pass.verdict.name, "x.b.org");
	ck_assert_int_eq(pass.verdict.by, 1);
	ck_assert(pass.verdict.by_name && pass.verdict.verify_strict);
	egress_leave(&pass);
	egress_leave(&pass);
}
END_TEST

START_TEST(flow_stands_though_its_name_has_expired)
{
	struct egress_pass pass = {.era = 0};

	know("a.org", NULL);
	set_names(1, "a.org", NULL);
	ck_assert_int_eq(permit(&pass), 0);
	know(NULL, NULL);
	ck_assert(stands(&pass));
	set_names(2, "b.org", "a.org");
	ck_assert(stands(&pass));
	ck_assert_int_eq(pass.verdict.by, 1);
	set_names(3, "b.org", NULL);
	ck_assert(!stands(&pass));
	egress_leave(&pass);
}
END_TEST

START_TEST(another_name_of_the_address_admits_until_one_is_read)
{
	struct egress_pass pass = {.era = 0};

	know("a.org", "b.org");
	set_names(1, "a.org", "b.org");
	ck_assert_int_eq(permit(&pass), 0);
	ck_assert_str_eq(pass.verdict.name, "a.org");
	set_names(2, "b.org", NULL);
	ck_assert(stands(&pass)); /* it may turn out to be one to b.org */
	set_names(3, "a.org", "b.org");
	ck_assert(stands(&pass));
	ck_assert(admit_as("b.org", &pass));
	ck_assert_int_eq(pass.verdict.by, 1);
	set_names(4, "a.org", NULL);
	ck_assert(!stands(&pass)); /* a.org does not speak for it any more */
	egress_leave(&pass);
}
END_TEST

START_TEST(server_name_meets_all_rules)
{
	struct egress_pass pass = {.era = 0};

	know("x.b.org", NULL);
	set_names(1, "!bad.b.org", "*.b.org");
	ck_assert_int_eq(permit(&pass), 0);
	ck_assert(admit_as("y.b.org", &pass));
	ck_assert(!admit_as("bad.b.org", &pass));
	ck_assert(!admit_as("c.org", &pass));
	ck_assert_str_eq(pass.verdict.name, "y.b.org"); /* the last that was admitted */
	ck_assert_uint_eq(row(0)->refusals, 1);
	ck_assert_uint_eq(row(POLICY_BY_DEFAULT)->refusals, 1);
	ck_assert_uint_eq(counters.value[COUNTER_EGRESS_REFUSED_POLICY], 2);
	egress_leave(&pass);
}
END_TEST

START_TEST(rules_count)
{
	struct egress_pass pass = {.era = 0}, other = {.era = 0};

	know("a.org", NULL);
	set_names(1, "a.org", "!b.org");
	ck_assert_int_eq(permit(&pass), 0);
	egress_account(egress, &pass, 10, 3);
	egress_account(egress, &pass, 1, 0);
	know("b.org", NULL);
	ck_assert_int_eq(permit(&other), -EACCES);
	know(NULL, NULL);
	ck_assert_int_eq(permit(&other), -EACCES);
	ck_assert_uint_eq(row(0)->flows, 1);
	ck_assert_uint_eq(row(0)->tx_bytes, 11);
	ck_assert_uint_eq(row(0)->rx_bytes, 3);
	ck_assert_uint_eq(row(1)->refusals, 1);
	ck_assert_uint_eq(row(POLICY_BY_DEFAULT)->refusals, 1);
	ck_assert(stands(&pass));
	ck_assert_uint_eq(row(0)->flows, 1); /* judged again, and no other flow */
	egress_leave(&pass);
	egress_account(egress, &pass, 100, 100); /* nobody's */
	ck_assert_uint_eq(row(0)->tx_bytes, 11);
	ck_assert_ptr_null(rule_counts_of(egress_rule_counts(egress), 2));
	ck_assert_ptr_null(rule_counts_of(egress_rule_counts(egress), -4));
	ck_assert_ptr_null(rule_counts_of(egress_rule_counts(egress), INT32_MIN));
	ck_assert_ptr_null(rule_counts_of(egress_rule_counts(egress), INT32_MAX));
}
END_TEST

START_TEST(counts_begin_anew_with_another_document)
{
	struct egress_pass pass = {.era = 0};

	know("a.org", NULL);
	set_names(7, "a.org", NULL);
	ck_assert_int_eq(permit(&pass), 0);
	set_names(7, "a.org", NULL); /* the host's addresses have changed, say */
	egress_account(egress, &pass, 5, 0);
	ck_assert_uint_eq(row(0)->tx_bytes, 5);
	set_names(8, "!b.org", "a.org");
	egress_account(egress, &pass, 5, 0); /* of a rule that is no more */
	ck_assert_uint_eq(row(0)->tx_bytes, 0);
	ck_assert_uint_eq(row(1)->tx_bytes, 0);
	ck_assert(stands(&pass));
	egress_account(egress, &pass, 5, 0);
	ck_assert_uint_eq(row(1)->flows, 1);
	ck_assert_uint_eq(row(1)->tx_bytes, 5);
	egress_restart_counts(egress);
	ck_assert_uint_eq(row(1)->tx_bytes, 0);
	set_names(0, "a.org", NULL);
	ck_assert(stands(&pass));
	set_names(0, "a.org", NULL); /* without a number each is another one */
	ck_assert_uint_eq(row(0)->flows, 0);
	egress_leave(&pass);
}
END_TEST

static char told[8][300];
static size_t n_told;

static void on_refused(void *arg, uint8_t proto, const struct endpoint *dst, int32_t by,
	const char *name, uint32_t count)
{
	(void)arg;
	(void)proto;
	(void)dst;
	ck_assert_uint_lt(n_told, 8);
	snprintf(told[n_told++], sizeof(told[0]), "%d %s %u", by, name ? name : "-", count);
}

START_TEST(refusals_tell_rule_and_name)
{
	struct egress_pass pass = {.era = 0};

	n_told = 0;
	egress_on_refused(egress, on_refused, NULL);
	set_names(1, "!b.org", "ok.org");
	ck_assert_int_eq(permit(&pass), -EACCES);
	know("a.org", "b.org");
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(permit(&pass), -EACCES);
	know("a.org", NULL); /* no rule has it, but an operator wants to read it */
	ck_assert_int_eq(permit(&pass), -EACCES);
	know("ok.org", NULL);
	ck_assert_int_eq(permit(&pass), 0);
	egress_refuse(egress, IP_PROTO_UDP, &(struct endpoint){.port = 443}, &pass);
	ck_assert(!admit_as("evil.org", &pass));
	egress_report_refusals(egress);
	ck_assert_uint_eq(n_told, 5);
	ck_assert_str_eq(told[0], "-1 - 1");
	ck_assert_str_eq(told[1], "0 b.org 3");
	ck_assert_str_eq(told[2], "-1 a.org 1");
	ck_assert_str_eq(told[3], "1 ok.org 1");
	ck_assert_str_eq(told[4], "-1 evil.org 1");
	egress_leave(&pass);
	ck_assert_int_eq(permit(&pass), 0);
	egress_leave(&pass);
	know("a.org", NULL);
	ck_assert_int_eq(permit(&pass), -EACCES); /* left unreported: freed at the end */
}
END_TEST

static Suite *egress_names_suite(void)
{
	Suite *s = suite_create("egress_names");
	TCase *tc = tcase_create("egress_names");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, pass_says_what_admitted);
	tcase_add_test(tc, flow_stands_though_its_name_has_expired);
	tcase_add_test(tc, another_name_of_the_address_admits_until_one_is_read);
	tcase_add_test(tc, server_name_meets_all_rules);
	tcase_add_test(tc, rules_count);
	tcase_add_test(tc, counts_begin_anew_with_another_document);
	tcase_add_test(tc, refusals_tell_rule_and_name);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(egress_names_suite());
}
