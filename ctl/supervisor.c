/* SPDX-License-Identifier: MIT */
/* Keeps a worker alive for each VM that wants one. See supervisor.h. */
#include "ctl/supervisor.h"

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "ctl/supervisor_internal.h"
#include "ctl/worker_client_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 5000
#define GOOD_LIFE_MS 10000
#define HELLO_MS 5000   /* patience with a new worker's Hello */
#define SETTLE_MS 200   /* between the two signs of a worker's end */
#define GOODBYE_MS 2000 /* for an orderly end */
#define STOP_MS 1800

void timer_set(struct event *timer, unsigned ms)
{
	struct timeval tv = {
		.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	event_add(timer, &tv);
}

struct supervised *slot_find(struct supervisor *supervisor, const char *name)
{
	struct supervised *slot;

	LIST_FOREACH(slot, &supervisor->slots, link) {
		if (strcmp(slot->name, name) == 0)
			return slot;
	}
	return NULL;
}

/* ---- slots ---- */

static void slot_start(struct supervised *slot)
{
	struct supervisor *supervisor = slot->supervisor;

	slot->state = SUPERVISED_STARTING;
	if (!supervisor->listed || supervisor->stopping)
		return; /* slots_start() comes back to it */
	slot->process = process_new(
		supervisor, slot, slot->name, slot->had_worker ? SUPERVISED_AGAIN : SUPERVISED_NEW);
	spawner_spawn(slot->process);
}

void slots_start(struct supervisor *supervisor)
{
	struct supervised *slot;

	LIST_FOREACH(slot, &supervisor->slots, link) {
		if (slot->want && !slot->process && slot->state == SUPERVISED_STARTING)
			slot_start(slot);
	}
}

/* The slot's worker is gone, or none came: what now? */
static void slot_back_off(struct supervised *slot)
{
	if (!slot->want) {
		slot->state = SUPERVISED_IDLE;
		return;
	}
	slot->state = SUPERVISED_BACKOFF;
	timer_set(slot->backoff, slot->delay_ms);
	slot->delay_ms = slot->delay_ms * 2 < BACKOFF_MAX_MS ? slot->delay_ms * 2 : BACKOFF_MAX_MS;
}

static void on_backoff(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	slot_start(arg);
}

/* ---- processes ---- */

static void on_patience(evutil_socket_t fd, short what, void *arg);

struct process *process_new(struct supervisor *supervisor, struct supervised *slot, const char *vm,
	enum supervised_how how)
{
	struct process *process = worker_client_alloc(1, sizeof(*process));

	process->supervisor = supervisor;
	process->slot = slot;
	process->how = how;
	snprintf(process->vm, sizeof(process->vm), "%s", vm);
	process->timer = evtimer_new(supervisor->base, on_patience, process);
	if (!process->timer)
		abort();
	LIST_INSERT_HEAD(&supervisor->processes, process, link);
	return process;
}

static void process_free(struct process *process)
{
	LIST_REMOVE(process, link);
	worker_client_free(process->client);
	event_free(process->timer);
	free(process);
}

static void adoption_done(struct process *process)
{
	if (process->how != SUPERVISED_ADOPTED || process->ready)
		return;
	process->supervisor->adopting--;
	supervisor_tell(process->supervisor);
}

/* The end of a process that served no slot any more. */
static void process_gone(struct process *process)
{
	void (*gone)(void *arg) = process->gone;
	void *arg = process->gone_arg;

	process_free(process);
	if (gone)
		gone(arg);
}

/* It is over: the slot is told, and starts anew. */
static void process_finish(struct process *process)
{
	struct supervised *slot = process->slot;
	bool was_up = process->ready;
	char text[sizeof(process->text)];
	int code = process->code ? process->code : -ECHILD;

	if (!slot) {
		process_gone(process);
		return;
	}
	snprintf(text, sizeof(text), "%s", *process->text ? process->text : "connection lost");
	adoption_done(process);
	slot->process = NULL;
	process->slot = NULL;
	if (was_up) {
		slot->restarts += slot->want;
		if (clock_ms() - slot->up_since >= GOOD_LIFE_MS)
			slot->delay_ms = BACKOFF_MIN_MS;
	}
	slot_back_off(slot);
	log_warn("netctld", was_up ? "worker.died" : "worker.failed", "vm=%s pid=%d reason=\"%s\"",
		slot->name, (int)process->pid, text);
	if (was_up)
		slot->ops->down(slot->arg, text);
	else if (slot->ops->failed)
		slot->ops->failed(slot->arg, code, text);
	process_free(process);
}

/* Both signs of its end are there, or no more is to come. */
static void process_settle(struct process *process)
{
	if (process->closed && (process->exited || !process->known))
		process_finish(process);
	else
		timer_set(process->timer, process->slot ? SETTLE_MS : GOODBYE_MS);
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
	struct process *process = arg;

	(void)fd;
	(void)what;
	if (!process->client) { /* a slot was removed that had no worker */
		process_gone(process);
		return;
	}
	if (process->exited) {
		worker_client_abort(process->client, -ECONNRESET, "exited");
		return;
	}
	if (process->closed && (process->killed || !process->known)) {
		process_finish(process);
		return;
	}
	process->killed = true;
	if (process->closed) {
		/* It closed its end, but may live on with all the VM's sockets. */
		spawner_kill(process);
		process_settle(process);
		return;
	}
	if (process->slot)
		snprintf(process->text, sizeof(process->text), "gave no greeting in %d s",
			HELLO_MS / 1000);
	else
		log_warn("netctld", "worker.killed", "vm=%s pid=%d reason=\"does not end\"",
			process->vm, (int)process->pid);
	spawner_kill(process);
	worker_client_abort(process->client, -ETIMEDOUT, "timed out");
}

static void on_client_ready(void *arg)
{
	struct process *process = arg;
	struct supervised *slot = process->slot;

	if (!slot || process->ready)
		return;
	event_del(process->timer);
	adoption_done(process);
	process->ready = true;
	slot->state = SUPERVISED_UP;
	slot->had_worker = true;
	slot->up_since = clock_ms();
	log_info("netctld", process->how == SUPERVISED_ADOPTED ? "worker.adopted" : "worker.up",
		"vm=%s pid=%d", slot->name, (int)process->pid);
	slot->ops->up(slot->arg, process->client, process->how);
}

static void on_client_closed(void *arg, int err, const char *text)
{
	struct process *process = arg;

	process->closed = true;
	if (err == -EPROTO)
		snprintf(process->text, sizeof(process->text), "broke the protocol: %s", text);
	else if (!*process->text && err != -ECONNRESET)
		snprintf(process->text, sizeof(process->text), "%s", text);
	if (err == -EPROTO && !process->exited) {
		process->killed = true;
		spawner_kill(process);
	}
	process_settle(process);
}

static const struct worker_client_hooks hooks = {on_client_ready, on_client_closed};
static const struct worker_client_events no_events;

void process_spawned(struct process *process, uint64_t number, pid_t pid, int fd)
{
	struct supervised *slot = process->slot;

	process->number = number;
	process->pid = pid;
	process->known = true;
	if (!process->since_ms)
		process->since_ms = clock_wall_ms();
	process->client = worker_client_new(process->supervisor->base, fd, process->vm,
		slot ? &slot->ops->events : &no_events, slot ? slot->arg : NULL, &hooks, process);
	if (!process->client)
		abort();
	if (!slot) { /* not wanted any more */
		spawner_kill(process);
		timer_set(process->timer, GOODBYE_MS);
		return;
	}
	timer_set(process->timer, HELLO_MS);
}

void process_failed(struct process *process, int code, const char *text)
{
	struct supervised *slot = process->slot;

	if (!slot) {
		process_gone(process);
		return;
	}
	if (code == -ECONNRESET || code == -ENOTCONN || code == -ECANCELED) {
		adoption_done(process);
		slot->process = NULL;
		slot->state = slot->want ? SUPERVISED_STARTING : SUPERVISED_IDLE;
		process_free(process);
		return;
	}
	process->code = code;
	snprintf(process->text, sizeof(process->text), "%s", text);
	process_finish(process);
}

void process_exited(struct process *process, int status)
{
	process->exited = true;
	process->known = false;
	if (*process->text)
		; /* something better was said already */
	else if (WIFSIGNALED(status))
		snprintf(process->text, sizeof(process->text), "killed by signal %d",
			WTERMSIG(status));
	else
		snprintf(process->text, sizeof(process->text), "exited with status %d",
			WEXITSTATUS(status));
	if (process->client)
		process_settle(process);
}

void process_forgotten(struct process *process)
{
	if (!process->known)
		return;
	process->known = false;
	if (process->closed)
		timer_set(process->timer, 0);
}

/* ---- what a VM asks ---- */

/* Parts the slot from its worker, which is told to end. */
static struct process *part(struct supervised *slot)
{
	struct process *process = slot->process;

	if (!process)
		return NULL;
	adoption_done(process);
	process->ready = true; /* the adoption is counted */
	process->slot = NULL;
	slot->process = NULL;
	if (!process->client)
		return process; /* process_spawned() kills it */
	worker_client_detach(process->client);
	if (!process->closed && !process->exited) {
		worker_client_shutdown(process->client, false, NULL, NULL);
		timer_set(process->timer, GOODBYE_MS);
	}
	return process;
}

void supervised_want(struct supervised *slot, bool want)
{
	slot->want = want;
	if (want) {
		if (slot->state == SUPERVISED_IDLE)
			slot_start(slot);
		return;
	}
	event_del(slot->backoff);
	part(slot);
	slot->state = SUPERVISED_IDLE;
	slot->had_worker = false; /* an orderly end leaves no flows to reset */
	slot->delay_ms = BACKOFF_MIN_MS;
}

static void slot_free(struct supervised *slot)
{
	LIST_REMOVE(slot, link);
	event_free(slot->backoff);
	free(slot);
}

void supervised_remove(struct supervised *slot, void (*gone)(void *arg), void *arg)
{
	struct supervisor *supervisor = slot->supervisor;
	struct process *process = part(slot);

	if (!process && gone) {
		process = process_new(supervisor, NULL, slot->name, SUPERVISED_NEW);
		timer_set(process->timer, 0);
	}
	if (process) {
		process->gone = gone;
		process->gone_arg = arg;
	}
	slot_free(slot);
}

void supervised_kill(struct supervised *slot)
{
	if (slot->process && slot->process->client)
		spawner_kill(slot->process);
}

struct worker_client *supervised_client(struct supervised *slot)
{
	return slot->process && slot->state == SUPERVISED_UP ? slot->process->client : NULL;
}

void supervised_info(const struct supervised *slot, struct supervised_info *info)
{
	const struct process *process = slot->process;

	*info = (struct supervised_info){.state = slot->state, .restarts = slot->restarts};
	if (!process || !process->ready)
		return;
	info->pid = process->pid;
	info->since_ms = process->since_ms;
	info->outdated = strcmp(worker_client_release(process->client), NETCTL_VERSION) != 0;
}

struct supervised *supervisor_add(struct supervisor *supervisor, const char *name,
	const struct supervised_ops *ops, void *arg, int *err)
{
	struct supervised *slot;

	if (slot_find(supervisor, name)) {
		*err = -EEXIST;
		return NULL;
	}
	*err = -ENOMEM;
	slot = calloc(1, sizeof(*slot));
	if (!slot)
		return NULL;
	slot->supervisor = supervisor;
	snprintf(slot->name, sizeof(slot->name), "%s", name);
	slot->ops = ops;
	slot->arg = arg;
	slot->delay_ms = BACKOFF_MIN_MS;
	slot->backoff = evtimer_new(supervisor->base, on_backoff, slot);
	if (!slot->backoff) {
		free(slot);
		return NULL;
	}
	*err = 0;
	LIST_INSERT_HEAD(&supervisor->slots, slot, link);
	return slot;
}

/* ---- the supervisor ---- */

void supervisor_tell(struct supervisor *supervisor)
{
	event_active(supervisor->tell, EV_TIMEOUT, 1);
}

static void on_tell(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *supervisor = arg;
	bool up = supervisor->listed;
	const char *why = up ? "" : supervisor->why;

	(void)fd;
	(void)what;
	if (supervisor->stopping || (up && supervisor->adopting) || (!up && !*why))
		return;
	if (supervisor->told && supervisor->told_up == up && strcmp(why, supervisor->told_why) == 0)
		return;
	supervisor->told = true;
	supervisor->told_up = up;
	snprintf(supervisor->told_why, sizeof(supervisor->told_why), "%s", why);
	if (up)
		supervisor->why[0] = '\0';
	supervisor->ops->spawner(supervisor->arg, up, supervisor->told_why);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	spawner_connect(arg);
}

static void end_processes(struct supervisor *supervisor)
{
	struct process *process;

	while ((process = LIST_FIRST(&supervisor->processes))) {
		if (process->slot) {
			process->slot->process = NULL;
			process->slot = NULL;
		}
		process_gone(process);
	}
}

void supervisor_finish_stop(struct supervisor *supervisor)
{
	void (*stopped)(void *arg) = supervisor->stopped;

	if (!stopped)
		return;
	supervisor->stopped = NULL;
	event_del(supervisor->stop_timer);
	rpc_free(supervisor->spawner);
	supervisor->spawner = NULL;
	end_processes(supervisor);
	stopped(supervisor->stopped_arg);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	supervisor_finish_stop(arg);
}

void supervisor_stop(struct supervisor *supervisor, void (*stopped)(void *arg), void *arg)
{
	bool end = supervisor->spawner && supervisor->listed && supervisor->spawner_owned;
	struct supervised *slot;
	struct process *process;

	supervisor->stopping = true;
	supervisor->stopped = stopped;
	supervisor->stopped_arg = arg;
	event_del(supervisor->retry);
	LIST_FOREACH(slot, &supervisor->slots, link)
		event_del(slot->backoff);
	LIST_FOREACH(process, &supervisor->processes, link) {
		if (process->slot) {
			process->slot->process = NULL;
			process->slot->state = SUPERVISED_IDLE;
			process->slot = NULL;
		}
		if (process->client)
			worker_client_detach(process->client);
		/* Its spawner died earlier: nobody else tells it. */
		if (end && process->client && !process->known)
			worker_client_shutdown(process->client, false, NULL, NULL);
	}
	if (end)
		spawner_shutdown(supervisor);
	timer_set(supervisor->stop_timer, end ? STOP_MS : 0);
}

void supervisor_start(struct supervisor *supervisor)
{
	timer_set(supervisor->retry, 0);
}

bool supervisor_spawner_up(const struct supervisor *supervisor)
{
	return supervisor->listed && supervisor->told_up;
}

struct supervisor *supervisor_new(struct event_base *base, const struct supervisor_config *config,
	const struct supervisor_ops *ops, void *arg)
{
	struct supervisor *supervisor = calloc(1, sizeof(*supervisor));

	if (!supervisor)
		return NULL;
	supervisor->base = base;
	supervisor->ops = ops;
	supervisor->arg = arg;
	supervisor->delay_ms = BACKOFF_MIN_MS;
	supervisor->no_start = config->no_start;
	supervisor->sandbox_weak = config->sandbox_weak;
	/* A path that is cut here is too long for a socket anyway, which connecting says. */
	snprintf(supervisor->path, sizeof(supervisor->path), "%s/netdp.sock", config->runtime_dir);
	snprintf(supervisor->netdp, sizeof(supervisor->netdp), "%s",
		config->netdp ? config->netdp : "");
	snprintf(supervisor->log_level, sizeof(supervisor->log_level), "%s",
		config->log_level ? config->log_level : "");
	LIST_INIT(&supervisor->slots);
	LIST_INIT(&supervisor->processes);
	supervisor->retry = evtimer_new(base, on_retry, supervisor);
	supervisor->stop_timer = evtimer_new(base, on_stop_timer, supervisor);
	supervisor->tell = event_new(base, -1, 0, on_tell, supervisor);
	if (!supervisor->tell || !supervisor->retry || !supervisor->stop_timer) {
		supervisor_free(supervisor);
		return NULL;
	}
	return supervisor;
}

void supervisor_free(struct supervisor *supervisor)
{
	struct process *process;

	if (!supervisor)
		return;
	supervisor->stopping = true;
	supervisor->stopped = NULL;
	LIST_FOREACH(process, &supervisor->processes, link)
		process->gone = NULL;
	rpc_free(supervisor->spawner);
	supervisor->spawner = NULL;
	while ((process = LIST_FIRST(&supervisor->processes)))
		process_free(process);
	while (!LIST_EMPTY(&supervisor->slots))
		slot_free(LIST_FIRST(&supervisor->slots));
	if (supervisor->tell)
		event_free(supervisor->tell);
	if (supervisor->retry)
		event_free(supervisor->retry);
	if (supervisor->stop_timer)
		event_free(supervisor->stop_timer);
	free(supervisor);
}
