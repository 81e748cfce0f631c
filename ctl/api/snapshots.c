/* SPDX-License-Identifier: MIT */
/* /v1/snapshots, /v1/vms/{vm}/snapshots and …/restore. */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"

#include "ctl/json_read.h"
#include "ctl/snapshot.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <string.h>

static void on_created(
	void *arg, struct json_object *doc, const struct error *err, const struct vm_busy *busy)
{
	struct api_request *request = arg;

	if (doc)
		api_reply(request, 201, doc);
	else
		api_problem_with(request, err, "busy", busy ? vm_busy_json(busy) : NULL);
}

/* {"require_idle","name"}, or nothing at all. 0, or -1 with err filled. */
static int read_create(
	struct api_request *request, bool *require_idle, const char **name, struct error *err)
{
	static const char *const fields[] = {"require_idle", "name", NULL};
	struct evbuffer *in = evhttp_request_get_input_buffer(request->http);
	size_t len = evbuffer_get_length(in);

	*require_idle = false;
	*name = "";
	if (!len)
		return 0;
	request->body = json_read((const char *)evbuffer_pullup(in, -1), len, err);
	if (!request->body || json_only(request->body, "", fields, err) < 0 ||
		json_get_bool(request->body, "", "require_idle", require_idle, err) < 0 ||
		json_get_string(request->body, "", "name", name, err) < 0)
		return -1;
	if (**name && !vm_name_valid(*name))
		return error_set(err, 400, "name",
			"snapshot name \"%.64s\": must be 1 to 63 of a-z 0-9 . _ -", *name);
	return 0;
}

void api_vm_snapshots_post(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct error err;
	bool require_idle;
	const char *name;

	if (vm && waiting_adoption(request, vm, api_vm_snapshots_post))
		return;
	if (vm && read_create(request, &require_idle, &name, &err) < 0)
		api_problem(request, &err);
	else if (vm)
		snapshot_create(vm, name, require_idle, on_created, request);
}

static void list(struct api_request *request, const char *vm)
{
	struct error err;
	struct json_object *doc = snapshot_list(&request->daemon->vms, vm, &err);

	if (doc)
		api_reply(request, 200, doc);
	else
		api_problem(request, &err);
}

/* Of a VM of this name, which may be gone. */
void api_vm_snapshots_get(struct api_request *request)
{
	list(request, request->parts[0]);
}

void api_snapshots_get(struct api_request *request)
{
	list(request, NULL);
}

void api_snapshots_post(struct api_request *request)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request->http);
	size_t len = evbuffer_get_length(in);
	const char *text = len ? (const char *)evbuffer_pullup(in, -1) : "";
	struct json_object *doc;
	struct error err;
	bool is_new = false;

	doc = snapshot_import(&request->daemon->vms, text, len, &is_new, &err);
	if (doc)
		api_reply(request, is_new ? 201 : 200, doc);
	else
		api_problem(request, &err);
}

/* The whole file. */
static void export(struct api_request *request, const struct record *record)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request->http);
	struct evbuffer *out = evhttp_request_get_output_buffer(request->http);

	evhttp_add_header(headers, "Content-Type", "application/json");
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evbuffer_add(out, record->text, record->len);
	evbuffer_add(out, "\n", 1);
	evhttp_send_reply(request->http, 200, NULL, NULL);
	api_done(request);
}

static void answer(struct api_request *request, bool whole)
{
	struct error err;
	struct record *record = snapshot_record(&request->daemon->vms, request->parts[0], &err);

	if (!record)
		api_problem(request, &err);
	else if (whole)
		export(request, record);
	else
		api_reply(request, 200, snapshot_json(record));
	record_free(record);
}

void api_snapshot_get(struct api_request *request)
{
	int whole = api_query_bool(request, "export");

	if (whole >= 0)
		answer(request, whole);
}

void api_snapshot_export(struct api_request *request)
{
	answer(request, true);
}

void api_snapshot_delete(struct api_request *request)
{
	struct error err;

	if (snapshot_delete(&request->daemon->vms, request->parts[0], &err) < 0)
		api_problem(request, &err);
	else
		api_reply(request, 204, NULL);
}

/* {"snapshot","require_secrets"}: the record that it names, or NULL with err filled. */
static struct record *read_restore(
	struct api_request *request, bool *require_secrets, struct error *err)
{
	static const char *const fields[] = {"snapshot", "require_secrets", NULL};
	const char *id = NULL;
	int got;

	*require_secrets = false;
	if (json_only(request->body, "", fields, err) < 0 ||
		json_get_bool(request->body, "", "require_secrets", require_secrets, err) < 0)
		return NULL;
	got = json_get_string(request->body, "", "snapshot", &id, err);
	if (!got)
		json_missing("", "snapshot", err);
	return got > 0 ? snapshot_record(&request->daemon->vms, id, err) : NULL;
}

void api_vm_restore(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct json_object *missing = NULL, *doc;
	struct waiting *waiting;
	struct record *record;
	bool require_secrets;
	struct error err;

	if (!vm || waiting_adoption(request, vm, api_vm_restore))
		return;
	record = read_restore(request, &require_secrets, &err);
	if (!record) {
		api_problem(request, &err);
		return;
	}
	waiting = waiting_new(request);
	if (waiting &&
		snapshot_restore(vm, record, require_secrets, &missing, waiting_completion(waiting),
			&err) < 0) {
		waiting_problem(waiting, &err);
	} else if (waiting) {
		doc = json_object_new_object();
		json_put_string(doc, "vm", vm->config.name);
		json_put_string(doc, "snapshot", record->id);
		json_object_object_add(doc, "missing_secrets", missing);
		waiting_reply(waiting, 200, doc, NULL, NULL);
	}
	record_free(record);
}
