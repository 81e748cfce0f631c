/* SPDX-License-Identifier: MIT */
/*
 * What a SOCKS5 proxy answers, in pieces: the first byte says whether we have a user and for what we
 * ask, the second how long the pieces are. Whatever comes, no more is used than was fed, all of it while
 * more is wanted, and what we say stays within its bounds. Then the same bytes as a datagram.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_socks5.c libnetdp_core.a …
 */
#include "dataplane/egress/handshake.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_out(const struct handshake *h)
{
	if (h->out_len > sizeof(h->out) || h->out_at > h->out_len)
		abort();
}

static void talk(const struct proxy_server *server, enum socks5_command command,
	const uint8_t *bytes, size_t size, size_t piece)
{
	static const struct endpoint dst = {
		.addr = {{[10] = 0xff, [11] = 0xff, [15] = 9}}, .port = 443};
	enum handshake_step step = HANDSHAKE_MORE;
	struct handshake h;
	size_t at = 0;

	handshake_begin(&h, server, command, &dst, piece & 1 ? "a.example" : NULL);
	while (step == HANDSHAKE_MORE && at < size) {
		size_t n = size - at < piece ? size - at : piece, used;

		check_out(&h);
		handshake_sent(&h, h.out_len);
		step = handshake_feed(&h, bytes + at, n, &used);
		if (used > n || (step == HANDSHAKE_MORE && used != n))
			abort();
		if (step == HANDSHAKE_REFUSED && h.err >= 0)
			abort();
		at += used;
	}
	check_out(&h);
	handshake_clear(&h);
}

/* What is read is written the same way. */
static void datagram(const uint8_t *bytes, size_t size)
{
	uint8_t head[SOCKS5_UDP_HEAD_MAX];
	struct socks5_udp_from from;
	size_t n = socks5_udp_parse(bytes, size, &from), again;

	if (n > size)
		abort();
	if (!n || memchr(from.name, 0, sizeof(from.name)) == NULL)
		return;
	if (bytes[3] == 3 && (strlen(from.name) != bytes[4] || !*from.name))
		return; /* a NUL in it, or none: nobody's name */
	if (bytes[3] == 4 && addr_is_v4(&from.at.addr))
		return; /* mapped: written as what it is */
	again = socks5_udp_head(head, &from.at, *from.name ? from.name : NULL);
	if (again != n || memcmp(head, bytes, n) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct proxy_server server = {.kind = PROXY_SOCKS5, .user = "joe", .password = "secret"};

	if (size < 2)
		return 0;
	server.auth = bytes[0] & 1;
	talk(&server, bytes[0] & 2 ? SOCKS5_ASSOCIATE : SOCKS5_CONNECT, bytes + 2, size - 2,
		1 + bytes[1] % 32);
	datagram(bytes, size);
	return 0;
}
