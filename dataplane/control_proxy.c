/* SPDX-License-Identifier: MIT */
/* The proxies that netctld has for the guest's flows, and what is wrong with them. */
#include "dataplane/control_internal.h"
#include "dataplane/egress/dial.h"
#include "proto/wire.h"

#include <errno.h>
#include <string.h>

/* Into out[256], with a NUL; none before. */
static bool read_bytes(ProtobufCBinaryData bytes, char *out)
{
	if (bytes.len > 255 || (bytes.len && memchr(bytes.data, 0, bytes.len)))
		return false;
	if (bytes.len)
		memcpy(out, bytes.data, bytes.len);
	out[bytes.len] = '\0';
	return true;
}

static bool read_server(const Netdp__ProxyServer *msg, struct proxy_server *server)
{
	if (msg->kind == NETDP__PROXY_KIND__PROXY_KIND_HTTP)
		server->kind = PROXY_HTTP;
	else if (msg->kind == NETDP__PROXY_KIND__PROXY_KIND_SOCKS5)
		server->kind = PROXY_SOCKS5;
	else
		return false;
	if (msg->n_addrs > PROXY_ADDRS_MAX || !msg->port)
		return false;
	for (size_t i = 0; i < msg->n_addrs; i++) {
		if (!wire_get_endpoint(msg->addrs[i], msg->port, &server->addrs[i]))
			return false;
	}
	server->n_addrs = msg->n_addrs;
	server->auth = msg->auth;
	return read_bytes(msg->user, server->user) && read_bytes(msg->password, server->password);
}

static bool read_bypass(const Netdp__ProxyBypass *msg, struct proxy_bypass *bypass)
{
	bypass->by_name = msg->addr.len == 0;
	if (bypass->by_name)
		return wire_get_text(msg->domain, bypass->domain, sizeof(bypass->domain));
	return wire_get_prefix(msg->addr, msg->bits, &bypass->prefix);
}

static bool read_of(const Netdp__ProxySet *msg, struct proxies *p)
{
	const uint32_t numbers[PROXY_FLOWS] = {
		[PROXY_FLOWS_HTTP] = msg->http,
		[PROXY_FLOWS_HTTPS] = msg->https,
		[PROXY_FLOWS_OTHER] = msg->other,
	};

	for (size_t i = 0; i < PROXY_FLOWS; i++) {
		if (numbers[i] > p->n_servers)
			return false;
		p->of[i] = (uint8_t)numbers[i];
	}
	return true;
}

static bool read_proxies(const Netdp__ProxySet *msg, struct proxies *p)
{
	for (size_t i = 0; i < msg->n_servers; i++) {
		p->servers[i].index = (uint8_t)i;
		if (!read_server(msg->servers[i], &p->servers[i]))
			return false;
	}
	p->n_servers = msg->n_servers;
	for (size_t i = 0; i < msg->n_bypass; i++) {
		if (!read_bypass(msg->bypass[i], &p->bypass[i]))
			return false;
	}
	p->n_bypass = msg->n_bypass;
	p->direct_on_failure = msg->direct_on_failure;
	p->fake_ip = msg->fake_ip;
	return read_of(msg, p);
}

bool control_proxy_apply(const struct request *r, const Netdp__ProxySet *msg)
{
	struct proxies *p;

	if (msg->n_servers > PROXY_SERVERS_MAX || msg->n_bypass > PROXY_BYPASS_MAX)
		return false;
	p = proxies_new(msg->n_bypass);
	if (!p)
		return false;
	if (!read_proxies(msg, p)) {
		proxies_unref(p);
		return false;
	}
	worker_proxies_set(r->worker, p, msg->same_proxies);
	return true;
}

void control_proxy_set(const struct request *r)
{
	bool good = control_proxy_apply(r, r->env->proxy_set);

	request_refuse(r, good ? 0 : -EINVAL, good ? NULL : "proxy: malformed");
}

/* While netctld is away nobody is told: the counters have it. */
void control_proxy_trouble(void *arg, uint8_t server, enum proxy_trouble trouble, uint32_t count)
{
	struct control *control = arg;
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__ProxyTrouble msg;

	if (!control_can_send(control))
		return;
	netdp__proxy_trouble__init(&msg);
	msg.server = server;
	msg.reason = wire_put_text(proxy_trouble_text(trouble));
	msg.count = count;
	env.body_case = NETDP__ENVELOPE__BODY_PROXY_TROUBLE;
	env.proxy_trouble = &msg;
	if (rpc_event(control->rpc, &env, NULL, 0) < 0)
		control_count_dropped(control);
}
