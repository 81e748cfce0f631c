/* SPDX-License-Identifier: MIT */
/*
 * Handshakes, honest ones: the guest sees a SYN-ACK only when the host's connection stands, and a
 * client is only accepted to ask the guest at once. Refusals are passed on as what they were: RST
 * for a refusal, ICMP for what cannot be reached.
 */
#include "dataplane/tcp/tcp_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void take_options(struct tcp_flow *f, const struct segment *s)
{
	uint16_t ours = (uint16_t)(f->tcp->net->mtu - IP4_HLEN - TCP_HLEN);
	uint16_t theirs = s->mss ? s->mss : 536; /* RFC 9293 section 3.7.1 */

	/* A tiny MSS would make us send a header a byte (RFC 791 knows no packet under 68). */
	if (theirs < 48)
		theirs = 48;
	f->mss = theirs < ours ? theirs : ours;
	f->wscale_ok = s->wscale >= 0;
	f->sack_ok = s->sack_ok;
	f->snd_wscale = s->wscale >= 0 ? (uint8_t)s->wscale : 0;
	f->rcv_nxt = s->seq + 1;
	f->rcv_adv = f->rcv_nxt;
	f->snd_wnd = s->window; /* never scaled in a SYN */
}

static void arm_syn(struct tcp_flow *f)
{
	timer_arm(loop_wheel(f->tcp->loop), &f->timer, (uint64_t)TCP_SYN_RTO << f->tries);
}

/* Tells the guest, as a router would, that its SYN could not be delivered. */
static void send_unreachable(struct tcp_flow *f, uint8_t code)
{
	uint8_t quoted[IP4_HLEN + TCP_HLEN] = {0};
	struct ip4_hdr *ip = (struct ip4_hdr *)quoted;
	struct tcp_hdr *h = (struct tcp_hdr *)(quoted + IP4_HLEN);
	const struct flow_key *key = &f->entry.key;
	struct packet packet = {
		.src = key->guest.addr,
		.dst = key->remote.addr,
		.proto = IP_PROTO_TCP,
		.ip = quoted,
		.ip_hlen = IP4_HLEN,
		.l4 = quoted + IP4_HLEN,
		.l4_len = TCP_HLEN,
	};

	*ip = (struct ip4_hdr){
		.version_ihl = 0x45,
		.total_len = be16(sizeof(quoted)),
		.frag = be16(IP4_DF),
		.ttl = 63,
		.proto = IP_PROTO_TCP,
		.src = be32(addr_v4(&key->guest.addr)),
		.dst = be32(addr_v4(&key->remote.addr)),
	};
	ip->csum = be16((uint16_t)~csum_fold(csum_add(0, ip, IP4_HLEN)));
	h->src = be16(key->guest.port);
	h->dst = be16(key->remote.port);
	h->seq = be32(f->rcv_nxt - 1);
	h->offset = TCP_HLEN / 4 << 4;
	h->flags = TCP_SYN;
	icmp_send_error(f->tcp->icmp, &packet, ICMP_UNREACHABLE, code, 0);
}

/* The host's connection did not come about. */
static void refuse(struct tcp_flow *f, int err)
{
	counter_inc(f->tcp->counters, COUNTER_TCP_REFUSED);
	switch (err) {
	case -EAGAIN: /* the guest repeats its SYN */
		flow_forget(f);
		return;
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
		send_unreachable(f, ICMP_CODE_HOST);
		flow_forget(f);
		return;
	case -ENETUNREACH:
		send_unreachable(f, ICMP_CODE_NET);
		flow_forget(f);
		return;
	case -EMFILE:
		counter_inc(f->tcp->counters, COUNTER_TCP_NO_FDS);
		break;
	default:
		break;
	}
	/* Of a flow in this state: RST|ACK that acknowledges the SYN, from sequence 0 on. */
	segment_send(f, TCP_RST | TCP_ACK, 0);
	flow_forget(f);
}

static void connected(struct tcp_flow *f, int fd, bool is_tcp)
{
	f->request = NULL;
	if (flow_connect_host(f, fd, is_tcp) < 0) {
		refuse(f, -EMFILE);
		return;
	}
	f->state = TCP_SYN_RCVD;
	segment_send_syn(f, true);
	arm_syn(f);
}

static void dialled(void *arg, int fd)
{
	struct tcp_flow *f = arg;

	f->request = NULL;
	if (fd < 0)
		refuse(f, fd);
	else
		connected(f, fd, true);
}

void handshake_syn(struct tcp *tcp, const struct segment *s)
{
	const struct endpoint *dst = &s->key.remote;
	bool dns = dns_answers_for(tcp->dns, dst);
	struct tcp_flow *f;
	int fd = limits_flow(tcp->limits);

	if (fd == -EAGAIN)
		return; /* the guest repeats it */
	f = fd < 0 ? NULL : flow_new(tcp, &s->key, false);
	if (!f) {
		segment_send_rst(tcp, s);
		return;
	}
	f->state = TCP_DIALLING;
	take_options(f, s);
	if (dns)
		fd = dns_tcp_accept(tcp->dns);
	else
		fd = egress_dial(tcp->egress, EGRESS_GUEST, IP_PROTO_TCP, dst, &f->pass, dialled, f,
			&f->request);
	if (fd >= 0)
		connected(f, fd, !dns);
	else if (fd != -EINPROGRESS)
		/* A full resolver is no full dial: say no at once. */
		refuse(f, dns ? -ECONNREFUSED : fd);
}

struct tcp_flow *handshake_to_guest(
	struct tcp *tcp, uint16_t port, int fd, bool is_tcp, const struct endpoint *client)
{
	struct flow_key key = {.guest = {tcp->net->guest, port}, .remote = *client};
	struct tcp_flow *f = limits_flow(tcp->limits) < 0 ? NULL : flow_new(tcp, &key, true);

	if (!f) {
		close(fd); /* a RST, by the linger option */
		return NULL;
	}
	f->state = TCP_SYN_SENT;
	accept_group_enter(&tcp->inbound);
	f->wscale_ok = f->sack_ok = true;
	f->rcv_nxt = f->rcv_adv = 0;
	if (flow_connect_host(f, fd, is_tcp) < 0) {
		flow_forget(f);
		return NULL;
	}
	segment_send_syn(f, false);
	arm_syn(f);
	return f;
}

static void syn_sent_input(struct tcp_flow *f, const struct segment *s)
{
	bool ack_ok = s->flags & TCP_ACK && s->ack == f->snd_nxt;

	if (s->flags & TCP_ACK && !ack_ok) {
		segment_send_rst(f->tcp, s);
		return;
	}
	if (s->flags & TCP_RST) {
		if (ack_ok) {
			counter_inc(f->tcp->counters, COUNTER_TCP_REFUSED);
			flow_forget(f);
		}
		return;
	}
	if (!(s->flags & TCP_SYN) || !ack_ok)
		return;
	take_options(f, s);
	f->snd_una = s->ack;
	flow_established(f);
	segment_send(f, TCP_ACK, f->snd_nxt);
}

static void syn_rcvd_input(struct tcp_flow *f, const struct segment *s)
{
	if (s->flags & TCP_RST) {
		if (s->seq == f->rcv_nxt) {
			counter_inc(f->tcp->counters, COUNTER_TCP_RST_RECEIVED);
			flow_forget(f);
		}
		return;
	}
	if (s->flags & TCP_SYN) {
		if (s->seq == f->rcv_nxt - 1)
			segment_send_syn(f, true);
		return;
	}
	if (!(s->flags & TCP_ACK))
		return;
	if (s->ack != f->snd_nxt) {
		segment_send_rst(f->tcp, s);
		return;
	}
	f->snd_una = s->ack;
	f->snd_wnd = (uint32_t)s->window << f->snd_wscale;
	if (!checked_begin(f)) {
		flow_reset(f);
		return;
	}
	flow_established(f);
	splice_input(f, s);
}

void handshake_input(struct tcp_flow *f, const struct segment *s)
{
	switch ((enum tcp_state)f->state) {
	case TCP_DIALLING:
		if (s->flags & TCP_RST && s->seq == f->rcv_nxt)
			flow_forget(f);
		break;
	case TCP_SYN_RCVD:
		syn_rcvd_input(f, s);
		break;
	case TCP_SYN_SENT:
		syn_sent_input(f, s);
		break;
	case TCP_ESTABLISHED:
		break;
	}
}

void handshake_timeout(struct tcp_flow *f)
{
	if (f->state == TCP_DIALLING)
		return;
	if (++f->tries >= TCP_SYN_TRIES) {
		counter_inc(f->tcp->counters, COUNTER_TCP_TIMEOUTS);
		flow_reset(f);
		return;
	}
	counter_inc(f->tcp->counters, COUNTER_TCP_RETRANSMITS);
	segment_send_syn(f, f->state == TCP_SYN_RCVD);
	arm_syn(f);
}
