/* SPDX-License-Identifier: MIT */
/* The proxies of a VM's flows. See vm_proxy.h. */
#include "ctl/vm_proxy.h"

#include "common/log.h"
#include "common/os.h"
#include "ctl/host_proxy.h"
#include "ctl/json_read.h"
#include "ctl/proxy_names.h"
#include "ctl/secret_key.h"
#include "ctl/vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SEALED_AS "proxy password" /* no secret's name: it has a blank */
#define EXCEPTIONS_MAX (2 * NO_PROXY_MAX)
#define TICKS 20            /* seconds between two questions for a name that is in use */
#define FAKE_IP 0xc6120000u /* 198.18.0.0/15 */
#define FAKE_IP_BITS 15

/* ---- the password ---- */

static void forget(struct vm *vm)
{
	free(vm->proxy.password);
	vm->proxy = (struct vm_proxy){.password = NULL};
}

void vm_proxy_clear(struct vm *vm)
{
	forget(vm);
}

static int take(struct vm *vm, uint8_t *sealed, size_t len)
{
	forget(vm);
	vm->proxy.password = sealed;
	vm->proxy.password_len = len;
	return 0;
}

int vm_proxy_password_set(
	struct vm *vm, const void *value, size_t len, struct completion *wait, struct error *err)
{
	const char *name = vm->config.name;
	size_t sealed_len = len + SECRET_KEY_OVERHEAD;
	uint8_t *sealed;

	if (!len || len >= PROXY_WORD_LEN || memchr(value, 0, len))
		return error_set(err, 400, NULL,
			"proxy password of VM %s: 1 to %d bytes are wanted, none of them 0", name,
			PROXY_WORD_LEN - 1);
	if (vm->config.proxy.use != PROXY_USE_URL || !vm->config.proxy.url.has_user)
		return error_set(err, 409, "proxy.url",
			"VM %s: its proxy is no URL with a user, whose password that would be",
			name);
	if (!vm->vms->key)
		return error_set(err, 503, NULL, "proxy password of VM %s: %.300s", name,
			vm->vms->key_error);
	sealed = malloc(sealed_len);
	if (!sealed)
		return error_set(err, 500, NULL, "out of memory");
	secret_key_seal(vm->vms->key, name, SEALED_AS, value, len, sealed);
	if (!vm->ephemeral &&
		store_proxy_password_set(vm->vms->store, name, sealed, sealed_len, err) < 0) {
		free(sealed);
		return -1;
	}
	take(vm, sealed, sealed_len);
	vm_event(vm, "proxy.password_set", NULL);
	vm_worker_proxy(vm, wait);
	return 0;
}

int vm_proxy_password_delete(struct vm *vm, struct completion *wait, struct error *err)
{
	if (!vm->proxy.password)
		return error_set(err, 404, NULL, "VM %s has no proxy password", vm->config.name);
	if (!vm->ephemeral && store_proxy_password_delete(vm->vms->store, vm->config.name, err) < 0)
		return -1;
	forget(vm);
	vm_event(vm, "proxy.password_deleted", NULL);
	vm_worker_proxy(vm, wait);
	return 0;
}

static bool is_for_another(const struct vm *vm, const struct proxy_config *to)
{
	return vm->proxy.password &&
		(to->use != PROXY_USE_URL || !proxy_url_equal(&to->url, &vm->config.proxy.url));
}

int vm_proxy_store(const struct vm *vm, const struct proxy_config *to, struct error *err)
{
	if (!is_for_another(vm, to))
		return 0;
	return store_proxy_password_delete(vm->vms->store, vm->config.name, err);
}

void vm_proxy_take(struct vm *vm, const struct proxy_config *to)
{
	if (is_for_another(vm, to))
		forget(vm);
}

static void restore_password(void *arg, const void *sealed, size_t len)
{
	struct vm *vm = arg;
	uint8_t *copy = len > SECRET_KEY_OVERHEAD && len < SECRET_KEY_OVERHEAD + PROXY_WORD_LEN
		? malloc(len)
		: NULL;

	if (!copy)
		return;
	memcpy(copy, sealed, len);
	take(vm, copy, len);
}

int vm_proxy_restore(struct vm *vm, struct error *err)
{
	return store_proxy_password(vm->vms->store, vm->config.name, restore_password, vm, err);
}

/* Into out, "" where there is none or it does not open. */
static void open_password(struct vm *vm, char out[PROXY_WORD_LEN])
{
	struct vm_proxy *proxy = &vm->proxy;

	memset(out, 0, PROXY_WORD_LEN);
	if (!proxy->password)
		return;
	if (vm->vms->key &&
		secret_key_unseal(vm->vms->key, vm->config.name, SEALED_AS, proxy->password,
			proxy->password_len, (uint8_t *)out) == 0)
		return;
	if (!proxy->damaged)
		log_error(vm->config.name, "proxy.password_lost", "reason=\"%s\"",
			vm->vms->key ? "damaged, does not open" : vm->vms->key_error);
	proxy->damaged = true;
}

/* ---- what the worker is told ---- */

static void add_server(struct vm *vm, struct vm_proxy_told *told, const struct proxy_url *url,
	const char *password)
{
	size_t n = told->msg.n_servers++;
	struct worker_proxy_server *server = &told->servers[n];

	*server = (struct worker_proxy_server){.socks5 = url->socks5,
		.port = url->port,
		.auth = url->has_user,
		.user = url->user,
		.password = told->passwords[n]};
	if (vm->vms->proxy_names)
		server->n_addrs = proxy_names_get(vm->vms->proxy_names, url->host, server->addrs);
	memcpy(told->passwords[n], password, PROXY_WORD_LEN);
}

/* By its number from 1. What we cannot speak to is a server without addresses: flows are refused. */
static uint32_t add_host(
	struct vm *vm, struct vm_proxy_told *told, const struct host_proxy *const *of, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (of[k] == of[i])
			return told->msg.of[k];
	}
	if (!of[i]->set)
		return 0;
	if (of[i]->usable) {
		add_server(vm, told, &of[i]->url, of[i]->password);
	} else {
		struct worker_proxy_server *server = &told->servers[told->msg.n_servers++];

		*server = (struct worker_proxy_server){.port = 1, .user = "", .password = ""};
	}
	return (uint32_t)told->msg.n_servers;
}

static void tell_host(struct vm *vm, struct vm_proxy_told *told)
{
	const struct host_proxies *host = vm->vms->host_proxies;
	const struct host_proxy *of[HOST_PROXY_KINDS];

	for (int i = 0; i < HOST_PROXY_KINDS; i++)
		of[i] = host_proxies_of(host, (enum host_proxy_of)i);
	for (size_t i = 0; i < HOST_PROXY_KINDS; i++)
		told->msg.of[i] = add_host(vm, told, of, i);
}

void vm_proxy_tell(struct vm *vm, struct vm_proxy_told *told)
{
	const struct proxy_config *config = &vm->config.proxy;
	char password[PROXY_WORD_LEN];

	memset(told, 0, sizeof(*told));
	told->msg.servers = told->servers;
	told->msg.direct_on_failure = config->direct_on_failure;
	told->msg.fake_ip = vm_fake_ip(vm);
	if (config->use == PROXY_USE_HOST && vm->vms->host_proxies)
		tell_host(vm, told);
	if (config->use == PROXY_USE_URL) {
		open_password(vm, password);
		add_server(vm, told, &config->url, password);
		os_wipe(password, sizeof(password));
		for (int i = 0; i < WORKER_PROXY_KINDS; i++)
			told->msg.of[i] = 1;
	}
	told->exceptions = calloc(EXCEPTIONS_MAX, sizeof(*told->exceptions));
	if (!told->exceptions)
		return;
	told->msg.n_exceptions = proxy_exceptions(
		config->no_proxy, told->exceptions, NO_PROXY_MAX, NULL);
	if (config->use == PROXY_USE_HOST && vm->vms->host_proxies)
		told->msg.n_exceptions += proxy_exceptions(
			host_proxies_exceptions(vm->vms->host_proxies),
			told->exceptions + told->msg.n_exceptions, NO_PROXY_MAX, NULL);
	told->msg.exceptions = told->exceptions;
}

void vm_proxy_done(struct vm_proxy_told *told)
{
	free(told->exceptions);
	os_wipe(told, sizeof(*told));
}

static void tell(struct vm *vm, bool same_proxies, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	struct vm_proxy_told told;

	if (!client)
		return;
	vm_proxy_tell(vm, &told);
	told.msg.same_proxies = same_proxies;
	worker_client_proxy_set(client, &told.msg, completion_done, completion_more(wait));
	vm_proxy_done(&told);
}

void vm_worker_proxy(struct vm *vm, struct completion *wait)
{
	tell(vm, false, wait);
}

/* ---- what is to be seen ---- */

bool vms_fake_ip(const struct vms *vms, const struct proxy_config *proxy)
{
	if (proxy->fake_ip != PROXY_FAKE_AUTO)
		return proxy->fake_ip == PROXY_FAKE_ON;
	for (size_t i = 0; i < vms->n_own; i++) {
		if (vm_addr_is_fake(&vms->own[i].addr))
			return true;
	}
	return false;
}

bool vm_addr_is_fake(const struct addr *addr)
{
	return addr_is_v4(addr) &&
		addr_v4(addr) >> (32 - FAKE_IP_BITS) == FAKE_IP >> (32 - FAKE_IP_BITS);
}

bool vm_fake_ip(const struct vm *vm)
{
	return vms_fake_ip(vm->vms, &vm->config.proxy);
}

static void show_host(const struct vm *vm, struct json_object *doc)
{
	static const char *const names[HOST_PROXY_KINDS] = {"http", "https", "other"};
	struct json_object *all = json_object_new_object();
	char url[PROXY_URL_LEN];

	for (int i = 0; i < HOST_PROXY_KINDS; i++) {
		const struct host_proxy *proxy = host_proxies_of(
			vm->vms->host_proxies, (enum host_proxy_of)i);

		json_put_string(all, names[i],
			!proxy->set ? NULL
				: !proxy->usable
				? "unusable"
				: proxy_url_format(&proxy->url, *proxy->password != '\0', url));
	}
	json_object_object_add(doc, "host", all);
}

struct json_object *vm_proxy_json(const struct vm *vm)
{
	struct json_object *doc = proxy_config_json(&vm->config.proxy);

	json_put_bool(doc, "password", vm->proxy.password != NULL);
	json_put_bool(doc, "fake_ip_in_force", vm_fake_ip(vm));
	if (vm->config.proxy.use == PROXY_USE_HOST && vm->vms->host_proxies)
		show_host(vm, doc);
	return doc;
}

/* The URL that a worker's number stands for. */
static const struct proxy_url *url_of(struct vm *vm, uint32_t server)
{
	const struct host_proxy *of[HOST_PROXY_KINDS];
	uint32_t n = 0;

	if (vm->config.proxy.use == PROXY_USE_URL)
		return &vm->config.proxy.url;
	if (vm->config.proxy.use == PROXY_USE_NONE || !vm->vms->host_proxies)
		return NULL;
	for (int i = 0; i < HOST_PROXY_KINDS; i++) {
		of[i] = host_proxies_of(vm->vms->host_proxies, (enum host_proxy_of)i);
		if (!of[i]->set || (i > 0 && of[i] == of[i - 1]) || (i > 1 && of[i] == of[0]))
			continue;
		if (n++ == server)
			return of[i]->usable ? &of[i]->url : NULL;
	}
	return NULL;
}

void vm_proxy_trouble(void *arg, uint32_t server, const char *reason, uint32_t count)
{
	struct vm *vm = arg;
	const struct proxy_url *url = url_of(vm, server);
	struct json_object *data = json_object_new_object();
	char text[PROXY_URL_LEN];

	json_put_string(data, "proxy", url ? proxy_url_format(url, false, text) : NULL);
	json_put_string(data, "reason", reason);
	json_put_int(data, "count", count);
	vm_event(vm, "proxy.failed", data);
}

/* ---- changes of the host ---- */

/* Calls each(vm, name) for the proxies' host names that the VM uses. */
static bool uses(const struct vm *vm, const char *name)
{
	const struct proxy_config *config = &vm->config.proxy;

	if (config->use == PROXY_USE_URL)
		return strcasecmp(config->url.host, name) == 0;
	if (config->use == PROXY_USE_NONE || !vm->vms->host_proxies)
		return false;
	for (int i = 0; i < HOST_PROXY_KINDS; i++) {
		const struct host_proxy *proxy = host_proxies_of(
			vm->vms->host_proxies, (enum host_proxy_of)i);

		if (proxy->set && proxy->usable && strcasecmp(proxy->url.host, name) == 0)
			return true;
	}
	return false;
}

void vm_proxy_tick(struct vm *vm)
{
	struct vm_proxy_told told;

	if (vm->config.proxy.use == PROXY_USE_NONE || vm->vms->ticks % TICKS)
		return;
	vm_proxy_tell(vm, &told); /* which asks for the names that it needs */
	vm_proxy_done(&told);
}

void vms_host_proxy_changed(void *arg)
{
	struct vms *vms = arg;
	struct vm *vm;

	log_info("proxy", "host.changed", "%s", "");
	TAILQ_FOREACH(vm, &vms->list, next) {
		if (vm->config.proxy.use == PROXY_USE_HOST)
			vm_worker_proxy(vm, NULL);
	}
}

void vms_proxy_name_changed(void *arg, const char *name)
{
	struct vms *vms = arg;
	struct vm *vm;

	TAILQ_FOREACH(vm, &vms->list, next) {
		if (uses(vm, name))
			tell(vm, true, NULL);
	}
}
