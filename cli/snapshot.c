/* SPDX-License-Identifier: MIT */
/*
 * netctl snapshot: records of what a VM's network must be again when the VM comes back.
 *
 * A record goes out and in as one JSON file. It is written as the daemon gives it and sent as it lies
 * there: whether it is whole the daemon judges.
 */
#include "cli/args.h"
#include "cli/file.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_MAX ((size_t)1 << 20)

enum { OPT_REQUIRE_IDLE = 'i', OPT_NAME = 'n' };

/* ---- what there is ---- */

static void line(const char *key, const char *value)
{
	char clean[512];

	printf("%-12s %s\n", key, *value ? cli_clean(value, clean, sizeof(clean)) : "-");
}

static void show(const struct cli *cli, struct json_object *doc)
{
	static const char *const keys[] = {"id", "vm", "name", "created", "size", "sha256", "cid",
		"subnet", "listeners", "proxies", "forwards", "maps", "names"};
	char text[512];

	if (cli->output == OUTPUT_JSON) {
		doc_print(doc, stdout);
		return;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		line(keys[i], doc_text(doc, keys[i]));
	line("secrets", doc_join(doc_get(doc, "secrets"), text, sizeof(text)));
}

/* A new one: its id, or the whole document. */
static void show_id(const struct cli *cli, struct json_object *doc)
{
	if (cli->output == OUTPUT_JSON)
		doc_print(doc, stdout);
	else
		printf("%s\n", doc_text(doc, "id"));
}

static int snapshot_create(struct cli *cli, const struct args *args)
{
	struct json_object *body = json_object_new_object(), *doc;
	int status;

	doc_put_bool(body, "require_idle", args_has(args, OPT_REQUIRE_IDLE));
	if (args_has(args, OPT_NAME))
		doc_put_text(body, "name", args_value(args, OPT_NAME));
	status = http_call(
		cli, "POST", http_path("vms", args->words[0], "snapshots", NULL), body, &doc);
	if (status)
		return status;
	show_id(cli, doc);
	json_object_put(doc);
	return STATUS_OK;
}

static void add_row(struct table *table, const char *vm, struct json_object *snapshot)
{
	(void)vm;
	table_row(table, doc_text(snapshot, "id"), doc_text(snapshot, "vm"),
		doc_text(snapshot, "name"), doc_text(snapshot, "created"),
		doc_text(snapshot, "size"));
}

static int snapshot_list(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {"ID", "VM", "NAME", "CREATED", ">SIZE", NULL};

	return list_show(cli,
		args->n_words ? http_path("vms", args->words[0], "snapshots", NULL)
			      : http_path("snapshots", NULL),
		headings, add_row, NULL);
}

static int snapshot_show(struct cli *cli, const struct args *args)
{
	struct json_object *doc;
	int status = http_call(
		cli, "GET", http_path("snapshots", args->words[0], NULL), NULL, &doc);

	if (status)
		return status;
	show(cli, doc);
	json_object_put(doc);
	return STATUS_OK;
}

static int snapshot_delete(struct cli *cli, const struct args *args)
{
	return http_call(cli, "DELETE", http_path("snapshots", args->words[0], NULL), NULL, NULL);
}

/* ---- files ---- */

static int snapshot_export(struct cli *cli, const struct args *args)
{
	const char *name = args->n_words > 1 ? args->words[1] : "-";
	struct json_object *doc;
	int err,
		status = http_call(cli, "GET",
			http_path("snapshots", args->words[0], "export", NULL), NULL, &doc);

	if (status)
		return status;
	/* Plain, with its members in the order in which they came: the daemon's own text again. */
	err = file_write(name,
		json_object_to_json_string_ext(
			doc, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(doc);
	if (err < 0)
		return cli_error(cli, STATUS_FAILURE, "%s: %s",
			strcmp(name, "-") == 0 ? "stdout" : name, strerror(-err));
	return STATUS_OK;
}

static int snapshot_import(struct cli *cli, const struct args *args)
{
	const char *name = args->words[0];
	struct json_object *doc;
	char *text = NULL;
	size_t len;
	int err = file_read(name, RECORD_MAX, &text, &len), status;

	if (err == -EFBIG)
		return cli_error(cli, STATUS_FAILURE, "%s: more than %zu bytes", name, RECORD_MAX);
	if (err < 0)
		return cli_error(cli, STATUS_FAILURE, "%s: %s", name, strerror(-err));
	status = http_call_bytes(cli, "POST", http_path("snapshots", NULL), text, len, &doc);
	free(text);
	if (status)
		return status;
	show_id(cli, doc);
	json_object_put(doc);
	return STATUS_OK;
}

static const struct option create_options[] = {
	{OPT_REQUIRE_IDLE, 0, "require-idle", NULL, "refuse while anything would be lost"},
	{OPT_NAME, 0, "name", "NAME", "a label for people"},
	{0},
};

static const struct command commands[] = {
	{
		.name = "create",
		.usage = "VM [--require-idle] [--name NAME]",
		.summary = "Record what a VM's network is, and print the record's id",
		.example = "netctl snapshot create web --require-idle",
		.options = create_options,
		.min_words = 1,
		.max_words = 1,
		.run = snapshot_create,
		.notes =
			"Take it while the VMM has the VM paused, along with the VMM's own snapshot.\n"
			"Connections are not in it: after a restore the guest's old ones are reset.\n"
			"--require-idle refuses (exit status 4) while one stands or comes about, or a\n"
			"packet waits, and says how many. Of secrets only the names are recorded.\n",
	},
	{
		.name = "list",
		.usage = "[VM]",
		.summary = "List the snapshots, of all VMs or of one",
		.example = "netctl snapshot list web",
		.max_words = 1,
		.run = snapshot_list,
	},
	{
		.name = "show",
		.usage = "ID",
		.summary = "Show what a snapshot holds",
		.example = "netctl snapshot show 2caef81098ec7bfa",
		.min_words = 1,
		.max_words = 1,
		.run = snapshot_show,
	},
	{
		.name = "export",
		.usage = "ID [FILE]",
		.summary = "Write a snapshot's file, to stdout unless FILE is given",
		.example = "netctl snapshot export 2caef81098ec7bfa web.json",
		.min_words = 1,
		.max_words = 2,
		.run = snapshot_export,
	},
	{
		.name = "import",
		.usage = "FILE",
		.summary = "Keep a snapshot that was exported, here or elsewhere",
		.example = "netctl snapshot import web.json",
		.min_words = 1,
		.max_words = 1,
		.run = snapshot_import,
		.notes =
			"FILE may be - for stdin. A file that was changed or cut short is refused.\n",
	},
	{
		.name = "delete",
		.usage = "ID",
		.summary = "Delete a snapshot",
		.example = "netctl snapshot delete 2caef81098ec7bfa",
		.min_words = 1,
		.max_words = 1,
		.run = snapshot_delete,
	},
	{0},
};

const struct noun noun_snapshot = {"snapshot",
	"Records of VMs to restore from: create, list, show, export, import, delete", commands};
