/* SPDX-License-Identifier: MIT */
/* What a worker says of the policy in force: counters of its rules, names of an address. */
#include "ctl/worker_client_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTS_MAX (65536u + WORKER_POLICY_OTHERS)
#define NAMES_MAX 64

/* ---- counters ---- */

struct counts_call {
	worker_policy_counts_fn *done;
	void *arg;
};

/* NULL where it is malformed. */
static struct worker_policy_count *read_counts(const Netdp__PolicyCounts *msg)
{
	size_t n = msg->n_flows;
	struct worker_policy_count *list;

	if (n > COUNTS_MAX || msg->n_tx_bytes != n || msg->n_rx_bytes != n || msg->n_refusals != n)
		return NULL;
	list = worker_client_alloc(n, sizeof(*list));
	for (size_t i = 0; i < n; i++)
		list[i] = (struct worker_policy_count){
			.flows = msg->flows[i],
			.tx_bytes = msg->tx_bytes[i],
			.rx_bytes = msg->rx_bytes[i],
			.refusals = msg->refusals[i],
		};
	return list;
}

static void on_counts(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct counts_call *call = arg;
	struct worker_policy_count *list = NULL;
	char remark[512];

	(void)fds;
	(void)n_fds;
	wire_get_remark(text, remark, sizeof(remark));
	if (code == 0) {
		if (reply->body_case == NETDP__ENVELOPE__BODY_POLICY_COUNTS)
			list = read_counts(reply->policy_counts);
		if (!list) {
			code = -EPROTO;
			snprintf(remark, sizeof(remark), "malformed counters");
		}
	}
	call->done(call->arg, code, remark, list, list ? reply->policy_counts->n_flows : 0);
	free(list);
	free(call);
}

void worker_client_policy_counts(
	struct worker_client *client, worker_policy_counts_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__PolicyCountsGet msg = NETDP__POLICY_COUNTS_GET__INIT;
	struct counts_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct counts_call){done, arg};
	env.body_case = NETDP__ENVELOPE__BODY_POLICY_COUNTS_GET;
	env.policy_counts_get = &msg;
	rpc_call(client->rpc, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, on_counts, call);
}

/* ---- names ---- */

struct names_call {
	worker_addr_names_fn *done;
	void *arg;
};

static bool read_names(
	const Netdp__AddrNames *msg, char text[][WORKER_NAME_MAX + 1], const char **list)
{
	if (msg->n_names > NAMES_MAX)
		return false;
	for (size_t i = 0; i < msg->n_names; i++) {
		if (!wire_get_text(msg->names[i], text[i], WORKER_NAME_MAX + 1))
			return false;
		list[i] = text[i];
	}
	return true;
}

static void on_names(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct names_call *call = arg;
	char names[NAMES_MAX][WORKER_NAME_MAX + 1], remark[512];
	const char *list[NAMES_MAX];

	(void)fds;
	(void)n_fds;
	wire_get_remark(text, remark, sizeof(remark));
	if (code == 0 &&
		(reply->body_case != NETDP__ENVELOPE__BODY_ADDR_NAMES ||
			!read_names(reply->addr_names, names, list))) {
		code = -EPROTO;
		snprintf(remark, sizeof(remark), "malformed names");
	}
	call->done(call->arg, code, remark, list, code == 0 ? reply->addr_names->n_names : 0);
	free(call);
}

void worker_client_addr_names(struct worker_client *client, const struct policy_flow *flow,
	worker_addr_names_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__AddrNamesGet msg = NETDP__ADDR_NAMES_GET__INIT;
	struct names_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct names_call){done, arg};
	msg.addr = wire_put_addr(flow->addr);
	msg.proto = flow->proto;
	msg.port = flow->port;
	env.body_case = NETDP__ENVELOPE__BODY_ADDR_NAMES_GET;
	env.addr_names_get = &msg;
	rpc_call(client->rpc, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, on_names, call);
}
