/* SPDX-License-Identifier: MIT */
/*
 * The dgram link: a connected unix datagram socket (or a socketpair's end), one frame a datagram,
 * as Apple's Virtualization framework, vfkit, krunkit, libkrun and QEMU's `-netdev dgram` speak it.
 *
 * vfkit greets with a datagram `VFKT`, which is swallowed. A datagram socket does not tell when
 * its peer goes away until something is sent: when we have sent nothing for a while, a small frame
 * of the EtherType kept for local experiments (IEEE 802, 0x88b5) asks. A peer that has gone is
 * ECONNREFUSED; the socket then goes back to netctld, which waits for the next peer.
 */
#include "dataplane/link/link_internal.h"

#include "common/os.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define ETHERTYPE_PROBE 0x88b5
#define PROBE_LEN 60
#define PROBE_MS 1000
#define SNDBUF (1 << 20)
#define RCVBUF (4 << 20)

static void probe(struct timer *timer)
{
	struct link *link = (struct link *)((char *)timer - offsetof(struct link, probe_timer));
	uint8_t *frame;

	if (!link->queued_frames && link->up) {
		frame = link_reserve(link, PROBE_LEN);
		if (frame) {
			memset(frame, 0, PROBE_LEN);
			memset(frame, 0xff, sizeof(struct mac));
			frame[6] = 0x02; /* some locally administered source */
			store_be16(frame + 12, ETHERTYPE_PROBE);
			link_commit(link, PROBE_LEN, NULL);
		}
	}
	if (link->up)
		timer_arm(loop_wheel(link->loop), &link->probe_timer, PROBE_MS);
}

static int dgram_start(struct link *link, int fd)
{
	int type = 0, sndbuf = SNDBUF, rcvbuf = RCVBUF;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_DGRAM)
		return -EINVAL;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	link->caps = (struct link_caps){.max_frame = LINK_FRAME_MAX};
	link->header_len = 0;
	link->probe_timer.fire = probe;
	timer_arm(loop_wheel(link->loop), &link->probe_timer, PROBE_MS);
	return 0;
}

static bool peer_gone(int err)
{
	return err == ECONNREFUSED || err == ECONNRESET || err == ENOTCONN || err == EPIPE ||
		err == ENOENT;
}

static bool dgram_receive(struct link *link)
{
	static const struct link_meta plain;

	int budget = link_rx_budget(link);

	for (int i = 0; i < budget; i++) {
		ssize_t n = recv(link->fd, link->rx, link->rx_size, 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n < 0) {
			link_lost(link,
				peer_gone(errno) ? "the VMM closed its socket" : strerror(errno));
			return false;
		}
		if (n == 4 && memcmp(link->rx, "VFKT", 4) == 0)
			continue;
		link_deliver(link, link->rx, (size_t)n, &plain);
		if (!link->up)
			return false;
	}
	return budget > 1;
}

static int dgram_drain(struct link *link)
{
	while (link->queued_frames) {
		struct chunk *chunk = link->first;
		const uint8_t *record = chunk->data + chunk->head;
		uint32_t len = load_be32(record);
		ssize_t n = os_send(link->fd, record + LINK_RECORD_HLEN, len, 0);

		if (n == -EAGAIN || n == -EINTR || n == -ENOBUFS)
			return -EAGAIN;
		if (n == -EMSGSIZE)
			counter_inc(link->counters, COUNTER_DROP_FRAME_LENGTH);
		else if (n < 0)
			return (int)n;
		link_written(link, LINK_RECORD_HLEN + len);
	}
	return 0;
}

const struct link_ops link_dgram_ops = {
	.start = dgram_start,
	.receive = dgram_receive,
	.drain = dgram_drain,
};
