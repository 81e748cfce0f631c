/* SPDX-License-Identifier: MIT */
/* GET /v1/version and /v1/health. */
#include "ctl/api/routes.h"

#include "ctl/json_read.h"
#include "proto/rpc.h"

void api_version_get(struct api_request *request)
{
	struct json_object *doc = json_object_new_object();

	json_put_string(doc, "version", NETCTL_VERSION);
	json_put_string(doc, "api", "v1");
	json_put_int(doc, "protocol", RPC_VERSION);
	api_reply(request, 200, doc);
}

void api_health_get(struct api_request *request)
{
	struct json_object *doc = json_object_new_object();

	json_put_string(doc, "status", "ok");
	json_put_bool(doc, "spawner", supervisor_spawner_up(request->daemon->supervisor));
	json_put_int(doc, "vms", (int64_t)request->daemon->vms.n);
	api_reply(request, 200, doc);
}
