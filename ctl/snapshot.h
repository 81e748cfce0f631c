/* SPDX-License-Identifier: MIT */
/*
 * Snapshots: records of VMs, kept in the store. They outlive their VM and go by their id to any host.
 *
 *	create   ask the worker what it holds and whether it is idle ──► record_take() ──► store
 *	import   record_read() ──► store
 *	restore  snapshot_restore.c
 *
 * Bounds: SNAPSHOTS_MAX of them, SNAPSHOTS_BYTES_MAX together; beyond either a new one is refused, an
 * old one is never dropped.
 */
#ifndef CTL_SNAPSHOT_H
#define CTL_SNAPSHOT_H

#include "ctl/record.h"
#include "ctl/vm.h"

#include <json-c/json.h>
#include <stdbool.h>

#define SNAPSHOTS_MAX 4096
#define SNAPSHOTS_BYTES_MAX (64u << 20)

/* The snapshot's document, or NULL with why not; busy, where that is why. */
typedef void snapshot_fn(
	void *arg, struct json_object *doc, const struct error *err, const struct vm_busy *busy);

/* Takes a record of the VM; name may be "". done may be called from inside. */
void snapshot_create(
	struct vm *vm, const char *name, bool require_idle, snapshot_fn *done, void *arg);
/* Keeps a file that was exported. is_new is false where it was kept already. Its document, or NULL. */
struct json_object *snapshot_import(
	struct vms *vms, const char *text, size_t len, bool *is_new, struct error *err);
/* {"items":[…]}, oldest first; vm NULL: of all VMs. NULL with err filled. */
struct json_object *snapshot_list(struct vms *vms, const char *vm, struct error *err);
/* 0, or -1 with a 404. */
int snapshot_delete(struct vms *vms, const char *id, struct error *err);
/* A kept record by its id, or NULL with a 404. */
struct record *snapshot_record(struct vms *vms, const char *id, struct error *err);
struct json_object *snapshot_json(const struct record *record);

/*
 * Brings a VM to what a record says: all of it, or, after -1, nothing has changed and err names what is
 * in the way. missing becomes an array of the names of the record's secrets that the VM has not; with
 * require_secrets that is an error. Parts of the record are taken: it is of no more use. wait is done when the worker has it all. See snapshot_restore.c.
 */
int snapshot_restore(struct vm *vm, struct record *record, bool require_secrets,
	struct json_object **missing, struct completion *wait, struct error *err);

#endif
