/* SPDX-License-Identifier: MIT */
/* Limits of a VM. See limits.h. */
#include "dataplane/limits.h"

#include <errno.h>
#include <string.h>

#define WAKE_MS 2      /* waiters are not woken more often: it costs more than it brings */
#define TASK_TURNS 64u /* in a turn of the loop */
#define TASK_BYTES (256u << 10)

static const struct {
	enum counter waits, drops;
} counted[LIMITS_WAYS] = {
	[LIMITS_IN] = {COUNTER_LIMIT_IN_WAITS, COUNTER_DROP_LIMIT_IN},
	[LIMITS_OUT] = {COUNTER_LIMIT_OUT_WAITS, COUNTER_DROP_LIMIT_OUT},
};

/* ---- buckets ---- */

/* Half for each; what one has no room for is the other's. */
static void refill(struct limits_lane *lane)
{
	uint64_t earned = token_clock_earned(&lane->clock, loop_now(lane->limits->loop));
	uint64_t half = earned / 2, left;

	left = token_bucket_fill(&lane->datagrams, half);
	left = token_bucket_fill(&lane->streams, earned - half + left);
	token_bucket_fill(&lane->datagrams, left);
}

static void give(struct limits_lane *lane, struct limits_waiter *waiter, size_t want)
{
	size_t room = (size_t)(lane->streams.level / 8);

	if (room < LIMITS_GRANT_MIN)
		room = LIMITS_GRANT_MIN;
	if (room > LIMITS_GRANT_MAX)
		room = LIMITS_GRANT_MAX;
	waiter->grant = (uint32_t)(want < room ? want : room);
	lane->streams.level -= (int64_t)waiter->grant * 8;
}

static void give_back(struct limits_lane *lane, struct limits_waiter *waiter, size_t bytes)
{
	token_bucket_fill(&lane->datagrams, token_bucket_fill(&lane->streams, (uint64_t)bytes * 8));
	waiter->grant = 0;
}

/* ---- the line ---- */

/* Sees to it that the line moves. */
static void arm(struct limits_lane *lane)
{
	struct limits *limits = lane->limits;
	uint64_t wait;

	if (TAILQ_EMPTY(&lane->line) || timer_armed(&lane->timer))
		return;
	if (!lane->paced || lane->streams.level > 0) {
		loop_defer(limits->loop, &lane->task);
		return;
	}
	wait = token_clock_wait(&lane->clock, (uint64_t)(1 - lane->streams.level));
	timer_arm(loop_wheel(limits->loop), &lane->timer, wait < WAKE_MS ? WAKE_MS : wait);
}

static void on_timer(struct timer *timer)
{
	struct limits_lane *lane =
		(struct limits_lane *)((char *)timer - offsetof(struct limits_lane, timer));

	loop_defer(lane->limits->loop, &lane->task);
}

static void serve(struct limits_lane *lane, struct limits_waiter *waiter)
{
	TAILQ_REMOVE(&lane->line, waiter, entry);
	waiter->waiting = false;
	if (lane->paced)
		give(lane, waiter, waiter->want);
	waiter->go(waiter);
}

static void lane_task(struct task *task)
{
	struct limits_lane *lane =
		(struct limits_lane *)((char *)task - offsetof(struct limits_lane, task));
	struct limits_waiter *waiter;
	size_t bytes = 0;

	if (lane->paced)
		refill(lane);
	for (unsigned i = 0; i < TASK_TURNS && bytes < TASK_BYTES; i++) {
		waiter = TAILQ_FIRST(&lane->line);
		if (!waiter || (lane->paced && lane->streams.level <= 0))
			break;
		bytes += waiter->want;
		serve(lane, waiter);
	}
	arm(lane);
}

static void wait_in_line(struct limits_lane *lane, struct limits_waiter *waiter, size_t want)
{
	waiter->want = (uint32_t)(want < LIMITS_GRANT_MAX ? want : LIMITS_GRANT_MAX);
	if (!waiter->waiting) {
		waiter->waiting = true;
		TAILQ_INSERT_TAIL(&lane->line, waiter, entry);
		counter_inc(lane->limits->counters, counted[lane - lane->limits->lanes].waits);
	}
	arm(lane);
}

size_t limits_ask(
	struct limits *limits, enum limits_way way, struct limits_waiter *waiter, size_t want)
{
	struct limits_lane *lane;

	if (!want || !limits_paced(limits, way))
		return want;
	lane = &limits->lanes[way];
	if (!waiter->grant) {
		refill(lane);
		if (!TAILQ_EMPTY(&lane->line) || lane->streams.level <= 0) {
			wait_in_line(lane, waiter, want);
			return 0;
		}
		give(lane, waiter, want);
	}
	return want < waiter->grant ? want : waiter->grant;
}

void limits_took(
	struct limits *limits, enum limits_way way, struct limits_waiter *waiter, size_t moved)
{
	if (!waiter->grant)
		return;
	if (limits_paced(limits, way) && moved < waiter->grant)
		give_back(&limits->lanes[way], waiter, waiter->grant - moved);
	waiter->grant = 0;
}

void limits_leave(struct limits *limits, enum limits_way way, struct limits_waiter *waiter)
{
	if (waiter->waiting)
		TAILQ_REMOVE(&limits->lanes[way].line, waiter, entry);
	waiter->waiting = false;
	limits_took(limits, way, waiter, 0);
}

/* ---- datagrams ---- */

bool limits_datagram(struct limits *limits, enum limits_way way, size_t len)
{
	struct limits_lane *lane;

	if (!limits_paced(limits, way))
		return true;
	lane = &limits->lanes[way];
	refill(lane);
	if (lane->datagrams.level <= 0) {
		counter_inc(limits->counters, counted[way].drops);
		return false;
	}
	lane->datagrams.level -= (int64_t)(len + LIMITS_DATAGRAM_HLEN) * 8;
	return true;
}

uint32_t limits_window(const struct limits *limits)
{
	uint64_t bytes = limits->config.rate[LIMITS_OUT] / 8 * LIMITS_DEPTH_MS / 1000;

	return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

/* ---- flows ---- */

int limits_contact(struct limits *limits)
{
	if (!limits || !limits->config.new_flows)
		return 0;
	token_bucket_fill(
		&limits->flows, token_clock_earned(&limits->flow_clock, loop_now(limits->loop)));
	if (limits->flows.level <= 0) {
		counter_inc(limits->counters, COUNTER_LIMIT_NEW_FLOWS);
		return -EAGAIN;
	}
	limits->flows.level--;
	return 0;
}

int limits_flow(struct limits *limits)
{
	if (!limits)
		return 0;
	if (limits->config.max_flows && limits->count(limits->arg) >= limits->config.max_flows) {
		counter_inc(limits->counters, COUNTER_LIMIT_FLOWS);
		return -EMFILE;
	}
	return limits_contact(limits);
}

/* ---- settings ---- */

static void set_lane(struct limits_lane *lane, uint64_t rate)
{
	uint64_t now = loop_now(lane->limits->loop);
	int64_t depth = (int64_t)(rate * LIMITS_DEPTH_MS / 1000);

	if (depth < (int64_t)LIMITS_GRANT_MIN * 8)
		depth = (int64_t)LIMITS_GRANT_MIN * 8;
	if (lane->paced)
		refill(lane);
	else
		lane->streams = lane->datagrams = (struct token_bucket){0};
	lane->paced = rate != 0;
	token_clock_set(&lane->clock, rate, now);
	token_bucket_set(&lane->streams, depth);
	token_bucket_set(&lane->datagrams, depth);
	timer_disarm(loop_wheel(lane->limits->loop), &lane->timer);
	arm(lane);
}

static bool rate_possible(uint64_t rate)
{
	return !rate || (rate >= LIMITS_RATE_MIN && rate <= LIMITS_RATE_MAX);
}

int limits_set(struct limits *limits, const struct limits_config *config)
{
	if (!rate_possible(config->rate[LIMITS_IN]) || !rate_possible(config->rate[LIMITS_OUT]))
		return -EINVAL;
	for (int way = 0; way < LIMITS_WAYS; way++) {
		if (config->rate[way] != limits->config.rate[way])
			set_lane(&limits->lanes[way], config->rate[way]);
	}
	if (config->new_flows != limits->config.new_flows) {
		if (!limits->config.new_flows)
			limits->flows = (struct token_bucket){0};
		token_clock_set(&limits->flow_clock, config->new_flows, loop_now(limits->loop));
		token_bucket_set(&limits->flows, config->new_flows);
	}
	limits->config = *config;
	return 0;
}

void limits_init(struct limits *limits, struct loop *loop, struct counters *counters,
	size_t (*count)(void *arg), void *arg)
{
	memset(limits, 0, sizeof(*limits));
	limits->loop = loop;
	limits->counters = counters;
	limits->count = count;
	limits->arg = arg;
	for (int way = 0; way < LIMITS_WAYS; way++) {
		struct limits_lane *lane = &limits->lanes[way];

		lane->limits = limits;
		TAILQ_INIT(&lane->line);
		lane->timer.fire = on_timer;
		lane->task.run = lane_task;
	}
}

void limits_clear(struct limits *limits)
{
	if (!limits->loop)
		return;
	for (int way = 0; way < LIMITS_WAYS; way++) {
		timer_disarm(loop_wheel(limits->loop), &limits->lanes[way].timer);
		loop_cancel(limits->loop, &limits->lanes[way].task);
	}
}
