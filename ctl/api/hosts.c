/* SPDX-License-Identifier: MIT */
/* /v1/vms/{vm}/hosts. */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"

void api_hosts_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);

	if (vm)
		api_reply(request, 200, json_object_get(vm->hosts->doc));
}

void api_hosts_put(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct hosts *hosts;
	struct waiting *waiting;
	struct error err;

	if (!vm)
		return;
	hosts = hosts_read(request->body, &err);
	if (!hosts) {
		api_problem(request, &err);
		return;
	}
	waiting = waiting_new(request);
	if (!waiting) {
		hosts_free(hosts);
	} else if (vm_set_hosts(vm, hosts, waiting_completion(waiting), &err) < 0) {
		waiting_problem(waiting, &err);
		hosts_free(hosts);
	} else {
		waiting_reply(waiting, 200, json_object_get(vm->hosts->doc), NULL, NULL);
	}
}
