/* SPDX-License-Identifier: MIT */
/* Kept answers: for how long, to which questions, and within which bounds. */
#include "common/be.h"
#include "dataplane/stack/dns_cache.h"
#include "tests/unit/check_main.h"
#include "tests/unit/dns_build.h"

#include <stdio.h>

static struct dns_cache *cache;
static uint8_t got[DNS_CACHE_ANSWER_MAX];

static void setup(void)
{
	cache = dns_cache_new();
}

static void teardown(void)
{
	dns_cache_free(cache);
}

static struct dns_query_info info_of(const struct message *query)
{
	struct dns_query_info info;

	ck_assert_int_eq(dns_query_parse(query->b, query->len, &info), DNS_NOERROR);
	return info;
}

static void put(const struct message *query, const struct message *answer, uint64_t now_ms)
{
	struct dns_query_info info = info_of(query);

	dns_cache_put(cache, &info, answer->b, answer->len, now_ms);
}

static size_t get(const struct message *query, uint64_t now_ms)
{
	struct dns_query_info info = info_of(query);

	return dns_cache_get(cache, &info, query->b, got, now_ms);
}

static struct message a_query(const char *name)
{
	return query_message(name, DNS_A, DNS_RD);
}

static struct message a_answer(const char *name, uint32_t ttl)
{
	struct message m = message(name, DNS_A, DNS_RD | DNS_RA);

	add_a(&m, name, ttl, 0xc0000201);
	return m;
}

static uint32_t first_ttl(size_t len)
{
	struct dns_cursor c = {got, len, 0};
	struct dns_question question;
	struct dns_header h;
	struct dns_record r;

	ck_assert(dns_read_header(&c, &h) && dns_read_question(&c, &question) &&
		dns_read_record(&c, &r));
	return r.ttl;
}

START_TEST(an_answer_is_kept_for_its_ttl_which_runs_down)
{
	struct message q = a_query("a.example"), a = a_answer("a.example", 60);

	ck_assert_uint_eq(get(&q, 1000), 0);
	put(&q, &a, 1000);
	ck_assert_uint_eq(get(&q, 1000), a.len);
	ck_assert_mem_eq(got + 2, a.b + 2, a.len - 2);
	ck_assert_uint_eq(first_ttl(a.len), 60);
	ck_assert_uint_eq(get(&q, 11999), a.len);
	ck_assert_uint_eq(first_ttl(a.len), 50);
	ck_assert_uint_eq(get(&q, 60999), a.len);
	ck_assert_uint_eq(first_ttl(a.len), 1);
	ck_assert_uint_eq(get(&q, 61000), 0);
	ck_assert_uint_eq(dns_cache_count(cache), 0);
}
END_TEST

START_TEST(the_least_ttl_of_all_records_counts)
{
	struct message q = a_query("a.example"), a = message("a.example", DNS_A, 0);

	add_cname(&a, "a.example", 20, "b.example");
	add_a(&a, "b.example", 60, 1);
	put(&q, &a, 0);
	ck_assert_uint_gt(get(&q, 19999), 0);
	ck_assert_uint_eq(get(&q, 20000), 0);
	a = a_answer("a.example", 1000000);
	put(&q, &a, 0);
	ck_assert_uint_gt(get(&q, DNS_CACHE_SECONDS * 1000 - 1), 0);
	ck_assert_uint_eq(first_ttl(a.len), 1000000 - DNS_CACHE_SECONDS + 1);
	ck_assert_uint_eq(get(&q, DNS_CACHE_SECONDS * 1000), 0);
}
END_TEST

START_TEST(a_ttl_of_zero_is_not_kept)
{
	static const uint32_t ttls[] = {0, 0x80000000, 0xffffffff}; /* RFC 2181, 8 */
	struct message q = a_query("a.example");

	for (size_t i = 0; i < 3; i++) {
		struct message a = a_answer("a.example", ttls[i]);

		put(&q, &a, 0);
		ck_assert_uint_eq(dns_cache_count(cache), 0);
	}
}
END_TEST

START_TEST(that_there_is_nothing_is_kept_as_the_soa_says)
{
	static const uint16_t rcodes[] = {DNS_NXDOMAIN, DNS_NOERROR};

	for (size_t i = 0; i < 2; i++) {
		struct message q = a_query(i ? "b.example" : "a.example");
		struct message a = message(i ? "b.example" : "a.example", DNS_A, rcodes[i]);

		put(&q, &a, 0);
		ck_assert_uint_eq(get(&q, 0), 0); /* without SOA not at all */
		add_soa(&a, "example", 300, 40);
		put(&q, &a, 0);
		ck_assert_uint_eq(get(&q, 39999), a.len);
		ck_assert_uint_eq(load_be16(got + 2) & DNS_RCODE, rcodes[i]);
		ck_assert_uint_eq(get(&q, 40000), 0);
	}
}
END_TEST

START_TEST(an_alias_to_nothing_needs_a_soa_too)
{
	struct message q = a_query("a.example"), a = message("a.example", DNS_A, 0);

	add_cname(&a, "a.example", 60, "b.example");
	put(&q, &a, 0);
	ck_assert_uint_eq(dns_cache_count(cache), 0);
	add_soa(&a, "example", 300, 40);
	put(&q, &a, 0);
	ck_assert_uint_gt(get(&q, 39999), 0);
	ck_assert_uint_eq(get(&q, 40000), 0);
}
END_TEST

START_TEST(failures_and_cut_answers_are_not_kept)
{
	static const uint16_t flags[] = {DNS_SERVFAIL, DNS_REFUSED, DNS_FORMERR, DNS_TC};
	struct message q = a_query("a.example");

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct message a = message("a.example", DNS_A, flags[i]);

		add_a(&a, "a.example", 60, 1);
		put(&q, &a, 0);
		ck_assert_uint_eq(dns_cache_count(cache), 0);
	}
}
END_TEST

START_TEST(an_answer_that_cannot_be_read_is_not_kept)
{
	struct message q = a_query("a.example"), a = message("a.example", DNS_A, 0);

	add_a(&a, "a.example", 60, 1);
	add_soa(&a, "example", 60, 60);
	for (a.len--; a.len; a.len--) {
		put(&q, &a, 0);
		ck_assert_uint_eq(dns_cache_count(cache), 0);
	}
}
END_TEST

START_TEST(the_question_is_the_askers_own)
{
	struct message q = a_query("a.example"), other = a_query("A.eXample");
	struct message a = a_answer("a.example", 60);

	a.b[2] |= DNS_AA >> 8;
	put(&q, &a, 0);
	ck_assert_uint_eq(get(&other, 0), a.len);
	ck_assert_mem_eq(
		got + DNS_HEADER_LEN, other.b + DNS_HEADER_LEN, other.len - DNS_HEADER_LEN);
	ck_assert_uint_eq(load_be16(got + 2) & DNS_AA, 0);
}
END_TEST

START_TEST(questions_that_differ_are_different)
{
	struct message q = a_query("a.example"), a = a_answer("a.example", 60), other;

	put(&q, &a, 0);
	other = query_message("a.example", DNS_AAAA, DNS_RD);
	ck_assert_uint_eq(get(&other, 0), 0);
	other = query_message("a.example", DNS_A, 0);
	ck_assert_uint_eq(get(&other, 0), 0);
	other = query_message("a.example", DNS_A, DNS_RD | DNS_CD);
	ck_assert_uint_eq(get(&other, 0), 0);
	other = q;
	add_opt(&other, 1232, 0, "", 0);
	ck_assert_uint_eq(get(&other, 0), 0);
	put(&other, &a, 0);
	ck_assert_uint_gt(get(&other, 0), 0);
	other = q;
	add_opt(&other, 1232, 0x8000, "", 0);
	ck_assert_uint_eq(get(&other, 0), 0);
	ck_assert_uint_eq(get(&q, 0), a.len);
}
END_TEST

START_TEST(options_that_change_answers_are_not_for_the_cache)
{
	static const uint8_t subnet[] = {0, 8, 0, 4, 0, 1, 0, 0}, cookie[] = {0, 10, 0, 0};
	struct message plain = a_query("a.example"), q = plain, a = a_answer("a.example", 60);

	add_opt(&q, 1232, 0, subnet, sizeof(subnet));
	put(&q, &a, 0);
	ck_assert_uint_eq(dns_cache_count(cache), 0);
	q = plain;
	add_opt(&q, 1232, 0x10000, "", 0); /* another version */
	put(&q, &a, 0);
	ck_assert_uint_eq(dns_cache_count(cache), 0);
	q = plain;
	q.b[11] = 1;
	add_a(&q, "a.example", 0, 0); /* who knows why */
	q.b[7] = 0;
	put(&q, &a, 0);
	ck_assert_uint_eq(dns_cache_count(cache), 0);
	q = plain;
	add_opt(&q, 1232, 0, cookie, sizeof(cookie));
	put(&q, &a, 0);
	ck_assert_uint_eq(dns_cache_count(cache), 1);
}
END_TEST

START_TEST(opt_is_our_own)
{
	static const uint8_t cookie[] = {0, 10, 0, 4, 1, 2, 3, 4};
	struct message q = a_query("a.example"), a = a_answer("a.example", 60);
	size_t bare = a.len;

	add_opt(&q, 4096, 0x8000, "", 0);
	add_opt(&a, 512, 0x8000, cookie, sizeof(cookie));
	put(&q, &a, 0);
	ck_assert_uint_eq(get(&q, 30000), bare + DNS_OPT_LEN);
	ck_assert_uint_eq(load_be16(got + 10), 1);
	ck_assert_uint_eq(load_be16(got + bare + 1), DNS_OPT);
	ck_assert_uint_eq(load_be32(got + bare + 5), 0x8000);
	ck_assert_uint_eq(load_be16(got + bare + 9), 0); /* nobody else's cookie */
	add_a(&a, "a.example", 60, 1);                   /* something behind it */
	a.b[7]--;
	a.b[11]++;
	put(&q, &a, 0);
	ck_assert_uint_eq(dns_cache_count(cache), 0);
}
END_TEST

START_TEST(a_question_with_a_pointer_goes_past_the_cache)
{
	struct message q = a_query("a.example"), a = a_answer("a.example", 60);
	struct message odd = {.len = DNS_HEADER_LEN};

	put(&q, &a, 0);
	/* The same name, the root's zero taken from the header. */
	memcpy(odd.b, q.b, DNS_HEADER_LEN);
	put_name(&odd, "a.example");
	odd.len--;
	put16(&odd, 0xc000 | 6);
	put16(&odd, DNS_A);
	put16(&odd, DNS_CLASS_IN);
	ck_assert_uint_eq(get(&odd, 0), 0);
	ck_assert_uint_eq(get(&q, 0), a.len);
}
END_TEST

START_TEST(the_cache_is_bounded_and_forgets_what_nobody_asks)
{
	char name[32];
	struct message q, a;

	for (unsigned i = 0; i < DNS_CACHE_MAX + 10; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		q = a_query(name);
		a = a_answer(name, 60);
		put(&q, &a, 0);
		q = a_query("n0.example");
		ck_assert_uint_gt(get(&q, 0), 0);
	}
	ck_assert_uint_eq(dns_cache_count(cache), DNS_CACHE_MAX);
	q = a_query("n1.example");
	ck_assert_uint_eq(get(&q, 0), 0);
	dns_cache_clear(cache);
	ck_assert_uint_eq(dns_cache_count(cache), 0);
}
END_TEST

START_TEST(long_answers_are_bounded_in_all_and_each)
{
	char name[32];
	struct message q, a;

	for (unsigned i = 0; i < DNS_CACHE_MAX; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		q = a_query(name);
		a = message(name, DNS_A, 0);
		while (a.len + 64 < DNS_CACHE_MESSAGE_MAX)
			add_a(&a, name, 60, 1);
		put(&q, &a, 0);
	}
	ck_assert_uint_le(
		dns_cache_count(cache), DNS_CACHE_BYTES_MAX / (DNS_CACHE_MESSAGE_MAX - 64));
	ck_assert_uint_gt(get(&q, 0), 0);
	while (a.len <= DNS_CACHE_MESSAGE_MAX)
		add_a(&a, name, 60, 1);
	put(&q, &a, 0);
	ck_assert_uint_eq(get(&q, 0), 0);
}
END_TEST

static Suite *dns_cache_suite(void)
{
	Suite *s = suite_create("dns_cache");
	TCase *tc = tcase_create("cache");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_answer_is_kept_for_its_ttl_which_runs_down);
	tcase_add_test(tc, the_least_ttl_of_all_records_counts);
	tcase_add_test(tc, a_ttl_of_zero_is_not_kept);
	tcase_add_test(tc, that_there_is_nothing_is_kept_as_the_soa_says);
	tcase_add_test(tc, an_alias_to_nothing_needs_a_soa_too);
	tcase_add_test(tc, failures_and_cut_answers_are_not_kept);
	tcase_add_test(tc, an_answer_that_cannot_be_read_is_not_kept);
	tcase_add_test(tc, the_question_is_the_askers_own);
	tcase_add_test(tc, questions_that_differ_are_different);
	tcase_add_test(tc, options_that_change_answers_are_not_for_the_cache);
	tcase_add_test(tc, opt_is_our_own);
	tcase_add_test(tc, a_question_with_a_pointer_goes_past_the_cache);
	tcase_add_test(tc, the_cache_is_bounded_and_forgets_what_nobody_asks);
	tcase_add_test(tc, long_answers_are_bounded_in_all_and_each);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(dns_cache_suite());
}
