/* SPDX-License-Identifier: MIT */
/* netctl events: what happened, and with -f what happens. */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS 300

enum { OPT_FOLLOW = 'f', OPT_SINCE = 's', OPT_LAST = 'n', OPT_VM = 'v', OPT_TYPE = 't' };

static const struct option options[] = {
	{OPT_FOLLOW, 'f', "follow", NULL, "go on until interrupted, over restarts of netctld, too"},
	{OPT_SINCE, 0, "since", "ID", "only events after this one"},
	{OPT_LAST, 'n', "last", "N", "only the newest N, before --vm and --type choose"},
	{OPT_VM, 0, "vm", "VM", "only events of this VM"},
	{OPT_TYPE, 't', "type", "TYPE[,TYPE]",
		"only these, as in flow.refused; link is each link.…"},
	{0},
};

struct watch {
	struct cli *cli;
	char since[24]; /* the id of the last event seen, or "" */
	bool stop;      /* nobody reads what is printed */
	bool cut;       /* netctld gave us up as too slow */
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

static void print_line(const struct cli *cli, struct json_object *event, const char *line)
{
	char vm[80], type[64], time[64];

	if (cli->output == OUTPUT_JSON || !event) {
		printf("%s\n", line);
		return;
	}
	printf("%s  %s  %-15s %-17s", doc_text(event, "id"),
		cli_clean(doc_text(event, "time"), time, sizeof(time)),
		cli_clean(doc_text(event, "vm"), vm, sizeof(vm)),
		cli_clean(doc_text(event, "type"), type, sizeof(type)));
	print_data(doc_get(event, "data"));
	printf("\n");
}

static int on_line(void *arg, char *line)
{
	struct watch *watch = arg;
	struct json_object *event = json_tokener_parse(line);

	watch->cut = strcmp(doc_text(event, "type"), "stream.cut") == 0;
	snprintf(watch->since, sizeof(watch->since), "%s", doc_text(event, "id"));
	if (!watch->cut)
		print_line(watch->cli, event, line);
	json_object_put(event);
	watch->stop = fflush(stdout) != 0;
	return watch->stop ? -1 : 0;
}

/* "?since=7&follow=1" */
static char *question(const struct watch *watch, const struct args *args)
{
	const char *last = args_value(args, OPT_LAST), *vm = args_value(args, OPT_VM);
	const char *type = args_value(args, OPT_TYPE);
	char *path = http_path("events", NULL), *url;
	size_t len = strlen(path) + 128 + (vm ? strlen(vm) : 0) + (type ? strlen(type) : 0) +
		(last ? strlen(last) : 0);

	url = malloc(len);
	if (!url)
		abort();
	snprintf(url, len, "%s?follow=%d%s%s%s%s%s%s%s%s", path, args_has(args, OPT_FOLLOW),
		*watch->since ? "&since=" : "", watch->since,
		last && !*watch->since ? "&last=" : "", last && !*watch->since ? last : "",
		vm ? "&vm=" : "", vm ? vm : "", type ? "&type=" : "", type ? type : "");
	free(path);
	return url;
}

static bool is_number(const char *text)
{
	return *text && strlen(text) < 20 && strspn(text, "0123456789") == strlen(text);
}

/* Only such bytes need no escape in a URL, and no VM or type has others. */
static bool is_plain(const char *text)
{
	return *text && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-,") == strlen(text);
}

static int check(struct cli *cli, const struct args *args)
{
	const char *since = args_value(args, OPT_SINCE), *last = args_value(args, OPT_LAST);
	const char *vm = args_value(args, OPT_VM), *type = args_value(args, OPT_TYPE);

	if (since && !is_number(since))
		return cli_usage_error(cli, "--since %s: an event's id is a number", since);
	if (last && !is_number(last))
		return cli_usage_error(cli, "--last %s: not a number", last);
	if (since && last)
		return cli_usage_error(cli, "either --since or --last");
	if (vm && !is_plain(vm))
		return cli_usage_error(cli, "--vm %s: no VM's name", vm);
	if (type && !is_plain(type))
		return cli_usage_error(cli, "--type %s: no event's type", type);
	return 0;
}

/* Whether to ask again: netctld went, or cut us. Says so, once. */
static bool go_on(struct watch *watch, int status)
{
	struct cli *cli = watch->cli;

	if (watch->stop || http_interrupted())
		return false;
	if (watch->cut) {
		fprintf(stderr, "netctl: events: read too slowly; going on after event %s\n",
			watch->since);
		watch->cut = false;
		return true;
	}
	if ((status != STATUS_UNREACHABLE && status != STATUS_OK) || !*cli->api_path)
		return false;
	if (!cli->quiet)
		fprintf(stderr, "netctl: events: waiting for netctld at %s\n", cli->api_path);
	cli->quiet = true; /* until it answers */
	poll(NULL, 0, RETRY_MS);
	if (http_healthy(cli->api_path))
		cli->quiet = false;
	return !http_interrupted();
}

static int events(struct cli *cli, const struct args *args)
{
	struct watch watch = {.cli = cli};
	int status = check(cli, args);
	bool follow = args_has(args, OPT_FOLLOW);

	if (status)
		return status;
	if (args_has(args, OPT_SINCE))
		snprintf(watch.since, sizeof(watch.since), "%s", args_value(args, OPT_SINCE));
	do {
		status = http_stream(cli, question(&watch, args), on_line, &watch);
	} while (follow && go_on(&watch, status));
	if (watch.stop || http_interrupted())
		return STATUS_OK;
	if (watch.cut)
		return cli_error(
			cli, STATUS_FAILURE, "read too slowly: go on with --since %s", watch.since);
	return status;
}

static const struct command commands[] = {
	{
		.usage = "[-f] [--since ID | --last N] [--vm VM] [--type TYPE]",
		.summary = "Print what happened: a line an event, with -o json a document an event",
		.example = "netctl events -f",
		.options = options,
		.run = events,
	},
	{0},
};

const struct noun noun_events = {"events", "What happened, and with -f what happens", commands};
