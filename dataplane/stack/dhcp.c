/* SPDX-License-Identifier: MIT */
/*
 * The DHCP server. See dhcp.h.
 *
 *	DISCOVER                     OFFER of net->guest
 *	REQUEST  selecting           ours and net->guest: ACK; ours and another address: NAK;
 *	                             another server's: silence
 *	         init-reboot,        net->guest: ACK, else NAK
 *	         renewing, rebinding
 *	INFORM                       ACK without an address or times
 *	DECLINE, RELEASE             the lease is forgotten
 *
 * Every option that we have goes into a reply, those that the client asked for first and in its
 * order, as long as there is room in what the client takes (option 57, else 576 bytes).
 */
#include "dataplane/stack/dhcp.h"

#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define PORT_SERVER 67
#define PORT_CLIENT 68
#define BOOT_REQUEST 1
#define BOOT_REPLY 2
#define HARDWARE_ETHERNET 1
#define FLAG_BROADCAST 0x8000
#define COOKIE 0x63825363
#define REPLY_MIN 300  /* RFC 951; some clients drop shorter ones */
#define REPLY_MAX 1472 /* fits an Ethernet frame */
#define MESSAGE_SIZE_MIN 576
#define LEASE_S 86400u

enum {
	OPTION_PAD = 0,
	OPTION_SUBNET_MASK = 1,
	OPTION_ROUTER = 3,
	OPTION_DNS = 6,
	OPTION_HOSTNAME = 12,
	OPTION_DOMAIN = 15,
	OPTION_MTU = 26,
	OPTION_BROADCAST = 28,
	OPTION_REQUESTED = 50,
	OPTION_LEASE_TIME = 51,
	OPTION_OVERLOAD = 52,
	OPTION_TYPE = 53,
	OPTION_SERVER = 54,
	OPTION_PARAMETERS = 55,
	OPTION_MESSAGE_SIZE = 57,
	OPTION_T1 = 58,
	OPTION_T2 = 59,
	OPTION_CLIENT_ID = 61,
	OPTION_SEARCH = 119,
	OPTION_END = 255,
};

enum { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM };

/* As on the wire; the options follow. */
struct message {
	uint8_t op, htype, hlen, hops;
	be32_t xid;
	be16_t secs, flags;
	be32_t ciaddr, yiaddr, siaddr, giaddr;
	struct mac chaddr;
	uint8_t chaddr_rest[10];
	uint8_t sname[64];
	uint8_t file[128];
	be32_t cookie;
};

struct option {
	const uint8_t *p; /* NULL: not there */
	size_t len;
};

struct request {
	const struct message *m;
	uint8_t type;
	uint8_t overload;
	struct option hostname, parameters, client_id;
	bool has_requested, has_server;
	uint32_t requested, server; /* addresses */
	size_t message_max;         /* bytes of a reply */
};

struct dhcp {
	struct output *out;
	const struct net *net;
	struct counters *counters;
	struct dhcp_events events;
	struct worker_lease lease; /* addr unset: none */
};

/* A reply in the making. */
struct reply {
	size_t len, max;
	uint8_t sent[32]; /* a bit for each option that is in */
	uint8_t bytes[REPLY_MAX];
};

struct dhcp *dhcp_new(struct output *out, const struct net *net, struct counters *counters,
	const struct dhcp_events *events)
{
	struct dhcp *dhcp = calloc(1, sizeof(*dhcp));

	if (!dhcp)
		return NULL;
	dhcp->out = out;
	dhcp->net = net;
	dhcp->counters = counters;
	dhcp->events = *events;
	return dhcp;
}

void dhcp_free(struct dhcp *dhcp)
{
	free(dhcp);
}

/* ---- the lease ---- */

bool dhcp_lease(const struct dhcp *dhcp, struct worker_lease *out)
{
	*out = dhcp->lease;
	return !addr_eq(&dhcp->lease.addr, &addr_any);
}

void dhcp_restore(struct dhcp *dhcp, const struct worker_lease *lease)
{
	dhcp->lease = *lease;
	dhcp->lease.hostname[sizeof(dhcp->lease.hostname) - 1] = '\0';
}

static void tell(struct dhcp *dhcp)
{
	if (dhcp->events.lease)
		dhcp->events.lease(dhcp->events.arg, &dhcp->lease);
}

static void forget(struct dhcp *dhcp)
{
	if (addr_eq(&dhcp->lease.addr, &addr_any))
		return;
	dhcp->lease = (struct worker_lease){.addr = addr_any};
	tell(dhcp);
}

/* The guest's name for itself, of which only printable ASCII may go on. */
static void read_hostname(const struct option *option, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < option->len && n + 1 < size && option->p[i]; i++)
		out[n++] = option->p[i] > 0x20 && option->p[i] < 0x7f ? (char)option->p[i] : '?';
	out[n] = '\0';
}

static void grant(struct dhcp *dhcp, const struct request *r)
{
	struct worker_lease lease = {.addr = dhcp->net->guest, .mac = r->m->chaddr};
	const struct worker_lease *old = &dhcp->lease;

	read_hostname(&r->hostname, lease.hostname, sizeof(lease.hostname));
	if (addr_eq(&old->addr, &lease.addr) && mac_eq(&old->mac, &lease.mac) &&
		strcmp(old->hostname, lease.hostname) == 0)
		return;
	lease.since_ms = clock_wall_ms();
	dhcp->lease = lease;
	tell(dhcp);
}

/* ---- requests ---- */

static void read_option(struct request *r, uint8_t code, const uint8_t *p, size_t len)
{
	size_t size;

	switch (code) {
	case OPTION_TYPE:
		if (len == 1)
			r->type = p[0];
		break;
	case OPTION_OVERLOAD:
		if (len == 1)
			r->overload = p[0];
		break;
	case OPTION_REQUESTED:
		r->has_requested = len == 4;
		r->requested = len == 4 ? load_be32(p) : 0;
		break;
	case OPTION_SERVER:
		r->has_server = len == 4;
		r->server = len == 4 ? load_be32(p) : 0;
		break;
	case OPTION_MESSAGE_SIZE:
		size = len == 2 ? load_be16(p) : 0;
		if (size >= MESSAGE_SIZE_MIN)
			r->message_max = size - IP4_HLEN - UDP_HLEN;
		break;
	case OPTION_HOSTNAME:
		r->hostname = (struct option){p, len};
		break;
	case OPTION_PARAMETERS:
		r->parameters = (struct option){p, len};
		break;
	case OPTION_CLIENT_ID:
		r->client_id = (struct option){p, len};
		break;
	default:
		break;
	}
}

/* False where an option runs beyond its field. */
static bool read_options(struct request *r, struct cursor c)
{
	while (c.left) {
		const uint8_t *code = cursor_take(&c, 1), *len, *p;

		if (*code == OPTION_END)
			return true;
		if (*code == OPTION_PAD)
			continue;
		len = cursor_take(&c, 1);
		p = len ? cursor_take(&c, *len) : NULL;
		if (!p)
			return false;
		read_option(r, *code, p, *len);
	}
	return true;
}

static bool read_request(struct request *r, const struct packet *packet)
{
	struct cursor c = {packet->l4, packet->l4_len};
	const struct udp_hdr *udp = cursor_take(&c, UDP_HLEN);
	size_t len = udp ? be16_get(udp->len) : 0;
	uint8_t overload;

	*r = (struct request){.message_max = MESSAGE_SIZE_MIN - IP4_HLEN - UDP_HLEN};
	if (!udp || len < UDP_HLEN || len - UDP_HLEN > c.left)
		return false;
	c.left = len - UDP_HLEN;
	r->m = cursor_take(&c, sizeof(*r->m));
	if (!r->m || r->m->op != BOOT_REQUEST || r->m->htype != HARDWARE_ETHERNET ||
		r->m->hlen != sizeof(struct mac) || be32_get(r->m->cookie) != COOKIE ||
		(r->m->chaddr.b[0] & 1))
		return false;
	if (!read_options(r, c))
		return false;
	overload = r->overload;
	if ((overload & 1) && !read_options(r, (struct cursor){r->m->file, sizeof(r->m->file)}))
		return false;
	if ((overload & 2) && !read_options(r, (struct cursor){r->m->sname, sizeof(r->m->sname)}))
		return false;
	return r->type >= DISCOVER && r->type <= INFORM;
}

/* ---- replies ---- */

/* Adds an option, in pieces of 255 bytes where it is longer (RFC 3396), or not at all where it
 * does not fit. Keeps a byte for the end. */
static void put(struct reply *reply, uint8_t code, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t pieces = len ? (len + 254) / 255 : 1;

	if (reply->len + len + 2 * pieces + 1 > reply->max)
		return;
	reply->sent[code / 8] |= (uint8_t)(1 << code % 8);
	do {
		size_t piece = len < 255 ? len : 255;

		reply->bytes[reply->len++] = code;
		reply->bytes[reply->len++] = (uint8_t)piece;
		memcpy(reply->bytes + reply->len, p, piece);
		reply->len += piece;
		p += piece;
		len -= piece;
	} while (len);
}

static void put_u8(struct reply *reply, uint8_t code, uint8_t v)
{
	put(reply, code, &v, sizeof(v));
}

static void put_u16(struct reply *reply, uint8_t code, uint16_t v)
{
	be16_t wire = be16(v);

	put(reply, code, &wire, sizeof(wire));
}

static void put_u32(struct reply *reply, uint8_t code, uint32_t v)
{
	be32_t wire = be32(v);

	put(reply, code, &wire, sizeof(wire));
}

static void put_text(struct reply *reply, uint8_t code, const char *text)
{
	size_t len = strlen(text);

	if (len > 0 && len <= 255)
		put(reply, code, text, len);
}

/* "a.b" as 1 a 1 b 0. Its length, or 0 for what is no name or does not fit. */
static size_t encode_name(const char *name, uint8_t *out, size_t room)
{
	size_t at = 0;

	while (*name) {
		size_t label = strcspn(name, ".");

		if (label == 0 || label > 63 || at + label + 2 > room)
			return 0;
		out[at++] = (uint8_t)label;
		memcpy(out + at, name, label);
		at += label;
		name += label;
		if (*name == '.')
			name++;
	}
	if (at)
		out[at++] = 0;
	return at;
}

/* As many search domains as fit (RFC 3397, without compression). */
static void put_search(struct reply *reply, const struct net *net)
{
	uint8_t list[NET_SEARCH_MAX * 256];
	size_t len = 0, room = sizeof(list);

	if (reply->max - reply->len < 16)
		return;
	if (room > reply->max - reply->len - 16) /* headers of the pieces, and the end */
		room = reply->max - reply->len - 16;
	for (size_t i = 0; i < NET_SEARCH_MAX && net->search[i][0]; i++)
		len += encode_name(net->search[i], list + len, room - len);
	if (len)
		put(reply, OPTION_SEARCH, list, len);
}

static void put_parameter(struct reply *reply, const struct net *net, uint8_t code)
{
	uint32_t mask;

	if (reply->sent[code / 8] & (1 << code % 8))
		return;
	mask = net->subnet.bits > 96 ? UINT32_MAX << (128 - net->subnet.bits) : 0;
	switch (code) {
	case OPTION_SUBNET_MASK:
		put_u32(reply, code, mask);
		break;
	case OPTION_ROUTER:
	case OPTION_DNS:
		put_u32(reply, code, addr_v4(&net->gateway));
		break;
	case OPTION_BROADCAST:
		put_u32(reply, code, addr_v4(&net->gateway) | ~mask);
		break;
	case OPTION_MTU:
		put_u16(reply, code, net->mtu);
		break;
	case OPTION_HOSTNAME:
		put_text(reply, code, net->hostname);
		break;
	case OPTION_DOMAIN:
		put_text(reply, code, net->search[0]);
		break;
	case OPTION_SEARCH:
		put_search(reply, net);
		break;
	default:
		break;
	}
}

static void put_parameters(struct reply *reply, const struct net *net, const struct request *r)
{
	static const uint8_t all[] = {
		OPTION_SUBNET_MASK,
		OPTION_ROUTER,
		OPTION_DNS,
		OPTION_MTU,
		OPTION_BROADCAST,
		OPTION_HOSTNAME,
		OPTION_DOMAIN,
		OPTION_SEARCH,
	};

	/* RFC 2132: the mask comes before the router, whatever the client's order is. */
	put_parameter(reply, net, OPTION_SUBNET_MASK);
	for (size_t i = 0; i < r->parameters.len; i++)
		put_parameter(reply, net, r->parameters.p[i]);
	for (size_t i = 0; i < sizeof(all); i++)
		put_parameter(reply, net, all[i]);
}

/* Headers by hand, since neither Ethernet's nor IP's destination need be the guest's own yet. */
static void send_reply(
	struct dhcp *dhcp, const struct reply *reply, const struct mac *mac, const struct addr *dst)
{
	size_t udp_len = UDP_HLEN + reply->len;
	uint8_t *p = output_begin_eth(dhcp->out, mac, ETHERTYPE_IPV4, IP4_HLEN + udp_len);
	struct ip4_hdr *ip = (struct ip4_hdr *)p;
	struct udp_hdr *udp;
	uint64_t sum;
	uint16_t folded;

	if (!p)
		return;
	*ip = (struct ip4_hdr){
		.version_ihl = 0x45,
		.total_len = be16((uint16_t)(IP4_HLEN + udp_len)),
		.ttl = 64,
		.proto = IP_PROTO_UDP,
		.src = be32(addr_v4(&dhcp->net->gateway)),
		.dst = be32(addr_v4(dst)),
	};
	ip->csum = be16((uint16_t)~csum_fold(csum_add(0, ip, IP4_HLEN)));
	udp = (struct udp_hdr *)(p + IP4_HLEN);
	*udp = (struct udp_hdr){
		.src = be16(PORT_SERVER),
		.dst = be16(PORT_CLIENT),
		.len = be16((uint16_t)udp_len),
	};
	memcpy(p + IP4_HLEN + UDP_HLEN, reply->bytes, reply->len);
	sum = csum_pseudo(&dhcp->net->gateway, dst, IP_PROTO_UDP, udp_len);
	folded = (uint16_t)~csum_fold(csum_add(sum, udp, udp_len));
	udp->csum = be16(folded ? folded : 0xffff);
	output_end_eth(dhcp->out, IP4_HLEN + udp_len);
	counter_inc(dhcp->counters, COUNTER_DHCP_REPLIES);
}

/* RFC 2131 section 4.1: where a reply of this type goes to. */
static void address_reply(
	struct dhcp *dhcp, const struct request *r, uint8_t type, struct mac *mac, struct addr *dst)
{
	static const struct mac broadcast = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	struct addr ciaddr = addr_from_v4(be32_get(r->m->ciaddr));

	*mac = broadcast;
	*dst = addr_from_v4(UINT32_MAX);
	if (type == NAK)
		return;
	if (net_guest_source(dhcp->net, &ciaddr)) {
		*mac = r->m->chaddr;
		*dst = ciaddr;
	} else if (r->type != INFORM && !(be16_get(r->m->flags) & FLAG_BROADCAST)) {
		*mac = r->m->chaddr;
		*dst = dhcp->net->guest;
	}
}

static void answer(struct dhcp *dhcp, const struct request *r, uint8_t type)
{
	struct reply reply = {.len = sizeof(struct message), .max = r->message_max};
	struct message *m = (struct message *)reply.bytes;
	struct mac mac;
	struct addr dst;

	if (reply.max > REPLY_MAX)
		reply.max = REPLY_MAX;
	if (reply.max > dhcp->net->mtu - IP4_HLEN - UDP_HLEN)
		reply.max = dhcp->net->mtu - IP4_HLEN - UDP_HLEN;
	if (reply.max < REPLY_MIN) /* an MTU below 576; what cannot be sent the link drops */
		reply.max = REPLY_MIN;
	m->op = BOOT_REPLY;
	m->htype = HARDWARE_ETHERNET;
	m->hlen = sizeof(struct mac);
	m->xid = r->m->xid;
	m->flags = r->m->flags;
	m->chaddr = r->m->chaddr;
	m->cookie = be32(COOKIE);
	if (type == ACK)
		m->ciaddr = r->m->ciaddr;
	if (type != NAK && r->type != INFORM)
		m->yiaddr = be32(addr_v4(&dhcp->net->guest));
	put_u8(&reply, OPTION_TYPE, type);
	put_u32(&reply, OPTION_SERVER, addr_v4(&dhcp->net->gateway));
	if (r->client_id.len) /* RFC 6842 */
		put(&reply, OPTION_CLIENT_ID, r->client_id.p, r->client_id.len);
	if (type != NAK && r->type != INFORM) {
		put_u32(&reply, OPTION_LEASE_TIME, LEASE_S);
		put_u32(&reply, OPTION_T1, LEASE_S / 2);
		put_u32(&reply, OPTION_T2, LEASE_S / 8 * 7);
	}
	if (type != NAK)
		put_parameters(&reply, dhcp->net, r);
	reply.bytes[reply.len++] = OPTION_END;
	if (reply.len < REPLY_MIN)
		reply.len = REPLY_MIN;
	address_reply(dhcp, r, type, &mac, &dst);
	send_reply(dhcp, &reply, &mac, &dst);
}

static void request(struct dhcp *dhcp, const struct request *r)
{
	uint32_t guest = addr_v4(&dhcp->net->guest), ciaddr = be32_get(r->m->ciaddr), wanted;

	if (r->has_server && r->server != addr_v4(&dhcp->net->gateway))
		return;
	wanted = ciaddr ? ciaddr : r->requested;
	if (!ciaddr && !r->has_requested) {
		counter_inc(dhcp->counters, COUNTER_DHCP_MALFORMED);
		return;
	}
	if (wanted != guest) {
		answer(dhcp, r, NAK);
		return;
	}
	grant(dhcp, r);
	answer(dhcp, r, ACK);
}

void dhcp_input(struct dhcp *dhcp, const struct packet *packet)
{
	struct request r;

	if (!read_request(&r, packet)) {
		counter_inc(dhcp->counters, COUNTER_DHCP_MALFORMED);
		return;
	}
	counter_inc(dhcp->counters, COUNTER_DHCP_REQUESTS);
	if (be32_get(r.m->giaddr) != 0) /* nobody relays on this link */
		return;
	switch (r.type) {
	case DISCOVER:
		answer(dhcp, &r, OFFER);
		break;
	case REQUEST:
		request(dhcp, &r);
		break;
	case INFORM:
		answer(dhcp, &r, ACK);
		break;
	case DECLINE:
	case RELEASE:
		if (!r.has_server || r.server == addr_v4(&dhcp->net->gateway))
			forget(dhcp);
		break;
	default: /* what servers send */
		break;
	}
}
