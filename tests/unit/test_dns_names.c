/* SPDX-License-Identifier: MIT */
/* The name log knows under which names an address was given out, and stays within its bounds. */
#include "common/clock.h"
#include "dataplane/stack/dns_names.h"
#include "tests/unit/check_main.h"
#include "tests/unit/dns_build.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static struct dns_names *log_;
static const char *names[DNS_NAMES_EACH + 1];

static void setup(void)
{
	log_ = dns_names_new();
}

static void teardown(void)
{
	dns_names_free(log_);
}

static struct addr v4(uint32_t a)
{
	return addr_from_v4(a);
}

static size_t names_of(uint32_t addr, int64_t now_ms)
{
	struct addr a = v4(addr);

	return dns_names_of(log_, &a, now_ms, names, DNS_NAMES_EACH + 1);
}

START_TEST(addresses_get_the_questions_name_and_the_cnames)
{
	struct message m = message("WWW.example.org", DNS_A, 0);

	add_cname(&m, "www.example.org", 300, "cdn.example.net");
	add_cname(&m, "cdn.example.net", 40, "edge.example.net");
	add_a(&m, "edge.example.net", 60, 0x01020304);
	add_a(&m, "edge.example.net", 60, 0x01020305);
	add_a(&m, "unrelated.example.net", 60, 0x01020306);
	ck_assert_uint_eq(dns_names_learn(log_, m.b, m.len, 1000), 6);
	ck_assert_uint_eq(names_of(0x01020304, 40999), 3);
	ck_assert_str_eq(names[0], "www.example.org"); /* what was asked for */
	ck_assert_str_eq(names[1], "cdn.example.net");
	ck_assert_str_eq(names[2], "edge.example.net");
	ck_assert_uint_eq(names_of(0x01020304, 41000), 0); /* the least TTL on the way */
	ck_assert_uint_eq(names_of(0x01020306, 1000), 0);
}
END_TEST

START_TEST(a_name_counts_30_seconds_at_least_and_an_hour_at_most)
{
	static const uint32_t ttls[] = {0, 29, 31, 3600, 3601, 0x7fffffff, 0xffffffff};
	static const int64_t counted[] = {30, 30, 31, 3600, 3600, 3600, 30};

	for (uint32_t i = 0; i < sizeof(ttls) / sizeof(ttls[0]); i++) {
		struct message m = message("a.example", DNS_A, 0);

		add_a(&m, "a.example", ttls[i], 100 + i);
		dns_names_learn(log_, m.b, m.len, 0);
		ck_assert_uint_eq(names_of(100 + i, counted[i] * 1000 - 1), 1);
		ck_assert_uint_eq(names_of(100 + i, counted[i] * 1000), 0);
	}
}
END_TEST

START_TEST(cnames_in_any_order_and_in_circles)
{
	struct message m = message("a.example", DNS_A, 0);

	add_a(&m, "c.example", 60, 1);
	add_cname(&m, "b.example", 60, "c.example");
	add_cname(&m, "a.example", 60, "b.example");
	dns_names_learn(log_, m.b, m.len, 0);
	ck_assert_uint_eq(names_of(1, 0), 3);
	m = message("x.example", DNS_A, 0);
	add_cname(&m, "x.example", 60, "x.example");
	add_a(&m, "x.example", 60, 2);
	dns_names_learn(log_, m.b, m.len, 0);
	ck_assert_uint_eq(names_of(2, 0), 1);
}
END_TEST

START_TEST(what_is_no_answer_teaches_nothing)
{
	struct message m = message("a.example", DNS_A, DNS_NXDOMAIN);

	add_a(&m, "a.example", 60, 1);
	ck_assert_uint_eq(dns_names_learn(log_, m.b, m.len, 0), 0);
	m = message("a.example", DNS_A, 0);
	add_a(&m, "a.example", 60, 1);
	for (size_t len = 0; len < m.len; len++)
		ck_assert_uint_eq(dns_names_learn(log_, m.b, len, 0), 0);
	ck_assert_uint_eq(dns_names_learn(log_, m.b, m.len, 0), 1);
}
END_TEST

static size_t told, batches;
static int64_t last_until;

static void tell(void *arg, const struct dns_name *rows, size_t count)
{
	(void)arg;
	ck_assert_uint_le(count, DNS_NAMES_BATCH);
	told += count;
	batches++;
	last_until = rows[count - 1].until_ms;
}

START_TEST(news_is_told_once_and_renewals_are_news)
{
	struct addr a = v4(1);

	told = 0;
	dns_names_add(log_, &a, "a.example", 100, true);
	dns_names_add(log_, &a, "b.example", 100, false);
	dns_names_add(log_, &a, "a.example", 200, true);
	dns_names_flush(log_, tell, NULL);
	ck_assert_uint_eq(told, 1);
	ck_assert_int_eq(last_until, 200);
	dns_names_flush(log_, tell, NULL);
	ck_assert_uint_eq(told, 1);
	dns_names_add(log_, &a, "a.example", 300, true);
	dns_names_flush(log_, tell, NULL);
	ck_assert_uint_eq(told, 2);
	dns_names_add(log_, &a, "a.example", 300, true); /* the same answer again */
	dns_names_flush(log_, tell, NULL);
	ck_assert_uint_eq(told, 2);
	told = 0;
	dns_names_each(log_, 150, tell, NULL);
	ck_assert_uint_eq(told, 1); /* b.example has expired */
}
END_TEST

START_TEST(one_address_has_at_most_64_names)
{
	struct addr a = v4(7);
	char name[32];

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		dns_names_add(log_, &a, name, 1000, true);
		dns_names_add(log_, &a, "kept.example", 1000, true);
	}
	ck_assert_uint_eq(names_of(7, 0), DNS_NAMES_EACH);
	ck_assert_str_eq(names[0], "kept.example");
	ck_assert_str_eq(names[1], "n99.example");
	ck_assert_uint_eq(dns_names_count(log_), DNS_NAMES_EACH);
	told = 0;
	dns_names_flush(log_, tell, NULL);
	ck_assert_uint_eq(told, DNS_NAMES_EACH);
}
END_TEST

START_TEST(the_log_is_bounded_and_forgets_the_oldest)
{
	clock_t start = clock(); /* of this process: a busy machine makes it no longer */

	for (uint32_t i = 0; i < DNS_NAMES_MAX + 1000; i++) {
		struct addr a = v4(i);

		ck_assert(dns_names_add(log_, &a, "a.example", 1000, true));
	}
	ck_assert_uint_eq(dns_names_count(log_), DNS_NAMES_MAX);
	ck_assert_uint_eq(names_of(999, 0), 0);
	ck_assert_uint_eq(names_of(1000, 0), 1);
	told = batches = 0;
	dns_names_each(log_, 0, tell, NULL);
	ck_assert_uint_eq(told, DNS_NAMES_MAX);
	ck_assert_uint_eq(batches, DNS_NAMES_MAX / DNS_NAMES_BATCH);
	ck_assert_int_lt(clock() - start, 2 * CLOCKS_PER_SEC);
}
END_TEST

START_TEST(names_of_odd_length_are_refused)
{
	struct addr a = v4(1);
	char name[300];

	memset(name, 'a', sizeof(name));
	name[254] = '\0';
	ck_assert(!dns_names_add(log_, &a, name, 1, true));
	ck_assert(!dns_names_add(log_, &a, "", 1, true));
	name[253] = '\0';
	ck_assert(dns_names_add(log_, &a, name, 1, true));
}
END_TEST

static Suite *dns_names_suite(void)
{
	Suite *s = suite_create("dns_names");
	TCase *tc = tcase_create("names");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, addresses_get_the_questions_name_and_the_cnames);
	tcase_add_test(tc, a_name_counts_30_seconds_at_least_and_an_hour_at_most);
	tcase_add_test(tc, cnames_in_any_order_and_in_circles);
	tcase_add_test(tc, what_is_no_answer_teaches_nothing);
	tcase_add_test(tc, news_is_told_once_and_renewals_are_news);
	tcase_add_test(tc, one_address_has_at_most_64_names);
	tcase_add_test(tc, the_log_is_bounded_and_forgets_the_oldest);
	tcase_add_test(tc, names_of_odd_length_are_refused);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(dns_names_suite());
}
