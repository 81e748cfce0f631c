/* SPDX-License-Identifier: MIT */
/*
 * Which flows of the API's document are wanted, and in which order: filters and sort keys in the manner
 * of ss(8). Filters of different kinds must all hold, of one kind any.
 */
#ifndef CLI_FLOW_FILTER_H
#define CLI_FLOW_FILTER_H

#include "common/addr.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOW_TERMS_MAX 32

enum flow_field {
	FLOW_PROTO,
	FLOW_DIR,
	FLOW_STATE,
	FLOW_SRC,   /* the guest's address */
	FLOW_DST,   /* the remote's, as the guest sees it or as the host does */
	FLOW_SPORT, /* the guest's port */
	FLOW_DPORT,
	FLOW_PORT, /* either */
	FLOW_FIELDS
};

struct flow_term {
	enum flow_field field;
	const char *word; /* PROTO, DIR, STATE: it begins with this; its end is at len */
	size_t len;
	struct prefix prefix; /* SRC, DST */
	uint32_t first, last; /* ports */
};

struct flow_filter {
	struct flow_term terms[FLOW_TERMS_MAX];
	size_t n;
};

/* Adds a list of values ("tcp,udp", "10.0.0.0/8", "80,8000-8100"), which must outlive the filter. 0,
 * -EINVAL for what the field cannot be, -E2BIG beyond FLOW_TERMS_MAX. */
int flow_filter_add(struct flow_filter *filter, enum flow_field field, const char *list);
bool flow_filter_match(const struct flow_filter *filter, struct json_object *flow);

/* The sort keys, as a list for messages. */
extern const char flow_sort_keys[];
/*
 * Sorts by a key: numbers the largest first, text and addresses the smallest; reverse turns that
 * round. What is equal is in the order of protocol, guest, remote, whatever the key. key NULL: only
 * that. -EINVAL for no such key.
 */
int flow_sort(struct json_object **flows, size_t n, const char *key, bool reverse);

/* The states that flows have, for messages. */
extern const char flow_states[];

#endif
