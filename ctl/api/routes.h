/* SPDX-License-Identifier: MIT */
/* The API's table of routes, and the handlers that it names, one file a resource. */
#ifndef CTL_API_ROUTES_H
#define CTL_API_ROUTES_H

#include "ctl/api/server.h"

#include <stdbool.h>

/* What a route wants of a body. */
enum api_body {
	API_BODY_NONE = false, /* nothing, or bytes that the handler reads */
	API_BODY_JSON = true,  /* a document, of API_BODY_MAX at most */
	API_BODY_STATE         /* a document of STATE_MAX */
};

struct api_route {
	const char *method;
	const char *path; /* "/v1/vms/{vm}" */
	void (*handler)(struct api_request *request);
	unsigned char body; /* enum api_body; a document is read before the handler runs */
};

/* Ends with a NULL path. */
extern const struct api_route api_routes[];

void api_version_get(struct api_request *request);
void api_health_get(struct api_request *request);
void api_metrics_get(struct api_request *request);
void api_events_get(struct api_request *request);
void api_state_get(struct api_request *request);
void api_state_put(struct api_request *request);
void api_vms_get(struct api_request *request);
void api_vms_post(struct api_request *request);
void api_vm_get(struct api_request *request);
void api_vm_patch(struct api_request *request);
void api_vm_reset(struct api_request *request);
void api_vm_delete(struct api_request *request);
void api_forwards_get(struct api_request *request);
void api_forwards_post(struct api_request *request);
void api_forward_get(struct api_request *request);
void api_forward_delete(struct api_request *request);
void api_policy_get(struct api_request *request);
void api_policy_put(struct api_request *request);
void api_policy_check(struct api_request *request);
void api_policy_stats(struct api_request *request);
void api_hosts_get(struct api_request *request);
void api_hosts_put(struct api_request *request);
void api_env_get(struct api_request *request);
void api_env_put(struct api_request *request);
void api_env_patch(struct api_request *request);
void api_secrets_get(struct api_request *request);
void api_secret_put(struct api_request *request);
void api_proxy_password_put(struct api_request *request);
void api_proxy_password_delete(struct api_request *request);
void api_secret_delete(struct api_request *request);
void api_snapshots_get(struct api_request *request);
void api_snapshots_post(struct api_request *request);
void api_snapshot_get(struct api_request *request);
void api_snapshot_export(struct api_request *request);
void api_snapshot_delete(struct api_request *request);
void api_vm_snapshots_get(struct api_request *request);
void api_vm_snapshots_post(struct api_request *request);
void api_vm_restore(struct api_request *request);
void api_maps_get(struct api_request *request);
void api_maps_post(struct api_request *request);
void api_map_delete(struct api_request *request);
void api_listeners_get(struct api_request *request);
void api_stats_get(struct api_request *request);
void api_flows_get(struct api_request *request);

#endif
