/* SPDX-License-Identifier: MIT */
/*
 * The name log: under which names addresses were given out, and until when.
 *
 * It grows with what is learned, to DNS_NAMES_MAX entries and DNS_NAMES_EACH an address; beyond either
 * the entry that was renewed longest ago goes. Expired entries are not shown. Times are the wall
 * clock's, since the log outlives a worker.
 */
#ifndef DATAPLANE_STACK_DNS_NAMES_H
#define DATAPLANE_STACK_DNS_NAMES_H

#include "dataplane/stack/dns.h"
#include "dataplane/stack/dns_message.h"

#define DNS_NAMES_BATCH 4096u

struct dns_names;

typedef void (*dns_names_fn)(void *arg, const struct dns_name *names, size_t count);

struct dns_names *dns_names_new(void); /* NULL without memory */
void dns_names_free(struct dns_names *log);
void dns_names_clear(struct dns_names *log);
size_t dns_names_count(const struct dns_names *log);

/* Notes a name; `news` marks it for dns_names_flush(). False without memory. */
bool dns_names_add(struct dns_names *log, const struct addr *addr, const char *name,
	int64_t until_ms, bool news);
/* Notes every address of a matched answer under the question's name and the CNAMEs that led to
 * it. Returns how many entries are new or renewed. */
size_t dns_names_learn(struct dns_names *log, const uint8_t *msg, size_t len, int64_t now_ms);

/* Calls fn with batches: of what is news, which then is none any more; of everything. */
void dns_names_flush(struct dns_names *log, dns_names_fn fn, void *arg);
void dns_names_each(const struct dns_names *log, int64_t now_ms, dns_names_fn fn, void *arg);

/* The names of one address that have not expired, at most max, the last renewed first; they live
 * until the next add. */
size_t dns_names_of(const struct dns_names *log, const struct addr *addr, int64_t now_ms,
	const char **names, size_t max);

#endif
