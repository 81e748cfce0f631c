/* SPDX-License-Identifier: MIT */
/* VMs and their forwards in the store. See store.h. */
#include "ctl/store/database.h"

int store_vm_insert(struct store *store, const struct store_vm *vm, struct error *err)
{
	return database_run(store, err,
		"INSERT INTO vms (name, created_ms, config, policy, hosts, mac, lease)"
		" VALUES (?, ?, ?, ?, ?, ?, ?)",
		"tittttt", vm->name, vm->created_ms, vm->config, vm->policy, vm->hosts, vm->mac,
		vm->lease);
}

int store_vm_set_config(
	struct store *store, const char *name, const char *config, struct error *err)
{
	return database_run(
		store, err, "UPDATE vms SET config = ? WHERE name = ?", "tt", config, name);
}

int store_vm_set_policy(
	struct store *store, const char *name, const char *policy, struct error *err)
{
	return database_run(
		store, err, "UPDATE vms SET policy = ? WHERE name = ?", "tt", policy, name);
}

int store_vm_set_hosts(struct store *store, const char *name, const char *hosts, struct error *err)
{
	return database_run(
		store, err, "UPDATE vms SET hosts = ? WHERE name = ?", "tt", hosts, name);
}

int store_vm_set_guest(struct store *store, const char *name, const char *mac, const char *lease,
	struct error *err)
{
	return database_run(store, err, "UPDATE vms SET mac = ?, lease = ? WHERE name = ?", "ttt",
		mac, lease, name);
}

int store_vm_delete(struct store *store, const char *name, struct error *err)
{
	return database_run(store, err, "DELETE FROM vms WHERE name = ?", "t", name);
}

int store_vms(struct store *store, store_vm_fn *each, void *arg, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(store, err,
		"SELECT name, created_ms, config, policy, hosts, mac, lease FROM vms ORDER BY name",
		"");
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1) {
		struct store_vm vm = {
			.name = database_text(stmt, 0),
			.created_ms = sqlite3_column_int64(stmt, 1),
			.config = database_text(stmt, 2),
			.policy = database_text(stmt, 3),
			.hosts = database_text(stmt, 4),
			.mac = database_text(stmt, 5),
			.lease = database_text(stmt, 6),
		};

		each(arg, &vm);
	}
	return status;
}

int store_forward_insert(
	struct store *store, const char *vm, const char *id, const char *spec, struct error *err)
{
	return database_run(store, err, "INSERT INTO forwards (vm, id, spec) VALUES (?, ?, ?)",
		"ttt", vm, id, spec);
}

int store_forward_delete(struct store *store, const char *vm, const char *id, struct error *err)
{
	return database_run(
		store, err, "DELETE FROM forwards WHERE vm = ? AND id = ?", "tt", vm, id);
}

int store_forwards(
	struct store *store, const char *vm, store_forward_fn *each, void *arg, struct error *err)
{
	sqlite3_stmt *stmt = database_prepare(
		store, err, "SELECT id, spec FROM forwards WHERE vm = ? ORDER BY number", "t", vm);
	int status = -1;

	while (stmt && (status = database_step(store, stmt, err)) == 1)
		each(arg, database_text(stmt, 0), database_text(stmt, 1));
	return status;
}
