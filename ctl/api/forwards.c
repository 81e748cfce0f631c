/* SPDX-License-Identifier: MIT */
/* /v1/vms/{vm}/forwards and …/{id}. */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"

#include "ctl/json_read.h"

#include <stdlib.h>
#include <string.h>

void api_forwards_get(struct api_request *request)
{
	struct json_object *doc, *items;
	struct vm *vm = api_vm(request);
	struct forward *forward;

	if (!vm)
		return;
	doc = json_object_new_object();
	items = json_object_new_array();
	TAILQ_FOREACH(forward, &vm->forwards, next)
		json_object_array_add(items, forward_json(forward));
	json_object_object_add(doc, "items", items);
	api_reply(request, 200, doc);
}

/* What a POST asks for: one forward, or a list of them. */
struct order {
	bool list;
	size_t n;
	struct forward_spec specs[FORWARDS_MAX];
	struct forward *made[FORWARDS_MAX];
	bool is_new[FORWARDS_MAX];
};

static int read_order(struct json_object *body, struct order *order, struct error *err)
{
	static const char *const fields[] = {"items", NULL};
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	int got;

	order->list = json_object_is_type(body, json_type_object) &&
		json_object_object_get_ex(body, "items", NULL);
	if (!order->list) {
		order->n = 1;
		return forward_spec_read(body, "", false, &order->specs[0], err);
	}
	if (json_only(body, "", fields, err) < 0)
		return -1;
	got = json_get_array(body, "", "items", FORWARDS_MAX, &list, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "items", err);
	order->n = json_object_array_length(list);
	for (size_t i = 0; i < order->n; i++) {
		json_path_at(path, sizeof(path), "items", i);
		if (forward_spec_read(json_object_array_get_idx(list, i), path, false,
			    &order->specs[i], err) < 0)
			return -1;
	}
	return 0;
}

static struct json_object *order_json(const struct order *order)
{
	struct json_object *doc, *items;

	if (!order->list)
		return forward_json(order->made[0]);
	doc = json_object_new_object();
	items = json_object_new_array();
	for (size_t i = 0; i < order->n; i++)
		json_object_array_add(items, forward_json(order->made[i]));
	json_object_object_add(doc, "items", items);
	return doc;
}

/* What to take back should the worker refuse one of them. */
struct made {
	char vm[VM_NAME_MAX + 1];
	size_t n;
	char ids[][FORWARD_ID_LEN];
};

static void undo(struct netctld *daemon, void *arg)
{
	struct made *made = arg;
	struct vm *vm = vms_find(&daemon->vms, made->vm);
	struct error err;

	for (size_t i = 0; vm && i < made->n; i++) {
		struct forward *forward = vm_forward_find(vm, made->ids[i]);

		if (forward)
			vm_forward_delete(vm, forward, NULL, &err);
	}
}

static struct made *made_of(const struct vm *vm, const struct order *order)
{
	struct made *made = calloc(1, sizeof(*made) + order->n * FORWARD_ID_LEN);

	for (size_t i = 0; made && i < order->n; i++) {
		if (order->is_new[i])
			memcpy(made->ids[made->n++], order->made[i]->id, FORWARD_ID_LEN);
	}
	if (made)
		memcpy(made->vm, vm->config.name, sizeof(made->vm));
	return made;
}

void api_forwards_post(struct api_request *request)
{
	struct order *order = calloc(1, sizeof(*order));
	struct vm *vm = order ? api_vm(request) : NULL;
	struct waiting *waiting;
	struct made *made;
	struct error err;

	if (!vm)
		goto out;
	if (read_order(request->body, order, &err) < 0) {
		api_problem(request, &err);
		goto out;
	}
	waiting = waiting_new(request);
	if (!waiting)
		goto out;
	if (vm_forwards_add(vm, order->specs, order->n, order->list ? "items" : NULL, -1,
		    order->made, order->is_new, waiting_completion(waiting), &err) < 0) {
		waiting_problem(waiting, &err);
		goto out;
	}
	made = made_of(vm, order);
	waiting_reply(
		waiting, made && made->n ? 201 : 200, order_json(order), made ? undo : NULL, made);
out:
	free(order);
}

static struct forward *find(struct api_request *request, struct vm *vm)
{
	struct forward *forward = vm_forward_find(vm, request->parts[1]);
	struct error err;

	if (forward)
		return forward;
	error_set(&err, 404, "id", "forward %s/%.160s is unknown", vm->config.name,
		request->parts[1]);
	api_problem(request, &err);
	return NULL;
}

void api_forward_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct forward *forward = vm ? find(request, vm) : NULL;

	if (forward)
		api_reply(request, 200, forward_json(forward));
}

void api_forward_delete(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct forward *forward;
	struct waiting *waiting;
	struct error err;

	if (!vm || waiting_adoption(request, vm, api_forward_delete))
		return;
	forward = find(request, vm);
	waiting = forward ? waiting_new(request) : NULL;
	if (!waiting)
		return;
	if (vm_forward_delete(vm, forward, waiting_completion(waiting), &err) < 0)
		waiting_problem(waiting, &err);
	else
		waiting_reply(waiting, 204, NULL, NULL, NULL);
}
