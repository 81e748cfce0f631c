/* SPDX-License-Identifier: MIT */
/*
 * Reset: the worker's answer is the barrier that netctld waits for. Whatever it hears from us before
 * that answer may be of the old life, whatever comes after it is not.
 */
#include "dataplane/control_internal.h"
#include "proto/wire.h"

static void on_done(void *arg)
{
	struct control *control = arg;

	if (control->reset)
		rpc_reply_status(control->rpc, control->reset, 0, NULL);
	control->reset = 0;
}

/* Malformed parts are left out: the old life is over anyway. */
static void begin_life(const struct request *r, const Netdp__Reset *msg)
{
	struct worker_lease lease;
	struct mac mac;

	if (msg->guest_mac.len && wire_get_mac(msg->guest_mac, &mac))
		worker_mac_restore(r->worker, &mac);
	if (msg->lease && request_read_lease(msg->lease, &lease))
		worker_lease_restore(r->worker, &lease);
	if (msg->names)
		request_restore_names(r, msg->names);
}

void control_reset(const struct request *r)
{
	int code = worker_reset(r->worker, on_done, r->control);

	if (code < 0) {
		request_refuse(r, code, "a reset is under way");
		return;
	}
	r->control->reset = r->id;
	begin_life(r, r->env->reset);
}
