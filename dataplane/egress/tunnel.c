/* SPDX-License-Identifier: MIT */
/*
 * A connection to a proxy in the making. See tunnel.h.
 *
 *	tunnel_new ─► CONNECTING ─ an address has answered ─► TALKING ─ the proxy said yes ─► done
 *	                  │  ▲
 *	   refused, late  └──┘ the next address; after the last: of no use
 *
 * While talking the socket is asked for one thing at a time: to take what is left to be said, or to
 * give what was answered. Answers are peeked and consumed only as far as they belong to the handshake:
 * what follows them is the flow's and stays where it is.
 */
#include "dataplane/egress/tunnel.h"

#include "common/os.h"
#include "dataplane/egress/dial_internal.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEEK_MAX 1024

struct tunnel {
	struct egress *egress;
	struct loop *loop;
	struct proxies *proxies;
	const struct proxy_server *server;
	size_t next_addr;
	struct egress_request *request; /* CONNECTING */
	int fd;                         /* TALKING, else -1 */
	struct event ready;
	struct timer deadline;
	uint64_t connect_by; /* ms */
	struct task task;    /* connects, or tells what is known already */
	tunnel_done_fn done;
	void *arg;
	struct handshake talk;
};

static void stop_talking(struct tunnel *t)
{
	if (t->fd >= 0 && event_initialized(&t->ready))
		event_del(&t->ready);
}

static void tunnel_free(struct tunnel *t)
{
	if (t->request)
		egress_cancel(t->request);
	timer_disarm(loop_wheel(t->loop), &t->deadline);
	loop_cancel(t->loop, &t->task);
	handshake_clear(&t->talk);
	proxies_unref(t->proxies);
	free(t);
}

void tunnel_cancel(struct tunnel *t)
{
	stop_talking(t);
	if (t->fd >= 0)
		close(t->fd);
	tunnel_free(t);
}

static void finish(struct tunnel *t, const struct tunnel_end *end)
{
	tunnel_done_fn done = t->done;
	void *arg = t->arg;

	stop_talking(t);
	if (end->fd < 0 && t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	tunnel_free(t);
	done(arg, end);
}

/* What a guest hears of a proxy that is of no use: that there is no way, not that its destination
 * has refused. */
static void fail(struct tunnel *t, enum proxy_trouble trouble)
{
	struct tunnel_end end = {.fd = -EHOSTUNREACH, .of_no_use = true, .trouble = trouble};

	finish(t, &end);
}

/* ---- talking ---- */

static void on_ready(evutil_socket_t fd, short what, void *arg);

static void await_socket(struct tunnel *t)
{
	event_assign(&t->ready, loop_base(t->loop), t->fd, t->talk.out_len ? EV_WRITE : EV_READ,
		on_ready, t);
	event_priority_set(&t->ready, LOOP_DATA);
	if (event_add(&t->ready, NULL) < 0)
		fail(t, PROXY_UNREACHABLE);
}

static bool transient(ssize_t n)
{
	return n == -EAGAIN || n == -EWOULDBLOCK || n == -EINTR || n == -ENOBUFS;
}

/* 0, or the error that ends it. */
static int say(struct tunnel *t)
{
	struct handshake *talk = &t->talk;

	while (talk->out_len) {
		ssize_t n = os_send(
			t->fd, talk->out + talk->out_at, talk->out_len - talk->out_at, 0);

		if (n < 0)
			return transient(n) ? 0 : (int)n;
		handshake_sent(talk, (size_t)n);
	}
	return 0;
}

static bool consume(int fd, size_t len)
{
	uint8_t nowhere[PEEK_MAX];

	return len == 0 || recv(fd, nowhere, len, 0) == (ssize_t)len;
}

static void end_talk(struct tunnel *t, enum handshake_step step)
{
	struct tunnel_end end = {.fd = t->talk.err};

	switch (step) {
	case HANDSHAKE_DONE:
		end.fd = t->fd;
		end.bound = t->talk.bound;
		end.proxy = t->server->addrs[t->next_addr - 1];
		finish(t, &end);
		return;
	case HANDSHAKE_REFUSED:
		finish(t, &end);
		return;
	case HANDSHAKE_DENIED:
		fail(t, PROXY_DENIED);
		return;
	case HANDSHAKE_BROKEN:
	case HANDSHAKE_MORE:
		fail(t, PROXY_BROKEN);
		return;
	}
}

static void listen_to(struct tunnel *t)
{
	uint8_t heard[PEEK_MAX];
	ssize_t n = recv(t->fd, heard, sizeof(heard), MSG_PEEK);
	enum handshake_step step;
	size_t used;

	if (n < 0 && transient(-errno)) {
		await_socket(t);
		return;
	}
	if (n <= 0) { /* it hung up */
		fail(t, PROXY_BROKEN);
		return;
	}
	step = handshake_feed(&t->talk, heard, (size_t)n, &used);
	if (!consume(t->fd, used))
		step = HANDSHAKE_BROKEN;
	if (step != HANDSHAKE_MORE)
		end_talk(t, step);
	else if (say(t) < 0)
		fail(t, PROXY_BROKEN);
	else
		await_socket(t);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct tunnel *t = arg;

	(void)fd;
	if (!(what & EV_WRITE))
		listen_to(t);
	else if (say(t) < 0)
		fail(t, PROXY_BROKEN);
	else
		await_socket(t);
}

static void talk(struct tunnel *t, int fd)
{
	t->fd = fd;
	timer_arm(loop_wheel(t->loop), &t->deadline, TUNNEL_ANSWER_MS);
	if (say(t) < 0)
		fail(t, PROXY_BROKEN);
	else
		await_socket(t);
}

/* ---- connecting ---- */

static void on_connected(void *arg, int fd);

/* Arms the deadline of the address that is tried now. */
static void arm(struct tunnel *t)
{
	uint64_t now = loop_now(t->loop);
	uint64_t left = t->connect_by > now ? t->connect_by - now : 0;
	bool last = t->next_addr == t->server->n_addrs;

	timer_arm(loop_wheel(t->loop), &t->deadline,
		last || left < TUNNEL_ADDRESS_MS ? left : TUNNEL_ADDRESS_MS);
}

static void connect_next(struct tunnel *t)
{
	while (t->next_addr < t->server->n_addrs) {
		int fd = egress_dial_host(
			t->egress, &t->server->addrs[t->next_addr++], on_connected, t, &t->request);

		if (fd >= 0) {
			talk(t, fd);
			return;
		}
		if (fd == -EINPROGRESS) {
			arm(t);
			return;
		}
		if (fd == -EMFILE) { /* not the proxy's fault */
			finish(t, &(struct tunnel_end){.fd = fd});
			return;
		}
	}
	fail(t, t->server->n_addrs ? PROXY_UNREACHABLE : PROXY_UNRESOLVED);
}

static void on_connected(void *arg, int fd)
{
	struct tunnel *t = arg;

	t->request = NULL;
	timer_disarm(loop_wheel(t->loop), &t->deadline);
	if (fd >= 0)
		talk(t, fd);
	else
		connect_next(t);
}

static void on_deadline(struct timer *timer)
{
	struct tunnel *t = (struct tunnel *)((char *)timer - offsetof(struct tunnel, deadline));

	if (!t->request || t->next_addr == t->server->n_addrs) {
		fail(t, PROXY_TIMEOUT);
		return;
	}
	egress_cancel(t->request);
	t->request = NULL;
	connect_next(t);
}

static void on_task(struct task *task)
{
	connect_next((struct tunnel *)((char *)task - offsetof(struct tunnel, task)));
}

struct tunnel *tunnel_new(struct egress *egress, struct loop *loop, struct proxies *proxies,
	const struct proxy_server *server, enum socks5_command command, const struct endpoint *dst,
	const char *name, tunnel_done_fn done, void *arg)
{
	struct tunnel *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->egress = egress;
	t->loop = loop;
	t->proxies = proxies_ref(proxies);
	t->server = server;
	t->fd = -1;
	t->deadline.fire = on_deadline;
	t->connect_by = loop_now(loop) + TUNNEL_CONNECT_MS;
	t->task.run = on_task;
	t->done = done;
	t->arg = arg;
	handshake_begin(&t->talk, server, command, dst, name);
	loop_defer(loop, &t->task);
	return t;
}
