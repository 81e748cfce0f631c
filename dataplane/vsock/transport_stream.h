/* SPDX-License-Identifier: MIT */
/*
 * The vsock transport "stream": a unix stream of bare packets, for VMMs without vhost-user.
 *
 * Both ways: a 44-byte header (packet.h), then `len` ≤ 64 KiB bytes. When the VMM has connected we
 * send one packet of op 0 whose 8 bytes are the guest's CID (le64); a disconnect means that
 * the guest's vsock was reset. A packet of op 0 with 4 bytes is a struct virtio_vsock_event (virtio
 * 1.2, section 5.10.6.7) for the guest's event queue: TRANSPORT_RESET, after a reset of the VM. A listener serves one VMM at a time and turns others away.
 *
 * A packet that says a longer payload is skipped as far as it says, and ends its connection; op 0
 * from the VMM is skipped and counted.
 *
 * Towards the VMM packets wait in a buffer of bounded size, of which data may fill 256 KiB; the
 * rest is for packets without payload. While that is used up nothing is read from the VMM, since it
 * could want an answer. The buffer is written out at the end of each pass.
 */
#ifndef DATAPLANE_VSOCK_TRANSPORT_STREAM_H
#define DATAPLANE_VSOCK_TRANSPORT_STREAM_H

#include "dataplane/vsock/mux.h"

struct vsock_stream;

struct vsock_stream *vsock_stream_new(
	struct loop *loop, struct counters *counters, struct vsock_mux *mux);
/* Who hears of the VMM; outlives the stream. */
void vsock_stream_watch(struct vsock_stream *stream, const struct vsock_vmm_events *events);
void vsock_stream_free(struct vsock_stream *stream); /* NULL is ignored */

/* Owns fd, also on failure; replaces what was there. -1: nothing any more. 0 or -errno (-EINVAL:
 * not a stream socket). */
int vsock_stream_attach(struct vsock_stream *stream, int fd, bool listener, uint64_t guest_cid);
/*
 * Another life of the guest begins, the mux is held meanwhile: packets that wait, in either direction,
 * go nowhere, but for the rest of one that the VMM has begun to read. Then TRANSPORT_RESET, to this VMM
 * or to the next.
 */
void vsock_stream_reset(struct vsock_stream *stream);
size_t vsock_stream_queued(const struct vsock_stream *stream); /* packets for the guest */
bool vsock_stream_is_up(const struct vsock_stream *stream);
int vsock_stream_listener_fd(const struct vsock_stream *stream); /* still the stream's; or -1 */
void vsock_stream_stop_listening(struct vsock_stream *stream);   /* a VMM that is here stays */

#endif
