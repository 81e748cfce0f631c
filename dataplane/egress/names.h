/* SPDX-License-Identifier: MIT */
/*
 * By which names a guest knows addresses: the DNS's name log, as the policy, proxies and refusals
 * ask it.
 *
 *	egress_set_names(egress, &(struct policy_names){names_admit, &names});
 *	…
 *	const char *name = names_best(egress_names(egress), &dst->addr);
 *
 * A name counts from the answer that gave it out, for that answer's TTL within NAMES_TTL_MIN and
 * NAMES_TTL_MAX; flows that it admitted keep it in their pass (pass.h) as long as they live.
 */
#ifndef DATAPLANE_EGRESS_NAMES_H
#define DATAPLANE_EGRESS_NAMES_H

#include "common/policy_table.h"
#include "dataplane/egress/dial.h"
#include "dataplane/stack/dns.h"

struct names {
	const struct dns *dns;
	const struct egress *egress; /* whose table says what a prefix admits */
};

/*
 * struct policy_names.admit over a struct names: lists the names of the flow's address, the last
 * given out first, the question's before those of its CNAMEs.
 *
 * A name says nothing for an address that is nobody's on the public internet or the host's own, or
 * whoever owns it could point it at the host and its network (DNS rebinding). Such an address has only the names that
 * the operator gave it (hosts), unless the policy admits the very flow by prefix.
 */
bool names_admit(void *names, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg);

/* The name that addr was last asked for by, also where that admits nothing; NULL where none is
 * known. It lives until the next answer. */
const char *names_best(const struct policy_names *names, const struct addr *addr);

#endif
