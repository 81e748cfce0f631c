/* SPDX-License-Identifier: MIT */
/* /v1/vms/{vm}/maps, …/{port}, and /v1/vms/{vm}/listeners. */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"

#include "ctl/json_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void api_maps_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct json_object *doc, *items;
	struct map *map;

	if (!vm)
		return;
	doc = json_object_new_object();
	items = json_object_new_array();
	TAILQ_FOREACH(map, &vm->maps, next)
		json_object_array_add(items, map_json(map));
	json_object_object_add(doc, "items", items);
	api_reply(request, 200, doc);
}

/* What to take back should the worker refuse it. */
struct made {
	char vm[VM_NAME_MAX + 1];
	uint32_t port;
};

static void undo(struct netctld *daemon, void *arg)
{
	struct made *made = arg;
	struct vm *vm = vms_find(&daemon->vms, made->vm);
	struct map *map = vm ? vm_map_find(vm, made->port) : NULL;
	struct error ignored;

	if (map)
		vm_map_delete(vm, map, NULL, &ignored);
}

void api_maps_post(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct waiting *waiting;
	struct map_spec spec;
	struct made *made = NULL;
	struct error err;
	struct map *map;
	bool is_new;

	if (!vm)
		return;
	if (map_spec_read(request->body, "", false, &spec, &err) < 0) {
		api_problem(request, &err);
		return;
	}
	waiting = waiting_new(request);
	if (!waiting)
		return;
	if (vm_map_add(vm, &spec, NULL, &map, &is_new, waiting_completion(waiting), &err) < 0) {
		waiting_problem(waiting, &err);
		return;
	}
	if (is_new)
		made = calloc(1, sizeof(*made));
	if (made) {
		memcpy(made->vm, vm->config.name, sizeof(made->vm));
		made->port = spec.port;
	}
	waiting_reply(waiting, is_new ? 201 : 200, map_json(map), made ? undo : NULL, made);
}

/* The map that the path names, or NULL after an answer. */
static struct map *find(struct api_request *request, struct vm *vm)
{
	const char *text = request->parts[1];
	struct map *map = NULL;
	struct error err;
	char *end;
	unsigned long long port;

	errno = 0;
	port = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && !errno && port <= VSOCK_PORT_MAX)
		map = vm_map_find(vm, (uint32_t)port);
	if (map)
		return map;
	error_set(&err, 404, "port", "map %s/%.32s is unknown", vm->config.name, text);
	api_problem(request, &err);
	return NULL;
}

void api_map_delete(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct map *map = vm ? find(request, vm) : NULL;
	struct waiting *waiting = map ? waiting_new(request) : NULL;
	struct error err;

	if (!waiting)
		return;
	if (vm_map_delete(vm, map, waiting_completion(waiting), &err) < 0)
		waiting_problem(waiting, &err);
	else
		waiting_reply(waiting, 204, NULL, NULL, NULL);
}

void api_listeners_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct json_object *doc;

	if (!vm)
		return;
	doc = json_object_new_object();
	json_object_object_add(doc, "items", vm_tsi_json(vm));
	api_reply(request, 200, doc);
}
