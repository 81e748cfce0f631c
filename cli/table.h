/* SPDX-License-Identifier: MIT */
/*
 * Tables for people: columns as wide as their widest cell, two blanks between.
 *
 * A heading may begin with '>' (the column is right-aligned) or '!' (the column's words say how
 * things are and get a colour on a terminal). Cells are copied and stripped of control
 * characters; an empty or NULL one is shown as "-".
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_MAX_COLUMNS 12

struct table;

/* headings: NULL-terminated, at most TABLE_MAX_COLUMNS. Aborts without memory, as all here. */
struct table *table_new(const char *const *headings);
/* As many strings as the table has columns. */
void table_row(struct table *t, ...);
void table_print(const struct table *t, FILE *out, bool colour);
void table_free(struct table *t);

/* The escape that gives a word like "running" or "failed" its colour, or NULL. */
const char *table_colour(const char *word);

#endif
