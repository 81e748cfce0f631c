/* SPDX-License-Identifier: MIT */
/* DNS messages: see dns_message.h. */
#include "dataplane/stack/dns_message.h"

#include "common/be.h"

#include <errno.h>
#include <string.h>

#define OPT_DO 0x8000u /* in the lower half of its TTL */
#define MAX_JUMPS 127u
#define OUR_UDP_SIZE 1232u /* what we say in OPT (DNS flag day 2020) */

static const uint8_t *take(struct dns_cursor *c, size_t n)
{
	const uint8_t *p = c->msg + c->at;

	if (n > c->len - c->at)
		return NULL;
	c->at += n;
	return p;
}

static uint8_t lower(uint8_t ch)
{
	return ch >= 'A' && ch <= 'Z' ? ch | 0x20 : ch;
}

/* ---- reading ---- */

bool dns_read_header(struct dns_cursor *c, struct dns_header *out)
{
	const uint8_t *p = take(c, DNS_HEADER_LEN);

	if (!p)
		return false;
	out->id = load_be16(p);
	out->flags = load_be16(p + 2);
	out->questions = load_be16(p + 4);
	out->answers = load_be16(p + 6);
	out->authorities = load_be16(p + 8);
	out->additionals = load_be16(p + 10);
	return true;
}

static bool append_label(struct dns_wire *out, const uint8_t *label, size_t len)
{
	if (out->len + 1 + len + 1 > DNS_NAME_WIRE_MAX)
		return false;
	out->b[out->len++] = (uint8_t)len;
	for (size_t i = 0; i < len; i++)
		out->b[out->len++] = lower(label[i]);
	return true;
}

/*
 * Labels up to the zero or a pointer. After a pointer reading goes on there, but only below where
 * the present stretch began, and no more often than a name can have labels.
 */
bool dns_read_name(struct dns_cursor *c, struct dns_wire *out)
{
	struct dns_cursor from = *c;
	size_t stretch = c->at;
	unsigned jumps = 0;

	out->len = 0;
	for (;;) {
		const uint8_t *p = take(&from, 1), *low;

		if (!p)
			return false;
		if (*p == 0)
			break;
		if (*p < 64) {
			const uint8_t *label = take(&from, *p);

			if (!label || !append_label(out, label, *p))
				return false;
			continue;
		}
		low = take(&from, 1);
		if (*p < 0xc0 || !low || jumps == MAX_JUMPS)
			return false;
		if (jumps++ == 0)
			c->at = from.at;
		from.at = (size_t)(*p & 0x3f) << 8 | *low;
		if (from.at >= stretch)
			return false;
		stretch = from.at;
	}
	out->b[out->len++] = 0;
	if (!jumps)
		c->at = from.at;
	return true;
}

bool dns_read_question(struct dns_cursor *c, struct dns_question *out)
{
	const uint8_t *p;

	if (!dns_read_name(c, &out->name))
		return false;
	p = take(c, 4);
	if (!p)
		return false;
	out->type = load_be16(p);
	out->class = load_be16(p + 2);
	return true;
}

bool dns_read_record(struct dns_cursor *c, struct dns_record *out)
{
	const uint8_t *p;

	if (!dns_read_name(c, &out->name))
		return false;
	p = take(c, 10);
	if (!p)
		return false;
	out->type = load_be16(p);
	out->class = load_be16(p + 2);
	out->ttl = load_be32(p + 4);
	out->data_len = load_be16(p + 8);
	out->data = c->at;
	return take(c, out->data_len) != NULL;
}

/* ---- names ---- */

bool dns_wire_eq(const struct dns_wire *a, const struct dns_wire *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

int dns_wire_compare(const struct dns_wire *a, const struct dns_wire *b)
{
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->b, b->b, a->len);
}

bool dns_question_eq(const struct dns_question *a, const struct dns_question *b)
{
	return a->type == b->type && a->class == b->class && dns_wire_eq(&a->name, &b->name);
}

static bool text_byte(uint8_t ch)
{
	return ch > ' ' && ch < 0x7f && ch != '.' && ch != '\\' && ch != '"';
}

int dns_wire_parse(const char *text, struct dns_wire *out)
{
	out->len = 0;
	while (*text) {
		size_t n = strcspn(text, ".");

		if (n == 0 || n > 63 || !append_label(out, (const uint8_t *)text, n))
			return -EINVAL;
		for (size_t i = 0; i < n; i++) {
			if (!text_byte((uint8_t)text[i]))
				return -EINVAL;
		}
		text += n;
		if (*text == '.')
			text++;
	}
	if (out->len == 0)
		return -EINVAL;
	out->b[out->len++] = 0;
	return 0;
}

bool dns_wire_format(const struct dns_wire *w, char *buf)
{
	size_t at = 0, i = 0;

	if (w->len <= 1)
		return false;
	while (w->b[i]) {
		uint8_t n = w->b[i++];

		if (at)
			buf[at++] = '.';
		for (; n; n--, i++) {
			if (!text_byte(w->b[i]))
				return false;
			buf[at++] = (char)w->b[i];
		}
	}
	buf[at] = '\0';
	return true;
}

/* A decimal octet as one label at *p: no sign, no leading zero. Moves *p past it. */
static bool read_octet(const uint8_t **p, uint8_t *out)
{
	unsigned n = *(*p)++, v = 0;

	if (n < 1 || n > 3 || (n > 1 && **p == '0'))
		return false;
	for (; n; n--, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		v = v * 10 + (**p - '0');
	}
	*out = (uint8_t)v;
	return v < 256;
}

static int hex_digit(uint8_t ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

bool dns_wire_reverse(const struct dns_wire *w, struct addr *out)
{
	static const uint8_t v4_zone[] = "\7in-addr\4arpa", v6_zone[] = "\3ip6\4arpa";
	const uint8_t *p = w->b;
	uint8_t octets[4];

	if (w->len == 64 + sizeof(v6_zone) && !memcmp(p + 64, v6_zone, sizeof(v6_zone))) {
		for (int i = 15; i >= 0; i--, p += 4) {
			int lo = hex_digit(p[1]), hi = hex_digit(p[3]);

			if (p[0] != 1 || p[2] != 1 || lo < 0 || hi < 0)
				return false;
			out->b[i] = (uint8_t)(hi << 4 | lo);
		}
		return true;
	}
	if (w->len < sizeof(v4_zone) + 8 ||
		memcmp(w->b + w->len - sizeof(v4_zone), v4_zone, sizeof(v4_zone)) != 0)
		return false;
	for (int i = 3; i >= 0; i--) {
		if (!read_octet(&p, &octets[i]))
			return false;
	}
	if (p != w->b + w->len - sizeof(v4_zone))
		return false;
	*out = addr_from_v4(load_be32(octets));
	return true;
}

/* ---- a client's question ---- */

/* Options that say nothing about the answer: cookies, keep-alive, padding (RFC 7873, 7828, 7830). */
static bool plain_options(const uint8_t *p, size_t len)
{
	while (len >= 4) {
		uint16_t code = load_be16(p);
		size_t n = 4u + load_be16(p + 2);

		if (n > len || code < 10 || code > 12)
			return false;
		p += n;
		len -= n;
	}
	return len == 0;
}

/* The rest of the message, in search of OPT. False where it is cut short. */
static bool find_edns(struct dns_cursor *c, const struct dns_header *h, struct dns_query_info *out)
{
	uint32_t records = (uint32_t)h->answers + h->authorities + h->additionals;
	struct dns_record r;

	for (uint32_t i = 0; i < records; i++) {
		if (!dns_read_record(c, &r))
			return false;
		if (r.type != DNS_OPT) {
			out->special = true;
			continue;
		}
		if (out->edns || r.name.len != 1)
			return false;
		out->edns = true;
		out->dnssec = r.ttl & OPT_DO;
		if (r.ttl & ~(uint32_t)OPT_DO || !plain_options(c->msg + r.data, r.data_len))
			out->special = true;
		out->udp_size = r.class > DNS_UDP_SIZE ? r.class : DNS_UDP_SIZE;
	}
	return true;
}

int dns_query_parse(const uint8_t *msg, size_t len, struct dns_query_info *out)
{
	struct dns_cursor c = {msg, len, 0};
	struct dns_header h;

	memset(out, 0, sizeof(*out));
	out->udp_size = DNS_UDP_SIZE;
	if (!dns_read_header(&c, &h) || h.flags & DNS_QR)
		return -1;
	out->id = h.id;
	out->flags = h.flags;
	if (h.flags & DNS_OPCODE)
		return DNS_REFUSED;
	if (len > DNS_QUERY_MAX || h.questions != 1 || !dns_read_question(&c, &out->question))
		return DNS_FORMERR;
	out->question_end = c.at;
	if (!find_edns(&c, &h, out))
		return DNS_FORMERR;
	if (out->question.type == DNS_AXFR || out->question.type == DNS_IXFR)
		return DNS_REFUSED;
	return DNS_NOERROR;
}

/* ---- answers ---- */

void dns_answer_begin(struct dns_answer *a, uint8_t *buf, size_t max, const uint8_t *query_msg,
	const struct dns_query_info *query, uint16_t flags)
{
	*a = (struct dns_answer){.buf = buf, .max = max, .len = DNS_HEADER_LEN, .query = query};
	a->flags = (uint16_t)(DNS_QR | DNS_RA | flags |
		(query->flags & (DNS_OPCODE | DNS_RD | DNS_CD)));
	memset(buf, 0, DNS_HEADER_LEN);
	store_be16(buf, query->id);
	if (query->question_end) {
		size_t n = query->question_end - DNS_HEADER_LEN;

		memcpy(buf + DNS_HEADER_LEN, query_msg + DNS_HEADER_LEN, n);
		a->len += n;
		store_be16(buf + 4, 1);
	}
}

void dns_answer_add(
	struct dns_answer *a, uint16_t type, uint32_t ttl, const void *data, uint16_t data_len)
{
	uint8_t *p = a->buf + a->len;
	size_t reserve = a->query->edns ? DNS_OPT_LEN : 0;

	if (a->len + 12 + data_len + reserve > a->max) {
		a->flags |= DNS_TC;
		return;
	}
	store_be16(p, 0xc000 | DNS_HEADER_LEN); /* the question's name */
	store_be16(p + 2, type);
	store_be16(p + 4, DNS_CLASS_IN);
	store_be32(p + 6, ttl);
	store_be16(p + 10, data_len);
	memcpy(p + 12, data, data_len);
	a->len += 12u + data_len;
	a->answers++;
}

size_t dns_put_opt(uint8_t *msg, size_t len, const struct dns_query_info *query)
{
	uint8_t *p = msg + len;

	memset(p, 0, DNS_OPT_LEN);
	store_be16(p + 1, DNS_OPT);
	store_be16(p + 3, OUR_UDP_SIZE);
	store_be16(p + 7, query->dnssec ? OPT_DO : 0);
	store_be16(msg + 10, (uint16_t)(load_be16(msg + 10) + 1));
	return DNS_OPT_LEN;
}

size_t dns_answer_end(struct dns_answer *a, enum dns_rcode rcode)
{
	if (a->query->edns && a->len + DNS_OPT_LEN <= a->max)
		a->len += dns_put_opt(a->buf, a->len, a->query);
	store_be16(a->buf + 2, (uint16_t)(a->flags | rcode));
	store_be16(a->buf + 6, a->answers);
	return a->len;
}
