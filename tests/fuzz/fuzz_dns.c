/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a question from the guest (first byte even) or as an upstream's answer (odd).
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. -D_GNU_SOURCE tests/fuzz/fuzz_dns.c \
 *		dataplane/stack/dns_{message,hosts,names}.c common/{addr,siphash,os_linux}.c
 */
#include "dataplane/stack/dns_hosts.h"
#include "dataplane/stack/dns_names.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_names *log;
	uint8_t *copy;

	if (size < 1)
		return 0;
	copy = malloc(size > 1 ? size - 1 : 1); /* just so large, so that a byte too many is seen */
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	if (data[0] & 1) {
		log = dns_names_new();
		dns_names_learn(log, copy, size - 1, 0);
		dns_names_free(log);
	} else {
		ask(copy, size - 1);
	}
	free(copy);
	return 0;
}
