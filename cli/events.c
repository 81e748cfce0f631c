/* SPDX-License-Identifier: MIT */
/* netctl events: what happened, and with -f what happens. */
#include "cli/args.h"
#include "cli/http.h"
#include "cli/json.h"
#include "cli/nouns.h"
#include "cli/suggest.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS 300
#define ID_WIDTH 6
#define TYPE_WIDTH 17

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
	bool any;       /* something came */
};

/* As netctld tells them: a kind, a dot, and what. */
static const char *const types[] = {"vm.created", "vm.deleted", "vm.reset", "vm.restored",
	"worker.started", "worker.died", "worker.adopted", "worker.failed", "link.up", "link.down",
	"link.refused", "vsock.up", "vsock.down", "vsock.refused", "vsock.failed", "map.added",
	"map.deleted", "listener.added", "listener.closed", "listener.more", "guest.up",
	"guest.lease", "forward.added", "forward.deleted", "forward.failed", "policy.set",
	"flow.refused", "proxy.failed", "proxy.password_set", "proxy.password_deleted", "env.set",
	"secret.set", "secret.deleted", "snapshot.created", "snapshot.imported",
	"snapshot.deleted"};

#define KINDS                                                                                      \
	"vm, worker, link, vsock, map, listener, guest, forward, policy, flow, proxy, env, "       \
	"secret, snapshot"
#define N_TYPES (sizeof(types) / sizeof(*types))

static void print_value(const char *key, struct json_object *value)
{
	char text[256], clean[256];

	if (json_object_is_type(value, json_type_array))
		doc_join(value, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "%s", value ? json_object_get_string(value) : "-");
	printf(" %s", cli_clean(key, clean, sizeof(clean)));
	printf("=%s", cli_clean(text, clean, sizeof(clean)));
}

/* What is within an object has its name before its own: listen.port=80. */
static void print_data(struct json_object *data)
{
	char name[128];

	if (!json_object_is_type(data, json_type_object))
		return;
	json_object_object_foreach(data, key, value)
	{
		if (!json_object_is_type(value, json_type_object)) {
			print_value(key, value);
			continue;
		}
		json_object_object_foreach(value, inner, part)
		{
			snprintf(name, sizeof(name), "%s.%s", key, inner);
			print_value(name, part);
		}
	}
}

static void print_line(const struct cli *cli, struct json_object *event, const char *line)
{
	struct json_object *data;
	char vm[80], type[64], time[64];

	if (cli->output == OUTPUT_JSON || !event) {
		printf("%s\n", line);
		return;
	}
	data = doc_get(event, "data");
	printf("%*s  %s  %-15s %-*s", ID_WIDTH, doc_text(event, "id"),
		cli_clean(doc_text(event, "time"), time, sizeof(time)),
		cli_clean(doc_text(event, "vm"), vm, sizeof(vm)),
		json_object_is_type(data, json_type_object) && json_object_object_length(data)
			? TYPE_WIDTH
			: 0,
		cli_clean(doc_text(event, "type"), type, sizeof(type)));
	print_data(data);
	printf("\n");
}

static int on_line(void *arg, char *line)
{
	struct watch *watch = arg;
	struct json_object *event = json_tokener_parse(line);

	watch->any = true;
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

static bool is_type(const char *text, size_t len)
{
	for (size_t i = 0; i < N_TYPES; i++)
		if (!strncmp(types[i], text, len) && (!types[i][len] || types[i][len] == '.'))
			return true;
	return false;
}

static int check_types(const struct cli *cli, const char *list)
{
	for (const char *text = list;; text++) {
		size_t len = strcspn(text, ",");
		struct suggestion best;
		char word[64];

		if (!len || !is_type(text, len)) {
			snprintf(word, sizeof(word), "%.*s", (int)len, text);
			suggest_init(&best, word);
			for (size_t i = 0; i < N_TYPES; i++)
				suggest_offer(&best, types[i]);
			if (best.word)
				return cli_usage_error(cli,
					"--type %s: no events are \"%s\"; is it \"%s\" that is meant?",
					list, word, best.word);
			return cli_usage_error(cli,
				"--type %s: no events are \"%s\"; they are of " KINDS
				", or one as in flow.refused",
				list, word);
		}
		text += len;
		if (!*text)
			return 0;
	}
}

/* Nothing came. Of a VM that there never was, that is no answer; one that is gone has left events. */
static int check_known(struct cli *cli, const struct args *args)
{
	const char *vm = args_value(args, OPT_VM);

	if (!vm || args_has(args, OPT_SINCE) || args_has(args, OPT_LAST) ||
		args_has(args, OPT_TYPE))
		return STATUS_OK;
	return http_call(cli, "GET", http_path("vms", vm, NULL), NULL, NULL);
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
	return type ? check_types(cli, type) : 0;
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
	return status || watch.any ? status : check_known(cli, args);
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
