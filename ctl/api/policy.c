/* SPDX-License-Identifier: MIT */
/* /v1/vms/{vm}/policy and …/check. */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"

void api_policy_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);

	if (vm)
		api_reply(request, 200, json_object_get(policy_doc(vm->policy)));
}

void api_policy_put(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	int cut = vm ? api_query_bool(request, "cut_existing") : -1;
	struct waiting *waiting;
	struct policy *policy;
	struct error err;

	if (cut < 0)
		return;
	policy = policy_read(request->body, "", &err);
	if (!policy) {
		api_problem(request, &err);
		return;
	}
	waiting = waiting_new(request);
	if (!waiting) {
		policy_free(policy);
	} else if (vm_set_policy(vm, policy, cut, waiting_completion(waiting), &err) < 0) {
		waiting_problem(waiting, &err);
		policy_free(policy);
	} else {
		waiting_reply(waiting, 200, json_object_get(policy_doc(vm->policy)), NULL, NULL);
	}
}

void api_policy_check(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct json_object *doc;
	struct error err;

	if (!vm)
		return;
	doc = policy_explain(vm->policy, vm->table, &vm->config.gateway, vm->config.host_access,
		request->body, &err);
	if (doc)
		api_reply(request, 200, doc);
	else
		api_problem(request, &err);
}
