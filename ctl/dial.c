/* SPDX-License-Identifier: MIT */
/*
 * Connecting for a guest. See dial.h.
 *
 *	        dial_new()        connect(2)               writable
 *	BEGIN ─────────────► TRY ─────────────► UNDER WAY ─────────► done(fd)
 *	                     ▲ │ EAGAIN (unix)       │ error, DIAL_MS
 *	                     └─┘ after RETRY_MS      └─────────────► done(-errno)
 */
#include "ctl/dial.h"

#include "common/clock.h"
#include "common/os.h"
#include "common/tcp_socket.h"
#include "common/unix_socket.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MS 20

struct dial {
	bool tcp;
	struct endpoint at;
	struct place place; /* not known: path is ours */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dial_done_fn *done;
	void *arg;
	int fd; /* a connect under way, or -1 */
	struct event *timer;
	struct event *writable;
	uint64_t deadline;
};

void dial_free(struct dial *dial)
{
	if (dial->timer)
		event_free(dial->timer);
	if (dial->writable)
		event_free(dial->writable);
	if (dial->fd >= 0)
		close(dial->fd);
	place_drop(&dial->place);
	free(dial);
}

static void finish(struct dial *dial, int fd)
{
	dial_done_fn *done = dial->done;
	void *arg = dial->arg;

	if (fd == dial->fd)
		dial->fd = -1;
	dial_free(dial);
	done(arg, fd);
}

static void set_timer(struct dial *dial, uint64_t ms)
{
	struct timeval tv = {
		.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	evtimer_add(dial->timer, &tv);
}

/* ---- TCP ---- */

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct dial *dial = arg;
	int err = 0;
	socklen_t len = sizeof(err);

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	finish(dial, err ? -err : fd);
}

static void try_tcp(struct dial *dial)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&dial->at, &ss);
	int fd = os_socket(ss.ss_family, SOCK_STREAM, 0, true);

	if (fd < 0) {
		finish(dial, fd);
		return;
	}
	dial->fd = fd;
	tcp_socket_splice(fd);
	if (connect(fd, (struct sockaddr *)&ss, len) == 0) {
		finish(dial, fd);
		return;
	}
	if (errno != EINPROGRESS) {
		finish(dial, -errno);
		return;
	}
	dial->writable = event_new(
		event_get_base(dial->timer), fd, EV_WRITE | EV_PERSIST, on_writable, dial);
	if (!dial->writable) {
		finish(dial, -ENOMEM);
		return;
	}
	event_add(dial->writable, NULL);
	set_timer(dial, DIAL_MS);
}

/* ---- unix ---- */

static void try_unix(struct dial *dial)
{
	int fd = place_known(&dial->place) ? place_connect(&dial->place, dial->path)
					   : unix_connect(dial->path, SOCK_STREAM, 0, true);

	/* unix_connect() says -ETIMEDOUT of a full backlog. */
	if ((fd == -EAGAIN || fd == -ETIMEDOUT) && clock_ms() < dial->deadline)
		set_timer(dial, RETRY_MS);
	else
		finish(dial, fd == -EAGAIN ? -ETIMEDOUT : fd);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct dial *dial = arg;

	(void)fd;
	(void)what;
	if (dial->fd >= 0)
		finish(dial, -ETIMEDOUT);
	else if (dial->tcp)
		try_tcp(dial);
	else
		try_unix(dial);
}

struct dial *dial_new(
	struct event_base *base, const struct dial_to *to, dial_done_fn *done, void *arg)
{
	struct dial *dial = calloc(1, sizeof(*dial));

	if (!dial)
		return NULL;
	dial->fd = -1;
	place_init(&dial->place);
	dial->tcp = to->tcp;
	dial->at = to->at;
	dial->done = done;
	dial->arg = arg;
	dial->deadline = clock_ms() + DIAL_MS;
	dial->timer = evtimer_new(base, on_timer, dial);
	if (!dial->timer || (to->place && place_copy(to->place, &dial->place) < 0)) {
		dial_free(dial);
		return NULL;
	}
	if (!to->tcp)
		snprintf(dial->path, sizeof(dial->path), "%s", to->path);
	set_timer(dial, 0);
	return dial;
}
