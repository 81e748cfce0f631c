/* SPDX-License-Identifier: MIT */
/* Inside ctl/store/: statements with arguments over SQLite. */
#ifndef CTL_STORE_DATABASE_H
#define CTL_STORE_DATABASE_H

#include "ctl/store/store.h"

#include <sqlite3.h>

struct store {
	sqlite3 *db;
};

/* Fills err with SQLite's reason and returns -1. */
int database_error(struct store *store, struct error *err);

/* Binds by a format: 't' const char * (NULL is SQL NULL), 'i' int64_t, 'b' const void * and size_t.
 * NULL after an error. */
sqlite3_stmt *database_prepare(
	struct store *store, struct error *err, const char *sql, const char *format, ...);
/* Runs a statement without rows. 0 or -1. */
int database_run(struct store *store, struct error *err, const char *sql, const char *format, ...);
/* 1 a row, 0 the end (finalized), -1 an error (finalized). */
int database_step(struct store *store, sqlite3_stmt *stmt, struct error *err);
const char *database_text(sqlite3_stmt *stmt, int column);

/* A number that is kept under a name; 0 where there is none. 0 or -1. */
int database_mark(struct store *store, const char *name, int64_t *value, struct error *err);
int database_set_mark(struct store *store, const char *name, int64_t value, struct error *err);

/* migrations.c: brings the schema up to date. */
int database_migrate(struct store *store, struct error *err);

#endif
