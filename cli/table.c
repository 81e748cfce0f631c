/* SPDX-License-Identifier: MIT */
/* Aligned tables. See table.h. */
#include "cli/table.h"

#include "cli/cli.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct table {
	const char *headings[TABLE_MAX_COLUMNS]; /* without their marks */
	bool right[TABLE_MAX_COLUMNS];
	bool state[TABLE_MAX_COLUMNS];
	size_t width[TABLE_MAX_COLUMNS];
	size_t n_columns;
	char **cells; /* n_rows * n_columns */
	size_t n_rows;
};

#define RESET "\033[0m"

/* Columns that a cell takes: characters, not bytes, of UTF-8. */
static size_t width_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		if (((unsigned char)*text & 0xc0) != 0x80)
			n++;
	return n;
}

struct table *table_new(const char *const *headings)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	for (; *headings && t->n_columns < TABLE_MAX_COLUMNS; headings++) {
		const char *text = *headings;
		size_t i = t->n_columns++;

		for (; *text == '>' || *text == '!'; text++) {
			t->right[i] |= *text == '>';
			t->state[i] |= *text == '!';
		}
		t->headings[i] = text;
		t->width[i] = width_of(text);
	}
	return t;
}

static char *copy_clean(const char *text)
{
	size_t len;
	char *copy;

	if (!text || !*text)
		text = "-";
	len = strlen(text) + 1;
	copy = malloc(len);
	if (!copy)
		abort();
	return cli_clean(text, copy, len);
}

void table_row(struct table *t, ...)
{
	char **cells = realloc(t->cells, (t->n_rows + 1) * t->n_columns * sizeof(*cells));
	va_list ap;

	if (!cells)
		abort();
	t->cells = cells;
	cells += t->n_rows++ * t->n_columns;
	va_start(ap, t);
	for (size_t i = 0; i < t->n_columns; i++) {
		size_t width;

		cells[i] = copy_clean(va_arg(ap, const char *));
		width = width_of(cells[i]);
		if (width > t->width[i])
			t->width[i] = width;
	}
	va_end(ap);
}

const char *table_colour(const char *word)
{
	static const struct {
		const char *word, *escape;
	} colours[] = {
		{"running", "\033[32m"},
		{"allow", "\033[32m"},
		{"ok", "\033[32m"},
		{"waiting", "\033[33m"},
		{"failed", "\033[31m"},
		{"deny", "\033[31m"},
	};

	for (size_t i = 0; i < sizeof(colours) / sizeof(*colours); i++)
		if (!strcmp(word, colours[i].word))
			return colours[i].escape;
	return NULL;
}

static void print_cell(
	const struct table *t, size_t column, const char *text, const char *escape, FILE *out)
{
	size_t blanks = t->width[column] - width_of(text);
	bool last = column + 1 == t->n_columns;

	if (t->right[column])
		fprintf(out, "%*s", (int)blanks, "");
	if (escape)
		fprintf(out, "%s%s" RESET, escape, text);
	else
		fputs(text, out);
	if (last)
		return;
	fprintf(out, "%*s", (int)(t->right[column] ? 2 : blanks + 2), "");
}

void table_print(const struct table *t, FILE *out, bool colour)
{
	for (size_t i = 0; i < t->n_columns; i++)
		print_cell(t, i, t->headings[i], colour ? "\033[1m" : NULL, out);
	fputc('\n', out);
	for (size_t row = 0; row < t->n_rows; row++) {
		for (size_t i = 0; i < t->n_columns; i++) {
			const char *text = t->cells[row * t->n_columns + i];

			print_cell(
				t, i, text, colour && t->state[i] ? table_colour(text) : NULL, out);
		}
		fputc('\n', out);
	}
}

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->n_rows * t->n_columns; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}
