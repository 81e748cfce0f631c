/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what a TLS client sends (fuzz_units.h); then as the extensions of a ClientHello
 * whose lengths are right, in records of a size that the input's second byte says. In one record
 * and in many it must have the same name.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_sni.c libnetdp_core.a …
 */
#include "common/be.h"
#include "dataplane/egress/sni.h"
#include "tests/fuzz/fuzz_units.h"

#define HEAD 45u /* of a message, up to the extensions' length */

static int parse(bool begin, const uint8_t *bytes, size_t len, struct unit *unit)
{
	static struct sni sni;

	if (begin)
		memset(&sni, 0, sizeof(sni));
	return sni_next(&sni, bytes, len, unit);
}

/* The length of these records, which stand behind a byte for fuzz_units(). */
static size_t records(const uint8_t *message, size_t len, size_t each, uint8_t *out)
{
	uint8_t *p = out;

	*p++ = (uint8_t)(each * 7);
	for (size_t at = 0; at < len; at += each) {
		size_t n = len - at < each ? len - at : each;

		memcpy(p, (uint8_t[]){22, 3, 1, (uint8_t)(n >> 8), (uint8_t)n}, 5);
		memcpy(p + 5, message + at, n);
		p += 5 + n;
	}
	return (size_t)(p - out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t message[HEAD + 4096 + 2], one[8192], many[6 * sizeof(message)];
	struct unit a, b;
	size_t len, one_len, many_len;
	int rc;

	fuzz_units(parse, data, size, false);
	if (size < 2 || size > 4096)
		return 0;
	memset(message, 0, HEAD);
	len = HEAD + 2 + size - 2;
	message[0] = 1;
	store_be16(message + 2, (uint16_t)(len - 4));
	message[4] = 3;
	message[40] = 2; /* of ciphers; no session before, one compression behind */
	message[43] = 1;
	store_be16(message + HEAD, (uint16_t)(size - 2));
	memcpy(message + HEAD + 2, data + 2, size - 2);
	one_len = records(message, len, sizeof(message), one);
	many_len = records(message, len, 1 + data[1] % 64, many);
	rc = parse(true, one + 1, one_len - 1, &a);
	if (rc == 0 || rc != parse(true, many + 1, many_len - 1, &b) ||
		(rc == 1 && strcmp(a.name, b.name) != 0))
		abort();
	if (rc == 1)
		fuzz_check_unit(&a, one + 1, one_len - 1);
	fuzz_units(parse, many, many_len, false);
	return 0;
}
