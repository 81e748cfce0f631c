/* SPDX-License-Identifier: MIT */
/* The life of a TCP flow, from its first SYN to its end, and its idle timer. */
#include "dataplane/tcp/tcp_internal.h"

#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>

static struct tcp_flow *flow_of_timer(struct timer *timer)
{
	return (struct tcp_flow *)((char *)timer - offsetof(struct tcp_flow, timer));
}

static void on_timer(struct timer *timer)
{
	struct tcp_flow *f = flow_of_timer(timer);

	if (f->state == TCP_ESTABLISHED)
		window_timeout(f);
	else
		handshake_timeout(f);
}

/* An end that was seen leaves five minutes of silence, an open connection two hours. */
static void on_idle(struct timer *timer)
{
	struct tcp_flow *f =
		(struct tcp_flow *)((char *)timer - offsetof(struct tcp_flow, idle_timer));
	struct timer_wheel *wheel = loop_wheel(f->tcp->loop);
	uint64_t idle = loop_now(f->tcp->loop) - f->active;
	bool half_closed = f->guest_fin || f->fin_sent;
	uint64_t limit = half_closed ? TCP_HALF_CLOSED_MS : TCP_IDLE_MS;

	if (idle >= limit) {
		counter_inc(f->tcp->counters, COUNTER_TCP_TIMEOUTS);
		flow_reset(f);
		return;
	}
	if (half_closed) {
		timer_arm(wheel, timer, limit - idle);
	} else if (idle >= TCP_KEEPALIVE_MS) {
		/* A guest that still knows the connection answers, which counts as life. */
		segment_send(f, TCP_ACK, f->snd_nxt - 1);
		timer_arm(wheel, timer, TCP_KEEPALIVE_EACH_MS);
	} else {
		timer_arm(wheel, timer, TCP_KEEPALIVE_MS - idle);
	}
}

/* RFC 6528: a clock of 4 µs plus a keyed hash of the 4-tuple. */
static uint32_t choose_isn(const struct tcp *tcp, const struct flow_key *key)
{
	uint8_t flat[36];

	memcpy(flat, key->guest.addr.b, 16);
	memcpy(flat + 16, key->remote.addr.b, 16);
	store_be16(flat + 32, key->guest.port);
	store_be16(flat + 34, key->remote.port);
	return (uint32_t)(clock_us() / 4) + (uint32_t)siphash(&tcp->isn_key, flat, sizeof(flat));
}

struct tcp_flow *flow_new(struct tcp *tcp, const struct flow_key *key, bool inbound)
{
	struct tcp_flow *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->tcp = tcp;
	f->entry.key = *key;
	f->host.fd = -1;
	f->inbound = inbound;
	f->task.run = splice_send_task;
	f->timer.fire = on_timer;
	f->idle_timer.fire = on_idle;
	f->pace[LIMITS_IN].go = splice_go_in;
	f->pace[LIMITS_OUT].go = splice_go_out;
	f->born = f->active = loop_now(tcp->loop);
	f->isn = f->snd_una = choose_isn(tcp, key);
	f->snd_nxt = f->isn + 1;
	f->interactive = true;
	f->room = f->room_asked = TCP_FIRST_ROOM;
	if (flow_table_insert(tcp->flows, &f->entry) < 0) {
		counter_inc(tcp->counters, COUNTER_TCP_BOUNDS);
		free(f);
		return NULL;
	}
	flow_memory_set(tcp->memory, f->entry.slot, key);
	counter_inc(tcp->counters, inbound ? COUNTER_TCP_IN : COUNTER_TCP_OUT);
	return f;
}

static void on_host_ready(evutil_socket_t fd, short what, void *arg)
{
	struct tcp_flow *f = arg;

	(void)fd;
	if (what & EV_CLOSED)
		f->host_closing = true;
	if (what & (EV_READ | EV_CLOSED))
		f->readable = true;
	if (f->state != TCP_ESTABLISHED)
		return;
	/* Behind its end nothing is read any more, so no read tells of a reset. */
	if (f->fin_sent && splice_host_failed(f)) {
		flow_reset(f);
		return;
	}
	if (what & EV_WRITE && f->spill_len)
		splice_writable(f); /* may end the flow */
	else
		splice_wake(f);
}

int flow_connect_host(struct tcp_flow *f, int fd, bool is_tcp)
{
	host_side_init(&f->host, fd, is_tcp);
	event_assign(
		&f->ready, loop_base(f->tcp->loop), fd, f->tcp->ready_events, on_host_ready, f);
	event_priority_set(&f->ready, LOOP_DATA);
	if (event_add(&f->ready, NULL) < 0)
		return -ENOMEM;
	f->event_added = true;
	return 0;
}

static void tell_opener(struct tcp_flow *f, int err)
{
	struct tcp_open *open = f->open;

	f->open = NULL;
	if (open)
		open->done(open, err);
}

void flow_forget(struct tcp_flow *f)
{
	struct tcp *tcp = f->tcp;
	struct timer_wheel *wheel = loop_wheel(tcp->loop);
	bool was_accepting = f->inbound && f->state == TCP_SYN_SENT;

	egress_leave(&f->pass);
	if (f->request)
		egress_cancel(f->request);
	if (f->event_added)
		event_del(&f->ready);
	host_side_abort(&f->host);
	timer_disarm(wheel, &f->timer);
	timer_disarm(wheel, &f->idle_timer);
	loop_cancel(tcp->loop, &f->task);
	limits_leave(tcp->limits, LIMITS_IN, &f->pace[LIMITS_IN]);
	limits_leave(tcp->limits, LIMITS_OUT, &f->pace[LIMITS_OUT]);
	window_ack_done(f);
	splice_free_spill(f);
	reorder_free(f);
	checked_end(f);
	flow_memory_clear(tcp->memory, f->entry.slot);
	flow_table_remove(tcp->flows, &f->entry);
	tell_opener(f, -ECONNREFUSED);
	free(f);
	if (was_accepting)
		accept_group_leave(&tcp->inbound);
}

void flow_reset(struct tcp_flow *f)
{
	segment_send(f, f->state == TCP_SYN_SENT ? TCP_RST : TCP_RST | TCP_ACK, f->snd_nxt);
	flow_forget(f);
}

void flow_established(struct tcp_flow *f)
{
	struct timer_wheel *wheel = loop_wheel(f->tcp->loop);

	if (f->inbound)
		accept_group_leave(&f->tcp->inbound);
	f->state = TCP_ESTABLISHED;
	f->tries = 0;
	f->recover = f->snd_una;
	f->acked_at = loop_now(f->tcp->loop);
	timer_disarm(wheel, &f->timer);
	timer_arm(wheel, &f->idle_timer, TCP_KEEPALIVE_MS);
	counter_inc(f->tcp->counters, COUNTER_TCP_ESTABLISHED);
	flow_touch(f);
	splice_wake(f);
	tell_opener(f, 0);
}

void flow_touch(struct tcp_flow *f)
{
	f->active = loop_now(f->tcp->loop);
}
