/* SPDX-License-Identifier: MIT */
/*
 * A mux and its vhost transport, a front-end, and a guest's driver by hand: rx and tx rings, of 32
 * descriptors each. Behind host port RIG_SOCKET is a socketpair whose far end is the test's.
 */
#ifndef TESTS_UNIT_VSOCK_VHOST_RIG_H
#define TESTS_UNIT_VSOCK_VHOST_RIG_H

#include "dataplane/stack/flow_memory.h"
#include "dataplane/vsock/transport_vhost.h"
#include "tests/unit/vhost_frontend.h"

#define RIG_CID 7u
#define RIG_SOCKET 5000u
#define RIG_HOSTS 64
#define RING 32u
#define RX 0u
#define TX 1u
#define EVENTS 2u
#define RX_ROOM (VSOCK_HLEN + 4096u) /* of Linux's buffers */
#define RX_AT(n) (DATA_AT + (n)*0x1100u)
#define TX_AT 0x90000u
#define TX_SLOTS 4u
#define TX_SIZE 0x11000u

struct vsock_vhost_rig {
	struct counters counters;
	struct vsock_mux *mux;
	struct vsock_vhost *vhost;
	struct flow_memory *memory;
	int memory_fd;
	int hosts[RIG_HOSTS];
	size_t n_hosts;
	unsigned ups, downs, guest_resets, sessions;
	char why[128];
	unsigned tx_slot;
	uint16_t rx_seen, tx_seen; /* used elements */
};

static struct vsock_vhost_rig rig;

static inline uint64_t rig_count(enum counter id)
{
	return rig.counters.value[id];
}

static inline bool rig_request(void *arg, struct vsock_conn *conn)
{
	struct vsock_host host = {0};
	int fds[2];

	(void)arg;
	if (conn->host_port != RIG_SOCKET)
		return false;
	ck_assert_uint_lt(rig.n_hosts, RIG_HOSTS);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	rig.hosts[rig.n_hosts++] = fds[1];
	host.fd = fds[0];
	ck_assert_int_eq(vsock_conn_accept(conn, &host), 0);
	return true;
}

static inline void rig_changed(void *arg, bool up, const char *text)
{
	(void)arg;
	rig.ups += up;
	rig.downs += !up;
	snprintf(rig.why, sizeof(rig.why), "%s", text);
}

static inline void rig_guest_reset(void *arg)
{
	(void)arg;
	rig.guest_resets++;
}

static inline void rig_session(void *arg)
{
	(void)arg;
	rig.sessions++;
}

static const struct vsock_vmm_events rig_events = {
	.changed = rig_changed, .guest_reset = rig_guest_reset, .session = rig_session};

/* ---- the guest's rings ---- */

/* Offers chain n of the rx ring, in pieces of these sizes (0: no more), two descriptors at most
 * of which belong to a chain of one piece. */
static inline void rx_offer_pieces(uint16_t n, const uint32_t *sizes, unsigned pieces)
{
	uint32_t at = RX_AT(n);

	for (unsigned i = 0; i < pieces; i++) {
		uint16_t d = (uint16_t)((n + i) % RING);

		driver[RX].desc[d] = (struct virtq_desc){at, sizes[i],
			VIRTQ_DESC_WRITE | (i + 1 < pieces ? VIRTQ_DESC_NEXT : 0),
			(uint16_t)((n + i + 1) % RING)};
		at += sizes[i];
	}
	driver_offer(&driver[RX], n);
}

static inline void rx_offer(uint16_t n)
{
	const uint32_t size = RX_ROOM;

	rx_offer_pieces(n, &size, 1);
}

static inline void rx_fill(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		rx_offer((uint16_t)i);
	do_kick(RX);
}

/* The next chain that came back: its number, and its bytes from the header on. NULL: none did. */
static inline const uint8_t *rx_poll(uint16_t *n, uint32_t *len)
{
	struct driver *d = &driver[RX];
	struct virtq_used_elem elem;

	if (__atomic_load_n(&d->used->idx, __ATOMIC_ACQUIRE) == rig.rx_seen)
		return NULL;
	elem = d->used->ring[rig.rx_seen++ % RING];
	*n = (uint16_t)elem.id;
	*len = elem.len;
	return guest.bytes + RX_AT(elem.id);
}

/* Waits for the next packet; its chain is offered again if `again`. */
static inline struct vsock_packet rx_packet(uint8_t *payload, bool again)
{
	const uint8_t *bytes = NULL;
	struct vsock_packet packet;
	uint32_t len = 0;
	uint16_t n = 0;

	UNTIL((bytes = rx_poll(&n, &len)));
	ck_assert_uint_ge(len, VSOCK_HLEN);
	vsock_packet_read(&packet, bytes);
	ck_assert_uint_eq(len, VSOCK_HLEN + packet.len);
	ck_assert_uint_eq(packet.src_cid, VSOCK_CID_HOST);
	ck_assert_uint_eq(packet.dst_cid, RIG_CID);
	if (payload)
		memcpy(payload, bytes + VSOCK_HLEN, packet.len);
	if (again) {
		rx_offer(n);
		do_kick(RX);
	}
	return packet;
}

static inline struct vsock_packet rx_expect(enum vsock_op op, uint32_t guest_port)
{
	struct vsock_packet packet = rx_packet(NULL, true);

	ck_assert_uint_eq(packet.op, op);
	ck_assert_uint_eq(packet.dst_port, guest_port);
	return packet;
}

static inline void rx_expect_nothing(void)
{
	uint32_t len = 0;
	uint16_t n = 0;

	run(10);
	ck_assert_ptr_null(rx_poll(&n, &len));
}

static inline struct vsock_packet tx_header(enum vsock_op op, uint32_t port, uint32_t host_port)
{
	return (struct vsock_packet){
		.src_cid = RIG_CID,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = port,
		.dst_port = host_port,
		.type = VSOCK_TYPE_STREAM,
		.op = (uint16_t)op,
		.buf_alloc = 1 << 20,
	};
}

static inline bool tx_all_back(void)
{
	return __atomic_load_n(&driver[TX].used->idx, __ATOMIC_ACQUIRE) == driver[TX].avail->idx;
}

/* Header and payload as one run of bytes, in descriptors of these sizes; the last takes the rest. */
static inline void tx_pieces(const struct vsock_packet *packet, const void *payload, uint32_t len,
	const uint32_t *sizes, unsigned pieces)
{
	unsigned slot = rig.tx_slot++ % TX_SLOTS;
	uint32_t at = TX_AT + slot * TX_SIZE, left = VSOCK_HLEN + len;

	vsock_packet_write(packet, guest.bytes + at);
	if (payload)
		memcpy(guest.bytes + at + VSOCK_HLEN, payload, len);
	for (unsigned i = 0; i <= pieces; i++) {
		uint32_t size = i < pieces && sizes[i] < left ? sizes[i] : left;
		uint16_t d = (uint16_t)(slot * 8 + i);

		left -= size;
		driver[TX].desc[d] = (struct virtq_desc){
			at, size, left ? VIRTQ_DESC_NEXT : 0, (uint16_t)(d + 1)};
		at += size;
		if (!left)
			break;
	}
	driver_offer(&driver[TX], (uint16_t)(slot * 8));
}

static inline void tx_packet(const struct vsock_packet *packet, const void *payload)
{
	static const uint32_t sizes[] = {VSOCK_HLEN};

	tx_pieces(packet, payload, packet->len, sizes, 1);
	do_kick(TX);
}

static inline void tx_send(enum vsock_op op, uint32_t port, uint32_t host_port, uint32_t flags)
{
	struct vsock_packet packet = tx_header(op, port, host_port);

	packet.flags = flags;
	tx_packet(&packet, NULL);
}

static inline void tx_rw(uint32_t port, const void *payload, uint32_t len)
{
	struct vsock_packet packet = tx_header(VSOCK_OP_RW, port, RIG_SOCKET);

	packet.len = len;
	tx_packet(&packet, payload);
}

static inline void guest_open(uint32_t port)
{
	tx_send(VSOCK_OP_REQUEST, port, RIG_SOCKET, 0);
	rx_expect(VSOCK_OP_RESPONSE, port);
}

/* ---- the host's far ends ---- */

static inline void host_read(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (int waited = 0; len; waited++) {
		ssize_t n = recv(fd, p, len, 0);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (n == 0 || waited > 2000)
			ck_abort_msg("%zu bytes are missing at the host", len);
		run(1);
	}
}

static inline bool host_is_at_end(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static inline void host_write(int fd, const void *bytes, size_t len)
{
	ssize_t n = os_send(fd, bytes, len, 0);

	ck_assert_int_eq(n, (ssize_t)len);
}

static inline void fill_pattern(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 31 + i / 251);
}

/* ---- life ---- */

/* The guest's driver begins anew: empty rings. */
static inline void rings_new(void)
{
	for (unsigned i = 0; i < FRONTEND_QUEUES; i++) {
		memset(guest.bytes + RING_AT(i), 0, 0x10000);
		driver[i] = driver_new(i, RING);
	}
	rig.rx_seen = rig.tx_seen = 0;
}

static inline void rings_start(uint16_t rx_base, uint16_t tx_base)
{
	negotiate(BIT(0));
	set_ring(RX, rx_base);
	set_ring(TX, tx_base);
	enable_ring(RX);
	enable_ring(TX);
}

static inline void rig_make(bool reset)
{
	struct vsock_mux_events events = {.request = rig_request};

	rig.mux = vsock_mux_new(loop, &rig.counters, &events);
	ck_assert_ptr_nonnull(rig.mux);
	rig.memory = flow_memory_open(os_dup(rig.memory_fd));
	ck_assert_ptr_nonnull(rig.memory);
	vsock_mux_set_memory(rig.mux, rig.memory, reset);
	rig.vhost = vsock_vhost_new(loop, &rig.counters, rig.mux, &rig_events);
	ck_assert_ptr_nonnull(rig.vhost);
}

static inline void rig_unmake(void)
{
	vsock_mux_set_memory(rig.mux, NULL, false);
	vsock_vhost_free(rig.vhost);
	vsock_mux_free(rig.mux);
	flow_memory_free(rig.memory);
}

static inline void rig_connect(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	vmm = fds[0];
	ck_assert_int_eq(vsock_vhost_attach(rig.vhost, fds[1], false, RIG_CID), 0);
}

/* A VMM is connected; its guest has no driver yet. */
static inline void rig_connected_setup(void)
{
	memset(&rig, 0, sizeof(rig));
	frontend_setup(RING);
	rig.memory_fd = os_shm_create("test-flows", FLOW_MEMORY_SIZE);
	ck_assert_int_ge(rig.memory_fd, 0);
	rig_make(false);
	rig_connect();
	negotiate(BIT(0));
	ck_assert(ask_mem_table(mem_ranges, 2));
}

static inline void rig_setup(void)
{
	rig_connected_setup();
	rings_start(0, 0);
}

static inline void rig_teardown(void)
{
	rig_unmake();
	close(rig.memory_fd);
	for (size_t i = 0; i < rig.n_hosts; i++)
		close(rig.hosts[i]);
	frontend_teardown();
}

#endif
