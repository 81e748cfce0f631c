/* SPDX-License-Identifier: MIT */
/* JSON documents. See json.h. */
#include "cli/json.h"

#include <string.h>

struct json_object *doc_get(struct json_object *doc, const char *path)
{
	char key[64];

	while (doc && *path) {
		size_t len = strcspn(path, ".");
		struct json_object *next = NULL;

		if (len >= sizeof(key) || !json_object_is_type(doc, json_type_object))
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		if (!json_object_object_get_ex(doc, key, &next))
			return NULL;
		doc = next;
		path += len + (path[len] == '.');
	}
	return doc;
}

const char *doc_text(struct json_object *doc, const char *path)
{
	struct json_object *member = doc_get(doc, path);

	return member ? json_object_get_string(member) : "";
}

int64_t doc_int(struct json_object *doc, const char *path)
{
	return json_object_get_int64(doc_get(doc, path));
}

bool doc_bool(struct json_object *doc, const char *path)
{
	return json_object_get_boolean(doc_get(doc, path));
}

struct json_object *doc_array(struct json_object *doc, const char *path, size_t *len)
{
	struct json_object *array = doc_get(doc, path);

	*len = 0;
	if (!json_object_is_type(array, json_type_array))
		return NULL;
	*len = json_object_array_length(array);
	return array;
}

char *doc_join(struct json_object *array, char *buf, size_t len)
{
	size_t n, used = 0;

	buf[0] = '\0';
	array = doc_array(array, "", &n);
	for (size_t i = 0; i < n && used < len; i++) {
		const char *text = doc_text(json_object_array_get_idx(array, i), "");

		used += (size_t)snprintf(buf + used, len - used, "%s%s", i ? "," : "", text);
	}
	return buf;
}

void doc_put_text(struct json_object *obj, const char *key, const char *value)
{
	json_object_object_add(obj, key, json_object_new_string(value));
}

void doc_put_int(struct json_object *obj, const char *key, int64_t value)
{
	json_object_object_add(obj, key, json_object_new_int64(value));
}

void doc_put_bool(struct json_object *obj, const char *key, bool value)
{
	json_object_object_add(obj, key, json_object_new_boolean(value));
}

void doc_print(struct json_object *doc, FILE *out)
{
	fprintf(out, "%s\n",
		json_object_to_json_string_ext(doc,
			JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
				JSON_C_TO_STRING_NOSLASHESCAPE));
}
