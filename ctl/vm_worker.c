/* SPDX-License-Identifier: MIT */
/*
 * A VM's worker: what it is told and what it tells. See vm.h.
 *
 * A new worker gets Configure (with the flow memory), then the link, the vsock and what the guest had
 * through TSI, then each forward, in one go: requests are carried out in order, so nothing waits. From then on changes are sent as they come.
 * All that it tells are claims of a process that its guest may have captured: they are kept for show
 * (lease, MAC) and for its successor (names), within bounds, and decide nothing.
 */
#include "ctl/vm.h"

#include "common/log.h"
#include "common/os.h"
#include "ctl/json_read.h"
#include "dataplane/stack/flow_memory.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The gateway's MAC address, the same in every VM: each has a network of its own. */
static const struct mac gateway_mac = {{0x52, 0x55, 0x0a, 0x00, 0x02, 0x02}};

struct worker_client *vm_worker(struct vm *vm)
{
	return vm->configured && vm->slot ? supervised_client(vm->slot) : NULL;
}

void vm_worker_want(struct vm *vm)
{
	if (vm->config.link == VM_LINK_STREAM || vm->config.link == VM_LINK_DGRAM || vm->nic >= 0 ||
		vm->config.vsock.kind != VM_VSOCK_NONE || vm->n_forwards)
		supervised_want(vm->slot, true);
}

/* ---- those who wait for it ---- */

void vm_worker_awaited(struct vm *vm)
{
	size_t n = vm->n_awaiting;

	vm->n_awaiting = 0;
	if (vm->patience)
		evtimer_del(vm->patience);
	for (size_t i = 0; i < n; i++)
		completion_done(vm->awaiting[i], 0, "");
}

static void on_patience(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	vm_worker_awaited(arg);
}

void vm_worker_await(struct vm *vm, struct completion *wait)
{
	struct supervised_info info;

	supervised_info(vm->slot, &info);
	if (info.state == SUPERVISED_STARTING || vm->describing)
		vm_worker_await_next(vm, wait);
}

void vm_worker_await_next(struct vm *vm, struct completion *wait)
{
	static const struct timeval limit = {
		.tv_sec = VM_AWAIT_MS / 1000, .tv_usec = VM_AWAIT_MS % 1000 * 1000};

	if (!wait || vm->failure[0] || vm->n_awaiting == VM_AWAITING_MAX)
		return;
	if (!vm->patience)
		vm->patience = evtimer_new(vm->vms->base, on_patience, vm);
	if (!vm->patience)
		return;
	vm->awaiting[vm->n_awaiting++] = completion_more(wait);
	evtimer_add(vm->patience, &limit);
}

/* ---- what it is told ---- */

static struct worker_dns dns_of(const struct vm *vm, const char **search)
{
	for (size_t i = 0; i < vm->config.n_search; i++)
		search[i] = vm->config.search[i];
	return (struct worker_dns){
		.upstreams = vm->config.n_upstreams ? vm->config.upstreams : vm->vms->upstreams,
		.n_upstreams = vm->config.n_upstreams ? vm->config.n_upstreams
						      : vm->vms->n_upstreams,
		.search = search,
		.n_search = vm->config.n_search,
		.answer_unlisted = vm->config.answer_unlisted,
	};
}

static struct worker_hosts hosts_of(const struct vm *vm)
{
	return (struct worker_hosts){
		.hosts = vm->hosts->items,
		.n_hosts = vm->hosts->n,
		.host_access = vm->config.host_access,
	};
}

void vm_worker_policy(struct vm *vm, bool cut_existing, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	struct worker_policy policy = {
		.table = vm->table,
		.len = vm->table_len,
		.cut_existing = cut_existing,
		.document = policy_number(vm->policy),
	};

	if (client)
		worker_client_policy_set(client, &policy, completion_done, completion_more(wait));
}

void vm_worker_hosts(struct vm *vm, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	struct worker_hosts hosts = hosts_of(vm);

	if (client)
		worker_client_hosts_set(client, &hosts, completion_done, completion_more(wait));
}

void vm_worker_dns(struct vm *vm, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);
	const char *search[VM_SEARCH_MAX];
	struct worker_dns dns = dns_of(vm, search);

	if (client)
		worker_client_dns_set(client, &dns, completion_done, completion_more(wait));
}

void vm_worker_limits(struct vm *vm, struct completion *wait)
{
	struct worker_client *client = vm_worker(vm);

	if (client)
		worker_client_limits_set(
			client, &vm->config.limits, completion_done, completion_more(wait));
}

/* Looks for a VM that may have gone while its worker answered. */
struct about {
	struct vms *vms;
	char vm[VM_NAME_MAX + 1];
};

static struct about *about_new(struct vm *vm)
{
	struct about *about = calloc(1, sizeof(*about));

	if (about) {
		about->vms = vm->vms;
		memcpy(about->vm, vm->config.name, sizeof(about->vm));
	}
	return about;
}

static void on_configured(void *arg, int code, const char *text)
{
	struct about *about = arg;
	struct vm *vm = about ? vms_find(about->vms, about->vm) : NULL;

	if (vm && code && code != -ECONNRESET && code != -ECANCELED) {
		snprintf(vm->failure, sizeof(vm->failure), "worker: %s", text);
		vm_event(vm, "worker.failed", vm_event_reason(text));
	}
	free(about);
}

static void on_described(
	void *arg, int code, const char *text, struct worker_description *description)
{
	struct about *about = arg;
	struct vm *vm = about ? vms_find(about->vms, about->vm) : NULL;

	(void)text;
	if (vm && !code)
		snprintf(vm->sandbox, sizeof(vm->sandbox), "%s", description->sandbox);
	if (vm) {
		vm->describing = false;
		vm_worker_awaited(vm);
	}
	free(about);
}

struct worker_name *vm_names(const struct vm *vm)
{
	struct worker_name *names = vm->n_names ? calloc(vm->n_names, sizeof(*names)) : NULL;
	size_t first = vm->n_names < VM_NAMES_KEPT ? 0 : vm->names_at;

	for (size_t i = 0; names && i < vm->n_names; i++)
		names[i] = vm->names[(first + i) % VM_NAMES_KEPT];
	return names;
}

void vm_worker_configure(struct vm *vm, struct worker_client *client)
{
	const char *search[VM_SEARCH_MAX];
	struct worker_name *names = vm_names(vm);
	struct vm_proxy_told proxies;
	struct forward *forward;
	struct worker_config config = {
		.vm = vm->config.name,
		.subnet = vm->config.subnet,
		.gateway = vm->config.gateway,
		.guest = vm->config.guest,
		.gateway_mac = gateway_mac,
		.guest_mac = vm->config.mac_fixed ? vm->config.mac : vm->mac,
		.guest_mac_known = vm->config.mac_fixed || vm->mac_known,
		.guest_mac_fixed = vm->config.mac_fixed,
		.mtu = vm_config_mtu(&vm->config, vm->config.link == VM_LINK_DGRAM),
		.host_access = vm->config.host_access,
		.hostname = vm->config.name,
		.dns = dns_of(vm, search),
		.policy = {.table = vm->table,
			.len = vm->table_len,
			.document = policy_number(vm->policy)},
		.hosts = hosts_of(vm),
		.proxies = &proxies.msg,
		.lease = vm->has_lease ? &vm->lease : NULL,
		.names = names,
		.n_names = names ? vm->n_names : 0,
		.reset_flows = vm->flows_dead,
	};

	if (vm->flow_memory < 0)
		vm->flow_memory = os_shm_create("netctl-flows", FLOW_MEMORY_SIZE);
	if (vm->flow_memory < 0) {
		log_warn(vm->config.name, "flow_memory.failed", "reason=\"%s\"",
			errno_text(vm->flow_memory));
		vm->flow_memory = -1;
	}
	config.flow_memory = vm->flow_memory;
	vm_proxy_tell(vm, &proxies);
	worker_client_configure(client, &config, on_configured, about_new(vm));
	vm_proxy_done(&proxies);
	free(names);
	vm->configured = true;
	vm->flows_dead = false;
	vm_worker_limits(vm, NULL);
	vm_link_push(vm, NULL);
	vm_vsock_push(vm, NULL);
	vm_vhost_push(vm);
	vm_tsi_push(vm, NULL);
	TAILQ_FOREACH(forward, &vm->forwards, next)
		vm_forward_push(vm, forward, NULL);
	/* Last: its answer says that the others are through, too. */
	vm->describing = true;
	worker_client_describe(client, on_described, about_new(vm));
}

/* ---- its life ---- */

/* Another worker counts anew: what the one before told is written, and then its number forgotten, also
 * by a netctld to come. */
static void count_anew(struct vm *vm)
{
	struct error err;

	vm_tell_refusals(vm);
	events_flush(vm->vms->events);
	vm->told.last = vm->told.stored = 0;
	if (!vm->ephemeral && store_event_set_number(vm->vms->store, vm->config.name, 0, &err) < 0)
		log_error(vm->config.name, "events.number_kept", "reason=\"%s\"", err.text);
}

static void on_up(void *arg, struct worker_client *client, enum supervised_how how)
{
	struct vm *vm = arg;
	struct supervised_info info;
	struct json_object *data = json_object_new_object();

	supervised_info(vm->slot, &info);
	vm->failure[0] = '\0';
	json_put_int(data, "pid", info.pid);
	if (how == SUPERVISED_AGAIN)
		json_put_int(data, "restarts", info.restarts);
	vm_event(vm, how == SUPERVISED_ADOPTED ? "worker.adopted" : "worker.started", data);
	if (how == SUPERVISED_ADOPTED) {
		vm_adopt(vm, client);
		return;
	}
	count_anew(vm);
	if (how == SUPERVISED_AGAIN)
		vm->flows_dead = vm->flow_memory >= 0;
	if (!vm->settled)
		vm_settle(vm, true);
	vm_worker_configure(vm, client);
}

static void on_down(void *arg, const char *text)
{
	struct vm *vm = arg;

	vm->configured = false;
	vm->adopting = false;
	vm->resetting = false;
	vm->describing = false;
	vm->sandbox[0] = '\0';
	vm->flows_dead = vm->flow_memory >= 0;
	vm_event(vm, "worker.died", vm_event_reason(text));
	vm_dials_cancel(vm);
	vm_link_orphaned(vm);
	vm_tell_link(vm, false, "worker died");
	vm_vsock_orphaned(vm);
}

static void on_failed(void *arg, int code, const char *text)
{
	struct vm *vm = arg;

	(void)code;
	vm->describing = false;
	if (strcmp(vm->failure, text) == 0)
		return;
	snprintf(vm->failure, sizeof(vm->failure), "%s", text);
	vm_event(vm, "worker.failed", vm_event_reason(text));
	vm_worker_awaited(vm);
}

/* ---- what it tells ---- */

/* The link came up: keep the connection, too, so that the VMM outlives this worker. */
static void on_link_described(
	void *arg, int code, const char *text, struct worker_description *description)
{
	struct about *about = arg;
	struct vm *vm = about ? vms_find(about->vms, about->vm) : NULL;

	(void)text;
	if (vm && !code && vm->link_up && description->link_up)
		vm_link_connected(vm, &description->link_connected);
	free(about);
}

static void on_link_changed(void *arg, const struct worker_link_event *event)
{
	struct vm *vm = arg;

	if (event->refused) {
		vm_tell_refusals(vm);
		vm_event_numbered(vm, "link.refused",
			vm_event_reason(event->text[0] ? event->text : "link in use"),
			vm->told.last);
		return;
	}
	if (event->up != vm->link_up) {
		vm_link_changed(vm, event->up);
		if (event->up && vm->config.link == VM_LINK_STREAM)
			worker_client_describe(
				supervised_client(vm->slot), on_link_described, about_new(vm));
	}
	vm_tell_link(vm, event->up, event->text);
}

static void on_guest_seen(void *arg, const struct mac *mac)
{
	struct vm *vm = arg;

	if (vm->resetting)
		return;
	if (!vm->mac_known || !mac_eq(&vm->mac, mac)) {
		vm->mac = *mac;
		vm->mac_known = true;
		vm->guest_dirty = true;
	}
	vm_tell_guest(vm);
}

static void on_lease(void *arg, const struct worker_lease *lease)
{
	struct vm *vm = arg;
	bool same = vm->has_lease && addr_eq(&vm->lease.addr, &lease->addr) &&
		mac_eq(&vm->lease.mac, &lease->mac) &&
		strcmp(vm->lease.hostname, lease->hostname) == 0;

	if (vm->resetting)
		return;
	vm->lease = *lease;
	vm->has_lease = !addr_eq(&lease->addr, &addr_any); /* given up: RELEASE or DECLINE */
	if (same)
		return;
	vm->guest_dirty = vm->lease_new = true;
}

static void on_names_seen(void *arg, const struct worker_name *names, size_t n)
{
	struct vm *vm = arg;

	if (vm->resetting)
		return;
	if (!vm->names)
		vm->names = calloc(VM_NAMES_KEPT, sizeof(*vm->names));
	for (size_t i = 0; vm->names && i < n; i++) {
		vm->names[vm->names_at] = names[i];
		vm->names_at = (vm->names_at + 1) % VM_NAMES_KEPT;
		if (vm->n_names < VM_NAMES_KEPT)
			vm->n_names++;
	}
}

static void on_flow_refused(void *arg, const struct worker_refused_event *event)
{
	vm_refused(arg, event);
}

static bool on_number(void *arg, uint64_t number)
{
	return vm_event_is_new(arg, number);
}

/* The fd is a duplicate of what we kept; closing it is the client's affair. */
static void on_link_returned(void *arg, int *fd)
{
	struct vm *vm = arg;

	(void)fd;
	vm_link_changed(vm, false);
	vm_link_returned(vm);
	vm_tell_link(vm, false, "the VMM's socket has gone");
}

static void on_vsock_changed(void *arg, const struct worker_vsock_event *event)
{
	vm_vsock_changed(arg, event);
}

static int on_tsi_listen(void *arg, const struct tsi_listener *asked, struct endpoint *host)
{
	struct vm *vm = arg;

	return vm->resetting ? -EAGAIN : vm_tsi_listen(vm, asked, host);
}

static void on_vhost_session(void *arg, struct worker_vhost_session *session)
{
	vm_vhost_keep(arg, session);
}

static void on_tsi_closed(void *arg, uint32_t svm_port)
{
	struct vm *vm = arg;

	if (!vm->resetting)
		vm_tsi_close(vm, svm_port);
}

static void on_tsi_proxies(void *arg, const struct tsi_proxy *proxies, size_t n)
{
	struct vm *vm = arg;

	if (!vm->resetting)
		vm_tsi_proxies(vm, proxies, n);
}

static int on_env_get(void *arg, char **document, size_t *len)
{
	struct vm *vm = arg;
	struct error err;

	if (vm_env_document(vm, document, len, &err) == 0) {
		vm->env.told = false;
		return 0;
	}
	if (!vm->env.told)
		log_error(vm->config.name, "env.failed", "reason=\"%s\"", err.text);
	vm->env.told = true;
	return -EIO;
}

const struct supervised_ops vm_worker_ops = {
	.up = on_up,
	.down = on_down,
	.failed = on_failed,
	.events =
		{
			.number = on_number,
			.link_changed = on_link_changed,
			.guest_seen = on_guest_seen,
			.lease = on_lease,
			.names_seen = on_names_seen,
			.flow_refused = on_flow_refused,
			.proxy_trouble = vm_proxy_trouble,
			.link_returned = on_link_returned,
			.env_get = on_env_get,
			.vsock_dial = vm_vsock_dial,
			.tsi_listen = on_tsi_listen,
			.tsi_closed = on_tsi_closed,
			.tsi_proxies = on_tsi_proxies,
			.vsock_changed = on_vsock_changed,
			.vhost_session = on_vhost_session,
		},
};
