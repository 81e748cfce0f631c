/* SPDX-License-Identifier: MIT */
/* Packets that should not be, wherever the stream is cut; VMMs that come and go. */
#include "tests/unit/vsock_rig.h"

#include <stdio.h>
#include <sys/un.h>

static uint8_t junk[300000];

START_TEST(bytes_for_no_connection_are_answered_by_rst)
{
	guest_rw(1000, RIG_SOCKET, "lost", 4);
	guest_expect(VSOCK_OP_RST, 1000);
	guest_send(VSOCK_OP_SHUTDOWN, 1001, RIG_SOCKET, VSOCK_SHUT_BOTH);
	guest_expect(VSOCK_OP_RST, 1001);
	guest_send(VSOCK_OP_CREDIT_REQUEST, 1002, RIG_SOCKET, 0);
	guest_expect(VSOCK_OP_RST, 1002);
	guest_send(VSOCK_OP_RESPONSE, 1003, RIG_SOCKET, 0);
	guest_expect(VSOCK_OP_RST, 1003);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_PACKETS), 4);
}
END_TEST

START_TEST(an_rst_is_never_answered)
{
	struct vsock_packet packet = guest_packet(VSOCK_OP_RST, 1000, RIG_SOCKET);

	guest_send_packet(&packet, NULL);
	packet.dst_cid = 99;
	guest_send_packet(&packet, NULL);
	packet.type = 77;
	guest_send_packet(&packet, NULL);
	guest_expect_nothing();
}
END_TEST

START_TEST(a_second_request_ends_the_connection)
{
	guest_open(1000);
	guest_send(VSOCK_OP_REQUEST, 1000, RIG_SOCKET, 0);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
	guest_open(1000);
}
END_TEST

START_TEST(a_request_withdrawn_while_it_waits_is_forgotten)
{
	guest_send(VSOCK_OP_REQUEST, 1000, RIG_LATER, 0);
	RIG_UNTIL(rig.later);
	guest_send(VSOCK_OP_RST, 1000, RIG_LATER, 0);
	RIG_UNTIL(!rig.later);
	guest_send(VSOCK_OP_REQUEST, 1000, RIG_LATER, 0);
	RIG_UNTIL(rig.later);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_LATER, VSOCK_SHUT_BOTH);
	guest_expect(VSOCK_OP_RST, 1000);
	guest_send(VSOCK_OP_REQUEST, 1000, RIG_LATER, 0);
	RIG_UNTIL(rig.later);
	guest_rw(1000, RIG_LATER, "early", 5);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert_uint_eq(rig.closed, 3);
}
END_TEST

START_TEST(foreign_cids_are_counted)
{
	struct vsock_packet packet = guest_packet(VSOCK_OP_REQUEST, 1000, RIG_SOCKET);

	packet.src_cid = RIG_CID + 1;
	guest_send_packet(&packet, NULL);
	packet.src_cid = RIG_CID | (uint64_t)1 << 32;
	guest_send_packet(&packet, NULL);
	guest_expect_nothing();
	packet.src_cid = RIG_CID;
	packet.dst_cid = 5;
	guest_send_packet(&packet, NULL);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RST, 1000).src_cid, 5);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_PACKETS), 3);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
}
END_TEST

START_TEST(unknown_types_are_refused_as_what_they_are)
{
	struct vsock_packet packet = guest_packet(VSOCK_OP_REQUEST, 1000, RIG_SOCKET);

	packet.type = VSOCK_TYPE_SEQPACKET;
	guest_send_packet(&packet, NULL);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RST, 1000).type, VSOCK_TYPE_SEQPACKET);
	packet.type = 500;
	guest_send_packet(&packet, NULL);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RST, 1000).type, 500);
	packet.type = VSOCK_TYPE_DGRAM;
	packet.op = VSOCK_OP_RW;
	guest_send_packet(&packet, NULL);
	guest_expect_nothing();
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_PACKETS), 3);
}
END_TEST

START_TEST(unknown_ops_end_the_connection)
{
	guest_open(1000);
	guest_send((enum vsock_op)8, 1000, RIG_SOCKET, 0);
	guest_expect(VSOCK_OP_RST, 1000);
	guest_open(1000);
	guest_send((enum vsock_op)65535, 1000, RIG_SOCKET, 0);
	guest_expect(VSOCK_OP_RST, 1000);
	guest_open(1000);
	guest_send(VSOCK_OP_RESPONSE, 1000, RIG_SOCKET, 0);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_PACKETS), 3);
}
END_TEST

START_TEST(op_0_is_not_for_us)
{
	struct vsock_packet packet = guest_packet(VSOCK_OP_NONE, 1000, RIG_SOCKET);

	packet.len = 4;
	guest_send_packet(&packet, "evil");
	guest_open(1000);
	ck_assert_uint_eq(rig_count(COUNTER_VSOCK_BAD_PACKETS), 1);
}
END_TEST

START_TEST(bytes_behind_an_end_are_an_end)
{
	guest_open(1000);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, VSOCK_SHUT_SEND);
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, VSOCK_SHUT_SEND); /* twice is once */
	guest_send(VSOCK_OP_SHUTDOWN, 1000, RIG_SOCKET, 0xfffffff0);
	guest_expect_nothing();
	guest_rw(1000, RIG_SOCKET, "more", 4);
	guest_expect(VSOCK_OP_RST, 1000);
}
END_TEST

START_TEST(only_rw_carries_bytes)
{
	struct vsock_packet packet = guest_packet(VSOCK_OP_CREDIT_UPDATE, 1000, RIG_SOCKET);

	guest_open(1000);
	packet.len = 10;
	guest_send_packet(&packet, junk);
	guest_expect(VSOCK_OP_RST, 1000);
	packet.op = VSOCK_OP_REQUEST;
	guest_send_packet(&packet, junk);
	guest_expect(VSOCK_OP_RST, 1000);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
}
END_TEST

START_TEST(overlong_packets_are_skipped_and_end_their_connection)
{
	static const uint32_t lengths[] = {VSOCK_PAYLOAD_MAX + 1, 262144, sizeof(junk)};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		struct vsock_packet packet = guest_packet(VSOCK_OP_RW, 1000, RIG_SOCKET);
		uint8_t head[VSOCK_HLEN];

		guest_open(1000);
		packet.len = lengths[i];
		vsock_packet_write(&packet, head);
		guest_write(head, sizeof(head));
		guest_write(junk, lengths[i]);
		guest_expect(VSOCK_OP_RST, 1000);
	}
	guest_open(1000);
	guest_expect_nothing();
}
END_TEST

START_TEST(a_claim_of_more_taken_than_sent_gives_no_credit)
{
	guest_open(1000);
	rig.fwd_cnt = 1000000;
	guest_send(VSOCK_OP_CREDIT_UPDATE, 1000, RIG_SOCKET, 0);
	rig_run(2);
	ck_assert_int_eq(os_send(rig.hosts[0], "held back", 9, 0), 9);
	guest_expect(VSOCK_OP_CREDIT_REQUEST, 1000);
	guest_expect_nothing();
	rig.fwd_cnt = 0;
	guest_send(VSOCK_OP_CREDIT_UPDATE, 1000, RIG_SOCKET, 0);
	ck_assert_uint_eq(guest_expect(VSOCK_OP_RW, 1000).len, 9);
}
END_TEST

START_TEST(packets_come_byte_by_byte)
{
	struct vsock_packet packet = guest_packet(VSOCK_OP_RW, 1000, RIG_SOCKET);
	uint8_t bytes[VSOCK_HLEN + 4];
	char text[4];

	guest_open(1000);
	packet.len = 4;
	vsock_packet_write(&packet, bytes);
	memcpy(bytes + VSOCK_HLEN, (uint8_t[]){1, 2, 3, 4}, 4);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		ck_assert(!host_is_at_end(rig.hosts[0]));
		guest_write(bytes + i, 1);
		rig_run(1);
	}
	host_read(rig.hosts[0], text, 4);
	ck_assert_mem_eq(text, ((uint8_t[]){1, 2, 3, 4}), 4);
}
END_TEST

/* A VMM that reads nothing makes us read nothing, and loses no answer when it reads again. */
START_TEST(unread_answers_stop_the_questions)
{
	uint8_t bytes[VSOCK_HLEN];
	uint32_t sent = 0, answers = 0;
	struct vsock_packet packet;

	for (int stuck = 0; stuck < 50;) {
		struct vsock_packet request = guest_packet(VSOCK_OP_REQUEST, sent, 99);

		vsock_packet_write(&request, bytes);
		if (os_send(rig.guest, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes)) {
			sent++;
			stuck = 0;
			continue;
		}
		rig_run(1);
		stuck++;
	}
	ck_assert_uint_gt(sent, 1000);
	for (int waited = 0; answers < sent && waited < 2000; waited++) {
		while (guest_poll(&packet)) {
			ck_assert_int_eq(packet.op, VSOCK_OP_RST);
			answers++;
		}
		rig_run(1);
	}
	ck_assert_uint_eq(answers, sent);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
}
END_TEST

/* ---- coming and going ---- */

START_TEST(a_disconnect_ends_every_connection)
{
	guest_open(1000);
	guest_send(VSOCK_OP_REQUEST, 1001, RIG_LATER, 0);
	RIG_UNTIL(rig.later);
	close(rig.guest);
	rig.guest = -1;
	RIG_UNTIL(!vsock_stream_is_up(rig.stream));
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
	ck_assert(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(rig.closed, 1);
	rig_attach_guest();
	rig.have = 0;
	rig_expect_greeting();
	guest_open(1000);
}
END_TEST

START_TEST(a_listener_serves_one_vmm_at_a_time)
{
	char path[] = "/tmp/netctl-vsock-XXXXXX", file[64];
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int listener, second;

	ck_assert_ptr_nonnull(mkdtemp(path));
	snprintf(file, sizeof(file), "%s/s", path);
	memcpy(sa.sun_path, file, strlen(file) + 1);
	listener = os_socket(AF_UNIX, SOCK_STREAM, 0, true);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(listener, 8), 0);
	ck_assert_int_eq(vsock_stream_attach(rig.stream, listener, true, RIG_CID), 0);
	rig.guest = os_socket(AF_UNIX, SOCK_STREAM, 0, true);
	ck_assert_int_eq(connect(rig.guest, (struct sockaddr *)&sa, sizeof(sa)), 0);
	rig_expect_greeting();
	second = os_socket(AF_UNIX, SOCK_STREAM, 0, true);
	ck_assert_int_eq(connect(second, (struct sockaddr *)&sa, sizeof(sa)), 0);
	RIG_UNTIL(rig_count(COUNTER_VSOCK_VMM_REFUSED) == 1);
	guest_open(1000);
	close(second);
	close(rig.guest);
	rig.guest = os_socket(AF_UNIX, SOCK_STREAM, 0, true);
	ck_assert_int_eq(connect(rig.guest, (struct sockaddr *)&sa, sizeof(sa)), 0);
	rig_expect_greeting();
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
	guest_open(1000);
	ck_assert_int_eq(vsock_stream_attach(rig.stream, -1, false, 0), 0);
	ck_assert(!vsock_stream_is_up(rig.stream));
	unlink(file);
	rmdir(path);
}
END_TEST

START_TEST(a_datagram_socket_is_refused)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_DGRAM, true, fds), 0);
	ck_assert_int_eq(vsock_stream_attach(rig.stream, fds[0], false, RIG_CID), -EINVAL);
	ck_assert_int_eq(close(fds[1]), 0);
	ck_assert(!vsock_stream_is_up(rig.stream));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsock_hostile");
	TCase *p = tcase_create("packets"), *g = tcase_create("coming and going");
	TCase *l = tcase_create("alone");

	tcase_add_checked_fixture(p, rig_setup, rig_teardown);
	tcase_set_timeout(p, 30);
	tcase_add_test(p, bytes_for_no_connection_are_answered_by_rst);
	tcase_add_test(p, an_rst_is_never_answered);
	tcase_add_test(p, a_second_request_ends_the_connection);
	tcase_add_test(p, a_request_withdrawn_while_it_waits_is_forgotten);
	tcase_add_test(p, foreign_cids_are_counted);
	tcase_add_test(p, unknown_types_are_refused_as_what_they_are);
	tcase_add_test(p, unknown_ops_end_the_connection);
	tcase_add_test(p, op_0_is_not_for_us);
	tcase_add_test(p, bytes_behind_an_end_are_an_end);
	tcase_add_test(p, only_rw_carries_bytes);
	tcase_add_test(p, overlong_packets_are_skipped_and_end_their_connection);
	tcase_add_test(p, a_claim_of_more_taken_than_sent_gives_no_credit);
	tcase_add_test(p, packets_come_byte_by_byte);
	tcase_add_test(p, unread_answers_stop_the_questions);
	suite_add_tcase(s, p);
	tcase_add_checked_fixture(g, rig_setup, rig_teardown);
	tcase_add_test(g, a_disconnect_ends_every_connection);
	suite_add_tcase(s, g);
	tcase_add_checked_fixture(l, rig_setup_alone, rig_teardown);
	tcase_add_test(l, a_listener_serves_one_vmm_at_a_time);
	tcase_add_test(l, a_datagram_socket_is_refused);
	suite_add_tcase(s, l);
	return run_suite(s);
}
