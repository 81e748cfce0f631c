/* SPDX-License-Identifier: MIT */
/* netctl listener: what a guest listens on through TSI. */
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/table.h"

#include <stdio.h>
#include <string.h>

static void add_row(struct table *table, const char *vm, struct json_object *listener)
{
	const char *addr = doc_text(listener, "addr");
	char bound[80];

	snprintf(bound, sizeof(bound), strchr(addr, ':') ? "[%s]:%s" : "%s:%s", addr,
		doc_text(listener, "port"));
	table_row(table, vm, bound, doc_text(listener, "family"), doc_text(listener, "vm_port"),
		doc_text(listener, "svm_port"), doc_text(listener, "host"));
}

static int listener_list(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {
		"VM", "BOUND", "FAMILY", ">VM_PORT", ">SVM_PORT", "HOST", NULL};
	const char *vm = args->words[0];
	struct json_object *doc, *items;
	struct table *table;
	size_t n;
	int status = http_call(cli, "GET", http_path("vms", vm, "listeners", NULL), NULL, &doc);

	if (status)
		return status;
	table = table_new(headings);
	items = doc_array(doc, "items", &n);
	for (size_t i = 0; i < n; i++)
		add_row(table, vm, json_object_array_get_idx(items, i));
	if (cli->output == OUTPUT_JSON)
		doc_print(doc, stdout);
	else
		table_print(table, stdout, cli->colour);
	table_free(table);
	json_object_put(doc);
	return STATUS_OK;
}

static const struct command commands[] = {
	{
		.name = "list",
		.usage = "VM",
		.summary = "List what the guest listens on through TSI, oldest first",
		.example = "netctl listener list web",
		.min_words = 1,
		.max_words = 1,
		.run = listener_list,
		.notes =
			"Each is bound to a loopback port of the host (HOST). A forward publishes it:\n"
			"  netctl forward add web 8080:tsi@80\n",
	},
	{0},
};

const struct noun noun_listener = {"listener", "A guest's TSI listeners: list", commands};
