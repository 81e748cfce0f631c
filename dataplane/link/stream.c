/* SPDX-License-Identifier: MIT */
/*
 * The stream link: a unix stream of records, a 4-byte big-endian length and a frame each, as
 * QEMU's `-netdev stream`, passt's clients and libkrun speak it.
 *
 * Reading takes as much as there is, up to the buffer, and delivers the whole frames in it. A
 * record that no frame can be (shorter than an Ethernet header, longer than 64 KiB) is skipped:
 * its length says how far.
 *
 * A worker that takes a connection over from a dead one may stand in the middle of a record in
 * both directions. Towards us, frames are found again by what each begins with: a possible
 * length, our MAC or a group's, the guest's MAC. Towards the VMM, the dead worker left in the
 * flow memory how long its last record is and how much of it is missing; zeros complete it, and the
 * guest drops what they belong to.
 */
#include "dataplane/link/link_internal.h"

#include "common/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_BUFFER (2 << 20)

static int stream_start(struct link *link, int fd)
{
	int type = 0, size = SOCKET_BUFFER;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return -EINVAL;
	/* As far as the host allows; the default of 208 KiB is three large frames. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	link->caps = (struct link_caps){.max_frame = LINK_FRAME_MAX};
	link->header_len = 0;
	flow_memory_set_tx(link->memory, (struct flow_memory_tx){0});
	return 0;
}

/* Whether these bytes can be a record's start, seen from a stream whose framing was lost. */
static bool plausible(const struct link *link, const uint8_t *p)
{
	uint32_t len = load_be32(p);
	const uint8_t *dst = p + LINK_RECORD_HLEN, *src = dst + sizeof(struct mac);

	return len >= ETH_HLEN && len <= LINK_FRAME_MAX &&
		memcmp(src, link->resync_src.b, sizeof(struct mac)) == 0 &&
		(dst[0] & 1 || memcmp(dst, link->resync_dst.b, sizeof(struct mac)) == 0);
}

/* Throws away what lies before the first plausible record. False while none was seen. */
static bool find_frame(struct link *link)
{
	size_t need = LINK_RECORD_HLEN + 2 * sizeof(struct mac), at = 0;

	while (at + need <= link->have && !plausible(link, link->rx + at))
		at++;
	memmove(link->rx, link->rx + at, link->have - at);
	link->have -= at;
	link->resync = link->have < need;
	return !link->resync;
}

/* Delivers the whole records at the start of the buffer, at most `budget`. Returns how many. */
static int deliver_records(struct link *link, int budget)
{
	static const struct link_meta plain;
	size_t at = 0;
	int frames = 0;

	while (frames < budget && link->have - at >= LINK_RECORD_HLEN) {
		uint32_t len = load_be32(link->rx + at);

		if (len > LINK_FRAME_MAX || len < ETH_HLEN) {
			counter_inc(link->counters, COUNTER_DROP_FRAME_LENGTH);
			link->skip = (uint64_t)len + LINK_RECORD_HLEN;
			if (link->skip > link->have - at) {
				link->skip -= link->have - at;
				at = link->have;
				break;
			}
			at += link->skip;
			link->skip = 0;
			frames++;
			continue;
		}
		if (link->have - at < LINK_RECORD_HLEN + len)
			break;
		link_deliver(link, link->rx + at + LINK_RECORD_HLEN, len, &plain);
		if (!link->up)
			return frames;
		at += LINK_RECORD_HLEN + len;
		frames++;
	}
	memmove(link->rx, link->rx + at, link->have - at);
	link->have -= at;
	return frames;
}

static bool stream_receive(struct link *link)
{
	ssize_t n = 0;
	int frames;

	if (link->have < link->rx_size) {
		n = recv(link->fd, link->rx + link->have, link->rx_size - link->have, 0);
		if (n == 0) {
			link_lost(link, "the VMM closed the connection");
			return false;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			link_lost(link, strerror(errno));
			return false;
		}
	}
	if (n > 0)
		link->have += (size_t)n;
	if (link->skip) {
		size_t drop = link->skip < link->have ? (size_t)link->skip : link->have;

		memmove(link->rx, link->rx + drop, link->have - drop);
		link->have -= drop;
		link->skip -= drop;
	}
	if (link->resync && !find_frame(link))
		return false;
	frames = deliver_records(link, LINK_RX_FRAMES);
	return frames == LINK_RX_FRAMES;
}

/* Of a length that was cut there is nothing to be told yet: such a frame is delivered. */
static void stream_drop_part(struct link *link)
{
	if (link->resync || link->have < LINK_RECORD_HLEN)
		return;
	link->skip = LINK_RECORD_HLEN + (uint64_t)load_be32(link->rx) - link->have;
	link->have = 0;
}

/* The rest of its length, if that was cut, and zeros. */
static int finish_broken_record(struct link *link)
{
	static const uint8_t zeros[4096];
	struct flow_memory_tx *pad = &link->pad;

	while (pad->left) {
		uint32_t done = pad->size - pad->left, n = pad->left;
		const uint8_t *from = zeros;
		uint8_t length[LINK_RECORD_HLEN];
		ssize_t sent;

		if (done < LINK_RECORD_HLEN) {
			store_be32(length, pad->size - LINK_RECORD_HLEN);
			from = length + done;
			n = LINK_RECORD_HLEN - done;
		} else if (n > sizeof(zeros)) {
			n = sizeof(zeros);
		}
		sent = os_send(link->fd, from, n, 0);
		if (sent < 0)
			return (int)sent;
		pad->left -= (uint32_t)sent;
		flow_memory_set_tx(link->memory, *pad);
	}
	return 0;
}

static int stream_drain(struct link *link)
{
	int err = finish_broken_record(link);

	if (err < 0)
		return err;
	while (link->queued_bytes) {
		struct chunk *chunk = link->first;
		ssize_t sent = os_send(
			link->fd, chunk->data + chunk->head, chunk->tail - chunk->head, 0);

		if (sent < 0)
			return sent == -EINTR ? -EAGAIN : (int)sent;
		link_written(link, (size_t)sent);
		flow_memory_set_tx(link->memory,
			(struct flow_memory_tx){
				(uint32_t)link->head_left, (uint32_t)link->head_size});
	}
	return 0;
}

const struct link_ops link_stream_ops = {
	.start = stream_start,
	.receive = stream_receive,
	.drop_part = stream_drop_part,
	.drain = stream_drain,
};
