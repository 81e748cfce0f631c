/* SPDX-License-Identifier: MIT */
/*
 * The names that the gateway answers by itself: what `netctl hosts` set, and the host's own names
 * (host.internal and its aliases, _gateway), for the gateway's address.
 */
#ifndef DATAPLANE_STACK_DNS_HOSTS_H
#define DATAPLANE_STACK_DNS_HOSTS_H

#include "dataplane/stack/dns.h"
#include "dataplane/stack/dns_message.h"

#define DNS_LOCAL_TTL 10u /* seconds: hosts change while the guest runs */

struct dns_hosts;

/* A fresh set: 0, -EINVAL for what is no name, -E2BIG beyond DNS_HOSTS_MAX names or as many
 * addresses, -ENOMEM. */
int dns_hosts_new(
	const struct dns_host *hosts, size_t count, bool host_access, struct dns_hosts **out);
void dns_hosts_free(struct dns_hosts *hosts);

/* Whether the name is one of a set's, with this address. hosts may be NULL. */
bool dns_hosts_has(const struct dns_hosts *hosts, const char *name, const struct addr *addr);

/* Answers a question about a local name or address into buf (of max ≥ 512 bytes). Returns the
 * length, or 0 where the name is not local. hosts may be NULL. */
size_t dns_hosts_answer(const struct dns_hosts *hosts, const struct net *net,
	const uint8_t *query_msg, const struct dns_query_info *query, uint8_t *buf, size_t max);

#endif
