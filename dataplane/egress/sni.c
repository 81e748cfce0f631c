/* SPDX-License-Identifier: MIT */
/* The server name of TLS. See sni.h. */
#include "dataplane/egress/sni.h"

#include "common/be.h"
#include "dataplane/stack/frame.h"

#include <errno.h>
#include <string.h>

#define RECORD_HLEN 5u
#define MESSAGE_HLEN 4u
#define PLAINTEXT_MAX (1u << 14)
#define CIPHERTEXT_MAX ((1u << 14) + 2048u) /* of TLS 1.2, the larger one */
#define HELLO_MAX (16u << 10)
#define HELLO_LOOK (MESSAGE_HLEN + 1) /* type, length, major version */
/* An encrypted Finished is at most 96 bytes, with SHA-384 and CBC. No second ClientHello is: with the
 * share of a key or of a secret that it must have, it is 112 bytes and more. */
#define SEALED_MAX 96u
#define VERSION_AND_RANDOM (2u + 32u)

enum record_type { CHANGE_CIPHER_SPEC = 20, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT };

#define CLIENT_HELLO 1
#define EXTENSION_SERVER_NAME 0
#define EXTENSION_EARLY_DATA 42
#define NAME_IS_HOST 0

struct record {
	uint8_t type;
	uint16_t len;
};

/* The header: 1, 0 where it is not whole yet, -EPROTO. */
static int read_record(const uint8_t *bytes, size_t len, struct record *record)
{
	if (len && (bytes[0] < CHANGE_CIPHER_SPEC || bytes[0] > HEARTBEAT))
		return -EPROTO;
	if (len > 1 && bytes[1] != 3)
		return -EPROTO;
	if (len < RECORD_HLEN)
		return 0;
	*record = (struct record){.type = bytes[0], .len = load_be16(bytes + 3)};
	return record->len <= CIPHERTEXT_MAX ? 1 : -EPROTO;
}

/* ---- the message ---- */

/* A vector whose length takes so many bytes. False: it is cut short. */
static bool take_vector(struct cursor *c, unsigned length_bytes, struct cursor *body)
{
	const uint8_t *p = cursor_take(c, length_bytes);

	if (!p)
		return false;
	body->left = length_bytes == 1 ? p[0] : load_be16(p);
	body->p = cursor_take(c, body->left);
	return body->p != NULL;
}

/* One name of the only kind that there is. */
static bool read_server_name(struct cursor c, struct unit *unit)
{
	struct cursor list, name;
	const uint8_t *kind;

	if (!take_vector(&c, 2, &list) || c.left)
		return false;
	kind = cursor_take(&list, 1);
	if (!kind || *kind != NAME_IS_HOST || !take_vector(&list, 2, &name) || list.left)
		return false;
	if (!name.left)
		return false;
	unit_name((const char *)name.p, name.left, unit->name);
	return true;
}

static bool read_extensions(struct cursor c, struct sni *sni, struct unit *unit)
{
	bool named = false;

	while (c.left) {
		const uint8_t *type = cursor_take(&c, 2);
		struct cursor body;

		if (!type || !take_vector(&c, 2, &body))
			return false;
		if (load_be16(type) == EXTENSION_EARLY_DATA)
			sni->early = true;
		if (load_be16(type) != EXTENSION_SERVER_NAME)
			continue;
		if (named || !read_server_name(body, unit))
			return false;
		named = true;
	}
	return true;
}

static bool read_hello(struct cursor c, struct sni *sni, struct unit *unit)
{
	struct cursor session, ciphers, compressions, extensions;

	if (!cursor_take(&c, MESSAGE_HLEN + VERSION_AND_RANDOM) || !take_vector(&c, 1, &session) ||
		session.left > 32 || !take_vector(&c, 2, &ciphers) || !ciphers.left ||
		ciphers.left % 2 || !take_vector(&c, 1, &compressions) || !compressions.left)
		return false;
	if (!c.left)
		return true; /* one without extensions, and so without a name */
	return take_vector(&c, 2, &extensions) && !c.left && read_extensions(extensions, sni, unit);
}

/* ---- its records ---- */

/* The message's first n bytes, out of records that are known to be right. */
static void gather(const uint8_t *bytes, uint8_t *message, size_t n)
{
	while (n) {
		size_t len = load_be16(bytes + 3), part = len < n ? len : n;

		memcpy(message, bytes + RECORD_HLEN, part);
		bytes += RECORD_HLEN + len;
		message += part;
		n -= part;
	}
}

static int end_hello(struct sni *sni, const uint8_t *bytes, struct unit *unit)
{
	uint8_t message[HELLO_MAX];

	gather(bytes, message, sni->need);
	*unit = (struct unit){.len = sni->at, .names = true, .last = sni->second};
	if (!read_hello((struct cursor){message, sni->need}, sni, unit))
		return -EPROTO;
	sni->second = true;
	sni->at = 0;
	sni->have = sni->need = 0;
	return 1;
}

static int next_hello(struct sni *sni, const uint8_t *bytes, size_t len, struct unit *unit)
{
	for (;;) {
		struct record record;
		int rc = read_record(bytes + sni->at, len - sni->at, &record);

		if (rc <= 0)
			return rc;
		if (record.type != HANDSHAKE || !record.len || record.len > PLAINTEXT_MAX)
			return -EPROTO;
		if (!sni->at && len > RECORD_HLEN && bytes[RECORD_HLEN] != CLIENT_HELLO)
			return -EPROTO;
		if (len - sni->at - RECORD_HLEN < record.len)
			return 0;
		sni->at += RECORD_HLEN + record.len;
		sni->have += record.len;
		if (!sni->need && sni->have >= MESSAGE_HLEN) {
			uint8_t head[MESSAGE_HLEN];

			gather(bytes, head, sizeof(head));
			sni->need = MESSAGE_HLEN + (load_be32(head) & 0xffffff);
		}
		if (sni->need > HELLO_MAX || (sni->need && sni->have > sni->need))
			return -EPROTO;
		if (sni->need && sni->have == sni->need)
			return end_hello(sni, bytes, unit);
	}
}

/*
 * Whether a handshake record behind the first ClientHello begins a second one: 1, 0, or -EAGAIN,
 * where more of it must be seen. Behind a ChangeCipherSpec it may also be the encrypted end of a
 * TLS 1.2 handshake, bytes that may be anything, and then one in 2^18 looks like a ClientHello.
 */
static int is_hello(
	const struct sni *sni, const struct record *record, const uint8_t *bytes, size_t len)
{
	size_t look = record->len < HELLO_LOOK ? record->len : HELLO_LOOK;
	uint32_t message;

	if (len == RECORD_HLEN)
		return -EAGAIN;
	if (bytes[RECORD_HLEN] != CLIENT_HELLO)
		return 0;
	if (!sni->changed || look < HELLO_LOOK)
		return 1;
	if (len < RECORD_HLEN + look)
		return -EAGAIN;
	message = MESSAGE_HLEN + (load_be32(bytes + RECORD_HLEN) & 0xffffff);
	return message <= HELLO_MAX && message >= record->len &&
		bytes[RECORD_HLEN + MESSAGE_HLEN] >= 3;
}

static int next_handshake(struct sni *sni, const struct record *record, const uint8_t *bytes,
	size_t len, struct unit *unit)
{
	int hello = record->len ? is_hello(sni, record, bytes, len) : -EPROTO;

	if (hello == 1)
		return next_hello(sni, bytes, len, unit);
	if (hello < 0)
		return hello == -EAGAIN ? 0 : hello;
	unit->len = bytes[RECORD_HLEN] == CLIENT_HELLO ? RECORD_HLEN + HELLO_LOOK : RECORD_HLEN + 1;
	unit->skip = RECORD_HLEN + record->len - unit->len;
	/* What looks like a hello but for its lengths is the handshake's end only if it is as short as
	 * that and no handshake record follows, which would be the hello's rest. */
	sni->sealed = bytes[RECORD_HLEN] == CLIENT_HELLO;
	unit->last = !sni->sealed;
	return sni->sealed && record->len > SEALED_MAX ? -EPROTO : 1;
}

/* A record behind the first ClientHello. */
static int next_record(struct sni *sni, const uint8_t *bytes, size_t len, struct unit *unit)
{
	struct record record;
	int rc;

	if (sni->at)
		return next_hello(sni, bytes, len, unit);
	rc = read_record(bytes, len, &record);
	if (rc <= 0)
		return rc;
	*unit = (struct unit){.len = RECORD_HLEN, .skip = record.len};
	if (record.type == HANDSHAKE && sni->sealed)
		return -EPROTO;
	if (record.type == HANDSHAKE)
		return next_handshake(sni, &record, bytes, len, unit);
	if (record.type == CHANGE_CIPHER_SPEC)
		sni->changed = true;
	if (record.type == APPLICATION_DATA)
		unit->last = !sni->early;
	return 1;
}

int sni_next(struct sni *sni, const uint8_t *bytes, size_t len, struct unit *unit)
{
	return sni->second ? next_record(sni, bytes, len, unit) : next_hello(sni, bytes, len, unit);
}
