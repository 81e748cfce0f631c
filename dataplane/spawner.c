/* SPDX-License-Identifier: MIT */
/*
 * The spawner. See spawner.h.
 *
 * A Spawn forks and executes this same program as `netdp --worker` with two sockets: one end of the
 * control socketpair, whose other end goes to the netctld that asked, and one end of the lifeline,
 * whose other end stays here. Over the lifeline a worker gets fresh control connections (Adopt).
 * Each worker has a session of its own and no death signal, so that it outlives the spawner and
 * netctld.
 *
 * The end. SIGTERM, SIGINT and Shutdown stop listening, send SIGTERM to each worker, which says
 * goodbye to its guest, and kill after KILL_AFTER_MS those that still live; then exit 0. A spawner
 * that dies otherwise leaves its workers running. One that a netctld started (`owned`) also ends when no netctld is connected
 * and it has no workers (IDLE_MS: the next netctld starts its own), or its socket's path is gone, so
 * that none can come (LONELY_MS).
 */
#include "dataplane/spawner.h"

#include "common/clock.h"
#include "common/environment.h"
#include "common/error.h"
#include "common/log.h"
#include "common/os.h"
#include "common/unix_socket.h"
#include "proto/rpc.h"
#include "proto/wire.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS_MAX 16
#define WORKERS_MAX 4096
#define KILL_AFTER_MS 1500
#define LONELY_MS 600000
#define IDLE_MS 5000
#define LONELY_CHECK_S 5

struct child {
	LIST_ENTRY(child) link;
	uint64_t number;
	pid_t pid;
	char vm[64];
	int64_t since_ms;
	struct rpc *lifeline; /* NULL once lost */
};

struct client {
	LIST_ENTRY(client) link;
	struct spawner *spawner;
	struct rpc *rpc;
};

struct spawner {
	const struct spawner_options *options;
	struct event_base *base;
	int listen_fd;
	bool has_group;
	gid_t group;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1]; /* ours to remove, or "" */
	char self[PATH_MAX];
	struct event *acceptable;
	struct event *accept_again; /* after EMFILE */
	struct event *signals[3];
	struct event *deadline; /* of the end */
	struct event *lonely;
	LIST_HEAD(, child) children;
	LIST_HEAD(, client) clients;
	unsigned n_children;
	unsigned n_clients;
	uint64_t last_number;
	uint64_t alone_since; /* clock_ms() */
	bool ending;
};

/* ---- workers ---- */

static void on_lifeline_closed(void *arg, int err, const char *text)
{
	struct child *child = arg;

	(void)err;
	log_debug("spawner", "lifeline.lost", "vm=%s pid=%d reason=\"%s\"", child->vm,
		(int)child->pid, text);
	rpc_free(child->lifeline);
	child->lifeline = NULL;
}

static const struct rpc_ops lifeline_ops = {.closed = on_lifeline_closed};

static void child_free(struct child *child)
{
	LIST_REMOVE(child, link);
	rpc_free(child->lifeline);
	free(child);
}

static struct child *child_find(struct spawner *spawner, uint64_t number)
{
	struct child *child;

	LIST_FOREACH(child, &spawner->children, link) {
		if (child->number == number)
			return child;
	}
	return NULL;
}

/* In the new process: fds 3 and 4 are all it gets beside the standard ones; the rest is
 * close-on-exec. */
static void become_worker(
	const struct spawner *spawner, const char *vm, bool weak, int control, int lifeline)
{
	const char *argv[] = {"netdp", "--worker", "--control-fd", "3", "--lifeline-fd", "4",
		"--vm", vm, "--sandbox", weak ? "weak" : "landlock",
		spawner->options->log_level ? "--log-level" : NULL, spawner->options->log_level,
		NULL};
	char *args[sizeof(argv) / sizeof(*argv)];
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	/* Out of the way of 3 and 4 first. */
	while (control >= 0 && control < 5)
		control = dup(control);
	while (lifeline >= 0 && lifeline < 5)
		lifeline = dup(lifeline);
	if (control < 0 || lifeline < 0 || dup2(control, 3) < 0 || dup2(lifeline, 4) < 0)
		_exit(126);
	if (control > 4)
		close(control);
	if (lifeline > 4)
		close(lifeline);
	memcpy(args, argv, sizeof(args));
	execve(spawner->self, args, environment_for_workers());
	_exit(127);
}

/* Returns the child and, in *control, netctld's end; or NULL with *err. */
static struct child *spawn(
	struct spawner *spawner, const char *vm, bool weak, int *control, int *err)
{
	int ctl[2] = {-1, -1}, life[2] = {-1, -1};
	struct child *child = calloc(1, sizeof(*child));

	*err = child ? os_socketpair(AF_UNIX, SOCK_STREAM, true, ctl) : -ENOMEM;
	if (!*err)
		*err = os_socketpair(AF_UNIX, SOCK_STREAM, true, life);
	if (*err)
		goto fail;
	child->pid = fork();
	if (child->pid == 0)
		become_worker(spawner, vm, weak, ctl[1], life[1]);
	if (child->pid < 0) {
		*err = -errno;
		goto fail;
	}
	close(ctl[1]);
	close(life[1]);
	child->number = ++spawner->last_number;
	child->since_ms = clock_wall_ms();
	snprintf(child->vm, sizeof(child->vm), "%s", vm);
	child->lifeline = rpc_new(spawner->base, life[0], "spawner", NULL, &lifeline_ops, child);
	LIST_INSERT_HEAD(&spawner->children, child, link);
	spawner->n_children++;
	*control = ctl[0];
	return child;
fail:
	for (int i = 0; i < 2; i++) {
		if (ctl[i] >= 0)
			close(ctl[i]);
		if (life[i] >= 0)
			close(life[i]);
	}
	free(child);
	return NULL;
}

static void finish_if_done(struct spawner *spawner)
{
	if (spawner->ending && !spawner->n_children)
		event_base_loopexit(spawner->base, NULL);
}

static void tell_exited(struct spawner *spawner, const struct child *child, int status)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__WorkerExited exited = NETDP__WORKER_EXITED__INIT;
	struct client *client;

	exited.worker = child->number;
	exited.pid = child->pid;
	exited.status = status;
	env.body_case = NETDP__ENVELOPE__BODY_WORKER_EXITED;
	env.worker_exited = &exited;
	LIST_FOREACH(client, &spawner->clients, link) {
		if (rpc_event(client->rpc, &env, NULL, 0) == -ENOBUFS)
			rpc_abort(client->rpc, -ENOBUFS, "does not read its events");
	}
}

static void on_child(evutil_socket_t sig, short what, void *arg)
{
	struct spawner *spawner = arg;
	struct child *child;
	int status;
	pid_t pid;

	(void)sig;
	(void)what;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		LIST_FOREACH(child, &spawner->children, link) {
			if (child->pid == pid)
				break;
		}
		if (!child)
			continue;
		log_info("spawner", "worker.exited", "vm=%s pid=%d %s=%d", child->vm, (int)pid,
			WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		tell_exited(spawner, child, status);
		child_free(child);
		spawner->n_children--;
	}
	finish_if_done(spawner);
}

/* ---- the end ---- */

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct spawner *spawner = arg;
	struct child *child;

	(void)fd;
	(void)what;
	LIST_FOREACH(child, &spawner->children, link) {
		log_warn("spawner", "worker.killed", "vm=%s pid=%d reason=\"does not end\"",
			child->vm, (int)child->pid);
		kill(child->pid, SIGKILL);
	}
}

static void end(struct spawner *spawner, const char *why)
{
	struct child *child;

	if (spawner->ending)
		return;
	spawner->ending = true;
	log_info("spawner", "ending", "reason=\"%s\" workers=%u", why, spawner->n_children);
	event_del(spawner->acceptable);
	event_del(spawner->accept_again);
	close(spawner->listen_fd);
	spawner->listen_fd = -1;
	if (*spawner->path)
		unlink(spawner->path);
	LIST_FOREACH(child, &spawner->children, link)
		kill(child->pid, SIGTERM);
	evtimer_add(spawner->deadline,
		(&(struct timeval){KILL_AFTER_MS / 1000, KILL_AFTER_MS % 1000 * 1000}));
	finish_if_done(spawner);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)what;
	end(arg, sig == SIGTERM ? "SIGTERM" : "SIGINT");
}

static bool path_gone(const struct spawner *spawner)
{
	struct stat st;

	return *spawner->path && stat(spawner->path, &st) < 0 && errno == ENOENT;
}

static void on_lonely(evutil_socket_t fd, short what, void *arg)
{
	struct spawner *spawner = arg;
	uint64_t alone = clock_ms() - spawner->alone_since;

	(void)fd;
	(void)what;
	if (spawner->n_clients)
		return;
	if (!spawner->n_children && alone >= IDLE_MS)
		end(spawner, "no netctld and no worker");
	else if (alone >= LONELY_MS && path_gone(spawner))
		end(spawner, "no netctld for 10 min, and no way for one");
}

/* ---- requests ---- */

static void reply_spawned(
	struct client *client, uint64_t id, const struct child *child, int control)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Spawned spawned = NETDP__SPAWNED__INIT;

	spawned.worker = child->number;
	spawned.pid = child->pid;
	env.body_case = NETDP__ENVELOPE__BODY_SPAWNED;
	env.spawned = &spawned;
	rpc_reply(client->rpc, id, &env, &control, 1);
	close(control);
}

static void on_spawn(struct client *client, uint64_t id, const Netdp__Spawn *msg)
{
	struct spawner *spawner = client->spawner;
	struct child *child;
	char vm[64], text[128];
	int control, err;

	if (!wire_get_text(msg->vm, vm, sizeof(vm)) ||
		msg->sandbox > NETDP__SANDBOX__SANDBOX_WEAK) {
		rpc_reply_status(client->rpc, id, -EINVAL, "spawn: bad VM name or sandbox level");
		return;
	}
	if (spawner->ending || spawner->n_children >= WORKERS_MAX) {
		rpc_reply_status(client->rpc, id, -EAGAIN,
			spawner->ending ? "the spawner ends" : "too many workers");
		return;
	}
	child = spawn(spawner, vm, msg->sandbox == NETDP__SANDBOX__SANDBOX_WEAK, &control, &err);
	if (!child) {
		snprintf(text, sizeof(text), "vm/%s: no worker: %s", vm, errno_text(err));
		rpc_reply_status(client->rpc, id, err, text);
		return;
	}
	log_info("spawner", "worker.started", "vm=%s pid=%d", vm, (int)child->pid);
	reply_spawned(client, id, child, control);
}

static void on_workers_get(struct client *client, uint64_t id)
{
	struct spawner *spawner = client->spawner;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Workers workers = NETDP__WORKERS__INIT;
	Netdp__Workers__Worker *list = calloc(spawner->n_children + 1, sizeof(*list));
	Netdp__Workers__Worker **pointers = calloc(spawner->n_children + 1, sizeof(*pointers));
	struct child *child;

	if (!list || !pointers) {
		rpc_reply_status(client->rpc, id, -ENOMEM, NULL);
		goto out;
	}
	LIST_FOREACH(child, &spawner->children, link) {
		Netdp__Workers__Worker *worker = &list[workers.n_workers];

		netdp__workers__worker__init(worker);
		worker->worker = child->number;
		worker->pid = child->pid;
		worker->vm = child->vm;
		worker->since_ms = child->since_ms;
		pointers[workers.n_workers++] = worker;
	}
	workers.workers = pointers;
	env.body_case = NETDP__ENVELOPE__BODY_WORKERS;
	env.workers = &workers;
	rpc_reply(client->rpc, id, &env, NULL, 0);
out:
	free(list);
	free(pointers);
}

static void on_adopt(struct client *client, uint64_t id, uint64_t number)
{
	struct child *child = child_find(client->spawner, number);
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ControlFresh fresh = NETDP__CONTROL_FRESH__INIT;
	int pair[2], err;

	if (!child || !child->lifeline) {
		rpc_reply_status(client->rpc, id, -ENOENT,
			child ? "the worker's lifeline is lost" : "no such worker");
		return;
	}
	err = os_socketpair(AF_UNIX, SOCK_STREAM, true, pair);
	if (err < 0) {
		rpc_reply_status(client->rpc, id, err, NULL);
		return;
	}
	env.body_case = NETDP__ENVELOPE__BODY_CONTROL_FRESH;
	env.control_fresh = &fresh;
	err = rpc_event(child->lifeline, &env, &pair[1], 1);
	close(pair[1]);
	if (err < 0) {
		close(pair[0]);
		rpc_reply_status(client->rpc, id, err, NULL);
		return;
	}
	reply_spawned(client, id, child, pair[0]);
}

static void on_kill(struct client *client, uint64_t id, uint64_t number)
{
	struct child *child = child_find(client->spawner, number);

	if (child)
		kill(child->pid, SIGKILL);
	rpc_reply_status(client->rpc, id, child ? 0 : -ENOENT, child ? NULL : "no such worker");
}

static void on_request(void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct client *client = arg;

	(void)fds;
	(void)n_fds;
	switch (env->body_case) {
	case NETDP__ENVELOPE__BODY_SPAWN:
		on_spawn(client, id, env->spawn);
		break;
	case NETDP__ENVELOPE__BODY_WORKERS_GET:
		on_workers_get(client, id);
		break;
	case NETDP__ENVELOPE__BODY_ADOPT:
		on_adopt(client, id, env->adopt->worker);
		break;
	case NETDP__ENVELOPE__BODY_KILL:
		on_kill(client, id, env->kill->worker);
		break;
	case NETDP__ENVELOPE__BODY_SHUTDOWN:
		rpc_reply_status(client->rpc, id, 0, NULL);
		end(client->spawner, "told to by netctld");
		break;
	default:
		rpc_reply_status(client->rpc, id, -ENOSYS, "not a spawner's request");
	}
}

/* ---- connections ---- */

static void client_free(struct client *client)
{
	struct spawner *spawner = client->spawner;

	LIST_REMOVE(client, link);
	rpc_free(client->rpc);
	free(client);
	if (--spawner->n_clients == 0)
		spawner->alone_since = clock_ms();
}

static void on_client_closed(void *arg, int err, const char *text)
{
	struct client *client = arg;

	if (err == -ECONNRESET)
		log_info("spawner", "netctld.left", "reason=\"%s\"", text);
	else
		log_warn("spawner", "netctld.closed", "reason=\"%s\"", text);
	client_free(client);
}

static const struct rpc_ops client_ops = {.request = on_request, .closed = on_client_closed};

static bool in_group(const struct spawner *spawner, const struct os_peer *peer)
{
	const struct passwd *user;
	const struct group *group;

	if (!spawner->has_group)
		return false;
	if (peer->gid == spawner->group)
		return true;
	user = getpwuid(peer->uid);
	group = getgrgid(spawner->group);
	for (char **member = user && group ? group->gr_mem : NULL; member && *member; member++) {
		if (strcmp(*member, user->pw_name) == 0)
			return true;
	}
	return false;
}

static void welcome(struct spawner *spawner, int fd)
{
	static const char *const owned[] = {"owned", NULL};
	struct os_peer peer;
	struct client *client;
	int err = os_peer(fd, &peer);

	if (err < 0 || (peer.uid != 0 && peer.uid != geteuid() && !in_group(spawner, &peer))) {
		log_warn("spawner", "peer.refused", "uid=%d", err < 0 ? -1 : (int)peer.uid);
		close(fd);
		return;
	}
	client = spawner->n_clients < CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		log_warn("spawner", "peer.refused", "reason=\"too many connections\"");
		close(fd);
		return;
	}
	client->spawner = spawner;
	client->rpc = rpc_new(spawner->base, fd, "spawner", spawner->options->owned ? owned : NULL,
		&client_ops, client);
	if (!client->rpc) {
		free(client);
		return;
	}
	LIST_INSERT_HEAD(&spawner->clients, client, link);
	spawner->n_clients++;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct spawner *spawner = arg;
	int got = os_accept(fd, NULL, NULL);

	(void)what;
	if (got >= 0) {
		welcome(spawner, got);
		return;
	}
	if (got != -EMFILE && got != -ENFILE)
		return;
	event_del(spawner->acceptable);
	evtimer_add(spawner->accept_again, (&(struct timeval){.tv_sec = 1}));
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct spawner *spawner = arg;

	(void)fd;
	(void)what;
	event_add(spawner->acceptable, NULL);
}

/* ---- start ---- */

/* Whatever we inherited beyond the standard fds and `keep` is none of ours. */
static void close_inherited(int keep)
{
	DIR *dir = opendir("/dev/fd");
	const struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		char *end_of;
		long fd = strtol(entry->d_name, &end_of, 10);

		if (*end_of || end_of == entry->d_name || fd <= STDERR_FILENO || fd == keep ||
			fd == dirfd(dir))
			continue;
		close((int)fd);
	}
	closedir(dir);
}

static int find_group(struct spawner *spawner)
{
	const struct group *group;

	if (!spawner->options->group)
		return 0;
	group = getgrnam(spawner->options->group);
	if (!group)
		return -ENOENT;
	spawner->has_group = true;
	spawner->group = group->gr_gid;
	return 0;
}

static int start_listening(struct spawner *spawner)
{
	const struct spawner_options *options = spawner->options;
	struct sockaddr_un un = {0};
	socklen_t len = sizeof(un);
	int fd = options->listen_fd;

	if (fd >= 0) {
		spawner->listen_fd = fd;
		os_set_nonblock(fd, true);
		if (options->owned && getsockname(fd, (struct sockaddr *)&un, &len) == 0 &&
			un.sun_family == AF_UNIX)
			snprintf(spawner->path, sizeof(spawner->path), "%.*s",
				(int)sizeof(un.sun_path), un.sun_path);
		return 0;
	}
	fd = unix_listen(options->listen, SOCK_STREAM, spawner->has_group ? 0660 : 0600);
	if (fd < 0)
		return fd;
	spawner->listen_fd = fd;
	snprintf(spawner->path, sizeof(spawner->path), "%s", options->listen);
	if (spawner->has_group && chown(options->listen, (uid_t)-1, spawner->group) < 0)
		return -errno;
	return 0;
}

static int make_events(struct spawner *spawner)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGCHLD};
	struct event_base *base = event_base_new();

	if (!base)
		return -ENOMEM;
	spawner->base = base;
	event_base_priority_init(base, 2);
	spawner->acceptable = event_new(
		base, spawner->listen_fd, EV_READ | EV_PERSIST, on_acceptable, spawner);
	spawner->accept_again = evtimer_new(base, on_accept_again, spawner);
	spawner->deadline = evtimer_new(base, on_deadline, spawner);
	spawner->lonely = event_new(base, -1, EV_PERSIST, on_lonely, spawner);
	if (!spawner->acceptable || !spawner->accept_again || !spawner->deadline ||
		!spawner->lonely)
		return -ENOMEM;
	for (int i = 0; i < 3; i++) {
		spawner->signals[i] = evsignal_new(
			base, signals[i], signals[i] == SIGCHLD ? on_child : on_signal, spawner);
		if (!spawner->signals[i] || evsignal_add(spawner->signals[i], NULL) < 0)
			return -ENOMEM;
	}
	if (spawner->options->owned)
		evtimer_add(spawner->lonely, (&(struct timeval){.tv_sec = LONELY_CHECK_S}));
	return event_add(spawner->acceptable, NULL);
}

static void clean_up(struct spawner *spawner)
{
	while (!LIST_EMPTY(&spawner->clients))
		client_free(LIST_FIRST(&spawner->clients));
	while (!LIST_EMPTY(&spawner->children))
		child_free(LIST_FIRST(&spawner->children));
	for (int i = 0; i < 3; i++) {
		if (spawner->signals[i])
			event_free(spawner->signals[i]);
	}
	if (spawner->acceptable)
		event_free(spawner->acceptable);
	if (spawner->accept_again)
		event_free(spawner->accept_again);
	if (spawner->deadline)
		event_free(spawner->deadline);
	if (spawner->lonely)
		event_free(spawner->lonely);
	if (spawner->base)
		event_base_free(spawner->base);
	if (spawner->listen_fd >= 0)
		close(spawner->listen_fd);
}

int spawner_run(const struct spawner_options *options)
{
	struct spawner spawner = {.options = options, .listen_fd = -1, .alone_since = clock_ms()};
	const char *what = options->group ? options->group : "";
	int err;

	close_inherited(options->listen_fd);
	signal(SIGPIPE, SIG_IGN);
	os_raise_nofile();
	err = find_group(&spawner);
	if (!err) {
		what = "own path";
		err = os_self_path(spawner.self, sizeof(spawner.self));
	}
	if (!err) {
		what = options->listen ? options->listen : "listening socket";
		err = start_listening(&spawner);
	}
	if (!err) {
		what = "event loop";
		err = make_events(&spawner);
	}
	if (err < 0) {
		log_error("spawner", "start.failed", "object=\"%s\" reason=\"%s\"", what,
			what == options->group ? "no such group" : errno_text(err));
		clean_up(&spawner);
		return EXIT_FAILURE;
	}
	log_info("spawner", "listening", "path=%s", *spawner.path ? spawner.path : "inherited");
	event_base_dispatch(spawner.base);
	clean_up(&spawner);
	return EXIT_SUCCESS;
}
