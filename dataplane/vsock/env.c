/* SPDX-License-Identifier: MIT */
/* The env service. See env.h. */
#include "dataplane/vsock/env.h"

#include <stdlib.h>

struct reader {
	TAILQ_ENTRY(reader) entry;
	struct vsock_env *env;
	struct vsock_conn *conn;
	size_t held;  /* bytes of its document */
	bool waiting; /* in the line for it */
};

TAILQ_HEAD(reader_list, reader);

struct vsock_env {
	struct loop *loop;
	struct counters *counters;
	struct vsock_env_events events;
	struct reader_list waiting; /* for the document, in order */
	bool asked;                 /* an answer is due */
	size_t held;                /* bytes of documents in connections */
	struct task task;           /* asks for the next in line */
};

static void on_closed(void *arg, struct vsock_conn *conn)
{
	struct reader *reader = arg;

	(void)conn;
	if (reader->waiting)
		TAILQ_REMOVE(&reader->env->waiting, reader, entry);
	reader->env->held -= reader->held;
	free(reader);
}

void vsock_env_request(struct vsock_env *env, struct vsock_conn *conn)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	struct vsock_conn_events events = {.arg = reader, .closed = on_closed};

	if (!reader) {
		vsock_conn_refuse(conn);
		return;
	}
	reader->env = env;
	reader->conn = conn;
	reader->waiting = true;
	TAILQ_INSERT_TAIL(&env->waiting, reader, entry);
	vsock_conn_watch(conn, &events);
	if (!env->asked)
		loop_defer(env->loop, &env->task);
}

/* Asks for who is next; refuses them all where there is nobody to ask. */
static void ask_task(struct task *task)
{
	struct vsock_env *env =
		(struct vsock_env *)((char *)task - offsetof(struct vsock_env, task));
	struct reader *reader;

	if (env->asked || TAILQ_EMPTY(&env->waiting))
		return;
	env->asked = env->events.ask(env->events.arg);
	if (env->asked)
		return;
	while ((reader = TAILQ_FIRST(&env->waiting)))
		vsock_conn_refuse(reader->conn);
}

void vsock_env_answer(struct vsock_env *env, const void *document, size_t len)
{
	struct reader *reader = TAILQ_FIRST(&env->waiting);
	struct vsock_host host = {.prefix = document, .prefix_len = len, .secret = true, .fd = -1};

	env->asked = false;
	loop_defer(env->loop, &env->task);
	if (!reader)
		return; /* gone in the meantime */
	if (!document) {
		vsock_conn_refuse(reader->conn);
		return;
	}
	if (env->held + len > VSOCK_ENV_HELD_MAX) {
		counter_inc(env->counters, COUNTER_VSOCK_BOUNDS);
		vsock_conn_refuse(reader->conn);
		return;
	}
	TAILQ_REMOVE(&env->waiting, reader, entry);
	reader->waiting = false;
	reader->held = len;
	env->held += len;
	counter_inc(env->counters, COUNTER_VSOCK_ENV_READS);
	vsock_conn_accept(reader->conn, &host);
}

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
