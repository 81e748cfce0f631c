/* SPDX-License-Identifier: MIT */
/*
 * bench_policy [ROUNDS]: what a policy costs, by its number of rules.
 *
 * load   the document's text to the table that is in force: parsed, read, compiled (as netctld
 *        does), checked and copied (as the worker does); without the store and the wire
 * flow   one destination at the egress door, and its end: judged by address and by the three names
 *        that every address has here, its pass made and left, its rule counted
 *
 * Half of the rules are prefixes, half names, half of these wildcards. Destinations are spread over
 * the rules; "none" are those that no rule matches and the default lets through.
 * Prints a line of JSON for each number of rules: medians over the rounds, in CPU time.
 */
#include "ctl/policy.h"
#include "dataplane/egress/dial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLOWS 200000u
#define ROUNDS_MAX 99

static const uint32_t sizes[] = {0, 100, 10000};

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "bench_policy: %s\n", what);
	exit(1);
}

/* ---- the document ---- */

static char *document(uint32_t rules)
{
	size_t size = 64 + (size_t)rules * 128, at;
	char *text = malloc(size);

	if (!text)
		fail("no memory");
	at = (size_t)snprintf(text, size, "{\"default\":\"allow\",\"rules\":[");
	for (uint32_t i = 0; i < rules; i++) {
		char to[64];

		if (i % 2)
			snprintf(to, sizeof(to), "%shost%u.example.com", i % 4 == 1 ? "*." : "", i);
		else
			snprintf(to, sizeof(to), "10.%u.%u.0/24", i >> 8, i & 255);
		at += (size_t)snprintf(text + at, size - at,
			"%s{\"action\":\"allow\",\"to\":[\"%s\"],\"ports\":[\"4433\"],\"proto\":\"udp\"}",
			i ? "," : "", to);
	}
	snprintf(text + at, size - at, "]}");
	return text;
}

static void load(struct egress *egress, const char *text)
{
	struct json_object *doc = json_tokener_parse(text);
	struct policy *policy;
	struct error err;
	uint8_t *table = NULL;
	size_t len = 0;

	policy = policy_read(doc, "", &err);
	if (!policy || policy_compile(policy, "", NULL, 0, &table, &len, &err) < 0)
		fail(err.text);
	if (egress_policy_set(egress, table, len, policy_number(policy)) < 0)
		fail("the table is refused");
	json_object_put(doc);
	policy_free(policy);
	free(table);
}

/* ---- flows ---- */

static char name[3][64];

static bool admit(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)log;
	(void)flow;
	return match(arg, name[0]) || match(arg, name[1]) || match(arg, name[2]);
}

/* A destination, and the names it goes by; where `rules` is 0 no rule is about it. */
static struct endpoint destination(uint32_t rules)
{
	struct endpoint dst = {.addr = addr_from_v4(0x08080000u | rnd(65536)), .port = 4433};
	uint32_t rule = rules ? rnd(rules) : 0;

	if (rules && rule % 2 == 0)
		dst.addr = addr_from_v4(0x0a000000u | rule << 8 | rnd(256));
	else if (rules)
		snprintf(name[2], sizeof(name[2]), "%shost%u.example.com",
			rule % 4 == 1 ? "www." : "", rule);
	return dst;
}

/* ns a flow. */
static double flows(struct egress *egress, uint32_t rules)
{
	static struct endpoint dst[1024];
	static char names[1024][64];
	uint64_t start, took;
	uint32_t done = 0;

	for (uint32_t i = 0; i < 1024; i++) {
		strcpy(name[2], "edge-7.cdn.example.net");
		dst[i] = destination(rules);
		strcpy(names[i], name[2]);
	}
	start = cpu_ns();
	for (uint32_t i = 0; i < FLOWS; i++) {
		struct egress_pass pass = {.era = 0};
		struct endpoint host;

		memcpy(name[2], names[i & 1023], sizeof(name[2]));
		/* A datagram's destination: the door without a socket behind it. */
		done += egress_udp_permit(egress, EGRESS_GUEST, &dst[i & 1023], &host, &pass) == 0;
		egress_leave(&pass);
	}
	took = cpu_ns() - start;
	if (done > FLOWS)
		fail("impossible");
	return (double)took / FLOWS;
}

static int ascending(const void *left, const void *right)
{
	const double *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), ascending);
	return v[n / 2];
}

static void measure(struct egress *egress, uint32_t rules, int rounds)
{
	double loads[ROUNDS_MAX], matched[ROUNDS_MAX], none[ROUNDS_MAX];
	char *text = document(rules);

	for (int i = 0; i < rounds; i++) {
		uint64_t start = cpu_ns();

		load(egress, text);
		loads[i] = (double)(cpu_ns() - start) / 1e6;
		matched[i] = flows(egress, rules);
		none[i] = flows(egress, 0);
	}
	printf("{\"rules\":%u,\"load_ms\":%.2f,\"flow_ns\":%.0f,\"flow_none_ns\":%.0f}\n", rules,
		median(loads, rounds), median(matched, rounds), median(none, rounds));
	free(text);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 5;
	struct policy_names names = {.admit = admit};
	static struct counters counters;
	static struct net net;
	struct loop *loop = loop_new();
	struct egress *egress = egress_new(loop, &counters, &net);

	if (rounds < 1 || rounds > ROUNDS_MAX || !egress)
		fail("ROUNDS is 1 to 99");
	strcpy(name[0], "www.example.net");
	strcpy(name[1], "www.example.net.cdn.example.org");
	egress_set_names(egress, &names);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		measure(egress, sizes[i], rounds);
	egress_free(egress);
	loop_free(loop);
	return 0;
}
