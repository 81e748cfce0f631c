/* SPDX-License-Identifier: MIT */
/*
 * What control.c (connections, events), control_requests.c (what netctld asks) and the control_*.c
 * of single parts share.
 */
#ifndef DATAPLANE_CONTROL_INTERNAL_H
#define DATAPLANE_CONTROL_INTERNAL_H

#include "dataplane/control.h"
#include "dataplane/worker.h"
#include "proto/rpc.h"

#define CONTROL_EVENTS_MAX 512
/* Beyond so many unsent bytes events about names are dropped, others wait. */
#define CONTROL_EVENTS_BACKLOG (1u << 20)

/* An event that netctld has not written down yet. */
struct control_event {
	uint64_t number;
	bool link;  /* a LinkChanged, */
	bool vsock; /* a VsockChanged, else a FlowRefused */
	bool up;
	bool refused;
	enum link_kind kind;
	enum vsock_kind vsock_kind;
	char text[128];
	uint8_t proto;
	struct endpoint dst;
	int32_t by;
	char name[POLICY_NAME_LEN]; /* or "" */
	uint32_t count;
};

struct control {
	char label[72]; /* "vm/NAME", for logs */
	struct worker_events worker_events;
	struct worker *worker;
	struct event_base *base;
	struct rpc *rpc;      /* to netctld; NULL while there is none */
	uint64_t connection;  /* its number: grows with each */
	bool greeted;         /* netctld's Hello has come on it: events may flow */
	struct rpc *lifeline; /* to the spawner; NULL once lost */
	struct event *orphan; /* the end, when both have gone */
	struct event *signals[2];
	enum sandbox_level sandbox;
	int64_t since_ms;
	uint64_t reset;  /* id of the request that waits for the end of a reset; 0: none */
	int flow_memory; /* a duplicate, for the Description; -1 */
	int returned_fd; /* a dgram socket whose peer went while netctld was away; -1 */
	struct control_event events[CONTROL_EVENTS_MAX]; /* a ring */
	size_t first_event;
	size_t n_events;
	size_t n_sent;        /* of them, the first */
	uint64_t last_number; /* given to an event */
	bool numbers;         /* netctld answers them */
	uint64_t dropped_events;
};

/* A request of netctld's. */
struct request {
	struct control *control;
	struct worker *worker;
	uint64_t id;
	const Netdp__Envelope *env;
	int *fds;
	size_t n_fds;
};

/* The answer: a Status, code 0 or a negative errno; text may be NULL. */
void request_refuse(const struct request *r, int code, const char *text);
/* The answer, from what a function of worker.h gave. */
void request_answer(const struct request *r, int code, const struct error *err);
/* The request's only fd, or -1; it is the caller's then. */
int request_take_fd(const struct request *r);

/* Parts of messages; false for what is malformed. */
bool request_read_lease(const Netdp__Lease *msg, struct worker_lease *lease);
bool request_restore_names(const struct request *r, const Netdp__NamesSeen *msg);

/* control_policy.c */
void control_policy_counts(const struct request *r);
void control_addr_names(const struct request *r);

/* control_proxy.c */
void control_proxy_set(const struct request *r);
/* False: malformed, or no memory. */
bool control_proxy_apply(const struct request *r, const Netdp__ProxySet *msg);
void control_proxy_trouble(void *arg, uint8_t server, enum proxy_trouble trouble, uint32_t count);

/* control_limits.c */
void control_limits_set(const struct request *r);

/* control_capture.c */
void control_capture(const struct request *r);

/* control_reset.c */
void control_reset(const struct request *r);

/* ---- events: control.c ---- */

bool control_can_send(const struct control *control);
void control_count_dropped(struct control *control);

/* control_events.c */
void control_events_begin(struct control *control);
/* Keeps it, and sends it now or to the next netctld. */
void control_event(struct control *control, const struct control_event *event);
/* To a netctld that has said Hello: what no other has written down. */
void control_events_resume(struct control *control, const Netdp__Hello *hello);
/* netctld has written down all up to this number. */
void control_events_seen(struct control *control, uint64_t through);
void control_link_changed(void *arg, bool up, enum link_kind kind, const char *text, bool refused);
void control_refused(void *arg, uint8_t proto, const struct endpoint *dst, int32_t by,
	const char *name, uint32_t count);

/* control_tsi.c */
struct tsi_events control_tsi_events(struct control *control);
void control_tsi_get(const struct request *r);
void control_tsi_restore(const struct request *r);

/* control_vhost.c */
void control_vsock_changed(
	void *arg, enum vsock_kind kind, bool up, const char *text, bool refused);
void control_vsock_put(
	const struct control_event *event, Netdp__VsockChanged *msg, Netdp__Envelope *env);
void control_vsock_session(void *arg); /* tells it as it is now */
void control_vhost_resume(const struct request *r);

/* control_vsock.c */
void control_vsock_set(const struct request *r);
void control_vsock_listen(const struct request *r);
void control_vsock_unlisten(const struct request *r);
void control_vsock_get(const struct request *r);
void control_stream_attach(const struct request *r);
bool control_vsock_dial(void *arg, unsigned question, bool vmm, uint32_t port);
/* False: malformed, or no such port. A TCP or UDP port is *port, and *to is NOTHING. */
bool control_read_target(const Netdp__Target *msg, struct vsock_target *to, uint16_t *port);
void control_put_target(const struct vsock_target *to, uint16_t port, Netdp__Target *msg);

/* Carries out a request and answers it. */
void control_request(
	struct control *control, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds);

#endif
