/* SPDX-License-Identifier: MIT */
/* The sockets of a VM's vsock. See vm_vsock.h. */
#include "ctl/vm_vsock.h"

#include "common/log.h"
#include "common/os.h"
#include "common/unix_socket.h"
#include "ctl/json_read.h"
#include "ctl/listener.h"
#include "ctl/vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_PATH_LEN 160

static bool is_hybrid(const struct vm *vm)
{
	return vm->config.vsock.kind == VM_VSOCK_HYBRID;
}

static bool has_listener(const struct vm *vm)
{
	return vm->config.vsock.kind == VM_VSOCK_VHOST || vm->config.vsock.kind == VM_VSOCK_STREAM;
}

char *vm_vsock_socket(const struct vm *vm, char *buf, size_t len)
{
	snprintf(buf, len, "%s/vms/%s/vsock.sock", vm->vms->runtime_dir, vm->config.name);
	if (!has_listener(vm))
		buf[0] = '\0';
	return buf;
}

static char *port_path(const struct vm *vm, uint32_t port, char *buf, size_t len)
{
	snprintf(buf, len, "%s_%u", vm->config.vsock.path, port);
	return buf;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

void vm_vsock_init(struct vm *vm)
{
	vm->vsock.vmm = vm->vsock.host = vm->vsock.env = -1;
	place_init(&vm->vsock.place);
}

/* ---- open, close ---- */

/* fd, or -1 with `error` (of VSOCK_ERROR_LEN) and err set. */
static int bind_at(struct vm *vm, const char *path, char *error, struct error *err)
{
	int fd = unix_listen(path, SOCK_STREAM, 0660), status;

	if (fd < 0) {
		status = fd == -EADDRINUSE || fd == -EEXIST ? 409 : fd == -EACCES ? 403 : 500;
		snprintf(error, VSOCK_ERROR_LEN, "vsock %s: %s", path,
			fd == -EEXIST ? "a file is in the way" : errno_text(fd));
		return error_set(err, status, "vsock.path", "VM %s: %s", vm->config.name, error);
	}
	if (vm->vms->group != (gid_t)-1 && chown(path, (uid_t)-1, vm->vms->group) < 0)
		log_debug(vm->config.name, "chown.failed", "path=%s", path);
	error[0] = '\0';
	return fd;
}

static int open_one(struct vm *vm, int *fd, const char *path, struct error *err)
{
	if (*fd < 0)
		*fd = bind_at(vm, path, vm->vsock.error, err);
	return *fd < 0 ? -1 : 0;
}

int vm_vsock_open(struct vm *vm, struct error *err)
{
	const struct vsock_config *config = &vm->config.vsock;
	char path[SOCKET_PATH_LEN];

	if (is_hybrid(vm))
		return config->handed
			? 0
			: open_one(vm, &vm->vsock.env,
				  port_path(vm, VSOCK_PORT_ENV, path, sizeof(path)), err);
	if (!has_listener(vm))
		return 0;
	if (!config->handed && open_one(vm, &vm->vsock.vmm, config->path, err) < 0)
		return -1;
	return open_one(vm, &vm->vsock.host, vm_vsock_socket(vm, path, sizeof(path)), err);
}

static void close_one(int *fd, const char *path, bool remove)
{
	if (*fd >= 0 && remove)
		unlink(path);
	close_fd(fd);
}

void vm_vsock_close(struct vm *vm, bool remove)
{
	bool ours = remove && !vm->config.vsock.handed;
	char path[SOCKET_PATH_LEN];
	struct map *map;

	close_one(&vm->vsock.vmm, vm->config.vsock.path, ours);
	close_one(&vm->vsock.env, port_path(vm, VSOCK_PORT_ENV, path, sizeof(path)), ours);
	TAILQ_FOREACH(map, &vm->maps, next)
		close_one(&map->listener, port_path(vm, map->spec.port, path, sizeof(path)), ours);
	close_one(&vm->vsock.host, vm_vsock_socket(vm, path, sizeof(path)), remove);
	place_drop(&vm->vsock.place);
}

/* What was handed over and is gone with an earlier netctld, or ""? */
static const char *lost(const struct vm *vm)
{
	const struct vm_vsock *vsock = &vm->vsock;

	if (!vm->config.vsock.handed)
		return "";
	if (is_hybrid(vm) && (!place_known(&vsock->place) || vsock->env < 0))
		return "its sockets were handed over and are gone";
	return has_listener(vm) && vsock->vmm < 0 ? "its socket was handed over and is gone" : "";
}

/* ---- to the worker ---- */

struct push {
	struct vms *vms;
	struct completion *wait;
	char vm[VM_NAME_MAX + 1];
};

static void on_pushed(void *arg, int code, const char *text)
{
	struct push *push = arg;
	struct vm *vm = vms_find(push->vms, push->vm);

	if (vm && code && code != -ECONNRESET && code != -ECANCELED) {
		snprintf(vm->vsock.error, sizeof(vm->vsock.error), "worker: %s", text);
		vm_event(vm, "vsock.failed", vm_event_reason(text));
	}
	completion_done(push->wait, code, text);
	free(push);
}

static struct push *push_new(struct vm *vm, struct completion *wait)
{
	struct push *push = calloc(1, sizeof(*push));

	if (!push)
		abort(); /* a completion is owed */
	push->vms = vm->vms;
	push->wait = completion_more(wait);
	memcpy(push->vm, vm->config.name, sizeof(push->vm));
	return push;
}

static void push_listener(
	struct vm *vm, enum worker_vsock_use use, uint32_t port, int fd, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);

	if (client && fd >= 0)
		worker_client_vsock_listen(client, use, port, fd, on_pushed, push_new(vm, wait));
}

void vm_vsock_push(struct vm *vm, struct completion *wait)
{
	const struct vsock_config *config = &vm->config.vsock;
	struct worker_client *client = vm_worker(vm);
	struct map *map;

	if (!client || config->kind == VM_VSOCK_NONE || (has_listener(vm) && vm->vsock.vmm < 0))
		return;
	worker_client_vsock_set(client, (enum worker_vsock_kind)config->kind, vm->vsock.vmm,
		config->cid, on_pushed, push_new(vm, wait));
	push_listener(vm, WORKER_VSOCK_HOST, 0, vm->vsock.host, wait);
	push_listener(vm, WORKER_VSOCK_PORT, VSOCK_PORT_ENV, vm->vsock.env, wait);
	TAILQ_FOREACH(map, &vm->maps, next)
		vm_vsock_map_push(vm, map, wait);
}

/* ---- what is missing ---- */

static void settle_maps(struct vm *vm, bool first)
{
	struct error err;
	struct map *map;

	TAILQ_FOREACH(map, &vm->maps, next) {
		if (map->listener < 0 && (first || map->error[0]) &&
			vm_vsock_map_open(vm, map, &err) == 0)
			vm_vsock_map_push(vm, map, NULL);
	}
}

void vm_vsock_settle(struct vm *vm, bool first)
{
	struct vm_vsock *vsock = &vm->vsock;
	bool vmm = vsock->vmm >= 0, host = vsock->host >= 0, env = vsock->env >= 0;
	struct error err;

	settle_maps(vm, first);
	if (!first && !vsock->error[0])
		return;
	if (vm_vsock_open(vm, &err) < 0) {
		if (first)
			vm_event(vm, "vsock.down", vm_event_reason(err.text));
		return;
	}
	if (first)
		snprintf(vsock->error, sizeof(vsock->error), "%s", lost(vm));
	vm_worker_want(vm);
	if (!vmm && vsock->vmm >= 0) {
		vm_vsock_push(vm, NULL);
		return;
	}
	if (!host)
		push_listener(vm, WORKER_VSOCK_HOST, 0, vsock->host, NULL);
	if (!env)
		push_listener(vm, WORKER_VSOCK_PORT, VSOCK_PORT_ENV, vsock->env, NULL);
}

/* ---- what the worker tells ---- */

void vm_vsock_changed(struct vm *vm, const struct worker_vsock_event *event)
{
	if (event->refused) {
		vm_tell_refusals(vm);
		vm_event_numbered(vm, "vsock.refused",
			vm_event_reason(
				event->text[0] ? event->text : "a VMM is connected already"),
			vm->told.last);
		return;
	}
	vm_tell_vsock(vm, event->up, event->text);
	if (event->up == vm->vsock.up)
		return;
	vm->vsock.up = event->up;
	vm_ttl_start(vm);
}

void vm_vsock_orphaned(struct vm *vm)
{
	vm->vsock.up = false;
	vm_tell_vsock(vm, false, "worker died");
	vm_ttl_start(vm);
}

/* ---- handed over ---- */

/* What was gone may be here again. */
static void mend(struct vm *vm)
{
	if (vm->vsock.error[0])
		snprintf(vm->vsock.error, sizeof(vm->vsock.error), "%s", lost(vm));
}

static int check_handed(struct vm *vm, enum vm_vsock_kind kind, const char *path,
	const char *wanted, struct error *err)
{
	const struct vsock_config *config = &vm->config.vsock;

	if (!config->handed || config->kind != kind)
		return error_set(err, 409, "vm",
			"VM %s: its vsock is of kind %s%s, not %s handed over", vm->config.name,
			vm_vsock_name(config->kind), config->handed ? " handed over" : "",
			vm_vsock_name(kind));
	if (strcmp(path, wanted) != 0)
		return error_set(
			err, 409, "path", "VM %s: its vsock is at %s", vm->config.name, wanted);
	return 0;
}

static int check_listener(struct vm *vm, int fd, struct error *err)
{
	struct endpoint none;
	char what[64];

	if (listener_check(LISTENER_UNIX, fd, &none) == 0)
		return 0;
	return error_set(err, 400, "fd", "VM %s: the fd is %s, not a listening unix stream socket",
		vm->config.name, listener_describe(fd, what, sizeof(what)));
}

int vm_vsock_listen(struct vm *vm, enum vm_vsock_kind kind, const char *path, int fd,
	struct completion *wait, struct error *err)
{
	if (check_handed(vm, kind, path, vm->config.vsock.path, err) < 0)
		return -1;
	if (vm->vsock.up)
		return error_set(err, 409, "vm", "VM %s: vsock in use", vm->config.name);
	if (check_listener(vm, fd, err) < 0)
		return -1;
	close_fd(&vm->vsock.vmm);
	vm->vsock.vmm = fd;
	mend(vm);
	vm_worker_want(vm);
	vm_vsock_push(vm, wait);
	return 0;
}

int vm_vsock_place(struct vm *vm, const char *path, int fd, int client, struct error *err)
{
	struct place place;
	int status;

	if (check_handed(vm, VM_VSOCK_HYBRID, path, vm->config.vsock.path, err) < 0)
		return -1;
	status = place_take(&place, fd, client);
	if (status < 0)
		return error_set(err, status == -EACCES ? 403 : 400, "fd", "VM %s: %s",
			vm->config.name,
			status == -ENOTDIR ? "the fd is no directory" : errno_text(status));
	if (vm_place_store(vm, 0, &place, err) < 0)
		return -1;
	place_drop(&vm->vsock.place);
	vm->vsock.place = place;
	mend(vm);
	return 0;
}

int vm_vsock_listen_port(struct vm *vm, uint32_t port, const char *path, int fd,
	struct completion *wait, struct error *err)
{
	struct map *map = vm_map_find(vm, port);
	int *at = port == VSOCK_PORT_ENV ? &vm->vsock.env : map ? &map->listener : NULL;
	char wanted[SOCKET_PATH_LEN];

	if (check_handed(vm, VM_VSOCK_HYBRID, path, port_path(vm, port, wanted, sizeof(wanted)),
		    err) < 0)
		return -1;
	if (!at)
		return error_set(err, 404, "port", "map %s/%u is unknown", vm->config.name, port);
	if (check_listener(vm, fd, err) < 0)
		return -1;
	close_fd(at);
	*at = fd;
	mend(vm);
	if (map)
		map->error[0] = '\0';
	if (vm_worker(vm))
		push_listener(vm, WORKER_VSOCK_PORT, port, fd, wait);
	else
		vm_worker_want(vm);
	return 0;
}

/* ---- hybrid: the maps' ports ---- */

int vm_vsock_map_open(struct vm *vm, struct map *map, struct error *err)
{
	char path[SOCKET_PATH_LEN];

	if (!is_hybrid(vm) || map->listener >= 0)
		return 0;
	port_path(vm, map->spec.port, path, sizeof(path));
	if (vm->config.vsock.handed) {
		snprintf(map->error, sizeof(map->error), "nobody has handed over %s", path);
		return 0;
	}
	map->listener = bind_at(vm, path, map->error, err);
	return map->listener < 0 ? -1 : 0;
}

void vm_vsock_map_push(struct vm *vm, const struct map *map, struct completion *wait)
{
	push_listener(vm, WORKER_VSOCK_PORT, map->spec.port, map->listener, wait);
}

void vm_vsock_map_close(struct vm *vm, struct map *map, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	char path[SOCKET_PATH_LEN];

	if (map->listener < 0)
		return;
	if (client)
		worker_client_vsock_unlisten(client, WORKER_VSOCK_PORT, map->spec.port,
			completion_done, completion_more(wait));
	close_one(&map->listener, port_path(vm, map->spec.port, path, sizeof(path)),
		!vm->config.vsock.handed);
}

/* ---- adoption ---- */

/* Whether fd is a listening unix stream socket, at this path unless it was handed. */
static bool listens_at(int fd, const char *path, bool handed)
{
	struct sockaddr_un at = {.sun_family = AF_UNSPEC};
	socklen_t len = sizeof(at);
	struct endpoint none;

	return fd >= 0 && listener_check(LISTENER_UNIX, fd, &none) == 0 &&
		getsockname(fd, (struct sockaddr *)&at, &len) == 0 &&
		(handed || strncmp(at.sun_path, path, sizeof(at.sun_path)) == 0);
}

/* The one that we should have for this listener of theirs, and its path; NULL: there is none. */
static int *ours_for(
	struct vm *vm, const struct worker_vsock_listener *theirs, char *path, size_t len)
{
	struct map *map;

	if (theirs->use == WORKER_VSOCK_HOST)
		return *vm_vsock_socket(vm, path, len) ? &vm->vsock.host : NULL;
	if (!is_hybrid(vm))
		return NULL;
	port_path(vm, theirs->port, path, len);
	if (theirs->port == VSOCK_PORT_ENV)
		return &vm->vsock.env;
	map = vm_map_find(vm, theirs->port);
	return map ? &map->listener : NULL;
}

static void adopt_listener(struct vm *vm, struct worker_vsock_listener *theirs)
{
	struct worker_client *client = supervised_client(vm->slot);
	bool handed = vm->config.vsock.handed && theirs->use == WORKER_VSOCK_PORT;
	char path[SOCKET_PATH_LEN];
	int *ours = ours_for(vm, theirs, path, sizeof(path));
	struct map *map = vm_map_find(vm, theirs->port);

	if (!ours) {
		worker_client_vsock_unlisten(client, theirs->use, theirs->port, NULL, NULL);
		return;
	}
	if (*ours >= 0 || !listens_at(theirs->fd, path, handed))
		return;
	*ours = take(&theirs->fd);
	vm->vsock.host_in_worker |= ours == &vm->vsock.host;
	vm->vsock.env_in_worker |= ours == &vm->vsock.env;
	if (map && ours == &map->listener)
		map->in_worker = true;
}

void vm_vsock_adopt(struct vm *vm, struct worker_vsock *theirs)
{
	const struct vsock_config *config = &vm->config.vsock;
	struct worker_client *client = supervised_client(vm->slot);
	struct vm_vsock *vsock = &vm->vsock;
	struct map *map;

	vsock->set_in_worker = vsock->host_in_worker = vsock->env_in_worker = false;
	TAILQ_FOREACH(map, &vm->maps, next)
		map->in_worker = false;
	if (config->kind == VM_VSOCK_NONE) {
		if (theirs->kind != WORKER_VSOCK_NONE)
			worker_client_vsock_set(client, WORKER_VSOCK_NONE, -1, 0, NULL, NULL);
		return;
	}
	if (theirs->kind != (enum worker_vsock_kind)config->kind || theirs->cid != config->cid)
		return;
	if (has_listener(vm) && vsock->vmm < 0 &&
		listens_at(theirs->vmm, config->path, config->handed))
		vsock->vmm = take(&theirs->vmm);
	for (size_t i = 0; i < theirs->n; i++)
		adopt_listener(vm, &theirs->listeners[i]);
	vsock->set_in_worker = is_hybrid(vm) || vsock->vmm >= 0;
	if (theirs->up && !is_hybrid(vm)) /* that one only means that it is set */
		vm_vsock_changed(vm,
			&(struct worker_vsock_event){.up = true, .text = "while netctld was away"});
}

void vm_vsock_adopted(struct vm *vm)
{
	struct vm_vsock *vsock = &vm->vsock;
	struct error err;
	struct map *map;

	if (!vm->vsock.up && !is_hybrid(vm))
		vm_tell_vsock(vm, false, "while netctld was away");
	if (vm->config.vsock.kind == VM_VSOCK_NONE)
		return;
	if (vm_vsock_open(vm, &err) < 0)
		vm_event(vm, "vsock.down", vm_event_reason(err.text));
	else
		snprintf(vsock->error, sizeof(vsock->error), "%s", lost(vm));
	TAILQ_FOREACH(map, &vm->maps, next)
		vm_vsock_map_open(vm, map, &err);
	if (!vsock->set_in_worker) {
		vm_vsock_push(vm, NULL);
		return;
	}
	if (!vsock->host_in_worker)
		push_listener(vm, WORKER_VSOCK_HOST, 0, vsock->host, NULL);
	if (!vsock->env_in_worker)
		push_listener(vm, WORKER_VSOCK_PORT, VSOCK_PORT_ENV, vsock->env, NULL);
	TAILQ_FOREACH(map, &vm->maps, next) {
		if (!map->in_worker)
			vm_vsock_map_push(vm, map, NULL);
	}
}

/* ---- its document ---- */

struct json_object *vm_vsock_json(const struct vm *vm)
{
	const struct vsock_config *config = &vm->config.vsock;
	struct json_object *doc = json_object_new_object();
	char path[SOCKET_PATH_LEN];

	json_put_string(doc, "kind", vm_vsock_name(config->kind));
	json_put_string(doc, "path", config->path[0] ? config->path : NULL);
	json_put_bool(doc, "handed", config->handed);
	json_object_object_add(doc, "cid", config->cid ? json_object_new_int64(config->cid) : NULL);
	vm_vsock_socket(vm, path, sizeof(path));
	json_put_string(doc, "socket", path[0] ? path : NULL);
	json_object_object_add(
		doc, "connected", is_hybrid(vm) ? NULL : json_object_new_boolean(vm->vsock.up));
	if (vm->vsock.error[0])
		json_put_string(doc, "error", vm->vsock.error);
	return doc;
}
