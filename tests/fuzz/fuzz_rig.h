/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzers of the stack share: a link that goes nowhere, and packets made of any bytes.
 *
 *	clang -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_dhcp.c libnetdp_core.a …
 */
#ifndef TESTS_FUZZ_FUZZ_RIG_H
#define TESTS_FUZZ_FUZZ_RIG_H

#include "common/os.h"
#include "dataplane/link/link.h"
#include "dataplane/stack/output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

struct fuzz_rig {
	struct loop *loop;
	struct counters counters;
	struct link *link;
	struct net net;
	struct output out;
	int guest;
};

static struct fuzz_rig fuzz;

static void fuzz_frame(void *arg, const uint8_t *frame, size_t len, const struct link_meta *meta)
{
	(void)arg;
	(void)frame;
	(void)len;
	(void)meta;
}

static void fuzz_changed(void *arg, bool up, const char *text)
{
	(void)arg;
	(void)text;
	if (!up)
		abort();
}

static void fuzz_nothing(void *arg)
{
	(void)arg;
}

static inline void fuzz_start(void)
{
	struct link_events events = {.frame = fuzz_frame,
		.changed = fuzz_changed,
		.refused = fuzz_nothing,
		.room = fuzz_nothing};
	int fds[2];

	if (fuzz.loop)
		return;
	fuzz.loop = loop_new();
	fuzz.link = link_new(fuzz.loop, &fuzz.counters, &events);
	if (os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0 ||
		link_attach(fuzz.link, LINK_KIND_STREAM, fds[0], false) < 0)
		abort();
	fuzz.guest = fds[1];
	addr_parse("10.0.2.2", &fuzz.net.gateway);
	addr_parse("10.0.2.15", &fuzz.net.guest);
	prefix_parse("10.0.2.0/24", false, &fuzz.net.subnet);
	fuzz.net.mtu = 1500;
	memcpy(fuzz.net.hostname, "web", 4);
	memcpy(fuzz.net.search[0], "corp.example", 13);
	fuzz.out = (struct output){.link = fuzz.link, .net = &fuzz.net};
}

/* Throws away what the guest would have received. */
static inline void fuzz_drain(void)
{
	static uint8_t scratch[1 << 16];

	while (read(fuzz.guest, scratch, sizeof(scratch)) > 0)
		;
	event_base_loop(loop_base(fuzz.loop), EVLOOP_NONBLOCK);
}

/* An IP header as classify.c lets it pass, in front of a packet's own bytes. */
static inline struct packet fuzz_packet(uint8_t proto, const uint8_t *l4, size_t len)
{
	static const uint8_t ip[IP4_HLEN] = {0x45};
	struct packet p = {
		.proto = proto, .ttl = 64, .ip = ip, .ip_hlen = IP4_HLEN, .l4 = l4, .l4_len = len};

	p.src = fuzz.net.guest;
	p.dst = fuzz.net.gateway;
	return p;
}

#endif
