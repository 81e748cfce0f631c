/* SPDX-License-Identifier: MIT */
/*
 * Answers kept for when a guest asks the same again (RFC 1035, 7.4; RFC 2308 for negative ones).
 *
 * An answer is kept as it came, less its OPT, until the first of its records is too old, at most
 * DNS_CACHE_SECONDS; one that says that there is nothing for as long as its SOA says, and not at
 * all without one. Kept are answers to plain questions only: what an EDNS option, a signature or
 * the flags of a question may have changed is never given to one that differs in them. TTLs given out
 * have the answer's age taken off.
 *
 * Bounds: DNS_CACHE_MAX answers of DNS_CACHE_MESSAGE_MAX bytes each, DNS_CACHE_BYTES_MAX in all; what
 * was asked for longest ago goes first. Times are the loop's.
 */
#ifndef DATAPLANE_STACK_DNS_CACHE_H
#define DATAPLANE_STACK_DNS_CACHE_H

#include "dataplane/stack/dns_message.h"

#define DNS_CACHE_MAX 1024u
#define DNS_CACHE_MESSAGE_MAX 4096u
#define DNS_CACHE_BYTES_MAX (1u << 20)
#define DNS_CACHE_SECONDS 3600u

struct dns_cache;

struct dns_cache *dns_cache_new(void); /* NULL without memory */
void dns_cache_free(struct dns_cache *cache);
void dns_cache_clear(struct dns_cache *cache);
size_t dns_cache_count(const struct dns_cache *cache);

/* Keeps a matched answer to the query, if that may be. */
void dns_cache_put(struct dns_cache *cache, const struct dns_query_info *query, const uint8_t *msg,
	size_t len, uint64_t now_ms);
/* The answer to a query, whose message gives the question as the guest wrote it. Returns the length
 * in buf, or 0 where none is kept. The id is not the query's. */
#define DNS_CACHE_ANSWER_MAX (DNS_CACHE_MESSAGE_MAX + DNS_OPT_LEN)
size_t dns_cache_get(struct dns_cache *cache, const struct dns_query_info *query,
	const uint8_t *query_msg, uint8_t buf[DNS_CACHE_ANSWER_MAX], uint64_t now_ms);

#endif
