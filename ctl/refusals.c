/* SPDX-License-Identifier: MIT */
/* Refused flows. See refusals.h. */
#include "ctl/refusals.h"

#include "common/policy_table.h"
#include "ctl/json_read.h"

#include <string.h>

void refusals_add(struct refusals *refusals, const struct worker_refused_event *event)
{
	for (unsigned i = 0; i < refusals->n; i++) {
		struct worker_refused_event *kept = &refusals->kept[i];

		if (kept->proto == event->proto && kept->rule == event->rule &&
			endpoint_eq(&kept->to, &event->to) && !strcmp(kept->name, event->name)) {
			kept->count += event->count;
			return;
		}
	}
	if (refusals->n < REFUSALS_KEPT)
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

struct json_object *refusals_take(struct refusals *refusals)
{
	struct json_object *data;
	char text[ADDR_STRLEN];

	if (refusals->n) {
		const struct worker_refused_event *kept = &refusals->kept[--refusals->n];

		data = json_object_new_object();
		json_put_string(data, "proto",
			kept->proto == 1           ? "icmp"
				: kept->proto == 6 ? "tcp"
						   : "udp");
		json_put_string(data, "to", addr_format(&kept->to.addr, text, sizeof(text)));
		json_put_int(data, "port", kept->to.port);
		json_put_string(data, "by", by_name(kept->rule));
		json_object_object_add(
			data, "rule", kept->rule >= 0 ? json_object_new_int(kept->rule) : NULL);
		json_put_string(data, "name", *kept->name ? kept->name : NULL);
		json_put_int(data, "count", kept->count);
		return data;
	}
	if (refusals->others) {
		data = json_object_new_object();
		json_put_int(data, "count", (int64_t)refusals->others);
		json_put_string(data, "to", "others");
		refusals->others = 0;
		return data;
	}
	return NULL;
}
