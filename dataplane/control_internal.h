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

#define CONTROL_EVENTS_MAX 256

/* An event that waits for a netctld. */
struct control_event {
	bool link; /* a LinkChanged, else a FlowRefused */
	bool up;
	bool refused;
	enum link_kind kind;
	char text[128];
	uint8_t proto;
	struct endpoint dst;
	int32_t by;
	uint32_t count;
};

struct control {
	char label[72]; /* "vm/NAME", for logs */
	struct worker_events worker_events;
	struct worker *worker;
	struct event_base *base;
	struct rpc *rpc;      /* to netctld; NULL while there is none */
	bool greeted;         /* netctld's Hello has come on it: events may flow */
	struct rpc *lifeline; /* to the spawner; NULL once lost */
	struct event *orphan; /* the end, when both have gone */
	struct event *signals[2];
	enum sandbox_level sandbox;
	int64_t since_ms;
	int flow_memory; /* a duplicate, for the Description; -1 */
	int returned_fd; /* a dgram socket whose peer went while netctld was away; -1 */
	struct control_event events[CONTROL_EVENTS_MAX]; /* a ring */
	size_t first_event;
	size_t n_events;
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

/* control_vsock.c */
void control_vsock_set(const struct request *r);

/* Carries out a request and answers it. */
void control_request(
	struct control *control, uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds);

#endif
