/* SPDX-License-Identifier: MIT */
/*
 * VMs from the store, at start.
 *
 * They come without sockets: a worker that outlived the last netctld may hold them. So each VM waits
 * to be settled: by adoption (vm_adopt.c), or, once the supervisor has worked through its spawner's
 * workers, by binding its sockets anew. What cannot be bound then shows as an error of the VM or of
 * the forward, and is tried again every few seconds.
 */
#include "ctl/vm.h"

#include "common/log.h"
#include "ctl/json_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void restore_lease(struct vm *vm, const char *text)
{
	struct json_object *doc = json_tokener_parse(text);
	const char *addr = NULL, *mac = NULL, *hostname = "";
	int64_t since = 0;
	struct error err;

	if (json_object_is_type(doc, json_type_object) &&
		json_get_string(doc, "", "addr", &addr, &err) > 0 &&
		json_get_string(doc, "", "mac", &mac, &err) > 0 &&
		json_get_string(doc, "", "hostname", &hostname, &err) >= 0 &&
		json_get_int(doc, "", "since_ms", 0, INT64_MAX, &since, &err) > 0 &&
		addr_parse(addr, &vm->lease.addr) == 0 && mac_parse(mac, &vm->lease.mac) == 0) {
		snprintf(vm->lease.hostname, sizeof(vm->lease.hostname), "%s", hostname);
		vm->lease.since_ms = since;
		vm->has_lease = true;
	}
	json_object_put(doc);
}

int vm_guest_store(struct vm *vm, struct error *err)
{
	struct json_object *lease = vm_lease_json(vm);
	char mac[MAC_STRLEN];
	int status;

	if (lease)
		json_put_int(lease, "since_ms", vm->lease.since_ms);
	status = store_vm_set_guest(vm->vms->store, vm->config.name,
		vm->mac_known ? mac_format(&vm->mac, mac, sizeof(mac)) : NULL,
		lease ? json_text(lease) : NULL, err);
	json_object_put(lease);
	return status;
}

struct restored {
	struct vms *vms;
	struct vm *vm;
	struct error err;
	int status;
};

static void restore_forward(void *arg, const char *id, const char *text)
{
	struct restored *restored = arg;
	struct json_object *doc = json_tokener_parse(text);
	struct forward_spec spec;
	struct forward *forward = NULL;

	if (doc && forward_spec_read(doc, "", true, &spec, &restored->err) == 0)
		forward = forward_new(&spec);
	if (forward) {
		TAILQ_INSERT_TAIL(&restored->vm->forwards, forward, next);
		restored->vm->n_forwards++;
	} else {
		log_error(restored->vm->config.name, "forward.unreadable", "id=%s reason=\"%s\"",
			id, restored->err.text);
	}
	json_object_put(doc);
}

static int read_row(struct vm *vm, const struct store_vm *row, struct error *err)
{
	struct json_object *policy_text = json_tokener_parse(row->policy);
	struct json_object *hosts_text = json_tokener_parse(row->hosts);
	struct policy *policy = policy_read(policy_text, "policy", err);

	vm->hosts = hosts_read(hosts_text, err);
	json_object_put(policy_text);
	json_object_put(hosts_text);
	vm->created_ms = row->created_ms;
	if (row->mac && mac_parse(row->mac, &vm->mac) == 0)
		vm->mac_known = true;
	if (row->lease)
		restore_lease(vm, row->lease);
	if (!policy || !vm->hosts || vm_take_policy(vm, policy, "policy", err) < 0) {
		if (vm->policy != policy)
			policy_free(policy);
		return -1;
	}
	return vm_slot(vm, err);
}

static void restore_vm(void *arg, const struct store_vm *row)
{
	struct restored *restored = arg;
	struct json_object *doc = json_tokener_parse(row->config);
	struct vm_config config;
	struct vm *vm;

	if (restored->status)
		goto out;
	restored->status = vm_config_read(
		doc, restored->vms->runtime_dir, VM_LINK_NONE, &config, &restored->err);
	if (restored->status)
		goto out;
	vm = vm_new(restored->vms, &config);
	if (!vm) {
		restored->status = error_set(&restored->err, 500, NULL, "out of memory");
		goto out;
	}
	restored->status = read_row(vm, row, &restored->err);
	if (restored->status)
		vm_free(vm);
	else
		vms_insert(restored->vms, vm);
out:
	json_object_put(doc);
}

int vms_restore(struct vms *vms, struct error *err)
{
	struct restored restored = {.vms = vms};

	if (store_vms(vms->store, restore_vm, &restored, err) < 0)
		return -1;
	if (restored.status) {
		*err = restored.err;
		return -1;
	}
	if (vms_restore_told(vms, err) < 0)
		return -1;
	TAILQ_FOREACH(restored.vm, &vms->list, next) {
		if (store_forwards(vms->store, restored.vm->config.name, restore_forward, &restored,
			    err) < 0 ||
			vm_maps_restore(restored.vm, err) < 0 ||
			vm_env_restore(restored.vm, err) < 0 ||
			vm_proxy_restore(restored.vm, err) < 0)
			return -1;
		vm_ttl_start(restored.vm);
		vm_worker_want(restored.vm);
	}
	return 0;
}

void vm_settle(struct vm *vm, bool first)
{
	struct error err;
	bool link = vm->listener >= 0 || vm->bound >= 0;

	vm->settled = true;
	if (first) {
		vm_tell_link(vm, false, "no worker outlived netctld");
		vm_tell_vsock(vm, false, "no worker outlived netctld");
	}
	if (vm->link_error[0] || first) {
		if (vm_link_open(vm, &err) < 0) {
			if (first)
				vm_event(vm, "link.down", vm_event_reason(err.text));
		} else if (!link && (vm->listener >= 0 || vm->bound >= 0)) {
			vm_worker_want(vm);
			vm_link_push(vm, NULL);
		}
	}
	vm_vsock_settle(vm, first);
	vm_forwards_bind(vm, first);
}

void vms_settle(struct vms *vms)
{
	struct vm *vm;

	TAILQ_FOREACH(vm, &vms->list, next) {
		if (!vm->settled && !vm->adopting)
			vm_settle(vm, true);
	}
}
