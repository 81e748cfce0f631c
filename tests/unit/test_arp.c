/* SPDX-License-Identifier: MIT */
/* ARP: the gateway answers for itself and for nobody else. */
#include "tests/unit/stack_rig.h"

struct arp_frame {
	struct eth_hdr eth;
	be16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	be16_t op;
	struct mac sender_mac;
	be32_t sender;
	struct mac target_mac;
	be32_t target;
};

static struct arp_frame request(const char *sender, const char *target)
{
	struct addr from = rig_addr(sender), to = rig_addr(target);

	return (struct arp_frame){
		.eth = {.dst = rig_broadcast_mac,
			.src = rig_guest_mac,
			.type = be16(ETHERTYPE_ARP)},
		.hardware = be16(1),
		.protocol = be16(ETHERTYPE_IPV4),
		.hardware_len = 6,
		.protocol_len = 4,
		.op = be16(1),
		.sender_mac = rig_guest_mac,
		.sender = be32(addr_v4(&from)),
		.target = be32(addr_v4(&to)),
	};
}

static void ask(const char *sender, const char *target)
{
	struct arp_frame f = request(sender, target);

	rig_send_frame(&f, sizeof(f));
}

START_TEST(the_gateway_is_ours)
{
	const struct arp_frame *reply;

	ask("10.0.2.15", "10.0.2.2");
	reply = (const struct arp_frame *)rig_recv()->bytes;
	ck_assert_uint_eq(rig_seen.len, sizeof(*reply));
	ck_assert_int_eq(be16_get(reply->op), 2);
	ck_assert(mac_eq(&reply->eth.dst, &rig_guest_mac));
	ck_assert(mac_eq(&reply->sender_mac, &rig_gateway_mac));
	ck_assert_uint_eq(be32_get(reply->sender), 0x0a000202);
	ck_assert_uint_eq(be32_get(reply->target), 0x0a00020f);
}
END_TEST

START_TEST(probes_for_the_gateway_are_answered)
{
	ask("0.0.0.0", "10.0.2.2");
	rig_recv();
	ck_assert_uint_eq(rig_count(COUNTER_ARP_REPLIES), 1);
}
END_TEST

START_TEST(nobody_else_is_ours)
{
	ask("0.0.0.0", "10.0.2.15");   /* a probe for its own address */
	ask("10.0.2.15", "10.0.2.15"); /* its announcement */
	ask("10.0.2.15", "10.0.2.7");
	ask("10.0.2.15", "192.168.0.1");
	ask("10.0.2.2", "10.0.2.2"); /* somebody claims our address */
	rig_nothing_comes();
	ck_assert_uint_eq(rig_count(COUNTER_ARP_REPLIES), 0);
}
END_TEST

START_TEST(malformed_requests_are_counted)
{
	struct arp_frame f = request("10.0.2.15", "10.0.2.2");

	for (size_t len = ETH_HLEN; len < sizeof(f); len++)
		rig_send_frame(&f, len);
	f.hardware_len = 8;
	rig_send_frame(&f, sizeof(f));
	rig_nothing_comes();
	ck_assert_uint_eq(rig_count(COUNTER_DROP_MALFORMED), sizeof(f) - ETH_HLEN + 1);
}
END_TEST

START_TEST(padding_is_ignored)
{
	uint8_t padded[60] = {0};
	struct arp_frame f = request("10.0.2.15", "10.0.2.2");

	memcpy(padded, &f, sizeof(f));
	rig_send_frame(padded, sizeof(padded));
	rig_recv();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arp");
	TCase *tc = tcase_create("arp");

	tcase_add_checked_fixture(tc, rig_setup, rig_teardown);
	tcase_add_test(tc, the_gateway_is_ours);
	tcase_add_test(tc, probes_for_the_gateway_are_answered);
	tcase_add_test(tc, nobody_else_is_ours);
	tcase_add_test(tc, malformed_requests_are_counted);
	tcase_add_test(tc, padding_is_ignored);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
