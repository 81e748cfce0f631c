/* SPDX-License-Identifier: MIT */
/* netctl vm set: changes settings of a VM while it runs. What is not given stays as it is. */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/limit_option.h"
#include "cli/net_option.h"
#include "cli/proxy_option.h"
#include "cli/vm.h"
#include "cli/vm_body.h"

#include <string.h>

const struct option vm_set_options[] = {
	OPTIONS_DNS,
	OPTION_TTL,
	OPTION_POLICY,
	{OPT_HOST_ACCESS, 0, "host-access", "on|off", "whether the gateway is the host's loopback"},
	OPTIONS_LIMIT,
	OPTIONS_PROXY,
	{0},
};

static int take_host_access(const struct cli *cli, struct json_object *body, const char *value)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return cli_usage_error(cli, "--host-access %s: on or off is wanted", value);
	doc_put_bool(body, "host_access", !strcmp(value, "on"));
	return 0;
}

static int take_option(struct cli *cli, struct json_object *body, struct proxy_option *proxy,
	const struct given *given)
{
	if (proxy_option_is(given))
		return proxy_option_take(cli, proxy, given);
	if (net_option_is(given))
		return net_option_take(cli, body, given);
	switch (given->id) {
	case OPT_TTL:
		return vm_body_ttl(cli, body, given->value);
	case OPT_HOST_ACCESS:
		return take_host_access(cli, body, given->value);
	default:
		return vm_body_option(cli, body, NULL, given); /* it has no --forward */
	}
}

int vm_set(struct cli *cli, const struct args *args)
{
	struct json_object *body = json_object_new_object(), *vm = NULL;
	struct proxy_option proxy = {.doc = NULL};
	int status = 0;

	if (!args->n_given)
		status = cli_usage_error(cli, "nothing to set");
	for (size_t i = 0; !status && i < args->n_given; i++)
		status = take_option(cli, body, &proxy, &args->given[i]);
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
