/* SPDX-License-Identifier: MIT */
/* What worker_client*.c (requests) and worker_*answers.c (what a worker says) share. */
#ifndef CTL_WORKER_CLIENT_INTERNAL_H
#define CTL_WORKER_CLIENT_INTERNAL_H

#include "ctl/worker_client.h"
#include "proto/rpc.h"
#include "proto/wire.h"

struct worker_client {
	struct rpc *rpc;
	char vm[64];
	char release[32];
	char last_words[256]; /* why a worker that never worked gave up */
	const struct worker_client_events *events;
	void *events_arg;
	const struct worker_client_hooks *hooks;
	void *arg;
	unsigned dials;        /* that it asked for and we have not answered */
	uint64_t events_since; /* clock_ms(), of the first of n_told */
	unsigned n_told;       /* see worker_client_event() */
};

/* calloc() of at least one byte that aborts where there is no memory: a completion is owed. */
void *worker_client_alloc(size_t n, size_t size);

/* Sends a request that is answered by a Status. */
void worker_client_call_plain(struct worker_client *client, Netdp__Envelope *env, const int *fds,
	size_t n_fds, unsigned deadline_ms, worker_done_fn *done, void *arg);

/* ---- worker_client_proxy.c ---- */

struct worker_client_proxy {
	Netdp__ProxySet msg;
	Netdp__ProxyServer servers[WORKER_PROXIES_MAX];
	Netdp__ProxyServer *server_pointers[WORKER_PROXIES_MAX];
	ProtobufCBinaryData addrs[WORKER_PROXIES_MAX][PROXY_ADDRS_MAX];
	Netdp__ProxyBypass *list;
	Netdp__ProxyBypass **pointers;
};
void worker_client_proxy_put(const struct worker_proxies *proxies, struct worker_client_proxy *out);
void worker_client_proxy_done(struct worker_client_proxy *out);

/* ---- worker_client_vsock.c ---- */

bool worker_tsi_listener_read(const Netdp__TsiListener *msg, struct tsi_listener *out);
/* NULL where one is malformed; else to be freed. */
struct tsi_proxy *worker_tsi_proxies_read(Netdp__TsiProxy *const *list, size_t n);
bool worker_target_read(const Netdp__Target *msg, struct worker_target *out);
void worker_target_put(const struct worker_target *target, Netdp__Target *out);
/* Questions and events of the vsock's; false where it is none, or malformed: then *good is false. */
bool worker_client_vsock_request(
	struct worker_client *client, uint64_t id, const Netdp__Envelope *env, bool *good);
bool worker_client_vsock_event(
	struct worker_client *client, const Netdp__Envelope *env, bool *good);

/* worker_client_vhost.c: takes the fds; false where it is malformed. */
bool worker_client_vhost_session(
	struct worker_client *client, const Netdp__VhostSession *msg, int *fds, size_t n_fds);

void worker_client_event(void *arg, const Netdp__Envelope *env, int *fds, size_t n_fds);

#endif
