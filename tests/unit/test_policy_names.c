/* SPDX-License-Identifier: MIT */
/* Names in compiled policies: what a name is, which one a wildcard matches, and what it decides. */
#include "common/policy_table.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TCP POLICY_PROTO_TCP
#define UDP POLICY_PROTO_UDP
#define ICMP POLICY_PROTO_ICMP

static struct addr ip(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(text, &a), 0);
	return a;
}

/* ---- names as they are written ---- */

static const struct {
	const char *text;
	const char *out; /* NULL: refused */
	int rc;
} spelled[] = {
	{"example.com", "example.com", 0},
	{"EXAMPLE.Com.", "example.com", 0},
	{"*.Example.com", "*.example.com", 0},
	{"xn--bcher-kva.example", "xn--bcher-kva.example", 0},
	{"_dmarc.example.com", "_dmarc.example.com", 0},
	{"db", "db", 0},
	{"3com.com", "3com.com", 0},
	{"b\xc3\xbc"
	 "cher.example",
		NULL, -EILSEQ},
	{"*", NULL, -EDOM},
	{"*.*.com", NULL, -EDOM},
	{"a.*.com", NULL, -EDOM},
	{"w*.example.com", NULL, -EDOM},
	{"**.example.com", NULL, -EDOM},
	{"*.", NULL, -EDOM},
	{"", NULL, -EINVAL},
	{".", NULL, -EINVAL},
	{"a..b", NULL, -EINVAL},
	{".a", NULL, -EINVAL},
	{"a..", NULL, -EINVAL},
	{"-a.com", NULL, -EINVAL},
	{"a-.com", NULL, -EINVAL},
	{"a b.com", NULL, -EINVAL},
	{"a.com/8", NULL, -EINVAL},
	{"a.com:443", NULL, -EINVAL},
	{"1.2.3", NULL, -EINVAL},
	{"host.256", NULL, -EINVAL},
	{"0123456789012345678901234567890123456789012345678901234567890123.com", NULL, -EINVAL},
};

START_TEST(names_are_read_as_written)
{
	char out[POLICY_NAME_LEN];

	ck_assert_int_eq(policy_name_parse(spelled[_i].text, out), spelled[_i].rc);
	if (spelled[_i].out)
		ck_assert_str_eq(out, spelled[_i].out);
}
END_TEST

START_TEST(longest_name_is_253)
{
	char text[400] = "", out[POLICY_NAME_LEN];

	for (int i = 0; i < 126; i++)
		strcat(text, "a.");
	strcat(text, "b"); /* 253 */
	ck_assert_int_eq(policy_name_parse(text, out), 0);
	strcat(text, "."); /* the root's dot does not count */
	ck_assert_int_eq(policy_name_parse(text, out), 0);
	text[strlen(text) - 1] = 'c';
	ck_assert_int_eq(policy_name_parse(text, out), -EINVAL);
}
END_TEST

/* ---- tables ---- */

struct known {
	const char *const *names; /* to a NULL */
};

static bool admit_known(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	const struct known *known = log;

	(void)flow;
	for (size_t i = 0; known->names[i]; i++) {
		if (match(arg, known->names[i]))
			return true;
	}
	return false;
}

static uint8_t *compile(const struct policy_rule *rules, size_t n, bool default_allow)
{
	struct policy_input in = {rules, n, default_allow, POLICY_BY_DEFAULT, NULL, 0};
	uint8_t *blob;
	size_t len, bad;

	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, &bad), 0);
	ck_assert_int_eq(policy_table_check(blob, len), 0);
	return blob;
}

static struct policy_verdict judge(
	const void *blob, uint8_t proto, const char *addr, uint16_t port, const char *const *names)
{
	struct known known = {names};
	struct policy_names lister = {admit_known, &known};
	struct addr gateway = ip("10.0.2.2"), a = ip(addr);

	return policy_table_judge(blob, &gateway, true, proto, &a, port, names ? &lister : NULL);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* "allow 3 www.example.com strict": the whole verdict. */
static const char *verdict(
	const void *blob, uint8_t proto, const char *addr, uint16_t port, const char *const *names)
{
	static char text[400];
	struct policy_verdict v = judge(blob, proto, addr, port, names);

	ck_assert(v.by_name == (v.name != NULL));
	snprintf(text, sizeof(text), "%s %d%s%s%s", v.allow ? "allow" : "deny", v.by,
		v.by_name ? " " : "", v.by_name ? v.name : "", v.verify_strict ? " strict" : "");
	return text;
}

START_TEST(address_without_the_name_is_not_admitted)
{
	static const char *const list[] = {"example.com"};
	struct policy_rule rule = {.allow = true, .names = list, .n_names = 1, .by = 0};
	uint8_t *t = compile(&rule, 1, false);

	ck_assert_str_eq(verdict(t, TCP, "1.2.3.4", 443, NULL), "deny -1");
	ck_assert_str_eq(verdict(t, TCP, "1.2.3.4", 443, NAMES("other.com")), "deny -1");
	ck_assert_str_eq(verdict(t, TCP, "1.2.3.4", 443, NAMES("other.com", "example.com")),
		"allow 0 example.com strict");
	ck_assert_str_eq(
		verdict(t, ICMP, "1.2.3.4", 0, NAMES("example.com")), "allow 0 example.com strict");
	ck_assert_str_eq(verdict(t, 47, "1.2.3.4", 0, NAMES("example.com")), "deny -1");
	free(t);
}
END_TEST

static const struct {
	const char *pattern;
	const char *name;
	bool matches;
} wildcards[] = {
	{"*.github.com", "api.github.com", true},
	{"*.github.com", "API.GitHub.com.", true},
	{"*.github.com", "xn--bcher-kva.github.com", true},
	{"*.github.com", "github.com", false},
	{"*.github.com", ".github.com", false},
	{"*.github.com", "a.api.github.com", false},
	{"*.github.com", "apigithub.com", false},
	{"*.github.com", "github.com.evil.org", false},
	{"*.github.com", "*.github.com", false},
	{"*.com", "github.com", true},
	{"*.com", "com", false},
	{"github.com", "GITHUB.COM", true},
	{"github.com", "github.com.", true},
	{"github.com", "github.com..", false},
	{"github.com", "github.co", false},
	{"github.com", "www.github.com", false},
	{"db", "db", true},
	{"db", "db.", true},
	{"github.com", "", false},
	{"github.com", ".", false},
};

START_TEST(wildcard_is_one_label)
{
	const char *list[] = {wildcards[_i].pattern};
	struct policy_rule rule = {.allow = true, .names = list, .n_names = 1, .by = 0};
	uint8_t *t = compile(&rule, 1, false);

	ck_assert(judge(t, TCP, "1.2.3.4", 443, NAMES(wildcards[_i].name)).allow ==
		wildcards[_i].matches);
	ck_assert(policy_table_name_admits(t, 0, wildcards[_i].name) == wildcards[_i].matches);
	ck_assert(policy_table_name_possible(t, wildcards[_i].name) == wildcards[_i].matches);
	free(t);
}
END_TEST

START_TEST(first_match_wins_among_names_and_prefixes)
{
	static const char *const bad[] = {"bad.example.com"}, *const all[] = {"*.example.com"};
	struct prefix ten = {ip("10.0.0.0"), 104};
	struct policy_ports https = {443, 443};
	struct policy_rule rules[] = {
		{.names = bad, .n_names = 1, .by = 0},
		{.allow = true, .to = &ten, .n_to = 1, .ports = &https, .n_ports = 1, .by = 1},
		{.allow = true, .names = all, .n_names = 1, .by = 2},
		{.to = &ten, .n_to = 1, .by = 3},
	};
	uint8_t *t = compile(rules, 4, true);

	ck_assert_str_eq(verdict(t, TCP, "10.1.1.1", 443, NAMES("a.example.com")), "allow 1");
	ck_assert_str_eq(verdict(t, TCP, "10.1.1.1", 80, NAMES("a.example.com")),
		"allow 2 a.example.com strict");
	ck_assert_str_eq(verdict(t, TCP, "10.1.1.1", 80, NULL), "deny 3");
	ck_assert_str_eq(verdict(t, TCP, "8.8.8.8", 80, NAMES("a.example.com", "bad.example.com")),
		"deny 0 bad.example.com");
	ck_assert_str_eq(verdict(t, TCP, "8.8.8.8", 80, NAMES("b.org")), "allow -1");
	free(t);
}
END_TEST

START_TEST(prefix_of_the_same_rule_goes_before_its_name)
{
	static const char *const list[] = {"example.com"};
	struct prefix ten = {ip("10.0.0.0"), 104};
	struct policy_rule rule = {.allow = true,
		.to = &ten,
		.n_to = 1,
		.names = list,
		.n_names = 1,
		.verify_dns = true,
		.by = 0};
	uint8_t *t = compile(&rule, 1, false);

	ck_assert_str_eq(verdict(t, TCP, "10.1.1.1", 80, NAMES("example.com")), "allow 0");
	ck_assert_str_eq(
		verdict(t, TCP, "8.8.8.8", 80, NAMES("example.com")), "allow 0 example.com");
	ck_assert_str_eq(verdict(t, TCP, "8.8.8.8", 80, NULL), "deny -1");
	free(t);
}
END_TEST

START_TEST(ports_and_protocols_of_names)
{
	static const char *const list[] = {"example.com"};
	struct policy_ports ssh = {22, 22}, high = {1000, 65535};
	struct policy_rule rules[] = {
		{.allow = true,
			.proto = TCP,
			.names = list,
			.n_names = 1,
			.ports = &ssh,
			.n_ports = 1,
			.verify_dns = true,
			.by = 0},
		{.allow = true,
			.proto = UDP,
			.names = list,
			.n_names = 1,
			.ports = &high,
			.n_ports = 1,
			.by = 1},
	};
	uint8_t *t = compile(rules, 2, false);
	const char *const *names = NAMES("example.com");

	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 22, names), "allow 0 example.com");
	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 23, names), "deny -1");
	ck_assert_str_eq(verdict(t, UDP, "1.1.1.1", 22, names), "deny -1");
	ck_assert_str_eq(verdict(t, UDP, "1.1.1.1", 65535, names), "allow 1 example.com strict");
	ck_assert_str_eq(verdict(t, ICMP, "1.1.1.1", 0, names), "deny -1");
	free(t);
}
END_TEST

START_TEST(quic_is_refused_where_names_are_verified)
{
	static const char *const list[] = {"a.org"}, *const dns[] = {"b.org"};
	struct policy_rule rules[] = {
		{.allow = true, .names = list, .n_names = 1, .by = 0},
		{.allow = true, .names = dns, .n_names = 1, .verify_dns = true, .by = 1},
	};
	uint8_t *t = compile(rules, 2, false);

	ck_assert_str_eq(verdict(t, UDP, "1.1.1.1", 443, NAMES("a.org")), "deny 0 a.org");
	ck_assert_str_eq(verdict(t, UDP, "1.1.1.1", 444, NAMES("a.org")), "allow 0 a.org strict");
	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 443, NAMES("a.org")), "allow 0 a.org strict");
	ck_assert_str_eq(verdict(t, UDP, "1.1.1.1", 443, NAMES("b.org")), "allow 1 b.org");
	free(t);
}
END_TEST

/* A server name is judged like a name of the address: rules before the one that admitted count. */
START_TEST(server_name_meets_all_rules)
{
	static const char *const bad[] = {"bad.example.com"}, *const all[] = {"*.example.com"},
				 *const one[] = {"example.org"};
	struct policy_rule rules[] = {
		{.names = bad, .n_names = 1, .by = 0},
		{.allow = true, .names = all, .n_names = 1, .by = 1},
		{.allow = true, .names = one, .n_names = 1, .by = 2},
	};
	uint8_t *t = compile(rules, 3, false);
	struct addr gateway = ip("10.0.2.2"), a = ip("1.2.3.4");
	static const struct {
		const char *name;
		bool allow;
		int32_t by;
	} asked[] = {{"www.example.com", true, 1}, {"bad.example.com", false, 0},
		{"example.org", true, 2}, {"evil.org", false, -1}, {"1.2.3.4", false, -1},
		{"", false, -1}};

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct policy_verdict v = policy_table_judge_as(
			t, &gateway, false, TCP, &a, 443, asked[i].name);

		ck_assert_msg(v.allow == asked[i].allow, "%s", asked[i].name);
		ck_assert_int_eq(v.by, asked[i].by);
	}
	ck_assert(policy_table_name_admits(t, 0, "bad.example.com"));
	ck_assert(policy_table_name_admits(t, 1, "bad.example.com"));
	ck_assert(!policy_table_name_admits(t, 2, "bad.example.com"));
	ck_assert(!policy_table_name_admits(t, 9, "bad.example.com"));
	free(t);
}
END_TEST

START_TEST(gateway_by_name)
{
	static const char *const list[] = {"host.internal"};
	struct policy_ports pg = {5432, 5432};
	struct policy_rule rules[] = {
		{.allow = true, .names = list, .n_names = 1, .ports = &pg, .n_ports = 1, .by = 0},
		{.names = list, .n_names = 1, .by = 1},
	};
	uint8_t *t = compile(rules, 2, false);
	const char *const *names = NAMES("host.internal");

	ck_assert_str_eq(verdict(t, TCP, "10.0.2.2", 5432, names), "allow 0 host.internal strict");
	ck_assert_str_eq(verdict(t, TCP, "10.0.2.2", 22, names), "deny 1 host.internal");
	ck_assert_str_eq(verdict(t, TCP, "10.0.2.2", 22, NULL), "allow -3");
	ck_assert_str_eq(verdict(t, TCP, "127.0.0.1", 5432, names), "deny -3");
	free(t);
}
END_TEST

START_TEST(names_that_no_rule_could_admit)
{
	static const char *const good[] = {"good.org"}, *const bad[] = {"bad.org", "*.bad.org"};
	struct prefix ten = {ip("10.0.0.0"), 104}, any4 = {ip("0.0.0.0"), 96};
	struct policy_ports https = {443, 443};
	struct policy_rule rules[] = {
		{.names = bad, .n_names = 2, .ports = &https, .n_ports = 1, .by = 0},
		{.names = bad, .n_names = 1, .by = 1},
		{.allow = true, .names = good, .n_names = 1, .by = 2},
		{.allow = true, .to = &ten, .n_to = 1, .by = 3},
	};
	uint8_t *t = compile(rules, 4, false), *open = compile(rules, 4, true);

	ck_assert(policy_table_has_names(t));
	ck_assert(policy_table_name_possible(t, "good.org"));
	ck_assert(!policy_table_name_possible(t, "other.org")); /* a prefix admits no names */
	ck_assert(!policy_table_name_possible(t, "bad.org"));
	ck_assert(policy_table_name_possible(open, "other.org"));
	ck_assert(!policy_table_name_possible(open, "bad.org"));    /* denied on every port */
	ck_assert(policy_table_name_possible(open, "www.bad.org")); /* on 443 alone */
	free(open);
	free(t);
	rules[3].to = &any4;
	t = compile(rules, 4, false);
	ck_assert(policy_table_name_possible(t, "other.org"));
	ck_assert(!policy_table_name_possible(t, "bad.org"));
	free(t);
	t = compile(rules + 3, 1, false);
	ck_assert(!policy_table_has_names(t));
	free(t);
}
END_TEST

static bool any_name_counts(const void *blob, uint8_t proto, const char *addr, uint16_t port)
{
	struct addr a = ip(addr);

	return policy_table_any_name_counts(blob, &(struct policy_flow){&a, port, proto});
}

START_TEST(addresses_that_need_no_name)
{
	static const char *const list[] = {"good.org"};
	struct prefix ten = {ip("10.0.0.0"), 104}, one = {ip("10.1.0.0"), 112};
	struct policy_ports https = {443, 443};
	struct policy_rule rules[] = {
		{.allow = true, .names = list, .n_names = 1, .by = 0},
		{.to = &one, .n_to = 1, .by = 1},
		{.allow = true, .to = &ten, .n_to = 1, .ports = &https, .n_ports = 1, .by = 2},
	};
	uint8_t *t = compile(rules, 3, false);

	ck_assert(any_name_counts(t, TCP, "8.8.8.8", 80));
	ck_assert(any_name_counts(t, TCP, "10.2.0.1", 443));
	ck_assert(any_name_counts(t, UDP, "64:ff9b::10.2.0.1", 443));
	ck_assert(!any_name_counts(t, TCP, "10.2.0.1", 80)); /* it is another port's */
	ck_assert(!any_name_counts(t, ICMP, "10.2.0.1", 0));
	ck_assert(!any_name_counts(t, TCP, "10.1.0.1", 443));
	ck_assert(!any_name_counts(t, TCP, "192.168.0.1", 443));
	free(t);
}
END_TEST

START_TEST(names_of_the_hosts_own_addresses_do_not_count)
{
	static const char *const list[] = {"good.org"};
	struct prefix own[] = {{ip("203.0.113.9"), 128}, {ip("198.51.100.7"), 128},
		{ip("203.0.113.9"), 128}, {ip("2001:db8::7"), 128}};
	struct prefix net = {ip("203.0.113.0"), 120};
	struct policy_ports https = {443, 443};
	struct policy_rule rules[] = {
		{.allow = true, .names = list, .n_names = 1, .by = 0},
		{.allow = true, .to = &net, .n_to = 1, .ports = &https, .n_ports = 1, .by = 1},
	};
	struct policy_input in = {.rules = rules,
		.n_rules = 2,
		.default_by = POLICY_BY_DEFAULT,
		.own = own,
		.n_own = 4};
	uint8_t *t;
	size_t len;

	ck_assert_int_eq(policy_table_compile(&in, &t, &len, NULL), 0);
	ck_assert_int_eq(policy_table_check(t, len), 0);
	ck_assert(!any_name_counts(t, TCP, "203.0.113.9", 80));
	ck_assert(any_name_counts(t, TCP, "203.0.113.9", 443)); /* allowed by prefix */
	ck_assert(!any_name_counts(t, TCP, "198.51.100.7", 443));
	ck_assert(!any_name_counts(t, TCP, "64:ff9b::198.51.100.7", 443));
	ck_assert(!any_name_counts(t, TCP, "2001:db8::7", 443));
	ck_assert(any_name_counts(t, TCP, "198.51.100.6", 443));
	ck_assert(any_name_counts(t, TCP, "198.51.100.8", 443));
	ck_assert(any_name_counts(t, TCP, "2001:db8::8", 443));
	ck_assert(any_name_counts(t, TCP, "1.1.1.1", 80));
	free(t);
}
END_TEST

START_TEST(private_addresses)
{
	static const char *const yes[] = {"10.1.1.1", "192.168.9.9", "127.0.0.1", "::1", "fe80::1",
		"fd00::1", "64:ff9b::10.0.0.1", "169.254.169.254", "0.0.0.0"};
	static const char *const no[] = {"8.8.8.8", "2606:4700::1111", "172.32.0.1"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		struct addr a = ip(yes[i]);

		ck_assert_msg(policy_addr_is_private(&a), "%s", yes[i]);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		struct addr a = ip(no[i]);

		ck_assert_msg(!policy_addr_is_private(&a), "%s", no[i]);
	}
}
END_TEST

START_TEST(names_not_in_their_form_are_refused)
{
	static const char *const list[][1] = {{"Example.com"}, {"example.com."}, {"*"}, {""}};
	struct policy_rule rule = {.allow = true, .n_names = 1};
	struct policy_input in = {&rule, 1, false, POLICY_BY_DEFAULT, NULL, 0};
	uint8_t *blob;
	size_t len, bad = 9;

	rule.names = list[_i];
	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, &bad), -EINVAL);
	ck_assert_uint_eq(bad, 0);
}
END_TEST

/* ---- against the plain reading of the rules ---- */

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static bool pattern_matches(const char *pattern, const char *name)
{
	const char *dot = strchr(name, '.');

	if (*pattern == '*')
		return dot && strcmp(dot, pattern + 1) == 0;
	return strcmp(pattern, name) == 0;
}

START_TEST(agrees_with_the_rules_read_one_by_one)
{
	static const char *const patterns[] = {"a.x", "b.x", "*.x", "a.b.x", "*.b.x", "x", "a.y"};
	static const char *const asked[] = {
		"a.x", "b.x", "c.x", "a.b.x", "c.b.x", "x", "a.y", "b.y"};
	enum { RULES = 40, LIST = 3 };
	static const uint8_t protos[] = {POLICY_PROTO_ANY, TCP, UDP};
	const char *lists[RULES][LIST];
	struct policy_rule rules[RULES];
	struct policy_ports ports[RULES];
	size_t n;
	uint8_t *t;

	seed = (uint32_t)_i * 91 + 3;
	n = rnd(RULES);
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < LIST; k++)
			lists[i][k] = patterns[rnd(7)];
		ports[i].lo = (uint16_t)rnd(10);
		ports[i].hi = (uint16_t)(ports[i].lo + rnd(5));
		rules[i] = (struct policy_rule){.allow = rnd(2),
			.proto = protos[rnd(3)],
			.names = lists[i],
			.n_names = 1 + rnd(LIST),
			.ports = &ports[i],
			.n_ports = rnd(2),
			.by = (int32_t)i};
	}
	t = compile(rules, n, rnd(2));
	for (int i = 0; i < 500; i++) {
		const char *const *names = NAMES(asked[rnd(8)], asked[rnd(8)]);
		uint8_t proto = protos[1 + rnd(2)];
		uint16_t port = (uint16_t)rnd(16);
		int32_t want = POLICY_BY_DEFAULT;

		for (size_t k = n; k-- > 0;) {
			const struct policy_rule *r = &rules[k];
			bool to = false;

			for (size_t p = 0; p < r->n_names; p++)
				to |= pattern_matches(r->names[p], names[0]) ||
					pattern_matches(r->names[p], names[1]);
			if (to && (!r->proto || r->proto == proto) &&
				(!r->n_ports || (r->ports->lo <= port && port <= r->ports->hi)))
				want = (int32_t)k;
		}
		ck_assert_int_eq(judge(t, proto, "1.2.3.4", port, names).by, want);
	}
	free(t);
}
END_TEST

START_TEST(ten_thousand_names)
{
	enum { MANY = 10000 };
	static char text[MANY][40];
	static const char *list[MANY];
	static struct policy_rule rules[MANY];
	uint8_t *t;

	for (int i = 0; i < MANY; i++) {
		snprintf(text[i], sizeof(text[i]), "%shost%d.example.com", i % 2 ? "*." : "", i);
		list[i] = text[i];
		rules[i] = (struct policy_rule){
			.allow = true, .names = &list[i], .n_names = 1, .by = i};
	}
	t = compile(rules, MANY, false);
	for (int i = 0; i < MANY; i++) {
		char name[48];

		snprintf(name, sizeof(name), "%s%s", i % 2 ? "www" : "",
			i % 2 ? text[i] + 1 : text[i]);
		ck_assert_int_eq(judge(t, TCP, "1.2.3.4", 443, NAMES(name)).by, i);
	}
	ck_assert_uint_eq(policy_table_rules(t), MANY);
	free(t);
}
END_TEST

/* ---- hostile blocks ---- */

START_TEST(damaged_tables_are_refused_or_harmless)
{
	static const char *const list[] = {"example.com", "*.example.com", "db"};
	struct policy_ports ports[] = {{1, 2}, {5, 9}};
	struct policy_rule rule = {
		.allow = true, .names = list, .n_names = 3, .ports = ports, .n_ports = 2};
	struct prefix own[] = {{ip("1.1.1.1"), 128}, {ip("10.1.2.3"), 128}};
	struct policy_input in = {&rule, 1, false, POLICY_BY_DEFAULT, own, 2};
	uint8_t *blob, *copy;
	size_t len;

	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	for (size_t i = 0; i < len; i++)
		ck_assert_int_lt(policy_table_check(blob, i), 0);
	copy = malloc(len); /* of the very size, so that a sanitizer sees what lies beyond */
	for (size_t i = 0; i < len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			memcpy(copy, blob, len);
			copy[i] ^= (uint8_t)(1 << bit);
			if (policy_table_check(copy, len) < 0)
				continue;
			judge(copy, TCP, "10.1.2.3", 5, NAMES("www.example.com", "db"));
			policy_table_name_possible(copy, "www.example.com");
			policy_table_name_admits(copy, 0, "www.example.com");
			any_name_counts(copy, TCP, "10.1.2.3", 5);
		}
	}
	free(copy);
	free(blob);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static Suite *policy_names_suite(void)
{
	Suite *s = suite_create("policy_names");
	TCase *tc = tcase_create("policy_names");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, names_are_read_as_written, 0, COUNT(spelled));
	tcase_add_test(tc, longest_name_is_253);
	tcase_add_test(tc, address_without_the_name_is_not_admitted);
	tcase_add_loop_test(tc, wildcard_is_one_label, 0, COUNT(wildcards));
	tcase_add_test(tc, first_match_wins_among_names_and_prefixes);
	tcase_add_test(tc, prefix_of_the_same_rule_goes_before_its_name);
	tcase_add_test(tc, ports_and_protocols_of_names);
	tcase_add_test(tc, quic_is_refused_where_names_are_verified);
	tcase_add_test(tc, server_name_meets_all_rules);
	tcase_add_test(tc, gateway_by_name);
	tcase_add_test(tc, names_that_no_rule_could_admit);
	tcase_add_test(tc, addresses_that_need_no_name);
	tcase_add_test(tc, names_of_the_hosts_own_addresses_do_not_count);
	tcase_add_test(tc, private_addresses);
	tcase_add_loop_test(tc, names_not_in_their_form_are_refused, 0, 4);
	tcase_add_loop_test(tc, agrees_with_the_rules_read_one_by_one, 0, 200);
	tcase_add_test(tc, ten_thousand_names);
	tcase_add_test(tc, damaged_tables_are_refused_or_harmless);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(policy_names_suite());
}
