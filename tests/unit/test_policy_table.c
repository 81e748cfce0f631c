/* SPDX-License-Identifier: MIT */
/* The compiled policy gives the verdicts that its rules, read one by one in order, would give. */
#include "common/policy_table.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TCP POLICY_PROTO_TCP
#define UDP POLICY_PROTO_UDP
#define ICMP POLICY_PROTO_ICMP

static struct addr ip(const char *text)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(text, &a), 0);
	return a;
}

static struct prefix net(const char *text)
{
	struct prefix p;

	ck_assert_int_eq(prefix_parse(text, true, &p), 0);
	return p;
}

struct table {
	uint8_t *blob;
	size_t len;
};

static struct table compile(const struct policy_rule *rules, size_t n, bool default_allow)
{
	struct policy_input in = {rules, n, default_allow, POLICY_BY_DEFAULT, NULL, 0};
	struct table t;
	size_t bad;

	ck_assert_int_eq(policy_table_compile(&in, &t.blob, &t.len, &bad), 0);
	ck_assert_int_eq(policy_table_check(t.blob, t.len), 0);
	return t;
}

/* "allow 3" or "deny -1": the verdict and who gave it. */
static const char *verdict(struct table t, uint8_t proto, const char *addr, uint16_t port)
{
	static char text[32];
	struct addr a = ip(addr);
	int32_t by;
	bool allow = policy_table_lookup(t.blob, proto, &a, port, &by);

	snprintf(text, sizeof(text), "%s %d", allow ? "allow" : "deny", by);
	return text;
}

START_TEST(empty_policy_is_its_default)
{
	struct table t = compile(NULL, 0, true), f = compile(NULL, 0, false);

	ck_assert_str_eq(verdict(t, TCP, "1.2.3.4", 80), "allow -1");
	ck_assert_str_eq(verdict(f, ICMP, "::5:6", 0), "deny -1");
	ck_assert_str_eq(verdict(t, 47, "1.2.3.4", 0), "deny -1");
	free(t.blob);
	free(f.blob);
}
END_TEST

START_TEST(first_match_wins_over_longer_prefix)
{
	struct prefix ten = net("10.0.0.0/8"), one = net("10.1.0.0/16"), host = net("10.1.2.3/32");
	struct policy_rule rules[] = {
		{.allow = true, .to = &host, .n_to = 1, .by = 0},
		{.allow = false, .to = &ten, .n_to = 1, .by = 1},
		{.allow = true, .to = &one, .n_to = 1, .by = 2},
	};
	struct table t = compile(rules, 3, true);

	ck_assert_str_eq(verdict(t, TCP, "10.1.2.3", 80), "allow 0");
	ck_assert_str_eq(verdict(t, TCP, "10.1.2.4", 80), "deny 1");
	ck_assert_str_eq(verdict(t, TCP, "10.255.255.255", 80), "deny 1");
	ck_assert_str_eq(verdict(t, TCP, "11.0.0.0", 80), "allow -1");
	ck_assert_str_eq(verdict(t, TCP, "9.255.255.255", 80), "allow -1");
	free(t.blob);
}
END_TEST

START_TEST(ports_and_protocols)
{
	struct policy_ports web[] = {{443, 443}, {8000, 8100}}, all[] = {{0, 65535}};
	struct prefix six = net("2001:db8::/32");
	struct policy_rule rules[] = {
		{.allow = true, .proto = TCP, .ports = web, .n_ports = 2, .by = 0},
		{.allow = true, .proto = ICMP, .to = &six, .n_to = 1, .by = 1},
		{.allow = true, .ports = all, .n_ports = 1, .to = &six, .n_to = 1, .by = 2},
	};
	struct table t = compile(rules, 3, false);

	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 443), "allow 0");
	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 442), "deny -1");
	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 444), "deny -1");
	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 8000), "allow 0");
	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 8100), "allow 0");
	ck_assert_str_eq(verdict(t, TCP, "1.1.1.1", 8101), "deny -1");
	ck_assert_str_eq(verdict(t, UDP, "1.1.1.1", 443), "deny -1");
	ck_assert_str_eq(verdict(t, TCP, "2001:db8::1", 443), "allow 0");
	ck_assert_str_eq(verdict(t, UDP, "2001:db8::1", 0), "allow 2");
	ck_assert_str_eq(verdict(t, UDP, "2001:db8::1", 65535), "allow 2");
	ck_assert_str_eq(verdict(t, ICMP, "2001:db8::1", 7), "allow 1");
	ck_assert_str_eq(verdict(t, 58, "2001:db8::1", 7), "allow 1");
	ck_assert_str_eq(verdict(t, ICMP, "1.1.1.1", 443), "deny -1");
	free(t.blob);
}
END_TEST

START_TEST(edges_of_the_address_space)
{
	struct prefix p[] = {net("::/1"), net("8000::/1"), net("ffff:ffff::/32"),
		net("255.255.255.255/32"), net("0.0.0.0/0")};
	struct policy_rule rules[5];
	struct table t;

	for (int i = 0; i < 5; i++)
		rules[i] = (struct policy_rule){.allow = true, .to = &p[4 - i], .n_to = 1, .by = i};
	t = compile(rules, 5, false);
	ck_assert_str_eq(verdict(t, TCP, "255.255.255.255", 1), "allow 0");
	ck_assert_str_eq(verdict(t, TCP, "0.0.0.0", 1), "allow 0");
	ck_assert_str_eq(verdict(t, TCP, "ffff:ffff::", 1), "allow 2");
	ck_assert_str_eq(verdict(t, TCP, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1), "allow 2");
	ck_assert_str_eq(verdict(t, TCP, "ffff:fffe::", 1), "allow 3");
	ck_assert_str_eq(verdict(t, TCP, "7fff::", 1), "allow 4");
	ck_assert_str_eq(verdict(t, TCP, "::", 1), "allow 4");
	free(t.blob);
}
END_TEST

START_TEST(embedded_ipv4_is_judged_as_ipv4)
{
	struct prefix ten = net("10.0.0.0/8");
	struct policy_rule rule = {.to = &ten, .n_to = 1, .by = 0};
	struct table t = compile(&rule, 1, true);

	ck_assert_str_eq(verdict(t, TCP, "::ffff:10.1.2.3", 80), "deny 0");
	ck_assert_str_eq(verdict(t, TCP, "::10.1.2.3", 80), "deny 0");
	ck_assert_str_eq(verdict(t, TCP, "64:ff9b::10.1.2.3", 80), "deny 0");
	ck_assert_str_eq(verdict(t, TCP, "2002:a01:203::99", 80), "deny 0");
	ck_assert_str_eq(verdict(t, TCP, "64:ff9b:1::10.1.2.3", 80), "allow -1");
	ck_assert_str_eq(verdict(t, TCP, "2003:a01:203::99", 80), "allow -1");
	free(t.blob);
}
END_TEST

static int compile_one(const struct policy_rule *rule)
{
	struct policy_input in = {rule, 1, false, POLICY_BY_DEFAULT, NULL, 0};
	uint8_t *blob = NULL;
	size_t len, bad = 99;
	int rc = policy_table_compile(&in, &blob, &len, &bad);

	if (rc < 0)
		ck_assert_uint_eq(bad, 0);
	free(blob);
	return rc;
}

START_TEST(rules_that_make_no_sense_are_refused)
{
	struct policy_ports backwards = {2, 1}, one = {1, 1};
	const char *never[] = {"2002:a00::/24", "2002::/16", "::/96", "::2/128", "::2/127",
		"::/126", "64:ff9b::8.8.8.8/128"};
	const char *fine[] = {
		"::/128", "::1/128", "::/127", "::/95", "2000::/15", "64::/16", "::/0"};
	struct policy_rule rule = {.ports = &backwards, .n_ports = 1};

	ck_assert_int_eq(compile_one(&rule), -EINVAL);
	rule = (struct policy_rule){.proto = ICMP, .ports = &one, .n_ports = 1};
	ck_assert_int_eq(compile_one(&rule), -EINVAL);
	rule = (struct policy_rule){.proto = 47};
	ck_assert_int_eq(compile_one(&rule), -EINVAL);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		struct prefix p = net(never[i]);

		rule = (struct policy_rule){.to = &p, .n_to = 1};
		ck_assert_msg(compile_one(&rule) == -EDOM, "%s", never[i]);
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		struct prefix p = net(fine[i]);

		rule = (struct policy_rule){.to = &p, .n_to = 1};
		ck_assert_msg(compile_one(&rule) == 0, "%s", fine[i]);
	}
}
END_TEST

static struct table preset(enum policy_preset which, const struct prefix *own, size_t n_own)
{
	struct policy_rule rules[POLICY_PRESET_RULES_MAX];
	struct policy_input in = {.rules = rules, .default_by = POLICY_BY_PRESET};
	struct table t;

	in.n_rules = policy_preset_rules(which, own, n_own, rules, &in.default_allow);
	ck_assert_int_eq(policy_table_compile(&in, &t.blob, &t.len, NULL), 0);
	ck_assert_int_eq(policy_table_check(t.blob, t.len), 0);
	return t;
}

START_TEST(public_denies_what_is_not_public)
{
	static const char *const denied[] = {
		"0.1.2.3",
		"10.0.0.1",
		"100.64.0.1",
		"100.127.255.255",
		"127.0.0.1",
		"169.254.169.254",
		"172.16.0.1",
		"172.31.255.255",
		"192.0.0.1",
		"192.168.1.1",
		"198.18.0.1",
		"198.19.255.255",
		"224.0.0.1",
		"255.255.255.255",
		"168.63.129.16",
		"203.0.113.5",
		"::",
		"::1",
		"fc00::1",
		"fdff::1",
		"fe80::1",
		"febf::1",
		"fec0::1",
		"feff::1",
		"64:ff9b:1::10.0.0.1",
		"64:ff9b:1:ffff::1",
		"ff02::1",
		"::ffff:10.0.0.1",
		"::10.0.0.1",
		"64:ff9b::7f00:1",
		"2002:c0a8:101::1",
		"2001:db8::5",
	};
	static const char *const allowed[] = {
		"1.1.1.1",
		"9.255.255.255",
		"11.0.0.0",
		"100.128.0.0",
		"128.0.0.0",
		"172.32.0.0",
		"192.0.1.0",
		"198.20.0.0",
		"168.63.129.17",
		"223.255.255.255",
		"2606:4700::1",
		"64:ff9b::101:101",
		"64:ff9b:2::1",
		"203.0.113.6",
	};
	struct prefix own[] = {net("203.0.113.5"), net("2001:db8::5")};
	struct table t = preset(POLICY_PUBLIC, own, 2);

	for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
		ck_assert_msg(!strcmp(verdict(t, TCP, denied[i], 80), "deny -2"), "%s", denied[i]);
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		ck_assert_msg(
			!strcmp(verdict(t, TCP, allowed[i], 80), "allow -2"), "%s", allowed[i]);
	free(t.blob);
}
END_TEST

START_TEST(open_and_none)
{
	struct table o = preset(POLICY_OPEN, NULL, 0), n = preset(POLICY_NONE, NULL, 0);
	enum policy_preset p;

	ck_assert_str_eq(verdict(o, UDP, "10.0.0.1", 53), "allow -2");
	ck_assert_str_eq(verdict(n, UDP, "1.1.1.1", 53), "deny -2");
	ck_assert_int_eq(policy_preset_parse("public", &p), 0);
	ck_assert_int_eq(p, POLICY_PUBLIC);
	ck_assert_str_eq(policy_preset_name(p), "public");
	ck_assert_int_eq(policy_preset_parse("Public", &p), -EINVAL);
	free(o.blob);
	free(n.blob);
}
END_TEST

static int32_t judge(struct table t, bool host_access, const char *addr, uint16_t port, bool *allow)
{
	struct addr gateway = ip("10.0.2.2"), a = ip(addr);
	struct policy_verdict verdict = policy_table_judge(
		t.blob, &gateway, host_access, TCP, &a, port, NULL);

	*allow = verdict.allow;
	return verdict.by;
}

START_TEST(host_access_alone_leads_to_loopback)
{
	struct table none = preset(POLICY_NONE, NULL, 0), open = preset(POLICY_OPEN, NULL, 0);
	static const char *const inside[] = {
		"127.0.0.1", "0.0.0.0", "::1", "::", "64:ff9b::127.0.0.1"};
	bool allow;

	ck_assert_int_eq(judge(none, true, "10.0.2.2", 80, &allow), POLICY_BY_HOST_ACCESS);
	ck_assert(allow);
	ck_assert_int_eq(judge(open, false, "10.0.2.2", 80, &allow), POLICY_BY_HOST_ACCESS);
	ck_assert(!allow);
	ck_assert_int_eq(judge(open, true, "10.0.2.3", 80, &allow), POLICY_BY_PRESET);
	ck_assert(allow);
	for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
		ck_assert_int_eq(judge(open, true, inside[i], 80, &allow), POLICY_BY_HOST_ACCESS);
		ck_assert_msg(!allow, "%s", inside[i]);
	}
	free(none.blob);
	free(open.blob);
}
END_TEST

START_TEST(own_rules_narrow_host_access)
{
	struct prefix gateway = net("10.0.2.2");
	struct policy_ports ssh = {22, 22};
	struct policy_rule rule = {.to = &gateway, .n_to = 1, .ports = &ssh, .n_ports = 1, .by = 0};
	struct table t = compile(&rule, 1, false);
	bool allow;

	ck_assert_int_eq(judge(t, true, "10.0.2.2", 22, &allow), 0);
	ck_assert(!allow);
	ck_assert_int_eq(judge(t, true, "10.0.2.2", 23, &allow), POLICY_BY_HOST_ACCESS);
	ck_assert(allow);
	free(t.blob);
}
END_TEST

/* ---- against the plain reading of the rules ---- */

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static bool matches(const struct policy_rule *r, uint8_t proto, const struct addr *a, uint16_t port)
{
	bool to = !r->n_to, on = !r->n_ports;

	if (r->proto && r->proto != proto)
		return false;
	for (size_t i = 0; i < r->n_to; i++)
		to |= prefix_contains(&r->to[i], a);
	for (size_t i = 0; i < r->n_ports; i++)
		on |= proto != ICMP && r->ports[i].lo <= port && port <= r->ports[i].hi;
	return to && on;
}

/* Few distinct bits, so that prefixes nest and touch. */
static struct addr random_addr(void)
{
	struct addr a = addr_from_v4(0x0a000000u | rnd(4) << 16 | rnd(4) << 8 | rnd(4));

	if (rnd(8) == 0)
		a.b[0] = (uint8_t)(0x40 << rnd(2));
	return a;
}

START_TEST(agrees_with_the_rules_read_one_by_one)
{
	enum { RULES = 60 };
	static const uint8_t protos[] = {POLICY_PROTO_ANY, TCP, UDP, ICMP};
	struct policy_rule rules[RULES];
	struct prefix to[RULES][3];
	struct policy_ports ports[RULES][3];
	size_t n = (size_t)rnd(RULES);
	struct table t;

	seed = (uint32_t)_i * 77 + 1;
	for (size_t i = 0; i < n; i++) {
		struct policy_rule *r = &rules[i];

		*r = (struct policy_rule){
			.allow = rnd(2), .proto = protos[rnd(4)], .by = (int32_t)i};
		r->to = to[i];
		r->ports = ports[i];
		r->n_to = rnd(4);
		r->n_ports = r->proto == ICMP ? 0 : rnd(4);
		for (int k = 0; k < 3; k++) {
			char text[PREFIX_STRLEN];

			to[i][k] = (struct prefix){
				random_addr(), (uint8_t)(rnd(9) ? 96 + rnd(33) : 2)};
			prefix_format(&to[i][k], text, sizeof(text));
			to[i][k] = net(text);
			ports[i][k].lo = (uint16_t)rnd(20);
			ports[i][k].hi = (uint16_t)(rnd(5) ? ports[i][k].lo + rnd(6) : 65535);
		}
	}
	t = compile(rules, n, false);
	for (int i = 0; i < 3000; i++) {
		struct addr a = random_addr();
		uint8_t proto = protos[1 + rnd(3)];
		uint16_t port = (uint16_t)rnd(26);
		int32_t by, want = POLICY_BY_DEFAULT;

		for (size_t k = n; k-- > 0;) {
			if (matches(&rules[k], proto, &a, port))
				want = (int32_t)k;
		}
		policy_table_lookup(t.blob, proto, &a, port, &by);
		ck_assert_int_eq(by, want);
	}
	free(t.blob);
}
END_TEST

/* ---- bounds ---- */

enum { MANY = 10000 };

static struct policy_rule many[MANY];
static struct prefix many_to[MANY];
static struct policy_ports many_ports[MANY];

/* This process' own time in us: a busy machine makes it no longer. */
static uint64_t used_us(void)
{
	return (uint64_t)clock() * 1000000 / CLOCKS_PER_SEC;
}

/* Compiles in time, fits, and looks up fast. Sanitizers slow things: these are ten times what is
 * wanted (100 ms, 1 us), so that the test fails for a wrong algorithm alone. */
static void must_be_cheap(size_t n)
{
	uint64_t start = used_us(), took;
	struct table t = compile(many, n, false);
	unsigned allowed = 0;

	took = used_us() - start;
	printf("compile %llu us, %zu bytes", (unsigned long long)took, t.len);
	ck_assert_uint_lt(took, 1000000);
	ck_assert_uint_lt(t.len, POLICY_TABLE_MAX);
	start = used_us();
	for (uint32_t i = 0; i < 100000; i++) {
		uint32_t r = rnd(MANY);
		struct addr a = many[r].n_to ? many[r].to->addr : addr_from_v4(rnd(1u << 24));

		allowed += policy_table_lookup(
			t.blob, i & 1 ? UDP : TCP, &a, (uint16_t)rnd(65536), NULL);
	}
	took = used_us() - start;
	printf(", lookup %llu ns (%u allowed)\n", (unsigned long long)took / 100, allowed);
	ck_assert_uint_lt(took, 1000000);
	free(t.blob);
}

START_TEST(many_prefixes)
{
	for (uint32_t i = 0; i < MANY; i++) {
		many_to[i] = (struct prefix){addr_from_v4(rnd(1u << 16) << 16 | rnd(65536)), 128};
		many[i] = (struct policy_rule){
			.allow = true, .to = &many_to[i], .n_to = 1, .by = (int32_t)i};
	}
	must_be_cheap(MANY);
}
END_TEST

START_TEST(many_ports_on_one_prefix)
{
	for (uint32_t i = 0; i < MANY; i++) {
		many_ports[i].lo = (uint16_t)rnd(30000);
		many_ports[i].hi = (uint16_t)(many_ports[i].lo + rnd(30000));
		many[i] = (struct policy_rule){
			.allow = true, .ports = &many_ports[i], .n_ports = 1, .by = (int32_t)i};
	}
	must_be_cheap(MANY);
}
END_TEST

START_TEST(many_ports_around_many_prefixes)
{
	for (uint32_t i = 0; i < MANY; i++) {
		many_to[i] = (struct prefix){addr_from_v4(i << 8), i % 3 ? 128 : 120};
		many_ports[i].hi = many_ports[i].lo = (uint16_t)(i * 6);
		many[i] = (struct policy_rule){.allow = true,
			.to = &many_to[i],
			.n_to = i & 1,
			.ports = &many_ports[i],
			.n_ports = 1,
			.by = (int32_t)i};
	}
	must_be_cheap(MANY);
}
END_TEST

START_TEST(deep_nesting_with_many_ports)
{
	for (uint32_t i = 0; i < MANY; i++) {
		struct prefix p = {{{0x3f}}, (uint8_t)(i % 129)};
		char text[PREFIX_STRLEN];

		memset(p.addr.b, 0x35, sizeof(p.addr.b));
		prefix_format(&p, text, sizeof(text));
		many_to[i] = net(text);
		many_ports[i].hi = many_ports[i].lo = (uint16_t)rnd(65536);
		many[i] = (struct policy_rule){.allow = true,
			.to = &many_to[i],
			.n_to = 1,
			.ports = &many_ports[i],
			.n_ports = 1,
			.by = (int32_t)(MANY - i)};
	}
	must_be_cheap(MANY);
}
END_TEST

START_TEST(too_large_is_an_error)
{
	static struct prefix to[1024];
	static struct policy_ports ports[1024];
	struct policy_rule rule = {.to = to, .n_to = 1024, .ports = ports, .n_ports = 1024};

	ck_assert_int_eq(compile_one(&rule), -E2BIG);
}
END_TEST

/* ---- hostile blocks ---- */

START_TEST(damaged_tables_are_refused_or_harmless)
{
	struct prefix p[] = {net("10.0.0.0/8"), net("10.1.0.0/16"), net("2001:db8::/32")};
	struct policy_ports ports[] = {{1, 2}, {5, 9}};
	struct policy_rule rule = {.to = p, .n_to = 3, .ports = ports, .n_ports = 2};
	struct table t = compile(&rule, 1, true);
	uint8_t *copy = malloc(t.len);
	struct addr a = ip("10.1.2.3");

	for (size_t len = 0; len < t.len; len++)
		ck_assert_int_lt(policy_table_check(t.blob, len), 0);
	for (size_t i = 0; i < t.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			memcpy(copy, t.blob, t.len);
			copy[i] ^= (uint8_t)(1 << bit);
			if (policy_table_check(copy, t.len) == 0)
				policy_table_lookup(copy, TCP, &a, 5, NULL);
		}
	}
	t.blob[4]++;
	ck_assert_int_eq(policy_table_check(t.blob, t.len), -EPROTONOSUPPORT);
	free(copy);
	free(t.blob);
}
END_TEST

static Suite *policy_table_suite(void)
{
	Suite *s = suite_create("policy_table");
	TCase *tc = tcase_create("policy_table");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, empty_policy_is_its_default);
	tcase_add_test(tc, first_match_wins_over_longer_prefix);
	tcase_add_test(tc, ports_and_protocols);
	tcase_add_test(tc, edges_of_the_address_space);
	tcase_add_test(tc, embedded_ipv4_is_judged_as_ipv4);
	tcase_add_test(tc, rules_that_make_no_sense_are_refused);
	tcase_add_test(tc, public_denies_what_is_not_public);
	tcase_add_test(tc, open_and_none);
	tcase_add_test(tc, host_access_alone_leads_to_loopback);
	tcase_add_test(tc, own_rules_narrow_host_access);
	tcase_add_loop_test(tc, agrees_with_the_rules_read_one_by_one, 0, 200);
	tcase_add_test(tc, many_prefixes);
	tcase_add_test(tc, many_ports_on_one_prefix);
	tcase_add_test(tc, many_ports_around_many_prefixes);
	tcase_add_test(tc, deep_nesting_with_many_ports);
	tcase_add_test(tc, too_large_is_an_error);
	tcase_add_test(tc, damaged_tables_are_refused_or_harmless);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(policy_table_suite());
}
