/* SPDX-License-Identifier: MIT */
/*
 * The Host of each HTTP/1 request (RFC 9110 section 7.2, RFC 9112) in what a client sends.
 *
 * A request's head is a unit; the body behind it is passed over by its Content-Length, or chunk by
 * chunk, and then the next request is looked at, on a kept connection and pipelined alike. Which
 * server is meant is the Host's, or the target's where that is absolute; where both are there they
 * must agree. CONNECT means its target.
 *
 * Whatever two readers could read in two ways is refused, since the server behind us is the second
 * reader: line ends other than CR LF, folded lines, two Hosts, two lengths, a length beside
 * chunks, other codings, any of these fields behind the chunks. HTTP/2 without TLS is refused as
 * well, it names servers in compressed frames.
 *
 * Behind CONNECT and behind a request with Upgrade the protocol may be another one, if the server
 * agrees, which is not looked at. So what follows is looked at as a connection's first bytes are,
 * and is judged whichever it is: TLS (see http_host_switches()) or HTTP. Behind an Upgrade it
 * may also begin with a byte that no HTTP request begins with, as WebSocket's frames do; then it is
 * none, and the rest is no matter of names. What some server takes for a blank is no such byte.
 */
#ifndef DATAPLANE_EGRESS_HTTP_HOST_H
#define DATAPLANE_EGRESS_HTTP_HOST_H

#include "dataplane/egress/unit.h"

enum http_host_state { HTTP_HEAD, HTTP_CHUNK, HTTP_CHUNK_END, HTTP_TRAILER };

struct http_host {             /* zeroed at the first byte of a connection */
	size_t seen;           /* bytes of the unit under way that have been looked at */
	size_t line;           /* of a head's: the length of its first line, 0: not known yet */
	uint8_t state;         /* enum http_host_state: what the unit is */
	bool connect, upgrade; /* the request before was, or asked for, such */
};

/* 1: a unit; 0: more bytes are needed; -EPROTO: this is no HTTP/1, or could be misread. */
int http_host_next(struct http_host *http, const uint8_t *bytes, size_t len, struct unit *unit);
/* Whether the next unit may be of a protocol other than HTTP. */
bool http_host_switches(const struct http_host *http);

#endif
