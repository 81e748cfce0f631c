/* SPDX-License-Identifier: MIT */
/* A record out of a file that anybody may have written. See record.h. */
#include "ctl/record.h"

#include "ctl/json_read.h"
#include "ctl/vsock_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEEPER 2 /* levels that env lies below the record's top, and a spare one */

/* ---- small things ---- */

static int need_string(struct json_object *doc, const char *path, const char *key, const char **out,
	struct error *err)
{
	int got = json_get_string(doc, path, key, out, err);

	return got < 0 ? -1 : got ? 0 : json_missing(path, key, err);
}

static int need_int(struct json_object *doc, const char *path, const char *key, int64_t min,
	int64_t max, int64_t *out, struct error *err)
{
	int got = json_get_int(doc, path, key, min, max, out, err);

	return got < 0 ? -1 : got ? 0 : json_missing(path, key, err);
}

static int need_port(struct json_object *doc, const char *path, const char *key, uint32_t *out,
	struct error *err)
{
	int64_t port = 0;

	if (need_int(doc, path, key, 0, UINT32_MAX, &port, err) < 0)
		return -1;
	*out = (uint32_t)port;
	return 0;
}

static int need_object(struct json_object *doc, const char *path, const char *key,
	struct json_object **out, struct error *err)
{
	int got = json_get_object(doc, path, key, out, err);

	return got < 0 ? -1 : got ? 0 : json_missing(path, key, err);
}

static int need_array(struct json_object *doc, const char *path, const char *key, size_t max,
	struct json_object **out, struct error *err)
{
	int got = json_get_array(doc, path, key, max, out, err);

	return got < 0 ? -1 : got ? 0 : json_missing(path, key, err);
}

static int wrong(const char *path, const char *key, const char *text, struct error *err)
{
	char field[FIELD_LEN];

	return error_set(err, 400, json_path(field, sizeof(field), path, key), "%s", text);
}

static bool printable(const char *text, size_t max)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++) {
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	}
	return n <= max;
}

static int need_addr(struct json_object *doc, const char *path, const char *key, struct addr *out,
	struct error *err)
{
	const char *text = NULL;

	if (need_string(doc, path, key, &text, err) < 0)
		return -1;
	return addr_parse(text, out) < 0 ? wrong(path, key, "not an IP address", err) : 0;
}

static int need_mac(struct json_object *doc, const char *path, const char *key, struct mac *out,
	struct error *err)
{
	const char *text = NULL;

	if (need_string(doc, path, key, &text, err) < 0)
		return -1;
	if (mac_parse(text, out) < 0 || out->b[0] & 1)
		return wrong(path, key, "not a host's MAC address", err);
	return 0;
}

/* A label or a VM's name. */
static int take_name(const char *text, const char *key, char *out, struct error *err)
{
	if (!vm_name_valid(text))
		return wrong("", key, "must be 1 to 63 of a-z 0-9 . _ -", err);
	strcpy(out, text);
	return 0;
}

/* calloc() of n of them and one more; NULL fills err. */
static void *room_for(size_t n, size_t size, struct error *err)
{
	void *out = calloc(n + 1, size);

	if (!out)
		error_set(err, 500, NULL, "out of memory");
	return out;
}

/* ---- the guest ---- */

static int read_lease(struct json_object *guest, struct record *record, struct error *err)
{
	static const char *const fields[] = {"addr", "mac", "hostname", "since_ms", NULL};
	static const char *const path = "guest.lease";
	struct json_object *lease = NULL;
	const char *hostname = NULL;
	int got = json_get_object(guest, "guest", "lease", &lease, err);

	if (got <= 0)
		return got;
	if (json_only(lease, path, fields, err) < 0 ||
		need_addr(lease, path, "addr", &record->lease.addr, err) < 0 ||
		need_mac(lease, path, "mac", &record->lease.mac, err) < 0 ||
		need_string(lease, path, "hostname", &hostname, err) < 0 ||
		need_int(lease, path, "since_ms", 0, INT64_MAX, &record->lease.since_ms, err) < 0)
		return -1;
	if (!addr_is_v4(&record->lease.addr) ||
		!prefix_contains(&record->subnet, &record->lease.addr))
		return wrong(path, "addr", "not an address of the subnet", err);
	if (!printable(hostname, sizeof(record->lease.hostname) - 1))
		return wrong(path, "hostname", "not a host name", err);
	strcpy(record->lease.hostname, hostname);
	record->has_lease = true;
	return 0;
}

static int read_guest(struct json_object *doc, struct record *record, struct error *err)
{
	static const char *const fields[] = {"mac", "lease", NULL};
	struct json_object *guest = NULL;

	if (need_object(doc, "", "guest", &guest, err) < 0 ||
		json_only(guest, "guest", fields, err) < 0)
		return -1;
	record->mac_known = json_object_object_get_ex(guest, "mac", NULL);
	if (record->mac_known && need_mac(guest, "guest", "mac", &record->mac, err) < 0)
		return -1;
	return read_lease(guest, record, err);
}

static int read_name(
	struct json_object *doc, const char *path, struct worker_name *name, struct error *err)
{
	static const char *const fields[] = {"addr", "name", "ttl_ms", NULL};
	const char *text = NULL;

	if (json_only(doc, path, fields, err) < 0 ||
		need_addr(doc, path, "addr", &name->addr, err) < 0 ||
		need_string(doc, path, "name", &text, err) < 0 ||
		need_int(doc, path, "ttl_ms", 1, RECORD_TTL_MAX_MS, &name->until_ms, err) < 0)
		return -1;
	if (!*text || !printable(text, WORKER_NAME_MAX))
		return wrong(path, "name", "not a name", err);
	strcpy(name->name, text);
	return 0;
}

static int read_names(struct json_object *doc, struct record *record, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	size_t n;

	if (need_array(doc, "", "names", RECORD_NAMES_MAX, &list, err) < 0)
		return -1;
	n = json_object_array_length(list);
	record->names = room_for(n, sizeof(*record->names), err);
	if (!record->names)
		return -1;
	for (; record->n_names < n; record->n_names++) {
		json_path_at(path, sizeof(path), "names", record->n_names);
		if (read_name(json_object_array_get_idx(list, record->n_names), path,
			    &record->names[record->n_names], err) < 0)
			return -1;
	}
	return 0;
}

/* ---- TSI ---- */

static int read_family(struct json_object *doc, const char *path, int *family, struct error *err)
{
	const char *text = NULL;

	if (need_string(doc, path, "family", &text, err) < 0)
		return -1;
	if (strcmp(text, "ipv4") != 0 && strcmp(text, "ipv6") != 0)
		return wrong(path, "family", "neither ipv4 nor ipv6", err);
	*family = strcmp(text, "ipv6") == 0 ? TSI_INET6 : TSI_INET;
	return 0;
}

static int read_listener(
	struct json_object *doc, const char *path, struct tsi_listener *out, struct error *err)
{
	static const char *const fields[] = {
		"svm_port", "vm_port", "family", "type", "backlog", "addr", "port", NULL};
	const char *type = NULL;
	int64_t port = 0;

	if (json_only(doc, path, fields, err) < 0 ||
		need_port(doc, path, "svm_port", &out->svm_port, err) < 0 ||
		need_port(doc, path, "vm_port", &out->vm_port, err) < 0 ||
		read_family(doc, path, &out->family, err) < 0 ||
		need_string(doc, path, "type", &type, err) < 0 ||
		need_port(doc, path, "backlog", &out->backlog, err) < 0 ||
		need_addr(doc, path, "addr", &out->addr.addr, err) < 0 ||
		need_int(doc, path, "port", 0, UINT16_MAX, &port, err) < 0)
		return -1;
	if (strcmp(type, "stream") != 0)
		return wrong(path, "type", "only streams listen", err);
	if (out->family == TSI_INET && !addr_is_v4(&out->addr.addr))
		return wrong(path, "addr", "not an IPv4 address", err);
	out->type = TSI_STREAM;
	out->addr.port = (uint16_t)port;
	out->fd = -1;
	return 0;
}

static int read_listeners(struct json_object *tsi, struct record *record, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	size_t n;

	if (need_array(tsi, "tsi", "listeners", TSI_LISTENERS_MAX, &list, err) < 0)
		return -1;
	n = json_object_array_length(list);
	record->listeners = room_for(n, sizeof(*record->listeners), err);
	if (!record->listeners)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct tsi_listener *listener = &record->listeners[i];

		json_path_at(path, sizeof(path), "tsi.listeners", i);
		if (read_listener(json_object_array_get_idx(list, i), path, listener, err) < 0)
			return -1;
		for (size_t k = 0; k < i; k++) {
			if (record->listeners[k].svm_port == listener->svm_port)
				return wrong(path, "svm_port", "listed twice", err);
		}
		record->n_listeners++;
	}
	return 0;
}

static int read_proxy(
	struct json_object *doc, const char *path, struct tsi_proxy *out, struct error *err)
{
	static const char *const fields[] = {"svm_port", "family", "peer", NULL};
	const char *peer = NULL;
	int got;

	if (json_only(doc, path, fields, err) < 0 ||
		need_port(doc, path, "svm_port", &out->svm_port, err) < 0 ||
		read_family(doc, path, &out->family, err) < 0)
		return -1;
	got = json_get_string(doc, path, "peer", &peer, err);
	if (got <= 0)
		return got;
	if (endpoint_parse(peer, &out->peer) < 0)
		return wrong(path, "peer", "not ADDRESS:PORT", err);
	out->connected = true;
	return 0;
}

static int read_proxies(struct json_object *tsi, struct record *record, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	size_t n;

	if (need_array(tsi, "tsi", "proxies", TSI_PROXIES_MAX, &list, err) < 0)
		return -1;
	n = json_object_array_length(list);
	record->proxies = room_for(n, sizeof(*record->proxies), err);
	if (!record->proxies)
		return -1;
	for (; record->n_proxies < n; record->n_proxies++) {
		json_path_at(path, sizeof(path), "tsi.proxies", record->n_proxies);
		if (read_proxy(json_object_array_get_idx(list, record->n_proxies), path,
			    &record->proxies[record->n_proxies], err) < 0)
			return -1;
	}
	return 0;
}

static int read_tsi(struct json_object *doc, struct record *record, struct error *err)
{
	static const char *const fields[] = {"listeners", "proxies", NULL};
	struct json_object *tsi = NULL;

	if (need_object(doc, "", "tsi", &tsi, err) < 0 || json_only(tsi, "tsi", fields, err) < 0 ||
		read_listeners(tsi, record, err) < 0 || read_proxies(tsi, record, err) < 0)
		return -1;
	if ((record->n_listeners || record->n_proxies) && !record->cid)
		return json_missing("", "cid", err);
	return 0;
}

/* ---- forwards and maps ---- */

/*
 * Forwards and maps as the API reads them, which wants absolute paths: one relative to the VM's
 * directory gets a slash for that, and loses it again. *below says whether. A document to be put.
 */
static struct json_object *absolute(struct json_object *item, const char *key, bool *below)
{
	struct json_object *copy = NULL, *where = NULL, *path = NULL;
	char text[VM_PATH_LEN + 1];

	*below = false;
	if (!json_object_is_type(item, json_type_object) ||
		!json_object_object_get_ex(item, key, &where) ||
		!json_object_is_type(where, json_type_object) ||
		!json_object_object_get_ex(where, "unix", &path) ||
		!json_object_is_type(path, json_type_string) ||
		*json_object_get_string(path) == '/' || !*json_object_get_string(path) ||
		json_object_get_string_len(path) >= VM_PATH_LEN - 1)
		return json_object_get(item);
	snprintf(text, sizeof(text), "/%s", json_object_get_string(path));
	json_object_deep_copy(item, &copy, NULL);
	json_object_object_get_ex(copy, key, &where);
	json_put_string(where, "unix", text);
	*below = true;
	return copy;
}

/* No "." or ".." or empty part: the text decides where the file lies. */
static bool climbs(const char *path)
{
	for (const char *p = path;; p++) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return true;
		p += n;
		if (!*p)
			return false;
	}
}

static int relative(char *path, bool handed, const char *field, struct error *err)
{
	memmove(path, path + 1, strlen(path));
	if (handed || climbs(path))
		return error_set(err, 400, field, "not a path below the VM's directory");
	return 0;
}

static int read_forward(
	struct json_object *item, const char *path, struct record_forward *out, struct error *err)
{
	struct json_object *doc = absolute(item, "listen", &out->below);
	int status = forward_spec_read(doc, path, true, &out->spec, err);

	json_object_put(doc);
	if (!status && out->below)
		status = relative(out->spec.path, out->spec.handed, path, err);
	return status;
}

static int read_forwards(struct json_object *doc, struct record *record, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	size_t n;

	if (need_array(doc, "", "forwards", FORWARDS_MAX, &list, err) < 0)
		return -1;
	n = json_object_array_length(list);
	record->forwards = room_for(n, sizeof(*record->forwards), err);
	if (!record->forwards)
		return -1;
	for (size_t i = 0; i < n; i++) {
		struct record_forward *forward = &record->forwards[i];
		char id[FORWARD_ID_LEN], other[FORWARD_ID_LEN];

		json_path_at(path, sizeof(path), "forwards", i);
		if (read_forward(json_object_array_get_idx(list, i), path, forward, err) < 0)
			return -1;
		if (forward->spec.kind != LISTENER_UNIX && !forward->spec.listen.port)
			return wrong(path, "listen.port", "the port that it had is wanted", err);
		forward_id(&forward->spec, id, sizeof(id));
		for (size_t k = 0; k < i; k++) {
			forward_id(&record->forwards[k].spec, other, sizeof(other));
			if (strcmp(id, other) == 0)
				return wrong(path, "listen", "listed twice", err);
		}
		record->n_forwards++;
	}
	return 0;
}

static int read_map(
	struct json_object *item, const char *path, struct record_map *out, struct error *err)
{
	struct json_object *doc = absolute(item, "to", &out->below);
	int status = map_spec_read(doc, path, true, &out->spec, err);

	json_object_put(doc);
	if (!status && out->below)
		status = relative(out->spec.path, out->spec.handed, path, err);
	return status;
}

static int read_maps(struct json_object *doc, struct record *record, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	size_t n;

	if (need_array(doc, "", "maps", MAPS_MAX, &list, err) < 0)
		return -1;
	n = json_object_array_length(list);
	record->maps = room_for(n, sizeof(*record->maps), err);
	if (!record->maps)
		return -1;
	for (size_t i = 0; i < n; i++) {
		json_path_at(path, sizeof(path), "maps", i);
		if (read_map(json_object_array_get_idx(list, i), path, &record->maps[i], err) < 0)
			return -1;
		for (size_t k = 0; k < i; k++) {
			if (record->maps[k].spec.port == record->maps[i].spec.port)
				return wrong(path, "port", "listed twice", err);
		}
		record->n_maps++;
	}
	return 0;
}

/* ---- settings ---- */

static int read_secrets(struct json_object *doc, struct record *record, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	size_t n;

	if (need_array(doc, "", "secrets", SECRETS_MAX, &list, err) < 0)
		return -1;
	n = json_object_array_length(list);
	record->secrets = room_for(n, sizeof(*record->secrets), err);
	if (!record->secrets)
		return -1;
	for (; record->n_secrets < n; record->n_secrets++) {
		struct json_object *name = json_object_array_get_idx(list, record->n_secrets);
		const char *text = json_object_get_string(name);

		json_path_at(path, sizeof(path), "secrets", record->n_secrets);
		if (!json_object_is_type(name, json_type_string) ||
			strlen(text) != (size_t)json_object_get_string_len(name) ||
			!secret_name_valid(text))
			return error_set(err, 400, path, "not a secret's name");
		strcpy(record->secrets[record->n_secrets], text);
	}
	return 0;
}

static int read_settings(struct json_object *doc, struct record *record, struct error *err)
{
	struct json_object *policy = NULL, *hosts = NULL, *env = NULL;
	uint8_t *table = NULL;
	size_t len = 0;
	int status;

	record->has_proxy = json_object_object_get_ex(doc, "proxy", NULL);
	if (proxy_config_read(doc, &record->proxy, err) < 0 ||
		json_get_bool(doc, "", "proxy_password", &record->proxy_password, err) < 0)
		return -1;
	if (!json_object_object_get_ex(doc, "policy", &policy) || !policy)
		return json_missing("", "policy", err);
	if (need_object(doc, "", "hosts", &hosts, err) < 0 ||
		need_object(doc, "", "env", &env, err) < 0)
		return -1;
	record->policy = policy_read(policy, "policy", err);
	if (!record->policy)
		return -1;
	/* That it can be compiled is known before anything is restored. */
	status = policy_compile(record->policy, "policy", NULL, 0, &table, &len, err);
	free(table);
	if (status < 0)
		return -1;
	if (limits_config_read(doc, &record->limits, err) < 0)
		return -1;
	record->has_limits = json_object_object_get_ex(doc, "limits", NULL);
	record->hosts = hosts_read(hosts, err);
	if (!record->hosts)
		return -1;
	record->env = json_object_get(env);
	if (strlen(json_text(env)) > ENV_MAX)
		return wrong("", "env", "too large", err);
	return read_secrets(doc, record, err);
}

static int read_net(struct json_object *doc, struct record *record, struct error *err)
{
	static const char *const fields[] = {"subnet", NULL};
	struct json_object *net = NULL;
	const char *subnet = NULL;
	int64_t cid = 0;

	if (need_object(doc, "", "net", &net, err) < 0 || json_only(net, "net", fields, err) < 0 ||
		need_string(net, "net", "subnet", &subnet, err) < 0 ||
		json_get_int(doc, "", "cid", VSOCK_CID_MIN, VSOCK_CID_MAX, &cid, err) < 0)
		return -1;
	if (prefix_parse(subnet, false, &record->subnet) < 0)
		return wrong("net", "subnet", "not ADDRESS/BITS", err);
	record->cid = (uint32_t)cid;
	return 0;
}

/* ---- the whole ---- */

static int read_head(struct json_object *doc, struct record *record, struct error *err)
{
	const char *vm = NULL, *name = NULL;
	int got = json_get_string(doc, "", "name", &name, err);

	if (got < 0 || need_string(doc, "", "vm", &vm, err) < 0 ||
		take_name(vm, "vm", record->vm, err) < 0 ||
		(got && take_name(name, "name", record->name, err) < 0) ||
		need_int(doc, "", "created_ms", 0, RECORD_TIME_MAX_MS, &record->created_ms, err) <
			0)
		return -1;
	return 0;
}

static int read_fields(struct json_object *doc, struct record *record, struct error *err)
{
	static const char *const fields[] = {"record_version", "sha256", "vm", "name", "created_ms",
		"cid", "net", "guest", "names", "tsi", "forwards", "maps", "proxy",
		"proxy_password", "policy", "limits", "hosts", "env", "secrets", NULL};

	if (json_only(doc, "", fields, err) < 0 || read_head(doc, record, err) < 0 ||
		read_net(doc, record, err) < 0 || read_guest(doc, record, err) < 0 ||
		read_names(doc, record, err) < 0 || read_tsi(doc, record, err) < 0 ||
		read_forwards(doc, record, err) < 0 || read_maps(doc, record, err) < 0)
		return -1;
	return read_settings(doc, record, err);
}

static int check_version(struct json_object *doc, struct error *err)
{
	int64_t version = 0;

	if (!json_object_is_type(doc, json_type_object))
		return error_set(err, 400, NULL, "not a snapshot: an object is wanted");
	if (need_int(doc, "", "record_version", 1, INT64_MAX, &version, err) < 0)
		return -1;
	if (version <= RECORD_VERSION)
		return 0;
	return error_set(err, 400, "record_version",
		"snapshot: made by a newer netctl (record version %lld, this one reads %d)",
		(long long)version, RECORD_VERSION);
}

/* Compares the hash that the document says with what it is. */
static int check_hash(struct json_object *doc, struct record *record, struct error *err)
{
	const char *said = NULL;
	size_t len = 0;
	char *text;

	if (need_string(doc, "", "sha256", &said, err) < 0)
		return -1;
	if (strlen(said) != RECORD_SHA256_LEN - 1)
		return wrong("", "sha256", "64 hex digits are wanted", err);
	/* A reference to the string goes with its member. */
	memcpy(record->sha256, said, RECORD_SHA256_LEN);
	json_object_object_del(doc, "sha256");
	text = record_canonical(doc, &len);
	if (text) {
		char real[RECORD_SHA256_LEN];

		record_hash(text, len, real);
		free(text);
		if (strcmp(real, record->sha256) != 0)
			return error_set(err, 400, "sha256",
				"snapshot: damaged, its contents are not those of its sha256");
	}
	json_put_string(doc, "sha256", record->sha256);
	memcpy(record->id, record->sha256, RECORD_ID_LEN - 1);
	record->text = text ? record_canonical(doc, &record->len) : NULL;
	return record->text ? 0 : error_set(err, 500, NULL, "out of memory");
}

struct record *record_read(const char *text, size_t len, struct error *err)
{
	struct record *record = calloc(1, sizeof(*record));
	struct json_object *doc = NULL;
	char why[sizeof(err->text)];

	if (!record) {
		error_set(err, 500, NULL, "out of memory");
		return NULL;
	}
	doc = json_read_deeper(text, len, DEEPER, err);
	if (!doc) {
		memcpy(why, err->text, sizeof(why));
		if (strstr(why, "unfinished"))
			error_set(err, 400, NULL, "snapshot: damaged, the file was cut short");
		else
			error_set(
				err, err->status, NULL, "snapshot: damaged, or none: %.400s", why);
	}
	if (!doc || check_version(doc, err) < 0 || check_hash(doc, record, err) < 0 ||
		read_fields(doc, record, err) < 0) {
		record_free(record);
		record = NULL;
	}
	json_object_put(doc);
	return record;
}

void record_free(struct record *record)
{
	if (!record)
		return;
	policy_free(record->policy);
	hosts_free(record->hosts);
	json_object_put(record->env);
	free(record->text);
	free(record->names);
	free(record->listeners);
	free(record->proxies);
	free(record->forwards);
	free(record->maps);
	free(record->secrets);
	free(record);
}
