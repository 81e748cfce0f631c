/* SPDX-License-Identifier: MIT */
/*
 * Fragments. See fragment.h.
 *
 * A context is a datagram in the making: a buffer in which each fragment is put where it belongs,
 * and the list of ranges that have come. It is whole when the last fragment has told its length
 * and the ranges, which never overlap, add up to it. Buffers come in two sizes, so that 64 small
 * datagrams or 15 of the largest fit the bound. A context that went wrong gives its buffer back
 * but stays until its time is up, to swallow what is still on its way.
 */
#include "dataplane/stack/fragment.h"

#include "dataplane/stack/timer_wheel.h"

#include <stdlib.h>
#include <string.h>

#define CONTEXTS_MAX 64
#define BYTES_MAX (1u << 20)
#define LIFETIME_MS 15000
/* Fragments a datagram; an MTU of 576 makes 119 of the longest. */
#define RANGES_MAX 256
#define BUFFER_SMALL 15360u /* with their ranges, 64 fit */
#define BUFFER_LARGE 65536u
#define L4_MAX (65535 - IP4_HLEN)
#define IP4_HLEN_MAX 60

struct range {
	uint16_t start, len;
};

struct context {
	bool used;
	bool dead; /* swallows what comes */
	uint8_t proto;
	uint16_t id;
	struct addr src, dst;
	uint64_t born; /* ms */
	uint8_t *buf;
	size_t room;  /* of buf */
	size_t total; /* known once the last fragment came, else 0 */
	size_t have;
	size_t range_count, range_room;
	struct range *ranges;
	uint8_t ttl, tos;
	size_t ip_hlen; /* 0 until the first fragment came */
	uint8_t ip[IP4_HLEN_MAX];
};

struct fragments {
	struct loop *loop;
	struct counters *counters;
	struct timer expiry;
	size_t bytes;         /* of all buffers */
	struct context *done; /* what the last call gave out */
	struct packet packet;
	struct context contexts[CONTEXTS_MAX];
};

static void expire(struct timer *timer);

struct fragments *fragments_new(struct loop *loop, struct counters *counters)
{
	struct fragments *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->loop = loop;
	f->counters = counters;
	f->expiry.fire = expire;
	return f;
}

static void release_buffers(struct fragments *f, struct context *c)
{
	f->bytes -= c->room + c->range_room * sizeof(*c->ranges);
	free(c->buf);
	free(c->ranges);
	c->buf = NULL;
	c->ranges = NULL;
	c->room = c->range_room = c->range_count = 0;
}

static void context_free(struct fragments *f, struct context *c)
{
	release_buffers(f, c);
	c->used = false;
}

void fragments_reset(struct fragments *f)
{
	for (size_t i = 0; i < CONTEXTS_MAX; i++) {
		if (f->contexts[i].used)
			context_free(f, &f->contexts[i]);
	}
	f->done = NULL;
	timer_disarm(loop_wheel(f->loop), &f->expiry);
}

void fragments_free(struct fragments *f)
{
	if (!f)
		return;
	fragments_reset(f);
	free(f);
}

static void expire(struct timer *timer)
{
	struct fragments *f =
		(struct fragments *)((char *)timer - offsetof(struct fragments, expiry));
	uint64_t now = loop_now(f->loop), oldest = UINT64_MAX;

	for (size_t i = 0; i < CONTEXTS_MAX; i++) {
		struct context *c = &f->contexts[i];

		if (!c->used || c == f->done)
			continue;
		if (now - c->born >= LIFETIME_MS) {
			if (!c->dead)
				counter_inc(f->counters, COUNTER_DROP_FRAGMENT_TIMEOUT);
			context_free(f, c);
		} else if (c->born < oldest) {
			oldest = c->born;
		}
	}
	if (oldest != UINT64_MAX)
		timer_arm(loop_wheel(f->loop), timer, oldest + LIFETIME_MS - now);
}

static struct context *find(struct fragments *f, const struct packet *p)
{
	for (size_t i = 0; i < CONTEXTS_MAX; i++) {
		struct context *c = &f->contexts[i];

		if (c->used && c->id == p->id && c->proto == p->proto &&
			addr_eq(&c->src, &p->src) && addr_eq(&c->dst, &p->dst))
			return c;
	}
	return NULL;
}

/* Frees the oldest context but `keep`. False where there is none. */
static bool evict(struct fragments *f, const struct context *keep)
{
	struct context *oldest = NULL;

	for (size_t i = 0; i < CONTEXTS_MAX; i++) {
		struct context *c = &f->contexts[i];

		if (c->used && c != keep && (!oldest || c->born < oldest->born))
			oldest = c;
	}
	if (!oldest)
		return false;
	if (!oldest->dead)
		counter_inc(f->counters, COUNTER_DROP_FRAGMENT_BOUNDS);
	context_free(f, oldest);
	return true;
}

static struct context *unused(struct fragments *f)
{
	for (size_t i = 0; i < CONTEXTS_MAX; i++) {
		if (!f->contexts[i].used)
			return &f->contexts[i];
	}
	return NULL;
}

static struct context *create(struct fragments *f, const struct packet *p)
{
	struct context *c = unused(f);

	if (!c) {
		evict(f, f->done);
		c = unused(f);
	}
	*c = (struct context){
		.used = true,
		.proto = p->proto,
		.id = p->id,
		.src = p->src,
		.dst = p->dst,
		.born = loop_now(f->loop),
	};
	if (!timer_armed(&f->expiry))
		timer_arm(loop_wheel(f->loop), &f->expiry, LIFETIME_MS);
	return c;
}

static void kill_context(struct fragments *f, struct context *c, enum counter why)
{
	counter_inc(f->counters, why);
	release_buffers(f, c);
	c->dead = true;
}

/* Makes room for `more` bytes, out of others' if need be. */
static bool budget(struct fragments *f, const struct context *c, size_t more)
{
	while (f->bytes + more > BYTES_MAX) {
		if (!evict(f, c))
			return false;
	}
	return true;
}

static bool grow_buffer(struct fragments *f, struct context *c, size_t end)
{
	size_t room = end <= BUFFER_SMALL ? BUFFER_SMALL : BUFFER_LARGE;
	uint8_t *buf;

	if (end <= c->room)
		return true;
	if (!budget(f, c, room - c->room))
		return false;
	buf = realloc(c->buf, room);
	if (!buf)
		return false;
	f->bytes += room - c->room;
	c->buf = buf;
	c->room = room;
	return true;
}

static bool grow_ranges(struct fragments *f, struct context *c)
{
	size_t room = c->range_room ? c->range_room * 2 : 8;
	size_t more = (room - c->range_room) * sizeof(*c->ranges);
	struct range *ranges;

	if (c->range_count < c->range_room)
		return true;
	if (room > RANGES_MAX || !budget(f, c, more))
		return false;
	ranges = realloc(c->ranges, room * sizeof(*ranges));
	if (!ranges)
		return false;
	f->bytes += more;
	c->ranges = ranges;
	c->range_room = room;
	return true;
}

enum fit { FIT_NEW, FIT_REPEATED, FIT_OVERLAP };

static enum fit compare(const struct context *c, size_t start, const struct packet *p, bool last)
{
	size_t end = start + p->l4_len;

	for (size_t i = 0; i < c->range_count; i++) {
		const struct range *r = &c->ranges[i];

		if (start >= (size_t)r->start + r->len || end <= r->start)
			continue;
		if (start != r->start || p->l4_len != r->len || last != (c->total == end))
			return FIT_OVERLAP;
		return memcmp(c->buf + start, p->l4, p->l4_len) == 0 ? FIT_REPEATED : FIT_OVERLAP;
	}
	if (c->total && (last || end > c->total))
		return FIT_OVERLAP;
	if (last) {
		for (size_t i = 0; i < c->range_count; i++) {
			if (c->ranges[i].start >= start)
				return FIT_OVERLAP;
		}
	}
	return FIT_NEW;
}

/* Puts a fragment where it belongs, or kills the context. */
static void place(struct fragments *f, struct context *c, size_t start, const struct packet *p)
{
	bool last = !(p->frag & IP4_MF);
	size_t end = start + p->l4_len;

	switch (compare(c, start, p, last)) {
	case FIT_REPEATED:
		return;
	case FIT_OVERLAP:
		kill_context(f, c, COUNTER_DROP_FRAGMENT_OVERLAP);
		return;
	case FIT_NEW:
		break;
	}
	if (!grow_buffer(f, c, end) || !grow_ranges(f, c)) {
		kill_context(f, c, COUNTER_DROP_FRAGMENT_BOUNDS);
		return;
	}
	memcpy(c->buf + start, p->l4, p->l4_len);
	c->ranges[c->range_count++] = (struct range){(uint16_t)start, (uint16_t)p->l4_len};
	c->have += p->l4_len;
	if (last)
		c->total = end;
	if (start == 0) {
		memcpy(c->ip, p->ip, p->ip_hlen);
		c->ip_hlen = p->ip_hlen;
		c->ttl = p->ttl;
		c->tos = p->tos;
	}
}

static bool checksum_ok(const struct context *c)
{
	const struct udp_hdr *udp = (const struct udp_hdr *)c->buf;
	size_t len;

	if (c->total < UDP_HLEN)
		return false;
	if (c->proto == IP_PROTO_ICMP)
		return csum_fold(csum_add(0, c->buf, c->total)) == 0xffff;
	len = be16_get(udp->len);
	if (len < UDP_HLEN || len > c->total)
		return false;
	if (be16_get(udp->csum) == 0)
		return true;
	return csum_fold(csum_add(csum_pseudo(&c->src, &c->dst, c->proto, len), c->buf, len)) ==
		0xffff;
}

/* The whole packet, its IP header as if it had never been cut. */
static const struct packet *finish(struct fragments *f, struct context *c)
{
	struct ip4_hdr *h = (struct ip4_hdr *)c->ip;

	if (!checksum_ok(c)) {
		counter_inc(f->counters, COUNTER_DROP_CHECKSUM);
		context_free(f, c);
		return NULL;
	}
	h->total_len = be16((uint16_t)(c->ip_hlen + c->total));
	h->frag = be16(0);
	h->csum = be16(0);
	h->csum = be16((uint16_t)~csum_fold(csum_add(0, c->ip, c->ip_hlen)));
	f->packet = (struct packet){
		.src = c->src,
		.dst = c->dst,
		.proto = c->proto,
		.ttl = c->ttl,
		.tos = c->tos,
		.ip = c->ip,
		.ip_hlen = c->ip_hlen,
		.l4 = c->buf,
		.l4_len = c->total,
		.id = c->id,
	};
	f->done = c;
	counter_inc(f->counters, COUNTER_FRAGMENTS_REASSEMBLED);
	return &f->packet;
}

const struct packet *fragment_input(struct fragments *f, const struct packet *p)
{
	size_t start = (size_t)(p->frag & IP4_OFFSET) * 8;
	struct context *c;

	if (f->done) {
		context_free(f, f->done);
		f->done = NULL;
	}
	counter_inc(f->counters, COUNTER_FRAGMENTS_IN);
	if (p->proto != IP_PROTO_UDP && p->proto != IP_PROTO_ICMP) {
		counter_inc(f->counters, COUNTER_DROP_PROTOCOL);
		return NULL;
	}
	if (p->l4_len == 0 || ((p->frag & IP4_MF) && p->l4_len % 8 != 0) || p->ip_hlen < IP4_HLEN ||
		p->ip_hlen > IP4_HLEN_MAX || start + p->l4_len > L4_MAX) {
		counter_inc(f->counters, COUNTER_DROP_MALFORMED);
		return NULL;
	}
	c = find(f, p);
	if (!c)
		c = create(f, p);
	if (c->dead)
		return NULL;
	place(f, c, start, p);
	if (c->dead || !c->ip_hlen || !c->total || c->have != c->total)
		return NULL;
	if (c->ip_hlen + c->total > UINT16_MAX) { /* options on top of the longest datagram */
		kill_context(f, c, COUNTER_DROP_MALFORMED);
		return NULL;
	}
	return finish(f, c);
}

void fragment_output(struct output *out, struct counters *counters, const struct output_ip *ip,
	const void *hdr, size_t hdr_len, const void *data, size_t data_len)
{
	size_t max = output_l4_max(out) & ~(size_t)7, total = hdr_len + data_len;
	const uint8_t *payload = data;
	struct output_ip head = *ip;
	size_t at = 0;

	if (total > L4_MAX || max < hdr_len)
		return;
	head.id = out->next_id++;
	while (at < total) {
		size_t len = total - at < max ? total - at : max;
		size_t in_hdr = at < hdr_len ? hdr_len - at : 0;
		uint8_t *l4;

		head.frag = (uint16_t)(at / 8 | (at + len < total ? IP4_MF : 0));
		l4 = output_begin(out, &head, len);
		if (!l4)
			return;
		memcpy(l4, hdr, in_hdr);
		if (len > in_hdr)
			memcpy(l4 + in_hdr, payload + at + in_hdr - hdr_len, len - in_hdr);
		output_end(out, len, OUTPUT_CSUM_NONE);
		counter_inc(counters, COUNTER_FRAGMENTS_OUT);
		at += len;
	}
}
