/* SPDX-License-Identifier: MIT */
/*
 * The connections of attach.sock. See attach.h.
 *
 * An fd belongs to the line whose first byte it came with. So a line's first byte is received alone,
 * with its fd, and of the rest never more than is known (by MSG_PEEK) to end with this line. A line
 * that waits for a worker keeps the next ones unread.
 *
 *	          first byte              newline             worker has answered
 *	BETWEEN ────────────► IN A LINE ───────────► WAITING ─────────────────────► BETWEEN
 */
#include "ctl/attach.h"

#include "common/log.h"
#include "common/os.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN 16 /* lines, or pieces of them, before others have their turn */
#define FDS_MAX 4

struct attach_connection {
	TAILQ_ENTRY(attach_connection) next;
	struct attach *attach;
	int fd;
	struct event *readable;
	struct attach_request request; /* of the line being worked on */
	char *line;
	size_t len;
	size_t room;
	bool surplus; /* more fds came than one, or not with the first byte */
	bool waiting; /* on_carried_out() is to come */
	bool gone;    /* the daemon stopped meanwhile: only the memory is left */
	bool ending;  /* the daemon stops: VMs stay */
};

struct attach {
	struct netctld *daemon;
	int fd;
	struct event *acceptable;
	struct event *resume;
	TAILQ_HEAD(, attach_connection) connections;
	unsigned n;
};

/* ---- the end of a connection ---- */

static void delete_owned(struct attach_connection *c)
{
	struct vms *vms = &c->attach->daemon->vms;
	struct vm *vm, *next;
	struct error err;

	for (vm = TAILQ_FIRST(&vms->list); vm; vm = next) {
		next = TAILQ_NEXT(vm, next);
		if (vm->owner == c)
			vm_delete(vm, NULL, NULL, &err); /* not in the store: it cannot fail */
	}
}

static void connection_free(struct attach_connection *c)
{
	struct attach *attach = c->attach;

	if (!c->ending)
		delete_owned(c);
	else
		c->gone = c->waiting;
	TAILQ_REMOVE(&attach->connections, c, next);
	if (attach->n-- == ATTACH_CONNECTIONS_MAX)
		event_add(attach->acceptable, NULL);
	event_free(c->readable);
	if (c->request.fd >= 0)
		close(c->request.fd);
	json_object_put(c->request.line);
	json_object_put(c->request.answer);
	close(c->fd);
	free(c->line);
	if (!c->gone)
		free(c);
}

/* ---- answers ---- */

/* Ready for the next line. */
static void begin(struct attach_connection *c)
{
	if (c->request.fd >= 0)
		close(c->request.fd);
	json_object_put(c->request.line);
	memset(&c->request, 0, sizeof(c->request));
	c->request.daemon = c->attach->daemon;
	c->request.owner = c;
	c->request.client = c->fd;
	c->request.fd = -1;
	c->len = 0;
	c->surplus = false;
}

/* A client that lets its answers pile up is let go: -1. */
static int send_line(struct attach_connection *c, struct json_object *doc)
{
	const char *text = json_text(doc);
	size_t len = strlen(text);
	char *line = malloc(len + 1);
	ssize_t sent = -1;

	events_flush(c->attach->daemon->events); /* as the API does */
	if (line) {
		memcpy(line, text, len + 1);
		line[len] = '\n'; /* where the NUL was */
		sent = os_send(c->fd, line, len + 1, MSG_DONTWAIT);
	}
	free(line);
	json_object_put(doc);
	return sent == (ssize_t)(len + 1) ? 0 : -1;
}

static int send_error(struct attach_connection *c, const struct error *err)
{
	struct json_object *doc = json_object_new_object();

	json_put_bool(doc, "ok", false);
	json_put_int(doc, "status", err->status);
	json_put_string(doc, "title",
		err->status == 404           ? "Not found"
			: err->status == 409 ? "Conflict"
			: err->status == 403 ? "Refused"
			: err->status < 500  ? "Bad request"
			: err->status == 503 ? "Not now"
					     : "Internal error");
	json_put_string(doc, "detail", err->text);
	if (err->field[0])
		json_put_string(doc, "field", err->field);
	return send_line(c, doc);
}

static void on_carried_out(void *arg, int code, const char *text)
{
	struct attach_connection *c = arg;
	struct json_object *doc = c->request.answer;
	struct error err;
	struct vm *vm;
	int status;

	if (c->gone) {
		free(c);
		return;
	}
	vm = vms_find(&c->attach->daemon->vms, c->request.vm);
	c->waiting = false;
	c->request.answer = NULL;
	if (c->request.refusal.status) {
		json_object_put(doc);
		status = send_error(c, &c->request.refusal);
	} else if (code) {
		attach_undo(&c->request);
		json_object_put(doc);
		error_set(&err, 500, NULL, "worker: %s", text);
		status = send_error(c, &err);
	} else {
		json_put_bool(doc, "ok", true);
		json_object_object_add(doc, "vm", vm ? vm_json(vm) : NULL);
		status = send_line(c, doc);
	}
	if (status < 0) {
		connection_free(c);
		return;
	}
	begin(c);
	event_add(c->readable, NULL);
}

static int check_line(struct attach_connection *c, struct error *err)
{
	if (c->surplus)
		return error_set(err, 400, "fd",
			"one file descriptor at most is wanted, with the line's first byte");
	c->request.line = json_read(c->line, c->len, err);
	return c->request.line ? 0 : -1;
}

/* A whole line is here. Returns whether the connection is still there, and between lines. */
static bool carry_out(struct attach_connection *c)
{
	struct completion *wait = completion_new(on_carried_out, c);
	struct error err;

	event_del(c->readable);
	c->request.wait = wait;
	if (wait && check_line(c, &err) == 0 && attach_carry_out(&c->request, &err) == 0) {
		c->waiting = true;
		completion_close(wait);
		return false; /* on_carried_out() goes on, now or later */
	}
	if (!wait)
		error_set(&err, 500, NULL, "out of memory");
	free(wait); /* nobody waits: a failed op left nothing outstanding */
	if (send_error(c, &err) < 0) {
		connection_free(c);
		return false;
	}
	begin(c);
	event_add(c->readable, NULL);
	return true;
}

/* ---- reading ---- */

static void take_fds(struct attach_connection *c, struct msghdr *msg, bool first)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(msg); m; m = CMSG_NXTHDR(msg, m)) {
		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (m->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(m) + i * sizeof(int), sizeof(int));
			if (first && c->request.fd < 0) {
				c->request.fd = fd;
				continue;
			}
			close(fd);
			c->surplus = true;
		}
	}
	if (msg->msg_flags & MSG_CTRUNC)
		c->surplus = true;
}

/* recvmsg(2) of len bytes to the end of the line so far. */
static ssize_t receive(struct attach_connection *c, size_t len, bool first)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = c->line + c->len, .iov_len = len};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n = os_recvmsg(c->fd, &msg, MSG_DONTWAIT);

	if (n > 0)
		take_fds(c, &msg, first);
	return n;
}

static int make_room(struct attach_connection *c, size_t more)
{
	size_t room = c->room ? c->room : 1024;
	char *line;

	while (room < c->len + more)
		room *= 2;
	if (room == c->room)
		return 0;
	line = realloc(c->line, room);
	if (!line)
		return -ENOMEM;
	c->line = line;
	c->room = room;
	return 0;
}

/* Receives a piece of the line: 1 a whole line is here, 0 not yet, or a negative errno. */
static int receive_piece(struct attach_connection *c)
{
	char peeked[4096];
	const char *newline;
	ssize_t n = 1;

	if (make_room(c, sizeof(peeked)) < 0)
		return -ENOMEM;
	if (c->len) {
		n = recv(c->fd, peeked, sizeof(peeked), MSG_PEEK | MSG_DONTWAIT);
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		newline = memchr(peeked, '\n', (size_t)n);
		if (newline)
			n = newline - peeked + 1;
	}
	n = receive(c, (size_t)n, c->len == 0);
	if (n <= 0)
		return n < 0 ? (int)n : -ECONNRESET;
	c->len += (size_t)n;
	if (c->line[c->len - 1] != '\n')
		return c->len > ATTACH_LINE_MAX ? -EMSGSIZE : 0;
	c->len--;
	return 1;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct attach_connection *c = arg;
	struct error err;

	(void)fd;
	(void)what;
	for (int i = 0; i < TURN; i++) {
		int got = receive_piece(c);

		if (got == -EAGAIN || got == -EINTR)
			return;
		if (got == -EMSGSIZE) {
			error_set(&err, 400, NULL, "the line is longer than %u bytes",
				ATTACH_LINE_MAX);
			send_error(c, &err);
		}
		if (got < 0) {
			connection_free(c);
			return;
		}
		if (got && !carry_out(c))
			return;
	}
}

/* ---- accepting ---- */

static void accept_one(struct attach *attach, int fd)
{
	struct attach_connection *c = calloc(1, sizeof(*c));

	if (c)
		c->readable = event_new(
			attach->daemon->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	if (!c || !c->readable) {
		free(c);
		close(fd);
		return;
	}
	c->attach = attach;
	c->fd = fd;
	c->request.fd = -1;
	begin(c);
	TAILQ_INSERT_TAIL(&attach->connections, c, next);
	if (++attach->n == ATTACH_CONNECTIONS_MAX)
		event_del(attach->acceptable);
	event_add(c->readable, NULL);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval pause = {.tv_usec = 100000};
	struct attach *attach = arg;
	int got = os_accept(fd, NULL, NULL);

	(void)what;
	if (got >= 0) {
		accept_one(attach, got);
	} else if (got == -EMFILE || got == -ENFILE || got == -ENOMEM || got == -ENOBUFS) {
		log_warn("attach", "accept.paused", "reason=\"%s\"", errno_text(got));
		event_del(attach->acceptable);
		evtimer_add(attach->resume, &pause);
	}
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct attach *attach = arg;

	(void)fd;
	(void)what;
	if (attach->n < ATTACH_CONNECTIONS_MAX)
		event_add(attach->acceptable, NULL);
}

struct attach *attach_new(struct netctld *daemon, int fd)
{
	struct attach *attach = calloc(1, sizeof(*attach));

	if (!attach) {
		close(fd);
		return NULL;
	}
	TAILQ_INIT(&attach->connections);
	attach->daemon = daemon;
	attach->fd = fd;
	attach->acceptable = event_new(
		daemon->base, fd, EV_READ | EV_PERSIST, on_acceptable, attach);
	attach->resume = evtimer_new(daemon->base, on_resume, attach);
	event_add(attach->acceptable, NULL);
	return attach;
}

void attach_free(struct attach *attach)
{
	struct attach_connection *c;

	if (!attach)
		return;
	while ((c = TAILQ_FIRST(&attach->connections))) {
		c->ending = true;
		connection_free(c);
	}
	event_free(attach->acceptable);
	event_free(attach->resume);
	close(attach->fd);
	free(attach);
}
