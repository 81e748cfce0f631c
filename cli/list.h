/* SPDX-License-Identifier: MIT */
/* The API's lists, {"items":[…]}, and other documents that are shown as a table. */
#ifndef CLI_LIST_H
#define CLI_LIST_H

#include "cli/cli.h"
#include "cli/table.h"

#include <json-c/json.h>

/* Adds an item's row; vm is what list_show() was given. */
typedef void list_row_fn(struct table *table, const char *vm, struct json_object *item);

/* GETs the list at path (http_path()'s, which is freed) and prints it. Returns an exit status with the message
 * printed. */
int list_show(
	struct cli *cli, char *path, const char *const *headings, list_row_fn *row, const char *vm);

/* Prints doc, or the table made of it, as -o wants it, and frees both. Returns STATUS_OK. */
int list_print(const struct cli *cli, struct json_object *doc, struct table *table);

#endif
