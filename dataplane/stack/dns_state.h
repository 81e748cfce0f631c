/* SPDX-License-Identifier: MIT */
/*
 * What the files of the forwarder share; nobody else includes this.
 *
 *	dns.c        a question's way: parse, local names, else a query; and back to who asked
 *	dns_query.c  one question under way at the upstreams
 *	dns_tcp.c    the guest's TCP connections
 */
#ifndef DATAPLANE_STACK_DNS_STATE_H
#define DATAPLANE_STACK_DNS_STATE_H

#include "common/siphash.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/dns_cache.h"
#include "dataplane/stack/dns_hosts.h"
#include "dataplane/stack/dns_message.h"
#include "dataplane/stack/dns_names.h"
#include "dataplane/stack/dns_service.h"
#include "dataplane/stack/timer_wheel.h"

#define DNS_BUCKETS 256u /* a power of two */

struct dns_conn;
struct dns_query;

/* Who gets an answer: a TCP connection, or a UDP socket of the guest where conn is NULL. */
struct dns_asker {
	struct dns_conn *conn;
	struct dns_from from;
};

struct dns {
	struct loop *loop;
	struct egress *egress;
	struct counters *counters;
	const struct net *net;
	struct dns_events events;

	struct endpoint upstreams[DNS_UPSTREAMS_MAX];
	size_t upstream_count;
	struct dns_hosts *hosts;
	bool answer_unlisted;
	struct dns_names *names;
	struct dns_cache *cache;
	struct timer tell_names;

	struct dns_query *queries; /* all */
	struct dns_query *by_asker[DNS_BUCKETS];
	size_t query_count;
	struct siphash_key key; /* of by_asker */

	struct dns_conn *conns;
	size_t conn_count;

	uint16_t ids[64]; /* random, used from the end */
	unsigned ids_left;
	uint8_t buf[DNS_MESSAGE_MAX];  /* for one datagram while it is handled */
	uint8_t anew[DNS_MESSAGE_MAX]; /* for one that is written anew */
};

/* dns.c: a question from anyone; its answer to anyone. msg is ours to change. */
void dns_handle(struct dns *dns, const struct dns_asker *asker, const uint8_t *msg, size_t len);
/* Whatever is told to the guest by others goes this way: into the name log, and to the asker. */
void dns_pass_on(struct dns *dns, const struct dns_asker *asker, const struct dns_query_info *info,
	uint8_t *msg, size_t len);
/* An answer without records. */
void dns_deliver_error(struct dns *dns, const struct dns_asker *asker,
	const struct dns_query_info *info, const uint8_t *query_msg, enum dns_rcode rcode);

/* dns_query.c. start: 0, or -EALREADY for a repetition, -ENOBUFS at the bound, -ENOMEM. The
 * answer may come before it returns. */
int dns_query_start(struct dns *dns, const struct dns_asker *asker,
	const struct dns_query_info *info, const uint8_t *msg, size_t len);
void dns_queries_cancel(struct dns *dns, const struct dns_conn *conn); /* NULL: all */

/* dns_tcp.c */
void dns_conn_answer(struct dns_conn *conn, const uint8_t *msg, size_t len);
void dns_conns_free(struct dns *dns);

#endif
