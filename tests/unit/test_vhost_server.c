/* SPDX-License-Identifier: MIT */
/* The vhost-user server: messages, sessions, connections. Its rings are test_vhost_rings.c's. */
#include "common/unix_socket.h"
#include "tests/unit/vhost_echo_rig.h"

/* ---- negotiating ---- */

START_TEST(features_are_the_devices_and_ours)
{
	ck_assert_uint_eq(get(VHOST_USER_GET_FEATURES),
		DEVICE_FEATURE | RING_FEATURES | BIT(VHOST_USER_F_PROTOCOL_FEATURES));
	ck_assert_uint_eq(get(VHOST_USER_GET_PROTOCOL_FEATURES), PROTOCOL_FEATURES);
	negotiate(DEVICE_FEATURE);
	ck_assert_uint_eq(get(VHOST_USER_GET_QUEUE_NUM), QUEUES);
	ck_assert_uint_eq(get(VHOST_USER_GET_MAX_MEM_SLOTS), GUEST_REGIONS_MAX);
	ck_assert(vhost_user_features(server) & DEVICE_FEATURE);
	ck_assert_uint_eq(seen.ups, 1);
}
END_TEST

START_TEST(a_message_may_come_byte_by_byte)
{
	struct vhost_user_header header = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
	uint64_t v;

	for (size_t i = 0; i < sizeof(header); i++) {
		send_bytes((uint8_t *)&header + i, 1, NULL, 0);
		run(1);
	}
	answer(VHOST_USER_GET_FEATURES, &v, sizeof(v));
}
END_TEST

START_TEST(configuration_is_read_in_parts)
{
	struct vhost_user_config c = {.offset = 2, .size = 3};

	negotiate(DEVICE_FEATURE);
	request(VHOST_USER_GET_CONFIG, 0, &c, 12 + 3, NULL, 0);
	ck_assert_uint_eq(answer(VHOST_USER_GET_CONFIG, &c, sizeof(c)), 15);
	ck_assert_mem_eq(c.bytes, "345", 3);
	c.offset = 7;
	c.size = 2;
	request(VHOST_USER_GET_CONFIG, 0, &c, 12 + 2, NULL, 0);
	ck_assert_uint_eq(answer(VHOST_USER_GET_CONFIG, &c, sizeof(c)), 0);
	c.offset = UINT32_MAX;
	request(VHOST_USER_GET_CONFIG, 0, &c, 12 + 2, NULL, 0);
	ck_assert_uint_eq(answer(VHOST_USER_GET_CONFIG, &c, sizeof(c)), 0);
	ck_assert(!ask(VHOST_USER_SET_CONFIG, &c, 12 + 2, NULL, 0));
	request(VHOST_USER_SET_CONFIG, 0, &c, 12 + 2, NULL, 0);
	get(VHOST_USER_GET_FEATURES);
}
END_TEST

START_TEST(what_cannot_be_granted_is_answered_so)
{
	struct guest_range twice[] = {mem_ranges[0], mem_ranges[0]};
	struct virtq_config nowhere = {.desc_user = 16};

	bring_up();
	ck_assert(!ask_u64(VHOST_USER_SET_FEATURES, BIT(63)));
	ck_assert(!ask_u64(VHOST_USER_SET_PROTOCOL_FEATURES, BIT(63)));
	ck_assert(!ask_u64(VHOST_USER_SET_STATUS, 256));
	ck_assert(!ask_state(VHOST_USER_SET_VRING_NUM, 0, 8));
	ck_assert(!ask_state(VHOST_USER_SET_VRING_BASE, 0, 8));
	ck_assert(!ask_state(VHOST_USER_SET_VRING_NUM, QUEUES, 8));
	ck_assert(!ask_state(VHOST_USER_SET_VRING_ENABLE, 0, 2));
	ck_assert(!ask_state(VHOST_USER_SET_VRING_ENABLE, UINT32_MAX, 1));
	ck_assert(!ask_u64(VHOST_USER_SET_VRING_KICK, VHOST_USER_VRING_NO_FD));
	ck_assert(!ask_u64(VHOST_USER_SET_VRING_KICK, 0));
	ck_assert(!ask_u64(VHOST_USER_SET_VRING_CALL, QUEUES | VHOST_USER_VRING_NO_FD));
	ck_assert(!ask_u64(VHOST_USER_SET_VRING_CALL, BIT(40) | VHOST_USER_VRING_NO_FD));
	ck_assert(!ask_mem_table(twice, 2));
	ck_assert(!ask_addr(1, &nowhere));
	/* Ring 0 was not touched by any of it. */
	offer(0, 0, 'x');
	do_kick(0);
	UNTIL(echoed(0, 0, 'x'));
	ck_assert_uint_eq(seen.downs, 0);
}
END_TEST

START_TEST(without_an_answer_asked_for_it_ends_the_session)
{
	struct vhost_user_vring_state state = {0, 3};

	negotiate(DEVICE_FEATURE);
	request(VHOST_USER_SET_VRING_NUM, 0, &state, sizeof(state), NULL, 0);
	UNTIL(seen.downs == 1);
	ck_assert_str_eq(seen.why, "SET_VRING_NUM could not be granted");
	ck_assert_int_eq(vhost_user_connected_fd(server), -1);
}
END_TEST

static const struct {
	struct vhost_user_header header;
	unsigned fds;
} malformed[] = {
	{{VHOST_USER_GET_FEATURES, 2, 0}, 0},
	{{VHOST_USER_GET_FEATURES, 1 | VHOST_USER_REPLY, 0}, 0},
	{{VHOST_USER_GET_FEATURES, 1, UINT32_MAX}, 0},
	{{VHOST_USER_GET_FEATURES, 1, 8}, 0},
	{{VHOST_USER_SET_FEATURES, 1, 4}, 0},
	{{VHOST_USER_GET_FEATURES, 1, 0}, 1},
	{{VHOST_USER_GET_FEATURES, 1, 0}, 9},
	{{0, 1, 0}, 0},
	{{6 /* SET_LOG_BASE */, 1, 16}, 1},
	{{VHOST_USER_REQUESTS, 1, 0}, 0},
	{{UINT32_MAX, 1, 0}, 0},
	{{VHOST_USER_GET_STATUS, 1, 0}, 0}, /* not agreed upon */
	{{VHOST_USER_SET_MEM_TABLE, 1, 8 + 9 * 32}, 0},
};

#define MALFORMED ((int)(sizeof(malformed) / sizeof(*malformed)))

START_TEST(malformed_messages_end_the_session)
{
	uint8_t bytes[512] = {0};
	int fds[2], copies[16];

	ck_assert_int_eq(os_pipe(fds), 0);
	for (int i = 0; i < 16; i++)
		copies[i] = fds[1];
	memcpy(bytes, &malformed[_i].header, sizeof(malformed[_i].header));
	send_bytes(bytes,
		sizeof(malformed[_i].header) +
			(malformed[_i].header.size < 400 ? malformed[_i].header.size : 0),
		copies, malformed[_i].fds);
	close(fds[1]);
	UNTIL(seen.downs == 1);
	/* Its descriptors are closed, too. */
	ck_assert(is_readable(fds[0]));
	close(fds[0]);
}
END_TEST

START_TEST(descriptors_in_the_middle_of_a_message_end_the_session)
{
	struct vhost_user_header header = {VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8};
	uint64_t v = 0;

	send_bytes(&header, sizeof(header), NULL, 0);
	send_bytes(&v, sizeof(v), &guest.fd, 1);
	UNTIL(seen.downs == 1);
}
END_TEST

START_TEST(a_session_leaves_no_descriptor_behind)
{
	int before = os_dup(guest.fd), after;

	close(before);
	for (int i = 0; i < 20; i++) {
		connect_pair();
		bring_up();
		close(vmm);
		vmm = -1;
		UNTIL(seen.downs == (unsigned)i + 1);
		for (unsigned k = 0; k < QUEUES; k++) {
			close(kick[k]);
			close(call[k]);
			kick[k] = call[k] = -1;
		}
	}
	after = os_dup(guest.fd);
	close(after);
	ck_assert_int_eq(after, before);
	ck_assert_uint_eq(seen.stops, 20 * QUEUES);
}
END_TEST

/* ---- memory, reset, the end ---- */

START_TEST(memory_may_be_replaced_under_running_rings)
{
	struct guest_range moved[] = {mem_ranges[1], mem_ranges[0]};

	ck_assert(ask_mem_table(moved, 2));
	offer(0, 0, 'x');
	do_kick(0);
	UNTIL(echoed(0, 0, 'x'));
	ck_assert_uint_eq(seen.stops, 0);
	/* Without the region that holds them they stop. */
	ck_assert(!ask_mem_table(moved, 1));
	ck_assert_uint_eq(seen.stops, QUEUES);
	ck_assert_uint_eq(seen.downs, 0);
}
END_TEST

START_TEST(memory_comes_and_goes_in_slots)
{
	struct vhost_user_mem_region region = {.range = {1u << 30, 8192, 1u << 30, 0}};

	ck_assert(ask(VHOST_USER_ADD_MEM_REG, &region, sizeof(region), &guest.fd, 1));
	ck_assert(!ask(VHOST_USER_ADD_MEM_REG, &region, sizeof(region), &guest.fd, 1));
	ck_assert(!ask(VHOST_USER_ADD_MEM_REG, &region, sizeof(region), NULL, 0));
	ck_assert(ask(VHOST_USER_REM_MEM_REG, &region, sizeof(region), &guest.fd, 1));
	ck_assert(!ask(VHOST_USER_REM_MEM_REG, &region, sizeof(region), NULL, 0));
	offer(0, 0, 'x');
	do_kick(0);
	UNTIL(echoed(0, 0, 'x'));
	region.range = mem_ranges[0];
	ck_assert(!ask(VHOST_USER_REM_MEM_REG, &region, sizeof(region), NULL, 0));
	ck_assert_uint_eq(seen.stops, QUEUES);
}
END_TEST

START_TEST(a_reset_stops_the_rings_and_keeps_the_memory)
{
	static const uint32_t ways[] = {
		VHOST_USER_RESET_DEVICE, VHOST_USER_RESET_OWNER, VHOST_USER_SET_STATUS};

	for (unsigned i = 0; i < 3; i++) {
		uint64_t zero = 0;
		bool status = ways[i] == VHOST_USER_SET_STATUS;

		ck_assert(ask_u64(VHOST_USER_SET_STATUS, 15));
		ck_assert_uint_eq(get(VHOST_USER_GET_STATUS), 15);
		ck_assert(ask(ways[i], &zero, status ? 8 : 0, NULL, 0));
		ck_assert_uint_eq(seen.stops, (i + 1) * QUEUES);
		ck_assert_uint_eq(get(VHOST_USER_GET_STATUS), 0);
		ck_assert_uint_eq(vhost_user_features(server), 0);
		memset(guest.bytes, 0, MEM_HALF);
		for (unsigned k = 0; k < QUEUES; k++) {
			driver[k].seen = 0;
			set_ring(k, 0);
			ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, k, 1));
		}
		offer(0, 0, 'x');
		do_kick(0);
		UNTIL(echoed(0, 0, 'x'));
	}
}
END_TEST

START_TEST(memory_that_is_cut_short_ends_the_session_and_nothing_else)
{
	ck_assert_int_eq(ftruncate(guest.fd, 0), 0);
	do_kick(0);
	UNTIL(seen.downs == 1);
	ck_assert_str_eq(seen.why, "guest memory was cut short");
	ck_assert_uint_eq(seen.stops, QUEUES);
	close(vmm);
	connect_pair();
	ck_assert_uint_eq(get(VHOST_USER_GET_PROTOCOL_FEATURES), PROTOCOL_FEATURES);
}
END_TEST

START_TEST(a_device_may_end_the_session)
{
	seen.failing = true;
	do_kick(0);
	UNTIL(seen.downs == 1);
	ck_assert_str_eq(seen.why, "the device has had enough");
}
END_TEST

/* As front-ends do that know no SET_VRING_ENABLE; REPLY_ACK is there for the test's sake. */
START_TEST(without_protocol_features_a_kick_starts_the_ring)
{
	uint64_t v = PROTOCOL_FEATURES;

	request(VHOST_USER_SET_PROTOCOL_FEATURES, 0, &v, sizeof(v), NULL, 0);
	ck_assert(ask_u64(VHOST_USER_SET_FEATURES, BIT(VIRTIO_F_VERSION_1)));
	ck_assert(ask_mem_table(mem_ranges, 2));
	offer(0, 0, 'x');
	set_ring(0, 0);
	UNTIL(echoed(0, 0, 'x'));
}
END_TEST

/* ---- listening ---- */

START_TEST(a_listener_serves_one_front_end_after_another)
{
	char directory[] = "/tmp/netctl-vhost-XXXXXX", path[64];
	int listener, second;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	listener = unix_listen(path, SOCK_STREAM, 0);
	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(vhost_user_attach(server, listener, true), 0);
	ck_assert_int_eq(vhost_user_listener_fd(server), listener);
	vmm = unix_connect(path, SOCK_STREAM, 1000, false);
	bring_up();
	second = unix_connect(path, SOCK_STREAM, 1000, false);
	UNTIL(seen.refused == 1);
	ck_assert(is_readable(second));
	close(second);
	offer(0, 0, 'x');
	do_kick(0);
	UNTIL(echoed(0, 0, 'x'));
	close(vmm);
	vmm = unix_connect(path, SOCK_STREAM, 1000, false);
	get(VHOST_USER_GET_FEATURES);
	ck_assert_uint_eq(seen.ups, 2);
	ck_assert_uint_eq(seen.refused, 1);
	vhost_user_attach(server, -1, false);
	ck_assert_uint_eq(seen.downs, 2);
	ck_assert_int_eq(vhost_user_listener_fd(server), -1);
	unlink(path);
	rmdir(directory);
}
END_TEST

START_TEST(what_is_no_stream_socket_is_refused)
{
	ck_assert_int_eq(vhost_user_attach(server, os_dup(guest.fd), false), -EINVAL);
	ck_assert_int_eq(vhost_user_attach(server, os_dup(guest.fd), true), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_server");
	TCase *c = tcase_create("messages"), *r = tcase_create("rings"), *l = tcase_create("fds");

	tcase_add_checked_fixture(c, connected_setup, teardown);
	tcase_add_test(c, features_are_the_devices_and_ours);
	tcase_add_test(c, a_message_may_come_byte_by_byte);
	tcase_add_test(c, configuration_is_read_in_parts);
	tcase_add_test(c, what_cannot_be_granted_is_answered_so);
	tcase_add_test(c, without_an_answer_asked_for_it_ends_the_session);
	tcase_add_loop_test(c, malformed_messages_end_the_session, 0, MALFORMED);
	tcase_add_test(c, descriptors_in_the_middle_of_a_message_end_the_session);
	tcase_add_test(c, without_protocol_features_a_kick_starts_the_ring);
	suite_add_tcase(s, c);
	tcase_add_checked_fixture(r, up_setup, teardown);
	tcase_add_test(r, memory_may_be_replaced_under_running_rings);
	tcase_add_test(r, memory_comes_and_goes_in_slots);
	tcase_add_test(r, a_reset_stops_the_rings_and_keeps_the_memory);
	tcase_add_test(r, memory_that_is_cut_short_ends_the_session_and_nothing_else);
	tcase_add_test(r, a_device_may_end_the_session);
	suite_add_tcase(s, r);
	tcase_add_checked_fixture(l, setup, teardown);
	tcase_add_test(l, a_session_leaves_no_descriptor_behind);
	tcase_add_test(l, a_listener_serves_one_front_end_after_another);
	tcase_add_test(l, what_is_no_stream_socket_is_refused);
	suite_add_tcase(s, l);
	return run_suite(s);
}
