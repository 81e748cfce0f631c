/* SPDX-License-Identifier: MIT */
/* The host's vsock ports that lead to sockets of netctld's. See ports.h. */
#include "dataplane/vsock/ports.h"

#include <stdlib.h>

struct waiting {
	struct vsock_dials *dials;
	struct vsock_dial dial;
	struct vsock_conn *conn;
};

static void on_closed(void *arg, struct vsock_conn *conn)
{
	struct waiting *w = arg;

	(void)conn;
	vsock_dial_cancel(w->dials, &w->dial);
	free(w);
}

static void on_dialled(struct vsock_dial *dial, int fd, bool tcp)
{
	struct waiting *w = (struct waiting *)((char *)dial - offsetof(struct waiting, dial));
	struct vsock_conn *conn = w->conn;
	struct vsock_host host = {.fd = fd, .tcp = tcp};

	vsock_conn_watch(conn, &(struct vsock_conn_events){0});
	free(w);
	if (fd < 0)
		vsock_conn_refuse(conn);
	else
		vsock_conn_accept(conn, &host);
}

void vsock_ports_request(struct vsock_dials *dials, struct vsock_conn *conn)
{
	struct waiting *w = calloc(1, sizeof(*w));
	struct vsock_conn_events events = {.arg = w, .closed = on_closed};

	if (!w) {
		vsock_conn_refuse(conn);
		return;
	}
	w->dials = dials;
	w->conn = conn;
	w->dial.port = conn->host_port;
	w->dial.done = on_dialled;
	vsock_conn_watch(conn, &events);
	vsock_dial(dials, &w->dial);
}
