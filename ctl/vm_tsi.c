/* SPDX-License-Identifier: MIT */
/* A guest's TSI listeners and proxies. See tsi.h. */
#include "ctl/tsi.h"

#include "ctl/json_read.h"
#include "ctl/listener.h"
#include "ctl/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void vm_tsi_init(struct vm *vm)
{
	TAILQ_INIT(&vm->tsi.listeners);
}

static void drop(struct vm_tsi *tsi, struct tsi_listener *listener)
{
	TAILQ_REMOVE(&tsi->listeners, listener, next);
	tsi->n--;
	if (listener->fd >= 0)
		close(listener->fd);
	free(listener);
}

void vm_tsi_clear(struct vm *vm)
{
	struct tsi_listener *listener;

	while ((listener = TAILQ_FIRST(&vm->tsi.listeners)))
		drop(&vm->tsi, listener);
	free(vm->tsi.proxies);
	vm->tsi.proxies = NULL;
	vm->tsi.n_proxies = 0;
}

struct tsi_listener *vm_tsi_find(struct vm *vm, uint32_t svm_port)
{
	struct tsi_listener *listener;

	TAILQ_FOREACH(listener, &vm->tsi.listeners, next) {
		if (listener->svm_port == svm_port)
			return listener;
	}
	return NULL;
}

/* ---- bind, close ---- */

/* Loopback of the family; of IPv4 where this host has no IPv6. */
static int listen_on_loopback(int family, struct endpoint *host)
{
	int fd;

	host->port = 0;
	addr_parse(family == TSI_INET6 ? "::1" : "127.0.0.1", &host->addr);
	fd = listener_open(LISTENER_TCP, host);
	if (fd < 0 && family == TSI_INET6 && (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT)) {
		addr_parse("127.0.0.1", &host->addr);
		fd = listener_open(LISTENER_TCP, host);
	}
	return fd;
}

static struct json_object *listener_json(const struct tsi_listener *listener)
{
	struct json_object *doc = json_object_new_object();
	char text[ENDPOINT_STRLEN];

	json_put_int(doc, "svm_port", listener->svm_port);
	json_put_int(doc, "vm_port", listener->vm_port);
	json_put_string(doc, "family", listener->family == TSI_INET6 ? "ipv6" : "ipv4");
	json_put_string(doc, "addr", addr_format(&listener->addr.addr, text, sizeof(text)));
	json_put_int(doc, "port", listener->addr.port);
	json_put_string(doc, "host",
		listener->fd >= 0 ? endpoint_format(&listener->host, text, sizeof(text)) : NULL);
	return doc;
}

static struct tsi_listener *keep(struct vm *vm, const struct tsi_listener *from, int fd)
{
	struct tsi_listener *listener = calloc(1, sizeof(*listener));
	struct tsi_listener *old = vm_tsi_find(vm, from->svm_port);

	if (!listener)
		return NULL;
	if (old)
		drop(&vm->tsi, old);
	*listener = *from;
	listener->fd = fd;
	TAILQ_INSERT_TAIL(&vm->tsi.listeners, listener, next);
	vm->tsi.n++;
	return listener;
}

int vm_tsi_bind(struct vm *vm, const struct tsi_listener *asked, struct error *err)
{
	struct tsi_listener listener = *asked;
	int fd;

	if (vm->tsi.n >= TSI_LISTENERS_MAX && !vm_tsi_find(vm, asked->svm_port)) {
		error_set(err, 409, "listeners", "VM %s has %d TSI listeners already",
			vm->config.name, TSI_LISTENERS_MAX);
		return -EMFILE;
	}
	fd = asked->type == TSI_STREAM ? listen_on_loopback(asked->family, &listener.host)
				       : -EOPNOTSUPP;
	if (fd < 0) {
		error_set(err, 500, "listeners", "VM %s: TSI listener %u: %s", vm->config.name,
			asked->svm_port, errno_text(fd));
		return fd;
	}
	if (keep(vm, &listener, fd))
		return 0;
	close(fd);
	error_set(err, 500, NULL, "out of memory");
	return -ENOMEM;
}

/* A guest may listen in a loop: the first few events of a second are told, the rest counted. */
static void tell(struct vm *vm, const char *type, const struct tsi_listener *listener)
{
	if (vm->tsi.told < TSI_EVENTS_A_SECOND)
		vm_event(vm, type, listener_json(listener));
	else
		vm->tsi.untold++;
	vm->tsi.told++;
}

void vm_tsi_tick(struct vm *vm)
{
	struct json_object *data;

	if (vm->tsi.untold) {
		data = json_object_new_object();
		json_put_int(data, "count", vm->tsi.untold);
		vm_event(vm, "listener.more", data);
	}
	vm->tsi.told = vm->tsi.untold = 0;
}

int vm_tsi_listen(void *arg, const struct tsi_listener *asked, struct endpoint *host)
{
	struct vm *vm = arg;
	struct tsi_listener *listener;
	struct error err;
	int status = vm_tsi_bind(vm, asked, &err);

	if (status < 0)
		return status;
	listener = vm_tsi_find(vm, asked->svm_port);
	tell(vm, "listener.added", listener);
	*host = listener->host;
	return listener->fd;
}

void vm_tsi_close(struct vm *vm, uint32_t svm_port)
{
	struct tsi_listener *listener = vm_tsi_find(vm, svm_port);

	if (!listener)
		return;
	tell(vm, "listener.closed", listener);
	drop(&vm->tsi, listener);
}

int vm_tsi_proxies(struct vm *vm, const struct tsi_proxy *proxies, size_t n)
{
	struct tsi_proxy *copy = n ? malloc(n * sizeof(*copy)) : NULL;

	if (n && !copy)
		return -ENOMEM;
	if (n)
		memcpy(copy, proxies, n * sizeof(*copy));
	free(vm->tsi.proxies);
	vm->tsi.proxies = copy;
	vm->tsi.n_proxies = n;
	return 0;
}

/* ---- worker ---- */

void vm_tsi_push(struct vm *vm, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);

	if (client && (vm->tsi.n || vm->tsi.n_proxies))
		worker_client_tsi_restore(client, &vm->tsi, completion_done, completion_more(wait));
}

void vm_tsi_adopt(struct vm *vm, struct worker_tsi *theirs)
{
	vm_tsi_clear(vm);
	for (size_t i = 0; i < theirs->n; i++) {
		struct tsi_listener *listener = &theirs->listeners[i];

		/* It must be no socket that would publish the guest further. */
		if (listener_check(LISTENER_TCP, listener->fd, &listener->host) == 0 &&
			addr_is_loopback(&listener->host.addr) && keep(vm, listener, listener->fd))
			listener->fd = -1;
	}
	vm_tsi_proxies(vm, theirs->proxies, theirs->n_proxies);
}

struct json_object *vm_tsi_json(const struct vm *vm)
{
	struct json_object *items = json_object_new_array();
	const struct tsi_listener *listener;

	TAILQ_FOREACH(listener, &vm->tsi.listeners, next)
		json_object_array_add(items, listener_json(listener));
	return items;
}
