/* SPDX-License-Identifier: MIT */
/* Addresses of proxies' names: of numbers at once, of hosts(5), and an end with questions open. */
#include "ctl/proxy_names.h"
#include "tests/unit/check_main.h"

#include <event2/event.h>
#include <string.h>

static struct event_base *base;
static struct proxy_names *names;
static unsigned changes;

static void on_changed(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	changes++;
}

static void setup(void)
{
	base = event_base_new();
	names = proxy_names_new(base, on_changed, NULL);
	changes = 0;
}

static void teardown(void)
{
	proxy_names_free(names);
	event_base_free(base);
}

START_TEST(addresses_are_themselves)
{
	struct addr addrs[PROXY_ADDRS_MAX], want;

	ck_assert_uint_eq(proxy_names_get(names, "2001:db8::7", addrs), 1);
	addr_parse("2001:db8::7", &want);
	ck_assert(addr_eq(&addrs[0], &want));
	ck_assert_uint_eq(changes, 0);
}
END_TEST

START_TEST(names_of_the_hosts_file)
{
	struct addr addrs[PROXY_ADDRS_MAX];
	size_t n;

	proxy_names_get(names, "localhost", addrs);
	event_base_loop(base, EVLOOP_NONBLOCK);
	n = proxy_names_get(names, "LOCALHOST", addrs);
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_eq(changes, 1);
	for (size_t i = 0; i < n; i++)
		ck_assert(addr_is_loopback(&addrs[i]));
}
END_TEST

START_TEST(an_end_with_questions_open)
{
	struct addr addrs[PROXY_ADDRS_MAX];

	ck_assert_uint_eq(proxy_names_get(names, "nobody.invalid", addrs), 0);
	proxy_names_servers_changed(names);
	ck_assert_uint_eq(proxy_names_get(names, "nobody-else.invalid", addrs), 0);
} /* what is leaked the sanitizer finds */
END_TEST

int main(void)
{
	Suite *s = suite_create("proxy names");
	TCase *tc = tcase_create("names");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, addresses_are_themselves);
	tcase_add_test(tc, names_of_the_hosts_file);
	tcase_add_test(tc, an_end_with_questions_open);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
