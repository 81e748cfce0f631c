/* SPDX-License-Identifier: MIT */
/* Which flows go by a proxy, by which, and what it is told. */
#include "dataplane/egress/proxy.h"
#include "dataplane/stack/frame.h"
#include "tests/unit/check_main.h"

#include <string.h>

static struct proxies *proxies;

static void setup(void)
{
	proxies = proxies_new(4);
	proxies->n_servers = 3;
	for (uint8_t i = 0; i < 3; i++) {
		proxies->servers[i].kind = i == 2 ? PROXY_SOCKS5 : PROXY_HTTP;
		proxies->servers[i].index = i;
		proxies->of[i] = (uint8_t)(i + 1);
	}
}

static void teardown(void)
{
	proxies_unref(proxies);
}

static struct proxy_choice choose(uint8_t proto, const char *dst, const char *name)
{
	struct endpoint to;

	ck_assert_int_eq(endpoint_parse(dst, &to), 0);
	return proxies_choose(proxies, proto, &to, name, true);
}

static void except(const char *prefix, const char *domain)
{
	struct proxy_bypass *b = &proxies->bypass[proxies->n_bypass++];

	b->by_name = !prefix;
	if (prefix)
		ck_assert_int_eq(prefix_parse(prefix, false, &b->prefix), 0);
	else
		strcpy(b->domain, domain);
}

START_TEST(flows_have_kinds)
{
	ck_assert_ptr_eq(choose(IP_PROTO_TCP, "192.0.2.1:80", NULL).server, &proxies->servers[0]);
	ck_assert_ptr_eq(choose(IP_PROTO_TCP, "192.0.2.1:443", NULL).server, &proxies->servers[1]);
	ck_assert_ptr_eq(choose(IP_PROTO_TCP, "192.0.2.1:22", NULL).server, &proxies->servers[2]);
	ck_assert_ptr_eq(choose(IP_PROTO_UDP, "192.0.2.1:53", NULL).server, &proxies->servers[2]);
	proxies->of[PROXY_FLOWS_HTTPS] = 0;
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "192.0.2.1:443", NULL).server);
}
END_TEST

START_TEST(what_a_proxy_cannot_carry)
{
	ck_assert(!choose(IP_PROTO_UDP, "192.0.2.1:53", NULL).unfit);
	ck_assert(choose(IP_PROTO_UDP, "192.0.2.1:443", NULL).unfit);
	ck_assert(choose(IP_PROTO_ICMP, "192.0.2.1:0", NULL).unfit);
	ck_assert(!choose(IP_PROTO_TCP, "192.0.2.1:443", NULL).unfit);
}
END_TEST

START_TEST(the_host_itself_has_no_proxy)
{
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "127.0.0.1:80", NULL).server);
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "[::1]:80", NULL).server);
}
END_TEST

START_TEST(exceptions)
{
	except("10.0.0.0/8", NULL);
	except(NULL, "corp.example");
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "10.1.2.3:22", NULL).server);
	ck_assert_ptr_nonnull(choose(IP_PROTO_TCP, "11.1.2.3:22", NULL).server);
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "192.0.2.1:22", "corp.example").server);
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "192.0.2.1:22", "www.CORP.example").server);
	ck_assert_ptr_nonnull(choose(IP_PROTO_TCP, "192.0.2.1:22", "notcorp.example").server);
	ck_assert_ptr_nonnull(choose(IP_PROTO_TCP, "192.0.2.1:22", "corp.example.net").server);
	ck_assert_ptr_nonnull(choose(IP_PROTO_TCP, "192.0.2.1:22", NULL).server);
	except(NULL, ".");
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "192.0.2.1:22", "printer").server);
	ck_assert_ptr_nonnull(choose(IP_PROTO_TCP, "192.0.2.1:22", "printer.example").server);
	ck_assert_ptr_nonnull(choose(IP_PROTO_TCP, "192.0.2.1:22", NULL).server);
	except(NULL, "");
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "192.0.2.1:22", NULL).server);
}
END_TEST

START_TEST(names_are_told_where_they_may_be)
{
	struct endpoint to;

	endpoint_parse("192.0.2.1:22", &to);
	ck_assert_str_eq(choose(IP_PROTO_TCP, "192.0.2.1:22", "a.example").name, "a.example");
	ck_assert_ptr_null(choose(IP_PROTO_TCP, "192.0.2.1:22", "a\r\nB: c").name);
	ck_assert_ptr_null(proxies_choose(proxies, IP_PROTO_TCP, &to, "a.example", false).name);
}
END_TEST

START_TEST(fake_addresses_need_their_names)
{
	struct endpoint fake;

	endpoint_parse("198.19.255.255:22", &fake);
	ck_assert(!choose(IP_PROTO_TCP, "198.18.0.1:22", NULL).unfit);
	proxies->fake_ip = true;
	ck_assert(choose(IP_PROTO_TCP, "198.18.0.1:22", NULL).unfit);
	ck_assert(choose(IP_PROTO_TCP, "198.18.0.1:22", "a b").unfit);
	ck_assert(!choose(IP_PROTO_TCP, "198.20.0.1:22", NULL).unfit);
	ck_assert_str_eq(
		proxies_choose(proxies, IP_PROTO_TCP, &fake, "a.example", false).name, "a.example");
}
END_TEST

START_TEST(none_is_none)
{
	struct endpoint to;

	endpoint_parse("192.0.2.1:22", &to);
	ck_assert_ptr_null(proxies_choose(NULL, IP_PROTO_TCP, &to, "a.example", true).server);
	ck_assert(proxies_equal(NULL, NULL) && !proxies_equal(NULL, proxies));
}
END_TEST

START_TEST(the_same_again)
{
	struct proxies *other = proxies_new(4);
	void *bypass = other->bypass;

	except("10.0.0.0/8", NULL);
	*other = *proxies;
	other->bypass = bypass;
	memcpy(bypass, proxies->bypass, sizeof(*proxies->bypass));
	other->refs = 1;
	ck_assert(proxies_equal(proxies, other));
	strcpy(other->servers[1].password, "x");
	ck_assert(!proxies_equal(proxies, other));
	other->servers[1].password[0] = '\0';
	other->bypass[0].prefix.bits--;
	ck_assert(!proxies_equal(proxies, other));
	proxies_unref(other);
}
END_TEST

START_TEST(other_addresses_are_the_same_way)
{
	struct proxies *other = proxies_new(4);
	void *bypass = other->bypass;

	endpoint_parse("192.0.2.7:1080", &proxies->servers[1].addrs[0]);
	proxies->servers[1].n_addrs = 1;
	*other = *proxies;
	other->bypass = bypass;
	other->refs = 1;
	ck_assert(proxies_same_ways(proxies, other));
	other->servers[1].n_addrs = 2;
	endpoint_parse("192.0.2.77:1080", &other->servers[1].addrs[0]);
	ck_assert(proxies_same_ways(proxies, other));
	ck_assert(!proxies_equal(proxies, other));
	other->servers[1].addrs[0].port++;
	ck_assert(!proxies_same_ways(proxies, other));
	other->servers[1].n_addrs = 0;
	ck_assert(!proxies_same_ways(proxies, other)); /* or straight there, now */
	other->servers[1] = proxies->servers[1];
	other->servers[1].kind = !other->servers[1].kind;
	ck_assert(!proxies_same_ways(proxies, other));
	proxies_unref(other);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("proxy choice");
	TCase *tc = tcase_create("choice");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, flows_have_kinds);
	tcase_add_test(tc, what_a_proxy_cannot_carry);
	tcase_add_test(tc, the_host_itself_has_no_proxy);
	tcase_add_test(tc, exceptions);
	tcase_add_test(tc, names_are_told_where_they_may_be);
	tcase_add_test(tc, fake_addresses_need_their_names);
	tcase_add_test(tc, none_is_none);
	tcase_add_test(tc, the_same_again);
	tcase_add_test(tc, other_addresses_are_the_same_way);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
