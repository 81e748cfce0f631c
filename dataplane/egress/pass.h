/* SPDX-License-Identifier: MIT */
/*
 * What admitted a flow. Filled by the egress door (dial.h) when it lets a flow through, kept by
 * the flow's owner as long as the flow lives, shown at the door again when bytes move, when the
 * policy changes and when the guest names a server; egress_leave() at the end.
 *
 * A pass of zeros is nobody's (inbound flows, our own DNS): nothing is counted for it.
 */
#ifndef DATAPLANE_EGRESS_PASS_H
#define DATAPLANE_EGRESS_PASS_H

#include "common/policy_table.h"

#include <stdbool.h>
#include <stdint.h>

struct egress_pass {
	struct policy_verdict
		verdict; /* its name is the pass's own, and may be NULL without memory */
	uint32_t era;    /* of the policy whose rule it is */
	bool verified;   /* the name, or that there is none, is what the guest's own bytes say */
};

#endif
