/* SPDX-License-Identifier: MIT */
/* What netctld asks of a VM's limits. */
#include "dataplane/control_internal.h"

void control_limits_set(const struct request *r)
{
	const Netdp__LimitsSet *msg = r->env->limits_set;
	struct limits_config config = {
		.rate = {[LIMITS_IN] = msg->rate_in, [LIMITS_OUT] = msg->rate_out},
		.max_flows = msg->max_flows,
		.new_flows = msg->new_flows,
	};
	struct error err = {0};

	request_answer(r, worker_limits_set(r->worker, &config, &err), &err);
}
