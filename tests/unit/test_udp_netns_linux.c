/* SPDX-License-Identifier: MIT */
/* UDP where the host has addresses that are not loopback: a namespace of the test's own. */
#include "tests/unit/netns_linux.h"
#include "tests/unit/stack_rig.h"

static bool ready;
static uint8_t data[2000], buffer[2000];

static void setup(void)
{
	ready = netns_enter(true);
	rig_setup();
	memset(data, 'x', sizeof(data));
}

static struct endpoint forward(const char *listen, uint16_t to_port, bool snat)
{
	struct worker_forward spec = {.proto = IP_PROTO_UDP, .to_port = to_port, .snat = snat};
	struct endpoint e = {.port = 0};
	int fd = rig_host_udp(listen, &e.port);

	snprintf(spec.id, sizeof(spec.id), "udp:%s:%u", listen, e.port);
	ck_assert_int_eq(udp_forward_add(rig.udp, fd, &spec), 0);
	e.addr = rig_addr("198.51.100.2");
	return e;
}

START_TEST(a_stun_client_sees_one_port)
{
	uint16_t ports[2] = {0};
	int a, b;
	struct endpoint from_a, from_b;

	if (!ready)
		return;
	a = rig_host_udp("198.51.100.1", &ports[0]);
	b = rig_host_udp("198.51.100.2", &ports[1]);
	rig_send_udp("198.51.100.1", 4000, ports[0], data, 20);
	ck_assert_int_eq(rig_host_recv(a, buffer, sizeof(buffer), &from_a), 20);
	rig_send_udp("198.51.100.2", 4000, ports[1], data, 20);
	ck_assert_int_eq(rig_host_recv(b, buffer, sizeof(buffer), &from_b), 20);
	ck_assert_int_eq(from_a.port, 4000);
	ck_assert_int_eq(from_b.port, 4000);
	rig_host_send(b, &from_b, data, 30);
	ck_assert_uint_eq(be32_get(rig_recv()->ip->src), 0xc6336402);
	ck_assert_int_eq(be16_get(rig_seen.udp->src), ports[1]);
	ck_assert_int_eq(be16_get(rig_seen.udp->dst), 4000);
	close(a);
	close(b);
}
END_TEST

START_TEST(a_client_keeps_its_address)
{
	struct endpoint listen, from;
	uint16_t port = 0;
	int client;

	if (!ready)
		return;
	listen = forward("0.0.0.0", 7, false);
	client = rig_host_udp("198.51.100.1", &port);
	rig_host_send(client, &listen, data, 10);
	ck_assert_uint_eq(be32_get(rig_recv()->ip->src), 0xc6336401);
	ck_assert_int_eq(be16_get(rig_seen.udp->src), port);
	rig_send_udp("198.51.100.1", 7, port, data, 20);
	ck_assert_int_eq(rig_host_recv(client, buffer, sizeof(buffer), &from), 20);
	/* Back from the address that it had asked, though the socket is bound to all. */
	ck_assert(endpoint_eq(&from, &listen));
	close(client);
}
END_TEST

START_TEST(snat_hides_it)
{
	struct endpoint listen, from;
	uint16_t port = 0, seen;
	int client;

	if (!ready)
		return;
	listen = forward("198.51.100.2", 7, true);
	client = rig_host_udp("198.51.100.1", &port);
	rig_host_send(client, &listen, data, 10);
	ck_assert_uint_eq(be32_get(rig_recv()->ip->src), 0x0a000202);
	seen = be16_get(rig_seen.udp->src);
	ck_assert_uint_ge(seen, 61000);
	rig_send_udp("10.0.2.2", 7, seen, data, 20);
	ck_assert_int_eq(rig_host_recv(client, buffer, sizeof(buffer), &from), 20);
	ck_assert(endpoint_eq(&from, &listen));
	close(client);
}
END_TEST

START_TEST(a_tuple_in_use_is_not_shared)
{
	struct endpoint listen, from;
	uint16_t port = 0;
	int client;

	if (!ready)
		return;
	listen = forward("198.51.100.2", 7, false);
	client = rig_host_udp("198.51.100.1", &port);
	rig_send_udp("198.51.100.1", 7, port, data, 20); /* the guest spoke first, from port 7 */
	ck_assert_int_eq(rig_host_recv(client, buffer, sizeof(buffer), &from), 20);
	rig_host_send(client, &listen, data, 10);
	ck_assert_uint_eq(be32_get(rig_recv()->ip->src), 0x0a000202);
	rig_host_send(client, &from, data, 10);
	ck_assert_uint_eq(be32_get(rig_recv()->ip->src), 0xc6336401);
	close(client);
}
END_TEST

START_TEST(other_families_come_from_the_gateway)
{
	struct endpoint listen, from;
	uint16_t port = 0, seen;
	int client;

	if (!ready)
		return;
	listen = forward("::1", 7, false);
	listen.addr = rig_addr("::1");
	client = rig_host_udp("::1", &port);
	rig_host_send(client, &listen, data, 10);
	ck_assert_uint_eq(be32_get(rig_recv()->ip->src), 0x0a000202);
	seen = be16_get(rig_seen.udp->src);
	rig_send_udp("10.0.2.2", 7, seen, data, 20);
	ck_assert_int_eq(rig_host_recv(client, buffer, sizeof(buffer), &from), 20);
	ck_assert(endpoint_eq(&from, &listen));
	close(client);
}
END_TEST

START_TEST(one_socket_may_serve_both_families)
{
	struct endpoint listen, from;
	uint16_t port = 0;
	int client;

	if (!ready)
		return;
	listen = forward("::", 7, false); /* 198.51.100.2 by mapping */
	client = rig_host_udp("198.51.100.1", &port);
	rig_host_send(client, &listen, data, 10);
	ck_assert_uint_eq(be32_get(rig_recv()->ip->src), 0xc6336401);
	rig_send_udp("198.51.100.1", 7, port, data, 20);
	ck_assert_int_eq(rig_host_recv(client, buffer, sizeof(buffer), &from), 20);
	ck_assert(endpoint_eq(&from, &listen));
	close(client);
}
END_TEST

START_TEST(a_client_that_left_is_told_to_the_guest)
{
	struct endpoint listen;
	uint16_t port = 0;
	int client;

	if (!ready)
		return;
	listen = forward("198.51.100.2", 7, false);
	client = rig_host_udp("198.51.100.1", &port);
	rig_host_send(client, &listen, data, 10);
	rig_recv();
	close(client);
	rig_send_udp("198.51.100.1", 7, port, data, 20);
	ck_assert_int_eq(rig_recv()->ip->proto, IP_PROTO_ICMP);
	ck_assert_int_eq(rig_seen.icmp->type, ICMP_UNREACHABLE);
	ck_assert_int_eq(rig_seen.icmp->code, ICMP_CODE_PORT);
}
END_TEST

START_TEST(nowhere_is_unreachable)
{
	if (!ready)
		return;
	rig_send_udp("203.0.113.1", 4000, 99, data, 20);
	ck_assert_int_eq(rig_recv()->ip->proto, IP_PROTO_ICMP);
	ck_assert_int_eq(rig_seen.icmp->type, ICMP_UNREACHABLE);
	ck_assert_int_eq(rig_seen.icmp->code, ICMP_CODE_NET);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("udp in a namespace");
	TCase *tc = tcase_create("udp");

	tcase_add_checked_fixture(tc, setup, rig_teardown);
	tcase_add_test(tc, a_stun_client_sees_one_port);
	tcase_add_test(tc, a_client_keeps_its_address);
	tcase_add_test(tc, snat_hides_it);
	tcase_add_test(tc, a_tuple_in_use_is_not_shared);
	tcase_add_test(tc, other_families_come_from_the_gateway);
	tcase_add_test(tc, one_socket_may_serve_both_families);
	tcase_add_test(tc, a_client_that_left_is_told_to_the_guest);
	tcase_add_test(tc, nowhere_is_unreachable);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
