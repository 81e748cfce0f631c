/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a compiled policy, for policy_table.c and policy_compile.c alone; the picture is
 * at the top of policy_table.c. Each part has a multiple of 8 bytes, so all are aligned.
 */
#ifndef COMMON_POLICY_LAYOUT_H
#define COMMON_POLICY_LAYOUT_H

#include "common/policy_table.h"

#define POLICY_MAGIC 0x59434c50u /* "PLCY" */
#define POLICY_VERSION 3u
#define POLICY_NO_RULE UINT32_MAX
#define POLICY_NO_NODE UINT32_MAX

enum { POLICY_CLASS_TCP, POLICY_CLASS_UDP, POLICY_CLASS_ICMP, POLICY_CLASSES };

struct policy_header {
	uint32_t magic;
	uint32_t version;
	uint32_t size; /* of the whole block */
	uint32_t n_ranges;
	uint32_t n_nodes;
	uint32_t n_segs;
	uint32_t n_rules;
	int32_t default_by;
	uint32_t default_allow;
	uint32_t n_names;
	uint32_t n_members;
	uint32_t n_text;
	uint32_t first_named; /* the first rule with names, or POLICY_NO_RULE */
	uint32_t first_any;   /* the first rule that allows any address, or POLICY_NO_RULE */
	uint32_t n_own;
	uint32_t zero;
};

struct policy_key { /* an address as two numbers */
	uint64_t hi;
	uint64_t lo;
};

struct policy_list { /* a stretch of segs */
	uint32_t first;
	uint32_t count;
};

struct policy_node {
	struct policy_list list[POLICY_CLASSES];
	uint32_t up; /* a node whose lists count too, or POLICY_NO_NODE */
	uint32_t zero;
};

struct policy_seg {
	uint32_t start; /* first port; the interval ends where the next one starts */
	uint32_t rule;  /* place in rules, or POLICY_NO_RULE */
};

#define POLICY_FLAG_ALLOW 1u
#define POLICY_FLAG_VERIFY_DNS 2u

struct policy_action {
	int32_t by;
	uint32_t flags; /* POLICY_FLAG_* */
};

struct policy_named { /* a distinct name or wildcard */
	struct policy_list list[POLICY_CLASSES];
	struct policy_list members; /* the rules that list it, ascending */
	uint32_t text;              /* where it begins in the text */
	uint32_t len;
};

struct policy_view {
	const struct policy_header *h;
	const struct policy_key *own;
	const struct policy_key *keys;
	const uint32_t *owner;
	const struct policy_node *nodes;
	const struct policy_seg *segs;
	const struct policy_action *rules;
	const uint64_t *hashes;
	const struct policy_named *named;
	const uint32_t *members;
	const char *text;
};

static inline uint64_t policy_padded(uint64_t bytes)
{
	return (bytes + 7) & ~UINT64_C(7);
}

static inline uint64_t policy_owner_bytes(const struct policy_header *h)
{
	return policy_padded((uint64_t)h->n_ranges * 4);
}

static inline uint64_t policy_member_bytes(const struct policy_header *h)
{
	return policy_padded((uint64_t)h->n_members * 4);
}

static inline uint64_t policy_size(const struct policy_header *h)
{
	return sizeof(*h) + ((uint64_t)h->n_own + h->n_ranges) * sizeof(struct policy_key) +
		policy_owner_bytes(h) + (uint64_t)h->n_nodes * sizeof(struct policy_node) +
		(uint64_t)h->n_segs * sizeof(struct policy_seg) +
		(uint64_t)h->n_rules * sizeof(struct policy_action) +
		(uint64_t)h->n_names * (sizeof(uint64_t) + sizeof(struct policy_named)) +
		policy_member_bytes(h) + policy_padded(h->n_text);
}

static inline struct policy_view policy_view(const void *blob)
{
	struct policy_view v = {.h = blob};
	const uint8_t *p = (const uint8_t *)blob + sizeof(*v.h);

	v.own = (const void *)p;
	p += v.h->n_own * sizeof(*v.own);
	v.keys = (const void *)p;
	p += v.h->n_ranges * sizeof(*v.keys);
	v.owner = (const void *)p;
	p += policy_owner_bytes(v.h);
	v.nodes = (const void *)p;
	p += v.h->n_nodes * sizeof(*v.nodes);
	v.segs = (const void *)p;
	p += v.h->n_segs * sizeof(*v.segs);
	v.rules = (const void *)p;
	p += v.h->n_rules * sizeof(*v.rules);
	v.hashes = (const void *)p;
	p += v.h->n_names * sizeof(*v.hashes);
	v.named = (const void *)p;
	p += v.h->n_names * sizeof(*v.named);
	v.members = (const void *)p;
	p += policy_member_bytes(v.h);
	v.text = (const void *)p;
	return v;
}

static inline bool policy_key_le(struct policy_key a, struct policy_key b)
{
	return a.hi < b.hi || (a.hi == b.hi && a.lo <= b.lo);
}

struct policy_key policy_key(const struct addr *a);

/* ---- names (policy_names.c) ---- */

/* A name as it is looked up: without its trailing dot, hashed from the end on, so that the hash
 * of the wildcard that would match it falls out on the way. */
struct policy_name_key {
	const char *text;
	uint32_t len;
	uint32_t label; /* length of its left-most label; len where it is the only one */
	uint64_t exact; /* hash of the name */
	uint64_t wild;  /* and of its wildcard */
};

uint64_t policy_name_hash(const char *pattern);
/* False where it is no name that could be in a table. */
bool policy_name_key(const char *name, struct policy_name_key *out);
bool policy_names_check(const struct policy_view *v);
/* The first rule that has the name, or POLICY_NO_RULE. */
uint32_t policy_names_rule(
	const struct policy_view *v, const struct policy_name_key *name, int class, uint16_t port);
uint32_t policy_segs_rule(const struct policy_seg *segs, uint32_t n, uint16_t port);
bool policy_list_check(const struct policy_view *v, const struct policy_list *l);

#endif
