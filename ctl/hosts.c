/* SPDX-License-Identifier: MIT */
/* Local names. See hosts.h. */
#include "ctl/hosts.h"

#include "ctl/json_read.h"
#include "ctl/vm_config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_name(struct json_object *item, const char *path, char *name, struct error *err)
{
	char field[FIELD_LEN];
	const char *text = NULL;
	size_t n;
	int got = json_get_string(item, path, "name", &text, err);

	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "name", err);
	json_path(field, sizeof(field), path, "name");
	n = strlen(text);
	if (n > 0 && text[n - 1] == '.')
		n--;
	if (n >= VM_DOMAIN_LEN)
		return error_set(err, 400, field, "name is longer than 253 bytes");
	for (size_t i = 0; i < n; i++)
		name[i] = (char)tolower((unsigned char)text[i]);
	name[n] = '\0';
	if (!domain_name_valid(name))
		return error_set(err, 400, field, "\"%.64s\" is no host name", text);
	return 0;
}

static int read_addrs(struct json_object *item, const char *path, struct hosts *hosts, size_t at,
	struct error *err)
{
	struct json_object *list = NULL;
	char field[FIELD_LEN], where[FIELD_LEN];
	struct addr *addrs = hosts->addrs + at * HOSTS_ADDRS_MAX;
	int got = json_get_array(item, path, "addresses", HOSTS_ADDRS_MAX, &list, err);
	size_t n;

	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "addresses", err);
	json_path(where, sizeof(where), path, "addresses");
	n = json_object_array_length(list);
	if (!n)
		return error_set(err, 400, where, "at least one address is wanted");
	for (size_t i = 0; i < n; i++) {
		struct json_object *text = json_object_array_get_idx(list, i);

		json_path_at(field, sizeof(field), where, i);
		if (!json_object_is_type(text, json_type_string) ||
			addr_parse(json_object_get_string(text), &addrs[i]) < 0)
			return error_set(err, 400, field, "not an IP address");
	}
	hosts->items[at].addrs = addrs;
	hosts->items[at].n_addrs = n;
	return 0;
}

static int read_item(struct hosts *hosts, struct json_object *item, struct error *err)
{
	static const char *const fields[] = {"name", "addresses", NULL};
	char path[FIELD_LEN], name[VM_DOMAIN_LEN];

	json_path_at(path, sizeof(path), "items", hosts->n);
	if (json_only(item, path, fields, err) < 0 || read_name(item, path, name, err) < 0 ||
		read_addrs(item, path, hosts, hosts->n, err) < 0)
		return -1;
	for (size_t i = 0; i < hosts->n; i++) {
		if (strcmp(hosts->names[i], name) == 0)
			return error_set(err, 400, path, "%.64s is listed twice", name);
	}
	json_put_string(item, "name", name);
	memcpy(hosts->names[hosts->n], name, sizeof(name));
	hosts->items[hosts->n].name = hosts->names[hosts->n];
	hosts->n++;
	return 0;
}

struct hosts *hosts_read(struct json_object *doc, struct error *err)
{
	static const char *const fields[] = {"items", NULL};
	struct hosts *hosts = calloc(1, sizeof(*hosts));
	struct json_object *list = NULL;
	size_t n = 0;

	if (!hosts)
		goto out_of_memory;
	if (!doc) {
		hosts->doc = json_object_new_object();
		json_object_object_add(hosts->doc, "items", json_object_new_array());
		return hosts;
	}
	if (json_only(doc, "", fields, err) < 0 ||
		json_get_array(doc, "", "items", HOSTS_MAX, &list, err) < 0)
		goto fail;
	if (!list) {
		json_missing("", "items", err);
		goto fail;
	}
	json_object_deep_copy(doc, &hosts->doc, NULL);
	json_object_object_get_ex(hosts->doc, "items", &list);
	n = json_object_array_length(list);
	hosts->items = calloc(n + 1, sizeof(*hosts->items));
	hosts->names = calloc(n + 1, sizeof(*hosts->names));
	hosts->addrs = calloc(n + 1, HOSTS_ADDRS_MAX * sizeof(*hosts->addrs));
	if (!hosts->items || !hosts->names || !hosts->addrs)
		goto out_of_memory;
	for (size_t i = 0; i < n; i++) {
		if (read_item(hosts, json_object_array_get_idx(list, i), err) < 0)
			goto fail;
	}
	return hosts;
out_of_memory:
	error_set(err, 500, NULL, "out of memory");
fail:
	hosts_free(hosts);
	return NULL;
}

bool hosts_have(const struct hosts *hosts, const char *name, const struct addr *addr)
{
	for (size_t i = 0; i < hosts->n; i++) {
		const struct worker_host *item = &hosts->items[i];

		if (strcmp(item->name, name) != 0)
			continue;
		for (size_t j = 0; addr && j < item->n_addrs; j++) {
			if (addr_eq(&item->addrs[j], addr))
				return true;
		}
		return !addr;
	}
	return false;
}

void hosts_free(struct hosts *hosts)
{
	if (!hosts)
		return;
	json_object_put(hosts->doc);
	free(hosts->items);
	free(hosts->names);
	free(hosts->addrs);
	free(hosts);
}
