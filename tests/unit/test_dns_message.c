/* SPDX-License-Identifier: MIT */
/* DNS messages are read within their bounds, and names survive the way to text and back. */
#include "common/be.h"
#include "dataplane/stack/dns_hosts.h"
#include "dataplane/stack/dns_message.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct dns_wire wire(const char *text)
{
	struct dns_wire w;

	ck_assert_int_eq(dns_wire_parse(text, &w), 0);
	return w;
}

static size_t make_query(uint8_t *buf, const char *name, uint16_t type)
{
	struct dns_wire w = wire(name);
	uint8_t *p = buf + DNS_HEADER_LEN + w.len;

	memset(buf, 0, DNS_HEADER_LEN);
	store_be16(buf, 0x1234);
	store_be16(buf + 2, DNS_RD);
	store_be16(buf + 4, 1);
	memcpy(buf + DNS_HEADER_LEN, w.b, w.len);
	store_be16(p, type);
	store_be16(p + 2, DNS_CLASS_IN);
	return DNS_HEADER_LEN + w.len + 4u;
}

static size_t add_opt(uint8_t *buf, size_t len, uint16_t udp_size)
{
	memset(buf + len, 0, 11);
	store_be16(buf + len + 1, DNS_OPT);
	store_be16(buf + len + 3, udp_size);
	store_be16(buf + 10, (uint16_t)(load_be16(buf + 10) + 1));
	return len + 11;
}

START_TEST(names_to_text_and_back)
{
	char text[DNS_NAME_TEXT_MAX], longest[300], label[65];
	struct dns_wire w = wire("WWW.Example.ORG."), other;

	ck_assert(dns_wire_format(&w, text));
	ck_assert_str_eq(text, "www.example.org");
	ck_assert_int_eq(dns_wire_parse("", &w), -EINVAL);
	ck_assert_int_eq(dns_wire_parse(".", &w), -EINVAL);
	ck_assert_int_eq(dns_wire_parse("a..b", &w), -EINVAL);
	ck_assert_int_eq(dns_wire_parse(".a", &w), -EINVAL);
	ck_assert_int_eq(dns_wire_parse("a b", &w), -EINVAL);
	memset(label, 'a', 64);
	label[64] = '\0';
	ck_assert_int_eq(dns_wire_parse(label, &w), -EINVAL);
	label[63] = '\0';
	ck_assert_int_eq(dns_wire_parse(label, &w), 0);
	snprintf(longest, sizeof(longest), "%s.%s.%s.%.61s", label, label, label, label);
	ck_assert_int_eq(dns_wire_parse(longest, &w), 0);
	ck_assert(dns_wire_format(&w, text));
	ck_assert_str_eq(text, longest);
	snprintf(longest, sizeof(longest), "%s.%s.%s.%.62s", label, label, label, label);
	ck_assert_int_eq(dns_wire_parse(longest, &other), -EINVAL);
}
END_TEST

START_TEST(compression_pointers_lead_back_only)
{
	/* At 0 "b", at 3 "a" and a pointer to it, at 7 a pointer to itself, at 9 one forwards. */
	const uint8_t msg[] = {1, 'b', 0, 1, 'A', 0xc0, 0, 0xc0, 7, 0xc0, 11, 0, 0xc0};
	struct dns_cursor c = {msg, sizeof(msg), 3};
	struct dns_wire w, want = wire("a.b");

	ck_assert(dns_read_name(&c, &w));
	ck_assert(dns_wire_eq(&w, &want));
	ck_assert_uint_eq(c.at, 7);
	ck_assert(!dns_read_name(&c, &w));
	c.at = 9;
	ck_assert(!dns_read_name(&c, &w));
	c.at = 12; /* half a pointer */
	ck_assert(!dns_read_name(&c, &w));
	c.at = sizeof(msg);
	ck_assert(!dns_read_name(&c, &w));
}
END_TEST

START_TEST(a_label_and_a_pointer_to_itself_are_no_name)
{
	const uint8_t msg[] = {1, 'a', 0xc0, 0};
	struct dns_cursor c = {msg, sizeof(msg), 0};
	struct dns_wire w;

	ck_assert(!dns_read_name(&c, &w));
}
END_TEST

START_TEST(long_chains_of_pointers_are_cut)
{
	static uint8_t msg[16384];
	struct dns_cursor c = {msg, sizeof(msg), 0};
	struct dns_wire w;

	for (size_t i = 2; i + 1 < sizeof(msg); i += 2)
		store_be16(msg + i, (uint16_t)(0xc000 | (i - 2)));
	c.at = 2;
	ck_assert(dns_read_name(&c, &w));
	c.at = sizeof(msg) - 2;
	ck_assert(!dns_read_name(&c, &w));
}
END_TEST

START_TEST(reserved_label_kinds_are_no_names)
{
	const uint8_t msg[] = {0x40, 0, 0x80, 0};
	struct dns_cursor c = {msg, sizeof(msg), 0};
	struct dns_wire w;

	ck_assert(!dns_read_name(&c, &w));
	c.at = 2;
	ck_assert(!dns_read_name(&c, &w));
}
END_TEST

START_TEST(queries)
{
	struct dns_query_info info;
	uint8_t buf[DNS_QUERY_MAX + 100];
	size_t len = make_query(buf, "Example.org", DNS_A);

	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_NOERROR);
	ck_assert_uint_eq(info.id, 0x1234);
	ck_assert_uint_eq(info.question_end, len);
	ck_assert_uint_eq(info.udp_size, 512);
	ck_assert(!info.edns);
	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(dns_query_parse(buf, n, &info), n < 12 ? -1 : DNS_FORMERR);
	len = add_opt(buf, len, 1232);
	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_NOERROR);
	ck_assert(info.edns);
	ck_assert_uint_eq(info.udp_size, 1232);
	ck_assert_int_eq(dns_query_parse(buf, len - 1, &info), DNS_FORMERR);
	len = add_opt(buf, len, 1232);
	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_FORMERR); /* two of them */
}
END_TEST

START_TEST(queries_that_are_not_for_us)
{
	struct dns_query_info info;
	uint8_t buf[512];
	size_t len = make_query(buf, "example.org", DNS_AXFR);

	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_REFUSED);
	len = make_query(buf, "example.org", DNS_A);
	store_be16(buf + 2, DNS_QR);
	ck_assert_int_eq(dns_query_parse(buf, len, &info), -1);
	store_be16(buf + 2, 5 << 11); /* UPDATE */
	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_REFUSED);
	store_be16(buf + 2, 0);
	store_be16(buf + 4, 2);
	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_FORMERR);
	store_be16(buf + 4, 0);
	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_FORMERR);
	store_be16(buf + 4, 1);
	store_be16(buf + 6, 65535); /* records that are not there */
	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_FORMERR);
}
END_TEST

START_TEST(reverse_names)
{
	struct addr a, want;
	struct dns_wire w = wire("15.2.0.10.in-addr.arpa");

	ck_assert(dns_wire_reverse(&w, &a));
	ck_assert_uint_eq(addr_v4(&a), 0x0a00020f);
	w = wire("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6.arpa");
	ck_assert(dns_wire_reverse(&w, &a));
	ck_assert_int_eq(addr_parse("2001:db8::1", &want), 0);
	ck_assert(addr_eq(&a, &want));
	static const char *const not [] = {"2.0.10.in-addr.arpa", "256.2.0.10.in-addr.arpa",
		"1.15.2.0.10.in-addr.arpa", "015.2.0.10.in-addr.arpa", "x.2.0.10.in-addr.arpa",
		"in-addr.arpa", "ip6.arpa", "15.2.0.10.in-addr.arpb"};

	for (size_t i = 0; i < sizeof(not ) / sizeof(not [0]); i++) {
		w = wire(not [i]);
		ck_assert_msg(!dns_wire_reverse(&w, &a), "%s", not [i]);
	}
}
END_TEST

/* ---- local names ---- */

static struct dns_hosts *hosts;
static struct net net;
static uint8_t answer[1024];
static struct dns_header header;
static struct dns_record record;

static void setup(void)
{
	struct addr a[2];
	struct dns_host list[] = {
		{"Web.Internal", a, 2}, {"empty.internal", NULL, 0}, {"other.internal.", a, 1}};

	addr_parse("10.0.2.2", &net.gateway);
	addr_parse("192.0.2.1", &a[0]);
	addr_parse("2001:db8::1", &a[1]);
	ck_assert_int_eq(dns_hosts_new(list, 3, true, &hosts), 0);
}

static void teardown(void)
{
	dns_hosts_free(hosts);
}

/* Asks; returns false where the name is not local. Reads header and first record, if any. */
static bool ask(const char *name, uint16_t type)
{
	struct dns_cursor c = {answer, 0, 0};
	struct dns_question question;
	struct dns_query_info info;
	uint8_t buf[512];
	size_t len = make_query(buf, name, type);

	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_NOERROR);
	c.len = dns_hosts_answer(hosts, &net, buf, &info, answer, sizeof(answer));
	if (!c.len)
		return false;
	ck_assert(dns_read_header(&c, &header));
	ck_assert_uint_eq(header.id, 0x1234);
	ck_assert_uint_eq(header.flags & (DNS_QR | DNS_AA | DNS_RD | DNS_RA),
		DNS_QR | DNS_AA | DNS_RD | DNS_RA);
	ck_assert(dns_read_question(&c, &question));
	ck_assert(dns_question_eq(&question, &info.question));
	if (header.answers)
		ck_assert(dns_read_record(&c, &record));
	return true;
}

START_TEST(local_names_have_addresses_of_either_family)
{
	ck_assert(ask("web.internal", DNS_A));
	ck_assert_uint_eq(header.answers, 1);
	ck_assert_uint_eq(load_be32(answer + record.data), 0xc0000201);
	ck_assert(ask("WEB.internal", DNS_AAAA));
	ck_assert_uint_eq(header.answers, 1);
	ck_assert_uint_eq(record.data_len, 16);
	ck_assert(ask("web.internal", DNS_ANY));
	ck_assert_uint_eq(header.answers, 2);
	ck_assert(ask("other.internal", DNS_AAAA)); /* NODATA */
	ck_assert_uint_eq(header.answers, 0);
	ck_assert_uint_eq(header.flags & DNS_RCODE, DNS_NOERROR);
	ck_assert(ask("empty.internal", DNS_A));
	ck_assert_uint_eq(header.answers, 0);
	ck_assert(!ask("example.org", DNS_A));
	ck_assert(!ask("x.web.internal", DNS_A));
}
END_TEST

START_TEST(local_addresses_have_names)
{
	ck_assert(ask("1.2.0.192.in-addr.arpa", DNS_PTR));
	ck_assert_uint_eq(header.answers, 2);
	ck_assert(ask("2.2.0.10.in-addr.arpa", DNS_PTR));
	ck_assert_uint_eq(header.answers, 1);
	ck_assert(!ask("2.2.0.192.in-addr.arpa", DNS_PTR));
}
END_TEST

START_TEST(the_gateway_has_its_names)
{
	static const char *const names[] = {"host.internal", "host.docker.internal",
		"host.containers.internal", "gateway.containers.internal", "_gateway"};

	for (size_t i = 0; i < 5; i++) {
		ck_assert(ask(names[i], DNS_A));
		ck_assert_uint_eq(header.answers, 1);
		ck_assert_uint_eq(load_be32(answer + record.data), 0x0a000202);
	}
	dns_hosts_free(hosts);
	hosts = NULL;
	for (size_t i = 0; i < 4; i++) {
		ck_assert(ask(names[i], DNS_A));
		ck_assert_uint_eq(header.flags & DNS_RCODE, DNS_NXDOMAIN);
	}
	ck_assert(ask("_gateway", DNS_A));
	ck_assert_uint_eq(header.answers, 1);
}
END_TEST

START_TEST(bad_hosts_are_refused)
{
	struct dns_host bad = {"a..b", NULL, 0};
	struct dns_hosts *none = NULL;

	ck_assert_int_eq(dns_hosts_new(&bad, 1, true, &none), -EINVAL);
	ck_assert_int_eq(dns_hosts_new(NULL, DNS_HOSTS_MAX + 1, true, &none), -E2BIG);
}
END_TEST

START_TEST(what_does_not_fit_is_cut)
{
	struct addr a[64];
	struct dns_host many = {"many.internal", a, 64};
	struct dns_query_info info;
	uint8_t buf[512], small[DNS_UDP_SIZE];
	size_t len = add_opt(buf, make_query(buf, "many.internal", DNS_A), 512);

	for (uint32_t i = 0; i < 64; i++)
		a[i] = addr_from_v4(i + 1);
	dns_hosts_free(hosts);
	ck_assert_int_eq(dns_hosts_new(&many, 1, true, &hosts), 0);
	ck_assert_int_eq(dns_query_parse(buf, len, &info), DNS_NOERROR);
	len = dns_hosts_answer(hosts, &net, buf, &info, small, sizeof(small));
	ck_assert_uint_le(len, 512);
	ck_assert(load_be16(small + 2) & DNS_TC);
	ck_assert_uint_eq(load_be16(small + 6), (512 - 31 - 11) / 16);
	ck_assert_uint_eq(load_be16(small + 10), 1);
}
END_TEST

static Suite *dns_message_suite(void)
{
	Suite *s = suite_create("dns_message");
	TCase *tc = tcase_create("message"), *local = tcase_create("hosts");

	tcase_add_test(tc, names_to_text_and_back);
	tcase_add_test(tc, compression_pointers_lead_back_only);
	tcase_add_test(tc, a_label_and_a_pointer_to_itself_are_no_name);
	tcase_add_test(tc, long_chains_of_pointers_are_cut);
	tcase_add_test(tc, reserved_label_kinds_are_no_names);
	tcase_add_test(tc, queries);
	tcase_add_test(tc, queries_that_are_not_for_us);
	tcase_add_test(tc, reverse_names);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(local, setup, teardown);
	tcase_add_test(local, local_names_have_addresses_of_either_family);
	tcase_add_test(local, local_addresses_have_names);
	tcase_add_test(local, the_gateway_has_its_names);
	tcase_add_test(local, bad_hosts_are_refused);
	tcase_add_test(local, what_does_not_fit_is_cut);
	suite_add_tcase(s, local);
	return s;
}

int main(void)
{
	return run_suite(dns_message_suite());
}
