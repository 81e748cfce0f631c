/* SPDX-License-Identifier: MIT */
/* netctl env: the environment that a guest may ask for. */
#include "cli/file.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/list.h"
#include "cli/nouns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENV_MAX ((size_t)1 << 20)

static char *env_path(const struct args *args)
{
	return http_path("vms", args->words[0], "env", NULL);
}

static int env_set(struct cli *cli, const struct args *args)
{
	struct json_object *patch = json_object_new_object();

	for (size_t i = 1; i < args->n_words; i++) {
		char *word = args->words[i], *equals = strchr(word, '=');
		char *name;

		if (!equals || equals == word) {
			json_object_put(patch);
			return cli_usage_error(cli, "\"%s\": KEY=VALUE is wanted", word);
		}
		name = strndup(word, (size_t)(equals - word));
		if (!name)
			abort();
		doc_put_text(patch, name, equals + 1);
		free(name);
	}
	return http_call(cli, "PATCH", env_path(args), patch, NULL);
}

static int env_unset(struct cli *cli, const struct args *args)
{
	struct json_object *patch = json_object_new_object();

	for (size_t i = 1; i < args->n_words; i++)
		json_object_object_add(patch, args->words[i], NULL);
	return http_call(cli, "PATCH", env_path(args), patch, NULL);
}

static int env_load(struct cli *cli, const struct args *args)
{
	const char *name = args->words[1];
	enum json_tokener_error error;
	struct json_object *doc;
	char *text = NULL;
	size_t len;
	int err = file_read(name, ENV_MAX, &text, &len);

	if (err == -EFBIG)
		return cli_error(cli, STATUS_FAILURE, "%s: more than %zu bytes", name, ENV_MAX);
	if (err < 0)
		return cli_error(cli, STATUS_FAILURE, "%s: %s", name, strerror(-err));
	doc = json_tokener_parse_verbose(text, &error);
	free(text);
	if (!json_object_is_type(doc, json_type_object)) {
		json_object_put(doc);
		return cli_error(cli, STATUS_FAILURE, "%s: %s", name,
			error == json_tokener_success ? "a JSON object is wanted"
						      : json_tokener_error_desc(error));
	}
	return http_call(cli, "PUT", env_path(args), doc, NULL);
}

static int env_show(struct cli *cli, const struct args *args)
{
	static const char *const headings[] = {"KEY", "VALUE", NULL};
	struct json_object *doc;
	struct table *table;
	int status = http_call(cli, "GET", env_path(args), NULL, &doc);

	if (status)
		return status;
	table = table_new(headings);
	if (json_object_is_type(doc, json_type_object)) {
		json_object_object_foreach(doc, key, value)
			table_row(table, key, json_object_get_string(value));
	}
	return list_print(cli, doc, table);
}

static const char seen_notes[] =
	"The guest sees a change at its next read. For what is not to be seen by others on this\n"
	"host there is netctl secret.\n";

static const struct command commands[] = {
	{
		.name = "set",
		.usage = "VM KEY=VALUE...",
		.summary = "Set keys of a VM's environment, and leave the others",
		.example = "netctl env set web MODE=production WORKERS=4",
		.min_words = 2,
		.max_words = (size_t)-1,
		.run = env_set,
		.notes = seen_notes,
	},
	{
		.name = "load",
		.usage = "VM FILE",
		.summary = "Replace a VM's environment by a file's JSON object",
		.example = "netctl env load web env.json",
		.min_words = 2,
		.max_words = 2,
		.run = env_load,
		.notes =
			"FILE (- is stdin) holds one JSON object of any shape, of at most 1 MiB.\n",
	},
	{
		.name = "show",
		.usage = "VM",
		.summary = "Show a VM's environment",
		.example = "netctl -o json env show web",
		.min_words = 1,
		.max_words = 1,
		.run = env_show,
	},
	{
		.name = "unset",
		.usage = "VM KEY...",
		.summary = "Take keys out of a VM's environment",
		.example = "netctl env unset web WORKERS",
		.min_words = 2,
		.max_words = (size_t)-1,
		.run = env_unset,
	},
	{0},
};

const struct noun noun_env = {
	"env", "The environment that a guest may ask for: set, load, show, unset", commands};
