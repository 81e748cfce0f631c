/* SPDX-License-Identifier: MIT */
/* The bytes of an established flow, in both directions, and their ends. */
#include "dataplane/tcp/tcp_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- guest to host ---- */

/* Makes room behind what is spilled. It grows by doubling, since a guest may send byte by byte. */
static bool spill_room(struct tcp_flow *f, uint32_t len)
{
	uint32_t need = f->spill_len + len, size = f->spill_size;
	struct tcp *tcp = f->tcp;
	uint8_t *grown;

	if (f->spill_at && (need > size || f->spill_at > size / 2)) {
		memmove(f->spill, f->spill + f->spill_at, f->spill_len);
		f->spill_at = 0;
	}
	if (f->spill_at + need <= size)
		return true;
	size = need > 2 * size ? need : 2 * size;
	if (tcp->spilled + (size - f->spill_size) > TCP_SPILL_MAX) {
		if (f->spill_at) { /* and so need <= spill_size: it fits once it is moved */
			memmove(f->spill, f->spill + f->spill_at, f->spill_len);
			f->spill_at = 0;
			return true;
		}
		size = need;
	}
	if (tcp->spilled + (size - f->spill_size) > TCP_SPILL_MAX)
		return false;
	grown = realloc(f->spill, size);
	if (!grown)
		return false;
	tcp->spilled += size - f->spill_size;
	f->spill = grown;
	f->spill_size = size;
	return true;
}

/* Keeps what the host did not take. Returns how much of it could be kept. */
static uint32_t spill(struct tcp_flow *f, const uint8_t *data, uint32_t len)
{
	if (!len || !spill_room(f, len))
		return 0;
	memcpy(f->spill + f->spill_at + f->spill_len, data, len);
	f->spill_len += len;
	counter_add(f->tcp->counters, COUNTER_TCP_SPILLED_BYTES, len);
	return len;
}

void splice_free_spill(struct tcp_flow *f)
{
	f->tcp->spilled -= f->spill_size;
	free(f->spill);
	f->spill = NULL;
	f->spill_len = f->spill_at = f->spill_size = 0;
}

static bool end_of_guest(struct tcp_flow *f)
{
	if (!f->guest_fin || f->host_shut || f->spill_len)
		return true;
	f->host_shut = true;
	if (host_side_half_close(&f->host) < 0) {
		flow_reset(f);
		return false;
	}
	return true;
}

/* host_side_write() of what the VM's rate allows. */
static ssize_t write_paced(struct tcp_flow *f, const uint8_t *data, uint32_t len)
{
	struct limits *limits = f->tcp->limits;
	struct limits_waiter *pace = &f->pace[LIMITS_OUT];
	uint32_t done = 0;

	while (done < len) {
		size_t part = limits_ask(limits, LIMITS_OUT, pace, len - done);
		ssize_t n = part ? host_side_write(&f->host, data + done, part) : -EAGAIN;

		limits_took(limits, LIMITS_OUT, pace, n > 0 ? (size_t)n : 0);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (uint32_t)n;
		if ((size_t)n < part)
			break;
	}
	return (ssize_t)done;
}

static ssize_t write_host(struct tcp_flow *f, const uint8_t *data, uint32_t len)
{
	if (limits_paced(f->tcp->limits, LIMITS_OUT))
		return write_paced(f, data, len);
	return host_side_write(&f->host, data, len);
}

ssize_t splice_write(struct tcp_flow *f, const uint8_t *data, uint32_t len)
{
	ssize_t n = 0;

	if (!f->spill_len) {
		n = write_host(f, data, len);
		if (n < 0 && n != -EAGAIN && n != -EINTR) {
			flow_reset(f);
			return -1;
		}
		if (n < 0)
			n = 0;
		f->room -= (uint32_t)n < f->room ? (uint32_t)n : f->room;
	}
	if ((uint32_t)n < len)
		n += spill(f, data + n, len - (uint32_t)n);
	return n;
}

void splice_taken(struct tcp_flow *f, uint32_t n)
{
	struct tcp *tcp = f->tcp;

	f->rcv_nxt += n;
	f->tx_bytes += n;
	egress_account(tcp->egress, &f->pass, n, 0);
	f->unacked += n;
	f->data_at = loop_now(tcp->loop);
	counter_add(tcp->counters, COUNTER_TCP_TX_BYTES, n);
	if (f->unacked >= TCP_ACK_EVERY)
		segment_send(f, TCP_ACK, f->snd_nxt);
	else
		window_ack_owed(
			f, f->interactive && f->unacked < f->mss ? TCP_ACK_LATER : TCP_ACK_SOON);
}

/* In-order payload; rcv_nxt moves by what was written or kept. False: the flow is gone. */
static bool accept_data(struct tcp_flow *f, const uint8_t *data, uint32_t len)
{
	ssize_t n;

	if (f->verify)
		return checked_input(f, data, len);
	n = splice_write(f, data, len);
	if (n < 0)
		return false;
	splice_taken(f, (uint32_t)n);
	return true;
}

void splice_writable(struct tcp_flow *f)
{
	while (f->spill_len) {
		ssize_t n = write_host(f, f->spill + f->spill_at, f->spill_len);

		if (n == -EAGAIN || n == -EINTR) {
			splice_wake(f);
			return;
		}
		if (n < 0) {
			flow_reset(f);
			return;
		}
		f->spill_at += (uint32_t)n;
		f->spill_len -= (uint32_t)n;
	}
	splice_free_spill(f);
	if (!end_of_guest(f))
		return;
	/* The window stood still; let the guest know that it moves again. */
	f->room = 0;
	window_ack_owed(f, TCP_ACK_SOON);
	splice_wake(f);
	splice_finish(f);
}

void splice_go_out(struct limits_waiter *waiter)
{
	struct tcp_flow *f =
		(struct tcp_flow *)((char *)waiter - offsetof(struct tcp_flow, pace[LIMITS_OUT]));

	if (f->spill_len)
		splice_writable(f);
	else
		limits_leave(f->tcp->limits, LIMITS_OUT, waiter);
}

/* ---- host to guest ---- */

void splice_go_in(struct limits_waiter *waiter)
{
	struct tcp_flow *f =
		(struct tcp_flow *)((char *)waiter - offsetof(struct tcp_flow, pace[LIMITS_IN]));

	splice_wake(f);
	if (!f->task.next)
		limits_leave(f->tcp->limits, LIMITS_IN, waiter);
}

void splice_wake(struct tcp_flow *f)
{
	if (f->readable && !f->fin_sent && f->state == TCP_ESTABLISHED)
		loop_defer(f->tcp->loop, &f->task);
}

static bool others_wait(const struct tcp *tcp)
{
	return tcp->room.next != &tcp->room;
}

/* The flow's task waits in another list than the loop's, until tcp_room(). */
static void wait_for_room(struct tcp_flow *f)
{
	struct task *task = &f->task, *head = &f->tcp->room;

	if (task->next)
		return; /* queued again already */
	task->prev = head->prev;
	task->next = head;
	task->prev->next = task;
	head->prev = task;
}

static void end_of_host(struct tcp_flow *f)
{
	f->host_eof = true;
	f->readable = false;
	f->fin_sent = true;
	if (f->snd_una == f->snd_nxt)
		f->acked_at = loop_now(f->tcp->loop);
	segment_send(f, TCP_FIN | TCP_ACK, f->snd_nxt);
	f->snd_nxt++;
	timer_arm(loop_wheel(f->tcp->loop), &f->idle_timer, TCP_HALF_CLOSED_MS);
}

/* How much may go into the next segment, 0: nothing now. */
static size_t next_length(struct tcp_flow *f)
{
	const struct link_caps *caps = link_caps(f->tcp->out->link);
	size_t usable = window_usable(f), held = flow_held(f);
	size_t max = caps->gso ? caps->max_frame - ETH_HLEN - IP4_HLEN - TCP_HLEN : f->mss;
	size_t held_max = host_side_held_max(&f->host);

	if (held >= held_max)
		return 0;
	if (usable > held_max - held)
		usable = held_max - held;
	/* Rather wait for an ACK than send slivers (RFC 9293 section 3.8.6.2.1). */
	if (usable < f->mss && usable < f->snd_wnd / 2 && held)
		return 0;
	if (max > f->mss)
		max -= max % f->mss;
	return usable < max ? usable : max;
}

/* A host that reset the connection is noticed even while the guest's window keeps us from reading. */
bool splice_host_failed(struct tcp_flow *f)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(f->host.fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err != 0;
}

static void sent_data(struct tcp_flow *f, size_t n)
{
	struct tcp *tcp = f->tcp;
	uint64_t now = loop_now(tcp->loop);

	if (f->snd_una == f->snd_nxt)
		f->acked_at = now;
	f->snd_nxt += (uint32_t)n;
	f->rx_bytes += n;
	egress_account(tcp->egress, &f->pass, 0, n);
	f->active = now;
	if (now - f->data_at <= TCP_ACK_DELAY_MS)
		f->interactive = true;
	counter_add(tcp->counters, COUNTER_TCP_RX_BYTES, n);
}

/* After a read that took all there was: whether the end may stand behind it without an edge of its
 * own to come. Where the system tells of an end when it comes, only if it has. */
static bool may_have_end(const struct tcp_flow *f)
{
	return f->host_closing || !(f->tcp->ready_events & EV_CLOSED);
}

/* How much of a segment the VM's rate allows, 0: it waits. Whole segments, where it is several. */
static size_t paced_length(struct tcp_flow *f, size_t len)
{
	size_t allowed = limits_ask(f->tcp->limits, LIMITS_IN, &f->pace[LIMITS_IN], len);

	return allowed < len && allowed > f->mss ? allowed - allowed % f->mss : allowed;
}

void splice_send_task(struct task *task)
{
	struct tcp_flow *f = (struct tcp_flow *)((char *)task - offsetof(struct tcp_flow, task));
	struct limits *limits = limits_paced(f->tcp->limits, LIMITS_IN) ? f->tcp->limits : NULL;
	size_t budget = TCP_SLICE;

	while (f->readable && !f->fin_sent && budget) {
		size_t len = next_length(f);
		ssize_t n;

		if (!len) {
			if (splice_host_failed(f)) {
				flow_reset(f);
				return;
			}
			break;
		}
		/* Who came before gets room before: else the first flows would share it all. */
		if (others_wait(f->tcp) || !link_room(f->tcp->out->link)) {
			wait_for_room(f);
			break;
		}
		if (limits && !(len = paced_length(f, len)))
			break;
		n = segment_send_data(f, len, false);
		if (limits)
			limits_took(limits, LIMITS_IN, &f->pace[LIMITS_IN], n > 0 ? (size_t)n : 0);
		if (n > 0) {
			sent_data(f, (size_t)n);
			budget -= (size_t)n < budget ? (size_t)n : budget;
			if ((size_t)n < len && !may_have_end(f)) {
				/* libevent shows an error as "readable" alone, and it may have come
				 * in one edge with these bytes. */
				if (splice_host_failed(f)) {
					flow_reset(f);
					return;
				}
				f->readable = false;
			}
		} else if (n == 0) {
			end_of_host(f);
		} else if (n == -EAGAIN || n == -EINTR) {
			f->readable = n == -EINTR;
			splice_wake(f);
			break;
		} else if (n == -ENOBUFS) {
			/* No memory, where there is room: again in the next pass. */
			if (link_room(f->tcp->out->link))
				splice_wake(f);
			else
				wait_for_room(f);
			break;
		} else {
			flow_reset(f);
			return;
		}
	}
	if (limits)
		limits_took(limits, LIMITS_IN, &f->pace[LIMITS_IN], 0); /* no use for it now */
	window_arm(f);
	if (!budget)
		splice_wake(f);
}

/* ---- ends ---- */

void splice_finish(struct tcp_flow *f)
{
	if (!f->host_shut || !flow_fin_acked(f))
		return;
	if (f->ack_owed)
		segment_send(f, TCP_ACK, f->snd_nxt);
	event_del(&f->ready);
	f->event_added = false;
	host_side_close(&f->host);
	flow_forget(f);
}

/* ---- a segment of an established flow ---- */

/* RFC 5961 section 3.2: only a RST at exactly rcv_nxt counts; one elsewhere in the window is asked
 * about. */
static void input_rst(struct tcp_flow *f, const struct segment *s)
{
	if (s->seq == f->rcv_nxt) {
		counter_inc(f->tcp->counters, COUNTER_TCP_RST_RECEIVED);
		flow_forget(f);
	} else if (seq_lt(f->rcv_nxt, s->seq) && seq_lt(s->seq, f->rcv_adv)) {
		counter_inc(f->tcp->counters, COUNTER_TCP_CHALLENGE_ACKS);
		window_ack_owed(f, TCP_ACK_SOON);
	}
}

/* Cuts off what lies outside the window. False where nothing that counts is left, which is answered
 * by an ACK: it may be a keepalive, or a probe of a closed window. */
static bool trim(struct tcp_flow *f, struct segment *s)
{
	uint32_t end = s->seq + s->len + !!(s->flags & TCP_FIN);

	if (seq_lt(s->seq, f->rcv_nxt)) {
		uint32_t old = f->rcv_nxt - s->seq;

		if (seq_le(end, f->rcv_nxt))
			return false;
		if (old > s->len)
			old = s->len;
		s->seq += old;
		s->data += old;
		s->len -= old;
	}
	if (seq_lt(f->rcv_adv, s->seq + s->len)) {
		uint32_t beyond = s->seq + s->len - f->rcv_adv;

		if (beyond >= s->len)
			return false;
		s->len -= beyond;
		s->flags &= (uint8_t)~TCP_FIN;
	}
	return true;
}

static bool input_fin(struct tcp_flow *f)
{
	if (!checked_fin(f))
		return false;
	f->guest_fin = true;
	f->rcv_nxt++;
	reorder_free(f);
	window_ack_owed(f, TCP_ACK_SOON);
	timer_arm(loop_wheel(f->tcp->loop), &f->idle_timer, TCP_HALF_CLOSED_MS);
	return end_of_guest(f);
}

/* What waited for this segment, and has become in order by it. False where the flow is gone. */
static bool accept_reordered(struct tcp_flow *f)
{
	const uint8_t *data;
	uint32_t len;

	while (reorder_next(f, &data, &len)) {
		uint32_t before = f->rcv_nxt;

		if (!accept_data(f, data, len))
			return false;
		if (f->rcv_nxt == before) /* no room to spill; the guest sends it again */
			break;
		/* It fills a gap: at once (RFC 5681 section 4.2). */
		window_ack_owed(f, TCP_ACK_SOON);
	}
	return true;
}

/* Payload and FIN of an acceptable segment, after its ACK. False where the flow is gone. */
static bool input_payload(struct tcp_flow *f, struct segment *s)
{
	uint32_t end;

	if (!trim(f, s)) {
		window_ack_owed(f, TCP_ACK_SOON);
		return true;
	}
	if (s->seq != f->rcv_nxt) {
		/* A gap: each such segment draws its own duplicate ACK (RFC 5681 section 4.2). */
		counter_inc(f->tcp->counters, COUNTER_TCP_OUT_OF_ORDER);
		if (!f->guest_fin)
			reorder_put(f, s->seq, s->data, s->len);
		segment_send(f, TCP_ACK, f->snd_nxt);
		return true;
	}
	end = s->seq + s->len;
	if (s->len && !f->guest_fin && !accept_data(f, s->data, s->len))
		return false;
	if (f->reorder && !accept_reordered(f))
		return false;
	if (s->flags & TCP_FIN && f->rcv_nxt == end && !f->guest_fin)
		return input_fin(f);
	return true;
}

void splice_input(struct tcp_flow *f, const struct segment *received)
{
	struct segment s = *received;

	if (s.flags & TCP_RST) {
		input_rst(f, &s);
		return;
	}
	flow_touch(f);
	if (s.flags & TCP_SYN) {
		/* RFC 5961 section 4: the guest, if it began anew, answers with a RST. */
		counter_inc(f->tcp->counters, COUNTER_TCP_CHALLENGE_ACKS);
		window_ack_owed(f, TCP_ACK_SOON);
		return;
	}
	if (!(s.flags & TCP_ACK)) {
		counter_inc(f->tcp->counters, COUNTER_TCP_BAD_SEGMENTS);
		return;
	}
	if (seq_lt(f->rcv_adv, s.seq)) {
		counter_inc(f->tcp->counters, COUNTER_TCP_BAD_SEGMENTS);
		window_ack_owed(f, TCP_ACK_SOON);
		return;
	}
	if (!window_ack_input(f, &s))
		return;
	if ((s.len || s.flags & TCP_FIN || s.seq != f->rcv_nxt) && !input_payload(f, &s))
		return;
	splice_finish(f);
}
