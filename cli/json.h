/* SPDX-License-Identifier: MIT */
/* Reading and building JSON documents with json-c, without a check at every step. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The member at a dotted path ("link.path"), or NULL. Borrowed from doc; doc may be NULL. */
struct json_object *doc_get(struct json_object *doc, const char *path);
/* Its text ("" if absent or null; numbers and booleans as JSON writes them). Borrowed. */
const char *doc_text(struct json_object *doc, const char *path);
int64_t doc_int(struct json_object *doc, const char *path); /* 0 if absent */
bool doc_bool(struct json_object *doc, const char *path);   /* false if absent */
/* The array at path and its length; NULL and 0 where there is none. An empty path is doc. */
struct json_object *doc_array(struct json_object *doc, const char *path, size_t *len);
/* An array of strings as "a,b". Writes into buf and returns it. */
char *doc_join(struct json_object *array, char *buf, size_t len);

/* Each puts a new member into obj. */
void doc_put_text(struct json_object *obj, const char *key, const char *value);
void doc_put_int(struct json_object *obj, const char *key, int64_t value);
void doc_put_bool(struct json_object *obj, const char *key, bool value);

/* Pretty, with a line feed. */
void doc_print(struct json_object *doc, FILE *out);

#endif
