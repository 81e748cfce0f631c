/* SPDX-License-Identifier: MIT */
/* Events. See events.h. */
#include "ctl/events.h"

#include "common/clock.h"
#include "common/log.h"
#include "ctl/json_read.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ID_BLOCK 1000
#define TRIM_EVERY 500

struct pending {
	TAILQ_ENTRY(pending) next;
	struct store_event event;
	char text[]; /* vm, type and data, each with its NUL */
};

struct events {
	struct store *store;
	struct event *flush;
	TAILQ_HEAD(, pending) pending;
	TAILQ_HEAD(, events_follower) followers;
	unsigned n_pending;
	unsigned since_trim;
	int64_t last; /* id given last */
	int64_t mark; /* ids up to here are reserved */
};

static int reserve(struct events *events, struct error *err)
{
	if (store_event_set_mark(events->store, events->last + ID_BLOCK, err) < 0)
		return -1;
	events->mark = events->last + ID_BLOCK;
	return 0;
}

static int write_pending(struct events *events, struct error *err)
{
	struct pending *p;

	TAILQ_FOREACH(p, &events->pending, next) {
		if (store_event_insert(events->store, &p->event, err) < 0)
			return -1;
	}
	if (events->since_trim < TRIM_EVERY)
		return 0;
	events->since_trim = 0;
	return store_events_trim(events->store, err);
}

/* What cannot be written is dropped: events must not eat the memory of a host with a full disk. */
static void flush(struct events *events)
{
	struct pending *p;
	struct error err;
	bool ok;

	if (TAILQ_EMPTY(&events->pending))
		return;
	events->since_trim += events->n_pending;
	ok = store_begin(events->store, &err) == 0;
	if (ok) {
		ok = write_pending(events, &err) == 0;
		if (store_end(events->store, ok, &err) < 0)
			ok = false;
	}
	if (!ok)
		log_error("events", "events.lost", "count=%u reason=\"%s\"", events->n_pending,
			err.text);
	while ((p = TAILQ_FIRST(&events->pending))) {
		TAILQ_REMOVE(&events->pending, p, next);
		free(p);
	}
	events->n_pending = 0;
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush(arg);
}

struct events *events_new(struct event_base *base, struct store *store, struct error *err)
{
	struct events *events = calloc(1, sizeof(*events));

	if (!events) {
		error_set(err, 500, NULL, "out of memory");
		return NULL;
	}
	events->store = store;
	TAILQ_INIT(&events->pending);
	TAILQ_INIT(&events->followers);
	events->flush = evtimer_new(base, on_flush, events);
	if (store_event_mark(store, &events->last, err) == 0) {
		if (reserve(events, err) == 0)
			return events;
	}
	events_free(events);
	return NULL;
}

void events_free(struct events *events)
{
	if (!events)
		return;
	flush(events);
	event_free(events->flush);
	free(events);
}

static struct pending *pending_new(const char *vm, const char *type, const char *data)
{
	size_t vm_len = vm ? strlen(vm) + 1 : 0, type_len = strlen(type) + 1;
	size_t data_len = strlen(data) + 1;
	struct pending *p = malloc(sizeof(*p) + vm_len + type_len + data_len);

	if (!p)
		return NULL;
	p->event = (struct store_event){
		.time_ms = clock_wall_ms(),
		.vm = vm ? p->text : NULL,
		.type = p->text + vm_len,
		.data = p->text + vm_len + type_len,
	};
	if (vm)
		memcpy(p->text, vm, vm_len);
	memcpy(p->text + vm_len, type, type_len);
	memcpy(p->text + vm_len + type_len, data, data_len);
	return p;
}

void events_add(struct events *events, const char *vm, const char *type, struct json_object *data)
{
	static const struct timeval soon = {.tv_usec = EVENTS_FLUSH_MS * 1000};
	struct pending *p = pending_new(vm, type, data ? json_text(data) : "{}");
	struct events_follower *follower;
	struct error err;

	json_object_put(data);
	if (!p)
		return;
	if (events->last >= events->mark && reserve(events, &err) < 0) {
		log_error("events", "events.lost", "count=1 reason=\"%s\"", err.text);
		free(p);
		return;
	}
	p->event.id = ++events->last;
	TAILQ_INSERT_TAIL(&events->pending, p, next);
	TAILQ_FOREACH(follower, &events->followers, next)
		follower->added(follower->arg, &p->event);
	if (++events->n_pending >= EVENTS_PENDING_MAX)
		flush(events);
	else if (!evtimer_pending(events->flush, NULL))
		evtimer_add(events->flush, &soon);
}

char *events_line(const struct store_event *event)
{
	struct json_object *doc = json_object_new_object();
	struct json_object *data = json_tokener_parse(event->data);
	char time[CLOCK_RFC3339_LEN], *line;
	const char *text;
	size_t n;

	json_put_int(doc, "id", event->id);
	json_put_string(doc, "time", clock_rfc3339(event->time_ms, time, sizeof(time)));
	json_put_string(doc, "vm", event->vm);
	json_put_string(doc, "type", event->type);
	json_object_object_add(doc, "data", data ? data : json_object_new_object());
	text = json_text(doc);
	n = strlen(text);
	line = malloc(n + 2);
	if (line) {
		memcpy(line, text, n);
		memcpy(line + n, "\n", 2);
	}
	json_object_put(doc);
	return line;
}

int events_read(struct events *events, int64_t since, int max, store_event_fn *each, void *arg,
	struct error *err)
{
	flush(events);
	return store_events(events->store, since, max, each, arg, err);
}

void events_follow(struct events *events, struct events_follower *follower)
{
	TAILQ_INSERT_TAIL(&events->followers, follower, next);
}

void events_unfollow(struct events *events, struct events_follower *follower)
{
	TAILQ_REMOVE(&events->followers, follower, next);
}
