/* SPDX-License-Identifier: MIT */
/* Refused flows. See refusals.h. */
#include "ctl/refusals.h"

#include "common/policy_table.h"
#include "ctl/json_read.h"

#include <string.h>

void refusals_add(struct refusals *refusals, const struct worker_refused_event *event)
{
	for (unsigned i = 0; event->proto && i < refusals->n; i++) {
		struct worker_refused_event *kept = &refusals->kept[i];

		if (kept->proto == event->proto && kept->rule == event->rule &&
			endpoint_eq(&kept->to, &event->to) && !strcmp(kept->name, event->name)) {
			kept->count += event->count;
			return;
		}
	}
	if (event->proto && refusals->n < REFUSALS_KEPT)
		refusals->kept[refusals->n++] = *event;
	else
		refusals->others += event->count;
}

static const char *by_name(int32_t rule)
{
	return rule >= 0                        ? "rule"
		: rule == POLICY_BY_PRESET      ? "preset"
		: rule == POLICY_BY_HOST_ACCESS ? "host_access"
						: "default";
}

static struct json_object *refusal_json(const struct worker_refused_event *event)
{
	struct json_object *data = json_object_new_object();
	char text[ADDR_STRLEN];

	json_put_string(data, "proto",
		event->proto == 1           ? "icmp"
			: event->proto == 6 ? "tcp"
					    : "udp");
	json_put_string(data, "to", addr_format(&event->to.addr, text, sizeof(text)));
	json_put_int(data, "port", event->to.port);
	json_put_string(data, "by", by_name(event->rule));
	json_object_object_add(
		data, "rule", event->rule >= 0 ? json_object_new_int(event->rule) : NULL);
	json_put_string(data, "name", *event->name ? event->name : NULL);
	json_put_int(data, "count", event->count);
	return data;
}

/* Whether one more destination may be named. */
static bool may_name(struct refusals *refusals, uint64_t now_ms)
{
	uint64_t back = (now_ms - refusals->spent_ms) * REFUSALS_A_SECOND;

	refusals->spent = back < refusals->spent ? refusals->spent - (unsigned)back : 0;
	refusals->spent_ms = now_ms;
	return refusals->spent + 1000 <= REFUSALS_KEPT * 1000;
}

bool refusals_due(struct refusals *refusals, uint64_t now_ms)
{
	if (!refusals->n && !refusals->others)
		return false;
	return now_ms - refusals->told_ms >= 1000 || may_name(refusals, now_ms);
}

struct json_object *refusals_take(struct refusals *refusals, uint64_t now_ms)
{
	struct json_object *data;

	refusals->told_ms = now_ms;
	if (refusals->taken < refusals->n && may_name(refusals, now_ms)) {
		refusals->spent += 1000;
		return refusal_json(&refusals->kept[refusals->taken++]);
	}
	while (refusals->taken < refusals->n)
		refusals->others += refusals->kept[refusals->taken++].count;
	refusals->n = refusals->taken = 0;
	if (!refusals->others)
		return NULL;
	data = json_object_new_object();
	json_put_int(data, "count", (int64_t)refusals->others);
	json_put_string(data, "to", "others");
	refusals->others = 0;
	return data;
}
