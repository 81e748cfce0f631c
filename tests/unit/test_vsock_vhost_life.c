/* SPDX-License-Identifier: MIT */
/* vsock over vhost-user through pauses, resets, and a worker's death. */
#include "tests/unit/vsock_vhost_rig.h"

static void stop_rings(uint16_t *rx_base, uint16_t *tx_base)
{
	ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, RX, 0));
	ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, TX, 0));
	*rx_base = get_base(RX);
	*tx_base = get_base(TX);
}

/* As QEMU does for `stop`, a guest's reset, and before `cont`. */
static void stop_device(uint16_t *rx_base, uint16_t *tx_base)
{
	stop_rings(rx_base, tx_base);
	ck_assert(ask_u64(VHOST_USER_SET_STATUS, 0));
}

static void open_one(void)
{
	rx_fill(RING);
	guest_open(1000);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 1);
}

/* ---- pauses ---- */

START_TEST(a_vm_that_pauses_keeps_its_connections)
{
	uint16_t rx, tx;
	uint8_t bytes[5];

	open_one();
	stop_device(&rx, &tx);
	ck_assert_uint_eq(rx, 1);
	host_write(rig.hosts[0], "hello", 5);
	rx_expect_nothing();
	rings_start(rx, tx);
	ck_assert_uint_eq(rx_packet(bytes, true).len, 5);
	ck_assert_mem_eq(bytes, "hello", 5);
	tx_rw(1000, "again", 5);
	host_read(rig.hosts[0], bytes, 5);
	ck_assert_mem_eq(bytes, "again", 5);
	ck_assert_uint_eq(rig.guest_resets, 0);
}
END_TEST

START_TEST(packets_of_a_pause_are_served_behind_it)
{
	struct vsock_packet packet = tx_header(VSOCK_OP_RW, 1000, RIG_SOCKET);
	const uint32_t header = VSOCK_HLEN;
	uint16_t rx, tx;
	uint8_t bytes[5];

	open_one();
	stop_device(&rx, &tx);
	packet.len = 5;
	tx_pieces(&packet, "later", 5, &header, 1);
	run(5);
	ck_assert(!tx_all_back());
	rings_start(rx, tx);
	host_read(rig.hosts[0], bytes, 5);
	ck_assert_mem_eq(bytes, "later", 5);
}
END_TEST

/* ---- resets ---- */

START_TEST(a_driver_that_begins_anew_has_no_connections)
{
	uint16_t rx, tx;

	open_one();
	stop_device(&rx, &tx);
	rings_new();
	rings_start(0, 0);
	UNTIL(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(rig.guest_resets, 1);
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
	rx_fill(RING);
	rx_expect_nothing();
	guest_open(1000);
}
END_TEST

START_TEST(rings_that_go_on_elsewhere_are_anothers)
{
	uint16_t rx, tx;

	open_one();
	stop_device(&rx, &tx);
	rings_start(rx, (uint16_t)(tx + 1));
	UNTIL(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(rig.guest_resets, 1);
}
END_TEST

START_TEST(a_reset_of_the_device_ends_all_at_once)
{
	open_one();
	request(_i ? VHOST_USER_RESET_DEVICE : VHOST_USER_RESET_OWNER, 0, NULL, 0, NULL, 0);
	UNTIL(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(rig.guest_resets, 1);
	rings_new();
	rings_start(0, 0);
	rx_fill(RING);
	guest_open(1000);
	ck_assert_uint_eq(rig.guest_resets, 1);
}
END_TEST

START_TEST(a_reset_before_there_was_a_guest_says_nothing)
{
	request(VHOST_USER_RESET_DEVICE, 0, NULL, 0, NULL, 0);
	run(5);
	ck_assert_uint_eq(rig.guest_resets, 0);
	rings_start(0, 0);
	run(5);
	ck_assert_uint_eq(rig.guest_resets, 0);
}
END_TEST

START_TEST(whoever_wants_a_guest_that_is_not_there_is_refused)
{
	struct vsock_host host = {.fd = -1};

	ck_assert_int_eq(vsock_mux_connect(rig.mux, 22, &host, NULL), -ENOTCONN);
	rings_start(0, 0);
	ck_assert_int_eq(vsock_mux_connect(rig.mux, 22, &host, NULL), 0);
}
END_TEST

START_TEST(a_vmm_that_leaves_takes_all_with_it)
{
	open_one();
	close(vmm);
	vmm = -1;
	UNTIL(rig.downs == 1);
	ck_assert(host_is_at_end(rig.hosts[0]));
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
}
END_TEST

/* ---- another life of the VM, the VMM being the same (worker_reset()) ---- */

/* With what the guest sent and nobody had read when it came. */
static void reset_vm(void)
{
	vsock_mux_hold(rig.mux);
	tx_rw(1000, "late", 4);
	tx_send(VSOCK_OP_REQUEST, 1001, RIG_SOCKET, 0);
	run(5);
	ck_assert(!tx_all_back());
	ck_assert_uint_eq(vsock_mux_count(rig.mux), 0);
	rx_expect_nothing();
	vsock_vhost_reset(rig.vhost);
	vsock_mux_release(rig.mux);
	UNTIL(tx_all_back());
	ck_assert(host_is_at_end(rig.hosts[0]));
}

START_TEST(a_new_life_hears_rst_for_each_connection_and_no_more)
{
	open_one();
	reset_vm();
	rx_expect(VSOCK_OP_RST, 1000);
	rx_expect_nothing();
	ck_assert_uint_eq(rig.n_hosts, 1);
	guest_open(1000);
	ck_assert_uint_eq(rig.guest_resets + rig.downs, 0);
}
END_TEST

START_TEST(a_new_life_is_told_by_the_event_queue_where_it_is_ours)
{
	set_ring(EVENTS, 0);
	enable_ring(EVENTS);
	open_one();
	memset(guest.bytes + RX_AT(33), 0xff, 8);
	driver[EVENTS].desc[0] = (struct virtq_desc){RX_AT(33), 8, VIRTQ_DESC_WRITE, 0};
	driver_offer(&driver[EVENTS], 0);
	reset_vm();
	UNTIL(driver_got(&driver[EVENTS], 0, 4));
	rx_expect_nothing();
	guest_open(1000);
}
END_TEST

/* ---- a worker's death ---- */

static struct vhost_session keep(void)
{
	struct vhost_session s;

	ck_assert(vsock_vhost_session(rig.vhost, &s));
	s.fd = os_dup(s.fd);
	for (unsigned i = 0; i < s.n_regions; i++)
		s.region_fd[i] = os_dup(s.region_fd[i]);
	for (unsigned i = 0; i < s.n_queues; i++) {
		s.queue[i].kick = s.queue[i].kick < 0 ? -1 : os_dup(s.queue[i].kick);
		s.queue[i].call = s.queue[i].call < 0 ? -1 : os_dup(s.queue[i].call);
	}
	return s;
}

static void die_and_resume(void)
{
	struct vhost_session s = keep();

	rig_unmake();
	rig_make(true);
	ck_assert_int_eq(vsock_vhost_resume(rig.vhost, &s, RIG_CID), 0);
}

START_TEST(a_successor_resets_what_there_was_and_serves_what_comes)
{
	bool told[3] = {false};
	uint8_t bytes[3];

	rx_fill(RING);
	for (uint32_t i = 0; i < 3; i++)
		guest_open(1000 + i);
	/* One that is over is not told of. */
	tx_send(VSOCK_OP_RST, 1001, RIG_SOCKET, 0);
	UNTIL(vsock_mux_count(rig.mux) == 2);
	die_and_resume();
	for (int i = 0; i < 2; i++) {
		struct vsock_packet packet = rx_packet(NULL, true);

		ck_assert_uint_eq(packet.op, VSOCK_OP_RST);
		ck_assert_uint_eq(packet.src_port, RIG_SOCKET);
		ck_assert_uint_eq(packet.type, VSOCK_TYPE_STREAM);
		told[packet.dst_port - 1000] = true;
	}
	ck_assert(told[0] && !told[1] && told[2]);
	rx_expect_nothing();
	guest_open(1000);
	tx_rw(1000, "new", 3);
	host_read(rig.hosts[3], bytes, 3);
	ck_assert_mem_eq(bytes, "new", 3);
	ck_assert_uint_eq(rig.guest_resets, 0);
	ck_assert_uint_eq(rig.downs, 0);
}
END_TEST

START_TEST(what_one_successor_could_not_tell_the_next_one_does)
{
	/* Two chains: one for the answer, one that is left. */
	rx_offer(0);
	rx_offer(1);
	do_kick(RX);
	tx_send(VSOCK_OP_REQUEST, 1000, RIG_SOCKET, 0);
	tx_send(VSOCK_OP_REQUEST, 1001, RIG_SOCKET, 0);
	ck_assert_uint_eq(rx_packet(NULL, false).op, VSOCK_OP_RESPONSE);
	ck_assert_uint_eq(rx_packet(NULL, false).op, VSOCK_OP_RESPONSE);
	die_and_resume();
	rx_offer(0);
	do_kick(RX);
	ck_assert_uint_eq(rx_packet(NULL, false).op, VSOCK_OP_RST);
	die_and_resume();
	rx_fill(4);
	ck_assert_uint_eq(rx_packet(NULL, false).op, VSOCK_OP_RST);
	rx_expect_nothing();
}
END_TEST

START_TEST(a_successors_connections_are_not_taken_for_the_dead_ones)
{
	struct vsock_host host = {.fd = -1};
	struct vsock_packet before, after;

	rx_fill(RING);
	ck_assert_int_eq(vsock_mux_connect(rig.mux, 22, &host, NULL), 0);
	before = rx_expect(VSOCK_OP_REQUEST, 22);
	die_and_resume();
	ck_assert_int_eq(vsock_mux_connect(rig.mux, 22, &host, NULL), 0);
	do {
		after = rx_packet(NULL, true);
	} while (after.op != VSOCK_OP_REQUEST);
	ck_assert_uint_ne(after.src_port, before.src_port);
	ck_assert_uint_ge(after.src_port, VSOCK_HOST_PORT_FIRST);
}
END_TEST

START_TEST(packets_that_came_meanwhile_are_answered)
{
	struct vhost_session s;

	open_one();
	s = keep();
	rig_unmake();
	tx_rw(1000, "lost", 4);
	tx_send(VSOCK_OP_REQUEST, 1001, RIG_SOCKET, 0);
	rig_make(true);
	ck_assert_int_eq(vsock_vhost_resume(rig.vhost, &s, RIG_CID), 0);
	for (unsigned rsts = 0, responses = 0; rsts < 2 || responses < 1;) {
		struct vsock_packet packet = rx_packet(NULL, true);

		rsts += packet.op == VSOCK_OP_RST && packet.dst_port == 1000;
		responses += packet.op == VSOCK_OP_RESPONSE && packet.dst_port == 1001;
	}
}
END_TEST

START_TEST(a_table_of_nonsense_costs_a_few_packets)
{
	struct flow_memory_pair pair = {1000, RIG_SOCKET};

	open_one();
	/* What a captured worker may have left. */
	for (uint32_t i = 0; i < 100; i++)
		flow_memory_set_pair(rig.memory, 50 + i, &pair);
	die_and_resume();
	for (int i = 0; i < 101; i++)
		rx_expect(VSOCK_OP_RST, 1000);
	rx_expect_nothing();
	guest_open(1000);
}
END_TEST

START_TEST(a_new_vmm_hears_nothing_of_the_old_ones)
{
	open_one();
	rig_unmake();
	rig_make(true);
	close(vmm);
	rig_connect();
	negotiate(BIT(0));
	ck_assert(ask_mem_table(mem_ranges, 2));
	rings_new();
	rings_start(0, 0);
	rx_fill(RING);
	rx_expect_nothing();
	guest_open(1000);
}
END_TEST

START_TEST(where_the_event_queue_is_ours_the_guest_is_told_by_it)
{
	uint32_t event;

	set_ring(EVENTS, 0);
	enable_ring(EVENTS);
	open_one();
	memset(guest.bytes + RX_AT(33), 0xff, 8);
	driver[EVENTS].desc[0] = (struct virtq_desc){RX_AT(33), 8, VIRTQ_DESC_WRITE, 0};
	driver_offer(&driver[EVENTS], 0);
	die_and_resume();
	UNTIL(driver_got(&driver[EVENTS], 0, 4));
	memcpy(&event, guest.bytes + RX_AT(33), sizeof(event));
	ck_assert_uint_eq(event, 0);
	rx_expect_nothing();
	guest_open(1000);
}
END_TEST

START_TEST(a_file_of_a_former_release_has_no_place_for_them)
{
	struct flow_memory *memory = flow_memory_open(
		os_shm_create("test-flows", FLOW_MEMORY_SIZE_V1));
	struct flow_memory_pair pair = {1, 2};

	ck_assert_ptr_nonnull(memory);
	flow_memory_set_pair(memory, 0, &pair);
	ck_assert(!flow_memory_pair(memory, 0, &pair));
	flow_memory_free(memory);
}
END_TEST

START_TEST(a_session_is_told_with_all_that_it_is)
{
	struct vhost_session s;
	unsigned before = rig.sessions;

	ck_assert(vsock_vhost_session(rig.vhost, &s));
	ck_assert_uint_eq(s.n_regions, 2);
	ck_assert_uint_eq(s.n_queues, 3);
	ck_assert(s.queue[RX].enabled && s.queue[RX].kick >= 0 && s.queue[RX].call >= 0);
	ck_assert_int_eq(s.queue[EVENTS].kick, -1);
	close(vmm);
	vmm = -1;
	UNTIL(rig.sessions == before + 1);
	ck_assert(!vsock_vhost_session(rig.vhost, &s));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vsock_vhost_life");
	TCase *t = tcase_create("up"), *c = tcase_create("connected");

	tcase_add_checked_fixture(t, rig_setup, rig_teardown);
	tcase_add_test(t, a_vm_that_pauses_keeps_its_connections);
	tcase_add_test(t, packets_of_a_pause_are_served_behind_it);
	tcase_add_test(t, a_driver_that_begins_anew_has_no_connections);
	tcase_add_test(t, rings_that_go_on_elsewhere_are_anothers);
	tcase_add_loop_test(t, a_reset_of_the_device_ends_all_at_once, 0, 2);
	tcase_add_test(t, a_vmm_that_leaves_takes_all_with_it);
	tcase_add_test(t, a_new_life_hears_rst_for_each_connection_and_no_more);
	tcase_add_test(t, a_new_life_is_told_by_the_event_queue_where_it_is_ours);
	tcase_add_test(t, a_successor_resets_what_there_was_and_serves_what_comes);
	tcase_add_test(t, what_one_successor_could_not_tell_the_next_one_does);
	tcase_add_test(t, a_successors_connections_are_not_taken_for_the_dead_ones);
	tcase_add_test(t, packets_that_came_meanwhile_are_answered);
	tcase_add_test(t, a_table_of_nonsense_costs_a_few_packets);
	tcase_add_test(t, a_new_vmm_hears_nothing_of_the_old_ones);
	tcase_add_test(t, where_the_event_queue_is_ours_the_guest_is_told_by_it);
	tcase_add_test(t, a_file_of_a_former_release_has_no_place_for_them);
	tcase_add_test(t, a_session_is_told_with_all_that_it_is);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(c, rig_connected_setup, rig_teardown);
	tcase_add_test(c, a_reset_before_there_was_a_guest_says_nothing);
	tcase_add_test(c, whoever_wants_a_guest_that_is_not_there_is_refused);
	suite_add_tcase(s, c);
	return run_suite(s);
}
