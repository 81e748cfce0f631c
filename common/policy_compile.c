/* SPDX-License-Identifier: MIT */
/*
 * Compiling a policy: rules in order become the flat table of policy_table.c.
 *
 *  1. each pair of a rule's prefix and port range is an entry; entries are sorted by prefix,
 *     outer ones before those inside them, then by rule;
 *  2. entries of one prefix make a node, whose port intervals are painted rule by rule: what is
 *     painted already belongs to an earlier rule;
 *  3. a node's lists are merged with those around it where that is cheap, or linked;
 *  4. a sweep over the nodes, with a stack of those that are open, gives the ranges;
 *  5. each pair of a rule's name and port range is an entry of its own kind: sorted by hash, name
 *     and rule, those of one name are painted like those of one prefix. Names do not nest.
 *
 * O(n log n) in the number of entries.
 */
#include "common/policy_layout.h"
#include "common/policy_table.h"

#include <errno.h>
#include <stdlib.h>

struct entry {
	struct policy_key key; /* an address, or hi is a name's hash */
	const char *name;
	uint32_t rule;
	uint16_t lo;
	uint16_t hi;
	uint8_t bits;
	uint8_t classes; /* bit 1 << POLICY_CLASS_… */
};

struct open_node {
	uint32_t node;
	struct policy_key last; /* the last address of its prefix */
};

struct compiler {
	const struct policy_input *in;
	struct entry *entries;
	size_t n_entries;
	struct entry *named_entries;
	size_t n_named_entries;

	struct policy_node *nodes;
	uint32_t n_nodes;
	struct policy_key *own_addrs;
	uint32_t n_own_addrs;
	struct policy_key *keys;
	uint32_t *owner;
	uint32_t n_ranges;
	struct policy_seg *segs;
	uint32_t n_segs, max_segs;
	uint64_t *hashes;
	struct policy_named *named;
	uint32_t n_named;
	uint32_t *members;
	uint32_t n_members;
	uint32_t n_text;

	/* Scratch for one list: the intervals of a node's own rules. */
	struct policy_seg *own;
	uint32_t *next;

	struct open_node stack[130];
	unsigned depth;
};

/* ---- entries ---- */

static struct policy_key prefix_last(struct policy_key k, unsigned bits)
{
	if (bits < 64)
		k.hi |= UINT64_MAX >> bits;
	if (bits <= 64)
		k.lo = UINT64_MAX;
	else if (bits < 128)
		k.lo |= UINT64_MAX >> (bits - 64);
	return k;
}

static struct policy_key prefix_first(struct policy_key k, unsigned bits)
{
	struct policy_key none = {0, 0}, host = prefix_last(none, bits);

	return (struct policy_key){k.hi & ~host.hi, k.lo & ~host.lo};
}

/* Whether all of a prefix is judged as IPv4, so that it can never match as it is. */
static bool never_matches(const struct prefix *p)
{
	struct addr some = p->addr, real;

	if (addr_is_v4(&p->addr))
		return false;
	if (p->bits < 96)
		return p->bits >= 16 && p->addr.b[0] == 0x20 && p->addr.b[1] == 0x02;
	if (p->bits < 127)
		some.b[15] |= 2; /* :: and ::1 stand for themselves, the rest of ::/96 does not */
	real = policy_effective_addr(&some);
	return addr_is_v4(&real);
}

static int rule_classes(const struct policy_rule *r)
{
	int with_ports = 1 << POLICY_CLASS_TCP | 1 << POLICY_CLASS_UDP;

	switch (r->proto) {
	case POLICY_PROTO_ANY:
		return r->n_ports ? with_ports : with_ports | 1 << POLICY_CLASS_ICMP;
	case POLICY_PROTO_TCP:
		return 1 << POLICY_CLASS_TCP;
	case POLICY_PROTO_UDP:
		return 1 << POLICY_CLASS_UDP;
	case POLICY_PROTO_ICMP:
		return r->n_ports ? -EINVAL : 1 << POLICY_CLASS_ICMP;
	default:
		return -EINVAL;
	}
}

static int check_rule(const struct policy_rule *r)
{
	if (rule_classes(r) < 0)
		return -EINVAL;
	for (size_t i = 0; i < r->n_ports; i++) {
		if (r->ports[i].lo > r->ports[i].hi)
			return -EINVAL;
	}
	for (size_t i = 0; i < r->n_to; i++) {
		if (r->to[i].bits > 128)
			return -EINVAL;
		if (never_matches(&r->to[i]))
			return -EDOM;
	}
	for (size_t i = 0; i < r->n_names; i++) {
		char name[POLICY_NAME_LEN];

		if (policy_name_parse(r->names[i], name) < 0 || strcmp(name, r->names[i]) != 0)
			return -EINVAL;
	}
	return 0;
}

static int compare_entries(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;

	if (a->key.hi != b->key.hi)
		return a->key.hi < b->key.hi ? -1 : 1;
	if (a->key.lo != b->key.lo)
		return a->key.lo < b->key.lo ? -1 : 1;
	if (a->bits != b->bits)
		return a->bits < b->bits ? -1 : 1;
	return (a->rule > b->rule) - (a->rule < b->rule);
}

static int compare_named(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;
	int order;

	if (a->key.hi != b->key.hi)
		return a->key.hi < b->key.hi ? -1 : 1;
	order = strcmp(a->name, b->name);
	return order ? order : (a->rule > b->rule) - (a->rule < b->rule);
}

static const struct policy_ports any_port = {0, UINT16_MAX};

/* Over how many prefixes a rule counts; a rule of names alone over none. */
static size_t count_to(const struct policy_rule *r)
{
	return r->n_to || r->n_names ? r->n_to : 1;
}

static void add_named(struct compiler *c, uint32_t rule)
{
	const struct policy_rule *r = &c->in->rules[rule];
	size_t n_ports = r->n_ports ? r->n_ports : 1;

	for (size_t i = 0; i < r->n_names * n_ports; i++) {
		const struct policy_ports *p = r->n_ports ? &r->ports[i % n_ports] : &any_port;
		const char *name = r->names[i / n_ports];

		c->named_entries[c->n_named_entries++] = (struct entry){
			.key = {.hi = policy_name_hash(name)},
			.name = name,
			.rule = rule,
			.lo = p->lo,
			.hi = p->hi,
			.classes = (uint8_t)rule_classes(r),
		};
	}
}

static void add_entries(struct compiler *c, uint32_t rule)
{
	static const struct prefix any_addr = {{{0}}, 0};
	const struct policy_rule *r = &c->in->rules[rule];
	size_t n_to = count_to(r), n_ports = r->n_ports ? r->n_ports : 1;

	for (size_t i = 0; i < n_to * n_ports; i++) {
		const struct prefix *to = r->n_to ? &r->to[i / n_ports] : &any_addr;
		const struct policy_ports *p = r->n_ports ? &r->ports[i % n_ports] : &any_port;

		c->entries[c->n_entries++] = (struct entry){
			.key = prefix_first(policy_key(&to->addr), to->bits),
			.bits = to->bits,
			.rule = rule,
			.lo = p->lo,
			.hi = p->hi,
			.classes = (uint8_t)rule_classes(r),
		};
	}
}

/* Checks all rules and counts their entries. */
static int count_entries(
	const struct policy_input *in, size_t *total, size_t *total_named, size_t *bad_rule)
{
	int rc;

	*total = 1; /* ::/0 is always there, entry 0 of no class */
	*total_named = 0;
	for (size_t i = 0; i < in->n_rules; i++) {
		const struct policy_rule *r = &in->rules[i];
		size_t n_to = count_to(r), n_ports = r->n_ports ? r->n_ports : 1;

		*bad_rule = i;
		rc = check_rule(r);
		if (rc < 0)
			return rc;
		if (n_to > POLICY_ENTRIES_MAX || n_ports > POLICY_ENTRIES_MAX ||
			r->n_names > POLICY_ENTRIES_MAX)
			return -E2BIG;
		*total += n_to * n_ports;
		*total_named += r->n_names * n_ports;
		if (*total + *total_named > POLICY_ENTRIES_MAX + 1)
			return -E2BIG;
	}
	*bad_rule = (size_t)-1;
	return 0;
}

static int collect_entries(struct compiler *c, size_t *bad_rule)
{
	size_t total, total_named;
	int rc = count_entries(c->in, &total, &total_named, bad_rule);

	if (rc < 0)
		return rc;
	c->entries = calloc(total, sizeof(*c->entries));
	c->named_entries = calloc(total_named + 1, sizeof(*c->named_entries));
	if (!c->entries || !c->named_entries)
		return -ENOMEM;
	c->n_entries = 1;
	for (size_t i = 0; i < c->in->n_rules; i++) {
		add_entries(c, (uint32_t)i);
		add_named(c, (uint32_t)i);
	}
	qsort(c->entries, c->n_entries, sizeof(*c->entries), compare_entries);
	qsort(c->named_entries, c->n_named_entries, sizeof(*c->entries), compare_named);
	return 0;
}

/* ---- lists of port intervals ---- */

static int push_seg(struct compiler *c, uint32_t first, uint32_t start, uint32_t rule)
{
	if (c->n_segs > first && c->segs[c->n_segs - 1].rule == rule)
		return 0;
	if (c->n_segs == c->max_segs) {
		uint32_t max = c->max_segs ? c->max_segs * 2 : 1024;
		struct policy_seg *segs;

		if (max > POLICY_TABLE_MAX / sizeof(*segs) * 2)
			return -E2BIG;
		segs = realloc(c->segs, max * sizeof(*segs));
		if (!segs)
			return -ENOMEM;
		c->segs = segs;
		c->max_segs = max;
	}
	c->segs[c->n_segs++] = (struct policy_seg){start, rule};
	return 0;
}

static int compare_starts(const void *left, const void *right)
{
	const struct policy_seg *a = left, *b = right;

	return (a->start > b->start) - (a->start < b->start);
}

/* The first interval at or after i that no rule has yet, with the path to it shortened. */
static uint32_t unpainted(uint32_t *next, uint32_t i)
{
	uint32_t root = i;

	while (next[root] != root)
		root = next[root];
	while (next[i] != root) {
		uint32_t step = next[i];

		next[i] = root;
		i = step;
	}
	return root;
}

static uint32_t find_start(const struct policy_seg *segs, uint32_t n, uint32_t start)
{
	uint32_t lo = 0;

	while (lo < n) {
		uint32_t mid = lo + (n - lo) / 2;

		if (segs[mid].start < start)
			lo = mid + 1;
		else
			n = mid;
	}
	return lo;
}

/* Cuts the ports at every edge of the entries' ranges. Returns the number of intervals. */
static uint32_t cut_ports(struct compiler *c, const struct entry *e, size_t n, int class)
{
	uint32_t cuts = 0, kept = 0;

	c->own[cuts++].start = 0;
	for (size_t i = 0; i < n; i++) {
		if (!(e[i].classes & 1 << class))
			continue;
		c->own[cuts++].start = e[i].lo;
		if (e[i].hi < UINT16_MAX)
			c->own[cuts++].start = e[i].hi + 1u;
	}
	qsort(c->own, cuts, sizeof(*c->own), compare_starts);
	for (uint32_t i = 0; i < cuts; i++) {
		if (i && c->own[i].start == c->own[kept - 1].start)
			continue;
		c->own[kept].start = c->own[i].start;
		c->own[kept].rule = POLICY_NO_RULE;
		c->next[kept] = kept;
		kept++;
	}
	c->next[kept] = kept;
	return kept;
}

/* Fills c->own with the intervals of one node's own entries. */
static uint32_t paint_own(struct compiler *c, const struct entry *e, size_t n, int class)
{
	uint32_t count = cut_ports(c, e, n, class), kept = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t at, end;

		if (!(e[i].classes & 1 << class))
			continue;
		at = unpainted(c->next, find_start(c->own, count, e[i].lo));
		end = find_start(c->own, count, e[i].hi + 1u);
		for (; at < end; at = unpainted(c->next, at)) {
			c->own[at].rule = e[i].rule;
			c->next[at] = at + 1;
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		if (kept && c->own[kept - 1].rule == c->own[i].rule)
			continue;
		c->own[kept++] = c->own[i];
	}
	return kept;
}

/* Appends c->own, with the least rule of it and of `around` (if any) everywhere. */
static int append_list(struct compiler *c, uint32_t count, const struct policy_list *around,
	struct policy_list *out)
{
	uint32_t first = c->n_segs, i = 0, k = 0, start = 0;
	int rc;

	for (;;) {
		uint32_t rule = c->own[i].rule, end = UINT16_MAX + 1u;

		if (i + 1 < count)
			end = c->own[i + 1].start;
		if (around) {
			const struct policy_seg *s = &c->segs[around->first + k];

			if (s->rule < rule)
				rule = s->rule;
			if (k + 1 < around->count && s[1].start < end)
				end = s[1].start;
		}
		rc = push_seg(c, first, start, rule);
		if (rc < 0)
			return rc;
		if (end > UINT16_MAX)
			break;
		start = end;
		if (i + 1 < count && c->own[i + 1].start == start)
			i++;
		if (around && k + 1 < around->count &&
			c->segs[around->first + k + 1].start == start)
			k++;
	}
	*out = (struct policy_list){first, c->n_segs - first};
	return 0;
}

static bool same_list(
	const struct compiler *c, const struct policy_list *a, const struct policy_list *b)
{
	return a->count == b->count &&
		memcmp(c->segs + a->first, c->segs + b->first, a->count * sizeof(*c->segs)) == 0;
}

static uint32_t lists_len(const struct policy_node *node)
{
	uint32_t n = 0;

	for (int i = 0; i < POLICY_CLASSES; i++)
		n += node->list[i].count;
	return n;
}

/* ---- nodes and ranges ---- */

static int add_node(struct compiler *c, const struct entry *e, size_t n)
{
	uint32_t id = c->n_nodes++, own = 0;
	struct policy_node *node = &c->nodes[id];
	const struct policy_node *around = NULL;
	int rc;

	node->up = POLICY_NO_NODE;
	if (c->depth) {
		uint32_t outer = c->stack[c->depth - 1].node;

		for (int i = 0; i < POLICY_CLASSES; i++)
			own += paint_own(c, e, n, i);
		node->up = outer;
		if (lists_len(&c->nodes[outer]) <= (own < 6 ? 24 : own * 4)) {
			around = &c->nodes[outer];
			node->up = around->up;
		}
	}
	for (int i = 0; i < POLICY_CLASSES; i++) {
		struct policy_list *l = &node->list[i];

		rc = append_list(c, paint_own(c, e, n, i), around ? &around->list[i] : NULL, l);
		if (rc < 0)
			return rc;
		if (i && same_list(c, l, &node->list[0])) {
			c->n_segs = l->first;
			*l = node->list[0];
		}
	}
	return 0;
}

/* From `start` on, addresses belong to `node`; what was said of `start` before is void. */
static void add_range(struct compiler *c, struct policy_key start, uint32_t node)
{
	if (c->n_ranges) {
		struct policy_key last = c->keys[c->n_ranges - 1];

		if (last.hi == start.hi && last.lo == start.lo)
			c->n_ranges--;
	}
	c->keys[c->n_ranges] = start;
	c->owner[c->n_ranges] = node;
	c->n_ranges++;
}

/* Closes the nodes that end before `key` (all but the outermost where key is NULL). */
static void close_nodes(struct compiler *c, const struct policy_key *key)
{
	while (c->depth > 1) {
		struct policy_key after = c->stack[c->depth - 1].last;

		if (key && policy_key_le(*key, after))
			return;
		c->depth--;
		if (++after.lo == 0 && ++after.hi == 0)
			continue; /* it ended where the address space does */
		add_range(c, after, c->stack[c->depth - 1].node);
	}
}

static int build(struct compiler *c)
{
	size_t n;
	int rc;

	for (size_t i = 0; i < c->n_entries; i += n) {
		const struct entry *e = &c->entries[i];

		for (n = 1; i + n < c->n_entries; n++) {
			const struct entry *o = &e[n];

			if (o->bits != e->bits || o->key.hi != e->key.hi || o->key.lo != e->key.lo)
				break;
		}
		close_nodes(c, &e->key);
		rc = add_node(c, e, n);
		if (rc < 0)
			return rc;
		add_range(c, e->key, c->n_nodes - 1);
		c->stack[c->depth++] = (struct open_node){
			.node = c->n_nodes - 1,
			.last = prefix_last(e->key, e->bits),
		};
	}
	close_nodes(c, NULL);
	return 0;
}

/* ---- names ---- */

static int add_named_list(struct compiler *c, const struct entry *e, size_t n)
{
	struct policy_named *named = &c->named[c->n_named];
	int rc;

	c->hashes[c->n_named++] = e->key.hi;
	named->text = c->n_text;
	named->len = (uint32_t)strlen(e->name);
	c->n_text += named->len;
	named->members.first = c->n_members;
	for (size_t i = 0; i < n; i++) {
		if (!i || e[i].rule != e[i - 1].rule)
			c->members[c->n_members++] = e[i].rule;
	}
	named->members.count = c->n_members - named->members.first;
	for (int i = 0; i < POLICY_CLASSES; i++) {
		struct policy_list *l = &named->list[i];

		rc = append_list(c, paint_own(c, e, n, i), NULL, l);
		if (rc < 0)
			return rc;
		if (i && same_list(c, l, &named->list[0])) {
			c->n_segs = l->first;
			*l = named->list[0];
		}
	}
	return 0;
}

static int build_named(struct compiler *c)
{
	size_t n;
	int rc;

	for (size_t i = 0; i < c->n_named_entries; i += n) {
		const struct entry *e = &c->named_entries[i];

		for (n = 1; i + n < c->n_named_entries; n++) {
			if (strcmp(e[n].name, e->name) != 0)
				break;
		}
		rc = add_named_list(c, e, n);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static bool allows_any(const struct policy_rule *r)
{
	if (!r->allow)
		return false;
	if (!r->n_to)
		return !r->n_names;
	for (size_t i = 0; i < r->n_to; i++) {
		if (r->to[i].bits == 0 || (r->to[i].bits == 96 && addr_is_v4(&r->to[i].addr)))
			return true;
	}
	return false;
}

/* ---- the host's own addresses ---- */

static int compare_keys(const void *left, const void *right)
{
	const struct policy_key *a = left, *b = right;

	if (policy_key_le(*a, *b))
		return policy_key_le(*b, *a) ? 0 : -1;
	return 1;
}

static int build_own_addrs(struct compiler *c)
{
	const struct policy_input *in = c->in;

	if (in->n_own > POLICY_ENTRIES_MAX)
		return -E2BIG;
	c->own_addrs = calloc(in->n_own + 1, sizeof(*c->own_addrs));
	if (!c->own_addrs)
		return -ENOMEM;
	for (size_t i = 0; i < in->n_own; i++) {
		struct addr real = policy_effective_addr(&in->own[i].addr);

		c->own_addrs[i] = policy_key(&real);
	}
	qsort(c->own_addrs, in->n_own, sizeof(*c->own_addrs), compare_keys);
	for (size_t i = 0; i < in->n_own; i++) {
		if (!i || compare_keys(&c->own_addrs[i], &c->own_addrs[c->n_own_addrs - 1]) != 0)
			c->own_addrs[c->n_own_addrs++] = c->own_addrs[i];
	}
	return 0;
}

/* ---- the block ---- */

static void *put(void *to, const void *from, size_t len)
{
	if (len)
		memcpy(to, from, len);
	return (uint8_t *)to + len;
}

static void write_named(const struct compiler *c, uint8_t *p)
{
	struct policy_header h = {.n_members = c->n_members};
	const struct entry *e = c->named_entries;

	p = put(p, c->hashes, c->n_named * sizeof(*c->hashes));
	p = put(p, c->named, c->n_named * sizeof(*c->named));
	put(p, c->members, c->n_members * sizeof(*c->members));
	p += policy_member_bytes(&h);
	for (size_t i = 0; i < c->n_named_entries; i++) {
		if (!i || strcmp(e[i].name, e[i - 1].name) != 0)
			p = put(p, e[i].name, strlen(e[i].name));
	}
}

static int write_blob(const struct compiler *c, uint8_t **blob, size_t *len)
{
	struct policy_header h = {
		.magic = POLICY_MAGIC,
		.version = POLICY_VERSION,
		.n_ranges = c->n_ranges,
		.n_nodes = c->n_nodes,
		.n_segs = c->n_segs,
		.n_rules = (uint32_t)c->in->n_rules,
		.default_by = c->in->default_by,
		.default_allow = c->in->default_allow,
		.n_names = c->n_named,
		.n_members = c->n_members,
		.n_text = c->n_text,
		.n_own = c->n_own_addrs,
		.first_named = POLICY_NO_RULE,
		.first_any = POLICY_NO_RULE,
	};
	uint64_t size = policy_size(&h);
	uint8_t *p;

	if (size > POLICY_TABLE_MAX)
		return -E2BIG;
	h.size = (uint32_t)size;
	for (uint32_t i = h.n_rules; i-- > 0;) {
		if (c->in->rules[i].n_names)
			h.first_named = i;
		if (allows_any(&c->in->rules[i]))
			h.first_any = i;
	}
	*blob = p = calloc(1, size);
	if (!p)
		return -ENOMEM;
	*len = size;
	p = put(p, &h, sizeof(h));
	p = put(p, c->own_addrs, c->n_own_addrs * sizeof(*c->own_addrs));
	p = put(p, c->keys, c->n_ranges * sizeof(*c->keys));
	put(p, c->owner, c->n_ranges * sizeof(*c->owner));
	p += policy_owner_bytes(&h);
	p = put(p, c->nodes, c->n_nodes * sizeof(*c->nodes));
	p = put(p, c->segs, c->n_segs * sizeof(*c->segs));
	for (size_t i = 0; i < c->in->n_rules; i++) {
		const struct policy_rule *r = &c->in->rules[i];
		struct policy_action action = {.by = r->by};

		action.flags = (r->allow ? POLICY_FLAG_ALLOW : 0) |
			(r->verify_dns ? POLICY_FLAG_VERIFY_DNS : 0);
		p = put(p, &action, sizeof(action));
	}
	write_named(c, p);
	return 0;
}

int policy_table_compile(
	const struct policy_input *in, uint8_t **blob, size_t *len, size_t *bad_rule)
{
	struct compiler c = {.in = in};
	size_t ignored, n;
	int rc;

	rc = collect_entries(&c, bad_rule ? bad_rule : &ignored);
	if (rc < 0)
		goto out;
	c.nodes = calloc(c.n_entries, sizeof(*c.nodes));
	c.keys = calloc(c.n_entries * 2 + 1, sizeof(*c.keys));
	c.owner = calloc(c.n_entries * 2 + 1, sizeof(*c.owner));
	c.hashes = calloc(c.n_named_entries + 1, sizeof(*c.hashes));
	c.named = calloc(c.n_named_entries + 1, sizeof(*c.named));
	c.members = calloc(c.n_named_entries + 1, sizeof(*c.members));
	n = c.n_entries > c.n_named_entries ? c.n_entries : c.n_named_entries;
	c.own = calloc(n * 2 + 2, sizeof(*c.own));
	c.next = calloc(n * 2 + 3, sizeof(*c.next));
	rc = -ENOMEM;
	if (!c.nodes || !c.keys || !c.owner || !c.own || !c.next || !c.hashes || !c.named ||
		!c.members)
		goto out;
	rc = build(&c);
	if (rc == 0)
		rc = build_named(&c);
	if (rc == 0)
		rc = build_own_addrs(&c);
	if (rc == 0)
		rc = write_blob(&c, blob, len);
out:
	free(c.entries);
	free(c.named_entries);
	free(c.hashes);
	free(c.named);
	free(c.members);
	free(c.nodes);
	free(c.own_addrs);
	free(c.keys);
	free(c.owner);
	free(c.segs);
	free(c.own);
	free(c.next);
	return rc;
}
