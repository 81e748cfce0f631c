/* SPDX-License-Identifier: MIT */
/*
 * What each rule of a policy let through and refused, for who looks at it; one row a rule, and
 * one for the default, the preset and host_access each. Counted from when the policy was set.
 */
#ifndef DATAPLANE_EGRESS_RULE_COUNTS_H
#define DATAPLANE_EGRESS_RULE_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#define RULE_COUNTS_OTHERS 3u /* rows 0, 1, 2: -by - 1 of POLICY_BY_*; rule n is row n + 3 */
#define RULE_COUNTS_MAX (65536u + RULE_COUNTS_OTHERS)

struct rule_count {
	uint64_t flows;    /* let through (UDP: destinations of a guest's socket) */
	uint64_t tx_bytes; /* from the guest */
	uint64_t rx_bytes; /* to the guest */
	uint64_t refusals;
};

struct rule_counts { /* zeroed is empty */
	struct rule_count *v;
	size_t n;
};

/* All zero, for so many rules. 0, or -ENOMEM and nothing has changed. */
int rule_counts_begin(struct rule_counts *counts, uint32_t rules);
void rule_counts_clear(struct rule_counts *counts);
/* The row of who gave a verdict; NULL for one that is not there. */
struct rule_count *rule_counts_of(const struct rule_counts *counts, int32_t by);

#endif
