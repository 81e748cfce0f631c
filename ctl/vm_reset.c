/* SPDX-License-Identifier: MIT */
/*
 * A VM between two lives of its guest: whether it can be left now (busy), and the end of the old life
 * (reset). See vm.h.
 *
 * A reset ends what belongs to the guest's life: flows, connections, TSI listeners and proxies, the
 * lease, the MAC that was learned, the name log. What the operator gave stays: link, forwards, maps,
 * policy, hosts, env. A restore is a reset whose next life begins with what a record says.
 *
 *	vm_reset()  store, memory ──► Reset ──► … what the old life still tells is not heard …
 *	                                  ◄── Status: nothing of it is left
 *
 * The worker is replaced rather than reset where it is of another release or does not manage in time;
 * a successor is configured with all that netctld has, which is the new life already.
 */
#include "ctl/vm.h"

#include "common/log.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- busy ---- */

struct busy_call {
	vm_busy_fn *done;
	void *arg;
};

static void on_stats(void *arg, int code, const char *text, const struct worker_stats *stats)
{
	struct busy_call *call = arg;
	struct vm_busy busy;

	(void)text;
	if (!code)
		busy = (struct vm_busy){stats->busy_pending, stats->busy_live, stats->busy_queued};
	call->done(call->arg, code ? NULL : &busy);
	free(call);
}

void vm_busy(struct vm *vm, vm_busy_fn *done, void *arg)
{
	struct worker_client *client = supervised_client(vm->slot);
	struct vm_busy nothing = {0};
	struct busy_call *call;

	if (!client) {
		done(arg, &nothing);
		return;
	}
	call = calloc(1, sizeof(*call));
	if (!call) {
		done(arg, NULL);
		return;
	}
	*call = (struct busy_call){done, arg};
	worker_client_busy(client, on_stats, call);
}

bool vm_is_idle(const struct vm_busy *busy)
{
	return !busy->pending && !busy->live && !busy->queued;
}

struct json_object *vm_busy_json(const struct vm_busy *busy)
{
	struct json_object *doc = json_object_new_object();

	json_put_int(doc, "pending", busy->pending);
	json_put_int(doc, "live", busy->live);
	json_put_int(doc, "queued", busy->queued);
	return doc;
}

/* ---- reset ---- */

struct resetting {
	struct vms *vms;
	struct worker_client *client; /* only to compare */
	struct completion *wait;
	char vm[VM_NAME_MAX + 1];
};

/* Its successor starts with all that we have. */
static void replace(struct vm *vm, struct completion *wait)
{
	vm->configured = false;
	vm_worker_await_next(vm, wait);
	supervised_kill(vm->slot);
}

static void on_reset(void *arg, int code, const char *text)
{
	struct resetting *resetting = arg;
	struct vm *vm = vms_find(resetting->vms, resetting->vm);

	if (vm && supervised_client(vm->slot) != resetting->client)
		vm = NULL; /* another worker by now, or none: it died */
	if (vm)
		vm->resetting = false;
	if (vm && code && code != -ECONNRESET && code != -ECANCELED) {
		log_warn(vm->config.name, "worker.not_reset", "reason=\"%s\"", text);
		replace(vm, resetting->wait);
	}
	completion_done(resetting->wait, 0, "");
	free(resetting);
}

void vm_reset_worker(struct vm *vm, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	struct worker_name *names;
	struct supervised_info info;
	struct worker_life life = {
		.mac = vm->mac_known ? &vm->mac : NULL,
		.lease = vm->has_lease ? &vm->lease : NULL,
	};
	struct resetting *resetting;

	if (!client) {
		vm_worker_await(vm, wait);
		return;
	}
	supervised_info(vm->slot, &info);
	resetting = info.outdated ? NULL : calloc(1, sizeof(*resetting));
	if (!resetting) {
		replace(vm, wait);
		return;
	}
	resetting->vms = vm->vms;
	resetting->client = client;
	resetting->wait = completion_more(wait);
	memcpy(resetting->vm, vm->config.name, sizeof(resetting->vm));
	names = vm_names(vm);
	life.names = names;
	life.n_names = names ? vm->n_names : 0;
	vm->resetting = true;
	worker_client_reset(client, &life, on_reset, resetting);
	free(names);
}

void vm_last_events(struct vm *vm)
{
	vm_tell_refusals(vm);
}

static void forget_life(struct vm *vm)
{
	vm_last_events(vm);
	vm->mac_known = vm->has_lease = false;
	vm->guest_dirty = vm->lease_new = vm->told.guest = false;
	vm->n_names = vm->names_at = 0;
	vm_tsi_clear(vm);
}

int vm_can_reset(const struct vm *vm, struct error *err)
{
	if (!vm->adopting && !vm->resetting)
		return 0;
	return error_set(err, 503, NULL, "VM %s: its worker is being %s, try again",
		vm->config.name, vm->adopting ? "adopted" : "reset");
}

int vm_reset(struct vm *vm, struct completion *wait, struct error *err)
{
	if (vm_can_reset(vm, err) < 0)
		return -1;
	if (!vm->ephemeral &&
		store_vm_set_guest(vm->vms->store, vm->config.name, NULL, NULL, err) < 0)
		return -1;
	forget_life(vm);
	vm_event(vm, "vm.reset", NULL);
	vm_reset_worker(vm, wait);
	return 0;
}
