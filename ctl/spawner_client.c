/* SPDX-License-Identifier: MIT */
/*
 * The supervisor's way to the spawner: finding it, starting one, asking it. See supervisor.h.
 *
 * A spawner that we start gets its listening socket from us, so the connection can be made before it
 * has even begun; it is forked twice and in a session of its own, so it is nobody's child and no
 * signal meant for us reaches it.
 */
#include "ctl/supervisor_internal.h"

#include "common/environment.h"
#include "common/error.h"
#include "common/log.h"
#include "common/os.h"
#include "proto/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 5000
#define DEADLINE_MS 10000

static void retry_later(struct supervisor *supervisor, const char *why)
{
	if (supervisor->stopping)
		return;
	if (strcmp(why, supervisor->why) != 0)
		log_warn("netctld", "spawner.none", "reason=\"%s\"", why);
	snprintf(supervisor->why, sizeof(supervisor->why), "%s", why);
	supervisor_tell(supervisor);
	timer_set(supervisor->retry, supervisor->delay_ms);
	supervisor->delay_ms = supervisor->delay_ms * 2 < BACKOFF_MAX_MS ? supervisor->delay_ms * 2
									 : BACKOFF_MAX_MS;
}

/* ---- starting one ---- */

static bool try_program(char *out, size_t size, const char *dir, size_t dir_len)
{
	int n = snprintf(out, size, "%.*s/netdp", (int)dir_len, dir);

	return n > 0 && (size_t)n < size && access(out, X_OK) == 0;
}

static int find_program(const struct supervisor *supervisor, char *out, size_t size)
{
	const char *path = getenv("PATH");
	char self[PATH_MAX];

	if (*supervisor->netdp) {
		snprintf(out, size, "%s", supervisor->netdp);
		return access(out, X_OK) < 0 ? -errno : 0;
	}
	if (os_self_path(self, sizeof(self)) == 0) {
		const char *slash = strrchr(self, '/');

		if (slash && try_program(out, size, self, (size_t)(slash - self)))
			return 0;
	}
	while (path && *path) {
		size_t len = strcspn(path, ":");

		if (len && try_program(out, size, path, len))
			return 0;
		path += len + (path[len] == ':');
	}
	return -ENOENT;
}

static void become_spawner(const struct supervisor *supervisor, const char *program, int listener)
{
	const char *argv[] = {"netdp", "--listen-fd", "3", "--owned",
		*supervisor->log_level ? "--log-level" : NULL, supervisor->log_level, NULL};
	char *args[sizeof(argv) / sizeof(*argv)];
	sigset_t none;
	int null;

	setsid();
	if (fork() != 0)
		_exit(0); /* the parent waits for this */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < 32; sig++)
		signal(sig, SIG_DFL);
	if (listener == 3)
		fcntl(3, F_SETFD, 0);
	else if (dup2(listener, 3) < 0)
		_exit(126);
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (null > 3)
			close(null);
	}
	if (chdir("/") < 0)
		_exit(126);
	memcpy(args, argv, sizeof(args));
	execve(program, args, environment_for_workers());
	_exit(127);
}

/* 0, or -errno with *why. */
static int start_own(struct supervisor *supervisor, char *why, size_t size)
{
	char program[PATH_MAX];
	int listener, err = find_program(supervisor, program, sizeof(program));
	pid_t pid;

	if (err < 0) {
		snprintf(why, size, "netdp cannot be started: %.128s: %s",
			*supervisor->netdp ? supervisor->netdp
					   : "neither beside netctld nor in $PATH",
			errno_text(err));
		return err;
	}
	listener = unix_listen(supervisor->path, SOCK_STREAM, 0600);
	if (listener < 0) {
		snprintf(why, size, "netdp at %s: %s", supervisor->path, errno_text(listener));
		return listener;
	}
	pid = fork();
	if (pid == 0)
		become_spawner(supervisor, program, listener);
	err = pid < 0 ? -errno : 0;
	close(listener);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (err < 0)
		snprintf(why, size, "netdp cannot be started: %s", errno_text(err));
	else
		log_info("netctld", "spawner.started", "program=%s", program);
	return err;
}

/* ---- what it says ---- */

static void on_hello(void *arg, const Netdp__Hello *hello)
{
	struct supervisor *supervisor = arg;

	supervisor->spawner_owned = false;
	for (size_t i = 0; i < hello->n_features; i++) {
		if (strcmp(hello->features[i], "owned") == 0)
			supervisor->spawner_owned = true;
	}
}

static struct process *process_of(struct supervisor *supervisor, uint64_t number)
{
	struct process *process;

	LIST_FOREACH(process, &supervisor->processes, link) {
		if (process->known && process->number == number)
			return process;
	}
	return NULL;
}

static void on_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct process *process;

	(void)fds;
	(void)n_fds;
	if (env->body_case != NETDP__ENVELOPE__BODY_WORKER_EXITED)
		return;
	process = process_of(arg, env->worker_exited->worker);
	if (process)
		process_exited(process, env->worker_exited->status);
}

static void on_closed(void *arg, int err, const char *text)
{
	struct supervisor *supervisor = arg;
	struct process *process;
	char why[256];

	(void)err;
	rpc_free(supervisor->spawner);
	supervisor->spawner = NULL;
	supervisor->listed = false;
	LIST_FOREACH(process, &supervisor->processes, link)
		process_forgotten(process);
	if (supervisor->stopping) {
		supervisor_finish_stop(supervisor);
		return;
	}
	snprintf(why, sizeof(why), "netdp at %s: %s", supervisor->path, text);
	retry_later(supervisor, why);
}

static const struct rpc_ops spawner_ops = {
	.hello = on_hello, .event = on_event, .closed = on_closed};

/* ---- requests ---- */

static void kill_number(struct supervisor *supervisor, uint64_t number)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Kill msg = NETDP__KILL__INIT;

	msg.worker = number;
	env.body_case = NETDP__ENVELOPE__BODY_KILL;
	env.kill = &msg;
	rpc_call(supervisor->spawner, &env, NULL, 0, DEADLINE_MS, NULL, NULL);
}

void spawner_kill(struct process *process)
{
	if (process->known && process->supervisor->spawner)
		kill_number(process->supervisor, process->number);
	else if (process->pid > 1 && !process->closed && !process->exited)
		kill(process->pid,
			SIGKILL); /* its connection stands, so the pid is still its own */
}

static void on_spawned(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct process *process = arg;
	const Netdp__Spawned *spawned;
	char remark[256];
	int fd;

	if (code == 0 &&
		(reply->body_case != NETDP__ENVELOPE__BODY_SPAWNED || n_fds != 1 ||
			reply->spawned->pid <= 1)) {
		code = -EPROTO;
		text = "the spawner's answer is malformed";
	}
	if (code < 0) {
		wire_get_remark(text, remark, sizeof(remark));
		/* A worker may have come of it all the same: the list at the next connection tells. */
		if (code == -ETIMEDOUT && process->supervisor->spawner)
			rpc_abort(process->supervisor->spawner, -ETIMEDOUT, "does not answer");
		process_failed(process, code, remark);
		return;
	}
	spawned = reply->spawned;
	fd = fds[0];
	fds[0] = -1;
	process_spawned(process, spawned->worker, spawned->pid, fd);
}

void spawner_spawn(struct process *process)
{
	struct supervisor *supervisor = process->supervisor;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Spawn msg;

	netdp__spawn__init(&msg);
	msg.vm = process->vm;
	msg.sandbox = supervisor->sandbox_weak ? NETDP__SANDBOX__SANDBOX_WEAK
					       : NETDP__SANDBOX__SANDBOX_FULL;
	env.body_case = NETDP__ENVELOPE__BODY_SPAWN;
	env.spawn = &msg;
	rpc_call(supervisor->spawner, &env, NULL, 0, DEADLINE_MS, on_spawned, process);
}

static void adopt(struct process *process, uint64_t number)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Adopt msg = NETDP__ADOPT__INIT;

	msg.worker = number;
	env.body_case = NETDP__ENVELOPE__BODY_ADOPT;
	env.adopt = &msg;
	rpc_call(process->supervisor->spawner, &env, NULL, 0, DEADLINE_MS, on_spawned, process);
}

void spawner_shutdown(struct supervisor *supervisor)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Shutdown msg = NETDP__SHUTDOWN__INIT;

	env.body_case = NETDP__ENVELOPE__BODY_SHUTDOWN;
	env.shutdown = &msg;
	rpc_call(supervisor->spawner, &env, NULL, 0, DEADLINE_MS, NULL, NULL);
}

/* ---- the list of live workers ---- */

/* One of ours from before the connection was lost? */
static bool recognise(struct supervisor *supervisor, const Netdp__Workers__Worker *worker)
{
	struct process *process;

	LIST_FOREACH(process, &supervisor->processes, link) {
		if (process->number != worker->worker || process->pid != worker->pid ||
			process->exited)
			continue;
		process->known = true;
		return true;
	}
	return false;
}

static void meet(struct supervisor *supervisor, const Netdp__Workers__Worker *worker)
{
	struct supervised *slot = slot_find(supervisor, worker->vm);
	struct process *process;

	if (recognise(supervisor, worker))
		return;
	if (!supervisor->adopted_once && slot && !slot->process) {
		process = process_new(supervisor, slot, slot->name, SUPERVISED_ADOPTED);
		process->number = worker->worker;
		process->since_ms = worker->since_ms;
		slot->process = process;
		slot->state = SUPERVISED_STARTING;
		supervisor->adopting++;
		adopt(process, worker->worker);
		return;
	}
	log_info("netctld", "worker.unknown", "pid=%d action=kill", (int)worker->pid);
	kill_number(supervisor, worker->worker);
}

static int newest_first(const void *a, const void *b)
{
	const Netdp__Workers__Worker *const *x = a, *const *y = b;

	return (*x)->worker < (*y)->worker ? 1 : (*x)->worker > (*y)->worker ? -1 : 0;
}

static void on_workers(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct supervisor *supervisor = arg;

	(void)fds;
	(void)n_fds;
	if (code == -ECONNRESET || code == -ECANCELED)
		return; /* on_closed() follows, or nobody cares */
	if (code < 0 || reply->body_case != NETDP__ENVELOPE__BODY_WORKERS) {
		rpc_abort(supervisor->spawner, -EPROTO,
			code < 0 ? text : "does not say which workers live");
		return;
	}
	if (reply->workers->n_workers)
		qsort(reply->workers->workers, reply->workers->n_workers,
			sizeof(*reply->workers->workers), newest_first);
	for (size_t i = 0; i < reply->workers->n_workers; i++)
		meet(supervisor, reply->workers->workers[i]);
	supervisor->adopted_once = true;
	supervisor->listed = true;
	supervisor->delay_ms = BACKOFF_MIN_MS;
	slots_start(supervisor);
	supervisor_tell(supervisor);
}

void spawner_connect(struct supervisor *supervisor)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__WorkersGet msg = NETDP__WORKERS_GET__INIT;
	char why[256];
	int fd = unix_connect(supervisor->path, SOCK_STREAM, 0, true);

	if ((fd == -ENOENT || fd == -ECONNREFUSED) && !supervisor->no_start) {
		if (start_own(supervisor, why, sizeof(why)) < 0) {
			retry_later(supervisor, why);
			return;
		}
		fd = unix_connect(supervisor->path, SOCK_STREAM, 0, true);
	}
	if (fd < 0) {
		snprintf(why, sizeof(why), "netdp at %s: %s", supervisor->path, errno_text(fd));
		retry_later(supervisor, why);
		return;
	}
	supervisor->spawner = rpc_new(
		supervisor->base, fd, "netctld", NULL, &spawner_ops, supervisor);
	if (!supervisor->spawner) {
		retry_later(supervisor, "out of memory");
		return;
	}
	env.body_case = NETDP__ENVELOPE__BODY_WORKERS_GET;
	env.workers_get = &msg;
	rpc_call(supervisor->spawner, &env, NULL, 0, DEADLINE_MS, on_workers, supervisor);
}
