/* SPDX-License-Identifier: MIT */
/* What netctld asks of a worker's vsock, and what it asks of netctld. */
#include "dataplane/control_internal.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdlib.h>

#define DIAL_MS 4000 /* within the guest's REQUEST's deadline */
#define LISTENERS_A_MESSAGE (FRAME_FDS_MAX - 1)

/* ---- transport ---- */

void control_vsock_set(const struct request *r)
{
	static const enum vsock_kind kinds[] = {
		[NETDP__VSOCK_KIND__VSOCK_NONE] = VSOCK_KIND_NONE,
		[NETDP__VSOCK_KIND__VSOCK_VHOST] = VSOCK_KIND_VHOST,
		[NETDP__VSOCK_KIND__VSOCK_STREAM] = VSOCK_KIND_STREAM,
		[NETDP__VSOCK_KIND__VSOCK_HYBRID] = VSOCK_KIND_HYBRID,
	};
	const Netdp__VsockSet *msg = r->env->vsock_set;
	unsigned kind = (unsigned)msg->kind;
	bool has_fd = kind == NETDP__VSOCK_KIND__VSOCK_VHOST ||
		kind == NETDP__VSOCK_KIND__VSOCK_STREAM;
	struct error err = {0};
	int code;

	if (kind >= sizeof(kinds) / sizeof(*kinds) || r->n_fds != has_fd ||
		(msg->listener && !has_fd)) {
		request_refuse(r, -EINVAL, "vsock: malformed");
		return;
	}
	code = worker_vsock_set(
		r->worker, kinds[kind], request_take_fd(r), msg->listener, msg->cid, &err);
	request_answer(r, code, &err);
}

/* ---- listeners ---- */

static bool read_use(Netdp__VsockUse use, uint32_t port, struct vsock_listener *out)
{
	*out = (struct vsock_listener){.port = port};
	if (use == NETDP__VSOCK_USE__VSOCK_USE_HOST)
		return port == 0;
	out->use = VSOCK_USE_PORT;
	return use == NETDP__VSOCK_USE__VSOCK_USE_PORT;
}

static const char *listen_text(int code)
{
	switch (code) {
	case -ENOTSUP:
		return "vsock: no such listener with this kind";
	case -EINVAL:
		return "vsock: not a listening socket";
	case -ENOENT:
		return "vsock: no such listener";
	default:
		return NULL;
	}
}

void control_vsock_listen(const struct request *r)
{
	const Netdp__VsockListen *msg = r->env->vsock_listen;
	struct vsock_listener listener;
	int code;

	if (r->n_fds != 1 || !read_use(msg->use, msg->port, &listener)) {
		request_refuse(r, -EINVAL, "vsock listen: malformed");
		return;
	}
	code = vsock_listen(worker_vsock(r->worker), &listener, request_take_fd(r));
	request_refuse(r, code, listen_text(code));
}

void control_vsock_unlisten(const struct request *r)
{
	const Netdp__VsockUnlisten *msg = r->env->vsock_unlisten;
	struct vsock_listener listener;
	int code;

	if (!read_use(msg->use, msg->port, &listener)) {
		request_refuse(r, -EINVAL, "vsock unlisten: malformed");
		return;
	}
	code = vsock_unlisten(worker_vsock(r->worker), &listener);
	request_refuse(r, code, listen_text(code));
}

void control_vsock_get(const struct request *r)
{
	const struct vsock *vsock = worker_vsock(r->worker);
	struct vsock_in_force now = vsock_in_force(vsock);
	uint32_t skip = r->env->vsock_get->skip;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Vsock msg = NETDP__VSOCK__INIT;
	Netdp__VsockSet set = NETDP__VSOCK_SET__INIT;
	Netdp__VsockListen list[LISTENERS_A_MESSAGE], *pointers[LISTENERS_A_MESSAGE];
	struct vsock_listener listener;
	int fds[FRAME_FDS_MAX];
	size_t n_fds = 0, n = 0;

	set.kind = (Netdp__VsockKind)now.kind;
	set.cid = now.guest_cid;
	set.listener = now.listener >= 0;
	if (skip == 0 && now.listener >= 0)
		fds[n_fds++] = now.listener;
	for (; n < LISTENERS_A_MESSAGE; n++) {
		if (!vsock_listener_at(vsock, (size_t)skip + n, &listener, &fds[n_fds]))
			break;
		n_fds++;
		netdp__vsock_listen__init(&list[n]);
		list[n].use = listener.use == VSOCK_USE_HOST ? NETDP__VSOCK_USE__VSOCK_USE_HOST
							     : NETDP__VSOCK_USE__VSOCK_USE_PORT;
		list[n].port = listener.port;
		pointers[n] = &list[n];
	}
	msg.set = &set;
	msg.up = vsock_is_up(vsock);
	msg.listeners = pointers;
	msg.n_listeners = n;
	msg.total = (uint32_t)vsock_listener_count(vsock);
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK;
	env.vsock = &msg;
	rpc_reply(r->control->rpc, r->id, &env, fds, n_fds);
}

/* ---- targets ---- */

bool control_read_target(const Netdp__Target *msg, struct vsock_target *to, uint16_t *port)
{
	*to = (struct vsock_target){0};
	*port = 0;
	if (!msg)
		return false;
	switch (msg->kind_case) {
	case NETDP__TARGET__KIND_PORT:
		*port = (uint16_t)msg->port;
		return msg->port && msg->port <= UINT16_MAX;
	case NETDP__TARGET__KIND_VSOCK:
		*to = (struct vsock_target){VSOCK_TO_PORT, msg->vsock};
		return true;
	case NETDP__TARGET__KIND_TSI_FIRST:
		*to = (struct vsock_target){VSOCK_TO_TSI_FIRST, 0};
		return msg->tsi_first;
	case NETDP__TARGET__KIND_TSI_VM_PORT:
		*to = (struct vsock_target){VSOCK_TO_TSI_VM_PORT, msg->tsi_vm_port};
		return true;
	case NETDP__TARGET__KIND_TSI_BOUND_PORT:
		*to = (struct vsock_target){VSOCK_TO_TSI_BOUND_PORT, msg->tsi_bound_port};
		return msg->tsi_bound_port && msg->tsi_bound_port <= UINT16_MAX;
	default:
		return false;
	}
}

void control_put_target(const struct vsock_target *to, uint16_t port, Netdp__Target *msg)
{
	netdp__target__init(msg);
	switch (to->kind) {
	case VSOCK_TO_NOTHING:
		msg->kind_case = NETDP__TARGET__KIND_PORT;
		msg->port = port;
		break;
	case VSOCK_TO_PORT:
		msg->kind_case = NETDP__TARGET__KIND_VSOCK;
		msg->vsock = to->port;
		break;
	case VSOCK_TO_TSI_FIRST:
		msg->kind_case = NETDP__TARGET__KIND_TSI_FIRST;
		msg->tsi_first = true;
		break;
	case VSOCK_TO_TSI_VM_PORT:
		msg->kind_case = NETDP__TARGET__KIND_TSI_VM_PORT;
		msg->tsi_vm_port = to->port;
		break;
	case VSOCK_TO_TSI_BOUND_PORT:
		msg->kind_case = NETDP__TARGET__KIND_TSI_BOUND_PORT;
		msg->tsi_bound_port = to->port;
		break;
	}
}

/* ---- attach ---- */

/* An answer that is due. */
struct attach_answer {
	struct control *control;
	uint64_t connection; /* of netctld's, on which it was asked */
	uint64_t id;
};

static void on_attached(void *arg, int err)
{
	struct attach_answer *due = arg;
	struct control *control = due->control;

	if (control->rpc && control->connection == due->connection)
		rpc_reply_status(control->rpc, due->id, err,
			err < 0 ? "the guest did not take the connection" : NULL);
	free(due);
}

static const char *attach_text(int code)
{
	switch (code) {
	case -ENOTCONN:
		return "attach: no guest is connected";
	case -ENOENT:
		return "attach: the guest has no such TSI listener";
	case -ENOTSUP:
		return "attach: TSI is not available where the VMM owns the vsock";
	case -EINVAL:
		return "attach: not a stream socket";
	case -EAGAIN:
		return "attach: too many connections are under way";
	default:
		return NULL;
	}
}

static bool read_attach(
	const Netdp__StreamAttach *msg, struct attach *attach, struct endpoint *client)
{
	if (!control_read_target(msg->target, &attach->to, &attach->port) ||
		msg->prefix.len > ATTACH_PREFIX_MAX)
		return false;
	attach->tcp = msg->tcp;
	attach->prefix = msg->prefix.data;
	attach->prefix_len = msg->prefix.len;
	if (!msg->client.len)
		return true;
	attach->client = client;
	return wire_get_endpoint(msg->client, msg->client_port, client);
}

void control_stream_attach(const struct request *r)
{
	struct attach attach = {0};
	struct endpoint client;
	struct attach_answer *due;
	int code;

	if (r->n_fds != 1 || !read_attach(r->env->stream_attach, &attach, &client)) {
		request_refuse(r, -EINVAL, "attach: malformed");
		return;
	}
	due = malloc(sizeof(*due));
	if (!due) {
		request_refuse(r, -ENOMEM, NULL);
		return;
	}
	*due = (struct attach_answer){r->control, r->control->connection, r->id};
	code = worker_stream_attach(r->worker, &attach, request_take_fd(r), on_attached, due);
	if (code < 0) {
		free(due);
		request_refuse(r, code, attach_text(code));
	}
}

/* ---- what the vsock asks of netctld ---- */

struct dial_question {
	struct control *control;
	unsigned question;
};

static void on_dialled(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct dial_question asked = *(struct dial_question *)arg;
	bool good = code == 0 && reply->body_case == NETDP__ENVELOPE__BODY_VSOCK_DIALED &&
		n_fds == 1;
	int fd = good ? fds[0] : code;

	(void)text;
	free(arg);
	if (good)
		fds[0] = -1;
	else if (code == 0)
		fd = -EPROTO;
	vsock_dialled(worker_vsock(asked.control->worker), asked.question, fd,
		good && reply->vsock_dialed->tcp);
}

bool control_vsock_dial(void *arg, unsigned question, bool vmm, uint32_t port)
{
	struct control *control = arg;
	struct dial_question *asked;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockDial msg = NETDP__VSOCK_DIAL__INIT;

	if (!control_can_send(control))
		return false;
	asked = malloc(sizeof(*asked));
	if (!asked)
		return false;
	*asked = (struct dial_question){control, question};
	msg.vmm = vmm;
	msg.port = port;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_DIAL;
	env.vsock_dial = &msg;
	rpc_call(control->rpc, &env, NULL, 0, DIAL_MS, on_dialled, asked);
	return true;
}
