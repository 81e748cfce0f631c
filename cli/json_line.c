/* SPDX-License-Identifier: MIT */
/*
 * See json_line.h. The path is walked down: in an object the members are skipped until the one
 * that is named, in an array as many elements as the index says. json-c has parsed the text by
 * then, so nothing more than where values begin and end must be known here.
 */
#include "cli/json_line.h"

#include <stdlib.h>
#include <string.h>

unsigned json_line_at(const char *text, size_t offset)
{
	unsigned line = 1;

	for (size_t i = 0; i < offset && text[i]; i++)
		line += text[i] == '\n';
	return line;
}

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* Behind the quote that ends a string; NULL where none does. */
static const char *skip_string(const char *p)
{
	for (p++; *p && *p != '"'; p++) {
		if (*p == '\\' && p[1])
			p++;
	}
	return *p ? p + 1 : NULL;
}

/* Behind a value, which begins at p; NULL where the text ends first. */
static const char *skip_value(const char *p)
{
	int depth = 0;

	while (*p) {
		if (*p == '"') {
			p = skip_string(p);
			if (!p)
				return NULL;
		} else if (*p == '[' || *p == '{') {
			depth++;
			p++;
		} else if (*p == ']' || *p == '}') {
			depth--;
			p++;
		} else {
			p += strcspn(p, ",]}[{\"");
			p += depth > 0 && *p == ',';
		}
		if (depth <= 0 && *p && strchr(",]}", *p))
			return p;
	}
	return NULL;
}

/* The value of a member of the object at p, or NULL. */
static const char *find_member(const char *p, const char *name, size_t len)
{
	p = skip_blanks(p + 1);
	while (*p == '"') {
		const char *key = p + 1, *end = skip_string(p);
		size_t key_len;

		if (!end)
			return NULL;
		key_len = (size_t)(end - key) - 1;
		p = skip_blanks(end);
		if (*p != ':')
			return NULL;
		p = skip_blanks(p + 1);
		if (key_len == len && strncmp(key, name, len) == 0)
			return p;
		p = skip_value(p);
		if (!p)
			return NULL;
		p = skip_blanks(p);
		if (*p == ',')
			p = skip_blanks(p + 1);
	}
	return NULL;
}

static const char *find_element(const char *p, unsigned long index)
{
	p = skip_blanks(p + 1);
	while (*p && *p != ']') {
		if (index-- == 0)
			return p;
		p = skip_value(p);
		if (!p)
			return NULL;
		p = skip_blanks(p);
		if (*p == ',')
			p = skip_blanks(p + 1);
	}
	return NULL;
}

/* One step of a path, "name", ".name" or "[3]"; moves *field past it. NULL: it leads nowhere. */
static const char *step(const char *at, const char **field)
{
	size_t len;
	char *end;

	if (**field == '[') {
		unsigned long index = strtoul(*field + 1, &end, 10);

		if (*end != ']' || *at != '[')
			return NULL;
		*field = end + 1;
		return find_element(at, index);
	}
	*field += **field == '.';
	len = strcspn(*field, ".[");
	if (!len || *at != '{')
		return NULL;
	at = find_member(at, *field, len);
	*field += len;
	return at;
}

unsigned json_line(const char *text, const char *field)
{
	const char *at = skip_blanks(text), *next = at;

	if (!*at)
		return 0;
	while (next && *field) {
		next = step(at, &field);
		if (next)
			at = next;
	}
	return json_line_at(text, (size_t)(at - text));
}
