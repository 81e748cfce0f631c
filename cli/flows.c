/* SPDX-License-Identifier: MIT */
/* netctl flows: what a guest is talking to. */
#include "cli/duration.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"

#include <stdio.h>

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

static void add_row(struct table *table, const char *vm, struct json_object *flow)
{
	char age[DURATION_STRLEN], idle[DURATION_STRLEN], tx[32], rx[32];

	(void)vm;
	table_row(table, doc_text(flow, "proto"), doc_text(flow, "dir"), doc_text(flow, "guest"),
		doc_text(flow, "remote"), doc_text(flow, "host"), doc_text(flow, "state"),
		age_text(flow, "age_ms", age, sizeof(age)),
		age_text(flow, "idle_ms", idle, sizeof(idle)),
		bytes_text(flow, "tx_bytes", tx, sizeof(tx)),
		bytes_text(flow, "rx_bytes", rx, sizeof(rx)));
}

static int flows(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {"PROTO", "DIR", "GUEST", "REMOTE", "HOST", "STATE",
		">AGE", ">IDLE", ">SENT", ">RECEIVED", NULL};
	const char *vm = args->words[0];

	return list_show(cli, http_path("vms", vm, "flows", NULL), headings, add_row, vm);
}

static const struct command commands[] = {
	{
		.usage = "VM",
		.summary = "List a VM's live flows",
		.example = "netctl flows web",
		.min_words = 1,
		.max_words = 1,
		.run = flows,
	},
	{0},
};

const struct noun noun_flows = {"flows", "A VM's live flows", commands};
