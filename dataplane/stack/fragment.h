/* SPDX-License-Identifier: MIT */
/*
 * IPv4 fragments (RFC 791 section 3.2): datagrams put together again, and cut towards the guest.
 *
 * Bounds: 64 datagrams at a time, 1 MiB in all, 15 s each. When a bound is met the oldest datagram
 * goes. A fragment that repeats one exactly is ignored; one that overlaps in any other way drops
 * its datagram and all that still comes of it (RFC 5722's rule, for the same reason).
 */
#ifndef DATAPLANE_STACK_FRAGMENT_H
#define DATAPLANE_STACK_FRAGMENT_H

#include "dataplane/loop.h"
#include "dataplane/stack/output.h"

struct fragments;

struct fragments *fragments_new(struct loop *loop, struct counters *counters);
void fragments_free(struct fragments *fragments); /* before its loop */
void fragments_reset(struct fragments *fragments);

/*
 * Takes a fragment (offset or MF set) of UDP or ICMP. Gives the whole packet once it is complete,
 * with its transport checksum verified, else NULL. What it gives is valid until the next call.
 */
const struct packet *fragment_input(struct fragments *fragments, const struct packet *packet);

/*
 * Sends a transport header and its data (the checksum filled in by the caller) in as many packets
 * as the guest's MTU asks for; at most 65515 bytes together, hdr_len a multiple of 8. ip->id and
 * ip->frag are set here.
 */
void fragment_output(struct output *out, struct counters *counters, const struct output_ip *ip,
	const void *hdr, size_t hdr_len, const void *data, size_t data_len);

#endif
