/* SPDX-License-Identifier: MIT */
/* The values inside messages. See wire.h. */
#include "proto/wire.h"

#include <string.h>

bool wire_get_addr(ProtobufCBinaryData bytes, struct addr *out)
{
	if (bytes.len != sizeof(out->b))
		return false;
	memcpy(out->b, bytes.data, sizeof(out->b));
	return true;
}

bool wire_get_mac(ProtobufCBinaryData bytes, struct mac *out)
{
	if (bytes.len != sizeof(out->b))
		return false;
	memcpy(out->b, bytes.data, sizeof(out->b));
	return true;
}

bool wire_get_endpoint(ProtobufCBinaryData bytes, uint32_t port, struct endpoint *out)
{
	if (port > UINT16_MAX || !wire_get_addr(bytes, &out->addr))
		return false;
	out->port = (uint16_t)port;
	return true;
}

bool wire_get_prefix(ProtobufCBinaryData bytes, uint32_t bits, struct prefix *out)
{
	if (bits > 128 || !wire_get_addr(bytes, &out->addr))
		return false;
	out->bits = (uint8_t)bits;
	for (unsigned i = bits; i < 128; i++) {
		if (out->addr.b[i / 8] & 0x80 >> i % 8)
			return false;
	}
	return true;
}

static bool printable(char c)
{
	return c >= 0x20 && c < 0x7f;
}

bool wire_get_text(const char *text, char *out, size_t size)
{
	size_t len = strnlen(text, size);

	if (len == size)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!printable(text[i]))
			return false;
	}
	memcpy(out, text, len + 1);
	return true;
}

void wire_get_remark(const char *text, char *out, size_t size)
{
	size_t len = strnlen(text, size - 1);

	for (size_t i = 0; i < len; i++)
		out[i] = printable(text[i]) ? text[i] : '?';
	out[len] = '\0';
}

ProtobufCBinaryData wire_put(const void *bytes, size_t len)
{
	ProtobufCBinaryData out = {.len = len};

	memcpy(&out.data, &bytes, sizeof(out.data));
	return out;
}

ProtobufCBinaryData wire_put_addr(const struct addr *addr)
{
	return wire_put(addr->b, sizeof(addr->b));
}

ProtobufCBinaryData wire_put_mac(const struct mac *mac)
{
	return wire_put(mac->b, sizeof(mac->b));
}

char *wire_put_text(const char *text)
{
	char *out;

	memcpy(&out, &text, sizeof(out));
	return out;
}
