/* SPDX-License-Identifier: MIT */
/* HTTP CONNECT (RFC 9110 section 9.3.6, RFC 9112), the client's side. See http_connect.c; nobody but
 * handshake.c includes this for its functions. */
#ifndef DATAPLANE_EGRESS_HTTP_CONNECT_H
#define DATAPLANE_EGRESS_HTTP_CONNECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handshake;
enum handshake_step;

#define HTTP_CONNECT_HEAD_MAX (16u << 10) /* bytes of answers, over all that are not final */

struct http_connect {
	uint32_t total; /* bytes of the answer so far */
	uint32_t line;  /* of the line so far, without CRs */
	uint16_t status;
	bool first;     /* the line is a status line */
	char start[13]; /* what it begins with: "HTTP/1.1 200 " */
};

void http_connect_begin(struct handshake *h);
enum handshake_step http_connect_feed(
	struct handshake *h, const uint8_t *bytes, size_t len, size_t *used);

#endif
