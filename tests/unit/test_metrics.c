/* SPDX-License-Identifier: MIT */
/* A scrape's text: families once, labels bounded whatever a worker says, histograms cumulative. */
#include "ctl/metrics.h"

#include "dataplane/counters.h"
#include "tests/unit/check_main.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct metrics *metrics;
static struct worker_counter list[64];
static struct worker_stats stats;
static char *text;

static void set_up(void)
{
	metrics = metrics_new();
	memset(list, 0, sizeof(list));
	memset(&stats, 0, sizeof(stats));
	stats.counters = list;
	text = NULL;
}

static void tear_down(void)
{
	metrics_free(metrics);
	free(text);
}

static void counter(const char *name, uint64_t value)
{
	snprintf(list[stats.n_counters].name, sizeof(list->name), "%s", name);
	list[stats.n_counters++].value = value;
}

static void print(void)
{
	struct evbuffer *out = evbuffer_new();
	size_t len;

	metrics_print(metrics, out);
	len = evbuffer_get_length(out);
	text = calloc(1, len + 1);
	ck_assert_ptr_nonnull(text);
	evbuffer_remove(out, text, len);
	evbuffer_free(out);
}

static bool has(const char *line)
{
	return strstr(text, line) != NULL;
}

static unsigned times(const char *what)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

START_TEST(samples_of_a_family_stand_together)
{
	counter("link.rx.bytes", 7);
	counter("tcp.out", 1);
	for (int i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "vm%d", i);
		metrics_add_stats(metrics, metrics_vm(metrics, name), &stats);
	}
	print();
	ck_assert(has("# HELP netctl_link_rx_bytes_total Bytes of frames from the guest.\n"
		      "# TYPE netctl_link_rx_bytes_total counter\n"
		      "netctl_link_rx_bytes_total{vm=\"vm0\"} 7\n"
		      "netctl_link_rx_bytes_total{vm=\"vm1\"} 7\n"
		      "netctl_link_rx_bytes_total{vm=\"vm2\"} 7\n"));
	ck_assert_uint_eq(times("# TYPE netctl_tcp_out_total counter\n"), 1);
}
END_TEST

START_TEST(drops_are_one_family_by_cause)
{
	counter("drop.checksum", 3);
	counter("drop.malformed", 4);
	metrics_add_stats(metrics, metrics_vm(metrics, "a"), &stats);
	print();
	ck_assert_uint_eq(times("# TYPE netctl_drops_total counter\n"), 1);
	ck_assert(has("netctl_drops_total{vm=\"a\",cause=\"checksum\"} 3\n"));
	ck_assert(has("netctl_drops_total{vm=\"a\",cause=\"malformed\"} 4\n"));
}
END_TEST

START_TEST(names_that_a_worker_makes_up_are_left_out)
{
	counter("link.rx.bytes\"} 1\nx", 1);
	counter("vms", 1);
	counter("tcp.out", 5);
	counter("tcp.out", 6);
	counter("evil.0001", 1);
	stats.n_histograms = 1;
	snprintf(stats.histograms[0].name, sizeof(stats.histograms[0].name), "evil");
	metrics_add_stats(metrics, metrics_vm(metrics, "a"), &stats);
	print();
	ck_assert(!has("evil") && !has("netctl_vms_total") && !has("\nx"));
	ck_assert_uint_eq(times("netctl_tcp_out_total{"), 1);
	ck_assert(has("netctl_tcp_out_total{vm=\"a\"} 5\n"));
	ck_assert(!has("duration"));
}
END_TEST

START_TEST(histograms_are_cumulative)
{
	struct histogram *counts = &stats.histograms[0].counts;

	stats.n_histograms = 1;
	snprintf(stats.histograms[0].name, sizeof(stats.histograms[0].name), "egress.connect");
	histogram_add(counts, 0);
	histogram_add(counts, 250);
	histogram_add(counts, 251);
	histogram_add(counts, 30000000);
	histogram_add(counts, 30000001);
	metrics_add_stats(metrics, metrics_vm(metrics, "a"), &stats);
	print();
	ck_assert(has("# TYPE netctl_connect_duration_seconds histogram\n"));
	ck_assert(has("netctl_connect_duration_seconds_bucket{vm=\"a\",le=\"0.00025\"} 2\n"));
	ck_assert(has("netctl_connect_duration_seconds_bucket{vm=\"a\",le=\"0.0005\"} 3\n"));
	ck_assert(has("netctl_connect_duration_seconds_bucket{vm=\"a\",le=\"10\"} 3\n"));
	ck_assert(has("netctl_connect_duration_seconds_bucket{vm=\"a\",le=\"30\"} 4\n"));
	ck_assert(has("netctl_connect_duration_seconds_bucket{vm=\"a\",le=\"+Inf\"} 5\n"
		      "netctl_connect_duration_seconds_sum{vm=\"a\"} 60.000502\n"
		      "netctl_connect_duration_seconds_count{vm=\"a\"} 5\n"));
}
END_TEST

START_TEST(every_counter_of_the_worker_is_a_metric)
{
	static const char *const names[] = {
#define NAME(id, name) name,
		COUNTERS(NAME)
#undef NAME
	};
	static struct worker_counter all[COUNTER_COUNT];
	unsigned drops = 0;

	for (unsigned i = 0; i < COUNTER_COUNT; i++) {
		snprintf(all[i].name, sizeof(all[i].name), "%s", names[i]);
		drops += strncmp(names[i], "drop.", 5) == 0;
	}
	stats.counters = all;
	stats.n_counters = COUNTER_COUNT;
	metrics_add_stats(metrics, metrics_vm(metrics, "a"), &stats);
	print();
	ck_assert_uint_eq(times("# HELP "), COUNTER_COUNT - drops + 2);
	ck_assert_uint_eq(times("netctl_drops_total{"), drops);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metrics");
	TCase *tc = tcase_create("metrics");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, samples_of_a_family_stand_together);
	tcase_add_test(tc, drops_are_one_family_by_cause);
	tcase_add_test(tc, names_that_a_worker_makes_up_are_left_out);
	tcase_add_test(tc, histograms_are_cumulative);
	tcase_add_test(tc, every_counter_of_the_worker_is_a_metric);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
