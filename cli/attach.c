/* SPDX-License-Identifier: MIT */
/* attach.sock's client. See attach.h. */
#include "cli/attach.h"

#include "cli/http.h"
#include "cli/json.h"
#include "cli/socket.h"
#include "common/clock.h"
#include "common/error.h"
#include "common/os.h"
#include "common/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)128 << 10)
#define DEADLINE_MS 20000

int attach_connect(struct cli *cli)
{
	char path[256];
	int status, fd;

	status = socket_find(cli, false);
	if (status)
		return -status;
	socket_attach_path(cli, path, sizeof(path));
	fd = unix_connect(path, SOCK_STREAM, 5000, true);
	if (fd < 0)
		return -cli_error(cli, STATUS_UNREACHABLE, "no netctld answers at %s: %s", path,
			errno_text(fd));
	return fd;
}

/* Waits for the socket until the deadline. 0 or -errno. */
static int wait_for(int sock, short events, uint64_t deadline)
{
	uint64_t now = clock_ms();
	struct pollfd pfd = {.fd = sock, .events = events};
	int n;

	if (now >= deadline)
		return -ETIMEDOUT;
	n = poll(&pfd, 1, (int)(deadline - now));
	if (n < 0 && errno != EINTR)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

/* The first bytes, and with them the fd. */
static ssize_t send_first(int sock, const char *text, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;
	char copy[512];

	/* iov_base is not const. */
	iov.iov_len = len < sizeof(copy) ? len : sizeof(copy);
	memcpy(copy, text, iov.iov_len);
	iov.iov_base = copy;
	if (fd >= 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	return os_sendmsg(sock, &msg, 0);
}

static int send_line(int sock, const char *text, size_t len, int fd, uint64_t deadline)
{
	while (len) {
		ssize_t n = fd >= 0 ? send_first(sock, text, len, fd) : os_send(sock, text, len, 0);
		int err;

		if (n > 0) {
			fd = -1;
			text += n;
			len -= (size_t)n;
			continue;
		}
		if (n != -EAGAIN && n != -EINTR)
			return (int)n;
		err = wait_for(sock, POLLOUT, deadline);
		if (err < 0)
			return err;
	}
	return 0;
}

/* One line, without its line feed, malloc'd. The daemon sends none but answers. */
static int receive_line(int sock, char **line, uint64_t deadline)
{
	size_t len = 0;
	char *buf = malloc(ANSWER_MAX);

	if (!buf)
		abort();
	for (;;) {
		ssize_t n = recv(sock, buf + len, ANSWER_MAX - len, 0);
		int err = 0;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			err = wait_for(sock, POLLIN, deadline);
		else if (n <= 0)
			err = n < 0 ? -errno : -ECONNRESET;
		else
			len += (size_t)n;
		if (!err && len && buf[len - 1] == '\n')
			break;
		if (!err && len == ANSWER_MAX)
			err = -EMSGSIZE;
		if (err) {
			free(buf);
			return err;
		}
	}
	buf[len - 1] = '\0';
	*line = buf;
	return 0;
}

static int refused(struct cli *cli, struct json_object *doc)
{
	struct answer answer = {.status = doc_int(doc, "status"), .body = doc};

	if (answer.status < 300)
		answer.status = 500;
	return http_result(cli, &answer);
}

int attach_request(
	struct cli *cli, int sock, struct json_object *line, int fd, struct json_object **out)
{
	uint64_t deadline = clock_ms() + DEADLINE_MS;
	const char *text = json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN);
	struct json_object *doc;
	char *answer = NULL;
	int err, status = 0;

	err = send_line(sock, text, strlen(text), fd, deadline);
	if (!err)
		err = send_line(sock, "\n", 1, -1, deadline);
	/* A daemon that refuses may answer and close before it has read the whole line. */
	if (!err || err == -EPIPE)
		err = receive_line(sock, &answer, deadline);
	json_object_put(line);
	if (err)
		return cli_error(cli, STATUS_UNREACHABLE, "attach.sock: %s", errno_text(err));
	doc = json_tokener_parse(answer);
	free(answer);
	if (!doc)
		return cli_error(cli, STATUS_FAILURE, "attach.sock: the answer is no JSON");
	if (!doc_bool(doc, "ok"))
		status = refused(cli, doc);
	if (!status && out)
		*out = doc;
	else
		json_object_put(doc);
	return status;
}

bool attach_unlink_stale(const char *path, int type)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode) || st.st_uid != geteuid())
		return false;
	fd = unix_connect(path, type, 1000, false);
	if (fd >= 0)
		close(fd);
	return fd == -ECONNREFUSED && unlink(path) == 0;
}

void attach_remove_socket(const char *path, int type)
{
	for (int i = 0; *path && access(path, F_OK) == 0 && i < 10; i++) {
		if (attach_unlink_stale(path, type))
			return;
		poll(NULL, 0, 20);
	}
}

int attach_bind(struct cli *cli, int type, const char *path)
{
	struct stat st;
	int fd;

	if (strlen(path) > unix_path_max())
		return -cli_error(cli, STATUS_FAILURE,
			"%s: the path has %zu bytes, a unix socket's at most %zu", path,
			strlen(path), unix_path_max());
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid != geteuid() && geteuid())
		return -cli_error(
			cli, STATUS_FAILURE, "%s: the socket belongs to another user", path);
	fd = unix_listen(path, type, 0);
	if (fd == -EEXIST)
		return -cli_error(cli, STATUS_FAILURE, "%s: exists already and is no socket", path);
	if (fd == -EADDRINUSE)
		return -cli_error(
			cli, STATUS_REFUSED, "%s: address in use: somebody serves it", path);
	if (fd < 0)
		return -cli_error(cli, STATUS_FAILURE, "%s: %s", path, errno_text(fd));
	return fd;
}

int attach_listen(struct cli *cli, int sock, struct json_object *line, int type, const char *path)
{
	int fd = attach_bind(cli, type, path), status;

	if (fd < 0) {
		json_object_put(line);
		return -fd;
	}
	status = attach_request(cli, sock, line, fd, NULL);
	if (status)
		unlink(path);
	close(fd);
	return status;
}
