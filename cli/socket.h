/* SPDX-License-Identifier: MIT */
/* Which daemon: the one named, else the first that answers. */
#ifndef CLI_SOCKET_H
#define CLI_SOCKET_H

#include "cli/cli.h"

/* Fills cli->api_path: -s, $NETCTL_SOCKET, else the first that takes a connection of
 * /run/netctl/api.sock and $XDG_RUNTIME_DIR/netctl/api.sock. Returns 0, or STATUS_UNREACHABLE
 * with the message printed unless quiet. */
int socket_find(struct cli *cli, bool quiet);

/* attach.sock beside the api.sock in use. Writes into buf and returns it. */
char *socket_attach_path(const struct cli *cli, char *buf, size_t len);

#endif
