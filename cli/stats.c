/* SPDX-License-Identifier: MIT */
/* netctl stats: a VM's counters. */
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"

#include <stdio.h>

static void add_rows(struct table *table, const char *prefix, struct json_object *counters)
{
	json_object_object_foreach(counters, key, value)
	{
		char name[128];

		snprintf(name, sizeof(name), "%s%s", prefix, key);
		table_row(table, name, json_object_get_string(value));
	}
}

static int stats(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {"COUNTER", ">VALUE", NULL};
	struct json_object *doc;
	struct table *table;
	int status = http_call(
		cli, "GET", http_path("vms", args->words[0], "stats", NULL), NULL, &doc);

	if (status)
		return status;
	table = table_new(headings);
	if (json_object_is_type(doc_get(doc, "flows"), json_type_object))
		add_rows(table, "flows.", doc_get(doc, "flows"));
	if (json_object_is_type(doc_get(doc, "counters"), json_type_object))
		add_rows(table, "", doc_get(doc, "counters"));
	return list_print(cli, doc, table);
}

static const struct command commands[] = {
	{
		.usage = "VM",
		.summary = "Show a VM's counters",
		.example = "netctl stats web",
		.min_words = 1,
		.max_words = 1,
		.run = stats,
	},
	{0},
};

const struct noun noun_stats = {"stats", "A VM's counters", commands};
