/* SPDX-License-Identifier: MIT */
/*
 * netctl run: a command in a network of its own. run.c reads the command line; run_linux.c and
 * its neighbours do it, run_darwin.c says that it cannot be done.
 */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "cli/cli.h"
#include "cli/proxy_option.h"
#include "cli/vm_body.h"
#include "cli/vsock_option.h"

#include <json-c/json.h>

#define RUN_FAILURE 125 /* exit status of a failure of ours, as env(1) has it */
#define RUN_DEFAULT_MTU 65520

struct run {
	struct cli *cli;
	char **command;           /* NULL-terminated */
	struct json_object *body; /* the VM to be made, without its name */
	struct forwards forwards; /* the handed ones are not in body */
	struct vsock_option vsock;
	struct proxy_option proxy;
	bool map_root;
};

/* Runs the command to its end. Returns netctl's exit status. */
int run_in_network(struct run *run);

#endif
