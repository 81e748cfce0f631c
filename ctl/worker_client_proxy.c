/* SPDX-License-Identifier: MIT */
/* What a worker is told of proxies. See worker_client.h; rpc.c wipes what it sends. */
#include "ctl/worker_client_internal.h"

#include <stdlib.h>
#include <string.h>

static void put_servers(const struct worker_proxies *proxies, struct worker_client_proxy *out)
{
	for (size_t i = 0; i < proxies->n_servers; i++) {
		const struct worker_proxy_server *server = &proxies->servers[i];
		Netdp__ProxyServer *msg = &out->servers[i];

		netdp__proxy_server__init(msg);
		msg->kind = server->socks5 ? NETDP__PROXY_KIND__PROXY_KIND_SOCKS5
					   : NETDP__PROXY_KIND__PROXY_KIND_HTTP;
		for (size_t k = 0; k < server->n_addrs; k++)
			out->addrs[i][k] = wire_put_addr(&server->addrs[k]);
		msg->addrs = out->addrs[i];
		msg->n_addrs = server->n_addrs;
		msg->port = server->port;
		msg->auth = server->auth;
		msg->user = wire_put(server->user, strlen(server->user));
		msg->password = wire_put(server->password, strlen(server->password));
		out->server_pointers[i] = msg;
	}
}

void worker_client_proxy_put(const struct worker_proxies *proxies, struct worker_client_proxy *out)
{
	netdp__proxy_set__init(&out->msg);
	out->list = worker_client_alloc(proxies->n_exceptions, sizeof(*out->list));
	out->pointers = worker_client_alloc(proxies->n_exceptions, sizeof(*out->pointers));
	put_servers(proxies, out);
	for (size_t i = 0; i < proxies->n_exceptions; i++) {
		const struct proxy_exception *exception = &proxies->exceptions[i];

		netdp__proxy_bypass__init(&out->list[i]);
		if (exception->by_name) {
			out->list[i].domain = wire_put_text(exception->domain);
		} else {
			out->list[i].addr = wire_put_addr(&exception->prefix.addr);
			out->list[i].bits = exception->prefix.bits;
		}
		out->pointers[i] = &out->list[i];
	}
	out->msg.servers = out->server_pointers;
	out->msg.n_servers = proxies->n_servers;
	out->msg.bypass = out->pointers;
	out->msg.n_bypass = proxies->n_exceptions;
	out->msg.http = proxies->of[WORKER_PROXY_HTTP];
	out->msg.https = proxies->of[WORKER_PROXY_HTTPS];
	out->msg.other = proxies->of[WORKER_PROXY_OTHER];
	out->msg.direct_on_failure = proxies->direct_on_failure;
	out->msg.fake_ip = proxies->fake_ip;
	out->msg.same_proxies = proxies->same_proxies;
}

void worker_client_proxy_done(struct worker_client_proxy *out)
{
	free(out->list);
	free(out->pointers);
}

void worker_client_proxy_set(struct worker_client *client, const struct worker_proxies *proxies,
	worker_done_fn *done, void *arg)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	struct worker_client_proxy msg;

	worker_client_proxy_put(proxies, &msg);
	env.body_case = NETDP__ENVELOPE__BODY_PROXY_SET;
	env.proxy_set = &msg.msg;
	worker_client_call_plain(client, &env, NULL, 0, WORKER_CLIENT_DEADLINE_MS, done, arg);
	worker_client_proxy_done(&msg);
}
