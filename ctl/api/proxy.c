/* SPDX-License-Identifier: MIT */
/*
 * /v1/vms/{vm}/proxy/password.
 *
 * The rest of the proxy is a setting of the VM's document. A password comes as the body's bytes, as a
 * secret's value does (secrets.c), and never leaves by HTTP.
 */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"

#include <event2/buffer.h>
#include <event2/http.h>

void api_proxy_password_put(struct api_request *request)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request->http);
	size_t len = evbuffer_get_length(in);
	struct vm *vm = api_vm(request);
	struct waiting *waiting;
	struct error err;
	int status;

	if (!vm)
		return;
	waiting = waiting_new(request);
	if (!waiting)
		return;
	if (len < PROXY_WORD_LEN)
		status = vm_proxy_password_set(vm, len ? evbuffer_pullup(in, -1) : NULL, len,
			waiting_completion(waiting), &err);
	else
		status = error_set(&err, 413, NULL, "proxy password of VM %s: more than %d bytes",
			vm->config.name, PROXY_WORD_LEN - 1);
	evbuffer_drain(in, len);
	if (status < 0)
		waiting_problem(waiting, &err);
	else
		waiting_reply(waiting, 204, NULL, NULL, NULL);
}

void api_proxy_password_delete(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct waiting *waiting;
	struct error err;

	if (!vm)
		return;
	waiting = waiting_new(request);
	if (waiting && vm_proxy_password_delete(vm, waiting_completion(waiting), &err) < 0)
		waiting_problem(waiting, &err);
	else if (waiting)
		waiting_reply(waiting, 204, NULL, NULL, NULL);
}
