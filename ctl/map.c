/* SPDX-License-Identifier: MIT */
/* One map. See map.h. */
#include "ctl/map.h"

#include "common/unix_socket.h"
#include "ctl/json_read.h"

#include <string.h>

#define PORT_TSI 620
#define PORT_ENV 1026

static int read_port(
	struct json_object *doc, const char *path, struct map_spec *spec, struct error *err)
{
	char field[FIELD_LEN];
	int64_t port = 0;
	int got = json_get_int(doc, path, "port", 1, VSOCK_PORT_MAX, &port, err);

	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "port", err);
	if (port == PORT_TSI || port == PORT_ENV)
		return error_set(err, 400, json_path(field, sizeof(field), path, "port"),
			"vsock port %d is %s, it cannot be mapped", (int)port,
			port == PORT_TSI ? "that of TSI" : "where the guest reads its env");
	spec->port = (uint32_t)port;
	return 0;
}

static int read_unix(const char *text, const char *field, struct map_spec *spec, struct error *err)
{
	if (text[0] != '/' || text[strlen(text) - 1] == '/')
		return error_set(err, 400, field, "an absolute path of a socket is wanted");
	if (strlen(text) > unix_path_max())
		return error_set(err, 400, field,
			"path of %zu bytes is too long for a unix socket (at most %zu)",
			strlen(text), unix_path_max());
	strcpy(spec->path, text);
	return 0;
}

static int read_tcp(const char *text, const char *field, struct map_spec *spec, struct error *err)
{
	spec->tcp = true;
	if (endpoint_parse(text, &spec->to) < 0)
		return error_set(err, 400, field, "\"%.64s\" is not ADDRESS:PORT", text);
	if (!spec->to.port || addr_is_unspecified(&spec->to.addr) ||
		addr_is_multicast(&spec->to.addr))
		return error_set(err, 400, field, "%.64s is no address of a service", text);
	return 0;
}

static int read_to(
	struct json_object *doc, const char *path, struct map_spec *spec, struct error *err)
{
	static const char *const fields[] = {"unix", "tcp", NULL};
	struct json_object *to = NULL;
	char where[FIELD_LEN], field[FIELD_LEN];
	const char *file = NULL, *address = NULL;
	int got = json_get_object(doc, path, "to", &to, err);

	if (got <= 0)
		return got < 0 ? -1 : json_missing(path, "to", err);
	json_path(where, sizeof(where), path, "to");
	if (json_only(to, where, fields, err) < 0 ||
		json_get_string(to, where, "unix", &file, err) < 0 ||
		json_get_string(to, where, "tcp", &address, err) < 0)
		return -1;
	if (!file == !address)
		return error_set(err, 400, where, "one of unix and tcp is wanted");
	json_path(field, sizeof(field), where, file ? "unix" : "tcp");
	return file ? read_unix(file, field, spec, err) : read_tcp(address, field, spec, err);
}

int map_spec_read(struct json_object *doc, const char *path, bool stored, struct map_spec *spec,
	struct error *err)
{
	static const char *const fields[] = {"port", "to", NULL};
	static const char *const stored_fields[] = {"port", "to", "handed", NULL};

	memset(spec, 0, sizeof(*spec));
	if (json_only(doc, path, stored ? stored_fields : fields, err) < 0 ||
		json_get_bool(doc, path, "handed", &spec->handed, err) < 0 ||
		read_port(doc, path, spec, err) < 0)
		return -1;
	return read_to(doc, path, spec, err);
}

bool map_spec_equal(const struct map_spec *a, const struct map_spec *b)
{
	return a->port == b->port && a->tcp == b->tcp && endpoint_eq(&a->to, &b->to) &&
		strcmp(a->path, b->path) == 0;
}

struct json_object *map_spec_json(const struct map_spec *spec)
{
	struct json_object *doc = json_object_new_object(), *to = json_object_new_object();
	char text[ENDPOINT_STRLEN];

	json_put_int(doc, "port", spec->port);
	if (spec->tcp)
		json_put_string(to, "tcp", endpoint_format(&spec->to, text, sizeof(text)));
	else
		json_put_string(to, "unix", spec->path);
	json_object_object_add(doc, "to", to);
	if (spec->handed)
		json_put_bool(doc, "handed", true);
	return doc;
}

struct json_object *map_json(const struct map *map)
{
	struct json_object *doc = map_spec_json(&map->spec);

	json_object_object_del(doc, "handed");
	if (map->error[0])
		json_put_string(doc, "error", map->error);
	else if (map->spec.handed && !place_known(&map->place))
		json_put_string(
			doc, "error", "its directory was handed over and is gone: map it again");
	return doc;
}
