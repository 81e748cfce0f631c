/* SPDX-License-Identifier: MIT */
/*
 * A VM brought to what a record says. See snapshot.h.
 *
 *	check     the record suits the VM: subnet, a fixed MAC, a vsock where there was one
 *	prepare   all that the VM will be, beside what it is: forwards bound at their host ports, TSI
 *	          listeners at fresh ones, the policy compiled. What can fail fails here.
 *	swap      the VM's state and the prepared one change places; then one transaction of the store.
 *	          If that fails they change back.
 *	push      Reset, then all of it, to the worker; what the VM was is dropped.
 *
 * A forward or map that the VM has already keeps its socket, whatever it leads to now: also a handed
 * one, which nobody could bind anew. The record's other handed maps stand with an error until they are
 * handed over; a handed forward that the VM has not is in the way of the restore.
 *
 * What is the VM's own stays: link, DNS, host access, its vsock's kind, path and CID, and its secrets.
 */
#include "ctl/snapshot.h"

#include "common/clock.h"
#include "common/unix_socket.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What changes places with the members of the VM that have these names. */
struct plan {
	struct policy *policy;
	uint8_t *table;
	size_t table_len;
	struct vm_limits limits;
	struct hosts *hosts;
	struct json_object *env;
	struct forward_list forwards;
	size_t n_forwards;
	struct map_list maps;
	size_t n_maps;
	struct tsi_listener_list listeners;
	size_t n_listeners;
	struct tsi_proxy *proxies;
	size_t n_proxies;
	bool mac_known;
	struct mac mac;
	bool has_lease;
	struct worker_lease lease;
	struct worker_name *names;
	size_t n_names;
	size_t names_at;
	struct proxy_config proxy;
	struct vm_proxy password; /* its, where the VM's own is for it */
};

/* ---- changing places ---- */

#define SWAP(a, b)                                                                                 \
	do {                                                                                       \
		__typeof__(a) swap_copy = (a);                                                     \
		(a) = (b);                                                                         \
		(b) = swap_copy;                                                                   \
	} while (0)

#define SWAP_LISTS(type, a, b)                                                                     \
	do {                                                                                       \
		struct type swap_list = TAILQ_HEAD_INITIALIZER(swap_list);                         \
		TAILQ_CONCAT(&swap_list, (a), next);                                               \
		TAILQ_CONCAT((a), (b), next);                                                      \
		TAILQ_CONCAT((b), &swap_list, next);                                               \
	} while (0)

static void swap_tsi(struct vm *vm, struct plan *plan)
{
	SWAP_LISTS(tsi_listener_list, &vm->tsi.listeners, &plan->listeners);
	SWAP(vm->tsi.n, plan->n_listeners);
	SWAP(vm->tsi.proxies, plan->proxies);
	SWAP(vm->tsi.n_proxies, plan->n_proxies);
}

static void swap(struct vm *vm, struct plan *plan)
{
	SWAP(vm->config.proxy, plan->proxy);
	SWAP(vm->proxy, plan->password);
	SWAP(vm->policy, plan->policy);
	SWAP(vm->table, plan->table);
	SWAP(vm->table_len, plan->table_len);
	SWAP(vm->config.limits, plan->limits);
	SWAP(vm->hosts, plan->hosts);
	SWAP(vm->env.doc, plan->env);
	SWAP_LISTS(forward_list, &vm->forwards, &plan->forwards);
	SWAP(vm->n_forwards, plan->n_forwards);
	SWAP_LISTS(map_list, &vm->maps, &plan->maps);
	SWAP(vm->n_maps, plan->n_maps);
	swap_tsi(vm, plan);
	SWAP(vm->mac_known, plan->mac_known);
	SWAP(vm->mac, plan->mac);
	SWAP(vm->has_lease, plan->has_lease);
	SWAP(vm->lease, plan->lease);
	SWAP(vm->names, plan->names);
	SWAP(vm->n_names, plan->n_names);
	SWAP(vm->names_at, plan->names_at);
}

/* ---- check ---- */

static int check(const struct vm *vm, const struct record *record, struct error *err)
{
	char theirs[PREFIX_STRLEN], ours[PREFIX_STRLEN];
	const struct prefix *subnet = &vm->config.subnet;

	if (subnet->bits != record->subnet.bits || !addr_eq(&subnet->addr, &record->subnet.addr))
		return error_set(err, 409, "net.subnet",
			"VM %s: its subnet is %s, that of snapshot %s is %s", vm->config.name,
			prefix_format(subnet, ours, sizeof(ours)), record->id,
			prefix_format(&record->subnet, theirs, sizeof(theirs)));
	if (vm->config.mac_fixed && record->mac_known && !mac_eq(&vm->config.mac, &record->mac))
		return error_set(err, 409, "net.mac",
			"VM %s: its MAC address is fixed to %s, that of snapshot %s is %s",
			vm->config.name, mac_format(&vm->config.mac, ours, sizeof(ours)),
			record->id, mac_format(&record->mac, theirs, sizeof(theirs)));
	if (vm->config.vsock.kind == VM_VSOCK_NONE &&
		(record->n_listeners || record->n_proxies || record->n_maps))
		return error_set(err, 409, "vsock",
			"VM %s has no vsock, snapshot %s has TSI listeners, proxies or maps",
			vm->config.name, record->id);
	return 0;
}

static bool has_secret(const struct vm *vm, const char *name)
{
	const struct secret *secret;

	TAILQ_FOREACH(secret, &vm->env.secrets, next) {
		if (strcmp(secret->name, name) == 0)
			return true;
	}
	return false;
}

/* Whether the password that the VM has is for the record's proxy. */
static bool keeps_password(const struct vm *vm, const struct record *record)
{
	return vm->proxy.password &&
		(!record->has_proxy ||
			(record->proxy.use == PROXY_USE_URL &&
				proxy_url_equal(&record->proxy.url, &vm->config.proxy.url)));
}

static struct json_object *missing_secrets(const struct vm *vm, const struct record *record)
{
	struct json_object *list = json_object_new_array();

	if (record->proxy_password && !keeps_password(vm, record))
		json_object_array_add(list, json_object_new_string("proxy password"));

	for (size_t i = 0; i < record->n_secrets; i++) {
		if (!has_secret(vm, record->secrets[i]))
			json_object_array_add(list, json_object_new_string(record->secrets[i]));
	}
	return list;
}

/* ---- prepare ---- */

/* The path of a spec that is relative to the VM's directory. */
static int resolve(const struct vm *vm, bool below, char path[VM_PATH_LEN], const char *what,
	struct error *err)
{
	char full[2 * VM_PATH_LEN + VM_NAME_MAX];

	if (!below)
		return 0;
	snprintf(full, sizeof(full), "%s/vms/%s/%s", vm->vms->runtime_dir, vm->config.name, path);
	if (strlen(full) > unix_path_max())
		return error_set(err, 409, what, "VM %s: %s is too long for a unix socket",
			vm->config.name, full);
	memcpy(path, full, strlen(full) + 1);
	return 0;
}

static int prepare_forward(
	struct vm *vm, struct plan *plan, const struct record_forward *from, struct error *err)
{
	struct forward_spec spec = from->spec;
	struct forward *forward, *have;

	if (resolve(vm, from->below, spec.path, "forwards", err) < 0)
		return -1;
	forward = forward_new(&spec);
	if (!forward)
		return error_set(err, 500, NULL, "out of memory");
	have = vm_forward_find(vm, forward->id);
	if (have && have->fd >= 0) {
		forward->fd = have->fd;
		forward->spec.handed = have->spec.handed;
	} else if (forward_bind(forward, vm->config.name, vm->vms->runtime_dir, err) < 0) {
		forward_drop(forward);
		return -1;
	}
	TAILQ_INSERT_TAIL(&plan->forwards, forward, next);
	plan->n_forwards++;
	return 0;
}

static int prepare_map(
	struct vm *vm, struct plan *plan, const struct record_map *from, struct error *err)
{
	struct map *have = vm_map_find(vm, from->spec.port), *map, *after;
	struct map_spec spec = from->spec;

	if (resolve(vm, from->below, spec.path, "maps", err) < 0)
		return -1;
	map = vm_map_prepare(vm, &spec, have && have->listener >= 0 ? have : NULL, err);
	if (!map)
		return -1;
	if (have && have->spec.handed && map_spec_equal(&have->spec, &spec)) {
		map->spec.handed = true;
		map->place = have->place;
	}
	TAILQ_FOREACH(after, &plan->maps, next) {
		if (after->spec.port > spec.port)
			break;
	}
	if (after)
		TAILQ_INSERT_BEFORE(after, map, next);
	else
		TAILQ_INSERT_TAIL(&plan->maps, map, next);
	plan->n_maps++;
	return 0;
}

/* Listeners are bound where the VM keeps them, which is the plan's place meanwhile. */
static int prepare_tsi(
	struct vm *vm, struct plan *plan, const struct record *record, struct error *err)
{
	int status = 0;

	swap_tsi(vm, plan);
	for (size_t i = 0; !status && i < record->n_listeners; i++)
		status = vm_tsi_bind(vm, &record->listeners[i], err);
	if (!status && vm_tsi_proxies(vm, record->proxies, record->n_proxies) < 0)
		status = error_set(err, 500, NULL, "out of memory");
	swap_tsi(vm, plan);
	return status < 0 ? -1 : 0;
}

static int prepare_guest(
	const struct vm *vm, struct plan *plan, const struct record *record, struct error *err)
{
	int64_t now_ms = clock_wall_ms();

	if (!vm->config.mac_fixed) {
		plan->mac_known = record->mac_known;
		plan->mac = record->mac;
	}
	plan->has_lease = record->has_lease;
	plan->lease = record->lease;
	plan->names = calloc(VM_NAMES_KEPT, sizeof(*plan->names));
	if (!plan->names)
		return error_set(err, 500, NULL, "out of memory");
	for (size_t i = 0; i < record->n_names; i++) {
		plan->names[i] = record->names[i];
		plan->names[i].until_ms += now_ms;
	}
	plan->n_names = record->n_names;
	plan->names_at = record->n_names % VM_NAMES_KEPT;
	return 0;
}

static void prepare_proxy(struct vm *vm, struct plan *plan, const struct record *record)
{
	plan->proxy = record->has_proxy ? record->proxy : vm->config.proxy;
	if (keeps_password(vm, record))
		plan->password = vm->proxy;
}

static int prepare(struct vm *vm, struct plan *plan, struct record *record, struct error *err)
{
	int compiled;

	prepare_proxy(vm, plan, record);
	SWAP(vm->config.proxy, plan->proxy); /* its fake addresses count for the policy */
	compiled = vm_compile_policy(
		vm, record->policy, "policy", &plan->table, &plan->table_len, err);
	SWAP(vm->config.proxy, plan->proxy);
	if (compiled < 0 || prepare_guest(vm, plan, record, err) < 0)
		return -1;
	SWAP(plan->policy, record->policy);
	SWAP(plan->hosts, record->hosts);
	plan->limits = record->has_limits ? record->limits : vm->config.limits;
	plan->env = json_object_get(record->env);
	for (size_t i = 0; i < record->n_forwards; i++) {
		if (prepare_forward(vm, plan, &record->forwards[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < record->n_maps; i++) {
		if (prepare_map(vm, plan, &record->maps[i], err) < 0)
			return -1;
	}
	return prepare_tsi(vm, plan, record, err);
}

/* ---- the end of either ---- */

/* Frees the forwards of the plan; sockets that the VM has, too, are the VM's. */
static void drop_forwards(struct vm *vm, struct plan *plan)
{
	struct forward *forward, *have;

	while ((forward = TAILQ_FIRST(&plan->forwards))) {
		TAILQ_REMOVE(&plan->forwards, forward, next);
		have = vm_forward_find(vm, forward->id);
		if (have && have->fd == forward->fd)
			forward->fd = -1;
		forward_free(forward);
	}
}

static void drop_maps(struct vm *vm, struct plan *plan, struct completion *wait)
{
	struct map *map, *have;

	while ((map = TAILQ_FIRST(&plan->maps))) {
		TAILQ_REMOVE(&plan->maps, map, next);
		have = vm_map_find(vm, map->spec.port);
		if (have && have->listener == map->listener)
			map->listener = -1;
		if (have && have->place.directory == map->place.directory)
			map->place.directory = -1;
		vm_vsock_map_close(vm, map, wait);
		vm_map_drop(map);
	}
}

static void drop_plan(struct vm *vm, struct plan *plan, struct completion *wait)
{
	drop_forwards(vm, plan);
	drop_maps(vm, plan, wait);
	swap_tsi(vm, plan);
	vm_tsi_clear(vm);
	swap_tsi(vm, plan);
	if (plan->password.password != vm->proxy.password)
		free(plan->password.password);
	policy_free(plan->policy);
	hosts_free(plan->hosts);
	json_object_put(plan->env);
	free(plan->table);
	free(plan->names);
}

/* ---- store ---- */

/* After the swap: what the VM is goes to the store in place of what it was. */
static int store_parts(struct vm *vm, const struct plan *old, struct error *err)
{
	struct store *store = vm->vms->store;
	const char *name = vm->config.name;
	struct json_object *env = vm_env(vm), *config = vm_config_json(&vm->config);
	const struct forward *forward;
	const struct map *map;
	int status = store_vm_set_policy(store, name, json_text(policy_doc(vm->policy)), err);

	if (!status)
		status = store_vm_set_config(store, name, json_text(config), err);
	json_object_put(config);
	if (!status && !vm->proxy.password)
		status = store_proxy_password_delete(store, name, err);
	if (!status)
		status = store_vm_set_hosts(store, name, json_text(vm->hosts->doc), err);
	if (!status)
		status = store_env_set(store, name, json_text(env), err);
	json_object_put(env);
	if (!status)
		status = vm_guest_store(vm, err);
	TAILQ_FOREACH(forward, &old->forwards, next) {
		if (!status)
			status = store_forward_delete(store, name, forward->id, err);
	}
	TAILQ_FOREACH(forward, &vm->forwards, next) {
		if (!status)
			status = vm_forward_store(vm, forward, err);
	}
	TAILQ_FOREACH(map, &old->maps, next) {
		if (!status)
			status = store_map_delete(store, name, map->spec.port, err);
	}
	TAILQ_FOREACH(map, &vm->maps, next) {
		if (!status)
			status = vm_map_store(vm, map, err);
		if (!status && place_known(&map->place))
			status = vm_place_store(vm, map->spec.port, &map->place, err);
	}
	return status;
}

static int store_all(struct vm *vm, const struct plan *old, struct error *err)
{
	struct error ignored;
	int status;

	if (vm->ephemeral)
		return 0;
	if (store_begin(vm->vms->store, err) < 0)
		return -1;
	status = store_parts(vm, old, err);
	if (store_end(vm->vms->store, status == 0, status ? &ignored : err) < 0)
		status = -1;
	return status;
}

/* ---- push ---- */

static void push(struct vm *vm, struct plan *old, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	struct forward *forward;
	struct map *map;

	TAILQ_FOREACH(forward, &old->forwards, next) {
		if (client && forward->fd >= 0)
			worker_client_forward_delete(client, forward->id, NULL, NULL);
	}
	vm_worker_want(vm);
	vm_reset_worker(vm, wait);
	vm_worker_policy(vm, false, wait);
	vm_worker_proxy(vm, wait);
	vm_worker_hosts(vm, wait);
	if (!limits_config_equal(&vm->config.limits, &old->limits))
		vm_worker_limits(vm, wait);
	TAILQ_FOREACH(forward, &vm->forwards, next)
		vm_forward_push(vm, forward, wait);
	TAILQ_FOREACH(map, &vm->maps, next)
		vm_vsock_map_push(vm, map, wait);
	vm_tsi_push(vm, wait);
}

int snapshot_restore(struct vm *vm, struct record *record, bool require_secrets,
	struct json_object **missing, struct completion *wait, struct error *err)
{
	struct plan plan = {0};
	struct json_object *data, *lacking;

	TAILQ_INIT(&plan.forwards);
	TAILQ_INIT(&plan.maps);
	TAILQ_INIT(&plan.listeners);
	if (vm_can_reset(vm, err) < 0 || check(vm, record, err) < 0)
		return -1;
	lacking = missing_secrets(vm, record);
	if (require_secrets && json_object_array_length(lacking)) {
		error_set(err, 409, "secrets", "VM %s lacks secrets of snapshot %s: %.300s",
			vm->config.name, record->id, json_text(lacking));
		json_object_put(lacking);
		return -1;
	}
	if (prepare(vm, &plan, record, err) < 0) {
		drop_plan(vm, &plan, NULL);
		json_object_put(lacking);
		return -1;
	}
	vm_last_events(vm);
	swap(vm, &plan);
	if (store_all(vm, &plan, err) < 0) {
		swap(vm, &plan);
		drop_plan(vm, &plan, NULL);
		json_object_put(lacking);
		return -1;
	}
	vm->guest_dirty = vm->lease_new = false;
	data = json_object_new_object();
	json_put_string(data, "snapshot", record->id);
	vm_event(vm, "vm.restored", data);
	push(vm, &plan, wait);
	drop_plan(vm, &plan, wait);
	*missing = lacking;
	return 0;
}
