/* SPDX-License-Identifier: MIT */
/* /v1/state: what `netctl export` reads and `netctl apply` writes. */
#include "ctl/api/routes.h"
#include "ctl/api/waiting.h"

#include "ctl/json_read.h"
#include "ctl/state.h"

void api_state_get(struct api_request *request)
{
	struct error err;
	struct json_object *doc = state_json(&request->daemon->vms, &err);

	if (doc)
		api_reply(request, 200, doc);
	else
		api_problem(request, &err);
}

static struct json_object *answer(const struct state *state, bool dry_run)
{
	struct json_object *doc = json_object_new_object();

	json_put_bool(doc, "applied", !dry_run);
	json_object_object_add(doc, "changes", json_object_get(state_changes(state)));
	json_object_object_add(doc, "missing_secrets", json_object_get(state_missing(state)));
	json_object_object_add(
		doc, "missing_proxy_passwords", json_object_get(state_no_password(state)));
	return doc;
}

static void apply(struct api_request *request, struct state *state, bool cut_existing)
{
	struct waiting *waiting = waiting_new(request);
	struct error err;

	if (waiting && state_apply(state, cut_existing, waiting_completion(waiting), &err) < 0)
		waiting_problem(waiting, &err);
	else if (waiting)
		waiting_reply(waiting, 200, answer(state, false), NULL, NULL);
}

void api_state_put(struct api_request *request)
{
	int dry_run = api_query_bool(request, "dry_run"), cut_existing, require_secrets;
	struct state *state;
	struct error err;

	if (dry_run < 0 || (cut_existing = api_query_bool(request, "cut_existing")) < 0 ||
		(require_secrets = api_query_bool(request, "require_secrets")) < 0)
		return;
	if (!dry_run && waiting_adoption(request, NULL, api_state_put))
		return;
	state = state_read(&request->daemon->vms, request->body, &err);
	if (state && require_secrets &&
		json_object_array_length(state_missing(state)) +
			json_object_array_length(state_no_password(state))) {
		error_set(&err, 409, "secrets",
			"secrets are missing: %.200s, proxy passwords: %.100s",
			json_text(state_missing(state)), json_text(state_no_password(state)));
		api_problem(request, &err);
	} else if (!state) {
		api_problem(request, &err);
	} else if (dry_run) {
		api_reply(request, 200, answer(state, true));
	} else {
		apply(request, state, cut_existing);
	}
	state_free(state);
}
