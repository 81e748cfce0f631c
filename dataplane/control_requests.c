/* SPDX-License-Identifier: MIT */
/*
 * What netctld asks of a worker. Each message is checked here, every length and range, before
 * worker.h hears of it; a request that is refused has changed nothing, but for Configure, after
 * whose failure the worker is of no use.
 */
#include "dataplane/control_internal.h"
#include "proto/wire.h"

#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORWARDS_A_MESSAGE FRAME_FDS_MAX
#define FLOWS_A_MESSAGE 1024
#define MTU_MIN 576
#define MTU_MAX 65520
#define UPSTREAMS_MAX 16
#define HOSTS_MAX 4096
#define HOST_ADDRS_MAX 64
#define NAMES_MAX 65536

/* ---- answers ---- */

void request_refuse(const struct request *r, int code, const char *text)
{
	rpc_reply_status(r->control->rpc, r->id, code, text);
}

/* worker.h's errors: a negative errno, or -1 with the kind in err->status. */
static int error_code(int code, const struct error *err)
{
	switch (err->status) {
	case 400:
		return -EINVAL;
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 409:
		return -EEXIST;
	case 503:
		return -EAGAIN;
	case 500:
		return -EIO;
	default:
		return code;
	}
}

void request_answer(const struct request *r, int code, const struct error *err)
{
	if (code < 0)
		request_refuse(r, error_code(code, err), *err->text ? err->text : NULL);
	else
		request_refuse(r, 0, NULL);
}

int request_take_fd(const struct request *r)
{
	int fd = r->n_fds == 1 ? r->fds[0] : -1;

	if (fd >= 0)
		r->fds[0] = -1;
	return fd;
}

/* ---- parts of messages; each returns false for what is malformed ---- */

static bool set_dns(const struct request *r, const Netdp__DnsSet *msg, int *code, struct error *err)
{
	struct endpoint upstreams[UPSTREAMS_MAX];
	char names[NET_SEARCH_MAX][256];
	const char *search[NET_SEARCH_MAX];
	struct worker_dns dns = {
		.upstreams = upstreams,
		.upstream_count = msg->n_upstreams,
		.search = search,
		.search_count = msg->n_search,
		.answer_unlisted = msg->answer_unlisted,
	};

	if (msg->n_upstreams > UPSTREAMS_MAX || msg->n_search > NET_SEARCH_MAX)
		return false;
	for (size_t i = 0; i < msg->n_upstreams; i++) {
		const Netdp__DnsSet__Upstream *upstream = msg->upstreams[i];

		if (!wire_get_endpoint(upstream->addr, upstream->port, &upstreams[i]))
			return false;
		if (!upstreams[i].port)
			upstreams[i].port = 53;
	}
	for (size_t i = 0; i < msg->n_search; i++) {
		if (!wire_get_text(msg->search[i], names[i], sizeof(names[i])))
			return false;
		search[i] = names[i];
	}
	*code = worker_dns_set(r->worker, &dns, err);
	return true;
}

static bool read_host(const Netdp__HostsSet__Host *msg, struct worker_host *host)
{
	char name[256];
	struct addr *addrs;

	if (!wire_get_text(msg->name, name, sizeof(name)) || !*name ||
		msg->n_addrs > HOST_ADDRS_MAX)
		return false;
	addrs = calloc(msg->n_addrs + 1, sizeof(*addrs));
	if (!addrs)
		return false;
	*host = (struct worker_host){.name = msg->name, .addrs = addrs, .addr_count = msg->n_addrs};
	for (size_t i = 0; i < msg->n_addrs; i++) {
		if (!wire_get_addr(msg->addrs[i], &addrs[i]))
			return false;
	}
	return true;
}

static void free_host(struct worker_host *host)
{
	void *addrs;

	memcpy(&addrs, &host->addrs, sizeof(addrs));
	free(addrs);
}

static bool set_hosts(
	const struct request *r, const Netdp__HostsSet *msg, int *code, struct error *err)
{
	struct worker_host *hosts;
	bool good = true;

	if (msg->n_hosts > HOSTS_MAX)
		return false;
	hosts = calloc(msg->n_hosts + 1, sizeof(*hosts));
	if (!hosts)
		return false;
	for (size_t i = 0; good && i < msg->n_hosts; i++)
		good = read_host(msg->hosts[i], &hosts[i]);
	if (good)
		*code = worker_hosts_set(r->worker, hosts, msg->n_hosts, msg->host_access, err);
	for (size_t i = 0; i < msg->n_hosts; i++)
		free_host(&hosts[i]);
	free(hosts);
	return good;
}

bool request_read_lease(const Netdp__Lease *msg, struct worker_lease *lease)
{
	lease->since_ms = msg->since_ms;
	return wire_get_addr(msg->addr, &lease->addr) && wire_get_mac(msg->mac, &lease->mac) &&
		wire_get_text(msg->hostname, lease->hostname, sizeof(lease->hostname));
}

bool request_restore_names(const struct request *r, const Netdp__NamesSeen *msg)
{
	struct worker_name *names;
	bool good = true;

	if (msg->n_names > NAMES_MAX)
		return false;
	names = calloc(msg->n_names + 1, sizeof(*names));
	if (!names)
		return false;
	for (size_t i = 0; good && i < msg->n_names; i++) {
		const Netdp__NamesSeen__Name *name = msg->names[i];

		names[i].until_ms = name->until_ms;
		good = wire_get_addr(name->addr, &names[i].addr) &&
			wire_get_text(name->name, names[i].name, sizeof(names[i].name));
	}
	if (good)
		worker_names_restore(r->worker, names, msg->n_names);
	free(names);
	return good;
}

static bool read_net(const Netdp__Configure *msg, struct net *net)
{
	if (!wire_get_prefix(msg->subnet, msg->subnet_bits, &net->subnet) ||
		!wire_get_addr(msg->gateway, &net->gateway) ||
		!wire_get_addr(msg->guest, &net->guest) ||
		!wire_get_mac(msg->gateway_mac, &net->gateway_mac) ||
		!wire_get_text(msg->hostname, net->hostname, sizeof(net->hostname)))
		return false;
	if (!addr_is_v4(&net->gateway) || !prefix_contains(&net->subnet, &net->gateway) ||
		!prefix_contains(&net->subnet, &net->guest) || addr_eq(&net->gateway, &net->guest))
		return false;
	memset(&net->guest_mac, 0xff, sizeof(net->guest_mac));
	net->guest_mac_known = msg->guest_mac.len != 0;
	net->guest_mac_fixed = msg->guest_mac_fixed;
	if (net->guest_mac_known && !wire_get_mac(msg->guest_mac, &net->guest_mac))
		return false;
	if ((net->guest_mac_fixed && !net->guest_mac_known) || msg->mtu < MTU_MIN ||
		msg->mtu > MTU_MAX)
		return false;
	net->mtu = (uint16_t)msg->mtu;
	net->host_access = msg->host_access;
	return true;
}

/* ---- requests ---- */

static bool apply_rest(
	const struct request *r, const Netdp__Configure *msg, int *code, struct error *err)
{
	struct worker_lease lease;

	if (msg->policy)
		*code = worker_policy_set(r->worker, msg->policy->table.data,
			msg->policy->table.len, msg->policy->document, false, err);
	if (*code >= 0 && msg->dns && !set_dns(r, msg->dns, code, err))
		return false;
	if (*code >= 0 && msg->hosts && !set_hosts(r, msg->hosts, code, err))
		return false;
	if (*code >= 0 && msg->lease) {
		if (!request_read_lease(msg->lease, &lease))
			return false;
		worker_lease_restore(r->worker, &lease);
	}
	if (*code >= 0 && msg->proxy && !control_proxy_apply(r, msg->proxy))
		return false;
	return *code < 0 || !msg->names || request_restore_names(r, msg->names);
}

static void on_configure(const struct request *r)
{
	const Netdp__Configure *msg = r->env->configure;
	struct worker_config config = {0};
	struct error err = {0};
	int fd, code;

	if (worker_configured(r->worker)) {
		request_refuse(r, -EALREADY, "configured already");
		return;
	}
	if (r->n_fds > 1 || !wire_get_text(msg->vm, config.vm, sizeof(config.vm)) ||
		!read_net(msg, &config.net)) {
		request_refuse(r, -EINVAL, "configure: malformed");
		return;
	}
	fd = request_take_fd(r);
	if (fd >= 0) {
		r->control->flow_memory = os_dup(fd);
	}
	code = worker_configure(r->worker, &config, fd, msg->reset_flows, &err);
	if (code >= 0 && !apply_rest(r, msg, &code, &err)) {
		request_refuse(r, -EINVAL, "configure: malformed");
		return;
	}
	request_answer(r, code, &err);
}

static void on_link_set(const struct request *r)
{
	static const enum link_kind kinds[] = {
		[NETDP__LINK_KIND__LINK_NONE] = LINK_KIND_NONE,
		[NETDP__LINK_KIND__LINK_STREAM] = LINK_KIND_STREAM,
		[NETDP__LINK_KIND__LINK_DGRAM] = LINK_KIND_DGRAM,
		[NETDP__LINK_KIND__LINK_TAP] = LINK_KIND_TAP,
	};
	const Netdp__LinkSet *msg = r->env->link_set;
	unsigned kind = (unsigned)msg->kind;
	struct error err = {0};
	int code;

	if (kind >= sizeof(kinds) / sizeof(*kinds) || r->n_fds != (kind ? 1u : 0u) ||
		(msg->listener && kind != NETDP__LINK_KIND__LINK_STREAM) ||
		(msg->mtu && (msg->mtu < MTU_MIN || msg->mtu > MTU_MAX))) {
		request_refuse(r, -EINVAL, "link: malformed");
		return;
	}
	if (r->control->returned_fd >= 0) {
		close(r->control->returned_fd); /* the old link's */
		r->control->returned_fd = -1;
	}
	if (msg->resume && kind == NETDP__LINK_KIND__LINK_STREAM && !msg->listener)
		code = worker_link_resume(r->worker, request_take_fd(r), (uint16_t)msg->mtu, &err);
	else
		code = worker_link_set(r->worker, kinds[kind], request_take_fd(r), msg->listener,
			(uint16_t)msg->mtu, &err);
	request_answer(r, code, &err);
}

static bool read_forward(const Netdp__ForwardAdd *msg, struct worker_forward *forward)
{
	if (!wire_get_text(msg->id, forward->id, sizeof(forward->id)) || !*forward->id)
		return false;
	if (msg->proto != NETDP__PROTO__PROTO_TCP &&
		(msg->proto != NETDP__PROTO__PROTO_UDP || msg->unix_listener))
		return false;
	if (!msg->unix_listener && !wire_get_endpoint(msg->addr, msg->port, &forward->listen))
		return false;
	if (!control_read_target(msg->target, &forward->to, &forward->to_port))
		return false;
	forward->proto = (uint8_t)msg->proto;
	forward->unix_listener = msg->unix_listener;
	forward->snat = msg->snat;
	return true;
}

static void on_forward_add(const struct request *r)
{
	struct worker_forward forward = {0};
	struct error err = {0};

	if (r->n_fds != 1 || !read_forward(r->env->forward_add, &forward)) {
		request_refuse(r, -EINVAL, "forward: malformed");
		return;
	}
	request_answer(r, worker_forward_add(r->worker, &forward, request_take_fd(r), &err), &err);
}

static void on_forward_delete(const struct request *r)
{
	char id[sizeof(((struct worker_forward *)0)->id)];
	struct error err = {0};

	if (!wire_get_text(r->env->forward_delete->id, id, sizeof(id)))
		request_refuse(r, -EINVAL, "forward: malformed id");
	else
		request_answer(r, worker_forward_delete(r->worker, id, &err), &err);
}

static void on_forwards_get(const struct request *r)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Forwards forwards = NETDP__FORWARDS__INIT;
	Netdp__ForwardAdd list[FORWARDS_A_MESSAGE], *pointers[FORWARDS_A_MESSAGE];
	Netdp__Target targets[FORWARDS_A_MESSAGE];
	int fds[FORWARDS_A_MESSAGE];
	size_t n = 0;

	for (; n < FORWARDS_A_MESSAGE; n++) {
		const struct worker_forward *forward = worker_forward_at(
			r->worker, r->env->forwards_get->skip + n, &fds[n]);

		if (!forward)
			break;
		netdp__forward_add__init(&list[n]);
		control_put_target(&forward->to, forward->to_port, &targets[n]);
		list[n].id = wire_put_text(forward->id);
		list[n].proto = (Netdp__Proto)forward->proto;
		list[n].unix_listener = forward->unix_listener;
		if (!forward->unix_listener) {
			list[n].addr = wire_put_addr(&forward->listen.addr);
			list[n].port = forward->listen.port;
		}
		list[n].target = &targets[n];
		list[n].snat = forward->snat;
		pointers[n] = &list[n];
	}
	forwards.n_forwards = n;
	forwards.forwards = pointers;
	forwards.total = (uint32_t)worker_forward_count(r->worker);
	env.body_case = NETDP__ENVELOPE__BODY_FORWARDS;
	env.forwards = &forwards;
	rpc_reply(r->control->rpc, r->id, &env, fds, n);
}

static void on_policy_set(const struct request *r)
{
	const Netdp__PolicySet *msg = r->env->policy_set;
	struct error err = {0};

	request_answer(r,
		worker_policy_set(r->worker, msg->table.data, msg->table.len, msg->document,
			msg->cut_existing, &err),
		&err);
}

static void on_hosts_set(const struct request *r)
{
	struct error err = {0};
	int code = 0;

	if (set_hosts(r, r->env->hosts_set, &code, &err))
		request_answer(r, code, &err);
	else
		request_refuse(r, -EINVAL, "hosts: malformed");
}

static void on_dns_set(const struct request *r)
{
	struct error err = {0};
	int code = 0;

	if (set_dns(r, r->env->dns_set, &code, &err))
		request_answer(r, code, &err);
	else
		request_refuse(r, -EINVAL, "dns: malformed");
}

static void on_stats_get(const struct request *r)
{
	const struct counters *counters = worker_counters(r->worker);
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Stats stats = NETDP__STATS__INIT;
	Netdp__Stats__Counter list[COUNTER_COUNT], *pointers[COUNTER_COUNT];
	Netdp__Stats__Histogram histograms[HISTOGRAM_COUNT], *histogram_pointers[HISTOGRAM_COUNT];
	struct busy busy;

	for (size_t i = 0; i < COUNTER_COUNT; i++) {
		netdp__stats__counter__init(&list[i]);
		list[i].name = wire_put_text(counter_names[i]);
		list[i].value = counters->value[i];
		pointers[i] = &list[i];
	}
	list[COUNTER_EVENTS_DROPPED].value += r->control->dropped_events;
	stats.n_counters = COUNTER_COUNT;
	stats.counters = pointers;
	worker_flow_counts(r->worker, &stats.tcp_flows, &stats.udp_flows, &stats.icmp_flows);
	stats.vsock_conns = (uint32_t)worker_vsock_count(r->worker);
	worker_busy(r->worker, &busy);
	stats.busy_pending = busy.pending;
	stats.busy_live = busy.live;
	stats.busy_queued = busy.queued;
	stats.tsi_listeners = (uint32_t)tsi_listener_count(worker_tsi(r->worker));
	stats.tsi_proxies = (uint32_t)tsi_proxy_count(worker_tsi(r->worker));
	for (size_t i = 0; i < HISTOGRAM_COUNT; i++) {
		netdp__stats__histogram__init(&histograms[i]);
		histograms[i].name = wire_put_text(histogram_names[i]);
		histograms[i].n_buckets = HISTOGRAM_BUCKETS;
		histograms[i].buckets = (uint64_t *)(uintptr_t)counters->histogram[i].bucket;
		histograms[i].sum_us = counters->histogram[i].sum_us;
		histogram_pointers[i] = &histograms[i];
	}
	stats.n_histograms = HISTOGRAM_COUNT;
	stats.histograms = histogram_pointers;
	env.body_case = NETDP__ENVELOPE__BODY_STATS;
	env.stats = &stats;
	rpc_reply(r->control->rpc, r->id, &env, NULL, 0);
}

static void put_flow(Netdp__Flows__Flow *out, const struct flow_info *flow)
{
	netdp__flows__flow__init(out);
	out->proto = (Netdp__Proto)flow->proto;
	out->inbound = flow->inbound;
	out->guest = wire_put_addr(&flow->key.guest.addr);
	out->guest_port = flow->key.guest.port;
	out->remote = wire_put_addr(&flow->key.remote.addr);
	out->remote_port = flow->key.remote.port;
	out->host = wire_put_addr(&flow->host.addr);
	out->host_port = flow->host.port;
	out->vsock_guest = flow->vsock_guest;
	out->vsock_host = flow->vsock_host;
	out->state = wire_put_text(flow->state ? flow->state : "");
	out->age_ms = flow->age_ms;
	out->idle_ms = flow->idle_ms;
	out->tx_bytes = flow->tx_bytes;
	out->rx_bytes = flow->rx_bytes;
}

static void on_flows_get(const struct request *r)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Flows flows = NETDP__FLOWS__INIT;
	struct flow_info *infos = calloc(FLOWS_A_MESSAGE, sizeof(*infos));
	Netdp__Flows__Flow *list = calloc(FLOWS_A_MESSAGE, sizeof(*list));
	Netdp__Flows__Flow **pointers = calloc(FLOWS_A_MESSAGE, sizeof(*pointers));
	uint32_t cursor = r->env->flows_get->cursor;

	if (!infos || !list || !pointers) {
		request_refuse(r, -ENOMEM, NULL);
		goto out;
	}
	flows.n_flows = worker_flows(r->worker, &cursor, infos, FLOWS_A_MESSAGE);
	for (size_t i = 0; i < flows.n_flows; i++) {
		put_flow(&list[i], &infos[i]);
		pointers[i] = &list[i];
	}
	flows.flows = pointers;
	flows.next_cursor = cursor;
	env.body_case = NETDP__ENVELOPE__BODY_FLOWS;
	env.flows = &flows;
	rpc_reply(r->control->rpc, r->id, &env, NULL, 0);
out:
	free(infos);
	free(list);
	free(pointers);
}

static void put_config(const struct worker_config *config, Netdp__Configure *out)
{
	const struct net *net = &config->net;

	netdp__configure__init(out);
	out->vm = wire_put_text(config->vm);
	out->subnet = wire_put_addr(&net->subnet.addr);
	out->subnet_bits = net->subnet.bits;
	out->gateway = wire_put_addr(&net->gateway);
	out->guest = wire_put_addr(&net->guest);
	out->gateway_mac = wire_put_mac(&net->gateway_mac);
	if (net->guest_mac_known)
		out->guest_mac = wire_put_mac(&net->guest_mac);
	out->guest_mac_fixed = net->guest_mac_fixed;
	out->mtu = net->mtu;
	out->host_access = net->host_access;
	out->hostname = wire_put_text(net->hostname);
}

static void put_fd(int fd, protobuf_c_boolean *has, int *fds, size_t *n)
{
	*has = fd >= 0;
	if (fd >= 0)
		fds[(*n)++] = fd;
}

static void on_describe(const struct request *r)
{
	struct control *control = r->control;
	const struct link *link = worker_link(r->worker);
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Description description;
	Netdp__Configure config;
	Netdp__LinkSet link_set = NETDP__LINK_SET__INIT;
	Netdp__Lease lease_msg;
	struct worker_lease lease;
	int fds[3];
	size_t n = 0;

	netdp__description__init(&description);
	description.sandbox = wire_put_text(sandbox_level_name(control->sandbox));
	description.since_ms = control->since_ms;
	description.configured = worker_configured(r->worker);
	if (description.configured) {
		put_config(worker_config(r->worker), &config);
		description.config = &config;
		if (worker_lease_now(r->worker, &lease)) {
			netdp__lease__init(&lease_msg);
			lease_msg.addr = wire_put_addr(&lease.addr);
			lease_msg.mac = wire_put_mac(&lease.mac);
			lease_msg.hostname = lease.hostname;
			lease_msg.since_ms = lease.since_ms;
			config.lease = &lease_msg;
		}
		link_set.kind = (Netdp__LinkKind)link_kind(link);
		link_set.mtu = config.mtu;
		description.link = &link_set;
		description.link_up = link_is_up(link);
		put_fd(link_listener_fd(link), &description.has_listener, fds, &n);
		put_fd(link_connected_fd(link), &description.has_connected, fds, &n);
		put_fd(control->flow_memory, &description.has_flow_memory, fds, &n);
		link_set.listener = description.has_listener;
	}
	env.body_case = NETDP__ENVELOPE__BODY_DESCRIPTION;
	env.description = &description;
	rpc_reply(control->rpc, r->id, &env, fds, n);
}

static void on_shutdown(const struct request *r)
{
	request_refuse(r, 0, NULL);
	worker_shutdown(r->worker, r->env->shutdown->abrupt);
}

static const struct handler {
	Netdp__Envelope__BodyCase body;
	void (*run)(const struct request *r);
	bool always; /* before Configure too */
} handlers[] = {
	{NETDP__ENVELOPE__BODY_CONFIGURE, on_configure, true},
	{NETDP__ENVELOPE__BODY_DESCRIBE, on_describe, true},
	{NETDP__ENVELOPE__BODY_LINK_SET, on_link_set, false},
	{NETDP__ENVELOPE__BODY_VSOCK_SET, control_vsock_set, false},
	{NETDP__ENVELOPE__BODY_VSOCK_LISTEN, control_vsock_listen, false},
	{NETDP__ENVELOPE__BODY_VSOCK_UNLISTEN, control_vsock_unlisten, false},
	{NETDP__ENVELOPE__BODY_VSOCK_GET, control_vsock_get, true},
	{NETDP__ENVELOPE__BODY_STREAM_ATTACH, control_stream_attach, false},
	{NETDP__ENVELOPE__BODY_CAPTURE, control_capture, false},
	{NETDP__ENVELOPE__BODY_TSI_GET, control_tsi_get, true},
	{NETDP__ENVELOPE__BODY_TSI_RESTORE, control_tsi_restore, false},
	{NETDP__ENVELOPE__BODY_VHOST_RESUME, control_vhost_resume, false},
	{NETDP__ENVELOPE__BODY_FORWARD_ADD, on_forward_add, false},
	{NETDP__ENVELOPE__BODY_FORWARD_DELETE, on_forward_delete, false},
	{NETDP__ENVELOPE__BODY_FORWARDS_GET, on_forwards_get, true},
	{NETDP__ENVELOPE__BODY_POLICY_SET, on_policy_set, false},
	{NETDP__ENVELOPE__BODY_POLICY_COUNTS_GET, control_policy_counts, false},
	{NETDP__ENVELOPE__BODY_ADDR_NAMES_GET, control_addr_names, false},
	{NETDP__ENVELOPE__BODY_PROXY_SET, control_proxy_set, false},
	{NETDP__ENVELOPE__BODY_HOSTS_SET, on_hosts_set, false},
	{NETDP__ENVELOPE__BODY_DNS_SET, on_dns_set, false},
	{NETDP__ENVELOPE__BODY_LIMITS_SET, control_limits_set, false},
	{NETDP__ENVELOPE__BODY_STATS_GET, on_stats_get, true},
	{NETDP__ENVELOPE__BODY_FLOWS_GET, on_flows_get, false},
	{NETDP__ENVELOPE__BODY_RESET, control_reset, false},
	{NETDP__ENVELOPE__BODY_SHUTDOWN, on_shutdown, true},
};

void control_request(
	struct control *control, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	const struct request r = {control, control->worker, id, env, fds, n_fds};

	for (size_t i = 0; i < sizeof(handlers) / sizeof(*handlers); i++) {
		if (handlers[i].body != env->body_case)
			continue;
		if (handlers[i].always || worker_configured(control->worker))
			handlers[i].run(&r);
		else
			request_refuse(&r, -EINVAL, "not configured yet");
		return;
	}
	request_refuse(&r, -ENOSYS, "not a worker's request");
}
