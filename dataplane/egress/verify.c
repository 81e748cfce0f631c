/* SPDX-License-Identifier: MIT */
/* Names on the wire. See verify.h. */
#include "dataplane/egress/verify.h"

#include "dataplane/egress/http_host.h"
#include "dataplane/egress/sni.h"
#include "dataplane/stack/frame.h"
#include "dataplane/stack/timer_wheel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define HELD_FIRST 1024u
#define PIECE 4096u /* looked at in a go; what a body has beyond is not copied */

enum protocol { UNKNOWN, TLS, HTTP };

struct verify {
	struct verify_flow flow;
	struct timer deadline;
	struct sni sni;
	struct http_host http;
	uint8_t *held;
	uint32_t held_len, held_size;
	uint32_t lent; /* of these, went out with the last call */
	uint64_t skip; /* bytes that pass whatever they are */
	uint8_t protocol;
	bool named;   /* a unit with a name, or in place of one, has passed */
	bool settled; /* nothing is looked at any more */
	bool refused; /* behind what was lent */
};

static struct timer_wheel *wheel(const struct verify *v)
{
	return loop_wheel(v->flow.loop);
}

static bool refuse(struct verify *v, enum counter why)
{
	counter_inc(v->flow.counters, why);
	egress_refuse(v->flow.egress, IP_PROTO_TCP, &v->flow.dst, v->flow.pass);
	return false;
}

static void on_deadline(struct timer *timer)
{
	struct verify *v = (struct verify *)((char *)timer - offsetof(struct verify, deadline));

	refuse(v, COUNTER_VERIFY_LATE);
	v->flow.late(v->flow.arg);
}

bool verify_wanted(const struct egress_pass *pass)
{
	return pass->verdict.allow && pass->verdict.verify_strict;
}

struct verify *verify_new(const struct verify_flow *flow)
{
	struct verify *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->flow = *flow;
	v->deadline.fire = on_deadline;
	timer_arm(wheel(v), &v->deadline, VERIFY_WAIT_MS);
	return v;
}

/* ---- what is held ---- */

static void free_held(struct verify *v)
{
	*v->flow.memory -= v->held_size;
	free(v->held);
	v->held = NULL;
	v->held_len = v->held_size = v->lent = 0;
}

static void drop_lent(struct verify *v)
{
	v->held_len -= v->lent;
	if (!v->held_len)
		free_held(v);
	else if (v->lent)
		memmove(v->held, v->held + v->lent, v->held_len);
	v->lent = 0;
}

void verify_free(struct verify *v)
{
	if (!v)
		return;
	free_held(v);
	timer_disarm(wheel(v), &v->deadline);
	free(v);
}

/* Room for len bytes more, of VERIFY_HELD_MAX in all. */
static bool make_room(struct verify *v, uint32_t len)
{
	uint32_t size = v->held_size ? v->held_size : HELD_FIRST;
	uint8_t *grown;

	while (size < v->held_len + len)
		size *= 2;
	if (size == v->held_size)
		return true;
	if (*v->flow.memory + (size - v->held_size) > VERIFY_MEMORY_MAX)
		return false;
	grown = realloc(v->held, size);
	if (!grown)
		return false;
	*v->flow.memory += size - v->held_size;
	v->held = grown;
	v->held_size = size;
	return true;
}

/* Holds some of these bytes. How many; 0: there is no room for any. */
static uint32_t hold(struct verify *v, const uint8_t *bytes, size_t len)
{
	uint32_t n = VERIFY_HELD_MAX - v->held_len;

	if (n > PIECE)
		n = PIECE;
	if (n > len)
		n = (uint32_t)len;
	if (!n || !make_room(v, n))
		return 0;
	memcpy(v->held + v->held_len, bytes, n);
	v->held_len += n;
	return n;
}

/* ---- units ---- */

/* Of these bytes, the first of which is a unit's. */
static int next_unit(struct verify *v, const uint8_t *bytes, size_t len, struct unit *unit)
{
	bool may_be_tls = v->protocol == UNKNOWN ||
		(v->protocol == HTTP && http_host_switches(&v->http));

	if (may_be_tls && bytes[0] == SNI_FIRST_BYTE)
		v->protocol = TLS;
	else if (v->protocol == UNKNOWN)
		v->protocol = HTTP;
	return v->protocol == TLS ? sni_next(&v->sni, bytes, len, unit)
				  : http_host_next(&v->http, bytes, len, unit);
}

static bool admit(struct verify *v, const struct unit *unit)
{
	const struct verify_flow *f = &v->flow;
	bool ok;

	counter_inc(f->counters,
		v->protocol == TLS ? COUNTER_VERIFY_TLS_HELLOS : COUNTER_VERIFY_HTTP_REQUESTS);
	if (unit->name[0])
		ok = egress_admit_as(f->egress, f->who, IP_PROTO_TCP, &f->dst, unit->name, f->pass);
	else
		ok = egress_admit_nameless(f->egress, f->who, IP_PROTO_TCP, &f->dst, f->pass);
	if (!ok)
		counter_inc(f->counters,
			unit->name[0] ? COUNTER_VERIFY_REFUSED_NAME
				      : COUNTER_VERIFY_REFUSED_NAMELESS);
	v->named = true;
	return ok;
}

/* The next unit of what is held: its length; 0: not whole yet; -EACCES: refused. */
static ssize_t judge_unit(struct verify *v, uint32_t at)
{
	struct unit unit;
	int rc = next_unit(v, v->held + at, v->held_len - at, &unit);

	if (rc < 0)
		refuse(v, COUNTER_VERIFY_REFUSED_PROTOCOL);
	if (rc < 0 || (rc && unit.names && !admit(v, &unit)))
		return -EACCES;
	if (rc == 0)
		return 0;
	v->skip = unit.skip;
	v->settled = unit.last;
	if (v->named)
		timer_disarm(wheel(v), &v->deadline);
	return (ssize_t)unit.len;
}

/* So many of these bytes pass without a look. */
static uint32_t pass_blindly(struct verify *v, size_t len)
{
	uint32_t n = (uint32_t)(v->settled || v->skip > len ? len : v->skip);

	if (!v->settled)
		v->skip -= n;
	return n;
}

/* All that may go of what is held. */
static uint32_t judge_held(struct verify *v)
{
	uint32_t at = 0;

	while (at < v->held_len) {
		ssize_t n = v->settled || v->skip ? (ssize_t)pass_blindly(v, v->held_len - at)
						  : judge_unit(v, at);

		v->refused = n < 0;
		if (n <= 0)
			break;
		at += (uint32_t)n;
	}
	return at;
}

bool verify_feed(struct verify *v, const uint8_t *bytes, size_t len, struct verify_span *out)
{
	uint32_t before, n;

	if (v->refused)
		return false;
	drop_lent(v);
	if (v->settled || v->skip) {
		n = pass_blindly(v, len);
		*out = (struct verify_span){bytes, n, n};
		return true;
	}
	before = v->held_len;
	n = hold(v, bytes, len);
	if (!n)
		return refuse(v, COUNTER_VERIFY_BOUNDS);
	v->lent = judge_held(v);
	if (v->refused && !v->lent)
		return false;
	/* What was refused is left to them, so they come again. */
	*out = (struct verify_span){v->held, v->lent, v->refused ? v->lent - before : n};
	if (v->lent < v->held_len && !timer_armed(&v->deadline))
		timer_arm(wheel(v), &v->deadline, VERIFY_WAIT_MS);
	return true;
}

size_t verify_held(const struct verify *v)
{
	return v->held_len - v->lent;
}

bool verify_end(struct verify *v)
{
	return !verify_held(v) || refuse(v, COUNTER_VERIFY_REFUSED_PROTOCOL);
}

bool verify_settled(const struct verify *v)
{
	return v->settled;
}
