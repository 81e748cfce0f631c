/* SPDX-License-Identifier: MIT */
/* Samples for `netctl top`. See top_sample.h. */
#include "cli/top_sample.h"

#include "cli/http.h"
#include "cli/json.h"
#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- taking one ---- */

static const struct {
	const char *counter;
	enum top_figure figure;
} parts[] = {
	{"link.tx.bytes", TOP_IN},
	{"vsock.tx.bytes", TOP_IN},
	{"link.rx.bytes", TOP_OUT},
	{"vsock.rx.bytes", TOP_OUT},
	{"tcp.out", TOP_NEW},
	{"tcp.in", TOP_NEW},
	{"udp.flows", TOP_NEW},
	{"vsock.out", TOP_NEW},
	{"vsock.in", TOP_NEW},
	{"vsock.relays", TOP_NEW},
	{"egress.refused_by_policy", TOP_REFUSED},
	{"limit.flows", TOP_REFUSED},
	{"limit.new_flows", TOP_REFUSED},
};

void top_figures(struct json_object *stats, struct top_vm *vm)
{
	static const char *const flows[] = {"flows.tcp", "flows.udp", "flows.icmp", "flows.vsock"};
	struct json_object *counters = doc_get(stats, "counters");

	for (size_t i = 0; i < sizeof(flows) / sizeof(*flows); i++)
		vm->flows += doc_int(stats, flows[i]);
	if (!json_object_is_type(counters, json_type_object))
		return;
	json_object_object_foreach(counters, name, value)
	{
		uint64_t n = (uint64_t)json_object_get_int64(value);

		if (!strncmp(name, "drop.", 5))
			vm->figures[TOP_DROPPED] += n;
		for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
			if (!strcmp(name, parts[i].counter))
				vm->figures[parts[i].figure] += n;
	}
}

/* One that has gone meanwhile, or whose worker says nothing, has no figures. */
static int take_vm(struct cli *cli, struct json_object *doc, struct top_vm *vm)
{
	struct answer answer;
	int status;

	*vm = (struct top_vm){.flows = 0};
	snprintf(vm->name, sizeof(vm->name), "%s", doc_text(doc, "name"));
	snprintf(vm->state, sizeof(vm->state), "%s", doc_text(doc, "state"));
	status = http_send(cli, "GET", http_path("vms", vm->name, "stats", NULL), NULL, &answer);
	if (status)
		return status;
	if (answer.status == 200)
		top_figures(answer.body, vm);
	http_answer_free(&answer);
	return 0;
}

int top_sample_take(struct cli *cli, struct top_sample *sample)
{
	struct json_object *doc, *items;
	size_t n;
	int status = http_call(cli, "GET", http_path("vms", NULL), NULL, &doc);

	*sample = (struct top_sample){.at = clock_ms()};
	if (status)
		return status;
	items = doc_array(doc, "items", &n);
	sample->vms = calloc(n + 1, sizeof(*sample->vms));
	if (!sample->vms)
		abort();
	for (; !status && sample->n < n; sample->n++)
		status = take_vm(
			cli, json_object_array_get_idx(items, sample->n), &sample->vms[sample->n]);
	json_object_put(doc);
	if (status)
		top_sample_free(sample);
	return status;
}

void top_sample_free(struct top_sample *sample)
{
	free(sample->vms);
	*sample = (struct top_sample){.at = 0};
}

/* ---- two of them ---- */

static const struct top_vm *find(const struct top_sample *sample, const char *name)
{
	for (size_t i = 0; i < sample->n; i++)
		if (!strcmp(sample->vms[i].name, name))
			return &sample->vms[i];
	return NULL;
}

void top_sample_since(struct top_sample *sample, const struct top_sample *before)
{
	sample->seconds = sample->at > before->at ? (double)(sample->at - before->at) / 1000
						  : 0.001;
	for (size_t i = 0; i < sample->n; i++) {
		struct top_vm *vm = &sample->vms[i];
		const struct top_vm *was = find(before, vm->name);

		for (int f = 0; f < TOP_FIGURES; f++) {
			uint64_t old = was && was->figures[f] <= vm->figures[f] ? was->figures[f]
										: 0;

			vm->rates[f] = (double)(vm->figures[f] - old) / sample->seconds;
		}
	}
}

/* ---- order ---- */

const char top_sort_keys[] = "traffic, name, flows, in, out, new, refused or dropped";

static double traffic(const struct top_vm *vm)
{
	return vm->rates[TOP_IN] + vm->rates[TOP_OUT];
}

static int descending(double a, double b)
{
	return (a < b) - (a > b);
}

static int by_name(const void *one, const void *other)
{
	return strcmp(((const struct top_vm *)one)->name, ((const struct top_vm *)other)->name);
}

static int settle(int order, const void *one, const void *other)
{
	return order ? order : by_name(one, other);
}

static int by_traffic(const void *one, const void *other)
{
	return settle(descending(traffic(one), traffic(other)), one, other);
}

static int by_flows(const void *one, const void *other)
{
	const struct top_vm *a = one, *b = other;

	return settle(descending((double)a->flows, (double)b->flows), one, other);
}

#define BY_RATE(name, figure)                                                                      \
	static int name(const void *one, const void *other)                                        \
	{                                                                                          \
		const struct top_vm *a = one, *b = other;                                          \
                                                                                                   \
		return settle(descending(a->rates[figure], b->rates[figure]), one, other);         \
	}

BY_RATE(by_in, TOP_IN)
BY_RATE(by_out, TOP_OUT)
BY_RATE(by_new, TOP_NEW)
BY_RATE(by_refused, TOP_REFUSED)
BY_RATE(by_dropped, TOP_DROPPED)

int top_sample_sort(struct top_sample *sample, const char *key)
{
	static const struct {
		const char *key;
		int (*compare)(const void *one, const void *other);
	} keys[] = {
		{"traffic", by_traffic},
		{"name", by_name},
		{"flows", by_flows},
		{"in", by_in},
		{"out", by_out},
		{"new", by_new},
		{"refused", by_refused},
		{"dropped", by_dropped},
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (strcmp(keys[i].key, key ? key : "traffic") != 0)
			continue;
		if (sample->n)
			qsort(sample->vms, sample->n, sizeof(*sample->vms), keys[i].compare);
		return 0;
	}
	return -EINVAL;
}
