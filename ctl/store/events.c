/* SPDX-License-Identifier: MIT */
/* Events in the store. See store.h. */
#include "ctl/store/database.h"

int store_event_insert(struct store *store, const struct store_event *event, struct error *err)
{
	return database_run(store, err,
		"INSERT OR REPLACE INTO events (id, time_ms, vm, type, data) VALUES (?, ?, ?, ?, ?)",
		"iittt", event->id, event->time_ms, event->vm, event->type, event->data);
}

int store_events_trim(struct store *store, struct error *err)
{
	return database_run(store, err,
		"DELETE FROM events WHERE id <="
		" (SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?)",
		"i", (int64_t)STORE_EVENTS_MAX);
}

int store_events(struct store *store, int64_t since, int max, store_event_fn *each, void *arg,
	struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(store, err,
		"SELECT id, time_ms, vm, type, data FROM events WHERE id > ? ORDER BY id LIMIT ?",
		"ii", since, (int64_t)max);
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1) {
		struct store_event event = {
			.id = sqlite3_column_int64(stmt, 0),
			.time_ms = sqlite3_column_int64(stmt, 1),
			.vm = database_text(stmt, 2),
			.type = database_text(stmt, 3),
			.data = database_text(stmt, 4),
		};

		each(arg, &event);
	}
	return status;
}

int store_event_mark(struct store *store, int64_t *mark, struct error *err)
{
	return database_mark(store, "event", mark, err);
}

int store_event_set_mark(struct store *store, int64_t mark, struct error *err)
{
	return database_set_mark(store, "event", mark, err);
}
