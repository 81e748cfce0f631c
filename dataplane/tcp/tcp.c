/* SPDX-License-Identifier: MIT */
/* The TCP module put together: dispatch, what concerns all flows, and their listing. */
#include "dataplane/tcp/tcp_internal.h"

#include "common/os.h"

#include <stdlib.h>
#include <sys/socket.h>

static void ack_timer(struct timer *timer)
{
	struct tcp *tcp = (struct tcp *)((char *)timer - offsetof(struct tcp, ack_timer));

	while (tcp->ack_later) {
		struct tcp_flow *f = tcp->ack_later;

		f->interactive = false;
		segment_send(f, TCP_ACK, f->snd_nxt);
		window_ack_done(f);
	}
}

static void hook(struct loop_hook *h)
{
	window_flush_acks((struct tcp *)((char *)h - offsetof(struct tcp, hook)));
}

struct tcp *tcp_new(const struct tcp_env *env)
{
	struct tcp *tcp = calloc(1, sizeof(*tcp));

	if (!tcp)
		return NULL;
	tcp->loop = env->loop;
	tcp->out = env->out;
	tcp->net = env->net;
	tcp->counters = env->counters;
	tcp->egress = env->egress;
	tcp->dns = env->dns;
	tcp->icmp = env->icmp;
	tcp->limits = env->limits;
	tcp->ack_timer.fire = ack_timer;
	accept_group_init(&tcp->inbound, tcp->loop, tcp->counters, COUNTER_TCP_NO_FDS);
	tcp->hook.run = hook;
	tcp->room.next = tcp->room.prev = &tcp->room;
	tcp->ready_events = EV_READ | EV_WRITE | EV_ET | EV_PERSIST;
	if (event_base_get_features(loop_base(tcp->loop)) & EV_FEATURE_EARLY_CLOSE)
		tcp->ready_events |= EV_CLOSED;
	os_random(&tcp->isn_key, sizeof(tcp->isn_key));
	tcp->flows = flow_table_new(TCP_FLOWS_MAX);
	if (!tcp->flows) {
		free(tcp);
		return NULL;
	}
	loop_add_hook(tcp->loop, &tcp->hook);
	return tcp;
}

void tcp_free(struct tcp *tcp)
{
	if (!tcp)
		return;
	while (tcp->listeners)
		tcp_forward_delete(tcp, tcp->listeners->forward.id);
	tcp_reset(tcp);
	timer_disarm(loop_wheel(tcp->loop), &tcp->ack_timer);
	accept_group_close(&tcp->inbound);
	loop_remove_hook(tcp->loop, &tcp->hook);
	flow_table_free(tcp->flows);
	free(tcp);
}

void tcp_set_memory(struct tcp *tcp, struct flow_memory *memory, bool reset_flows)
{
	tcp->memory = memory;
	if (reset_flows)
		orphans_take(tcp);
}

/* A segment of no flow: the first of one, or what deserves a RST (RFC 1122 section 4.2.3.10: never
 * for a group). */
static void input_unknown(struct tcp *tcp, const struct segment *s)
{
	const struct addr *dst = &s->key.remote.addr;

	if (addr_is_multicast(dst) || addr_is_unspecified(dst) || net_is_broadcast(tcp->net, dst))
		counter_inc(tcp->counters, COUNTER_DROP_MULTICAST);
	else if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN)
		handshake_syn(tcp, s);
	else
		segment_send_rst(tcp, s);
}

void tcp_input(struct tcp *tcp, const struct packet *packet)
{
	struct flow_entry *entry;
	struct tcp_flow *f;
	struct segment s;

	if (!segment_parse(packet, &s)) {
		counter_inc(tcp->counters, COUNTER_DROP_MALFORMED);
		return;
	}
	entry = flow_table_find(tcp->flows, &s.key);
	if (!entry) {
		input_unknown(tcp, &s);
		return;
	}
	f = (struct tcp_flow *)entry;
	if (f->state == TCP_ESTABLISHED)
		splice_input(f, &s);
	else
		handshake_input(f, &s);
}

void tcp_link_up(struct tcp *tcp)
{
	orphans_start(tcp);
}

void tcp_guest_seen(struct tcp *tcp)
{
	struct flow_entry *e;
	uint32_t slot = 0;

	if (!tcp->inbound.under_way)
		return;
	while ((e = flow_table_next(tcp->flows, &slot))) {
		struct tcp_flow *f = (struct tcp_flow *)e;

		if (f->state == TCP_SYN_SENT)
			segment_send_syn(f, false);
	}
}

void tcp_room(struct tcp *tcp)
{
	while (tcp->room.next != &tcp->room) {
		struct task *task = tcp->room.next;

		loop_cancel(tcp->loop, task);
		loop_defer(tcp->loop, task);
	}
}

void tcp_reset(struct tcp *tcp)
{
	struct flow_entry *e;
	uint32_t slot = 0;

	orphans_stop(tcp);
	while ((e = flow_table_next(tcp->flows, &slot)))
		flow_forget((struct tcp_flow *)e);
}

/* One without a pass is inbound, or with our own DNS; and a resolver may be left to its own no more
 * once the policy has names. */
static bool still_allowed(struct tcp *tcp, struct tcp_flow *f)
{
	const struct endpoint *dst = &f->entry.key.remote;

	return !f->pass.verdict.allow ||
		(!dns_answers_for(tcp->dns, dst) &&
			egress_stands(tcp->egress, EGRESS_GUEST, IP_PROTO_TCP, dst, &f->pass));
}

void tcp_recheck(struct tcp *tcp)
{
	struct flow_entry *e;
	uint32_t slot = 0;

	while ((e = flow_table_next(tcp->flows, &slot))) {
		struct tcp_flow *f = (struct tcp_flow *)e;

		if (!still_allowed(tcp, f) || !checked_stands(f))
			flow_reset(f);
	}
}

void tcp_shutdown(struct tcp *tcp)
{
	struct flow_entry *e;
	uint32_t slot = 0;

	while (tcp->listeners)
		tcp_forward_delete(tcp, tcp->listeners->forward.id);
	while ((e = flow_table_next(tcp->flows, &slot)))
		flow_reset((struct tcp_flow *)e);
}

/* ---- listing ---- */

size_t tcp_flow_count(const struct tcp *tcp)
{
	return flow_table_count(tcp->flows);
}

void tcp_busy(const struct tcp *tcp, struct busy *busy)
{
	struct flow_entry *e;
	uint32_t slot = 0;

	while ((e = flow_table_next(tcp->flows, &slot))) {
		const struct tcp_flow *f = (const struct tcp_flow *)e;

		if (f->state == TCP_ESTABLISHED)
			busy->live++;
		else
			busy->pending++;
		busy->queued += f->spill_len || f->reorder || (f->verify && verify_held(f->verify));
	}
}

static const char *state_name(const struct tcp_flow *f)
{
	switch ((enum tcp_state)f->state) {
	case TCP_DIALLING:
		return "dialling";
	case TCP_SYN_RCVD:
		return "syn-rcvd";
	case TCP_SYN_SENT:
		return "syn-sent";
	case TCP_ESTABLISHED:
		break;
	}
	if (f->guest_fin && f->fin_sent)
		return "closing";
	if (f->guest_fin)
		return "guest-closed";
	return f->fin_sent ? "host-closed" : "established";
}

static struct endpoint host_peer(const struct tcp_flow *f)
{
	struct endpoint peer = f->entry.key.remote;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (f->host.fd >= 0 && f->host.tcp &&
		getpeername(f->host.fd, (struct sockaddr *)&ss, &len) == 0)
		endpoint_from_sockaddr((struct sockaddr *)&ss, len, &peer);
	return peer;
}

bool tcp_flow_next(const struct tcp *tcp, uint32_t *cursor, struct flow_info *info)
{
	struct flow_entry *e = flow_table_next(tcp->flows, cursor);
	const struct tcp_flow *f = (const struct tcp_flow *)e;
	uint64_t now = loop_now(tcp->loop);

	if (!e)
		return false;
	*info = (struct flow_info){
		.proto = IP_PROTO_TCP,
		.inbound = f->inbound,
		.key = e->key,
		.host = host_peer(f),
		.state = state_name(f),
		.age_ms = now - f->born,
		.idle_ms = now - f->active,
		.tx_bytes = f->tx_bytes,
		.rx_bytes = f->rx_bytes,
	};
	return true;
}
