/* SPDX-License-Identifier: MIT */
/*
 * Kept answers: see dns_cache.h.
 *
 * Entries hang in a hash table by question and in a list by use. The guest chooses its questions,
 * so the hash is keyed.
 */
#include "dataplane/stack/dns_cache.h"

#include "common/be.h"
#include "common/os.h"
#include "common/siphash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define BUCKETS 1024u /* a power of two */
/* What a server may make its answer depend on. */
#define QUESTION_FLAGS (DNS_RD | DNS_AD | DNS_CD)

struct entry {
	LIST_ENTRY(entry) in_bucket;
	TAILQ_ENTRY(entry) by_use;
	struct dns_question question;
	uint16_t flags; /* of the query */
	bool edns, dnssec;
	uint64_t since_ms, until_ms;
	size_t len;
	uint8_t msg[];
};

TAILQ_HEAD(entries, entry);

struct dns_cache {
	LIST_HEAD(, entry) buckets[BUCKETS];
	struct entries used; /* the last one first */
	size_t count, bytes;
	struct siphash_key key;
};

struct dns_cache *dns_cache_new(void)
{
	struct dns_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	TAILQ_INIT(&cache->used);
	os_random(&cache->key, sizeof(cache->key));
	return cache;
}

static void forget(struct dns_cache *cache, struct entry *e)
{
	LIST_REMOVE(e, in_bucket);
	TAILQ_REMOVE(&cache->used, e, by_use);
	cache->count--;
	cache->bytes -= e->len;
	free(e);
}

void dns_cache_clear(struct dns_cache *cache)
{
	struct entry *e;

	while ((e = TAILQ_FIRST(&cache->used)))
		forget(cache, e);
}

void dns_cache_free(struct dns_cache *cache)
{
	if (!cache)
		return;
	dns_cache_clear(cache);
	free(cache);
}

size_t dns_cache_count(const struct dns_cache *cache)
{
	return cache->count;
}

static size_t bucket_of(const struct dns_cache *cache, const struct dns_question *q)
{
	uint8_t key[DNS_NAME_WIRE_MAX + 2];

	memcpy(key, q->name.b, q->name.len);
	store_be16(key + q->name.len, q->type);
	return siphash(&cache->key, key, q->name.len + 2u) & (BUCKETS - 1);
}

static struct entry *find(const struct dns_cache *cache, const struct dns_query_info *query)
{
	uint16_t flags = query->flags & QUESTION_FLAGS;
	struct entry *e;

	LIST_FOREACH(e, &cache->buckets[bucket_of(cache, &query->question)], in_bucket) {
		if (e->flags == flags && e->edns == query->edns && e->dnssec == query->dnssec &&
			dns_question_eq(&e->question, &query->question))
			return e;
	}
	return NULL;
}

/* ---- what may be kept, and how long ---- */

static bool may_keep(const struct dns_query_info *query)
{
	const struct dns_question *q = &query->question;

	/* A name in full, as answers have it: the question is to be put in its place. */
	return !query->special && q->class == DNS_CLASS_IN && q->type != DNS_ANY &&
		query->question_end == DNS_HEADER_LEN + q->name.len + 4u;
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* How long an SOA lets "there is nothing" last: its own TTL bounds that, too. */
static bool soa_minimum(const struct dns_cursor *c, const struct dns_record *r, uint32_t *out)
{
	struct dns_cursor data = {c->msg, r->data + r->data_len, r->data};
	struct dns_wire server, mailbox;

	if (!dns_read_name(&data, &server) || !dns_read_name(&data, &mailbox) ||
		data.len - data.at != 20)
		return false;
	*out = load_be32(c->msg + data.at + 16);
	return true;
}

struct scan {
	uint32_t ttl;  /* the least of all records */
	bool answered; /* has a record of the type that was asked for */
	bool soa;
	size_t end; /* without OPT */
	bool opt;
};

/* One record's say. False where the answer cannot be kept. */
static bool weigh(struct scan *s, const struct dns_cursor *c, const struct dns_record *r,
	const struct dns_question *q, bool answer, bool authority)
{
	uint32_t minimum;

	if (s->opt) /* something behind it: a signature of the message */
		return false;
	if (r->type == DNS_OPT) {
		s->opt = true;
		return r->ttl >> 24 == 0; /* no extended code */
	}
	s->end = c->at;
	s->ttl = least(s->ttl, r->ttl > INT32_MAX ? 0 : r->ttl);
	s->answered |= answer && r->type == q->type;
	if (authority && r->type == DNS_SOA) {
		if (!soa_minimum(c, r, &minimum))
			return false;
		s->soa = true;
		s->ttl = s->answered ? s->ttl : least(s->ttl, minimum);
	}
	return true;
}

/* The seconds that an answer may be kept, and its length without OPT; 0 for not at all. */
static uint32_t lifetime(
	const struct dns_question *q, const uint8_t *msg, size_t len, size_t *kept_len)
{
	struct scan s = {.ttl = DNS_CACHE_SECONDS};
	struct dns_cursor c = {msg, len, 0};
	struct dns_question question;
	struct dns_header h;
	struct dns_record r;
	uint32_t records;
	unsigned rcode;

	if (!dns_read_header(&c, &h) || h.questions != 1 || !dns_read_question(&c, &question))
		return 0;
	rcode = h.flags & DNS_RCODE;
	if (h.flags & DNS_TC || (rcode != DNS_NOERROR && rcode != DNS_NXDOMAIN))
		return 0;
	s.end = c.at;
	records = (uint32_t)h.answers + h.authorities + h.additionals;
	for (uint32_t i = 0; i < records; i++) {
		bool answer = i < h.answers, rest = i >= (uint32_t)h.answers + h.authorities;

		if (!dns_read_record(&c, &r) || !weigh(&s, &c, &r, q, answer, !answer && !rest))
			return 0;
	}
	*kept_len = s.end;
	return s.soa || (s.answered && rcode == DNS_NOERROR) ? s.ttl : 0;
}

static void make_room(struct dns_cache *cache, size_t len)
{
	while (cache->count >= DNS_CACHE_MAX || cache->bytes + len > DNS_CACHE_BYTES_MAX)
		forget(cache, TAILQ_LAST(&cache->used, entries));
}

void dns_cache_put(struct dns_cache *cache, const struct dns_query_info *query, const uint8_t *msg,
	size_t len, uint64_t now_ms)
{
	struct entry *e = may_keep(query) ? find(cache, query) : NULL;
	uint32_t seconds;
	size_t kept;

	if (e)
		forget(cache, e);
	seconds = may_keep(query) ? lifetime(&query->question, msg, len, &kept) : 0;
	if (!seconds || kept > DNS_CACHE_MESSAGE_MAX)
		return;
	e = malloc(sizeof(*e) + kept);
	if (!e)
		return;
	make_room(cache, kept);
	*e = (struct entry){
		.question = query->question,
		.flags = query->flags & QUESTION_FLAGS,
		.edns = query->edns,
		.dnssec = query->dnssec,
		.since_ms = now_ms,
		.until_ms = now_ms + (uint64_t)seconds * 1000,
		.len = kept,
	};
	memcpy(e->msg, msg, kept);
	if (kept < len) /* less OPT */
		store_be16(e->msg + 10, (uint16_t)(load_be16(e->msg + 10) - 1));
	LIST_INSERT_HEAD(&cache->buckets[bucket_of(cache, &e->question)], e, in_bucket);
	TAILQ_INSERT_HEAD(&cache->used, e, by_use);
	cache->count++;
	cache->bytes += kept;
}

/* ---- giving out ---- */

/* Takes the age off every TTL. Whatever is kept can be read. */
static void grow_old(uint8_t *msg, size_t len, uint32_t seconds)
{
	struct dns_cursor c = {msg, len, 0};
	struct dns_question question;
	struct dns_header h;
	struct dns_record r;

	if (!dns_read_header(&c, &h) || !dns_read_question(&c, &question))
		return;
	while (c.at < len && dns_read_record(&c, &r))
		store_be32(msg + r.data - 6, r.ttl > seconds ? r.ttl - seconds : 0);
}

size_t dns_cache_get(struct dns_cache *cache, const struct dns_query_info *query,
	const uint8_t *query_msg, uint8_t buf[DNS_CACHE_ANSWER_MAX], uint64_t now_ms)
{
	struct entry *e = may_keep(query) ? find(cache, query) : NULL;
	size_t len;

	if (!e)
		return 0;
	if (now_ms >= e->until_ms) {
		forget(cache, e);
		return 0;
	}
	TAILQ_REMOVE(&cache->used, e, by_use);
	TAILQ_INSERT_HEAD(&cache->used, e, by_use);
	len = e->len;
	memcpy(buf, e->msg, len);
	/* The same question, in the letters of who asks now. */
	memcpy(buf + DNS_HEADER_LEN, query_msg + DNS_HEADER_LEN,
		query->question_end - DNS_HEADER_LEN);
	store_be16(buf + 2, load_be16(buf + 2) & (uint16_t)~DNS_AA);
	grow_old(buf, len, (uint32_t)((now_ms - e->since_ms) / 1000));
	if (query->edns)
		len += dns_put_opt(buf, len, query);
	return len;
}
