/* SPDX-License-Identifier: MIT */
/* Echo through the host's ping sockets, in a network namespace of the test's own. */
#include "tests/unit/netns_linux.h"
#include "tests/unit/stack_rig.h"

static bool ready;

static void with_ping(void)
{
	ready = netns_enter(true);
	rig_setup();
}

static void without_ping(void)
{
	ready = netns_enter(false);
	rig_setup();
}

static void ping(const char *dst, uint16_t id, uint16_t seq)
{
	uint8_t l4[ICMP_HLEN + 32] = {0};
	struct icmp_hdr *h = (struct icmp_hdr *)l4;

	*h = (struct icmp_hdr){.type = ICMP_ECHO_REQUEST, .id = be16(id), .seq = be16(seq)};
	memset(l4 + ICMP_HLEN, 'x', 32);
	h->csum = be16((uint16_t)~csum_fold(csum_add(0, l4, sizeof(l4))));
	rig_send_ip((struct rig_ip){.dst = dst, .proto = IP_PROTO_ICMP}, l4, sizeof(l4));
}

static void reply_comes(uint32_t from, uint16_t id, uint16_t seq)
{
	const struct rig_frame *f = rig_recv();

	ck_assert_int_eq(f->icmp->type, ICMP_ECHO_REPLY);
	ck_assert_uint_eq(be32_get(f->ip->src), from);
	ck_assert_int_eq(be16_get(f->icmp->id), id);
	ck_assert_int_eq(be16_get(f->icmp->seq), seq);
	ck_assert_uint_eq(f->data_len, 32);
	ck_assert_int_eq(f->data[31], 'x');
}

START_TEST(answers_come_back_under_the_guests_id)
{
	struct flow_info info;
	uint32_t cursor = 0;

	if (!ready)
		return;
	ping("198.51.100.1", 500, 1);
	reply_comes(0xc6336401, 500, 1);
	ping("198.51.100.1", 500, 2);
	reply_comes(0xc6336401, 500, 2);
	ping("198.51.100.2", 500, 3);
	reply_comes(0xc6336402, 500, 3);
	ping("198.51.100.1", 501, 1);
	reply_comes(0xc6336401, 501, 1);
	ck_assert_uint_eq(icmp_flow_count(rig.icmp), 3);
	ck_assert(icmp_flow_next(rig.icmp, &cursor, &info));
	ck_assert_int_eq(info.proto, IP_PROTO_ICMP);
	ck_assert_uint_eq(info.tx_bytes, 64);
	ck_assert_uint_eq(info.rx_bytes, 64);
}
END_TEST

START_TEST(quiet_ones_end)
{
	if (!ready)
		return;
	ping("198.51.100.1", 500, 1);
	reply_comes(0xc6336401, 500, 1);
	rig_sleep(9000);
	ping("198.51.100.1", 500, 2);
	reply_comes(0xc6336401, 500, 2);
	rig_sleep(9000);
	ck_assert_uint_eq(icmp_flow_count(rig.icmp), 1);
	rig_sleep(1500);
	ck_assert_uint_eq(icmp_flow_count(rig.icmp), 0);
}
END_TEST

START_TEST(a_new_policy_cuts)
{
	if (!ready)
		return;
	ping("198.51.100.1", 500, 1);
	reply_comes(0xc6336401, 500, 1);
	rig_policy(false);
	icmp_recheck(rig.icmp);
	ck_assert_uint_eq(icmp_flow_count(rig.icmp), 0);
}
END_TEST

START_TEST(nowhere_is_unreachable)
{
	const struct rig_frame *f;

	if (!ready)
		return;
	ping("203.0.113.1", 500, 1);
	f = rig_recv();
	ck_assert_int_eq(f->icmp->type, ICMP_UNREACHABLE);
	ck_assert_int_eq(f->icmp->code, ICMP_CODE_NET);
}
END_TEST

START_TEST(a_host_that_forbids_is_honest)
{
	const struct rig_frame *f;

	if (!ready)
		return;
	ping("198.51.100.1", 500, 1);
	f = rig_recv();
	ck_assert_int_eq(f->icmp->type, ICMP_UNREACHABLE);
	ck_assert_int_eq(f->icmp->code, ICMP_CODE_PROHIBITED);
	ping("10.0.2.2", 500, 1); /* which is us */
	reply_comes(0x0a000202, 500, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ping");
	TCase *allowed = tcase_create("allowed"), *forbidden = tcase_create("forbidden");

	tcase_add_checked_fixture(allowed, with_ping, rig_teardown);
	tcase_add_test(allowed, answers_come_back_under_the_guests_id);
	tcase_add_test(allowed, quiet_ones_end);
	tcase_add_test(allowed, a_new_policy_cuts);
	tcase_add_test(allowed, nowhere_is_unreachable);
	suite_add_tcase(suite, allowed);
	tcase_add_checked_fixture(forbidden, without_ping, rig_teardown);
	tcase_add_test(forbidden, a_host_that_forbids_is_honest);
	suite_add_tcase(suite, forbidden);
	return run_suite(suite);
}
