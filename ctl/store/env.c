/* SPDX-License-Identifier: MIT */
/* Env documents and sealed secrets in the store. See store.h. */
#include "ctl/store/database.h"

int store_env_set(struct store *store, const char *vm, const char *doc, struct error *err)
{
	return database_run(store, err,
		"INSERT INTO env (vm, doc) VALUES (?1, ?2)"
		" ON CONFLICT (vm) DO UPDATE SET doc = ?2",
		"tt", vm, doc);
}

int store_env(struct store *store, const char *vm, store_env_fn *each, void *arg, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT doc FROM env WHERE vm = ?", "t", vm);
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1)
		each(arg, database_text(stmt, 0));
	return status;
}

int store_secret_set(struct store *store, const char *vm, const char *name, const void *sealed,
	size_t len, struct error *err)
{
	return database_run(store, err,
		"INSERT INTO secrets (vm, name, sealed) VALUES (?1, ?2, ?3)"
		" ON CONFLICT (vm, name) DO UPDATE SET sealed = ?3",
		"ttb", vm, name, sealed, len);
}

int store_secret_delete(struct store *store, const char *vm, const char *name, struct error *err)
{
	return database_run(
		store, err, "DELETE FROM secrets WHERE vm = ? AND name = ?", "tt", vm, name);
}

int store_secrets(
	struct store *store, const char *vm, store_secret_fn *each, void *arg, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT name, sealed FROM secrets WHERE vm = ? ORDER BY name", "t", vm);
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1)
		each(arg, database_text(stmt, 0), sqlite3_column_blob(stmt, 1),
			(size_t)sqlite3_column_bytes(stmt, 1));
	return status;
}

int store_secrets_count(struct store *store, int64_t *n, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(store, err,
		"SELECT (SELECT count(*) FROM secrets) + (SELECT count(*) FROM proxy_passwords)",
		"");
	int status = stmt ? database_step(store, stmt, err) : -1;

	*n = 0;
	if (status != 1)
		return status;
	*n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return 0;
}

int store_key_mark(struct store *store, int64_t *mark, struct error *err)
{
	return database_mark(store, "key", mark, err);
}

int store_key_set_mark(struct store *store, int64_t mark, struct error *err)
{
	return database_set_mark(store, "key", mark, err);
}
