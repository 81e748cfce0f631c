/* SPDX-License-Identifier: MIT */
/* UDP flows and forwards, by way of the host's loopback. */
#include "tests/unit/stack_rig.h"

static uint8_t data[65536], buffer[65536];

static void setup(void)
{
	rig_setup();
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 5 + i / 253);
}

/* The guest's port for a test: one that is free on the host at the moment. */
static uint16_t free_port(void)
{
	uint16_t port = 0;

	close(rig_host_udp("0.0.0.0", &port));
	return port;
}

static struct endpoint loopback(uint16_t port)
{
	return (struct endpoint){rig_addr("127.0.0.1"), port};
}

/* A datagram to the gateway that arrives at host; from is where it came from. */
static void reaches(int host, uint16_t sport, uint16_t dport, size_t len, struct endpoint *from)
{
	rig_send_udp("10.0.2.2", sport, dport, data, len);
	ck_assert_int_eq(rig_host_recv(host, buffer, sizeof(buffer), from), (ssize_t)len);
	ck_assert_mem_eq(buffer, data, len);
}

static const struct rig_frame *guest_gets(uint16_t sport, uint16_t dport, size_t len)
{
	const struct rig_frame *f = rig_recv();

	ck_assert_int_eq(f->ip->proto, IP_PROTO_UDP);
	ck_assert_uint_eq(be32_get(f->ip->src), 0x0a000202);
	ck_assert_uint_eq(be32_get(f->ip->dst), 0x0a00020f);
	ck_assert_int_eq(be16_get(f->udp->src), sport);
	ck_assert_int_eq(be16_get(f->udp->dst), dport);
	ck_assert_uint_eq(f->data_len, len);
	ck_assert_mem_eq(f->data, data, len);
	return f;
}

static void prohibited(void)
{
	const struct rig_frame *f = rig_recv();

	ck_assert_int_eq(f->ip->proto, IP_PROTO_ICMP);
	ck_assert_int_eq(f->icmp->type, ICMP_UNREACHABLE);
	ck_assert_int_eq(f->icmp->code, ICMP_CODE_PROHIBITED);
}

START_TEST(there_and_back)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct endpoint from;

	reaches(host, port, server, 100, &from);
	ck_assert_int_eq(from.port, port);
	rig_host_send(host, &from, data, 200);
	guest_gets(server, port, 200);
	reaches(host, port, server, 0, &from); /* empty ones exist too */
	rig_host_send(host, &from, data, 0);
	guest_gets(server, port, 0);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 1);
	close(host);
}
END_TEST

START_TEST(one_socket_for_all_destinations)
{
	uint16_t ports[3] = {0}, port = free_port();
	struct endpoint from;
	int hosts[3];

	for (int i = 0; i < 3; i++)
		hosts[i] = rig_host_udp("127.0.0.1", &ports[i]);
	for (int i = 0; i < 3; i++) {
		reaches(hosts[i], port, ports[i], 10, &from);
		ck_assert_int_eq(from.port, port);
	}
	for (int i = 0; i < 3; i++) {
		rig_host_send(hosts[i], &from, data, 30);
		guest_gets(ports[i], port, 30);
		close(hosts[i]);
	}
	ck_assert_uint_eq(udp_flow_count(rig.udp), 1);
}
END_TEST

START_TEST(a_taken_port_becomes_another)
{
	uint16_t server = 0, port = 0;
	int host = rig_host_udp("127.0.0.1", &server), holder = rig_host_udp("0.0.0.0", &port);
	struct endpoint from, again;

	reaches(host, port, server, 10, &from);
	ck_assert_int_ne(from.port, port);
	reaches(host, port, server, 10, &again);
	ck_assert_int_eq(from.port, again.port);
	rig_host_send(host, &from, data, 5);
	guest_gets(server, port, 5);
	close(host);
	close(holder);
}
END_TEST

START_TEST(strangers_are_not_heard)
{
	uint16_t server = 0, other = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server), stranger = rig_host_udp("127.0.0.1", &other);
	struct endpoint from;

	reaches(host, port, server, 10, &from);
	rig_host_send(stranger, &from, data, 10);
	rig_nothing_comes();
	ck_assert_uint_eq(rig_count(COUNTER_UDP_STRANGERS), 1);
	reaches(stranger, port, other, 10, &from);
	rig_host_send(stranger, &from, data, 10);
	guest_gets(other, port, 10);
	close(host);
	close(stranger);
}
END_TEST

START_TEST(the_policy_is_told)
{
	rig.net.host_access = false;
	rig_send_udp("10.0.2.2", 4000, 9999, data, 10);
	prohibited();
	rig_policy(false);
	rig_send_udp("198.51.100.7", 4000, 9999, data, 10);
	prohibited();
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
	ck_assert_uint_eq(rig_count(COUNTER_EGRESS_REFUSED_POLICY), 2);
}
END_TEST

START_TEST(a_new_policy_cuts)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct endpoint from;

	reaches(host, port, server, 10, &from);
	udp_recheck(rig.udp);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 1);
	rig.net.host_access = false;
	reaches(host, port, server, 10, &from); /* what stands is left alone until told */
	udp_recheck(rig.udp);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
	rig_host_send(host, &from, data, 10);
	rig_nothing_comes();
	close(host);
}
END_TEST

START_TEST(a_closed_port_is_told)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	const struct rig_frame *f;
	const struct ip4_hdr *ip;
	const struct udp_hdr *udp;

	close(host);
	rig_send_udp("10.0.2.2", port, server, data, 20);
	f = rig_recv();
	ck_assert_int_eq(f->ip->proto, IP_PROTO_ICMP);
	ck_assert_int_eq(f->icmp->type, ICMP_UNREACHABLE);
	ck_assert_int_eq(f->icmp->code, ICMP_CODE_PORT);
	ck_assert_uint_eq(be32_get(f->ip->src), 0x0a000202);
	ip = (const struct ip4_hdr *)f->data;
	udp = (const struct udp_hdr *)(f->data + IP4_HLEN);
	ck_assert_uint_eq(be32_get(ip->src), 0x0a00020f);
	ck_assert_uint_eq(be32_get(ip->dst), 0x0a000202);
	ck_assert_int_eq(be16_get(udp->src), port);
	ck_assert_int_eq(be16_get(udp->dst), server);
	ck_assert_mem_eq(f->data + IP4_HLEN + UDP_HLEN, data, 20);
}
END_TEST

START_TEST(a_closed_port_does_not_stop_others)
{
	uint16_t open = 0, closed = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &open);
	struct endpoint from;
	size_t got = 0;

	close(rig_host_udp("127.0.0.1", &closed));
	for (int i = 0; i < 20; i++) {
		rig_send_udp("10.0.2.2", port, closed, data, 20);
		rig_send_udp("10.0.2.2", port, open, data, 20);
	}
	while (got < 20 && rig_host_recv(host, buffer, sizeof(buffer), &from) == 20)
		got++;
	ck_assert_uint_eq(got, 20);
	close(host);
}
END_TEST

START_TEST(many_datagrams_keep_order_and_content)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server), big = 4 << 20;
	struct endpoint from;
	size_t next = 0;

	setsockopt(host, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	for (size_t round = 0; round < 10; round++) {
		/* Of one length, then a shorter one, then another length: they are joined or not. */
		for (uint32_t i = 0; i < 30; i++) {
			size_t len = i % 10 == 9 ? 300 : i % 20 == 15 ? 1100 : 1000;

			memcpy(data, &i, sizeof(i));
			rig_send_udp("10.0.2.2", port, server, data, len);
		}
		for (uint32_t i = 0; i < 30; i++, next++) {
			size_t len = i % 10 == 9 ? 300 : i % 20 == 15 ? 1100 : 1000;
			uint32_t got;

			ck_assert_int_eq(
				rig_host_recv(host, buffer, sizeof(buffer), &from), (ssize_t)len);
			memcpy(&got, buffer, sizeof(got));
			ck_assert_uint_eq(got, i);
			ck_assert_mem_eq(buffer + 4, data + 4, len - 4);
		}
	}
	ck_assert_uint_eq(rig_count(COUNTER_UDP_TX_DATAGRAMS), next);
	ck_assert_uint_eq(rig_count(COUNTER_UDP_SEND_ERRORS), 0);
	close(host);
}
END_TEST

START_TEST(many_answers_keep_order_and_content)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct endpoint from;

	reaches(host, port, server, 10, &from);
	for (uint32_t i = 0; i < 100; i++) {
		memcpy(data, &i, sizeof(i));
		rig_host_send(host, &from, data, 600 + i);
	}
	for (uint32_t i = 0; i < 100; i++) {
		memcpy(data, &i, sizeof(i));
		guest_gets(server, port, 600 + i);
	}
	close(host);
}
END_TEST

START_TEST(the_longest_datagrams_pass)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct endpoint from;

	rig.net.mtu = 65520;
	for (size_t len = 65400; len <= 65492; len += 23) {
		reaches(host, port, server, len, &from);
		rig_host_send(host, &from, data, len);
		guest_gets(server, port, len);
	}
	close(host);
}
END_TEST

START_TEST(quiet_flows_end)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct endpoint from;

	reaches(host, port, server, 10, &from);
	rig_sleep(50000);
	rig_host_send(host, &from, data, 10); /* an answer counts */
	guest_gets(server, port, 10);
	rig_sleep(50000);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 1);
	rig_sleep(10500);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
	close(host);
}
END_TEST

START_TEST(dns_flows_end_sooner)
{
	/* The documentation's addresses lead nowhere from here, or answer never. */
	rig_send_udp("192.0.2.53", free_port(), 53, data, 10);
	rig_run(20);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 1);
	rig_sleep(9900);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 1);
	rig_sleep(200);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
}
END_TEST

START_TEST(the_resolver_is_ours)
{
	rig_send_udp("10.0.2.2", 4000, 53, data, 30);
	rig_run(20);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
	ck_assert_uint_eq(rig_count(COUNTER_DNS_QUERIES), 1);
}
END_TEST

START_TEST(peers_are_bounded)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct endpoint from;

	reaches(host, port, server, 10, &from);
	for (uint16_t i = 0; i < 400; i++) {
		rig_send_udp("10.0.2.2", port, (uint16_t)(20000 + i), data, 1);
		rig_run(1);
	}
	while (rig_recv_for(10)) /* errors: nobody is there */
		;
	rig_host_send(host, &from, data, 10); /* the one that was quiet longest is forgotten */
	rig_nothing_comes();
	reaches(host, port, server, 10, &from);
	rig_host_send(host, &from, data, 10);
	guest_gets(server, port, 10);
	close(host);
}
END_TEST

START_TEST(broadcast_and_multicast_stay)
{
	rig_send_udp("10.0.2.255", 4000, 137, data, 10);
	rig_send_udp("255.255.255.255", 4000, 137, data, 10);
	rig_send_udp("239.255.255.250", 4000, 1900, data, 10);
	rig_nothing_comes();
	ck_assert_uint_eq(rig_count(COUNTER_DROP_MULTICAST), 3);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
}
END_TEST

START_TEST(malformed_ones_are_counted)
{
	uint8_t l4[64] = {0};
	struct udp_hdr *udp = (struct udp_hdr *)l4;
	struct rig_ip ip = {.dst = "10.0.2.2", .proto = IP_PROTO_UDP};

	for (size_t len = 0; len < UDP_HLEN; len++)
		rig_send_ip(ip, l4, len);
	*udp = (struct udp_hdr){.src = be16(1), .dst = be16(2), .len = be16(7)};
	rig_send_ip(ip, l4, 20);
	udp->len = be16(21);
	rig_send_ip(ip, l4, 20);
	udp->len = be16(20);
	udp->dst = be16(0);
	rig_send_ip(ip, l4, 20);
	rig_nothing_comes();
	ck_assert_uint_eq(rig_count(COUNTER_DROP_MALFORMED), UDP_HLEN + 3);
}
END_TEST

START_TEST(flows_are_listed)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct flow_info info;
	struct endpoint from;
	uint32_t cursor = 0;

	reaches(host, port, server, 10, &from);
	rig_host_send(host, &from, data, 20);
	guest_gets(server, port, 20);
	ck_assert(udp_flow_next(rig.udp, &cursor, &info));
	ck_assert_int_eq(info.proto, IP_PROTO_UDP);
	ck_assert(!info.inbound);
	ck_assert_int_eq(info.key.guest.port, port);
	ck_assert(addr_eq(&info.key.remote.addr, &rig.net.gateway));
	ck_assert(addr_is_loopback(&info.host.addr));
	ck_assert_int_eq(info.host.port, server);
	ck_assert_uint_eq(info.tx_bytes, 10);
	ck_assert_uint_eq(info.rx_bytes, 20);
	ck_assert(!udp_flow_next(rig.udp, &cursor, &info));
	close(host);
}
END_TEST

START_TEST(a_reset_ends_all)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct endpoint from;

	reaches(host, port, server, 10, &from);
	udp_reset(rig.udp);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
	rig_host_send(host, &from, data, 10);
	rig_nothing_comes();
	close(host);
}
END_TEST

/* A guest that does not read must not make us hoard what comes for it. */
START_TEST(a_full_link_leaves_datagrams_to_the_kernel)
{
	uint16_t server = 0, port = free_port();
	int host = rig_host_udp("127.0.0.1", &server);
	struct endpoint from;
	uint64_t got;

	rig.net.mtu = 65520;
	reaches(host, port, server, 10, &from);
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 16; i++)
			rig_host_send(host, &from, data, 60000);
		rig_run(1);
	}
	got = rig_count(COUNTER_UDP_RX_BYTES);
	ck_assert_uint_lt(got, 16u << 20);
	ck_assert_uint_eq(rig_count(COUNTER_DROP_QUEUE_FULL), 0);
	while (rig_recv_for(20)) /* the guest reads again, and hears of the rest */
		;
	ck_assert_uint_gt(rig_count(COUNTER_UDP_RX_BYTES), got);
	rig_host_send(host, &from, data, 60000);
	guest_gets(server, port, 60000);
	close(host);
}
END_TEST

/* ---- forwards ---- */

static struct endpoint add_forward(const char *id, uint16_t to_port, bool snat)
{
	struct worker_forward spec = {.proto = IP_PROTO_UDP, .to_port = to_port, .snat = snat};
	struct endpoint listen = loopback(0);
	int fd = rig_host_udp("127.0.0.1", &listen.port);

	spec.listen = listen;
	snprintf(spec.id, sizeof(spec.id), "%s", id);
	ck_assert_int_eq(udp_forward_add(rig.udp, fd, &spec), 0);
	return listen;
}

START_TEST(clients_reach_the_guest_and_hear_back)
{
	struct endpoint listen = add_forward("udp:a", 5353, false), from;
	uint16_t client_port = 0, other_port = 0, seen, other_seen;
	int client = rig_host_udp("127.0.0.1", &client_port);
	int other = rig_host_udp("127.0.0.1", &other_port);
	struct flow_info info;
	uint32_t cursor = 0;

	rig_host_send(client, &listen, data, 40);
	seen = be16_get(rig_recv()->udp->src);
	ck_assert_uint_ge(seen, 61000);
	ck_assert_int_eq(be16_get(rig_seen.udp->dst), 5353);
	ck_assert_uint_eq(be32_get(rig_seen.ip->src), 0x0a000202);
	ck_assert_mem_eq(rig_seen.data, data, 40);
	rig_host_send(other, &listen, data, 41);
	other_seen = be16_get(rig_recv()->udp->src);
	ck_assert_uint_ne(seen, other_seen);
	rig_send_udp("10.0.2.2", 5353, other_seen, data, 51);
	rig_send_udp("10.0.2.2", 5353, seen, data, 50);
	ck_assert_int_eq(rig_host_recv(client, buffer, sizeof(buffer), &from), 50);
	ck_assert(endpoint_eq(&from, &listen));
	ck_assert_int_eq(rig_host_recv(other, buffer, sizeof(buffer), &from), 51);
	rig_host_send(client, &listen, data, 40);
	ck_assert_int_eq(be16_get(rig_recv()->udp->src), seen);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 2);
	ck_assert(udp_flow_next(rig.udp, &cursor, &info));
	ck_assert(info.inbound);
	ck_assert_int_eq(info.host.port, client_port);
	close(client);
	close(other);
}
END_TEST

START_TEST(two_forwards_may_share_a_target)
{
	struct endpoint a = add_forward("udp:a", 7, false), b = add_forward("udp:b", 7, false),
			from;
	uint16_t client_port = 0, seen_a, seen_b;
	int client = rig_host_udp("127.0.0.1", &client_port);

	rig_host_send(client, &a, data, 1);
	seen_a = be16_get(rig_recv()->udp->src);
	rig_host_send(client, &b, data, 1);
	seen_b = be16_get(rig_recv()->udp->src);
	ck_assert_uint_ne(seen_a, seen_b);
	rig_send_udp("10.0.2.2", 7, seen_b, data, 5);
	ck_assert_int_eq(rig_host_recv(client, buffer, sizeof(buffer), &from), 5);
	ck_assert(endpoint_eq(&from, &b));
	close(client);
}
END_TEST

START_TEST(forwards_come_and_go)
{
	struct endpoint a = add_forward("udp:a", 7, false);
	struct worker_forward again = {.id = "udp:a", .proto = IP_PROTO_UDP, .to_port = 8};
	uint16_t port = 0, client_port = 0;
	int client = rig_host_udp("127.0.0.1", &client_port), fd, pair[2];

	ck_assert_int_eq(
		udp_forward_add(rig.udp, rig_host_udp("127.0.0.1", &port), &again), -EEXIST);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, pair), 0);
	snprintf(again.id, sizeof(again.id), "udp:b");
	ck_assert_int_eq(udp_forward_add(rig.udp, pair[0], &again), -EINVAL);
	close(pair[1]);
	add_forward("udp:c", 9, false);
	ck_assert_uint_eq(udp_forward_count(rig.udp), 2);
	ck_assert_str_eq(udp_forward_at(rig.udp, 0, &fd)->id, "udp:a");
	ck_assert_int_ge(fd, 0);
	ck_assert_str_eq(udp_forward_at(rig.udp, 1, &fd)->id, "udp:c");
	ck_assert_ptr_null(udp_forward_at(rig.udp, 2, &fd));
	rig_host_send(client, &a, data, 1);
	rig_recv();
	ck_assert_int_eq(udp_forward_delete(rig.udp, "udp:a"), 0);
	ck_assert_int_eq(udp_forward_delete(rig.udp, "udp:a"), -ENOENT);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
	ck_assert_uint_eq(udp_forward_count(rig.udp), 1);
	rig_host_send(client, &a, data, 1);
	rig_nothing_comes();
	close(client);
}
END_TEST

START_TEST(quiet_clients_end)
{
	struct endpoint a = add_forward("udp:a", 7, false);
	uint16_t client_port = 0, seen;
	int client = rig_host_udp("127.0.0.1", &client_port);

	rig_host_send(client, &a, data, 1);
	seen = be16_get(rig_recv()->udp->src);
	rig_sleep(61000);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
	rig.net.host_access = false;
	rig_send_udp(
		"10.0.2.2", 7, seen, data, 5); /* too late: a datagram to the gateway like any */
	prohibited();
	close(client);
}
END_TEST

START_TEST(forwards_outlive_a_reset)
{
	struct endpoint a = add_forward("udp:a", 7, false);
	uint16_t client_port = 0;
	int client = rig_host_udp("127.0.0.1", &client_port);

	rig_host_send(client, &a, data, 1);
	rig_recv();
	udp_reset(rig.udp);
	ck_assert_uint_eq(udp_flow_count(rig.udp), 0);
	rig_host_send(client, &a, data, 1);
	rig_recv();
	close(client);
}
END_TEST

static TCase *with_rig(Suite *suite, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, rig_teardown);
	suite_add_tcase(suite, tc);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("udp");
	TCase *out = with_rig(suite, "out"), *bulk = with_rig(suite, "bulk");
	TCase *ends = with_rig(suite, "ends"), *forwards = with_rig(suite, "forwards");

	tcase_add_test(out, there_and_back);
	tcase_add_test(out, one_socket_for_all_destinations);
	tcase_add_test(out, a_taken_port_becomes_another);
	tcase_add_test(out, strangers_are_not_heard);
	tcase_add_test(out, the_policy_is_told);
	tcase_add_test(out, a_new_policy_cuts);
	tcase_add_test(out, a_closed_port_is_told);
	tcase_add_test(out, the_resolver_is_ours);
	tcase_add_test(out, peers_are_bounded);
	tcase_add_test(out, broadcast_and_multicast_stay);
	tcase_add_test(out, malformed_ones_are_counted);
	tcase_add_test(out, flows_are_listed);
	tcase_add_test(bulk, a_closed_port_does_not_stop_others);
	tcase_add_test(bulk, many_datagrams_keep_order_and_content);
	tcase_add_test(bulk, many_answers_keep_order_and_content);
	tcase_add_test(bulk, the_longest_datagrams_pass);
	tcase_add_test(bulk, a_full_link_leaves_datagrams_to_the_kernel);
	tcase_add_test(ends, quiet_flows_end);
	tcase_add_test(ends, dns_flows_end_sooner);
	tcase_add_test(ends, a_reset_ends_all);
	tcase_add_test(forwards, clients_reach_the_guest_and_hear_back);
	tcase_add_test(forwards, two_forwards_may_share_a_target);
	tcase_add_test(forwards, forwards_come_and_go);
	tcase_add_test(forwards, quiet_clients_end);
	tcase_add_test(forwards, forwards_outlive_a_reset);
	return run_suite(suite);
}
