/* SPDX-License-Identifier: MIT */
/*
 * GET /metrics: Prometheus' text format, version 0.0.4.
 *
 * Each worker is asked for its counters; a scrape waits for all of them. A counter "link.rx.frames"
 * becomes netctl_link_rx_frames_total{vm="web"}. Samples of one metric stand together, as the format
 * wants.
 */
#include "ctl/api/routes.h"

#include <ctype.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sample {
	char name[80];
	char vm[VM_NAME_MAX + 1];
	uint64_t value;
};

struct scrape {
	struct api_request *request;
	struct sample *samples;
	size_t n;
	size_t room;
	unsigned pending;
};

/* One worker's part in a scrape. */
struct part {
	struct scrape *scrape;
	char vm[VM_NAME_MAX + 1];
};

static void add(
	struct scrape *scrape, const char *vm, const char *name, const char *suffix, uint64_t value)
{
	struct sample *s;

	if (scrape->n == scrape->room) {
		size_t room = scrape->room ? 2 * scrape->room : 256;

		s = realloc(scrape->samples, room * sizeof(*s));
		if (!s)
			return;
		scrape->samples = s;
		scrape->room = room;
	}
	s = &scrape->samples[scrape->n++];
	snprintf(s->name, sizeof(s->name), "netctl_%s%s", name, suffix);
	for (char *p = s->name; *p; p++) {
		if (!isalnum((unsigned char)*p))
			*p = '_';
	}
	snprintf(s->vm, sizeof(s->vm), "%s", vm);
	s->value = value;
}

static int by_name(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : strcmp(x->vm, y->vm);
}

static void print(struct scrape *scrape, struct evbuffer *out)
{
	const char *last = "";

	if (scrape->n)
		qsort(scrape->samples, scrape->n, sizeof(*scrape->samples), by_name);
	for (size_t i = 0; i < scrape->n; i++) {
		const struct sample *s = &scrape->samples[i];
		size_t len = strlen(s->name);
		bool counter = len > 6 && strcmp(s->name + len - 6, "_total") == 0;

		if (strcmp(s->name, last) != 0)
			evbuffer_add_printf(
				out, "# TYPE %s %s\n", s->name, counter ? "counter" : "gauge");
		last = s->name;
		if (s->vm[0])
			evbuffer_add_printf(
				out, "%s{vm=\"%s\"} %" PRIu64 "\n", s->name, s->vm, s->value);
		else
			evbuffer_add_printf(out, "%s %" PRIu64 "\n", s->name, s->value);
	}
}

static void finish(struct scrape *scrape)
{
	struct evhttp_request *http = scrape->request->http;

	if (--scrape->pending)
		return;
	evhttp_add_header(evhttp_request_get_output_headers(http), "Content-Type",
		"text/plain; version=0.0.4");
	print(scrape, evhttp_request_get_output_buffer(http));
	evhttp_send_reply(http, 200, NULL, NULL);
	api_done(scrape->request);
	free(scrape->samples);
	free(scrape);
}

static void on_stats(void *arg, int code, const char *text, const struct worker_stats *stats)
{
	struct part *part = arg;
	struct scrape *scrape = part->scrape;

	(void)text;
	if (!code) {
		for (size_t i = 0; i < stats->n_counters; i++)
			add(scrape, part->vm, stats->counters[i].name, "_total",
				stats->counters[i].value);
		add(scrape, part->vm, "flows.tcp", "", stats->tcp_flows);
		add(scrape, part->vm, "flows.udp", "", stats->udp_flows);
		add(scrape, part->vm, "flows.icmp", "", stats->icmp_flows);
		add(scrape, part->vm, "flows.vsock", "", stats->vsock_conns);
		add(scrape, part->vm, "flows.tsi_listeners", "", stats->tsi_listeners);
		add(scrape, part->vm, "flows.tsi_proxies", "", stats->tsi_proxies);
	}
	finish(scrape);
	free(part);
}

static void ask(struct scrape *scrape, struct vm *vm)
{
	struct worker_client *client = supervised_client(vm->slot);
	struct supervised_info info;
	struct part *part;

	supervised_info(vm->slot, &info);
	add(scrape, vm->config.name, "worker.restarts", "_total", info.restarts);
	add(scrape, vm->config.name, "link.connected", "", vm->link_up);
	add(scrape, vm->config.name, "forwards", "", vm->n_forwards);
	part = client ? calloc(1, sizeof(*part)) : NULL;
	if (!part)
		return;
	part->scrape = scrape;
	memcpy(part->vm, vm->config.name, sizeof(part->vm));
	scrape->pending++;
	worker_client_stats(client, on_stats, part);
}

void api_metrics_get(struct api_request *request)
{
	struct scrape *scrape = calloc(1, sizeof(*scrape));
	struct error err;
	struct vm *vm;

	if (!scrape) {
		error_set(&err, 500, NULL, "out of memory");
		api_problem(request, &err);
		return;
	}
	scrape->request = request;
	scrape->pending = 1;
	add(scrape, "", "vms", "", request->daemon->vms.n);
	add(scrape, "", "spawner.up", "", supervisor_spawner_up(request->daemon->supervisor));
	TAILQ_FOREACH(vm, &request->daemon->vms.list, next)
		ask(scrape, vm);
	finish(scrape);
}
