/* SPDX-License-Identifier: MIT */
/*
 * The policy in force and what it refused. One part of the egress door (dial.h), which is what
 * the rest of the worker talks to.
 *
 * The table is netctld's (common/policy_table.h), checked and copied when it is set; until the
 * first one everything is denied. Refusals are reported once a destination and second.
 */
#ifndef DATAPLANE_EGRESS_POLICY_H
#define DATAPLANE_EGRESS_POLICY_H

#include "common/addr.h"
#include "dataplane/loop.h"
#include "dataplane/stack/net.h"
#include "dataplane/stack/timer_wheel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many destinations a second are named; the rest are one row without an address. */
#define EGRESS_REFUSALS_MAX 256u

/* `count` flows of `proto` to dst were refused by `by` (a rule's index or POLICY_BY_*). */
typedef void (*egress_refused_fn)(
	void *arg, uint8_t proto, const struct endpoint *dst, int32_t by, uint32_t count);

struct egress_refusal {
	struct endpoint dst;
	int32_t by;
	uint32_t count;
	uint8_t proto;
};

struct egress_policy {
	struct loop *loop;
	const struct net *net;
	void *table; /* NULL: everything is denied */
	egress_refused_fn refused;
	void *refused_arg;
	struct timer flush;
	uint32_t n_refusals;
	struct egress_refusal refusals[EGRESS_REFUSALS_MAX + 1];
};

void egress_policy_init(struct egress_policy *policy, struct loop *loop, const struct net *net);
void egress_policy_clear(struct egress_policy *policy);
/* Replaces the table by a copy: 0, or -EINVAL, -EPROTONOSUPPORT, -ENOMEM and the old one stays. */
int egress_policy_replace(struct egress_policy *policy, const void *table, size_t len);
bool egress_policy_allows(
	const struct egress_policy *policy, uint8_t proto, const struct endpoint *dst, int32_t *by);
/* Reports what has been gathered, now. */
void egress_policy_report(struct egress_policy *policy);
/* Notes a refusal for the next report. */
void egress_policy_note(
	struct egress_policy *policy, uint8_t proto, const struct endpoint *dst, int32_t by);

#endif
