/* SPDX-License-Identifier: MIT */
/*
 * Associations with SOCKS5 proxies. See udp_relay.h.
 *
 *	none ─ a peer wants it ─► being made (a tunnel) ─► stands ─ its TCP connection ends ─► none
 *	                               │
 *	             of no use ────────┴──► none, and straight there from then on where that is allowed
 *
 * The proxy ends an association with the TCP connection that asked for it, and so do we. The next
 * datagram then makes another one. Each has a serial; a peer that was introduced to an older one is
 * introduced again, which asks for its way anew.
 */
#include "dataplane/egress/udp_relay.h"

#include "common/tcp_socket.h"
#include "dataplane/egress/dial_internal.h"
#include "dataplane/egress/tunnel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct udp_relay_name {
	struct endpoint host;
	struct endpoint alias; /* from where it answers; port 0: not known */
	uint32_t used;         /* the relay's n-th use of names */
	char name[PROXY_NAME_MAX + 1];
};

void udp_relay_init(struct udp_relay *r, struct egress *egress, struct loop *loop,
	struct counters *counters, const struct udp_relay_events *events)
{
	*r = (struct udp_relay){.egress = egress,
		.loop = loop,
		.counters = counters,
		.events = events,
		.control = -1};
	TAILQ_INIT(&r->held);
}

/* ---- its life ---- */

static void stop(struct udp_relay *r)
{
	if (r->tunnel)
		tunnel_cancel(r->tunnel);
	r->tunnel = NULL;
	if (r->over)
		event_free(r->over);
	r->over = NULL;
	if (r->control >= 0)
		tcp_socket_close_orderly(r->control);
	r->control = -1;
	r->standing = false;
	egress_relays(r->egress)->n -= r->counted;
	r->counted = false;
	egress_relays(r->egress)->n_names -= r->n_names;
	free(r->names);
	r->names = NULL;
	r->n_names = 0;
}

static void drop_held(struct udp_relay *r)
{
	struct udp_relay_held *held;

	while ((held = udp_relay_next(r))) {
		counter_inc(r->counters, COUNTER_PROXY_UDP_DROPPED);
		free(held);
	}
}

void udp_relay_clear(struct udp_relay *r)
{
	stop(r);
	drop_held(r);
}

static void end(struct udp_relay *r)
{
	stop(r);
	r->events->ended(r);
	drop_held(r);
}

static void on_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end(arg); /* nothing is to be said on it, so that is its end, or the end of our patience */
}

/* RFC 1928: where the proxy names no address it is its own; nor is its loopback ours. */
static struct endpoint relay_address(const struct tunnel_end *made)
{
	struct endpoint at = made->bound;

	if (addr_is_unspecified(&at.addr) ||
		(addr_is_loopback(&at.addr) && !addr_is_loopback(&made->proxy.addr)))
		at.addr = made->proxy.addr;
	return at;
}

static void on_made(void *arg, const struct tunnel_end *made)
{
	struct udp_relay *r = arg;

	r->tunnel = NULL;
	if (made->fd == -EMFILE) { /* ours is the want */
		end(r);
		return;
	}
	if (made->fd < 0) {
		/* A proxy that is well, but has no associations, is no better. */
		egress_proxy_trouble(
			r->egress, r->server, made->of_no_use ? made->trouble : PROXY_UNFIT);
		r->straight = r->direct_on_failure;
		if (r->straight)
			counter_inc(r->counters, COUNTER_PROXY_FALLBACKS);
		end(r);
		return;
	}
	r->control = made->fd;
	tcp_socket_keepalive(r->control);
	r->at = relay_address(made);
	r->over = event_new(loop_base(r->loop), made->fd, EV_READ, on_over, r);
	r->standing = r->over && event_add(r->over, NULL) == 0 && r->at.port;
	if (!r->standing || !r->events->stands(r)) {
		end(r);
		return;
	}
	counter_inc(r->counters, COUNTER_PROXY_ASSOCIATIONS);
}

static int begin(struct udp_relay *r, const struct proxy_server *server)
{
	static const struct endpoint nowhere;
	struct proxies *proxies = egress_proxies(r->egress);

	if (egress_relays(r->egress)->n >= UDP_RELAYS_MAX)
		return -EAGAIN;
	r->server = server->index;
	r->direct_on_failure = proxies->direct_on_failure;
	r->tunnel = tunnel_new(
		r->egress, r->loop, proxies, server, SOCKS5_ASSOCIATE, &nowhere, NULL, on_made, r);
	if (!r->tunnel)
		return -ENOMEM;
	egress_relays(r->egress)->n++;
	r->counted = true;
	r->serial++;
	return 0;
}

/* ---- peers ---- */

static struct udp_relay_name *name_of(const struct udp_relay *r, const struct endpoint *host)
{
	for (size_t i = 0; i < r->n_names; i++) {
		if (endpoint_eq(&r->names[i].host, host))
			return &r->names[i];
	}
	return NULL;
}

static uint32_t next_use(const struct udp_relay *r)
{
	uint32_t last = 0;

	for (size_t i = 0; i < r->n_names; i++) {
		if (r->names[i].used > last)
			last = r->names[i].used;
	}
	return last + 1;
}

/* Room for one more, or the place of the one that was used longest ago; NULL where there is neither. */
static struct udp_relay_name *name_room(struct udp_relay *r)
{
	struct egress_relays *all = egress_relays(r->egress);
	struct udp_relay_name *v, *oldest = r->names;

	if (r->n_names < UDP_PEERS_MAX && all->n_names < UDP_RELAYS_NAMES_MAX) {
		v = realloc(r->names, (r->n_names + 1) * sizeof(*v));
		if (!v)
			return NULL;
		r->names = v;
		all->n_names++;
		return &v[r->n_names++];
	}
	for (size_t i = 1; i < r->n_names; i++) {
		if (r->names[i].used < oldest->used)
			oldest = &r->names[i];
	}
	return oldest;
}

static int add_name(struct udp_relay *r, const struct endpoint *host, const char *name)
{
	struct udp_relay_name *at = name_of(r, host);
	uint32_t use = next_use(r);

	if (!at)
		at = name_room(r);
	if (!at)
		return -ENOMEM;
	*at = (struct udp_relay_name){.host = *host, .used = use};
	memcpy(at->name, name, strlen(name) + 1);
	return 0;
}

/* Asks for the peer's way, and has the association that it wants made. */
static int introduce(struct udp_relay *r, struct udp_peer *peer)
{
	struct proxy_choice choice;
	int rc = egress_udp_way(r->egress, &peer->host, &peer->pass, &choice);

	if (rc < 0)
		return rc;
	if (!choice.server) {
		peer->relay = UDP_PEER_STRAIGHT;
		return 0;
	}
	if (!r->tunnel && !r->standing)
		rc = begin(r, choice.server);
	else if (r->server != choice.server->index)
		rc = -EHOSTUNREACH; /* one proxy a socket */
	if (rc == 0 && choice.name)
		rc = add_name(r, &peer->host, choice.name);
	if (rc == 0)
		peer->relay = r->serial;
	return rc;
}

int udp_relay_way(struct udp_relay *r, struct udp_peer *peer)
{
	int rc;

	if (peer->relay == UDP_PEER_STRAIGHT)
		return 0;
	if (r->straight) {
		peer->relay = UDP_PEER_STRAIGHT;
		return 0;
	}
	if (peer->relay == r->serial && (r->standing || r->tunnel))
		return 1;
	rc = introduce(r, peer);
	if (rc < 0)
		counter_inc(r->counters, COUNTER_PROXY_UDP_DROPPED);
	return rc < 0 ? rc : peer->relay != UDP_PEER_STRAIGHT;
}

/* ---- datagrams ---- */

size_t udp_relay_head(
	const struct udp_relay *r, const struct endpoint *host, uint8_t head[SOCKS5_UDP_HEAD_MAX])
{
	struct udp_relay_name *name = name_of(r, host);

	if (name)
		name->used = next_use(r);
	return socks5_udp_head(head, host, name ? name->name : NULL);
}

/* Which destination, told by name, answers from there. */
static const struct endpoint *aliased(struct udp_relay *r, const struct socks5_udp_from *from)
{
	struct udp_relay_name *latest = NULL;

	for (size_t i = 0; i < r->n_names; i++) {
		struct udp_relay_name *name = &r->names[i];

		if (name->host.port != from->at.port)
			continue;
		if (*from->name ? strcasecmp(name->name, from->name) == 0
				: endpoint_eq(&name->alias, &from->at))
			return &name->host;
		if (!*from->name && !name->alias.port && (!latest || name->used > latest->used))
			latest = name;
	}
	if (!latest)
		return NULL;
	latest->alias = from->at;
	return &latest->host;
}

struct udp_peer *udp_relay_from(
	struct udp_relay *r, struct udp_peers *peers, const uint8_t *data, size_t len, size_t *head)
{
	struct socks5_udp_from from;
	const struct endpoint *host;
	struct udp_peer *peer = NULL;

	*head = socks5_udp_parse(data, len, &from);
	if (*head && !*from.name)
		peer = udp_peers_find(peers, &from.at);
	if (*head && !peer) {
		host = aliased(r, &from);
		peer = host ? udp_peers_find(peers, host) : NULL;
	}
	if (!peer || !r->standing || peer->relay != r->serial) {
		counter_inc(r->counters, COUNTER_PROXY_UDP_DROPPED);
		return NULL;
	}
	counter_inc(r->counters, COUNTER_PROXY_UDP_RX);
	return peer;
}

void udp_relay_hold(struct udp_relay *r, const struct endpoint *host, const struct iovec *data,
	unsigned pieces, size_t len)
{
	struct egress_relays *all = egress_relays(r->egress);
	struct udp_relay_held *held = NULL;
	size_t at = 0;

	if (r->n_held < UDP_RELAY_HELD_MAX && len <= UDP_RELAY_HELD_BYTES - r->held_bytes &&
		len <= UDP_RELAYS_HELD_BYTES - all->held_bytes)
		held = malloc(sizeof(*held) + len);
	if (!held) {
		counter_inc(r->counters, COUNTER_PROXY_UDP_DROPPED);
		return;
	}
	held->host = *host;
	held->len = len;
	for (unsigned i = 0; i < pieces; i++) {
		memcpy(held->data + at, data[i].iov_base, data[i].iov_len);
		at += data[i].iov_len;
	}
	TAILQ_INSERT_TAIL(&r->held, held, entry);
	r->n_held++;
	r->held_bytes += len;
	all->held_bytes += len;
}

struct udp_relay_held *udp_relay_next(struct udp_relay *r)
{
	struct udp_relay_held *held = TAILQ_FIRST(&r->held);

	if (!held)
		return NULL;
	TAILQ_REMOVE(&r->held, held, entry);
	r->n_held--;
	r->held_bytes -= held->len;
	egress_relays(r->egress)->held_bytes -= held->len;
	return held;
}
