/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what an HTTP client sends, on a kept connection: fuzz_units.h.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_http_host.c libnetdp_core.a …
 */
#include "dataplane/egress/http_host.h"
#include "tests/fuzz/fuzz_units.h"

static int parse(bool begin, const uint8_t *bytes, size_t len, struct unit *unit)
{
	static struct http_host http;

	if (begin)
		memset(&http, 0, sizeof(http));
	return http_host_next(&http, bytes, len, unit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_units(parse, data, size, true);
	return 0;
}
