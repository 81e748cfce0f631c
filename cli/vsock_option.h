/* SPDX-License-Identifier: MIT */
/*
 * --vsock KIND[:PATH] and --cid N of `vm create` and `run`: the document, and what of it HTTP cannot
 * carry.
 *
 * A PATH is opened as the caller: bound for vhost and stream; for hybrid, where the socket is the
 * VMM's, its directory is opened and PATH_1026, where the VMM brings reads of the env, is bound.
 */
#ifndef CLI_VSOCK_OPTION_H
#define CLI_VSOCK_OPTION_H

#include "cli/cli.h"

#include <json-c/json.h>
#include <limits.h>

enum { OPT_VSOCK = 'v', OPT_CID = 'c' };

#define OPTION_VSOCK                                                                               \
	{                                                                                          \
		OPT_VSOCK, 0, "vsock", "KIND", "vhost[:PATH], stream[:PATH], hybrid:PATH or none"  \
	}
#define OPTION_CID                                                                                 \
	{                                                                                          \
		OPT_CID, 0, "cid", "N", "the guest's CID on its vsock (default 3)"                 \
	}

struct vsock_option {
	const char *kind;          /* NULL: not asked for */
	char path[PATH_MAX];       /* to be opened by us; "" where there is none */
	uint32_t cid;              /* 0: the daemon's default */
	char bound[PATH_MAX + 16]; /* what is to be bound; "" where there is nothing */
	int listener;              /* bound to that, or -1 */
	int directory;             /* hybrid: of path, or -1 */
};

void vsock_option_init(struct vsock_option *v);
/* Closes; removes no file. */
void vsock_option_free(struct vsock_option *v);
/* Takes one of the two options. Returns 0 or STATUS_USAGE/STATUS_FAILURE with the message printed. */
int vsock_option_take(const struct cli *cli, struct vsock_option *v, const struct given *given);
/* Checks that they go together, and puts them into the VM's document. */
int vsock_option_put(const struct cli *cli, struct vsock_option *v, struct json_object *body);
/* Opens what is to be opened. `served` says that the VM stands already and may be served there: that
 * is ours then, and stays. Returns an exit status. */
int vsock_option_open(struct cli *cli, struct vsock_option *v, bool served);
/* Hands it over on an attach connection. Returns an exit status. */
int vsock_option_hand(struct cli *cli, struct vsock_option *v, int sock, const char *vm);

/* Opens the directory of a socket's path. The fd, or a negative exit status with the message printed. */
int vsock_directory(const struct cli *cli, const char *path);
/* An absolute path made of text. 0 or an exit status with the message printed. */
int vsock_path(const struct cli *cli, const char *text, char *out, size_t len);

#endif
