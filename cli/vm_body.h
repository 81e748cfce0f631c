/* SPDX-License-Identifier: MIT */
/*
 * The API's VM document from the options that `vm create` and `run` share, and what of it HTTP
 * cannot carry: listening sockets at paths that the caller named.
 */
#ifndef CLI_VM_BODY_H
#define CLI_VM_BODY_H

#include "cli/cli.h"
#include "cli/spec.h"

#include <json-c/json.h>

/* Option ids shared by both commands. */
enum {
	OPT_MTU = 'm',
	OPT_POLICY = 'p',
	OPT_HOST_ACCESS = 'a',
	OPT_FORWARD = 'f',
	OPT_TTL = 't',
};

#define OPTION_MTU                                                                                 \
	{                                                                                          \
		OPT_MTU, 0, "mtu", "N", "the link's MTU (576 to 65520)"                            \
	}
#define OPTION_POLICY                                                                              \
	{                                                                                          \
		OPT_POLICY, 0, "policy", "POLICY", "open, public (default), none, or a JSON file"  \
	}
#define OPTION_HOST_ACCESS                                                                         \
	{                                                                                          \
		OPT_HOST_ACCESS, 0, "host-access", NULL,                                           \
			"the gateway address is the host's loopback"                               \
	}
#define OPTION_FORWARD                                                                             \
	{                                                                                          \
		OPT_FORWARD, 0, "forward", "SPEC", "a forward; may be given again"                 \
	}

#define OPTION_TTL                                                                                 \
	{                                                                                          \
		OPT_TTL, 0, "ttl", "DURATION",                                                     \
			"delete the VM after so long without a VMM: 90s, 10m, 2h"                  \
	}

/* Forwards asked for, split by how they reach the daemon. */
struct forwards {
	struct json_object *items;  /* array of Forward: tcp and udp */
	struct json_object *handed; /* array of Forward: unix, bound by us */
};

void forwards_init(struct forwards *f);
void forwards_free(struct forwards *f);
/* Returns 0 or STATUS_USAGE with the message printed. */
int forwards_add(const struct cli *cli, struct forwards *f, const char *spec);
/* Hands every unix forward over on an attach connection. Those that were handed before a failure
 * are deleted again. Returns an exit status. */
int forwards_hand(struct cli *cli, const struct forwards *f, int sock, const char *vm);

/* The policy of a FILE ("-" is stdin) or preset. Returns 0 or an exit status with the message
 * printed; *out is owned by the caller. The file is remembered in cli, field leading to it in the
 * request ("policy." or ""), for what the daemon says of it. */
int policy_load(struct cli *cli, const char *word, const char *field, struct json_object **out);

/* Puts one shared option into the document. Returns 0 or STATUS_USAGE/STATUS_FAILURE with the
 * message printed; an option of another id is left alone. mtu goes to body.link. */
int vm_body_option(struct cli *cli, struct json_object *body, struct forwards *forwards,
	const struct given *given);

/* Puts --ttl into the document. Returns 0 or STATUS_USAGE with the message printed. */
int vm_body_ttl(const struct cli *cli, struct json_object *body, const char *text);

/* A decimal number within bounds. Returns 0 or STATUS_USAGE with the message printed. */
int parse_bounded(
	const struct cli *cli, const char *option, const char *text, long min, long max, long *out);

/* A VM's name: [a-z0-9][a-z0-9._-]{0,62}. Returns 0 or STATUS_USAGE with the message printed. */
int check_vm_name(const struct cli *cli, const char *name);

#endif
