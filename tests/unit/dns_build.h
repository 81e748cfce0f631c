/* SPDX-License-Identifier: MIT */
/* DNS messages, built record by record, for the tests of what reads them. */
#ifndef TESTS_UNIT_DNS_BUILD_H
#define TESTS_UNIT_DNS_BUILD_H

#include "common/be.h"
#include "dataplane/stack/dns_message.h"

#include <check.h>
#include <stdint.h>
#include <string.h>

struct message {
	uint8_t b[8192];
	size_t len;
};

static inline void put8(struct message *m, uint8_t v)
{
	m->b[m->len++] = v;
}

static inline void put16(struct message *m, uint16_t v)
{
	store_be16(m->b + m->len, v);
	m->len += 2;
}

static inline void put32(struct message *m, uint32_t v)
{
	put16(m, (uint16_t)(v >> 16));
	put16(m, (uint16_t)v);
}

static inline void put_bytes(struct message *m, const void *bytes, size_t n)
{
	memcpy(m->b + m->len, bytes, n);
	m->len += n;
}

static inline void put_name(struct message *m, const char *name)
{
	struct dns_wire w = {1, {0}};

	if (*name)
		ck_assert_int_eq(dns_wire_parse(name, &w), 0);
	put_bytes(m, w.b, w.len);
}

/* An answer (flags without QR) or, with QR taken off again, a query; without records. */
static inline struct message message(const char *question, uint16_t type, uint16_t flags)
{
	struct message m = {.len = DNS_HEADER_LEN};

	store_be16(m.b + 2, (uint16_t)(DNS_QR | flags));
	store_be16(m.b + 4, 1);
	put_name(&m, question);
	put16(&m, type);
	put16(&m, DNS_CLASS_IN);
	return m;
}

static inline struct message query_message(const char *question, uint16_t type, uint16_t flags)
{
	struct message m = message(question, type, flags);

	m.b[2] &= 0x7f;
	return m;
}

enum section { IN_ANSWER = 6, IN_AUTHORITY = 8, IN_ADDITIONAL = 10 };

/* A record up to its data's length, which end_record() fills in. Returns where that lies. */
static inline size_t begin_record(
	struct message *m, enum section section, const char *name, uint16_t type, uint32_t ttl)
{
	store_be16(m->b + section, (uint16_t)(load_be16(m->b + section) + 1));
	put_name(m, name);
	put16(m, type);
	put16(m, DNS_CLASS_IN);
	put32(m, ttl);
	put16(m, 0);
	return m->len - 2;
}

static inline void end_record(struct message *m, size_t at)
{
	store_be16(m->b + at, (uint16_t)(m->len - at - 2));
}

static inline void add_a(struct message *m, const char *name, uint32_t ttl, uint32_t addr)
{
	size_t at = begin_record(m, IN_ANSWER, name, DNS_A, ttl);

	put32(m, addr);
	end_record(m, at);
}

static inline void add_cname(struct message *m, const char *name, uint32_t ttl, const char *target)
{
	size_t at = begin_record(m, IN_ANSWER, name, DNS_CNAME, ttl);

	put_name(m, target);
	end_record(m, at);
}

static inline void add_soa(struct message *m, const char *zone, uint32_t ttl, uint32_t minimum)
{
	size_t at = begin_record(m, IN_AUTHORITY, zone, DNS_SOA, ttl);

	put_name(m, "ns.example");
	put_name(m, "root.example");
	for (int i = 0; i < 4; i++)
		put32(m, 86400);
	put32(m, minimum);
	end_record(m, at);
}

/* ttl: extended code, version and flags (DO is 0x8000). */
static inline void add_opt(
	struct message *m, uint16_t size, uint32_t ttl, const void *options, size_t len)
{
	size_t at = begin_record(m, IN_ADDITIONAL, "", DNS_OPT, ttl);

	store_be16(m->b + at - 6, size);
	put_bytes(m, options, len);
	end_record(m, at);
}

#endif
