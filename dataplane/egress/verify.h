/* SPDX-License-Identifier: MIT */
/*
 * Names on the wire. Many names share an address, so what a guest resolved says where a flow goes
 * and not whom it speaks to; under `verify: strict` the guest's own bytes must say that, before they
 * reach anybody.
 *
 *	guest's bytes ─► held until they are a unit ─► its name admitted? ─► host
 *	                                            └► refused: the owner resets the flow
 *
 * A flow that a strict rule admitted by name begins with TLS or HTTP/1, or is refused. The server
 * name of each ClientHello and the Host of each request are judged by all rules, as if the address
 * had that name only (egress_admit_as()); one that names no server is judged as if the address had
 * no name at all, so a rule about addresses may still admit it. All else passes by its length (HTTP
 * bodies, TLS records that may be followed by a second ClientHello) or unseen (the rest of a TLS
 * connection; then verify_settled() is true, and its owner lets go of us).
 *
 * What is not a whole unit yet is held here: at most 32 KiB a flow, 16 MiB over the flows that share
 * a bound, and 10 s long, as the first bytes of a flow are waited for. Units are judged as they lie
 * here, never in memory of the guest's, which it could change in between.
 *
 * What a server says first goes to the guest unhindered: it cannot depend on a name. Protocols in
 * which it speaks first name no server, though, and are refused here; they want `verify: dns`,
 * under which no flow comes here.
 */
#ifndef DATAPLANE_EGRESS_VERIFY_H
#define DATAPLANE_EGRESS_VERIFY_H

#include "common/addr.h"
#include "dataplane/counters.h"
#include "dataplane/egress/dial.h"
#include "dataplane/egress/pass.h"
#include "dataplane/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VERIFY_HELD_MAX (32u << 10)
#define VERIFY_MEMORY_MAX (16u << 20)
#define VERIFY_WAIT_MS 10000u

struct verify;

struct verify_flow {
	struct loop *loop;
	struct counters *counters;
	struct egress *egress;
	enum egress_who who;
	struct endpoint dst;      /* as the guest names it */
	struct egress_pass *pass; /* the owner's, who outlives us */
	size_t *memory;           /* held over all flows that share this bound */
	/* Too late: refused, and to be reset. May free the verifier. */
	void (*late)(void *arg);
	void *arg;
};

/* Of the bytes given, `taken` are used up, and these may go to the host now: of the same bytes, or
 * held before them. They are valid until the next call. */
struct verify_span {
	const uint8_t *bytes;
	size_t len;
	size_t taken;
};

/* Whether a flow with this pass must be verified. */
bool verify_wanted(const struct egress_pass *pass);
/* NULL without memory: then the flow must not go on. */
struct verify *verify_new(const struct verify_flow *flow);
void verify_free(struct verify *v); /* NULL is ignored */

/* The guest's next bytes (len > 0). False: the flow is refused, which is counted and reported.
 * Else *out; come again with what is left. */
bool verify_feed(struct verify *v, const uint8_t *bytes, size_t len, struct verify_span *out);
/* The guest says no more. False where that leaves a unit undone: refused, as above. */
bool verify_end(struct verify *v);
/* Nothing that the guest may say yet needs looking at. */
bool verify_settled(const struct verify *v);
/* How many bytes are held back now. */
size_t verify_held(const struct verify *v);

#endif
