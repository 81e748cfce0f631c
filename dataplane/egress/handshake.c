/* SPDX-License-Identifier: MIT */
/* One shape for both kinds of handshake. See handshake.h. */
#include "dataplane/egress/handshake.h"

#include "common/os.h"

#include <string.h>

void handshake_begin(struct handshake *h, const struct proxy_server *server,
	enum socks5_command command, const struct endpoint *dst, const char *name)
{
	memset(h, 0, sizeof(*h));
	h->server = server;
	h->command = command;
	h->dst = *dst;
	if (name && strlen(name) <= PROXY_NAME_MAX)
		memcpy(h->name, name, strlen(name) + 1);
	if (server->kind == PROXY_SOCKS5)
		socks5_begin(h);
	else
		http_connect_begin(h);
}

void handshake_sent(struct handshake *h, size_t len)
{
	os_wipe(h->out + h->out_at, len);
	h->out_at += len;
	if (h->out_at == h->out_len)
		h->out_at = h->out_len = 0;
}

enum handshake_step handshake_feed(
	struct handshake *h, const uint8_t *bytes, size_t len, size_t *used)
{
	*used = 0;
	if (h->out_len) /* an answer to what was not asked yet */
		return len ? HANDSHAKE_BROKEN : HANDSHAKE_MORE;
	return h->server->kind == PROXY_SOCKS5 ? socks5_feed(h, bytes, len, used)
					       : http_connect_feed(h, bytes, len, used);
}

void handshake_clear(struct handshake *h)
{
	os_wipe(h, sizeof(*h));
}
