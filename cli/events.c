/* SPDX-License-Identifier: MIT */
/* netctl events: what happened, and with -f what happens. */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_FOLLOW = 'f', OPT_SINCE = 's' };

static const struct option options[] = {
	{OPT_FOLLOW, 'f', "follow", NULL, "go on until interrupted"},
	{OPT_SINCE, 0, "since", "ID", "only events after this one"},
	{0},
};

static void print_data(struct json_object *data)
{
	char clean[256];

	if (!json_object_is_type(data, json_type_object))
		return;
	json_object_object_foreach(data, key, value)
	{
		printf(" %s", cli_clean(key, clean, sizeof(clean)));
		printf("=%s",
			cli_clean(
				value ? json_object_get_string(value) : "-", clean, sizeof(clean)));
	}
}

static int print_event(void *arg, char *line)
{
	const struct cli *cli = arg;
	struct json_object *event = json_tokener_parse(line);
	char vm[80], type[64], time[64];

	if (cli->output == OUTPUT_JSON || !event) {
		printf("%s\n", line);
	} else {
		printf("%s  %s  %-15s %-17s", doc_text(event, "id"),
			cli_clean(doc_text(event, "time"), time, sizeof(time)),
			cli_clean(doc_text(event, "vm"), vm, sizeof(vm)),
			cli_clean(doc_text(event, "type"), type, sizeof(type)));
		print_data(doc_get(event, "data"));
		printf("\n");
	}
	json_object_put(event);
	return fflush(stdout) ? -1 : 0;
}

static int events(struct cli *cli, const struct args *args)
{
	const char *since = args_value(args, OPT_SINCE);
	char *path = http_path("events", NULL), *url;
	size_t len;

	if (since && (!*since || strspn(since, "0123456789") != strlen(since))) {
		free(path);
		return cli_usage_error(cli, "--since %s: an event's id is a number", since);
	}
	len = strlen(path) + 32 + (since ? strlen(since) : 0);
	url = malloc(len);
	if (!url)
		abort();
	snprintf(url, len, "%s?%s%s%s%s", path, since ? "since=" : "", since ? since : "",
		since && args_has(args, OPT_FOLLOW) ? "&" : "",
		args_has(args, OPT_FOLLOW) ? "follow=1" : "");
	free(path);
	return http_stream(cli, url, print_event, cli);
}

static const struct command commands[] = {
	{
		.usage = "[-f] [--since ID]",
		.summary = "Print what happened: a line an event, with -o json a document an event",
		.example = "netctl events -f",
		.options = options,
		.run = events,
	},
	{0},
};

const struct noun noun_events = {"events", "What happened, and with -f what happens", commands};
