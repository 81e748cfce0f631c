/* SPDX-License-Identifier: MIT */
/* The canonical form of a JSON document, and its hash. See record.h. */
#include "ctl/record.h"

#include "ctl/json_read.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct out {
	char *text;
	size_t len, room;
	bool failed;
};

static void put(struct out *out, const char *text, size_t len)
{
	if (out->len + len + 1 > out->room) {
		size_t room = (out->len + len + 1) * 2;
		char *grown = out->failed ? NULL : realloc(out->text, room);

		if (!grown) {
			out->failed = true;
			return;
		}
		out->text = grown;
		out->room = room;
	}
	memcpy(out->text + out->len, text, len);
	out->len += len;
}

static void put_scalar(struct out *out, struct json_object *value)
{
	const char *text = json_text(value);

	put(out, text, strlen(text));
}

static void put_key(struct out *out, const char *key)
{
	struct json_object *text = json_object_new_string(key);

	put_scalar(out, text);
	json_object_put(text);
	put(out, ":", 1);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_value(struct out *out, struct json_object *value);

static void put_object(struct out *out, struct json_object *doc)
{
	size_t n = (size_t)json_object_object_length(doc), i = 0;
	const char **keys = calloc(n + 1, sizeof(*keys));

	if (!keys) {
		out->failed = true;
		return;
	}
	json_object_object_foreach(doc, key, unused)
	{
		(void)unused;
		keys[i++] = key;
	}
	qsort(keys, n, sizeof(*keys), by_bytes);
	put(out, "{", 1);
	for (i = 0; i < n; i++) {
		struct json_object *value = NULL;

		if (i)
			put(out, ",", 1);
		put_key(out, keys[i]);
		json_object_object_get_ex(doc, keys[i], &value);
		put_value(out, value);
	}
	put(out, "}", 1);
	free(keys);
}

/* Recursion is bounded by the depth that json_read_deeper() allows. */
static void put_value(struct out *out, struct json_object *value)
{
	if (!value) {
		put(out, "null", 4);
	} else if (json_object_is_type(value, json_type_object)) {
		put_object(out, value);
	} else if (json_object_is_type(value, json_type_array)) {
		put(out, "[", 1);
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			if (i)
				put(out, ",", 1);
			put_value(out, json_object_array_get_idx(value, i));
		}
		put(out, "]", 1);
	} else {
		put_scalar(out, value);
	}
}

char *record_canonical(struct json_object *doc, size_t *len)
{
	struct out out = {0};

	put_value(&out, doc);
	if (out.failed) {
		free(out.text);
		return NULL;
	}
	out.text[out.len] = '\0';
	*len = out.len;
	return out.text;
}

void record_hash(const char *text, size_t len, char sha256[RECORD_SHA256_LEN])
{
	uint8_t hash[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(hash, (const uint8_t *)text, len);
	sodium_bin2hex(sha256, RECORD_SHA256_LEN, hash, sizeof(hash));
}
