/* SPDX-License-Identifier: MIT */
/*
 * ICMP (RFC 792): echo through the host's ping sockets, and the errors that we owe the guest.
 *
 * An echo to the gateway we answer ourselves. Any other goes out of an unprivileged ping socket,
 * one per guest (address, id) and destination family, which the kernel gives an id of its own;
 * answers come back under the guest's id, from addresses that it asked only. A socket lives for
 * 10 s after its last echo; there are at most 4,096. Where the policy, or the host
 * (net.ipv4.ping_group_range), forbids echo, the guest is told "administratively prohibited".
 */
#ifndef DATAPLANE_STACK_ICMP_H
#define DATAPLANE_STACK_ICMP_H

#include "dataplane/loop.h"
#include "dataplane/stack/flow.h"
#include "dataplane/stack/output.h"

struct egress;
struct icmp;
struct limits;

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12

/* Codes of ICMP_UNREACHABLE. */
#define ICMP_CODE_NET 0
#define ICMP_CODE_HOST 1
#define ICMP_CODE_PROTOCOL 2
#define ICMP_CODE_PORT 3
#define ICMP_CODE_FRAGMENTATION 4
#define ICMP_CODE_PROHIBITED 13

struct icmp *icmp_new(struct loop *loop, struct output *out, const struct net *net,
	struct counters *counters, struct egress *egress);
void icmp_free(struct icmp *icmp);                              /* before its loop */
void icmp_set_limits(struct icmp *icmp, struct limits *limits); /* until then there are none */

/* An ICMP packet of the guest's, whole, its checksum right. */
void icmp_input(struct icmp *icmp, const struct packet *packet);

/*
 * Tells the guest, from the gateway, that its packet could not be served; mtu is the next hop's
 * for ICMP_CODE_FRAGMENTATION, else 0. Says nothing where RFC 1122 section 3.2.2 forbids it (about
 * ICMP errors, later fragments, broadcast, multicast), nor more than 1,000 times a second
 * (bursts of 100).
 */
void icmp_send_error(struct icmp *icmp, const struct packet *offending, uint8_t type, uint8_t code,
	uint16_t mtu);

/*
 * The same for a datagram that is no longer there, from what the host's kernel said of it: key is
 * the flow as the guest sees it (guest.port is the id for ICMP), data what is known of its payload.
 * from is who sent the error; where it is unset, or an address of the host's inside, the guest
 * hears it from the gateway.
 */
struct icmp_relay {
	uint8_t proto; /* IP_PROTO_UDP or IP_PROTO_ICMP */
	uint8_t type, code;
	uint16_t mtu;
	struct addr from;
	struct flow_key key;
	uint16_t seq; /* ICMP only */
	const uint8_t *data;
	size_t data_len;
};

void icmp_relay_error(struct icmp *icmp, const struct icmp_relay *error);

/* The code of ICMP_UNREACHABLE that says a (positive) errno, or -1 where none does. */
int icmp_code_of(int err);

void icmp_reset(struct icmp *icmp);   /* ends all flows: another guest, or none */
void icmp_recheck(struct icmp *icmp); /* ends those that a new policy forbids */

size_t icmp_flow_count(const struct icmp *icmp);
/* The flow at *cursor or after it, 0 first; false at the end. */
bool icmp_flow_next(const struct icmp *icmp, uint32_t *cursor, struct flow_info *info);

#endif
