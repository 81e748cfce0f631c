/* SPDX-License-Identifier: MIT */
/* The VM's hybrid socket. See host_socket.h. */
#include "dataplane/vsock/host_socket.h"

#include "common/os.h"
#include "dataplane/acceptor.h"
#include "dataplane/vsock/line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 *	accepted ─► READING ── CONNECT PORT ─► ASKING ── the guest accepts ─► OK HOSTPORT, not ours
 *	               └───── anything else ─► closed ◄─ or refuses            any more
 */
struct client {
	LIST_ENTRY(client) entry;
	struct vsock_host_socket *socket;
	struct vsock_line line;
	int fd; /* -1: the connection has it */
};

struct vsock_host_socket {
	struct loop *loop;
	struct counters *counters;
	struct vsock_mux *mux;
	struct accept_group group; /* a place is a client */
	struct acceptor *acceptor; /* NULL: does not listen */
	LIST_HEAD(, client) clients;
};

static void client_free(struct client *client)
{
	struct vsock_host_socket *socket = client->socket;

	vsock_line_stop(&client->line);
	if (client->fd >= 0)
		close(client->fd);
	LIST_REMOVE(client, entry);
	free(client);
	accept_group_leave(&socket->group);
}

/* It is the first that is written to the socket, so it fits. */
static void on_opened(void *arg, struct vsock_conn *conn)
{
	struct client *client = arg;
	char text[VSOCK_LINE_MAX];
	int len = snprintf(text, sizeof(text), "OK %u\n", conn->host_port);

	vsock_conn_watch(conn, &(struct vsock_conn_events){0});
	client_free(client);
	if (os_send(conn->host.fd, text, (size_t)len, 0) != len)
		vsock_conn_kill(conn);
}

static void on_closed(void *arg, struct vsock_conn *conn)
{
	(void)conn;
	client_free(arg);
}

static void on_line(struct vsock_line *line, int err)
{
	struct client *client = (struct client *)((char *)line - offsetof(struct client, line));
	struct vsock_conn_events events = {.arg = client, .opened = on_opened, .closed = on_closed};
	struct vsock_host host = {.fd = client->fd,
		.prefix = line->text + line->end,
		.prefix_len = (size_t)(line->len - line->end)};
	uint32_t port;

	if (err < 0 || !vsock_line_connect(line->text, line->end, &port)) {
		counter_inc(client->socket->counters, COUNTER_VSOCK_BAD_LINES);
		client_free(client);
		return;
	}
	client->fd = -1;
	if (vsock_mux_connect(client->socket->mux, port, &host, &events) < 0)
		client_free(client);
}

static void on_client(void *arg, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct vsock_host_socket *socket = arg;
	struct client *client = calloc(1, sizeof(*client));

	(void)sa;
	(void)len;
	if (!client) {
		close(fd);
		return;
	}
	client->socket = socket;
	client->fd = fd;
	client->line.done = on_line;
	LIST_INSERT_HEAD(&socket->clients, client, entry);
	accept_group_enter(&socket->group);
	counter_inc(socket->counters, COUNTER_VSOCK_HOST_CLIENTS);
	if (vsock_line_read(&client->line, socket->loop, fd) < 0)
		client_free(client);
}

static void stop_listening(struct vsock_host_socket *socket)
{
	if (socket->acceptor)
		acceptor_stop(socket->acceptor);
	free(socket->acceptor);
	socket->acceptor = NULL;
}

int vsock_host_socket_listen(struct vsock_host_socket *socket, int fd)
{
	struct acceptor *acceptor;
	int err;

	if (fd < 0) {
		stop_listening(socket);
		return 0;
	}
	acceptor = calloc(1, sizeof(*acceptor));
	if (!acceptor) {
		close(fd);
		return -ENOMEM;
	}
	acceptor->arg = socket;
	acceptor->client = on_client;
	err = acceptor_start(acceptor, &socket->group, fd);
	if (err < 0) {
		free(acceptor);
		return err;
	}
	stop_listening(socket);
	socket->acceptor = acceptor;
	return 0;
}

int vsock_host_socket_fd(const struct vsock_host_socket *socket)
{
	return socket->acceptor ? socket->acceptor->fd : -1;
}

void vsock_host_socket_reset(struct vsock_host_socket *socket)
{
	struct client *client, *next;

	/* Those that the guest was asked about end with their connections. */
	for (client = LIST_FIRST(&socket->clients); client; client = next) {
		next = LIST_NEXT(client, entry);
		if (client->fd >= 0)
			client_free(client);
	}
}

struct vsock_host_socket *vsock_host_socket_new(
	struct loop *loop, struct counters *counters, struct vsock_mux *mux)
{
	struct vsock_host_socket *socket = calloc(1, sizeof(*socket));

	if (!socket)
		return NULL;
	socket->loop = loop;
	socket->counters = counters;
	socket->mux = mux;
	accept_group_init(&socket->group, loop, counters, COUNTER_VSOCK_NO_FDS);
	return socket;
}

void vsock_host_socket_free(struct vsock_host_socket *socket)
{
	if (!socket)
		return;
	vsock_host_socket_reset(socket);
	vsock_host_socket_listen(socket, -1);
	accept_group_close(&socket->group);
	free(socket);
}
