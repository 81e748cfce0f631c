/* SPDX-License-Identifier: MIT */
/*
 * Datagrams of the guest's that go by a SOCKS5 proxy (egress/udp_relay.h), by a host socket beside the
 * flow's own, of the relay's family.
 */
#include "dataplane/stack/udp_flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct udp_out *of_relay(struct udp_relay *relay)
{
	return (struct udp_out *)((char *)relay - offsetof(struct udp_out, relay));
}

static struct udp_out *of_sock(struct udp_sock *sock)
{
	return (struct udp_out *)((char *)sock - offsetof(struct udp_out, by_relay));
}

/* ---- to the guest ---- */

static void deliver(struct udp_out *out, const uint8_t *data, size_t len)
{
	struct udp *udp = out->flow.udp;
	size_t head;
	const struct udp_peer *peer = udp_relay_from(&out->relay, &out->peers, data, len, &head);
	struct endpoint src;

	if (!peer)
		return;
	src = egress_from_host(udp->egress, &peer->host);
	egress_account(udp->egress, &peer->pass, 0, len - head);
	out->flow.used = loop_now(udp->loop);
	out->flow.rx_bytes += len - head;
	udp_deliver(udp, &src, &out->flow.entry.key.guest, data + head, len - head);
}

static void received(struct udp_sock *sock, const struct udp_batch_rx *rx)
{
	struct udp_out *out = of_sock(sock);
	size_t at = 0;

	if (!endpoint_eq(&rx->src, udp_relay_at(&out->relay))) {
		counter_inc(out->flow.udp->counters, COUNTER_UDP_STRANGERS);
		return;
	}
	do {
		size_t len = rx->len - at < rx->segment ? rx->len - at : rx->segment;

		deliver(out, rx->data + at, len);
		at += len;
	} while (at < rx->len);
}

/* Of the relay's own way nobody but it and we know; that it is gone its TCP connection tells. */
static void failed(struct udp_sock *sock, const struct udp_batch_error *error)
{
	(void)sock;
	(void)error;
}

static const struct udp_sock_ops sock_ops = {.received = received, .failed = failed};

/* ---- from the guest ---- */

static void send_now(struct udp_out *out, const struct endpoint *host, const void *data, size_t len)
{
	uint8_t message[UDP_PAYLOAD_MAX];
	uint8_t head[SOCKS5_UDP_HEAD_MAX];
	size_t n = udp_relay_head(&out->relay, host, head);

	if (n + len > sizeof(message)) {
		counter_inc(out->flow.udp->counters, COUNTER_PROXY_UDP_DROPPED);
		return;
	}
	memcpy(message, head, n);
	memcpy(message + n, data, len);
	udp_sock_send(&out->by_relay, udp_relay_at(&out->relay), NULL, message, n + len);
	counter_inc(out->flow.udp->counters, COUNTER_PROXY_UDP_TX);
}

void udp_by_relay_send(
	struct udp_out *out, const struct endpoint *host, const void *data, size_t len)
{
	/* Only read. */
	struct iovec piece = {(void *)(uintptr_t)data, len};

	if (udp_relay_stands(&out->relay))
		send_now(out, host, data, len);
	else
		udp_relay_hold(&out->relay, host, &piece, 1, len);
}

/* ---- the relay's life ---- */

static bool on_stands(struct udp_relay *relay)
{
	struct udp_out *out = of_relay(relay);
	struct udp *udp = out->flow.udp;
	int family = addr_family(&relay->at.addr);
	int fd = egress_udp_open(udp->egress, family, 0);
	struct udp_relay_held *held;

	if (fd < 0)
		return false;
	if (udp_sock_open(&out->by_relay, &udp->io, fd, family, UDP_BATCH_GRO, &sock_ops) < 0) {
		close(fd);
		out->by_relay.fd = -1;
		return false;
	}
	while ((held = udp_relay_next(relay))) {
		send_now(out, &held->host, held->data, held->len);
		free(held);
	}
	return true;
}

static void close_sock(struct udp_out *out)
{
	if (out->by_relay.fd >= 0)
		udp_sock_close(&out->by_relay);
}

/* What the guest sent is told to be lost, or sent straight there. */
static void give_back(struct udp_out *out, const struct udp_relay_held *held)
{
	struct udp *udp = out->flow.udp;
	struct flow_key key = {.guest = out->flow.entry.key.guest,
		.remote = egress_from_host(udp->egress, &held->host)};
	struct udp_batch_error error = {.err = EACCES, .dst = held->host, .from = addr_any};

	if (out->relay.straight) {
		udp_sock_send(&out->sock, &held->host, NULL, held->data, held->len);
		return;
	}
	error.data_len = held->len < sizeof(error.data) ? held->len : sizeof(error.data);
	memcpy(error.data, held->data, error.data_len);
	counter_inc(udp->counters, COUNTER_PROXY_UDP_DROPPED);
	udp_relay_error(udp, &key, &error);
}

static void on_ended(struct udp_relay *relay)
{
	struct udp_out *out = of_relay(relay);
	struct udp_relay_held *held;

	close_sock(out);
	while ((held = udp_relay_next(relay))) {
		give_back(out, held);
		free(held);
	}
}

static const struct udp_relay_events events = {.stands = on_stands, .ended = on_ended};

void udp_by_relay_init(struct udp_out *out)
{
	struct udp *udp = out->flow.udp;

	out->by_relay.fd = -1;
	udp_relay_init(&out->relay, udp->egress, udp->loop, udp->counters, &events);
}

void udp_by_relay_clear(struct udp_out *out)
{
	close_sock(out);
	udp_relay_clear(&out->relay);
}
