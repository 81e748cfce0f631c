/* SPDX-License-Identifier: MIT */
/*
 * The gateway's DNS: see dns.h.
 *
 *	guest ──UDP──► dns_udp_query ─┐              ┌─ dns_hosts: answered here
 *	      ──TCP──► dns_tcp ───────┴► dns_handle ─┼─ of no use to the guest: NXDOMAIN
 *	      ◄────────────────────────  dns_pass_on ├─ dns_cache: asked before
 *	                                   │     ▲   └─ dns_query ──► upstream 1, 2, … ──┐
 *	                    dns_names ◄────┘     └───────────────────────────────────────┘
 *
 * A message passes through as it is, but for its id: flags, EDNS options, DNSSEC records and types
 * that we do not know are between the guest and its upstream. What is ours: answers too long for
 * the client's UDP become empty ones with TC, so that it asks again by TCP; plain questions are
 * answered from dns_cache while it can; and while the policy has names, keys for encrypted client
 * hellos are taken out (dns_service).
 */
#include "dataplane/stack/dns_state.h"

#include "common/be.h"
#include "common/clock.h"
#include "common/os.h"
#include "common/policy_table.h"
#include "dataplane/stack/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TELL_NAMES_MS 1000
#define LOCAL_UDP_MAX 4096u
#define LOCAL_TCP_MAX 16384u

static void tell_names(struct timer *timer)
{
	struct dns *dns = (struct dns *)((char *)timer - offsetof(struct dns, tell_names));

	dns_names_flush(dns->names, dns->events.names, dns->events.arg);
}

struct dns *dns_new(struct loop *loop, struct egress *egress, struct counters *counters,
	const struct net *net, const struct dns_events *events)
{
	struct dns *dns = calloc(1, sizeof(*dns));

	if (!dns)
		return NULL;
	dns->loop = loop;
	dns->egress = egress;
	dns->counters = counters;
	dns->net = net;
	dns->events = *events;
	dns->tell_names.fire = tell_names;
	dns->names = dns_names_new();
	dns->cache = dns_cache_new();
	if (!dns->names || !dns->cache) {
		dns_names_free(dns->names);
		dns_cache_free(dns->cache);
		free(dns);
		return NULL;
	}
	os_random(&dns->key, sizeof(dns->key));
	return dns;
}

void dns_free(struct dns *dns)
{
	if (!dns)
		return;
	dns_reset(dns);
	dns_hosts_free(dns->hosts);
	dns_names_free(dns->names);
	dns_cache_free(dns->cache);
	free(dns);
}

int dns_upstreams_set(struct dns *dns, const struct endpoint *upstreams, size_t count)
{
	if (count > DNS_UPSTREAMS_MAX)
		return -E2BIG;
	if (count)
		memcpy(dns->upstreams, upstreams, count * sizeof(*upstreams));
	dns->upstream_count = count;
	dns_cache_clear(dns->cache); /* others may know better */
	return 0;
}

int dns_hosts_set(struct dns *dns, const struct dns_host *hosts, size_t count, bool host_access)
{
	struct dns_hosts *fresh;
	int rc = dns_hosts_new(hosts, count, host_access, &fresh);

	if (rc < 0)
		return rc;
	dns_hosts_free(dns->hosts);
	dns->hosts = fresh;
	return 0;
}

void dns_answer_unlisted(struct dns *dns, bool answer)
{
	dns->answer_unlisted = answer;
}

void dns_reset(struct dns *dns)
{
	dns_queries_cancel(dns, NULL);
	dns_conns_free(dns);
	timer_disarm(loop_wheel(dns->loop), &dns->tell_names);
	dns_names_clear(dns->names);
	dns_cache_clear(dns->cache);
}

size_t dns_queries(const struct dns *dns)
{
	return dns->query_count;
}

/* ---- questions ---- */

static bool policy_has_names(const struct dns *dns)
{
	const void *table = egress_table(dns->egress);

	return table && policy_table_has_names(table);
}

bool dns_answers_for(const struct dns *dns, const struct endpoint *dst)
{
	return dst->port == DNS_PORT &&
		(addr_eq(&dst->addr, &dns->net->gateway) || policy_has_names(dns));
}

/* True where the name is ours to answer. */
static bool answer_locally(struct dns *dns, const struct dns_asker *asker,
	const struct dns_query_info *info, const uint8_t *msg)
{
	uint8_t buf[LOCAL_TCP_MAX];
	size_t max = LOCAL_TCP_MAX, len;

	if (!asker->conn)
		max = info->udp_size < LOCAL_UDP_MAX ? info->udp_size : LOCAL_UDP_MAX;
	len = dns_hosts_answer(dns->hosts, dns->net, msg, info, buf, max);
	if (!len)
		return false;
	counter_inc(dns->counters, COUNTER_DNS_ANSWERED_LOCALLY);
	dns_pass_on(dns, asker, info, buf, len);
	return true;
}

static bool answer_from_cache(struct dns *dns, const struct dns_asker *asker,
	const struct dns_query_info *info, const uint8_t *msg)
{
	uint8_t buf[DNS_CACHE_ANSWER_MAX];
	size_t len = dns_cache_get(dns->cache, info, msg, buf, loop_now(dns->loop));

	if (!len)
		return false;
	counter_inc(dns->counters, COUNTER_DNS_ANSWERED_FROM_CACHE);
	dns_pass_on(dns, asker, info, buf, len);
	return true;
}

/*
 * True where the name could be of no use to the guest: it does not exist then, and whoever serves it
 * does not hear of the guest either. The answer has no SOA, so that no resolver keeps it beyond a
 * change of the policy. The root is nobody's in particular.
 */
static bool refuse_unlisted(struct dns *dns, const struct dns_asker *asker,
	const struct dns_query_info *info, const uint8_t *msg)
{
	char name[DNS_NAME_TEXT_MAX] = "";

	if (dns->answer_unlisted || info->question.name.len <= 1 || !policy_has_names(dns))
		return false;
	if (!dns_wire_format(&info->question.name, name))
		name[0] = '\0'; /* no rule has such names */
	if (policy_table_name_possible(egress_table(dns->egress), name))
		return false;
	counter_inc(dns->counters, COUNTER_DNS_UNLISTED);
	if (asker->conn)
		egress_refuse_name(dns->egress, IP_PROTO_TCP,
			&(struct endpoint){dns->net->gateway, DNS_PORT}, name);
	else
		egress_refuse_name(dns->egress, IP_PROTO_UDP, &asker->from.asked, name);
	dns_deliver_error(dns, asker, info, msg, DNS_NXDOMAIN);
	return true;
}

void dns_handle(struct dns *dns, const struct dns_asker *asker, const uint8_t *msg, size_t len)
{
	struct dns_query_info info;
	int rc = dns_query_parse(msg, len, &info);

	counter_inc(dns->counters, COUNTER_DNS_QUERIES);
	if (rc != DNS_NOERROR) {
		counter_inc(dns->counters, COUNTER_DNS_MALFORMED);
		if (rc > 0)
			dns_deliver_error(dns, asker, &info, msg, (enum dns_rcode)rc);
		return;
	}
	if (answer_locally(dns, asker, &info, msg) || refuse_unlisted(dns, asker, &info, msg) ||
		answer_from_cache(dns, asker, &info, msg))
		return;
	rc = dns_query_start(dns, asker, &info, msg, len);
	if (rc == 0 || rc == -EALREADY)
		return;
	counter_inc(dns->counters, COUNTER_DNS_BOUNDS);
	dns_deliver_error(dns, asker, &info, msg, DNS_SERVFAIL);
}

void dns_udp_query(struct dns *dns, const struct dns_from *from, const uint8_t *msg, size_t len)
{
	struct dns_asker asker = {NULL, *from};

	dns_handle(dns, &asker, msg, len);
}

/* ---- answers ---- */

static void send_answer(
	struct dns *dns, const struct dns_asker *asker, const uint8_t *msg, size_t len)
{
	if (asker->conn)
		dns_conn_answer(asker->conn, msg, len);
	else
		dns->events.answer(dns->events.arg, &asker->from, msg, len);
}

/* An answer without its records: what did not fit, with TC, so that the guest asks by TCP. */
static size_t truncated(
	const uint8_t *msg, const struct dns_query_info *info, uint8_t buf[DNS_UDP_SIZE])
{
	uint16_t flags = load_be16(msg + 2);
	struct dns_answer a;

	dns_answer_begin(&a, buf, DNS_UDP_SIZE, msg, info, DNS_TC | (flags & DNS_AA));
	return dns_answer_end(&a, (enum dns_rcode)(flags & DNS_RCODE));
}

static void deliver(struct dns *dns, const struct dns_asker *asker,
	const struct dns_query_info *info, uint8_t *msg, size_t len)
{
	uint8_t buf[DNS_UDP_SIZE];

	store_be16(msg, info->id);
	if (!asker->conn && len > info->udp_size) {
		len = truncated(msg, info, buf);
		send_answer(dns, asker, buf, len);
		return;
	}
	send_answer(dns, asker, msg, len);
}

/* Feeds the name log. */
static void learn(struct dns *dns, const uint8_t *msg, size_t len)
{
	size_t n = dns_names_learn(dns->names, msg, len, clock_wall_ms());

	if (n && dns->events.names && !timer_armed(&dns->tell_names))
		timer_arm(loop_wheel(dns->loop), &dns->tell_names, TELL_NAMES_MS);
}

void dns_pass_on(struct dns *dns, const struct dns_asker *asker, const struct dns_query_info *info,
	uint8_t *msg, size_t len)
{
	if (policy_has_names(dns) && dns_has_ech(msg, len)) {
		counter_inc(dns->counters, COUNTER_DNS_ECH_STRIPPED);
		len = dns_strip_ech(msg, len, dns->anew, sizeof(dns->anew));
		if (!len) {
			dns_deliver_error(dns, asker, info, msg, DNS_SERVFAIL);
			return;
		}
		msg = dns->anew;
	}
	learn(dns, msg, len);
	deliver(dns, asker, info, msg, len);
}

void dns_deliver_error(struct dns *dns, const struct dns_asker *asker,
	const struct dns_query_info *info, const uint8_t *query_msg, enum dns_rcode rcode)
{
	uint8_t buf[DNS_UDP_SIZE];
	struct dns_answer a;

	if (rcode == DNS_SERVFAIL)
		counter_inc(dns->counters, COUNTER_DNS_SERVFAIL);
	dns_answer_begin(&a, buf, sizeof(buf), query_msg, info, 0);
	send_answer(dns, asker, buf, dns_answer_end(&a, rcode));
}

/* ---- the name log ---- */

void dns_names_restore(struct dns *dns, const struct dns_name *names, size_t count)
{
	int64_t most = clock_wall_ms() + (int64_t)NAMES_TTL_MAX * 1000;

	for (size_t i = 0; i < count; i++)
		dns_names_add(dns->names, &names[i].addr, names[i].name,
			names[i].until_ms < most ? names[i].until_ms : most, false);
}

void dns_names_walk(const struct dns *dns,
	void (*fn)(void *arg, const struct dns_name *names, size_t count), void *arg)
{
	dns_names_each(dns->names, clock_wall_ms(), fn, arg);
}

size_t dns_names_at(const struct dns *dns, const struct addr *addr, const char **names, size_t max)
{
	return dns_names_of(dns->names, addr, clock_wall_ms(), names, max);
}

bool dns_hosts_have(const struct dns *dns, const char *name, const struct addr *addr)
{
	return dns_hosts_has(dns->hosts, name, addr);
}
