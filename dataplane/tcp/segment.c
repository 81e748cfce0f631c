/* SPDX-License-Identifier: MIT */
/* Segments: taking a received one apart, and writing ours. */
#include "dataplane/tcp/tcp_internal.h"

#include <errno.h>
#include <string.h>

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_WSCALE 3
#define OPTION_SACK_OK 4
#define OPTION_SACK 5

/* Unknown options are passed over (RFC 9293 section 3.2); a malformed list ends what is known. */
static void parse_options(struct cursor c, struct segment *s)
{
	const uint8_t *p, *body;

	while ((p = cursor_take(&c, 1)) && *p != OPTION_END) {
		uint8_t kind = *p, len;

		if (kind == OPTION_NOP)
			continue;
		p = cursor_take(&c, 1);
		if (!p || *p < 2)
			return;
		len = (uint8_t)(*p - 2);
		body = cursor_take(&c, len);
		if (!body)
			return;
		if (kind == OPTION_MSS && len == 2)
			s->mss = load_be16(body);
		else if (kind == OPTION_WSCALE && len == 1)
			s->wscale = (int8_t)(*body > 14 ? 14 : *body);
		else if (kind == OPTION_SACK_OK && len == 0)
			s->sack_ok = true;
	}
}

bool segment_parse(const struct packet *packet, struct segment *s)
{
	struct cursor c = {packet->l4, packet->l4_len};
	const struct tcp_hdr *h = cursor_take(&c, TCP_HLEN);
	size_t hlen;
	const uint8_t *options;

	if (!h)
		return false;
	hlen = (size_t)(h->offset >> 4) * 4;
	if (hlen < TCP_HLEN)
		return false;
	options = cursor_take(&c, hlen - TCP_HLEN);
	if (!options)
		return false;
	*s = (struct segment){
		.key = {.guest = {packet->src, be16_get(h->src)},
			.remote = {packet->dst, be16_get(h->dst)}},
		.seq = be32_get(h->seq),
		.ack = be32_get(h->ack),
		.len = (uint32_t)c.left,
		.data = c.p,
		.window = be16_get(h->window),
		.flags = h->flags,
		.wscale = -1,
		.packet = packet,
	};
	if (s->flags & TCP_SYN)
		parse_options((struct cursor){options, hlen - TCP_HLEN}, s);
	return s->key.guest.port && s->key.remote.port;
}

static uint8_t *begin(struct tcp *tcp, const struct flow_key *key, size_t max)
{
	struct output_ip ip = {
		.src = key->remote.addr,
		.dst = key->guest.addr,
		.proto = IP_PROTO_TCP,
		.frag = IP4_DF,
	};

	return output_begin(tcp->out, &ip, max);
}

static void fill(uint8_t *l4, const struct flow_key *key, uint32_t seq, uint32_t ack, uint8_t flags,
	uint16_t window, size_t hlen)
{
	struct tcp_hdr *h = (struct tcp_hdr *)l4;

	*h = (struct tcp_hdr){
		.src = be16(key->remote.port),
		.dst = be16(key->guest.port),
		.seq = be32(seq),
		.ack = be32(flags & TCP_ACK ? ack : 0),
		.offset = (uint8_t)(hlen / 4 << 4),
		.flags = flags,
		.window = be16(window),
	};
}

/* RFC 9293 section 3.5.2, group 1. */
void segment_send_rst(struct tcp *tcp, const struct segment *s)
{
	uint8_t *l4;

	if (s->flags & TCP_RST)
		return;
	l4 = begin(tcp, &s->key, TCP_HLEN);
	if (!l4)
		return;
	if (s->flags & TCP_ACK) {
		fill(l4, &s->key, s->ack, 0, TCP_RST, 0, TCP_HLEN);
	} else {
		uint32_t end = s->seq + s->len + !!(s->flags & TCP_SYN) + !!(s->flags & TCP_FIN);

		fill(l4, &s->key, 0, end, TCP_RST | TCP_ACK, 0, TCP_HLEN);
	}
	output_end(tcp->out, TCP_HLEN, OUTPUT_CSUM_TCP);
	counter_inc(tcp->counters, COUNTER_TCP_RST_SENT);
}

/* Selective ACKs as an option; returns its length, a multiple of 4. */
static size_t fill_sack(uint8_t *option, const struct sack_block *blocks, unsigned n)
{
	if (!n)
		return 0;
	option[0] = option[1] = OPTION_NOP;
	option[2] = OPTION_SACK;
	option[3] = (uint8_t)(2 + 8 * n);
	for (unsigned i = 0; i < n; i++) {
		store_be32(option + 4 + 8 * i, blocks[i].begin);
		store_be32(option + 8 + 8 * i, blocks[i].end);
	}
	return 4 + 8 * (size_t)n;
}

void segment_send(struct tcp_flow *f, uint8_t flags, uint32_t seq)
{
	struct sack_block blocks[SACK_BLOCKS_MAX];
	unsigned n = f->reorder && f->sack_ok && !(flags & TCP_RST) ? reorder_blocks(f, blocks) : 0;
	uint8_t *l4 = begin(f->tcp, &f->entry.key, TCP_HLEN + 4 + 8 * (size_t)n);
	size_t hlen;

	if (!l4)
		return;
	hlen = TCP_HLEN + fill_sack(l4 + TCP_HLEN, blocks, n);
	fill(l4, &f->entry.key, seq, f->rcv_nxt, flags, flags & TCP_RST ? 0 : window_field(f),
		hlen);
	output_end(f->tcp->out, hlen, OUTPUT_CSUM_TCP);
	if (flags & TCP_RST)
		counter_inc(f->tcp->counters, COUNTER_TCP_RST_SENT);
	else
		window_ack_done(f);
}

void segment_send_syn(struct tcp_flow *f, bool ack)
{
	uint8_t *l4 = begin(f->tcp, &f->entry.key, TCP_HLEN + 12), *option;
	uint16_t mss = (uint16_t)(f->tcp->net->mtu - IP4_HLEN - TCP_HLEN);

	if (!l4)
		return;
	option = l4 + TCP_HLEN;
	option[0] = OPTION_MSS;
	option[1] = 4;
	store_be16(option + 2, mss);
	option += 4;
	if (f->sack_ok) {
		memcpy(option, (uint8_t[]){OPTION_NOP, OPTION_NOP, OPTION_SACK_OK, 2}, 4);
		option += 4;
	}
	if (f->wscale_ok) {
		memcpy(option, (uint8_t[]){OPTION_NOP, OPTION_WSCALE, 3, TCP_WSCALE}, 4);
		option += 4;
	}
	fill(l4, &f->entry.key, f->isn, f->rcv_nxt, ack ? TCP_SYN | TCP_ACK : TCP_SYN,
		window_field(f), (size_t)(option - l4));
	output_end(f->tcp->out, (size_t)(option - l4), OUTPUT_CSUM_TCP);
}

ssize_t segment_send_data(struct tcp_flow *f, size_t len, bool again)
{
	uint32_t held = flow_held(f);
	uint32_t seq = again ? f->snd_una : f->snd_nxt;
	uint8_t *l4 = begin(f->tcp, &f->entry.key, TCP_HLEN + len);
	ssize_t n;

	if (!l4)
		return -ENOBUFS;
	if (again)
		n = host_side_peek_again(&f->host, l4 + TCP_HLEN, len < held ? len : held, 0, held);
	else
		n = host_side_peek(&f->host, l4 + TCP_HLEN, len, held);
	if (n <= 0)
		return n;
	fill(l4, &f->entry.key, seq, f->rcv_nxt, TCP_ACK | TCP_PSH, window_field(f), TCP_HLEN);
	output_end_gso(f->tcp->out, TCP_HLEN + (size_t)n, TCP_HLEN, f->mss);
	window_ack_done(f);
	return n;
}
