/* SPDX-License-Identifier: MIT */
/*
 * UDP forwards: clients of the host's sockets, as flows of the guest's.
 *
 *	client C ──► forward's socket     (forward, C) in the table?  no: choose what the guest sees,
 *	                                  C itself or gateway:61000…65535
 *	                                  … and to guest:to_port from there
 *	guest:to_port ──► what it saw     back out of the forward's socket to C, from the address of
 *	                                  the host's that C had sent to
 *
 * C itself can be seen only where the guest's answer to it would come to us and to this flow
 * alone: not for loopback, addresses of the guest's own subnet, another family, or where the
 * guest's port already speaks with C.
 */
#include "dataplane/stack/udp_flow.h"

#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORT_FIRST 61000
#define PORT_TRIES 128
#define FORWARDS_MAX 256

static void forward_received(struct udp_sock *sock, const struct udp_batch_rx *rx);
static void forward_failed(struct udp_sock *sock, const struct udp_batch_error *error);

static const struct udp_sock_ops forward_ops = {
	.received = forward_received,
	.failed = forward_failed,
};

static struct udp_forward *of_sock(struct udp_sock *sock)
{
	return (struct udp_forward *)((char *)sock - offsetof(struct udp_forward, sock));
}

/* ---- clients ---- */

/* The key in udp->clients: a forward's number stands where the guest does elsewhere. */
static struct flow_key client_key(const struct udp_forward *f, const struct endpoint *client)
{
	struct flow_key key = {.remote = *client};

	memcpy(key.guest.addr.b, &f->serial, sizeof(f->serial));
	return key;
}

static struct udp_client *client_find(const struct udp_forward *f, const struct endpoint *client)
{
	struct flow_key key = client_key(f, client);
	struct flow_entry *e = flow_table_find(f->udp->clients, &key);

	return e ? (struct udp_client *)((char *)e - offsetof(struct udp_client, by_client)) : NULL;
}

void udp_client_free(struct udp_client *client)
{
	struct udp *udp = client->flow.udp;

	timer_disarm(loop_wheel(udp->loop), &client->flow.idle);
	flow_table_remove(udp->flows, &client->flow.entry);
	flow_table_remove(udp->clients, &client->by_client);
	free(client);
}

static void client_idle(struct timer *timer)
{
	struct udp_client *client =
		(struct udp_client *)((char *)timer - offsetof(struct udp_client, flow.idle));
	struct udp *udp = client->flow.udp;
	uint64_t quiet = loop_now(udp->loop) - client->flow.used;

	if (quiet >= UDP_IDLE_MS)
		udp_client_free(client);
	else
		timer_arm(loop_wheel(udp->loop), timer, UDP_IDLE_MS - quiet);
}

/* Whether the guest's port already speaks with this remote. */
static bool taken(const struct udp *udp, const struct flow_key *key)
{
	int family = addr_family(&key->remote.addr);
	struct udp_out *out;

	if (flow_table_find(udp->flows, key))
		return true;
	out = udp_out_find(udp, &key->guest, family);
	return out && udp_peers_find(&out->peers, &key->remote);
}

static bool keeps_address(const struct udp_forward *f, const struct flow_key *key)
{
	const struct addr *client = &key->remote.addr;
	const struct net *net = f->udp->net;

	return !f->spec.snat && addr_family(client) == addr_family(&key->guest.addr) &&
		!addr_is_loopback(client) && !addr_is_unspecified(client) &&
		!addr_is_multicast(client) && !net_is_broadcast(net, client) &&
		!prefix_contains(&net->subnet, client) && !taken(f->udp, key);
}

/* Sets key->remote to what the guest is to see; false where no port is free. */
static bool choose_remote(struct udp_forward *f, struct flow_key *key)
{
	struct udp *udp = f->udp;

	if (keeps_address(f, key))
		return true;
	key->remote.addr = udp->net->gateway;
	for (int i = 0; i < PORT_TRIES; i++) {
		if (udp->next_port < PORT_FIRST)
			udp->next_port = PORT_FIRST;
		key->remote.port = udp->next_port++; /* wraps to 0, which is below the first */
		if (!taken(udp, key))
			return true;
	}
	return false;
}

static struct udp_client *client_new(struct udp_forward *f, const struct udp_batch_rx *rx)
{
	struct udp *udp = f->udp;
	struct udp_client *client;
	struct flow_key key = {
		.guest = {.addr = udp->net->guest, .port = f->spec.to_port},
		.remote = rx->src,
	};

	if (flow_table_count(udp->clients) >= UDP_CLIENTS_MAX ||
		flow_table_count(udp->flows) >= UDP_FLOWS_MAX || !choose_remote(f, &key)) {
		counter_inc(udp->counters, COUNTER_UDP_BOUNDS);
		return NULL;
	}
	if (limits_flow(udp->limits) < 0)
		return NULL;
	client = calloc(1, sizeof(*client));
	if (!client)
		return NULL;
	client->flow.entry.key = key;
	client->flow.udp = udp;
	client->flow.forward = f;
	client->flow.idle.fire = client_idle;
	client->flow.created = loop_now(udp->loop);
	client->by_client.key = client_key(f, &rx->src);
	if (flow_table_insert(udp->flows, &client->flow.entry) < 0) {
		free(client);
		return NULL;
	}
	if (flow_table_insert(udp->clients, &client->by_client) < 0) {
		flow_table_remove(udp->flows, &client->flow.entry);
		free(client);
		return NULL;
	}
	timer_arm(loop_wheel(udp->loop), &client->flow.idle, UDP_IDLE_MS);
	counter_inc(udp->counters, COUNTER_UDP_FLOWS);
	return client;
}

static void forward_received(struct udp_sock *sock, const struct udp_batch_rx *rx)
{
	struct udp_forward *f = of_sock(sock);
	struct udp_client *client;

	if (rx->src.port == 0)
		return;
	client = client_find(f, &rx->src);
	if (!client)
		client = client_new(f, rx);
	if (!client)
		return;
	client->local = rx->local;
	udp_deliver_batch(
		&client->flow, &client->flow.entry.key.remote, &client->flow.entry.key.guest, rx);
}

static void forward_failed(struct udp_sock *sock, const struct udp_batch_error *error)
{
	struct udp_client *client = client_find(of_sock(sock), &error->dst);

	if (client)
		udp_relay_error(client->flow.udp, &client->flow.entry.key, error);
}

void udp_client_send(struct udp_client *client, const void *data, size_t len)
{
	client->flow.used = loop_now(client->flow.udp->loop);
	client->flow.tx_bytes += len;
	udp_sock_send(&client->flow.forward->sock, &client->by_client.key.remote, &client->local,
		data, len);
}

/* ---- forwards ---- */

/* The family of a UDP socket, and whether it is bound to all addresses. */
static int look_at(int fd, bool *wildcard)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof(ss);
	struct endpoint local;
	int type = 0;
	socklen_t type_len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 || type != SOCK_DGRAM)
		return -EINVAL;
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
		endpoint_from_sockaddr((struct sockaddr *)&ss, len, &local) < 0)
		return -EINVAL;
	if (local.port == 0)
		return -EINVAL;
	*wildcard = addr_is_unspecified(&local.addr);
	return ss.ss_family;
}

static size_t index_of(const struct udp *udp, const char *id)
{
	size_t i;

	for (i = 0; i < udp->forward_count; i++) {
		if (strcmp(udp->forwards[i]->spec.id, id) == 0)
			break;
	}
	return i;
}

static int add(struct udp *udp, int fd, const struct worker_forward *spec)
{
	struct udp_forward **forwards;
	struct udp_forward *f;
	bool wildcard = false;
	int family, err;

	family = look_at(fd, &wildcard);
	if (family < 0)
		return family;
	if (index_of(udp, spec->id) < udp->forward_count)
		return -EEXIST;
	if (udp->forward_count >= FORWARDS_MAX)
		return -ENOSPC;
	err = os_set_nonblock(fd, true);
	if (err < 0)
		return err;
	forwards = realloc(udp->forwards, (udp->forward_count + 1) * sizeof(struct udp_forward *));
	if (!forwards)
		return -ENOMEM;
	udp->forwards = forwards;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->spec = *spec;
	f->udp = udp;
	f->serial = udp->next_serial++;
	err = udp_sock_open(&f->sock, &udp->io, fd, family,
		UDP_BATCH_ERRORS | UDP_BATCH_GRO | (wildcard ? UDP_BATCH_LOCAL : 0), &forward_ops);
	if (err < 0) {
		free(f);
		return err;
	}
	udp->forwards[udp->forward_count++] = f;
	return 0;
}

int udp_forward_add(struct udp *udp, int fd, const struct worker_forward *spec)
{
	int err = add(udp, fd, spec);

	if (err < 0)
		close(fd);
	return err;
}

static void forward_free(struct udp_forward *f)
{
	struct udp *udp = f->udp;
	uint32_t slot = 0;
	struct flow_entry *e;

	while ((e = flow_table_next(udp->flows, &slot))) {
		if (((struct udp_flow *)e)->forward == f)
			udp_client_free((struct udp_client *)e);
	}
	udp_sock_close(&f->sock);
	free(f);
}

int udp_forward_delete(struct udp *udp, const char *id)
{
	size_t i = index_of(udp, id);

	if (i == udp->forward_count)
		return -ENOENT;
	forward_free(udp->forwards[i]);
	udp->forward_count--;
	memmove(&udp->forwards[i], &udp->forwards[i + 1],
		(udp->forward_count - i) * sizeof(struct udp_forward *));
	return 0;
}

void udp_forwards_clear(struct udp *udp)
{
	for (size_t i = 0; i < udp->forward_count; i++)
		forward_free(udp->forwards[i]);
	free(udp->forwards);
	udp->forwards = NULL;
	udp->forward_count = 0;
}

size_t udp_forward_count(const struct udp *udp)
{
	return udp->forward_count;
}

const struct worker_forward *udp_forward_at(const struct udp *udp, size_t index, int *fd)
{
	if (index >= udp->forward_count)
		return NULL;
	*fd = udp->forwards[index]->sock.fd;
	return &udp->forwards[index]->spec;
}
