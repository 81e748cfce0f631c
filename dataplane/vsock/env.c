/* SPDX-License-Identifier: MIT */
/* The env service. See env.h. */
#include "dataplane/vsock/env.h"

#include <stdlib.h>

struct vsock_env {
	struct loop *loop;
	struct counters *counters;
	struct vsock_env_events events;
	TAILQ_HEAD(, vsock_env_reader) waiting; /* for the document, in order */
	bool asked;                             /* an answer is due */
	size_t held;                            /* bytes of documents that readers have */
	struct task task;                       /* asks for the next in line */
};

/* ---- readers ---- */

void vsock_env_read(struct vsock_env *env, struct vsock_env_reader *reader)
{
	reader->env = env;
	reader->held = 0;
	reader->waiting = true;
	TAILQ_INSERT_TAIL(&env->waiting, reader, entry);
	if (!env->asked)
		loop_defer(env->loop, &env->task);
}

void vsock_env_leave(struct vsock_env_reader *reader)
{
	struct vsock_env *env = reader->env;

	if (!env)
		return;
	if (reader->waiting)
		TAILQ_REMOVE(&env->waiting, reader, entry);
	env->held -= reader->held;
	reader->env = NULL;
	reader->held = 0;
	reader->waiting = false;
}

static void refuse(struct vsock_env_reader *reader)
{
	vsock_env_leave(reader);
	reader->done(reader, NULL, 0);
}

/* Asks for who is next; refuses them all where there is nobody to ask. */
static void ask_task(struct task *task)
{
	struct vsock_env *env =
		(struct vsock_env *)((char *)task - offsetof(struct vsock_env, task));
	struct vsock_env_reader *reader;

	if (env->asked || TAILQ_EMPTY(&env->waiting))
		return;
	env->asked = env->events.ask(env->events.arg);
	if (env->asked)
		return;
	while ((reader = TAILQ_FIRST(&env->waiting)))
		refuse(reader);
}

void vsock_env_answer(struct vsock_env *env, const void *document, size_t len)
{
	struct vsock_env_reader *reader = TAILQ_FIRST(&env->waiting);

	env->asked = false;
	loop_defer(env->loop, &env->task);
	if (!reader)
		return; /* gone in the meantime */
	if (!document) {
		refuse(reader);
		return;
	}
	if (env->held + len > VSOCK_ENV_HELD_MAX) {
		counter_inc(env->counters, COUNTER_VSOCK_BOUNDS);
		refuse(reader);
		return;
	}
	TAILQ_REMOVE(&env->waiting, reader, entry);
	reader->waiting = false;
	reader->held = len;
	env->held += len;
	counter_inc(env->counters, COUNTER_VSOCK_ENV_READS);
	reader->done(reader, document, len);
}

/* ---- the guest's connections ---- */

struct conn_reader {
	struct vsock_env_reader reader;
	struct vsock_conn *conn;
};

static void on_closed(void *arg, struct vsock_conn *conn)
{
	struct conn_reader *r = arg;

	(void)conn;
	vsock_env_leave(&r->reader);
	free(r);
}

static void on_document(struct vsock_env_reader *reader, const void *document, size_t len)
{
	struct conn_reader *r =
		(struct conn_reader *)((char *)reader - offsetof(struct conn_reader, reader));
	struct vsock_host host = {.prefix = document, .prefix_len = len, .secret = true, .fd = -1};

	if (document)
		vsock_conn_accept(r->conn, &host);
	else
		vsock_conn_refuse(r->conn);
}

void vsock_env_request(struct vsock_env *env, struct vsock_conn *conn)
{
	struct conn_reader *r = calloc(1, sizeof(*r));
	struct vsock_conn_events events = {.arg = r, .closed = on_closed};

	if (!r) {
		vsock_conn_refuse(conn);
		return;
	}
	r->reader.done = on_document;
	r->conn = conn;
	vsock_conn_watch(conn, &events);
	vsock_env_read(env, &r->reader);
}

/* ---- life ---- */

struct vsock_env *vsock_env_new(
	struct loop *loop, struct counters *counters, const struct vsock_env_events *events)
{
	struct vsock_env *env = calloc(1, sizeof(*env));

	if (!env)
		return NULL;
	env->loop = loop;
	env->counters = counters;
	env->events = *events;
	env->task.run = ask_task;
	TAILQ_INIT(&env->waiting);
	return env;
}

void vsock_env_free(struct vsock_env *env)
{
	if (!env)
		return;
	loop_cancel(env->loop, &env->task);
	free(env);
}
