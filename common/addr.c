/* SPDX-License-Identifier: MIT */
/* Addresses: text and sockaddr forms. See addr.h. */
#include "common/addr.h"

#include "common/be.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

const struct addr addr_any;

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool addr_is_v4(const struct addr *a)
{
	return memcmp(a->b, v4_mapped, sizeof(v4_mapped)) == 0;
}

struct addr addr_from_v4(uint32_t host_order)
{
	struct addr a;

	memcpy(a.b, v4_mapped, sizeof(v4_mapped));
	store_be32(a.b + 12, host_order);
	return a;
}

uint32_t addr_v4(const struct addr *a)
{
	return addr_is_v4(a) ? load_be32(a->b + 12) : 0;
}

bool addr_is_loopback(const struct addr *a)
{
	static const struct addr one = {{[15] = 1}};

	return addr_is_v4(a) ? a->b[12] == 127 : addr_eq(a, &one);
}

bool addr_is_unspecified(const struct addr *a)
{
	return addr_is_v4(a) ? addr_v4(a) == 0 : addr_eq(a, &addr_any);
}

bool addr_is_multicast(const struct addr *a)
{
	return addr_is_v4(a) ? (a->b[12] & 0xf0) == 0xe0 : a->b[0] == 0xff;
}

int addr_family(const struct addr *a)
{
	return addr_is_v4(a) ? AF_INET : AF_INET6;
}

int addr_parse(const char *text, struct addr *out)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		*out = addr_from_v4(ntohl(v4.s_addr));
		return 0;
	}
	if (inet_pton(AF_INET6, text, &v6) == 1) {
		memcpy(out->b, v6.s6_addr, sizeof(out->b));
		return 0;
	}
	return -EINVAL;
}

static void clear_host_bits(struct addr *a, unsigned bits)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = bits >= 8 ? 8 : bits;

		a->b[i] &= (uint8_t)(0xff00 >> keep);
		bits -= keep;
	}
}

/* A decimal number of at most three digits without sign or blanks; -1 where it is not one. */
static int parse_small(const char *text)
{
	int v = 0;

	if (!*text || strlen(text) > 3)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		v = v * 10 + (*text - '0');
	}
	return v;
}

int prefix_parse(const char *text, bool lax, struct prefix *out)
{
	char buf[PREFIX_STRLEN];
	struct addr masked;
	char *slash;
	int bits;

	if (strlen(text) >= sizeof(buf))
		return -EINVAL;
	strcpy(buf, text);
	slash = strchr(buf, '/');
	if (slash)
		*slash = '\0';
	if (addr_parse(buf, &out->addr) < 0)
		return -EINVAL;
	bits = slash ? parse_small(slash + 1) : -2;
	if (bits == -2)
		bits = 128;
	else if (bits < 0)
		return -EINVAL;
	else if (!strchr(buf, ':'))
		bits = bits > 32 ? 999 : bits + 96;
	if (bits > 128)
		return -EINVAL;
	masked = out->addr;
	clear_host_bits(&masked, (unsigned)bits);
	if (!lax && !addr_eq(&masked, &out->addr))
		return -EINVAL;
	out->addr = masked;
	out->bits = (uint8_t)bits;
	return 0;
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
	unsigned bytes = p->bits / 8, rest = p->bits % 8;

	if (memcmp(p->addr.b, a->b, bytes) != 0)
		return false;
	return !rest || ((p->addr.b[bytes] ^ a->b[bytes]) & (0xff00 >> rest) & 0xff) == 0;
}

int endpoint_parse(const char *text, struct endpoint *out)
{
	char buf[ENDPOINT_STRLEN];
	char *colon, *host = buf, *end;
	long port;

	if (strlen(text) >= sizeof(buf))
		return -EINVAL;
	strcpy(buf, text);
	colon = strrchr(buf, ':');
	if (!colon || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	*colon = '\0';
	if (*host == '[') {
		if (colon[-1] != ']')
			return -EINVAL;
		colon[-1] = '\0';
		host++;
	} else if (strchr(host, ':')) {
		return -EINVAL;
	}
	port = strtol(colon + 1, &end, 10);
	if (*end || port > 65535 || addr_parse(host, &out->addr) < 0)
		return -EINVAL;
	out->port = (uint16_t)port;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int mac_parse(const char *text, struct mac *out)
{
	if (strlen(text) != MAC_STRLEN - 1)
		return -EINVAL;
	for (int i = 0; i < 6; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		out->b[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

char *addr_format(const struct addr *a, char *buf, size_t len)
{
	if (addr_is_v4(a))
		inet_ntop(AF_INET, a->b + 12, buf, (socklen_t)len);
	else
		inet_ntop(AF_INET6, a->b, buf, (socklen_t)len);
	return buf;
}

char *prefix_format(const struct prefix *p, char *buf, size_t len)
{
	char text[ADDR_STRLEN];
	/* A mapped prefix shorter than the mapping itself can only be written as IPv6. */
	bool v4 = addr_is_v4(&p->addr) && p->bits >= 96;

	if (v4 || !addr_is_v4(&p->addr))
		addr_format(&p->addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, p->addr.b, text, sizeof(text));
	snprintf(buf, len, "%s/%d", text, v4 ? p->bits - 96 : p->bits);
	return buf;
}

char *endpoint_format(const struct endpoint *e, char *buf, size_t len)
{
	char text[ADDR_STRLEN];

	addr_format(&e->addr, text, sizeof(text));
	snprintf(buf, len, addr_is_v4(&e->addr) ? "%s:%u" : "[%s]:%u", text, e->port);
	return buf;
}

char *mac_format(const struct mac *m, char *buf, size_t len)
{
	snprintf(buf, len, "%02x:%02x:%02x:%02x:%02x:%02x", m->b[0], m->b[1], m->b[2], m->b[3],
		m->b[4], m->b[5]);
	return buf;
}

socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (addr_is_v4(&e->addr)) {
		struct sockaddr_in *in = (struct sockaddr_in *)(void *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(e->port);
		memcpy(&in->sin_addr, e->addr.b + 12, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ss;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(e->port);
	memcpy(&in6->sin6_addr, e->addr.b, 16);
	return sizeof(*in6);
}

int endpoint_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct endpoint *e)
{
	if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		e->addr = addr_from_v4(ntohl(in.sin_addr.s_addr));
		e->port = ntohs(in.sin_port);
		return 0;
	}
	if (sa->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		memcpy(e->addr.b, in6.sin6_addr.s6_addr, 16);
		e->port = ntohs(in6.sin6_port);
		return 0;
	}
	return -EAFNOSUPPORT;
}
