/* SPDX-License-Identifier: MIT */
/* Where frames go, and which do not: MACs, sources, headers, checksums; each drop has its counter. */
#include "tests/unit/tcp_rig.h"

#include "dataplane/stack/icmp.h"

static uint8_t record[4 + 2000];
static struct eth_hdr *const eth = (struct eth_hdr *)(record + 4);
static struct ip4_hdr *const ip = (struct ip4_hdr *)(record + 4 + ETH_HLEN);
static uint8_t *const l4 = record + 4 + ETH_HLEN + IP4_HLEN;

/* An echo request to the gateway, right in all; tests break one thing of it. */
static void echo(void)
{
	memset(record, 0, sizeof(record));
	*eth = (struct eth_hdr){
		.dst = rig_gateway_mac, .src = rig_guest_mac, .type = be16(ETHERTYPE_IPV4)};
	*ip = (struct ip4_hdr){
		.version_ihl = 0x45,
		.total_len = be16(IP4_HLEN + ICMP_HLEN + 4),
		.ttl = 64,
		.proto = IP_PROTO_ICMP,
		.src = be32(GUEST),
		.dst = be32(GATEWAY),
	};
	l4[0] = 8;
}

static void sum(void)
{
	size_t hlen = (size_t)(ip->version_ihl & 15) * 4;

	ip->csum = be16(0);
	ip->csum = be16((uint16_t)~csum_fold(csum_add(0, ip, hlen)));
	store_be16(l4 + 2, 0);
	store_be16(l4 + 2, (uint16_t)~csum_fold(csum_add(0, l4, ICMP_HLEN + 4)));
}

static void send_len(size_t len)
{
	store_be32(record, (uint32_t)len);
	ck_assert_int_eq(os_send(rig.guest, record, len + 4, 0), (ssize_t)(len + 4));
	rig_run(2);
}

static void send_echo(void)
{
	send_len(ETH_HLEN + IP4_HLEN + ICMP_HLEN + 4);
}

static void expect_drop(enum counter why)
{
	uint64_t before = rig_count(why), echoes = rig_count(COUNTER_ICMP_ECHO_REQUESTS);

	send_echo();
	ck_assert_uint_eq(rig_count(why), before + 1);
	ck_assert_uint_eq(rig_count(COUNTER_ICMP_ECHO_REQUESTS), echoes);
}

static void expect_taken(void)
{
	uint64_t before = rig_count(COUNTER_ICMP_ECHO_REQUESTS);

	send_echo();
	ck_assert_uint_eq(rig_count(COUNTER_ICMP_ECHO_REQUESTS), before + 1);
}

START_TEST(a_right_frame_is_taken)
{
	echo();
	sum();
	expect_taken();
	/* Ethernet pads short frames: what is behind the packet is not the packet's. */
	send_len(60);
	ck_assert_uint_eq(rig_count(COUNTER_ICMP_ECHO_REQUESTS), 2);
}
END_TEST

START_TEST(frames_to_another_mac_are_not_ours)
{
	echo();
	sum();
	eth->dst.b[5]++;
	expect_drop(COUNTER_DROP_DST_MAC);
	memset(eth->dst.b, 0xff, 6);
	expect_taken();
}
END_TEST

START_TEST(nobody_sends_from_a_group)
{
	echo();
	sum();
	eth->src.b[0] |= 1;
	expect_drop(COUNTER_DROP_SOURCE);
}
END_TEST

START_TEST(sources_outside_the_subnet_are_dropped)
{
	static const uint32_t sources[] = {0, GATEWAY, 0x0a000200, 0x0a0002ff, 0x0a00030f,
		0x7f000001, 0xffffffff, 0xe0000001, 0x08080808};

	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		echo();
		ip->src = be32(sources[i]);
		sum();
		expect_drop(COUNTER_DROP_SOURCE);
	}
}
END_TEST

START_TEST(headers_that_lie_about_lengths_are_malformed)
{
	static const uint16_t totals[] = {0, 19, 1000, 65535};
	uint64_t before;

	for (size_t i = 0; i < 4; i++) {
		echo();
		ip->total_len = be16(totals[i]);
		sum();
		expect_drop(COUNTER_DROP_MALFORMED);
	}
	echo();
	ip->version_ihl = 0x44;
	sum();
	expect_drop(COUNTER_DROP_MALFORMED);
	echo();
	ip->version_ihl = 0x65;
	sum();
	expect_drop(COUNTER_DROP_MALFORMED);
	echo();
	ip->version_ihl = 0x4f; /* 60 bytes of header in a packet of 32 */
	sum();
	expect_drop(COUNTER_DROP_MALFORMED);
	/* Cut anywhere before its end. */
	echo();
	sum();
	before = rig_count(COUNTER_DROP_MALFORMED);
	for (size_t len = ETH_HLEN; len < ETH_HLEN + IP4_HLEN + ICMP_HLEN + 4; len++)
		send_len(len);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_MALFORMED), before + IP4_HLEN + ICMP_HLEN + 4);
}
END_TEST

START_TEST(wrong_checksums_are_dropped)
{
	echo();
	sum();
	ip->ttl--;
	expect_drop(COUNTER_DROP_CHECKSUM);
	echo();
	sum();
	l4[ICMP_HLEN]++;
	expect_drop(COUNTER_DROP_CHECKSUM);
}
END_TEST

START_TEST(ip_options_are_passed_over)
{
	echo();
	ip->version_ihl = 0x46;
	ip->total_len = be16(IP4_HLEN + 4 + ICMP_HLEN + 4);
	memmove(l4 + 4, l4, ICMP_HLEN + 4);
	memset(l4, 1, 4);
	ip->csum = be16((uint16_t)~csum_fold(csum_add(0, ip, 24)));
	store_be16(l4 + 4 + 2, (uint16_t)~csum_fold(csum_add(0, l4 + 4, ICMP_HLEN + 4)));
	send_len(ETH_HLEN + 24 + ICMP_HLEN + 4);
	ck_assert_uint_eq(rig_count(COUNTER_ICMP_ECHO_REQUESTS), 1);
}
END_TEST

START_TEST(an_unknown_protocol_is_told)
{
	echo();
	ip->proto = 47;
	sum();
	send_echo();
	ck_assert_uint_eq(rig_count(COUNTER_DROP_PROTOCOL), 1);
	ck_assert(recv_packet(100));
	ck_assert_uint_eq(seen.proto, IP_PROTO_ICMP);
	ck_assert_uint_eq(seen.l4[0], ICMP_UNREACHABLE);
	ck_assert_uint_eq(seen.l4[1], ICMP_CODE_PROTOCOL);
}
END_TEST

START_TEST(unknown_ethertypes_are_counted)
{
	static const uint16_t types[] = {0, 0x05dc, ETHERTYPE_IPV6, 0x8100, 0xffff};

	for (size_t i = 0; i < 5; i++) {
		echo();
		eth->type = be16(types[i]);
		expect_drop(COUNTER_DROP_ETHERTYPE);
	}
}
END_TEST

START_TEST(fragments_of_tcp_are_dropped)
{
	echo();
	ip->proto = IP_PROTO_TCP;
	ip->frag = be16(IP4_MF);
	sum();
	expect_drop(COUNTER_DROP_PROTOCOL);
}
END_TEST

/* The address decides whose MAC it is: a guest may change its NIC. */
START_TEST(the_guests_mac_is_learned_from_its_address)
{
	echo();
	eth->src.b[5] = 9;
	sum();
	expect_taken();
	ck_assert_uint_eq(worker_config(rig.worker)->net.guest_mac.b[5], 9);
	echo();
	eth->src.b[5] = 8;
	ip->src = be32(GUEST + 1); /* another address, of a second one */
	sum();
	expect_taken();
	ck_assert_uint_eq(worker_config(rig.worker)->net.guest_mac.b[5], 9);
}
END_TEST

/* netctld serves other guests, too: it does not hear of each of a thousand changes. */
START_TEST(a_guest_that_changes_its_mac_all_the_time_is_told_of_now_and_then)
{
	rig_freeze();
	for (unsigned i = 0; i < 1000; i++) {
		echo();
		eth->src.b[4] = (uint8_t)(i >> 8);
		eth->src.b[5] = (uint8_t)i;
		sum();
		send_echo();
	}
	ck_assert_uint_eq(rig.macs, 1);
	rig_sleep(200);
	ck_assert_uint_eq(rig.macs, 2);
	ck_assert_uint_eq(rig.mac.b[4], 999 >> 8);
	ck_assert_uint_eq(rig.mac.b[5], 999 & 0xff);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("classify");
	TCase *t = tcase_create("classify");

	tcase_add_checked_fixture(t, rig_setup, rig_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_right_frame_is_taken);
	tcase_add_test(t, frames_to_another_mac_are_not_ours);
	tcase_add_test(t, nobody_sends_from_a_group);
	tcase_add_test(t, sources_outside_the_subnet_are_dropped);
	tcase_add_test(t, headers_that_lie_about_lengths_are_malformed);
	tcase_add_test(t, wrong_checksums_are_dropped);
	tcase_add_test(t, ip_options_are_passed_over);
	tcase_add_test(t, an_unknown_protocol_is_told);
	tcase_add_test(t, unknown_ethertypes_are_counted);
	tcase_add_test(t, fragments_of_tcp_are_dropped);
	tcase_add_test(t, the_guests_mac_is_learned_from_its_address);
	tcase_add_test(t, a_guest_that_changes_its_mac_all_the_time_is_told_of_now_and_then);
	suite_add_tcase(s, t);
	return run_suite(s);
}
