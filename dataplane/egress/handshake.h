/* SPDX-License-Identifier: MIT */
/*
 * What is said to a proxy before a flow's first byte, and what it answers: one shape for SOCKS5
 * (socks5.h) and HTTP CONNECT (http_connect.h). No sockets here: tunnel.h has these.
 *
 *	handshake_begin()   →  out has the first words
 *	send all of out, handshake_sent(), handshake_feed() what comes, until it is no longer
 *	HANDSHAKE_MORE; after each feed there may be something to send again
 *
 * What is fed and belongs to the handshake is counted in *used, and not a byte beyond: the rest is the
 * flow's own.
 */
#ifndef DATAPLANE_EGRESS_HANDSHAKE_H
#define DATAPLANE_EGRESS_HANDSHAKE_H

#include "common/addr.h"
#include "dataplane/egress/http_connect.h"
#include "dataplane/egress/proxy.h"
#include "dataplane/egress/socks5.h"

#include <stddef.h>
#include <stdint.h>

#define HANDSHAKE_OUT_MAX 1536 /* a CONNECT with the longest name, user and password */

struct handshake {
	const struct proxy_server *server; /* the caller's, longer than this */
	enum socks5_command command;
	struct endpoint dst;
	char name[PROXY_NAME_MAX + 1]; /* "": the proxy is told dst.addr */
	uint8_t out[HANDSHAKE_OUT_MAX];
	size_t out_len, out_at; /* to be sent: what is between */
	int err;                /* of HANDSHAKE_REFUSED: negative errno for the guest */
	struct endpoint bound;  /* HANDSHAKE_DONE of SOCKS5: what the proxy says of its end */
	union {
		struct socks5 socks5;
		struct http_connect http;
	};
};

enum handshake_step {
	HANDSHAKE_MORE,
	HANDSHAKE_DONE,
	HANDSHAKE_REFUSED, /* the proxy is well, and says no */
	HANDSHAKE_DENIED,  /* it does not take us for one of its users */
	HANDSHAKE_BROKEN   /* that was not its protocol */
};

/* name may be NULL. SOCKS5_ASSOCIATE is for SOCKS5 servers only. */
void handshake_begin(struct handshake *h, const struct proxy_server *server,
	enum socks5_command command, const struct endpoint *dst, const char *name);
/* So many bytes of out have gone. What has is wiped. */
void handshake_sent(struct handshake *h, size_t len);
enum handshake_step handshake_feed(
	struct handshake *h, const uint8_t *bytes, size_t len, size_t *used);
/* Wipes it; nothing is to be freed. */
void handshake_clear(struct handshake *h);

#endif
