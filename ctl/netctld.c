/* SPDX-License-Identifier: MIT */
/*
 * The daemon's start and end. See netctld.h.
 *
 * Start: directories and lock, store, VMs without sockets, supervisor. Once the supervisor has told of
 * its spawner (live workers are adopted by then) or PATIENCE_MS have passed, VMs are settled and
 * api.sock opens, so that the first answer already knows how things are.
 *
 * End, on SIGTERM or SIGINT: the sockets close, the supervisor ends what it started, and the program
 * exits within 2 s. A spawner that somebody else runs keeps its workers, whose sockets keep their
 * paths.
 */
#include "ctl/netctld.h"

#include "common/log.h"
#include "common/os.h"
#include "common/unix_socket.h"
#include "common/wiping.h"
#include "ctl/api/gvproxy.h"
#include "ctl/api/metrics_listen.h"
#include "ctl/api/server.h"
#include "ctl/attach.h"
#include "ctl/host_addrs.h"
#include "ctl/host_proxy.h"
#include "ctl/notify.h"
#include "ctl/proxy_names.h"
#include "ctl/resolv_conf.h"
#include "ctl/secret_key.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 1500
#define STOP_MS 1900
#define LONGEST_BELOW "/vms//vsock.sock" /* and a VM's name */

static int fail(const struct error *err)
{
	fprintf(stderr, "netctld: %s\n", err->text);
	return -1;
}

/* ---- directories ---- */

/* mkdir -p; what exists is left as it is. */
static int make_directory(const char *path, mode_t mode, struct error *err)
{
	char part[PATH_MAX];
	struct stat st;

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return error_set(
				err, 500, NULL, "directory %s: %s", part, errno_text(errno));
		*p = '/';
	}
	if (mkdir(part, mode) == 0) {
		chmod(part, mode); /* whatever our umask */
		return 0;
	}
	if (errno != EEXIST)
		return error_set(err, 500, NULL, "directory %s: %s", path, errno_text(errno));
	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return error_set(err, 500, NULL, "directory %s: not a directory", path);
	if (access(path, W_OK | X_OK) < 0)
		return error_set(
			err, 500, NULL, "directory %s: not writable: %s", path, errno_text(errno));
	return 0;
}

static int check_length(const char *runtime_dir, struct error *err)
{
	size_t room = unix_path_max() - strlen(LONGEST_BELOW) - VM_NAME_MAX;

	if (strlen(runtime_dir) <= room)
		return 0;
	return error_set(err, 500, NULL,
		"runtime directory %s: %zu bytes are too long for the unix sockets below it (at most %zu)",
		runtime_dir, strlen(runtime_dir), room);
}

static int lock_state(struct netctld *d, struct error *err)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/lock", d->options.state_dir);
	d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (d->lock < 0)
		return error_set(err, 500, NULL, "state directory %s: not writable: %s",
			d->options.state_dir, errno_text(errno));
	if (flock(d->lock, LOCK_EX | LOCK_NB) < 0)
		return error_set(err, 500, NULL, "state directory %s: another netctld uses it",
			d->options.state_dir);
	return 0;
}

static gid_t find_group(const char *name)
{
	const struct group *group = *name ? getgrnam(name) : NULL;

	return group ? group->gr_gid : (gid_t)-1;
}

static int open_directories(struct netctld *d, struct error *err)
{
	const char *runtime = d->options.runtime_dir;
	char vms[PATH_MAX + 8];

	snprintf(vms, sizeof(vms), "%s/vms", runtime);
	if (check_length(runtime, err) < 0 || make_directory(d->options.state_dir, 0700, err) < 0 ||
		make_directory(runtime, 0750, err) < 0 || make_directory(vms, 0750, err) < 0)
		return -1;
	d->vms.group = find_group(d->options.group);
	if (d->vms.group != (gid_t)-1 &&
		(chown(runtime, (uid_t)-1, d->vms.group) < 0 ||
			chown(vms, (uid_t)-1, d->vms.group) < 0))
		log_debug("netctld", "chown.failed", "path=%s", runtime);
	return lock_state(d, err);
}

/* ---- serving ---- */

static int open_socket(struct netctld *d, const char *name, struct error *err)
{
	char path[PATH_MAX + 16];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", d->options.runtime_dir, name);
	fd = unix_listen(path, SOCK_STREAM, 0660);
	if (fd == -EADDRINUSE)
		return error_set(err, 500, NULL, "%s: another netctld serves it", path);
	if (fd < 0)
		return error_set(err, 500, NULL, "%s: %s", path, errno_text(fd));
	if (d->vms.group != (gid_t)-1 && chown(path, (uid_t)-1, d->vms.group) < 0)
		log_debug("netctld", "chown.failed", "path=%s", path);
	return fd;
}

static void close_socket(struct netctld *d, const char *name)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s", d->options.runtime_dir, name);
	unlink(path);
}

static int open_sockets(struct netctld *d, struct error *err)
{
	int fd = open_socket(d, "attach.sock", err);

	if (fd < 0)
		return -1;
	d->attach = attach_new(d, fd);
	if (gvproxy_start(d) < 0)
		return error_set(err, 500, NULL, "out of memory");
	if (metrics_listen(d, &d->metrics, err) < 0)
		return -1;
	/* Last: who finds api.sock may rely on the other. */
	fd = open_socket(d, "api.sock", err);
	if (fd < 0)
		return -1;
	d->api = api_new(d, api_route);
	if (d->api && d->attach && api_listen(d->api, fd))
		return 0;
	return error_set(err, 500, NULL, "out of memory");
}

static void serve(struct netctld *d)
{
	struct error err;

	if (d->serving || d->stopping)
		return;
	d->serving = true;
	evtimer_del(d->patience);
	vms_settle(&d->vms);
	if (open_sockets(d, &err) < 0) {
		d->status = 1;
		fail(&err);
		event_base_loopbreak(d->base);
		return;
	}
	log_info("netctld", "ready", "version=%s runtime=%s state=%s vms=%zu", NETCTL_VERSION,
		d->options.runtime_dir, d->options.state_dir, d->vms.n);
	notify_service("READY=1");
}

static void on_spawner(void *arg, bool up, const char *text)
{
	struct netctld *d = arg;

	if (up)
		log_info("spawner", "spawner.up", "%s", "");
	else
		log_warn("spawner", "spawner.down", "reason=\"%s\"", text);
	serve(d);
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
	struct netctld *d = arg;

	(void)fd;
	(void)what;
	if (d->stopping)
		event_base_loopbreak(d->base);
	else
		serve(d);
}

/* ---- stopping ---- */

static void on_stopped(void *arg)
{
	struct netctld *d = arg;

	event_base_loopbreak(d->base);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	static const struct timeval limit = {
		.tv_sec = STOP_MS / 1000, .tv_usec = STOP_MS % 1000 * 1000};
	struct netctld *d = arg;

	(void)what;
	if (number == SIGHUP) {
		if (options_reread_log_level(&d->options) == 0)
			log_init(d->options.log_level);
		log_info("netctld", "reloaded", "%s", "");
		return;
	}
	if (d->stopping)
		return;
	d->stopping = true;
	log_info("netctld", "stopping", "signal=%d", (int)number);
	notify_service("STOPPING=1");
	api_free(d->api);
	api_free(d->metrics);
	gvproxy_stop(d);
	attach_free(d->attach);
	d->api = d->metrics = NULL;
	d->attach = NULL;
	if (d->serving) {
		close_socket(d, "api.sock");
		close_socket(d, "attach.sock");
	}
	evtimer_add(d->patience, &limit);
	supervisor_stop(d->supervisor, on_stopped, d);
}

/* ---- putting it together ---- */

static void on_own_addrs(void *arg, const struct prefix *own, size_t n)
{
	struct netctld *d = arg;

	vms_set_own_addrs(&d->vms, own, n);
}

static void on_upstreams(void *arg, const struct endpoint *servers, size_t n)
{
	struct netctld *d = arg;

	vms_set_upstreams(&d->vms, servers, n);
	if (d->vms.proxy_names)
		proxy_names_servers_changed(d->vms.proxy_names);
}

static int open_records(struct netctld *d, struct error *err)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/netctl.db", d->options.state_dir);
	if (store_open(path, &d->store, err) < 0)
		return -1;
	/* Networks work without secrets: these then fail, each with the reason. */
	if (secret_key_open(d->store, d->options.state_dir, &d->vms.key, err) < 0) {
		log_error("secrets", "key.unusable", "reason=\"%s\"", err->text);
		memcpy(d->vms.key_error, err->text, sizeof(d->vms.key_error));
	}
	d->events = events_new(d->base, d->store, err);
	return d->events ? 0 : -1;
}

static int open_loop(struct netctld *d, struct error *err)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

	signal(SIGPIPE, SIG_IGN);
	d->base = event_base_new();
	if (!d->base)
		return error_set(err, 500, NULL, "no event loop");
	for (size_t i = 0; i < 3; i++) {
		d->signals[i] = evsignal_new(d->base, numbers[i], on_signal, d);
		event_add(d->signals[i], NULL);
	}
	d->patience = evtimer_new(d->base, on_patience, d);
	return 0;
}

static int open_supervisor(struct netctld *d, struct error *err)
{
	static const struct supervisor_ops ops = {.spawner = on_spawner};
	struct supervisor_config config = {
		.runtime_dir = d->options.runtime_dir,
		.netdp = d->options.netdp[0] ? d->options.netdp : NULL,
		.sandbox_weak = d->options.sandbox_weak,
	};

	d->supervisor = supervisor_new(d->base, &config, &ops, d);
	return d->supervisor ? 0 : error_set(err, 500, NULL, "out of memory");
}

static int start(struct netctld *d, struct error *err)
{
	static const struct timeval limit = {
		.tv_sec = PATIENCE_MS / 1000, .tv_usec = PATIENCE_MS % 1000 * 1000};

	if (open_directories(d, err) < 0 || open_loop(d, err) < 0 || open_records(d, err) < 0 ||
		open_supervisor(d, err) < 0)
		return -1;
	d->vms.base = d->base;
	d->vms.store = d->store;
	d->vms.events = d->events;
	d->vms.supervisor = d->supervisor;
	d->vms.runtime_dir = d->options.runtime_dir;
	vms_init(&d->vms);
	d->host_addrs = host_addrs_new(d->base, on_own_addrs, d);
	d->resolv_conf = resolv_conf_new(d->base, "/etc/resolv.conf", on_upstreams, d);
	d->vms.proxy_names = proxy_names_new(d->base, vms_proxy_name_changed, &d->vms);
	d->vms.host_proxies = host_proxies_new(
		d->base, d->options.config, vms_host_proxy_changed, &d->vms);
	if (!d->host_addrs || !d->resolv_conf || !d->vms.proxy_names || !d->vms.host_proxies)
		return error_set(err, 500, NULL, "out of memory");
	if (vms_restore(&d->vms, err) < 0)
		return -1;
	evtimer_add(d->patience, &limit);
	supervisor_start(d->supervisor);
	return 0;
}

static void end(struct netctld *d)
{
	api_free(d->api);
	api_free(d->metrics);
	gvproxy_stop(d);
	attach_free(d->attach);
	host_addrs_free(d->host_addrs);
	resolv_conf_free(d->resolv_conf);
	if (d->vms.housekeeping)
		vms_free(&d->vms);
	if (d->supervisor)
		supervisor_free(d->supervisor);
	host_proxies_free(d->vms.host_proxies);
	proxy_names_free(d->vms.proxy_names);
	events_free(d->events);
	secret_key_free(d->vms.key);
	store_close(d->store);
	for (size_t i = 0; i < 3; i++) {
		if (d->signals[i])
			event_free(d->signals[i]);
	}
	if (d->patience)
		event_free(d->patience);
	if (d->base)
		event_base_free(d->base);
	if (d->lock >= 0)
		close(d->lock);
}

int netctld_run(struct netctld *d)
{
	struct error err;

	umask(0077);
	log_init(d->options.log_level);
	/* Secrets come through our memory: no dump of it, and libevent, whose buffers they come in,
	 * wipes them. */
	if (os_no_dump() < 0)
		log_warn("netctld", "dumps.possible", "%s", "");
	event_set_mem_functions(wiping_malloc, wiping_realloc, wiping_free);
	os_raise_nofile();
	d->lock = -1;
	d->vms.group = (gid_t)-1;
	if (start(d, &err) < 0)
		d->status = fail(&err) < 0 ? 1 : 0;
	else
		event_base_dispatch(d->base);
	end(d);
	return d->status;
}
