/* SPDX-License-Identifier: MIT */
/*
 * The vsock transport "vhost": a vhost-user back-end (vhost_user/server.h) with the three queues of
 * a virtio-vsock device (virtio 1.2, section 5.10): what the guest receives (rx), what it sends
 * (tx), events. QEMU keeps the event queue to itself; other front-ends may hand it over.
 *
 * Towards the guest. A packet is one chain of the rx ring: header, then payload, wherever the guest
 * wants them. Linux gives chains of 4 KiB, so a reservation takes as many chains as its bytes need
 * (within bounds, and as many as lately were of use), one recvmsg(2) fills them all, and each gets
 * a header of its own: what was one packet for the connection arrives as several. The last few
 * chains are left for packets without data. Chains are given back in the order in which they came.
 *
 * From the guest. A chain of the tx ring is copied as to its header; its payload is handed to the
 * mux where it lies. It may be answered by an RST at once: where the rx ring is empty such packets
 * wait here, and while too many do, or the mux wants no more, tx chains stay with the guest.
 * Connections keep what else they owe as flags. The bound is higher than what a ring of tx chains
 * can make us owe, or both ends could wait for each other.
 *
 * Pause or reset. Where the guest's driver starts over (a reboot, a module loaded again) all
 * connections are gone for it. Where the VMM merely pauses and goes on (stop and cont, a snapshot)
 * the guest knows nothing of it, and they must live. What a VMM sends looks much alike: QEMU, for
 * both, disables the rings, asks for their bases (GET_VRING_BASE), which ends them, then says
 * SET_STATUS 0 where that was agreed upon (7.2 and later); later it sets everything anew. Only a
 * guest's own reset brings RESET_DEVICE (8.2 and later), or nothing more (before). So:
 *
 *	rings stop, SET_STATUS 0     connections stay; nothing moves, hosts feel it as a full buffer
 *	RESET_DEVICE, RESET_OWNER    all connections are reset
 *	rings start again            as they stopped (same addresses, same indices, not at 0): they go
 *	                             on; in any other way: all connections are reset
 *	the VMM disconnects          all connections are reset
 *
 * A new driver has new rings, whose indices begin at 0, and a ring that was in use is at 0 once
 * in 65,536 chains. Both at 0 counts as new: resetting a guest that goes on costs it its
 * connections, of which it is told by an RST with its next packet; not resetting one that began
 * anew would give it bytes of a former life.
 *
 * Until both rings have started for the first time there is no guest: whoever wants to connect to
 * it is refused at once.
 *
 * A worker's death. The session's copy (vsock_vhost_session()) lets a successor go on with the same
 * VMM. The guest's connections have died with the worker: where we have the event queue the guest
 * is told TRANSPORT_RESET, else the mux resets each that the flow memory names.
 */
#ifndef DATAPLANE_VSOCK_TRANSPORT_VHOST_H
#define DATAPLANE_VSOCK_TRANSPORT_VHOST_H

#include "dataplane/vhost_user/server.h"
#include "dataplane/vsock/mux.h"

struct vsock_vhost;

/* events outlive it. NULL without memory. */
struct vsock_vhost *vsock_vhost_new(struct loop *loop, struct counters *counters,
	struct vsock_mux *mux, const struct vsock_vmm_events *events);
void vsock_vhost_free(struct vsock_vhost *vhost); /* NULL is ignored */

/* Owns fd, also on failure; replaces what was there. -1: nothing any more. 0 or -errno (-EINVAL:
 * not a stream socket). */
int vsock_vhost_attach(struct vsock_vhost *vhost, int fd, bool listener, uint64_t guest_cid);
bool vsock_vhost_is_up(const struct vsock_vhost *vhost);
int vsock_vhost_listener_fd(const struct vsock_vhost *vhost); /* still the vhost's; or -1 */
void vsock_vhost_stop_listening(struct vsock_vhost *vhost);   /* a VMM that is here stays */

/*
 * Another life of the guest begins, the mux is held meanwhile: chains that it has sent and nobody has
 * taken go back unread, and what waits for it is dropped. It is told TRANSPORT_RESET where its event
 * queue is ours; the mux has its RSTs where it is not.
 */
void vsock_vhost_reset(struct vsock_vhost *vhost);
size_t vsock_vhost_queued(const struct vsock_vhost *vhost); /* packets that wait for chains */

/* As vhost_user_session() and vhost_user_resume(); before the latter, vsock_vhost_attach() of the
 * listener, or of none. */
bool vsock_vhost_session(const struct vsock_vhost *vhost, struct vhost_session *out);
int vsock_vhost_resume(
	struct vsock_vhost *vhost, const struct vhost_session *session, uint64_t guest_cid);

#endif
