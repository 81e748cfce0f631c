/* SPDX-License-Identifier: MIT */
/*
 * The policy in force, what its rules let through and what it refused. One part of the egress
 * door (dial.h), which is what the rest of the worker talks to.
 *
 * The table is netctld's (common/policy_table.h), checked and copied when it is set; until the
 * first one everything is denied. Each policy begins an era: its rules are counted from zero, and
 * a flow that was admitted before counts again once it was judged anew. Refusals are reported once
 * a destination, rule and name a second.
 */
#ifndef DATAPLANE_EGRESS_POLICY_H
#define DATAPLANE_EGRESS_POLICY_H

#include "common/addr.h"
#include "dataplane/egress/pass.h"
#include "dataplane/egress/rule_counts.h"
#include "dataplane/loop.h"
#include "dataplane/stack/net.h"
#include "dataplane/stack/timer_wheel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many destinations a second are named; the rest are one row without an address. */
#define EGRESS_REFUSALS_MAX 256u

/* `count` flows of `proto` to dst were refused by `by` (a rule's index or POLICY_BY_*). name is
 * the one that the rule has, or that dst goes by; NULL where none is known. */
typedef void (*egress_refused_fn)(void *arg, uint8_t proto, const struct endpoint *dst, int32_t by,
	const char *name, uint32_t count);

struct egress_refusal {
	struct endpoint dst;
	char *name; /* or NULL */
	int32_t by;
	uint32_t count; /* that nobody was told of */
	uint8_t proto;
	bool told;
	uint64_t told_ms; /* then */
};

struct egress_policy {
	struct loop *loop;
	const struct net *net;
	void *table;       /* NULL: everything is denied */
	uint64_t document; /* what the table was compiled from; 0: not told */
	uint32_t era;
	struct policy_names names; /* admit NULL: no address has any */
	struct rule_counts counts;
	egress_refused_fn refused;
	void *refused_arg;
	struct timer flush;
	uint32_t n_refusals;
	struct egress_refusal refusals[EGRESS_REFUSALS_MAX + 1];
};

void egress_policy_init(struct egress_policy *policy, struct loop *loop, const struct net *net);
void egress_policy_clear(struct egress_policy *policy);
/* Replaces the table by a copy: 0, or -EINVAL, -EPROTONOSUPPORT, -ENOMEM and the old one stays.
 * The era goes on where the document is the same number and not 0. */
int egress_policy_replace(
	struct egress_policy *policy, const void *table, size_t len, uint64_t document);
/* Begins an era without another table. */
void egress_policy_restart_counts(struct egress_policy *policy);

/* The verdict on a new flow; its name is the name log's. */
struct policy_verdict egress_policy_judge(
	const struct egress_policy *policy, uint8_t proto, const struct endpoint *dst);
/* And on one that was admitted before: the name that admitted it is its own for good. */
struct policy_verdict egress_policy_judge_pass(const struct egress_policy *policy, uint8_t proto,
	const struct endpoint *dst, const struct egress_pass *pass);
/* As if this were its only name. */
struct policy_verdict egress_policy_judge_as(const struct egress_policy *policy, uint8_t proto,
	const struct endpoint *dst, const char *name);

/* A flow goes by this verdict from now on: fills the pass, whose old name goes, and counts it. */
void egress_policy_enter(struct egress_policy *policy, const struct policy_verdict *verdict,
	struct egress_pass *pass);
/* Its row in this era, or NULL. */
struct rule_count *egress_policy_count(
	const struct egress_policy *policy, const struct egress_pass *pass);

/* Reports what has been gathered, now. */
void egress_policy_report(struct egress_policy *policy);
/* Counts a refusal and notes it for the next report. */
void egress_policy_note(struct egress_policy *policy, uint8_t proto, const struct endpoint *dst,
	int32_t by, const char *name);

#endif
