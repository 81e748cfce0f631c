/* SPDX-License-Identifier: MIT */
/*
 * netctld's typed view of one worker: requests with completions, events, and nothing believed.
 *
 * Runs on netctld's libevent loop; one thread. The supervisor makes and frees clients and gives
 * each to its VM by supervised_ops.up; a client is valid until supervised_ops.down returns.
 *
 * Requests. Each takes a `done` (may be NULL) that is called exactly once, from the loop and never
 * from inside the request: code 0, or a negative errno with one line of text (never NULL). A worker
 * that answers with nonsense, or not within WORKER_CLIENT_DEADLINE_MS, gives -EPROTO or
 * -ETIMEDOUT; one that dies -ECONNRESET; freeing the client -ECANCELED. Requests are carried out
 * and answered in order. Everything passed in is copied, and fds are duplicated: they stay the
 * caller's, so netctld keeps its own copy of each listening socket.
 *
 * Answers and events come from a process that a guest may have captured: before a callback sees
 * them lengths, counts and ranges were checked and text is printable ASCII. What they *claim* is
 * still only a claim (a lease's address, a forward's id that was never added): ids that name
 * nothing must be ignored by the callee.
 *
 * Received fds: a struct's fd member belongs to the client and is closed after the callback,
 * unless the callee takes it by setting the member to -1. What such an fd is has not been checked.
 *
 * Ports in host byte order, addresses IPv4-mapped (common/addr.h), times as their names say.
 */
#ifndef CTL_WORKER_CLIENT_H
#define CTL_WORKER_CLIENT_H

#include "common/addr.h"
#include "common/policy_table.h"
#include "ctl/limits_config.h"
#include "ctl/proxy_config.h"
#include "ctl/proxy_names.h"
#include "ctl/tsi.h"
#include "dataplane/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKER_CLIENT_DEADLINE_MS 10000
#define WORKER_CLIENT_BUSY_MS 1000
#define WORKER_FORWARDS_MAX 512 /* more than a worker takes; what an answer may list */
#define WORKER_NAME_MAX 253
#define WORKER_HISTOGRAMS_MAX 16
#define WORKER_DIALS_MAX 64
#define WORKER_STREAM_DEADLINE_MS 15000 /* the guest's own are shorter */
#define WORKER_PREFIX_MAX (64u << 10)

struct event_base;
struct worker_client;

typedef void worker_done_fn(void *arg, int code, const char *text);

/* ---- what is sent ---- */

enum worker_link_kind { WORKER_LINK_NONE, WORKER_LINK_STREAM, WORKER_LINK_DGRAM, WORKER_LINK_TAP };

struct worker_dns {
	const struct endpoint *upstreams; /* port 0 is 53 */
	size_t n_upstreams;
	const char *const *search;
	size_t n_search;
	bool answer_unlisted; /* names that no rule could admit */
};

struct worker_host {
	const char *name; /* lower case, no trailing dot */
	const struct addr *addrs;
	size_t n_addrs;
};

struct worker_hosts {
	const struct worker_host *hosts;
	size_t n_hosts;
	bool host_access; /* whether host.internal and its aliases resolve */
};

struct worker_policy {
	const void *table; /* common/policy_table.h, as compiled */
	size_t len;
	bool cut_existing;
	uint64_t document; /* as PolicySet.document */
};

#define WORKER_PROXIES_MAX 3

struct worker_proxy_server {
	bool socks5; /* else HTTP CONNECT */
	struct addr addrs[PROXY_ADDRS_MAX];
	size_t n_addrs; /* 0: its name does not resolve */
	uint16_t port;
	bool auth;
	const char *user, *password;
};

enum worker_proxy_of {
	WORKER_PROXY_HTTP,
	WORKER_PROXY_HTTPS,
	WORKER_PROXY_OTHER,
	WORKER_PROXY_KINDS
};

struct worker_proxies {
	const struct worker_proxy_server *servers;
	size_t n_servers;
	uint32_t of[WORKER_PROXY_KINDS]; /* by number from 1; 0: none */
	const struct proxy_exception *exceptions;
	size_t n_exceptions;
	bool direct_on_failure;
	bool fake_ip;
	bool same_proxies; /* it is told since a name has other addresses */
};

struct worker_lease {
	struct addr addr;
	struct mac mac;
	char hostname[64]; /* "" where the guest gave none */
	int64_t since_ms;  /* wall clock */
};

struct worker_name {
	struct addr addr;
	char name[WORKER_NAME_MAX + 1];
	int64_t until_ms; /* wall clock */
};

struct worker_config {
	const char *vm;
	struct prefix subnet;
	struct addr gateway;
	struct addr guest;
	struct mac gateway_mac;
	struct mac guest_mac; /* where known */
	bool guest_mac_known; /* learned before, or fixed */
	bool guest_mac_fixed;
	uint32_t mtu;
	bool host_access;
	const char *hostname; /* DHCP option 12 for the guest */
	struct worker_dns dns;
	struct worker_policy policy;
	struct worker_hosts hosts;
	const struct worker_proxies *proxies; /* NULL: everything goes straight there */
	const struct worker_lease *lease;     /* a predecessor's, or NULL */
	const struct worker_name *names;      /* a predecessor's name log */
	size_t n_names;
	bool reset_flows; /* flow_memory holds a dead predecessor's flows: reset them */
	int flow_memory;  /* the memfd of the VM's flows; kept by netctld across workers; -1 none */
};

/* What the guest's next life begins with. */
struct worker_life {
	const struct mac *mac;            /* or NULL: to be learned */
	const struct worker_lease *lease; /* or NULL */
	const struct worker_name *names;
	size_t n_names;
};

/* Where a stream of the host's may lead. */
enum worker_target_kind {
	WORKER_TO_PORT,      /* a TCP or UDP port of the guest's */
	WORKER_TO_VSOCK,     /* its vsock port */
	WORKER_TO_TSI_FIRST, /* its first TSI listener, IPv4 before IPv6; port means nothing */
	WORKER_TO_TSI_VM_PORT,
	WORKER_TO_TSI_BOUND_PORT,
};

struct worker_target {
	enum worker_target_kind kind;
	uint32_t port;
};

struct worker_forward {
	char id[160];
	int proto; /* 6 TCP (unix listeners too), 17 UDP */
	struct endpoint listen;
	bool unix_listener; /* then listen means nothing */
	struct worker_target target;
	bool snat;
	int fd; /* the listening (TCP, unix) or bound (UDP) socket */
};

enum worker_vsock_kind {
	WORKER_VSOCK_NONE,
	WORKER_VSOCK_VHOST,
	WORKER_VSOCK_STREAM,
	WORKER_VSOCK_HYBRID
};

/* Whom a listening unix socket of the vsock's is for. */
enum worker_vsock_use { WORKER_VSOCK_HOST, WORKER_VSOCK_PORT };

/* A stream that somebody accepted for the guest. */
struct worker_stream {
	struct worker_target target;
	const void *prefix; /* read from it already */
	size_t prefix_len;
	bool tcp;               /* else a unix socket */
	struct endpoint client; /* of tcp: its far end */
};

/* ---- what comes back ---- */

#define WORKER_VSOCK_LISTENERS_MAX 512 /* more than we give it */

struct worker_vsock_listener {
	enum worker_vsock_use use;
	uint32_t port;
	int fd;
};

/* The vsock as the worker has it; fds as in worker_forwards_fn. */
struct worker_vsock {
	enum worker_vsock_kind kind;
	uint64_t cid;
	bool up;
	int vmm; /* the VMM's listener, or -1 */
	struct worker_vsock_listener *listeners;
	size_t n;
};

/* What the guest holds through TSI; each listener's fd may be taken. Their order is that of age. */
struct worker_tsi {
	struct tsi_listener *listeners;
	size_t n;
	const struct tsi_proxy *proxies;
	size_t n_proxies;
};

/* A vhost-user session, for a worker's successor: numbers that mean nothing here, and its fds in
 * the protocol's order: the connection, each region's, each queue's kick and call. */
#define WORKER_VHOST_REGIONS_MAX 8
#define WORKER_VHOST_QUEUES_MAX 3
#define WORKER_VHOST_FDS_MAX (1 + WORKER_VHOST_REGIONS_MAX + 2 * WORKER_VHOST_QUEUES_MAX)

struct worker_vhost_region {
	uint64_t guest, size, user, offset;
};

struct worker_vhost_queue {
	uint32_t size;
	uint64_t desc, avail, used;
	uint32_t next_avail;
	bool enabled, has_addr, has_kick, has_call;
};

struct worker_vhost_session {
	uint64_t features, protocol_features, status, cid;
	size_t n_regions, n_queues, n_fds; /* n_fds 0: there is no session */
	struct worker_vhost_region regions[WORKER_VHOST_REGIONS_MAX];
	struct worker_vhost_queue queues[WORKER_VHOST_QUEUES_MAX];
	int fds[WORKER_VHOST_FDS_MAX];
};

struct worker_description {
	char vm[64];
	bool configured; /* false: Configure never came; the rest below means nothing */
	struct prefix subnet;
	struct addr gateway;
	struct addr guest;
	struct mac guest_mac;
	bool guest_mac_known;
	bool guest_mac_fixed;
	uint32_t mtu;
	bool host_access;
	char sandbox[16]; /* "namespace", "landlock", "weak", … */
	int64_t since_ms; /* wall clock */
	enum worker_link_kind link;
	bool link_up;
	int link_listener;  /* fd of the stream link's listening socket, or -1 */
	int link_connected; /* fd of the NIC itself, or -1 */
	int flow_memory;    /* fd, or -1 */
	bool has_lease;
	struct worker_lease lease;
	const struct worker_name *names; /* valid during the callback */
	size_t n_names;
};

struct worker_counter {
	char name[64]; /* "link.rx.frames" */
	uint64_t value;
};

struct worker_histogram {
	char name[32];
	struct histogram counts;
};

struct worker_stats {
	const struct worker_counter *counters; /* valid during the callback */
	size_t n_counters;
	struct worker_histogram histograms[WORKER_HISTOGRAMS_MAX];
	size_t n_histograms;
	uint32_t tcp_flows;
	uint32_t udp_flows;
	uint32_t icmp_flows;
	uint32_t vsock_conns;
	uint32_t tsi_listeners;
	uint32_t tsi_proxies; /* datagram sockets */
	/* what a snapshot of the VM would lose */
	uint32_t busy_pending; /* handshakes and requests under way */
	uint32_t busy_live;    /* connections */
	uint32_t busy_queued;  /* packets that wait for the guest or the host */
};

#define WORKER_FLOW_VSOCK 40

struct worker_flow {
	int proto; /* 1, 6, 17, or WORKER_FLOW_VSOCK: then ports, and the addresses may be unset */
	bool inbound;
	uint32_t vsock_guest, vsock_host;
	struct endpoint guest;
	struct endpoint remote; /* as the guest sees it */
	struct endpoint host;   /* what the host side is connected to, or came from */
	char state[32];
	uint64_t age_ms;
	uint64_t idle_ms;
	uint64_t tx_bytes; /* from the guest */
	uint64_t rx_bytes; /* to the guest */
};

typedef void worker_description_fn(
	void *arg, int code, const char *text, struct worker_description *description);
/* The forwards as the worker has them, each with its fd (take it by setting fd to -1). */
typedef void worker_forwards_fn(
	void *arg, int code, const char *text, struct worker_forward *forwards, size_t n);
typedef void worker_stats_fn(
	void *arg, int code, const char *text, const struct worker_stats *stats);
/* All flows up to `max` asked for; truncated says that there were more. */
/* What a rule let through and refused since the worker got its policy. */
struct worker_policy_count {
	uint64_t flows;
	uint64_t tx_bytes; /* from the guest */
	uint64_t rx_bytes; /* to the guest */
	uint64_t refusals;
};
#define WORKER_POLICY_OTHERS 3u /* default, preset, host_access: the last three, in this order */
typedef void worker_policy_counts_fn(
	void *arg, int code, const char *text, const struct worker_policy_count *counts, size_t n);
typedef void worker_addr_names_fn(
	void *arg, int code, const char *text, const char *const *names, size_t n);
typedef void worker_flows_fn(void *arg, int code, const char *text, const struct worker_flow *flows,
	size_t n, bool truncated);
typedef void worker_vsock_fn(void *arg, int code, const char *text, struct worker_vsock *vsock);
typedef void worker_tsi_fn(void *arg, int code, const char *text, struct worker_tsi *tsi);
/* In each of these the last arguments are NULL/0 where code is not 0. */

/* ---- events ---- */

struct worker_link_event {
	bool up;
	enum worker_link_kind kind;
	bool refused;   /* a second VMM was turned away; up and kind are those of the link in use */
	char text[256]; /* why, or "" */
};

struct worker_refused_event { /* aggregated: one a destination and second */
	int proto;            /* 0: the rest of many, to anywhere */
	struct endpoint to;
	int32_t rule; /* index, or a negative POLICY_BY_* */
	uint32_t count;
	char name[WORKER_NAME_MAX + 1]; /* that the rule has, or the address; or "" */
};

struct worker_vsock_event {
	bool up;
	enum worker_vsock_kind kind;
	bool refused;   /* a second VMM was turned away; up is that of the one in use */
	char text[256]; /* why, or "" */
};

/* Any may be NULL. arg is the one given to supervisor_add(). */
struct worker_client_events {
	/* The next event has this number, by which the worker keeps it until
	 * worker_client_events_seen(); false where it is known already, and is to be left out. */
	bool (*number)(void *arg, uint64_t number);
	void (*link_changed)(void *arg, const struct worker_link_event *event);
	void (*guest_seen)(void *arg, const struct mac *mac);
	void (*lease)(void *arg, const struct worker_lease *lease);
	void (*names_seen)(void *arg, const struct worker_name *names, size_t n);
	/* server is by number from 0 of those that it was told. */
	void (*proxy_trouble)(void *arg, uint32_t server, const char *reason, uint32_t count);
	void (*flow_refused)(void *arg, const struct worker_refused_event *event);
	/* The dgram link's peer has gone; *fd is its socket, to await the next peer on. Take it by
	 * setting *fd to -1. */
	void (*link_returned)(void *arg, int *fd);
	/* The worker asks for the guest's env document, at each read of it. 0 with a malloc'd
	 * *document, which the client wipes and frees; or a negative errno for the worker. */
	int (*env_get)(void *arg, char **document, size_t *len);
	/* The worker wants a connected stream socket: to what the host has at a vsock port, or to the
	 * VMM's own socket. To be answered once by worker_client_dialed(), now or later, unless the
	 * client ends before. At most WORKER_DIALS_MAX are open at a time. */
	void (*vsock_dial)(void *arg, uint64_t question, bool vmm, uint32_t port);
	/* The guest listens through TSI. Returns an fd, which stays the callee's, with where it is
	 * bound, or a negative errno for the guest. */
	int (*tsi_listen)(void *arg, const struct tsi_listener *asked, struct endpoint *host);
	void (*tsi_closed)(void *arg, uint32_t svm_port);
	void (*tsi_proxies)(void *arg, const struct tsi_proxy *proxies, size_t n);
	void (*vsock_changed)(void *arg, const struct worker_vsock_event *event);
	/* The VMM's session as it is from now on. Its fds are taken, all of them, by setting
	 * session->n_fds to 0. */
	void (*vhost_session)(void *arg, struct worker_vhost_session *session);
};

/* ---- requests ---- */

/* Once, first, on a new worker. */
void worker_client_configure(struct worker_client *client, const struct worker_config *config,
	worker_done_fn *done, void *arg);
/* The link: a listening stream socket (listener), or the NIC itself; fd -1 with WORKER_LINK_NONE
 * takes the link away. */
void worker_client_link_set(struct worker_client *client, enum worker_link_kind kind, int fd,
	bool listener, uint32_t mtu, worker_done_fn *done, void *arg);
/* To a successor: the connection of a stream link that a dead worker served. */
void worker_client_link_resume(
	struct worker_client *client, int fd, uint32_t mtu, worker_done_fn *done, void *arg);
void worker_client_forward_add(struct worker_client *client, const struct worker_forward *forward,
	worker_done_fn *done, void *arg);
void worker_client_forward_delete(
	struct worker_client *client, const char *id, worker_done_fn *done, void *arg);
void worker_client_policy_set(struct worker_client *client, const struct worker_policy *policy,
	worker_done_fn *done, void *arg);
void worker_client_policy_counts(
	struct worker_client *client, worker_policy_counts_fn *done, void *arg);
/* The names under which the guest was given an address. */
void worker_client_addr_names(struct worker_client *client, const struct policy_flow *flow,
	worker_addr_names_fn *done, void *arg);
/* The password's copies are wiped. */
void worker_client_proxy_set(struct worker_client *client, const struct worker_proxies *proxies,
	worker_done_fn *done, void *arg);
void worker_client_hosts_set(struct worker_client *client, const struct worker_hosts *hosts,
	worker_done_fn *done, void *arg);
void worker_client_dns_set(struct worker_client *client, const struct worker_dns *dns,
	worker_done_fn *done, void *arg);
void worker_client_limits_set(struct worker_client *client, const struct vm_limits *limits,
	worker_done_fn *done, void *arg);
/* Ends the guest's life so far. The answer is a barrier: what the worker tells before it may be of the
 * old life, what it tells after is not. */
void worker_client_reset(struct worker_client *client, const struct worker_life *life,
	worker_done_fn *done, void *arg);
/* Orderly unless abrupt (no FIN or RST to the guest). Use supervised_want() or
 * supervised_remove() rather: a worker that ends by itself is respawned. */
void worker_client_shutdown(
	struct worker_client *client, bool abrupt, worker_done_fn *done, void *arg);

void worker_client_describe(struct worker_client *client, worker_description_fn *done, void *arg);
void worker_client_forwards(struct worker_client *client, worker_forwards_fn *done, void *arg);
void worker_client_stats(struct worker_client *client, worker_stats_fn *done, void *arg);
/* The same for somebody who waits: in WORKER_CLIENT_BUSY_MS or not at all. */
void worker_client_busy(struct worker_client *client, worker_stats_fn *done, void *arg);
void worker_client_flows(
	struct worker_client *client, size_t max, worker_flows_fn *done, void *arg);

/* ---- vsock and TSI (worker_client_vsock.c) ---- */

/* The VMM's listener, where the kind has one, else -1. NONE takes the vsock away. */
void worker_client_vsock_set(struct worker_client *client, enum worker_vsock_kind kind, int vmm,
	uint64_t cid, worker_done_fn *done, void *arg);
void worker_client_vsock_listen(struct worker_client *client, enum worker_vsock_use use,
	uint32_t port, int fd, worker_done_fn *done, void *arg);
void worker_client_vsock_unlisten(struct worker_client *client, enum worker_vsock_use use,
	uint32_t port, worker_done_fn *done, void *arg);
void worker_client_vsock(struct worker_client *client, worker_vsock_fn *done, void *arg);
/* Done when the guest accepted or refused. */
void worker_client_stream_attach(struct worker_client *client, const struct worker_stream *stream,
	int fd, worker_done_fn *done, void *arg);
/* To a successor, or after a restore: those that have an fd, in order, and the proxies. done is
 * called once for all. */
void worker_client_tsi_restore(
	struct worker_client *client, const struct vm_tsi *tsi, worker_done_fn *done, void *arg);
void worker_client_tsi(struct worker_client *client, worker_tsi_fn *done, void *arg);
/* To a successor, behind the vsock_set that gives it the VMM's listener: the session that a dead
 * worker told of (worker_client_vhost.c). */
void worker_client_vhost_resume(struct worker_client *client,
	const struct worker_vhost_session *session, worker_done_fn *done, void *arg);
/* The answer to vsock_dial(): a connected socket, which is duplicated, or a negative errno. */
void worker_client_dialed(struct worker_client *client, uint64_t question, int fd, bool tcp);

/* The worker's protocol version and release as its Hello said. */
uint32_t worker_client_version(const struct worker_client *client);
const char *worker_client_release(const struct worker_client *client);

/* ---- for the supervisor ---- */

/* The owner of events and completions goes, the worker's end is still awaited: pending requests are
 * failed with -ECANCELED from inside, and no event is told any more. */
void worker_client_detach(struct worker_client *client);
/* Ends the connection; closed(err, text) follows from the loop. */
void worker_client_abort(struct worker_client *client, int err, const char *text);

struct worker_client_hooks {
	/* The worker's Hello came and suits us; requests may be sent before, too. */
	void (*ready)(void *arg);
	/* Once; the connection is of no use any more. err is a negative errno: -EPROTO, the
	 * worker broke the protocol; -EPERM, it gave up and said why; else it ended. The client stays to be freed. */
	void (*closed)(void *arg, int err, const char *text);
};

/* The link's frames as pcapng into fd, a connected stream socket; see dataplane/capture.h. */
struct worker_capture {
	uint32_t snaplen; /* 0: all */
	const uint32_t *ports;
	size_t n_ports;
};
void worker_client_capture(struct worker_client *client, const struct worker_capture *capture,
	int fd, worker_done_fn *done, void *arg);

/* The events up to this number are on the disk: the worker may forget them. */
void worker_client_events_seen(struct worker_client *client, uint64_t through);

/* Takes the connected control socket fd in any case. NULL without memory. events_arg goes with
 * events, arg with hooks. */
struct worker_client *worker_client_new(struct event_base *base, int fd, const char *vm,
	const struct worker_client_events *events, void *events_arg,
	const struct worker_client_hooks *hooks, void *arg);
void worker_client_free(struct worker_client *client);

#endif
