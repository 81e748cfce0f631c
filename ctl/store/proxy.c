/* SPDX-License-Identifier: MIT */
/* Sealed passwords for proxies in the store. See store.h. */
#include "ctl/store/database.h"

int store_proxy_password_set(
	struct store *store, const char *vm, const void *sealed, size_t len, struct error *err)
{
	return database_run(store, err,
		"INSERT INTO proxy_passwords (vm, sealed) VALUES (?1, ?2)"
		" ON CONFLICT (vm) DO UPDATE SET sealed = ?2",
		"tb", vm, sealed, len);
}

int store_proxy_password_delete(struct store *store, const char *vm, struct error *err)
{
	return database_run(store, err, "DELETE FROM proxy_passwords WHERE vm = ?", "t", vm);
}

int store_proxy_password(struct store *store, const char *vm, store_proxy_password_fn *each,
	void *arg, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT sealed FROM proxy_passwords WHERE vm = ?", "t", vm);
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1)
		each(arg, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));
	return status;
}
