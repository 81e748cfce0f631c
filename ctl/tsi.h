/* SPDX-License-Identifier: MIT */
/*
 * What a guest holds through TSI, as its worker tells: listeners and datagram proxies.
 *
 * A listener's socket is bound here when the worker asks (loopback, ephemeral: only a forward
 * publishes it further), a duplicate goes to the worker, ours is for its successor. Nothing of it is
 * in the store: a VM that is started anew listens anew, and a snapshot records it.
 *
 *	TsiListen  ──► vm_tsi_bind() ──► TsiListening      TsiClosed ──► vm_tsi_close()
 *	TsiProxies ──► vm_tsi_proxies()                    a successor ◄── vm_tsi_push()
 *
 * Families, types and ports are the guest's claims; families and types are Linux's on every host. A
 * listener is named by its svm_port.
 */
#ifndef CTL_TSI_H
#define CTL_TSI_H

#include "common/addr.h"
#include "common/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define TSI_LISTENERS_MAX 256 /* a VM */
#define TSI_PROXIES_MAX 4096
#define TSI_EVENTS_A_SECOND 16
#define TSI_INET 2 /* Linux's numbers, as the wire has them */
#define TSI_INET6 10
#define TSI_STREAM 1

struct completion;
struct vm;
struct worker_tsi;

struct tsi_listener {
	TAILQ_ENTRY(tsi_listener) next; /* oldest first */
	uint32_t svm_port;              /* the guest's control socket */
	uint32_t vm_port;               /* where it takes streams */
	int family;                     /* TSI_INET or TSI_INET6 */
	int type;
	uint32_t backlog;
	struct endpoint addr; /* as the application bound it */
	struct endpoint host; /* where we listen for it */
	int fd;               /* ours; -1 while it is not bound */
};

struct tsi_proxy {
	uint32_t svm_port;
	int family;
	bool connected;
	struct endpoint peer; /* where connected */
};

struct vm_tsi {
	TAILQ_HEAD(tsi_listener_list, tsi_listener) listeners;
	size_t n;
	struct tsi_proxy *proxies; /* NULL while there are none */
	size_t n_proxies;
	unsigned told, untold; /* listener events of this second */
};

void vm_tsi_init(struct vm *vm);
/* Closes and forgets all listeners and proxies, without an event. The worker is told nothing. */
void vm_tsi_clear(struct vm *vm);

struct tsi_listener *vm_tsi_find(struct vm *vm, uint32_t svm_port);
/*
 * Binds a loopback port for a listener (its host and fd mean nothing yet) and keeps a copy of it, in
 * place of one of the same svm_port. The worker is told nothing. 0 or a negative errno, with err.
 */
int vm_tsi_bind(struct vm *vm, const struct tsi_listener *listener, struct error *err);
/* The guest gave it up. */
void vm_tsi_close(struct vm *vm, uint32_t svm_port);
/* Copies the list in place of the one we had; 0 or -ENOMEM. */
int vm_tsi_proxies(struct vm *vm, const struct tsi_proxy *proxies, size_t n);

/* Each second: tells of the events that were too many. */
void vm_tsi_tick(struct vm *vm);

/* worker_client_events.tsi_listen; arg is the struct vm. */
int vm_tsi_listen(void *arg, const struct tsi_listener *asked, struct endpoint *host);
/* All of it to the worker (TsiRestore). */
void vm_tsi_push(struct vm *vm, struct completion *wait);
/* What an adopted worker has, in place of all that we knew. */
void vm_tsi_adopt(struct vm *vm, struct worker_tsi *theirs);

/* The listeners as the API shows them, an array. */
struct json_object *vm_tsi_json(const struct vm *vm);

#endif
