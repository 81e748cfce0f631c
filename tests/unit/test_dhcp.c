/* SPDX-License-Identifier: MIT */
/* DHCP: what a client is told in each of its states, and what it is not. */
#include "tests/unit/stack_rig.h"

#define DISCOVER 1
#define OFFER 2
#define REQUEST 3
#define DECLINE 4
#define ACK 5
#define NAK 6
#define RELEASE 7
#define INFORM 8

#define GUEST 0x0a00020fu
#define GATEWAY 0x0a000202u

struct message {
	uint8_t op, htype, hlen, hops;
	be32_t xid;
	be16_t secs, flags;
	be32_t ciaddr, yiaddr, siaddr, giaddr;
	struct mac chaddr;
	uint8_t rest[10 + 64 + 128];
	be32_t cookie;
	uint8_t options[1024];
};

/* A request in the making. */
static struct message ask;
static size_t options_len;

static void option(uint8_t code, const void *data, size_t len)
{
	ask.options[options_len++] = code;
	ask.options[options_len++] = (uint8_t)len;
	memcpy(ask.options + options_len, data, len);
	options_len += len;
}

static void option_addr(uint8_t code, uint32_t addr)
{
	be32_t wire = be32(addr);

	option(code, &wire, sizeof(wire));
}

static void begin(uint8_t type)
{
	memset(&ask, 0, sizeof(ask));
	options_len = 0;
	ask.op = 1;
	ask.htype = 1;
	ask.hlen = 6;
	ask.xid = be32(0x12345678);
	ask.chaddr = rig_guest_mac;
	ask.cookie = be32(0x63825363);
	option(53, &type, 1);
}

static void send_to(const char *src, const char *dst)
{
	size_t len = offsetof(struct message, options) + options_len + 1;

	ask.options[options_len] = 255;
	rig_send_ip((struct rig_ip){.src = src, .dst = dst, .proto = IP_PROTO_UDP},
		rig_udp(src, dst, 68, 67, &ask, len), UDP_HLEN + len);
}

static void broadcast(void)
{
	send_to("0.0.0.0", "255.255.255.255");
}

static const struct message *reply;

static const struct message *receive(void)
{
	const struct rig_frame *f = rig_recv();

	ck_assert_int_eq(be16_get(f->udp->src), 67);
	ck_assert_int_eq(be16_get(f->udp->dst), 68);
	ck_assert_uint_eq(be32_get(f->ip->src), GATEWAY);
	ck_assert_uint_ge(f->data_len, 300);
	reply = (const struct message *)f->data;
	ck_assert_int_eq(reply->op, 2);
	ck_assert_uint_eq(be32_get(reply->xid), 0x12345678);
	ck_assert_uint_eq(be32_get(reply->cookie), 0x63825363);
	ck_assert(mac_eq(&reply->chaddr, &rig_guest_mac));
	return reply;
}

/* The pieces of an option put together; its length or -1. */
static int find(uint8_t code, uint8_t *out)
{
	size_t at = 0, end = rig_seen.data_len - offsetof(struct message, options), len = 0;
	bool found = false;

	while (at < end && reply->options[at] != 255) {
		if (reply->options[at] == code) {
			found = true;
			memcpy(out + len, reply->options + at + 2, reply->options[at + 1]);
			len += reply->options[at + 1];
		}
		at += 2u + reply->options[at + 1];
	}
	ck_assert_uint_lt(at, end); /* there is an end */
	return found ? (int)len : -1;
}

static uint32_t find_u32(uint8_t code)
{
	uint8_t v[1024];

	ck_assert_int_eq(find(code, v), 4);
	return load_be32(v);
}

static int type_of_reply(void)
{
	uint8_t v[1024];

	ck_assert_int_eq(find(53, v), 1);
	return v[0];
}

START_TEST(discover_gets_an_offer)
{
	begin(DISCOVER);
	broadcast();
	receive();
	ck_assert_int_eq(type_of_reply(), OFFER);
	ck_assert_uint_eq(be32_get(reply->yiaddr), GUEST);
	ck_assert_uint_eq(find_u32(54), GATEWAY);
	ck_assert_uint_eq(find_u32(51), 86400);
	ck_assert_uint_eq(find_u32(58), 43200);
	ck_assert_uint_eq(find_u32(59), 75600);
	ck_assert_uint_eq(find_u32(1), 0xffffff00);
	ck_assert_uint_eq(find_u32(3), GATEWAY);
	ck_assert_uint_eq(find_u32(6), GATEWAY);
	ck_assert_uint_eq(rig.leases, 0);
}
END_TEST

START_TEST(mtu_names_and_search)
{
	static const uint8_t encoded[] = "\4corp\7example\0\3lab\4test";
	uint8_t v[1024];

	snprintf(rig.net.search[0], sizeof(rig.net.search[0]), "corp.example");
	snprintf(rig.net.search[1], sizeof(rig.net.search[1]), "lab.test");
	begin(DISCOVER);
	broadcast();
	receive();
	ck_assert_int_eq(find(26, v), 2);
	ck_assert_int_eq(load_be16(v), 1500);
	ck_assert_int_eq(find(12, v), 3);
	ck_assert_mem_eq(v, "web", 3);
	ck_assert_int_eq(find(15, v), 12);
	ck_assert_mem_eq(v, "corp.example", 12);
	ck_assert_int_eq(find(119, v), sizeof(encoded));
	ck_assert_mem_eq(v, encoded, sizeof(encoded));
}
END_TEST

START_TEST(long_search_lists_are_split)
{
	uint8_t v[2048];
	be16_t size = be16(1500);

	for (size_t i = 0; i < NET_SEARCH_MAX; i++) {
		memset(rig.net.search[i], 'a' + (int)i, 100);
		rig.net.search[i][50] = '.';
		rig.net.search[i][100] = '\0';
	}
	begin(DISCOVER);
	option(57, &size, sizeof(size));
	broadcast();
	receive();
	ck_assert_int_eq(find(119, v), NET_SEARCH_MAX * 102);
	/* A client that takes less gets what fits. */
	begin(DISCOVER);
	broadcast();
	receive();
	ck_assert_uint_le(rig_seen.data_len, 576 - 28);
	ck_assert_int_eq(find(119, v), 102);
	ck_assert_int_eq(type_of_reply(), OFFER);
}
END_TEST

START_TEST(selecting_us_gets_the_lease)
{
	begin(REQUEST);
	option_addr(50, GUEST);
	option_addr(54, GATEWAY);
	option(12, "my\033host", 7);
	broadcast();
	receive();
	ck_assert_int_eq(type_of_reply(), ACK);
	ck_assert_uint_eq(be32_get(reply->yiaddr), GUEST);
	ck_assert_uint_eq(rig.leases, 1);
	ck_assert(addr_eq(&rig.lease.addr, &rig.net.guest));
	ck_assert(mac_eq(&rig.lease.mac, &rig_guest_mac));
	ck_assert_str_eq(rig.lease.hostname, "my?host");
	ck_assert_int_gt(rig.lease.since_ms, 0);
}
END_TEST

START_TEST(selecting_another_server_is_not_for_us)
{
	begin(REQUEST);
	option_addr(50, 0xc0a80005);
	option_addr(54, 0xc0a80001);
	broadcast();
	rig_nothing_comes();
}
END_TEST

START_TEST(a_wrong_address_is_refused)
{
	begin(REQUEST);
	option_addr(50, 0xc0a80005);
	broadcast();
	receive();
	ck_assert_int_eq(type_of_reply(), NAK);
	ck_assert_uint_eq(be32_get(reply->yiaddr), 0);
	ck_assert_uint_eq(be32_get(rig_seen.ip->dst), UINT32_MAX);
	ck_assert(mac_eq(&rig_seen.eth->dst, &rig_broadcast_mac));
	ck_assert_uint_eq(rig.leases, 0);
}
END_TEST

START_TEST(init_reboot_with_the_right_address)
{
	begin(REQUEST);
	option_addr(50, GUEST);
	broadcast();
	receive();
	ck_assert_int_eq(type_of_reply(), ACK);
}
END_TEST

START_TEST(renewing_is_answered_to_its_address)
{
	begin(REQUEST);
	ask.ciaddr = be32(GUEST);
	send_to("10.0.2.15", "10.0.2.2");
	receive();
	ck_assert_int_eq(type_of_reply(), ACK);
	ck_assert_uint_eq(be32_get(rig_seen.ip->dst), GUEST);
	ck_assert_uint_eq(be32_get(reply->ciaddr), GUEST);
	/* Rebinding: the same by broadcast. Nothing new to tell. */
	send_to("10.0.2.15", "255.255.255.255");
	receive();
	ck_assert_int_eq(type_of_reply(), ACK);
	ck_assert_uint_eq(rig.leases, 1);
}
END_TEST

START_TEST(renewing_a_wrong_address_is_refused)
{
	begin(REQUEST);
	ask.ciaddr = be32(0x0a000210);
	send_to("10.0.2.16", "10.0.2.2");
	receive();
	ck_assert_int_eq(type_of_reply(), NAK);
}
END_TEST

START_TEST(inform_gets_parameters_alone)
{
	uint8_t v[1024];

	begin(INFORM);
	ask.ciaddr = be32(0x0a000220);
	send_to("10.0.2.32", "255.255.255.255");
	receive();
	ck_assert_int_eq(type_of_reply(), ACK);
	ck_assert_uint_eq(be32_get(reply->yiaddr), 0);
	ck_assert_uint_eq(be32_get(rig_seen.ip->dst), 0x0a000220);
	ck_assert_int_eq(find(51, v), -1);
	ck_assert_uint_eq(find_u32(6), GATEWAY);
	ck_assert_uint_eq(rig.leases, 0);
}
END_TEST

START_TEST(release_and_decline_end_the_lease)
{
	struct worker_lease lease;
	static const uint8_t types[] = {RELEASE, DECLINE};

	for (size_t i = 0; i < 2; i++) {
		begin(REQUEST);
		option_addr(50, GUEST);
		broadcast();
		receive();
		ck_assert(dhcp_lease(rig.dhcp, &lease));
		begin(types[i]);
		option_addr(54, GATEWAY);
		broadcast();
		rig_nothing_comes();
		ck_assert(!dhcp_lease(rig.dhcp, &lease));
		ck_assert_uint_eq(rig.leases, 2 * i + 2);
		ck_assert(addr_eq(&rig.lease.addr, &addr_any));
	}
}
END_TEST

START_TEST(the_broadcast_flag_is_honoured)
{
	begin(DISCOVER);
	broadcast();
	receive();
	ck_assert_uint_eq(be32_get(rig_seen.ip->dst), GUEST);
	ck_assert(mac_eq(&rig_seen.eth->dst, &rig_guest_mac));
	begin(DISCOVER);
	ask.flags = be16(0x8000);
	broadcast();
	receive();
	ck_assert_uint_eq(be32_get(rig_seen.ip->dst), UINT32_MAX);
	ck_assert(mac_eq(&rig_seen.eth->dst, &rig_broadcast_mac));
	ck_assert_int_eq(be16_get(reply->flags), 0x8000);
}
END_TEST

START_TEST(the_clients_order_and_id_are_kept)
{
	static const uint8_t wanted[] = {6, 26, 3, 1, 42}, id[] = {1, 2, 3, 4, 5, 6, 7};
	uint8_t v[1024], order[16];
	size_t n = 0, at = 0;

	begin(DISCOVER);
	option(55, wanted, sizeof(wanted));
	option(61, id, sizeof(id));
	broadcast();
	receive();
	ck_assert_int_eq(find(61, v), sizeof(id));
	ck_assert_mem_eq(v, id, sizeof(id));
	for (; reply->options[at] != 255; at += 2u + reply->options[at + 1]) {
		uint8_t code = reply->options[at];

		if (code == 1 || code == 3 || code == 6 || code == 26)
			order[n++] = code;
	}
	ck_assert_uint_eq(n, 4);
	ck_assert_mem_eq(order, ((uint8_t[]){1, 6, 26, 3}), 4);
}
END_TEST

START_TEST(relays_have_no_place_here)
{
	begin(DISCOVER);
	ask.giaddr = be32(0x0a000203);
	broadcast();
	rig_nothing_comes();
}
END_TEST

START_TEST(a_lease_comes_back_after_a_restart)
{
	struct worker_lease lease = {.addr = rig.net.guest, .mac = rig_guest_mac, .since_ms = 5},
			    now;

	dhcp_restore(rig.dhcp, &lease);
	ck_assert(dhcp_lease(rig.dhcp, &now));
	ck_assert_int_eq(now.since_ms, 5);
	begin(REQUEST);
	ask.ciaddr = be32(GUEST);
	send_to("10.0.2.15", "10.0.2.2");
	receive();
	ck_assert_uint_eq(rig.leases, 0); /* nothing new */
}
END_TEST

START_TEST(options_may_lie_in_file_and_sname)
{
	uint8_t overload = 3, type = REQUEST;

	begin(0);
	options_len = 0;
	option(52, &overload, 1);
	memcpy(ask.rest + 10 + 64, (uint8_t[]){53, 1, type, 255}, 4);
	memcpy(ask.rest + 10, (uint8_t[]){50, 4, 10, 0, 2, 15, 255}, 7);
	broadcast();
	receive();
	ck_assert_int_eq(type_of_reply(), ACK);
}
END_TEST

START_TEST(what_is_malformed_is_counted)
{
	size_t fixed = offsetof(struct message, options), sent = 0;

	begin(DISCOVER);
	for (size_t len = 0; len < fixed + 2; len += 7, sent++) /* cut short */
		rig_send_udp("10.0.2.2", 68, 67, &ask, len);
	ask.options[1] = 200; /* an option beyond the end */
	broadcast();
	begin(0); /* no type */
	broadcast();
	begin(DISCOVER);
	ask.cookie = be32(0);
	broadcast();
	begin(DISCOVER);
	ask.hlen = 16;
	broadcast();
	begin(REQUEST); /* of nothing */
	broadcast();
	rig_nothing_comes();
	ck_assert_uint_eq(rig_count(COUNTER_DHCP_MALFORMED), sent + 5);
}
END_TEST

static TCase *with_rig(const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, rig_setup, rig_teardown);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("dhcp");
	TCase *states = with_rig("states"), *options = with_rig("options"), *bad = with_rig("bad");

	tcase_add_test(states, discover_gets_an_offer);
	tcase_add_test(states, selecting_us_gets_the_lease);
	tcase_add_test(states, selecting_another_server_is_not_for_us);
	tcase_add_test(states, a_wrong_address_is_refused);
	tcase_add_test(states, init_reboot_with_the_right_address);
	tcase_add_test(states, renewing_is_answered_to_its_address);
	tcase_add_test(states, renewing_a_wrong_address_is_refused);
	tcase_add_test(states, inform_gets_parameters_alone);
	tcase_add_test(states, release_and_decline_end_the_lease);
	tcase_add_test(states, a_lease_comes_back_after_a_restart);
	suite_add_tcase(suite, states);
	tcase_add_test(options, mtu_names_and_search);
	tcase_add_test(options, long_search_lists_are_split);
	tcase_add_test(options, the_broadcast_flag_is_honoured);
	tcase_add_test(options, the_clients_order_and_id_are_kept);
	tcase_add_test(options, options_may_lie_in_file_and_sname);
	suite_add_tcase(suite, options);
	tcase_add_test(bad, relays_have_no_place_here);
	tcase_add_test(bad, what_is_malformed_is_counted);
	suite_add_tcase(suite, bad);
	return run_suite(suite);
}
