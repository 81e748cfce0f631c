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

#define TRIM_EVERY 500
#define PAUSE_FACTOR 4 /* times what a write took: then others have had their turn */
#define RETRY_MS 1000  /* after a write that failed */

struct pending {
	TAILQ_ENTRY(pending) next;
	struct store_event event;
	uint64_t number; /* the worker's; 0: none */
	char text[];     /* vm, type and data, each with its NUL */
};

struct events {
	struct store *store;
	struct event *flush;
	TAILQ_HEAD(pending_list, pending) pending;
	TAILQ_HEAD(, events_follower) followers;
	events_stored_fn *stored;
	void *stored_arg;
	unsigned n_pending;
	unsigned since_trim;
	unsigned lost;     /* since the last write */
	bool failing;      /* the last write did, and was complained about */
	uint64_t pause_ms; /* clock_ms(): no write before, unless somebody asks for one */
	int64_t last;      /* id given last */
};

static int write_one(struct events *events, struct pending *p, int64_t id, struct error *err)
{
	p->event.id = id;
	if (store_event_insert(events->store, &p->event, err) < 0)
		return -1;
	if (!p->number)
		return 0;
	return store_event_set_number(events->store, p->event.vm, (int64_t)p->number, err);
}

static int write_pending(struct events *events, struct error *err)
{
	struct pending *p;
	int64_t id = events->last;

	TAILQ_FOREACH(p, &events->pending, next) {
		if (write_one(events, p, ++id, err) < 0)
			return -1;
	}
	if (events->since_trim + events->n_pending < TRIM_EVERY)
		return 0;
	return store_events_trim(events->store, id, err);
}

static void drop_first(struct events *events)
{
	struct pending *p = TAILQ_FIRST(&events->pending);

	TAILQ_REMOVE(&events->pending, p, next);
	events->n_pending--;
	free(p);
}

static void complain(struct events *events, const struct error *err)
{
	if (!events->failing)
		log_error("events", "events.unwritten", "count=%u reason=\"%s\"", events->n_pending,
			err->text);
	events->failing = true;
}

/* All that were pending are on the disk. */
static void written(struct events *events)
{
	struct events_follower *follower;
	const struct pending *p;

	events->failing = false;
	if (events->lost)
		log_error("events", "events.lost", "count=%u", events->lost);
	events->lost = 0;
	events->last += events->n_pending;
	events->since_trim += events->n_pending;
	if (events->since_trim >= TRIM_EVERY)
		events->since_trim = 0;
	while ((p = TAILQ_FIRST(&events->pending))) {
		if (p->number && events->stored)
			events->stored(events->stored_arg, p->event.vm, p->number);
		drop_first(events);
	}
	TAILQ_FOREACH(follower, &events->followers, next)
		follower->more(follower->arg);
}

static bool write_all(struct events *events)
{
	struct error err;
	bool ok = store_begin(events->store, &err) == 0;

	if (ok) {
		ok = write_pending(events, &err) == 0;
		if (store_end(events->store, ok, &err) < 0)
			ok = false;
	}
	if (ok)
		written(events);
	else
		complain(events, &err);
	return ok;
}

static void flush_in(struct events *events, uint64_t ms)
{
	struct timeval tv = {
		.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	evtimer_add(events->flush, &tv);
}

void events_flush(struct events *events)
{
	uint64_t begun = clock_ms(), pause;
	bool ok;

	if (!events->n_pending)
		return;
	ok = write_all(events);
	pause = (clock_ms() - begun) * PAUSE_FACTOR;
	events->pause_ms = clock_ms() + (pause < EVENTS_FLUSH_MAX_MS ? pause : EVENTS_FLUSH_MAX_MS);
	evtimer_del(events->flush);
	if (!ok)
		flush_in(events, RETRY_MS);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	events_flush(arg);
}

/* The newest id that was ever given: of an event, or by a version that reserved blocks of them. */
static int find_last(struct events *events, struct error *err)
{
	int64_t oldest, mark;

	if (store_event_mark(events->store, &mark, err) < 0 ||
		store_events_bounds(events->store, &oldest, &events->last, err) < 0)
		return -1;
	if (events->last < mark)
		events->last = mark;
	return 0;
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
	if (events->flush && find_last(events, err) == 0)
		return events;
	events_free(events);
	return NULL;
}

void events_free(struct events *events)
{
	if (!events)
		return;
	if (events->n_pending)
		write_all(events);
	while (events->n_pending)
		drop_first(events);
	if (events->flush)
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
	p->number = 0;
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
	events_add_numbered(events, vm, type, data, 0);
}

void events_add_numbered(struct events *events, const char *vm, const char *type,
	struct json_object *data, uint64_t number)
{
	struct pending *p = pending_new(vm, type, data ? json_text(data) : "{}");
	uint64_t now = clock_ms();

	json_object_put(data);
	if (!p)
		return;
	p->number = vm ? number : 0;
	TAILQ_INSERT_TAIL(&events->pending, p, next);
	if (++events->n_pending > EVENTS_PENDING_MAX) {
		drop_first(events);
		events->lost++;
	}
	if (!evtimer_pending(events->flush, NULL))
		flush_in(events, now < events->pause_ms ? events->pause_ms - now : 0);
}

void events_on_stored(struct events *events, events_stored_fn *stored, void *arg)
{
	events->stored = stored;
	events->stored_arg = arg;
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
	events_flush(events);
	return store_events(events->store, since, max, each, arg, err);
}

int events_bounds(struct events *events, int64_t *oldest, int64_t *newest, struct error *err)
{
	events_flush(events);
	if (store_events_bounds(events->store, oldest, newest, err) < 0)
		return -1;
	if (*newest < events->last)
		*newest = events->last;
	if (!*oldest)
		*oldest = *newest + 1;
	return 0;
}

void events_follow(struct events *events, struct events_follower *follower)
{
	TAILQ_INSERT_TAIL(&events->followers, follower, next);
}

void events_unfollow(struct events *events, struct events_follower *follower)
{
	TAILQ_REMOVE(&events->followers, follower, next);
}
