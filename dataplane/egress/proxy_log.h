/* SPDX-License-Identifier: MIT */
/* Troubles with proxies, gathered: each kind at each server is told with a count, a second after the
 * first and from then on, while there are more, every ten. */
#ifndef DATAPLANE_EGRESS_PROXY_LOG_H
#define DATAPLANE_EGRESS_PROXY_LOG_H

#include "dataplane/egress/proxy.h"
#include "dataplane/loop.h"
#include "dataplane/stack/timer_wheel.h"

/* server is netctld's number for it. */
typedef void (*proxy_trouble_fn)(
	void *arg, uint8_t server, enum proxy_trouble trouble, uint32_t count);

struct proxy_log {
	struct loop *loop;
	struct timer flush;
	proxy_trouble_fn tell;
	void *arg;
	uint64_t told; /* ms, 0: never */
	uint32_t counts[PROXY_SERVERS_MAX][PROXY_TROUBLES];
};

void proxy_log_init(struct proxy_log *log, struct loop *loop);
void proxy_log_clear(struct proxy_log *log);
void proxy_log_note(struct proxy_log *log, uint8_t server, enum proxy_trouble trouble);

#endif
