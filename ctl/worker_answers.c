/* SPDX-License-Identifier: MIT */
/*
 * What a worker says, read as if a guest had written it: whatever is not as the protocol wants it
 * gives -EPROTO to the request, or, in an event, ends the connection (and so the worker).
 */
#include "ctl/worker_client_internal.h"

#include "common/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES_MAX 65536
#define NAMES_A_MESSAGE_MAX 4096
#define COUNTERS_MAX 1024
#define TOLD_MAX 2048 /* within TOLD_MS; a worker may tell 512 again at once */
#define TOLD_MS 10000

void *worker_client_alloc(size_t n, size_t size)
{
	void *out = calloc(n ? n : 1, size);

	if (!out)
		abort();
	return out;
}

/* ---- parts ---- */

static bool read_link_kind(Netdp__LinkKind kind, enum worker_link_kind *out)
{
	if ((unsigned)kind > NETDP__LINK_KIND__LINK_TAP)
		return false;
	*out = (enum worker_link_kind)kind;
	return true;
}

static bool read_proto(Netdp__Proto proto, int *out)
{
	*out = (int)proto;
	return proto == NETDP__PROTO__PROTO_TCP || proto == NETDP__PROTO__PROTO_UDP ||
		proto == NETDP__PROTO__PROTO_ICMP;
}

static bool read_lease(const Netdp__Lease *msg, struct worker_lease *lease)
{
	lease->since_ms = msg->since_ms;
	return wire_get_addr(msg->addr, &lease->addr) && wire_get_mac(msg->mac, &lease->mac) &&
		wire_get_text(msg->hostname, lease->hostname, sizeof(lease->hostname));
}

/* NULL where one is malformed; else to be freed. */
static struct worker_name *read_names(const Netdp__NamesSeen *msg, size_t max)
{
	struct worker_name *names;

	if (msg->n_names > max)
		return NULL;
	names = worker_client_alloc(msg->n_names, sizeof(*names));
	for (size_t i = 0; i < msg->n_names; i++) {
		const Netdp__NamesSeen__Name *name = msg->names[i];

		names[i].until_ms = name->until_ms;
		if (!wire_get_addr(name->addr, &names[i].addr) ||
			!wire_get_text(name->name, names[i].name, sizeof(names[i].name))) {
			free(names);
			return NULL;
		}
	}
	return names;
}

/* ---- events ---- */

static bool on_link_changed(struct worker_client *client, const Netdp__LinkChanged *msg)
{
	struct worker_link_event event = {.up = msg->up, .refused = msg->refused};

	if (!read_link_kind(msg->kind, &event.kind))
		return false;
	wire_get_remark(msg->text, event.text, sizeof(event.text));
	if (client->events->link_changed)
		client->events->link_changed(client->events_arg, &event);
	return true;
}

static bool on_guest_seen(struct worker_client *client, const Netdp__GuestSeen *msg)
{
	struct mac mac;

	if (!wire_get_mac(msg->mac, &mac))
		return false;
	if (client->events->guest_seen)
		client->events->guest_seen(client->events_arg, &mac);
	return true;
}

static bool on_lease(struct worker_client *client, const Netdp__Lease *msg)
{
	struct worker_lease lease;

	if (!read_lease(msg, &lease))
		return false;
	if (client->events->lease)
		client->events->lease(client->events_arg, &lease);
	return true;
}

static bool on_names_seen(struct worker_client *client, const Netdp__NamesSeen *msg)
{
	struct worker_name *names = read_names(msg, NAMES_A_MESSAGE_MAX);

	if (!names)
		return false;
	if (client->events->names_seen)
		client->events->names_seen(client->events_arg, names, msg->n_names);
	free(names);
	return true;
}

static bool on_flow_refused(struct worker_client *client, const Netdp__FlowRefused *msg)
{
	struct worker_refused_event event = {.rule = msg->rule, .count = msg->count};

	/* The rest of many has neither protocol nor address. */
	if ((msg->proto != NETDP__PROTO__PROTO_NONE && !read_proto(msg->proto, &event.proto)) ||
		!wire_get_endpoint(msg->addr, msg->port, &event.to))
		return false;
	wire_get_remark(msg->name, event.name, sizeof(event.name));
	if (client->events->flow_refused)
		client->events->flow_refused(client->events_arg, &event);
	return true;
}

static bool on_proxy_trouble(struct worker_client *client, const Netdp__ProxyTrouble *msg)
{
	char reason[128];

	wire_get_remark(msg->reason, reason, sizeof(reason));
	if (msg->server >= WORKER_PROXIES_MAX)
		return false;
	if (client->events->proxy_trouble)
		client->events->proxy_trouble(client->events_arg, msg->server, reason, msg->count);
	return true;
}

static bool on_link_returned(struct worker_client *client, int *fds, size_t n_fds)
{
	if (n_fds != 1)
		return false;
	if (client->events->link_returned)
		client->events->link_returned(client->events_arg, &fds[0]);
	return true;
}

/* What becomes an event each time; refusals and a guest's listeners are gathered, and names are none. A
 * worker that tells more of it than any VMM could cause would soon have told away the events of all VMs. */
static bool is_told_each_time(const Netdp__Envelope *env)
{
	return env->body_case == NETDP__ENVELOPE__BODY_LINK_CHANGED ||
		env->body_case == NETDP__ENVELOPE__BODY_LINK_RETURNED ||
		env->body_case == NETDP__ENVELOPE__BODY_VSOCK_CHANGED ||
		env->body_case == NETDP__ENVELOPE__BODY_VHOST_SESSION ||
		env->body_case == NETDP__ENVELOPE__BODY_PROXY_TROUBLE;
}

static bool within_budget(struct worker_client *client)
{
	uint64_t now = clock_ms();

	if (!client->n_told || now - client->events_since >= TOLD_MS) {
		client->events_since = now;
		client->n_told = 0;
	}
	return ++client->n_told <= TOLD_MAX;
}

void worker_client_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct worker_client *client = arg;
	bool good = true;

	if (env->number > INT64_MAX) { /* none that the store could keep */
		rpc_abort(client->rpc, -EPROTO, "a malformed event");
		return;
	}
	if (env->number && client->events->number &&
		!client->events->number(client->events_arg, env->number))
		return;
	if (is_told_each_time(env) && !within_budget(client)) {
		rpc_abort(client->rpc, -EPROTO, "too many events");
		return;
	}
	switch (env->body_case) {
	case NETDP__ENVELOPE__BODY_STATUS:
		wire_get_remark(env->status->text, client->last_words, sizeof(client->last_words));
		return;
	case NETDP__ENVELOPE__BODY_LINK_CHANGED:
		good = on_link_changed(client, env->link_changed);
		break;
	case NETDP__ENVELOPE__BODY_GUEST_SEEN:
		good = on_guest_seen(client, env->guest_seen);
		break;
	case NETDP__ENVELOPE__BODY_LEASE:
		good = on_lease(client, env->lease);
		break;
	case NETDP__ENVELOPE__BODY_NAMES_SEEN:
		good = on_names_seen(client, env->names_seen);
		break;
	case NETDP__ENVELOPE__BODY_FLOW_REFUSED:
		good = on_flow_refused(client, env->flow_refused);
		break;
	case NETDP__ENVELOPE__BODY_PROXY_TROUBLE:
		good = on_proxy_trouble(client, env->proxy_trouble);
		break;
	case NETDP__ENVELOPE__BODY_LINK_RETURNED:
		good = on_link_returned(client, fds, n_fds);
		break;
	case NETDP__ENVELOPE__BODY_VHOST_SESSION:
		good = worker_client_vhost_session(client, env->vhost_session, fds, n_fds);
		break;
	default:
		worker_client_vsock_event(client, env, &good); /* or of a later version */
	}
	/* No callback frees the client when it is told good news; see worker_client.h. */
	if (!good)
		rpc_abort(client->rpc, -EPROTO, "a malformed event");
}

/* ---- Describe ---- */

struct describe_call {
	worker_description_fn *done;
	void *arg;
};

static bool read_config(const Netdp__Configure *msg, struct worker_description *out)
{
	if (!wire_get_text(msg->vm, out->vm, sizeof(out->vm)) ||
		!wire_get_prefix(msg->subnet, msg->subnet_bits, &out->subnet) ||
		!wire_get_addr(msg->gateway, &out->gateway) ||
		!wire_get_addr(msg->guest, &out->guest))
		return false;
	out->guest_mac_known = msg->guest_mac.len != 0;
	if (out->guest_mac_known && !wire_get_mac(msg->guest_mac, &out->guest_mac))
		return false;
	out->guest_mac_fixed = msg->guest_mac_fixed;
	out->mtu = msg->mtu;
	out->host_access = msg->host_access;
	out->has_lease = msg->lease != NULL;
	return out->mtu <= 65535 && (!out->has_lease || read_lease(msg->lease, &out->lease));
}

/* Points *slot of the description at one of the fds, in the order that the protocol gives. */
static bool next_fd(bool has, const int *fds, size_t n_fds, size_t *used, int *out)
{
	*out = -1;
	if (!has)
		return true;
	if (*used >= n_fds)
		return false;
	*out = fds[(*used)++];
	return true;
}

static bool read_description(
	const Netdp__Description *msg, const int *fds, size_t n_fds, struct worker_description *out)
{
	size_t used = 0;

	out->configured = msg->configured;
	out->since_ms = msg->since_ms;
	if (!wire_get_text(msg->sandbox, out->sandbox, sizeof(out->sandbox)))
		return false;
	if (!out->configured)
		return n_fds == 0;
	if (!msg->config || !msg->link || !read_config(msg->config, out) ||
		!read_link_kind(msg->link->kind, &out->link))
		return false;
	out->link_up = msg->link_up;
	return next_fd(msg->has_listener, fds, n_fds, &used, &out->link_listener) &&
		next_fd(msg->has_connected, fds, n_fds, &used, &out->link_connected) &&
		next_fd(msg->has_flow_memory, fds, n_fds, &used, &out->flow_memory) &&
		used == n_fds;
}

/* Tells the channel which fds were taken: it closes those that still stand in its list. */
static void settle_fds(const struct worker_description *given, int *fds, size_t n_fds)
{
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i] != given->link_listener && fds[i] != given->link_connected &&
			fds[i] != given->flow_memory)
			fds[i] = -1;
	}
}

static void on_description(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct describe_call *call = arg;
	struct worker_description description = {
		.link_listener = -1, .link_connected = -1, .flow_memory = -1};
	struct worker_name *names = NULL;
	char remark[512];

	wire_get_remark(text, remark, sizeof(remark));
	if (code == 0 &&
		(reply->body_case != NETDP__ENVELOPE__BODY_DESCRIPTION ||
			!read_description(reply->description, fds, n_fds, &description))) {
		code = -EPROTO;
		snprintf(remark, sizeof(remark), "a malformed description");
	}
	if (code == 0 && description.configured && reply->description->config->names) {
		names = read_names(reply->description->config->names, NAMES_MAX);
		description.names = names;
		description.n_names = names ? reply->description->config->names->n_names : 0;
	}
	call->done(call->arg, code, remark, code == 0 ? &description : NULL);
	if (code == 0)
		settle_fds(&description, fds, n_fds);
	free(names);
	free(call);
}

void worker_client_describe(struct worker_client *client, worker_description_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Describe msg = NETDP__DESCRIBE__INIT;
	struct describe_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct describe_call){done, arg};
	env.body_case = NETDP__ENVELOPE__BODY_DESCRIBE;
	env.describe = &msg;
	rpc_call(client->rpc, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, on_description, call);
}

/* ---- Forwards, page by page ---- */

struct forwards_call {
	struct worker_client *client;
	worker_forwards_fn *done;
	void *arg;
	struct worker_forward *forwards;
	size_t n;
};

static void ask_forwards(struct forwards_call *call);

static void finish_forwards(struct forwards_call *call, int code, const char *text)
{
	call->done(
		call->arg, code, text, code == 0 ? call->forwards : NULL, code == 0 ? call->n : 0);
	for (size_t i = 0; i < call->n; i++) {
		if (call->forwards[i].fd >= 0)
			close(call->forwards[i].fd);
	}
	free(call->forwards);
	free(call);
}

static bool read_forward(const Netdp__ForwardAdd *msg, struct worker_forward *out)
{
	if (!wire_get_text(msg->id, out->id, sizeof(out->id)) || !*out->id ||
		!read_proto(msg->proto, &out->proto) || out->proto == NETDP__PROTO__PROTO_ICMP)
		return false;
	if (!msg->unix_listener && !wire_get_endpoint(msg->addr, msg->port, &out->listen))
		return false;
	if (!msg->target || !worker_target_read(msg->target, &out->target))
		return false;
	out->unix_listener = msg->unix_listener;
	out->snat = msg->snat;
	return true;
}

/* Appends a page; its fds become ours one by one. */
static bool read_forwards(
	struct forwards_call *call, const Netdp__Forwards *msg, int *fds, size_t n_fds)
{
	if (msg->n_forwards != n_fds || msg->total > WORKER_FORWARDS_MAX ||
		call->n + msg->n_forwards > WORKER_FORWARDS_MAX)
		return false;
	for (size_t i = 0; i < msg->n_forwards; i++) {
		struct worker_forward forward = {0};

		if (!read_forward(msg->forwards[i], &forward))
			return false;
		forward.fd = fds[i];
		fds[i] = -1;
		call->forwards[call->n++] = forward;
	}
	return true;
}

static void on_forwards(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct forwards_call *call = arg;
	char remark[512];

	wire_get_remark(text, remark, sizeof(remark));
	if (code == 0 &&
		(reply->body_case != NETDP__ENVELOPE__BODY_FORWARDS ||
			!read_forwards(call, reply->forwards, fds, n_fds)))
		finish_forwards(call, -EPROTO, "a malformed list of forwards");
	else if (code == 0 && reply->forwards->n_forwards && call->n < reply->forwards->total)
		ask_forwards(call);
	else
		finish_forwards(call, code, remark);
}

static void ask_forwards(struct forwards_call *call)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ForwardsGet msg = NETDP__FORWARDS_GET__INIT;

	msg.skip = (uint32_t)call->n;
	env.body_case = NETDP__ENVELOPE__BODY_FORWARDS_GET;
	env.forwards_get = &msg;
	rpc_call(call->client->rpc, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, on_forwards, call);
}

void worker_client_forwards(struct worker_client *client, worker_forwards_fn *done, void *arg)
{
	struct forwards_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct forwards_call){.client = client, .done = done, .arg = arg};
	call->forwards = worker_client_alloc(WORKER_FORWARDS_MAX, sizeof(*call->forwards));
	ask_forwards(call);
}

/* ---- Stats ---- */

struct stats_call {
	worker_stats_fn *done;
	void *arg;
};

/* Another release may have other bounds: what cannot be compared is left out. */
static bool read_histograms(const Netdp__Stats *msg, struct worker_stats *out)
{
	if (msg->n_histograms > WORKER_HISTOGRAMS_MAX)
		return false;
	for (size_t i = 0; i < msg->n_histograms; i++) {
		const Netdp__Stats__Histogram *from = msg->histograms[i];
		struct worker_histogram *to = &out->histograms[out->n_histograms];

		if (!wire_get_text(from->name, to->name, sizeof(to->name)))
			return false;
		if (from->n_buckets != HISTOGRAM_BUCKETS)
			continue;
		memcpy(to->counts.bucket, from->buckets, sizeof(to->counts.bucket));
		to->counts.sum_us = from->sum_us;
		out->n_histograms++;
	}
	return true;
}

static bool read_stats(
	const Netdp__Stats *msg, struct worker_counter *list, struct worker_stats *out)
{
	for (size_t i = 0; i < msg->n_counters; i++) {
		list[i].value = msg->counters[i]->value;
		if (!wire_get_text(msg->counters[i]->name, list[i].name, sizeof(list[i].name)))
			return false;
	}
	*out = (struct worker_stats){.counters = list,
		.n_counters = msg->n_counters,
		.tcp_flows = msg->tcp_flows,
		.udp_flows = msg->udp_flows,
		.icmp_flows = msg->icmp_flows,
		.vsock_conns = msg->vsock_conns,
		.tsi_listeners = msg->tsi_listeners,
		.tsi_proxies = msg->tsi_proxies,
		.busy_pending = msg->busy_pending,
		.busy_live = msg->busy_live,
		.busy_queued = msg->busy_queued};
	return read_histograms(msg, out);
}

static void on_stats(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct stats_call *call = arg;
	struct worker_counter *list = worker_client_alloc(COUNTERS_MAX, sizeof(*list));
	struct worker_stats stats;
	char remark[512];

	(void)fds;
	(void)n_fds;
	wire_get_remark(text, remark, sizeof(remark));
	if (code == 0 &&
		(reply->body_case != NETDP__ENVELOPE__BODY_STATS ||
			reply->stats->n_counters > COUNTERS_MAX ||
			!read_stats(reply->stats, list, &stats))) {
		code = -EPROTO;
		snprintf(remark, sizeof(remark), "malformed counters");
	}
	call->done(call->arg, code, remark, code == 0 ? &stats : NULL);
	free(list);
	free(call);
}

static void ask_stats(
	struct worker_client *client, unsigned deadline_ms, worker_stats_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__StatsGet msg = NETDP__STATS_GET__INIT;
	struct stats_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct stats_call){done, arg};
	env.body_case = NETDP__ENVELOPE__BODY_STATS_GET;
	env.stats_get = &msg;
	rpc_call(client->rpc, &env, NULL, 0, deadline_ms, on_stats, call);
}

void worker_client_stats(struct worker_client *client, worker_stats_fn *done, void *arg)
{
	ask_stats(client, WORKER_CLIENT_DEADLINE_MS, done, arg);
}

void worker_client_busy(struct worker_client *client, worker_stats_fn *done, void *arg)
{
	ask_stats(client, WORKER_CLIENT_BUSY_MS, done, arg);
}

/* ---- Flows, page by page ---- */

struct flows_call {
	struct worker_client *client;
	worker_flows_fn *done;
	void *arg;
	struct worker_flow *flows;
	size_t n;
	size_t room;
	size_t max;
	unsigned pages; /* a worker that always says there is more, with none, is cut off */
};

static void ask_flows(struct flows_call *call, uint32_t cursor);

static void finish_flows(struct flows_call *call, int code, const char *text, bool truncated)
{
	call->done(call->arg, code, text, code == 0 ? call->flows : NULL, code == 0 ? call->n : 0,
		truncated);
	free(call->flows);
	free(call);
}

static bool read_flow(const Netdp__Flows__Flow *msg, struct worker_flow *out)
{
	out->inbound = msg->inbound;
	out->age_ms = msg->age_ms;
	out->idle_ms = msg->idle_ms;
	out->tx_bytes = msg->tx_bytes;
	out->rx_bytes = msg->rx_bytes;
	out->vsock_guest = msg->vsock_guest;
	out->vsock_host = msg->vsock_host;
	return (read_proto(msg->proto, &out->proto) || msg->proto == NETDP__PROTO__PROTO_VSOCK) &&
		wire_get_endpoint(msg->guest, msg->guest_port, &out->guest) &&
		wire_get_endpoint(msg->remote, msg->remote_port, &out->remote) &&
		wire_get_endpoint(msg->host, msg->host_port, &out->host) &&
		wire_get_text(msg->state, out->state, sizeof(out->state));
}

static bool read_flows(struct flows_call *call, const Netdp__Flows *msg)
{
	size_t count = msg->n_flows < call->max - call->n ? msg->n_flows : call->max - call->n;

	if (call->n + count > call->room) {
		size_t room = (call->n + count) * 2;
		void *grown = realloc(call->flows, room * sizeof(*call->flows));

		if (!grown)
			return false;
		call->flows = grown;
		call->room = room;
	}
	for (size_t i = 0; i < count; i++) {
		memset(&call->flows[call->n], 0, sizeof(call->flows[0]));
		if (!read_flow(msg->flows[i], &call->flows[call->n++]))
			return false;
	}
	return true;
}

static void on_flows(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct flows_call *call = arg;
	const Netdp__Flows *flows;
	char remark[512];

	(void)fds;
	(void)n_fds;
	wire_get_remark(text, remark, sizeof(remark));
	if (code < 0) {
		finish_flows(call, code, remark, false);
		return;
	}
	if (reply->body_case != NETDP__ENVELOPE__BODY_FLOWS || !read_flows(call, reply->flows) ||
		++call->pages > 1024) {
		finish_flows(call, -EPROTO, "a malformed list of flows", false);
		return;
	}
	flows = reply->flows;
	if (flows->next_cursor && call->n < call->max)
		ask_flows(call, flows->next_cursor);
	else
		finish_flows(call, 0, "", flows->next_cursor != 0);
}

static void ask_flows(struct flows_call *call, uint32_t cursor)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__FlowsGet msg = NETDP__FLOWS_GET__INIT;

	msg.cursor = cursor;
	env.body_case = NETDP__ENVELOPE__BODY_FLOWS_GET;
	env.flows_get = &msg;
	rpc_call(call->client->rpc, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, on_flows, call);
}

void worker_client_flows(struct worker_client *client, size_t max, worker_flows_fn *done, void *arg)
{
	struct flows_call *call = worker_client_alloc(1, sizeof(*call));

	*call = (struct flows_call){.client = client, .done = done, .arg = arg, .max = max};
	ask_flows(call, 0);
}
