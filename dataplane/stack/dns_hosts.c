/* SPDX-License-Identifier: MIT */
/*
 * Local names: see dns_hosts.h.
 *
 * One row a (name, address), sorted by name; PTR, which is rare, walks them all. A name that is
 * here exists for every type: what it has no record of is NODATA, never the upstreams'.
 */
#include "dataplane/stack/dns_hosts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADDRS_MAX DNS_HOSTS_MAX
#define GATEWAY_NAME "_gateway"

struct row {
	struct dns_wire name;
	struct addr addr;
	bool has_addr; /* a host may be listed without any */
};

struct dns_hosts {
	bool host_access;
	size_t count;
	struct row *rows;
};

static const char *const aliases[] = {
	"host.internal",
	"host.docker.internal",
	"host.containers.internal",
	"gateway.containers.internal",
};

static int compare_names(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	return dns_wire_compare(&a->name, &b->name);
}

void dns_hosts_free(struct dns_hosts *hosts)
{
	if (!hosts)
		return;
	free(hosts->rows);
	free(hosts);
}

static int add_host(struct dns_hosts *set, const struct dns_host *host)
{
	struct row row = {.has_addr = false};

	if (dns_wire_parse(host->name, &row.name) < 0)
		return -EINVAL;
	if (!host->addr_count)
		set->rows[set->count++] = row;
	for (size_t i = 0; i < host->addr_count; i++) {
		row.addr = host->addrs[i];
		row.has_addr = true;
		set->rows[set->count++] = row;
	}
	return 0;
}

int dns_hosts_new(
	const struct dns_host *hosts, size_t count, bool host_access, struct dns_hosts **out)
{
	struct dns_hosts *set;
	size_t rows = 0;
	int rc = -ENOMEM;

	if (count > DNS_HOSTS_MAX)
		return -E2BIG;
	for (size_t i = 0; i < count; i++) {
		if (hosts[i].addr_count > ADDRS_MAX - rows)
			return -E2BIG;
		rows += hosts[i].addr_count ? hosts[i].addr_count : 1;
	}
	set = calloc(1, sizeof(*set));
	if (!set)
		return -ENOMEM;
	set->host_access = host_access;
	set->rows = calloc(rows + 1, sizeof(*set->rows));
	if (!set->rows)
		goto fail;
	for (size_t i = 0; i < count; i++) {
		rc = add_host(set, &hosts[i]);
		if (rc < 0)
			goto fail;
	}
	qsort(set->rows, set->count, sizeof(*set->rows), compare_names);
	*out = set;
	return 0;
fail:
	dns_hosts_free(set);
	return rc;
}

/* ---- looking up ---- */

static const struct row *first_by_name(const struct dns_hosts *set, const struct dns_wire *name)
{
	size_t lo = 0, hi = set->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (dns_wire_compare(&set->rows[mid].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < set->count && dns_wire_eq(&set->rows[lo].name, name) ? &set->rows[lo] : NULL;
}

bool dns_hosts_has(const struct dns_hosts *set, const char *name, const struct addr *addr)
{
	struct dns_wire wire;
	const struct row *r;

	if (!set || dns_wire_parse(name, &wire) < 0)
		return false;
	r = first_by_name(set, &wire);
	for (; r && r < set->rows + set->count && dns_wire_eq(&r->name, &wire); r++) {
		if (r->has_addr && addr_eq(&r->addr, addr))
			return true;
	}
	return false;
}

static void add_addr(struct dns_answer *a, const struct addr *addr)
{
	uint16_t type = a->query->question.type;

	if (addr_is_v4(addr) && (type == DNS_A || type == DNS_ANY))
		dns_answer_add(a, DNS_A, DNS_LOCAL_TTL, addr->b + 12, 4);
	if (!addr_is_v4(addr) && (type == DNS_AAAA || type == DNS_ANY))
		dns_answer_add(a, DNS_AAAA, DNS_LOCAL_TTL, addr->b, 16);
}

static bool add_listed(const struct dns_hosts *set, struct dns_answer *a)
{
	const struct dns_wire *name = &a->query->question.name;
	const struct row *r = set ? first_by_name(set, name) : NULL;

	if (!r)
		return false;
	for (; r < set->rows + set->count && dns_wire_eq(&r->name, name); r++) {
		if (r->has_addr)
			add_addr(a, &r->addr);
	}
	return true;
}

static bool add_pointers(const struct dns_hosts *set, const struct net *net, struct dns_answer *a)
{
	uint16_t type = a->query->question.type;
	bool wanted = type == DNS_PTR || type == DNS_ANY, found = false;
	struct dns_wire name;
	struct addr addr;

	if (!dns_wire_reverse(&a->query->question.name, &addr))
		return false;
	for (size_t i = 0; set && i < set->count; i++) {
		const struct row *r = &set->rows[i];

		if (!r->has_addr || !addr_eq(&r->addr, &addr))
			continue;
		if (wanted)
			dns_answer_add(a, DNS_PTR, DNS_LOCAL_TTL, r->name.b, r->name.len);
		found = true;
	}
	if (addr_eq(&addr, &net->gateway)) {
		if (wanted && dns_wire_parse(GATEWAY_NAME, &name) == 0)
			dns_answer_add(a, DNS_PTR, DNS_LOCAL_TTL, name.b, name.len);
		found = true;
	}
	return found;
}

static bool is_name(const struct dns_wire *w, const char *text)
{
	struct dns_wire other;

	return dns_wire_parse(text, &other) == 0 && dns_wire_eq(w, &other);
}

size_t dns_hosts_answer(const struct dns_hosts *set, const struct net *net,
	const uint8_t *query_msg, const struct dns_query_info *query, uint8_t *buf, size_t max)
{
	const struct dns_question *q = &query->question;
	struct dns_answer a;

	if (q->class != DNS_CLASS_IN && q->class != DNS_ANY)
		return 0;
	dns_answer_begin(&a, buf, max, query_msg, query, DNS_AA);
	if (add_listed(set, &a) || add_pointers(set, net, &a))
		return dns_answer_end(&a, DNS_NOERROR);
	if (is_name(&q->name, GATEWAY_NAME)) {
		add_addr(&a, &net->gateway);
		return dns_answer_end(&a, DNS_NOERROR);
	}
	for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
		if (!is_name(&q->name, aliases[i]))
			continue;
		if (!set || !set->host_access)
			return dns_answer_end(&a, DNS_NXDOMAIN);
		add_addr(&a, &net->gateway);
		return dns_answer_end(&a, DNS_NOERROR);
	}
	return 0;
}
