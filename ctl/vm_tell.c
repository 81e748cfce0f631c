/* SPDX-License-Identifier: MIT */
/*
 * What a worker tells, as events, each once. See vm.h and events.h.
 *
 * A worker keeps what it told until we say that it is on the disk, and tells it again to the next
 * netctld: what has a number up to vm->told.last is known already. Since the numbers of one VM are
 * written in their order, refusals that still are gathered become events before anything later does.
 *
 * What has two states (the link, the vsock's VMM, whether the guest was seen) is told when it
 * differs from what was told last, also by the netctld before us: where a worker outlived that,
 * nothing has happened.
 */
#include "ctl/vm.h"

#include "common/clock.h"
#include "ctl/json_read.h"

#include <event2/event.h>
#include <string.h>

#define TELL_MS 100

/* ---- numbers ---- */

bool vm_event_is_new(struct vm *vm, uint64_t number)
{
	struct worker_client *client = supervised_client(vm->slot);

	if (number > vm->told.last) {
		vm->told.last = number;
		return true;
	}
	if (client)
		worker_client_events_seen(client, vm->told.stored);
	return false;
}

void vms_event_stored(void *arg, const char *name, uint64_t number)
{
	struct vm *vm = vms_find(arg, name);
	struct worker_client *client = vm ? supervised_client(vm->slot) : NULL;

	if (!vm || number > vm->told.last)
		return; /* of an older worker */
	vm->told.stored = number;
	if (client)
		worker_client_events_seen(client, number);
}

/* ---- what has two states ---- */

void vm_tell_link(struct vm *vm, bool up, const char *reason)
{
	if (vm->told.link == up)
		return;
	vm->told.link = up;
	vm_tell_refusals(vm);
	vm_event_numbered(vm, up ? "link.up" : "link.down",
		*reason ? vm_event_reason(reason) : NULL, vm->told.last);
	if (!up)
		vm->told.guest = false;
}

void vm_tell_vsock(struct vm *vm, bool up, const char *reason)
{
	if (vm->told.vsock == up)
		return;
	vm->told.vsock = up;
	vm_tell_refusals(vm);
	vm_event_numbered(vm, up ? "vsock.up" : "vsock.down",
		*reason ? vm_event_reason(reason) : NULL, vm->told.last);
}

void vm_tell_guest(struct vm *vm)
{
	struct json_object *data;
	char mac[MAC_STRLEN];

	if (vm->told.guest)
		return;
	vm->told.guest = true;
	data = json_object_new_object();
	json_put_string(data, "mac", mac_format(&vm->mac, mac, sizeof(mac)));
	vm_event(vm, "guest.up", data);
}

/* ---- refusals ---- */

void vm_refused(struct vm *vm, const struct worker_refused_event *event)
{
	static const struct timeval soon = {.tv_usec = TELL_MS * 1000};

	refusals_add(&vm->refusals, event);
	if (!evtimer_pending(vm->vms->tell, NULL))
		evtimer_add(vm->vms->tell, &soon);
}

/* The last one carries the number: they are written together. */
void vm_tell_refusals(struct vm *vm)
{
	uint64_t now = clock_ms();
	struct json_object *data = refusals_take(&vm->refusals, now), *next;

	for (; data; data = next) {
		next = refusals_take(&vm->refusals, now);
		vm_event_numbered(vm, "flow.refused", data, next ? 0 : vm->told.last);
	}
}

void vms_tell(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval again = {.tv_usec = TELL_MS * 1000};
	struct vms *vms = arg;
	uint64_t now = clock_ms();
	struct vm *vm;

	(void)fd;
	(void)what;
	TAILQ_FOREACH(vm, &vms->list, next) {
		if (refusals_due(&vm->refusals, now))
			vm_tell_refusals(vm);
		else if (vm->refusals.n || vm->refusals.others)
			evtimer_add(vms->tell, &again);
	}
}

/* ---- what the netctld before us told ---- */

static void restore_number(void *arg, const char *name, int64_t number)
{
	struct vm *vm = vms_find(arg, name);

	if (vm)
		vm->told.last = vm->told.stored = (uint64_t)number;
}

static void restore_link(void *arg, const char *name, const char *type)
{
	struct vm *vm = vms_find(arg, name);

	if (vm)
		vm->told.link = strcmp(type, "link.up") == 0;
}

static void restore_guest(void *arg, const char *name, const char *type)
{
	struct vm *vm = vms_find(arg, name);

	if (vm)
		vm->told.guest = strcmp(type, "guest.up") == 0;
}

static void restore_vsock(void *arg, const char *name, const char *type)
{
	struct vm *vm = vms_find(arg, name);

	if (vm)
		vm->told.vsock = strcmp(type, "vsock.up") == 0;
}

int vms_restore_told(struct vms *vms, struct error *err)
{
	if (store_event_numbers(vms->store, restore_number, vms, err) < 0 ||
		store_events_last(vms->store, "link.up", "link.down", restore_link, vms, err) < 0 ||
		store_events_last(vms->store, "guest.up", "link.down", restore_guest, vms, err) < 0)
		return -1;
	return store_events_last(vms->store, "vsock.up", "vsock.down", restore_vsock, vms, err);
}
