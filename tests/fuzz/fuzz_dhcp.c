/* SPDX-License-Identifier: MIT */
/* Any bytes as a DHCP message, first as they are, then behind headers that get far. */
#include "dataplane/stack/dhcp.h"
#include "tests/fuzz/fuzz_rig.h"

#define FIXED 236

static void lease(void *arg, const struct worker_lease *l)
{
	(void)arg;
	if (memchr(l->hostname, '\0', sizeof(l->hostname)) == NULL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct dhcp *dhcp;
	static const uint8_t cookie[] = {0x63, 0x82, 0x53, 0x63};
	uint8_t l4[UDP_HLEN + FIXED + 4 + 1500] = {0};
	struct udp_hdr *udp = (struct udp_hdr *)l4;
	struct dhcp_events events = {.lease = lease};
	struct packet p;

	fuzz_start();
	if (!dhcp)
		dhcp = dhcp_new(&fuzz.out, &fuzz.net, &fuzz.counters, &events);
	p = fuzz_packet(IP_PROTO_UDP, bytes, size);
	dhcp_input(dhcp, &p);
	if (size > 1500)
		return 0;
	udp->len = be16((uint16_t)(UDP_HLEN + FIXED + 4 + size));
	memcpy(l4 + UDP_HLEN, (uint8_t[]){1, 1, 6}, 3);
	memcpy(l4 + UDP_HLEN + FIXED, cookie, sizeof(cookie));
	memcpy(l4 + UDP_HLEN + FIXED + 4, bytes, size);
	/* The last bytes also stand in sname and file, where options may spill over. */
	memcpy(l4 + UDP_HLEN + 44, bytes + (size > 192 ? size - 192 : 0), size > 192 ? 192 : size);
	p = fuzz_packet(IP_PROTO_UDP, l4, UDP_HLEN + FIXED + 4 + size);
	dhcp_input(dhcp, &p);
	fuzz_drain();
	return 0;
}
