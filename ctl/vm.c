/* SPDX-License-Identifier: MIT */
/* The set of VMs. See vm.h. */
#include "ctl/vm.h"

#include "common/clock.h"
#include "common/log.h"
#include "ctl/json_read.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_TICKS 5 /* seconds between tries to bind what was in use */

void vm_event_numbered(struct vm *vm, const char *type, struct json_object *data, uint64_t number)
{
	char object[VM_NAME_MAX + 8];

	snprintf(object, sizeof(object), "vm/%s", vm->config.name);
	log_info(object, type, "%s", data ? json_text(data) : "");
	events_add_numbered(vm->vms->events, vm->config.name, type, data, number);
}

void vm_event(struct vm *vm, const char *type, struct json_object *data)
{
	vm_event_numbered(vm, type, data, 0);
}

struct json_object *vm_event_reason(const char *text)
{
	struct json_object *data = json_object_new_object();

	json_put_string(data, "reason", text);
	return data;
}

struct vm *vms_find(struct vms *vms, const char *name)
{
	struct vm *vm;

	TAILQ_FOREACH(vm, &vms->list, next) {
		if (strcmp(vm->config.name, name) == 0)
			return vm;
	}
	return NULL;
}

void vms_insert(struct vms *vms, struct vm *vm)
{
	struct vm *after;

	TAILQ_FOREACH(after, &vms->list, next) {
		if (strcmp(after->config.name, vm->config.name) > 0)
			break;
	}
	if (after)
		TAILQ_INSERT_BEFORE(after, vm, next);
	else
		TAILQ_INSERT_TAIL(&vms->list, vm, next);
	vms->n++;
}

/* ---- one VM, made and unmade ---- */

static void on_ttl(evutil_socket_t fd, short what, void *arg)
{
	struct vm *vm = arg;
	struct error err;

	(void)fd;
	(void)what;
	if (vm_in_use(vm))
		return;
	log_info(vm->config.name, "vm.expired", "ttl=%u", vm->config.ttl_s);
	if (vm_delete(vm, NULL, NULL, &err) < 0)
		vm_ttl_start(vm);
}

void vm_ttl_start(struct vm *vm)
{
	struct timeval tv = {.tv_sec = vm->config.ttl_s};

	if (vm->config.ttl_s && !vm_in_use(vm))
		evtimer_add(vm->ttl, &tv);
	else
		evtimer_del(vm->ttl);
}

struct vm *vm_new(struct vms *vms, const struct vm_config *config)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->vms = vms;
	vm->config = *config;
	vm->created_ms = clock_wall_ms();
	vm->listener = vm->bound = vm->nic = vm->vmm = vm->flow_memory = -1;
	TAILQ_INIT(&vm->forwards);
	TAILQ_INIT(&vm->maps);
	TAILQ_INIT(&vm->dials);
	vm_vsock_init(vm);
	vm_tsi_init(vm);
	env_init(&vm->env);
	vm->ttl = evtimer_new(vms->base, on_ttl, vm);
	if (vm->ttl)
		return vm;
	free(vm);
	return NULL;
}

void vm_free(struct vm *vm)
{
	struct forward *forward;

	while ((forward = TAILQ_FIRST(&vm->forwards))) {
		TAILQ_REMOVE(&vm->forwards, forward, next);
		forward_drop(forward);
	}
	vm_link_close(vm, false);
	vm_vsock_close(vm, false);
	vm_vhost_drop(vm);
	vm_dials_cancel(vm);
	vm_maps_free(vm);
	vm_tsi_clear(vm);
	vm_worker_awaited(vm);
	if (vm->patience)
		event_free(vm->patience);
	event_free(vm->ttl);
	policy_free(vm->policy);
	hosts_free(vm->hosts);
	env_clear(&vm->env);
	vm_proxy_clear(vm);
	free(vm->table);
	free(vm->names);
	if (vm->flow_memory >= 0)
		close(vm->flow_memory);
	free(vm);
}

static void take_table(struct vm *vm, struct policy *policy, uint8_t *table, size_t len)
{
	if (vm->policy != policy)
		policy_free(vm->policy);
	free(vm->table);
	vm->policy = policy;
	vm->table = table;
	vm->table_len = len;
}

int vms_compile_policy(const struct vms *vms, const struct proxy_config *proxy,
	struct policy *policy, const char *path, uint8_t **table, size_t *len, struct error *err)
{
	policy_set_fake_ip(policy, vms_fake_ip(vms, proxy));
	return policy_compile(policy, path, vms->own, vms->n_own, table, len, err);
}

int vm_compile_policy(const struct vm *vm, struct policy *policy, const char *path, uint8_t **table,
	size_t *len, struct error *err)
{
	return vms_compile_policy(vm->vms, &vm->config.proxy, policy, path, table, len, err);
}

/* Compiles and takes a policy; the old one stays after a failure. */
int vm_take_policy(struct vm *vm, struct policy *policy, const char *path, struct error *err)
{
	uint8_t *table = NULL;
	size_t len = 0;

	if (vm_compile_policy(vm, policy, path, &table, &len, err) < 0)
		return -1;
	take_table(vm, policy, table, len);
	return 0;
}

/* A slot with the supervisor; 0 or -1. */
int vm_slot(struct vm *vm, struct error *err)
{
	int code = 0;

	vm->slot = supervisor_add(vm->vms->supervisor, vm->config.name, &vm_worker_ops, vm, &code);
	if (vm->slot)
		return 0;
	if (code == -EEXIST)
		return error_set(
			err, 503, NULL, "VM %s: its predecessor is still ending", vm->config.name);
	return error_set(err, 500, NULL, "VM %s: %s", vm->config.name, errno_text(code));
}

/* ---- the request ---- */

static int read_forwards(struct json_object *doc, struct vm_request *request, struct error *err)
{
	struct json_object *list = NULL;
	char path[FIELD_LEN];
	int got = json_get_array(doc, "", "forwards", FORWARDS_MAX, &list, err);

	if (got <= 0)
		return got;
	request->n_forwards = json_object_array_length(list);
	request->forwards = calloc(request->n_forwards + 1, sizeof(*request->forwards));
	if (!request->forwards)
		return error_set(err, 500, NULL, "out of memory");
	for (size_t i = 0; i < request->n_forwards; i++) {
		json_path_at(path, sizeof(path), "forwards", i);
		if (forward_spec_read(json_object_array_get_idx(list, i), path, false,
			    &request->forwards[i], err) < 0)
			return -1;
	}
	return 0;
}

int vm_request_read(struct vms *vms, struct json_object *doc, enum vm_link link_default,
	struct vm_request *request, struct error *err)
{
	static const char *const fields[] = {"name", "link", "vsock", "net", "dns", "host_access",
		"proxy", "ttl", "policy", "forwards", "limits", NULL};
	struct json_object *policy = NULL;

	memset(request, 0, sizeof(*request));
	if (json_only(doc, "", fields, err) < 0 ||
		vm_config_read(doc, vms->runtime_dir, link_default, &request->config, err) < 0)
		return -1;
	if (read_forwards(doc, request, err) == 0) {
		json_object_object_get_ex(doc, "policy", &policy);
		request->policy = policy_read(policy, "policy", err);
		if (request->policy)
			return 0;
	}
	vm_request_free(request);
	return -1;
}

void vm_request_free(struct vm_request *request)
{
	policy_free(request->policy);
	hosts_free(request->hosts);
	free(request->forwards);
	memset(request, 0, sizeof(*request));
}

static bool same_json(struct json_object *a, struct json_object *b)
{
	bool same = json_object_equal(a, b);

	json_object_put(a);
	json_object_put(b);
	return same;
}

bool vm_same(const struct vm *vm, const struct vm_request *request)
{
	if (!same_json(vm_config_json(&vm->config), vm_config_json(&request->config)) ||
		!json_object_equal(policy_doc(vm->policy), policy_doc(request->policy)))
		return false;
	for (size_t i = 0; i < request->n_forwards; i++) {
		const struct forward_spec *spec = &request->forwards[i];
		const struct forward *forward;

		TAILQ_FOREACH(forward, &vm->forwards, next) {
			struct forward_spec have = forward->spec;

			if (!spec->listen.port)
				have.listen.port = 0;
			if (forward_spec_equal(&have, spec))
				break;
		}
		if (!forward)
			return false;
	}
	return true;
}

/* ---- create, delete ---- */

int vm_store_new(struct vm *vm, struct error *err)
{
	struct store *store = vm->vms->store;
	struct json_object *config = vm_config_json(&vm->config);
	struct store_vm row = {
		.name = vm->config.name,
		.created_ms = vm->created_ms,
		.config = json_text(config),
		.policy = json_text(policy_doc(vm->policy)),
		.hosts = json_text(vm->hosts->doc),
	};
	struct forward *forward;
	struct map *map;
	int status = store_vm_insert(store, &row, err);

	json_object_put(config);
	if (!status && vm->env.doc)
		status = store_env_set(store, vm->config.name, json_text(vm->env.doc), err);
	TAILQ_FOREACH(forward, &vm->forwards, next) {
		if (!status)
			status = vm_forward_store(vm, forward, err);
	}
	TAILQ_FOREACH(map, &vm->maps, next) {
		if (!status)
			status = vm_map_store(vm, map, err);
	}
	return status;
}

static int store_alone(struct vm *vm, struct error *err)
{
	struct store *store = vm->vms->store;
	int status = store_begin(store, err);

	if (status)
		return -1;
	status = vm_store_new(vm, err);
	if (store_end(store, status == 0, status == 0 ? err : &(struct error){0}) < 0)
		status = -1;
	return status;
}

void vm_abandon(struct vm *vm)
{
	struct forward *forward;

	while ((forward = TAILQ_FIRST(&vm->forwards))) {
		TAILQ_REMOVE(&vm->forwards, forward, next);
		forward_free(forward);
	}
	vm_vsock_close(vm, true);
	vm_link_close(vm, true);
	if (vm->slot)
		supervised_remove(vm->slot, NULL, NULL);
	vm_free(vm);
}

struct vm *vm_prepare(
	struct vms *vms, struct vm_request *request, bool ephemeral, struct error *err)
{
	struct vm *vm;

	if (vms_find(vms, request->config.name)) {
		error_set(
			err, 409, "name", "VM %s exists with other settings", request->config.name);
		return NULL;
	}
	if (!request->hosts && !(request->hosts = hosts_read(NULL, err)))
		return NULL;
	vm = vm_new(vms, &request->config);
	if (!vm) {
		error_set(err, 500, NULL, "out of memory");
		return NULL;
	}
	vm->ephemeral = ephemeral;
	vm->settled = true;
	vm->hosts = request->hosts;
	if (vm_take_policy(vm, request->policy, "policy", err) < 0 || vm_slot(vm, err) < 0 ||
		vm_link_open(vm, err) < 0 || vm_vsock_open(vm, err) < 0 ||
		vm_forwards_prepare(vm, request->forwards, request->n_forwards, "forwards", -1,
			NULL, NULL, err) < 0) {
		vm->policy = NULL; /* still the request's */
		vm->hosts = NULL;
		vm_abandon(vm);
		return NULL;
	}
	request->policy = NULL;
	request->hosts = NULL;
	return vm;
}

void vm_begin(struct vm *vm)
{
	struct forward *forward;
	struct map *map;

	vms_insert(vm->vms, vm);
	vm_gvproxy_open(vm);
	vm_event(vm, "vm.created", NULL);
	TAILQ_FOREACH(forward, &vm->forwards, next)
		vm_event(vm, "forward.added", forward_json(forward));
	TAILQ_FOREACH(map, &vm->maps, next)
		vm_event(vm, "map.added", map_json(map));
	vm_worker_want(vm);
	vm_ttl_start(vm);
}

struct vm *vm_create(struct vms *vms, struct vm_request *request, bool ephemeral, struct error *err)
{
	struct vm *vm = vm_prepare(vms, request, ephemeral, err);

	if (!vm)
		return NULL;
	if (!ephemeral && store_alone(vm, err) < 0) {
		vm_abandon(vm);
		return NULL;
	}
	vm_begin(vm);
	return vm;
}

void vm_end(struct vm *vm, void (*gone)(void *arg), void *arg)
{
	struct vms *vms = vm->vms;
	struct forward *forward;

	TAILQ_REMOVE(&vms->list, vm, next);
	vms->n--;
	while ((forward = TAILQ_FIRST(&vm->forwards))) {
		TAILQ_REMOVE(&vm->forwards, forward, next);
		forward_free(forward);
	}
	vm_vsock_close(vm, true);
	vm_gvproxy_close(vm);
	vm_link_close(vm, true);
	vm_tell_link(vm, false, "VM deleted");
	vm_tell_vsock(vm, false, "VM deleted");
	vm_event(vm, "vm.deleted", NULL);
	supervised_remove(vm->slot, gone, arg);
	vm_free(vm);
}

int vm_delete(struct vm *vm, void (*gone)(void *arg), void *arg, struct error *err)
{
	if (!vm->ephemeral && store_vm_delete(vm->vms->store, vm->config.name, err) < 0)
		return -1;
	vm_end(vm, gone, arg);
	return 0;
}

/* ---- changes ---- */

static bool same_vsock(const struct vsock_config *a, const struct vsock_config *b)
{
	return a->kind == b->kind && strcmp(a->path, b->path) == 0 && a->handed == b->handed &&
		a->cid == b->cid;
}

bool vm_can_become(const struct vm *vm, const struct vm_config *to, struct error *err)
{
	struct vm_config allowed = *to;

	/* All that a PATCH may change, made equal, must leave no difference. */
	memcpy(allowed.upstreams, vm->config.upstreams, sizeof(allowed.upstreams));
	allowed.n_upstreams = vm->config.n_upstreams;
	memcpy(allowed.search, vm->config.search, sizeof(allowed.search));
	allowed.n_search = vm->config.n_search;
	allowed.answer_unlisted = vm->config.answer_unlisted;
	allowed.proxy = vm->config.proxy;
	allowed.host_access = vm->config.host_access;
	allowed.ttl_s = vm->config.ttl_s;
	allowed.limits = vm->config.limits;
	if (same_json(vm_config_json(&vm->config), vm_config_json(&allowed)))
		return true;
	error_set(err, 409,
		strcmp(vm->config.name, to->name) != 0 ? "name"
			: vm->config.link != to->link || strcmp(vm->config.path, to->path) != 0 ||
				vm->config.mtu != to->mtu || vm->config.handed != to->handed
			? "link"
			: !same_vsock(&vm->config.vsock, &to->vsock) ? "vsock"
								     : "net",
		"VM %s: name, link, vsock and net cannot be changed; delete it and create it anew",
		vm->config.name);
	return false;
}

/* What netctld knows of the host, or fake addresses, count otherwise for the policy now. */
static void recompile(struct vm *vm, struct completion *wait)
{
	struct error err;

	if (vm_take_policy(vm, vm->policy, "", &err) == 0)
		vm_worker_policy(vm, false, wait);
	else
		log_error(vm->config.name, "policy.stale", "reason=\"%s\"", err.text);
}

int vm_store_config(const struct vm *vm, const struct vm_config *config, struct error *err)
{
	struct json_object *doc;
	int status = 0;

	if (!vm->ephemeral && vm_proxy_store(vm, &config->proxy, err) < 0)
		return -1;
	doc = vm_config_json(config);
	if (!vm->ephemeral)
		status = store_vm_set_config(vm->vms->store, vm->config.name, json_text(doc), err);
	json_object_put(doc);
	return status;
}

void vm_take_config(struct vm *vm, const struct vm_config *config, struct completion *wait)
{
	bool hosts = vm->config.host_access != config->host_access;
	bool fake_ip = vm_fake_ip(vm);
	bool limits = !limits_config_equal(&vm->config.limits, &config->limits);
	bool proxy = !proxy_config_equal(&vm->config.proxy, &config->proxy);

	vm_proxy_take(vm, &config->proxy);
	vm->config = *config;
	vm_worker_dns(vm, wait);
	if (proxy)
		vm_worker_proxy(vm, wait);
	if (limits)
		vm_worker_limits(vm, wait);
	if (hosts)
		vm_worker_hosts(vm, wait);
	if (fake_ip != vm_fake_ip(vm))
		recompile(vm, wait);
	vm_ttl_start(vm);
}

void vm_take_table(struct vm *vm, struct policy *policy, uint8_t *table, size_t len,
	bool cut_existing, struct completion *wait)
{
	struct json_object *data = json_object_new_object();

	take_table(vm, policy, table, len);
	vm_worker_policy(vm, cut_existing, wait);
	json_put_bool(data, "cut_existing", cut_existing);
	vm_event(vm, "policy.set", data);
}

int vm_set_policy(struct vm *vm, struct policy *policy, bool cut_existing, struct completion *wait,
	struct error *err)
{
	uint8_t *table = NULL;
	size_t len = 0;

	/* Compiled before anything is kept, to see that it can be. */
	if (vm_compile_policy(vm, policy, "", &table, &len, err) < 0)
		return -1;
	if (!vm->ephemeral &&
		store_vm_set_policy(
			vm->vms->store, vm->config.name, json_text(policy_doc(policy)), err) < 0) {
		free(table);
		return -1;
	}
	vm_take_table(vm, policy, table, len, cut_existing, wait);
	return 0;
}

static int store_change(const struct vm *vm, const struct vm_config *config,
	const struct policy *policy, struct error *err)
{
	struct store *store = vm->vms->store;
	struct error ignored;
	int status;

	if (vm->ephemeral)
		return 0;
	if (store_begin(store, err) < 0)
		return -1;
	status = vm_store_config(vm, config, err);
	if (!status && policy)
		status = store_vm_set_policy(
			store, vm->config.name, json_text(policy_doc(policy)), err);
	return store_end(store, status == 0, status ? &ignored : err) < 0 ? -1 : status;
}

int vm_change(struct vm *vm, const struct vm_config *config, struct policy **policy,
	struct completion *wait, struct error *err)
{
	bool new_policy = !json_object_equal(policy_doc(*policy), policy_doc(vm->policy));
	bool fake_ip = vms_fake_ip(vm->vms, &config->proxy) != vm_fake_ip(vm);
	uint8_t *table = NULL;
	size_t len = 0;

	if (!vm_can_become(vm, config, err))
		return -1;
	/* The old one is compiled anew for other fake addresses: here it is seen that it can be. */
	if ((new_policy || fake_ip) &&
		vms_compile_policy(vm->vms, &config->proxy, *policy, "policy", &table, &len, err) <
			0)
		return -1;
	if (store_change(vm, config, new_policy ? *policy : NULL, err) < 0) {
		free(table);
		return -1;
	}
	vm_take_config(vm, config, wait);
	if (new_policy) {
		vm_take_table(vm, *policy, table, len, false, wait);
		*policy = NULL;
	} else {
		free(table);
	}
	return 0;
}

void vm_take_hosts(struct vm *vm, struct hosts *hosts, struct completion *wait)
{
	hosts_free(vm->hosts);
	vm->hosts = hosts;
	vm_worker_hosts(vm, wait);
}

int vm_set_hosts(struct vm *vm, struct hosts *hosts, struct completion *wait, struct error *err)
{
	if (!vm->ephemeral &&
		store_vm_set_hosts(vm->vms->store, vm->config.name, json_text(hosts->doc), err) < 0)
		return -1;
	vm_take_hosts(vm, hosts, wait);
	return 0;
}

void vms_set_own_addrs(struct vms *vms, const struct prefix *own, size_t n)
{
	struct prefix *copy = malloc((n + 1) * sizeof(*copy));
	struct vm *vm;

	if (!copy)
		return;
	memcpy(copy, own, n * sizeof(*copy));
	free(vms->own);
	vms->own = copy;
	vms->n_own = n;
	TAILQ_FOREACH(vm, &vms->list, next) {
		if (policy_uses_own_addrs(vm->policy))
			recompile(vm, NULL);
		if (vm->config.proxy.fake_ip == PROXY_FAKE_AUTO)
			vm_worker_proxy(vm, NULL);
	}
}

void vms_set_upstreams(struct vms *vms, const struct endpoint *upstreams, size_t n)
{
	struct vm *vm;

	vms->n_upstreams = n < VM_UPSTREAMS_MAX ? n : VM_UPSTREAMS_MAX;
	memcpy(vms->upstreams, upstreams, vms->n_upstreams * sizeof(*upstreams));
	TAILQ_FOREACH(vm, &vms->list, next) {
		if (!vm->config.n_upstreams)
			vm_worker_dns(vm, NULL);
	}
}

/* ---- each second ---- */

static void store_guests(struct vms *vms)
{
	struct error err;
	struct vm *vm;
	int status = 0;
	bool begun = false;

	TAILQ_FOREACH(vm, &vms->list, next) {
		if (!vm->guest_dirty || vm->ephemeral)
			continue;
		if (!begun && store_begin(vms->store, &err) < 0)
			return;
		begun = true;
		status |= vm_guest_store(vm, &err);
	}
	if (begun && (store_end(vms->store, status == 0, &err) < 0 || status))
		log_error("store", "guest.lost", "reason=\"%s\"", err.text);
}

static void on_housekeeping(evutil_socket_t fd, short what, void *arg)
{
	struct vms *vms = arg;
	struct vm *vm;

	(void)fd;
	(void)what;
	store_guests(vms);
	vms->ticks++;
	TAILQ_FOREACH(vm, &vms->list, next) {
		if (vm->lease_new)
			vm_event(vm, "guest.lease", vm_lease_json(vm));
		vm->guest_dirty = vm->lease_new = false;
		vm_tsi_tick(vm);
		vm_proxy_tick(vm);
		vm_vhost_tick(vm);
		if (vms->ticks % RETRY_TICKS == 0 && vm->settled && !vm->adopting) {
			vm_settle(vm, false);
			vm_gvproxy_open(vm);
		}
	}
}

void vms_init(struct vms *vms)
{
	static const struct timeval second = {.tv_sec = 1};

	TAILQ_INIT(&vms->list);
	vms->housekeeping = event_new(vms->base, -1, EV_PERSIST, on_housekeeping, vms);
	event_add(vms->housekeeping, &second);
	vms->tell = evtimer_new(vms->base, vms_tell, vms);
	events_on_stored(vms->events, vms_event_stored, vms);
}

void vms_free(struct vms *vms)
{
	struct vm *vm;

	store_guests(vms);
	while ((vm = TAILQ_FIRST(&vms->list))) {
		TAILQ_REMOVE(&vms->list, vm, next);
		vm_free(vm);
	}
	event_free(vms->housekeeping);
	event_free(vms->tell);
	free(vms->own);
}
