/* SPDX-License-Identifier: MIT */
/*
 * A VM's vsock on netctld's side: the sockets that it needs, made, kept and given to the worker.
 *
 *	kind            socket                         whose clients are
 *	vhost, stream   PATH (vmm.sock)                the VMM
 *	                RUNTIME/vms/NAME/vsock.sock    host programs: CONNECT PORT
 *	hybrid          PATH_1026, PATH_PORT (a map)   connections of the guest's, brought by the VMM
 *
 * With hybrid, PATH is the VMM's: netctld connects to it whenever the worker asks (VsockDial with
 * vmm); whether a VMM is there is not known before. Where PATH was handed, its directory (place.h) and each PATH_PORT come by attach.sock.
 */
#ifndef CTL_VM_VSOCK_H
#define CTL_VM_VSOCK_H

#include "ctl/completion.h"
#include "ctl/place.h"
#include "ctl/vsock_config.h"
#include "ctl/worker_client.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define VSOCK_PORT_ENV 1026

struct map;
struct vm;

struct vm_vsock {
	int vmm;            /* where the VMM connects, or -1 */
	int host;           /* the host socket, or -1 */
	int env;            /* hybrid: PATH_1026, or -1 */
	struct place place; /* hybrid, handed: PATH's directory */
	bool up;
	char error[VSOCK_ERROR_LEN]; /* why it does not work, or "" */
	/* scratch of an adoption: the worker had it already */
	bool set_in_worker;
	bool host_in_worker;
	bool env_in_worker;
};

void vm_vsock_init(struct vm *vm);
/* Binds what is missing and ours to bind. 0 or -1. */
int vm_vsock_open(struct vm *vm, struct error *err);
/* Closes the sockets; `remove` also removes the paths that are ours. */
void vm_vsock_close(struct vm *vm, bool remove);
/* At start and every few seconds: what the store has and nobody serves; see vm_settle(). */
void vm_vsock_settle(struct vm *vm, bool first);
/* All of it to the worker. */
void vm_vsock_push(struct vm *vm, struct completion *wait);

/* Handed over; each takes fd on success. A VMM's listener at `path`: */
int vm_vsock_listen(struct vm *vm, enum vm_vsock_kind kind, const char *path, int fd,
	struct completion *wait, struct error *err);
/* hybrid: the directory of the VMM's socket, by the attach connection `client`, */
int vm_vsock_place(struct vm *vm, const char *path, int fd, int client, struct error *err);
/* and the listener at `path`, which is PATH_PORT. */
int vm_vsock_listen_port(struct vm *vm, uint32_t port, const char *path, int fd,
	struct completion *wait, struct error *err);

/* hybrid: binds PATH_PORT of a map, where that is ours to do. 0 or -1 with the map's error set. */
int vm_vsock_map_open(struct vm *vm, struct map *map, struct error *err);
void vm_vsock_map_push(struct vm *vm, const struct map *map, struct completion *wait);
/* Closes it, and tells the worker. */
void vm_vsock_map_close(struct vm *vm, struct map *map, struct completion *wait);

/* Sockets out of an adopted worker, those taken that this VM should have; */
void vm_vsock_adopt(struct vm *vm, struct worker_vsock *theirs);
/* then what is missing on either side is bound and told, so that the connections live on. */
void vm_vsock_adopted(struct vm *vm);
void vm_vsock_changed(struct vm *vm, const struct worker_vsock_event *event);
/* The worker is gone. */
void vm_vsock_orphaned(struct vm *vm);

/* RUNTIME/vms/NAME/vsock.sock, or "" where the kind has none. */
char *vm_vsock_socket(const struct vm *vm, char *buf, size_t len);
struct json_object *vm_vsock_json(const struct vm *vm);

#endif
