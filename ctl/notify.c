/* SPDX-License-Identifier: MIT */
/* systemd's notification socket. See notify.h. */
#include "ctl/notify.h"

#include "common/os.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_service(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len;
	int fd;

	if (!path || strlen(path) >= sizeof(un.sun_path) || (*path != '/' && *path != '@'))
		return;
	strcpy(un.sun_path, path);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (*path == '@')
		un.sun_path[0] = '\0'; /* the abstract name space */
	fd = os_socket(AF_UNIX, SOCK_DGRAM, 0, true);
	if (fd < 0)
		return;
	if (connect(fd, (struct sockaddr *)&un, len) == 0)
		os_send(fd, state, strlen(state), 0);
	close(fd);
}
