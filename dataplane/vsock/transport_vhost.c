/* SPDX-License-Identifier: MIT */
/* vsock packets over a vhost-user device's virtqueues. See transport_vhost.h. */
#include "dataplane/vsock/transport_vhost.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))
#define VIRTIO_VSOCK_F_STREAM 0
#define VIRTIO_VSOCK_F_DGRAM 3
#define EVENT_TRANSPORT_RESET 0u

enum { QUEUE_RX, QUEUE_TX, QUEUE_EVENT, QUEUES };

#define TX_PACKETS 64         /* a turn */
#define TX_BYTES (256u << 10) /* likewise */
#define RESERVED_MAX 20       /* chains; 64 KiB in Linux's of 4,052 bytes and more */
#define KEPT_MAX 8            /* chains that data leaves */
#define TRIES 8               /* chains that are of no use, in a row */
#define LATE_MAX VIRTQ_SIZE_MAX

/* A chain of the rx ring that was taken for data. */
struct reserved {
	uint16_t head;
	uint8_t *header; /* in guest memory; NULL: in pieces, and rx_chain is this, the last one */
	uint32_t room;   /* bytes of payload */
};

/* How a ring stood when it stopped. */
struct mark {
	bool valid;
	uint64_t desc, avail, used;
	uint16_t next_avail;
};

/* A packet that found no chain. */
struct late {
	struct late *next;
	struct vsock_packet packet;
	uint8_t payload[];
};

struct vsock_vhost {
	struct counters *counters;
	struct vsock_mux *mux;
	const struct vsock_vmm_events *events;
	struct vhost_user *server;
	uint64_t guest_cid;
	struct mark mark[2]; /* rx, tx */
	bool settled;        /* both rings run, and we know whose they are */
	bool attached;       /* the mux is: a guest is there */
	bool resuming;       /* the session that comes up now was another worker's */
	bool resumed;        /* that is so of the one we have */
	bool tell_reset;     /* the guest has an event to come */
	bool reset_owed;     /* so has the next one */
	bool in_turn;        /* a packet of the guest's is being handed in */
	bool tx_paused;      /* its next ones wait */
	struct late *late, **late_end;
	unsigned n_late;
	struct reserved reserved[RESERVED_MAX];
	unsigned n_reserved, appetite; /* chains; the latter: to take next time */
	uint16_t rx_high;              /* most chains that waited at a time */
	struct virtq_chain rx_chain, tx_chain;
	struct iovec pieces[VIRTQ_PIECES_MAX]; /* of tx_chain */
};

static void bad(struct vsock_vhost *v)
{
	counter_inc(v->counters, COUNTER_VSOCK_BAD_PACKETS);
}

/* ---- towards the guest ---- */

static struct virtq *rx_ring(struct vsock_vhost *v)
{
	return v->settled ? vhost_user_queue(v->server, QUEUE_RX) : NULL;
}

/* Chains that were reserved go back, as if they had never been taken. */
static void release(struct vsock_vhost *v, struct virtq *ring)
{
	if (v->n_reserved && ring)
		virtq_unpop(ring, (uint16_t)v->n_reserved);
	v->n_reserved = 0;
}

/* How many waiting chains data must leave: a few, but not all of a guest that never gives more. */
static uint16_t kept(struct vsock_vhost *v, uint16_t waiting)
{
	if (waiting > v->rx_high)
		v->rx_high = waiting;
	return v->rx_high / 4 < KEPT_MAX ? v->rx_high / 4 : KEPT_MAX;
}

/* Into the next chain that can hold it. */
static bool send_now(struct vsock_vhost *v, const struct vsock_packet *packet, const void *payload)
{
	struct virtq *ring = rx_ring(v);
	struct virtq_chain *chain = &v->rx_chain;
	size_t len = VSOCK_HLEN + packet->len;
	uint8_t header[VSOCK_HLEN];

	if (!ring)
		return false;
	for (int i = 0; i < TRIES; i++) {
		int got = virtq_pop(ring, chain);

		if (got == 0 || got == -EPROTO)
			return false;
		if (got == 1 && chain->in_len >= len) {
			vsock_packet_write(packet, header);
			virtq_chain_write(chain, 0, header, sizeof(header));
			virtq_chain_write(chain, sizeof(header), payload, packet->len);
			virtq_push(ring, chain->head, (uint32_t)len);
			return true;
		}
		bad(v);
		if (got == 1)
			virtq_push(ring, chain->head, 0);
	}
	return false;
}

static void drop_late(struct vsock_vhost *v)
{
	while (v->late) {
		struct late *late = v->late;

		v->late = late->next;
		free(late);
	}
	v->late_end = &v->late;
	v->n_late = 0;
}

static bool keep_late(struct vsock_vhost *v, const struct vsock_packet *packet, const void *payload)
{
	struct late *late;

	if (!v->in_turn || v->n_late == LATE_MAX)
		return false;
	late = malloc(sizeof(*late) + packet->len);
	if (!late)
		return false;
	late->next = NULL;
	late->packet = *packet;
	if (packet->len)
		memcpy(late->payload, payload, packet->len);
	*v->late_end = late;
	v->late_end = &late->next;
	v->n_late++;
	return true;
}

static void send_late(struct vsock_vhost *v)
{
	while (v->late && send_now(v, &v->late->packet, v->late->payload)) {
		struct late *late = v->late;

		v->late = late->next;
		if (!v->late)
			v->late_end = &v->late;
		v->n_late--;
		free(late);
	}
}

static bool vhost_send(void *arg, const struct vsock_packet *packet, const void *payload)
{
	struct vsock_vhost *v = arg;
	bool sent;

	release(v, rx_ring(v));
	if (!v->late && send_now(v, packet, payload))
		return true;
	sent = keep_late(v, packet, payload);
	vhost_user_want(v->server, QUEUE_RX, 0);
	return sent;
}

/* Where the chain's payload goes; 0: it does not fit behind the pieces that there are. */
static unsigned payload_pieces(const struct virtq_chain *chain, size_t max, struct iovec *iov,
	unsigned room, uint32_t *len)
{
	const struct iovec *from = chain->iov + chain->out_count;
	size_t skip = VSOCK_HLEN;
	unsigned n = 0;

	*len = 0;
	for (unsigned i = 0; i < chain->in_count && max; i++) {
		size_t take;

		if (skip >= from[i].iov_len) {
			skip -= from[i].iov_len;
			continue;
		}
		if (n == room)
			break;
		take = from[i].iov_len - skip < max ? from[i].iov_len - skip : max;
		iov[n++] = (struct iovec){(uint8_t *)from[i].iov_base + skip, take};
		*len += (uint32_t)take;
		max -= take;
		skip = 0;
	}
	return n;
}

/*
 * Takes the next chain for at most max bytes of payload and adds its pieces to iov. How many;
 * 0: no more now.
 */
static unsigned reserve_chain(
	struct vsock_vhost *v, struct virtq *ring, size_t max, struct iovec *iov, unsigned room)
{
	struct virtq_chain *chain = &v->rx_chain;
	struct reserved *r = &v->reserved[v->n_reserved];
	const struct iovec *first;
	unsigned n;

	for (int i = 0; i < TRIES; i++) {
		uint16_t waiting = virtq_waiting(ring);
		int got = waiting > kept(v, waiting) ? virtq_pop(ring, chain) : 0;

		if (got == 0 || got == -EAGAIN || got == -EPROTO)
			return 0;
		first = &chain->iov[chain->out_count];
		if (got == 1 && chain->in_len > VSOCK_HLEN) {
			r->head = chain->head;
			r->header = first->iov_len >= VSOCK_HLEN ? first->iov_base : NULL;
			n = payload_pieces(chain, max, iov, room, &r->room);
			/* Its bytes may have more pieces than there is room for: next time. */
			if (v->n_reserved && n == room) {
				virtq_unpop(ring, 1);
				return 0;
			}
			v->n_reserved++;
			return n;
		}
		if (got == 1 && v->n_reserved) {
			virtq_unpop(ring, 1);
			return 0;
		}
		bad(v);
		if (got == 1)
			virtq_push(ring, chain->head, 0);
	}
	return 0;
}

static int vhost_reserve(void *arg, size_t max, struct iovec iov[VSOCK_IOV_MAX])
{
	struct vsock_vhost *v = arg;
	struct virtq *ring = rx_ring(v);
	unsigned pieces = 0;

	release(v, ring);
	if (!ring || v->late)
		goto none;
	while (v->n_reserved < v->appetite && max) {
		unsigned n = reserve_chain(v, ring, max, iov + pieces, VSOCK_IOV_MAX - pieces);

		if (!n)
			break;
		pieces += n;
		max -= v->reserved[v->n_reserved - 1].room;
		/* The last one's is in rx_chain. */
		if (!v->reserved[v->n_reserved - 1].header)
			break;
	}
	if (pieces)
		return (int)pieces;
none:
	vhost_user_want(v->server, QUEUE_RX, v->late ? 0 : kept(v, 0));
	return 0;
}

/* So that a small exchange does not take many chains in vain, nor bulk one at a time. */
static void learn_appetite(struct vsock_vhost *v, unsigned used)
{
	if (used == v->n_reserved)
		v->appetite = v->appetite * 2 < RESERVED_MAX ? v->appetite * 2 : RESERVED_MAX;
	else if (used * 2 < v->appetite)
		v->appetite = used * 2;
}

static void vhost_commit(void *arg, const struct vsock_packet *packet, bool secret)
{
	struct vsock_vhost *v = arg;
	struct virtq *ring = rx_ring(v);
	struct vsock_packet part = *packet;
	uint32_t left = packet->len;
	unsigned used = 0;

	(void)secret; /* nothing of it was copied but to the guest */
	if (!ring || (packet->type == VSOCK_TYPE_DGRAM && left > v->reserved[0].room)) {
		counter_inc(v->counters, COUNTER_VSOCK_BOUNDS);
		release(v, ring);
		return;
	}
	do {
		const struct reserved *r = &v->reserved[used++];
		uint8_t header[VSOCK_HLEN];

		part.len = left < r->room ? left : r->room;
		vsock_packet_write(&part, header);
		if (r->header)
			memcpy(r->header, header, sizeof(header));
		else
			virtq_chain_write(&v->rx_chain, 0, header, sizeof(header));
		virtq_push(ring, r->head, VSOCK_HLEN + part.len);
		left -= part.len;
	} while (left && used < v->n_reserved);
	learn_appetite(v, used);
	virtq_unpop(ring, (uint16_t)(v->n_reserved - used));
	v->n_reserved = 0;
}

static bool may_take(struct vsock_vhost *v)
{
	return v->n_late < LATE_MAX && vsock_mux_ready(v->mux);
}

static void vhost_resume(void *arg)
{
	struct vsock_vhost *v = arg;

	if (!v->tx_paused || !v->settled || !may_take(v))
		return;
	v->tx_paused = false;
	vhost_user_want(v->server, QUEUE_TX, 0);
}

static void vhost_fault(void *arg)
{
	struct vsock_vhost *v = arg;

	vhost_user_fail(v->server, "guest memory was cut short");
}

static const struct vsock_transport_ops vhost_ops = {
	.send = vhost_send,
	.reserve = vhost_reserve,
	.commit = vhost_commit,
	.resume = vhost_resume,
	.fault = vhost_fault,
};

static enum vhost_turn rx_turn(struct vsock_vhost *v)
{
	if (!v->settled)
		return VHOST_PAUSED;
	release(v, rx_ring(v));
	send_late(v);
	vhost_resume(v);
	if (v->late)
		return VHOST_EMPTY;
	/* Asks for more by itself, if need be. */
	vsock_mux_room(v->mux);
	return VHOST_PAUSED;
}

/* ---- from the guest ---- */

/* Whether the guest may have the packet's chain back later. A successor of ours, who may be handed
 * it again, knows none of its connections and answers by an RST; that it must not do to others. */
static bool is_idle(const struct vsock_packet *packet)
{
	return packet->type == VSOCK_TYPE_STREAM &&
		(packet->op == VSOCK_OP_RW || packet->op == VSOCK_OP_CREDIT_UPDATE);
}

/* Whether its chain may go back later. */
static bool take_packet(struct vsock_vhost *v)
{
	const struct virtq_chain *chain = &v->tx_chain;
	struct vsock_packet packet;
	uint8_t header[VSOCK_HLEN];
	unsigned n;

	if (virtq_chain_read(chain, 0, header, sizeof(header)) < sizeof(header)) {
		bad(v);
		return false;
	}
	vsock_packet_read(&packet, header);
	if (packet.len > VSOCK_PAYLOAD_MAX || packet.len > chain->out_len - VSOCK_HLEN) {
		vsock_mux_malformed(v->mux, &packet);
		return false;
	}
	n = virtq_chain_pieces(chain, false, VSOCK_HLEN, packet.len, v->pieces);
	vsock_mux_input(v->mux, &packet, v->pieces, n);
	return is_idle(&packet);
}

static enum vhost_turn tx_turn(struct vsock_vhost *v, struct virtq *ring)
{
	size_t bytes = 0;

	for (int i = 0; i < TX_PACKETS && bytes < TX_BYTES; i++) {
		bool idle;
		int got;

		if (!v->settled || !may_take(v)) {
			v->tx_paused = true;
			return VHOST_PAUSED;
		}
		got = virtq_pop(ring, &v->tx_chain);
		if (got == 0)
			return VHOST_EMPTY;
		if (got == -EBADMSG || got == -EPROTO)
			bad(v);
		if (got == -EPROTO)
			return VHOST_PAUSED;
		if (got < 0)
			continue;
		v->in_turn = true;
		idle = take_packet(v);
		v->in_turn = false;
		if (idle)
			virtq_push_idly(ring, v->tx_chain.head);
		else
			virtq_push(ring, v->tx_chain.head, 0);
		bytes += v->tx_chain.out_len;
	}
	return VHOST_AGAIN;
}

/* ---- events ---- */

static enum vhost_turn event_turn(struct vsock_vhost *v, struct virtq *ring)
{
	uint8_t event[4];
	int got = v->tell_reset ? virtq_pop(ring, &v->rx_chain) : -EPROTO;

	if (got == 0)
		return VHOST_EMPTY;
	if (got < 0)
		return got == -EBADMSG ? VHOST_AGAIN : VHOST_PAUSED;
	vsock_store32(event, EVENT_TRANSPORT_RESET);
	v->tell_reset = v->rx_chain.in_len < sizeof(event);
	virtq_push(ring, v->rx_chain.head,
		(uint32_t)virtq_chain_write(&v->rx_chain, 0, event, sizeof(event)));
	return VHOST_AGAIN;
}

/* ---- rings start and stop ---- */

/* Whether the ring goes on where it was. */
static bool goes_on(const struct mark *mark, const struct virtq *ring)
{
	return mark->valid && ring->config.desc_user == mark->desc &&
		ring->config.avail_user == mark->avail && ring->config.used_user == mark->used &&
		ring->next_avail == mark->next_avail && ring->next_used == mark->next_avail;
}

static bool guest_goes_on(
	const struct vsock_vhost *v, const struct virtq *rx, const struct virtq *tx)
{
	return v->attached && goes_on(&v->mark[QUEUE_RX], rx) && goes_on(&v->mark[QUEUE_TX], tx) &&
		(rx->next_avail || tx->next_avail);
}

/* The guest that was here is none any more. */
static void guest_gone(struct vsock_vhost *v)
{
	if (!v->attached)
		return;
	v->attached = v->resumed = v->tell_reset = false;
	drop_late(v);
	vsock_mux_attach(v->mux, NULL, NULL, 0);
}

static void guest_reset(struct vsock_vhost *v)
{
	if (!v->attached)
		return;
	guest_gone(v);
	vsock_mux_forget(v->mux);
	if (v->events->guest_reset)
		v->events->guest_reset(v->events->arg);
}

static void settle(struct vsock_vhost *v)
{
	const struct virtq *rx = vhost_user_queue(v->server, QUEUE_RX);
	const struct virtq *tx = vhost_user_queue(v->server, QUEUE_TX);

	if (v->settled || !rx || !tx)
		return;
	v->settled = true;
	v->tx_paused = false;
	if (!guest_goes_on(v, rx, tx)) {
		guest_reset(v);
		v->rx_high = 0;
		v->appetite = 1;
		vsock_mux_attach(v->mux, &vhost_ops, v, v->guest_cid);
		v->attached = true;
		v->tell_reset = v->resumed || v->reset_owed;
		v->reset_owed = false;
	}
	vhost_user_want(v->server, QUEUE_RX, 0);
	vhost_user_want(v->server, QUEUE_TX, 0);
}

static void tell_reset(struct vsock_vhost *v)
{
	/* One word for all of them. */
	vsock_mux_forget(v->mux);
	vhost_user_want(v->server, QUEUE_EVENT, 0);
}

static void on_started(void *arg, unsigned queue, const struct virtq *ring)
{
	struct vsock_vhost *v = arg;

	(void)ring;
	if (queue != QUEUE_EVENT)
		settle(v);
	else if (v->tell_reset)
		tell_reset(v);
}

static void on_stopped(void *arg, unsigned queue, struct virtq *ring)
{
	struct vsock_vhost *v = arg;

	if (queue == QUEUE_EVENT)
		return;
	if (queue == QUEUE_RX)
		release(v, ring);
	v->settled = false;
	v->mark[queue] = (struct mark){
		.valid = !ring->broken,
		.desc = ring->config.desc_user,
		.avail = ring->config.avail_user,
		.used = ring->config.used_user,
		.next_avail = ring->next_avail,
	};
}

static void on_reset(void *arg)
{
	guest_reset(arg);
}

/* ---- the device ---- */

static void config(void *arg, uint8_t *bytes)
{
	const struct vsock_vhost *v = arg;

	vsock_store64(bytes, v->guest_cid);
}

static enum vhost_turn turn(void *arg, unsigned queue, struct virtq *ring)
{
	struct vsock_vhost *v = arg;

	switch (queue) {
	case QUEUE_RX:
		return rx_turn(v);
	case QUEUE_TX:
		return tx_turn(v, ring);
	default:
		return event_turn(v, ring);
	}
}

static void on_changed(void *arg, bool up, const char *text)
{
	struct vsock_vhost *v = arg;

	memset(v->mark, 0, sizeof(v->mark));
	v->resumed = up && v->resuming;
	if (up)
		counter_inc(v->counters, COUNTER_VSOCK_UPS);
	else
		guest_gone(v);
	if (!v->resumed)
		vsock_mux_forget(v->mux);
	if (v->events->changed)
		v->events->changed(v->events->arg, up, text);
	if (!up && v->events->session)
		v->events->session(v->events->arg);
}

static void on_refused(void *arg)
{
	struct vsock_vhost *v = arg;

	counter_inc(v->counters, COUNTER_VSOCK_VMM_REFUSED);
	if (v->events->refused)
		v->events->refused(v->events->arg);
}

static void on_session(void *arg)
{
	struct vsock_vhost *v = arg;

	if (v->events->session)
		v->events->session(v->events->arg);
}

static const struct vhost_device device = {
	.features = BIT(VIRTIO_VSOCK_F_STREAM) | BIT(VIRTIO_VSOCK_F_DGRAM),
	.queues = QUEUES,
	.config_size = sizeof(uint64_t),
	.config = config,
	.turn = turn,
	.started = on_started,
	.stopped = on_stopped,
	.reset = on_reset,
	.session = on_session,
	.changed = on_changed,
	.refused = on_refused,
};

/* ---- coming and going ---- */

int vsock_vhost_attach(struct vsock_vhost *v, int fd, bool listener, uint64_t guest_cid)
{
	v->guest_cid = guest_cid;
	return vhost_user_attach(v->server, fd, listener);
}

int vsock_vhost_listener_fd(const struct vsock_vhost *v)
{
	return vhost_user_listener_fd(v->server);
}

void vsock_vhost_stop_listening(struct vsock_vhost *v)
{
	vhost_user_stop_listening(v->server);
}

bool vsock_vhost_is_up(const struct vsock_vhost *v)
{
	return vhost_user_connected_fd(v->server) >= 0;
}

static void discard_sent(struct vsock_vhost *v)
{
	struct virtq *ring = v->settled ? vhost_user_queue(v->server, QUEUE_TX) : NULL;
	unsigned left = ring ? ring->config.size : 0;
	int got = 1;

	/* A guest that goes on sending has so many a turn. */
	while (left-- && got != 0 && got != -EPROTO) {
		got = virtq_pop(ring, &v->tx_chain);
		if (got == 1)
			virtq_push(ring, v->tx_chain.head, 0);
	}
}

void vsock_vhost_reset(struct vsock_vhost *v)
{
	release(v, rx_ring(v));
	drop_late(v);
	discard_sent(v);
	v->tell_reset = v->attached;
	v->reset_owed = !v->attached;
	if (v->attached && vhost_user_queue(v->server, QUEUE_EVENT))
		tell_reset(v);
}

size_t vsock_vhost_queued(const struct vsock_vhost *v)
{
	return v->n_late;
}

bool vsock_vhost_session(const struct vsock_vhost *v, struct vhost_session *out)
{
	return vhost_user_session(v->server, out);
}

int vsock_vhost_resume(
	struct vsock_vhost *v, const struct vhost_session *session, uint64_t guest_cid)
{
	int err;

	v->guest_cid = guest_cid;
	v->resuming = true;
	err = vhost_user_resume(v->server, session);
	v->resuming = false;
	return err;
}

struct vsock_vhost *vsock_vhost_new(struct loop *loop, struct counters *counters,
	struct vsock_mux *mux, const struct vsock_vmm_events *events)
{
	struct vsock_vhost *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->counters = counters;
	v->mux = mux;
	v->events = events;
	v->appetite = 1;
	v->late_end = &v->late;
	v->server = vhost_user_new(loop, &device, v);
	if (v->server)
		return v;
	free(v);
	return NULL;
}

void vsock_vhost_free(struct vsock_vhost *v)
{
	if (!v)
		return;
	guest_gone(v);
	vhost_user_free(v->server);
	free(v);
}
