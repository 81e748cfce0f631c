/* SPDX-License-Identifier: MIT */
/* Counters of a policy's rules: see rule_counts.h. */
#include "dataplane/egress/rule_counts.h"

#include <errno.h>
#include <stdlib.h>

int rule_counts_begin(struct rule_counts *counts, uint32_t rules)
{
	size_t n = (size_t)rules + RULE_COUNTS_OTHERS;
	struct rule_count *v;

	if (n > RULE_COUNTS_MAX)
		n = RULE_COUNTS_MAX;
	v = calloc(n, sizeof(*v));
	if (!v)
		return -ENOMEM;
	free(counts->v);
	counts->v = v;
	counts->n = n;
	return 0;
}

void rule_counts_clear(struct rule_counts *counts)
{
	free(counts->v);
	*counts = (struct rule_counts){NULL, 0};
}

struct rule_count *rule_counts_of(const struct rule_counts *counts, int32_t by)
{
	int64_t row = by < 0 ? -(int64_t)by - 1 : (int64_t)by + RULE_COUNTS_OTHERS;

	if (by < 0 && row >= RULE_COUNTS_OTHERS)
		return NULL;
	return (uint64_t)row < counts->n ? &counts->v[row] : NULL;
}
