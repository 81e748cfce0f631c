/* SPDX-License-Identifier: MIT */
/* netctl hosts: names that the guest's DNS answers by itself. */
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"
#include "common/addr.h"

#include <stdlib.h>
#include <string.h>

/* The item of that name, made where there is none. */
static struct json_object *item_of(struct json_object *items, const char *name, size_t len)
{
	struct json_object *item;
	size_t n = json_object_array_length(items);

	for (size_t i = 0; i < n; i++) {
		const char *known;

		item = json_object_array_get_idx(items, i);
		known = doc_text(item, "name");
		if (strlen(known) == len && !memcmp(known, name, len))
			return item;
	}
	item = json_object_new_object();
	json_object_object_add(item, "name", json_object_new_string_len(name, (int)len));
	json_object_object_add(item, "addresses", json_object_new_array());
	json_object_array_add(items, item);
	return item;
}

/* NAME=ADDR[,ADDR]... */
static int take_host(const struct cli *cli, struct json_object *items, const char *word)
{
	size_t name = strcspn(word, "=");
	const char *p = word + name + 1;
	struct json_object *addresses;

	if (!name || !word[name])
		return cli_usage_error(cli, "\"%s\": NAME=ADDR is wanted", word);
	addresses = doc_get(item_of(items, word, name), "addresses");
	for (;;) {
		size_t len = strcspn(p, ",");
		char text[ADDR_STRLEN];
		struct addr addr;

		snprintf(text, sizeof(text), "%.*s", (int)len, p);
		if (len >= sizeof(text) || addr_parse(text, &addr) < 0)
			return cli_usage_error(
				cli, "\"%s\": \"%.*s\" is no address", word, (int)len, p);
		json_object_array_add(addresses, json_object_new_string(text));
		if (!p[len])
			return 0;
		p += len + 1;
	}
}

static int hosts_set(struct cli *cli, const struct args *args)
{
	struct json_object *body = json_object_new_object(), *items = json_object_new_array();
	struct json_object *hosts = NULL;
	int status = 0;

	json_object_object_add(body, "items", items);
	for (size_t i = 1; i < args->n_words && !status; i++)
		status = take_host(cli, items, args->words[i]);
	if (status) {
		json_object_put(body);
		return status;
	}
	status = http_call(
		cli, "PUT", http_path("vms", args->words[0], "hosts", NULL), body, &hosts);
	if (!status && cli->output == OUTPUT_JSON)
		doc_print(hosts, stdout);
	json_object_put(hosts);
	return status;
}

static void add_row(struct table *table, const char *vm, struct json_object *item)
{
	char text[1024];

	(void)vm;
	table_row(table, doc_text(item, "name"),
		doc_join(doc_get(item, "addresses"), text, sizeof(text)));
}

static int hosts_list(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {"NAME", "ADDRESSES", NULL};
	const char *vm = args->words[0];

	return list_show(cli, http_path("vms", vm, "hosts", NULL), headings, add_row, vm);
}

static const struct command commands[] = {
	{
		.name = "set",
		.usage = "VM [NAME=ADDR]...",
		.summary = "Set the names that a VM's DNS answers itself, all at once",
		.example = "netctl hosts set web db.internal=10.0.2.2 cache.internal=10.1.0.7",
		.min_words = 1,
		.max_words = (size_t)-1,
		.run = hosts_set,
		.notes =
			"The list takes the place of the one before; without a NAME it is emptied.\n"
			"A name with several addresses is given again, or as NAME=ADDR,ADDR.\n",
	},
	{
		.name = "list",
		.usage = "VM",
		.summary = "List the names that a VM's DNS answers itself",
		.example = "netctl hosts list web",
		.min_words = 1,
		.max_words = 1,
		.run = hosts_list,
	},
	{0},
};

const struct noun noun_hosts = {
	"hosts", "Names that the guest's DNS answers itself: set, list", commands};
