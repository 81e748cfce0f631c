/* SPDX-License-Identifier: MIT */
/* /v1/vms/{vm}/stats and …/flows: asked of the worker; empty where there is none. */
#include "ctl/api/routes.h"

#include "ctl/json_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOWS_DEFAULT 10000
#define FLOWS_MAX 100000

/* Of a worker that failed to answer; where it died there are simply no numbers. */
static bool failed(struct api_request *request, int code, const char *text)
{
	struct error err;

	if (!code)
		return false;
	error_set(&err, 503, NULL, "VM %s: worker: %s", request->parts[0], text);
	api_problem(request, &err);
	return true;
}

static struct json_object *stats_json(const char *vm, const struct worker_stats *stats)
{
	struct json_object *doc = json_object_new_object(), *counters = json_object_new_object();
	struct json_object *flows = json_object_new_object();

	json_put_string(doc, "vm", vm);
	for (size_t i = 0; stats && i < stats->n_counters; i++)
		json_put_int(counters, stats->counters[i].name, (int64_t)stats->counters[i].value);
	json_object_object_add(doc, "counters", counters);
	json_put_int(flows, "tcp", stats ? stats->tcp_flows : 0);
	json_put_int(flows, "udp", stats ? stats->udp_flows : 0);
	json_put_int(flows, "icmp", stats ? stats->icmp_flows : 0);
	json_put_int(flows, "vsock", stats ? stats->vsock_conns : 0);
	json_put_int(flows, "tsi_listeners", stats ? stats->tsi_listeners : 0);
	json_put_int(flows, "tsi_proxies", stats ? stats->tsi_proxies : 0);
	json_object_object_add(doc, "flows", flows);
	return doc;
}

static void on_stats(void *arg, int code, const char *text, const struct worker_stats *stats)
{
	struct api_request *request = arg;

	if (!failed(request, code, text))
		api_reply(request, 200, stats_json(request->parts[0], stats));
}

void api_stats_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct worker_client *client = vm ? supervised_client(vm->slot) : NULL;

	if (client)
		worker_client_stats(client, on_stats, request);
	else if (vm)
		api_reply(request, 200, stats_json(vm->config.name, NULL));
}

static void put_endpoint(struct json_object *doc, const char *key, const struct endpoint *e)
{
	char text[ENDPOINT_STRLEN];

	json_put_string(doc, key, endpoint_format(e, text, sizeof(text)));
}

static const char *proto_name(int proto)
{
	switch (proto) {
	case 1:
		return "icmp";
	case 6:
		return "tcp";
	case WORKER_FLOW_VSOCK:
		return "vsock";
	default:
		return "udp";
	}
}

/* An address, or where there is none "vsock:PORT". */
static void put_end(struct json_object *doc, const char *key, const struct worker_flow *flow,
	const struct endpoint *end, uint32_t vsock_port)
{
	char text[32];

	if (flow->proto != WORKER_FLOW_VSOCK || end->port) {
		put_endpoint(doc, key, end);
		return;
	}
	snprintf(text, sizeof(text), "vsock:%u", (unsigned)vsock_port);
	json_put_string(doc, key, text);
}

static struct json_object *flow_json(const struct worker_flow *flow)
{
	struct json_object *doc = json_object_new_object();

	json_put_string(doc, "proto", proto_name(flow->proto));
	json_put_string(doc, "dir", flow->inbound ? "in" : "out");
	put_end(doc, "guest", flow, &flow->guest, flow->vsock_guest);
	put_end(doc, "remote", flow, &flow->remote, flow->vsock_host);
	if (flow->proto == WORKER_FLOW_VSOCK && !flow->host.port)
		json_put_string(doc, "host", NULL); /* a unix socket, or our own service */
	else
		put_endpoint(doc, "host", &flow->host);
	json_put_string(doc, "state", flow->state);
	json_put_int(doc, "age_ms", (int64_t)flow->age_ms);
	json_put_int(doc, "idle_ms", (int64_t)flow->idle_ms);
	json_put_int(doc, "tx_bytes", (int64_t)flow->tx_bytes);
	json_put_int(doc, "rx_bytes", (int64_t)flow->rx_bytes);
	return doc;
}

static void on_flows(void *arg, int code, const char *text, const struct worker_flow *flows,
	size_t n, bool truncated)
{
	struct api_request *request = arg;
	struct json_object *doc, *items;

	if (failed(request, code, text))
		return;
	doc = json_object_new_object();
	items = json_object_new_array();
	for (size_t i = 0; i < n; i++)
		json_object_array_add(items, flow_json(&flows[i]));
	json_object_object_add(doc, "items", items);
	json_put_bool(doc, "truncated", truncated);
	api_reply(request, 200, doc);
}

void api_flows_get(struct api_request *request)
{
	struct vm *vm = api_vm(request);
	struct worker_client *client;
	int64_t limit = FLOWS_DEFAULT;

	if (!vm || api_query_int(request, "limit", 1, FLOWS_MAX, &limit) < 0)
		return;
	client = supervised_client(vm->slot);
	if (client)
		worker_client_flows(client, (size_t)limit, on_flows, request);
	else
		on_flows(request, 0, "", NULL, 0, false);
}
