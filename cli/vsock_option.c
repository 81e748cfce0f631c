/* SPDX-License-Identifier: MIT */
/* --vsock and --cid. See vsock_option.h. */
#include "cli/vsock_option.h"

#include "cli/attach.h"
#include "cli/json.h"
#include "cli/vm_body.h"
#include "common/error.h"
#include "common/os.h"
#include "common/unix_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CID_MIN 3
#define CID_MAX 4294967294

void vsock_option_init(struct vsock_option *v)
{
	memset(v, 0, sizeof(*v));
	v->listener = v->directory = -1;
}

void vsock_option_free(struct vsock_option *v)
{
	if (v->listener >= 0)
		close(v->listener);
	if (v->directory >= 0)
		close(v->directory);
	v->listener = v->directory = -1;
}

int vsock_path(const struct cli *cli, const char *text, char *out, size_t len)
{
	char cwd[PATH_MAX] = "";

	if (*text != '/' && !getcwd(cwd, sizeof(cwd)))
		return cli_error(cli, STATUS_FAILURE, "working directory: %s", strerror(errno));
	if (snprintf(out, len, "%s%s%s", cwd, *text == '/' ? "" : "/", text) >= (int)len)
		return cli_usage_error(cli, "%s: the path is too long", text);
	if (strlen(out) > unix_path_max())
		return cli_usage_error(cli,
			"%s: the path has %zu bytes, a unix socket's at most %zu", out, strlen(out),
			unix_path_max());
	if (out[strlen(out) - 1] == '/')
		return cli_usage_error(cli, "%s: the path is a directory's", out);
	return 0;
}

int vsock_directory(const struct cli *cli, const char *path)
{
	char directory[PATH_MAX];
	int fd;

	snprintf(directory, sizeof(directory), "%.*s/", (int)(strrchr(path, '/') - path), path);
	fd = os_open_directory(directory);
	if (fd < 0)
		return -cli_error(
			cli, STATUS_FAILURE, "directory %s: %s", directory, errno_text(fd));
	return fd;
}

/* ---- the command line ---- */

static int take_kind(const struct cli *cli, struct vsock_option *v, const char *value)
{
	static const char *const kinds[] = {"vhost", "stream", "hybrid", "none"};
	size_t len = strcspn(value, ":");

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strlen(kinds[i]) != len || strncmp(kinds[i], value, len) != 0)
			continue;
		v->kind = kinds[i];
		if (value[len] && i == 3)
			return cli_usage_error(cli, "--vsock none takes no path");
		if (value[len] && !value[len + 1])
			return cli_usage_error(
				cli, "--vsock %s: the path after the colon is missing", v->kind);
		if (value[len])
			return vsock_path(cli, value + len + 1, v->path, sizeof(v->path));
		if (i == 2)
			return cli_usage_error(cli,
				"--vsock hybrid: hybrid:PATH is wanted, PATH the VMM's own socket");
		return 0;
	}
	return cli_usage_error(cli,
		"--vsock %s: a vsock is vhost[:PATH], stream[:PATH], hybrid:PATH or none", value);
}

int vsock_option_take(const struct cli *cli, struct vsock_option *v, const struct given *given)
{
	long cid;
	int status;

	if (given->id == OPT_VSOCK)
		return take_kind(cli, v, given->value);
	status = parse_bounded(cli, "--cid", given->value, CID_MIN, CID_MAX, &cid);
	v->cid = status ? 0 : (uint32_t)cid;
	return status;
}

int vsock_option_put(const struct cli *cli, struct vsock_option *v, struct json_object *body)
{
	bool none = !v->kind || !strcmp(v->kind, "none");
	struct json_object *vsock;

	if (none && v->cid)
		return cli_usage_error(cli, "--cid is of a vsock: --vsock is missing");
	if (none)
		return 0;
	vsock = json_object_new_object();
	doc_put_text(vsock, "kind", v->kind);
	if (v->cid)
		doc_put_int(vsock, "cid", v->cid);
	if (*v->path) {
		doc_put_text(vsock, "path", v->path);
		doc_put_bool(vsock, "handed", true);
		snprintf(v->bound, sizeof(v->bound), "%s%s", v->path,
			strcmp(v->kind, "hybrid") ? "" : "_1026");
	}
	json_object_object_add(body, "vsock", vsock);
	return 0;
}

/* ---- what is opened ---- */

int vsock_option_open(struct cli *cli, struct vsock_option *v, bool served)
{
	if (!*v->bound)
		return 0;
	if (!strcmp(v->kind, "hybrid")) {
		v->directory = vsock_directory(cli, v->path);
		if (v->directory < 0)
			return -v->directory;
	}
	v->listener = served ? unix_listen(v->bound, SOCK_STREAM, 0)
			     : attach_bind(cli, SOCK_STREAM, v->bound);
	if (served && v->listener == -EADDRINUSE) {
		v->listener = -1;
		v->bound[0] = '\0';
		return 0;
	}
	if (v->listener >= 0)
		return 0;
	return served ? cli_error(cli, STATUS_FAILURE, "%s: %s", v->bound, errno_text(v->listener))
		      : -v->listener;
}

static struct json_object *new_line(const struct vsock_option *v, const char *vm)
{
	struct json_object *line = json_object_new_object();

	doc_put_text(line, "op", "listen");
	doc_put_text(line, "vm", vm);
	doc_put_text(line, "for", "vsock");
	doc_put_text(line, "kind", v->kind);
	return line;
}

int vsock_option_hand(struct cli *cli, struct vsock_option *v, int sock, const char *vm)
{
	struct json_object *line;
	int status = 0;

	if (v->directory >= 0) {
		line = new_line(v, vm);
		doc_put_text(line, "path", v->path);
		status = attach_request(cli, sock, line, v->directory, NULL);
	}
	if (!status && v->listener >= 0) {
		line = new_line(v, vm);
		doc_put_text(line, "path", v->bound);
		if (v->directory >= 0)
			doc_put_int(line, "port", 1026);
		status = attach_request(cli, sock, line, v->listener, NULL);
	}
	return status;
}
