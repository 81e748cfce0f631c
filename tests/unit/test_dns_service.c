/* SPDX-License-Identifier: MIT */
/* Service bindings lose their ech, and nothing else; their hints are names of addresses. */
#include "dataplane/stack/dns_names.h"
#include "dataplane/stack/dns_service.h"
#include "tests/unit/check_main.h"
#include "tests/unit/dns_build.h"

#include <stdio.h>

static uint8_t anew[65535];

static void put_param(struct message *m, uint16_t key, const void *value, uint16_t len)
{
	put16(m, key);
	put16(m, len);
	put_bytes(m, value, len);
}

static size_t begin_service(struct message *m, const char *name, uint16_t priority)
{
	size_t at = begin_record(m, IN_ANSWER, name, DNS_HTTPS, 60);

	put16(m, priority);
	put_name(m, "");
	return at;
}

static void add_service(struct message *m, const char *name, bool ech)
{
	size_t at = begin_service(m, name, 1);

	put_param(m, 1, "\2h2", 3);
	put_param(m, DNS_PARAM_IPV4HINT, "\xc0\0\2\1\xc0\0\2\2", 8);
	if (ech)
		put_param(m, DNS_PARAM_ECH, "the key", 7);
	put_param(m, DNS_PARAM_IPV6HINT, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	end_record(m, at);
}

static struct message https(const char *name)
{
	return message(name, DNS_HTTPS, DNS_RD | DNS_RA | DNS_AD);
}

/* Strips m and compares with what it should have become. */
static void expect_stripped(const struct message *m, const struct message *want)
{
	size_t len;

	ck_assert(dns_has_ech(m->b, m->len));
	len = dns_strip_ech(m->b, m->len, anew, sizeof(anew));
	ck_assert_uint_eq(len, want->len);
	ck_assert_mem_eq(anew, want->b, len);
	ck_assert(!dns_has_ech(anew, len));
}

START_TEST(ech_goes_and_the_rest_stays)
{
	struct message m = https("a.example"), want = https("a.example");

	add_cname(&m, "a.example", 60, "b.example");
	add_service(&m, "b.example", true);
	add_service(&m, "b.example", false);
	add_a(&m, "b.example", 60, 1);
	add_opt(&m, 1232, 0x8000, "", 0);
	add_cname(&want, "a.example", 60, "b.example");
	add_service(&want, "b.example", false);
	add_service(&want, "b.example", false);
	add_a(&want, "b.example", 60, 1);
	add_opt(&want, 1232, 0x8000, "", 0);
	want.b[3] &= (uint8_t)~DNS_AD; /* what was signed is no more */
	expect_stripped(&m, &want);
}
END_TEST

START_TEST(names_that_point_back_are_written_in_full)
{
	struct message m = https("a.example"), want = https("a.example");
	size_t at = begin_record(&m, IN_ANSWER, "a.example", DNS_CNAME, 60), service;

	put_bytes(&m, "\1b\xc0\x0e", 4); /* b.example, by the question */
	end_record(&m, at);
	service = m.len;
	add_service(&m, "c.example", true);
	/* Its owner is b.example, by the alias. */
	memmove(m.b + service + 2, m.b + service + 11, m.len - service - 11);
	store_be16(m.b + service, (uint16_t)(0xc000 | (at + 2)));
	m.len -= 9;
	add_cname(&want, "a.example", 60, "b.example");
	add_service(&want, "b.example", false);
	want.b[3] &= (uint8_t)~DNS_AD;
	expect_stripped(&m, &want);
}
END_TEST

START_TEST(what_has_no_ech_is_left_alone)
{
	struct message m = https("a.example");

	add_service(&m, "a.example", false);
	ck_assert(!dns_has_ech(m.b, m.len));
	m = message("a.example", DNS_A, 0);
	add_a(&m, "a.example", 60, 1);
	ck_assert(!dns_has_ech(m.b, m.len));
	m.len -= 2; /* broken, but no question for bindings */
	ck_assert(!dns_has_ech(m.b, m.len));
}
END_TEST

START_TEST(a_binding_that_needs_ech_goes)
{
	struct message m = https("a.example"), want = https("a.example");
	size_t at = begin_service(&m, "a.example", 1);

	put_param(&m, DNS_PARAM_MANDATORY, "\0\1\0\5", 4);
	put_param(&m, 1, "\2h2", 3);
	put_param(&m, DNS_PARAM_ECH, "the key", 7);
	end_record(&m, at);
	add_service(&m, "a.example", true);
	add_service(&want, "a.example", false);
	want.b[3] &= (uint8_t)~DNS_AD;
	expect_stripped(&m, &want);
}
END_TEST

START_TEST(ech_is_found_in_every_section)
{
	struct message m = https("a.example");

	add_service(&m, "a.example", true);
	for (int section = IN_AUTHORITY; section <= IN_ADDITIONAL; section += 2) {
		struct message other = m, want = https("a.example");

		other.b[7] = 0;
		other.b[section + 1] = 1;
		want.b[3] &= (uint8_t)~DNS_AD;
		expect_stripped(&other, &want);
	}
}
END_TEST

START_TEST(what_cannot_be_read_does_not_pass)
{
	struct message m = https("a.example"), cut;
	size_t question = m.len, len;

	add_service(&m, "a.example", false);
	add_service(&m, "a.example", true);
	for (cut = m; cut.len-- > question;) {
		ck_assert(dns_has_ech(cut.b, cut.len));
		len = dns_strip_ech(cut.b, cut.len, anew, sizeof(anew));
		ck_assert_uint_ge(len, question);
		ck_assert(!dns_has_ech(anew, len));
	}
	for (size_t i = 0; i < question; i++)
		ck_assert_uint_eq(dns_strip_ech(m.b, i, anew, sizeof(anew)), 0);
	for (size_t max = 0; max < m.len; max++) {
		len = dns_strip_ech(m.b, m.len, anew, max);
		ck_assert_uint_le(len, max);
	}
}
END_TEST

START_TEST(a_parameter_longer_than_its_record_does_not_pass)
{
	struct message m = https("a.example"), want = https("a.example");
	size_t at = begin_service(&m, "a.example", 1);

	put16(&m, 1);
	put16(&m, 20);
	put_bytes(&m, "\2h2", 3);
	end_record(&m, at);
	add_service(&m, "a.example", false);
	add_service(&want, "a.example", false);
	want.b[3] &= (uint8_t)~DNS_AD;
	expect_stripped(&m, &want);
}
END_TEST

START_TEST(hints_are_names_of_addresses)
{
	struct dns_names *log = dns_names_new();
	struct message m = https("a.example");
	struct addr addr = addr_from_v4(0xc0000202);
	const char *names[4];
	size_t at;

	add_cname(&m, "a.example", 60, "b.example");
	add_service(&m, "b.example", true);
	at = begin_service(&m, "b.example", 0); /* an alias has none */
	put_param(&m, DNS_PARAM_IPV4HINT, "\xc0\0\2\7", 4);
	end_record(&m, at);
	ck_assert_uint_eq(dns_names_learn(log, m.b, m.len, 0), 6);
	ck_assert_uint_eq(dns_names_of(log, &addr, 0, names, 4), 2);
	ck_assert_str_eq(names[0], "a.example");
	ck_assert_int_eq(addr_parse("2001:db8::1", &addr), 0);
	ck_assert_uint_eq(dns_names_of(log, &addr, 59999, names, 4), 2);
	ck_assert_uint_eq(dns_names_of(log, &addr, 60000, names, 4), 0);
	dns_names_free(log);
}
END_TEST

static Suite *dns_service_suite(void)
{
	Suite *s = suite_create("dns_service");
	TCase *tc = tcase_create("service");

	tcase_add_test(tc, ech_goes_and_the_rest_stays);
	tcase_add_test(tc, names_that_point_back_are_written_in_full);
	tcase_add_test(tc, what_has_no_ech_is_left_alone);
	tcase_add_test(tc, a_binding_that_needs_ech_goes);
	tcase_add_test(tc, ech_is_found_in_every_section);
	tcase_add_test(tc, what_cannot_be_read_does_not_pass);
	tcase_add_test(tc, a_parameter_longer_than_its_record_does_not_pass);
	tcase_add_test(tc, hints_are_names_of_addresses);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(dns_service_suite());
}
