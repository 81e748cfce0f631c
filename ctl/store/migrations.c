/* SPDX-License-Identifier: MIT */
/*
 * The schema, as the steps that lead to it.
 *
 * Step N takes a store from user_version N to N + 1, in one transaction with that number. Steps are
 * only ever added: a released one is never edited.
 */
#include "ctl/store/database.h"

#include <stdio.h>

static const char *const steps[] = {
	/* 0 → 1 */
	"CREATE TABLE vms ("
	" name TEXT PRIMARY KEY,"
	" created_ms INTEGER NOT NULL,"
	" config TEXT NOT NULL,"
	" policy TEXT NOT NULL,"
	" hosts TEXT NOT NULL,"
	" mac TEXT,"
	" lease TEXT"
	") STRICT, WITHOUT ROWID;"
	"CREATE TABLE forwards ("
	" number INTEGER PRIMARY KEY AUTOINCREMENT,"
	" vm TEXT NOT NULL REFERENCES vms(name) ON DELETE CASCADE,"
	" id TEXT NOT NULL,"
	" spec TEXT NOT NULL,"
	" UNIQUE (vm, id)"
	") STRICT;"
	"CREATE TABLE events ("
	" id INTEGER PRIMARY KEY,"
	" time_ms INTEGER NOT NULL,"
	" vm TEXT,"
	" type TEXT NOT NULL,"
	" data TEXT NOT NULL"
	") STRICT;"
	"CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
	/* 1 → 2 */
	"CREATE TABLE env ("
	" vm TEXT PRIMARY KEY REFERENCES vms(name) ON DELETE CASCADE,"
	" doc TEXT NOT NULL"
	") STRICT;"
	"CREATE TABLE secrets ("
	" vm TEXT NOT NULL REFERENCES vms(name) ON DELETE CASCADE,"
	" name TEXT NOT NULL,"
	" sealed BLOB NOT NULL,"
	" PRIMARY KEY (vm, name)"
	") STRICT;",
	/* 2 → 3 */
	"CREATE TABLE maps ("
	" vm TEXT NOT NULL REFERENCES vms(name) ON DELETE CASCADE,"
	" port INTEGER NOT NULL,"
	" spec TEXT NOT NULL,"
	" PRIMARY KEY (vm, port)"
	") STRICT, WITHOUT ROWID;",
	/* 3 → 4: snapshots outlive their VM, so nothing refers to it */
	"CREATE TABLE snapshots ("
	" id TEXT PRIMARY KEY,"
	" vm TEXT NOT NULL,"
	" name TEXT NOT NULL,"
	" created_ms INTEGER NOT NULL,"
	" sha256 TEXT NOT NULL,"
	" size INTEGER NOT NULL,"
	" record TEXT NOT NULL"
	") STRICT;",
	/* 4 → 5 */
	"CREATE TABLE places (" /* by port; 0 is the vsock's own */
	" vm TEXT NOT NULL REFERENCES vms(name) ON DELETE CASCADE,"
	" port INTEGER NOT NULL,"
	" place TEXT NOT NULL,"
	" PRIMARY KEY (vm, port)"
	") STRICT, WITHOUT ROWID;",
	/* 5 → 6 */
	"CREATE TABLE proxy_passwords ("
	" vm TEXT PRIMARY KEY REFERENCES vms(name) ON DELETE CASCADE,"
	" sealed BLOB NOT NULL"
	") STRICT;",
	/* 6 → 7 */
	"CREATE TABLE event_numbers ("
	" vm TEXT PRIMARY KEY REFERENCES vms(name) ON DELETE CASCADE,"
	" number INTEGER NOT NULL"
	") STRICT, WITHOUT ROWID;",
};

#define N_STEPS ((int)(sizeof(steps) / sizeof(*steps)))

static int user_version(struct store *store, int *version, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(store, err, "PRAGMA user_version", "");
	int status;

	if (!stmt)
		return -1;
	status = database_step(store, stmt, err);
	if (status != 1)
		return status < 0 ? -1 : error_set(err, 500, NULL, "store: no version");
	*version = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return 0;
}

static int migrate_one(struct store *store, int step, struct error *err)
{
	char number[48];

	snprintf(number, sizeof(number), "PRAGMA user_version = %d", step + 1);
	if (sqlite3_exec(store->db, steps[step], NULL, NULL, NULL) != SQLITE_OK ||
		sqlite3_exec(store->db, number, NULL, NULL, NULL) != SQLITE_OK)
		return database_error(store, err);
	return 0;
}

int database_migrate(struct store *store, struct error *err)
{
	int version = 0, status = 0;

	/* BEGIN IMMEDIATE takes the write lock: a store that cannot be written shows here. */
	if (store_begin(store, err) < 0)
		return -1;
	status = user_version(store, &version, err);
	if (!status && version > N_STEPS)
		status = error_set(err, 500, NULL,
			"store: made by a newer netctld (schema %d, this one knows %d)", version,
			N_STEPS);
	for (; !status && version < N_STEPS; version++)
		status = migrate_one(store, version, err);
	if (status) {
		struct error ignored;

		store_end(store, false, &ignored);
		return -1;
	}
	return store_end(store, true, err);
}
