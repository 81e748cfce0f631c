/* SPDX-License-Identifier: MIT */
/* Snapshots: taken, kept, listed. See snapshot.h. */
#include "ctl/snapshot.h"

#include "common/clock.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct json_object *head_json(const struct store_snapshot *row)
{
	struct json_object *doc = json_object_new_object();
	char time[CLOCK_RFC3339_LEN];

	json_put_string(doc, "id", row->id);
	json_put_string(doc, "vm", row->vm);
	json_put_string(doc, "created", clock_rfc3339(row->created_ms, time, sizeof(time)));
	json_put_string(doc, "name", row->name[0] ? row->name : NULL);
	json_put_int(doc, "record_version", RECORD_VERSION);
	json_put_string(doc, "sha256", row->sha256);
	json_put_int(doc, "size", row->size);
	return doc;
}

static struct store_snapshot row_of(const struct record *record)
{
	return (struct store_snapshot){
		.id = record->id,
		.vm = record->vm,
		.name = record->name,
		.created_ms = record->created_ms,
		.sha256 = record->sha256,
		.size = (int64_t)record->len,
		.record = record->text,
	};
}

static void put_count(struct json_object *doc, const char *key, size_t n)
{
	json_put_int(doc, key, (int64_t)n);
}

struct json_object *snapshot_json(const struct record *record)
{
	struct store_snapshot row = row_of(record);
	struct json_object *doc = head_json(&row), *secrets = json_object_new_array();
	char text[PREFIX_STRLEN];

	if (record->cid)
		json_put_int(doc, "cid", record->cid);
	json_put_string(doc, "subnet", prefix_format(&record->subnet, text, sizeof(text)));
	put_count(doc, "listeners", record->n_listeners);
	put_count(doc, "proxies", record->n_proxies);
	put_count(doc, "forwards", record->n_forwards);
	put_count(doc, "maps", record->n_maps);
	put_count(doc, "names", record->n_names);
	for (size_t i = 0; i < record->n_secrets; i++)
		json_object_array_add(secrets, json_object_new_string(record->secrets[i]));
	json_object_object_add(doc, "secrets", secrets);
	return doc;
}

/* ---- the store's ---- */

static int check_room(struct vms *vms, const struct record *record, struct error *err)
{
	int64_t n = 0, bytes = 0;

	if (store_snapshots_total(vms->store, &n, &bytes, err) < 0)
		return -1;
	if (n >= SNAPSHOTS_MAX)
		return error_set(err, 409, NULL,
			"snapshots: there are %d already, delete one first", SNAPSHOTS_MAX);
	if (bytes + (int64_t)record->len > SNAPSHOTS_BYTES_MAX)
		return error_set(err, 409, NULL,
			"snapshots: they would be more than %u MiB together, delete one first",
			SNAPSHOTS_BYTES_MAX >> 20);
	return 0;
}

struct found {
	char sha256[RECORD_SHA256_LEN];
	char *text;
	size_t len;
};

static void find_one(void *arg, const struct store_snapshot *row)
{
	struct found *found = arg;

	strncpy(found->sha256, row->sha256, sizeof(found->sha256) - 1);
	found->text = strdup(row->record);
	found->len = found->text ? strlen(found->text) : 0;
}

/* Keeps a record. 1 where it was kept already, 0, or -1. */
static int keep(struct vms *vms, const struct record *record, struct error *err)
{
	struct store_snapshot row = row_of(record);
	struct found found = {0};
	int status = store_snapshot(vms->store, record->id, find_one, &found, err);

	free(found.text);
	if (status < 0)
		return -1;
	if (*found.sha256 && strcmp(found.sha256, record->sha256) != 0)
		return error_set(err, 409, NULL, "snapshot %s is another one already", record->id);
	if (*found.sha256)
		return 1;
	if (check_room(vms, record, err) < 0)
		return -1;
	return store_snapshot_insert(vms->store, &row, err);
}

static void tell(struct vms *vms, const char *vm, const char *type, const struct record *record)
{
	struct json_object *data = json_object_new_object();

	json_put_string(data, "id", record->id);
	if (record->name[0])
		json_put_string(data, "name", record->name);
	events_add(vms->events, vm, type, data);
}

struct record *snapshot_record(struct vms *vms, const char *id, struct error *err)
{
	struct found found = {0};
	struct record *record;
	char why[sizeof(err->text)];

	if (store_snapshot(vms->store, id, find_one, &found, err) < 0)
		return NULL;
	if (!*found.sha256) {
		error_set(err, 404, "snapshot", "snapshot %.64s is unknown", id);
		return NULL;
	}
	if (!found.text) {
		error_set(err, 500, NULL, "out of memory");
		return NULL;
	}
	record = record_read(found.text, found.len, err);
	free(found.text);
	if (!record) {
		memcpy(why, err->text, sizeof(why));
		error_set(err, 500, NULL, "store: snapshot %.64s: %.300s", id, why);
	}
	return record;
}

struct json_object *snapshot_import(
	struct vms *vms, const char *text, size_t len, bool *is_new, struct error *err)
{
	struct record *record = record_read(text, len, err);
	struct json_object *doc = NULL;
	int kept;

	if (!record)
		return NULL;
	kept = keep(vms, record, err);
	if (kept >= 0)
		doc = snapshot_json(record);
	*is_new = kept == 0;
	if (kept == 0)
		tell(vms, NULL, "snapshot.imported", record);
	record_free(record);
	return doc;
}

static void add_item(void *arg, const struct store_snapshot *row)
{
	json_object_array_add(arg, head_json(row));
}

struct json_object *snapshot_list(struct vms *vms, const char *vm, struct error *err)
{
	struct json_object *doc = json_object_new_object(), *items = json_object_new_array();

	json_object_object_add(doc, "items", items);
	if (store_snapshots(vms->store, vm, add_item, items, err) == 0)
		return doc;
	json_object_put(doc);
	return NULL;
}

int snapshot_delete(struct vms *vms, const char *id, struct error *err)
{
	struct found found = {0};
	struct json_object *data;

	if (store_snapshot(vms->store, id, find_one, &found, err) < 0)
		return -1;
	free(found.text);
	if (!*found.sha256)
		return error_set(err, 404, "snapshot", "snapshot %.64s is unknown", id);
	if (store_snapshot_delete(vms->store, id, err) < 0)
		return -1;
	data = json_object_new_object();
	json_put_string(data, "id", id);
	events_add(vms->events, NULL, "snapshot.deleted", data);
	return 0;
}

/* ---- create ---- */

struct creation {
	struct vms *vms;
	char vm[VM_NAME_MAX + 1];
	char name[VM_NAME_MAX + 1];
	bool require_idle;
	snapshot_fn *done;
	void *arg;
};

static void refuse(struct creation *creation, const struct error *err, const struct vm_busy *busy)
{
	creation->done(creation->arg, NULL, err, busy);
	free(creation);
}

static void take(struct creation *creation, struct vm *vm)
{
	struct error err;
	struct record *record = record_take(vm, creation->name, &err);
	struct json_object *doc;

	if (!record || keep(vm->vms, record, &err) < 0) {
		record_free(record);
		refuse(creation, &err, NULL);
		return;
	}
	tell(vm->vms, vm->config.name, "snapshot.created", record);
	doc = snapshot_json(record);
	record_free(record);
	creation->done(creation->arg, doc, NULL, NULL);
	free(creation);
}

/* The VM, or NULL after an answer where it went meanwhile. */
static struct vm *still_there(struct creation *creation)
{
	struct vm *vm = vms_find(creation->vms, creation->vm);
	struct error err;

	if (vm)
		return vm;
	error_set(&err, 404, "vm", "VM %s is unknown", creation->vm);
	refuse(creation, &err, NULL);
	return NULL;
}

static void on_busy(void *arg, const struct vm_busy *busy)
{
	struct creation *creation = arg;
	struct vm *vm = still_there(creation);
	struct error err;

	if (!vm)
		return;
	if (creation->require_idle && !busy) {
		error_set(&err, 503, NULL, "VM %s: its worker does not say whether it is idle",
			creation->vm);
		refuse(creation, &err, NULL);
	} else if (creation->require_idle && !vm_is_idle(busy)) {
		error_set(&err, 409, NULL, "VM %s is not idle: %u pending, %u live, %u queued",
			creation->vm, busy->pending, busy->live, busy->queued);
		refuse(creation, &err, busy);
	} else {
		take(creation, vm);
	}
}

/* The worker's word on its proxies; listeners we know, since we bound them. */
static void on_tsi(void *arg, int code, const char *text, struct worker_tsi *tsi)
{
	struct creation *creation = arg;
	struct vm *vm = still_there(creation);

	(void)text;
	if (!vm)
		return;
	if (!code)
		vm_tsi_proxies(vm, tsi->proxies, tsi->n_proxies);
	vm_busy(vm, on_busy, creation);
}

void snapshot_create(
	struct vm *vm, const char *name, bool require_idle, snapshot_fn *done, void *arg)
{
	struct creation *creation = calloc(1, sizeof(*creation));
	struct worker_client *client = vm_worker(vm);
	struct error err;

	if (!creation || vm_can_reset(vm, &err) < 0) {
		if (!creation)
			error_set(&err, 500, NULL, "out of memory");
		free(creation);
		done(arg, NULL, &err, NULL);
		return;
	}
	creation->vms = vm->vms;
	creation->require_idle = require_idle;
	creation->done = done;
	creation->arg = arg;
	memcpy(creation->vm, vm->config.name, sizeof(creation->vm));
	strncpy(creation->name, name, sizeof(creation->name) - 1);
	if (client)
		worker_client_tsi(client, on_tsi, creation);
	else
		vm_busy(vm, on_busy, creation);
}
