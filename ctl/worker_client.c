/* SPDX-License-Identifier: MIT */
/* netctld's typed view of one worker: its life and its requests. See worker_client.h; what comes
 * back is read in worker_answers.c. */
#include "ctl/worker_client.h"

#include "ctl/worker_client_internal.h"

#include "common/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENV_QUEUED_MAX ((size_t)4 << 20)

/* ---- life ---- */

static void on_hello(void *arg, const Netdp__Hello *hello)
{
	struct worker_client *client = arg;

	wire_get_remark(hello->release, client->release, sizeof(client->release));
	if (client->hooks->ready)
		client->hooks->ready(client->arg);
}

static void on_closed(void *arg, int err, const char *text)
{
	struct worker_client *client = arg;

	/* A worker's last words say more than the end of its connection. */
	if (*client->last_words) {
		text = client->last_words;
		err = -EPERM;
	}
	if (client->hooks->closed)
		client->hooks->closed(client->arg, err, text);
}

/* ---- what a worker asks ---- */

static void answer_env(struct worker_client *client, uint64_t id)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__EnvDocument msg = NETDP__ENV_DOCUMENT__INIT;
	char *document = NULL;
	size_t len = 0;
	int err = -EAGAIN;

	/* A worker that asks and does not read gets no more. */
	if (rpc_queued(client->rpc) <= ENV_QUEUED_MAX)
		err = client->events->env_get
			? client->events->env_get(client->events_arg, &document, &len)
			: -ENOSYS;
	if (err < 0) {
		rpc_reply_status(client->rpc, id, err, NULL);
		return;
	}
	msg.document = wire_put(document, len);
	env.body_case = NETDP__ENVELOPE__BODY_ENV_DOCUMENT;
	env.env_document = &msg;
	rpc_reply(client->rpc, id, &env, NULL, 0);
	os_wipe(document, len);
	free(document);
}

static void on_request(void *arg, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	struct worker_client *client = arg;
	bool good = true;

	(void)fds;
	(void)n_fds;
	if (env->body_case == NETDP__ENVELOPE__BODY_ENV_GET)
		answer_env(client, id);
	else if (!worker_client_vsock_request(client, id, env, &good))
		rpc_reply_status(client->rpc, id, -ENOSYS, "unknown request");
	if (!good)
		rpc_abort(client->rpc, -EPROTO, "a malformed request");
}

static const struct rpc_ops rpc_ops = {.hello = on_hello,
	.request = on_request,
	.event = worker_client_event,
	.closed = on_closed};

/* What a worker may ask us for; see Envelope.number. */
static const char *const features[] = {RPC_FEATURE_NUMBERS, NULL};

struct worker_client *worker_client_new(struct event_base *base, int fd, const char *vm,
	const struct worker_client_events *events, void *events_arg,
	const struct worker_client_hooks *hooks, void *arg)
{
	struct worker_client *client = calloc(1, sizeof(*client));

	if (!client) {
		close(fd);
		return NULL;
	}
	snprintf(client->vm, sizeof(client->vm), "%s", vm);
	client->events = events;
	client->events_arg = events_arg;
	client->hooks = hooks;
	client->arg = arg;
	client->rpc = rpc_new(base, fd, "netctld", features, &rpc_ops, client);
	if (!client->rpc) {
		free(client);
		return NULL;
	}
	return client;
}

void worker_client_free(struct worker_client *client)
{
	if (!client)
		return;
	rpc_free(client->rpc);
	free(client);
}

void worker_client_detach(struct worker_client *client)
{
	static const struct worker_client_events none;

	client->events = &none;
	rpc_cancel(client->rpc);
}

void worker_client_abort(struct worker_client *client, int err, const char *text)
{
	rpc_abort(client->rpc, err, text);
}

uint32_t worker_client_version(const struct worker_client *client)
{
	return rpc_version(client->rpc);
}

const char *worker_client_release(const struct worker_client *client)
{
	return client->release;
}

void worker_client_capture(struct worker_client *client, const struct worker_capture *capture,
	int fd, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Capture msg = NETDP__CAPTURE__INIT;

	msg.snaplen = capture->snaplen;
	msg.n_ports = capture->n_ports;
	msg.ports = (uint32_t *)(uintptr_t)capture->ports;
	env.body_case = NETDP__ENVELOPE__BODY_CAPTURE;
	env.capture = &msg;
	worker_client_call_plain(client, &env, &fd, 1, WORKER_CLIENT_DEADLINE_MS, done, arg);
}

void worker_client_events_seen(struct worker_client *client, uint64_t through)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__EventsSeen msg = NETDP__EVENTS_SEEN__INIT;

	msg.through = through;
	env.body_case = NETDP__ENVELOPE__BODY_EVENTS_SEEN;
	env.events_seen = &msg;
	rpc_event(client->rpc, &env, NULL, 0); /* or a later one says so */
}

/* ---- requests that are answered by a Status ---- */

struct plain {
	worker_done_fn *done;
	void *arg;
};

static void on_plain(
	void *arg, int code, const char *text, const Netdp__Envelope *reply, int *fds, size_t n_fds)
{
	struct plain *plain = arg;
	char remark[512];

	(void)fds;
	(void)n_fds;
	wire_get_remark(text, remark, sizeof(remark));
	if (code == 0 && reply->body_case != NETDP__ENVELOPE__BODY_STATUS) {
		code = -EPROTO;
		snprintf(remark, sizeof(remark), "the worker's answer is of the wrong kind");
	}
	plain->done(plain->arg, code, remark);
	free(plain);
}

void worker_client_call_plain(struct worker_client *client, Netdp__Envelope *env, const int *fds,
	size_t n_fds, unsigned deadline_ms, worker_done_fn *done, void *arg)
{
	struct plain *plain = done ? worker_client_alloc(1, sizeof(*plain)) : NULL;

	if (plain)
		*plain = (struct plain){done, arg};
	rpc_call(client->rpc, env, fds, n_fds, deadline_ms, done ? on_plain : NULL, plain);
}

static void call_plain(struct worker_client *client, Netdp__Envelope *env, const int *fds,
	size_t n_fds, worker_done_fn *done, void *arg)
{
	worker_client_call_plain(client, env, fds, n_fds, WORKER_CLIENT_DEADLINE_MS, done, arg);
}

/* ---- messages that are parts of others ---- */

struct dns_msg {
	Netdp__DnsSet msg;
	Netdp__DnsSet__Upstream *list;
	Netdp__DnsSet__Upstream **pointers;
	char **search;
};

static void put_dns(const struct worker_dns *dns, struct dns_msg *out)
{
	netdp__dns_set__init(&out->msg);
	out->list = worker_client_alloc(dns->n_upstreams, sizeof(*out->list));
	out->pointers = worker_client_alloc(dns->n_upstreams, sizeof(*out->pointers));
	out->search = worker_client_alloc(dns->n_search, sizeof(*out->search));
	for (size_t i = 0; i < dns->n_upstreams; i++) {
		netdp__dns_set__upstream__init(&out->list[i]);
		out->list[i].addr = wire_put_addr(&dns->upstreams[i].addr);
		out->list[i].port = dns->upstreams[i].port;
		out->pointers[i] = &out->list[i];
	}
	for (size_t i = 0; i < dns->n_search; i++)
		out->search[i] = wire_put_text(dns->search[i]);
	out->msg.n_upstreams = dns->n_upstreams;
	out->msg.upstreams = out->pointers;
	out->msg.n_search = dns->n_search;
	out->msg.answer_unlisted = dns->answer_unlisted;
	out->msg.search = out->search;
}

static void dns_done(struct dns_msg *dns)
{
	free(dns->list);
	free(dns->pointers);
	free(dns->search);
}

struct hosts_msg {
	Netdp__HostsSet msg;
	Netdp__HostsSet__Host *list;
	Netdp__HostsSet__Host **pointers;
	ProtobufCBinaryData *addrs;
};

static void put_hosts(const struct worker_hosts *hosts, struct hosts_msg *out)
{
	size_t n_addrs = 0, used = 0;

	netdp__hosts_set__init(&out->msg);
	for (size_t i = 0; i < hosts->n_hosts; i++)
		n_addrs += hosts->hosts[i].n_addrs;
	out->list = worker_client_alloc(hosts->n_hosts, sizeof(*out->list));
	out->pointers = worker_client_alloc(hosts->n_hosts, sizeof(*out->pointers));
	out->addrs = worker_client_alloc(n_addrs, sizeof(*out->addrs));
	for (size_t i = 0; i < hosts->n_hosts; i++) {
		const struct worker_host *host = &hosts->hosts[i];

		netdp__hosts_set__host__init(&out->list[i]);
		out->list[i].name = wire_put_text(host->name);
		out->list[i].addrs = out->addrs + used;
		out->list[i].n_addrs = host->n_addrs;
		for (size_t k = 0; k < host->n_addrs; k++)
			out->addrs[used++] = wire_put_addr(&host->addrs[k]);
		out->pointers[i] = &out->list[i];
	}
	out->msg.n_hosts = hosts->n_hosts;
	out->msg.hosts = out->pointers;
	out->msg.host_access = hosts->host_access;
}

static void hosts_done(struct hosts_msg *hosts)
{
	free(hosts->list);
	free(hosts->pointers);
	free(hosts->addrs);
}

static void put_policy(const struct worker_policy *policy, Netdp__PolicySet *out)
{
	netdp__policy_set__init(out);
	out->table = wire_put(policy->table, policy->len);
	out->cut_existing = policy->cut_existing;
	out->document = policy->document;
}

struct names_msg {
	Netdp__NamesSeen msg;
	Netdp__NamesSeen__Name *list;
	Netdp__NamesSeen__Name **pointers;
};

static void put_names(const struct worker_name *names, size_t n, struct names_msg *out)
{
	netdp__names_seen__init(&out->msg);
	out->list = worker_client_alloc(n, sizeof(*out->list));
	out->pointers = worker_client_alloc(n, sizeof(*out->pointers));
	for (size_t i = 0; i < n; i++) {
		netdp__names_seen__name__init(&out->list[i]);
		out->list[i].addr = wire_put_addr(&names[i].addr);
		out->list[i].name = wire_put_text(names[i].name);
		out->list[i].until_ms = names[i].until_ms;
		out->pointers[i] = &out->list[i];
	}
	out->msg.n_names = n;
	out->msg.names = out->pointers;
}

static void names_done(struct names_msg *names)
{
	free(names->list);
	free(names->pointers);
}

static void put_lease(const struct worker_lease *lease, Netdp__Lease *out)
{
	netdp__lease__init(out);
	out->addr = wire_put_addr(&lease->addr);
	out->mac = wire_put_mac(&lease->mac);
	out->hostname = wire_put_text(lease->hostname);
	out->since_ms = lease->since_ms;
}

/* ---- requests ---- */

/* The fields that are neither messages nor lists. */
static void put_config(const struct worker_config *config, Netdp__Configure *out)
{
	netdp__configure__init(out);
	out->vm = wire_put_text(config->vm);
	out->subnet = wire_put_addr(&config->subnet.addr);
	out->subnet_bits = config->subnet.bits;
	out->gateway = wire_put_addr(&config->gateway);
	out->guest = wire_put_addr(&config->guest);
	out->gateway_mac = wire_put_mac(&config->gateway_mac);
	if (config->guest_mac_known)
		out->guest_mac = wire_put_mac(&config->guest_mac);
	out->guest_mac_fixed = config->guest_mac_fixed;
	out->mtu = config->mtu;
	out->host_access = config->host_access;
	out->hostname = wire_put_text(config->hostname ? config->hostname : "");
	out->reset_flows = config->reset_flows;
}

void worker_client_configure(struct worker_client *client, const struct worker_config *config,
	worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Configure msg;
	Netdp__PolicySet policy;
	Netdp__Lease lease;
	struct dns_msg dns;
	struct hosts_msg hosts;
	struct names_msg names;
	static const struct worker_proxies straight;
	struct worker_client_proxy proxy;

	put_config(config, &msg);
	put_policy(&config->policy, &policy);
	put_dns(&config->dns, &dns);
	put_hosts(&config->hosts, &hosts);
	put_names(config->names, config->n_names, &names);
	worker_client_proxy_put(config->proxies ? config->proxies : &straight, &proxy);
	if (config->lease) {
		put_lease(config->lease, &lease);
		msg.lease = &lease;
	}
	if (config->policy.table)
		msg.policy = &policy;
	msg.dns = &dns.msg;
	msg.hosts = &hosts.msg;
	msg.names = &names.msg;
	msg.proxy = &proxy.msg;
	env.body_case = NETDP__ENVELOPE__BODY_CONFIGURE;
	env.configure = &msg;
	call_plain(client, &env, &config->flow_memory, config->flow_memory >= 0 ? 1 : 0, done, arg);
	dns_done(&dns);
	hosts_done(&hosts);
	names_done(&names);
	worker_client_proxy_done(&proxy);
}

void worker_client_link_set(struct worker_client *client, enum worker_link_kind kind, int fd,
	bool listener, uint32_t mtu, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__LinkSet msg = NETDP__LINK_SET__INIT;

	msg.kind = (Netdp__LinkKind)kind;
	msg.listener = listener;
	msg.mtu = mtu;
	env.body_case = NETDP__ENVELOPE__BODY_LINK_SET;
	env.link_set = &msg;
	call_plain(client, &env, &fd, fd >= 0 ? 1 : 0, done, arg);
}

void worker_client_link_resume(
	struct worker_client *client, int fd, uint32_t mtu, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__LinkSet msg = NETDP__LINK_SET__INIT;

	msg.kind = NETDP__LINK_KIND__LINK_STREAM;
	msg.resume = true;
	msg.mtu = mtu;
	env.body_case = NETDP__ENVELOPE__BODY_LINK_SET;
	env.link_set = &msg;
	call_plain(client, &env, &fd, 1, done, arg);
}

void worker_client_forward_add(struct worker_client *client, const struct worker_forward *forward,
	worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ForwardAdd msg;
	Netdp__Target target = NETDP__TARGET__INIT;

	netdp__forward_add__init(&msg);
	worker_target_put(&forward->target, &target);
	msg.id = wire_put_text(forward->id);
	msg.proto = (Netdp__Proto)forward->proto;
	msg.unix_listener = forward->unix_listener;
	if (!forward->unix_listener) {
		msg.addr = wire_put_addr(&forward->listen.addr);
		msg.port = forward->listen.port;
	}
	msg.target = &target;
	msg.snat = forward->snat;
	env.body_case = NETDP__ENVELOPE__BODY_FORWARD_ADD;
	env.forward_add = &msg;
	call_plain(client, &env, &forward->fd, forward->fd >= 0 ? 1 : 0, done, arg);
}

void worker_client_forward_delete(
	struct worker_client *client, const char *id, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ForwardDelete msg;

	netdp__forward_delete__init(&msg);
	msg.id = wire_put_text(id);
	env.body_case = NETDP__ENVELOPE__BODY_FORWARD_DELETE;
	env.forward_delete = &msg;
	call_plain(client, &env, NULL, 0, done, arg);
}

void worker_client_policy_set(struct worker_client *client, const struct worker_policy *policy,
	worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__PolicySet msg;

	put_policy(policy, &msg);
	env.body_case = NETDP__ENVELOPE__BODY_POLICY_SET;
	env.policy_set = &msg;
	call_plain(client, &env, NULL, 0, done, arg);
}

void worker_client_hosts_set(struct worker_client *client, const struct worker_hosts *hosts,
	worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	struct hosts_msg msg;

	put_hosts(hosts, &msg);
	env.body_case = NETDP__ENVELOPE__BODY_HOSTS_SET;
	env.hosts_set = &msg.msg;
	call_plain(client, &env, NULL, 0, done, arg);
	hosts_done(&msg);
}

void worker_client_dns_set(
	struct worker_client *client, const struct worker_dns *dns, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	struct dns_msg msg;

	put_dns(dns, &msg);
	env.body_case = NETDP__ENVELOPE__BODY_DNS_SET;
	env.dns_set = &msg.msg;
	call_plain(client, &env, NULL, 0, done, arg);
	dns_done(&msg);
}

void worker_client_limits_set(struct worker_client *client, const struct vm_limits *limits,
	worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__LimitsSet msg = NETDP__LIMITS_SET__INIT;

	msg.rate_in = limits->rate_in;
	msg.rate_out = limits->rate_out;
	msg.max_flows = limits->max_flows;
	msg.new_flows = limits->new_flows;
	env.body_case = NETDP__ENVELOPE__BODY_LIMITS_SET;
	env.limits_set = &msg;
	call_plain(client, &env, NULL, 0, done, arg);
}

void worker_client_reset(struct worker_client *client, const struct worker_life *life,
	worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Reset msg = NETDP__RESET__INIT;
	Netdp__Lease lease;
	struct names_msg names;

	if (life->mac)
		msg.guest_mac = wire_put_mac(life->mac);
	if (life->lease) {
		put_lease(life->lease, &lease);
		msg.lease = &lease;
	}
	put_names(life->names, life->n_names, &names);
	msg.names = &names.msg;
	env.body_case = NETDP__ENVELOPE__BODY_RESET;
	env.reset = &msg;
	call_plain(client, &env, NULL, 0, done, arg);
	names_done(&names);
}

void worker_client_shutdown(
	struct worker_client *client, bool abrupt, worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__Shutdown msg = NETDP__SHUTDOWN__INIT;

	msg.abrupt = abrupt;
	env.body_case = NETDP__ENVELOPE__BODY_SHUTDOWN;
	env.shutdown = &msg;
	call_plain(client, &env, NULL, 0, done, arg);
}
