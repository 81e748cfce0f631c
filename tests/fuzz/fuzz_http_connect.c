/* SPDX-License-Identifier: MIT */
/*
 * What an HTTP proxy answers to CONNECT, whole and in pieces as long as the first byte says: both end the
 * same way at the same byte, and never beyond the empty line that ends a head.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_http_connect.c libnetdp_core.a …
 */
#include "dataplane/egress/handshake.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static enum handshake_step hear(
	const uint8_t *bytes, size_t size, size_t piece, size_t *at, int *err)
{
	static const struct proxy_server server = {
		.kind = PROXY_HTTP, .auth = true, .user = "joe", .password = "secret"};
	static const struct endpoint dst = {.port = 443};
	enum handshake_step step = HANDSHAKE_MORE;
	struct handshake h;

	handshake_begin(&h, &server, SOCKS5_CONNECT, &dst, "a.example");
	if (h.out_len > sizeof(h.out))
		abort();
	handshake_sent(&h, h.out_len);
	for (*at = 0; step == HANDSHAKE_MORE && *at < size;) {
		size_t n = size - *at < piece ? size - *at : piece, used;

		step = handshake_feed(&h, bytes + *at, n, &used);
		if (used > n || (step == HANDSHAKE_MORE && used != n) || h.out_len)
			abort();
		*at += used;
	}
	*err = h.err;
	handshake_clear(&h);
	return step;
}

/* The last line of what was used is empty. */
static bool ends_a_head(const uint8_t *bytes, size_t at)
{
	if (at < 2 || bytes[at - 1] != '\n')
		return false;
	for (at--; at > 0 && bytes[at - 1] == '\r';)
		at--;
	return at > 0 && bytes[at - 1] == '\n';
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	enum handshake_step whole, pieces;
	size_t at, again;
	int err, err_again;

	if (size < 1)
		return 0;
	whole = hear(bytes + 1, size - 1, size, &at, &err);
	pieces = hear(bytes + 1, size - 1, 1 + bytes[0] % 64, &again, &err_again);
	if (whole != pieces || at != again || err != err_again)
		abort();
	if (whole == HANDSHAKE_REFUSED && err >= 0)
		abort();
	if (whole != HANDSHAKE_MORE && whole != HANDSHAKE_BROKEN && !ends_a_head(bytes + 1, at))
		abort();
	return 0;
}
