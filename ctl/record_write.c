/* SPDX-License-Identifier: MIT */
/* A VM as a record. See record.h. */
#include "ctl/record.h"

#include "common/clock.h"
#include "ctl/json_read.h"
#include "ctl/vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- paths ---- */

/* Makes a path below the VM's directory relative to it. */
static void shorten(const struct vm *vm, struct json_object *where, const char *path)
{
	char below[VM_PATH_LEN + VM_NAME_MAX + 16];
	size_t n = (size_t)snprintf(
		below, sizeof(below), "%s/vms/%s/", vm->vms->runtime_dir, vm->config.name);

	if (strncmp(path, below, n) == 0 && path[n])
		json_put_string(where, "unix", path + n);
}

/* ---- parts ---- */

static struct json_object *forwards_json(const struct vm *vm)
{
	struct json_object *list = json_object_new_array();
	const struct forward *forward;

	TAILQ_FOREACH(forward, &vm->forwards, next) {
		struct json_object *doc = forward_spec_json(&forward->spec), *listen = NULL;

		json_object_object_get_ex(doc, "listen", &listen);
		if (forward->spec.kind == LISTENER_UNIX && !forward->spec.handed)
			shorten(vm, listen, forward->spec.path);
		json_object_array_add(list, doc);
	}
	return list;
}

static struct json_object *maps_json(const struct vm *vm)
{
	struct json_object *list = json_object_new_array();
	const struct map *map;

	TAILQ_FOREACH(map, &vm->maps, next) {
		struct json_object *doc = map_spec_json(&map->spec), *to = NULL;

		json_object_object_get_ex(doc, "to", &to);
		if (!map->spec.tcp && !map->spec.handed)
			shorten(vm, to, map->spec.path);
		json_object_array_add(list, doc);
	}
	return list;
}

static struct json_object *listener_json(const struct tsi_listener *listener)
{
	struct json_object *doc = json_object_new_object();
	char text[ADDR_STRLEN];

	json_put_int(doc, "svm_port", listener->svm_port);
	json_put_int(doc, "vm_port", listener->vm_port);
	json_put_string(doc, "family", listener->family == TSI_INET6 ? "ipv6" : "ipv4");
	json_put_string(doc, "type", "stream");
	json_put_int(doc, "backlog", listener->backlog);
	json_put_string(doc, "addr", addr_format(&listener->addr.addr, text, sizeof(text)));
	json_put_int(doc, "port", listener->addr.port);
	return doc;
}

static struct json_object *proxy_json(const struct tsi_proxy *proxy)
{
	struct json_object *doc = json_object_new_object();
	char text[ENDPOINT_STRLEN];

	json_put_int(doc, "svm_port", proxy->svm_port);
	json_put_string(doc, "family", proxy->family == TSI_INET6 ? "ipv6" : "ipv4");
	if (proxy->connected)
		json_put_string(doc, "peer", endpoint_format(&proxy->peer, text, sizeof(text)));
	return doc;
}

static struct json_object *tsi_json(const struct vm *vm)
{
	struct json_object *doc = json_object_new_object(), *listeners = json_object_new_array();
	struct json_object *proxies = json_object_new_array();
	const struct tsi_listener *listener;

	TAILQ_FOREACH(listener, &vm->tsi.listeners, next)
		json_object_array_add(listeners, listener_json(listener));
	for (size_t i = 0; i < vm->tsi.n_proxies; i++)
		json_object_array_add(proxies, proxy_json(&vm->tsi.proxies[i]));
	json_object_object_add(doc, "listeners", listeners);
	json_object_object_add(doc, "proxies", proxies);
	return doc;
}

static struct json_object *guest_json(const struct vm *vm)
{
	const struct mac *mac = vm->config.mac_fixed ? &vm->config.mac : &vm->mac;
	struct json_object *doc = json_object_new_object(), *lease;
	char text[ADDR_STRLEN];

	if (vm->config.mac_fixed || vm->mac_known)
		json_put_string(doc, "mac", mac_format(mac, text, sizeof(text)));
	if (!vm->has_lease)
		return doc;
	lease = json_object_new_object();
	json_put_string(lease, "addr", addr_format(&vm->lease.addr, text, sizeof(text)));
	json_put_string(lease, "mac", mac_format(&vm->lease.mac, text, sizeof(text)));
	json_put_string(lease, "hostname", vm->lease.hostname);
	json_put_int(lease, "since_ms", vm->lease.since_ms);
	json_object_object_add(doc, "lease", lease);
	return doc;
}

static struct json_object *secrets_json(const struct vm *vm)
{
	struct json_object *list = json_object_new_array();
	const struct secret *secret;

	TAILQ_FOREACH(secret, &vm->env.secrets, next)
		json_object_array_add(list, json_object_new_string(secret->name));
	return list;
}

/* ---- names ---- */

static int by_addr_and_name(const void *a, const void *b)
{
	const struct worker_name *x = *(const struct worker_name *const *)a;
	const struct worker_name *y = *(const struct worker_name *const *)b;
	int order = memcmp(&x->addr, &y->addr, sizeof(x->addr));

	if (!order)
		order = strcmp(x->name, y->name);
	if (!order) /* the newest first */
		order = x < y ? 1 : -1;
	return order;
}

/* Leaves of those that say the same only the newest; the others' names become "". */
static int drop_repetitions(struct worker_name *names, size_t n)
{
	struct worker_name **sorted = calloc(n + 1, sizeof(struct worker_name *));

	if (!sorted)
		return -1;
	for (size_t i = 0; i < n; i++)
		sorted[i] = &names[i];
	qsort(sorted, n, sizeof(*sorted), by_addr_and_name);
	for (size_t i = 1, kept = 0; i < n; i++) {
		if (addr_eq(&sorted[i]->addr, &sorted[kept]->addr) &&
			strcmp(sorted[i]->name, sorted[kept]->name) == 0)
			sorted[i]->name[0] = '\0';
		else
			kept = i;
	}
	free(sorted);
	return 0;
}

static struct json_object *name_json(const struct worker_name *name, int64_t now_ms)
{
	struct json_object *doc = json_object_new_object();
	char text[ADDR_STRLEN];

	json_put_string(doc, "addr", addr_format(&name->addr, text, sizeof(text)));
	json_put_string(doc, "name", name->name);
	json_put_int(doc, "ttl_ms", name->until_ms - now_ms);
	return doc;
}

/* The newest names that take no more than room bytes, oldest first; NULL without memory. */
static struct json_object *names_json(const struct vm *vm, int64_t now_ms, size_t room)
{
	struct json_object *list = json_object_new_array(), **docs;
	struct worker_name *names = vm_names(vm);
	size_t n = names ? vm->n_names : 0, used = 0, i = n;

	docs = calloc(n + 1, sizeof(struct json_object *));
	if (!docs || drop_repetitions(names, n) < 0) {
		json_object_put(list);
		list = NULL;
		goto out;
	}
	while (i > 0 && used < room) {
		const struct worker_name *name = &names[--i];

		if (!name->name[0] || name->until_ms <= now_ms ||
			name->until_ms - now_ms > RECORD_TTL_MAX_MS)
			continue;
		docs[i] = name_json(name, now_ms);
		used += strlen(json_text(docs[i])) + 1;
		if (used > room) {
			json_object_put(docs[i]);
			docs[i] = NULL;
		}
	}
	for (i = 0; i < n; i++) {
		if (docs[i])
			json_object_array_add(list, docs[i]);
	}
out:
	free(docs);
	free(names);
	return list;
}

/* ---- the whole ---- */

static struct json_object *record_doc(const struct vm *vm, const char *name, int64_t now_ms)
{
	struct json_object *doc = json_object_new_object(), *net = json_object_new_object();
	struct json_object *hosts = json_object_get(vm->hosts->doc);
	char text[PREFIX_STRLEN];

	json_put_int(doc, "record_version", RECORD_VERSION);
	json_put_string(doc, "vm", vm->config.name);
	if (*name)
		json_put_string(doc, "name", name);
	json_put_int(doc, "created_ms", now_ms);
	if (vm->config.vsock.kind != VM_VSOCK_NONE)
		json_put_int(doc, "cid", vm->config.vsock.cid);
	json_put_string(net, "subnet", prefix_format(&vm->config.subnet, text, sizeof(text)));
	json_object_object_add(doc, "net", net);
	json_object_object_add(doc, "guest", guest_json(vm));
	json_object_object_add(doc, "tsi", tsi_json(vm));
	json_object_object_add(doc, "forwards", forwards_json(vm));
	json_object_object_add(doc, "maps", maps_json(vm));
	json_object_object_add(doc, "proxy", proxy_config_json(&vm->config.proxy));
	if (vm->proxy.password)
		json_put_bool(doc, "proxy_password", true);
	json_object_object_add(doc, "policy", json_object_get(policy_doc(vm->policy)));
	if (!limits_config_equal(&vm->config.limits, &(struct vm_limits){0}))
		json_object_object_add(doc, "limits", limits_config_json(&vm->config.limits));
	json_object_object_add(doc, "hosts", hosts);
	json_object_object_add(doc, "env", vm_env(vm));
	json_object_object_add(doc, "secrets", secrets_json(vm));
	return doc;
}

/* Bytes that the hash, the list of names and a line feed take, all but the names themselves. */
#define FRAME (sizeof(",\"names\":[],\"sha256\":\"\"\n") + 64)

static int add_names(
	const struct vm *vm, struct json_object *doc, int64_t now_ms, struct error *err)
{
	struct json_object *names;
	size_t len = 0;
	char *text = record_canonical(doc, &len);

	free(text);
	if (!text)
		return error_set(err, 500, NULL, "out of memory");
	if (len + FRAME > RECORD_MAX)
		return error_set(err, 413, NULL,
			"snapshot of VM %s: a record of %zu bytes, at most %u can be kept; its env takes %zu",
			vm->config.name, len + FRAME, RECORD_MAX,
			vm->env.doc ? strlen(json_text(vm->env.doc)) : 2);
	names = names_json(vm, now_ms, RECORD_MAX - len - FRAME);
	if (!names)
		return error_set(err, 500, NULL, "out of memory");
	json_object_object_add(doc, "names", names);
	return 0;
}

struct record *record_take(const struct vm *vm, const char *name, struct error *err)
{
	int64_t now_ms = clock_wall_ms();
	struct json_object *doc = record_doc(vm, name, now_ms);
	char sha256[RECORD_SHA256_LEN], *text = NULL;
	struct record *record = NULL;
	size_t len = 0;

	if (add_names(vm, doc, now_ms, err) < 0)
		goto out;
	text = record_canonical(doc, &len);
	if (text) {
		record_hash(text, len, sha256);
		json_put_string(doc, "sha256", sha256);
		free(text);
		text = record_canonical(doc, &len);
	}
	if (text)
		/* What cannot be read back is not kept. */
		record = record_read(text, len, err);
	else
		error_set(err, 500, NULL, "out of memory");
out:
	free(text);
	json_object_put(doc);
	return record;
}
