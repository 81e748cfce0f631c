/* SPDX-License-Identifier: MIT */
/* Names of addresses: see names.h. */
#include "dataplane/egress/names.h"

/* Whether anybody's word will do for the address. */
static bool any_name_counts(const struct names *names, const struct policy_flow *flow)
{
	const void *table = egress_table(names->egress);

	/* A fake address is what the host's own resolver makes of a name. */
	if (egress_fake_ip(names->egress) && proxy_addr_is_fake(flow->addr))
		return true;
	return table ? policy_table_any_name_counts(table, flow)
		     : !policy_addr_is_private(flow->addr);
}

bool names_admit(void *arg_names, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	const struct names *names = arg_names;
	const char *list[DNS_NAMES_EACH];
	size_t n = dns_names_at(names->dns, flow->addr, list, DNS_NAMES_EACH);
	bool any = n && any_name_counts(names, flow);

	for (size_t i = 0; i < n; i++) {
		if ((any || dns_hosts_have(names->dns, list[i], flow->addr)) && match(arg, list[i]))
			return true;
	}
	return false;
}

static bool take_first(void *arg, const char *name)
{
	const char **first = arg;

	*first = name;
	return true;
}

const char *names_best(const struct policy_names *names, const struct addr *addr)
{
	struct policy_flow some = {.addr = addr};
	const char *name = NULL;

	if (names->admit == names_admit)
		dns_names_at(((const struct names *)names->log)->dns, addr, &name, 1);
	else if (names->admit)
		names->admit(names->log, &some, take_first, &name);
	return name;
}
