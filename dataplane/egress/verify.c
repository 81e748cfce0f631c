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

#define HELD_FIRST 1024u
#define PIECE 4096u /* looked at in a go: a unit is mostly shorter, and its body is not copied */

enum protocol { UNKNOWN, TLS, HTTP };

struct verify {
	struct verify_flow flow;
	struct timer deadline;
	struct sni sni;
	struct http_host http;
	uint8_t *held;
	uint32_t held_len, held_size;
	uint64_t skip; /* bytes that pass whatever they are */
	uint8_t protocol;
	bool lent;    /* what is held has gone out with the last call */
	bool named;   /* a unit with a name, or in place of one, has passed */
	bool settled; /* nothing is looked at any more */
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

static void drop_held(struct verify *v)
{
	*v->flow.memory -= v->held_size;
	free(v->held);
	v->held = NULL;
	v->held_len = v->held_size = 0;
	v->lent = false;
}

void verify_free(struct verify *v)
{
	if (!v)
		return;
	drop_held(v);
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

static int next_unit(struct verify *v, struct unit *unit)
{
	bool may_be_tls = v->protocol == UNKNOWN ||
		(v->protocol == HTTP && http_host_switches(&v->http));

	if (may_be_tls && v->held[0] == SNI_FIRST_BYTE)
		v->protocol = TLS;
	else if (v->protocol == UNKNOWN)
		v->protocol = HTTP;
	return v->protocol == TLS ? sni_next(&v->sni, v->held, v->held_len, unit)
				  : http_host_next(&v->http, v->held, v->held_len, unit);
}

static bool admit(struct verify *v, const struct unit *unit)
{
	const struct verify_flow *f = &v->flow;
	bool ok;

	counter_inc(f->counters,
		v->protocol == TLS ? COUNTER_VERIFY_TLS_HELLOS : COUNTER_VERIFY_HTTP_REQUESTS);
	if (unit->name[0])
		ok = egress_admit_as(
			f->egress, f->who, IP_PROTO_TCP, &f->dst, unit->name, f->pass);
	else
		ok = egress_admit_nameless(f->egress, f->who, IP_PROTO_TCP, &f->dst, f->pass);
	if (!ok)
		counter_inc(f->counters,
			unit->name[0] ? COUNTER_VERIFY_REFUSED_NAME
				      : COUNTER_VERIFY_REFUSED_NAMELESS);
	v->named = true;
	return ok;
}

static bool pass(struct verify *v, const struct unit *unit)
{
	if (unit->names && !admit(v, unit))
		return false;
	v->skip = unit->skip;
	v->settled = unit->last;
	v->lent = true;
	if (v->named)
		timer_disarm(wheel(v), &v->deadline);
	return true;
}

bool verify_feed(struct verify *v, const uint8_t *bytes, size_t len, struct verify_span *out)
{
	uint32_t before, n;
	struct unit unit;
	int rc;

	if (v->lent)
		drop_held(v);
	if (v->settled || v->skip) {
		n = (uint32_t)(v->settled || v->skip > len ? len : v->skip);
		v->skip -= v->settled ? 0 : n;
		*out = (struct verify_span){bytes, n, n};
		return true;
	}
	before = v->held_len;
	n = hold(v, bytes, len);
	if (!n)
		return refuse(v, COUNTER_VERIFY_BOUNDS);
	rc = next_unit(v, &unit);
	if (rc < 0)
		return refuse(v, COUNTER_VERIFY_REFUSED_PROTOCOL);
	if (rc == 0) {
		if (!timer_armed(&v->deadline))
			timer_arm(wheel(v), &v->deadline, VERIFY_WAIT_MS);
		*out = (struct verify_span){NULL, 0, n};
		return true;
	}
	if (!pass(v, &unit))
		return false;
	*out = (struct verify_span){v->held, unit.len, unit.len - before};
	return true;
}

size_t verify_held(const struct verify *v)
{
	return v->lent ? 0 : v->held_len;
}

bool verify_end(struct verify *v)
{
	return !verify_held(v) || refuse(v, COUNTER_VERIFY_REFUSED_PROTOCOL);
}

bool verify_settled(const struct verify *v)
{
	return v->settled;
}
