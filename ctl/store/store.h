/* SPDX-License-Identifier: MIT */
/*
 * What netctld must not forget: SQLite in STATE/netctl.db.
 *
 * WAL with synchronous=FULL, so a write is on the disk when the function returns; foreign keys;
 * numbered migrations (migrations.c). Ephemeral VMs are never written. Documents are kept as the
 * JSON text that the API speaks, so that one reader checks both.
 *
 * Each function that can fail fills err ("store: disk full", status 500) and returns -1. Several
 * writes become one by store_begin()/store_end(). One thread; callbacks must not write.
 */
#ifndef CTL_STORE_STORE_H
#define CTL_STORE_STORE_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;

/* Opens or makes the file and brings it to this program's schema. */
int store_open(const char *path, struct store **out, struct error *err);
void store_close(struct store *store);

int store_begin(struct store *store, struct error *err);
/* ok commits, else all since store_begin() is undone; after a failed commit, too. */
int store_end(struct store *store, bool ok, struct error *err);

/* ---- VMs ---- */

struct store_vm {
	const char *name;
	int64_t created_ms; /* wall clock */
	const char *config; /* vm_config.h */
	const char *policy; /* policy.h */
	const char *hosts;  /* hosts.h */
	const char *mac;    /* learned from the guest, or NULL */
	const char *lease;  /* JSON, or NULL */
};

int store_vm_insert(struct store *store, const struct store_vm *vm, struct error *err);
int store_vm_set_config(
	struct store *store, const char *name, const char *config, struct error *err);
int store_vm_set_policy(
	struct store *store, const char *name, const char *policy, struct error *err);
int store_vm_set_hosts(struct store *store, const char *name, const char *hosts, struct error *err);
int store_vm_set_guest(struct store *store, const char *name, const char *mac, const char *lease,
	struct error *err);
/* With its forwards, maps, env and secrets. */
int store_vm_delete(struct store *store, const char *name, struct error *err);
typedef void store_vm_fn(void *arg, const struct store_vm *vm);
int store_vms(struct store *store, store_vm_fn *each, void *arg, struct error *err);

/* ---- forwards ---- */

int store_forward_insert(
	struct store *store, const char *vm, const char *id, const char *spec, struct error *err);
int store_forward_delete(struct store *store, const char *vm, const char *id, struct error *err);
typedef void store_forward_fn(void *arg, const char *id, const char *spec);
/* In the order they were made. */
int store_forwards(
	struct store *store, const char *vm, store_forward_fn *each, void *arg, struct error *err);

/* ---- maps ---- */

int store_map_insert(
	struct store *store, const char *vm, uint32_t port, const char *spec, struct error *err);
/* With its place. */
int store_map_delete(struct store *store, const char *vm, uint32_t port, struct error *err);
typedef void store_map_fn(void *arg, const char *spec);
/* By port. */
int store_maps(
	struct store *store, const char *vm, store_map_fn *each, void *arg, struct error *err);

/* Whose rights a handed path is reached with (place.h): a map's, or of port 0 the vsock's. */
int store_place_set(
	struct store *store, const char *vm, uint32_t port, const char *place, struct error *err);
typedef void store_place_fn(void *arg, uint32_t port, const char *place);
int store_places(
	struct store *store, const char *vm, store_place_fn *each, void *arg, struct error *err);

/* ---- env and secrets ---- */

int store_env_set(struct store *store, const char *vm, const char *doc, struct error *err);
typedef void store_env_fn(void *arg, const char *doc);
/* Called once, or not at all where none was set. */
int store_env(
	struct store *store, const char *vm, store_env_fn *each, void *arg, struct error *err);

/* Sealed values only (secret_key.h). */
int store_secret_set(struct store *store, const char *vm, const char *name, const void *sealed,
	size_t len, struct error *err);
int store_secret_delete(struct store *store, const char *vm, const char *name, struct error *err);
typedef void store_secret_fn(void *arg, const char *name, const void *sealed, size_t len);
/* By name. */
int store_secrets(
	struct store *store, const char *vm, store_secret_fn *each, void *arg, struct error *err);
/* Of all VMs; proxies' passwords, too. */
int store_secrets_count(struct store *store, int64_t *n, struct error *err);
/* Which key they are sealed with; 0 where none was used yet. */
int store_key_mark(struct store *store, int64_t *mark, struct error *err);
int store_key_set_mark(struct store *store, int64_t mark, struct error *err);

/* ---- proxies ---- */

int store_proxy_password_set(
	struct store *store, const char *vm, const void *sealed, size_t len, struct error *err);
int store_proxy_password_delete(struct store *store, const char *vm, struct error *err);
typedef void store_proxy_password_fn(void *arg, const void *sealed, size_t len);
/* Called once, or not at all where none was set. */
int store_proxy_password(struct store *store, const char *vm, store_proxy_password_fn *each,
	void *arg, struct error *err);

/* ---- snapshots ---- */

struct store_snapshot {
	const char *id;
	const char *vm; /* which it was taken of; may be gone */
	const char *name;
	int64_t created_ms; /* wall clock */
	const char *sha256;
	int64_t size;       /* bytes of record */
	const char *record; /* record.h; NULL where only the rest was asked for */
};

int store_snapshot_insert(
	struct store *store, const struct store_snapshot *snapshot, struct error *err);
int store_snapshot_delete(struct store *store, const char *id, struct error *err);
typedef void store_snapshot_fn(void *arg, const struct store_snapshot *snapshot);
/* Without their records, oldest first; vm NULL: all. */
int store_snapshots(
	struct store *store, const char *vm, store_snapshot_fn *each, void *arg, struct error *err);
/* With its record. Called once, or not at all where there is none of this id. */
int store_snapshot(
	struct store *store, const char *id, store_snapshot_fn *each, void *arg, struct error *err);
/* How many there are, and the bytes of their records. */
int store_snapshots_total(struct store *store, int64_t *n, int64_t *bytes, struct error *err);

/* ---- events ---- */

#define STORE_EVENTS_MAX 100000

struct store_event {
	int64_t id;
	int64_t time_ms; /* wall clock */
	const char *vm;  /* or NULL */
	const char *type;
	const char *data; /* a JSON object */
};

int store_event_insert(struct store *store, const struct store_event *event, struct error *err);
/* Forgets all but STORE_EVENTS_MAX up to the newest. */
int store_events_trim(struct store *store, int64_t newest, struct error *err);
typedef void store_event_fn(void *arg, const struct store_event *event);
/* At most `max` of those after `since`, oldest first. */
int store_events(struct store *store, int64_t since, int max, store_event_fn *each, void *arg,
	struct error *err);
/* Their ids; both 0 where there are none. */
int store_events_bounds(struct store *store, int64_t *oldest, int64_t *newest, struct error *err);
typedef void store_event_last_fn(void *arg, const char *vm, const char *type);
/* Which of two types each VM's last event of them was. */
int store_events_last(struct store *store, const char *type, const char *or_type,
	store_event_last_fn *each, void *arg, struct error *err);
/* Ids up to here may have been given by an earlier version, which reserved them; 0: none. */
int store_event_mark(struct store *store, int64_t *mark, struct error *err);
/* The highest number among the events that the VM's worker told; for VMs of the store. */
int store_event_set_number(struct store *store, const char *vm, int64_t number, struct error *err);
typedef void store_event_number_fn(void *arg, const char *vm, int64_t number);
int store_event_numbers(
	struct store *store, store_event_number_fn *each, void *arg, struct error *err);

#endif
