/* SPDX-License-Identifier: MIT */
/* SOCKS5 (RFC 1928, RFC 1929), the client's side of its messages. See socks5.c; nobody but
 * handshake.c and udp_relay.c includes this for its functions. */
#ifndef DATAPLANE_EGRESS_SOCKS5_H
#define DATAPLANE_EGRESS_SOCKS5_H

#include "common/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handshake;
enum handshake_step;

enum socks5_command { SOCKS5_CONNECT = 1, SOCKS5_ASSOCIATE = 3 };

#define SOCKS5_REPLY_MAX (4 + 1 + 255 + 2)
/* Before each datagram of an association: RSV, FRAG and an address. */
#define SOCKS5_UDP_HEAD_MAX (3 + 1 + 1 + 255 + 2)

struct socks5 {
	uint8_t state;
	uint16_t need, got; /* bytes of the message that is awaited */
	uint8_t in[SOCKS5_REPLY_MAX];
};

void socks5_begin(struct handshake *h);
enum handshake_step socks5_feed(
	struct handshake *h, const uint8_t *bytes, size_t len, size_t *used);

/* The header of a datagram to a destination, by its name where name is not NULL (at most
 * PROXY_NAME_MAX long). Returns its length. */
size_t socks5_udp_head(
	uint8_t head[SOCKS5_UDP_HEAD_MAX], const struct endpoint *dst, const char *name);

/* Where a datagram of an association came from. */
struct socks5_udp_from {
	struct endpoint at; /* its address is unset where there is a name */
	char name[256];     /* "" where there is an address */
};

/* The length of the header before the payload; 0 for what is none, or a fragment (FRAG is not
 * implemented, as RFC 1928 allows, and such datagrams are dropped). */
size_t socks5_udp_parse(const uint8_t *data, size_t len, struct socks5_udp_from *from);

#endif
