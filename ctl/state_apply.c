/* SPDX-License-Identifier: MIT */
/* A wanted state brought about: prepared, stored and committed. See state.h. */
#include "ctl/state.h"

#include "common/os.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- prepare ---- */

static int prefix(struct error *err, size_t vm, const char *list, size_t index)
{
	char inner[FIELD_LEN], path[FIELD_LEN];

	memcpy(inner, err->field, sizeof(inner));
	if (list)
		snprintf(path, sizeof(path), "vms[%zu].%s[%zu]", vm, list, index);
	else
		snprintf(path, sizeof(path), "vms[%zu]", vm);
	if (inner[0])
		json_path(err->field, sizeof(err->field), path, inner);
	else
		snprintf(err->field, sizeof(err->field), "%s", path);
	return -1;
}

static const struct state_forward *wanted_of(
	const struct state_vm *item, const struct forward *forward)
{
	for (size_t i = 0; i < item->n_forwards; i++) {
		if (item->forwards[i].have == forward)
			return &item->forwards[i];
	}
	return NULL;
}

static const struct forward *find_open(struct vm *vm, const char *id)
{
	const struct forward *forward = vm_forward_find(vm, id);

	return forward && forward->fd >= 0 ? forward : NULL;
}

/* A forward with this listen side that some VM has now and will not have. */
static const struct forward *find_leaving(const struct state *state, const char *id)
{
	const struct forward *forward;

	for (size_t i = 0; i < state->n_gone; i++) {
		if ((forward = find_open(state->gone[i], id)))
			return forward;
	}
	for (size_t i = 0; i < state->n; i++) {
		const struct state_vm *item = &state->items[i];

		if (item->vm && (forward = find_open(item->vm, id)) && !wanted_of(item, forward))
			return forward;
	}
	return NULL;
}

/* A duplicate of the socket of another, however that came. */
static int take_over(
	struct forward *forward, const char *vm, const struct forward *from, struct error *err)
{
	if (from->fd < 0) { /* it has none, either: it is bound when it can be */
		memcpy(forward->error, from->error, sizeof(forward->error));
		return 0;
	}
	forward->fd = os_dup(from->fd);
	if (forward->fd < 0)
		return error_set(err, 503, NULL, "forward %s/%s: %s", vm, forward->id,
			errno_text(forward->fd));
	forward->spec.handed = from->spec.handed;
	return 0;
}

static int open_forward(const struct state *state, const struct state_forward *f, const char *vm,
	struct forward *forward, struct error *err)
{
	const struct forward *from = f->have;

	/* The path of a unix socket is of one VM. */
	if (!from && f->spec.kind != LISTENER_UNIX)
		from = find_leaving(state, forward->id);
	if (from)
		return take_over(forward, vm, from, err);
	if (forward_bind(forward, vm, state->vms->runtime_dir, err) == 0)
		return 0;
	/* Its error says that it is awaited. */
	return f->spec.handed ? 0 : -1;
}

static int prepare_forwards(const struct state *state, struct state_vm *item, struct error *err)
{
	const char *vm = item->request.config.name;

	for (size_t i = 0; i < item->n_forwards; i++) {
		struct state_forward *f = &item->forwards[i];

		if (f->have && !f->replaces)
			continue;
		f->made = forward_new(&f->spec);
		if (!f->made)
			return error_set(err, 500, NULL, "out of memory");
		if (open_forward(state, f, vm, f->made, err) < 0)
			return prefix(err, (size_t)(item - state->items), "forwards", i);
	}
	return 0;
}

static int prepare_maps(
	const struct state *state, struct state_vm *item, struct vm *vm, struct error *err)
{
	for (size_t i = 0; i < item->n_maps; i++) {
		struct state_map *m = &item->maps[i];

		if (m->have && map_spec_equal(&m->have->spec, &m->spec))
			continue;
		m->made = vm_map_prepare(
			vm, &m->spec, m->have && m->have->listener >= 0 ? m->have : NULL, err);
		if (!m->made)
			return prefix(err, (size_t)(item - state->items), "maps", i);
	}
	return 0;
}

static int prepare_vm(struct state *state, struct state_vm *item, struct error *err)
{
	if (!item->vm) {
		item->made = vm_prepare(state->vms, &item->request, false, err);
		if (!item->made)
			return prefix(err, (size_t)(item - state->items), NULL, 0);
		item->made->env.doc = json_object_get(item->env);
	}
	if (prepare_forwards(state, item, err) < 0)
		return -1;
	return prepare_maps(state, item, item->vm ? item->vm : item->made, err);
}

/* ---- back ---- */

static void drop_forward(struct state_forward *f)
{
	if (f->have) /* whose path it is */
		forward_drop(f->made);
	else
		forward_free(f->made);
	f->made = NULL;
}

static void drop_map(struct vm *vm, struct state_map *m)
{
	if (m->have && m->have->listener == m->made->listener)
		m->made->listener = -1;
	vm_vsock_map_close(vm, m->made, NULL);
	vm_map_drop(m->made);
	m->made = NULL;
}

static void drop_vm(struct state_vm *item)
{
	struct vm *vm = item->vm ? item->vm : item->made;

	for (size_t i = 0; i < item->n_forwards; i++) {
		if (item->forwards[i].made)
			drop_forward(&item->forwards[i]);
	}
	for (size_t i = 0; i < item->n_maps; i++) {
		if (item->maps[i].made)
			drop_map(vm, &item->maps[i]);
	}
	if (item->made)
		vm_abandon(item->made);
	item->made = NULL;
}

/* ---- store ---- */

/* What a VM has and loses. */
static int store_losses(struct store *store, const struct state_vm *item, struct error *err)
{
	const char *name = item->request.config.name;
	const struct forward *forward;
	const struct secret *secret;
	const struct map *map;
	int status = 0;

	TAILQ_FOREACH(forward, &item->vm->forwards, next) {
		const struct state_forward *f = wanted_of(item, forward);

		if (!status && (!f || f->replaces))
			status = store_forward_delete(store, name, forward->id, err);
	}
	TAILQ_FOREACH(map, &item->vm->maps, next) {
		size_t i = 0;

		while (i < item->n_maps && item->maps[i].have != map)
			i++;
		if (!status && (i == item->n_maps || item->maps[i].made))
			status = store_map_delete(store, name, map->spec.port, err);
	}
	TAILQ_FOREACH(secret, &item->vm->env.secrets, next) {
		if (!status && item->secrets && !state_has_name(item->secrets, secret->name))
			status = store_secret_delete(store, name, secret->name, err);
	}
	return status;
}

static int store_gains(struct store *store, const struct state_vm *item, struct error *err)
{
	const struct vm_request *to = &item->request;
	const char *name = to->config.name;
	int status = 0;

	if (item->made)
		status = vm_store_new(item->made, err);
	if (!status && item->new_config)
		status = vm_store_config(item->vm, &to->config, err);
	if (!status && item->table)
		status = store_vm_set_policy(store, name, json_text(policy_doc(to->policy)), err);
	if (!status && item->new_hosts)
		status = store_vm_set_hosts(store, name, json_text(to->hosts->doc), err);
	if (!status && item->new_env)
		status = store_env_set(store, name, json_text(item->env), err);
	for (size_t i = 0; !status && i < item->n_forwards; i++) {
		if (item->forwards[i].made)
			status = vm_forward_store(
				item->vm ? item->vm : item->made, item->forwards[i].made, err);
	}
	for (size_t i = 0; !status && i < item->n_maps; i++) {
		if (item->maps[i].made)
			status = vm_map_store(
				item->vm ? item->vm : item->made, item->maps[i].made, err);
	}
	return status;
}

static int store_all(struct state *state, struct error *err)
{
	struct store *store = state->vms->store;
	struct error ignored;
	int status = 0;

	if (store_begin(store, err) < 0)
		return -1;
	for (size_t i = 0; !status && i < state->n_gone; i++)
		status = store_vm_delete(store, state->gone[i]->config.name, err);
	for (size_t i = 0; !status && i < state->n; i++) {
		if (state->items[i].vm)
			status = store_losses(store, &state->items[i], err);
	}
	for (size_t i = 0; !status && i < state->n; i++)
		status = store_gains(store, &state->items[i], err);
	return store_end(store, status == 0, status ? &ignored : err) < 0 ? -1 : status;
}

/* ---- commit ---- */

static void on_gone(void *arg)
{
	completion_done(arg, 0, "");
}

/* Before anything is gained: what is free then may be gained by another. */
static void lose(const struct state_vm *item, struct completion *wait)
{
	struct forward *forward, *next_forward;
	struct secret *secret, *next_secret;
	struct vm *vm = item->vm;

	for (forward = TAILQ_FIRST(&vm->forwards); forward; forward = next_forward) {
		const struct state_forward *f = wanted_of(item, forward);

		next_forward = TAILQ_NEXT(forward, next);
		if (!f || f->replaces)
			vm_forward_end(vm, forward, f != NULL, wait);
	}
	for (secret = TAILQ_FIRST(&vm->env.secrets); secret; secret = next_secret) {
		next_secret = TAILQ_NEXT(secret, next);
		if (item->secrets && !state_has_name(item->secrets, secret->name))
			vm_secret_end(vm, secret);
	}
}

static void change_maps(struct state_vm *item, struct completion *wait)
{
	struct map *map, *next;

	for (map = TAILQ_FIRST(&item->vm->maps); map; map = next) {
		size_t i = 0;

		next = TAILQ_NEXT(map, next);
		while (i < item->n_maps && item->maps[i].have != map)
			i++;
		if (i == item->n_maps)
			vm_map_end(item->vm, map, wait);
	}
	for (size_t i = 0; i < item->n_maps; i++) {
		struct state_map *m = &item->maps[i];

		if (m->made && m->have)
			vm_map_replace(item->vm, m->have, m->made, wait);
		else if (m->made)
			vm_map_begin(item->vm, m->made, wait);
	}
}

static void change(struct state_vm *item, bool cut_existing, struct completion *wait)
{
	struct vm_request *to = &item->request;
	struct vm *vm = item->vm;

	if (item->new_config)
		vm_take_config(vm, &to->config, wait);
	if (item->table) {
		vm_take_table(vm, to->policy, item->table, item->table_len, cut_existing, wait);
		to->policy = NULL;
		item->table = NULL;
	}
	if (item->new_hosts) {
		vm_take_hosts(vm, to->hosts, wait);
		to->hosts = NULL;
	}
	if (item->new_env)
		vm_env_take(vm, item->env);
	for (size_t i = 0; i < item->n_forwards; i++) {
		if (item->forwards[i].made)
			vm_forward_begin(vm, item->forwards[i].made, wait);
	}
	change_maps(item, wait);
}

static void begin(struct state_vm *item, struct completion *wait)
{
	struct vm *vm = item->made;

	for (size_t i = 0; i < item->n_forwards; i++) {
		TAILQ_INSERT_TAIL(&vm->forwards, item->forwards[i].made, next);
		vm->n_forwards++;
	}
	for (size_t i = 0; i < item->n_maps; i++)
		vm_map_insert(vm, item->maps[i].made);
	vm_begin(vm);
	vm_worker_await(vm, wait);
}

static void commit(struct state *state, bool cut_existing, struct completion *wait)
{
	for (size_t i = 0; i < state->n; i++) {
		if (state->items[i].vm)
			lose(&state->items[i], wait);
	}
	for (size_t i = 0; i < state->n_gone; i++)
		vm_end(state->gone[i], on_gone, completion_more(wait));
	for (size_t i = 0; i < state->n; i++) {
		if (state->items[i].vm)
			change(&state->items[i], cut_existing, wait);
		else
			begin(&state->items[i], wait);
	}
}

int state_apply(struct state *state, bool cut_existing, struct completion *wait, struct error *err)
{
	int status = 0;

	for (size_t i = 0; !status && i < state->n; i++)
		status = prepare_vm(state, &state->items[i], err);
	if (!status)
		status = store_all(state, err);
	if (!status) {
		commit(state, cut_existing, wait);
		return 0;
	}
	for (size_t i = 0; i < state->n; i++)
		drop_vm(&state->items[i]);
	return -1;
}
