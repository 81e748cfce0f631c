/* SPDX-License-Identifier: MIT */
/*
 * A worker that outlived the netctld before us. See vm.h.
 *
 * It has been at work all the while: its listeners accepted, its flows flowed. We ask what it holds
 * and bring both sides together, the store being right:
 *
 *	ask Description  →  the link's sockets and the flow memory become ours again
 *	ask Forwards     →  one that the store has: its socket becomes ours again
 *	                    one that it has not, or has otherwise: deleted
 *	ask Vsock, Tsi   →  its sockets become ours again, as do the guest's listeners
 *	then             →  what the store has and the worker lacks is bound and sent
 *	                    policy, hosts, DNS and proxies are sent, whatever the worker had
 *
 * A worker with another network than the store's (its VM was deleted and made anew meanwhile) is
 * killed, and a new one configured. Sockets that a worker gives are checked to be what they should.
 */
#include "ctl/vm.h"

#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct adoption {
	struct vms *vms;
	char vm[VM_NAME_MAX + 1];
	struct worker_client *client; /* only to compare */
};

static struct adoption *adoption_new(struct vm *vm, struct worker_client *client)
{
	struct adoption *adoption = calloc(1, sizeof(*adoption));

	if (adoption) {
		adoption->vms = vm->vms;
		adoption->client = client;
		memcpy(adoption->vm, vm->config.name, sizeof(adoption->vm));
	}
	return adoption;
}

/* The VM, if it is still there and with this worker; frees the adoption. */
static struct vm *adoption_end(struct adoption *adoption)
{
	struct vm *vm = adoption ? vms_find(adoption->vms, adoption->vm) : NULL;

	if (vm && (!vm->adopting || supervised_client(vm->slot) != adoption->client))
		vm = NULL;
	free(adoption);
	return vm;
}

/* It died meanwhile: on_down() follows, and a new worker. */
static bool gone(int code)
{
	return code == -ECONNRESET || code == -ECANCELED;
}

static void give_up(struct vm *vm, const char *text)
{
	log_warn(vm->config.name, "worker.not_adopted", "reason=\"%s\"", text);
	vm_vhost_drop(vm);         /* whose guest that is we do not know */
	supervised_kill(vm->slot); /* on_down() and a new worker follow */
}

/* ---- forwards ---- */

static bool is_same(const struct forward *forward, const struct worker_forward *theirs)
{
	const struct forward_spec *spec = &forward->spec;

	return spec->target.kind == theirs->target.kind &&
		spec->target.port == theirs->target.port && spec->snat == theirs->snat &&
		(spec->kind == LISTENER_UNIX) == theirs->unix_listener &&
		(spec->kind == LISTENER_UDP) == (theirs->proto == 17);
}

/* Takes the socket of a forward that both have, if it is what its id says. */
static bool take(struct forward *forward, struct worker_forward *theirs)
{
	struct endpoint at = forward->spec.listen;

	if (!is_same(forward, theirs) || theirs->fd < 0 ||
		listener_check(forward->spec.kind, theirs->fd, &at) < 0)
		return false;
	if (forward->spec.kind != LISTENER_UNIX && !endpoint_eq(&at, &forward->spec.listen))
		return false;
	if (forward->fd >= 0)
		close(forward->fd);
	forward->fd = theirs->fd;
	theirs->fd = -1;
	forward->error[0] = '\0';
	return true;
}

static void finish(struct vm *vm)
{
	struct forward *forward;
	struct error err;

	vm->adopting = false;
	vm->configured = true;
	vm_worker_policy(vm, false, NULL);
	vm_worker_hosts(vm, NULL);
	vm_worker_dns(vm, NULL);
	vm_worker_proxy(vm, NULL);
	vm_worker_limits(vm, NULL);
	if (vm->listener < 0 && vm->bound < 0 && vm->nic < 0) {
		if (vm_link_open(vm, &err) < 0)
			log_error(vm->config.name, "link.failed", "reason=\"%s\"", err.text);
		vm_link_push(vm, NULL);
	}
	TAILQ_FOREACH(forward, &vm->forwards, next) {
		if (!forward->in_worker)
			vm_forward_push(vm, forward, NULL);
	}
	vm_vsock_adopted(vm);
	vm_worker_want(vm); /* a NIC that came from the worker wants one, too */
	vm->settled = true;
	vm_forwards_bind(vm, true);
	vm_worker_awaited(vm);
}

/* ---- vsock and TSI ---- */

/* A worker of an earlier release has neither: -ENOSYS. */
static void on_tsi(void *arg, int code, const char *text, struct worker_tsi *theirs)
{
	struct vm *vm = adoption_end(arg);

	if (!vm || gone(code))
		return;
	if (code && code != -ENOSYS) {
		give_up(vm, text);
		return;
	}
	if (theirs)
		vm_tsi_adopt(vm, theirs);
	finish(vm);
}

static void on_vsock(void *arg, int code, const char *text, struct worker_vsock *theirs)
{
	struct vm *vm = adoption_end(arg);
	struct worker_client *client;

	if (!vm || gone(code))
		return;
	if (code && code != -ENOSYS) {
		give_up(vm, text);
		return;
	}
	client = supervised_client(vm->slot);
	if (theirs)
		vm_vsock_adopt(vm, theirs);
	worker_client_tsi(client, on_tsi, adoption_new(vm, client));
}

static void on_forwards(
	void *arg, int code, const char *text, struct worker_forward *forwards, size_t n)
{
	struct vm *vm = adoption_end(arg);
	struct worker_client *client;
	struct forward *forward;

	if (!vm || gone(code))
		return;
	if (code) {
		give_up(vm, text);
		return;
	}
	client = supervised_client(vm->slot);
	TAILQ_FOREACH(forward, &vm->forwards, next)
		forward->in_worker = false;
	for (size_t i = 0; i < n; i++) {
		forward = vm_forward_find(vm, forwards[i].id);
		if (forward && !forward->in_worker && take(forward, &forwards[i]))
			forward->in_worker = true;
		else
			worker_client_forward_delete(client, forwards[i].id, NULL, NULL);
	}
	worker_client_vsock(client, on_vsock, adoption_new(vm, client));
}

/* ---- the description ---- */

static bool same_network(const struct vm *vm, const struct worker_description *theirs)
{
	return theirs->subnet.bits == vm->config.subnet.bits &&
		addr_eq(&theirs->subnet.addr, &vm->config.subnet.addr) &&
		theirs->guest_mac_fixed == vm->config.mac_fixed &&
		(!vm->config.mac_fixed || mac_eq(&theirs->guest_mac, &vm->config.mac));
}

static void take_guest(struct vm *vm, const struct worker_description *theirs)
{
	if (theirs->guest_mac_known && !vm->config.mac_fixed)
		vm_worker_ops.events.guest_seen(vm, &theirs->guest_mac);
	if (theirs->has_lease)
		vm_worker_ops.events.lease(vm, &theirs->lease);
	vm_worker_ops.events.names_seen(vm, theirs->names, theirs->n_names);
}

static void on_description(void *arg, int code, const char *text, struct worker_description *theirs)
{
	struct adoption *adoption = arg;
	struct worker_client *client = adoption ? adoption->client : NULL;
	struct vm *vm = adoption_end(adoption);

	if (!vm || gone(code))
		return;
	if (code) {
		give_up(vm, text);
		return;
	}
	if (!theirs->configured) {
		vm->adopting = false;
		vm_settle(vm, true);
		vm_worker_configure(vm, client);
		return;
	}
	if (!same_network(vm, theirs)) {
		give_up(vm, "it serves another network");
		return;
	}
	vm_link_adopt(vm, theirs->link, &theirs->link_listener, &theirs->link_connected);
	if (theirs->flow_memory >= 0) {
		if (vm->flow_memory >= 0)
			close(vm->flow_memory);
		vm->flow_memory = theirs->flow_memory;
		theirs->flow_memory = -1;
	}
	memcpy(vm->sandbox, theirs->sandbox, sizeof(vm->sandbox));
	take_guest(vm, theirs);
	if (theirs->link_up)
		vm_link_changed(vm, true);
	vm_tell_link(vm, theirs->link_up, "while netctld was away");
	worker_client_forwards(client, on_forwards, adoption_new(vm, client));
}

void vm_adopt(struct vm *vm, struct worker_client *client)
{
	vm->adopting = true;
	vm->configured = false;
	worker_client_describe(client, on_description, adoption_new(vm, client));
}
