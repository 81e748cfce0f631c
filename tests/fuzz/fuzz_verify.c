/* SPDX-License-Identifier: MIT */
/*
 * Any bytes of a guest's, in pieces that the input's first byte says, through a verifier (second
 * byte odd: behind a request that is admitted). What goes to the host must be the guest's bytes, in
 * order, each once; all of them but what is held, and of a refused flow a beginning. Nothing is
 * left of memory.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_verify.c libnetdp_core.a …
 */
#include "dataplane/egress/verify.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char request[] = "GET / HTTP/1.1\r\nHost: good.org\r\nUpgrade: x\r\n\r\n";

static struct loop *loop;
static struct counters counters;
static struct net net;
static struct egress *egress;

static bool admit_good(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)log;
	(void)flow;
	return match(arg, "good.org");
}

static void on_late(void *arg)
{
	(void)arg;
	abort();
}

static void start(void)
{
	static const char *const names[] = {"good.org"};
	const struct policy_names log = {.admit = admit_good};
	struct policy_rule rule = {.allow = true, .names = names, .n_names = 1};
	struct policy_input in = {.rules = &rule, .n_rules = 1, .default_by = POLICY_BY_DEFAULT};
	uint8_t *blob;
	size_t len;

	loop = loop_new();
	egress = egress_new(loop, &counters, &net);
	egress_set_names(egress, &log);
	if (policy_table_compile(&in, &blob, &len, NULL) < 0 ||
		egress_policy_set(egress, blob, len, 0) < 0)
		abort();
	free(blob);
}

/* Feeds them; how many have gone out. */
static size_t feed(struct verify *v, const uint8_t *bytes, size_t size, size_t piece)
{
	size_t in = 0, out = 0;

	while (in < size) {
		size_t n = size - in < piece ? size - in : piece;
		uint8_t *copy = malloc(n); /* just so large, and soon gone */
		struct verify_span span;
		bool ok;

		if (!copy)
			abort();
		memcpy(copy, bytes + in, n);
		ok = verify_feed(v, copy, n, &span);
		if (ok &&
			(!span.taken || span.taken > n || out + span.len > size ||
				(span.len && memcmp(span.bytes, bytes + out, span.len) != 0)))
			abort();
		free(copy);
		if (!ok)
			return out;
		in += span.taken;
		out += span.len;
		if (out + verify_held(v) < in || verify_held(v) > VERIFY_HELD_MAX)
			abort();
	}
	if (verify_end(v) != (verify_held(v) == 0))
		abort();
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct endpoint dst = {.addr = addr_from_v4(0xc0000201), .port = 80}, host;
	struct egress_pass pass = {.era = 0};
	size_t memory = 0, prefix = sizeof(request) - 1;
	struct verify_flow flow = {.egress = NULL,
		.counters = &counters,
		.pass = &pass,
		.memory = &memory,
		.late = on_late};
	struct verify *v;
	uint8_t *bytes;

	if (size < 2)
		return 0;
	if (!loop)
		start();
	if (egress_udp_permit(egress, EGRESS_GUEST, &dst, &host, &pass) < 0)
		abort();
	flow.loop = loop;
	flow.egress = egress;
	flow.dst = dst;
	v = verify_new(&flow);
	bytes = malloc(size + prefix);
	if (!v || !bytes)
		abort();
	if (!(data[1] & 1))
		prefix = 0;
	memcpy(bytes, request, prefix);
	memcpy(bytes + prefix, data + 2, size - 2);
	if (feed(v, bytes, prefix + size - 2, 1 + data[0] % 99) < prefix)
		abort();
	verify_free(v);
	if (memory)
		abort();
	egress_leave(&pass);
	free(bytes);
	return 0;
}
