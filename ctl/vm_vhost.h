/* SPDX-License-Identifier: MIT */
/*
 * The vhost-user session of a VM's vsock, kept for the worker's successor.
 *
 * QEMU's vhost-user-vsock cannot connect again, so the connection, the guest's memory and the kicks
 * and calls are held here as well: each time something of it changes the worker sends the whole, and
 * the next worker gets it as it came. To netctld they are file descriptors and numbers; nothing is
 * read from or mapped.
 *
 * It goes when the worker says that there is none, when the VM goes or another guest's worker has to,
 * when a successor cannot use it, and, while there is no worker, when the VMM has closed its end
 * (looked for each second: it holds the guest's memory).
 */
#ifndef CTL_VM_VHOST_H
#define CTL_VM_VHOST_H

#include "ctl/worker_client.h"

struct vm;

struct vm_vhost {
	struct worker_vhost_session session; /* n_fds 0: there is none */
};

void vm_vhost_drop(struct vm *vm);
/* As the worker tells it; its fds are taken. */
void vm_vhost_keep(struct vm *vm, struct worker_vhost_session *session);
/* To a new worker, behind vm_vsock_push(). */
void vm_vhost_push(struct vm *vm);
/* Each second. */
void vm_vhost_tick(struct vm *vm);

#endif
