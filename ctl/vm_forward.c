/* SPDX-License-Identifier: MIT */
/* A VM's forwards. See vm.h and forward.h. */
#include "ctl/vm.h"

#include "ctl/json_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct forward *vm_forward_find(struct vm *vm, const char *id)
{
	struct forward *forward;

	TAILQ_FOREACH(forward, &vm->forwards, next) {
		if (strcmp(forward->id, id) == 0)
			return forward;
	}
	return NULL;
}

int vm_forward_store(struct vm *vm, const struct forward *forward, struct error *err)
{
	struct json_object *doc = forward_spec_json(&forward->spec);
	int status = store_forward_insert(
		vm->vms->store, vm->config.name, forward->id, json_text(doc), err);

	json_object_put(doc);
	return status;
}

/* The one that is there already: the same, or in the way. */
static int existing(struct vm *vm, struct forward *have, const struct forward_spec *spec,
	struct forward **made, struct error *err)
{
	if (!forward_spec_equal(&have->spec, spec))
		return error_set(err, 409, "listen", "forward %s/%s exists with other settings",
			vm->config.name, have->id);
	*made = have;
	return 0;
}

/* Gives a forward that lost its socket the one just handed over. */
static int revive(struct vm *vm, struct forward *have, const struct forward_spec *spec,
	int handed_fd, struct forward **made, struct error *err)
{
	if (existing(vm, have, spec, made, err) < 0)
		return -1;
	if (have->fd >= 0)
		return error_set(
			err, 409, "listen", "forward %s/%s exists", vm->config.name, have->id);
	have->fd = handed_fd;
	have->error[0] = '\0';
	vm_forward_push(vm, have, NULL);
	return 0;
}

static int prepare_one(struct vm *vm, const struct forward_spec *spec, int handed_fd,
	struct forward **made, bool *is_new, struct error *err)
{
	struct forward *forward = forward_new(spec), *have = NULL;
	int status = 0;

	*is_new = false;
	if (!forward)
		return error_set(err, 500, NULL, "out of memory");
	if (handed_fd >= 0)
		status = forward_take(forward, vm->config.name, handed_fd, err);
	if (!status && (spec->kind == LISTENER_UNIX || forward->spec.listen.port))
		have = vm_forward_find(vm, forward->id);
	if (have || status) {
		struct forward_spec resolved = forward->spec;

		forward->fd = -1;
		forward_drop(forward);
		if (status)
			return -1;
		return handed_fd >= 0 ? revive(vm, have, &resolved, handed_fd, made, err)
				      : existing(vm, have, &resolved, made, err);
	}
	if (vm->n_forwards >= FORWARDS_MAX)
		status = error_set(err, 409, "listen", "VM %s has %d forwards already",
			vm->config.name, FORWARDS_MAX);
	else if (handed_fd < 0)
		status = forward_bind(forward, vm->config.name, vm->vms->runtime_dir, err);
	if (status) {
		forward->fd = -1; /* a handed one is still the caller's */
		forward_drop(forward);
		return -1;
	}
	TAILQ_INSERT_TAIL(&vm->forwards, forward, next);
	vm->n_forwards++;
	*made = forward;
	*is_new = true;
	return 0;
}

static void remove_forward(struct vm *vm, struct forward *forward)
{
	TAILQ_REMOVE(&vm->forwards, forward, next);
	vm->n_forwards--;
	forward_free(forward);
}

static void undo(struct vm *vm, struct forward **made, const bool *is_new, size_t n, bool handed)
{
	for (size_t i = 0; i < n; i++) {
		if (!is_new[i])
			continue;
		if (handed)
			made[i]->fd = -1;
		remove_forward(vm, made[i]);
	}
}

int vm_forwards_prepare(struct vm *vm, const struct forward_spec *specs, size_t n, const char *path,
	int handed_fd, struct forward **made, bool *is_new, struct error *err)
{
	struct forward **all = calloc(n + 1, sizeof(struct forward *));
	bool *fresh = calloc(n + 1, sizeof(*fresh));
	char inner[FIELD_LEN], at[FIELD_LEN];
	int status = 0;
	size_t i = 0;

	if (!all || !fresh) {
		status = error_set(err, 500, NULL, "out of memory");
		goto out;
	}
	for (; !status && i < n; i++) {
		status = prepare_one(vm, &specs[i], handed_fd, &all[i], &fresh[i], err);
		if (status < 0 && path && err->field[0]) {
			memcpy(inner, err->field, sizeof(inner));
			json_path_at(at, sizeof(at), path, i);
			json_path(err->field, sizeof(err->field), at, inner);
		}
	}
	if (status) {
		undo(vm, all, fresh, i, handed_fd >= 0);
		goto out;
	}
	if (made)
		memcpy(made, all, n * sizeof(*made));
	if (is_new)
		memcpy(is_new, fresh, n * sizeof(*is_new));
out:
	free(all);
	free(fresh);
	return status;
}

static int store_all(
	struct vm *vm, struct forward **made, const bool *is_new, size_t n, struct error *err)
{
	struct store *store = vm->vms->store;
	struct error ignored;
	int status = store_begin(store, err);

	if (status)
		return -1;
	for (size_t i = 0; !status && i < n; i++) {
		if (is_new[i])
			status = vm_forward_store(vm, made[i], err);
	}
	return store_end(store, status == 0, status ? &ignored : err) < 0 ? -1 : status;
}

/* A new one, to whom it matters. */
static void tell(struct vm *vm, struct forward *forward, struct completion *wait)
{
	vm_event(vm, "forward.added", forward_json(forward));
	vm_forward_push(vm, forward, wait);
}

int vm_forwards_add(struct vm *vm, const struct forward_spec *specs, size_t n, const char *path,
	int handed_fd, struct forward **made, bool *is_new, struct completion *wait,
	struct error *err)
{
	if (vm_forwards_prepare(vm, specs, n, path, handed_fd, made, is_new, err) < 0)
		return -1;
	if (!vm->ephemeral && store_all(vm, made, is_new, n, err) < 0) {
		undo(vm, made, is_new, n, handed_fd >= 0);
		return -1;
	}
	vm_worker_want(vm);
	for (size_t i = 0; i < n; i++) {
		if (is_new[i])
			tell(vm, made[i], wait);
	}
	return 0;
}

void vm_forward_begin(struct vm *vm, struct forward *forward, struct completion *wait)
{
	TAILQ_INSERT_TAIL(&vm->forwards, forward, next);
	vm->n_forwards++;
	vm_worker_want(vm);
	tell(vm, forward, wait);
}

void vm_forward_end(struct vm *vm, struct forward *forward, bool keep_path, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	struct json_object *data = json_object_new_object();

	json_put_string(data, "id", forward->id);
	vm_event(vm, "forward.deleted", data);
	if (client)
		worker_client_forward_delete(
			client, forward->id, completion_done, completion_more(wait));
	if (keep_path && forward->fd >= 0) {
		close(forward->fd);
		forward->fd = -1;
	}
	remove_forward(vm, forward);
}

int vm_forward_delete(
	struct vm *vm, struct forward *forward, struct completion *wait, struct error *err)
{
	if (!vm->ephemeral &&
		store_forward_delete(vm->vms->store, vm->config.name, forward->id, err) < 0)
		return -1;
	vm_forward_end(vm, forward, false, wait);
	return 0;
}

/* ---- to the worker ---- */

struct push {
	struct vms *vms;
	struct completion *wait;
	char vm[VM_NAME_MAX + 1];
	char id[FORWARD_ID_LEN];
};

static void fail(struct vm *vm, struct forward *forward, const char *text)
{
	struct json_object *data = vm_event_reason(text);

	json_put_string(data, "id", forward->id);
	vm_event(vm, "forward.failed", data);
}

static void on_pushed(void *arg, int code, const char *text)
{
	struct push *push = arg;
	struct vm *vm = vms_find(push->vms, push->vm);
	struct forward *forward = vm ? vm_forward_find(vm, push->id) : NULL;

	if (forward && code && code != -ECONNRESET && code != -ECANCELED) {
		snprintf(forward->error, sizeof(forward->error), "%s", text);
		fail(vm, forward, text);
	}
	completion_done(push->wait, code, text);
	free(push);
}

void vm_forward_push(struct vm *vm, struct forward *forward, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	struct worker_forward message = {
		.proto = forward->spec.kind == LISTENER_UDP ? 17 : 6,
		.listen = forward->spec.listen,
		.unix_listener = forward->spec.kind == LISTENER_UNIX,
		.target = forward->spec.target,
		.snat = forward->spec.snat,
		.fd = forward->fd,
	};
	struct push *push;

	if (!client)
		vm_worker_await(vm, wait);
	if (!client || forward->fd < 0)
		return;
	push = calloc(1, sizeof(*push));
	if (!push)
		return;
	push->vms = vm->vms;
	push->wait = completion_more(wait);
	memcpy(push->vm, vm->config.name, sizeof(push->vm));
	memcpy(push->id, forward->id, sizeof(push->id));
	memcpy(message.id, forward->id, sizeof(message.id));
	worker_client_forward_add(client, &message, on_pushed, push);
}

void vm_forwards_bind(struct vm *vm, bool first)
{
	struct forward *forward;
	struct error err;

	TAILQ_FOREACH(forward, &vm->forwards, next) {
		if (forward->fd >= 0 || (forward->spec.handed && !first))
			continue;
		if (forward_bind(forward, vm->config.name, vm->vms->runtime_dir, &err) == 0)
			vm_forward_push(vm, forward, NULL);
		else if (first)
			fail(vm, forward, err.text);
	}
}
