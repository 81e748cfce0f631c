/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a compiled policy: what policy_table_check() accepts must be safe to look up. Where
 * the first byte is odd the rest is rules instead, which must compile into what it accepts.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. -D_GNU_SOURCE tests/fuzz/fuzz_policy_table.c \
 *		common/policy_{table,compile}.c common/addr.c
 */
#include "common/policy_table.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_around(const void *blob)
{
	static const uint8_t protos[] = {1, 6, 17, 58, 47};
	struct addr addrs[] = {addr_from_v4(0), addr_from_v4(0x0a000001), addr_from_v4(UINT32_MAX),
		addr_any, {{0xff, 0xff}}};
	int32_t by;

	for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
		for (uint32_t port = 0; port < 65536; port += 5041)
			policy_table_judge(blob, &addrs[1], true, protos[port % 5], &addrs[i],
				(uint16_t)port, &by);
	}
}

static void check(const uint8_t *data, size_t size)
{
	void *blob = malloc(size ? size : 1);

	if (blob && size) {
		memcpy(blob, data, size);
		if (policy_table_check(blob, size) == 0)
			look_around(blob);
	}
	free(blob);
}

/* Each rule is 8 bytes: flags, protocol, prefix length, a byte of address, two ports. */
static void compile(const uint8_t *data, size_t size)
{
	enum { MAX = 512 };
	static struct policy_rule rules[MAX];
	static struct prefix to[MAX];
	static struct policy_ports ports[MAX];
	struct policy_input in = {.rules = rules};
	uint8_t *blob;
	size_t len, bad;

	for (; size >= 8 && in.n_rules < MAX; data += 8, size -= 8) {
		size_t i = in.n_rules++;

		memset(to[i].addr.b, data[3], sizeof(to[i].addr.b));
		if (data[0] & 8)
			to[i].addr = addr_from_v4((uint32_t)data[3] << 24 | data[7]);
		to[i].bits = data[2];
		ports[i] = (struct policy_ports){data[4], (uint16_t)(data[5] << 8 | data[6])};
		rules[i] = (struct policy_rule){
			.allow = data[0] & 1,
			.proto = data[1],
			.to = &to[i],
			.n_to = data[0] >> 1 & 1,
			.ports = &ports[i],
			.n_ports = data[0] >> 2 & 1,
			.by = (int32_t)i,
		};
	}
	if (policy_table_compile(&in, &blob, &len, &bad) < 0)
		return;
	if (policy_table_check(blob, len) < 0)
		abort();
	look_around(blob);
	free(blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] & 1)
		compile(data + 1, size - 1);
	else
		check(data, size);
	return 0;
}
