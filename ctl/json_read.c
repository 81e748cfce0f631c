/* SPDX-License-Identifier: MIT */
/* Strict JSON. See json_read.h. */
#include "ctl/json_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_DEPTH 16

/* json-c takes comments and single quotes even when strict. Where the first is, or len. */
static size_t leniency(const char *text, size_t len)
{
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (quoted && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			quoted = !quoted;
		else if (!quoted && (text[i] == '\'' || text[i] == '/'))
			return i;
	}
	return len;
}

struct json_object *json_read(const char *text, size_t len, struct error *err)
{
	return json_read_deeper(text, len, 0, err);
}

struct json_object *json_read_deeper(const char *text, size_t len, int deeper, struct error *err)
{
	struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH + deeper);
	struct json_object *doc;
	enum json_tokener_error why;
	size_t end;

	if (!tokener) {
		error_set(err, 500, NULL, "out of memory");
		return NULL;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	doc = json_tokener_parse_ex(tokener, text, (int)len);
	why = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	/* A bare number or literal ends only where something follows it. */
	if (why == json_tokener_continue && len > 0) {
		doc = json_tokener_parse_ex(tokener, "\0", 1);
		why = json_tokener_get_error(tokener);
		end = len;
	}
	json_tokener_free(tokener);
	if (leniency(text, len) < len) {
		json_object_put(doc);
		error_set(err, 400, NULL, "not JSON: unexpected character at byte %zu",
			leniency(text, len));
		return NULL;
	}
	while (why == json_tokener_success && end < len && strchr(" \t\r\n", text[end]) &&
		text[end])
		end++;
	if (why == json_tokener_success && doc && end == len)
		return doc;
	json_object_put(doc);
	if (len == 0)
		error_set(err, 400, NULL, "empty, where JSON is wanted");
	else if (why == json_tokener_success && end == len)
		error_set(err, 400, NULL, "null, where an object is wanted");
	else
		error_set(err, 400, NULL, "not JSON: %s at byte %zu",
			why == json_tokener_success ? "more after the end"
				: why == json_tokener_continue ||
					why == json_tokener_error_parse_eof
				? "unfinished"
				: json_tokener_error_desc(why),
			end);
	return NULL;
}

const char *json_path(char *buf, size_t len, const char *path, const char *key)
{
	snprintf(buf, len, "%s%s%s", path, *path ? "." : "", key);
	return buf;
}

const char *json_path_at(char *buf, size_t len, const char *path, size_t index)
{
	char copy[FIELD_LEN];

	snprintf(copy, sizeof(copy), "%s", path);
	snprintf(buf, len, "%s[%zu]", copy, index);
	return buf;
}

static int wrong(const char *path, const char *key, const char *want, struct error *err)
{
	char field[FIELD_LEN];

	if (key)
		json_path(field, sizeof(field), path, key);
	else
		snprintf(field, sizeof(field), "%s", path);
	return error_set(err, 400, field, "%s%sis wanted", want, " ");
}

int json_only(
	struct json_object *obj, const char *path, const char *const *fields, struct error *err)
{
	char field[FIELD_LEN];

	if (!json_object_is_type(obj, json_type_object))
		return wrong(path, NULL, "an object", err);
	json_object_object_foreach(obj, key, value)
	{
		size_t i = 0;

		(void)value;
		while (fields[i] && strcmp(fields[i], key) != 0)
			i++;
		if (!fields[i]) {
			json_path(field, sizeof(field), path, key);
			return error_set(err, 400, field, "unknown field %.80s", field);
		}
	}
	return 0;
}

/* The field where it is there and not null. */
static struct json_object *get(struct json_object *obj, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(obj, key, &value) ? value : NULL;
}

int json_get_string(struct json_object *obj, const char *path, const char *key, const char **out,
	struct error *err)
{
	struct json_object *value = get(obj, key);

	if (!value)
		return 0;
	if (!json_object_is_type(value, json_type_string) ||
		strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
		return wrong(path, key, "a string", err);
	*out = json_object_get_string(value);
	return 1;
}

int json_get_bool(
	struct json_object *obj, const char *path, const char *key, bool *out, struct error *err)
{
	struct json_object *value = get(obj, key);

	if (!value)
		return 0;
	if (!json_object_is_type(value, json_type_boolean))
		return wrong(path, key, "true or false", err);
	*out = json_object_get_boolean(value);
	return 1;
}

int json_get_int(struct json_object *obj, const char *path, const char *key, int64_t min,
	int64_t max, int64_t *out, struct error *err)
{
	struct json_object *value = get(obj, key);
	char field[FIELD_LEN];
	int64_t n;

	if (!value)
		return 0;
	json_path(field, sizeof(field), path, key);
	if (!json_object_is_type(value, json_type_int))
		return wrong(path, key, "a whole number", err);
	n = json_object_get_int64(value);
	if (n < min || n > max)
		return error_set(err, 400, field,
			"%" PRId64 " is out of range, %" PRId64 " to %" PRId64 " is wanted", n, min,
			max);
	*out = n;
	return 1;
}

int json_get_array(struct json_object *obj, const char *path, const char *key, size_t max,
	struct json_object **out, struct error *err)
{
	struct json_object *value = get(obj, key);
	char field[FIELD_LEN];

	if (!value)
		return 0;
	json_path(field, sizeof(field), path, key);
	if (!json_object_is_type(value, json_type_array))
		return wrong(path, key, "a list", err);
	if (json_object_array_length(value) > max)
		return error_set(err, 400, field, "more than %zu items", max);
	*out = value;
	return 1;
}

int json_get_object(struct json_object *obj, const char *path, const char *key,
	struct json_object **out, struct error *err)
{
	struct json_object *value = get(obj, key);

	if (!value)
		return 0;
	if (!json_object_is_type(value, json_type_object))
		return wrong(path, key, "an object", err);
	*out = value;
	return 1;
}

int json_missing(const char *path, const char *key, struct error *err)
{
	char field[FIELD_LEN];

	json_path(field, sizeof(field), path, key);
	return error_set(err, 400, field, "%.80s is missing", field);
}

static struct json_object *deep_copy(struct json_object *doc)
{
	struct json_object *copy = NULL;

	if (doc && json_object_deep_copy(doc, &copy, NULL) < 0)
		return NULL;
	return copy;
}

/* Recursion is bounded by the depth that json_read() allows. */
struct json_object *json_merge_patch(struct json_object *target, struct json_object *patch)
{
	struct json_object *merged;

	if (!json_object_is_type(patch, json_type_object))
		return deep_copy(patch);
	merged = json_object_is_type(target, json_type_object) ? deep_copy(target)
							       : json_object_new_object();
	json_object_object_foreach(patch, key, value)
	{
		struct json_object *old = NULL;

		if (!value) {
			json_object_object_del(merged, key);
			continue;
		}
		json_object_object_get_ex(merged, key, &old);
		json_object_object_add(merged, key, json_merge_patch(old, value));
	}
	return merged;
}

void json_put_string(struct json_object *obj, const char *key, const char *value)
{
	json_object_object_add(obj, key, value ? json_object_new_string(value) : NULL);
}

void json_put_int(struct json_object *obj, const char *key, int64_t value)
{
	json_object_object_add(obj, key, json_object_new_int64(value));
}

void json_put_bool(struct json_object *obj, const char *key, bool value)
{
	json_object_object_add(obj, key, json_object_new_boolean(value));
}

const char *json_text(struct json_object *doc)
{
	return json_object_to_json_string_ext(
		doc, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}
