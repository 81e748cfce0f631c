/* SPDX-License-Identifier: MIT */
/* One forward. See forward.h. */
#include "ctl/forward.h"

#include "common/unix_socket.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const kind_names[] = {"tcp", "udp", "unix"};

static int read_ip_listen(
	struct json_object *listen, const char *path, struct forward_spec *spec, struct error *err)
{
	static const char *const fields[] = {"proto", "addr", "port", NULL};
	const char *proto = "tcp", *addr = "127.0.0.1";
	char field[FIELD_LEN];
	int64_t port = 0;
	int got;

	if (json_only(listen, path, fields, err) < 0 ||
		json_get_string(listen, path, "proto", &proto, err) < 0 ||
		json_get_string(listen, path, "addr", &addr, err) < 0)
		return -1;
	got = json_get_int(listen, path, "port", 0, 65535, &port, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "port", err);
	if (strcmp(proto, "tcp") != 0 && strcmp(proto, "udp") != 0)
		return error_set(err, 400, json_path(field, sizeof(field), path, "proto"),
			"\"%.32s\" is not tcp or udp", proto);
	spec->kind = strcmp(proto, "udp") == 0 ? LISTENER_UDP : LISTENER_TCP;
	if (strcmp(addr, "*") == 0)
		addr = "0.0.0.0";
	if (addr_parse(addr, &spec->listen.addr) < 0)
		return error_set(err, 400, json_path(field, sizeof(field), path, "addr"),
			"\"%.64s\" is not an IP address or *", addr);
	spec->listen.port = (uint16_t)port;
	return 0;
}

static int read_unix_listen(
	struct json_object *listen, const char *path, struct forward_spec *spec, struct error *err)
{
	static const char *const fields[] = {"unix", NULL};
	char field[FIELD_LEN];
	const char *file = NULL;

	if (json_only(listen, path, fields, err) < 0 ||
		json_get_string(listen, path, "unix", &file, err) < 0)
		return -1;
	json_path(field, sizeof(field), path, "unix");
	if (!file || file[0] != '/')
		return error_set(err, 400, field, "an absolute path is wanted");
	if (strlen(file) > unix_path_max())
		return error_set(err, 400, field,
			"path of %zu bytes is too long for a unix socket (at most %zu)",
			strlen(file), unix_path_max());
	spec->kind = LISTENER_UNIX;
	strcpy(spec->path, file);
	return 0;
}

static int read_listen(
	struct json_object *doc, const char *path, struct forward_spec *spec, struct error *err)
{
	struct json_object *listen = NULL;
	char where[FIELD_LEN];
	int got = json_get_object(doc, path, "listen", &listen, err);

	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "listen", err);
	json_path(where, sizeof(where), path, "listen");
	if (json_object_object_get_ex(listen, "unix", NULL))
		return read_unix_listen(listen, where, spec, err);
	return read_ip_listen(listen, where, spec, err);
}

/* One number of `from` as the target's port. */
static int read_port_of(struct json_object *from, const char *path, const char *key, int64_t max,
	enum worker_target_kind kind, struct worker_target *target, struct error *err)
{
	const char *const fields[] = {key, NULL};
	int64_t port = 0;
	int got;

	if (json_only(from, path, fields, err) < 0)
		return -1;
	got = json_get_int(from, path, key, 1, max, &port, err);
	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, key, err);
	*target = (struct worker_target){kind, (uint32_t)port};
	return 0;
}

/* "first", {"vm_port":N} or {"bound_port":N} */
static int read_tsi(
	struct json_object *to, const char *path, struct worker_target *target, struct error *err)
{
	static const char *const fields[] = {"tsi", NULL};
	struct json_object *tsi = NULL;
	char where[FIELD_LEN];

	if (json_only(to, path, fields, err) < 0)
		return -1;
	json_object_object_get_ex(to, "tsi", &tsi);
	json_path(where, sizeof(where), path, "tsi");
	if (json_object_is_type(tsi, json_type_string) &&
		strcmp(json_object_get_string(tsi), "first") == 0) {
		*target = (struct worker_target){WORKER_TO_TSI_FIRST, 0};
		return 0;
	}
	if (!json_object_is_type(tsi, json_type_object))
		return error_set(err, 400, where,
			"\"first\", {\"vm_port\":N} or {\"bound_port\":N} is wanted");
	if (json_object_object_get_ex(tsi, "bound_port", NULL))
		return read_port_of(tsi, where, "bound_port", UINT16_MAX, WORKER_TO_TSI_BOUND_PORT,
			target, err);
	return read_port_of(
		tsi, where, "vm_port", VSOCK_PORT_MAX, WORKER_TO_TSI_VM_PORT, target, err);
}

static int read_target(
	struct json_object *doc, const char *path, struct forward_spec *spec, struct error *err)
{
	struct json_object *to = NULL;
	char where[FIELD_LEN];
	int got = json_get_object(doc, path, "to", &to, err), status;

	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "to", err);
	json_path(where, sizeof(where), path, "to");
	if (json_object_object_get_ex(to, "vsock", NULL))
		status = read_port_of(
			to, where, "vsock", VSOCK_PORT_MAX, WORKER_TO_VSOCK, &spec->target, err);
	else if (json_object_object_get_ex(to, "tsi", NULL))
		status = read_tsi(to, where, &spec->target, err);
	else
		status = read_port_of(
			to, where, "port", UINT16_MAX, WORKER_TO_PORT, &spec->target, err);
	if (!status && spec->kind == LISTENER_UDP && spec->target.kind != WORKER_TO_PORT)
		return error_set(
			err, 400, where, "udp cannot lead to vsock or TSI: only streams can");
	return status;
}

int forward_spec_read(struct json_object *doc, const char *path, bool stored,
	struct forward_spec *spec, struct error *err)
{
	static const char *const fields[] = {"name", "snat", "listen", "to", NULL};
	static const char *const stored_fields[] = {"name", "snat", "listen", "to", "handed", NULL};
	const char *name = NULL;
	char field[FIELD_LEN];

	memset(spec, 0, sizeof(*spec));
	if (json_only(doc, path, stored ? stored_fields : fields, err) < 0 ||
		json_get_string(doc, path, "name", &name, err) < 0 ||
		json_get_bool(doc, path, "snat", &spec->snat, err) < 0 ||
		json_get_bool(doc, path, "handed", &spec->handed, err) < 0)
		return -1;
	if (name && *name) {
		if (!vm_name_valid(name))
			return error_set(err, 400, json_path(field, sizeof(field), path, "name"),
				"forward name \"%.64s\": must be 1 to 63 of a-z 0-9 . _ -", name);
		strcpy(spec->name, name);
	}
	if (read_listen(doc, path, spec, err) < 0)
		return -1;
	return read_target(doc, path, spec, err);
}

bool forward_spec_equal(const struct forward_spec *a, const struct forward_spec *b)
{
	return a->kind == b->kind && endpoint_eq(&a->listen, &b->listen) &&
		strcmp(a->path, b->path) == 0 && strcmp(a->name, b->name) == 0 &&
		a->target.kind == b->target.kind && a->target.port == b->target.port &&
		a->snat == b->snat;
}

void forward_id(const struct forward_spec *spec, char *buf, size_t len)
{
	char text[ENDPOINT_STRLEN];

	if (spec->kind == LISTENER_UNIX)
		snprintf(buf, len, "unix:%s", spec->path);
	else
		snprintf(buf, len, "%s:%s", kind_names[spec->kind],
			endpoint_format(&spec->listen, text, sizeof(text)));
}

static struct json_object *target_json(const struct worker_target *target)
{
	struct json_object *to = json_object_new_object(), *tsi;

	switch (target->kind) {
	case WORKER_TO_PORT:
	case WORKER_TO_VSOCK:
		json_put_int(to, target->kind == WORKER_TO_PORT ? "port" : "vsock", target->port);
		break;
	case WORKER_TO_TSI_FIRST:
		json_put_string(to, "tsi", "first");
		break;
	case WORKER_TO_TSI_VM_PORT:
	case WORKER_TO_TSI_BOUND_PORT:
		tsi = json_object_new_object();
		json_put_int(tsi, target->kind == WORKER_TO_TSI_VM_PORT ? "vm_port" : "bound_port",
			target->port);
		json_object_object_add(to, "tsi", tsi);
		break;
	}
	return to;
}

struct json_object *forward_spec_json(const struct forward_spec *spec)
{
	struct json_object *doc = json_object_new_object(), *listen = json_object_new_object();
	char text[ADDR_STRLEN];

	if (spec->name[0])
		json_put_string(doc, "name", spec->name);
	if (spec->kind == LISTENER_UNIX) {
		json_put_string(listen, "unix", spec->path);
	} else {
		json_put_string(listen, "proto", kind_names[spec->kind]);
		json_put_string(
			listen, "addr", addr_format(&spec->listen.addr, text, sizeof(text)));
		json_put_int(listen, "port", spec->listen.port);
	}
	json_object_object_add(doc, "listen", listen);
	json_object_object_add(doc, "to", target_json(&spec->target));
	json_put_bool(doc, "snat", spec->snat);
	if (spec->handed)
		json_put_bool(doc, "handed", true);
	return doc;
}

struct json_object *forward_json(const struct forward *forward)
{
	struct json_object *doc = json_object_new_object();
	struct json_object *spec = forward_spec_json(&forward->spec);

	json_put_string(doc, "id", forward->id);
	json_object_object_foreach(spec, key, value)
	{
		if (strcmp(key, "handed") != 0)
			json_object_object_add(doc, key, json_object_get(value));
	}
	json_object_put(spec);
	if (forward->error[0])
		json_put_string(doc, "error", forward->error);
	return doc;
}

static int failed(struct forward *forward, const char *vm, int code, struct error *err)
{
	const struct endpoint *at = forward->spec.kind == LISTENER_UNIX ? NULL
									: &forward->spec.listen;
	const char *text = listener_error(code, at);
	int status = code == -EADDRINUSE || code == -EEXIST             ? 409
		: code == -EACCES || code == -EPERM                     ? 403
		: code == -EMFILE || code == -ENFILE || code == -ENOMEM ? 503
									: 400;

	snprintf(forward->error, sizeof(forward->error), "%s", text);
	return error_set(err, status, "listen", "forward %s/%s: %s", vm, forward->id, text);
}

int forward_bind(
	struct forward *forward, const char *vm, const char *runtime_dir, struct error *err)
{
	struct forward_spec *spec = &forward->spec;
	char below[VM_PATH_LEN + 16];
	int fd;

	if (spec->handed) {
		snprintf(forward->error, sizeof(forward->error),
			"its socket was handed over and is gone");
		return error_set(
			err, 409, "listen", "forward %s/%s: %s", vm, forward->id, forward->error);
	}
	if (spec->kind == LISTENER_UNIX) {
		snprintf(below, sizeof(below), "%s/vms/%s/", runtime_dir, vm);
		if (strncmp(spec->path, below, strlen(below)) != 0 ||
			strchr(spec->path + strlen(below), '/') || !spec->path[strlen(below)] ||
			spec->path[strlen(below)] == '.')
			return error_set(err, 400, "listen.unix",
				"forward %s/%s: path is not a file below %s (others are handed over by attach.sock)",
				vm, forward->id, below);
		fd = unix_listen(spec->path, SOCK_STREAM, 0660);
	} else {
		fd = listener_open(spec->kind, &spec->listen);
	}
	if (fd < 0)
		return failed(forward, vm, fd, err);
	forward->fd = fd;
	forward->error[0] = '\0';
	forward_id(spec, forward->id, sizeof(forward->id));
	return 0;
}

int forward_take(struct forward *forward, const char *vm, int fd, struct error *err)
{
	int status = listener_check(forward->spec.kind, fd, &forward->spec.listen);
	char what[64];

	forward->spec.handed = true;
	if (status)
		return error_set(err, 400, "fd", "forward %s/%s: the fd is %s, not a %s", vm,
			forward->id, listener_describe(fd, what, sizeof(what)),
			forward->spec.kind == LISTENER_UDP ? "bound UDP socket"
				: forward->spec.kind == LISTENER_TCP
				? "listening TCP socket"
				: "listening unix stream socket");
	forward->fd = fd;
	forward->error[0] = '\0';
	forward_id(&forward->spec, forward->id, sizeof(forward->id));
	return 0;
}

struct forward *forward_new(const struct forward_spec *spec)
{
	struct forward *forward = calloc(1, sizeof(*forward));

	if (!forward)
		return NULL;
	forward->spec = *spec;
	forward->fd = -1;
	forward_id(spec, forward->id, sizeof(forward->id));
	return forward;
}

void forward_drop(struct forward *forward)
{
	if (forward->fd >= 0)
		close(forward->fd);
	free(forward);
}

void forward_free(struct forward *forward)
{
	if (forward->fd >= 0 && forward->spec.kind == LISTENER_UNIX && !forward->spec.handed)
		unlink(forward->spec.path);
	forward_drop(forward);
}
