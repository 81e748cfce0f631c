/* SPDX-License-Identifier: MIT */
/*
 * The tap link: one frame a read or write, with virtio-net's header (VIRTIO 1.2 section 5.1.6)
 * before it where the tap was made with IFF_VNET_HDR. Then the kernel behind the tap may leave
 * checksums to us (which for a splice means: to nobody) and send TCP in frames of 64 KiB, and takes
 * the same from us.
 */
#include "dataplane/link/link_internal.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VNET_HLEN ((int)sizeof(struct virtio_net_hdr_v1))

static int tap_start(struct link *link, int fd)
{
	struct ifreq ifr;
	int hlen = VNET_HLEN;

	memset(&ifr, 0, sizeof(ifr));
	if (ioctl(fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_TAP) ||
		!(ifr.ifr_flags & IFF_NO_PI))
		return -EINVAL;
	link->caps = (struct link_caps){.max_frame = LINK_FRAME_MAX};
	link->header_len = 0;
	if (ifr.ifr_flags & IFF_VNET_HDR) {
		if (ioctl(fd, TUNSETVNETHDRSZ, &hlen) < 0)
			return -errno;
		if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) == 0)
			link->caps.gso = link->caps.csum = true;
		link->header_len = (size_t)hlen;
	}
	return 0;
}

static void tap_fill_header(uint8_t *header, const struct link_meta *meta)
{
	struct virtio_net_hdr_v1 h = {0};

	if (meta->csum_partial) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = meta->csum_start;
		h.csum_offset = meta->csum_offset;
	}
	if (meta->gso_size) {
		h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		h.gso_size = meta->gso_size;
		h.hdr_len = meta->hdr_len;
	}
	memcpy(header, &h, sizeof(h));
}

static bool tap_receive(struct link *link)
{
	int budget = link_rx_budget(link);

	for (int i = 0; i < budget; i++) {
		struct virtio_net_hdr_v1 h = {0};
		struct link_meta meta = {0};
		ssize_t n = read(link->fd, link->rx, link->rx_size);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n <= 0) {
			/* EBADFD: the interface went away with its namespace. */
			link_lost(link, n < 0 ? strerror(errno) : "end of file");
			return false;
		}
		if ((size_t)n < link->header_len) {
			counter_inc(link->counters, COUNTER_DROP_FRAME_LENGTH);
			continue;
		}
		if (link->header_len)
			memcpy(&h, link->rx, sizeof(h));
		/* DATA_VALID: the kernel has checked it. Either way there is nothing to verify. */
		meta.csum_partial = h.flags &
			(VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID);
		meta.gso_size = h.gso_type != VIRTIO_NET_HDR_GSO_NONE ? h.gso_size : 0;
		link_deliver(
			link, link->rx + link->header_len, (size_t)n - link->header_len, &meta);
		if (!link->up)
			return false;
	}
	return budget > 1;
}

static int tap_drain(struct link *link)
{
	while (link->queued_frames) {
		struct chunk *chunk = link->first;
		const uint8_t *record = chunk->data + chunk->head;
		uint32_t len = load_be32(record);
		ssize_t n = write(link->fd, record + LINK_RECORD_HLEN, len);

		if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
			return -EAGAIN;
		if (n < 0 && errno == EBADFD)
			return -EBADFD;
		/* EIO: the interface is down. Whatever else: this frame, not the link. */
		if (n < 0)
			counter_inc(link->counters, COUNTER_DROP_LINK_ERROR);
		link_written(link, LINK_RECORD_HLEN + len);
	}
	return 0;
}

const struct link_ops link_tap_ops = {
	.start = tap_start,
	.receive = tap_receive,
	.drain = tap_drain,
	.fill_header = tap_fill_header,
};
