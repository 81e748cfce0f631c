/* SPDX-License-Identifier: MIT */
/* The flow table. See flow.h. */
#include "dataplane/stack/flow.h"

#include "common/os.h"
#include "common/siphash.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_BUCKETS 64u
#define NO_SLOT UINT32_MAX

struct flow_table {
	struct siphash_key key;
	struct flow_entry **buckets;
	size_t bucket_count; /* a power of two */
	struct flow_entry **slots;
	uint32_t *free_slots; /* a stack of slots below slot_end that are free */
	size_t free_count;
	size_t slot_end;  /* slots from here on were never used */
	size_t slot_room; /* allocated */
	size_t count, max;
};

struct flow_table *flow_table_new(size_t max)
{
	struct flow_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->max = max;
	t->bucket_count = FIRST_BUCKETS;
	t->buckets = calloc(t->bucket_count, sizeof(*t->buckets));
	if (!t->buckets) {
		free(t);
		return NULL;
	}
	os_random(&t->key, sizeof(t->key));
	return t;
}

void flow_table_free(struct flow_table *t)
{
	if (!t)
		return;
	free(t->buckets);
	free(t->slots);
	free(t->free_slots);
	free(t);
}

size_t flow_table_count(const struct flow_table *t)
{
	return t->count;
}

static uint32_t hash_key(const struct flow_table *t, const struct flow_key *k)
{
	uint8_t flat[36];

	memcpy(flat, k->guest.addr.b, 16);
	memcpy(flat + 16, k->remote.addr.b, 16);
	memcpy(flat + 32, &k->guest.port, 2);
	memcpy(flat + 34, &k->remote.port, 2);
	return (uint32_t)siphash(&t->key, flat, sizeof(flat));
}

static bool key_eq(const struct flow_key *a, const struct flow_key *b)
{
	return endpoint_eq(&a->guest, &b->guest) && endpoint_eq(&a->remote, &b->remote);
}

struct flow_entry *flow_table_find(const struct flow_table *t, const struct flow_key *key)
{
	uint32_t hash = hash_key(t, key);
	struct flow_entry *e;

	for (e = t->buckets[hash & (t->bucket_count - 1)]; e; e = e->next) {
		if (e->hash == hash && key_eq(&e->key, key))
			return e;
	}
	return NULL;
}

/* Twice the buckets. Without memory the table stays as it is, only slower. */
static void grow_buckets(struct flow_table *t)
{
	size_t count = t->bucket_count * 2;
	struct flow_entry **buckets = calloc(count, sizeof(*buckets));

	if (!buckets)
		return;
	for (size_t i = 0; i < t->bucket_count; i++) {
		struct flow_entry *e = t->buckets[i];

		while (e) {
			struct flow_entry *next = e->next;

			e->next = buckets[e->hash & (count - 1)];
			buckets[e->hash & (count - 1)] = e;
			e = next;
		}
	}
	free(t->buckets);
	t->buckets = buckets;
	t->bucket_count = count;
}

static int grow_slots(struct flow_table *t)
{
	size_t room = t->slot_room ? t->slot_room * 2 : 64;
	struct flow_entry **slots = realloc(t->slots, room * sizeof(*slots));
	uint32_t *free_slots;

	if (!slots)
		return -ENOMEM;
	t->slots = slots;
	free_slots = realloc(t->free_slots, room * sizeof(*free_slots));
	if (!free_slots)
		return -ENOMEM;
	t->free_slots = free_slots;
	t->slot_room = room;
	return 0;
}

int flow_table_insert(struct flow_table *t, struct flow_entry *e)
{
	size_t i;

	if (t->count >= t->max)
		return -ENOSPC;
	if (!t->free_count && t->slot_end == t->slot_room && grow_slots(t) < 0)
		return -ENOMEM;
	if (t->count >= t->bucket_count)
		grow_buckets(t);
	e->slot = t->free_count ? t->free_slots[--t->free_count] : (uint32_t)t->slot_end++;
	t->slots[e->slot] = e;
	e->hash = hash_key(t, &e->key);
	i = e->hash & (t->bucket_count - 1);
	e->next = t->buckets[i];
	t->buckets[i] = e;
	t->count++;
	return 0;
}

void flow_table_remove(struct flow_table *t, struct flow_entry *e)
{
	struct flow_entry **at = &t->buckets[e->hash & (t->bucket_count - 1)];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	t->slots[e->slot] = NULL;
	t->free_slots[t->free_count++] = e->slot;
	e->slot = NO_SLOT;
	t->count--;
}

struct flow_entry *flow_table_next(const struct flow_table *t, uint32_t *slot)
{
	while (*slot < t->slot_end) {
		struct flow_entry *e = t->slots[(*slot)++];

		if (e)
			return e;
	}
	return NULL;
}
