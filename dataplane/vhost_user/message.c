/* SPDX-License-Identifier: MIT */
/* Messages of vhost-user, read and written. See message.h. */
#include "dataplane/vhost_user/message.h"

#include "common/error.h"
#include "common/os.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(struct vhost_user_header) == VHOST_USER_HLEN, "as on the wire");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "as on the wire");
_Static_assert(sizeof(struct vhost_user_mem_table) == 8 + 8 * 32, "as on the wire");
_Static_assert(sizeof(struct vhost_user_mem_region) == 40, "as on the wire");
_Static_assert(sizeof(struct vhost_user_config) == 12 + 256, "as on the wire");

union cmsg_space {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
};

static void close_fds(struct vhost_user_message *m)
{
	for (unsigned i = 0; i < m->n_fds; i++) {
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	}
	m->n_fds = 0;
}

void vhost_user_reader_clear(struct vhost_user_reader *reader)
{
	close_fds(&reader->message);
	reader->got = 0;
}

/* Adds the fds of all control messages. False where there are more than fit. */
static bool collect_fds(struct vhost_user_message *m, struct msghdr *msg)
{
	bool fits = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
			c->cmsg_len < CMSG_LEN(0))
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (m->n_fds < VHOST_USER_FDS_MAX) {
				m->fds[m->n_fds++] = fd;
			} else {
				close(fd);
				fits = false;
			}
		}
	}
	return fits;
}

/* Where the next bytes go, and how many may come. */
static struct iovec room(struct vhost_user_reader *reader)
{
	struct vhost_user_message *m = &reader->message;
	size_t at = reader->got;

	if (at < VHOST_USER_HLEN)
		return (struct iovec){(uint8_t *)&m->header + at, VHOST_USER_HLEN - at};
	at -= VHOST_USER_HLEN;
	return (struct iovec){(uint8_t *)&m->payload + at, m->header.size - at};
}

static const char *header_fault(const struct vhost_user_header *h)
{
	if ((h->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return "a message of another version of vhost-user";
	if (h->flags & VHOST_USER_REPLY)
		return "a reply to nothing";
	if (h->size > sizeof(union vhost_user_payload))
		return "a message longer than any";
	return NULL;
}

/* One recvmsg. As vhost_user_read(); 0: try again, -EAGAIN: not now. */
static int read_some(struct vhost_user_reader *reader, int fd, const char **why)
{
	union cmsg_space control;
	struct iovec iov = room(reader);
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	bool first = reader->got == 0;
	ssize_t n = os_recvmsg(fd, &msg, 0);

	if (n == -EINTR)
		return 0;
	if (n < 0)
		return n == -EWOULDBLOCK ? -EAGAIN : (int)n;
	if (first)
		reader->message.n_fds = 0;
	if (!collect_fds(&reader->message, &msg)) {
		*why = "more file descriptors than a message may carry";
		return -EPROTO;
	}
	if (n == 0)
		return -ECONNRESET;
	if (!first && msg.msg_controllen) {
		*why = "file descriptors in the middle of a message";
		return -EPROTO;
	}
	reader->got += (size_t)n;
	if (reader->got < VHOST_USER_HLEN)
		return 0;
	if (reader->got == VHOST_USER_HLEN) {
		*why = header_fault(&reader->message.header);
		if (*why)
			return -EPROTO;
	}
	return reader->got == VHOST_USER_HLEN + reader->message.header.size;
}

int vhost_user_read(struct vhost_user_reader *reader, int fd, const char **why)
{
	int got;

	do {
		got = read_some(reader, fd, why);
	} while (got == 0);
	if (got == -EAGAIN)
		return 0;
	if (got == -ECONNRESET)
		*why = reader->got ? "connection closed within a message" : "connection closed";
	else if (got < 0 && got != -EPROTO)
		*why = errno_text(got);
	if (got < 0)
		vhost_user_reader_clear(reader);
	return got;
}

int vhost_user_reply(int fd, uint32_t request, const void *payload, size_t len)
{
	struct vhost_user_header header = {
		request, VHOST_USER_VERSION | VHOST_USER_REPLY, (uint32_t)len};
	uint8_t bytes[sizeof(header) + sizeof(union vhost_user_payload)];
	ssize_t n;

	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), payload, len);
	do {
		n = os_send(fd, bytes, sizeof(header) + len, 0);
	} while (n == -EINTR);
	if (n < 0)
		return (int)n;
	/* The buffer is full of what it does not read. */
	return (size_t)n == sizeof(header) + len ? 0 : -EAGAIN;
}
