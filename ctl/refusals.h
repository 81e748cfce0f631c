/* SPDX-License-Identifier: MIT */
/*
 * Refused flows of one VM, gathered so that a guest that tries every address makes a few events a
 * second and pushes nobody else's out: REFUSALS_KEPT destinations at once, then REFUSALS_A_SECOND,
 * and a count of the rest. Nothing is left uncounted.
 */
#ifndef CTL_REFUSALS_H
#define CTL_REFUSALS_H

#include "ctl/worker_client.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define REFUSALS_KEPT 32
#define REFUSALS_A_SECOND 4

struct refusals { /* zeroed is empty */
	struct worker_refused_event kept[REFUSALS_KEPT];
	unsigned n;
	unsigned taken;    /* of them */
	uint64_t others;   /* flows to destinations beyond */
	unsigned spent;    /* milli-events of REFUSALS_KEPT, given back with time */
	uint64_t spent_ms; /* clock_ms() of that */
	uint64_t told_ms;  /* of the last taking */
};

void refusals_add(struct refusals *refusals, const struct worker_refused_event *event);
/* Whether there is something to take, and it is time. */
bool refusals_due(struct refusals *refusals, uint64_t now_ms);
/* The data of the next flow.refused event, or NULL when all were taken. */
struct json_object *refusals_take(struct refusals *refusals, uint64_t now_ms);

#endif
