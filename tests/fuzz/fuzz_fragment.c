/* SPDX-License-Identifier: MIT */
/*
 * A stream of fragments: each takes six bytes (id, flags, offset, length, filler) of the input.
 * What comes out whole must have the length and the bytes of its parts.
 */
#include "dataplane/stack/fragment.h"
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct fragments *fragments;
	static uint8_t l4[2048];
	struct cursor c = {bytes, size};
	const uint8_t *step;

	fuzz_start();
	if (!fragments)
		fragments = fragments_new(fuzz.loop, &fuzz.counters);
	while ((step = cursor_take(&c, 6))) {
		size_t len = step[4] * 8u + (step[1] & 7);
		struct packet p;
		const struct packet *whole;

		memset(l4, step[5], len);
		if (step[1] & 0x40) /* a UDP header without a checksum: what is whole passes */
			memcpy(l4, (uint8_t[]){0, 9, 0, 9, 0, 8, 0, 0}, 8);
		p = fuzz_packet(step[1] & 0x20 ? IP_PROTO_ICMP : IP_PROTO_UDP, l4, len);
		p.id = step[0] & 3;
		p.frag = (uint16_t)((load_be16(step + 2) & IP4_OFFSET) |
			(step[1] & 0x80 ? IP4_MF : 0));
		whole = fragment_input(fragments, &p);
		if (whole && (whole->l4_len < 8 || whole->l4_len > 65515 || whole->frag))
			abort();
		if (whole && csum_fold(csum_add(0, whole->ip, whole->ip_hlen)) != 0xffff)
			abort();
	}
	fragments_reset(fragments);
	return 0;
}
