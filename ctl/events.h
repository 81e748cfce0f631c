/* SPDX-License-Identifier: MIT */
/*
 * What happened, in order: `{"id":7,"time":"…","vm":"web","type":"link.up","data":{…}}`.
 *
 * Events wait in a list of at most EVENTS_PENDING_MAX and are written to the store together, within
 * EVENTS_FLUSH_MS, so that a flood of them costs one fsync a batch. Their ids grow for ever: a block
 * of ids is reserved in the store before it is used, so an id that a reader saw is never given again,
 * also when the last batch was lost with its process (ids may skip).
 */
#ifndef CTL_EVENTS_H
#define CTL_EVENTS_H

#include "common/error.h"
#include "ctl/store/store.h"

#include <json-c/json.h>
#include <stdint.h>
#include <sys/queue.h>

#define EVENTS_FLUSH_MS 200
#define EVENTS_PENDING_MAX 1024

struct event_base;
struct events;

struct events *events_new(struct event_base *base, struct store *store, struct error *err);
/* Writes what is pending. */
void events_free(struct events *events);

/* vm may be NULL. data, an object or NULL, is consumed. */
void events_add(struct events *events, const char *vm, const char *type, struct json_object *data);

/* One event as one line of JSON with its newline; the caller frees. NULL without memory. */
char *events_line(const struct store_event *event);

/* At most max events after `since`, oldest first, pending ones too. */
int events_read(struct events *events, int64_t since, int max, store_event_fn *each, void *arg,
	struct error *err);

/* Calls added() at each new event, from inside events_add(); it must not add or drop followers. */
struct events_follower {
	TAILQ_ENTRY(events_follower) next;
	void (*added)(void *arg, const struct store_event *event);
	void *arg;
};

void events_follow(struct events *events, struct events_follower *follower);
void events_unfollow(struct events *events, struct events_follower *follower);

#endif
