/* SPDX-License-Identifier: MIT */
/* The vsock where the VMM owns the mux. See transport_hybrid.h. */
#include "dataplane/vsock/transport_hybrid.h"

#include "common/os.h"
#include "dataplane/acceptor.h"
#include "dataplane/vsock/env_socket.h"
#include "dataplane/vsock/line.h"
#include "dataplane/vsock/mux.h"
#include "dataplane/vsock/relay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct port {
	TAILQ_ENTRY(port) entry;
	struct vsock_hybrid *hybrid;
	struct acceptor acceptor;
	uint32_t port;
};

/* A connection of the guest's that netctld or the env service has not served yet. */
struct inbound {
	LIST_ENTRY(inbound) entry;
	struct vsock_hybrid *hybrid;
	int fd;                       /* the VMM's; -1 where env has it */
	struct vsock_env_socket *env; /* NULL: dial */
	struct vsock_dial dial;
	struct timer deadline; /* of the dial */
};

/*
 * A connection to the guest:
 *
 *	DIALLING ── netctld connected to PATH ─► CONNECT said, READING ── OK ─► RELAYED ─► over
 *	   └──────────────── no ──────────────────────── no ─► over
 */
struct outbound {
	LIST_ENTRY(outbound) entry;
	struct vsock_hybrid *hybrid;
	uint32_t port;
	struct relay_end host; /* its prefix is owned here until it is relayed */
	uint8_t *prefix;
	int vmm; /* -1: not connected yet */
	struct vsock_dial dial;
	struct vsock_line line;
	struct timer deadline; /* of the dial */
	bool relayed;
	struct vsock_conn_events events;
};

struct vsock_hybrid {
	struct loop *loop;
	struct counters *counters;
	struct vsock_dials *dials;
	struct vsock_env *env;
	struct relays *relays;
	bool on;
	struct accept_group group; /* a place is an inbound */
	TAILQ_HEAD(, port) ports;
	size_t n_ports;
	LIST_HEAD(, inbound) inbound;
	LIST_HEAD(, outbound) outbound;
	size_t asking; /* of outbound: not relayed yet */
};

/* ---- guest to host ---- */

static void inbound_free(struct inbound *in)
{
	struct vsock_hybrid *hybrid = in->hybrid;

	vsock_dial_cancel(hybrid->dials, &in->dial);
	timer_disarm(loop_wheel(hybrid->loop), &in->deadline);
	if (in->fd >= 0)
		close(in->fd);
	LIST_REMOVE(in, entry);
	free(in);
	accept_group_leave(&hybrid->group);
}

static void on_env_gone(void *arg)
{
	inbound_free(arg);
}

static void on_dialled(struct vsock_dial *dial, int fd, bool tcp)
{
	struct inbound *in = (struct inbound *)((char *)dial - offsetof(struct inbound, dial));
	struct vsock_hybrid *hybrid = in->hybrid;
	struct relay_end ends[2] = {{.fd = in->fd, .guest = true}, {.fd = fd, .tcp = tcp}};

	if (fd < 0) {
		counter_inc(hybrid->counters, COUNTER_VSOCK_REFUSED);
		inbound_free(in);
		return;
	}
	in->fd = -1;
	inbound_free(in);
	if (relays_start(hybrid->relays, ends, NULL, NULL) < 0)
		counter_inc(hybrid->counters, COUNTER_VSOCK_BOUNDS);
}

static void on_inbound_deadline(struct timer *timer)
{
	struct inbound *in = (struct inbound *)((char *)timer - offsetof(struct inbound, deadline));

	counter_inc(in->hybrid->counters, COUNTER_VSOCK_TIMEOUTS);
	inbound_free(in);
}

static void on_client(void *arg, int fd, const struct sockaddr *sa, socklen_t len)
{
	const struct port *port = arg;
	struct vsock_hybrid *hybrid = port->hybrid;
	struct inbound *in = calloc(1, sizeof(*in));

	(void)sa;
	(void)len;
	if (!in) {
		close(fd);
		return;
	}
	in->hybrid = hybrid;
	in->fd = fd;
	LIST_INSERT_HEAD(&hybrid->inbound, in, entry);
	accept_group_enter(&hybrid->group);
	counter_inc(hybrid->counters, COUNTER_VSOCK_IN);
	if (port->port == VSOCK_ENV_PORT) {
		in->fd = -1;
		in->env = vsock_env_socket_serve(hybrid->env, hybrid->loop, fd, on_env_gone, in);
		if (!in->env)
			inbound_free(in);
		return;
	}
	in->dial.port = port->port;
	in->dial.done = on_dialled;
	in->deadline.fire = on_inbound_deadline;
	timer_arm(loop_wheel(hybrid->loop), &in->deadline, VSOCK_REQUEST_MS);
	vsock_dial(hybrid->dials, &in->dial);
}

/* ---- host to guest ---- */

/* It did not come about, or is over. */
static void outbound_free(struct outbound *out)
{
	struct vsock_hybrid *hybrid = out->hybrid;
	struct vsock_conn_events events = out->events;

	vsock_dial_cancel(hybrid->dials, &out->dial);
	vsock_line_stop(&out->line);
	timer_disarm(loop_wheel(hybrid->loop), &out->deadline);
	if (out->vmm >= 0)
		close(out->vmm);
	if (out->host.fd >= 0)
		close(out->host.fd); /* a RST, by the linger option */
	if (!out->relayed)
		hybrid->asking--;
	LIST_REMOVE(out, entry);
	free(out->prefix);
	free(out);
	if (events.closed)
		events.closed(events.arg, NULL);
}

static void refused(struct outbound *out)
{
	counter_inc(out->hybrid->counters, COUNTER_VSOCK_REFUSED);
	outbound_free(out);
}

static void on_relay_ended(void *arg)
{
	outbound_free(arg);
}

static void on_line(struct vsock_line *line, int err)
{
	struct outbound *out = (struct outbound *)((char *)line - offsetof(struct outbound, line));
	struct relay_end ends[2] = {out->host,
		{.fd = out->vmm,
			.guest = true,
			.prefix = line->text + line->end,
			.prefix_len = (size_t)(line->len - line->end)}};
	uint32_t port;

	if (err == -ETIMEDOUT)
		counter_inc(out->hybrid->counters, COUNTER_VSOCK_TIMEOUTS);
	if (err < 0 || !vsock_line_ok(line->text, line->end, &port)) {
		refused(out);
		return;
	}
	out->host.fd = out->vmm = -1;
	if (relays_start(out->hybrid->relays, ends, on_relay_ended, out) < 0) {
		counter_inc(out->hybrid->counters, COUNTER_VSOCK_BOUNDS);
		outbound_free(out);
		return;
	}
	out->relayed = true;
	out->hybrid->asking--;
	free(out->prefix);
	out->prefix = NULL;
	if (out->events.opened)
		out->events.opened(out->events.arg, NULL);
}

static void on_vmm(struct vsock_dial *dial, int fd, bool tcp)
{
	struct outbound *out = (struct outbound *)((char *)dial - offsetof(struct outbound, dial));
	char text[VSOCK_LINE_MAX];
	int len = snprintf(text, sizeof(text), "CONNECT %u\n", out->port);

	(void)tcp;
	timer_disarm(loop_wheel(out->hybrid->loop), &out->deadline);
	out->vmm = fd;
	/* It is the first that is written to the socket, so it fits. */
	if (fd < 0 || os_send(fd, text, (size_t)len, 0) != len ||
		vsock_line_read(&out->line, out->hybrid->loop, fd) < 0)
		refused(out);
}

static void on_outbound_deadline(struct timer *timer)
{
	struct outbound *out =
		(struct outbound *)((char *)timer - offsetof(struct outbound, deadline));

	counter_inc(out->hybrid->counters, COUNTER_VSOCK_TIMEOUTS);
	refused(out);
}

static struct outbound *outbound_new(const struct vsock_host *host)
{
	struct outbound *out = calloc(1, sizeof(*out));

	if (!out || !host->prefix_len)
		return out;
	out->prefix = malloc(host->prefix_len);
	if (!out->prefix) {
		free(out);
		return NULL;
	}
	memcpy(out->prefix, host->prefix, host->prefix_len);
	return out;
}

int vsock_hybrid_open(struct vsock_hybrid *hybrid, uint32_t port, const struct vsock_host *host,
	const struct vsock_conn_events *events)
{
	bool room = relays_count(hybrid->relays) + hybrid->asking < VSOCK_CONNS_MAX;
	struct outbound *out = hybrid->on && room ? outbound_new(host) : NULL;

	if (!out) {
		close(host->fd);
		if (!hybrid->on)
			return -ENOTCONN;
		return room ? -ENOMEM : -EMFILE;
	}
	out->hybrid = hybrid;
	out->port = port;
	out->host = (struct relay_end){.fd = host->fd,
		.tcp = host->tcp,
		.prefix = out->prefix,
		.prefix_len = host->prefix_len};
	out->vmm = -1;
	out->dial.vmm = true;
	out->dial.done = on_vmm;
	out->line.done = on_line;
	out->deadline.fire = on_outbound_deadline;
	if (events)
		out->events = *events;
	LIST_INSERT_HEAD(&hybrid->outbound, out, entry);
	hybrid->asking++;
	timer_arm(loop_wheel(hybrid->loop), &out->deadline, VSOCK_REQUEST_MS);
	vsock_dial(hybrid->dials, &out->dial);
	counter_inc(hybrid->counters, COUNTER_VSOCK_OUT);
	return 0;
}

/* ---- ports ---- */

static struct port *find(const struct vsock_hybrid *hybrid, uint32_t number)
{
	struct port *port;

	TAILQ_FOREACH(port, &hybrid->ports, entry) {
		if (port->port == number)
			break;
	}
	return port;
}

static void port_free(struct port *port)
{
	TAILQ_REMOVE(&port->hybrid->ports, port, entry);
	port->hybrid->n_ports--;
	acceptor_stop(&port->acceptor);
	free(port);
}

int vsock_hybrid_listen(struct vsock_hybrid *hybrid, uint32_t number, int fd)
{
	struct port *old = find(hybrid, number), *port = NULL;
	int err = -ENOTSUP;

	if (hybrid->on)
		err = hybrid->n_ports < VSOCK_HYBRID_PORTS_MAX || old ? -ENOMEM : -ENOSPC;
	if (err == -ENOMEM)
		port = calloc(1, sizeof(*port));
	if (!port) {
		close(fd);
		return err;
	}
	port->hybrid = hybrid;
	port->port = number;
	port->acceptor.arg = port;
	port->acceptor.client = on_client;
	err = acceptor_start(&port->acceptor, &hybrid->group, fd);
	if (err < 0) {
		free(port);
		return err;
	}
	if (old)
		port_free(old);
	TAILQ_INSERT_TAIL(&hybrid->ports, port, entry);
	hybrid->n_ports++;
	return 0;
}

int vsock_hybrid_unlisten(struct vsock_hybrid *hybrid, uint32_t number)
{
	struct port *port = find(hybrid, number);

	if (!port)
		return -ENOENT;
	port_free(port);
	return 0;
}

void vsock_hybrid_unlisten_all(struct vsock_hybrid *hybrid)
{
	while (!TAILQ_EMPTY(&hybrid->ports))
		port_free(TAILQ_FIRST(&hybrid->ports));
}

size_t vsock_hybrid_port_count(const struct vsock_hybrid *hybrid)
{
	return hybrid->n_ports;
}

bool vsock_hybrid_port_at(
	const struct vsock_hybrid *hybrid, size_t index, uint32_t *number, int *fd)
{
	const struct port *port = TAILQ_FIRST(&hybrid->ports);

	while (port && index--)
		port = TAILQ_NEXT(port, entry);
	if (!port)
		return false;
	*number = port->port;
	*fd = port->acceptor.fd;
	return true;
}

/* ---- life ---- */

void vsock_hybrid_reset(struct vsock_hybrid *hybrid)
{
	struct inbound *in;

	while ((in = LIST_FIRST(&hybrid->inbound))) {
		if (in->env)
			vsock_env_socket_stop(in->env);
		else
			inbound_free(in);
	}
	relays_reset(hybrid->relays); /* and so the outbound that are relayed */
	while (!LIST_EMPTY(&hybrid->outbound))
		outbound_free(LIST_FIRST(&hybrid->outbound));
}

void vsock_hybrid_set(struct vsock_hybrid *hybrid, bool on)
{
	vsock_hybrid_reset(hybrid);
	if (!on)
		vsock_hybrid_unlisten_all(hybrid);
	hybrid->on = on;
}

bool vsock_hybrid_is_on(const struct vsock_hybrid *hybrid)
{
	return hybrid->on;
}

size_t vsock_hybrid_count(const struct vsock_hybrid *hybrid)
{
	return relays_count(hybrid->relays);
}

size_t vsock_hybrid_pending(const struct vsock_hybrid *hybrid)
{
	return hybrid->group.under_way + hybrid->asking;
}

void vsock_hybrid_set_limits(struct vsock_hybrid *hybrid, struct limits *limits)
{
	relays_set_limits(hybrid->relays, limits);
}

struct vsock_hybrid *vsock_hybrid_new(struct loop *loop, struct counters *counters,
	struct vsock_dials *dials, struct vsock_env *env)
{
	struct vsock_hybrid *hybrid = calloc(1, sizeof(*hybrid));

	if (!hybrid)
		return NULL;
	hybrid->relays = relays_new(loop, counters, VSOCK_CONNS_MAX);
	if (!hybrid->relays) {
		free(hybrid);
		return NULL;
	}
	hybrid->loop = loop;
	hybrid->counters = counters;
	hybrid->dials = dials;
	hybrid->env = env;
	accept_group_init(&hybrid->group, loop, counters, COUNTER_VSOCK_NO_FDS);
	TAILQ_INIT(&hybrid->ports);
	return hybrid;
}

void vsock_hybrid_free(struct vsock_hybrid *hybrid)
{
	if (!hybrid)
		return;
	vsock_hybrid_set(hybrid, false);
	accept_group_close(&hybrid->group);
	relays_free(hybrid->relays);
	free(hybrid);
}
