/* SPDX-License-Identifier: MIT */
/* Host sockets that netctld connects. See dial.h. */
#include "dataplane/vsock/dial.h"

#include "common/os.h"
#include "common/tcp_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct question {
	bool open;
	struct vsock_dial *dial; /* NULL: who asked has gone */
};

struct vsock_dials {
	struct loop *loop;
	struct counters *counters;
	struct vsock_dials_events events;
	TAILQ_HEAD(, vsock_dial) line;
	struct question questions[VSOCK_DIALS_MAX];
	struct task task; /* asks for whoever is next */
};

static void finish(struct vsock_dials *dials, struct vsock_dial *dial, int fd, bool tcp)
{
	if (fd < 0)
		counter_inc(dials->counters, COUNTER_VSOCK_DIALS_FAILED);
	dial->state = VSOCK_DIAL_IDLE;
	dial->done(dial, fd, tcp);
}

static void ask(struct vsock_dials *dials, unsigned question, struct vsock_dial *dial)
{
	dials->questions[question] = (struct question){.open = true, .dial = dial};
	dial->state = VSOCK_DIAL_ASKED;
	dial->question = question;
	counter_inc(dials->counters, COUNTER_VSOCK_DIALS);
	if (dials->events.ask &&
		dials->events.ask(dials->events.arg, question, dial->vmm, dial->port))
		return;
	dials->questions[question] = (struct question){0};
	finish(dials, dial, -ENOTCONN, false);
}

static void ask_task(struct task *task)
{
	struct vsock_dials *dials =
		(struct vsock_dials *)((char *)task - offsetof(struct vsock_dials, task));
	struct vsock_dial *dial;
	unsigned question = 0;

	while ((dial = TAILQ_FIRST(&dials->line))) {
		while (question < VSOCK_DIALS_MAX && dials->questions[question].open)
			question++;
		if (question == VSOCK_DIALS_MAX)
			return;
		TAILQ_REMOVE(&dials->line, dial, entry);
		ask(dials, question, dial);
	}
}

void vsock_dial(struct vsock_dials *dials, struct vsock_dial *dial)
{
	dial->state = VSOCK_DIAL_WAITING;
	TAILQ_INSERT_TAIL(&dials->line, dial, entry);
	loop_defer(dials->loop, &dials->task);
}

void vsock_dial_cancel(struct vsock_dials *dials, struct vsock_dial *dial)
{
	if (dial->state == VSOCK_DIAL_WAITING)
		TAILQ_REMOVE(&dials->line, dial, entry);
	else if (dial->state == VSOCK_DIAL_ASKED)
		dials->questions[dial->question].dial = NULL;
	dial->state = VSOCK_DIAL_IDLE;
}

/* What was handed over is made fit for a loop. */
static int prepare(int fd, bool tcp)
{
	int err = os_set_nonblock(fd, true);

	if (err < 0) {
		close(fd);
		return err;
	}
	if (tcp)
		tcp_socket_splice(fd);
	return fd;
}

void vsock_dials_answer(struct vsock_dials *dials, unsigned question, int fd, bool tcp)
{
	struct vsock_dial *dial = dials->questions[question].dial;

	dials->questions[question] = (struct question){0};
	if (!TAILQ_EMPTY(&dials->line))
		loop_defer(dials->loop, &dials->task);
	if (dial)
		finish(dials, dial, fd < 0 ? fd : prepare(fd, tcp), tcp);
	else if (fd >= 0)
		close(fd);
}

struct vsock_dials *vsock_dials_new(
	struct loop *loop, struct counters *counters, const struct vsock_dials_events *events)
{
	struct vsock_dials *dials = calloc(1, sizeof(*dials));

	if (!dials)
		return NULL;
	dials->loop = loop;
	dials->counters = counters;
	dials->events = *events;
	dials->task.run = ask_task;
	TAILQ_INIT(&dials->line);
	return dials;
}

void vsock_dials_free(struct vsock_dials *dials)
{
	if (!dials)
		return;
	loop_cancel(dials->loop, &dials->task);
	free(dials);
}
