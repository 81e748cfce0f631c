/* SPDX-License-Identifier: MIT */
/*
 * HTTP CONNECT: RFC 9110 section 9.3.6.
 *
 *	CONNECT name:443 HTTP/1.1                 ──►
 *	Host: name:443
 *	Proxy-Authorization: Basic …                    where we have a user (RFC 7617)
 *	(an empty line)
 *	                                          ◄──   HTTP/1.1 200 OK
 *	                                                any headers, an empty line
 *
 * and from the byte after that line on the connection is the flow. A 2xx answer has no content,
 * whatever its headers say; those are read over. Interim answers (1xx) come before the final one. Any
 * other answer is a refusal: its content is of no use, the connection ends.
 *
 * Lines end in LF, with or without a CR before it. Nothing is kept but the start of the status line,
 * and what is not one is told by its first wrong byte.
 */
#include "dataplane/egress/http_connect.h"

#include "common/os.h"
#include "dataplane/egress/handshake.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- what we say ---- */

static void put_text(struct handshake *h, const char *text)
{
	size_t len = strlen(text);

	memcpy(h->out + h->out_len, text, len);
	h->out_len += len;
}

/* "name:443", "192.0.2.1:443", "[2001:db8::1]:443" */
static void put_authority(struct handshake *h)
{
	char text[ENDPOINT_STRLEN], port[8];

	if (!*h->name) {
		put_text(h, endpoint_format(&h->dst, text, sizeof(text)));
		return;
	}
	snprintf(port, sizeof(port), ":%u", h->dst.port);
	put_text(h, h->name);
	put_text(h, port);
}

static void put_base64(struct handshake *h, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)bytes[i] << 16;

		if (n > 1)
			bits |= (uint32_t)bytes[i + 1] << 8;
		if (n > 2)
			bits |= bytes[i + 2];
		h->out[h->out_len++] = (uint8_t)digits[bits >> 18];
		h->out[h->out_len++] = (uint8_t)digits[bits >> 12 & 63];
		h->out[h->out_len++] = (uint8_t)(n > 1 ? digits[bits >> 6 & 63] : '=');
		h->out[h->out_len++] = (uint8_t)(n > 2 ? digits[bits & 63] : '=');
	}
}

static void put_who(struct handshake *h)
{
	uint8_t both[2 * 255 + 1];
	size_t user = strlen(h->server->user), password = strlen(h->server->password);

	memcpy(both, h->server->user, user);
	both[user] = ':';
	memcpy(both + user + 1, h->server->password, password);
	put_text(h, "Proxy-Authorization: Basic ");
	put_base64(h, both, user + 1 + password);
	put_text(h, "\r\n");
	os_wipe(both, sizeof(both));
}

void http_connect_begin(struct handshake *h)
{
	put_text(h, "CONNECT ");
	put_authority(h);
	put_text(h, " HTTP/1.1\r\nHost: ");
	put_authority(h);
	put_text(h, "\r\n");
	if (h->server->auth)
		put_who(h);
	put_text(h, "\r\n");
	h->http.first = true;
}

/* ---- what it says ---- */

/* Whether a status line may begin like this: "HTTP/1.", a digit, a blank, three digits, then a blank
 * or the end. */
static bool good_start(const char *start, size_t len)
{
	static const char form[] = "HTTP/1.d ddd ";

	for (size_t i = 0; i < len; i++) {
		if (form[i] == 'd' ? start[i] < '0' || start[i] > '9' : start[i] != form[i])
			return false;
	}
	return true;
}

static bool take_status(struct http_connect *http)
{
	const char *digits = http->start + 9;

	if (http->line < 12)
		return false;
	http->status =
		(uint16_t)((digits[0] - '0') * 100 + (digits[1] - '0') * 10 + digits[2] - '0');
	return http->status >= 100 && http->status < 600;
}

static enum handshake_step final(struct handshake *h)
{
	unsigned status = h->http.status;

	if (status / 100 == 2)
		return HANDSHAKE_DONE;
	if (status == 407 || status == 401) /* tinyproxy's word for a wrong password */
		return HANDSHAKE_DENIED;
	h->err = status == 504 ? -ETIMEDOUT : status / 100 == 5 ? -EHOSTUNREACH : -ECONNREFUSED;
	return HANDSHAKE_REFUSED;
}

static enum handshake_step end_line(struct handshake *h)
{
	struct http_connect *http = &h->http;
	bool empty = http->line == 0, first = http->first;

	if (first && !take_status(http))
		return HANDSHAKE_BROKEN;
	http->line = 0;
	http->first = false;
	if (first || !empty)
		return HANDSHAKE_MORE;
	/* 101 would be the end of HTTP, which nobody asked for. */
	if (http->status / 100 != 1 || http->status == 101)
		return final(h);
	http->first = true;
	return HANDSHAKE_MORE;
}

static enum handshake_step take(struct handshake *h, char c)
{
	struct http_connect *http = &h->http;

	if (++http->total > HTTP_CONNECT_HEAD_MAX)
		return HANDSHAKE_BROKEN;
	if (c == '\n')
		return end_line(h);
	if (c == '\r')
		return HANDSHAKE_MORE;
	if (http->first && http->line < sizeof(http->start)) {
		http->start[http->line] = c;
		if (!good_start(http->start, http->line + 1))
			return HANDSHAKE_BROKEN;
	}
	http->line++;
	return HANDSHAKE_MORE;
}

enum handshake_step http_connect_feed(
	struct handshake *h, const uint8_t *bytes, size_t len, size_t *used)
{
	enum handshake_step step = HANDSHAKE_MORE;

	while (step == HANDSHAKE_MORE && *used < len)
		step = take(h, (char)bytes[(*used)++]);
	return step;
}
