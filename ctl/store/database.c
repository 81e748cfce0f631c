/* SPDX-License-Identifier: MIT */
/* Statements over SQLite. See database.h and store.h. */
#include "ctl/store/database.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int database_error(struct store *store, struct error *err)
{
	return error_set(err, 500, NULL, "store: %s", sqlite3_errmsg(store->db));
}

static sqlite3_stmt *prepare(
	struct store *store, struct error *err, const char *sql, const char *format, va_list ap)
{
	sqlite3_stmt *stmt = NULL;
	int status = sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL);

	for (int i = 0; status == SQLITE_OK && format[i]; i++) {
		if (format[i] == 'i') {
			status = sqlite3_bind_int64(stmt, i + 1, va_arg(ap, int64_t));
		} else if (format[i] == 'b') {
			const void *bytes = va_arg(ap, const void *);

			status = sqlite3_bind_blob64(
				stmt, i + 1, bytes, va_arg(ap, size_t), SQLITE_TRANSIENT);
		} else {
			status = sqlite3_bind_text(
				stmt, i + 1, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
		}
	}
	if (status == SQLITE_OK)
		return stmt;
	database_error(store, err);
	sqlite3_finalize(stmt);
	return NULL;
}

sqlite3_stmt *database_prepare(
	struct store *store, struct error *err, const char *sql, const char *format, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;

	va_start(ap, format);
	stmt = prepare(store, err, sql, format, ap);
	va_end(ap);
	return stmt;
}

int database_step(struct store *store, sqlite3_stmt *stmt, struct error *err)
{
	int status = sqlite3_step(stmt);

	if (status == SQLITE_ROW)
		return 1;
	if (status != SQLITE_DONE)
		database_error(store, err);
	sqlite3_finalize(stmt);
	return status == SQLITE_DONE ? 0 : -1;
}

int database_run(struct store *store, struct error *err, const char *sql, const char *format, ...)
{
	sqlite3_stmt *stmt;
	va_list ap;

	va_start(ap, format);
	stmt = prepare(store, err, sql, format, ap);
	va_end(ap);
	return stmt ? database_step(store, stmt, err) : -1;
}

const char *database_text(sqlite3_stmt *stmt, int column)
{
	return (const char *)sqlite3_column_text(stmt, column);
}

int database_mark(struct store *store, const char *name, int64_t *value, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT value FROM marks WHERE name = ?", "t", name);
	int status = stmt ? database_step(store, stmt, err) : -1;

	*value = 0;
	if (status != 1)
		return status;
	*value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return 0;
}

int database_set_mark(struct store *store, const char *name, int64_t value, struct error *err)
{
	return database_run(store, err,
		"INSERT INTO marks (name, value) VALUES (?1, ?2)"
		" ON CONFLICT (name) DO UPDATE SET value = ?2",
		"ti", name, value);
}

static int set_up(struct store *store, struct error *err)
{
	static const char pragmas[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
				      "PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;";

	sqlite3_busy_timeout(store->db, 2000);
	if (sqlite3_exec(store->db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
		return database_error(store, err);
	return database_migrate(store, err);
}

int store_open(const char *path, struct store **out, struct error *err)
{
	struct store *store = calloc(1, sizeof(*store));
	char text[sizeof(err->text)];

	if (!store)
		return error_set(err, 500, NULL, "out of memory");
	if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
		SQLITE_OK)
		database_error(store, err);
	else if (sqlite3_db_readonly(store->db, "main") == 1)
		error_set(err, 500, NULL, "store: not writable");
	else if (set_up(store, err) == 0) {
		*out = store;
		return 0;
	}
	/* "store: …" becomes "store /var/lib/netctl/netctl.db: …". */
	memcpy(text, err->text, sizeof(text));
	error_set(err, 500, NULL, "store %.300s%.200s", path, text + strlen("store"));
	store_close(store);
	return -1;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	sqlite3_close(store->db);
	free(store);
}

int store_begin(struct store *store, struct error *err)
{
	return database_run(store, err, "BEGIN IMMEDIATE", "");
}

int store_end(struct store *store, bool ok, struct error *err)
{
	struct error ignored;

	if (ok && database_run(store, err, "COMMIT", "") == 0)
		return 0;
	database_run(store, &ignored, "ROLLBACK", "");
	return ok ? -1 : 0;
}
