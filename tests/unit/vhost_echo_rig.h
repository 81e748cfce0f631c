/* SPDX-License-Identifier: MIT */
/* The vhost-user server with a device that echoes. */
#ifndef TESTS_UNIT_VHOST_ECHO_RIG_H
#define TESTS_UNIT_VHOST_ECHO_RIG_H

#include "dataplane/vhost_user/server.h"
#include "tests/unit/vhost_frontend.h"

#define QUEUES 2
#define RING 16
#define DEVICE_FEATURE (UINT64_C(1) << 5)

static struct vhost_user *server;
static struct virtq_chain chain;

static struct {
	unsigned turns, stops, ups, downs, refused, sessions;
	char why[128];
	bool paused, failing, holding; /* the last: chains are taken and not given back */
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
		if (got < 0 || seen.holding)
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

static void session(void *arg)
{
	(void)arg;
	seen.sessions++;
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
	.session = session,
};

/* A chain that is echoed: the letter from one byte to another. */
static inline void offer(unsigned i, uint16_t number, char letter)
{
	uint32_t at = DATA_AT + 16u * number;
	uint16_t head = (uint16_t)(2 * number);

	guest.bytes[at] = (uint8_t)letter;
	driver[i].desc[head] = (struct virtq_desc){at, 1, VIRTQ_DESC_NEXT, (uint16_t)(head + 1)};
	driver[i].desc[head + 1] = (struct virtq_desc){at + 1, 8, VIRTQ_DESC_WRITE, 0};
	driver_offer(&driver[i], head);
}

static inline bool echoed(unsigned i, uint16_t number, char letter)
{
	return driver_got(&driver[i], 2u * number, 1) &&
		guest.bytes[DATA_AT + 16u * number + 1] == (uint8_t)letter;
}

static inline void bring_up(void)
{
	negotiate(DEVICE_FEATURE);
	ck_assert(ask_mem_table(mem_ranges, 2));
	for (unsigned i = 0; i < QUEUES; i++) {
		set_ring(i, 0);
		enable_ring(i);
	}
}

static inline void connect_pair(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	vmm = fds[0];
	ck_assert_int_eq(vhost_user_attach(server, fds[1], false), 0);
}

static inline void setup(void)
{
	frontend_setup(RING);
	memset(&seen, 0, sizeof(seen));
	server = vhost_user_new(loop, &device, NULL);
	ck_assert_ptr_nonnull(server);
}

static inline void connected_setup(void)
{
	setup();
	connect_pair();
}

static inline void up_setup(void)
{
	connected_setup();
	bring_up();
}

static inline void teardown(void)
{
	vhost_user_free(server);
	frontend_teardown();
}

#endif
