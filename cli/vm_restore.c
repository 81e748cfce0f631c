/* SPDX-License-Identifier: MIT */
/* netctl vm restore, netctl vm reset: a guest's life ends, and one of a record's may begin. */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/vm.h"

enum { OPT_REQUIRE_SECRETS = 's' };

const struct option vm_restore_options[] = {
	{OPT_REQUIRE_SECRETS, 0, "require-secrets", NULL,
		"refuse where a secret that the record names is missing"},
	{0},
};

int vm_restore(struct cli *cli, const struct args *args)
{
	struct json_object *body = json_object_new_object(), *doc;
	char text[512];
	size_t n;
	int status;

	doc_put_text(body, "snapshot", args->words[1]);
	doc_put_bool(body, "require_secrets", args_has(args, OPT_REQUIRE_SECRETS));
	status = http_call(
		cli, "POST", http_path("vms", args->words[0], "restore", NULL), body, &doc);
	if (status)
		return status;
	doc_array(doc, "missing_secrets", &n);
	if (cli->output == OUTPUT_JSON)
		doc_print(doc, stdout);
	else if (n)
		cli_error(cli, STATUS_OK, "missing secrets: %s (netctl secret set %s NAME)",
			doc_join(doc_get(doc, "missing_secrets"), text, sizeof(text)),
			args->words[0]);
	json_object_put(doc);
	return STATUS_OK;
}

int vm_reset(struct cli *cli, const struct args *args)
{
	return http_call(cli, "POST", http_path("vms", args->words[0], "reset", NULL), NULL, NULL);
}
