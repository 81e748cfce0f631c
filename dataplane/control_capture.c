/* SPDX-License-Identifier: MIT */
/* Somebody wants to see the link's frames. */
#include "dataplane/control_internal.h"

#include <errno.h>

static bool read_wish(const Netdp__Capture *msg, struct capture_wish *wish)
{
	if (msg->n_ports > CAPTURE_PORTS_MAX)
		return false;
	for (size_t i = 0; i < msg->n_ports; i++) {
		if (!msg->ports[i] || msg->ports[i] > UINT16_MAX)
			return false;
		wish->ports[wish->n_ports++] = (uint16_t)msg->ports[i];
	}
	wish->snaplen = msg->snaplen;
	return true;
}

void control_capture(const struct request *r)
{
	struct capture_wish wish = {0};
	int code;

	if (r->n_fds != 1 || !read_wish(r->env->capture, &wish)) {
		request_refuse(r, -EINVAL, "capture: malformed");
		return;
	}
	code = worker_capture(r->worker, &wish, request_take_fd(r));
	request_refuse(r, code, code == -EMFILE ? "there are 4 captures already" : NULL);
}
