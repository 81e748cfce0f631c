/* SPDX-License-Identifier: MIT */
/* The worker's end of the control protocol: connections and events. See control.h. */
#include "dataplane/control.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/os.h"
#include "dataplane/control_internal.h"
#include "proto/wire.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENV_GET_MS 4000 /* within the guest's REQUEST's deadline */

/* ---- events ---- */

bool control_can_send(const struct control *control)
{
	return control->rpc && control->greeted;
}

void control_count_dropped(struct control *control)
{
	control->dropped_events++;
}

static void on_link_returned(void *arg, int fd)
{
	struct control *control = arg;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__LinkReturned returned = NETDP__LINK_RETURNED__INIT;

	if (control->returned_fd >= 0)
		close(control->returned_fd);
	control->returned_fd = fd;
	if (!control_can_send(control))
		return;
	env.body_case = NETDP__ENVELOPE__BODY_LINK_RETURNED;
	env.link_returned = &returned;
	if (rpc_event(control->rpc, &env, &fd, 1) < 0)
		control_count_dropped(control);
	close(fd);
	control->returned_fd = -1;
}

static void on_guest_seen(void *arg, const struct mac *mac)
{
	struct control *control = arg;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__GuestSeen seen = NETDP__GUEST_SEEN__INIT;

	if (!control_can_send(control))
		return; /* it is in the Description */
	seen.mac = wire_put_mac(mac);
	env.body_case = NETDP__ENVELOPE__BODY_GUEST_SEEN;
	env.guest_seen = &seen;
	if (rpc_event(control->rpc, &env, NULL, 0) < 0)
		control_count_dropped(control);
}

static void on_lease(void *arg, const struct worker_lease *lease)
{
	struct control *control = arg;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Lease msg;

	if (!control_can_send(control))
		return; /* it is in the Description */
	netdp__lease__init(&msg);
	msg.addr = wire_put_addr(&lease->addr);
	msg.mac = wire_put_mac(&lease->mac);
	msg.hostname = wire_put_text(lease->hostname);
	msg.since_ms = lease->since_ms;
	env.body_case = NETDP__ENVELOPE__BODY_LEASE;
	env.lease = &msg;
	if (rpc_event(control->rpc, &env, NULL, 0) < 0)
		control_count_dropped(control);
}

#define NAMES_A_MESSAGE 256

static void send_names(struct control *control, const struct worker_name *names, size_t count)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__NamesSeen seen = NETDP__NAMES_SEEN__INIT;
	Netdp__NamesSeen__Name list[NAMES_A_MESSAGE], *pointers[NAMES_A_MESSAGE];

	for (size_t i = 0; i < count; i++) {
		netdp__names_seen__name__init(&list[i]);
		list[i].addr = wire_put_addr(&names[i].addr);
		list[i].name = wire_put_text(names[i].name);
		list[i].until_ms = names[i].until_ms;
		pointers[i] = &list[i];
	}
	seen.names = pointers;
	seen.n_names = count;
	env.body_case = NETDP__ENVELOPE__BODY_NAMES_SEEN;
	env.names_seen = &seen;
	if (rpc_queued(control->rpc) > CONTROL_EVENTS_BACKLOG ||
		rpc_event(control->rpc, &env, NULL, 0) < 0)
		control_count_dropped(control);
}

static void on_names(void *arg, const struct worker_name *names, size_t count)
{
	struct control *control = arg;

	if (!control_can_send(control))
		return; /* all are sent again to the next netctld */
	for (size_t i = 0; i < count; i += NAMES_A_MESSAGE)
		send_names(control, names + i,
			count - i < NAMES_A_MESSAGE ? count - i : NAMES_A_MESSAGE);
}

/* ---- netctld ---- */

static void update_orphan(struct control *control)
{
	struct timeval tv = {.tv_sec = CONTROL_ORPHAN_MS / 1000};
	const struct worker_forward *forward;
	struct error err;
	int fd;

	if (control->rpc || control->lifeline) {
		evtimer_del(control->orphan);
		return;
	}
	if (evtimer_pending(control->orphan, NULL))
		return;
	log_warn(control->label, "orphaned", "forwards=%zu", worker_forward_count(control->worker));
	while ((forward = worker_forward_at(control->worker, 0, &fd))) {
		char id[sizeof(forward->id)];

		memcpy(id, forward->id, sizeof(id));
		if (worker_forward_delete(control->worker, id, &err) < 0)
			break;
	}
	vsock_close_listeners(worker_vsock(control->worker));
	evtimer_add(control->orphan, &tv);
}

static void on_orphan(evutil_socket_t fd, short what, void *arg)
{
	struct control *control = arg;

	(void)fd;
	(void)what;
	log_info(control->label, "ending", "reason=\"neither spawner nor netctld for 10 min\"");
	worker_shutdown(control->worker, false);
}

static void on_hello(void *arg, const Netdp__Hello *hello)
{
	struct control *control = arg;

	control->greeted = true;
	control_events_resume(control, hello);
	if (control->returned_fd >= 0) {
		int fd = control->returned_fd;

		control->returned_fd = -1;
		on_link_returned(control, fd);
	}
	if (!worker_configured(control->worker))
		return;
	worker_names_walk(control->worker, on_names, control);
	if (vsock_is_up(worker_vsock(control->worker)))
		control_vsock_session(control);
}

static void on_request(void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	control_request(arg, id, env, fds, n_fds);
}

static void on_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	(void)fds;
	(void)n_fds;
	if (env->body_case == NETDP__ENVELOPE__BODY_EVENTS_SEEN)
		control_events_seen(arg, env->events_seen->through);
}

static void on_netctld_closed(void *arg, int err, const char *text)
{
	struct control *control = arg;

	log_info(control->label, "netctld.left", "reason=\"%s\" code=%d", text, -err);
	rpc_free(control->rpc);
	control->rpc = NULL;
	control->greeted = false;
	control->reset = 0;
	update_orphan(control);
}

static const struct rpc_ops netctld_ops = {
	.hello = on_hello, .request = on_request, .event = on_event, .closed = on_netctld_closed};

/* Takes fd. */
static void connect_netctld(struct control *control, int fd)
{
	rpc_free(control->rpc);
	control->connection++;
	control->greeted = false;
	control->reset = 0; /* was the other's */
	control->rpc = rpc_new(control->base, fd, "worker", NULL, &netctld_ops, control);
	update_orphan(control);
}

/* ---- what the worker asks of netctld ---- */

static void on_env_document(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct control *control = arg;
	const Netdp__EnvDocument *msg = NULL;

	(void)fds;
	(void)n_fds;
	if (code == 0 && reply->body_case == NETDP__ENVELOPE__BODY_ENV_DOCUMENT)
		msg = reply->env_document;
	if (msg && msg->document.len) {
		worker_env_answer(control->worker, msg->document.data, msg->document.len);
		return;
	}
	log_warn(control->label, "env.missing", "reason=\"%s\" code=%d", text, -code);
	worker_env_answer(control->worker, NULL, 0);
}

static bool on_env_get(void *arg)
{
	struct control *control = arg;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__EnvGet get = NETDP__ENV_GET__INIT;

	if (!control_can_send(control))
		return false;
	env.body_case = NETDP__ENVELOPE__BODY_ENV_GET;
	env.env_get = &get;
	rpc_call(control->rpc, &env, NULL, 0, ENV_GET_MS, on_env_document, control);
	return true;
}

/* ---- the spawner ---- */

static void on_spawner_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct control *control = arg;
	int fd;

	if (env->body_case != NETDP__ENVELOPE__BODY_CONTROL_FRESH || n_fds != 1)
		return;
	fd = fds[0];
	fds[0] = -1;
	log_info(control->label, "netctld.fresh", "forwards=%zu",
		worker_forward_count(control->worker));
	connect_netctld(control, fd);
}

static void on_spawner_request(
	void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct control *control = arg;

	(void)fds;
	(void)n_fds;
	if (env->body_case != NETDP__ENVELOPE__BODY_SHUTDOWN) {
		rpc_reply_status(control->lifeline, id, -ENOSYS, "not a spawner's request");
		return;
	}
	rpc_reply_status(control->lifeline, id, 0, NULL);
	worker_shutdown(control->worker, env->shutdown->abrupt);
}

static void on_spawner_closed(void *arg, int err, const char *text)
{
	struct control *control = arg;

	log_info(control->label, "spawner.left", "reason=\"%s\" code=%d", text, -err);
	rpc_free(control->lifeline);
	control->lifeline = NULL;
	update_orphan(control);
}

static const struct rpc_ops spawner_ops = {
	.request = on_spawner_request, .event = on_spawner_event, .closed = on_spawner_closed};

/* ---- life ---- */

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct control *control = arg;

	(void)what;
	log_info(control->label, "ending", "signal=%d", sig);
	worker_shutdown(control->worker, false);
}

/* Says why there will be no worker, and nothing else, to a netctld that waits for one. */
static void last_words(int fd, const char *text)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Hello hello;
	Netdp__Status status;
	uint8_t *frame;
	size_t len;
	int err;

	netdp__hello__init(&hello);
	hello.version = RPC_VERSION;
	hello.program = wire_put_text("worker");
	hello.release = wire_put_text(NETCTL_VERSION);
	env.body_case = NETDP__ENVELOPE__BODY_HELLO;
	env.hello = &hello;
	frame = frame_pack(&env, &len, &err);
	if (frame)
		os_send(fd, frame, len, 0);
	frame_free(frame, frame ? len : 0);
	netdp__status__init(&status);
	status.code = EPERM;
	status.text = wire_put_text(text);
	env.body_case = NETDP__ENVELOPE__BODY_STATUS;
	env.status = &status;
	frame = frame_pack(&env, &len, &err);
	if (frame)
		os_send(fd, frame, len, 0);
	frame_free(frame, frame ? len : 0);
}

static int start(struct control *control, const struct control_options *options)
{
	static const int signals[] = {SIGTERM, SIGINT};
	control->worker_events = (struct worker_events){
		.arg = control,
		.link_changed = control_link_changed,
		.link_returned = on_link_returned,
		.guest_seen = on_guest_seen,
		.lease = on_lease,
		.names = on_names,
		.refused = control_refused,
		.proxy_trouble = control_proxy_trouble,
		.vsock_changed = control_vsock_changed,
		.vsock_session = control_vsock_session,
		.vsock_dial = control_vsock_dial,
		.env_get = on_env_get,
		.tsi = control_tsi_events(control),
	};

	control->worker = worker_new(&control->worker_events);
	if (!control->worker)
		return -ENOMEM;
	control->base = loop_base(worker_loop(control->worker));
	control->orphan = evtimer_new(control->base, on_orphan, control);
	if (!control->orphan)
		return -ENOMEM;
	for (int i = 0; i < 2; i++) {
		control->signals[i] = evsignal_new(control->base, signals[i], on_signal, control);
		if (!control->signals[i])
			return -ENOMEM;
		event_priority_set(control->signals[i], LOOP_CONTROL);
		if (event_add(control->signals[i], NULL) < 0)
			return -EIO;
	}
	control->lifeline = rpc_new(
		control->base, options->lifeline_fd, "worker", NULL, &spawner_ops, control);
	connect_netctld(control, options->control_fd);
	return control->rpc && control->lifeline ? 0 : -ENOMEM;
}

static void clean_up(struct control *control)
{
	rpc_free(control->rpc);
	control->rpc = NULL; /* the worker's end has answers for it */
	rpc_free(control->lifeline);
	control->rpc = control->lifeline =
		NULL; /* what the worker has to say at its end is for nobody */
	for (int i = 0; i < 2; i++) {
		if (control->signals[i])
			event_free(control->signals[i]);
	}
	if (control->orphan)
		event_free(control->orphan);
	if (control->worker)
		worker_free(control->worker);
	if (control->flow_memory >= 0)
		close(control->flow_memory);
	if (control->returned_fd >= 0)
		close(control->returned_fd);
	free(control);
}

int control_run(const struct control_options *options)
{
	const int keep[] = {options->control_fd, options->lifeline_fd};
	struct control *control = calloc(1, sizeof(*control));
	struct error err = {0};
	int code;

	if (!control)
		return EXIT_FAILURE;
	control->flow_memory = control->returned_fd = -1;
	control->since_ms = clock_wall_ms();
	control_events_begin(control);
	snprintf(control->label, sizeof(control->label), "vm/%s", options->vm);
	signal(SIGPIPE, SIG_IGN);
	os_raise_nofile();
	if (sandbox_enter(options->least, keep, 2, &control->sandbox, &err) < 0) {
		log_error(
			"worker", "sandbox.refused", "vm=%s reason=\"%s\"", options->vm, err.text);
		last_words(options->control_fd, err.text);
		_exit(EXIT_FAILURE);
	}
	code = start(control, options);
	if (code < 0) {
		log_error("worker", "start.failed", "vm=%s reason=\"%s\"", options->vm,
			errno_text(code));
		_exit(EXIT_FAILURE);
	}
	code = loop_run(worker_loop(control->worker));
	clean_up(control);
	return code < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
