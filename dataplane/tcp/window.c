/* SPDX-License-Identifier: MIT */
/*
 * Windows, acknowledgements and retransmission.
 *
 * What we advertise is what the host's send buffer can take. Asking the kernel for that costs a
 * system call, so the answer is counted down by what is written and asked for again when a quarter
 * of it is used up. A window is never shrunk. At least TCP_FIRST_ROOM stays on offer as long as
 * nothing is spilled: it is the write that fails, and only that, which makes the kernel tell us
 * when there is room again.
 *
 * An ACK is owed soon (at the end of the pass) or later: after TCP_ACK_DELAY_MS, unless data goes
 * out first and carries it. Later is for flows whose host answers small requests fast; one miss and
 * the flow is acknowledged at once until it answers fast again.
 */
#include "dataplane/tcp/tcp_internal.h"

#include <errno.h>

/* ---- the window we advertise ---- */

static void ask_room(struct tcp_flow *f)
{
	size_t room = host_side_room(&f->host);

	f->room = f->room_asked = room > (65535u << TCP_WSCALE) ? 65535u << TCP_WSCALE
								: (uint32_t)room;
}

uint16_t window_field(struct tcp_flow *f)
{
	unsigned scale = f->wscale_ok && f->state == TCP_ESTABLISHED ? TCP_WSCALE : 0;
	uint32_t window, edge;

	if (!f->spill_len) {
		if (f->room_asked < TCP_FIRST_ROOM || f->room < f->room_asked - f->room_asked / 4)
			ask_room(f);
		window = f->room;
		if (limits_paced(f->tcp->limits, LIMITS_OUT) &&
			window > limits_window(f->tcp->limits))
			window = limits_window(f->tcp->limits);
		if (window < TCP_FIRST_ROOM)
			window = TCP_FIRST_ROOM;
		if (window > 65535u << scale)
			window = 65535u << scale;
		edge = f->rcv_nxt + window;
		if (seq_lt(f->rcv_adv, edge))
			f->rcv_adv = edge;
	}
	window = (f->rcv_adv - f->rcv_nxt) >> scale;
	return window > 65535 ? 65535 : (uint16_t)window;
}

/* ---- ACKs owed ---- */

static void list_put(struct tcp_flow **head, struct tcp_flow *f)
{
	f->ack_next = *head;
	if (f->ack_next)
		f->ack_next->ack_prev = &f->ack_next;
	f->ack_prev = head;
	*head = f;
}

void window_ack_done(struct tcp_flow *f)
{
	f->unacked = 0;
	if (f->ack_owed == TCP_ACK_NONE)
		return;
	*f->ack_prev = f->ack_next;
	if (f->ack_next)
		f->ack_next->ack_prev = f->ack_prev;
	f->ack_owed = TCP_ACK_NONE;
}

void window_ack_owed(struct tcp_flow *f, enum tcp_ack how)
{
	struct tcp *tcp = f->tcp;
	uint32_t unacked = f->unacked;

	if (f->ack_owed >= how)
		return;
	window_ack_done(f);
	f->unacked = unacked;
	f->ack_owed = (uint8_t)how;
	list_put(how == TCP_ACK_SOON ? &tcp->ack_soon : &tcp->ack_later, f);
	if (how == TCP_ACK_LATER && !timer_armed(&tcp->ack_timer))
		timer_arm(loop_wheel(tcp->loop), &tcp->ack_timer, TCP_ACK_DELAY_MS);
}

void window_flush_acks(struct tcp *tcp)
{
	while (tcp->ack_soon) {
		struct tcp_flow *f = tcp->ack_soon;

		segment_send(f, TCP_ACK, f->snd_nxt);
		window_ack_done(f); /* also where the link had no room: the guest asks again */
	}
}

/* ---- the guest's window and its ACKs ---- */

uint32_t window_usable(const struct tcp_flow *f)
{
	uint32_t edge = f->snd_una + f->snd_wnd;

	return seq_lt(f->snd_nxt, edge) ? edge - f->snd_nxt : 0;
}

static bool in_flight(const struct tcp_flow *f)
{
	return f->snd_una != f->snd_nxt;
}

static uint64_t rto(const struct tcp_flow *f)
{
	uint64_t ms = f->tries < 6 ? (uint64_t)TCP_RTO_MIN << f->tries : TCP_RTO_MAX;

	return ms < TCP_RTO_MAX ? ms : TCP_RTO_MAX;
}

/* Whether the host has bytes that only the guest's window keeps back. */
static bool stalled(const struct tcp_flow *f)
{
	return f->readable && !f->fin_sent && !in_flight(f) && window_usable(f) == 0;
}

void window_arm(struct tcp_flow *f)
{
	struct timer_wheel *wheel = loop_wheel(f->tcp->loop);

	if (!in_flight(f) && !stalled(f))
		timer_disarm(wheel, &f->timer);
	else if (!timer_armed(&f->timer))
		timer_arm(wheel, &f->timer, rto(f));
}

/* The first unacknowledged segment again. False where the flow is gone. */
static bool retransmit(struct tcp_flow *f)
{
	ssize_t n;

	counter_inc(f->tcp->counters, COUNTER_TCP_RETRANSMITS);
	if (!flow_held(f)) {
		segment_send(f, TCP_FIN | TCP_ACK, f->snd_nxt - 1);
		return true;
	}
	n = segment_send_data(f, f->mss, true);
	if (n < 0 && n != -ENOBUFS && n != -EAGAIN) {
		flow_reset(f);
		return false;
	}
	return true;
}

/* Retransmits until all that is in flight now is acknowledged. False where the flow is gone. */
static bool recover(struct tcp_flow *f)
{
	f->recovering = true;
	f->recover = f->snd_nxt;
	return retransmit(f);
}

void window_timeout(struct tcp_flow *f)
{
	uint64_t now = loop_now(f->tcp->loop);

	if (!in_flight(f)) {
		if (!stalled(f))
			return;
		if (now - f->active > TCP_DEAD_MS)
			goto dead;
		/* A segment out of the guest's window draws an ACK that tells the window. */
		segment_send(f, TCP_ACK, f->snd_una - 1);
	} else {
		/* Bytes that the guest has no room for after all stay where they are, as long as it says
		 * so (RFC 9293 section 3.8.6.1). */
		if (now - (f->snd_wnd ? f->acked_at : f->active) > TCP_DEAD_MS)
			goto dead;
		if (!recover(f))
			return;
	}
	if (f->tries < 6)
		f->tries++;
	window_arm(f);
	return;
dead:
	counter_inc(f->tcp->counters, COUNTER_TCP_TIMEOUTS);
	flow_reset(f);
}

/* Bytes that the guest has are consumed from the host socket. False where the flow is gone. */
static bool take_ack(struct tcp_flow *f, uint32_t ack)
{
	uint32_t held = flow_held(f), acked = ack - f->snd_una;
	uint32_t data = acked < held ? acked : held;

	if (data && host_side_consume(&f->host, data) < 0) {
		flow_reset(f);
		return false;
	}
	f->snd_una = ack;
	f->dup_acks = 0;
	f->tries = 0;
	f->acked_at = loop_now(f->tcp->loop);
	/* Without a peek offset the end, and more, can only be seen now. */
	if (!f->host.peek_offset && !f->host_eof)
		f->readable = true;
	timer_disarm(loop_wheel(f->tcp->loop), &f->timer);
	if (f->recovering) {
		if (!seq_lt(ack, f->recover))
			f->recovering = false;
		else if (!retransmit(f))
			return false;
	}
	return true;
}

bool window_ack_input(struct tcp_flow *f, const struct segment *s)
{
	uint32_t window = (uint32_t)s->window << f->snd_wscale;
	bool same_window = window == f->snd_wnd, reopened = !f->snd_wnd && window;

	if (seq_lt(f->snd_nxt, s->ack)) {
		/* It acknowledges what was never sent (RFC 5961 section 5). */
		counter_inc(f->tcp->counters, COUNTER_TCP_BAD_SEGMENTS);
		window_ack_owed(f, TCP_ACK_SOON);
		return true;
	}
	if (seq_lt(s->ack, f->snd_una))
		return true;
	f->snd_wnd = window;
	if (s->ack != f->snd_una) {
		if (!take_ack(f, s->ack))
			return false;
	} else if (in_flight(f) && reopened) {
		/* It had been taken back over these bytes. */
		f->acked_at = loop_now(f->tcp->loop);
		f->tries = 0;
		if (!recover(f))
			return false;
	} else if (in_flight(f) && !s->len && same_window && !(s->flags & TCP_FIN)) {
		if (f->dup_acks < UINT8_MAX)
			f->dup_acks++;
		if (f->dup_acks == 3 && !f->recovering && !recover(f))
			return false;
	}
	window_arm(f);
	splice_wake(f);
	return true;
}
