/* SPDX-License-Identifier: MIT */
/* The document of the wanted state: made of what there is, read, and compared. See state.h. */
#include "ctl/state.h"

#include "ctl/json_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool state_has_name(struct json_object *names, const char *name)
{
	for (size_t i = 0; names && i < json_object_array_length(names); i++) {
		if (strcmp(json_object_get_string(json_object_array_get_idx(names, i)), name) == 0)
			return true;
	}
	return false;
}

/* ---- what there is ---- */

/* A socket's path that is where it would be without being told: on another host it is elsewhere. */
static void drop_standard(
	struct vms *vms, const char *vm, struct json_object *doc, const char *key, const char *file)
{
	char standard[2 * VM_PATH_LEN + VM_NAME_MAX];
	struct json_object *socket = NULL, *path = NULL;

	snprintf(standard, sizeof(standard), "%s/vms/%s/%s", vms->runtime_dir, vm, file);
	if (json_object_object_get_ex(doc, key, &socket) &&
		!json_object_object_get_ex(socket, "handed", NULL) &&
		json_object_object_get_ex(socket, "path", &path) &&
		strcmp(json_object_get_string(path), standard) == 0)
		json_object_object_del(socket, "path");
}

struct json_object *state_document(struct vms *vms, const struct state_parts *parts)
{
	struct json_object *doc = vm_config_json(parts->config);

	drop_standard(vms, parts->config->name, doc, "link", "link.sock");
	drop_standard(vms, parts->config->name, doc, "vsock", "vmm.sock");
	json_object_object_add(doc, "policy", json_object_get(policy_doc(parts->policy)));
	json_object_object_add(doc, "forwards", parts->forwards);
	json_object_object_add(doc, "maps", parts->maps);
	json_object_object_add(doc, "hosts", parts->hosts);
	json_object_object_add(doc, "env", parts->env);
	json_object_object_add(doc, "secrets", parts->secrets);
	return doc;
}

static int by_id(const void *a, const void *b)
{
	const struct forward *const *x = a, *const *y = b;

	return strcmp((*x)->id, (*y)->id);
}

/* In an order that says nothing of when they were made. */
static struct json_object *forwards_json(const struct vm *vm)
{
	const struct forward **all = calloc(vm->n_forwards + 1, sizeof(*all)), *forward;
	struct json_object *list = json_object_new_array();
	size_t n = 0;

	TAILQ_FOREACH(forward, &vm->forwards, next) {
		if (all)
			all[n++] = forward;
	}
	if (all)
		qsort(all, n, sizeof(*all), by_id);
	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, forward_spec_json(&all[i]->spec));
	free(all);
	return list;
}

struct json_object *state_vm_document(struct vm *vm)
{
	struct state_parts parts = {
		.config = &vm->config,
		.policy = vm->policy,
		.forwards = forwards_json(vm),
		.maps = json_object_new_array(),
		.hosts = json_object_get(vm->hosts->doc),
		.env = vm_env(vm),
		.secrets = json_object_new_array(),
	};
	const struct secret *secret;
	struct json_object *doc;
	const struct map *map;

	TAILQ_FOREACH(map, &vm->maps, next)
		json_object_array_add(parts.maps, map_spec_json(&map->spec));
	TAILQ_FOREACH(secret, &vm->env.secrets, next)
		json_object_array_add(parts.secrets, json_object_new_string(secret->name));
	doc = state_document(vm->vms, &parts);
	if (vm->proxy.password)
		json_put_bool(doc, "proxy_password", true);
	return doc;
}

struct json_object *state_json(struct vms *vms, struct error *err)
{
	struct json_object *doc = json_object_new_object(), *list = json_object_new_array();
	struct vm *vm;

	if (!doc || !list) {
		json_object_put(doc);
		json_object_put(list);
		error_set(err, 500, NULL, "out of memory");
		return NULL;
	}
	TAILQ_FOREACH(vm, &vms->list, next) {
		if (!vm->ephemeral)
			json_object_array_add(list, state_vm_document(vm));
	}
	json_put_int(doc, "state_version", STATE_VERSION);
	json_object_object_add(doc, "vms", list);
	return doc;
}

/* ---- read ---- */

/* The error is of a part that lies at `path`. */
static int deeper(struct error *err, const char *path)
{
	char inner[FIELD_LEN];

	memcpy(inner, err->field, sizeof(inner));
	if (inner[0])
		json_path(err->field, sizeof(err->field), path, inner);
	else
		snprintf(err->field, sizeof(err->field), "%s", path);
	return -1;
}

/* What a POST may say of the VM, but for the forwards. */
static int read_request(
	struct state *state, struct json_object *doc, struct state_vm *item, struct error *err)
{
	static const char *const ours[] = {
		"forwards", "maps", "hosts", "env", "secrets", "proxy_password", NULL};
	struct json_object *base = json_object_new_object();
	int status;

	json_object_object_foreach(doc, key, value)
	{
		size_t i = 0;

		while (ours[i] && strcmp(ours[i], key) != 0)
			i++;
		if (!ours[i])
			json_object_object_add(base, key, json_object_get(value));
	}
	status = vm_request_read(state->vms, base, VM_LINK_STREAM, &item->request, err);
	json_object_put(base);
	return status;
}

static bool any_port(const struct forward_spec *spec)
{
	return spec->kind != LISTENER_UNIX && !spec->listen.port;
}

static int read_forwards(
	struct json_object *doc, struct state_vm *item, struct json_object *seen, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN], id[FORWARD_ID_LEN];
	int got = json_get_array(doc, "", "forwards", FORWARDS_MAX, &list, err);

	if (got <= 0)
		return got;
	item->forwards = calloc(json_object_array_length(list) + 1, sizeof(*item->forwards));
	if (!item->forwards)
		return error_set(err, 500, NULL, "out of memory");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct forward_spec *spec = &item->forwards[i].spec;

		json_path_at(path, sizeof(path), "forwards", i);
		if (forward_spec_read(json_object_array_get_idx(list, i), path, true, spec, err) <
			0)
			return -1;
		item->n_forwards++;
		forward_id(spec, id, sizeof(id));
		if (!any_port(spec) && json_object_object_get_ex(seen, id, NULL))
			return error_set(err, 400, path, "forward %s is in the document twice", id);
		json_object_object_add(seen, id, NULL);
	}
	return 0;
}

static int read_maps(struct json_object *doc, struct state_vm *item, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	int got = json_get_array(doc, "", "maps", MAPS_MAX, &list, err);

	if (got <= 0)
		return got;
	item->maps = calloc(json_object_array_length(list) + 1, sizeof(*item->maps));
	if (!item->maps)
		return error_set(err, 500, NULL, "out of memory");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct map_spec *spec = &item->maps[i].spec;

		json_path_at(path, sizeof(path), "maps", i);
		if (map_spec_read(json_object_array_get_idx(list, i), path, true, spec, err) < 0)
			return -1;
		for (size_t k = 0; k < i; k++) {
			if (item->maps[k].spec.port == spec->port)
				return error_set(
					err, 400, path, "port %u is mapped twice", spec->port);
		}
		item->n_maps++;
	}
	return 0;
}

static int read_hosts(struct json_object *doc, struct state_vm *item, struct error *err)
{
	struct json_object *hosts = NULL;

	if (json_get_object(doc, "", "hosts", &hosts, err) < 0)
		return -1;
	item->request.hosts = hosts_read(hosts, err);
	return item->request.hosts ? 0 : deeper(err, "hosts");
}

static int read_env(struct json_object *doc, struct state_vm *item, struct error *err)
{
	struct json_object *env = NULL;
	int got = json_get_object(doc, "", "env", &env, err);

	if (got < 0)
		return -1;
	if (got && strlen(json_text(env)) > ENV_MAX)
		return error_set(err, 413, "env", "env of VM %s: more than %u bytes of JSON",
			item->request.config.name, ENV_MAX);
	item->env = got ? json_object_get(env) : json_object_new_object();
	return 0;
}

static int read_secrets(struct json_object *doc, struct state_vm *item, struct error *err)
{
	struct json_object *names = NULL;
	char path[FIELD_LEN];
	int got = json_get_array(doc, "", "secrets", SECRETS_MAX, &names, err);

	if (got <= 0)
		return got;
	for (size_t i = 0; i < json_object_array_length(names); i++) {
		struct json_object *name = json_object_array_get_idx(names, i);

		json_path_at(path, sizeof(path), "secrets", i);
		if (!json_object_is_type(name, json_type_string) ||
			!secret_name_valid(json_object_get_string(name)))
			return error_set(err, 400, path, "not the name of a secret");
	}
	item->secrets = json_object_get(names);
	return 0;
}

static int read_vm(struct state *state, struct json_object *doc, struct state_vm *item,
	struct json_object *seen, struct error *err)
{
	if (!json_object_is_type(doc, json_type_object))
		return error_set(err, 400, NULL, "an object is wanted");
	if (read_request(state, doc, item, err) < 0 || read_hosts(doc, item, err) < 0 ||
		read_forwards(doc, item, seen, err) < 0 || read_maps(doc, item, err) < 0 ||
		read_env(doc, item, err) < 0 || read_secrets(doc, item, err) < 0 ||
		json_get_bool(doc, "", "proxy_password", &item->proxy_password, err) < 0)
		return -1;
	item->vm = vms_find(state->vms, item->request.config.name);
	if (item->vm && item->vm->ephemeral)
		return error_set(
			err, 409, "name", "VM %s exists, and is ephemeral", item->vm->config.name);
	return 0;
}

/* names and forwards are each of one VM; `seen` has "vm/NAME" and the forwards' ids. */
static int read_vms(struct state *state, struct json_object *list, struct error *err)
{
	struct json_object *seen = json_object_new_object();
	char path[FIELD_LEN], key[VM_NAME_MAX + 4];
	int status = 0;

	for (size_t i = 0; !status && i < json_object_array_length(list); i++) {
		struct state_vm *item = &state->items[state->n++];

		json_path_at(path, sizeof(path), "vms", i);
		status = read_vm(state, json_object_array_get_idx(list, i), item, seen, err);
		snprintf(key, sizeof(key), "vm/%s", item->request.config.name);
		if (!status && json_object_object_get_ex(seen, key, NULL))
			status = error_set(err, 400, "name", "VM %s is in the document twice",
				item->request.config.name);
		json_object_object_add(seen, key, NULL);
		if (status)
			deeper(err, path);
	}
	json_object_put(seen);
	return status;
}

static int read_document(struct state *state, struct json_object *doc, struct error *err)
{
	static const char *const fields[] = {"state_version", "vms", NULL};
	int64_t version = STATE_VERSION;
	struct json_object *list = NULL;
	int got;

	if (json_only(doc, "", fields, err) < 0 ||
		json_get_int(doc, "", "state_version", 1, INT32_MAX, &version, err) < 0)
		return -1;
	if (version > STATE_VERSION)
		return error_set(err, 400, "state_version",
			"the document is of a newer netctld (version %d, this one knows %d)",
			(int)version, STATE_VERSION);
	got = json_get_array(doc, "", "vms", STATE_VMS_MAX, &list, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "vms", err);
	state->items = calloc(json_object_array_length(list) + 1, sizeof(*state->items));
	if (!state->items)
		return error_set(err, 500, NULL, "out of memory");
	return read_vms(state, list, err);
}

/* ---- compare ---- */

static bool is_taken(const struct state_vm *item, const struct forward *forward)
{
	for (size_t i = 0; i < item->n_forwards; i++) {
		if (item->forwards[i].have == forward)
			return true;
	}
	return false;
}

/* One of the VM's at some port, for a forward at any. */
static const struct forward *find_any(
	const struct state_vm *item, const struct forward_spec *wanted)
{
	const struct forward *forward;

	TAILQ_FOREACH(forward, &item->vm->forwards, next) {
		struct forward_spec have = forward->spec;

		have.listen.port = 0;
		if (forward_spec_equal(&have, wanted) && !is_taken(item, forward))
			return forward;
	}
	return NULL;
}

/* Which of the VM's forwards those of the document are: first those that say at which port. */
static void match_forwards(struct state_vm *item)
{
	char id[FORWARD_ID_LEN];

	for (size_t i = 0; i < item->n_forwards; i++) {
		struct state_forward *f = &item->forwards[i];

		if (any_port(&f->spec))
			continue;
		forward_id(&f->spec, id, sizeof(id));
		f->have = vm_forward_find(item->vm, id);
		f->replaces = f->have && !forward_spec_equal(&f->have->spec, &f->spec);
	}
	for (size_t i = 0; i < item->n_forwards; i++) {
		struct state_forward *f = &item->forwards[i];

		if (any_port(&f->spec) && (f->have = find_any(item, &f->spec)))
			f->spec.listen.port = f->have->spec.listen.port;
	}
}

/* What the VM has of a socket is had whatever the document says of how it came. */
static void keep_handed(struct state_vm *item)
{
	for (size_t i = 0; i < item->n_forwards; i++) {
		if (item->forwards[i].have)
			item->forwards[i].spec.handed = item->forwards[i].have->spec.handed;
	}
	for (size_t i = 0; i < item->n_maps; i++) {
		struct state_map *m = &item->maps[i];

		m->have = vm_map_find(item->vm, m->spec.port);
		if (m->have && map_spec_equal(&m->have->spec, &m->spec))
			m->spec.handed = m->have->spec.handed;
	}
}

static struct json_object *wanted_secrets(struct state *state, const struct state_vm *item)
{
	struct json_object *list = json_object_new_array(), *line;
	const struct secret *secret;

	if (item->vm) {
		TAILQ_FOREACH(secret, &item->vm->env.secrets, next) {
			if (!item->secrets || state_has_name(item->secrets, secret->name))
				json_object_array_add(list, json_object_new_string(secret->name));
		}
	}
	for (size_t i = 0; item->secrets && i < json_object_array_length(item->secrets); i++) {
		const char *name = json_object_get_string(
			json_object_array_get_idx(item->secrets, i));

		if (state_has_name(list, name))
			continue;
		line = json_object_new_object();
		json_put_string(line, "vm", item->request.config.name);
		json_put_string(line, "name", name);
		json_object_array_add(state->missing, line);
	}
	return list;
}

/* A password is for one proxy: with another it goes (vm_proxy.h). */
static bool has_password(const struct state_vm *item)
{
	const struct proxy_config *to = &item->request.config.proxy;

	return item->vm && item->vm->proxy.password && to->use == PROXY_USE_URL &&
		proxy_url_equal(&to->url, &item->vm->config.proxy.url);
}

static struct json_object *wanted_document(struct state *state, const struct state_vm *item)
{
	struct state_parts parts = {
		.config = &item->request.config,
		.policy = item->request.policy,
		.forwards = json_object_new_array(),
		.maps = json_object_new_array(),
		.hosts = json_object_get(item->request.hosts->doc),
		.env = json_object_get(item->env),
		.secrets = wanted_secrets(state, item),
	};

	for (size_t i = 0; i < item->n_forwards; i++)
		json_object_array_add(parts.forwards, forward_spec_json(&item->forwards[i].spec));
	for (size_t i = 0; i < item->n_maps; i++)
		json_object_array_add(parts.maps, map_spec_json(&item->maps[i].spec));
	return state_document(state->vms, &parts);
}

static bool same_config(const struct vm_config *a, const struct vm_config *b)
{
	struct json_object *doc_a = vm_config_json(a), *doc_b = vm_config_json(b);
	bool same = json_object_equal(doc_a, doc_b);

	json_object_put(doc_a);
	json_object_put(doc_b);
	return same;
}

/* What can be said of the change before it is begun. A new policy's table is kept. */
static int check(struct state *state, struct state_vm *item, struct error *err)
{
	struct policy *policy = item->request.policy;
	int status;

	if (item->vm && !vm_can_become(item->vm, &item->request.config, err))
		return -1;
	if (item->n_maps && item->request.config.vsock.kind == VM_VSOCK_NONE)
		return error_set(err, 409, "maps", "VM %s has no vsock", item->request.config.name);
	if (item->vm && json_object_equal(policy_doc(item->vm->policy), policy_doc(policy)))
		return 0;
	status = vms_compile_policy(state->vms, &item->request.config.proxy, policy, "policy",
		&item->table, &item->table_len, err);
	if (item->vm || status < 0)
		return status;
	free(item->table); /* vm_prepare() makes it */
	item->table = NULL;
	return 0;
}

static int compare_vm(struct state *state, struct state_vm *item, struct error *err)
{
	struct json_object *from = NULL, *to, *env;

	if (check(state, item, err) < 0)
		return -1;
	if (item->vm) {
		match_forwards(item);
		keep_handed(item);
		env = vm_env(item->vm);
		item->new_config = !same_config(&item->vm->config, &item->request.config);
		item->new_hosts = !json_object_equal(
			item->vm->hosts->doc, item->request.hosts->doc);
		item->new_env = !json_object_equal(env, item->env);
		json_object_put(env);
		from = state_vm_document(item->vm);
	}
	if (item->proxy_password && !has_password(item))
		json_object_array_add(
			state->no_password, json_object_new_string(item->request.config.name));
	to = wanted_document(state, item);
	state_diff(state->changes, item->request.config.name, from, to);
	json_object_put(from);
	json_object_put(to);
	return 0;
}

static bool is_wanted(const struct state *state, const struct vm *vm)
{
	for (size_t i = 0; i < state->n; i++) {
		if (state->items[i].vm == vm)
			return true;
	}
	return false;
}

static int compare(struct state *state, struct error *err)
{
	char path[FIELD_LEN];
	struct json_object *doc;
	struct vm *vm;

	state->gone = calloc(state->vms->n + 1, sizeof(struct vm *));
	state->changes = json_object_new_array();
	state->missing = json_object_new_array();
	state->no_password = json_object_new_array();
	if (!state->gone || !state->changes || !state->missing || !state->no_password)
		return error_set(err, 500, NULL, "out of memory");
	TAILQ_FOREACH(vm, &state->vms->list, next) {
		if (vm->ephemeral || is_wanted(state, vm))
			continue;
		state->gone[state->n_gone++] = vm;
		doc = state_vm_document(vm);
		state_diff(state->changes, vm->config.name, doc, NULL);
		json_object_put(doc);
	}
	for (size_t i = 0; i < state->n; i++) {
		json_path_at(path, sizeof(path), "vms", i);
		if (compare_vm(state, &state->items[i], err) < 0)
			return deeper(err, path);
	}
	return 0;
}

/* ---- the whole ---- */

struct state *state_read(struct vms *vms, struct json_object *doc, struct error *err)
{
	struct state *state = calloc(1, sizeof(*state));

	if (!state) {
		error_set(err, 500, NULL, "out of memory");
		return NULL;
	}
	state->vms = vms;
	if (read_document(state, doc, err) == 0 && compare(state, err) == 0)
		return state;
	state_free(state);
	return NULL;
}

void state_free(struct state *state)
{
	if (!state)
		return;
	for (size_t i = 0; i < state->n; i++) {
		struct state_vm *item = &state->items[i];

		vm_request_free(&item->request);
		free(item->forwards);
		free(item->maps);
		free(item->table);
		json_object_put(item->env);
		json_object_put(item->secrets);
	}
	free(state->items);
	free(state->gone);
	json_object_put(state->changes);
	json_object_put(state->missing);
	json_object_put(state->no_password);
	free(state);
}

struct json_object *state_changes(const struct state *state)
{
	return state->changes;
}

struct json_object *state_missing(const struct state *state)
{
	return state->missing;
}

struct json_object *state_no_password(const struct state *state)
{
	return state->no_password;
}
