/* SPDX-License-Identifier: MIT */
/*
 * The VMs that netctld knows, and what it does for each.
 *
 *	vm.c          the set: create, find, change, delete
 *	vm_json.c     the VM's document
 *	vm_restore.c  the set from the store, at start
 *	env.c         environment and secrets
 *	vm_proxy.c    by which proxies its flows go
 *	vm_link.c     the socket at which a VMM finds its NIC
 *	vm_forward.c  a VM's forwards and their listening sockets
 *	vm_vsock.c    the sockets of its vsock
 *	vm_vhost.c    the session of its VMM, for a successor
 *	vm_map.c      its maps, and connections to where they lead
 *	vm_tsi.c      what its guest holds through TSI
 *	vm_worker.c   what the VM's worker is told, and what it tells
 *	vm_tell.c     what of that becomes an event
 *	vm_reset.c    the end of a guest's life, and whether it can be had without loss
 *	vm_adopt.c    a worker that outlived the netctld before us
 *
 * State, as the API names it:
 *
 *	            LinkChanged up                    no worker can be started, or
 *	waiting ◄────────────────────► running        the link's socket cannot be bound
 *	       LinkChanged down, worker gone               ► failed, until it can
 *
 * and the same with the vsock's VMM and sockets: either VMM makes it running.
 *
 * A worker is wanted as soon as there is something for it to hold: a link's listener, a NIC, a vsock
 * or a forward; and kept until the VM goes. (It could wait for the VMM, but forwards are to be accepted
 * before that, an idle one costs a few MiB, and a worker that cannot be started should show at
 * `vm create` rather than when the guest boots.)
 *
 * What netctld keeps of a worker's: duplicates of each socket it handed over (link listener, NIC,
 * forwards, vsock, TSI listeners), the flow memory, the lease, the guest's MAC and the last names. A respawned worker gets
 * them all. A stream link's connection is kept, too; the next worker finds its frames again.
 *
 * One thread, the event loop of struct vms. Changes are in the store before a function returns 0; what
 * is still on its way to the worker is counted by a struct completion.
 */
#ifndef CTL_VM_H
#define CTL_VM_H

#include "common/error.h"
#include "ctl/completion.h"
#include "ctl/env.h"
#include "ctl/events.h"
#include "ctl/forward.h"
#include "ctl/hosts.h"
#include "ctl/map.h"
#include "ctl/policy.h"
#include "ctl/refusals.h"
#include "ctl/store/store.h"
#include "ctl/supervisor.h"
#include "ctl/tsi.h"
#include "ctl/vm_config.h"
#include "ctl/vm_proxy.h"
#include "ctl/vm_vhost.h"
#include "ctl/vm_vsock.h"

#include <event2/util.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct api;
struct api_socket;
struct event;
struct event_base;
struct host_proxies;
struct proxy_names;
struct secret_key;
struct vm_dial;
struct vms;

#define VM_AWAITING_MAX 64
#define VM_AWAIT_MS 1500
#define VM_NAMES_KEPT 4096 /* of the name log, for a worker's successor */

struct vm {
	TAILQ_ENTRY(vm) next; /* by name */
	struct vms *vms;
	struct vm_config config;
	struct policy *policy;
	uint8_t *table; /* the policy, compiled */
	size_t table_len;
	struct hosts *hosts;
	struct env env;
	struct vm_proxy proxy;
	TAILQ_HEAD(forward_list, forward) forwards;
	size_t n_forwards;
	bool ephemeral;    /* not in the store */
	const void *owner; /* of an ephemeral VM: its attach connection */
	int64_t created_ms;

	/* the guest, as its worker tells */
	bool mac_known;
	struct mac mac;
	bool has_lease;
	struct worker_lease lease;
	bool guest_dirty;          /* mac and lease are newer than the store's */
	bool lease_new;            /* and the lease has no event yet */
	struct worker_name *names; /* the newest VM_NAMES_KEPT, a ring; NULL while there are none */
	size_t n_names;
	size_t names_at;
	struct refusals refusals;
	struct {                         /* the newest events, also of the netctld before us */
		uint64_t last;           /* number of what the worker told last */
		uint64_t stored;         /* up to here it is on the disk */
		bool link, vsock, guest; /* that it is up */
	} told;

	/* the link */
	int listener;       /* stream: listening socket, or -1 */
	int bound;          /* dgram: bound socket, or -1; it is the NIC once peer is known */
	bool bound_peer;    /* dgram: connected to its peer */
	struct event *peek; /* dgram: the first datagram of a peer */
	int nic;            /* attached by attach.sock, or -1 */
	bool nic_served;    /* a worker has read from it */
	int vmm; /* stream: the worker's connection to the VMM, for its successor, or -1 */
	enum worker_link_kind nic_kind;
	bool link_up;
	char link_error[160]; /* why the socket could not be bound, or "" */
	struct event *ttl;

	/* the vsock */
	struct vm_vsock vsock;
	struct vm_vhost vhost;
	struct vm_tsi tsi;
	TAILQ_HEAD(map_list, map) maps; /* by port */
	size_t n_maps;
	TAILQ_HEAD(vm_dial_list, vm_dial) dials; /* connections that the worker waits for */

	struct api_socket *gvproxy; /* RUNTIME/vms/NAME/gvproxy.sock, or NULL */
	bool gvproxy_told;          /* why there is none */

	/* the worker */
	struct supervised *slot;
	bool configured; /* the live worker had its Configure, so changes are to be sent */
	bool adopting;   /* its Description or Forwards are on their way */
	bool describing; /* it is being configured, and its Description is on its way */
	bool resetting;  /* what it tells may be of the guest's old life */
	bool settled;    /* sockets were bound, or found in an adopted worker */
	int flow_memory; /* -1 until the first worker */
	bool flows_dead; /* flow_memory holds a dead worker's flows */
	char sandbox[16];
	char failure[256]; /* why no worker can be started, or "" */
	struct completion
		*awaiting[VM_AWAITING_MAX]; /* answers that wait for it to be up, or not */
	size_t n_awaiting;
	struct event *patience; /* theirs */
};

struct vms {
	TAILQ_HEAD(vm_list, vm) list;
	size_t n;
	struct event_base *base;
	struct store *store;
	struct events *events;
	struct supervisor *supervisor;
	struct api *gvproxy;    /* serves their gvproxy.sock; NULL: not yet, or no more */
	struct secret_key *key; /* NULL: there is none, and key_error says why */
	char key_error[512];
	const char *runtime_dir;
	gid_t group;        /* of the links' sockets, or (gid_t)-1 */
	struct prefix *own; /* the host's interfaces' addresses */
	size_t n_own;
	struct endpoint upstreams[VM_UPSTREAMS_MAX]; /* the host's resolv.conf */
	size_t n_upstreams;
	struct host_proxies *host_proxies; /* NULL: none are known */
	struct proxy_names *proxy_names;
	struct event *housekeeping; /* each second: guests to the store, sockets to retry */
	struct event *tell;         /* soon after a refusal: vms_tell() */
	unsigned ticks;
};

/* ---- the set ---- */

/* Everything that a POST may say. */
struct vm_request {
	struct vm_config config;
	struct policy *policy; /* owned until taken */
	struct hosts *hosts;   /* NULL: none */
	struct forward_spec *forwards;
	size_t n_forwards;
};

void vms_init(struct vms *vms);
/* Frees all VMs and closes their sockets; ends no worker, removes no path. */
void vms_free(struct vms *vms);
/* All VMs of the store, not settled yet. 0 or -1. */
int vms_restore(struct vms *vms, struct error *err);
/* Binds what no adopted worker holds. Called once the supervisor has told of its spawner. */
void vms_settle(struct vms *vms);
struct vm *vms_find(struct vms *vms, const char *name);
/* Now and at each change of the host: */
void vms_set_own_addrs(struct vms *vms, const struct prefix *own, size_t n);
void vms_set_upstreams(struct vms *vms, const struct endpoint *upstreams, size_t n);

/* Reads a POST body. 0, or -1 with nothing to free. */
int vm_request_read(struct vms *vms, struct json_object *doc, enum vm_link link_default,
	struct vm_request *request, struct error *err);
void vm_request_free(struct vm_request *request);

/* Whether `vm` is what the request asks for. */
bool vm_same(const struct vm *vm, const struct vm_request *request);
/* Takes policy and hosts of the request. The VM, or NULL (409 where the name is taken). */
struct vm *vm_create(
	struct vms *vms, struct vm_request *request, bool ephemeral, struct error *err);
/* Forgets the VM at once; gone (may be NULL) is called when its ports and paths are free again. */
int vm_delete(struct vm *vm, void (*gone)(void *arg), void *arg, struct error *err);
struct json_object *vm_json(struct vm *vm);
const char *vm_state(const struct vm *vm);
/* Whether a VMM is connected. */
bool vm_in_use(const struct vm *vm);
struct json_object *vm_lease_json(const struct vm *vm); /* or NULL */

/* Each takes what it is given on success only, and counts what is on its way in `wait`. */
/* All of it or nothing, on the disk and here; a *policy that is the one in force stays the caller's. */
int vm_change(struct vm *vm, const struct vm_config *config, struct policy **policy,
	struct completion *wait, struct error *err);
int vm_set_policy(struct vm *vm, struct policy *policy, bool cut_existing, struct completion *wait,
	struct error *err);
int vm_set_hosts(struct vm *vm, struct hosts *hosts, struct completion *wait, struct error *err);

/* ---- parts of these, for who makes several changes one (state_apply.c) ---- */

/* A VM with its sockets that is neither in the set nor in the store; takes policy and hosts of the
 * request. NULL with err filled. */
struct vm *vm_prepare(
	struct vms *vms, struct vm_request *request, bool ephemeral, struct error *err);
/* Takes back what vm_prepare() did. */
void vm_abandon(struct vm *vm);
/* Its rows, with those of its forwards, maps and env. */
int vm_store_new(struct vm *vm, struct error *err);
/* From here on it is in the set. */
void vm_begin(struct vm *vm);
/* vm_delete() but for the store. */
void vm_end(struct vm *vm, void (*gone)(void *arg), void *arg);
/* Whether a VM may be given these settings while it lives (409). */
bool vm_can_become(const struct vm *vm, const struct vm_config *to, struct error *err);
/* Within store_begin() and store_end(): it is more than one write. */
int vm_store_config(const struct vm *vm, const struct vm_config *config, struct error *err);
void vm_take_config(struct vm *vm, const struct vm_config *config, struct completion *wait);
/* policy and its table, both taken. */
void vm_take_table(struct vm *vm, struct policy *policy, uint8_t *table, size_t len,
	bool cut_existing, struct completion *wait);
void vm_take_hosts(struct vm *vm, struct hosts *hosts, struct completion *wait);

/* ---- parts of these, for vm_restore.c ---- */

struct vm *vm_new(struct vms *vms, const struct vm_config *config);
void vm_free(struct vm *vm);
void vms_insert(struct vms *vms, struct vm *vm);
int vm_slot(struct vm *vm, struct error *err);
/* As policy_compile(), with what is known of the host, for a VM with such a proxy and for one that is. */
int vms_compile_policy(const struct vms *vms, const struct proxy_config *proxy,
	struct policy *policy, const char *path, uint8_t **table, size_t *len, struct error *err);
int vm_compile_policy(const struct vm *vm, struct policy *policy, const char *path, uint8_t **table,
	size_t *len, struct error *err);
int vm_take_policy(struct vm *vm, struct policy *policy, const char *path, struct error *err);
int vm_guest_store(struct vm *vm, struct error *err);
/* Binds what this VM should have and has not; again and again until it can. */
void vm_settle(struct vm *vm, bool first);

/* ---- forwards (vm_forward.c) ---- */

struct forward *vm_forward_find(struct vm *vm, const char *id);
/*
 * Adds all of them or none; handed_fd (with n 1) is the socket of a forward by attach, taken on
 * success, else -1. made[i] (may be NULL) becomes the forward of specs[i], is_new[i] says whether it
 * was made now. Errors name "path[i].listen", or "listen" where path is NULL.
 */
int vm_forwards_add(struct vm *vm, const struct forward_spec *specs, size_t n, const char *path,
	int handed_fd, struct forward **made, bool *is_new, struct completion *wait,
	struct error *err);
/* Its first half: sockets, but neither store nor worker. */
int vm_forwards_prepare(struct vm *vm, const struct forward_spec *specs, size_t n, const char *path,
	int handed_fd, struct forward **made, bool *is_new, struct error *err);
int vm_forward_store(struct vm *vm, const struct forward *forward, struct error *err);
/* Removes the forward; its port is free when wait is done. */
int vm_forward_delete(
	struct vm *vm, struct forward *forward, struct completion *wait, struct error *err);
/* Adds one that is bound and stored to the set, and to the worker. */
void vm_forward_begin(struct vm *vm, struct forward *forward, struct completion *wait);
/* Removes one that the store has no more, and its socket but for `keep_path`: a successor has it. */
void vm_forward_end(
	struct vm *vm, struct forward *forward, bool keep_path, struct completion *wait);
/* Binds the sockets of forwards that have none; `first` tells of each that fails. */
void vm_forwards_bind(struct vm *vm, bool first);
void vm_forward_push(struct vm *vm, struct forward *forward, struct completion *wait);

/* ---- maps (vm_map.c) ---- */

struct map *vm_map_find(struct vm *vm, uint32_t port);
/*
 * *made is the map, is_new whether it was made now. handed (NULL: none) is the directory of a handed
 * path, taken on success, also by a map that exists. 0 or -1.
 */
int vm_map_add(struct vm *vm, const struct map_spec *spec, struct place *handed, struct map **made,
	bool *is_new, struct completion *wait, struct error *err);
/* Its first half: a map that is neither in the set nor in the store, with the listener of `like` (which
 * has it too) where that is not NULL. NULL with err filled. */
struct map *vm_map_prepare(
	struct vm *vm, const struct map_spec *spec, const struct map *like, struct error *err);
int vm_map_store(struct vm *vm, const struct map *map, struct error *err);
void vm_map_insert(struct vm *vm, struct map *map);
/* A stored one into the set and to the worker. */
void vm_map_begin(struct vm *vm, struct map *map, struct completion *wait);
/* A stored one in the place of another, whose listener it may have. */
void vm_map_replace(struct vm *vm, struct map *old, struct map *map, struct completion *wait);
/* Removes one that the store has no more. */
void vm_map_end(struct vm *vm, struct map *map, struct completion *wait);
void vm_map_drop(struct map *map); /* frees, and closes what it holds */
int vm_map_delete(struct vm *vm, struct map *map, struct completion *wait, struct error *err);
/* With the places of handed paths. */
int vm_maps_restore(struct vm *vm, struct error *err);
/* Keeps whose rights a handed path of this port (0: the vsock's) is reached with. */
int vm_place_store(struct vm *vm, uint32_t port, const struct place *place, struct error *err);
void vm_maps_free(struct vm *vm);
/* worker_client_events.vsock_dial; arg is the struct vm. */
void vm_vsock_dial(void *arg, uint64_t question, bool vmm, uint32_t port);
/* Nobody waits for them any more. */
void vm_dials_cancel(struct vm *vm);

/* ---- the link (vm_link.c) ---- */

/* Binds the path of a stream or dgram link unless that is done, or not ours to do. */
int vm_link_open(struct vm *vm, struct error *err);
/* Closes the sockets; `remove` also removes the path and the VM's directory. */
void vm_link_close(struct vm *vm, bool remove);
/* A NIC, or a listening (stream) or bound (dgram) socket, handed over. Takes fd on success. */
int vm_link_attach(struct vm *vm, enum worker_link_kind kind, int fd, struct completion *wait,
	struct error *err);
int vm_link_listen(struct vm *vm, enum vm_link kind, const char *path, int fd,
	struct completion *wait, struct error *err);
void vm_link_push(struct vm *vm, struct completion *wait);
/* The worker's word that the peer of the dgram socket is gone: the next one is awaited. */
void vm_link_returned(struct vm *vm);
void vm_link_changed(struct vm *vm, bool up);
/* Keeps the connection of a stream link to its VMM (taken: *connected is set to -1). */
void vm_link_connected(struct vm *vm, int *connected);
/* The worker is gone; its successor goes on with the same link. */
void vm_link_orphaned(struct vm *vm);
/* Sockets out of an adopted worker; each is taken (set to -1) where it is what this VM should have. */
void vm_link_adopt(struct vm *vm, enum worker_link_kind kind, int *listener, int *connected);
/* Restarts the clock of --ttl. */
void vm_ttl_start(struct vm *vm);

/* ---- gvproxy.sock (api/gvproxy.c) ---- */

/* Opens it unless it is; where that cannot be, this is logged once. */
void vm_gvproxy_open(struct vm *vm);
void vm_gvproxy_close(struct vm *vm);

/* ---- the worker (vm_worker.c, vm_adopt.c) ---- */

/* Has a worker where it needs one. */
void vm_worker_want(struct vm *vm);
/* Counts in `wait` the start of a worker that is wanted and not there yet: until it is configured,
 * cannot be started, or VM_AWAIT_MS have passed. */
void vm_worker_await(struct vm *vm, struct completion *wait);
/* The same for a worker that is about to be replaced, or is being adopted. */
void vm_worker_await_next(struct vm *vm, struct completion *wait);
void vm_worker_awaited(struct vm *vm);
/* The client of a worker that takes changes, or NULL. */
struct worker_client *vm_worker(struct vm *vm);
void vm_worker_policy(struct vm *vm, bool cut_existing, struct completion *wait);
void vm_worker_hosts(struct vm *vm, struct completion *wait);
void vm_worker_dns(struct vm *vm, struct completion *wait);
void vm_worker_limits(struct vm *vm, struct completion *wait);
void vm_worker_configure(struct vm *vm, struct worker_client *client);
void vm_adopt(struct vm *vm, struct worker_client *client);
extern const struct supervised_ops vm_worker_ops;
/* The vm->n_names names that are kept, oldest first, for the caller to free; or NULL. */
struct worker_name *vm_names(const struct vm *vm);

/* ---- between two lives of the guest (vm_reset.c) ---- */

/* What a snapshot would lose. */
struct vm_busy {
	uint32_t pending; /* handshakes and requests under way */
	uint32_t live;    /* connections */
	uint32_t queued;  /* packets, and connections with bytes that wait */
};

/* NULL: the worker did not say in time. */
typedef void vm_busy_fn(void *arg, const struct vm_busy *busy);
/* Asks the worker; done may be called from inside. The VM may be gone by then. */
void vm_busy(struct vm *vm, vm_busy_fn *done, void *arg);
bool vm_is_idle(const struct vm_busy *busy);
struct json_object *vm_busy_json(const struct vm_busy *busy);

/* Ends the guest's life: its connections, listeners, lease, MAC and names. wait is done when nothing
 * of it is left. 0, or -1 with nothing changed. */
int vm_reset(struct vm *vm, struct completion *wait, struct error *err);
/* Parts of it, for a restore: whether it can be now (503); what the old life has left to tell, before
 * it ends; and the worker's part, whose next life begins with the VM's lease, MAC and names. */
int vm_can_reset(const struct vm *vm, struct error *err);
void vm_last_events(struct vm *vm);
void vm_reset_worker(struct vm *vm, struct completion *wait);

/* An event about this VM; data is consumed. */
void vm_event(struct vm *vm, const char *type, struct json_object *data);
void vm_event_numbered(struct vm *vm, const char *type, struct json_object *data, uint64_t number);
/* {"reason":text} */
struct json_object *vm_event_reason(const char *text);

/* ---- what the worker tells, as events (vm_tell.c) ---- */

/* False for what the store has already. */
bool vm_event_is_new(struct vm *vm, uint64_t number);
/* events_stored_fn; arg is the struct vms. */
void vms_event_stored(void *arg, const char *name, uint64_t number);
/* An event where that is news; reason may be "". */
void vm_tell_link(struct vm *vm, bool up, const char *reason);
void vm_tell_vsock(struct vm *vm, bool up, const char *reason);
/* That its first frame since the link came up was seen. */
void vm_tell_guest(struct vm *vm);
void vm_refused(struct vm *vm, const struct worker_refused_event *event);
void vm_tell_refusals(struct vm *vm);
void vms_tell(evutil_socket_t fd, short what, void *arg);
int vms_restore_told(struct vms *vms, struct error *err);

#endif
