/* SPDX-License-Identifier: MIT */
/*
 * TSI's listeners. See tsi.c.
 *
 *	LISTEN ─► WANTED ──► ASKED ──► LISTENING      a client ─► REQUEST to vm_port ─► accepted
 *	             ▲  │       │ netctld goes
 *	             │  │ 5 s   │
 *	             └──┼───────┘
 *	                └─► -EADDRNOTAVAIL
 *
 * Asking. netctld is everybody's, and a guest may listen in a loop: so there is one question at a time
 * for an svm_port and TSI_ASKS_MAX in all, the others wait as WANTED. A question cannot be
 * taken back: when the listener has gone in the meantime the socket that comes is closed, and
 * netctld told so. What netctld cannot do for the guest is, but for a taken port and a forbidden
 * one, -EADDRNOTAVAIL: then the guest listens in its own stack alone.
 *
 * Accepting. The guest is asked as soon as a client is accepted; one that refuses resets the client.
 * So many are under way at a time as acceptor.h allows. Clients that come by tsi_open() are counted
 * by whoever accepted them.
 */
#include "dataplane/vsock/tsi_internal.h"

#include "common/tcp_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ASK_AGAIN_MS 100

enum stage { WANTED, ASKED, LISTENING };

/* A LISTEN that waits for its reply. */
struct waiter {
	struct waiter *next;
	uint32_t reply_port;
};

struct listener {
	TAILQ_ENTRY(listener) entry;
	struct tsi *tsi;
	struct tsi_sock *sock;
	struct tsi_listener spec;
	enum stage stage;
	struct timer deadline;    /* of the question */
	struct waiter *waiters;   /* not LISTENING */
	struct acceptor acceptor; /* LISTENING */
};

/* A client of a listener: who it is, for as long as the guest may ask. */
struct client {
	struct client *hash_next;
	TAILQ_ENTRY(client) entry; /* in tsi->gone */
	struct tsi *tsi;
	struct vsock_conn_events events; /* of who brought it */
	uint32_t svm_port,
		host_port; /* the latter 0 before it is open, and then it is in no table */
	uint32_t family;
	struct endpoint peer, local;
	bool counted; /* in tsi->accepting */
	bool released, over;
};

static struct timer_wheel *wheel(const struct tsi *tsi)
{
	return loop_wheel(tsi->parts.loop);
}

static void forget_question(struct listener *l)
{
	timer_disarm(wheel(l->tsi), &l->deadline);
	if (l->stage != LISTENING)
		l->tsi->n_asking--;
}

/* ---- accepting ---- */

static int open_client(struct listener *l, const struct vsock_host *host,
	const struct endpoint *peer, const struct vsock_conn_events *events, bool counted);

static void on_accepted(void *arg, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct listener *l = arg;
	struct vsock_host host = {.fd = fd, .tcp = true};
	struct endpoint peer;

	tcp_socket_splice(fd); /* so that a close without more is a RST */
	if (endpoint_from_sockaddr(sa, len, &peer) < 0)
		close(fd);
	else if (open_client(l, &host, &peer, NULL, true) == 0)
		counter_inc(l->tsi->parts.counters, COUNTER_TSI_ACCEPTED);
}

/* Owns fd, also on failure. */
static int start_accepting(struct listener *l, int fd)
{
	int err;

	l->acceptor = (struct acceptor){.arg = l, .client = on_accepted};
	err = acceptor_start(&l->acceptor, &l->tsi->accepting, fd);
	if (err < 0)
		return err;
	forget_question(l);
	l->stage = LISTENING;
	return 0;
}

/* ---- clients ---- */

static struct client *find_client(const struct tsi *tsi, uint32_t svm_port, uint32_t host_port)
{
	struct client *client = tsi->clients[tsi_bucket(tsi, svm_port, host_port)];

	while (client && (client->svm_port != svm_port || client->host_port != host_port))
		client = client->hash_next;
	return client;
}

static void client_free(struct client *client)
{
	struct tsi *tsi = client->tsi;
	struct client **at = &tsi->clients[tsi_bucket(tsi, client->svm_port, client->host_port)];

	while (client->host_port && *at != client)
		at = &(*at)->hash_next;
	if (client->host_port)
		*at = client->hash_next;
	if (client->host_port && client->over) {
		TAILQ_REMOVE(&tsi->gone, client, entry);
		tsi->n_gone--;
	}
	free(client);
}

static void not_under_way(struct client *client)
{
	if (!client->counted)
		return;
	client->counted = false;
	accept_group_leave(&client->tsi->accepting);
}

static void on_opened(void *arg, struct vsock_conn *conn)
{
	struct client *client = arg;
	struct client **bucket =
		&client->tsi->clients[tsi_bucket(client->tsi, client->svm_port, conn->host_port)];

	client->host_port = conn->host_port;
	client->hash_next = *bucket;
	*bucket = client;
	not_under_way(client);
	if (client->events.opened)
		client->events.opened(client->events.arg, conn);
}

static void on_closed(void *arg, struct vsock_conn *conn)
{
	struct client *client = arg;
	struct tsi *tsi = client->tsi;

	not_under_way(client);
	if (client->events.closed)
		client->events.closed(client->events.arg, conn);
	if (!client->host_port || client->released) {
		client_free(client);
		return;
	}
	client->over = true;
	TAILQ_INSERT_TAIL(&tsi->gone, client, entry);
	if (++tsi->n_gone > TSI_GONE_CLIENTS)
		client_free(TAILQ_FIRST(&tsi->gone));
}

bool tsi_client_name(const struct tsi *tsi, const struct tsi_getname *request, uint32_t *family,
	struct endpoint *name)
{
	const struct client *client = request->peer_port
		? find_client(tsi, request->svm_port, request->peer_port)
		: NULL;

	if (!client)
		return false;
	*family = client->family;
	*name = request->peer ? client->peer : client->local;
	return true;
}

bool tsi_client_release(struct tsi *tsi, const struct tsi_release *request)
{
	struct client *client = request->peer_port
		? find_client(tsi, request->svm_port, request->peer_port)
		: NULL;

	if (!client)
		return false;
	client->released = true;
	if (client->over)
		client_free(client);
	return true;
}

/* The name under which a guest's socket of that family can know a client. */
static struct endpoint shown(struct tsi *tsi, uint32_t family, const struct endpoint *client)
{
	struct endpoint name = {.addr = tsi->parts.net->gateway};

	if (client && (family == TSI_INET6 || addr_is_v4(&client->addr)))
		return *client;
	name.port = client ? client->port : tsi_made_up_port(tsi);
	return name;
}

static int open_client(struct listener *l, const struct vsock_host *host,
	const struct endpoint *peer, const struct vsock_conn_events *events, bool counted)
{
	struct tsi *tsi = l->tsi;
	struct client *client = calloc(1, sizeof(*client));
	const struct vsock_conn_events own = {
		.arg = client, .opened = on_opened, .closed = on_closed};
	int err;

	if (!client) {
		close(host->fd);
		return -ENOMEM;
	}
	client->tsi = tsi;
	if (events)
		client->events = *events;
	client->svm_port = l->spec.svm_port;
	client->family = l->spec.family;
	client->peer = shown(tsi, l->spec.family, peer);
	client->local = tsi_listen_name(l->sock);
	err = vsock_mux_connect(tsi->parts.mux, l->spec.vm_port, host, &own);
	if (err < 0) {
		free(client);
		return err;
	}
	client->counted = counted;
	if (counted)
		accept_group_enter(&tsi->accepting);
	return 0;
}

/* ---- a listener's life ---- */

static void answer_waiters(struct listener *l, int err)
{
	struct waiter *waiter;

	while ((waiter = l->waiters)) {
		l->waiters = waiter->next;
		tsi_reply(l->tsi, TSI_LISTEN, waiter->reply_port, err);
		free(waiter);
	}
}

/* Without the guest's socket, which is the caller's to go on with. */
static void listener_free(struct listener *l)
{
	struct tsi *tsi = l->tsi;

	forget_question(l);
	if (l->stage == LISTENING)
		acceptor_stop(&l->acceptor);
	TAILQ_REMOVE(&tsi->listeners, l, entry);
	tsi->n_listeners--;
	l->sock->listener = NULL;
	l->sock->state = TSI_IDLE;
	free(l);
}

static void tell_closed(struct tsi *tsi, uint32_t svm_port)
{
	if (tsi->events.closed)
		tsi->events.closed(tsi->events.arg, svm_port);
}

void tsi_listen_remove(struct tsi_sock *sock)
{
	struct listener *l = sock->listener;
	bool listening = l->stage == LISTENING;

	answer_waiters(l, -EINVAL);
	/* At once, and not when netctld closes its duplicate; but it may be our successor's. */
	if (listening && !sock->tsi->ending)
		shutdown(l->acceptor.fd, SHUT_RDWR);
	listener_free(l);
	if (listening)
		tell_closed(sock->tsi, sock->svm_port);
}

/* The guest is told why, and may go on with the socket. */
static void listen_failed(struct listener *l, int err)
{
	struct tsi *tsi = l->tsi;

	counter_inc(tsi->parts.counters, COUNTER_TSI_LISTEN_FAILED);
	if (tsi->events.listen_failed)
		tsi->events.listen_failed(tsi->events.arg, &l->spec, err);
	answer_waiters(l, err);
	listener_free(l);
}

static void on_deadline(struct timer *timer)
{
	struct listener *l =
		(struct listener *)((char *)timer - offsetof(struct listener, deadline));

	counter_inc(l->tsi->parts.counters, COUNTER_TSI_LISTEN_TIMEOUTS);
	listen_failed(l, -EADDRNOTAVAIL);
}

/* NULL without memory. */
static struct listener *listener_new(struct tsi_sock *sock, const struct tsi_listener *spec)
{
	struct tsi *tsi = sock->tsi;
	struct listener *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->tsi = tsi;
	l->sock = sock;
	l->spec = *spec;
	l->stage = WANTED;
	l->deadline.fire = on_deadline;
	TAILQ_INSERT_TAIL(&tsi->listeners, l, entry);
	tsi->n_listeners++;
	tsi->n_asking++;
	sock->listener = l;
	sock->state = TSI_LISTENING;
	return l;
}

/* ---- asking netctld ---- */

static bool is_asked(const struct tsi *tsi, uint32_t svm_port)
{
	for (size_t i = 0; i < tsi->n_asked; i++) {
		if (tsi->asked[i] == svm_port)
			return true;
	}
	return false;
}

static void ask_task(struct task *task)
{
	struct tsi *tsi = (struct tsi *)((char *)task - offsetof(struct tsi, ask_task));
	struct listener *l;

	TAILQ_FOREACH(l, &tsi->listeners, entry) {
		if (tsi->n_asked == TSI_ASKS_MAX)
			return;
		if (l->stage != WANTED || is_asked(tsi, l->spec.svm_port))
			continue;
		if (!tsi->events.listen(tsi->events.arg, &l->spec)) {
			timer_arm(wheel(tsi), &tsi->ask_timer, ASK_AGAIN_MS);
			return;
		}
		l->stage = ASKED;
		tsi->asked[tsi->n_asked++] = l->spec.svm_port;
	}
}

static void on_ask_timer(struct timer *timer)
{
	struct tsi *tsi = (struct tsi *)((char *)timer - offsetof(struct tsi, ask_timer));

	loop_defer(tsi->parts.loop, &tsi->ask_task);
}

static bool is_away(int err)
{
	return err == -ECONNRESET || err == -ECANCELED || err == -EPIPE;
}

/* netctld's reason, as the guest is told. */
static int listen_error(int err)
{
	if (err == -EADDRINUSE)
		return err;
	return err == -EACCES || err == -EPERM ? -EPERM : -EADDRNOTAVAIL;
}

static void answered(struct listener *l, int fd)
{
	struct tsi *tsi = l->tsi;
	uint32_t svm_port = l->spec.svm_port;
	int err = fd < 0 ? fd : start_accepting(l, fd);

	if (is_away(err)) {
		l->stage = WANTED;
		return;
	}
	if (err == 0) {
		counter_inc(tsi->parts.counters, COUNTER_TSI_LISTENS);
		answer_waiters(l, 0);
		return;
	}
	listen_failed(l, listen_error(err));
	if (fd >= 0)
		tell_closed(tsi, svm_port);
}

void tsi_listening(struct tsi *tsi, uint32_t svm_port, int fd)
{
	struct tsi_sock *sock = tsi_find(tsi, svm_port);
	struct listener *l = sock && sock->state == TSI_LISTENING ? sock->listener : NULL;

	for (size_t i = 0; i < tsi->n_asked; i++) {
		if (tsi->asked[i] == svm_port)
			tsi->asked[i--] = tsi->asked[--tsi->n_asked];
	}
	if (is_away(fd))
		timer_arm(wheel(tsi), &tsi->ask_timer, ASK_AGAIN_MS);
	else
		loop_defer(tsi->parts.loop, &tsi->ask_task);
	if (l && l->stage == ASKED) {
		answered(l, fd);
	} else if (fd >= 0) { /* not wanted any more */
		close(fd);
		tell_closed(tsi, svm_port);
	}
	if (fd == -ETIMEDOUT) /* netctld may have it all the same */
		tell_closed(tsi, svm_port);
}

/* ---- LISTEN ---- */

static bool wait_for_it(struct listener *l, uint32_t reply_port)
{
	struct waiter *waiter = malloc(sizeof(*waiter));

	if (!waiter)
		return false;
	*waiter = (struct waiter){.next = l->waiters, .reply_port = reply_port};
	l->waiters = waiter;
	return true;
}

/* A listener for the socket, which is asked for from now on; or NULL and why not. */
static struct listener *want(struct tsi *tsi, const struct tsi_listen *request, int *err)
{
	struct tsi_listener spec = {
		.svm_port = request->svm_port,
		.vm_port = request->vm_port,
		.family = request->addr.family,
		.type = TSI_STREAM,
		.backlog = request->backlog,
		.addr = request->addr.at,
	};
	struct tsi_sock *sock = tsi_find(tsi, request->svm_port);
	struct listener *l = NULL;

	*err = -EADDRNOTAVAIL;
	if (tsi->n_listeners >= TSI_LISTENERS_MAX) {
		counter_inc(tsi->parts.counters, COUNTER_TSI_BOUNDS);
		return NULL;
	}
	if (!sock)
		sock = tsi_add(tsi, request->svm_port, request->addr.family, TSI_STREAM);
	if (sock)
		l = listener_new(sock, &spec);
	if (!l)
		return NULL;
	sock->has_peer = false;
	timer_arm(wheel(tsi), &l->deadline, TSI_LISTEN_MS);
	loop_defer(tsi->parts.loop, &tsi->ask_task);
	return l;
}

void tsi_listen_request(struct tsi *tsi, const struct tsi_listen *request, uint32_t reply_port)
{
	const struct tsi_sock *sock = tsi_find(tsi, request->svm_port);
	struct listener *l = sock && sock->state == TSI_LISTENING ? sock->listener : NULL;
	int err = 0;

	if (sock && !l && (sock->type != TSI_STREAM || sock->state != TSI_IDLE))
		err = -EINVAL;
	if (sock && sock->family == TSI_INET && request->addr.family != TSI_INET)
		err = -EAFNOSUPPORT;
	if (err == 0 && !l)
		l = want(tsi, request, &err);
	if (l && l->stage != LISTENING && wait_for_it(l, reply_port))
		return;
	if (l)
		err = l->stage == LISTENING ? 0 : -ENOMEM;
	tsi_reply(tsi, TSI_LISTEN, reply_port, err);
}

int tsi_restore_listener(struct tsi *tsi, const struct tsi_listener *spec, int fd)
{
	struct tsi_sock *sock = tsi_find(tsi, spec->svm_port);
	struct listener *l = NULL;
	int err = -EMFILE;

	if (sock &&
		sock->state == TSI_LISTENING) { /* netctld means the new one to take its place */
		answer_waiters(sock->listener, -EINVAL);
		listener_free(sock->listener);
	}
	if (sock)
		tsi_remove(sock);
	if (tsi->n_listeners < TSI_LISTENERS_MAX) {
		err = -ENOMEM;
		sock = tsi_add(tsi, spec->svm_port, spec->family, TSI_STREAM);
		l = sock ? listener_new(sock, spec) : NULL;
	}
	if (!l) {
		close(fd);
		return err;
	}
	err = start_accepting(l, fd);
	if (err < 0)
		listener_free(l);
	return err;
}

/* ---- who listens ---- */

bool tsi_listen_stands(const struct tsi_sock *sock)
{
	return sock->state == TSI_LISTENING && sock->listener->stage == LISTENING;
}

struct endpoint tsi_listen_name(const struct tsi_sock *sock)
{
	struct endpoint name = sock->listener->spec.addr;

	if (addr_is_unspecified(&name.addr))
		name.addr = sock->tsi->parts.net->guest;
	return name;
}

/* How well it suits a stream to dst; 0: not. */
static int suits(const struct listener *l, const struct endpoint *dst)
{
	const struct endpoint *bound = &l->spec.addr;

	if (l->stage != LISTENING || !bound->port || bound->port != dst->port)
		return 0;
	if (addr_eq(&bound->addr, &dst->addr))
		return 3;
	return addr_is_unspecified(&bound->addr) ? 2 : 1;
}

const struct tsi_sock *tsi_listen_find(const struct tsi *tsi, const struct endpoint *dst)
{
	const struct listener *l, *best = NULL;
	int score = 0;

	if (!tsi_is_loopback(tsi, dst))
		return NULL;
	TAILQ_FOREACH(l, &tsi->listeners, entry) {
		int its = suits(l, dst);

		if (its > score) {
			score = its;
			best = l;
		}
	}
	return best ? best->sock : NULL;
}

int tsi_listen_open(struct tsi_sock *sock, const struct vsock_host *host,
	const struct endpoint *client, const struct vsock_conn_events *events)
{
	return open_client(sock->listener, host, client, events, false);
}

static bool is_target(const struct listener *l, enum tsi_target how, uint32_t port)
{
	if (l->stage != LISTENING)
		return false;
	switch (how) {
	case TSI_FIRST:
		return true;
	case TSI_VM_PORT:
		return l->spec.vm_port == port;
	case TSI_BOUND_PORT:
		return port && l->spec.addr.port == port;
	}
	return false;
}

int tsi_open(struct tsi *tsi, enum tsi_target how, uint32_t port, const struct vsock_host *host,
	const struct endpoint *client, const struct vsock_conn_events *events)
{
	struct listener *l, *found = NULL;

	TAILQ_FOREACH(l, &tsi->listeners, entry) {
		if (!is_target(l, how, port))
			continue;
		if (!found || (found->spec.family != TSI_INET && l->spec.family == TSI_INET))
			found = l;
	}
	if (found)
		return open_client(found, host, client, events, false);
	if (host->fd >= 0)
		close(host->fd);
	return -ENOENT;
}

const struct tsi_listener *tsi_listener_at(const struct tsi *tsi, size_t index, int *fd)
{
	const struct listener *l;

	TAILQ_FOREACH(l, &tsi->listeners, entry) {
		if (l->stage != LISTENING || index--)
			continue;
		*fd = l->acceptor.fd;
		return &l->spec;
	}
	return NULL;
}

size_t tsi_listener_count(const struct tsi *tsi)
{
	return tsi->n_listeners - tsi->n_asking;
}

/* ---- all of them ---- */

void tsi_listen_reset(struct tsi *tsi)
{
	struct client *client;

	while ((client = TAILQ_FIRST(&tsi->gone)))
		client_free(client);
}

void tsi_listen_init(struct tsi *tsi)
{
	TAILQ_INIT(&tsi->listeners);
	TAILQ_INIT(&tsi->gone);
	tsi->ask_task.run = ask_task;
	tsi->ask_timer.fire = on_ask_timer;
	accept_group_init(
		&tsi->accepting, tsi->parts.loop, tsi->parts.counters, COUNTER_TSI_NO_FDS);
}
