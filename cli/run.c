/* SPDX-License-Identifier: MIT */
/* netctl run: its command line. See run.h. */
#include "cli/run.h"

#include "cli/args.h"
#include "cli/json.h"
#include "cli/limit_option.h"
#include "cli/net_option.h"
#include "cli/nouns.h"

enum { OPT_MAP_ROOT = 'r' };

static const struct option options[] = {
	OPTION_MTU,
	OPTION_SUBNET,
	OPTION_MAC,
	OPTIONS_DNS,
	OPTION_POLICY,
	OPTION_HOST_ACCESS,
	OPTIONS_LIMIT,
	OPTION_FORWARD,
	OPTION_VSOCK,
	OPTION_CID,
	OPTIONS_PROXY,
	{OPT_MAP_ROOT, 0, "map-root", NULL,
		"COMMAND is root, with capabilities, in a user namespace"},
	{0},
};

static int take_args(struct run *run, const struct args *args)
{
	int status = 0;

	doc_put_text(run->body, "name", "");
	for (size_t i = 0; i < args->n_given && !status; i++) {
		if (args->given[i].id == OPT_MAP_ROOT)
			run->map_root = true;
		else if (args->given[i].id == OPT_VSOCK || args->given[i].id == OPT_CID)
			status = vsock_option_take(run->cli, &run->vsock, &args->given[i]);
		else if (net_option_is(&args->given[i]))
			status = net_option_take(run->cli, run->body, &args->given[i]);
		else if (!proxy_option_is(&args->given[i]))
			status = vm_body_option(
				run->cli, run->body, &run->forwards, &args->given[i]);
		else
			status = proxy_option_take(run->cli, &run->proxy, &args->given[i]);
	}
	proxy_option_put(&run->proxy, run->body);
	if (!doc_get(run->body, "link"))
		json_object_object_add(run->body, "link", json_object_new_object());
	doc_put_text(doc_get(run->body, "link"), "kind", "attach");
	if (!doc_get(run->body, "link.mtu"))
		doc_put_int(doc_get(run->body, "link"), "mtu", RUN_DEFAULT_MTU);
	if (json_object_array_length(run->forwards.items))
		json_object_object_add(run->body, "forwards", json_object_get(run->forwards.items));
	if (!status)
		status = vsock_option_put(run->cli, &run->vsock, run->body);
	return status;
}

static int run_command(struct cli *cli, const struct args *args)
{
	struct run run = {.cli = cli, .command = args->words};
	int status;

	run.body = json_object_new_object();
	forwards_init(&run.forwards);
	vsock_option_init(&run.vsock);
	status = take_args(&run, args) ? RUN_FAILURE : run_in_network(&run);
	vsock_option_free(&run.vsock);
	proxy_option_free(&run.proxy);
	forwards_free(&run.forwards);
	json_object_put(run.body);
	return status;
}

static const char notes[] =
	"COMMAND sees one interface, eth0, and a DNS server at the gateway. It keeps its user, groups\n"
	"and directory and has no capability. A SPEC is\n"
	"  [tcp:|udp:][BIND:]HOST[-HOST]:TARGET[/udp]  or  unix:PATH:TARGET\n"
	"--vsock is for a COMMAND that is a VMM.\n"
	"Without a running netctld a private one serves COMMAND and ends with it. The exit status is\n"
	"COMMAND's, 128+n on signal n, 126 or 127 if it cannot be executed, 125 on failures of ours.\n";

static const struct command commands[] = {
	{
		.usage = "[OPTION]... [--] COMMAND [ARG]...",
		.summary = "Run a command in a network of its own (Linux)",
		.example = "netctl run --forward 8080:80 -- python3 -m http.server 80",
		.options = options,
		.min_words = 1,
		.max_words = (size_t)-1,
		.in_order = true,
		.failure = RUN_FAILURE,
		.run = run_command,
		.notes = notes,
	},
	{0},
};

const struct noun noun_run = {"run", "Run a command in a network of its own", commands};
