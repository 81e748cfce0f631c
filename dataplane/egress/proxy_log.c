/* SPDX-License-Identifier: MIT */
/* Troubles with proxies, gathered. See proxy_log.h. */
#include "dataplane/egress/proxy_log.h"

#define TELL_MS 1000
#define AGAIN_MS 10000

static void on_flush(struct timer *timer)
{
	struct proxy_log *log =
		(struct proxy_log *)((char *)timer - offsetof(struct proxy_log, flush));

	log->told = loop_now(log->loop);
	for (uint8_t server = 0; server < PROXY_SERVERS_MAX; server++) {
		for (unsigned i = 0; i < PROXY_TROUBLES; i++) {
			uint32_t count = log->counts[server][i];

			log->counts[server][i] = 0;
			if (count && log->tell)
				log->tell(log->arg, server, (enum proxy_trouble)i, count);
		}
	}
}

void proxy_log_init(struct proxy_log *log, struct loop *loop)
{
	log->loop = loop;
	log->flush.fire = on_flush;
}

void proxy_log_clear(struct proxy_log *log)
{
	timer_disarm(loop_wheel(log->loop), &log->flush);
}

void proxy_log_note(struct proxy_log *log, uint8_t server, enum proxy_trouble trouble)
{
	bool again = log->told && loop_now(log->loop) - log->told < AGAIN_MS;

	if (server >= PROXY_SERVERS_MAX)
		return;
	log->counts[server][trouble]++;
	if (!timer_armed(&log->flush))
		timer_arm(loop_wheel(log->loop), &log->flush, again ? AGAIN_MS : TELL_MS);
}
