/* SPDX-License-Identifier: MIT */
/*
 * What netctld must not miss: changes of the link and the vsock, and refusals.
 *
 * Each gets a number and is kept, sent or not, until netctld says that it is written down; a new
 * netctld gets all that is kept, and leaves out what its predecessor wrote. So no end of netctld
 * loses or doubles one. Numbers begin with the clock, so that no worker's are a predecessor's.
 *
 *	events:   [ sent, sent, sent | unsent, unsent ]
 *	           ▲ first_event  ▲ n_sent          ▲ n_events
 *
 * The ring is bounded. While nobody is there to be told, refusals of the same kind are one event
 * with a count, and when the ring is nearly full those of all further kinds are. A full ring loses
 * its oldest event: one that was sent is hardly missed, one that was not is counted.
 */
#include "dataplane/control_internal.h"

#include "common/clock.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NUMBER_SHIFT 20 /* of the milliseconds that numbers begin with */

void control_events_begin(struct control *control)
{
	control->last_number = (uint64_t)control->since_ms << NUMBER_SHIFT;
}

static struct control_event *event_at(struct control *control, size_t i)
{
	return &control->events[(control->first_event + i) % CONTROL_EVENTS_MAX];
}

static void drop_first(struct control *control)
{
	control->first_event = (control->first_event + 1) % CONTROL_EVENTS_MAX;
	control->n_events--;
	if (control->n_sent)
		control->n_sent--;
}

/* ---- sending ---- */

static int send_event(struct control *control, const struct control_event *event)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__LinkChanged changed;
	Netdp__VsockChanged vsock;
	Netdp__FlowRefused refused;

	env.number = event->number;
	if (event->link) {
		netdp__link_changed__init(&changed);
		changed.up = event->up;
		changed.kind = (Netdp__LinkKind)event->kind;
		changed.text = wire_put_text(event->text);
		changed.refused = event->refused;
		env.body_case = NETDP__ENVELOPE__BODY_LINK_CHANGED;
		env.link_changed = &changed;
	} else if (event->vsock) {
		control_vsock_put(event, &vsock, &env);
	} else {
		netdp__flow_refused__init(&refused);
		refused.proto = (Netdp__Proto)event->proto;
		refused.addr = wire_put_addr(&event->dst.addr);
		refused.port = event->dst.port;
		refused.rule = event->by;
		refused.count = event->count;
		refused.name = wire_put_text(event->name);
		env.body_case = NETDP__ENVELOPE__BODY_FLOW_REFUSED;
		env.flow_refused = &refused;
	}
	return rpc_event(control->rpc, &env, NULL, 0);
}

/* As far as the connection takes them. */
static void send_kept(struct control *control)
{
	while (control->n_sent < control->n_events && control_can_send(control) &&
		rpc_queued(control->rpc) <= CONTROL_EVENTS_BACKLOG) {
		if (send_event(control, event_at(control, control->n_sent)) < 0)
			return;
		if (control->numbers)
			control->n_sent++;
		else
			drop_first(control); /* none before it is kept */
	}
}

void control_events_resume(struct control *control, const Netdp__Hello *hello)
{
	control->numbers = false;
	for (size_t i = 0; i < hello->n_features; i++) {
		if (strcmp(hello->features[i], RPC_FEATURE_NUMBERS) == 0)
			control->numbers = true;
	}
	if (!control->numbers) {
		while (control->n_sent)
			drop_first(control); /* it would tell them twice */
	}
	control->n_sent = 0;
	send_kept(control);
}

void control_events_seen(struct control *control, uint64_t through)
{
	while (control->n_sent && event_at(control, 0)->number <= through)
		drop_first(control);
	send_kept(control);
}

/* ---- keeping ---- */

static bool is_refusal(const struct control_event *event)
{
	return !event->link && !event->vsock;
}

static bool is_same(const struct control_event *a, const struct control_event *b)
{
	return is_refusal(a) && is_refusal(b) && a->proto == b->proto && a->by == b->by &&
		endpoint_eq(&a->dst, &b->dst) && strcmp(a->name, b->name) == 0;
}

/* Into an event that nobody was told of. */
static bool merge(struct control *control, const struct control_event *event)
{
	for (size_t i = control->n_events; i > control->n_sent; i--) {
		struct control_event *kept = event_at(control, i - 1);

		if (is_same(kept, event)) {
			kept->count += event->count;
			return true;
		}
	}
	return false;
}

static void keep(struct control *control, const struct control_event *event)
{
	struct control_event *kept;

	if (control->n_events == CONTROL_EVENTS_MAX) {
		if (!control->n_sent)
			control_count_dropped(control);
		drop_first(control);
	}
	kept = event_at(control, control->n_events++);
	*kept = *event;
	kept->number = ++control->last_number;
}

void control_event(struct control *control, const struct control_event *event)
{
	struct control_event rest = {.by = event->by, .count = event->count};
	size_t unsent = control->n_events - control->n_sent;

	if (!merge(control, event)) {
		/* A few rows are left for the link's, and for the rest of each rule. */
		if (!is_refusal(event) || unsent < CONTROL_EVENTS_MAX / 2)
			keep(control, event);
		else if (!merge(control, &rest))
			keep(control, &rest);
	}
	send_kept(control);
}

/* ---- what the worker reports ---- */

void control_link_changed(void *arg, bool up, enum link_kind kind, const char *text, bool refused)
{
	struct control_event event = {.link = true, .up = up, .kind = kind, .refused = refused};

	wire_get_remark(text ? text : "", event.text, sizeof(event.text));
	control_event(arg, &event);
}

void control_refused(void *arg, uint8_t proto, const struct endpoint *dst, int32_t by,
	const char *name, uint32_t count)
{
	struct control_event event = {.proto = proto, .dst = *dst, .by = by, .count = count};

	wire_get_remark(name ? name : "", event.name, sizeof(event.name));
	control_event(arg, &event);
}
