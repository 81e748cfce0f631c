/* SPDX-License-Identifier: MIT */
/* The vhost-user session of a VM's vsock. See vm_vhost.h. */
#include "ctl/vm_vhost.h"

#include "common/log.h"
#include "ctl/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void vm_vhost_drop(struct vm *vm)
{
	struct worker_vhost_session *session = &vm->vhost.session;

	for (size_t i = 0; i < session->n_fds; i++)
		close(session->fds[i]);
	*session = (struct worker_vhost_session){0};
}

void vm_vhost_keep(struct vm *vm, struct worker_vhost_session *session)
{
	vm_vhost_drop(vm);
	if (vm->config.vsock.kind != VM_VSOCK_VHOST)
		return;
	vm->vhost.session = *session;
	session->n_fds = 0;
}

/* Whatever it is that the former worker called a connection: it is of use while its far end is there. */
static bool vmm_is_there(const struct worker_vhost_session *session)
{
	char byte;
	ssize_t n = recv(session->fds[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
}

void vm_vhost_tick(struct vm *vm)
{
	if (vm->configured || !vm->vhost.session.n_fds || vmm_is_there(&vm->vhost.session))
		return;
	log_info(vm->config.name, "vhost.dropped", "reason=\"the VMM has gone\"");
	vm_vhost_drop(vm);
}

struct resume {
	struct vms *vms;
	char vm[VM_NAME_MAX + 1];
};

static void on_resumed(void *arg, int code, const char *text)
{
	struct resume *resume = arg;
	struct vm *vm = vms_find(resume->vms, resume->vm);

	free(resume);
	/* One that died gets a successor, who may try again. */
	if (!vm || !code || code == -ECONNRESET || code == -ECANCELED)
		return;
	log_warn(vm->config.name, "vhost.lost", "reason=\"%s\"", text);
	vm_event(vm, "vsock.failed", vm_event_reason(text));
	vm_vhost_drop(vm);
}

void vm_vhost_push(struct vm *vm)
{
	const struct worker_vhost_session *session = &vm->vhost.session;
	struct worker_client *client = vm_worker(vm);
	struct resume *resume;

	if (!client || !session->n_fds || vm->vsock.vmm < 0)
		return;
	if (!vmm_is_there(session) || session->cid != vm->config.vsock.cid) {
		vm_vhost_drop(vm);
		return;
	}
	resume = calloc(1, sizeof(*resume));
	if (!resume)
		abort(); /* a completion is owed */
	resume->vms = vm->vms;
	memcpy(resume->vm, vm->config.name, sizeof(resume->vm));
	worker_client_vhost_resume(client, session, on_resumed, resume);
}
