/* SPDX-License-Identifier: MIT */
/* Answers that wait for a worker. See waiting.h. */
#include "ctl/api/waiting.h"

#include "ctl/completion.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct waiting {
	struct api_request *request;
	struct completion *completion;
	int status;
	struct json_object *doc;
	void (*undo)(struct netctld *daemon, void *arg);
	void *arg;
	char vm[VM_NAME_MAX + 1]; /* whose document to answer, or "" */
	bool refused;             /* the answer is err */
	struct error err;
};

static struct json_object *document(struct waiting *waiting)
{
	struct vm *vm = waiting->vm[0] ? vms_find(&waiting->request->daemon->vms, waiting->vm)
				       : NULL;

	return vm ? vm_json(vm) : json_object_get(waiting->doc);
}

static void on_done(void *arg, int code, const char *text)
{
	struct waiting *waiting = arg;

	if (code && !waiting->refused) {
		if (waiting->undo)
			waiting->undo(waiting->request->daemon, waiting->arg);
		error_set(&waiting->err, 500, NULL, "worker: %s", text);
		waiting->refused = true;
	}
	if (waiting->refused)
		api_problem(waiting->request, &waiting->err);
	else
		api_reply(waiting->request, waiting->status, document(waiting));
	json_object_put(waiting->doc);
	free(waiting->arg);
	free(waiting);
}

struct waiting *waiting_new(struct api_request *request)
{
	struct waiting *waiting = calloc(1, sizeof(*waiting));
	struct error err;

	if (waiting)
		waiting->completion = completion_new(on_done, waiting);
	if (waiting && waiting->completion) {
		waiting->request = request;
		return waiting;
	}
	free(waiting);
	error_set(&err, 500, NULL, "out of memory");
	api_problem(request, &err);
	return NULL;
}

struct adoption {
	struct api_request *request;
	void (*handler)(struct api_request *request);
};

static void on_adopted(void *arg, int code, const char *text)
{
	struct adoption adoption = *(struct adoption *)arg;

	(void)code;
	(void)text;
	free(arg);
	adoption.handler(adoption.request);
}

static bool any_adopting(const struct vms *vms)
{
	const struct vm *vm;

	TAILQ_FOREACH(vm, &vms->list, next) {
		if (vm->adopting)
			return true;
	}
	return false;
}

bool waiting_adoption(
	struct api_request *request, struct vm *vm, void (*handler)(struct api_request *request))
{
	struct vms *vms = &request->daemon->vms;
	struct adoption *adoption;
	struct completion *wait;
	struct vm *each;

	if (request->waited || !(vm ? vm->adopting : any_adopting(vms)))
		return false;
	adoption = calloc(1, sizeof(*adoption));
	wait = adoption ? completion_new(on_adopted, adoption) : NULL;
	if (!wait) {
		free(adoption);
		return false;
	}
	*adoption = (struct adoption){request, handler};
	request->waited = true;
	TAILQ_FOREACH(each, &vms->list, next) {
		if (each->adopting && (!vm || each == vm))
			vm_worker_await_next(each, wait);
	}
	completion_close(wait);
	return true;
}

struct completion *waiting_completion(struct waiting *waiting)
{
	return waiting->completion;
}

void waiting_reply(struct waiting *waiting, int status, struct json_object *doc,
	void (*undo)(struct netctld *daemon, void *arg), void *arg)
{
	waiting->status = status;
	waiting->doc = doc;
	waiting->undo = undo;
	waiting->arg = arg;
	completion_close(waiting->completion);
}

void waiting_reply_vm(struct waiting *waiting, int status, const struct vm *vm)
{
	memcpy(waiting->vm, vm->config.name, sizeof(waiting->vm));
	waiting_reply(waiting, status, NULL, NULL, NULL);
}

void waiting_problem(struct waiting *waiting, const struct error *err)
{
	waiting->err = *err;
	waiting->refused = true;
	completion_close(waiting->completion);
}
