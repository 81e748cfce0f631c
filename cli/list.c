/* SPDX-License-Identifier: MIT */
/* Lists. See list.h. */
#include "cli/list.h"

#include "cli/http.h"
#include "cli/json.h"

int list_print(const struct cli *cli, struct json_object *doc, struct table *table)
{
	if (cli->output == OUTPUT_JSON)
		doc_print(doc, stdout);
	else
		table_print(table, stdout, cli->colour);
	table_free(table);
	json_object_put(doc);
	return STATUS_OK;
}

int list_show(
	struct cli *cli, char *path, const char *const *headings, list_row_fn *row, const char *vm)
{
	struct json_object *doc, *items;
	struct table *table;
	size_t n;
	int status = http_call(cli, "GET", path, NULL, &doc);

	if (status)
		return status;
	table = table_new(headings);
	items = doc_array(doc, "items", &n);
	for (size_t i = 0; i < n; i++)
		row(table, vm, json_object_array_get_idx(items, i));
	return list_print(cli, doc, table);
}
