/* SPDX-License-Identifier: MIT */
/* Forwards to the guest's vsock. See forward.h. */
#include "dataplane/vsock/forward.h"

#include "common/tcp_socket.h"
#include "dataplane/acceptor.h"
#include "dataplane/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct listener {
	TAILQ_ENTRY(listener) entry;
	struct vsock_forwards *forwards;
	struct worker_forward forward;
	struct acceptor acceptor;
};

struct vsock_forwards {
	struct counters *counters;
	const struct vsock_ways *ways;
	struct accept_group group; /* a place is a client whom the guest has not answered */
	TAILQ_HEAD(, listener) listeners;
	size_t count;
};

/* A connection that a client began. */
struct client {
	struct vsock_forwards *forwards;
	bool opened;
};

static void on_opened(void *arg, struct vsock_conn *conn)
{
	struct client *client = arg;

	(void)conn;
	client->opened = true;
	accept_group_leave(&client->forwards->group);
}

static void client_free(struct client *client)
{
	struct vsock_forwards *forwards = client->forwards;
	bool opened = client->opened;

	free(client);
	if (!opened)
		accept_group_leave(&forwards->group);
}

static void on_closed(void *arg, struct vsock_conn *conn)
{
	(void)conn;
	client_free(arg);
}

static void on_client(void *arg, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct listener *l = arg;
	struct vsock_forwards *forwards = l->forwards;
	struct client *client = calloc(1, sizeof(*client));
	struct vsock_host host = {.fd = fd, .tcp = !l->forward.unix_listener};
	struct vsock_conn_events events = {.arg = client, .opened = on_opened, .closed = on_closed};
	struct endpoint from;
	bool known = host.tcp && endpoint_from_sockaddr(sa, len, &from) == 0;

	if (host.tcp)
		tcp_socket_splice(fd); /* to close it means RST from now on */
	if (!client) {
		close(fd);
		return;
	}
	client->forwards = forwards;
	accept_group_enter(&forwards->group);
	counter_inc(forwards->counters, COUNTER_VSOCK_FORWARDED);
	if (vsock_open(forwards->ways, &l->forward.to, &host, known ? &from : NULL, &events) < 0) {
		counter_inc(forwards->counters, COUNTER_VSOCK_REFUSED);
		client_free(client);
	}
}

static struct listener *find(const struct vsock_forwards *forwards, const char *id)
{
	struct listener *l;

	TAILQ_FOREACH(l, &forwards->listeners, entry) {
		if (strcmp(l->forward.id, id) == 0)
			break;
	}
	return l;
}

int vsock_forward_add(struct vsock_forwards *forwards, int fd, const struct worker_forward *forward)
{
	bool exists = find(forwards, forward->id) != NULL;
	struct listener *l = exists ? NULL : calloc(1, sizeof(*l));
	int err;

	if (!l) {
		close(fd);
		return exists ? -EEXIST : -ENOMEM;
	}
	l->forwards = forwards;
	l->forward = *forward;
	l->acceptor.arg = l;
	l->acceptor.client = on_client;
	err = acceptor_start(&l->acceptor, &forwards->group, fd);
	if (err < 0) {
		free(l);
		return err;
	}
	TAILQ_INSERT_TAIL(&forwards->listeners, l, entry);
	forwards->count++;
	return 0;
}

static void delete (struct listener *l)
{
	TAILQ_REMOVE(&l->forwards->listeners, l, entry);
	l->forwards->count--;
	acceptor_stop(&l->acceptor);
	free(l);
}

int vsock_forward_delete(struct vsock_forwards *forwards, const char *id)
{
	struct listener *l = find(forwards, id);

	if (!l)
		return -ENOENT;
	delete (l);
	return 0;
}

void vsock_forwards_clear(struct vsock_forwards *forwards)
{
	while (!TAILQ_EMPTY(&forwards->listeners))
		delete (TAILQ_FIRST(&forwards->listeners));
}

size_t vsock_forward_count(const struct vsock_forwards *forwards)
{
	return forwards->count;
}

const struct worker_forward *vsock_forward_at(
	const struct vsock_forwards *forwards, size_t index, int *fd)
{
	const struct listener *l = TAILQ_FIRST(&forwards->listeners);

	while (l && index--)
		l = TAILQ_NEXT(l, entry);
	if (!l)
		return NULL;
	*fd = l->acceptor.fd;
	return &l->forward;
}

struct vsock_forwards *vsock_forwards_new(
	struct loop *loop, struct counters *counters, const struct vsock_ways *ways)
{
	struct vsock_forwards *forwards = calloc(1, sizeof(*forwards));

	if (!forwards)
		return NULL;
	forwards->counters = counters;
	forwards->ways = ways;
	accept_group_init(&forwards->group, loop, counters, COUNTER_VSOCK_NO_FDS);
	TAILQ_INIT(&forwards->listeners);
	return forwards;
}

void vsock_forwards_free(struct vsock_forwards *forwards)
{
	if (!forwards)
		return;
	vsock_forwards_clear(forwards);
	accept_group_close(&forwards->group);
	free(forwards);
}
