/* SPDX-License-Identifier: MIT */
/*
 * The name log: see dns_names.h.
 *
 * Entries hang in a hash table by address (so an address' names share a bucket), in a list by age,
 * and, while they are news, in a list of those. The guest chooses what it resolves, so the hash is
 * keyed and both bounds hold whatever it asks.
 */
#include "dataplane/stack/dns_names.h"

#include "common/be.h"
#include "common/os.h"
#include "common/siphash.h"
#include "dataplane/stack/dns_service.h"

#include <stdlib.h>
#include <string.h>

#define CHAIN_MAX 16u    /* CNAMEs followed in one answer */
#define RECORDS_MAX 256u /* records looked at in one answer */
#define HINTS_MAX 16u    /* addresses of one service binding */
#define FIRST_BUCKETS 256u

struct entry {
	struct entry *in_bucket;
	struct entry *older, *newer;
	struct entry *next_news, **at_news;
	struct addr addr;
	int64_t until_ms;
	bool news;
	uint8_t len;
	char name[];
};

struct dns_names {
	struct entry **buckets;
	size_t mask; /* buckets less one */
	size_t count;
	struct entry *oldest, *newest;
	struct entry *news, **news_end;
	struct siphash_key key;
};

struct dns_names *dns_names_new(void)
{
	struct dns_names *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->buckets = calloc(FIRST_BUCKETS, sizeof(struct entry *));
	if (!log->buckets) {
		free(log);
		return NULL;
	}
	log->mask = FIRST_BUCKETS - 1;
	log->news_end = &log->news;
	os_random(&log->key, sizeof(log->key));
	return log;
}

void dns_names_clear(struct dns_names *log)
{
	while (log->oldest) {
		struct entry *e = log->oldest;

		log->oldest = e->newer;
		free(e);
	}
	memset(log->buckets, 0, (log->mask + 1) * sizeof(struct entry *));
	log->newest = log->news = NULL;
	log->news_end = &log->news;
	log->count = 0;
}

void dns_names_free(struct dns_names *log)
{
	if (!log)
		return;
	dns_names_clear(log);
	free(log->buckets);
	free(log);
}

size_t dns_names_count(const struct dns_names *log)
{
	return log->count;
}

/* ---- the table ---- */

static struct entry **bucket_of(const struct dns_names *log, const struct addr *addr)
{
	return &log->buckets[siphash(&log->key, addr->b, sizeof(addr->b)) & log->mask];
}

static void age_unlink(struct dns_names *log, struct entry *e)
{
	*(e->older ? &e->older->newer : &log->oldest) = e->newer;
	*(e->newer ? &e->newer->older : &log->newest) = e->older;
}

static void age_append(struct dns_names *log, struct entry *e)
{
	e->newer = NULL;
	e->older = log->newest;
	*(log->newest ? &log->newest->newer : &log->oldest) = e;
	log->newest = e;
}

static void news_unlink(struct dns_names *log, struct entry *e)
{
	if (!e->news)
		return;
	*e->at_news = e->next_news;
	if (e->next_news)
		e->next_news->at_news = e->at_news;
	else
		log->news_end = e->at_news;
	e->news = false;
}

static void news_append(struct dns_names *log, struct entry *e)
{
	if (e->news)
		return;
	e->news = true;
	e->next_news = NULL;
	e->at_news = log->news_end;
	*log->news_end = e;
	log->news_end = &e->next_news;
}

static void bucket_unlink(struct dns_names *log, struct entry *e)
{
	struct entry **at = bucket_of(log, &e->addr);

	while (*at != e)
		at = &(*at)->in_bucket;
	*at = e->in_bucket;
}

static void bucket_push(struct dns_names *log, struct entry *e)
{
	struct entry **bucket = bucket_of(log, &e->addr);

	e->in_bucket = *bucket;
	*bucket = e;
}

static void grow(struct dns_names *log)
{
	size_t n = (log->mask + 1) * 2;
	struct entry **fresh;

	if (log->count <= log->mask || n > DNS_NAMES_MAX)
		return;
	fresh = calloc(n, sizeof(struct entry *));
	if (!fresh)
		return; /* slower, not wrong */
	free(log->buckets);
	log->buckets = fresh;
	log->mask = n - 1;
	for (struct entry *e = log->oldest; e; e = e->newer)
		bucket_push(log, e);
}

static void forget(struct dns_names *log, struct entry *e)
{
	bucket_unlink(log, e);
	age_unlink(log, e);
	news_unlink(log, e);
	log->count--;
	free(e);
}

static struct entry *find(
	const struct dns_names *log, const struct addr *addr, const char *name, size_t len)
{
	for (struct entry *e = *bucket_of(log, addr); e; e = e->in_bucket) {
		if (e->len == len && addr_eq(&e->addr, addr) && !memcmp(e->name, name, len))
			return e;
	}
	return NULL;
}

/* New and renewed entries go to the front of their bucket, so an address' last one is its oldest. */
static void make_room(struct dns_names *log, const struct addr *addr)
{
	struct entry *last = NULL;
	unsigned same = 0;

	for (struct entry *e = *bucket_of(log, addr); e; e = e->in_bucket) {
		if (!addr_eq(&e->addr, addr))
			continue;
		last = e;
		same++;
	}
	if (same >= DNS_NAMES_EACH)
		forget(log, last);
	else if (log->count >= DNS_NAMES_MAX)
		forget(log, log->oldest);
}

static struct entry *insert(
	struct dns_names *log, const struct addr *addr, const char *name, size_t len)
{
	struct entry *e = calloc(1, sizeof(*e) + len + 1);

	if (!e)
		return NULL;
	make_room(log, addr);
	grow(log);
	e->addr = *addr;
	e->len = (uint8_t)len;
	memcpy(e->name, name, len);
	bucket_push(log, e);
	age_append(log, e);
	log->count++;
	return e;
}

bool dns_names_add(struct dns_names *log, const struct addr *addr, const char *name,
	int64_t until_ms, bool news)
{
	size_t len = strlen(name);
	struct entry *e;

	if (len == 0 || len >= DNS_NAME_TEXT_MAX)
		return false;
	e = find(log, addr, name, len);
	if (e) {
		bucket_unlink(log, e);
		bucket_push(log, e);
		age_unlink(log, e);
		age_append(log, e);
	} else {
		e = insert(log, addr, name, len);
	}
	if (!e)
		return false;
	if (until_ms <= e->until_ms)
		return true; /* another life of a kept answer */
	e->until_ms = until_ms;
	if (news)
		news_append(log, e);
	return true;
}

/* ---- learning ---- */

/* How the question's name leads on: names[0] is the question's, the others targets of CNAMEs. */
struct chain {
	unsigned len;
	uint32_t ttl; /* the least of the CNAMEs' */
	struct dns_wire names[CHAIN_MAX];
};

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* One pass over the answers that extends the chain; true if it grew. */
static bool follow(struct chain *chain, struct dns_cursor c, unsigned answers)
{
	unsigned before = chain->len;
	struct dns_record r;

	for (unsigned i = 0; i < answers && chain->len < CHAIN_MAX; i++) {
		struct dns_cursor data = c;

		if (!dns_read_record(&c, &r))
			break;
		if (r.type != DNS_CNAME || r.class != DNS_CLASS_IN ||
			!dns_wire_eq(&r.name, &chain->names[chain->len - 1]))
			continue;
		data.at = r.data;
		if (!dns_read_name(&data, &chain->names[chain->len]) ||
			data.at != r.data + r.data_len)
			break;
		chain->ttl = least(chain->ttl, r.ttl);
		chain->len++;
	}
	return chain->len > before;
}

static bool record_addr(const struct dns_cursor *c, const struct dns_record *r, struct addr *out)
{
	if (r->class != DNS_CLASS_IN)
		return false;
	if (r->type == DNS_A && r->data_len == 4) {
		*out = addr_from_v4(load_be32(c->msg + r->data));
		return true;
	}
	if (r->type == DNS_AAAA && r->data_len == 16) {
		memcpy(out->b, c->msg + r->data, 16);
		return true;
	}
	return false;
}

/* A guest may need a while until it connects, and must ask again some day. */
static int64_t counted_ms(uint32_t ttl)
{
	if (ttl > INT32_MAX) /* RFC 2181, section 8 */
		ttl = 0;
	if (ttl < NAMES_TTL_MIN)
		ttl = NAMES_TTL_MIN;
	return (int64_t)least(ttl, NAMES_TTL_MAX) * 1000;
}

/* The address under every name up to the one that has it; the question's last, so that it is the
 * first to be told. */
static size_t note(struct dns_names *log, const struct chain *chain, const struct dns_record *r,
	const struct addr *addr, int64_t now_ms)
{
	int64_t until_ms = now_ms + counted_ms(least(r->ttl, chain->ttl));
	char text[DNS_NAME_TEXT_MAX];
	unsigned owner = 0;
	size_t n = 0;

	while (owner < chain->len && !dns_wire_eq(&chain->names[owner], &r->name))
		owner++;
	if (owner == chain->len)
		return 0;
	for (unsigned i = owner + 1; i-- > 0;) {
		if (dns_wire_format(&chain->names[i], text))
			n += dns_names_add(log, addr, text, until_ms, true);
	}
	return n;
}

/* The addresses that a service binding hints at: a client may go there without asking further. */
static size_t note_hints(struct dns_names *log, const struct chain *chain,
	const struct dns_cursor *c, const struct dns_record *r, int64_t now_ms)
{
	struct dns_service service;
	struct dns_param param;
	unsigned hints = 0;
	struct addr addr;
	size_t n = 0;

	if (!dns_service_read(c, r, &service) || service.priority == 0)
		return 0;
	while (dns_service_next(&service, &param) > 0) {
		size_t size = param.key == DNS_PARAM_IPV4HINT ? 4 : 16;

		if (param.key != DNS_PARAM_IPV4HINT && param.key != DNS_PARAM_IPV6HINT)
			continue;
		for (size_t at = 0; at + size <= param.len && hints++ < HINTS_MAX; at += size) {
			if (size == 4)
				addr = addr_from_v4(load_be32(param.value + at));
			else
				memcpy(addr.b, param.value + at, size);
			n += note(log, chain, r, &addr, now_ms);
		}
	}
	return n;
}

size_t dns_names_learn(struct dns_names *log, const uint8_t *msg, size_t len, int64_t now_ms)
{
	struct dns_cursor c = {msg, len, 0};
	struct dns_question question;
	struct dns_header h;
	struct dns_record r;
	struct chain chain;
	struct addr addr;
	size_t n = 0;

	if (!dns_read_header(&c, &h) || h.questions != 1 || (h.flags & DNS_RCODE) != DNS_NOERROR)
		return 0;
	if (!dns_read_question(&c, &question) || question.class != DNS_CLASS_IN)
		return 0;
	if (h.answers > RECORDS_MAX)
		h.answers = RECORDS_MAX;
	chain.len = 1;
	chain.ttl = UINT32_MAX;
	chain.names[0] = question.name;
	/* CNAMEs come in order from all but the strangest servers; then the second pass is idle. */
	while (chain.len < CHAIN_MAX && follow(&chain, c, h.answers))
		;
	for (unsigned i = 0; i < h.answers && dns_read_record(&c, &r); i++) {
		if (record_addr(&c, &r, &addr))
			n += note(log, &chain, &r, &addr, now_ms);
		else if (dns_is_service(&r))
			n += note_hints(log, &chain, &c, &r, now_ms);
	}
	return n;
}

/* ---- telling ---- */

struct batch {
	struct dns_name rows[DNS_NAMES_BATCH];
	size_t n;
	dns_names_fn fn;
	void *arg;
};

static void batch_add(struct batch *b, const struct entry *e)
{
	b->rows[b->n++] = (struct dns_name){e->addr, e->until_ms, e->name};
	if (b->n == DNS_NAMES_BATCH) {
		b->fn(b->arg, b->rows, b->n);
		b->n = 0;
	}
}

static void batch_end(struct batch *b)
{
	if (b->n)
		b->fn(b->arg, b->rows, b->n);
	free(b);
}

static struct batch *batch_begin(dns_names_fn fn, void *arg)
{
	struct batch *b = malloc(sizeof(*b));

	if (b) {
		b->n = 0;
		b->fn = fn;
		b->arg = arg;
	}
	return b;
}

void dns_names_flush(struct dns_names *log, dns_names_fn fn, void *arg)
{
	struct batch *b = log->news ? batch_begin(fn, arg) : NULL;

	if (!b)
		return;
	for (struct entry *e = log->news; e; e = e->next_news) {
		e->news = false;
		batch_add(b, e);
	}
	log->news = NULL;
	log->news_end = &log->news;
	batch_end(b);
}

void dns_names_each(const struct dns_names *log, int64_t now_ms, dns_names_fn fn, void *arg)
{
	struct batch *b = batch_begin(fn, arg);

	if (!b)
		return;
	for (const struct entry *e = log->oldest; e; e = e->newer) {
		if (e->until_ms > now_ms)
			batch_add(b, e);
	}
	batch_end(b);
}

size_t dns_names_of(const struct dns_names *log, const struct addr *addr, int64_t now_ms,
	const char **names, size_t max)
{
	size_t n = 0;

	for (const struct entry *e = *bucket_of(log, addr); e && n < max; e = e->in_bucket) {
		if (e->until_ms > now_ms && addr_eq(&e->addr, addr))
			names[n++] = e->name;
	}
	return n;
}
