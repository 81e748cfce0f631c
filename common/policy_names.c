/* SPDX-License-Identifier: MIT */
/*
 * Names in a compiled policy: see policy_table.h, and policy_table.c for the layout.
 *
 * Each distinct name or wildcard has, like a prefix, a list of port intervals with the first rule
 * there. They are found by hash: hashes[] is sorted, texts of one hash lie side by side and are
 * compared. A hash runs over the characters from the last to the first. When it reaches the dot
 * behind the left-most label, one more step with `*` is the hash of the only wildcard that can
 * match; so a name costs one pass and two binary searches, however many wildcards there are.
 *
 * The hash has no secret: what is in the table is the operator's, and what is looked up cannot
 * make a chain of it longer.
 */
#include "common/policy_layout.h"
#include "common/policy_table.h"

#include <errno.h>
#include <string.h>

/* FNV-1a, 64 bits. */
#define HASH_BEGIN UINT64_C(0xcbf29ce484222325)

static uint64_t hash_step(uint64_t hash, unsigned char c)
{
	return (hash ^ c) * UINT64_C(0x100000001b3);
}

static unsigned char lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c + ('a' - 'A')) : c;
}

/* ---- as they are written ---- */

static bool is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Letters, digits, hyphens inside, and underscores, since DNS names of services have them. */
static bool is_label(const char *label, size_t len)
{
	if (!len || len > 63 || label[0] == '-' || label[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_label_char(label[i]))
			return false;
	}
	return true;
}

/* A last label of digits would be (a broken) IPv4 address to most programs. */
static bool is_number(const char *label)
{
	return label[strspn(label, "0123456789")] == '\0';
}

static int check_labels(const char *name)
{
	const char *label = name;

	for (;;) {
		size_t len = strcspn(label, ".");

		if (!is_label(label, len))
			return memchr(label, '*', len) ? -EDOM : -EINVAL;
		if (!label[len])
			return is_number(label) ? -EINVAL : 0;
		label += len + 1;
	}
}

int policy_name_parse(const char *text, char out[POLICY_NAME_LEN])
{
	size_t len = strlen(text);

	if (len && text[len - 1] == '.')
		len--;
	if (!len || len >= POLICY_NAME_LEN)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] >= 0x80)
			return -EILSEQ;
		out[i] = (char)lower((unsigned char)text[i]);
	}
	out[len] = '\0';
	if (strcmp(out, "*") == 0)
		return -EDOM;
	return check_labels(out[0] == '*' && out[1] == '.' ? out + 2 : out);
}

/* ---- as they are looked up ---- */

bool policy_name_key(const char *name, struct policy_name_key *out)
{
	size_t len = strnlen(name, POLICY_NAME_LEN + 1), dot;
	uint64_t hash = HASH_BEGIN;
	const char *found;

	if (len && name[len - 1] == '.')
		len--;
	if (!len || len >= POLICY_NAME_LEN || name[0] == '*')
		return false;
	found = memchr(name, '.', len);
	dot = found ? (size_t)(found - name) : len;
	if (!dot)
		return false;
	for (size_t i = len; i > dot; i--)
		hash = hash_step(hash, lower((unsigned char)name[i - 1]));
	out->wild = hash_step(hash, '*');
	for (size_t i = dot; i > 0; i--)
		hash = hash_step(hash, lower((unsigned char)name[i - 1]));
	out->exact = hash;
	out->text = name;
	out->len = (uint32_t)len;
	out->label = (uint32_t)dot;
	return true;
}

uint64_t policy_name_hash(const char *pattern)
{
	uint64_t hash = HASH_BEGIN;

	for (size_t i = strlen(pattern); i > 0; i--)
		hash = hash_step(hash, (unsigned char)pattern[i - 1]);
	return hash;
}

static bool same_text(const char *lowered, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)lowered[i] != lower((unsigned char)text[i]))
			return false;
	}
	return true;
}

/* The place of a hash, or of the first one above it. */
static uint32_t find_hash(const struct policy_view *v, uint64_t hash)
{
	const uint64_t *base = v->hashes;
	uint32_t n = v->h->n_names;

	while (n > 1) {
		uint32_t half = n / 2;

		base = base[half - 1] < hash ? base + half : base;
		n -= half;
	}
	return (uint32_t)(base - v->hashes) + (n && *base < hash);
}

/* The wildcard or the name itself. */
static const struct policy_named *find_named(
	const struct policy_view *v, const struct policy_name_key *name, bool wild)
{
	uint64_t hash = wild ? name->wild : name->exact;
	uint32_t skip = wild ? 1 : 0;
	const char *tail = name->text + (wild ? name->label : 0);
	uint32_t len = name->len - (wild ? name->label : 0);

	for (uint32_t i = find_hash(v, hash); i < v->h->n_names && v->hashes[i] == hash; i++) {
		const struct policy_named *found = &v->named[i];
		const char *text = v->text + found->text;

		if (found->len == len + skip && (*text == '*') == wild &&
			same_text(text + skip, tail, len))
			return found;
	}
	return NULL;
}

static uint32_t named_rule(
	const struct policy_view *v, const struct policy_named *named, int class, uint16_t port)
{
	const struct policy_list *l;

	if (!named)
		return POLICY_NO_RULE;
	l = &named->list[class];
	return policy_segs_rule(v->segs + l->first, l->count, port);
}

uint32_t policy_names_rule(
	const struct policy_view *v, const struct policy_name_key *name, int class, uint16_t port)
{
	uint32_t exact = named_rule(v, find_named(v, name, false), class, port);
	uint32_t wild = named_rule(v, find_named(v, name, true), class, port);

	return exact < wild ? exact : wild;
}

/* ---- what DNS and the checks on the wire ask ---- */

bool policy_table_has_names(const void *blob)
{
	return policy_view(blob).h->n_names > 0;
}

/* What the first rule for one port says of a name; where none does its address decides. */
static bool is_possible_by(const struct policy_view *v, uint32_t rule)
{
	if (v->h->first_any < rule)
		return true;
	if (rule == POLICY_NO_RULE)
		return v->h->default_allow;
	return v->rules[rule].flags & POLICY_FLAG_ALLOW;
}

bool policy_table_name_possible(const void *blob, const char *name)
{
	struct policy_view v = policy_view(blob);
	struct policy_name_key key;
	const struct policy_named *found[2];

	if (!policy_name_key(name, &key))
		return is_possible_by(&v, POLICY_NO_RULE);
	found[0] = find_named(&v, &key, false);
	found[1] = find_named(&v, &key, true);
	if (!found[0] && !found[1])
		return is_possible_by(&v, POLICY_NO_RULE);
	/* A verdict can only change where an interval of one of the two lists begins. */
	for (int i = 0; i < 2 * POLICY_CLASSES; i++) {
		const struct policy_named *named = found[i / POLICY_CLASSES];
		int class = i % POLICY_CLASSES;

		for (uint32_t k = 0; named && k < named->list[class].count; k++) {
			uint16_t port = (uint16_t)v.segs[named->list[class].first + k].start;
			uint32_t exact = named_rule(&v, found[0], class, port);
			uint32_t wild = named_rule(&v, found[1], class, port);

			if (is_possible_by(&v, exact < wild ? exact : wild))
				return true;
		}
	}
	return false;
}

/* The first rule that denies the name, or POLICY_NO_RULE. */
static uint32_t first_denying(const struct policy_view *v, const struct policy_named *named)
{
	for (uint32_t i = 0; named && i < named->members.count; i++) {
		uint32_t rule = v->members[named->members.first + i];

		if (!(v->rules[rule].flags & POLICY_FLAG_ALLOW))
			return rule;
	}
	return POLICY_NO_RULE;
}

int32_t policy_table_name_denied_by(const void *blob, const char *name)
{
	struct policy_view v = policy_view(blob);
	struct policy_name_key key;
	uint32_t exact, wild, rule;

	if (!policy_name_key(name, &key))
		return v.h->default_by;
	exact = first_denying(&v, find_named(&v, &key, false));
	wild = first_denying(&v, find_named(&v, &key, true));
	rule = exact < wild ? exact : wild;
	return rule == POLICY_NO_RULE ? v.h->default_by : v.rules[rule].by;
}

static bool lists(const struct policy_view *v, const struct policy_named *named, int32_t by)
{
	for (uint32_t i = 0; named && i < named->members.count; i++) {
		if (v->rules[v->members[named->members.first + i]].by == by)
			return true;
	}
	return false;
}

bool policy_table_name_admits(const void *blob, int32_t by, const char *name)
{
	struct policy_view v = policy_view(blob);
	struct policy_name_key key;

	if (!policy_name_key(name, &key))
		return false;
	return lists(&v, find_named(&v, &key, false), by) ||
		lists(&v, find_named(&v, &key, true), by);
}

/* ---- checking ---- */

static bool check_named(const struct policy_view *v, const struct policy_named *named)
{
	const struct policy_list *m = &named->members;

	for (int c = 0; c < POLICY_CLASSES; c++) {
		if (!policy_list_check(v, &named->list[c]))
			return false;
	}
	if (m->first > v->h->n_members || m->count > v->h->n_members - m->first)
		return false;
	return named->len && named->len < POLICY_NAME_LEN && named->text < v->h->n_text &&
		named->len <= v->h->n_text - named->text;
}

bool policy_names_check(const struct policy_view *v)
{
	for (uint32_t i = 0; i < v->h->n_names; i++) {
		if (!check_named(v, &v->named[i]) || (i && v->hashes[i] < v->hashes[i - 1]))
			return false;
	}
	for (uint32_t i = 0; i < v->h->n_members; i++) {
		if (v->members[i] >= v->h->n_rules)
			return false;
	}
	return true;
}
