/* SPDX-License-Identifier: MIT */
/* netctl vm set: changes settings of a VM while it runs. What is not given stays as it is. */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/limit_option.h"
#include "cli/proxy_option.h"
#include "cli/vm.h"

const struct option vm_set_options[] = {
	OPTIONS_LIMIT,
	OPTIONS_PROXY,
	{0},
};

int vm_set(struct cli *cli, const struct args *args)
{
	struct json_object *body = json_object_new_object(), *vm = NULL;
	struct proxy_option proxy = {.doc = NULL};
	int status = 0;

	if (!args->n_given)
		status = cli_usage_error(cli, "nothing to set");
	for (size_t i = 0; !status && i < args->n_given; i++) {
		if (proxy_option_is(&args->given[i]))
			status = proxy_option_take(cli, &proxy, &args->given[i]);
		else
			status = limit_option_take(cli, body, &args->given[i]);
	}
	proxy_option_put(&proxy, body);
	if (status)
		json_object_put(body);
	else
		status = http_call(cli, "PATCH", http_path("vms", args->words[0], NULL), body, &vm);
	if (!status)
		status = proxy_option_send(cli, &proxy, args->words[0]);
	if (!status && cli->output == OUTPUT_JSON)
		doc_print(vm, stdout);
	json_object_put(vm);
	proxy_option_free(&proxy);
	return status;
}
