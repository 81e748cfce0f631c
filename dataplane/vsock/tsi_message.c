/* SPDX-License-Identifier: MIT */
/* TSI's control messages. See tsi_message.h. */
#include "dataplane/vsock/tsi_message.h"

#include "common/be.h"
#include "dataplane/vsock/packet.h"

#include <errno.h>
#include <string.h>

#define INET_LEN 16u  /* of Linux' struct sockaddr_in */
#define INET6_LEN 28u /* and sockaddr_in6 */

static bool read32(struct cursor *c, uint32_t *out)
{
	const uint8_t *p = cursor_take(c, 4);

	*out = p ? vsock_load32(p) : 0;
	return p != NULL;
}

static bool read16(struct cursor *c, uint32_t *out)
{
	const uint8_t *p = cursor_take(c, 2);

	*out = p ? vsock_load16(p) : 0;
	return p != NULL;
}

/* `len` bytes of a sockaddr are meant. */
static int read_sockaddr(const uint8_t *p, uint32_t len, struct tsi_addr *out)
{
	if (len < 2)
		return -EINVAL;
	out->family = vsock_load16(p);
	if (out->family != TSI_INET && out->family != TSI_INET6)
		return -EAFNOSUPPORT;
	if (len < (out->family == TSI_INET ? INET_LEN : INET6_LEN))
		return -EINVAL;
	out->at.port = load_be16(p + 2);
	if (out->family == TSI_INET)
		out->at.addr = addr_from_v4(load_be32(p + 4));
	else
		memcpy(out->at.addr.b, p + 8, sizeof(out->at.addr.b));
	return 0;
}

static int read_addr(struct cursor *c, struct tsi_addr *out)
{
	const uint8_t *p;
	uint32_t len;

	if (!read32(c, &len))
		return -EINVAL;
	p = cursor_take(c, TSI_ADDR_MAX);
	return p && len <= TSI_ADDR_MAX ? read_sockaddr(p, len, out) : -EINVAL;
}

int tsi_read_create(struct cursor c, struct tsi_create *out)
{
	if (!read32(&c, &out->svm_port) || !read16(&c, &out->family) || !read16(&c, &out->type))
		return -EINVAL;
	return 0;
}

int tsi_read_connect(struct cursor c, struct tsi_connect *out)
{
	return read32(&c, &out->svm_port) ? read_addr(&c, &out->to) : -EINVAL;
}

int tsi_read_getname(struct cursor c, struct tsi_getname *out)
{
	uint32_t peer;

	if (!read32(&c, &out->svm_port) || !read32(&c, &out->peer_port) || !read32(&c, &peer))
		return -EINVAL;
	out->peer = peer != 0;
	return 0;
}

int tsi_read_listen(struct cursor c, struct tsi_listen *out)
{
	if (!read32(&c, &out->svm_port) || !read32(&c, &out->vm_port) || !read32(&c, &out->backlog))
		return -EINVAL;
	return read_addr(&c, &out->addr);
}

int tsi_read_accept(struct cursor c, uint32_t *svm_port)
{
	uint32_t flags; /* the guest's own business */

	return read32(&c, svm_port) && read32(&c, &flags) ? 0 : -EINVAL;
}

int tsi_read_release(struct cursor c, struct tsi_release *out)
{
	return read32(&c, &out->svm_port) && read32(&c, &out->peer_port) ? 0 : -EINVAL;
}

void tsi_write_result(uint8_t p[TSI_RESULT_LEN], int err)
{
	vsock_store32(p, (uint32_t)-tsi_errno(-err));
}

void tsi_write_name(uint8_t p[TSI_NAME_LEN], int err, uint32_t family, const struct endpoint *name)
{
	uint8_t *addr = p + 8;

	memset(p, 0, TSI_NAME_LEN);
	tsi_write_result(p, err);
	if (!name)
		return;
	vsock_store32(p + 4, family == TSI_INET ? INET_LEN : INET6_LEN);
	vsock_store16(addr, (uint16_t)family);
	store_be16(addr + 2, name->port);
	if (family == TSI_INET)
		store_be32(addr + 4, addr_v4(&name->addr));
	else
		memcpy(addr + 8, name->addr.b, sizeof(name->addr.b));
}

int tsi_errno(int err)
{
	static const struct {
		int host, guest;
	} table[] = {
		{EPERM, 1},
		{ENOENT, 2},
		{EINTR, 4},
		{EIO, 5},
		{EAGAIN, 11},
		{ENOMEM, 12},
		{EACCES, 13},
		{EINVAL, 22},
		{ENFILE, 23},
		{EMFILE, 24},
		{EPIPE, 32},
		{EPROTO, 71},
		{EPROTONOSUPPORT, 93},
		{EOPNOTSUPP, 95},
		{EAFNOSUPPORT, 97},
		{EADDRINUSE, 98},
		{EADDRNOTAVAIL, 99},
		{ENETDOWN, 100},
		{ENETUNREACH, 101},
		{ENETRESET, 102},
		{ECONNABORTED, 103},
		{ECONNRESET, 104},
		{ENOBUFS, 105},
		{EISCONN, 106},
		{ENOTCONN, 107},
		{ETIMEDOUT, 110},
		{ECONNREFUSED, 111},
		{EHOSTDOWN, 112},
		{EHOSTUNREACH, 113},
		{EALREADY, 114},
	};

	if (err == 0)
		return 0;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (table[i].host == err)
			return table[i].guest;
	}
	return 22; /* EINVAL */
}
