/* SPDX-License-Identifier: MIT */
/* Maps in the store. See store.h. */
#include "ctl/store/database.h"

int store_map_insert(
	struct store *store, const char *vm, uint32_t port, const char *spec, struct error *err)
{
	return database_run(store, err, "INSERT INTO maps (vm, port, spec) VALUES (?, ?, ?)", "tit",
		vm, (int64_t)port, spec);
}

int store_map_delete(struct store *store, const char *vm, uint32_t port, struct error *err)
{
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
