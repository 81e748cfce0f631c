/* SPDX-License-Identifier: MIT */
/* The vhost-user server, by a front-end written by hand and a device that echoes. */
#include "common/unix_socket.h"
#include "dataplane/vhost_user/message.h"
#include "dataplane/vhost_user/server.h"
#include "tests/unit/vhost_rig.h"

#include <poll.h>
#include <stdio.h>

#define QUEUES 2
#define RING 16
#define DEVICE_FEATURE (UINT64_C(1) << 5)
#define BIT(n) (UINT64_C(1) << (n))
#define RING_FEATURES                                                                              \
	(BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1))
#define PROTOCOL_FEATURES                                                                          \
	(BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |                    \
		BIT(VHOST_USER_PROTOCOL_F_CONFIG) | BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |      \
		BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |                                   \
		BIT(VHOST_USER_PROTOCOL_F_STATUS))

static struct loop *loop;
static struct vhost_user *server;
static struct virtq_chain chain;
static struct driver driver[QUEUES];
static int vmm;                        /* the front-end's end of the connection */
static int kick[QUEUES], call[QUEUES]; /* the guest's ends: to be written, to be read */

static struct {
	unsigned turns, stops, ups, downs, refused;
	char why[128];
	bool paused, failing;
} seen;

/* ---- the device ---- */

static void config(void *arg, uint8_t *bytes)
{
	(void)arg;
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)('1' + i);
}

static enum vhost_turn turn(void *arg, unsigned queue, struct virtq *ring)
{
	(void)arg;
	(void)queue;
	seen.turns++;
	if (seen.failing)
		vhost_user_fail(server, "the device has had enough");
	if (seen.paused || seen.failing)
		return VHOST_PAUSED;
	for (int i = 0; i < 4; i++) {
		uint8_t bytes[64];
		size_t len;
		int got = virtq_pop(ring, &chain);

		if (got == 0 || got == -EPROTO)
			return VHOST_EMPTY;
		if (got < 0)
			continue;
		len = virtq_chain_read(&chain, 0, bytes, sizeof(bytes));
		len = virtq_chain_write(&chain, 0, bytes, len);
		virtq_push(ring, chain.head, (uint32_t)len);
	}
	return VHOST_AGAIN;
}

static void stopped(void *arg, unsigned queue, struct virtq *ring)
{
	(void)arg;
	(void)queue;
	(void)ring;
	seen.stops++;
}

static void changed(void *arg, bool up, const char *text)
{
	(void)arg;
	seen.ups += up;
	seen.downs += !up;
	snprintf(seen.why, sizeof(seen.why), "%s", text);
}

static void refused(void *arg)
{
	(void)arg;
	seen.refused++;
}

static const struct vhost_device device = {
	.features = DEVICE_FEATURE,
	.queues = QUEUES,
	.config_size = 8,
	.config = config,
	.turn = turn,
	.stopped = stopped,
	.changed = changed,
	.refused = refused,
};

/* ---- the loop ---- */

static void stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

static void run(int ms)
{
	struct timeval tv = {.tv_sec = 0, .tv_usec = ms * 1000};

	event_base_once(loop_base(loop), -1, EV_TIMEOUT, stop, NULL, &tv);
	ck_assert_int_eq(loop_run(loop), 0);
}

/* The condition may have effects once it holds. */
#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		bool met = (condition);                                                            \
                                                                                                   \
		for (int waited = 0; !met && waited < 2000; waited++) {                            \
			run(1);                                                                    \
			met = (condition);                                                         \
		}                                                                                  \
		ck_assert_msg(met, "waited in vain for %s", #condition);                           \
	} while (0)

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* ---- the front-end ---- */

static void send_bytes(const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n_fds);
	}
	ck_assert_int_eq(os_sendmsg(vmm, &msg, 0), (int)len);
}

static void request(uint32_t what, uint32_t flags, const void *payload, uint32_t len,
	const int *fds, size_t n_fds)
{
	struct vhost_user_header header = {what, VHOST_USER_VERSION | flags, len};
	uint8_t bytes[sizeof(header) + sizeof(union vhost_user_payload)];

	memcpy(bytes, &header, sizeof(header));
	if (len)
		memcpy(bytes + sizeof(header), payload, len);
	send_bytes(bytes, sizeof(header) + len, fds, n_fds);
}

/* Waits for the answer to a request; returns the length of its payload. */
static uint32_t answer(uint32_t what, void *payload, size_t room)
{
	struct vhost_user_header header;
	ssize_t got;

	UNTIL(is_readable(vmm));
	got = read(vmm, &header, sizeof(header));
	ck_assert_int_eq(got, sizeof(header));
	ck_assert_uint_eq(header.request, what);
	ck_assert_uint_eq(header.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	ck_assert_uint_le(header.size, room);
	if (header.size) {
		got = read(vmm, payload, header.size);
		ck_assert_int_eq(got, header.size);
	}
	return header.size;
}

static uint64_t get(uint32_t what)
{
	uint64_t v = 0;

	request(what, 0, NULL, 0, NULL, 0);
	ck_assert_uint_eq(answer(what, &v, sizeof(v)), sizeof(v));
	return v;
}

/* A request with REPLY_ACK; true where it was granted. */
static bool ask(uint32_t what, const void *payload, uint32_t len, const int *fds, size_t n_fds)
{
	uint64_t v = 99;

	request(what, VHOST_USER_NEED_REPLY, payload, len, fds, n_fds);
	ck_assert_uint_eq(answer(what, &v, sizeof(v)), sizeof(v));
	ck_assert_uint_le(v, 1);
	return v == 0;
}

static bool ask_u64(uint32_t what, uint64_t v)
{
	return ask(what, &v, sizeof(v), NULL, 0);
}

static bool ask_state(uint32_t what, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state state = {index, num};

	return ask(what, &state, sizeof(state), NULL, 0);
}

static bool ask_fd(uint32_t what, uint64_t index, int fd)
{
	return ask(what, &index, sizeof(index), &fd, 1);
}

static bool ask_addr(uint32_t index, const struct virtq_config *c)
{
	struct vhost_user_vring_addr addr = {.index = index,
		.desc_user = c->desc_user,
		.avail_user = c->avail_user,
		.used_user = c->used_user};

	return ask(VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
}

static bool ask_mem_table(const struct guest_range *ranges, uint32_t count)
{
	struct vhost_user_mem_table table = {.count = count};
	int fds[VHOST_USER_FDS_MAX];

	for (uint32_t i = 0; i < count; i++) {
		table.range[i] = ranges[i];
		fds[i] = guest.fd;
	}
	return ask(VHOST_USER_SET_MEM_TABLE, &table,
		8 + count * (uint32_t)sizeof(struct guest_range), fds, count);
}

static uint16_t get_base(uint32_t index)
{
	struct vhost_user_vring_state state = {index, 0};

	request(VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), NULL, 0);
	ck_assert_uint_eq(answer(VHOST_USER_GET_VRING_BASE, &state, sizeof(state)), sizeof(state));
	ck_assert_uint_eq(state.index, index);
	return (uint16_t)state.num;
}

static void give_kick(unsigned i)
{
	int fds[2];

	ck_assert_int_eq(os_pipe(fds), 0);
	if (kick[i] >= 0)
		close(kick[i]);
	kick[i] = fds[1];
	ck_assert(ask_fd(VHOST_USER_SET_VRING_KICK, i, fds[0]));
	close(fds[0]);
}

static void give_call(unsigned i)
{
	int fds[2];

	ck_assert_int_eq(os_pipe(fds), 0);
	os_set_nonblock(fds[0], true);
	if (call[i] >= 0)
		close(call[i]);
	call[i] = fds[0];
	ck_assert(ask_fd(VHOST_USER_SET_VRING_CALL, i, fds[1]));
	close(fds[1]);
}

/* How many calls came since the last time. */
static unsigned calls(unsigned i)
{
	uint64_t one;
	unsigned n = 0;

	while (read(call[i], &one, sizeof(one)) == sizeof(one))
		n++;
	return n;
}

static void do_kick(unsigned i)
{
	uint64_t one = 1;
	ssize_t n = write(kick[i], &one, sizeof(one));

	ck_assert_int_eq(n, sizeof(one));
}

/* A chain that is echoed: the letter from one byte to another. */
static void offer(unsigned i, uint16_t number, char letter)
{
	uint32_t at = DATA_AT + 16u * number;
	uint16_t head = (uint16_t)(2 * number);

	guest.bytes[at] = (uint8_t)letter;
	driver[i].desc[head] = (struct virtq_desc){at, 1, VIRTQ_DESC_NEXT, (uint16_t)(head + 1)};
	driver[i].desc[head + 1] = (struct virtq_desc){at + 1, 8, VIRTQ_DESC_WRITE, 0};
	driver_offer(&driver[i], head);
}

static bool echoed(unsigned i, uint16_t number, char letter)
{
	return driver_got(&driver[i], 2u * number, 1) &&
		guest.bytes[DATA_AT + 16u * number + 1] == (uint8_t)letter;
}

static void negotiate(void)
{
	uint64_t v = PROTOCOL_FEATURES;

	request(VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	request(VHOST_USER_SET_PROTOCOL_FEATURES, 0, &v, sizeof(v), NULL, 0);
	ck_assert(ask_u64(VHOST_USER_SET_FEATURES,
		DEVICE_FEATURE | BIT(VHOST_USER_F_PROTOCOL_FEATURES) | BIT(VIRTIO_F_VERSION_1)));
}

/* All but SET_VRING_ENABLE. */
static void set_ring(unsigned i)
{
	struct virtq_config c = driver_config(&driver[i], 0);

	ck_assert(ask_state(VHOST_USER_SET_VRING_NUM, i, RING));
	ck_assert(ask_state(VHOST_USER_SET_VRING_BASE, i, 0));
	ck_assert(ask_addr(i, &c));
	give_kick(i);
	give_call(i);
}

static void bring_up(void)
{
	negotiate();
	ck_assert(ask_mem_table(mem_ranges, 2));
	for (unsigned i = 0; i < QUEUES; i++) {
		set_ring(i);
		ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, i, 1));
		calls(i);
	}
}

static void connect_pair(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	vmm = fds[0];
	ck_assert_int_eq(vhost_user_attach(server, fds[1], false), 0);
}

static void setup(void)
{
	guest_setup();
	memset(&seen, 0, sizeof(seen));
	for (unsigned i = 0; i < QUEUES; i++) {
		driver[i] = driver_new(i, RING);
		kick[i] = call[i] = -1;
	}
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	server = vhost_user_new(loop, &device, NULL);
	ck_assert_ptr_nonnull(server);
	vmm = -1;
}

static void connected_setup(void)
{
	setup();
	connect_pair();
}

static void up_setup(void)
{
	connected_setup();
	bring_up();
}

static void teardown(void)
{
	vhost_user_free(server);
	loop_free(loop);
	for (unsigned i = 0; i < QUEUES; i++) {
		if (kick[i] >= 0)
			close(kick[i]);
		if (call[i] >= 0)
			close(call[i]);
	}
	if (vmm >= 0)
		close(vmm);
	guest_teardown();
}

/* ---- negotiating ---- */

START_TEST(features_are_the_devices_and_ours)
{
	ck_assert_uint_eq(get(VHOST_USER_GET_FEATURES),
		DEVICE_FEATURE | RING_FEATURES | BIT(VHOST_USER_F_PROTOCOL_FEATURES));
	ck_assert_uint_eq(get(VHOST_USER_GET_PROTOCOL_FEATURES), PROTOCOL_FEATURES);
	negotiate();
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

	negotiate();
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

	negotiate();
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

/* ---- rings ---- */

START_TEST(chains_are_served_on_a_kick_and_called_for_once)
{
	for (uint16_t i = 0; i < 8; i++)
		offer(1, i, (char)('a' + i));
	do_kick(1);
	for (uint16_t i = 0; i < 8; i++)
		UNTIL(echoed(1, i, (char)('a' + i)));
	ck_assert_uint_le(calls(1), 3);
	ck_assert_uint_eq(calls(0), 0);
}
END_TEST

START_TEST(a_disabled_ring_waits_and_goes_on_where_it_was)
{
	ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, 0, 0));
	ck_assert_uint_eq(seen.stops, 1);
	ck_assert_ptr_null(vhost_user_queue(server, 0));
	offer(0, 0, 'x');
	do_kick(0);
	run(10);
	ck_assert_uint_eq(driver[0].used->idx, 0);
	ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, 0, 1));
	UNTIL(echoed(0, 0, 'x'));
}
END_TEST

START_TEST(a_ring_that_was_stopped_says_where_and_starts_from_there)
{
	offer(0, 0, 'x');
	do_kick(0);
	UNTIL(echoed(0, 0, 'x'));
	ck_assert_uint_eq(get_base(0), 1);
	ck_assert_uint_eq(seen.stops, 1);
	ck_assert(ask_state(VHOST_USER_SET_VRING_BASE, 0, 1));
	offer(0, 1, 'y');
	give_call(0);
	give_kick(0);
	UNTIL(echoed(0, 1, 'y'));
	ck_assert_uint_ge(calls(0), 1);
	ck_assert_uint_eq(driver[0].used->idx, 2);
}
END_TEST

START_TEST(a_paused_device_is_called_again_when_it_wants)
{
	unsigned turns;

	seen.paused = true;
	offer(0, 0, 'x');
	do_kick(0);
	run(10);
	turns = seen.turns;
	run(10);
	ck_assert_uint_eq(seen.turns, turns);
	ck_assert_uint_eq(driver[0].used->idx, 0);
	seen.paused = false;
	vhost_user_want(server, 0, 0);
	UNTIL(echoed(0, 0, 'x'));
}
END_TEST

START_TEST(a_kick_that_was_closed_does_not_spin)
{
	unsigned turns;

	close(kick[0]);
	kick[0] = -1;
	run(10);
	turns = seen.turns;
	run(10);
	ck_assert_uint_eq(seen.turns, turns);
}
END_TEST

START_TEST(a_bad_chain_harms_nobody)
{
	driver[0].desc[0] = (struct virtq_desc){DATA_AT, 1, VIRTQ_DESC_NEXT, 0};
	driver_offer(&driver[0], 0);
	offer(0, 1, 'x');
	do_kick(0);
	UNTIL(driver[0].used->idx == 2);
	ck_assert(driver_got(&driver[0], 0, 0));
	ck_assert(echoed(0, 1, 'x'));
	ck_assert_uint_eq(vhost_user_queue(server, 0)->refused, 1);
}
END_TEST

START_TEST(a_broken_ring_leaves_the_other_alone)
{
	driver_offer(&driver[0], 0xffff);
	do_kick(0);
	run(5);
	ck_assert_ptr_null(vhost_user_queue(server, 0));
	offer(1, 0, 'x');
	do_kick(1);
	UNTIL(echoed(1, 0, 'x'));
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
			set_ring(k);
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
	set_ring(0);
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
	tcase_add_test(r, chains_are_served_on_a_kick_and_called_for_once);
	tcase_add_test(r, a_disabled_ring_waits_and_goes_on_where_it_was);
	tcase_add_test(r, a_ring_that_was_stopped_says_where_and_starts_from_there);
	tcase_add_test(r, a_paused_device_is_called_again_when_it_wants);
	tcase_add_test(r, a_kick_that_was_closed_does_not_spin);
	tcase_add_test(r, a_bad_chain_harms_nobody);
	tcase_add_test(r, a_broken_ring_leaves_the_other_alone);
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
