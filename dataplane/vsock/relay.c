/* SPDX-License-Identifier: MIT */
/* Two stream sockets kept in step. See relay.h. */
#include "dataplane/vsock/relay.h"

#include "dataplane/limits.h"
#include "dataplane/stack/timer_wheel.h"
#include "dataplane/tcp/host_side.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t scratch[RELAY_SLICE]; /* between a read and its write */

struct end {
	struct host_side host;
	struct relay *relay;
	struct event ready;        /* edge-triggered, both ways */
	struct limits_waiter pace; /* of what is read from it */
	enum limits_way way;
	uint8_t *held; /* bytes for it that it has not taken, from held_at on */
	size_t held_len, held_at;
	bool event_added;
	bool readable; /* it may have more, or its end */
	bool closing;  /* its end has come, behind what is there to read */
	bool ended;    /* nothing more is read from it */
	bool shut;     /* nothing more is written to it: the other end's end was passed on */
};

struct relay {
	LIST_ENTRY(relay) entry;
	struct relays *relays;
	struct end ends[2];
	struct task task;
	struct timer timer; /* RELAY_DRAIN_MS */
	bool progress;      /* in this turn: something was taken */
	void (*ended)(void *arg);
	void *arg;
};

struct relays {
	struct loop *loop;
	struct counters *counters;
	struct limits *limits;
	LIST_HEAD(, relay) list;
	size_t count, max;
	short ready_events; /* what is asked of libevent for a socket */
};

enum moved { MOVED_ALL, MOVED_MORE, MOVED_FAILED }; /* more: another turn, please */

/* ---- bytes ---- */

static void drop_held(struct end *to)
{
	free(to->held);
	to->held = NULL;
	to->held_len = to->held_at = 0;
}

static bool hold(struct end *to, const void *bytes, size_t len)
{
	if (!len)
		return true;
	to->held = malloc(len);
	if (!to->held)
		return false;
	memcpy(to->held, bytes, len);
	to->held_len = len;
	return true;
}

/* How much was taken, or -errno; a deaf end takes it all, and ends the direction. */
static ssize_t give(struct end *from, struct end *to, const void *bytes, size_t len)
{
	ssize_t n;

	do {
		n = host_side_write(&to->host, bytes, len);
	} while (n == -EINTR);
	from->relay->progress |= n > 0;
	if (n == -EAGAIN || n == -EWOULDBLOCK)
		return 0;
	/* TCP's EPIPE is a reset behind a FIN. */
	if (n == -EPIPE && !to->host.tcp) {
		shutdown(from->host.fd, SHUT_RD);
		from->ended = to->shut = true;
		return (ssize_t)len;
	}
	return n;
}

static bool give_held(struct end *from, struct end *to)
{
	ssize_t n;

	if (!to->held)
		return true;
	n = give(from, to, to->held + to->held_at, to->held_len - to->held_at);
	if (n < 0)
		return false;
	to->held_at += (size_t)n;
	if (to->held_at == to->held_len)
		drop_held(to);
	return true;
}

/* Reads and passes on at most max bytes, which *budget has. False: one of the two has failed. */
static bool pass(struct end *from, struct end *to, size_t max, size_t *budget)
{
	ssize_t n = recv(from->host.fd, scratch, max, 0), taken;

	limits_took(from->relay->relays->limits, from->way, &from->pace, n > 0 ? (size_t)n : 0);
	if (n < 0) {
		from->readable = errno == EINTR;
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	}
	if (n == 0) {
		from->ended = true;
		return true;
	}
	taken = give(from, to, scratch, (size_t)n);
	counter_add(from->relay->relays->counters, COUNTER_VSOCK_RELAYED_BYTES, (uint64_t)n);
	counter_add(from->relay->relays->counters,
		from->way == LIMITS_OUT ? COUNTER_VSOCK_RX_BYTES : COUNTER_VSOCK_TX_BYTES,
		(uint64_t)n);
	loop_moved(from->relay->relays->loop, (size_t)n);
	*budget -= (size_t)n;
	return taken >= 0 && hold(to, scratch + taken, (size_t)(n - taken));
}

/* One direction's turn. */
static enum moved move(struct end *from, struct end *to)
{
	size_t budget = RELAY_SLICE;

	if (!give_held(from, to))
		return MOVED_FAILED;
	while (from->readable && !from->ended && !to->held && budget) {
		size_t max = limits_ask(
			from->relay->relays->limits, from->way, &from->pace, budget);

		if (!max)
			return MOVED_ALL; /* on_pace() follows */
		if (!pass(from, to, max, &budget))
			return MOVED_FAILED;
	}
	if (from->ended && !to->held && !to->shut) {
		to->shut = true;
		if (host_side_half_close(&to->host) < 0)
			return MOVED_FAILED;
	}
	return budget ? MOVED_ALL : MOVED_MORE;
}

static void on_pace(struct limits_waiter *pace)
{
	struct end *end = (struct end *)((char *)pace - offsetof(struct end, pace));

	loop_defer(end->relay->relays->loop, &end->relay->task);
}

/* ---- life ---- */

static void finish(struct relay *relay, bool orderly)
{
	struct relays *relays = relay->relays;

	for (int i = 0; i < 2; i++) {
		struct end *end = &relay->ends[i];

		if (end->event_added)
			event_del(&end->ready);
		limits_leave(relays->limits, end->way, &end->pace);
		if (orderly)
			host_side_close(&end->host);
		else
			host_side_abort(&end->host);
		drop_held(end);
	}
	timer_disarm(loop_wheel(relays->loop), &relay->timer);
	loop_cancel(relays->loop, &relay->task);
	LIST_REMOVE(relay, entry);
	relays->count--;
	if (relay->ended)
		relay->ended(relay->arg);
	free(relay);
}

static void on_drain_timer(struct timer *timer)
{
	struct relay *relay = (struct relay *)((char *)timer - offsetof(struct relay, timer));

	counter_inc(relay->relays->counters, COUNTER_VSOCK_TIMEOUTS);
	finish(relay, false);
}

/* Whether bytes wait for an end whose other end has nothing more to say. */
static bool drains(const struct relay *relay, int to)
{
	return relay->ends[to].held && (relay->ends[!to].ended || relay->ends[!to].closing);
}

static void turn(struct task *task)
{
	struct relay *relay = (struct relay *)((char *)task - offsetof(struct relay, task));
	struct timer_wheel *wheel = loop_wheel(relay->relays->loop);
	struct end *a = &relay->ends[0], *b = &relay->ends[1];
	enum moved there, back;

	relay->progress = false;
	there = move(a, b);
	back = there == MOVED_FAILED ? MOVED_FAILED : move(b, a);
	if (back == MOVED_FAILED || (a->shut && b->shut)) {
		finish(relay, back != MOVED_FAILED);
		return;
	}
	if (!drains(relay, 0) && !drains(relay, 1))
		timer_disarm(wheel, &relay->timer);
	else if (!timer_armed(&relay->timer) || relay->progress)
		timer_arm(wheel, &relay->timer, RELAY_DRAIN_MS);
	if (there == MOVED_MORE || back == MOVED_MORE)
		loop_defer(relay->relays->loop, task);
}

/* A reset of an end that is not read just now. Where it is, reading tells, behind its last bytes. */
static bool was_reset(const struct end *end)
{
	const struct end *other = &end->relay->ends[end == end->relay->ends];
	int err = 0;
	socklen_t len = sizeof(err);

	return end->host.tcp && (end->ended || other->held) &&
		getsockopt(end->host.fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err != 0;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct end *end = arg;
	struct relay *relay = end->relay;

	(void)fd;
	if (what & (EV_READ | EV_CLOSED))
		end->readable = true;
	if (what & EV_CLOSED)
		end->closing = true;
	if (was_reset(end))
		finish(relay, false);
	else
		loop_defer(relay->relays->loop, &relay->task);
}

static bool watch(struct relay *relay, struct end *end)
{
	event_assign(&end->ready, loop_base(relay->relays->loop), end->host.fd,
		relay->relays->ready_events, on_ready, end);
	event_priority_set(&end->ready, LOOP_DATA);
	end->event_added = event_add(&end->ready, NULL) == 0;
	return end->event_added;
}

int relays_start(
	struct relays *relays, const struct relay_end ends[2], void (*ended)(void *arg), void *arg)
{
	int err = relays->count < relays->max ? limits_flow(relays->limits) : -EMFILE;
	struct relay *relay = err < 0 ? NULL : calloc(1, sizeof(*relay));
	bool good = true;

	if (!relay) {
		close(ends[0].fd);
		close(ends[1].fd);
		return err < 0 ? err : -ENOMEM;
	}
	relay->relays = relays;
	relay->task.run = turn;
	relay->timer.fire = on_drain_timer;
	LIST_INSERT_HEAD(&relays->list, relay, entry);
	relays->count++;
	for (int i = 0; i < 2; i++) {
		struct end *end = &relay->ends[i];

		end->relay = relay;
		end->host = (struct host_side){.fd = ends[i].fd, .tcp = ends[i].tcp};
		end->pace.go = on_pace;
		end->way = ends[i].guest ? LIMITS_OUT : LIMITS_IN;
		good = hold(end, ends[!i].prefix, ends[!i].prefix_len) && watch(relay, end) && good;
	}
	if (!good) {
		finish(relay, false);
		return -ENOMEM;
	}
	relay->ended = ended;
	relay->arg = arg;
	loop_defer(relays->loop, &relay->task);
	counter_inc(relays->counters, COUNTER_VSOCK_RELAYS);
	return 0;
}

void relays_reset(struct relays *relays)
{
	struct relay *relay;

	while ((relay = LIST_FIRST(&relays->list)))
		finish(relay, false);
}

size_t relays_count(const struct relays *relays)
{
	return relays->count;
}

struct relays *relays_new(struct loop *loop, struct counters *counters, size_t max)
{
	struct relays *relays = calloc(1, sizeof(*relays));

	if (!relays)
		return NULL;
	relays->loop = loop;
	relays->counters = counters;
	relays->max = max;
	relays->ready_events = EV_READ | EV_WRITE | EV_ET | EV_PERSIST;
	if (event_base_get_features(loop_base(loop)) & EV_FEATURE_EARLY_CLOSE)
		relays->ready_events |= EV_CLOSED;
	return relays;
}

void relays_set_limits(struct relays *relays, struct limits *limits)
{
	relays->limits = limits;
}

void relays_free(struct relays *relays)
{
	if (!relays)
		return;
	relays_reset(relays);
	free(relays);
}
