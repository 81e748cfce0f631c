/* SPDX-License-Identifier: MIT */
/* Connections that somebody else accepted. See attach.h. */
#include "dataplane/attach.h"

#include "common/os.h"
#include "common/tcp_socket.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/tcp/tcp.h"
#include "dataplane/vsock/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct attaches {
	struct loop *loop;
	struct counters *counters;
	struct tcp *tcp;
	struct vsock *vsock;
	size_t under_way;
};

/* One under way; a vsock's stays until its connection is over. */
struct attached {
	struct attaches *attaches;
	struct tcp_open open;
	struct timer deadline; /* TCP's; the vsock has its own */
	bool answered;
	void (*done)(void *arg, int err);
	void *arg;
};

static void answer(struct attached *a, int err)
{
	struct attaches *attaches = a->attaches;

	if (a->answered)
		return;
	a->answered = true;
	timer_disarm(loop_wheel(attaches->loop), &a->deadline);
	attaches->under_way--;
	counter_inc(attaches->counters, err < 0 ? COUNTER_ATTACH_REFUSED : COUNTER_ATTACH_ACCEPTED);
	a->done(a->arg, err);
}

/* ---- by the vsock ---- */

static void on_opened(void *arg, struct vsock_conn *conn)
{
	(void)conn;
	answer(arg, 0);
}

static void on_closed(void *arg, struct vsock_conn *conn)
{
	(void)conn;
	answer(arg, -ECONNREFUSED);
	free(arg);
}

static int to_vsock(struct attached *a, const struct attach *attach, int fd)
{
	struct vsock_conn_events events = {.arg = a, .opened = on_opened, .closed = on_closed};
	struct vsock_host host = {.prefix = attach->prefix,
		.prefix_len = attach->prefix_len,
		.fd = fd,
		.tcp = attach->tcp};

	return vsock_connect(a->attaches->vsock, &attach->to, &host, attach->client, &events);
}

/* ---- by TCP ---- */

static void on_tcp_done(struct tcp_open *open, int err)
{
	struct attached *a = (struct attached *)((char *)open - offsetof(struct attached, open));

	answer(a, err);
	free(a);
}

static void on_deadline(struct timer *timer)
{
	struct attached *a =
		(struct attached *)((char *)timer - offsetof(struct attached, deadline));

	tcp_open_cancel(&a->open);
	on_tcp_done(&a->open, -ECONNREFUSED);
}

static int to_tcp(struct attached *a, const struct attach *attach, int fd)
{
	struct tcp_host host = {.fd = fd,
		.tcp = attach->tcp,
		.prefix = attach->prefix,
		.prefix_len = attach->prefix_len};

	a->open.done = on_tcp_done;
	a->deadline.fire = on_deadline;
	timer_arm(loop_wheel(a->attaches->loop), &a->deadline, ATTACH_MS);
	return tcp_open(a->attaches->tcp, &a->open, attach->port, &host, attach->client);
}

/* ---- both ---- */

static bool is_stream(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

static struct attached *attached_new(struct attaches *attaches, int fd, int *err)
{
	struct attached *a;

	*err = -EAGAIN;
	if (attaches->under_way >= ATTACH_MAX)
		return NULL;
	*err = -EINVAL;
	if (!is_stream(fd) || os_set_nonblock(fd, true) < 0)
		return NULL;
	*err = -ENOMEM;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->attaches = attaches;
	attaches->under_way++;
	return a;
}

int attach_start(struct attaches *attaches, const struct attach *attach, int fd,
	void (*done)(void *arg, int err), void *arg)
{
	int err;
	struct attached *a = attached_new(attaches, fd, &err);

	if (!a) {
		close(fd);
		return err;
	}
	a->done = done;
	a->arg = arg;
	if (attach->tcp)
		tcp_socket_splice(fd);
	err = attach->to.kind == VSOCK_TO_NOTHING ? to_tcp(a, attach, fd) : to_vsock(a, attach, fd);
	if (err < 0) {
		timer_disarm(loop_wheel(attaches->loop), &a->deadline);
		attaches->under_way--;
		free(a);
	}
	return err;
}

struct attaches *attaches_new(
	struct loop *loop, struct counters *counters, struct tcp *tcp, struct vsock *vsock)
{
	struct attaches *attaches = calloc(1, sizeof(*attaches));

	if (!attaches)
		return NULL;
	*attaches = (struct attaches){
		.loop = loop, .counters = counters, .tcp = tcp, .vsock = vsock};
	return attaches;
}

void attaches_free(struct attaches *attaches)
{
	free(attaches);
}
