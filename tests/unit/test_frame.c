/* SPDX-License-Identifier: MIT */
/* The Internet checksum against the textbook's, the cursor, and big-endian numbers. */
#include "dataplane/stack/frame.h"
#include "tests/unit/check_main.h"

#include <string.h>

/* RFC 1071 section 1, word for word. */
static uint16_t textbook(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (; len > 1; p += 2, len -= 2) {
		sum += (uint32_t)(p[0] << 8 | p[1]);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	if (len)
		sum += (uint32_t)p[0] << 8;
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static void fill(uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)(seed >> 24);
	}
}

START_TEST(sums_as_the_textbook_does_at_every_length_and_alignment)
{
	uint8_t *block = malloc(400); /* so that a sanitizer sees a byte too many */

	for (size_t len = 0; len < 300; len++) {
		for (size_t shift = 0; shift < 16; shift++) {
			uint8_t *exact = malloc(shift + len + !len);

			fill(exact + shift, len, (uint32_t)(len * 31 + shift));
			ck_assert_uint_eq(csum_fold(csum_add(0, exact + shift, len)),
				textbook(exact + shift, len));
			free(exact);
		}
	}
	free(block);
}
END_TEST

START_TEST(extremes_fold_right)
{
	static uint8_t all[65535];

	ck_assert_uint_eq(csum_fold(csum_add(0, all, sizeof(all))), 0);
	memset(all, 0xff, sizeof(all));
	for (size_t len = 65400; len <= sizeof(all); len++)
		ck_assert_uint_eq(csum_fold(csum_add(0, all, len)), textbook(all, len));
	ck_assert_uint_eq(csum_fold(UINT64_MAX), 0xffff);
	ck_assert_uint_eq(csum_fold(0), 0);
}
END_TEST

START_TEST(sums_continue)
{
	uint8_t data[200];

	fill(data, sizeof(data), 7);
	for (size_t cut = 0; cut <= sizeof(data); cut += 2) {
		uint64_t sum = csum_add(csum_add(0, data, cut), data + cut, sizeof(data) - cut);

		ck_assert_uint_eq(csum_fold(sum), textbook(data, sizeof(data)));
	}
}
END_TEST

START_TEST(the_pseudo_header_is_rfc_793s)
{
	struct addr src = addr_from_v4(0x0a00020f), dst = addr_from_v4(0xc0000201);
	uint8_t flat[12] = {10, 0, 2, 15, 192, 0, 2, 1, 0, 6, 0x12, 0x34};

	ck_assert_uint_eq(csum_fold(csum_pseudo(&src, &dst, IP_PROTO_TCP, 0x1234)),
		textbook(flat, sizeof(flat)));
}
END_TEST

START_TEST(the_pseudo_header_of_ipv6_is_rfc_8200s)
{
	uint8_t flat[40] = {0};
	struct addr src, dst;

	addr_parse("2001:db8::1", &src);
	addr_parse("fd00::ffff:2", &dst);
	memcpy(flat, src.b, 16);
	memcpy(flat + 16, dst.b, 16);
	store_be32(flat + 32, 0x10002);
	flat[39] = IP_PROTO_UDP;
	ck_assert_uint_eq(csum_fold(csum_pseudo(&src, &dst, IP_PROTO_UDP, 0x10002)),
		textbook(flat, sizeof(flat)));
}
END_TEST

START_TEST(a_cursor_never_passes_its_end)
{
	uint8_t bytes[10];
	struct cursor c = {bytes, sizeof(bytes)};

	ck_assert_ptr_eq(cursor_take(&c, 4), bytes);
	ck_assert_ptr_null(cursor_take(&c, 7));
	ck_assert_ptr_null(cursor_take(&c, SIZE_MAX));
	ck_assert_uint_eq(c.left, 6);
	ck_assert_ptr_eq(cursor_take(&c, 6), bytes + 4);
	ck_assert_ptr_eq(cursor_take(&c, 0), bytes + 10);
	ck_assert_ptr_null(cursor_take(&c, 1));
}
END_TEST

START_TEST(headers_have_their_sizes_on_the_wire)
{
	ck_assert_uint_eq(ETH_HLEN, 14);
	ck_assert_uint_eq(IP4_HLEN, 20);
	ck_assert_uint_eq(UDP_HLEN, 8);
	ck_assert_uint_eq(TCP_HLEN, 20);
	ck_assert_uint_eq(ICMP_HLEN, 8);
	ck_assert_uint_eq(_Alignof(struct tcp_hdr), 1);
	ck_assert_uint_eq(_Alignof(struct ip4_hdr), 1);
}
END_TEST

START_TEST(big_endian_is_big_endian)
{
	uint8_t p[4];

	store_be32(p, 0x80f1e2d3);
	ck_assert(p[0] == 0x80 && p[1] == 0xf1 && p[2] == 0xe2 && p[3] == 0xd3);
	ck_assert_uint_eq(load_be32(p), 0x80f1e2d3);
	ck_assert_uint_eq(load_be16(p), 0x80f1);
	ck_assert_uint_eq(be32_get(be32(0x80f1e2d3)), 0x80f1e2d3);
	ck_assert_uint_eq(be16_get(be16(0xfedc)), 0xfedc);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("frame");
	TCase *t = tcase_create("frame");

	tcase_add_test(t, sums_as_the_textbook_does_at_every_length_and_alignment);
	tcase_add_test(t, extremes_fold_right);
	tcase_add_test(t, sums_continue);
	tcase_add_test(t, the_pseudo_header_is_rfc_793s);
	tcase_add_test(t, the_pseudo_header_of_ipv6_is_rfc_8200s);
	tcase_add_test(t, a_cursor_never_passes_its_end);
	tcase_add_test(t, headers_have_their_sizes_on_the_wire);
	tcase_add_test(t, big_endian_is_big_endian);
	suite_add_tcase(s, t);
	return run_suite(s);
}
