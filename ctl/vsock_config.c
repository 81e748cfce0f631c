/* SPDX-License-Identifier: MIT */
/* A VM's vsock settings. See vsock_config.h. */
#include "ctl/vsock_config.h"

#include "common/unix_socket.h"
#include "ctl/json_read.h"
#include "ctl/vm_config.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {"none", "vhost", "stream", "hybrid"};

const char *vm_vsock_name(enum vm_vsock_kind kind)
{
	return names[kind];
}

int vm_vsock_parse(const char *name, enum vm_vsock_kind *kind)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*kind = (enum vm_vsock_kind)i;
			return 0;
		}
	}
	return -1;
}

static int check_path(const char *path, const char *vm, const char *runtime_dir,
	const struct vsock_config *config, struct error *err)
{
	size_t max = unix_path_max();

	if (config->kind == VM_VSOCK_HYBRID)
		max -= VSOCK_PORT_LEN;
	if (strlen(path) > max)
		return error_set(err, 400, "vsock.path",
			"VM %s: vsock path of %zu bytes is too long for a unix socket%s (at most %zu)",
			vm, strlen(path),
			config->kind == VM_VSOCK_HYBRID ? " and the _PORT after it" : "", max);
	if (path[0] != '/' || path[strlen(path) - 1] == '/')
		return error_set(err, 400, "vsock.path",
			"VM %s: vsock path %s is no absolute path of a socket", vm, path);
	if (!config->handed && !vm_path_below(path, runtime_dir, vm))
		return error_set(err, 400, "vsock.path",
			"VM %s: vsock path %s is not below %s/vms/%s/ (others are handed over by attach.sock)",
			vm, path, runtime_dir, vm);
	return 0;
}

static int read_path(struct json_object *vsock, const char *vm, const char *runtime_dir,
	struct vsock_config *config, struct error *err)
{
	char standard[2 * VSOCK_PATH_LEN];
	const char *path = NULL;
	int got = json_get_string(vsock, "vsock", "path", &path, err);

	if (got < 0)
		return -1;
	if (config->kind == VM_VSOCK_NONE) {
		if (got || config->handed)
			return error_set(err, 400, got ? "vsock.path" : "vsock.handed",
				"VM %s: a vsock of kind none has no path", vm);
		return 0;
	}
	if (!got && (config->handed || config->kind == VM_VSOCK_HYBRID))
		return json_missing("vsock", "path", err);
	if (!got) {
		snprintf(standard, sizeof(standard), "%s/vms/%s/vmm.sock", runtime_dir, vm);
		path = standard;
	}
	if (check_path(path, vm, runtime_dir, config, err) < 0)
		return -1;
	strcpy(config->path, path);
	return 0;
}

int vsock_config_read(struct json_object *doc, const char *vm, const char *runtime_dir,
	struct vsock_config *config, struct error *err)
{
	static const char *const fields[] = {"kind", "path", "handed", "cid", NULL};
	struct json_object *vsock = NULL;
	const char *kind = "none";
	int64_t cid = VSOCK_CID_MIN;
	int got = json_get_object(doc, "", "vsock", &vsock, err), with_cid;

	memset(config, 0, sizeof(*config));
	if (got <= 0)
		return got;
	if (json_only(vsock, "vsock", fields, err) < 0 ||
		json_get_string(vsock, "vsock", "kind", &kind, err) < 0 ||
		json_get_bool(vsock, "vsock", "handed", &config->handed, err) < 0)
		return -1;
	if (vm_vsock_parse(kind, &config->kind) < 0)
		return error_set(err, 400, "vsock.kind",
			"vsock kind \"%.32s\" is unknown: vhost, stream, hybrid or none", kind);
	with_cid = json_get_int(vsock, "vsock", "cid", VSOCK_CID_MIN, VSOCK_CID_MAX, &cid, err);
	if (with_cid < 0)
		return -1;
	if (config->kind == VM_VSOCK_NONE && with_cid)
		return error_set(
			err, 400, "vsock.cid", "VM %s: a vsock of kind none has no CID", vm);
	if (config->kind != VM_VSOCK_NONE)
		config->cid = (uint32_t)cid;
	return read_path(vsock, vm, runtime_dir, config, err);
}

struct json_object *vsock_config_json(const struct vsock_config *config)
{
	struct json_object *doc;

	if (config->kind == VM_VSOCK_NONE)
		return NULL;
	doc = json_object_new_object();
	json_put_string(doc, "kind", names[config->kind]);
	json_put_string(doc, "path", config->path);
	if (config->handed)
		json_put_bool(doc, "handed", true);
	json_put_int(doc, "cid", config->cid);
	return doc;
}
