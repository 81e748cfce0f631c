/* SPDX-License-Identifier: MIT */
/*
 * vhost-user on the wire (the specification is QEMU's docs/interop/vhost-user.rst).
 *
 * A message is a header of 12 bytes and a payload, in the host's byte order; file descriptors come
 * with its first byte. The front-end (the VMM) asks, the back-end (we) answers some of it.
 */
#ifndef DATAPLANE_VHOST_USER_MESSAGE_H
#define DATAPLANE_VHOST_USER_MESSAGE_H

#include "dataplane/vhost_user/memory.h"

#define VHOST_USER_FDS_MAX 8 /* with one message; also regions of SET_MEM_TABLE */
#define VHOST_USER_CONFIG_MAX 256
#define VHOST_USER_HLEN 12

/* virtio feature bit: there are protocol features */
#define VHOST_USER_F_PROTOCOL_FEATURES 30

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_REQUESTS
};

/* bits of the protocol features */
#define VHOST_USER_PROTOCOL_F_MQ 0
#define VHOST_USER_PROTOCOL_F_REPLY_ACK 3
#define VHOST_USER_PROTOCOL_F_CONFIG 9
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE 13
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS 15
#define VHOST_USER_PROTOCOL_F_STATUS 16

/* flags of a message */
#define VHOST_USER_VERSION 1u
#define VHOST_USER_VERSION_MASK 3u
#define VHOST_USER_REPLY 4u
#define VHOST_USER_NEED_REPLY 8u

/* SET_VRING_KICK, _CALL and _ERR: an index in the low byte, and whether an fd is missing */
#define VHOST_USER_VRING_INDEX_MASK 0xffu
#define VHOST_USER_VRING_NO_FD 0x100u

/* SET_VRING_ADDR: log writes for migration */
#define VHOST_USER_VRING_LOG 1u

struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc_user;
	uint64_t used_user;
	uint64_t avail_user;
	uint64_t log_guest;
};

struct vhost_user_mem_table {
	uint32_t count;
	uint32_t padding;
	struct guest_range range[VHOST_USER_FDS_MAX];
};

struct vhost_user_mem_region {
	uint64_t padding;
	struct guest_range range;
};

struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t bytes[VHOST_USER_CONFIG_MAX];
};

union vhost_user_payload {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_mem_table mem_table;
	struct vhost_user_mem_region mem_region;
	struct vhost_user_config config;
};

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, bytes */
};

struct vhost_user_message {
	struct vhost_user_header header;
	union vhost_user_payload payload;
	int fds[VHOST_USER_FDS_MAX]; /* a handler takes one by setting it to -1 */
	unsigned n_fds;
};

/* A message as far as it has come; zeroed is none. */
struct vhost_user_reader {
	struct vhost_user_message message;
	size_t got; /* bytes of header and payload */
};

/*
 * Reads on from a non-blocking socket, never past this message. 1: reader->message is whole and
 * vhost_user_reader_clear() comes next; 0: not yet; -ECONNRESET, -EPROTO or another -errno: the
 * connection is of no more use, and *why says what is wrong.
 */
int vhost_user_read(struct vhost_user_reader *reader, int fd, const char **why);
/* Closes the fds that nobody took. */
void vhost_user_reader_clear(struct vhost_user_reader *reader);

/* Answers a request with these bytes. 0 or -errno; -EAGAIN where the front-end does not read. */
int vhost_user_reply(int fd, uint32_t request, const void *payload, size_t len);

#endif
