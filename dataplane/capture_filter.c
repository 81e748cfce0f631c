/* SPDX-License-Identifier: MIT */
/* Which frames a capture by ports has. See capture.h. */
#include "dataplane/capture.h"

#include "common/be.h"
#include "dataplane/stack/frame.h"

#define IPV4_HLEN_MIN 20u
#define IPV6_HLEN 40u
#define ETHERTYPE_4 0x0800u
#define ETHERTYPE_6 0x86ddu

static bool has_port(const struct capture_wish *wish, const uint8_t *ports)
{
	uint16_t from = load_be16(ports), to = load_be16(ports + 2);

	for (size_t i = 0; i < wish->n_ports; i++) {
		if (wish->ports[i] == from || wish->ports[i] == to)
			return true;
	}
	return false;
}

/* Where the transport header of this protocol begins, or 0. Later fragments have none. */
static size_t transport_of(const uint8_t *ip, size_t len, uint8_t *proto)
{
	size_t hlen;

	if (len < IPV4_HLEN_MIN || ip[0] >> 4 != 4 || load_be16(ip + 6) & 0x1fff)
		return 0;
	hlen = (size_t)(ip[0] & 15) * 4;
	*proto = ip[9];
	return hlen >= IPV4_HLEN_MIN ? hlen : 0;
}

bool capture_wants(const struct capture_wish *wish, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETH_HLEN;
	size_t ip_len, at = 0;
	uint8_t proto = 0;

	if (!wish->n_ports)
		return true;
	if (len < ETH_HLEN)
		return false;
	ip_len = len - ETH_HLEN;
	if (load_be16(frame + 12) == ETHERTYPE_4) {
		at = transport_of(ip, ip_len, &proto);
	} else if (load_be16(frame + 12) == ETHERTYPE_6 && ip_len >= IPV6_HLEN) {
		proto = ip[6];
		at = IPV6_HLEN;
	}
	if (!at || (proto != IP_PROTO_TCP && proto != IP_PROTO_UDP) || ip_len < at + 4)
		return false;
	return has_port(wish, ip + at);
}
