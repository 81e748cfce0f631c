/* SPDX-License-Identifier: MIT */
/*
 * A front-end that sends anything. The first byte says whether two good rings are brought up first.
 * Then comes a list of messages: a byte each for the request, the flags, which fds and how many (of
 * guest memory or a pipe) and how long the payload, then the payload. With a request of 0xff the guest
 * writes the payload into its memory and kicks.
 */
#include "common/os.h"
#include "dataplane/vhost_user/message.h"
#include "dataplane/vhost_user/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEM_SIZE 0x10000u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct loop *loop;
static struct vhost_user *server;
static struct virtq_chain chain;
static int memory_fd, pipe_fds[2], front;
static int downs;

static void config(void *arg, uint8_t *bytes)
{
	(void)arg;
	memset(bytes, 0x5a, 8);
}

static enum vhost_turn turn(void *arg, unsigned queue, struct virtq *ring)
{
	(void)arg;
	for (int i = 0; i < 8; i++) {
		int got = virtq_pop(ring, &chain);

		if (got == 1)
			virtq_push(
				ring, chain.head, (uint32_t)virtq_chain_write(&chain, 0, "any", 3));
		else if (got == 0)
			return queue ? VHOST_PAUSED : VHOST_EMPTY;
	}
	return VHOST_AGAIN;
}

static void stopped(void *arg, unsigned queue, struct virtq *ring)
{
	(void)arg;
	(void)queue;
	(void)ring;
}

static void changed(void *arg, bool up, const char *text)
{
	(void)arg;
	(void)text;
	downs += !up;
}

static void refused(void *arg)
{
	(void)arg;
}

static const struct vhost_device device = {
	.features = 1,
	.queues = 2,
	.config_size = 8,
	.config = config,
	.turn = turn,
	.stopped = stopped,
	.changed = changed,
	.refused = refused,
};

static void stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

/* A few passes, and what was answered thrown away. */
static void run(void)
{
	static const struct timeval now = {0, 0};
	uint8_t scratch[4096];
	struct iovec iov = {scratch, sizeof(scratch)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	for (int i = 0; i < 3; i++) {
		event_base_once(loop_base(loop), -1, EV_TIMEOUT, stop, NULL, &now);
		if (loop_run(loop) < 0)
			abort();
	}
	while (os_recvmsg(front, &msg, 0) > 0)
		;
}

static void send_message(const uint8_t *head, const uint8_t *payload, size_t len)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control;
	struct vhost_user_header header = {head[0], head[1] & 15, (uint32_t)len};
	uint8_t bytes[sizeof(header) + sizeof(union vhost_user_payload)];
	struct iovec iov = {bytes, sizeof(header) + len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t n_fds = head[2] & 15;
	int fds[16];

	memset(&control, 0, sizeof(control));
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), payload, len);
	for (size_t i = 0; i < n_fds; i++)
		fds[i] = head[2] & 0x10 ? pipe_fds[head[2] >> 5 & 1] : memory_fd;
	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n_fds);
	}
	if (os_sendmsg(front, &msg, 0) < 0)
		return;
}

#define FROM_MEMORY 0x01 /* one fd */
#define FROM_PIPE 0x11

static void send_known(uint8_t what, uint8_t which, const void *payload, size_t len)
{
	const uint8_t head[] = {what, VHOST_USER_VERSION, which};

	send_message(head, payload, len);
}

static void bring_up(void)
{
	uint64_t features = (uint64_t)1 << VIRTIO_F_VERSION_1 |
		(uint64_t)1 << VIRTIO_RING_F_INDIRECT_DESC;
	uint64_t protocol = 1 << VHOST_USER_PROTOCOL_F_MQ | 1 << VHOST_USER_PROTOCOL_F_REPLY_ACK |
		1 << VHOST_USER_PROTOCOL_F_CONFIG | 1 << VHOST_USER_PROTOCOL_F_RESET_DEVICE |
		1 << VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS | 1 << VHOST_USER_PROTOCOL_F_STATUS;
	struct vhost_user_mem_table table = {.count = 1, .range = {{0, MEM_SIZE, 1 << 16, 0}}};

	send_known(VHOST_USER_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol));
	send_known(VHOST_USER_SET_FEATURES, 0, &features, sizeof(features));
	send_known(VHOST_USER_SET_MEM_TABLE, FROM_MEMORY, &table, 8 + sizeof(*table.range));
	for (uint32_t i = 0; i < device.queues; i++) {
		struct vhost_user_vring_state num = {i, 8};
		struct vhost_user_vring_addr addr = {.index = i};
		uint64_t index = i;

		addr.desc_user = (1 << 16) + i * 0x4000;
		addr.avail_user = addr.desc_user + 0x80;
		addr.used_user = addr.desc_user + 0xa0;
		send_known(VHOST_USER_SET_VRING_NUM, 0, &num, sizeof(num));
		send_known(VHOST_USER_SET_VRING_ADDR, 0, &addr, sizeof(addr));
		send_known(VHOST_USER_SET_VRING_KICK, FROM_PIPE, &index, sizeof(index));
		send_known(VHOST_USER_SET_VRING_CALL, FROM_PIPE | 0x20, &index, sizeof(index));
	}
	run();
	if (downs)
		abort();
}

/* Pages of 256 bytes, of which the second byte says where. */
static void write_memory(const uint8_t *head, const uint8_t *payload, size_t len)
{
	if (pwrite(memory_fd, payload, len, head[1] * 256) < 0 ||
		(write(pipe_fds[1], "12345678", 8) < 0 && errno != EAGAIN))
		abort();
}

static void play(const uint8_t *bytes, size_t size)
{
	while (size >= 4 && !downs) {
		size_t len = bytes[3] < size - 4 ? bytes[3] : size - 4;

		if (bytes[0] == 0xff)
			write_memory(bytes, bytes + 4, len);
		else
			send_message(bytes, bytes + 4, len);
		run();
		bytes += 4 + len;
		size -= 4 + len;
	}
}

static void start(void)
{
	loop = loop_new();
	server = vhost_user_new(loop, &device, NULL);
	memory_fd = os_shm_create("fuzz", MEM_SIZE);
	if (!server || memory_fd < 0 || os_pipe(pipe_fds) < 0 ||
		os_set_nonblock(pipe_fds[0], true) < 0 || os_set_nonblock(pipe_fds[1], true) < 0)
		abort();
}

/* The memory is the same file each time, and an input must do the same each time. */
static void wipe(void)
{
	static const uint8_t zeros[MEM_SIZE];
	uint8_t scratch[4096];

	if (pwrite(memory_fd, zeros, sizeof(zeros), 0) < 0)
		abort();
	while (read(pipe_fds[0], scratch, sizeof(scratch)) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	int fds[2];

	if (size == 0)
		return 0;
	if (!loop)
		start();
	wipe();
	if (os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0)
		abort();
	front = fds[0];
	downs = 0;
	if (vhost_user_attach(server, fds[1], false) < 0)
		abort();
	if (bytes[0] & 1)
		bring_up();
	play(bytes + 1, size - 1);
	shutdown(front, SHUT_WR);
	run();
	close(front);
	if (!downs || vhost_user_connected_fd(server) >= 0)
		abort();
	return 0;
}
