/* SPDX-License-Identifier: MIT */
/* Maps, and the places of what was handed over, in the store. See store.h. */
#include "ctl/store/database.h"

int store_map_insert(
	struct store *store, const char *vm, uint32_t port, const char *spec, struct error *err)
{
	return database_run(store, err, "INSERT INTO maps (vm, port, spec) VALUES (?, ?, ?)", "tit",
		vm, (int64_t)port, spec);
}

int store_map_delete(struct store *store, const char *vm, uint32_t port, struct error *err)
{
	if (database_run(store, err, "DELETE FROM places WHERE vm = ? AND port = ?", "ti", vm,
		    (int64_t)port) < 0)
		return -1;
	return database_run(
		store, err, "DELETE FROM maps WHERE vm = ? AND port = ?", "ti", vm, (int64_t)port);
}

int store_maps(
	struct store *store, const char *vm, store_map_fn *each, void *arg, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT spec FROM maps WHERE vm = ? ORDER BY port", "t", vm);
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1)
		each(arg, database_text(stmt, 0));
	return status;
}

int store_place_set(
	struct store *store, const char *vm, uint32_t port, const char *place, struct error *err)
{
	return database_run(store, err,
		"INSERT INTO places (vm, port, place) VALUES (?1, ?2, ?3)"
		" ON CONFLICT (vm, port) DO UPDATE SET place = ?3",
		"tit", vm, (int64_t)port, place);
}

int store_places(
	struct store *store, const char *vm, store_place_fn *each, void *arg, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT port, place FROM places WHERE vm = ?", "t", vm);
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1)
		each(arg, (uint32_t)sqlite3_column_int64(stmt, 0), database_text(stmt, 1));
	return status;
}
