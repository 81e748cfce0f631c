/* SPDX-License-Identifier: MIT */
/* Which daemon. See socket.h. */
#include "cli/socket.h"

#include "common/error.h"
#include "common/unix_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SYSTEM_SOCKET "/run/netctl/api.sock"

static int answers(const char *path)
{
	int fd = unix_connect(path, SOCK_STREAM, 1000, false);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int no_answer(const struct cli *cli, const char *path, int err)
{
	if (err == -ENAMETOOLONG)
		return cli_error(cli, STATUS_UNREACHABLE,
			"%s: longer than the %zu bytes of a unix socket's path", path,
			unix_path_max());
	return cli_error(
		cli, STATUS_UNREACHABLE, "no netctld answers at %s: %s", path, errno_text(err));
}

static int use(struct cli *cli, const char *path)
{
	snprintf(cli->api_path, sizeof(cli->api_path), "%s", path);
	return 0;
}

int socket_find(struct cli *cli, bool quiet)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char own[256] = "";
	int err, first;

	if (*cli->api_path)
		return 0;
	if (cli->socket) {
		err = answers(cli->socket);
		if (!err)
			return use(cli, cli->socket);
		return quiet ? STATUS_UNREACHABLE : no_answer(cli, cli->socket, err);
	}
	first = answers(SYSTEM_SOCKET);
	if (!first)
		return use(cli, SYSTEM_SOCKET);
	if (runtime && *runtime == '/' &&
		snprintf(own, sizeof(own), "%s/netctl/api.sock", runtime) < (int)sizeof(own)) {
		err = answers(own);
		if (!err)
			return use(cli, own);
		/* Name the one that is there but does not let us in. */
		if (!quiet && (first == -ENOENT || first == -ECONNREFUSED))
			return no_answer(cli, own, err);
	}
	return quiet ? STATUS_UNREACHABLE : no_answer(cli, SYSTEM_SOCKET, first);
}

char *socket_attach_path(const struct cli *cli, char *buf, size_t len)
{
	const char *slash = strrchr(cli->api_path, '/');
	int dir = slash ? (int)(slash - cli->api_path) + 1 : 0;

	snprintf(buf, len, "%.*sattach.sock", dir, cli->api_path);
	return buf;
}
