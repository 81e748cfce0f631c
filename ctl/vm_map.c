/* SPDX-License-Identifier: MIT */
/*
 * A VM's maps, and the connections that its worker asks for. See vm.h and map.h.
 *
 * The guest connects to a vsock port, the worker asks for a socket to what is there (VsockDial), and
 * gets it connected: a map's service; else, by Firecracker's convention, whoever listens at
 * vsock.sock_PORT beside the host socket; or the VMM's own socket, for a hybrid vsock. Nothing blocks:
 * dials are under way by the loop (dial.h), at most WORKER_DIALS_MAX of a worker.
 */
#include "ctl/vm.h"

#include "common/log.h"
#include "common/unix_socket.h"
#include "ctl/dial.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vm_dial {
	TAILQ_ENTRY(vm_dial) next;
	struct vm *vm;
	uint64_t question;
	bool tcp;
	struct dial *dial;
};

struct map *vm_map_find(struct vm *vm, uint32_t port)
{
	struct map *map;

	TAILQ_FOREACH(map, &vm->maps, next) {
		if (map->spec.port == port)
			return map;
	}
	return NULL;
}

/* ---- the set ---- */

void vm_map_insert(struct vm *vm, struct map *map)
{
	struct map *after;

	TAILQ_FOREACH(after, &vm->maps, next) {
		if (after->spec.port > map->spec.port)
			break;
	}
	if (after)
		TAILQ_INSERT_BEFORE(after, map, next);
	else
		TAILQ_INSERT_TAIL(&vm->maps, map, next);
	vm->n_maps++;
}

static struct map *map_new(const struct map_spec *spec)
{
	struct map *map = calloc(1, sizeof(*map));

	if (!map)
		return NULL;
	map->spec = *spec;
	map->listener = -1;
	place_init(&map->place);
	return map;
}

void vm_map_drop(struct map *map)
{
	place_drop(&map->place);
	if (map->listener >= 0)
		close(map->listener);
	free(map);
}

static void remove_map(struct vm *vm, struct map *map)
{
	TAILQ_REMOVE(&vm->maps, map, next);
	vm->n_maps--;
	vm_map_drop(map);
}

void vm_maps_free(struct vm *vm)
{
	struct map *map;

	while ((map = TAILQ_FIRST(&vm->maps)))
		remove_map(vm, map);
}

int vm_map_store(struct vm *vm, const struct map *map, struct error *err)
{
	struct json_object *doc;
	int status;

	if (vm->ephemeral)
		return 0;
	doc = map_spec_json(&map->spec);
	status = store_map_insert(
		vm->vms->store, vm->config.name, map->spec.port, json_text(doc), err);
	json_object_put(doc);
	return status;
}

/* The one that is there already: the same, whose directory may be handed over again, or in the way. */
static int existing(struct vm *vm, struct map *have, const struct map_spec *spec,
	struct place *handed, struct error *err)
{
	if (!map_spec_equal(&have->spec, spec))
		return error_set(err, 409, "port", "map %s/%u exists with other settings",
			vm->config.name, spec->port);
	if (handed && vm_place_store(vm, spec->port, handed, err) < 0)
		return -1;
	if (handed) {
		place_drop(&have->place);
		have->place = *handed;
	}
	return 0;
}

static int check_path(struct vm *vm, const struct map_spec *spec, struct error *err)
{
	if (spec->tcp || spec->handed ||
		vm_path_below(spec->path, vm->vms->runtime_dir, vm->config.name))
		return 0;
	return error_set(err, 400, "to.unix",
		"map %s/%u: path %s is not below %s/vms/%s/ (others are handed over by attach.sock)",
		vm->config.name, spec->port, spec->path, vm->vms->runtime_dir, vm->config.name);
}

struct map *vm_map_prepare(
	struct vm *vm, const struct map_spec *spec, const struct map *like, struct error *err)
{
	struct map *map = NULL;

	if (vm->config.vsock.kind == VM_VSOCK_NONE)
		error_set(err, 409, "vm", "VM %s has no vsock", vm->config.name);
	else if (check_path(vm, spec, err) == 0 && !(map = map_new(spec)))
		error_set(err, 500, NULL, "out of memory");
	if (map && like)
		map->listener = like->listener;
	if (!map || vm_vsock_map_open(vm, map, err) == 0)
		return map;
	vm_map_drop(map);
	return NULL;
}

void vm_map_begin(struct vm *vm, struct map *map, struct completion *wait)
{
	vm_map_insert(vm, map);
	vm_event(vm, "map.added", map_json(map));
	vm_vsock_map_push(vm, map, wait);
}

int vm_map_add(struct vm *vm, const struct map_spec *spec, struct place *handed, struct map **made,
	bool *is_new, struct completion *wait, struct error *err)
{
	struct error ignored;
	struct map *map;

	*is_new = false;
	*made = vm_map_find(vm, spec->port);
	if (*made)
		return existing(vm, *made, spec, handed, err);
	if (vm->n_maps >= MAPS_MAX)
		return error_set(
			err, 409, "port", "VM %s has %d maps already", vm->config.name, MAPS_MAX);
	map = vm_map_prepare(vm, spec, NULL, err);
	if (!map)
		return -1;
	if (vm_map_store(vm, map, err) < 0 ||
		(handed && vm_place_store(vm, spec->port, handed, err) < 0)) {
		store_map_delete(vm->vms->store, vm->config.name, spec->port, &ignored);
		vm_vsock_map_close(vm, map, NULL);
		vm_map_drop(map);
		return -1;
	}
	if (handed)
		map->place = *handed;
	vm_map_begin(vm, map, wait);
	*made = map;
	*is_new = true;
	return 0;
}

void vm_map_end(struct vm *vm, struct map *map, struct completion *wait)
{
	struct json_object *data = json_object_new_object();

	json_put_int(data, "port", map->spec.port);
	vm_event(vm, "map.deleted", data);
	vm_vsock_map_close(vm, map, wait);
	remove_map(vm, map);
}

void vm_map_replace(struct vm *vm, struct map *old, struct map *map, struct completion *wait)
{
	bool shared = old->listener >= 0 && old->listener == map->listener;

	if (shared) /* which the worker has already, and knows no more of the map */
		old->listener = -1;
	vm_map_end(vm, old, wait);
	vm_map_insert(vm, map);
	vm_event(vm, "map.added", map_json(map));
	if (!shared)
		vm_vsock_map_push(vm, map, wait);
}

int vm_map_delete(struct vm *vm, struct map *map, struct completion *wait, struct error *err)
{
	if (!vm->ephemeral &&
		store_map_delete(vm->vms->store, vm->config.name, map->spec.port, err) < 0)
		return -1;
	vm_map_end(vm, map, wait);
	return 0;
}

static void restore(void *arg, const char *text)
{
	struct vm *vm = arg;
	struct json_object *doc = json_tokener_parse(text);
	struct map *map = NULL;
	struct map_spec spec;
	struct error err = {.text = "no JSON"};

	if (doc && map_spec_read(doc, "", true, &spec, &err) == 0)
		map = map_new(&spec);
	if (map)
		vm_map_insert(vm, map);
	else
		log_error(vm->config.name, "map.unreadable", "reason=\"%s\"", err.text);
	json_object_put(doc);
}

/* ---- the places of handed paths ---- */

int vm_place_store(struct vm *vm, uint32_t port, const struct place *place, struct error *err)
{
	struct json_object *doc;
	int status;

	if (vm->ephemeral || !place->path[0])
		return 0;
	doc = place_json(place);
	status = store_place_set(vm->vms->store, vm->config.name, port, json_text(doc), err);
	json_object_put(doc);
	return status;
}

static void restore_place(void *arg, uint32_t port, const char *text)
{
	struct vm *vm = arg;
	struct map *map = vm_map_find(vm, port);
	struct place *place = port ? map ? &map->place : NULL : &vm->vsock.place;
	struct json_object *doc = json_tokener_parse(text);

	if (place && place_read(doc, place) < 0)
		log_error(vm->config.name, "place.unreadable", "port=%u", port);
	json_object_put(doc);
}

int vm_maps_restore(struct vm *vm, struct error *err)
{
	if (store_maps(vm->vms->store, vm->config.name, restore, vm, err) < 0)
		return -1;
	return store_places(vm->vms->store, vm->config.name, restore_place, vm, err);
}

/* ---- dials ---- */

static void on_dialed(void *arg, int fd)
{
	struct vm_dial *dial = arg;
	struct vm *vm = dial->vm;
	struct worker_client *client = supervised_client(vm->slot);

	if (client) /* else this program is ending */
		worker_client_dialed(client, dial->question, fd, dial->tcp);
	if (fd >= 0)
		close(fd);
	TAILQ_REMOVE(&vm->dials, dial, next);
	free(dial);
}

void vm_dials_cancel(struct vm *vm)
{
	struct vm_dial *dial;

	while ((dial = TAILQ_FIRST(&vm->dials))) {
		TAILQ_REMOVE(&vm->dials, dial, next);
		dial_free(dial->dial);
		free(dial);
	}
}

/* The VMM's own socket. */
static int to_vmm(const struct vm *vm, struct dial_to *to)
{
	const struct vsock_config *config = &vm->config.vsock;

	if (config->kind != VM_VSOCK_HYBRID)
		return -EINVAL;
	to->path = config->path;
	if (!config->handed)
		return 0;
	if (!place_known(&vm->vsock.place))
		return -ENOTCONN;
	to->place = &vm->vsock.place;
	to->path = strrchr(config->path, '/') + 1;
	return 0;
}

static int to_map(const struct map *map, struct dial_to *to)
{
	to->tcp = map->spec.tcp;
	to->at = map->spec.to;
	to->path = map->spec.path;
	if (!map->spec.handed)
		return 0;
	if (!place_known(&map->place))
		return -ENOENT;
	to->place = &map->place;
	to->path = strrchr(map->spec.path, '/') + 1;
	return 0;
}

/* Whoever listens beside the host socket. `path` holds what `to` names. */
static int to_neighbour(
	const struct vm *vm, uint32_t port, struct dial_to *to, char *path, size_t len)
{
	char socket[VM_PATH_LEN + VM_NAME_MAX];

	if (!*vm_vsock_socket(vm, socket, sizeof(socket)))
		return -ENOENT;
	snprintf(path, len, "%s_%u", socket, port);
	to->path = path;
	return strlen(path) <= unix_path_max() ? 0 : -ENOENT;
}

/* 0 or a negative errno for the worker. */
static int begin(struct vm *vm, uint64_t question, bool vmm, uint32_t port)
{
	struct map *map = vmm ? NULL : vm_map_find(vm, port);
	char path[VM_PATH_LEN + VM_NAME_MAX + VSOCK_PORT_LEN];
	struct dial_to to = {0};
	struct vm_dial *dial;
	int err = vmm ? to_vmm(vm, &to)
		: map ? to_map(map, &to)
		      : to_neighbour(vm, port, &to, path, sizeof(path));

	if (err < 0)
		return err;
	dial = calloc(1, sizeof(*dial));
	if (!dial)
		return -ENOMEM;
	dial->vm = vm;
	dial->question = question;
	dial->tcp = to.tcp;
	dial->dial = dial_new(vm->vms->base, &to, on_dialed, dial);
	if (!dial->dial) {
		free(dial);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&vm->dials, dial, next);
	return 0;
}

void vm_vsock_dial(void *arg, uint64_t question, bool vmm, uint32_t port)
{
	struct vm *vm = arg;
	int err = begin(vm, question, vmm, port);

	if (err < 0)
		worker_client_dialed(supervised_client(vm->slot), question, err, false);
}
