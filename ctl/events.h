/* SPDX-License-Identifier: MIT */
/*
 * What happened, in order: `{"id":7,"time":"…","vm":"web","type":"link.up","data":{…}}`.
 *
 * None is lost and none is doubled, whatever end netctld meets. Events wait in a list and are
 * written to the store together: at the end of the loop's turn, or, while many come, as seldom as
 * keeps the store from taking more than a fifth of the loop's time. They get their ids (which grow
 * by one) then, and nobody is shown an event before it is written. So what a reader saw is there
 * for all others, and ids of a new life go on where the old one's ended.
 *
 * What a worker tells carries its number. The highest number of each VM is written in the same
 * transaction as the event, and only then is the worker told that it may forget: an event that
 * was on its way when netctld died is told again to the next, which knows what it has already.
 */
#ifndef CTL_EVENTS_H
#define CTL_EVENTS_H

#include "common/error.h"
#include "ctl/store/store.h"

#include <json-c/json.h>
#include <stdint.h>
#include <sys/queue.h>

#define EVENTS_FLUSH_MAX_MS 100
#define EVENTS_PENDING_MAX 16384 /* beyond, where the store takes none, the oldest are lost */

struct event_base;
struct events;

struct events *events_new(struct event_base *base, struct store *store, struct error *err);
/* Writes what is pending. */
void events_free(struct events *events);

/* vm may be NULL. data, an object or NULL, is consumed. */
void events_add(struct events *events, const char *vm, const char *type, struct json_object *data);
/* The same of a worker's telling; number 0 is none. */
void events_add_numbered(struct events *events, const char *vm, const char *type,
	struct json_object *data, uint64_t number);
/* Writes what is pending, now. Not inside a transaction of the store's. */
void events_flush(struct events *events);
/* Called after each write, for each numbered event in it, which is on the disk now. */
typedef void events_stored_fn(void *arg, const char *vm, uint64_t number);
void events_on_stored(struct events *events, events_stored_fn *stored, void *arg);

/* One event as one line of JSON with its newline; the caller frees. NULL without memory. */
char *events_line(const struct store_event *event);

/* At most max events after `since`, oldest first, pending ones too. */
int events_read(struct events *events, int64_t since, int max, store_event_fn *each, void *arg,
	struct error *err);
/* The ids that can be read: from *oldest (one more than *newest where there are none). */
int events_bounds(struct events *events, int64_t *oldest, int64_t *newest, struct error *err);

/* Calls more() when there are new events to read, from inside a write; it must neither read, nor
 * add or drop followers. */
struct events_follower {
	TAILQ_ENTRY(events_follower) next;
	void (*more)(void *arg);
	void *arg;
};

void events_follow(struct events *events, struct events_follower *follower);
void events_unfollow(struct events *events, struct events_follower *follower);

#endif
