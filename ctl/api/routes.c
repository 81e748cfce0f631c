/* SPDX-License-Identifier: MIT */
/* From a request line to its handler. See routes.h. */
#include "ctl/api/routes.h"

#include "ctl/json_read.h"
#include "ctl/state.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct api_route api_routes[] = {
	{"GET", "/v1/version", api_version_get, false},
	{"GET", "/v1/health", api_health_get, false},
	{"GET", "/metrics", api_metrics_get, false},
	{"GET", "/v1/events", api_events_get, false},
	{"GET", "/v1/state", api_state_get, false},
	{"PUT", "/v1/state", api_state_put, API_BODY_STATE},
	{"GET", "/v1/vms", api_vms_get, false},
	{"POST", "/v1/vms", api_vms_post, true},
	{"GET", "/v1/vms/{vm}", api_vm_get, false},
	{"PATCH", "/v1/vms/{vm}", api_vm_patch, true},
	{"DELETE", "/v1/vms/{vm}", api_vm_delete, false},
	{"POST", "/v1/vms/{vm}/reset", api_vm_reset, false},
	{"GET", "/v1/vms/{vm}/forwards", api_forwards_get, false},
	{"POST", "/v1/vms/{vm}/forwards", api_forwards_post, true},
	{"GET", "/v1/vms/{vm}/forwards/{id}", api_forward_get, false},
	{"DELETE", "/v1/vms/{vm}/forwards/{id}", api_forward_delete, false},
	{"GET", "/v1/vms/{vm}/policy", api_policy_get, false},
	{"PUT", "/v1/vms/{vm}/policy", api_policy_put, true},
	{"POST", "/v1/vms/{vm}/policy/check", api_policy_check, true},
	{"GET", "/v1/vms/{vm}/policy/stats", api_policy_stats, false},
	{"GET", "/v1/vms/{vm}/hosts", api_hosts_get, false},
	{"PUT", "/v1/vms/{vm}/hosts", api_hosts_put, true},
	{"GET", "/v1/vms/{vm}/env", api_env_get, false},
	{"PUT", "/v1/vms/{vm}/env", api_env_put, true},
	{"PATCH", "/v1/vms/{vm}/env", api_env_patch, true},
	{"GET", "/v1/vms/{vm}/secrets", api_secrets_get, false},
	{"PUT", "/v1/vms/{vm}/secrets/{name}", api_secret_put, false},
	{"DELETE", "/v1/vms/{vm}/secrets/{name}", api_secret_delete, false},
	{"PUT", "/v1/vms/{vm}/proxy/password", api_proxy_password_put, false},
	{"DELETE", "/v1/vms/{vm}/proxy/password", api_proxy_password_delete, false},
	{"GET", "/v1/vms/{vm}/snapshots", api_vm_snapshots_get, false},
	{"POST", "/v1/vms/{vm}/snapshots", api_vm_snapshots_post, false},
	{"POST", "/v1/vms/{vm}/restore", api_vm_restore, true},
	{"GET", "/v1/snapshots", api_snapshots_get, false},
	{"POST", "/v1/snapshots", api_snapshots_post, false},
	{"GET", "/v1/snapshots/{id}", api_snapshot_get, false},
	{"DELETE", "/v1/snapshots/{id}", api_snapshot_delete, false},
	{"GET", "/v1/snapshots/{id}/export", api_snapshot_export, false},
	{"GET", "/v1/vms/{vm}/maps", api_maps_get, false},
	{"POST", "/v1/vms/{vm}/maps", api_maps_post, true},
	{"DELETE", "/v1/vms/{vm}/maps/{port}", api_map_delete, false},
	{"GET", "/v1/vms/{vm}/listeners", api_listeners_get, false},
	{"GET", "/v1/vms/{vm}/stats", api_stats_get, false},
	{"GET", "/v1/vms/{vm}/flows", api_flows_get, false},
	{NULL, NULL, NULL, false},
};

static const char *method_name(enum evhttp_cmd_type type)
{
	switch (type) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_HEAD:
		return "HEAD";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	case EVHTTP_REQ_PATCH:
		return "PATCH";
	default:
		return "OTHER";
	}
}

static void free_parts(char **parts)
{
	for (int i = 0; i < API_PARTS_MAX; i++) {
		free(parts[i]);
		parts[i] = NULL;
	}
}

/* A path segment with its %XX decoded, or NULL where that gives a NUL. */
static char *decode(const char *segment, size_t len)
{
	char *raw = strndup(segment, len), *decoded = NULL;
	size_t size = 0;

	if (raw)
		decoded = evhttp_uridecode(raw, 0, &size);
	free(raw);
	if (decoded && strlen(decoded) != size) {
		free(decoded);
		decoded = NULL;
	}
	return decoded;
}

/* Whether path is of this pattern; fills parts for its {…}. */
static bool match(const char *pattern, const char *path, char **parts)
{
	int n = 0;

	while (*pattern && *path) {
		size_t want = strcspn(pattern + 1, "/") + 1, have = strcspn(path + 1, "/") + 1;

		if (pattern[1] == '{') {
			if (have == 1 || !(parts[n] = decode(path + 1, have - 1)))
				break;
			n++;
		} else if (want != have || memcmp(pattern, path, want) != 0) {
			break;
		}
		pattern += want;
		path += have;
	}
	if (!*pattern && !*path)
		return true;
	free_parts(parts);
	return false;
}

static void read_query(struct api_request *request)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request->http);
	const char *text = evhttp_uri_get_query(uri);

	if (!text)
		return;
	request->query = calloc(1, sizeof(*request->query));
	if (request->query && evhttp_parse_query_str(text, request->query) < 0) {
		free(request->query);
		request->query = NULL;
	}
}

/* 0, or -1 after an answer. */
static int read_body(struct api_request *request, enum api_body wanted)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request->http);
	size_t len = evbuffer_get_length(in);
	size_t max = wanted == API_BODY_STATE ? STATE_MAX : API_BODY_MAX;
	struct error err;

	if (len > max) {
		error_set(&err, 413, NULL, "a body of %zu bytes, %zu at most are taken", len, max);
	} else if (wanted == API_BODY_NONE) {
		return 0;
	} else {
		request->body = json_read_deeper(len ? (const char *)evbuffer_pullup(in, -1) : "",
			len, wanted == API_BODY_STATE ? STATE_DEPTH : 0, &err);
		if (request->body)
			return 0;
	}
	evbuffer_drain(in, len);
	api_problem(request, &err);
	return -1;
}

/* 404, or 405 with what the path does allow. */
static void no_route(struct api_request *request, const char *path, const char *method)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request->http);
	char allow[64] = "";
	struct error err;

	for (const struct api_route *r = api_routes; r->path; r++) {
		if (!match(r->path, path, request->parts))
			continue;
		free_parts(request->parts);
		snprintf(allow + strlen(allow), sizeof(allow) - strlen(allow), "%s%s",
			*allow ? ", " : "", r->method);
	}
	if (*allow) {
		evhttp_add_header(headers, "Allow", allow);
		error_set(&err, 405, NULL, "%s is not allowed on %.200s (%s)", method, path, allow);
	} else {
		error_set(&err, 404, NULL, "there is no %.200s", path);
	}
	api_problem(request, &err);
}

void api_route(struct netctld *daemon, struct evhttp_request *http)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(http);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	const char *method = method_name(evhttp_request_get_command(http));
	struct api_request *request = calloc(1, sizeof(*request));
	const struct api_route *r;

	if (!request) {
		evhttp_send_error(http, 503, NULL);
		return;
	}
	request->daemon = daemon;
	request->http = http;
	if (!path || *path != '/')
		path = "/";
	/* HEAD is GET whose body evhttp leaves out. */
	for (r = api_routes; r->path; r++) {
		if (strcmp(strcmp(method, "HEAD") == 0 ? "GET" : method, r->method) == 0 &&
			match(r->path, path, request->parts))
			break;
	}
	if (!r->path) {
		no_route(request, path, method);
		return;
	}
	read_query(request);
	if (read_body(request, r->body) == 0)
		r->handler(request);
}
