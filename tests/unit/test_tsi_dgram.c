/* SPDX-License-Identifier: MIT */
/* TSI's datagram sockets: connected and not, who may answer, DNS, idleness. */
#include "tests/unit/tsi_rig.h"

static const uint8_t query[] = {0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 'h', 'o', 's', 't', 8,
	'i', 'n', 't', 'e', 'r', 'n', 'a', 'l', 0, 0, 1, 0, 1};

static void tsi_address(uint32_t svm_port, const char *addr, uint16_t port)
{
	struct endpoint to = tsi_at(addr, port);
	struct body body = connect_body(svm_port, &to);

	tsi_tell(TSI_SENDTO_ADDR, &body);
}

static void tsi_sendto(uint32_t svm_port, const char *addr, uint16_t port, const char *text)
{
	tsi_address(svm_port, addr, port);
	tsi_dgram(svm_port, TSI_SENDTO_DATA, text, (uint32_t)strlen(text));
}

/* What a server gets, and from whom. */
static struct endpoint server_gets(int server, const char *text)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct endpoint from;
	char buf[64] = "";
	ssize_t n = -1;

	for (int waited = 0; n < 0 && waited < 3000; waited++) {
		n = recvfrom(server, buf, sizeof(buf) - 1, 0, (struct sockaddr *)&ss, &len);
		if (n < 0)
			rig_run(1);
	}
	ck_assert_str_eq(buf, text);
	ck_assert_int_eq(endpoint_from_sockaddr((struct sockaddr *)&ss, len, &from), 0);
	return from;
}

static ssize_t server_sends(int server, const struct endpoint *to, const void *data, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t ss_len = endpoint_to_sockaddr(to, &ss);

	return sendto(server, data, len, 0, (struct sockaddr *)&ss, ss_len);
}

static void guest_gets(uint32_t svm_port, const char *text)
{
	struct vsock_packet packet = guest_expect(VSOCK_OP_RW, svm_port);

	ck_assert_int_eq(packet.type, VSOCK_TYPE_DGRAM);
	ck_assert_uint_eq(packet.src_port, svm_port);
	ck_assert_uint_eq(packet.len, strlen(text));
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, text, packet.len);
}

START_TEST(an_unconnected_socket_sends_and_is_answered)
{
	int one = tsi_server(SOCK_DGRAM, 0), two = tsi_server(SOCK_DGRAM, 0);
	struct endpoint source;

	tsi_create(TSI_SVM, TSI_INET, TSI_DGRAM);
	tsi_sendto(TSI_SVM, "10.0.2.2", tsi_name(one).port, "to one");
	source = server_gets(one, "to one");
	tsi_sendto(TSI_SVM, "127.0.0.1", tsi_name(two).port, "to two");
	/* The same port for both. */
	ck_assert_uint_eq(server_gets(two, "to two").port, source.port);
	server_sends(one, &source, "from one", 8);
	guest_gets(TSI_SVM, "from one");
	server_sends(two, &source, "from two", 8);
	guest_gets(TSI_SVM, "from two");
	server_sends(two, &source, "", 0);
	guest_gets(TSI_SVM, "");
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, tsi_at("0.0.0.0", source.port));
	close(one);
	close(two);
}
END_TEST

START_TEST(a_connected_socket_sends_to_its_peer_and_has_a_name)
{
	int server = tsi_server(SOCK_DGRAM, 0);
	uint16_t port = tsi_name(server).port;
	struct endpoint source;

	tsi_create(TSI_SVM, TSI_INET, TSI_DGRAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", port), 0);
	tsi_dgram(TSI_SVM, TSI_SVM, "ping", 4);
	source = server_gets(server, "ping");
	server_sends(server, &source, "pong", 4);
	guest_gets(TSI_SVM, "pong");
	TSI_EXPECT_NAME(TSI_SVM, 0, true, TSI_INET, tsi_at("10.0.2.2", port));
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, source);
	close(server);
}
END_TEST

START_TEST(a_strangers_datagram_never_arrives)
{
	int server = tsi_server(SOCK_DGRAM, 0), stranger = tsi_server(SOCK_DGRAM, 0);
	struct endpoint source;

	tsi_sendto(TSI_SVM, "10.0.2.2", tsi_name(server).port, "ping");
	source = server_gets(server, "ping");
	source.addr = tsi_at("127.0.0.1", 0).addr;
	server_sends(stranger, &source, "spam", 4);
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_TSI_STRANGERS), 1);
	server_sends(server, &source, "pong", 4);
	guest_gets(TSI_SVM, "pong");
	/* A connect leaves the one that it names. */
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", tsi_name(stranger).port), 0);
	server_sends(server, &source, "late", 4);
	guest_expect_nothing();
	server_sends(stranger, &source, "spam", 4);
	guest_gets(TSI_SVM, "spam");
	close(server);
	close(stranger);
}
END_TEST

START_TEST(the_policy_is_asked_for_each_destination)
{
	int server = tsi_server(SOCK_DGRAM, 0);

	tsi_policy(false);
	host.net.host_access = false;
	tsi_create(TSI_SVM, TSI_INET, TSI_DGRAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "192.0.2.1", 53), -13);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "127.0.0.1", 53), -111);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.15", 53), -111);
	tsi_dgram(TSI_SVM, TSI_SVM, "ping", 4);
	tsi_sendto(TSI_SVM, "127.0.0.1", tsi_name(server).port, "ping");
	guest_expect_nothing();
	ck_assert_int_lt(recv(server, &(char){0}, 1, 0), 0);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_DROPPED), 2);
	host.net.host_access = true;
	tsi_dgram(TSI_SVM, TSI_SENDTO_DATA, "ping", 4); /* the address still holds */
	server_gets(server, "ping");
	close(server);
}
END_TEST

START_TEST(a_new_policy_takes_who_may_answer)
{
	int server = tsi_server(SOCK_DGRAM, 0);
	struct endpoint source;

	tsi_sendto(TSI_SVM, "10.0.2.2", tsi_name(server).port, "ping");
	source = server_gets(server, "ping");
	tsi_recheck(host.tsi);
	server_sends(server, &source, "pong", 4);
	guest_gets(TSI_SVM, "pong");
	host.net.host_access = false;
	tsi_recheck(host.tsi);
	server_sends(server, &source, "pong", 4);
	guest_expect_nothing();
	ck_assert_uint_eq(tsi_proxy_count(host.tsi), 1);
	close(server);
}
END_TEST

START_TEST(an_unknown_socket_comes_about_by_sending)
{
	int server = tsi_server(SOCK_DGRAM, 0);
	struct tsi_proxy proxy;
	uint32_t cursor = 0;

	tsi_dgram(TSI_SVM, TSI_SENDTO_DATA, "lost", 4);
	tsi_dgram(TSI_SVM, TSI_SVM, "lost", 4);
	tsi_sendto(TSI_SVM, "::ffff:10.0.2.2", tsi_name(server).port, "ping");
	server_gets(server, "ping");
	ck_assert_uint_eq(rig_count(COUNTER_TSI_DROPPED), 2);
	ck_assert(tsi_proxy_next(host.tsi, &cursor, &proxy));
	ck_assert_uint_eq(proxy.svm_port, TSI_SVM);
	ck_assert(!proxy.connected);
	close(server);
}
END_TEST

START_TEST(a_malformed_address_does_not_send_to_the_one_before)
{
	int server = tsi_server(SOCK_DGRAM, 0);
	struct endpoint to = tsi_at("10.0.2.2", tsi_name(server).port);
	struct body body = connect_body(TSI_SVM, &to);

	tsi_sendto(TSI_SVM, "10.0.2.2", to.port, "ping");
	server_gets(server, "ping");
	vsock_store32(body.b + 4, 3);
	tsi_tell(TSI_SENDTO_ADDR, &body);
	tsi_dgram(TSI_SVM, TSI_SENDTO_DATA, "lost", 4);
	guest_expect_nothing();
	ck_assert_int_lt(recv(server, &(char){0}, 1, 0), 0);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_MALFORMED), 1);
	ck_assert_uint_eq(rig_count(COUNTER_TSI_DROPPED), 1);
	close(server);
}
END_TEST

START_TEST(the_largest_datagrams_pass_both_ways)
{
	static uint8_t sent[65507], got[65507];
	int server = tsi_server(SOCK_DGRAM, 0), size = 1 << 20;
	struct vsock_packet packet;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct endpoint source;
	ssize_t n = -1;

	os_random(sent, sizeof(sent));
	setsockopt(server, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	tsi_address(TSI_SVM, "10.0.2.2", tsi_name(server).port);
	tsi_dgram(TSI_SVM, TSI_SENDTO_DATA, sent, sizeof(sent));
	for (int waited = 0; n < 0 && waited < 3000; waited++) {
		n = recvfrom(server, got, sizeof(got), 0, (struct sockaddr *)&ss, &len);
		rig_run(1);
	}
	ck_assert_int_eq(n, sizeof(sent));
	ck_assert_mem_eq(got, sent, sizeof(sent));
	ck_assert_int_eq(endpoint_from_sockaddr((struct sockaddr *)&ss, len, &source), 0);
	ck_assert_int_eq(server_sends(server, &source, sent, sizeof(sent)), sizeof(sent));
	packet = guest_expect(VSOCK_OP_RW, TSI_SVM);
	ck_assert_uint_eq(packet.len, sizeof(sent));
	ck_assert_mem_eq(rig.in + VSOCK_HLEN, sent, sizeof(sent));
	tsi_dgram(TSI_SVM, TSI_SENDTO_DATA, sent, 0);
	RIG_UNTIL(recv(server, got, 1, MSG_PEEK) == 0);
	close(server);
}
END_TEST

/* A transport whose room for a datagram is short: a guest with small receive buffers. */
static uint8_t small[2][500];
static uint32_t committed;

static bool small_send(void *arg, const struct vsock_packet *packet, const void *payload)
{
	(void)arg;
	(void)packet;
	(void)payload;
	return true;
}

static int small_reserve(void *arg, size_t max, struct iovec iov[VSOCK_IOV_MAX])
{
	(void)arg;
	(void)max;
	iov[0] = (struct iovec){small[0], sizeof(small[0])};
	iov[1] = (struct iovec){small[1], sizeof(small[1])};
	return 2;
}

static void small_commit(void *arg, const struct vsock_packet *packet, bool secret)
{
	(void)arg;
	(void)secret;
	committed = packet->len;
}

static void small_resume(void *arg)
{
	(void)arg;
}

START_TEST(a_datagram_beyond_the_guests_buffer_is_dropped_whole)
{
	static const struct vsock_transport_ops ops = {
		.send = small_send,
		.reserve = small_reserve,
		.commit = small_commit,
		.resume = small_resume,
	};
	static uint8_t bytes[1001];
	int server = tsi_server(SOCK_DGRAM, 0);
	struct endpoint to = tsi_at("10.0.2.2", tsi_name(server).port), source;
	struct body body = connect_body(TSI_SVM, &to);
	struct vsock_packet packet = guest_packet(VSOCK_OP_RW, TSI_CONTROL, TSI_SENDTO_ADDR);
	struct iovec payload = {body.b, body.len};

	os_random(bytes, sizeof(bytes));
	vsock_mux_attach(rig.mux, &ops, NULL, RIG_CID);
	packet.type = VSOCK_TYPE_DGRAM;
	packet.len = body.len;
	vsock_mux_input(rig.mux, &packet, &payload, 1);
	packet = guest_packet(VSOCK_OP_RW, TSI_SVM, TSI_SENDTO_DATA);
	packet.type = VSOCK_TYPE_DGRAM;
	vsock_mux_input(rig.mux, &packet, NULL, 0);
	source = server_gets(server, "");
	server_sends(server, &source, bytes, 1001);
	RIG_UNTIL(rig_count(COUNTER_TSI_TOO_LONG) == 1);
	ck_assert_uint_eq(committed, 0);
	server_sends(server, &source, bytes, 1000);
	RIG_UNTIL(committed == 1000);
	ck_assert_mem_eq(small[0], bytes, 500);
	ck_assert_mem_eq(small[1], bytes + 500, 500);
	vsock_mux_attach(rig.mux, NULL, NULL, 0);
	close(server);
}
END_TEST

START_TEST(datagrams_wait_in_the_socket_while_the_guest_reads_nothing)
{
	static uint8_t bytes[1000];
	int server = tsi_server(SOCK_DGRAM, 0);
	struct endpoint source;
	unsigned got = 0;
	struct vsock_packet packet;

	tsi_sendto(TSI_SVM, "10.0.2.2", tsi_name(server).port, "ping");
	source = server_gets(server, "ping");
	for (int i = 0; i < 20000; i++) {
		server_sends(server, &source, bytes, sizeof(bytes));
		if (i % 50 == 0)
			rig_run(1);
	}
	ck_assert_uint_lt(rig_count(COUNTER_TSI_RX_DATAGRAMS), 20000);
	for (int idle = 0; idle < 50;) {
		idle = guest_poll(&packet) ? 0 : idle + 1;
		got += !idle;
		if (idle)
			rig_run(1);
	}
	ck_assert_uint_gt(got, 100);
	server_sends(server, &source, "after", 5);
	guest_gets(TSI_SVM, "after");
	close(server);
}
END_TEST

START_TEST(the_host_socket_goes_when_idle_and_the_guests_stays)
{
	int server = tsi_server(SOCK_DGRAM, 0);
	struct endpoint first;

	tsi_create(TSI_SVM, TSI_INET, TSI_DGRAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", tsi_name(server).port), 0);
	tsi_dgram(TSI_SVM, TSI_SVM, "ping", 4);
	first = server_gets(server, "ping");
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, first);
	tsi_later(55000);
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, first);
	tsi_later(61000);
	TSI_EXPECT_NAME(TSI_SVM, 0, false, TSI_INET, tsi_at("127.0.0.1", 0));
	tsi_dgram(TSI_SVM, TSI_SVM, "again", 5);
	server_gets(server, "again");
	close(server);
}
END_TEST

START_TEST(a_restored_socket_goes_on_with_its_peer)
{
	int server = tsi_server(SOCK_DGRAM, 0);
	struct tsi_proxy proxy = {TSI_SVM, 2, true, tsi_at("10.0.2.2", tsi_name(server).port)};

	ck_assert_int_eq(tsi_restore_proxy(host.tsi, &proxy), 0);
	tsi_dgram(TSI_SVM, TSI_SVM, "ping", 4);
	server_gets(server, "ping");
	close(server);
}
END_TEST

START_TEST(a_release_closes_the_host_socket)
{
	int server = tsi_server(SOCK_DGRAM, 0), fd;
	struct endpoint source;
	struct sockaddr_storage ss;
	socklen_t len;

	tsi_sendto(TSI_SVM, "10.0.2.2", tsi_name(server).port, "ping");
	source = server_gets(server, "ping");
	tsi_release(TSI_SVM, 0);
	guest_expect_nothing();
	ck_assert_uint_eq(tsi_proxy_count(host.tsi), 0);
	source.addr = addr_from_v4(0);
	len = endpoint_to_sockaddr(&source, &ss);
	fd = os_socket(AF_INET, SOCK_DGRAM, 0, true);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&ss, len), 0);
	close(fd);
	close(server);
}
END_TEST

START_TEST(a_question_for_the_gateway_is_answered_by_our_dns)
{
	tsi_policy(false);
	host.net.host_access = false;
	ck_assert_int_eq(dns_hosts_set(host.dns, NULL, 0, true), 0);
	tsi_create(TSI_SVM, TSI_INET, TSI_DGRAM);
	ck_assert_int_eq(tsi_connect(TSI_SVM, "10.0.2.2", 53), 0);
	tsi_dgram(TSI_SVM, TSI_SVM, query, sizeof(query));
	ck_assert_uint_gt(guest_expect(VSOCK_OP_RW, TSI_SVM).len, sizeof(query));
	ck_assert_uint_eq(load_be16(rig.in + VSOCK_HLEN), 0x1234);
	ck_assert_uint_eq(load_be16(rig.in + VSOCK_HLEN + 6), 1);
	tsi_address(TSI_SVM + 1, "10.0.2.2", 53);
	tsi_dgram(TSI_SVM + 1, TSI_SENDTO_DATA, query, sizeof(query));
	guest_expect(VSOCK_OP_RW, TSI_SVM + 1);
	/* One that is too long is FORMERR, never cut and asked. */
	tsi_dgram(TSI_SVM, TSI_SVM, rig.in, 5000);
	ck_assert_uint_eq(rig_count(COUNTER_DNS_ANSWERED_LOCALLY), 2);
}
END_TEST

START_TEST(an_upstreams_answer_goes_to_the_socket_that_asked)
{
	int upstream = tsi_server(SOCK_DGRAM, 0);
	struct endpoint at = tsi_name(upstream), from[2];
	uint8_t asked[2][sizeof(query)], question[sizeof(query)];

	ck_assert_int_eq(dns_upstreams_set(host.dns, &at, 1), 0);
	memcpy(question, query, sizeof(query));
	question[14] = 'x';                /* not a local name */
	for (uint32_t i = 0; i < 2; i++) { /* the same question under the same id */
		struct sockaddr_storage ss;
		socklen_t len = sizeof(ss);

		tsi_address(TSI_SVM + i, "10.0.2.2", 53);
		tsi_dgram(TSI_SVM + i, TSI_SENDTO_DATA, question, sizeof(question));
		RIG_UNTIL(recv(upstream, asked[i], 1, MSG_PEEK) == 1);
		ck_assert_int_eq(recvfrom(upstream, asked[i], sizeof(asked[i]), 0,
					 (struct sockaddr *)&ss, &len),
			sizeof(query));
		endpoint_from_sockaddr((struct sockaddr *)&ss, len, &from[i]);
		asked[i][2] |= 0x80;
	}
	server_sends(upstream, &from[1], asked[1], sizeof(query));
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, TSI_SVM + 1).len, sizeof(query));
	/* Whoever has that number when the answer comes did not ask. */
	tsi_release(TSI_SVM, 0);
	tsi_create(TSI_SVM, TSI_INET, TSI_DGRAM);
	rig_run(20);
	server_sends(upstream, &from[0], asked[0], sizeof(query));
	guest_expect_nothing();
	close(upstream);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tsi_dgram");
	TCase *t = tcase_create("dgram");

	tcase_add_checked_fixture(t, tsi_setup, tsi_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, an_unconnected_socket_sends_and_is_answered);
	tcase_add_test(t, a_connected_socket_sends_to_its_peer_and_has_a_name);
	tcase_add_test(t, a_strangers_datagram_never_arrives);
	tcase_add_test(t, the_policy_is_asked_for_each_destination);
	tcase_add_test(t, a_new_policy_takes_who_may_answer);
	tcase_add_test(t, an_unknown_socket_comes_about_by_sending);
	tcase_add_test(t, a_malformed_address_does_not_send_to_the_one_before);
	tcase_add_test(t, the_largest_datagrams_pass_both_ways);
	tcase_add_test(t, a_datagram_beyond_the_guests_buffer_is_dropped_whole);
	tcase_add_test(t, datagrams_wait_in_the_socket_while_the_guest_reads_nothing);
	tcase_add_test(t, the_host_socket_goes_when_idle_and_the_guests_stays);
	tcase_add_test(t, a_restored_socket_goes_on_with_its_peer);
	tcase_add_test(t, a_release_closes_the_host_socket);
	tcase_add_test(t, a_question_for_the_gateway_is_answered_by_our_dns);
	tcase_add_test(t, an_upstreams_answer_goes_to_the_socket_that_asked);
	suite_add_tcase(s, t);
	return run_suite(s);
}
