/* SPDX-License-Identifier: MIT */
/*
 * attach.sock's op capture: the VM's worker copies the frames of its link into the socket that came
 * with the line. netctld has no part in what goes over it, so neither the guest nor a worker that
 * it captured can burden it; the reader is whoever holds the other end. See attach.h.
 */
#include "ctl/attach.h"

#include "ctl/json_read.h"
#include "dataplane/capture.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

static int read_ports(const struct attach_request *r, uint32_t *ports, size_t *n, struct error *err)
{
	struct json_object *list = NULL;
	int got = json_get_array(r->line, "", "ports", CAPTURE_PORTS_MAX, &list, err);
	char field[32];

	*n = 0;
	if (got <= 0)
		return got;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);
		int64_t port = json_object_is_type(item, json_type_int)
			? json_object_get_int64(item)
			: 0;

		snprintf(field, sizeof(field), "ports[%zu]", i);
		if (port < 1 || port > UINT16_MAX)
			return error_set(err, 400, field, "a number of 1 to 65535 is wanted");
		ports[(*n)++] = (uint32_t)port;
	}
	return 0;
}

static int check_fd(const struct attach_request *r, struct error *err)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss), type_len = sizeof(int);
	char what[64];
	int type = 0;

	if (attach_needs_fd(r, "a connected unix stream socket", err) < 0)
		return -1;
	if (getpeername(r->fd, (struct sockaddr *)&ss, &len) == 0 && ss.ss_family == AF_UNIX &&
		getsockopt(r->fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 &&
		type == SOCK_STREAM)
		return 0;
	return error_set(err, 400, "fd", "the fd is %s, a connected unix stream socket is wanted",
		listener_describe(r->fd, what, sizeof(what)));
}

static void on_begun(void *arg, int code, const char *text)
{
	struct attach_request *r = arg;

	if (code)
		error_set(&r->refusal, code == -EMFILE ? 409 : 503, "vm", "VM %s: %s", r->vm,
			code == -ENOSYS ? "its worker is of a release without captures"
				: *text ? text
					: errno_text(code));
	completion_done(r->wait, 0, "");
}

int attach_capture(struct attach_request *r, struct error *err)
{
	static const char *const fields[] = {"op", "vm", "ports", "snaplen", NULL};
	struct vm *vm = attach_vm(r, err);
	uint32_t ports[CAPTURE_PORTS_MAX];
	struct worker_capture capture = {.ports = ports};
	struct worker_client *client;
	int64_t snaplen = 0;

	if (!vm || json_only(r->line, "", fields, err) < 0 || check_fd(r, err) < 0 ||
		read_ports(r, ports, &capture.n_ports, err) < 0 ||
		json_get_int(r->line, "", "snaplen", 1, CAPTURE_SNAPLEN, &snaplen, err) < 0)
		return -1;
	client = vm_worker(vm);
	if (!client)
		return error_set(
			err, 503, "vm", "VM %s: there is no worker of it yet", vm->config.name);
	capture.snaplen = (uint32_t)snaplen;
	attach_answer_vm(r, vm);
	completion_more(r->wait);
	worker_client_capture(client, &capture, r->fd, on_begun, r);
	return 0;
}
