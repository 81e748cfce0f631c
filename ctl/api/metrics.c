/* SPDX-License-Identifier: MIT */
/*
 * GET /metrics: each worker is asked for its counters, and a scrape waits for all of them; for
 * WORKER_CLIENT_BUSY_MS at most, so that one that hangs only leaves its own out.
 */
#include "ctl/api/routes.h"

#include "ctl/metrics.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>

struct scrape {
	struct api_request *request;
	struct metrics *metrics;
	unsigned pending;
};

/* One worker's part in a scrape. */
struct part {
	struct scrape *scrape;
	unsigned vm;
};

static void finish(struct scrape *scrape)
{
	struct evhttp_request *http = scrape->request->http;

	if (--scrape->pending)
		return;
	evhttp_add_header(evhttp_request_get_output_headers(http), "Content-Type",
		"text/plain; version=0.0.4; charset=utf-8");
	metrics_print(scrape->metrics, evhttp_request_get_output_buffer(http));
	evhttp_send_reply(http, 200, NULL, NULL);
	api_done(scrape->request);
	metrics_free(scrape->metrics);
	free(scrape);
}

static void on_stats(void *arg, int code, const char *text, const struct worker_stats *stats)
{
	struct part *part = arg;
	struct scrape *scrape = part->scrape;

	(void)text;
	metrics_add(scrape->metrics, METRIC_WORKER_ANSWERED, part->vm, 0, code == 0);
	if (!code)
		metrics_add_stats(scrape->metrics, part->vm, stats);
	finish(scrape);
	free(part);
}

static void ask(struct scrape *scrape, struct vm *vm)
{
	struct worker_client *client = supervised_client(vm->slot);
	unsigned number = metrics_vm(scrape->metrics, vm->config.name);
	struct supervised_info info;
	struct part *part;

	if (number == METRICS_NO_VM)
		return;
	supervised_info(vm->slot, &info);
	metrics_add(scrape->metrics, METRIC_WORKER_UP, number, 0, client != NULL);
	metrics_add(scrape->metrics, METRIC_WORKER_RESTARTS, number, 0, info.restarts);
	metrics_add(scrape->metrics, METRIC_LINK_CONNECTED, number, 0, vm->link_up);
	metrics_add(scrape->metrics, METRIC_VSOCK_CONNECTED, number, 0, vm->vsock.up);
	metrics_add(scrape->metrics, METRIC_FORWARDS, number, 0, vm->n_forwards);
	part = client ? calloc(1, sizeof(*part)) : NULL;
	if (!part)
		return;
	part->scrape = scrape;
	part->vm = number;
	scrape->pending++;
	worker_client_busy(client, on_stats, part);
}

static void add_own(struct metrics *metrics, struct netctld *daemon)
{
	int64_t oldest, newest;
	struct error ignored;

	metrics_add(metrics, METRIC_BUILD, METRICS_NO_VM, 0, 1);
	metrics_add(metrics, METRIC_VMS, METRICS_NO_VM, 0, daemon->vms.n);
	metrics_add(metrics, METRIC_SPAWNER_UP, METRICS_NO_VM, 0,
		supervisor_spawner_up(daemon->supervisor));
	if (events_bounds(daemon->events, &oldest, &newest, &ignored) == 0)
		metrics_add(metrics, METRIC_EVENTS, METRICS_NO_VM, 0, (uint64_t)newest);
}

void api_metrics_get(struct api_request *request)
{
	struct scrape *scrape = calloc(1, sizeof(*scrape));
	struct error err;
	struct vm *vm;

	if (scrape)
		scrape->metrics = metrics_new();
	if (!scrape || !scrape->metrics) {
		free(scrape);
		error_set(&err, 500, NULL, "out of memory");
		api_problem(request, &err);
		return;
	}
	scrape->request = request;
	scrape->pending = 1;
	add_own(scrape->metrics, request->daemon);
	TAILQ_FOREACH(vm, &request->daemon->vms.list, next)
		ask(scrape, vm);
	finish(scrape);
}
