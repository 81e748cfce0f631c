/* SPDX-License-Identifier: MIT */
/* Which names an address has for the policy, and by which one others may call it. */
#include "common/clock.h"
#include "dataplane/egress/names.h"
#include "tests/unit/check_main.h"

#include <stdlib.h>
#include <string.h>

static struct loop *loop;
static struct counters counters;
static struct net net;
static struct egress *egress;
static struct names names;
static struct policy_names asked;

static void ignore_answer(void *arg, const struct dns_from *from, const uint8_t *msg, size_t len)
{
	(void)arg;
	(void)from;
	(void)msg;
	(void)len;
}

static struct dns *dns;

static void setup(void)
{
	struct dns_events events = {.answer = ignore_answer};

	memset(&counters, 0, sizeof(counters));
	memset(&net, 0, sizeof(net));
	loop = loop_new();
	egress = egress_new(loop, &counters, &net);
	dns = dns_new(loop, egress, &counters, &net, &events);
	names = (struct names){dns, egress};
	asked = (struct policy_names){names_admit, &names};
}

static void teardown(void)
{
	dns_free(dns);
	egress_free(egress);
	loop_free(loop);
}

static struct addr addr(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(text, &a), 0);
	return a;
}

static void know(const char *address, const char *name, int64_t for_ms)
{
	struct dns_name row = {addr(address), clock_wall_ms() + for_ms, name};

	dns_names_restore(dns, &row, 1);
}

static void set_policy(const char *prefix)
{
	static const char *const list[] = {"a.example"};
	struct policy_ports ports = {80, 80};
	struct prefix to;
	struct policy_rule rules[2] = {{.allow = true, .names = list, .n_names = 1}};
	struct policy_input in = {.rules = rules, .n_rules = 1, .default_by = POLICY_BY_DEFAULT};
	uint8_t *blob;
	size_t len;

	if (prefix) {
		ck_assert_int_eq(prefix_parse(prefix, true, &to), 0);
		rules[in.n_rules++] = (struct policy_rule){.allow = true,
			.to = &to,
			.n_to = 1,
			.ports = &ports,
			.n_ports = 1,
			.by = 1};
	}
	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	ck_assert_int_eq(egress_policy_set(egress, blob, len, 0), 0);
	free(blob);
}

struct found {
	unsigned n;
	const char *first;
};

static bool find(void *arg, const char *name)
{
	struct found *found = arg;

	if (!found->n++)
		found->first = name;
	return false;
}

static struct found admitted(const char *address)
{
	struct addr a = addr(address);
	struct policy_flow flow = {&a, 80, POLICY_PROTO_TCP};
	struct found found = {0, NULL};

	ck_assert(!names_admit(&names, &flow, find, &found));
	return found;
}

static const char *best(const char *address)
{
	struct addr a = addr(address);

	return names_best(&asked, &a);
}

START_TEST(the_name_asked_for_last_comes_first)
{
	know("192.0.2.1", "a.example", 60000);
	know("192.0.2.1", "b.example", 60000);
	ck_assert_uint_eq(admitted("192.0.2.1").n, 2);
	ck_assert_str_eq(admitted("192.0.2.1").first, "b.example");
	ck_assert_str_eq(best("192.0.2.1"), "b.example");
	ck_assert_uint_eq(admitted("192.0.2.2").n, 0);
	ck_assert_ptr_null(best("192.0.2.2"));
}
END_TEST

START_TEST(a_name_that_is_too_old_is_none)
{
	know("192.0.2.1", "a.example", 0);
	ck_assert_uint_eq(admitted("192.0.2.1").n, 0);
	ck_assert_ptr_null(best("192.0.2.1"));
}
END_TEST

static void count_name(void *arg, const struct dns_name *rows, size_t count)
{
	int64_t *until_ms = arg;

	ck_assert_uint_eq(count, 1);
	*until_ms = rows[0].until_ms;
}

START_TEST(what_is_restored_counts_an_hour_at_most)
{
	int64_t until_ms = 0, hour = (int64_t)NAMES_TTL_MAX * 1000;

	know("192.0.2.1", "a.example", 2 * hour);
	dns_names_walk(dns, count_name, &until_ms);
	ck_assert_int_gt(until_ms, 0);
	ck_assert_int_le(until_ms, clock_wall_ms() + hour);
}
END_TEST

START_TEST(a_private_address_has_a_name_only_where_a_prefix_admits_it)
{
	static const char *const private[] = {"10.0.0.1", "192.168.7.7", "169.254.169.254",
		"fd00::1", "fe80::1", "64:ff9b::a00:1"};

	for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++) {
		know(private[i], "a.example", 60000);
		ck_assert_uint_eq(admitted(private[i]).n, 0); /* no policy yet */
		set_policy(NULL);
		ck_assert_uint_eq(admitted(private[i]).n, 0);
		ck_assert_str_eq(best(private[i]), "a.example"); /* for who reads the refusal */
	}
	set_policy("10.0.0.0/8");
	ck_assert_uint_eq(admitted("10.0.0.1").n, 1);
	ck_assert_uint_eq(admitted("64:ff9b::a00:1").n, 1);
	ck_assert_uint_eq(admitted("192.168.7.7").n, 0);
}
END_TEST

/* What the prefix is allowed for must not become all that the name is allowed for. */
START_TEST(a_prefix_admits_names_on_its_own_ports_only)
{
	struct addr a = addr("10.0.0.1");
	struct policy_flow flow = {&a, 81, POLICY_PROTO_TCP};
	struct found found = {0, NULL};

	know("10.0.0.1", "a.example", 60000);
	set_policy("10.0.0.0/8");
	ck_assert_uint_eq(admitted("10.0.0.1").n, 1); /* port 80 */
	ck_assert(!names_admit(&names, &flow, find, &found));
	ck_assert_uint_eq(found.n, 0);
}
END_TEST

START_TEST(the_operators_word_for_a_private_address_counts)
{
	struct addr a = addr("10.0.0.1");
	struct dns_host host = {"A.example.", &a, 1};

	set_policy(NULL);
	ck_assert_int_eq(dns_hosts_set(dns, &host, 1, false), 0);
	know("10.0.0.1", "evil.example", 60000);
	know("10.0.0.1", "a.example", 60000);
	know("10.0.0.2", "a.example", 60000);
	ck_assert_uint_eq(admitted("10.0.0.1").n, 1);
	ck_assert_str_eq(admitted("10.0.0.1").first, "a.example");
	ck_assert_uint_eq(admitted("10.0.0.2").n, 0);
}
END_TEST

static Suite *names_suite(void)
{
	Suite *s = suite_create("names");
	TCase *tc = tcase_create("names");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_name_asked_for_last_comes_first);
	tcase_add_test(tc, a_name_that_is_too_old_is_none);
	tcase_add_test(tc, what_is_restored_counts_an_hour_at_most);
	tcase_add_test(tc, a_private_address_has_a_name_only_where_a_prefix_admits_it);
	tcase_add_test(tc, a_prefix_admits_names_on_its_own_ports_only);
	tcase_add_test(tc, the_operators_word_for_a_private_address_counts);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(names_suite());
}
