/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a compiled policy: what policy_table_check() accepts must be safe to look up. Where
 * the first byte is odd the rest is rules instead, which must compile into what it accepts, and then,
 * with a few bytes changed, what any bytes are.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. -D_GNU_SOURCE tests/fuzz/fuzz_policy_table.c \
 *		common/policy_{table,names,compile}.c common/addr.c
 */
#include "common/policy_table.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"a", "a.b", "b.b", "c.a.b", "*.b", "", ".", "A.B."};

#define N_NAMES (sizeof(names) / sizeof(names[0]))

static bool admit_all(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)log;
	(void)flow;
	for (size_t i = 0; i < N_NAMES; i++) {
		if (match(arg, names[i]))
			return true;
	}
	return false;
}

/* What the plain functions say of names must agree with one another. */
static void ask_names(const void *blob)
{
	bool listed = false;

	for (size_t i = 0; i < N_NAMES; i++) {
		policy_table_name_possible(blob, names[i]);
		for (int32_t by = -3; by < 8; by++)
			listed |= policy_table_name_admits(blob, by, names[i]);
	}
	if (listed && !policy_table_has_names(blob))
		abort();
}

static void look_around(const void *blob)
{
	struct policy_names log = {.admit = admit_all};
	static const uint8_t protos[] = {1, 6, 17, 58, 47};
	struct addr addrs[] = {addr_from_v4(0), addr_from_v4(0x0a000001), addr_from_v4(UINT32_MAX),
		addr_any, {{0xff, 0xff}}};
	struct policy_verdict verdict;

	ask_names(blob);
	for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
		for (uint32_t port = 0; port < 65536; port += 5041) {
			policy_table_any_name_counts(blob,
				&(struct policy_flow){&addrs[i], (uint16_t)port, protos[port % 5]});
			verdict = policy_table_judge(blob, &addrs[1], true, protos[port % 5],
				&addrs[i], (uint16_t)port, &log);
			if (verdict.by_name != (verdict.name != NULL))
				abort();
			if (verdict.verify_strict && !(verdict.allow && verdict.by_name))
				abort();
		}
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

static const char *const patterns[] = {"a", "a.b", "*.b", "*.a.b", "b", "c.b", "*.a", "a.a.b"};

/* Each rule is 8 bytes: flags, protocol, prefix length, a byte of address, two ports. The flags'
 * upper bits choose names. */
static void compile(const uint8_t *data, size_t size, const uint8_t *damage, size_t n_damage)
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
			.names = &patterns[data[0] >> 5],
			.n_names = data[0] >> 4 & 1,
			.verify_dns = data[7] & 1,
			.by = (int32_t)i,
		};
	}
	if (policy_table_compile(&in, &blob, &len, &bad) < 0)
		return;
	if (policy_table_check(blob, len) < 0)
		abort();
	look_around(blob);
	/* And damaged a little, which a check from nothing hardly gets to. */
	for (size_t i = 0; i + 4 <= n_damage; i += 4)
		blob[(damage[i] | damage[i + 1] << 8 | damage[i + 2] << 16) % len] ^= damage[i + 3];
	check(blob, len);
	free(blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n_damage = size ? (size_t)(data[0] >> 1 & 7) * 4 : 0;

	if (size > n_damage && data[0] & 1)
		compile(data + 1 + n_damage, size - 1 - n_damage, data + 1, n_damage);
	else
		check(data, size);
	return 0;
}
