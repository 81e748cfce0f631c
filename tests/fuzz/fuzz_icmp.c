/* SPDX-License-Identifier: MIT */
/* Any bytes as an ICMP message to the gateway, and as a packet that an error is about. */
#include "dataplane/egress/dial.h"
#include "dataplane/stack/icmp.h"
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct icmp *icmp;
	struct packet p;

	fuzz_start();
	if (!icmp) /* without a policy nothing leaves this machine */
		icmp = icmp_new(fuzz.loop, &fuzz.out, &fuzz.net, &fuzz.counters,
			egress_new(fuzz.loop, &fuzz.counters, &fuzz.net));
	p = fuzz_packet(IP_PROTO_ICMP, bytes, size);
	icmp_input(icmp, &p);
	if (size > 0 && bytes[0] & 1)
		addr_parse("192.0.2.1", &p.dst);
	icmp_input(icmp, &p);
	icmp_send_error(icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_HOST, 0);
	p.proto = IP_PROTO_UDP;
	p.frag = size > 3 ? load_be16(bytes + 2) : 0;
	icmp_send_error(icmp, &p, ICMP_UNREACHABLE, ICMP_CODE_PORT, 0);
	fuzz_drain();
	return 0;
}
