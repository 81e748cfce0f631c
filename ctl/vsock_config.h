/* SPDX-License-Identifier: MIT */
/*
 * What a VM's vsock is asked to be: `{"kind","path","handed","cid"}` of its document.
 *
 * vhost, stream   the VMM connects to path: vmm.sock below RUNTIME/vms/NAME/ unless another is given
 * hybrid          path is the VMM's own socket, to which we connect; the guest's connections come to
 *                 path_PORT, where we listen
 *
 * A path that lies elsewhere is handed: by attach.sock, from whoever may open it.
 */
#ifndef CTL_VSOCK_CONFIG_H
#define CTL_VSOCK_CONFIG_H

#include "common/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define VSOCK_PATH_LEN 108
#define VSOCK_PORT_LEN 11 /* of "_4294967295" */
#define VSOCK_ERROR_LEN 224
#define VSOCK_CID_MIN 3 /* the first of a guest */
#define VSOCK_CID_MAX 4294967294
#define VSOCK_PORT_MAX 4294967294 /* above it is VMADDR_PORT_ANY */

enum vm_vsock_kind { VM_VSOCK_NONE, VM_VSOCK_VHOST, VM_VSOCK_STREAM, VM_VSOCK_HYBRID };

struct vsock_config {
	enum vm_vsock_kind kind;
	char path[VSOCK_PATH_LEN]; /* "" for none */
	bool handed;
	uint32_t cid; /* the guest's; VSOCK_CID_MIN unless told, 0 for none */
};

/* Reads `doc`'s "vsock" for the VM of this name, none where it is absent. 0 or -1. */
int vsock_config_read(struct json_object *doc, const char *vm, const char *runtime_dir,
	struct vsock_config *config, struct error *err);
/* The same again, or NULL for none. */
struct json_object *vsock_config_json(const struct vsock_config *config);

const char *vm_vsock_name(enum vm_vsock_kind kind);
/* 0 or -1. */
int vm_vsock_parse(const char *name, enum vm_vsock_kind *kind);

#endif
