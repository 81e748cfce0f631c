/* SPDX-License-Identifier: MIT */
/*
 * The policy in force: see policy.h.
 *
 * Names of a destination are asked of whoever keeps the name log, by address, when a flow begins.
 * What a flow was admitted by is written into its pass, name included, since the log forgets: the
 * TTL of an answer bounds when flows may begin, not how long they last. A flow whose server name
 * was read is judged by that alone, or another name of a shared address would speak for it.
 *
 * A refusal is reported soon, and further ones of its destination, rule and name once a second, so
 * that an operator sees it at once, and a guest that knocks at a closed door a million times a second
 * costs netctld a line a second.
 */
#include "dataplane/egress/policy.h"

#include "dataplane/egress/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GATHER_MS 250  /* of the first one */
#define REPORT_MS 1000 /* between two of a destination */

/* ---- refusals ---- */

/* Reports those that are due, or all; forgets those that had their second without another. */
static void report(struct egress_policy *policy, bool all)
{
	struct egress_refusal gathered[EGRESS_REFUSALS_MAX + 1];
	uint64_t now = loop_now(policy->loop);
	uint32_t n = policy->n_refusals;

	memcpy(gathered, policy->refusals, n * sizeof(gathered[0]));
	policy->n_refusals = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct egress_refusal *r = &gathered[i];
		bool due = all || !r->told || now - r->told_ms >= REPORT_MS;

		if (due && r->count && policy->refused)
			policy->refused(
				policy->refused_arg, r->proto, &r->dst, r->by, r->name, r->count);
		if (all || (due && !r->count)) {
			free(r->name);
			continue;
		}
		if (due) {
			r->told = true;
			r->told_ms = now;
			r->count = 0;
		}
		policy->refusals[policy->n_refusals++] = *r;
	}
}

void egress_policy_report(struct egress_policy *policy)
{
	timer_disarm(loop_wheel(policy->loop), &policy->flush);
	report(policy, true);
}

static void on_flush(struct timer *timer)
{
	struct egress_policy *policy =
		(struct egress_policy *)((char *)timer - offsetof(struct egress_policy, flush));

	report(policy, false);
	if (policy->n_refusals)
		timer_arm(loop_wheel(policy->loop), &policy->flush, GATHER_MS);
}

static bool same_name(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_refusal(const struct egress_refusal *a, const struct egress_refusal *b)
{
	return a->proto == b->proto && a->by == b->by && endpoint_eq(&a->dst, &b->dst) &&
		same_name(a->name, b->name);
}

static void note_rest(struct egress_policy *policy, int32_t by)
{
	struct egress_refusal *rest = &policy->refusals[EGRESS_REFUSALS_MAX];

	if (policy->n_refusals == EGRESS_REFUSALS_MAX) {
		*rest = (struct egress_refusal){.by = by};
		policy->n_refusals++;
	}
	rest->count++;
}

void egress_policy_note(struct egress_policy *policy, uint8_t proto, const struct endpoint *dst,
	int32_t by, const char *name)
{
	struct egress_refusal row = {.dst = *dst, .by = by, .count = 1, .proto = proto};
	struct rule_count *count = rule_counts_of(&policy->counts, by);
	uint32_t i = policy->n_refusals;

	if (count)
		count->refusals++;
	if (!name)
		name = names_best(&policy->names, &dst->addr);
	row.name = (char *)(uintptr_t)name;
	/* The last rows first: a guest that insists repeats itself. */
	while (i > 0) {
		if (same_refusal(&policy->refusals[i - 1], &row)) {
			policy->refusals[i - 1].count++;
			return;
		}
		i--;
	}
	if (policy->n_refusals >= EGRESS_REFUSALS_MAX) {
		note_rest(policy, by);
		return;
	}
	row.name = name ? strdup(name) : NULL;
	policy->refusals[policy->n_refusals++] = row;
	if (!timer_armed(&policy->flush))
		timer_arm(loop_wheel(policy->loop), &policy->flush, GATHER_MS);
}

/* ---- the table ---- */

void egress_policy_init(struct egress_policy *policy, struct loop *loop, const struct net *net)
{
	policy->loop = loop;
	policy->net = net;
	policy->flush.fire = on_flush;
}

void egress_policy_clear(struct egress_policy *policy)
{
	timer_disarm(loop_wheel(policy->loop), &policy->flush);
	while (policy->n_refusals)
		free(policy->refusals[--policy->n_refusals].name);
	rule_counts_clear(&policy->counts);
	free(policy->table);
	policy->table = NULL;
}

static int begin_era(struct egress_policy *policy, uint32_t rules)
{
	int rc = rule_counts_begin(&policy->counts, rules);

	if (rc == 0)
		policy->era++;
	return rc;
}

int egress_policy_replace(
	struct egress_policy *policy, const void *table, size_t len, uint64_t document)
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
	if (rc == 0 && !(policy->table && document && document == policy->document))
		rc = begin_era(policy, policy_table_rules(copy));
	if (rc < 0) {
		free(copy);
		return rc;
	}
	free(policy->table);
	policy->table = copy;
	policy->document = document;
	return 0;
}

void egress_policy_restart_counts(struct egress_policy *policy)
{
	if (policy->counts.n)
		memset(policy->counts.v, 0, policy->counts.n * sizeof(*policy->counts.v));
	policy->era++;
}

/* ---- verdicts ---- */

static struct policy_verdict judge(const struct egress_policy *policy, uint8_t proto,
	const struct endpoint *dst, const struct policy_names *names)
{
	if (!policy->table)
		return (struct policy_verdict){.by = POLICY_BY_DEFAULT};
	return policy_table_judge(policy->table, &policy->net->gateway, policy->net->host_access,
		proto, &dst->addr, dst->port, names);
}

struct policy_verdict egress_policy_judge(
	const struct egress_policy *policy, uint8_t proto, const struct endpoint *dst)
{
	return judge(policy, proto, dst, policy->names.admit ? &policy->names : NULL);
}

struct own_name {
	const struct egress_policy *policy;
	const char *name;
};

/* The name that admitted the flow, then those of the log. */
static bool admit_own(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	const struct own_name *own = log;
	const struct policy_names *names = &own->policy->names;

	if (match(arg, own->name))
		return true;
	return names->admit && names->admit(names->log, flow, match, arg);
}

struct policy_verdict egress_policy_judge_pass(const struct egress_policy *policy, uint8_t proto,
	const struct endpoint *dst, const struct egress_pass *pass)
{
	struct own_name own = {policy, pass->verdict.name};
	struct policy_names names = {admit_own, &own};

	if (pass->verified)
		return egress_policy_judge_as(policy, proto, dst, own.name ? own.name : "");
	if (!own.name)
		return egress_policy_judge(policy, proto, dst);
	return judge(policy, proto, dst, &names);
}

struct policy_verdict egress_policy_judge_as(const struct egress_policy *policy, uint8_t proto,
	const struct endpoint *dst, const char *name)
{
	if (!policy->table)
		return (struct policy_verdict){.by = POLICY_BY_DEFAULT};
	return policy_table_judge_as(policy->table, &policy->net->gateway, policy->net->host_access,
		proto, &dst->addr, dst->port, name);
}

/* ---- passes ---- */

struct rule_count *egress_policy_count(
	const struct egress_policy *policy, const struct egress_pass *pass)
{
	if (!pass->verdict.allow || pass->era != policy->era)
		return NULL;
	return rule_counts_of(&policy->counts, pass->verdict.by);
}

void egress_policy_enter(struct egress_policy *policy, const struct policy_verdict *verdict,
	struct egress_pass *pass)
{
	bool counted = pass->era == policy->era && pass->verdict.allow &&
		pass->verdict.by == verdict->by;
	/* The verdict's name may be the pass's own. */
	char *name = verdict->name ? strdup(verdict->name) : NULL;
	struct rule_count *count;

	free((void *)(uintptr_t)pass->verdict.name);
	pass->verdict = *verdict;
	pass->verdict.name = name;
	pass->era = policy->era;
	count = egress_policy_count(policy, pass);
	if (count && !counted)
		count->flows++;
}
