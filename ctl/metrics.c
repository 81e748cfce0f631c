/* SPDX-License-Identifier: MIT */
/* Metrics. See metrics.h. */
#include "ctl/metrics.h"

#include "dataplane/counters.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DROP_PREFIX "drop."

struct family {
	const char *name;
	const char *help;
	const char *type;
	const char *label; /* or NULL */
};

static const struct family families[METRIC_FIXED] = {
	[METRIC_BUILD] = {"netctl_build_info", "Always 1; which netctld this is.", "gauge",
		"version"},
	[METRIC_VMS] = {"netctl_vms", "VMs that netctld knows.", "gauge", NULL},
	[METRIC_SPAWNER_UP] = {"netctl_spawner_up", "Whether workers can be started.", "gauge",
		NULL},
	[METRIC_EVENTS] = {"netctl_events_total", "Events so far: the id of the newest.", "counter",
		NULL},
	[METRIC_LINK_CONNECTED] = {"netctl_link_connected", "Whether a VMM is at the VM's link.",
		"gauge", NULL},
	[METRIC_VSOCK_CONNECTED] = {"netctl_vsock_connected", "Whether a VMM is at the VM's vsock.",
		"gauge", NULL},
	[METRIC_FORWARDS] = {"netctl_forwards", "Forwards of the VM.", "gauge", NULL},
	[METRIC_WORKER_UP] = {"netctl_worker_up", "Whether the VM has a worker.", "gauge", NULL},
	[METRIC_WORKER_ANSWERED] = {"netctl_worker_answered",
		"Whether the worker gave its counters for this scrape.", "gauge", NULL},
	[METRIC_WORKER_RESTARTS] = {"netctl_worker_restarts_total",
		"Workers of the VM that died by themselves.", "counter", NULL},
	[METRIC_FLOWS] = {"netctl_flows", "Live flows.", "gauge", "kind"},
	[METRIC_DROPS] = {"netctl_drops_total", "Frames and packets dropped.", "counter", "cause"},
};

static const char *const flow_kinds[] = {
	[METRIC_FLOWS_TCP] = "tcp",
	[METRIC_FLOWS_UDP] = "udp",
	[METRIC_FLOWS_ICMP] = "icmp",
	[METRIC_FLOWS_VSOCK] = "vsock",
	[METRIC_FLOWS_TSI_LISTENER] = "tsi_listener",
	[METRIC_FLOWS_TSI_PROXY] = "tsi_proxy",
};

static const char *const counters[COUNTER_COUNT] = {
#define COUNTER_NAME(id, name) name,
	COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
};

static const char *const histograms[HISTOGRAM_COUNT] = {
#define HISTOGRAM_NAME(id, name) name,
	HISTOGRAMS(HISTOGRAM_NAME)
#undef HISTOGRAM_NAME
};

static const struct family histogram_families[HISTOGRAM_COUNT] = {
	[HISTOGRAM_CONNECT] = {"netctl_connect_duration_seconds",
		"How long TCP connects of the guest took until they stood.", "histogram", NULL},
	[HISTOGRAM_DNS] = {"netctl_dns_duration_seconds",
		"How long questions took that DNS upstreams were asked.", "histogram", NULL},
};

static const char *const bounds[] = {
#define HISTOGRAM_TEXT(us, text) text,
	HISTOGRAM_BOUNDS(HISTOGRAM_TEXT)
#undef HISTOGRAM_TEXT
};

/* What the names of counters alone do not say. */
static const struct {
	const char *name, *help;
} helps[] = {
	{"link.rx.frames", "Frames from the guest."},
	{"link.rx.bytes", "Bytes of frames from the guest."},
	{"link.tx.frames", "Frames to the guest."},
	{"link.tx.bytes", "Bytes of frames to the guest."},
	{"link.ups", "VMMs that connected to the link."},
	{"link.refused", "VMMs that were turned away, the link being in use."},
	{"dhcp.requests", "DHCP messages of the guest."},
	{"dns.queries", "DNS questions of the guest."},
	{"dns.answered_locally", "DNS questions answered by local names."},
	{"dns.forwarded", "DNS questions that upstreams were asked."},
	{"dns.servfail", "DNS questions that no upstream answered."},
	{"dns.bounds", "DNS questions dropped, too many being under way."},
	{"egress.dials", "Flows of the guest that were begun on the host."},
	{"egress.refused_by_policy", "Flows that the policy refused."},
	{"egress.failed", "Flows that the host could not begin."},
	{"egress.half_open_bound", "Connects dropped, too many being half-open."},
	{"egress.no_fds", "Flows refused for want of descriptors."},
	{"udp.tx.datagrams", "UDP datagrams from the guest."},
	{"udp.rx.datagrams", "UDP datagrams to the guest."},
	{"udp.tx.bytes", "UDP payload from the guest."},
	{"udp.rx.bytes", "UDP payload to the guest."},
	{"tcp.out", "TCP handshakes that the guest began."},
	{"tcp.in", "TCP handshakes begun towards the guest."},
	{"tcp.established", "TCP handshakes that were completed."},
	{"tcp.refused", "TCP handshakes that were refused."},
	{"tcp.tx.bytes", "TCP payload from the guest."},
	{"tcp.rx.bytes", "TCP payload to the guest."},
	{"vsock.in", "vsock connections that the guest began."},
	{"vsock.out", "vsock connections begun towards the guest."},
	{"vsock.rx.bytes", "vsock payload from the guest."},
	{"vsock.tx.bytes", "vsock payload to the guest."},
	{"tsi.connects", "Connects of the guest's through TSI."},
	{"control.events_dropped", "Events that the worker could not tell."},
};

struct sample {
	uint16_t metric; /* enum metric, or METRIC_FIXED and a counter */
	uint16_t label;
	uint32_t vm;
	uint64_t value;
};

struct vm_name {
	char text[64];
};

struct vm_histogram {
	uint32_t vm;
	enum histogram_id id;
	struct histogram counts;
};

struct metrics {
	struct sample *samples;
	size_t n, room;
	struct vm_name *vms; /* from 1 */
	size_t n_vms, vms_room;
	struct vm_histogram *histograms;
	size_t n_histograms, histograms_room;
};

struct metrics *metrics_new(void)
{
	return calloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *metrics)
{
	if (!metrics)
		return;
	free(metrics->samples);
	free(metrics->vms);
	free(metrics->histograms);
	free(metrics);
}

/* One more place in an array. */
static void *grow(void *array, size_t n, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 64;
	void *grown;

	if (n < *room)
		return array;
	grown = realloc(array, more * size);
	if (grown)
		*room = more;
	return grown;
}

unsigned metrics_vm(struct metrics *metrics, const char *name)
{
	struct vm_name *vms = grow(
		metrics->vms, metrics->n_vms, &metrics->vms_room, sizeof(*metrics->vms));

	if (!vms)
		return METRICS_NO_VM;
	metrics->vms = vms;
	snprintf(vms[metrics->n_vms].text, sizeof(vms->text), "%s", name);
	return (unsigned)++metrics->n_vms;
}

static void add(
	struct metrics *metrics, unsigned metric, unsigned vm, unsigned label, uint64_t value)
{
	struct sample *samples = grow(
		metrics->samples, metrics->n, &metrics->room, sizeof(*metrics->samples));

	if (!samples)
		return;
	metrics->samples = samples;
	samples[metrics->n++] = (struct sample){(uint16_t)metric, (uint16_t)label, vm, value};
}

void metrics_add(
	struct metrics *metrics, enum metric metric, unsigned vm, unsigned label, uint64_t value)
{
	add(metrics, metric, vm, label, value);
}

/* ---- a worker's ---- */

static bool is_drop(unsigned counter)
{
	return strncmp(counters[counter], DROP_PREFIX, strlen(DROP_PREFIX)) == 0;
}

/* COUNTER_COUNT where this program has none of that name. They come in our order, mostly. */
static unsigned find_counter(const char *name, unsigned from)
{
	for (unsigned i = 0; i < COUNTER_COUNT; i++) {
		unsigned at = (from + i) % COUNTER_COUNT;

		if (strcmp(counters[at], name) == 0)
			return at;
	}
	return COUNTER_COUNT;
}

static void add_counters(struct metrics *metrics, unsigned vm, const struct worker_stats *stats)
{
	bool seen[COUNTER_COUNT] = {false};
	unsigned next = 0;

	for (size_t i = 0; i < stats->n_counters; i++) {
		unsigned counter = find_counter(stats->counters[i].name, next);

		if (counter == COUNTER_COUNT || seen[counter])
			continue;
		seen[counter] = true;
		next = counter + 1;
		if (is_drop(counter))
			add(metrics, METRIC_DROPS, vm, counter, stats->counters[i].value);
		else
			add(metrics, METRIC_FIXED + counter, vm, 0, stats->counters[i].value);
	}
}

static void add_histogram(
	struct metrics *metrics, unsigned vm, enum histogram_id id, const struct histogram *counts)
{
	struct vm_histogram *list = grow(metrics->histograms, metrics->n_histograms,
		&metrics->histograms_room, sizeof(*metrics->histograms));

	if (!list)
		return;
	metrics->histograms = list;
	list[metrics->n_histograms++] = (struct vm_histogram){vm, id, *counts};
}

static const struct histogram *find_histogram(const struct worker_stats *stats, const char *name)
{
	for (size_t i = 0; i < stats->n_histograms; i++) {
		if (strcmp(stats->histograms[i].name, name) == 0)
			return &stats->histograms[i].counts;
	}
	return NULL;
}

void metrics_add_stats(struct metrics *metrics, unsigned vm, const struct worker_stats *stats)
{
	const uint64_t flows[] = {
		[METRIC_FLOWS_TCP] = stats->tcp_flows,
		[METRIC_FLOWS_UDP] = stats->udp_flows,
		[METRIC_FLOWS_ICMP] = stats->icmp_flows,
		[METRIC_FLOWS_VSOCK] = stats->vsock_conns,
		[METRIC_FLOWS_TSI_LISTENER] = stats->tsi_listeners,
		[METRIC_FLOWS_TSI_PROXY] = stats->tsi_proxies,
	};

	for (unsigned i = 0; i < sizeof(flows) / sizeof(*flows); i++)
		add(metrics, METRIC_FLOWS, vm, i, flows[i]);
	add_counters(metrics, vm, stats);
	for (unsigned i = 0; i < HISTOGRAM_COUNT; i++) {
		const struct histogram *counts = find_histogram(stats, histograms[i]);

		if (counts)
			add_histogram(metrics, vm, (enum histogram_id)i, counts);
	}
}

/* ---- the text ---- */

static int by_family(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	if (x->metric != y->metric)
		return x->metric < y->metric ? -1 : 1;
	if (x->vm != y->vm)
		return x->vm < y->vm ? -1 : 1;
	return x->label < y->label ? -1 : x->label > y->label;
}

static int by_histogram(const void *a, const void *b)
{
	const struct vm_histogram *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->vm < y->vm ? -1 : x->vm > y->vm;
}

static const char *help_of(const char *counter)
{
	for (size_t i = 0; i < sizeof(helps) / sizeof(*helps); i++) {
		if (strcmp(helps[i].name, counter) == 0)
			return helps[i].help;
	}
	return NULL;
}

static void print_head(struct evbuffer *out, const struct family *family)
{
	evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help,
		family->name, family->type);
}

/* The family of a counter, in the caller's buffers. */
static struct family counter_family(
	unsigned counter, char *name, size_t name_len, char *help, size_t help_len)
{
	const char *known = help_of(counters[counter]);

	snprintf(name, name_len, "netctl_%s_total", counters[counter]);
	for (char *p = name; *p; p++) {
		if (*p == '.')
			*p = '_';
	}
	snprintf(help, help_len, "The counter %s of the VM's worker.", counters[counter]);
	return (struct family){name, known ? known : help, "counter", NULL};
}

static const char *label_of(const struct sample *s)
{
	switch (s->metric) {
	case METRIC_BUILD:
		return NETCTL_VERSION;
	case METRIC_FLOWS:
		return flow_kinds[s->label];
	case METRIC_DROPS:
		return counters[s->label] + strlen(DROP_PREFIX);
	default:
		return "";
	}
}

static void print_sample(const struct metrics *metrics, struct evbuffer *out,
	const struct family *family, const struct sample *s)
{
	evbuffer_add_printf(out, "%s", family->name);
	if (s->vm && family->label)
		evbuffer_add_printf(out, "{vm=\"%s\",%s=\"%s\"}", metrics->vms[s->vm - 1].text,
			family->label, label_of(s));
	else if (s->vm)
		evbuffer_add_printf(out, "{vm=\"%s\"}", metrics->vms[s->vm - 1].text);
	else if (family->label)
		evbuffer_add_printf(out, "{%s=\"%s\"}", family->label, label_of(s));
	evbuffer_add_printf(out, " %" PRIu64 "\n", s->value);
}

static void print_histogram(
	const struct metrics *metrics, struct evbuffer *out, const struct vm_histogram *h)
{
	const char *name = histogram_families[h->id].name, *vm = metrics->vms[h->vm - 1].text;
	uint64_t count = 0;

	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		count += h->counts.bucket[i];
		evbuffer_add_printf(out, "%s_bucket{vm=\"%s\",le=\"%s\"} %" PRIu64 "\n", name, vm,
			i < HISTOGRAM_BUCKETS - 1 ? bounds[i] : "+Inf", count);
	}
	evbuffer_add_printf(out, "%s_sum{vm=\"%s\"} %" PRIu64 ".%06" PRIu64 "\n", name, vm,
		h->counts.sum_us / 1000000, h->counts.sum_us % 1000000);
	evbuffer_add_printf(out, "%s_count{vm=\"%s\"} %" PRIu64 "\n", name, vm, count);
}

static void print_samples(struct metrics *metrics, struct evbuffer *out)
{
	char name[96], help[128];
	struct family family = {0};
	int last = -1;

	if (metrics->n)
		qsort(metrics->samples, metrics->n, sizeof(*metrics->samples), by_family);
	for (size_t i = 0; i < metrics->n; i++) {
		const struct sample *s = &metrics->samples[i];

		if (s->metric != last) {
			last = s->metric;
			family = last < METRIC_FIXED
				? families[last]
				: counter_family((unsigned)last - METRIC_FIXED, name, sizeof(name),
					  help, sizeof(help));
			print_head(out, &family);
		}
		print_sample(metrics, out, &family, s);
	}
}

void metrics_print(struct metrics *metrics, struct evbuffer *out)
{
	print_samples(metrics, out);
	if (metrics->n_histograms)
		qsort(metrics->histograms, metrics->n_histograms, sizeof(*metrics->histograms),
			by_histogram);
	for (size_t i = 0; i < metrics->n_histograms; i++) {
		const struct vm_histogram *h = &metrics->histograms[i];

		if (!i || h->id != h[-1].id)
			print_head(out, &histogram_families[h->id]);
		print_histogram(metrics, out, h);
	}
}
