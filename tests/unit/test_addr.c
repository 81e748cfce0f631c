/* SPDX-License-Identifier: MIT */
/* Addresses, prefixes, endpoints and MACs: text both ways, and what is refused. */
#include "common/addr.h"
#include "tests/unit/check_main.h"

#include <netinet/in.h>

static struct addr at(const char *text)
{
	struct addr a;

	ck_assert_msg(addr_parse(text, &a) == 0, "%s", text);
	return a;
}

START_TEST(addresses_go_there_and_back)
{
	static const char *const texts[] = {"0.0.0.0", "1.2.3.4", "255.255.255.255", "127.0.0.1",
		"::", "::1", "fe80::1", "2001:db8::ff00:42:8329",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		char buf[ADDR_STRLEN];
		struct addr a = at(texts[i]);

		ck_assert_str_eq(addr_format(&a, buf, sizeof(buf)), texts[i]);
	}
}
END_TEST

START_TEST(a_mapped_address_is_ipv4)
{
	struct addr mapped = at("::ffff:10.1.2.3"), plain = at("10.1.2.3");
	struct addr made = addr_from_v4(0x0a010203), six = at("2001:db8::1");

	ck_assert(addr_eq(&mapped, &plain));
	ck_assert(addr_eq(&made, &plain));
	ck_assert(addr_is_v4(&mapped));
	ck_assert_uint_eq(addr_v4(&mapped), 0x0a010203);
	ck_assert_uint_eq(addr_v4(&six), 0);
	ck_assert_int_eq(addr_family(&mapped), AF_INET);
	ck_assert_int_eq(addr_family(&six), AF_INET6);
}
END_TEST

START_TEST(bad_addresses_are_refused)
{
	static const char *const texts[] = {"", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.4 ",
		" 1.2.3.4", "01.2.3.4x", "localhost", "fe80::1%eth0", ":::", "1::2::3", "[::1]"};
	struct addr a;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		ck_assert_msg(addr_parse(texts[i], &a) < 0, "%s", texts[i]);
}
END_TEST

START_TEST(kinds_of_addresses)
{
	struct addr a;

	a = at("127.9.9.9");
	ck_assert(addr_is_loopback(&a));
	a = at("::1");
	ck_assert(addr_is_loopback(&a));
	a = at("128.0.0.1");
	ck_assert(!addr_is_loopback(&a));
	a = at("0.0.0.0");
	ck_assert(addr_is_unspecified(&a));
	a = at("::");
	ck_assert(addr_is_unspecified(&a) && !addr_is_loopback(&a));
	a = at("224.0.0.1");
	ck_assert(addr_is_multicast(&a));
	a = at("239.255.255.255");
	ck_assert(addr_is_multicast(&a));
	a = at("240.0.0.1");
	ck_assert(!addr_is_multicast(&a));
	a = at("ff02::1");
	ck_assert(addr_is_multicast(&a));
}
END_TEST

START_TEST(prefixes_go_there_and_back)
{
	static const char *const texts[] = {"0.0.0.0/0", "10.0.0.0/8", "10.0.2.0/24", "1.2.3.4/32",
		"::/0", "fd00::/8", "2001:db8::/127", "::1/128"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		char buf[PREFIX_STRLEN];
		struct prefix p;

		ck_assert_msg(prefix_parse(texts[i], false, &p) == 0, "%s", texts[i]);
		ck_assert_str_eq(prefix_format(&p, buf, sizeof(buf)), texts[i]);
	}
}
END_TEST

START_TEST(bad_prefixes_are_refused)
{
	static const char *const texts[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
		"10.0.0.0/+8", "10.0.0.0/8 ", "10.0.0.0/0008", "10.0.0.1/24", "::/129", "fd00::1/8",
		"10.0.0.0/8/8", "10.0.0/8",
		"1111111111111111111111111111111111111111111111111111111111/8"};
	struct prefix p;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		ck_assert_msg(prefix_parse(texts[i], false, &p) < 0, "%s", texts[i]);
}
END_TEST

START_TEST(a_lax_prefix_loses_its_host_bits)
{
	struct prefix p, q;

	ck_assert_int_eq(prefix_parse("10.1.2.3/20", true, &p), 0);
	ck_assert_int_eq(prefix_parse("10.1.0.0/20", false, &q), 0);
	ck_assert(addr_eq(&p.addr, &q.addr));
	ck_assert_uint_eq(p.bits, 116);
}
END_TEST

/* Bit by bit, for every length. */
START_TEST(a_prefix_contains_what_shares_its_bits)
{
	struct addr base = at("85.170.204.51");

	for (unsigned bits = 0; bits <= 128; bits++) {
		struct prefix p = {base, (uint8_t)bits};

		for (unsigned flip = 0; flip < 128; flip++) {
			struct addr other = base;

			other.b[flip / 8] ^= (uint8_t)(0x80 >> flip % 8);
			ck_assert_int_eq(prefix_contains(&p, &other), flip >= bits);
		}
	}
}
END_TEST

START_TEST(endpoints_go_there_and_back)
{
	static const char *const texts[] = {"1.2.3.4:80", "0.0.0.0:0", "[::1]:65535",
		"[2001:db8::1]:443", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff1]:65535"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		char buf[ENDPOINT_STRLEN];
		struct endpoint e;

		ck_assert_msg(endpoint_parse(texts[i], &e) == 0, "%s", texts[i]);
		ck_assert_str_eq(endpoint_format(&e, buf, sizeof(buf)), texts[i]);
	}
}
END_TEST

START_TEST(bad_endpoints_are_refused)
{
	static const char *const texts[] = {"", ":", ":80", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536",
		"1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4: 1", "1.2.3.4:80x", "::1:80", "[::1:80",
		"::1]:80", "[]:80", "[:80", "1.2.3.4:99999999999999999999", "[::1]80"};
	struct endpoint e;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		ck_assert_msg(endpoint_parse(texts[i], &e) < 0, "%s", texts[i]);
}
END_TEST

START_TEST(macs_go_there_and_back)
{
	struct mac m;
	char buf[MAC_STRLEN];

	ck_assert_int_eq(mac_parse("52:54:00:aB:Cd:ef", &m), 0);
	ck_assert_str_eq(mac_format(&m, buf, sizeof(buf)), "52:54:00:ab:cd:ef");
}
END_TEST

START_TEST(bad_macs_are_refused)
{
	static const char *const texts[] = {"", "52:54:00:ab:cd", "52:54:00:ab:cd:e",
		"52:54:00:ab:cd:ef:", "52-54-00-ab-cd-ef", "52:54:00:ab:cd:eg", " 2:54:00:ab:cd:ef",
		"+2:54:00:ab:cd:ef", "0x:54:00:ab:cd:ef", "52:54:00:ab:cd:-f"};
	struct mac m;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		ck_assert_msg(mac_parse(texts[i], &m) < 0, "%s", texts[i]);
}
END_TEST

START_TEST(sockaddrs_go_there_and_back)
{
	static const char *const texts[] = {"1.2.3.4:80", "[2001:db8::1]:443"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct sockaddr_storage ss;
		struct endpoint e, back;
		socklen_t len;

		ck_assert_int_eq(endpoint_parse(texts[i], &e), 0);
		len = endpoint_to_sockaddr(&e, &ss);
		ck_assert_int_eq(ss.ss_family, i ? AF_INET6 : AF_INET);
		ck_assert_int_eq(endpoint_from_sockaddr((struct sockaddr *)&ss, len, &back), 0);
		ck_assert(endpoint_eq(&e, &back));
		ck_assert_int_lt(endpoint_from_sockaddr((struct sockaddr *)&ss, len - 1, &back), 0);
		ss.ss_family = AF_UNIX;
		ck_assert_int_lt(endpoint_from_sockaddr((struct sockaddr *)&ss, len, &back), 0);
	}
}
END_TEST

/* A dual-stack listener's peer: IPv4 in an AF_INET6 sockaddr is IPv4. */
START_TEST(a_mapped_sockaddr_is_ipv4)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
	struct addr want = at("192.0.2.1");
	struct endpoint e;

	memcpy(&in6.sin6_addr, want.b, 16);
	ck_assert_int_eq(endpoint_from_sockaddr((struct sockaddr *)&in6, sizeof(in6), &e), 0);
	ck_assert(addr_is_v4(&e.addr) && addr_eq(&e.addr, &want));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("addr");
	TCase *t = tcase_create("addr");

	tcase_add_test(t, addresses_go_there_and_back);
	tcase_add_test(t, a_mapped_address_is_ipv4);
	tcase_add_test(t, bad_addresses_are_refused);
	tcase_add_test(t, kinds_of_addresses);
	tcase_add_test(t, prefixes_go_there_and_back);
	tcase_add_test(t, bad_prefixes_are_refused);
	tcase_add_test(t, a_lax_prefix_loses_its_host_bits);
	tcase_add_test(t, a_prefix_contains_what_shares_its_bits);
	tcase_add_test(t, endpoints_go_there_and_back);
	tcase_add_test(t, bad_endpoints_are_refused);
	tcase_add_test(t, macs_go_there_and_back);
	tcase_add_test(t, bad_macs_are_refused);
	tcase_add_test(t, sockaddrs_go_there_and_back);
	tcase_add_test(t, a_mapped_sockaddr_is_ipv4);
	suite_add_tcase(s, t);
	return run_suite(s);
}
