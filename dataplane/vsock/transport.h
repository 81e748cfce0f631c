/* SPDX-License-Identifier: MIT */
/*
 * What the mux asks of a transport: room for packets towards the guest, and to come again with
 * what the guest sent. A transport knows packets and nothing of connections.
 *
 * The other way a transport hands each packet to vsock_mux_input(), one at a time, as long as
 * vsock_mux_ready() says so and it has room for a control packet itself: so an answer never finds
 * the queue full. What it does not hand in it leaves with the guest. The payload may be guest
 * memory, in pieces: it changes at any time, and reading it in a system call may fail with EFAULT.
 */
#ifndef DATAPLANE_VSOCK_TRANSPORT_H
#define DATAPLANE_VSOCK_TRANSPORT_H

#include "dataplane/vsock/packet.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define VSOCK_IOV_MAX 32
#define VSOCK_CONTROL_MAX 256u /* payload bytes of a control packet (TSI answers) */

struct vsock_transport_ops {
	/*
	 * Queues a control packet, packet->len ≤ VSOCK_CONTROL_MAX bytes of payload (copied), for
	 * which room is kept that data cannot take. False: none left; vsock_mux_room() follows when
	 * there is.
	 */
	bool (*send)(void *arg, const struct vsock_packet *packet, const void *payload);
	/*
	 * Space for a packet of up to max payload bytes: how many pieces of iov were filled, maybe
	 * shorter together than max; 0: none now, vsock_mux_room() follows. It stands until
	 * the next call of any of these three.
	 */
	int (*reserve)(void *arg, size_t max, struct iovec iov[VSOCK_IOV_MAX]);
	/*
	 * Sends the first packet->len bytes of the reservation, a stream's maybe as several packets
	 * that are alike but for their len; a secret's copies are wiped. A datagram longer than
	 * what the guest takes in one piece is dropped and counted.
	 */
	void (*commit)(void *arg, const struct vsock_packet *packet, bool secret);
	/* vsock_mux_ready() said no before and would say yes now. */
	void (*resume)(void *arg);
	/* A system call found no memory (EFAULT) in a payload or a reservation. May be NULL. */
	void (*fault)(void *arg);
};

/* What a transport tells of the VMM and of the guest's life; any may be NULL. */
struct vsock_vmm_events {
	void *arg;
	/* A VMM connected, or is gone (text says why); then all of its guest is gone. */
	void (*changed)(void *arg, bool up, const char *text);
	/* A second VMM was turned away. */
	void (*refused)(void *arg);
	/* The VMM stays, but its guest began anew: nothing of its former life is left. */
	void (*guest_reset)(void *arg);
	/* What a successor would need to go on with the VMM has changed. */
	void (*session)(void *arg);
};

#endif
