/* SPDX-License-Identifier: MIT */
/*
 * The compiled policy: see policy_table.h. Compiling is in policy_compile.c.
 *
 * Prefixes either nest or are apart, so n of them cut the address space into at most 2n + 1
 * ranges, each of which belongs to one prefix, the longest that covers it. The table is
 *
 *   header
 *   own[n_own]         the host's own addresses, ascending
 *   keys[n_ranges]     first address of each range, ascending, the first one ::
 *   owner[n_ranges]    the node of each range
 *   nodes[n_nodes]     one a distinct prefix; node 0 is ::/0
 *   segs[n_segs]       per node and protocol: port intervals, ascending from port 0, and the
 *                      first rule that matches there
 *   rules[n_rules]     verdict and author's index of each rule
 *   hashes[n_names]    of each distinct name or wildcard, ascending
 *   named[n_names]     its lists in segs, its rules in members, its text
 *   members[…] text[…]
 *
 * A lookup finds the range, then the node's interval for the port: two binary searches. The rules
 * of the prefixes around a node matter too. Where their list is short next to the node's own it
 * is merged into it when compiling; where it is long the node has a link `up` to it, and the
 * lookup goes on there and takes the least rule. Each link leads to a list at least four times
 * as long, so a chain has at most eight links, and no table grows beyond a few times its input.
 *
 * Names are looked up in the same way (policy_names.c), and the least rule of all that match, by
 * the address or one of its names, decides. Where the address has found a rule before the first
 * one with names, nobody is asked for names.
 */
#include "common/policy_table.h"

#include "common/be.h"
#include "common/policy_layout.h"

#include <errno.h>

#define PORT_QUIC 443

struct policy_key policy_key(const struct addr *a)
{
	return (struct policy_key){
		(uint64_t)load_be32(a->b) << 32 | load_be32(a->b + 4),
		(uint64_t)load_be32(a->b + 8) << 32 | load_be32(a->b + 12),
	};
}

struct addr policy_effective_addr(const struct addr *a)
{
	static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
	static const uint8_t compatible[12];
	const uint8_t *v4 = NULL;

	if (addr_is_v4(a))
		return *a;
	if (a->b[0] == 0x20 && a->b[1] == 0x02)
		v4 = a->b + 2;
	else if (memcmp(a->b, nat64, sizeof(nat64)) == 0)
		v4 = a->b + 12;
	else if (memcmp(a->b, compatible, sizeof(compatible)) == 0 && load_be32(a->b + 12) > 1)
		v4 = a->b + 12;
	return v4 ? addr_from_v4(load_be32(v4)) : *a;
}

static int proto_class(uint8_t proto)
{
	switch (proto) {
	case POLICY_PROTO_TCP:
		return POLICY_CLASS_TCP;
	case POLICY_PROTO_UDP:
		return POLICY_CLASS_UDP;
	case POLICY_PROTO_ICMP:
	case 58:
		return POLICY_CLASS_ICMP;
	default:
		return -1;
	}
}

/* The last of n ascending keys that is not above `key`; keys[0] never is. */
static uint32_t find_range(const struct policy_key *keys, uint32_t n, struct policy_key key)
{
	uint32_t base = 0;

	while (n > 1) {
		uint32_t half = n / 2;

		base = policy_key_le(keys[base + half], key) ? base + half : base;
		n -= half;
	}
	return base;
}

uint32_t policy_segs_rule(const struct policy_seg *segs, uint32_t n, uint16_t port)
{
	uint32_t base = 0;

	while (n > 1) {
		uint32_t half = n / 2;

		base = segs[base + half].start <= port ? base + half : base;
		n -= half;
	}
	return segs[base].rule;
}

/* The first rule whose prefixes and ports match, or POLICY_NO_RULE. */
static uint32_t addr_rule(
	const struct policy_view *v, int class, const struct addr *addr, uint16_t port)
{
	struct addr real = policy_effective_addr(addr);
	uint32_t rule = POLICY_NO_RULE;
	uint32_t node = v->owner[find_range(v->keys, v->h->n_ranges, policy_key(&real))];

	for (; node != POLICY_NO_NODE; node = v->nodes[node].up) {
		const struct policy_list *l = &v->nodes[node].list[class];
		uint32_t found = policy_segs_rule(v->segs + l->first, l->count, port);

		/* POLICY_NO_RULE is the largest number. */
		if (found < rule)
			rule = found;
	}
	return rule;
}

static bool rule_allows(const struct policy_view *v, uint32_t rule)
{
	if (rule == POLICY_NO_RULE)
		return v->h->default_allow;
	return v->rules[rule].flags & POLICY_FLAG_ALLOW;
}

static int32_t rule_by(const struct policy_view *v, uint32_t rule)
{
	return rule == POLICY_NO_RULE ? v->h->default_by : v->rules[rule].by;
}

bool policy_table_lookup(
	const void *blob, uint8_t proto, const struct addr *addr, uint16_t port, int32_t *by)
{
	struct policy_view v = policy_view(blob);
	int class = proto_class(proto);
	uint32_t rule;

	if (class < 0) {
		if (by)
			*by = POLICY_BY_DEFAULT;
		return false;
	}
	rule = addr_rule(&v, class, addr, class == POLICY_CLASS_ICMP ? 0 : port);
	if (by)
		*by = rule_by(&v, rule);
	return rule_allows(&v, rule);
}

/* ---- by name ---- */

struct name_walk {
	const struct policy_view *v;
	int class;
	uint16_t port;
	uint32_t rule; /* the least so far */
	const char *name;
};

/* All names are weighed, since a later one may match an earlier rule. */
static bool weigh_name(void *arg, const char *name)
{
	struct name_walk *walk = arg;
	struct policy_name_key key;
	uint32_t rule;

	if (!policy_name_key(name, &key))
		return false;
	rule = policy_names_rule(walk->v, &key, walk->class, walk->port);
	if (rule < walk->rule) {
		walk->rule = rule;
		walk->name = name;
	}
	return false;
}

static struct policy_verdict look_up(const struct policy_view *v, int class,
	const struct policy_flow *flow, const struct policy_names *names)
{
	struct name_walk walk = {.v = v, .class = class, .port = flow->port};
	struct policy_verdict verdict = {.name = NULL};

	walk.rule = addr_rule(v, class, flow->addr, flow->port);
	/* first_named is POLICY_NO_RULE without names. */
	if (names && v->h->first_named < walk.rule)
		names->admit(names->log, flow, weigh_name, &walk);
	verdict.allow = rule_allows(v, walk.rule);
	verdict.by = rule_by(v, walk.rule);
	verdict.name = walk.name;
	verdict.by_name = walk.name != NULL;
	verdict.verify_strict = verdict.allow && verdict.by_name &&
		!(v->rules[walk.rule].flags & POLICY_FLAG_VERIFY_DNS);
	if (verdict.verify_strict && class == POLICY_CLASS_UDP && flow->port == PORT_QUIC)
		verdict.allow = verdict.verify_strict = false;
	return verdict;
}

/* Addresses that mean the host itself to its socket calls, and nobody on a wire. */
static bool is_host_internal(const struct addr *a)
{
	struct addr real = policy_effective_addr(a);

	if (addr_is_v4(&real))
		return real.b[12] == 0 || real.b[12] == 127;
	return addr_is_loopback(&real) || addr_is_unspecified(&real);
}

struct policy_verdict policy_table_judge(const void *blob, const struct addr *gateway,
	bool host_access, uint8_t proto, const struct addr *addr, uint16_t port,
	const struct policy_names *names)
{
	struct policy_view v = policy_view(blob);
	struct policy_verdict verdict = {.by = POLICY_BY_HOST_ACCESS};
	bool to_gateway = addr_eq(addr, gateway);
	int class = proto_class(proto);
	struct policy_flow flow = {addr, class == POLICY_CLASS_ICMP ? 0 : port, proto};

	if (is_host_internal(addr) || (to_gateway && !host_access))
		return verdict;
	verdict.by = POLICY_BY_DEFAULT;
	if (class < 0)
		return verdict;
	verdict = look_up(&v, class, &flow, names);
	if (to_gateway && verdict.by < 0)
		verdict = (struct policy_verdict){.allow = true, .by = POLICY_BY_HOST_ACCESS};
	return verdict;
}

static bool admit_one(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)flow;
	return match(arg, log);
}

struct policy_verdict policy_table_judge_as(const void *blob, const struct addr *gateway,
	bool host_access, uint8_t proto, const struct addr *addr, uint16_t port, const char *name)
{
	/* admit_one() hands the name to a callback that only reads it. */
	struct policy_names names = {.admit = admit_one, .log = (void *)(uintptr_t)name};

	return policy_table_judge(blob, gateway, host_access, proto, addr, port, &names);
}

static bool is_own(const struct policy_view *v, const struct addr *addr)
{
	struct addr real = policy_effective_addr(addr);
	struct policy_key key = policy_key(&real), found;

	if (!v->h->n_own || !policy_key_le(v->own[0], key))
		return false;
	found = v->own[find_range(v->own, v->h->n_own, key)];
	return found.hi == key.hi && found.lo == key.lo;
}

bool policy_table_any_name_counts(const void *blob, const struct policy_flow *flow)
{
	struct policy_view v = policy_view(blob);

	if (!policy_addr_is_private(flow->addr) && !is_own(&v, flow->addr))
		return true;
	return policy_table_lookup(blob, flow->proto, flow->addr, flow->port, NULL);
}

uint32_t policy_table_rules(const void *blob)
{
	struct policy_view v = policy_view(blob);
	uint32_t n = 0;

	for (uint32_t i = 0; i < v.h->n_rules; i++) {
		if (v.rules[i].by >= 0 && (uint32_t)v.rules[i].by >= n)
			n = (uint32_t)v.rules[i].by + 1;
	}
	return n;
}

/* ---- checking ---- */

static bool check_ranges(const struct policy_view *v)
{
	for (uint32_t i = 1; i < v->h->n_own; i++) {
		if (policy_key_le(v->own[i], v->own[i - 1]))
			return false;
	}
	if (v->keys[0].hi || v->keys[0].lo)
		return false;
	for (uint32_t i = 0; i < v->h->n_ranges; i++) {
		if (v->owner[i] >= v->h->n_nodes)
			return false;
		if (i && policy_key_le(v->keys[i], v->keys[i - 1]))
			return false;
	}
	return true;
}

bool policy_list_check(const struct policy_view *v, const struct policy_list *l)
{
	if (!l->count || l->first >= v->h->n_segs || l->count > v->h->n_segs - l->first)
		return false;
	return v->segs[l->first].start == 0;
}

static bool check_nodes(const struct policy_view *v)
{
	for (uint32_t i = 0; i < v->h->n_nodes; i++) {
		const struct policy_node *node = &v->nodes[i];

		/* Links lead to earlier nodes only, so no chain is endless. */
		if (node->up != POLICY_NO_NODE && node->up >= i)
			return false;
		for (int c = 0; c < POLICY_CLASSES; c++) {
			if (!policy_list_check(v, &node->list[c]))
				return false;
		}
	}
	for (uint32_t i = 0; i < v->h->n_segs; i++) {
		uint32_t rule = v->segs[i].rule;

		if (rule != POLICY_NO_RULE && rule >= v->h->n_rules)
			return false;
	}
	for (uint32_t i = 0; i < v->h->n_rules; i++) {
		if (v->rules[i].flags > (POLICY_FLAG_ALLOW | POLICY_FLAG_VERIFY_DNS))
			return false;
	}
	return true;
}

int policy_table_check(const void *blob, size_t len)
{
	const struct policy_header *h = blob;
	struct policy_view v;

	if (!blob || (uintptr_t)blob % 8 || len < sizeof(*h) || len > POLICY_TABLE_MAX)
		return -EINVAL;
	if (h->magic != POLICY_MAGIC)
		return -EINVAL;
	if (h->version != POLICY_VERSION)
		return -EPROTONOSUPPORT;
	if (!h->n_ranges || !h->n_nodes || !h->n_segs)
		return -EINVAL;
	if (h->size != len || policy_size(h) != len || h->default_allow > 1)
		return -EINVAL;
	v = policy_view(blob);
	return check_ranges(&v) && check_nodes(&v) && policy_names_check(&v) ? 0 : -EINVAL;
}

/* ---- presets ---- */

#define V4(a, b, c, d, bits)                                                                       \
	{                                                                                          \
		{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}}, 96 + (bits)              \
	}

/*
 * What is not the public internet. 168.63.129.16 is Azure's host agent. 64:ff9b:1::/48 is for NAT64
 * inside a network (RFC 8215), which embeds IPv4 addresses at a place that only that network knows, so
 * any of it may stand for a private one. fec0::/10 was site-local before RFC 3879, and still may be.
 */
static const struct prefix not_public[] = {
	V4(0, 0, 0, 0, 8),
	V4(10, 0, 0, 0, 8),
	V4(100, 64, 0, 0, 10),
	V4(127, 0, 0, 0, 8),
	V4(169, 254, 0, 0, 16),
	V4(172, 16, 0, 0, 12),
	V4(192, 0, 0, 0, 24),
	V4(192, 168, 0, 0, 16),
	V4(198, 18, 0, 0, 15),
	V4(224, 0, 0, 0, 3),
	V4(168, 63, 129, 16, 32),
	{{{0}}, 128},
	{{{[15] = 1}}, 128},
	{{{0xfc}}, 7},
	{{{0xfe, 0x80}}, 10},
	{{{0xfe, 0xc0}}, 10},
	{{{0, 0x64, 0xff, 0x9b, 0, 1}}, 48},
	{{{0xff}}, 8},
};

bool policy_addr_is_private(const struct addr *addr)
{
	struct addr real = policy_effective_addr(addr);

	for (size_t i = 0; i < sizeof(not_public) / sizeof(not_public[0]); i++) {
		if (prefix_contains(&not_public[i], &real))
			return true;
	}
	return false;
}

static const char *const preset_names[] = {"open", "none", "public"};

int policy_preset_parse(const char *name, enum policy_preset *out)
{
	for (int i = POLICY_OPEN; i <= POLICY_PUBLIC; i++) {
		if (strcmp(name, preset_names[i]) == 0) {
			*out = (enum policy_preset)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *policy_preset_name(enum policy_preset preset)
{
	return preset_names[preset];
}

size_t policy_preset_rules(enum policy_preset preset, const struct prefix *own, size_t n_own,
	struct policy_rule out[POLICY_PRESET_RULES_MAX], bool *default_allow)
{
	size_t n = 0;

	*default_allow = preset != POLICY_NONE;
	if (preset != POLICY_PUBLIC)
		return 0;
	out[n++] = (struct policy_rule){
		.to = not_public,
		.n_to = sizeof(not_public) / sizeof(not_public[0]),
		.by = POLICY_BY_PRESET,
	};
	if (n_own)
		out[n++] = (struct policy_rule){.to = own, .n_to = n_own, .by = POLICY_BY_PRESET};
	return n;
}
