/* SPDX-License-Identifier: MIT */
/*
 * Service bindings: see dns_service.h.
 *
 * Names later in a message may point back at earlier ones, so nothing can be cut out of the middle: a
 * message that must change is written anew, with its names in full.
 */
#include "dataplane/stack/dns_service.h"

#include "common/be.h"

#include <string.h>

#define RECORD_FIXED 10u /* type, class, TTL, length */

bool dns_is_service(const struct dns_record *r)
{
	return r->class == DNS_CLASS_IN && (r->type == DNS_SVCB || r->type == DNS_HTTPS);
}

bool dns_service_read(
	const struct dns_cursor *c, const struct dns_record *r, struct dns_service *out)
{
	struct dns_cursor data = {c->msg, r->data + r->data_len, r->data};

	if (r->data_len < 2)
		return false;
	out->priority = load_be16(c->msg + r->data);
	data.at += 2;
	if (!dns_read_name(&data, &out->target))
		return false;
	out->params = data;
	return true;
}

int dns_service_next(struct dns_service *service, struct dns_param *out)
{
	struct dns_cursor *c = &service->params;
	const uint8_t *p = c->msg + c->at;
	size_t left = c->len - c->at;

	if (!left)
		return 0;
	if (left < 4 || load_be16(p + 2) > left - 4)
		return -1;
	*out = (struct dns_param){load_be16(p), load_be16(p + 2), p + 4};
	c->at += 4u + out->len;
	return 1;
}

/* ---- is there any? ---- */

static bool record_has_ech(const struct dns_cursor *c, const struct dns_record *r)
{
	struct dns_service service;
	struct dns_param param;
	int rc;

	if (!dns_service_read(c, r, &service))
		return true; /* who knows */
	while ((rc = dns_service_next(&service, &param)) > 0) {
		if (param.key == DNS_PARAM_ECH)
			return true;
	}
	return rc < 0;
}

static bool asks_for_services(const struct dns_question *q)
{
	return q->type == DNS_SVCB || q->type == DNS_HTTPS || q->type == DNS_ANY;
}

bool dns_has_ech(const uint8_t *msg, size_t len)
{
	struct dns_cursor c = {msg, len, 0};
	struct dns_question question;
	struct dns_header h;
	struct dns_record r;
	uint32_t records;

	if (!dns_read_header(&c, &h) || h.questions != 1 || !dns_read_question(&c, &question))
		return false;
	records = (uint32_t)h.answers + h.authorities + h.additionals;
	for (uint32_t i = 0; i < records; i++) {
		if (!dns_read_record(&c, &r))
			return asks_for_services(&question);
		if (dns_is_service(&r) && record_has_ech(&c, &r))
			return true;
	}
	return false;
}

/* ---- writing anew ---- */

struct out {
	uint8_t *buf;
	size_t len, max;
	bool full;
};

static void put(struct out *o, const void *bytes, size_t n)
{
	if (n > o->max - o->len) {
		o->full = true;
		return;
	}
	memcpy(o->buf + o->len, bytes, n);
	o->len += n;
}

/* The record up to its data, whose length is filled in at the end. Returns where that begins. */
static size_t put_head(struct out *o, const struct dns_record *r)
{
	uint8_t fixed[RECORD_FIXED] = {0};

	store_be16(fixed, r->type);
	store_be16(fixed + 2, r->class);
	store_be32(fixed + 4, r->ttl);
	put(o, r->name.b, r->name.len);
	put(o, fixed, sizeof(fixed));
	return o->len;
}

static void put_tail(struct out *o, size_t data)
{
	if (!o->full)
		store_be16(o->buf + data - 2, (uint16_t)(o->len - data));
}

static bool lists_ech(const struct dns_param *mandatory)
{
	for (size_t i = 0; i + 1 < mandatory->len; i += 2) {
		if (load_be16(mandatory->value + i) == DNS_PARAM_ECH)
			return true;
	}
	return false;
}

/* False: the binding cannot be had without ech, or not be read; nothing is written then. */
static bool put_service(struct out *o, const struct dns_cursor *c, const struct dns_record *r)
{
	size_t start = o->len, data = put_head(o, r);
	struct dns_service service;
	struct dns_param param;
	int rc = -1;

	if (dns_service_read(c, r, &service)) {
		put(o, c->msg + r->data, 2);
		put(o, service.target.b, service.target.len);
		while ((rc = dns_service_next(&service, &param)) > 0) {
			if (param.key == DNS_PARAM_MANDATORY && lists_ech(&param))
				break;
			if (param.key != DNS_PARAM_ECH)
				put(o, param.value - 4, 4u + param.len);
		}
	}
	if (rc != 0) {
		o->len = start;
		return false;
	}
	put_tail(o, data);
	return true;
}

static bool put_alias(struct out *o, const struct dns_cursor *c, const struct dns_record *r)
{
	struct dns_cursor at = {c->msg, c->len, r->data};
	struct dns_wire target;
	size_t data;

	if (!dns_read_name(&at, &target) || at.at != r->data + r->data_len)
		return false;
	data = put_head(o, r);
	put(o, target.b, target.len);
	put_tail(o, data);
	return true;
}

static bool put_raw(struct out *o, const struct dns_cursor *c, const struct dns_record *r)
{
	size_t data = put_head(o, r);

	put(o, c->msg + r->data, r->data_len);
	put_tail(o, data);
	return true;
}

static bool put_answer(struct out *o, const struct dns_cursor *c, const struct dns_record *r)
{
	if (dns_is_service(r))
		return put_service(o, c, r);
	if (r->type == DNS_CNAME)
		return put_alias(o, c, r);
	return (r->type == DNS_A || r->type == DNS_AAAA) && put_raw(o, c, r);
}

size_t dns_strip_ech(const uint8_t *msg, size_t len, uint8_t *buf, size_t max)
{
	struct out o = {buf, 0, max, false};
	struct dns_cursor c = {msg, len, 0};
	uint32_t records, answers = 0, opts = 0;
	struct dns_question question;
	struct dns_header h;
	struct dns_record r;

	if (!dns_read_header(&c, &h) || h.questions != 1 || !dns_read_question(&c, &question))
		return 0;
	put(&o, msg, c.at);
	records = (uint32_t)h.answers + h.authorities + h.additionals;
	for (uint32_t i = 0; i < records && dns_read_record(&c, &r); i++) {
		if (i < h.answers)
			answers += put_answer(&o, &c, &r);
		else if (r.type == DNS_OPT && !opts)
			opts += put_raw(&o, &c, &r);
	}
	if (o.full)
		return 0;
	store_be16(buf + 2, h.flags & (uint16_t)~DNS_AD);
	store_be16(buf + 6, (uint16_t)answers);
	store_be16(buf + 8, 0);
	store_be16(buf + 10, (uint16_t)opts);
	return o.len;
}
