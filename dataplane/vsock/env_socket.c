/* SPDX-License-Identifier: MIT */
/* The env service for clients that are sockets. See env_socket.h. */
#include "dataplane/vsock/env_socket.h"

#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct vsock_env_socket {
	struct vsock_env_reader reader;
	struct loop *loop;
	int fd;
	struct event *readable, *writable;
	struct timer deadline;
	uint8_t *document; /* what the client has not taken: len bytes, from `at` on */
	size_t len, at;
	bool ended; /* the client has nothing more to say */
	void (*gone)(void *arg);
	void *arg;
};

static void forget(struct vsock_env_socket *client)
{
	if (client->document)
		os_wipe(client->document, client->len);
	free(client->document);
	client->document = NULL;
	vsock_env_leave(&client->reader);
}

void vsock_env_socket_stop(struct vsock_env_socket *client)
{
	forget(client);
	timer_disarm(loop_wheel(client->loop), &client->deadline);
	if (client->readable)
		event_free(client->readable);
	if (client->writable)
		event_free(client->writable);
	close(client->fd);
	if (client->gone)
		client->gone(client->arg);
	free(client);
}

static void on_deadline(struct timer *timer)
{
	vsock_env_socket_stop((struct vsock_env_socket *)((char *)timer -
		offsetof(struct vsock_env_socket, deadline)));
}

/* Writes what is left; the end follows the last byte. */
static void send_rest(struct vsock_env_socket *client)
{
	ssize_t n = os_send(client->fd, client->document + client->at, client->len - client->at, 0);

	if (n == -EAGAIN || n == -EINTR) {
		event_add(client->writable, NULL);
		return;
	}
	if (n < 0) {
		vsock_env_socket_stop(client);
		return;
	}
	os_wipe(client->document + client->at, (size_t)n);
	client->at += (size_t)n;
	if (client->at < client->len) {
		event_add(client->writable, NULL);
		return;
	}
	forget(client);
	if (client->ended) {
		vsock_env_socket_stop(client);
		return;
	}
	shutdown(client->fd, SHUT_WR);
	timer_arm(loop_wheel(client->loop), &client->deadline, VSOCK_SHUTDOWN_MS);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	send_rest(arg);
}

static void on_document(struct vsock_env_reader *reader, const void *document, size_t len)
{
	struct vsock_env_socket *client = (struct vsock_env_socket *)((char *)reader -
		offsetof(struct vsock_env_socket, reader));

	client->document = document ? malloc(len) : NULL;
	if (!client->document) {
		vsock_env_socket_stop(client);
		return;
	}
	memcpy(client->document, document, len);
	client->len = len;
	timer_arm(loop_wheel(client->loop), &client->deadline, VSOCK_SECRET_MS);
	send_rest(client);
}

/* The client's end before ours is no reason to stop: it may have shut down only its own direction. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct vsock_env_socket *client = arg;
	uint8_t scratch[4096];
	ssize_t n = recv((int)fd, scratch, sizeof(scratch), 0);

	(void)what;
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	client->ended = true;
	if (n == 0 && client->reader.env)
		event_del(client->readable);
	else
		vsock_env_socket_stop(client);
}

struct vsock_env_socket *vsock_env_socket_serve(
	struct vsock_env *env, struct loop *loop, int fd, void (*gone)(void *arg), void *arg)
{
	struct event_base *base = loop_base(loop);
	struct vsock_env_socket *client = calloc(1, sizeof(*client));

	if (!client) {
		close(fd);
		return NULL;
	}
	client->loop = loop;
	client->fd = fd;
	client->deadline.fire = on_deadline;
	client->reader.done = on_document;
	client->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, client);
	client->writable = event_new(base, fd, EV_WRITE, on_writable, client);
	if (!client->readable || !client->writable || event_add(client->readable, NULL) < 0) {
		vsock_env_socket_stop(client);
		return NULL;
	}
	event_priority_set(client->readable, LOOP_DATA);
	event_priority_set(client->writable, LOOP_DATA);
	client->gone = gone;
	client->arg = arg;
	timer_arm(loop_wheel(loop), &client->deadline, VSOCK_REQUEST_MS);
	vsock_env_read(env, &client->reader);
	return client;
}
