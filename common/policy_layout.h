/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a compiled policy, for policy_table.c and policy_compile.c alone; the picture is
 * at the top of policy_table.c. Each part has a multiple of 8 bytes, so all are aligned.
 */
#ifndef COMMON_POLICY_LAYOUT_H
#define COMMON_POLICY_LAYOUT_H

#include "common/policy_table.h"

#define POLICY_MAGIC 0x59434c50u /* "PLCY" */
#define POLICY_VERSION 1u
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

struct policy_verdict {
	int32_t by;
	uint32_t allow;
};

struct policy_view {
	const struct policy_header *h;
	const struct policy_key *keys;
	const uint32_t *owner;
	const struct policy_node *nodes;
	const struct policy_seg *segs;
	const struct policy_verdict *rules;
};

static inline uint64_t policy_owner_bytes(const struct policy_header *h)
{
	return ((uint64_t)h->n_ranges * 4 + 7) & ~UINT64_C(7);
}

static inline uint64_t policy_size(const struct policy_header *h)
{
	return sizeof(*h) + (uint64_t)h->n_ranges * sizeof(struct policy_key) +
		policy_owner_bytes(h) + (uint64_t)h->n_nodes * sizeof(struct policy_node) +
		(uint64_t)h->n_segs * sizeof(struct policy_seg) +
		(uint64_t)h->n_rules * sizeof(struct policy_verdict);
}

static inline struct policy_view policy_view(const void *blob)
{
	struct policy_view v = {.h = blob};
	const uint8_t *p = (const uint8_t *)blob + sizeof(*v.h);

	v.keys = (const void *)p;
	p += v.h->n_ranges * sizeof(*v.keys);
	v.owner = (const void *)p;
	p += policy_owner_bytes(v.h);
	v.nodes = (const void *)p;
	p += v.h->n_nodes * sizeof(*v.nodes);
	v.segs = (const void *)p;
	p += v.h->n_segs * sizeof(*v.segs);
	v.rules = (const void *)p;
	return v;
}

static inline bool policy_key_le(struct policy_key a, struct policy_key b)
{
	return a.hi < b.hi || (a.hi == b.hi && a.lo <= b.lo);
}

struct policy_key policy_key(const struct addr *a);

#endif
