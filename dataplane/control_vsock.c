/* SPDX-License-Identifier: MIT */
/* What netctld asks of a worker's vsock. */
#include "dataplane/control_internal.h"

#include <errno.h>

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
