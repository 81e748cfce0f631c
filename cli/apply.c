/* SPDX-License-Identifier: MIT */
/*
 * netctl apply and netctl export: the wanted state of the host, from a file and into one.
 *
 * What differs the daemon finds out, and brings about in one request; here it is only shown.
 */
#include "cli/args.h"
#include "cli/document.h"
#include "cli/file.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STATE_MAX ((size_t)16 << 20)
#define EXPORT_FORMAT                                                                              \
	(JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

enum { OPT_FILE = 'f', OPT_DRY_RUN = 'n', OPT_CUT = 'C', OPT_REQUIRE = 'R' };

/* ---- apply ---- */

static int load(struct cli *cli, const char *name, struct json_object **out)
{
	char *text = NULL;
	size_t len;
	int err = file_read(name, STATE_MAX, &text, &len);

	if (err == -EFBIG)
		return cli_error(cli, STATUS_FAILURE, "%s: more than %zu bytes", name, STATE_MAX);
	if (err < 0)
		return cli_error(cli, STATUS_FAILURE, "%s: %s", name, strerror(-err));
	*out = document_parse(cli, "", name, text);
	document_remember(cli, name, text, "");
	return *out ? 0 : STATUS_FAILURE;
}

static char *state_path(const struct args *args)
{
	char *path = http_path("state", NULL), *longer;
	static const char query[] = "?dry_run=0&cut_existing=0&require_secrets=0";
	size_t len = strlen(path);

	longer = realloc(path, len + sizeof(query));
	if (!longer)
		abort();
	snprintf(longer + len, sizeof(query), "?dry_run=%d&cut_existing=%d&require_secrets=%d",
		args_has(args, OPT_DRY_RUN), args_has(args, OPT_CUT), args_has(args, OPT_REQUIRE));
	return longer;
}

static const char *value_text(struct json_object *value)
{
	return json_object_to_json_string_ext(
		value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

/* "~ vm/web policy.rules[0].action: "allow" -> "deny"" */
static void print_change(const struct cli *cli, struct json_object *change)
{
	const char *op = doc_text(change, "op"), *field = doc_text(change, "field");
	char sign = *op == 'a' ? '+' : *op == 'r' ? '-' : '~', clean[2048];
	const char *colour = sign == '+' ? "\033[32m" : sign == '-' ? "\033[31m" : "\033[33m";
	struct json_object *from = doc_get(change, "from"), *to = doc_get(change, "to");

	printf("%s%c vm/%s", cli->colour ? colour : "", sign,
		cli_clean(doc_text(change, "vm"), clean, sizeof(clean)));
	if (*field)
		printf(" %s:", cli_clean(field, clean, sizeof(clean)));
	if (*field && sign != '+')
		printf(" %s", cli_clean(value_text(from), clean, sizeof(clean)));
	if (sign == '~')
		printf(" ->");
	if (*field && sign != '-')
		printf(" %s", cli_clean(value_text(to), clean, sizeof(clean)));
	printf("%s\n", cli->colour ? "\033[0m" : "");
}

static void warn_missing(const struct cli *cli, struct json_object *answer)
{
	size_t n;
	struct json_object *list = doc_array(answer, "missing_secrets", &n);

	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		cli_error(cli, 0, "secret %s/%s is missing: netctl secret set %s %s",
			doc_text(item, "vm"), doc_text(item, "name"), doc_text(item, "vm"),
			doc_text(item, "name"));
	}
	list = doc_array(answer, "missing_proxy_passwords", &n);
	for (size_t i = 0; i < n; i++) {
		const char *vm = json_object_get_string(json_object_array_get_idx(list, i));

		cli_error(cli, 0,
			"the password of VM %s's proxy is missing: netctl vm set %s --proxy-from FILE",
			vm, vm);
	}
}

static int apply(struct cli *cli, const struct args *args)
{
	struct json_object *doc = NULL, *answer, *changes;
	size_t n;
	int status;

	if (!args_has(args, OPT_FILE))
		return cli_usage_error(cli, "-f FILE is missing");
	status = load(cli, args_value(args, OPT_FILE), &doc);
	if (!status)
		status = http_call(cli, "PUT", state_path(args), doc, &answer);
	if (status)
		return status;
	changes = doc_array(answer, "changes", &n);
	if (cli->output == OUTPUT_JSON)
		doc_print(answer, stdout);
	for (size_t i = 0; cli->output != OUTPUT_JSON && i < n; i++)
		print_change(cli, json_object_array_get_idx(changes, i));
	warn_missing(cli, answer);
	json_object_put(answer);
	return n && args_has(args, OPT_DRY_RUN) ? STATUS_DIFFERENT : STATUS_OK;
}

static const struct option apply_options[] = {
	{OPT_FILE, 'f', "file", "FILE", "the document; - is stdin"},
	{OPT_DRY_RUN, 'n', "dry-run", NULL,
		"only tell what would change; exit status 6 if anything"},
	{OPT_CUT, 0, "cut-existing", NULL, "end flows that a new policy forbids"},
	{OPT_REQUIRE, 0, "require-secrets", NULL, "refuse while a secret that is named is missing"},
	{0},
};

static const struct command apply_commands[] = {
	{
		.name = NULL,
		.usage = "-f FILE [--dry-run]",
		.summary = "Bring the host to the state that a document says, all of it or nothing",
		.example = "netctl apply -f host.json --dry-run",
		.options = apply_options,
		.run = apply,
		.notes =
			"FILE is as netctl export writes it. A VM that it does not have is deleted. Each\n"
			"change is a line: + is added, - removed, ~ changed. Applied again it changes\n"
			"nothing. Of secrets it has names: they are kept, and told where missing.\n",
	},
	{0},
};

const struct noun noun_apply = {
	"apply", "Bring the host to the state that a document says", apply_commands};

/* ---- export ---- */

static int export(struct cli *cli, const struct args *args)
{
	const char *name = args->n_words ? args->words[0] : "-";
	struct json_object *doc;
	int status = http_call(cli, "GET", http_path("state", NULL), NULL, &doc), err;

	if (status)
		return status;
	err = file_write(name, json_object_to_json_string_ext(doc, EXPORT_FORMAT));
	json_object_put(doc);
	return err < 0 ? cli_error(cli, STATUS_FAILURE, "%s: %s", name, strerror(-err)) : STATUS_OK;
}

static const struct command export_commands[] = {
	{
		.name = NULL,
		.usage = "[FILE]",
		.summary = "Write the wanted state of the host, to stdout unless FILE is given",
		.example = "netctl export host.json",
		.max_words = 1,
		.run = export,
		.notes =
			"All VMs but ephemeral ones, with the names of their secrets, not their values.\n",
	},
	{0},
};

const struct noun noun_export = {
	"export", "Write the wanted state of the host as one document", export_commands};
