/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user front-end in the test's hands: its connection, its requests, and its ends of kicks
 * and calls (pipes in place of eventfds). The server under test runs on `loop`.
 */
#ifndef TESTS_UNIT_VHOST_FRONTEND_H
#define TESTS_UNIT_VHOST_FRONTEND_H

#include "dataplane/loop.h"
#include "dataplane/vhost_user/message.h"
#include "tests/unit/vhost_rig.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#define FRONTEND_QUEUES 3
#define BIT(n) (UINT64_C(1) << (n))
#define RING_FEATURES                                                                              \
	(BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1))
#define PROTOCOL_FEATURES                                                                          \
	(BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |                    \
		BIT(VHOST_USER_PROTOCOL_F_CONFIG) | BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |      \
		BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |                                   \
		BIT(VHOST_USER_PROTOCOL_F_STATUS))

static struct loop *loop;
static struct driver driver[FRONTEND_QUEUES];
static int vmm; /* the front-end's end of the connection */
/* the guest's ends: to be written, to be read */
static int kick[FRONTEND_QUEUES], call[FRONTEND_QUEUES];

/* ---- the loop ---- */

static inline void stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

static inline void run(int ms)
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

static inline bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* ---- the front-end ---- */

static inline void send_bytes(const void *bytes, size_t len, const int *fds, size_t n_fds)
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

static inline void request(uint32_t what, uint32_t flags, const void *payload, uint32_t len,
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
static inline uint32_t answer(uint32_t what, void *payload, size_t room)
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

static inline uint64_t get(uint32_t what)
{
	uint64_t v = 0;

	request(what, 0, NULL, 0, NULL, 0);
	ck_assert_uint_eq(answer(what, &v, sizeof(v)), sizeof(v));
	return v;
}

/* A request with REPLY_ACK; true where it was granted. */
static inline bool ask(
	uint32_t what, const void *payload, uint32_t len, const int *fds, size_t n_fds)
{
	uint64_t v = 99;

	request(what, VHOST_USER_NEED_REPLY, payload, len, fds, n_fds);
	ck_assert_uint_eq(answer(what, &v, sizeof(v)), sizeof(v));
	ck_assert_uint_le(v, 1);
	return v == 0;
}

static inline bool ask_u64(uint32_t what, uint64_t v)
{
	return ask(what, &v, sizeof(v), NULL, 0);
}

static inline bool ask_state(uint32_t what, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state state = {index, num};

	return ask(what, &state, sizeof(state), NULL, 0);
}

static inline bool ask_fd(uint32_t what, uint64_t index, int fd)
{
	return ask(what, &index, sizeof(index), &fd, 1);
}

static inline bool ask_addr(uint32_t index, const struct virtq_config *c)
{
	struct vhost_user_vring_addr addr = {.index = index,
		.desc_user = c->desc_user,
		.avail_user = c->avail_user,
		.used_user = c->used_user};

	return ask(VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
}

static inline bool ask_mem_table(const struct guest_range *ranges, uint32_t count)
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

static inline uint16_t get_base(uint32_t index)
{
	struct vhost_user_vring_state state = {index, 0};

	request(VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), NULL, 0);
	ck_assert_uint_eq(answer(VHOST_USER_GET_VRING_BASE, &state, sizeof(state)), sizeof(state));
	ck_assert_uint_eq(state.index, index);
	return (uint16_t)state.num;
}

static inline void give_kick(unsigned i)
{
	int fds[2];

	ck_assert_int_eq(os_pipe(fds), 0);
	if (kick[i] >= 0)
		close(kick[i]);
	kick[i] = fds[1];
	ck_assert(ask_fd(VHOST_USER_SET_VRING_KICK, i, fds[0]));
	close(fds[0]);
}

static inline void give_call(unsigned i)
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
static inline unsigned calls(unsigned i)
{
	uint64_t one;
	unsigned n = 0;

	while (read(call[i], &one, sizeof(one)) == sizeof(one))
		n++;
	return n;
}

static inline void do_kick(unsigned i)
{
	uint64_t one = 1;
	ssize_t n = write(kick[i], &one, sizeof(one));

	ck_assert_int_eq(n, sizeof(one));
}

/* Up to what the device and the guest agree upon. */
static inline void negotiate(uint64_t features)
{
	uint64_t v = PROTOCOL_FEATURES;

	request(VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0);
	request(VHOST_USER_SET_PROTOCOL_FEATURES, 0, &v, sizeof(v), NULL, 0);
	ck_assert(ask_u64(VHOST_USER_SET_FEATURES,
		features | BIT(VHOST_USER_F_PROTOCOL_FEATURES) | BIT(VIRTIO_F_VERSION_1)));
}

/* All but SET_VRING_ENABLE. */
static inline void set_ring(unsigned i, uint16_t base)
{
	struct virtq_config c = driver_config(&driver[i], 0);

	ck_assert(ask_state(VHOST_USER_SET_VRING_NUM, i, driver[i].size));
	ck_assert(ask_state(VHOST_USER_SET_VRING_BASE, i, base));
	ck_assert(ask_addr(i, &c));
	give_kick(i);
	give_call(i);
}

static inline void enable_ring(unsigned i)
{
	ck_assert(ask_state(VHOST_USER_SET_VRING_ENABLE, i, 1));
	calls(i);
}

static inline void frontend_setup(uint32_t ring)
{
	guest_setup();
	for (unsigned i = 0; i < FRONTEND_QUEUES; i++) {
		driver[i] = driver_new(i, ring);
		kick[i] = call[i] = -1;
	}
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	vmm = -1;
}

static inline void frontend_teardown(void)
{
	loop_free(loop);
	for (unsigned i = 0; i < FRONTEND_QUEUES; i++) {
		if (kick[i] >= 0)
			close(kick[i]);
		if (call[i] >= 0)
			close(call[i]);
	}
	if (vmm >= 0)
		close(vmm);
	guest_teardown();
}

#endif
