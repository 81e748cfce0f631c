/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a question from the guest (first byte even) or as an upstream's answer (odd).
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. -D_GNU_SOURCE tests/fuzz/fuzz_dns.c \
 *		dataplane/stack/dns_{message,hosts,names,cache,service}.c common/{addr,siphash,os_linux,wipe_registers}.c
 */
#include "dataplane/stack/dns_cache.h"
#include "dataplane/stack/dns_hosts.h"
#include "dataplane/stack/dns_names.h"
#include "dataplane/stack/dns_service.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const uint8_t *msg, size_t len)
{
	static struct dns_hosts *hosts;
	static struct net net;
	struct dns_query_info info;
	struct dns_answer a;
	uint8_t buf[4096];

	if (!hosts) {
		struct addr addrs[64] = {{{1}}};
		struct dns_host list[] = {{"a", addrs, 64}, {"db.internal", addrs, 2}};

		dns_hosts_new(list, 2, true, &hosts);
	}
	if (dns_query_parse(msg, len, &info) != DNS_NOERROR) {
		dns_answer_begin(&a, buf, DNS_UDP_SIZE, msg, &info, 0);
		dns_answer_end(&a, DNS_FORMERR);
		return;
	}
	dns_hosts_answer(hosts, &net, msg, &info, buf, info.udp_size < 4096 ? info.udp_size : 4096);
}

/* The answer's own question is taken for the guest's, as a worker sees to. */
static void keep(const uint8_t *msg, size_t len)
{
	struct dns_cursor c = {msg, len, 0};
	struct dns_cache *cache = dns_cache_new();
	struct dns_query_info info = {0};
	uint8_t buf[DNS_CACHE_ANSWER_MAX];
	struct dns_header h;

	if (cache && dns_read_header(&c, &h) && h.questions == 1 &&
		dns_read_question(&c, &info.question)) {
		info.question_end = c.at;
		info.edns = h.id & 1;
		dns_cache_put(cache, &info, msg, len, 0);
		if (dns_cache_get(cache, &info, msg, buf, 5000) > sizeof(buf))
			abort();
	}
	dns_cache_free(cache);
}

static void learn(const uint8_t *msg, size_t len)
{
	static uint8_t anew[DNS_MESSAGE_MAX];
	struct dns_names *log = dns_names_new();

	if (log)
		dns_names_learn(log, msg, len, 0);
	dns_names_free(log);
	if (dns_has_ech(msg, len)) {
		len = dns_strip_ech(msg, len, anew, sizeof(anew));
		if (len && dns_has_ech(anew, len))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	if (size < 1)
		return 0;
	copy = malloc(size > 1 ? size - 1 : 1); /* just so large, so that a byte too many is seen */
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1) {
		learn(copy, size - 1);
		keep(copy, size - 1);
	} else {
		ask(copy, size - 1);
	}
	free(copy);
	return 0;
}
