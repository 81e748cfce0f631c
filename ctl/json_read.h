/* SPDX-License-Identifier: MIT */
/*
 * Strict reading of JSON request bodies.
 *
 * Every reader takes the object, the path that leads to it ("" at the top, "forwards[1]" below) and
 * fills a struct error that names the field at fault. Getters return 1 where the field is there, 0
 * where it is absent (*out untouched), -1 after an error. null counts as absent.
 */
#ifndef CTL_JSON_READ_H
#define CTL_JSON_READ_H

#include "common/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIELD_LEN sizeof(((struct error *)0)->field)

/* Parses one whole document. Returns it, to be put by the caller, or NULL with a 400. */
struct json_object *json_read(const char *text, size_t len, struct error *err);

/* An object with no fields but these; `fields` ends with NULL. 0 or -1. */
int json_only(
	struct json_object *obj, const char *path, const char *const *fields, struct error *err);

/* The same for a document that holds others, `deeper` levels below. */
struct json_object *json_read_deeper(const char *text, size_t len, int deeper, struct error *err);

/* "path.key" or "key"; and "path.key[i]". Returns buf. */
const char *json_path(char *buf, size_t len, const char *path, const char *key);
const char *json_path_at(char *buf, size_t len, const char *path, size_t index);

int json_get_string(struct json_object *obj, const char *path, const char *key, const char **out,
	struct error *err);
int json_get_bool(
	struct json_object *obj, const char *path, const char *key, bool *out, struct error *err);
int json_get_int(struct json_object *obj, const char *path, const char *key, int64_t min,
	int64_t max, int64_t *out, struct error *err);
int json_get_array(struct json_object *obj, const char *path, const char *key, size_t max,
	struct json_object **out, struct error *err);
int json_get_object(struct json_object *obj, const char *path, const char *key,
	struct json_object **out, struct error *err);

/* An error that a required field is absent; returns -1. */
int json_missing(const char *path, const char *key, struct error *err);

/* RFC 7396: a new document, target patched by patch. Either may be NULL. */
struct json_object *json_merge_patch(struct json_object *target, struct json_object *patch);

/* Small writers; each takes the object and returns nothing, strings may be NULL for null. */
void json_put_string(struct json_object *obj, const char *key, const char *value);
void json_put_int(struct json_object *obj, const char *key, int64_t value);
void json_put_bool(struct json_object *obj, const char *key, bool value);

/* The text of a document on one line, valid as long as the document is. */
const char *json_text(struct json_object *doc);

#endif
