/* SPDX-License-Identifier: MIT */
/*
 * The proxies of a VM's flows: what its worker is told of them, and the password.
 *
 * A password is a secret: it comes as a request's bytes, is sealed (secret_key.h) as soon as it is here,
 * opened only while the worker is told, and shown by nobody. It is for one proxy: with another URL it
 * goes. The worker has it as long as the setting stands, since it speaks to the proxy itself.
 */
#ifndef CTL_VM_PROXY_H
#define CTL_VM_PROXY_H

#include "common/error.h"
#include "ctl/completion.h"
#include "ctl/proxy_config.h"
#include "ctl/worker_client.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;
struct vms;

struct vm_proxy {
	uint8_t *password; /* sealed, or NULL */
	size_t password_len;
	bool damaged; /* it does not open: told in the log once */
};

void vm_proxy_clear(struct vm *vm);
/* From the store, at start. */
int vm_proxy_restore(struct vm *vm, struct error *err);

/* 1 to 255 bytes, none of them 0; the caller wipes value. 409 where the proxy is no URL with a user. */
int vm_proxy_password_set(
	struct vm *vm, const void *value, size_t len, struct completion *wait, struct error *err);
int vm_proxy_password_delete(struct vm *vm, struct completion *wait, struct error *err);
/* Before vm->config.proxy becomes this one: a password that is for another goes, from the store
 * (persistent VMs), then, once nothing can fail, from here. */
int vm_proxy_store(const struct vm *vm, const struct proxy_config *to, struct error *err);
void vm_proxy_take(struct vm *vm, const struct proxy_config *to);

/* The VM's document has it with these: password, and what is in force. */
struct json_object *vm_proxy_json(const struct vm *vm);
/* Whether it is of 198.18.0.0/15. */
bool vm_addr_is_fake(const struct addr *addr);
/* Whether 198.18.0.0/15 stands for names, under such a setting and as the VM's is. */
bool vms_fake_ip(const struct vms *vms, const struct proxy_config *proxy);
bool vm_fake_ip(const struct vm *vm);

/* What the worker is to be told; wiped and freed by vm_proxy_done(). */
struct vm_proxy_told {
	struct worker_proxies msg;
	struct worker_proxy_server servers[WORKER_PROXIES_MAX];
	char passwords[WORKER_PROXIES_MAX][PROXY_WORD_LEN];
	struct proxy_exception *exceptions;
};
void vm_proxy_tell(struct vm *vm, struct vm_proxy_told *told);
void vm_proxy_done(struct vm_proxy_told *told);

void vm_worker_proxy(struct vm *vm, struct completion *wait);
/* worker_client_events.proxy_trouble; arg is the struct vm. */
void vm_proxy_trouble(void *arg, uint32_t server, const char *reason, uint32_t count);
/* Each second. */
void vm_proxy_tick(struct vm *vm);

/* The host's proxies, or addresses of one's name, are others now: all that use them are told. */
void vms_host_proxy_changed(void *vms);
void vms_proxy_name_changed(void *vms, const char *name);

#endif
