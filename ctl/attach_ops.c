/* SPDX-License-Identifier: MIT */
/* What the lines of attach.sock ask for. See attach.h. */
#include "ctl/attach.h"

#include "ctl/json_read.h"
#include "ctl/tap_check.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct vm *attach_vm(struct attach_request *r, struct error *err)
{
	const char *name = NULL;
	struct vm *vm;
	int got = json_get_string(r->line, "", "vm", &name, err);

	if (got <= 0) {
		if (!got)
			json_missing("", "vm", err);
		return NULL;
	}
	vm = vms_find(&r->daemon->vms, name);
	if (!vm)
		error_set(err, 404, "vm", "VM %.64s is unknown", name);
	return vm;
}

/* The VM of "create", made ephemeral. */
static struct vm *create(
	struct attach_request *r, struct json_object *doc, enum vm_link link, struct error *err)
{
	struct vms *vms = &r->daemon->vms;
	struct vm_request wanted;
	char field[FIELD_LEN];
	struct vm *vm = NULL;

	if (vm_request_read(vms, doc, link, &wanted, err) == 0) {
		if (vms_find(vms, wanted.config.name))
			error_set(err, 409, "name", "VM %s exists", wanted.config.name);
		else
			vm = vm_create(vms, &wanted, true, err);
		vm_request_free(&wanted);
	}
	if (vm) {
		vm->owner = r->owner;
		r->created = true;
	} else if (err->field[0]) {
		memcpy(field, err->field, sizeof(field));
		json_path(err->field, sizeof(err->field), "create", field);
	}
	return vm;
}

int attach_needs_fd(const struct attach_request *r, const char *what, struct error *err)
{
	if (r->fd >= 0)
		return 0;
	return error_set(
		err, 400, "fd", "no file descriptor came with the line, %s is wanted", what);
}

void attach_answer_vm(struct attach_request *r, struct vm *vm)
{
	memcpy(r->vm, vm->config.name, sizeof(r->vm));
	r->answer = json_object_new_object();
	vm_worker_await(vm, r->wait);
}

/* ---- op link ---- */

/* Whether fd is a connected unix socket of this type. */
static bool is_connected(int fd, int type)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);
	int got = 0;
	socklen_t got_len = sizeof(got);

	return getpeername(fd, (struct sockaddr *)&ss, &len) == 0 && ss.ss_family == AF_UNIX &&
		getsockopt(fd, SOL_SOCKET, SO_TYPE, &got, &got_len) == 0 && got == type;
}

static int check_nic(const struct attach_request *r, enum worker_link_kind kind, struct error *err)
{
	static const char *const wanted[] = {NULL, "a connected unix stream socket",
		"a connected unix datagram socket", "a tap device"};
	char what[64];
	bool good;

	if (attach_needs_fd(r, wanted[kind], err) < 0)
		return -1;
	good = kind == WORKER_LINK_TAP       ? tap_check(r->fd)
		: kind == WORKER_LINK_STREAM ? is_connected(r->fd, SOCK_STREAM)
					     : is_connected(r->fd, SOCK_DGRAM);
	if (good)
		return 0;
	return error_set(err, 400, "fd", "the fd is %s, %s is wanted",
		listener_describe(r->fd, what, sizeof(what)), wanted[kind]);
}

static int read_nic_kind(struct attach_request *r, enum worker_link_kind *kind, struct error *err)
{
	const char *text = NULL;
	int got = json_get_string(r->line, "", "kind", &text, err);

	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "kind", err);
	if (strcmp(text, "tap") == 0)
		*kind = WORKER_LINK_TAP;
	else if (strcmp(text, "dgram") == 0)
		*kind = WORKER_LINK_DGRAM;
	else if (strcmp(text, "stream") == 0)
		*kind = WORKER_LINK_STREAM;
	else
		return error_set(err, 400, "kind", "\"%.32s\" is not tap, dgram or stream", text);
	return 0;
}

static int op_link(struct attach_request *r, struct error *err)
{
	static const char *const fields[] = {"op", "vm", "kind", "create", NULL};
	struct json_object *doc = NULL;
	enum worker_link_kind kind = WORKER_LINK_NONE;
	struct error ignored;
	struct vm *vm;
	int got;

	if (json_only(r->line, "", fields, err) < 0 || read_nic_kind(r, &kind, err) < 0 ||
		check_nic(r, kind, err) < 0)
		return -1;
	got = json_get_object(r->line, "", "create", &doc, err);
	if (got < 0)
		return -1;
	vm = got ? create(r, doc, VM_LINK_ATTACH, err) : attach_vm(r, err);
	if (!vm)
		return -1;
	if (vm_link_attach(vm, kind, r->fd, r->wait, err) < 0) {
		if (r->created)
			vm_delete(vm, NULL, NULL, &ignored);
		return -1;
	}
	r->fd = -1;
	r->attached = true;
	attach_answer_vm(r, vm);
	return 0;
}

/* ---- op listen ---- */

static int listen_link(struct attach_request *r, struct vm *vm, struct error *err)
{
	static const char *const fields[] = {"op", "vm", "for", "kind", "path", NULL};
	const char *kind = NULL, *path = NULL;

	if (json_only(r->line, "", fields, err) < 0 || attach_needs_fd(r, "a socket", err) < 0 ||
		json_get_string(r->line, "", "kind", &kind, err) < 0 ||
		json_get_string(r->line, "", "path", &path, err) < 0)
		return -1;
	if (!kind || !path)
		return json_missing("", kind ? "path" : "kind", err);
	if (strcmp(kind, "stream") != 0 && strcmp(kind, "dgram") != 0)
		return error_set(err, 400, "kind", "\"%.32s\" is not stream or dgram", kind);
	if (vm_link_listen(vm, kind[0] == 's' ? VM_LINK_STREAM : VM_LINK_DGRAM, path, r->fd,
		    r->wait, err) < 0)
		return -1;
	r->fd = -1;
	attach_answer_vm(r, vm);
	return 0;
}

static int listen_forward(struct attach_request *r, struct vm *vm, struct error *err)
{
	static const char *const fields[] = {"op", "vm", "for", "forward", "path", NULL};
	struct json_object *doc = NULL;
	const char *path = NULL;
	struct forward_spec spec;
	struct forward *made;
	bool is_new;
	int got;

	if (json_only(r->line, "", fields, err) < 0 ||
		attach_needs_fd(r, "a listening socket", err) < 0 ||
		json_get_string(r->line, "", "path", &path, err) < 0)
		return -1;
	got = json_get_object(r->line, "", "forward", &doc, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "forward", err);
	if (forward_spec_read(doc, "forward", false, &spec, err) < 0)
		return -1;
	if (path && strcmp(path, spec.path) != 0)
		return error_set(err, 400, "path", "\"%.160s\" is not the forward's path", path);
	if (vm_forwards_add(vm, &spec, 1, NULL, r->fd, &made, &is_new, r->wait, err) < 0)
		return -1;
	r->fd = -1;
	attach_answer_vm(r, vm);
	json_object_object_add(r->answer, "forward", forward_json(made));
	if (is_new)
		memcpy(r->forward, made->id, sizeof(r->forward));
	return 0;
}

static int listen_vsock(struct attach_request *r, struct vm *vm, struct error *err)
{
	static const char *const fields[] = {"op", "vm", "for", "kind", "port", "path", NULL};
	const char *text = NULL, *path = NULL;
	enum vm_vsock_kind kind = VM_VSOCK_NONE;
	int64_t port = 0;
	int status, with_port;

	if (json_only(r->line, "", fields, err) < 0 ||
		attach_needs_fd(r, "a socket or a directory", err) < 0 ||
		json_get_string(r->line, "", "kind", &text, err) < 0 ||
		json_get_string(r->line, "", "path", &path, err) < 0)
		return -1;
	with_port = json_get_int(r->line, "", "port", 1, VSOCK_PORT_MAX, &port, err);
	if (with_port < 0)
		return -1;
	if (!text || !path)
		return json_missing("", text ? "path" : "kind", err);
	if (vm_vsock_parse(text, &kind) < 0 || kind == VM_VSOCK_NONE)
		return error_set(
			err, 400, "kind", "\"%.32s\" is not vhost, stream or hybrid", text);
	if (kind != VM_VSOCK_HYBRID && with_port)
		return error_set(err, 400, "port", "a vsock of kind %s has no ports", text);
	status = kind != VM_VSOCK_HYBRID ? vm_vsock_listen(vm, kind, path, r->fd, r->wait, err)
		: with_port ? vm_vsock_listen_port(vm, (uint32_t)port, path, r->fd, r->wait, err)
			    : vm_vsock_place(vm, path, r->fd, r->client, err);
	if (status < 0)
		return -1;
	r->fd = -1;
	attach_answer_vm(r, vm);
	return 0;
}

static int listen_map(struct attach_request *r, struct vm *vm, struct error *err)
{
	static const char *const fields[] = {"op", "vm", "for", "map", NULL};
	struct json_object *doc = NULL;
	struct map_spec spec;
	struct place place;
	struct map *made;
	bool is_new;
	int got, status;

	if (json_only(r->line, "", fields, err) < 0 ||
		attach_needs_fd(r, "the socket's directory", err) < 0)
		return -1;
	got = json_get_object(r->line, "", "map", &doc, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "map", err);
	if (map_spec_read(doc, "map", false, &spec, err) < 0)
		return -1;
	if (spec.tcp)
		return error_set(err, 400, "map.to", "only a unix path has a directory");
	status = place_take(&place, r->fd, r->client);
	if (status < 0)
		return error_set(err, status == -EACCES ? 403 : 400, "fd", "map %s/%u: %s",
			vm->config.name, spec.port,
			status == -ENOTDIR ? "the fd is no directory" : errno_text(status));
	spec.handed = true;
	if (vm_map_add(vm, &spec, &place, &made, &is_new, r->wait, err) < 0)
		return -1;
	r->fd = -1;
	attach_answer_vm(r, vm);
	json_object_object_add(r->answer, "map", map_json(made));
	if (is_new)
		r->map = spec.port;
	return 0;
}

static int op_listen(struct attach_request *r, struct error *err)
{
	const char *what = NULL;
	struct vm *vm = attach_vm(r, err);

	if (!vm || json_get_string(r->line, "", "for", &what, err) < 0)
		return -1;
	if (!what)
		return json_missing("", "for", err);
	if (strcmp(what, "link") == 0)
		return listen_link(r, vm, err);
	if (strcmp(what, "forward") == 0)
		return listen_forward(r, vm, err);
	if (strcmp(what, "vsock") == 0)
		return listen_vsock(r, vm, err);
	if (strcmp(what, "map") == 0)
		return listen_map(r, vm, err);
	return error_set(err, 400, "for", "\"%.32s\" is not link, forward, vsock or map", what);
}

/* ---- op hold ---- */

static int op_hold(struct attach_request *r, struct error *err)
{
	static const char *const fields[] = {"op", "create", NULL};
	struct json_object *doc = NULL;
	struct vm *vm;
	int got;

	if (json_only(r->line, "", fields, err) < 0)
		return -1;
	if (r->fd >= 0)
		return error_set(err, 400, "fd", "hold takes no file descriptor");
	got = json_get_object(r->line, "", "create", &doc, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "create", err);
	vm = create(r, doc, VM_LINK_STREAM, err);
	if (!vm)
		return -1;
	attach_answer_vm(r, vm);
	return 0;
}

void attach_undo(struct attach_request *r)
{
	struct vm *vm = vms_find(&r->daemon->vms, r->vm);
	struct forward *forward = vm ? vm_forward_find(vm, r->forward) : NULL;
	struct map *map = vm && r->map ? vm_map_find(vm, r->map) : NULL;
	struct error ignored;

	if (vm && r->created)
		vm_delete(vm, NULL, NULL, &ignored);
	else if (forward)
		vm_forward_delete(vm, forward, NULL, &ignored);
	else if (map)
		vm_map_delete(vm, map, NULL, &ignored);
	else if (vm && r->attached)
		vm_link_returned(vm);
}

int attach_carry_out(struct attach_request *r, struct error *err)
{
	const char *op = NULL;
	int got;

	if (!json_object_is_type(r->line, json_type_object))
		return error_set(err, 400, NULL, "an object is wanted");
	got = json_get_string(r->line, "", "op", &op, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "op", err);
	if (strcmp(op, "link") == 0)
		return op_link(r, err);
	if (strcmp(op, "listen") == 0)
		return op_listen(r, err);
	if (strcmp(op, "hold") == 0)
		return op_hold(r, err);
	if (strcmp(op, "stream") == 0)
		return attach_stream(r, err);
	if (strcmp(op, "capture") == 0)
		return attach_capture(r, err);
	return error_set(
		err, 400, "op", "\"%.32s\" is not link, listen, stream, capture or hold", op);
}
