/* SPDX-License-Identifier: MIT */
/*
 * /v1/vms/{vm}/secrets and …/{name}.
 *
 * A value comes as the body's bytes and never leaves by HTTP. libevent's buffers, where it lies until it
 * is sealed, are wiped when they are freed (netctld.c), which draining the body does at once.
 */
#include "ctl/api/routes.h"

#include "ctl/json_read.h"

#include <event2/buffer.h>
#include <event2/http.h>

void api_secrets_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct json_object *doc, *items;
	const struct secret *secret;

	if (!vm)
		return;
	doc = json_object_new_object();
	items = json_object_new_array();
	TAILQ_FOREACH(secret, &vm->env.secrets, next) {
		struct json_object *item = json_object_new_object();

		json_put_string(item, "name", secret->name);
		json_object_array_add(items, item);
	}
	json_object_object_add(doc, "items", items);
	api_reply(request, 200, doc);
}

void api_secret_put(struct api_request *request)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request->http);
	size_t len = evbuffer_get_length(in);
	struct vm *vm = api_vm(request);
	const void *value;
	struct error err;
	int status;

	if (!vm)
		return;
	value = len && len <= SECRET_MAX ? evbuffer_pullup(in, -1) : NULL;
	if (len && len <= SECRET_MAX && !value)
		status = error_set(&err, 500, NULL, "out of memory");
	else
		status = vm_secret_set(vm, request->parts[1], value, len, &err);
	evbuffer_drain(in, len);
	if (status < 0)
		api_problem(request, &err);
	else
		api_reply(request, 204, NULL);
}

void api_secret_delete(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct error err;

	if (!vm)
		return;
	if (vm_secret_delete(vm, request->parts[1], &err) < 0)
		api_problem(request, &err);
	else
		api_reply(request, 204, NULL);
}
