/* SPDX-License-Identifier: MIT */
/* What of the API the dashboard can use. See door.h. */
#include "cli/dashboard/door.h"

#include <stddef.h>
#include <string.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define VM_NAME_MAX 63

struct way {
	const char *method;
	const char *path;  /* * is a VM's name */
	const char *query; /* parameters, each with a number; NULL: none */
};

static const struct way ways[] = {
	{"GET", "/v1/version", NULL},
	{"GET", "/v1/vms", NULL},
	{"GET", "/v1/vms/*/stats", NULL},
	{"GET", "/v1/vms/*/flows", "limit="},
	{"GET", "/v1/vms/*/policy", NULL},
	{"PUT", "/v1/vms/*/policy", NULL},
	{"GET", "/v1/events", "since=,follow=,last="},
};

static bool is_path(const char *pattern, const char *path, size_t len)
{
	const char *end = path + len;

	for (; *pattern; pattern++) {
		if (*pattern != '*') {
			if (path == end || *path++ != *pattern)
				return false;
			continue;
		}
		len = strspn(path, LOWER DIGITS "._-");
		if (!len || len > VM_NAME_MAX || len > (size_t)(end - path) ||
			!strchr(LOWER DIGITS, *path))
			return false;
		path += len;
	}
	return path == end;
}

static bool is_parameter(const char *known, const char *text, size_t len)
{
	size_t name = strcspn(text, "=") + 1;
	size_t digits = name < len ? strspn(text + name, DIGITS) : 0;

	if (!digits || name + digits != len)
		return false;
	for (size_t one; *known; known += one + (known[one] == ',')) {
		one = strcspn(known, ",");
		if (one == name && strncmp(known, text, name) == 0)
			return true;
	}
	return false;
}

static bool is_query(const char *known, const char *query)
{
	size_t len;

	if (!*query)
		return true;
	if (!known)
		return false;
	for (const char *p = query + 1;; p += len + 1) {
		len = strcspn(p, "&");
		if (!is_parameter(known, p, len))
			return false;
		if (!p[len])
			return true;
	}
}

bool door_admits(const char *method, const char *uri, bool *endless)
{
	size_t len = strcspn(uri, "?");

	*endless = strstr(uri + len, "follow=1") != NULL;
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		const struct way *way = &ways[i];

		if (!strcmp(way->method, method) && is_path(way->path, uri, len) &&
			is_query(way->query, uri + len))
			return true;
	}
	return false;
}
