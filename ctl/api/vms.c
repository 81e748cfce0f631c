/* SPDX-License-Identifier: MIT */
/* /v1/vms and /v1/vms/{vm}. */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"

#include "ctl/json_read.h"

#include <string.h>

void api_vms_get(struct api_request *request)
{
	struct json_object *doc = json_object_new_object(), *items = json_object_new_array();
	struct vm *vm;

	TAILQ_FOREACH(vm, &request->daemon->vms.list, next)
		json_object_array_add(items, vm_json(vm));
	json_object_object_add(doc, "items", items);
	api_reply(request, 200, doc);
}

void api_vms_post(struct api_request *request)
{
	struct vms *vms = &request->daemon->vms;
	struct vm_request wanted;
	struct waiting *waiting;
	struct error err;
	struct vm *vm;
	int status = 200;

	if (vm_request_read(vms, request->body, VM_LINK_STREAM, &wanted, &err) < 0) {
		api_problem(request, &err);
		return;
	}
	vm = vms_find(vms, wanted.config.name);
	if (!vm || !vm_same(vm, &wanted)) {
		vm = vm_create(vms, &wanted, false, &err);
		status = 201;
	}
	vm_request_free(&wanted);
	if (!vm) {
		api_problem(request, &err);
		return;
	}
	waiting = waiting_new(request);
	if (!waiting)
		return;
	vm_worker_await(vm, waiting_completion(waiting));
	waiting_reply_vm(waiting, status, vm);
}

static void on_busy(void *arg, const struct vm_busy *busy)
{
	struct api_request *request = arg;
	struct vm *vm = api_vm(request); /* it may have gone meanwhile */
	struct json_object *doc;

	if (!vm)
		return;
	doc = vm_json(vm);
	json_object_object_add(
		doc, "idle", busy ? json_object_new_boolean(vm_is_idle(busy)) : NULL);
	json_object_object_add(doc, "busy", busy ? vm_busy_json(busy) : NULL);
	api_reply(request, 200, doc);
}

void api_vm_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);

	if (vm)
		vm_busy(vm, on_busy, request);
}

void api_vm_reset(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct waiting *waiting;
	struct error err;

	if (!vm || waiting_adoption(request, vm, api_vm_reset))
		return;
	waiting = waiting_new(request);
	if (waiting && vm_reset(vm, waiting_completion(waiting), &err) < 0)
		waiting_problem(waiting, &err);
	else if (waiting)
		waiting_reply(waiting, 204, NULL, NULL, NULL);
}

static void on_gone(void *arg)
{
	api_reply(arg, 204, NULL);
}

void api_vm_delete(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct error err;

	/* Sockets that only the worker has would leave their paths behind. */
	if (!vm || waiting_adoption(request, vm, api_vm_delete))
		return;
	if (vm_delete(vm, on_gone, request, &err) < 0)
		api_problem(request, &err);
}

/* Whether a PATCH leaves the name alone: the rest is read by the old one. */
static int check_name(const struct vm *vm, struct json_object *patch, struct error *err)
{
	const char *name = vm->config.name;

	if (json_get_string(patch, "", "name", &name, err) < 0)
		return -1;
	if (strcmp(name, vm->config.name) == 0)
		return 0;
	return error_set(err, 409, "name", "VM %s: its name cannot be changed", vm->config.name);
}

/* What a PATCH works on: the settings and the policy, as a POST would give them. */
static struct json_object *patched(struct vm *vm, struct json_object *patch)
{
	struct json_object *doc = vm_config_json(&vm->config), *merged;

	json_object_object_add(doc, "policy", json_object_get(policy_doc(vm->policy)));
	merged = json_merge_patch(doc, patch);
	json_object_put(doc);
	return merged;
}

/* RFC 7396 merges `{"default":…}` into a policy with a preset; the one given last is meant. */
static void settle_policy(struct json_object *merged, struct json_object *patch)
{
	struct json_object *policy = NULL, *change = NULL;

	if (!json_object_object_get_ex(merged, "policy", &policy) ||
		!json_object_object_get_ex(patch, "policy", &change) ||
		!json_object_is_type(change, json_type_object))
		return;
	if (json_object_object_get_ex(change, "default", NULL) &&
		!json_object_object_get_ex(change, "preset", NULL))
		json_object_object_del(policy, "preset");
	else if (json_object_object_get_ex(change, "preset", NULL) &&
		!json_object_object_get_ex(change, "default", NULL))
		json_object_object_del(policy, "default");
}

void api_vm_patch(struct api_request *request)
{
	static const char *const fields[] = {"name", "link", "vsock", "net", "dns", "proxy",
		"host_access", "ttl", "policy", "limits", NULL};
	struct vm *vm = api_vm(request);
	struct json_object *merged;
	struct vm_request wanted;
	struct waiting *waiting;
	struct error err;
	int status;

	if (!vm)
		return;
	if (json_only(request->body, "", fields, &err) < 0 ||
		check_name(vm, request->body, &err) < 0) {
		api_problem(request, &err);
		return;
	}
	merged = patched(vm, request->body);
	settle_policy(merged, request->body);
	status = vm_request_read(&request->daemon->vms, merged, vm->config.link, &wanted, &err);
	json_object_put(merged);
	if (status < 0) {
		api_problem(request, &err);
		return;
	}
	waiting = waiting_new(request);
	if (waiting &&
		vm_change(vm, &wanted.config, &wanted.policy, waiting_completion(waiting), &err) <
			0)
		waiting_problem(waiting, &err);
	else if (waiting)
		waiting_reply_vm(waiting, 200, vm);
	vm_request_free(&wanted);
}
