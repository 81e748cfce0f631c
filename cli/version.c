/* SPDX-License-Identifier: MIT */
/* netctl version, netctl health: who answers, and how it is. */
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/table.h"

#include <stdio.h>

static int version(struct cli *cli, const struct args *args)
{
	struct json_object *doc;
	int status = http_call(cli, "GET", http_path("version", NULL), NULL, &doc);

	(void)args;
	if (status)
		return status;
	if (cli->output == OUTPUT_JSON) {
		doc_put_text(doc, "client", NETCTL_VERSION);
		doc_print(doc, stdout);
	} else {
		printf("netctl   %s\n", NETCTL_VERSION);
		printf("netctld  %s, API %s, protocol %s\n", doc_text(doc, "version"),
			doc_text(doc, "api"), doc_text(doc, "protocol"));
	}
	json_object_put(doc);
	return STATUS_OK;
}

static int health(struct cli *cli, const struct args *args)
{
	struct json_object *doc;
	const char *state, *escape;
	int status = http_call(cli, "GET", http_path("health", NULL), NULL, &doc);

	(void)args;
	if (status)
		return status;
	state = doc_text(doc, "status");
	escape = cli->colour ? table_colour(state) : NULL;
	if (cli->output == OUTPUT_JSON)
		doc_print(doc, stdout);
	else
		printf("%s%s%s, %s VMs, spawner %s\n", escape ? escape : "", state,
			escape ? "\033[0m" : "", doc_text(doc, "vms"),
			doc_bool(doc, "spawner") ? "up" : "down");
	json_object_put(doc);
	return STATUS_OK;
}

static const struct command version_commands[] = {
	{
		.usage = "",
		.summary = "Print the versions of netctl and of the netctld that answers",
		.example = "netctl version",
		.run = version,
	},
	{0},
};

static const struct command health_commands[] = {
	{
		.usage = "",
		.summary = "Say how the daemon is",
		.example = "netctl health",
		.run = health,
	},
	{0},
};

const struct noun noun_version = {"version", "Versions of netctl and netctld", version_commands};
const struct noun noun_health = {"health", "How the daemon is", health_commands};
