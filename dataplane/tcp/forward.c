/* SPDX-License-Identifier: MIT */
/*
 * Connections to the guest. Forwards: listening sockets that netctld bound and handed over, whose
 * clients the guest is asked about at once; a guest that refuses resets the client. And single
 * sockets that somebody wants connected (tcp_open()).
 *
 * The guest sees the client's own address. Where that would confuse it (loopback, its own subnet,
 * another family, a 4-tuple in use) or the operator says so, the client appears as the gateway, on
 * a port of 61000 to 65535.
 */
#include "dataplane/tcp/tcp_internal.h"

#include "common/tcp_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static bool taken(const struct tcp *tcp, uint16_t guest_port, const struct endpoint *remote)
{
	struct flow_key key = {.guest = {tcp->net->guest, guest_port}, .remote = *remote};

	return flow_table_find(tcp->flows, &key) != NULL;
}

/* As whom the guest's port sees a client, NULL where that has no address or none to be shown. False
 * where every port of the gateway's is in use. */
static bool choose_source(
	struct tcp *tcp, uint16_t port, const struct endpoint *client, struct endpoint *out)
{
	const unsigned ports = 65536 - TCP_SNAT_PORT_FIRST;

	if (client && addr_is_v4(&client->addr) && !addr_is_loopback(&client->addr) &&
		!addr_is_unspecified(&client->addr) &&
		!prefix_contains(&tcp->net->subnet, &client->addr) && !taken(tcp, port, client)) {
		*out = *client;
		return true;
	}
	out->addr = tcp->net->gateway;
	for (unsigned i = 0; i < ports; i++) {
		out->port = (uint16_t)(TCP_SNAT_PORT_FIRST + tcp->next_snat_port++ % ports);
		if (!taken(tcp, port, out))
			return true;
	}
	return false;
}

static void on_client(void *arg, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct tcp_listener *l = arg;
	struct tcp *tcp = l->tcp;
	bool is_tcp = !l->forward.unix_listener;
	uint16_t port = l->forward.to_port;
	struct endpoint client = {.port = 0}, source;

	if (is_tcp)
		tcp_socket_splice(fd);
	if (is_tcp && endpoint_from_sockaddr(sa, len, &client) < 0)
		close(fd);
	else if (!link_is_up(tcp->out->link) ||
		!choose_source(tcp, port, is_tcp && !l->forward.snat ? &client : NULL, &source))
		close(fd); /* nobody there to ask: a RST, by the linger option */
	else
		handshake_to_guest(tcp, port, fd, is_tcp, &source);
}

int tcp_open(struct tcp *tcp, struct tcp_open *open, uint16_t port, const struct tcp_host *host,
	const struct endpoint *client)
{
	struct endpoint source;
	struct tcp_flow *f;
	int err = 0;

	if (!link_is_up(tcp->out->link))
		err = -ENOTCONN;
	else if (tcp->inbound.under_way >= ACCEPT_UNDER_WAY_MAX)
		err = -EAGAIN;
	else if (!choose_source(tcp, port, client, &source))
		err = -EADDRNOTAVAIL;
	if (err < 0) {
		close(host->fd);
		return err;
	}
	f = handshake_to_guest(tcp, port, host->fd, host->tcp, &source);
	if (!f)
		return -EMFILE;
	if (host_side_put_back(&f->host, host->prefix, host->prefix_len) < 0) {
		flow_reset(f);
		return -ENOMEM;
	}
	f->readable = host->prefix_len != 0;
	f->open = open;
	open->flow = f;
	return 0;
}

void tcp_open_cancel(struct tcp_open *open)
{
	struct tcp_flow *f = open->flow;

	f->open = NULL;
	flow_reset(f);
}

static struct tcp_listener **find(const struct tcp *tcp, const char *id)
{
	struct tcp_listener **at = (struct tcp_listener **)(uintptr_t)&tcp->listeners;

	while (*at && strcmp((*at)->forward.id, id) != 0)
		at = &(*at)->next;
	return at;
}

int tcp_forward_add(struct tcp *tcp, int fd, const struct worker_forward *forward)
{
	struct tcp_listener **at = find(tcp, forward->id), *l = NULL;
	int err = -EEXIST;

	if (!*at) {
		l = calloc(1, sizeof(*l));
		err = -ENOMEM;
	}
	if (!l) {
		close(fd);
		return err;
	}
	l->tcp = tcp;
	l->forward = *forward;
	l->acceptor.arg = l;
	l->acceptor.client = on_client;
	err = acceptor_start(&l->acceptor, &tcp->inbound, fd);
	if (err < 0) {
		free(l);
		return err;
	}
	*at = l;
	tcp->listener_count++;
	return 0;
}

int tcp_forward_delete(struct tcp *tcp, const char *id)
{
	struct tcp_listener **at = find(tcp, id), *l = *at;

	if (!l)
		return -ENOENT;
	*at = l->next;
	acceptor_stop(&l->acceptor);
	free(l);
	tcp->listener_count--;
	return 0;
}

size_t tcp_forward_count(const struct tcp *tcp)
{
	return tcp->listener_count;
}

const struct worker_forward *tcp_forward_at(const struct tcp *tcp, size_t index, int *fd)
{
	const struct tcp_listener *l = tcp->listeners;

	while (l && index--)
		l = l->next;
	if (!l)
		return NULL;
	*fd = l->acceptor.fd;
	return &l->forward;
}
