/* SPDX-License-Identifier: MIT */
/* netctl flows: what a guest is talking to. */
#include "cli/args.h"
#include "cli/duration.h"
#include "cli/flow_filter.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"
#include "cli/vm_body.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOWS_MAX 100000 /* the API's */

enum {
	OPT_TCP = 't',
	OPT_UDP = 'u',
	OPT_PROTO = 'p',
	OPT_DIR = 'd',
	OPT_STATE = 'T',
	OPT_SRC = 'a',
	OPT_DST = 'b',
	OPT_SPORT = 'e',
	OPT_DPORT = 'f',
	OPT_PORT = 'P',
	OPT_SORT = 'S',
	OPT_REVERSE = 'r',
	OPT_LIMIT = 'n',
};

static const struct option options[] = {
	{OPT_TCP, 't', "tcp", NULL, "only TCP"},
	{OPT_UDP, 'u', "udp", NULL, "only UDP"},
	{OPT_PROTO, 0, "proto", "LIST", "of tcp, udp, icmp and vsock"},
	{OPT_DIR, 0, "dir", "in|out", "begun by the host, or by the guest"},
	{OPT_STATE, 0, "state", "LIST", "in one of these states, as STATE shows them"},
	{OPT_SRC, 0, "src", "LIST", "guests' addresses or prefixes"},
	{OPT_DST, 0, "dst", "LIST", "addresses or prefixes of REMOTE or HOST"},
	{OPT_SPORT, 0, "sport", "LIST", "ports of the guest: 80,8000-8100"},
	{OPT_DPORT, 0, "dport", "LIST", "ports of the remote end"},
	{OPT_PORT, 0, "port", "LIST", "ports of either"},
	{OPT_SORT, 'S', "sort", "KEY", "age, idle, sent, received, bytes, state, remote, ..."},
	{OPT_REVERSE, 'r', "reverse", NULL, "the smallest number, or the last word, first"},
	{OPT_LIMIT, 'n', "limit", "N", "at most so many, the first of them"},
	{0},
};

static char *bytes_text(struct json_object *flow, const char *key, char *buf, size_t len)
{
	static const char units[] = "BKMGTP";
	double n = (double)doc_int(flow, key);
	size_t unit = 0;

	for (; n >= 10000 && unit < sizeof(units) - 2; unit++)
		n /= 1024;
	snprintf(buf, len, "%.0f%c", n, units[unit]);
	return buf;
}

static char *age_text(struct json_object *flow, const char *key, char *buf, size_t len)
{
	int64_t ms = doc_int(flow, key);

	return duration_format(ms > 0 ? (uint64_t)ms / 1000 : 0, buf, len);
}

static void add_row(struct table *table, struct json_object *flow)
{
	char age[DURATION_STRLEN], idle[DURATION_STRLEN], tx[32], rx[32];

	table_row(table, doc_text(flow, "proto"), doc_text(flow, "dir"), doc_text(flow, "guest"),
		doc_text(flow, "remote"), doc_text(flow, "host"), doc_text(flow, "state"),
		age_text(flow, "age_ms", age, sizeof(age)),
		age_text(flow, "idle_ms", idle, sizeof(idle)),
		bytes_text(flow, "tx_bytes", tx, sizeof(tx)),
		bytes_text(flow, "rx_bytes", rx, sizeof(rx)));
}

/* ---- what is wanted ---- */

struct wanted {
	struct flow_filter filter;
	const char *sort;
	bool reverse;
	long limit;
};

static int add_filter(const struct cli *cli, struct wanted *wanted, enum flow_field field,
	const char *option, const char *list)
{
	int err = flow_filter_add(&wanted->filter, field, list);

	if (err == -E2BIG)
		return cli_usage_error(
			cli, "%s %s: more than %d filters", option, list, FLOW_TERMS_MAX);
	if (err < 0 && field == FLOW_STATE)
		return cli_usage_error(
			cli, "%s %s: states are wanted, of %s", option, list, flow_states);
	if (err < 0)
		return cli_usage_error(cli, "%s %s: %s wanted", option, list,
			field == FLOW_PROTO         ? "tcp, udp, icmp or vsock is"
				: field == FLOW_DIR ? "in or out is"
				: field == FLOW_SRC || field == FLOW_DST
				? "addresses or prefixes are"
				: "ports are");
	return 0;
}

static int take_option(const struct cli *cli, struct wanted *wanted, const struct given *given)
{
	switch (given->id) {
	case OPT_TCP:
		return add_filter(cli, wanted, FLOW_PROTO, "--tcp", "tcp");
	case OPT_UDP:
		return add_filter(cli, wanted, FLOW_PROTO, "--udp", "udp");
	case OPT_PROTO:
		return add_filter(cli, wanted, FLOW_PROTO, "--proto", given->value);
	case OPT_DIR:
		return add_filter(cli, wanted, FLOW_DIR, "--dir", given->value);
	case OPT_STATE:
		return add_filter(cli, wanted, FLOW_STATE, "--state", given->value);
	case OPT_SRC:
		return add_filter(cli, wanted, FLOW_SRC, "--src", given->value);
	case OPT_DST:
		return add_filter(cli, wanted, FLOW_DST, "--dst", given->value);
	case OPT_SPORT:
		return add_filter(cli, wanted, FLOW_SPORT, "--sport", given->value);
	case OPT_DPORT:
		return add_filter(cli, wanted, FLOW_DPORT, "--dport", given->value);
	case OPT_PORT:
		return add_filter(cli, wanted, FLOW_PORT, "--port", given->value);
	case OPT_SORT:
		wanted->sort = given->value;
		if (flow_sort(NULL, 0, given->value, false) == 0)
			return 0;
		return cli_usage_error(cli, "--sort %s: a key is %s", given->value, flow_sort_keys);
	case OPT_REVERSE:
		wanted->reverse = true;
		return 0;
	default:
		return parse_bounded(cli, "--limit", given->value, 1, FLOWS_MAX, &wanted->limit);
	}
}

/* ---- the list ---- */

/* Leaves of the document's items those that are wanted, in order. Returns them, in doc. */
static struct json_object *choose(struct json_object *doc, const struct wanted *wanted)
{
	struct json_object *kept = json_object_new_array(), *items, **flows;
	size_t n, chosen = 0;

	items = doc_array(doc, "items", &n);
	flows = calloc(n + 1, sizeof(struct json_object *));
	if (!flows)
		abort();
	for (size_t i = 0; i < n; i++) {
		struct json_object *flow = json_object_array_get_idx(items, i);

		if (flow_filter_match(&wanted->filter, flow))
			flows[chosen++] = flow;
	}
	flow_sort(flows, chosen, wanted->sort, wanted->reverse);
	for (size_t i = 0; i < chosen && (!wanted->limit || i < (size_t)wanted->limit); i++)
		json_object_array_add(kept, json_object_get(flows[i]));
	free(flows);
	json_object_object_add(doc, "items", kept);
	return kept;
}

static int flows(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {"PROTO", "DIR", "GUEST", "REMOTE", "HOST", "STATE",
		">AGE", ">IDLE", ">SENT", ">RECEIVED", NULL};
	char *path = http_path("vms", args->words[0], "flows", NULL), *url;
	struct wanted wanted = {.limit = 0};
	struct json_object *doc = NULL, *items;
	struct table *table;
	int status = 0;

	for (size_t i = 0; !status && i < args->n_given; i++)
		status = take_option(cli, &wanted, &args->given[i]);
	if (status) {
		free(path);
		return status;
	}
	/* All of them: what is wanted may be the last. */
	url = malloc(strlen(path) + 32);
	if (!url)
		abort();
	sprintf(url, "%s?limit=%d", path, FLOWS_MAX);
	free(path);
	status = http_call(cli, "GET", url, NULL, &doc);
	if (status)
		return status;
	if (doc_bool(doc, "truncated"))
		cli_error(cli, STATUS_OK, "only %d of its flows were looked at", FLOWS_MAX);
	items = choose(doc, &wanted);
	table = table_new(headings);
	for (size_t i = 0; i < json_object_array_length(items); i++)
		add_row(table, json_object_array_get_idx(items, i));
	return list_print(cli, doc, table);
}

static const struct command commands[] = {
	{
		.usage = "VM [OPTION]...",
		.summary = "List a VM's live flows",
		.example = "netctl flows web --state established --dport 443 --sort bytes -n 10",
		.options = options,
		.min_words = 1,
		.max_words = 1,
		.run = flows,
		.notes =
			"A LIST has commas; filters of different kinds must all hold, of one kind any.\n"
			"Numbers are sorted the largest first, all else by the alphabet or by address; what\n"
			"is equal is sorted by protocol, guest and remote.\n",
	},
	{0},
};

const struct noun noun_flows = {"flows", "A VM's live flows", commands};
