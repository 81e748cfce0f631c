/* SPDX-License-Identifier: MIT */
/*
 * The worker: one VM's data plane, put together. control.c calls down into it with what netctld
 * asks, and it calls back with what netctld should know. Everything runs on its one loop.
 */
#ifndef DATAPLANE_WORKER_H
#define DATAPLANE_WORKER_H

#include "common/addr.h"
#include "common/error.h"
#include "dataplane/attach.h"
#include "dataplane/capture.h"
#include "dataplane/counters.h"
#include "dataplane/egress/policy.h"
#include "dataplane/egress/proxy_log.h"
#include "dataplane/limits.h"
#include "dataplane/link/link.h"
#include "dataplane/loop.h"
#include "dataplane/stack/flow.h"
#include "dataplane/stack/net.h"
#include "dataplane/vsock/vsock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker_lease {
	struct addr addr;
	struct mac mac;
	char hostname[64]; /* printable ASCII, "" where the guest gave none */
	int64_t since_ms;  /* wall clock */
};

struct worker_name {
	struct addr addr;
	char name[256];
	int64_t until_ms; /* wall clock */
};

struct worker_host {
	const char *name;
	const struct addr *addrs;
	size_t addr_count;
};

struct worker_dns {
	const struct endpoint *upstreams;
	size_t upstream_count;
	const char *const *search;
	size_t search_count;
	bool answer_unlisted; /* as dns_answer_unlisted() */
};

struct worker_config {
	char vm[64];
	struct net net;
};

struct worker_forward {
	char id[160];
	uint8_t proto;          /* IP_PROTO_TCP or IP_PROTO_UDP */
	struct endpoint listen; /* unset for a unix listener */
	bool unix_listener;
	struct vsock_target to; /* NOTHING: to_port, by the guest's network */
	uint16_t to_port;
	bool snat;
};

/* What the worker tells netctld. */
struct worker_events {
	void *arg;
	void (*link_changed)(
		void *arg, bool up, enum link_kind kind, const char *text, bool refused);
	void (*link_returned)(void *arg, int fd); /* the receiver owns fd */
	void (*guest_seen)(void *arg, const struct mac *mac);
	void (*lease)(void *arg, const struct worker_lease *lease);
	void (*names)(void *arg, const struct worker_name *names, size_t count);
	egress_refused_fn refused;
	proxy_trouble_fn proxy_trouble;
	/* As vsock_events.changed and .session. */
	void (*vsock_changed)(
		void *arg, enum vsock_kind kind, bool up, const char *text, bool refused);
	void (*vsock_session)(void *arg);
	/* As vsock_events.dial; vsock_dialled() follows. */
	bool (*vsock_dial)(void *arg, unsigned question, bool vmm, uint32_t port);
	/* The guest reads its env: worker_env_answer() follows, from the loop. False: nobody to ask. */
	bool (*env_get)(void *arg);
	struct tsi_events tsi; /* with an arg of its own */
};

struct worker;

struct worker *worker_new(const struct worker_events *events); /* NULL without memory */
void worker_free(struct worker *worker);
struct loop *worker_loop(struct worker *worker);

/* Once, before anything else. Owns flow_memory_fd, which may be -1. */
int worker_configure(struct worker *worker, const struct worker_config *config, int flow_memory_fd,
	bool reset_flows, struct error *err);
const struct worker_config *worker_config(const struct worker *worker);
bool worker_configured(const struct worker *worker);

/* Owns fd, also on failure. mtu 0 keeps the configured one. */
int worker_link_set(struct worker *worker, enum link_kind kind, int fd, bool listener, uint16_t mtu,
	struct error *err);
/* Takes over a stream link's connection from a dead predecessor, maybe in the middle of a frame. */
int worker_link_resume(struct worker *worker, int fd, uint16_t mtu, struct error *err);
const struct link *worker_link(const struct worker *worker);

/* Owns fd, also on failure. NONE with fd -1 takes the vsock away. */
int worker_vsock_set(struct worker *worker, enum vsock_kind kind, int fd, bool listener,
	uint64_t guest_cid, struct error *err);
/* Goes on with the VMM of a dead predecessor. Takes the session's fds in any case. */
int worker_vsock_resume(
	struct worker *worker, const struct vhost_session *session, struct error *err);
struct vsock *worker_vsock(const struct worker *worker);
/* For what tsi.h has for netctld. */
struct tsi *worker_tsi(const struct worker *worker);
/* What env_get() asked for; copied. NULL: there is none to be had. */
void worker_env_answer(struct worker *worker, const void *document, size_t len);

/* Owns fd, also on failure. An id that exists is an error. */
int worker_forward_add(
	struct worker *worker, const struct worker_forward *forward, int fd, struct error *err);
int worker_forward_delete(struct worker *worker, const char *id, struct error *err);
size_t worker_forward_count(const struct worker *worker);
/* The forward at index, its fd still the worker's; NULL beyond the end. */
const struct worker_forward *worker_forward_at(const struct worker *worker, size_t index, int *fd);

/* As attach_start(). */
int worker_stream_attach(struct worker *worker, const struct attach *attach, int fd,
	void (*done)(void *arg, int err), void *arg);

/* As captures_start(). */
int worker_capture(struct worker *worker, const struct capture_wish *wish, int fd);

/* As egress_policy_set(). */
int worker_policy_set(struct worker *worker, const void *table, size_t len, uint64_t document,
	bool cut_existing, struct error *err);
/* Owns proxies; NULL: none. Where they are others than before, what UDP has open with the host is
 * closed, to go by the new way with its next datagram; what TCP has open stays. same_proxies: where
 * only addresses are others, which those of a name are again and again, that stays, too. */
void worker_proxies_set(struct worker *worker, struct proxies *proxies, bool same_proxies);
/* For what dial.h has for netctld. */
struct egress *worker_egress(const struct worker *worker);
/* From now on, for what goes on too; flows that are too many are not ended. */
int worker_limits_set(struct worker *worker, const struct limits_config *limits, struct error *err);
int worker_hosts_set(struct worker *worker, const struct worker_host *hosts, size_t count,
	bool host_access, struct error *err);
int worker_dns_set(struct worker *worker, const struct worker_dns *dns, struct error *err);
void worker_lease_restore(struct worker *worker, const struct worker_lease *lease);
bool worker_lease_now(const struct worker *worker, struct worker_lease *out);
/* The guest's MAC, where it is not fixed. */
void worker_mac_restore(struct worker *worker, const struct mac *mac);
void worker_names_restore(struct worker *worker, const struct worker_name *names, size_t count);
/* Calls fn with batches of the name log as it stands. */
void worker_names_walk(const struct worker *worker,
	void (*fn)(void *arg, const struct worker_name *names, size_t count), void *arg);

const struct counters *worker_counters(const struct worker *worker);
/* What a snapshot would lose now. Idle listeners, UDP sockets and echoes are nothing to lose. */
void worker_busy(const struct worker *worker, struct busy *busy);
size_t worker_vsock_count(const struct worker *worker); /* connections */
void worker_flow_counts(const struct worker *worker, uint32_t *tcp, uint32_t *udp, uint32_t *icmp);
/* Up to max rows from *cursor on (0 first); *cursor becomes 0 when there are no more. */
size_t worker_flows(
	const struct worker *worker, uint32_t *cursor, struct flow_info *out, size_t max);

/*
 * Another life of the guest begins; nothing of the old one reaches it:
 *
 *	listeners   of the guest's own (TSI)
 *	I/O         flows, connections, proxies, echoes, fragments, questions; MAC, lease and names
 *	a barrier   what was under way in the loop comes to its end; meanwhile the guest is not heard
 *	queues      what the old life sent and was not read, what waits for it
 *
 * Then done is called, from the loop. Link, forwards, policy, hosts and DNS stay. What is restored
 * between this call and that (lease, MAC, names, TSI listeners) belongs to the new life. -EALREADY
 * while a reset is under way.
 */
int worker_reset(struct worker *worker, void (*done)(void *arg), void *arg);

/* Resets or ends all flows towards the guest and closes the listeners, then stops the loop. */
void worker_shutdown(struct worker *worker, bool abrupt);

#endif
