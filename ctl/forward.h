/* SPDX-License-Identifier: MIT */
/*
 * Forwards: a listening socket of the host that leads to a port of the guest's, to a vsock port of its
 * or to one of its TSI listeners (which need not be there yet: until then clients are reset).
 *
 * A forward's id is its listen side once resolved: "tcp:127.0.0.1:8080", "udp:[::1]:53",
 * "unix:/p.sock". forward.c knows one forward and its document; vm_forward.c a VM's set of them and
 * their way to the worker.
 */
#ifndef CTL_FORWARD_H
#define CTL_FORWARD_H

#include "common/error.h"
#include "ctl/listener.h"
#include "ctl/vm_config.h"
#include "ctl/worker_client.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define FORWARD_ID_LEN 160
#define FORWARDS_MAX 256 /* a VM */

struct forward_spec {
	char name[VM_NAME_MAX + 1]; /* a label, or "" */
	enum listener_kind kind;
	struct endpoint listen;      /* port 0: any free one */
	char path[VM_PATH_LEN];      /* of unix listeners */
	struct worker_target target; /* WORKER_TO_PORT: same protocol */
	bool snat;
	bool handed; /* the socket came by attach.sock: it cannot be bound again by us */
};

struct forward {
	TAILQ_ENTRY(forward) next;
	struct forward_spec spec; /* resolved */
	char id[FORWARD_ID_LEN];
	int fd;          /* ours; -1 where it is not bound */
	char error[160]; /* why not, or "" */
	bool in_worker;  /* scratch of an adoption: the worker had it already */
};

/* Reads a Forward document at `path` of its request. `stored` allows for what only the store says.
 * 0 or -1. */
int forward_spec_read(struct json_object *doc, const char *path, bool stored,
	struct forward_spec *spec, struct error *err);
bool forward_spec_equal(const struct forward_spec *a, const struct forward_spec *b);
void forward_id(const struct forward_spec *spec, char *buf, size_t len);

/* As the store keeps it. */
struct json_object *forward_spec_json(const struct forward_spec *spec);
/* As the API shows it: with id, and error where there is one. */
struct json_object *forward_json(const struct forward *forward);

/* Binds the socket of a spec for the VM `vm`: spec and id become resolved ones, fd is set. runtime_dir
 * is where unix paths must lie. 0, or -1 with "forward web/tcp:…: address in use" in err. */
int forward_bind(
	struct forward *forward, const char *vm, const char *runtime_dir, struct error *err);
/* The same with a socket that somebody handed over; takes fd on success only. */
int forward_take(struct forward *forward, const char *vm, int fd, struct error *err);

struct forward *forward_new(const struct forward_spec *spec);
/* Closes its socket and removes a unix listener's path that was ours. */
void forward_free(struct forward *forward);
/* Only the memory and the fd: the socket lives on in a worker. */
void forward_drop(struct forward *forward);

#endif
