/* SPDX-License-Identifier: MIT */
/*
 * The difference of two documents of a VM, field by field. See state.h.
 *
 * It knows no setting by name, so that new ones need nothing here. Lists whose order says nothing
 * (forwards, maps, hosts, secrets) are turned into objects by what makes an element itself; in other
 * lists what the beginnings and the ends have in common is left out, and the rest is removed and added.
 */
#include "ctl/state.h"

#include "ctl/json_read.h"

#include <stdio.h>
#include <string.h>

#define PATH_LEN 512

struct diff {
	struct json_object *changes;
	const char *vm;
};

/* ---- lists by key ---- */

static const char *forward_key(struct json_object *item, char *buf, size_t len)
{
	struct forward_spec spec;
	struct error ignored;

	buf[0] = '\0';
	if (forward_spec_read(item, "", true, &spec, &ignored) == 0)
		forward_id(&spec, buf, len);
	return buf;
}

static const char *member_text(struct json_object *item, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(item, key, &value);
	return json_object_get_string(value);
}

static const char *key_of(const char *list, struct json_object *item, char *buf, size_t len)
{
	if (strcmp(list, "forwards") == 0)
		return forward_key(item, buf, len);
	if (strcmp(list, "maps") == 0)
		return member_text(item, "port");
	if (strcmp(list, "hosts") == 0)
		return member_text(item, "name");
	return json_object_get_string(item);
}

/* Several new forwards at any free port have one key. */
static void add_keyed(struct json_object *keyed, const char *key, struct json_object *item)
{
	char other[FORWARD_ID_LEN + 16];
	int n = 1;

	snprintf(other, sizeof(other), "%s", key);
	while (json_object_object_get_ex(keyed, other, NULL))
		snprintf(other, sizeof(other), "%s (%d)", key, ++n);
	json_object_object_add(keyed, other, json_object_get(item));
}

/* A document as it is compared, of its own; NULL gives what all that is added is added to. */
static struct json_object *view(struct json_object *doc)
{
	static const char *const lists[] = {"forwards", "maps", "hosts", "secrets"};
	struct json_object *out = json_object_new_object();
	char buf[FORWARD_ID_LEN];

	if (!doc)
		json_object_object_add(out, "env", json_object_new_object());
	if (doc) {
		json_object_object_foreach(doc, key, value)
		{
			json_object_object_add(out, key, json_object_get(value));
		}
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		struct json_object *keyed = json_object_new_object(), *list = NULL;

		json_object_object_get_ex(doc, lists[i], &list);
		if (json_object_is_type(list, json_type_object)) /* hosts */
			json_object_object_get_ex(list, "items", &list);
		for (size_t k = 0; list && k < json_object_array_length(list); k++) {
			struct json_object *item = json_object_array_get_idx(list, k);

			add_keyed(keyed, key_of(lists[i], item, buf, sizeof(buf)), item);
		}
		json_object_object_add(out, lists[i], keyed);
	}
	return out;
}

/* ---- lines ---- */

static void add(const struct diff *diff, const char *op, const char *field,
	struct json_object *from, struct json_object *to)
{
	struct json_object *line = json_object_new_object();

	json_put_string(line, "op", op);
	json_put_string(line, "vm", diff->vm);
	if (field)
		json_put_string(line, "field", field);
	if (from)
		json_object_object_add(line, "from", json_object_get(from));
	if (to)
		json_object_object_add(line, "to", json_object_get(to));
	json_object_array_add(diff->changes, line);
}

static const char *path_to(char *buf, size_t len, const char *path, const char *key)
{
	/* What came of lists, or has dots and brackets itself. */
	bool odd = strcspn(key, ".:[]/ ") < strlen(key) || (*key >= '0' && *key <= '9');

	snprintf(buf, len, odd ? "%s[%s]" : *path ? "%s.%s" : "%s%s", path, key);
	return buf;
}

static void compare(const struct diff *diff, const char *path, struct json_object *from,
	struct json_object *to);

static void compare_objects(
	const struct diff *diff, const char *path, struct json_object *from, struct json_object *to)
{
	char field[PATH_LEN];
	struct json_object *other;

	json_object_object_foreach(from, key, value)
	{
		if (!json_object_object_get_ex(to, key, NULL))
			add(diff, "remove", path_to(field, sizeof(field), path, key), value, NULL);
	}
	json_object_object_foreach(to, new_key, new_value)
	{
		path_to(field, sizeof(field), path, new_key);
		if (json_object_object_get_ex(from, new_key, &other))
			compare(diff, field, other, new_value);
		else
			add(diff, "add", field, NULL, new_value);
	}
}

static struct json_object *at(struct json_object *list, size_t i)
{
	return json_object_array_get_idx(list, i);
}

static void compare_lists(
	const struct diff *diff, const char *path, struct json_object *from, struct json_object *to)
{
	size_t n = json_object_array_length(from), m = json_object_array_length(to);
	size_t head = 0, tail = 0;
	char field[PATH_LEN];

	while (head < n && head < m && json_object_equal(at(from, head), at(to, head)))
		head++;
	while (tail < n - head && tail < m - head &&
		json_object_equal(at(from, n - 1 - tail), at(to, m - 1 - tail)))
		tail++;
	for (size_t i = head; i < n - tail; i++) {
		snprintf(field, sizeof(field), "%s[%zu]", path, i);
		add(diff, "remove", field, at(from, i), NULL);
	}
	for (size_t i = head; i < m - tail; i++) {
		snprintf(field, sizeof(field), "%s[%zu]", path, i);
		add(diff, "add", field, NULL, at(to, i));
	}
}

/* Recursion is bounded by the depth that json_read_deeper() allows. */
static void compare(
	const struct diff *diff, const char *path, struct json_object *from, struct json_object *to)
{
	if (json_object_equal(from, to))
		return;
	if (json_object_is_type(from, json_type_object) &&
		json_object_is_type(to, json_type_object))
		compare_objects(diff, path, from, to);
	else if (json_object_is_type(from, json_type_array) &&
		json_object_is_type(to, json_type_array))
		compare_lists(diff, path, from, to);
	else
		add(diff, "change", path, from, to);
}

void state_diff(struct json_object *changes, const char *vm, struct json_object *from,
	struct json_object *to)
{
	static const char *const others[] = {"name", "proxy_password"};
	struct json_object *old, *new;
	struct diff diff = {.changes = changes, .vm = vm};

	if (!from || !to)
		add(&diff, from ? "remove" : "add", NULL, NULL, NULL);
	if (!to)
		return;
	old = view(from);
	new = view(to);
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		json_object_object_del(new, others[i]);
		json_object_object_del(old, others[i]);
	}
	compare(&diff, "", old, new);
	json_object_put(old);
	json_object_put(new);
}
