/* SPDX-License-Identifier: MIT */
/* Snapshots in the store. See store.h. */
#include "ctl/store/database.h"

int store_snapshot_insert(
	struct store *store, const struct store_snapshot *snapshot, struct error *err)
{
	return database_run(store, err,
		"INSERT INTO snapshots (id, vm, name, created_ms, sha256, size, record)"
		" VALUES (?, ?, ?, ?, ?, ?, ?)",
		"tttitit", snapshot->id, snapshot->vm, snapshot->name, snapshot->created_ms,
		snapshot->sha256, snapshot->size, snapshot->record);
}

int store_snapshot_delete(struct store *store, const char *id, struct error *err)
{
	return database_run(store, err, "DELETE FROM snapshots WHERE id = ?", "t", id);
}

static int each_row(struct store *store, sqlite3_stmt *stmt, store_snapshot_fn *each, void *arg,
	struct error *err)
{
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1) {
		struct store_snapshot snapshot = {
			.id = database_text(stmt, 0),
			.vm = database_text(stmt, 1),
			.name = database_text(stmt, 2),
			.created_ms = sqlite3_column_int64(stmt, 3),
			.sha256 = database_text(stmt, 4),
			.size = sqlite3_column_int64(stmt, 5),
			.record = database_text(stmt, 6),
		};

		each(arg, &snapshot);
	}
	return status;
}

int store_snapshots(
	struct store *store, const char *vm, store_snapshot_fn *each, void *arg, struct error *err)
{
	return each_row(store,
		database_prepare(store, err,
			"SELECT id, vm, name, created_ms, sha256, size, NULL"
			" FROM snapshots WHERE ?1 IS NULL OR vm = ?1 ORDER BY created_ms, id",
			"t", vm),
		each, arg, err);
}

int store_snapshot(
	struct store *store, const char *id, store_snapshot_fn *each, void *arg, struct error *err)
{
	return each_row(store,
		database_prepare(store, err,
			"SELECT id, vm, name, created_ms, sha256, size, record"
			" FROM snapshots WHERE id = ?",
			"t", id),
		each, arg, err);
}

int store_snapshots_total(struct store *store, int64_t *n, int64_t *bytes, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT count(*), coalesce(sum(size), 0) FROM snapshots", "");
	int status = stmt ? database_step(store, stmt, err) : -1;

	*n = *bytes = 0;
	if (status != 1)
		return status;
	*n = sqlite3_column_int64(stmt, 0);
	*bytes = sqlite3_column_int64(stmt, 1);
	sqlite3_finalize(stmt);
	return 0;
}
