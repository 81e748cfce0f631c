/* SPDX-License-Identifier: MIT */
/*
 * SOCKS5: RFC 1928, and user and password by RFC 1929.
 *
 *	we                                        the proxy
 *	05 │ N │ methods                    ──►   methods: 00 (none), and 02 where we have a user
 *	                                    ◄──   05 │ method, FF: none of these
 *	01 │ len │ user │ len │ password    ──►   for method 02
 *	                                    ◄──   01 │ 00: welcome
 *	05 │ command │ 00 │ destination     ──►   01 CONNECT, 03 UDP ASSOCIATE
 *	                                    ◄──   05 │ reply │ 00 │ its own address, for us
 *
 * A destination or address is a byte for its kind (01 IPv4, 03 a name with a byte for its length,
 * 04 IPv6), the thing itself, and a port, most significant byte first. An association's destination
 * is all zeros: we cannot say from where its datagrams will come. Its reply's address is where they go,
 * each behind a header:
 *
 *	00 00 │ FRAG │ destination │ payload
 *
 * Each message is read as soon as it is whole; until then what has come lies in socks5.in, so that
 * nothing is waited for that is there already. A reply's length is known by its first five bytes.
 */
#include "dataplane/egress/socks5.h"

#include "common/be.h"
#include "dataplane/egress/handshake.h"

#include <errno.h>
#include <string.h>

#define VERSION 5
#define AUTH_VERSION 1
#define METHOD_NONE 0
#define METHOD_USER 2
#define KIND_IP4 1
#define KIND_NAME 3
#define KIND_IP6 4
#define REPLY_HEAD 5 /* with the first byte of the address, a name's length */

enum state { METHOD, AUTH, REPLY, REPLY_REST };

static void await(struct socks5 *s, enum state state, size_t need)
{
	s->state = (uint8_t)state;
	s->need = (uint16_t)need;
	if (state != REPLY_REST)
		s->got = 0;
}

/* ---- what we say ---- */

static void put(struct handshake *h, const void *bytes, size_t len)
{
	memcpy(h->out + h->out_len, bytes, len);
	h->out_len += len;
}

static void put_byte(struct handshake *h, size_t byte)
{
	h->out[h->out_len++] = (uint8_t)byte;
}

/* At p, which has room for the longest; its length. */
static size_t put_destination(uint8_t *p, const struct endpoint *dst, const char *name)
{
	size_t n = 1;

	if (name && *name) {
		size_t len = strlen(name);

		p[0] = KIND_NAME;
		p[n++] = (uint8_t)len;
		memcpy(p + n, name, len); /* NOLINT(bugprone-not-null-terminated-result) */
		n += len;
	} else if (addr_is_v4(&dst->addr)) {
		p[0] = KIND_IP4;
		memcpy(p + n, dst->addr.b + 12, 4);
		n += 4;
	} else {
		p[0] = KIND_IP6;
		memcpy(p + n, dst->addr.b, 16);
		n += 16;
	}
	store_be16(p + n, dst->port);
	return n + 2;
}

void socks5_begin(struct handshake *h)
{
	put_byte(h, VERSION);
	put_byte(h, h->server->auth ? 2 : 1);
	put_byte(h, METHOD_NONE);
	if (h->server->auth)
		put_byte(h, METHOD_USER);
	await(&h->socks5, METHOD, 2);
}

static void say_who(struct handshake *h)
{
	size_t user = strlen(h->server->user), password = strlen(h->server->password);

	put_byte(h, AUTH_VERSION);
	put_byte(h, user);
	put(h, h->server->user, user);
	put_byte(h, password);
	put(h, h->server->password, password);
	await(&h->socks5, AUTH, 2);
}

static void ask(struct handshake *h)
{
	static const struct endpoint nowhere = {.addr = {{[10] = 0xff, [11] = 0xff}}};

	put_byte(h, VERSION);
	put_byte(h, h->command);
	put_byte(h, 0);
	if (h->command == SOCKS5_ASSOCIATE)
		h->out_len += put_destination(h->out + h->out_len, &nowhere, NULL);
	else
		h->out_len += put_destination(h->out + h->out_len, &h->dst, h->name);
	await(&h->socks5, REPLY, REPLY_HEAD);
}

/* ---- what it says ---- */

static enum handshake_step take_method(struct handshake *h)
{
	const uint8_t *in = h->socks5.in;

	if (in[0] != VERSION)
		return HANDSHAKE_BROKEN;
	if (in[1] == METHOD_NONE)
		ask(h);
	else if (in[1] == METHOD_USER && h->server->auth)
		say_who(h);
	else
		return HANDSHAKE_DENIED;
	return HANDSHAKE_MORE;
}

static enum handshake_step take_auth(struct handshake *h)
{
	/* Servers are known to answer with version 5: that it is a yes is what counts. */
	if (h->socks5.in[1] != 0)
		return HANDSHAKE_DENIED;
	ask(h);
	return HANDSHAKE_MORE;
}

/* RFC 1928, section 6, as what a guest's socket may say. */
static int refusal(uint8_t reply)
{
	static const int errors[] = {
		[1] = -EHOSTUNREACH, /* general failure */
		[2] = -ECONNREFUSED, /* not allowed by ruleset */
		[3] = -ENETUNREACH,
		[4] = -EHOSTUNREACH,
		[5] = -ECONNREFUSED,
		[6] = -EHOSTUNREACH, /* TTL expired */
	};

	return reply < sizeof(errors) / sizeof(*errors) ? errors[reply] : -ECONNREFUSED;
}

static enum handshake_step take_reply_head(struct handshake *h)
{
	const uint8_t *in = h->socks5.in;
	size_t rest;

	if (in[0] != VERSION)
		return HANDSHAKE_BROKEN;
	if (in[1] != 0) { /* the rest is of no use, and some leave it out */
		h->err = refusal(in[1]);
		return HANDSHAKE_REFUSED;
	}
	if (in[3] == KIND_IP4)
		rest = 3 + 2;
	else if (in[3] == KIND_IP6)
		rest = 15 + 2;
	else if (in[3] == KIND_NAME)
		rest = (size_t)in[4] + 2;
	else
		return HANDSHAKE_BROKEN;
	await(&h->socks5, REPLY_REST, REPLY_HEAD + rest);
	return HANDSHAKE_MORE;
}

static enum handshake_step take_reply(struct handshake *h)
{
	const uint8_t *in = h->socks5.in;

	h->bound = (struct endpoint){.addr = addr_any, .port = load_be16(in + h->socks5.need - 2)};
	if (in[3] == KIND_IP4)
		h->bound.addr = addr_from_v4(load_be32(in + 4));
	else if (in[3] == KIND_IP6)
		memcpy(h->bound.addr.b, in + 4, 16);
	return HANDSHAKE_DONE;
}

static enum handshake_step take(struct handshake *h)
{
	switch ((enum state)h->socks5.state) {
	case METHOD:
		return take_method(h);
	case AUTH:
		return take_auth(h);
	case REPLY:
		return take_reply_head(h);
	case REPLY_REST:
		return take_reply(h);
	}
	return HANDSHAKE_BROKEN;
}

enum handshake_step socks5_feed(struct handshake *h, const uint8_t *bytes, size_t len, size_t *used)
{
	struct socks5 *s = &h->socks5;

	while (*used < len) {
		size_t want = (size_t)(s->need - s->got);
		size_t n = len - *used < want ? len - *used : want;
		enum handshake_step step;

		memcpy(s->in + s->got, bytes + *used, n);
		s->got = (uint16_t)(s->got + n);
		*used += n;
		/* A refusal may be no longer than that it is one. */
		if (s->state == REPLY && s->got >= 2 && s->in[0] == VERSION && s->in[1])
			return take_reply_head(h);
		if (s->got < s->need)
			return HANDSHAKE_MORE;
		step = take(h);
		if (step != HANDSHAKE_MORE)
			return step;
		if (h->out_len) /* our turn: what has come before it is not an answer */
			return *used < len ? HANDSHAKE_BROKEN : HANDSHAKE_MORE;
	}
	return HANDSHAKE_MORE;
}

/* ---- datagrams ---- */

size_t socks5_udp_head(
	uint8_t head[SOCKS5_UDP_HEAD_MAX], const struct endpoint *dst, const char *name)
{
	memset(head, 0, 3);
	return 3 + put_destination(head + 3, dst, name);
}

size_t socks5_udp_parse(const uint8_t *data, size_t len, struct socks5_udp_from *from)
{
	size_t at = 4, n;

	*from = (struct socks5_udp_from){.at.addr = addr_any};
	if (len < at + 1 || data[0] || data[1] || data[2])
		return 0;
	switch (data[3]) {
	case KIND_IP4:
		n = 4;
		break;
	case KIND_IP6:
		n = 16;
		break;
	case KIND_NAME:
		n = data[at++];
		break;
	default:
		return 0;
	}
	if (len - at < n + 2)
		return 0;
	if (data[3] == KIND_IP4)
		from->at.addr = addr_from_v4(load_be32(data + at));
	else if (data[3] == KIND_IP6)
		memcpy(from->at.addr.b, data + at, 16);
	else
		memcpy(from->name, data + at, n);
	from->at.port = load_be16(data + at + n);
	return at + n + 2;
}
