/* SPDX-License-Identifier: MIT */
/* Events in the store. See store.h. */
#include "ctl/store/database.h"

int store_event_insert(struct store *store, const struct store_event *event, struct error *err)
{
	return database_run(store, err,
		"INSERT INTO events (id, time_ms, vm, type, data) VALUES (?, ?, ?, ?, ?)", "iittt",
		event->id, event->time_ms, event->vm, event->type, event->data);
}

int store_events_trim(struct store *store, int64_t newest, struct error *err)
{
	return database_run(
		store, err, "DELETE FROM events WHERE id <= ?", "i", newest - STORE_EVENTS_MAX);
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

int store_events_bounds(struct store *store, int64_t *oldest, int64_t *newest, struct error *err)
{
	/* Each alone is looked up in the tree; both in one would be a walk through all. */
	sqlite3_stmt *stmt = database_prepare(store, err,
		"SELECT (SELECT MIN(id) FROM events), (SELECT MAX(id) FROM events)", "");
	int status = stmt ? database_step(store, stmt, err) : -1;

	*oldest = *newest = 0;
	if (status != 1)
		return status;
	*oldest = sqlite3_column_int64(stmt, 0);
	*newest = sqlite3_column_int64(stmt, 1);
	sqlite3_finalize(stmt);
	return 0;
}

int store_events_last(struct store *store, const char *type, const char *or_type,
	store_event_last_fn *each, void *arg, struct error *err)
{
	/* SQLite gives the other columns of the row that has the MAX(). */
	sqlite3_stmt *stmt = database_prepare(store, err,
		"SELECT vm, type, MAX(id) FROM events WHERE type IN (?, ?) AND vm IS NOT NULL"
		" GROUP BY vm",
		"tt", type, or_type);
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1)
		each(arg, database_text(stmt, 0), database_text(stmt, 1));
	return status;
}

int store_event_mark(struct store *store, int64_t *mark, struct error *err)
{
	return database_mark(store, "event", mark, err);
}

int store_event_set_number(struct store *store, const char *vm, int64_t number, struct error *err)
{
	/* None of a VM that is not in the store, or went while its event waited. */
	return database_run(store, err,
		"INSERT INTO event_numbers (vm, number) SELECT name, ?2 FROM vms WHERE name = ?1"
		" ON CONFLICT (vm) DO UPDATE SET number = ?2",
		"ti", vm, number);
}

int store_event_numbers(
	struct store *store, store_event_number_fn *each, void *arg, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT vm, number FROM event_numbers", "");
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1)
		each(arg, database_text(stmt, 0), sqlite3_column_int64(stmt, 1));
	return status;
}
