/* SPDX-License-Identifier: MIT */
/* ICMP: the gateway's echo, and errors about what the guest sent. Pings are in test_ping_linux.c. */
#include "tests/unit/stack_rig.h"

static uint8_t data[65536];

/* An ICMP message with its checksum. */
static const uint8_t *message(uint8_t type, uint8_t code, uint16_t id, uint16_t seq, size_t len)
{
	static uint8_t l4[65536];
	struct icmp_hdr *h = (struct icmp_hdr *)l4;

	*h = (struct icmp_hdr){.type = type, .code = code, .id = be16(id), .seq = be16(seq)};
	memcpy(l4 + ICMP_HLEN, data, len);
	h->csum = be16((uint16_t)~csum_fold(csum_add(0, l4, ICMP_HLEN + len)));
	return l4;
}

static void ping(const char *dst, uint16_t id, uint16_t seq, size_t len)
{
	rig_send_ip((struct rig_ip){.dst = dst, .proto = IP_PROTO_ICMP},
		message(ICMP_ECHO_REQUEST, 0, id, seq, len), ICMP_HLEN + len);
}

static void setup(void)
{
	rig_setup();
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 3);
}

START_TEST(the_gateway_answers)
{
	const struct rig_frame *f;

	ping("10.0.2.2", 77, 3, 56);
	f = rig_recv();
	ck_assert_int_eq(f->ip->proto, IP_PROTO_ICMP);
	ck_assert_uint_eq(be32_get(f->ip->src), 0x0a000202);
	ck_assert_int_eq(f->icmp->type, ICMP_ECHO_REPLY);
	ck_assert_int_eq(be16_get(f->icmp->id), 77);
	ck_assert_int_eq(be16_get(f->icmp->seq), 3);
	ck_assert_uint_eq(f->data_len, 56);
	ck_assert_mem_eq(f->data, data, 56);
}
END_TEST

START_TEST(large_echoes_come_back_in_fragments)
{
	size_t got = 0;
	const uint8_t *l4 = message(ICMP_ECHO_REQUEST, 0, 1, 1, 4000);

	for (size_t at = 0; at < 4008; at += 1480) {
		size_t len = 4008 - at < 1480 ? 4008 - at : 1480;

		rig_send_ip((struct rig_ip){.dst = "10.0.2.2",
				    .proto = IP_PROTO_ICMP,
				    .id = 5,
				    .frag = (uint16_t)(at / 8 | (at + len < 4008 ? IP4_MF : 0))},
			l4 + at, len);
	}
	while (got < 4008)
		got += rig_recv()->l4_len;
	ck_assert_uint_eq(got, 4008);
	ck_assert_uint_eq(rig_count(COUNTER_FRAGMENTS_OUT), 3);
}
END_TEST

/* A datagram that nobody serves here; the packet as icmp.c would see it. */
static struct packet offending(
	const char *dst, uint16_t frag, uint8_t proto, const uint8_t *l4, size_t len)
{
	static struct ip4_hdr ip;

	ip = (struct ip4_hdr){
		.version_ihl = 0x45,
		.ttl = 64,
		.proto = proto,
		.src = be32(0x0a00020f),
		.dst = be32(0x01020304),
	};
	return (struct packet){
		.src = rig_addr("10.0.2.15"),
		.dst = rig_addr(dst),
		.proto = proto,
		.ip = (const uint8_t *)&ip,
		.ip_hlen = IP4_HLEN,
		.l4 = l4,
		.l4_len = len,
		.frag = frag,
	};
}

START_TEST(errors_quote_what_they_are_about)
{
	struct packet p = offending("1.2.3.4", IP4_DF, IP_PROTO_UDP, data, 1000);
	const struct rig_frame *f;

	icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_FRAGMENTATION, 1400);
	f = rig_recv();
	ck_assert_int_eq(f->icmp->type, 3);
	ck_assert_int_eq(f->icmp->code, 4);
	ck_assert_int_eq(be16_get(f->icmp->seq), 1400);
	ck_assert_uint_eq(be32_get(f->ip->src), 0x0a000202);
	ck_assert_uint_eq(f->l4_len + IP4_HLEN, 576);
	ck_assert_mem_eq(f->data, p.ip, IP4_HLEN);
	ck_assert_mem_eq(f->data + IP4_HLEN, data, f->data_len - IP4_HLEN);
}
END_TEST

START_TEST(some_packets_deserve_no_error)
{
	struct packet p = offending("1.2.3.4", 5, IP_PROTO_UDP, data, 100);
	const uint8_t *error = message(ICMP_UNREACHABLE, 3, 0, 0, 28);

	icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_PORT, 0); /* a later fragment */
	p = offending("1.2.3.4", 0, IP_PROTO_ICMP, error, 36);
	icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_HOST, 0); /* an error */
	p = offending("1.2.3.4", 0, IP_PROTO_ICMP, error, 3);
	icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_HOST, 0); /* who knows */
	p = offending("224.0.0.1", 0, IP_PROTO_UDP, data, 100);
	icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_PORT, 0);
	p = offending("10.0.2.255", 0, IP_PROTO_UDP, data, 100);
	icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_PORT, 0);
	p = offending("1.2.3.4", 0, IP_PROTO_UDP, data, 100);
	p.src = rig_addr("0.0.0.0");
	icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_PORT, 0);
	rig_nothing_comes();
	ck_assert_uint_eq(rig_count(COUNTER_ICMP_ERRORS_SENT), 0);
}
END_TEST

START_TEST(errors_are_rationed)
{
	struct packet p = offending("1.2.3.4", 0, IP_PROTO_UDP, data, 0);

	rig_freeze(); /* one more is due each millisecond */
	for (int i = 0; i < 1000; i++)
		icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_PORT, 0);
	ck_assert_uint_eq(rig_count(COUNTER_ICMP_ERRORS_SENT), 100);
	rig_sleep(50);
	for (int i = 0; i < 1000; i++)
		icmp_send_error(rig.icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_PORT, 0);
	ck_assert_uint_eq(rig_count(COUNTER_ICMP_ERRORS_SENT), 150);
}
END_TEST

START_TEST(relayed_errors_look_like_the_guests_own)
{
	struct icmp_relay relay = {
		.proto = IP_PROTO_UDP,
		.type = ICMP_UNREACHABLE,
		.code = ICMP_CODE_PORT,
		.from = rig_addr("9.9.9.9"),
		.key = {.guest = rig_at("10.0.2.15:4000"), .remote = rig_at("1.2.3.4:99")},
		.data = data,
		.data_len = 20,
	};
	const struct rig_frame *f;
	const struct ip4_hdr *ip;
	const struct udp_hdr *udp;

	icmp_relay_error(rig.icmp, &relay);
	f = rig_recv();
	ip = (const struct ip4_hdr *)f->data;
	udp = (const struct udp_hdr *)(f->data + IP4_HLEN);
	ck_assert_uint_eq(be32_get(f->ip->src), 0x09090909);
	ck_assert_uint_eq(be32_get(ip->src), 0x0a00020f);
	ck_assert_uint_eq(be32_get(ip->dst), 0x01020304);
	ck_assert_int_eq(be16_get(udp->src), 4000);
	ck_assert_int_eq(be16_get(udp->dst), 99);
	ck_assert_mem_eq(f->data + IP4_HLEN + UDP_HLEN, data, 20);
	relay.from = rig_addr("127.0.0.1"); /* not for the guest to know */
	icmp_relay_error(rig.icmp, &relay);
	ck_assert_uint_eq(be32_get(rig_recv()->ip->src), 0x0a000202);
}
END_TEST

START_TEST(the_policy_is_told)
{
	const struct rig_frame *f;

	rig_policy(false);
	ping("1.2.3.4", 1, 1, 8);
	f = rig_recv();
	ck_assert_int_eq(f->icmp->type, ICMP_UNREACHABLE);
	ck_assert_int_eq(f->icmp->code, ICMP_CODE_PROHIBITED);
	ck_assert_uint_eq(icmp_flow_count(rig.icmp), 0);
	ck_assert_uint_eq(rig_count(COUNTER_EGRESS_REFUSED_POLICY), 1);
}
END_TEST

START_TEST(other_messages_pass_by)
{
	static const uint8_t types[] = {0, 3, 4, 5, 11, 12, 13, 15, 17, 255};

	for (size_t i = 0; i < sizeof(types); i++)
		rig_send_ip((struct rig_ip){.dst = "10.0.2.2", .proto = IP_PROTO_ICMP},
			message(types[i], 0, 1, 1, 28), ICMP_HLEN + 28);
	rig_send_ip((struct rig_ip){.dst = "10.0.2.2", .proto = IP_PROTO_ICMP}, "\xff\xff", 2);
	ping("10.0.2.255", 1, 1, 8);
	ping("224.0.0.1", 1, 1, 8);
	rig_nothing_comes();
	ck_assert_uint_eq(rig_count(COUNTER_DROP_MULTICAST), 2);
	ck_assert_uint_eq(icmp_flow_count(rig.icmp), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("icmp");
	TCase *tc = tcase_create("icmp");

	tcase_add_checked_fixture(tc, setup, rig_teardown);
	tcase_add_test(tc, the_gateway_answers);
	tcase_add_test(tc, large_echoes_come_back_in_fragments);
	tcase_add_test(tc, errors_quote_what_they_are_about);
	tcase_add_test(tc, some_packets_deserve_no_error);
	tcase_add_test(tc, errors_are_rationed);
	tcase_add_test(tc, relayed_errors_look_like_the_guests_own);
	tcase_add_test(tc, the_policy_is_told);
	tcase_add_test(tc, other_messages_pass_by);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
