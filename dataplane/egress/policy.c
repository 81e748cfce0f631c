/* SPDX-License-Identifier: MIT */
/*
 * The policy in force: see policy.h.
 *
 * Refusals are gathered from the first one on for a second, then reported together, so that a
 * guest that knocks at a closed door a million times a second costs netctld a line a second.
 */
#include "dataplane/egress/policy.h"

#include "common/policy_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_MS 1000

void egress_policy_report(struct egress_policy *policy)
{
	struct egress_refusal gathered[EGRESS_REFUSALS_MAX + 1];
	uint32_t n = policy->n_refusals;

	timer_disarm(loop_wheel(policy->loop), &policy->flush);
	memcpy(gathered, policy->refusals, n * sizeof(gathered[0]));
	policy->n_refusals = 0;
	for (uint32_t i = 0; i < n && policy->refused; i++)
		policy->refused(policy->refused_arg, gathered[i].proto, &gathered[i].dst,
			gathered[i].by, gathered[i].count);
}

static void on_flush(struct timer *timer)
{
	egress_policy_report(
		(struct egress_policy *)((char *)timer - offsetof(struct egress_policy, flush)));
}

void egress_policy_init(struct egress_policy *policy, struct loop *loop, const struct net *net)
{
	policy->loop = loop;
	policy->net = net;
	policy->flush.fire = on_flush;
}

void egress_policy_clear(struct egress_policy *policy)
{
	timer_disarm(loop_wheel(policy->loop), &policy->flush);
	free(policy->table);
	policy->table = NULL;
}

int egress_policy_replace(struct egress_policy *policy, const void *table, size_t len)
{
	void *copy;
	int rc;

	if (!len || len > POLICY_TABLE_MAX)
		return -EINVAL;
	copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, table, len);
	rc = policy_table_check(copy, len);
	if (rc < 0) {
		free(copy);
		return rc;
	}
	free(policy->table);
	policy->table = copy;
	return 0;
}

bool egress_policy_allows(
	const struct egress_policy *policy, uint8_t proto, const struct endpoint *dst, int32_t *by)
{
	if (!policy->table) {
		if (by)
			*by = POLICY_BY_DEFAULT;
		return false;
	}
	return policy_table_judge(policy->table, &policy->net->gateway, policy->net->host_access,
		proto, &dst->addr, dst->port, by);
}

static bool same_refusal(const struct egress_refusal *a, const struct egress_refusal *b)
{
	return a->proto == b->proto && a->by == b->by && endpoint_eq(&a->dst, &b->dst);
}

void egress_policy_note(
	struct egress_policy *policy, uint8_t proto, const struct endpoint *dst, int32_t by)
{
	struct egress_refusal row = {.dst = *dst, .by = by, .count = 1, .proto = proto};
	uint32_t i = policy->n_refusals;

	/* The last rows first: a guest that insists repeats itself. */
	while (i > 0) {
		if (same_refusal(&policy->refusals[i - 1], &row)) {
			policy->refusals[i - 1].count++;
			return;
		}
		i--;
	}
	if (policy->n_refusals >= EGRESS_REFUSALS_MAX) {
		struct egress_refusal *rest = &policy->refusals[EGRESS_REFUSALS_MAX];

		if (policy->n_refusals == EGRESS_REFUSALS_MAX) {
			*rest = (struct egress_refusal){.by = by};
			policy->n_refusals++;
		}
		rest->count++;
		return;
	}
	policy->refusals[policy->n_refusals++] = row;
	if (!timer_armed(&policy->flush))
		timer_arm(loop_wheel(policy->loop), &policy->flush, REPORT_MS);
}
