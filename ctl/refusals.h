/* SPDX-License-Identifier: MIT */
/*
 * Refused flows of one VM, gathered so that a guest that tries every address makes a few events a
 * second: at most REFUSALS_KEPT destinations, and a count of the rest.
 */
#ifndef CTL_REFUSALS_H
#define CTL_REFUSALS_H

#include "ctl/worker_client.h"

#include <json-c/json.h>
#include <stdint.h>

#define REFUSALS_KEPT 8

struct refusals {
	struct worker_refused_event kept[REFUSALS_KEPT];
	unsigned n;
	uint64_t others; /* flows to destinations beyond */
};

void refusals_add(struct refusals *refusals, const struct worker_refused_event *event);
/* The data of the next flow.refused event, or NULL when all were taken. */
struct json_object *refusals_take(struct refusals *refusals);

#endif
