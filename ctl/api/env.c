/* SPDX-License-Identifier: MIT */
/* /v1/vms/{vm}/env. */
#include "ctl/api/routes.h"

#include "ctl/json_read.h"

void api_env_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);

	if (vm)
		api_reply(request, 200, vm_env(vm));
}

static void set(struct api_request *request, struct vm *vm, struct json_object *doc)
{
	struct error err;

	if (vm_env_set(vm, doc, &err) < 0)
		api_problem(request, &err);
	else
		api_reply(request, 200, vm_env(vm));
}

void api_env_put(struct api_request *request)
{
	struct vm *vm = api_vm(request);

	if (vm)
		set(request, vm, request->body);
}

void api_env_patch(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct json_object *merged;

	if (!vm)
		return;
	merged = json_merge_patch(vm->env.doc, request->body);
	set(request, vm, merged);
	json_object_put(merged);
}
