/* SPDX-License-Identifier: MIT */
/*
 * attach.sock's op stream: a connection that somebody accepted, and read from, becomes the guest's. See
 * attach.h.
 *
 * The worker answers when the guest accepted or refused, so the line's answer waits for that, and says
 * which: 404 nobody listens there, 409 refused, 503 no guest or no answer of it.
 */
#include "ctl/attach.h"

#include "ctl/json_read.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- what the line says ---- */

static int read_port(const char *text, uint64_t max, uint32_t *port)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n < 1 || n > max)
		return -1;
	*port = (uint32_t)n;
	return 0;
}

static int read_target(const struct attach_request *r, struct worker_target *to, struct error *err)
{
	static const struct {
		const char *prefix;
		enum worker_target_kind kind;
		uint64_t max;
	} kinds[] = {
		{"tsi:", WORKER_TO_TSI_VM_PORT, VSOCK_PORT_MAX},
		{"tsi@", WORKER_TO_TSI_BOUND_PORT, UINT16_MAX},
		{"vsock:", WORKER_TO_VSOCK, VSOCK_PORT_MAX},
		{"tcp:", WORKER_TO_PORT, UINT16_MAX},
	};
	const char *text = NULL;
	int got = json_get_string(r->line, "", "to", &text, err);

	if (got <= 0)
		return got < 0 ? -1 : json_missing("", "to", err);
	*to = (struct worker_target){WORKER_TO_TSI_FIRST, 0};
	if (strcmp(text, "tsi") == 0)
		return 0;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		size_t len = strlen(kinds[i].prefix);

		to->kind = kinds[i].kind;
		if (strncmp(text, kinds[i].prefix, len) == 0 &&
			read_port(text + len, kinds[i].max, &to->port) == 0)
			return 0;
	}
	return error_set(err, 400, "to",
		"\"%.64s\" is not tsi, tsi:PORT, tsi@PORT, vsock:PORT or tcp:PORT", text);
}

/* 0 with *prefix to be freed (NULL for none), or -1. */
static int read_prefix(
	const struct attach_request *r, unsigned char **prefix, size_t *len, struct error *err)
{
	const char *text = NULL;
	int got = json_get_string(r->line, "", "prefix", &text, err);
	size_t n;

	*prefix = NULL;
	*len = 0;
	if (got <= 0)
		return got;
	n = strlen(text);
	if (n / 4 * 3 > WORKER_PREFIX_MAX + 3)
		return error_set(err, 400, "prefix", "more than %u bytes", WORKER_PREFIX_MAX);
	*prefix = malloc(n + 1);
	if (!*prefix)
		return error_set(err, 500, NULL, "out of memory");
	if (sodium_base642bin(*prefix, n + 1, text, n, NULL, len, NULL,
		    sodium_base64_VARIANT_ORIGINAL) == 0 &&
		*len <= WORKER_PREFIX_MAX)
		return 0;
	free(*prefix);
	*prefix = NULL;
	return *len > WORKER_PREFIX_MAX
		? error_set(err, 400, "prefix", "more than %u bytes", WORKER_PREFIX_MAX)
		: error_set(err, 400, "prefix", "no base64");
}

/* Which kind of stream the fd is, and from whom. */
static int check_fd(const struct attach_request *r, const char *vm, struct worker_stream *stream,
	struct error *err)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);
	int type = 0;
	socklen_t type_len = sizeof(type);
	char what[64];
	bool good = getpeername(r->fd, (struct sockaddr *)&ss, &len) == 0 &&
		getsockopt(r->fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 &&
		type == SOCK_STREAM;

	if (good && ss.ss_family == AF_UNIX)
		return 0;
	stream->tcp = true;
	if (good && endpoint_from_sockaddr((struct sockaddr *)&ss, len, &stream->client) == 0)
		return 0;
	return error_set(err, 400, "fd",
		"VM %s: the fd is %s, a connected TCP or unix stream socket is wanted", vm,
		listener_describe(r->fd, what, sizeof(what)));
}

/* ---- the worker's answer ---- */

static void on_attached(void *arg, int code, const char *text)
{
	struct attach_request *r = arg;
	int status = code == -ENOENT                  ? 404
		: code == -ECONNREFUSED               ? 409
		: code == -EINVAL || code == -ENOTSUP ? 400
						      : 503;

	if (code)
		error_set(&r->refusal, status, "to", "VM %s: %s", r->vm,
			*text ? text : errno_text(code));
	completion_done(r->wait, 0, "");
}

int attach_stream(struct attach_request *r, struct error *err)
{
	static const char *const fields[] = {"op", "vm", "to", "prefix", NULL};
	struct worker_stream stream = {0};
	struct vm *vm = attach_vm(r, err);
	struct worker_client *client;
	unsigned char *prefix;

	if (!vm || json_only(r->line, "", fields, err) < 0 ||
		attach_needs_fd(r, "a connected stream socket", err) < 0 ||
		read_target(r, &stream.target, err) < 0 ||
		check_fd(r, vm->config.name, &stream, err) < 0)
		return -1;
	client = vm_worker(vm);
	if (!client)
		return error_set(
			err, 503, "vm", "VM %s: there is no worker of it yet", vm->config.name);
	if (read_prefix(r, &prefix, &stream.prefix_len, err) < 0)
		return -1;
	stream.prefix = prefix;
	attach_answer_vm(r, vm);
	completion_more(r->wait);
	worker_client_stream_attach(client, &stream, r->fd, on_attached, r);
	free(prefix);
	return 0;
}
