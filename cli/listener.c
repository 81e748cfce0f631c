/* SPDX-License-Identifier: MIT */
/* netctl listener: what a guest listens on through TSI. */
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"

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

	return list_show(cli, http_path("vms", vm, "listeners", NULL), headings, add_row, vm);
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
