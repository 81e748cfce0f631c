/* SPDX-License-Identifier: MIT */
/* What netctld asks of the policy in force: its rules' counters, and names of an address. */
#include "dataplane/control_internal.h"
#include "dataplane/egress/dial.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdlib.h>

#define NAMES_MAX 64

/* Rules in order, then the others; rule_counts.h has the others first. */
static const struct rule_count *row_at(const struct rule_counts *counts, size_t i)
{
	return &counts->v[(i + RULE_COUNTS_OTHERS) % counts->n];
}

void control_policy_counts(const struct request *r)
{
	const struct rule_counts *counts = egress_rule_counts(worker_egress(r->worker));
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__PolicyCounts msg = NETDP__POLICY_COUNTS__INIT;
	size_t n = counts->n;
	uint64_t *list = calloc(4 * n + 1, sizeof(*list));

	if (!list) {
		request_refuse(r, -ENOMEM, NULL);
		return;
	}
	msg.n_flows = msg.n_tx_bytes = msg.n_rx_bytes = msg.n_refusals = n;
	msg.flows = list;
	msg.tx_bytes = list + n;
	msg.rx_bytes = list + 2 * n;
	msg.refusals = list + 3 * n;
	for (size_t i = 0; i < n; i++) {
		const struct rule_count *row = row_at(counts, i);

		msg.flows[i] = row->flows;
		msg.tx_bytes[i] = row->tx_bytes;
		msg.rx_bytes[i] = row->rx_bytes;
		msg.refusals[i] = row->refusals;
	}
	env.body_case = NETDP__ENVELOPE__BODY_POLICY_COUNTS;
	env.policy_counts = &msg;
	rpc_reply(r->control->rpc, r->id, &env, NULL, 0);
	free(list);
}

struct names {
	char *list[NAMES_MAX]; /* the log's own */
	size_t n;
};

static bool gather_name(void *arg, const char *name)
{
	struct names *names = arg;

	names->list[names->n++] = wire_put_text(name);
	return names->n == NAMES_MAX;
}

void control_addr_names(const struct request *r)
{
	const struct policy_names *log = egress_names(worker_egress(r->worker));
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__AddrNames msg = NETDP__ADDR_NAMES__INIT;
	const Netdp__AddrNamesGet *get = r->env->addr_names_get;
	struct names names = {.n = 0};
	struct addr addr;
	struct policy_flow flow = {&addr, (uint16_t)get->port, (uint8_t)get->proto};

	if (!wire_get_addr(get->addr, &addr) || get->port > UINT16_MAX || get->proto > UINT8_MAX) {
		request_refuse(r, -EINVAL, "names: malformed address, port or protocol");
		return;
	}
	if (log->admit)
		log->admit(log->log, &flow, gather_name, &names);
	msg.n_names = names.n;
	msg.names = names.list;
	env.body_case = NETDP__ENVELOPE__BODY_ADDR_NAMES;
	env.addr_names = &msg;
	rpc_reply(r->control->rpc, r->id, &env, NULL, 0);
}
