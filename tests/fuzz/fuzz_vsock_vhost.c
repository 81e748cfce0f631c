/* SPDX-License-Identifier: MIT */
/*
 * The vhost transport of vsock under a guest that does anything with its rings, and hosts that come
 * and go. The input is a list of steps, each a byte that says what and its operands:
 *
 *	0 page len bytes     the guest writes into its memory, rings and all
 *	1 n sizes            it offers an rx chain of n pieces
 *	2 op port len split  it sends a packet
 *	3 port len           the host behind a connection sends so many bytes
 *	4                    the host reads all there is
 *	5                    the host closes the oldest connection
 *	6                    the worker dies and its successor goes on
 *	7                    the rings stop and start, at their indices
 *
 * A guest that has not written into its rings by hand has all its tx chains back in the end, in order.
 */
#include "common/os.h"
#include "dataplane/stack/flow_memory.h"
#include "dataplane/vsock/transport_vhost.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEM_SIZE 0x40000u
#define USER UINT64_C(0x100000)
#define RING 16u
#define RING_AT(q) ((q)*0x1000u)
#define RING_AVAIL 0x400u
#define RING_USED 0x800u
#define RX_DATA 0x4000u
#define TX_DATA 0x20000u
#define SLOT 0x1800u
#define HOSTS 16
#define CID 3u
#define HOST_PORT 5000u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct loop *loop;
static struct counters counters;
static struct vsock_mux *mux;
static struct vsock_vhost *vhost;
static struct flow_memory *memory;
static struct vhost_session session; /* as a front-end and a guest have set it up */
static int memory_fd, flows_fd, kick_fds[2], call_fds[2];
static uint8_t *guest;
static int hosts[HOSTS];
static unsigned n_hosts, tx_slot, rx_slot;
static bool by_hand; /* the guest wrote where it pleased */

static bool on_request(void *arg, struct vsock_conn *conn)
{
	struct vsock_host host = {0};
	int fds[2];

	(void)arg;
	if (conn->host_port != HOST_PORT || n_hosts == HOSTS ||
		os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0)
		return false;
	host.fd = fds[0];
	hosts[n_hosts++] = fds[1];
	vsock_conn_accept(conn, &host);
	return true;
}

static const struct vsock_vmm_events no_events;

static void stop(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

static void run(void)
{
	static const struct timeval now = {0, 0};

	for (int i = 0; i < 3; i++) {
		event_base_once(loop_base(loop), -1, EV_TIMEOUT, stop, NULL, &now);
		if (loop_run(loop) < 0)
			abort();
	}
}

static void kick(void)
{
	if (write(kick_fds[1], "12345678", 8) < 0)
		return;
	run();
}

/* ---- the worker ---- */

static void make(bool reset)
{
	struct vsock_mux_events events = {.request = on_request};

	mux = vsock_mux_new(loop, &counters, &events);
	memory = flow_memory_open(os_dup(flows_fd));
	vhost = mux && memory ? vsock_vhost_new(loop, &counters, mux, &no_events) : NULL;
	if (!vhost)
		abort();
	vsock_mux_set_memory(mux, memory, reset);
}

static void unmake(void)
{
	vsock_mux_set_memory(mux, NULL, false);
	vsock_vhost_free(vhost);
	vsock_mux_free(mux);
	flow_memory_free(memory);
}

static void resume(void)
{
	struct vhost_session s = session;

	s.fd = os_dup(session.fd);
	s.region_fd[0] = os_dup(memory_fd);
	for (unsigned i = 0; i < 2; i++) {
		s.queue[i].kick = os_dup(kick_fds[0]);
		s.queue[i].call = os_dup(call_fds[1]);
	}
	if (vsock_vhost_resume(vhost, &s, CID) < 0)
		abort();
	run();
}

static void set_up_session(void)
{
	session.features = (uint64_t)1 << VIRTIO_F_VERSION_1 |
		(uint64_t)1 << VIRTIO_RING_F_INDIRECT_DESC;
	session.n_regions = 1;
	session.range[0] = (struct guest_range){.size = MEM_SIZE, .user = USER};
	session.n_queues = 3;
	for (unsigned i = 0; i < 2; i++) {
		struct vhost_session_queue *q = &session.queue[i];

		q->config.size = RING;
		q->config.desc_user = USER + RING_AT(i);
		q->config.avail_user = q->config.desc_user + RING_AVAIL;
		q->config.used_user = q->config.desc_user + RING_USED;
		q->have_addr = q->enabled = true;
	}
	session.queue[2].kick = session.queue[2].call = -1;
}

/* ---- the guest ---- */

static struct virtq_desc *desc_of(unsigned q)
{
	return (struct virtq_desc *)(guest + RING_AT(q));
}

static struct virtq_avail *avail_of(unsigned q)
{
	return (struct virtq_avail *)(guest + RING_AT(q) + RING_AVAIL);
}

static const struct virtq_used *used_of(unsigned q)
{
	return (const struct virtq_used *)(guest + RING_AT(q) + RING_USED);
}

/* Never more than the ring has place for. */
static bool is_full(unsigned q)
{
	return (uint16_t)(avail_of(q)->idx - used_of(q)->idx) >= RING / 4;
}

static void offer(unsigned q, uint16_t head)
{
	struct virtq_avail *avail = avail_of(q);

	avail->ring[avail->idx % RING] = head;
	avail->idx++;
}

/* A chain of pieces of these sizes, four descriptors a slot. */
static void chain(unsigned q, unsigned slot, uint32_t at, const uint32_t *sizes, unsigned n)
{
	struct virtq_desc *desc = desc_of(q);

	for (unsigned i = 0; i < n; i++) {
		unsigned d = slot * 4 + i;

		desc[d] = (struct virtq_desc){at, sizes[i],
			(uint16_t)((q ? 0 : VIRTQ_DESC_WRITE) | (i + 1 < n ? VIRTQ_DESC_NEXT : 0)),
			(uint16_t)(d + 1)};
		at += sizes[i];
	}
	offer(q, (uint16_t)(slot * 4));
}

static void offer_rx(const uint8_t *p)
{
	uint32_t sizes[4];
	unsigned n = p[0] % 4 + 1, slot = rx_slot % 4;

	if (is_full(0))
		return;
	for (unsigned i = 0; i < n; i++)
		sizes[i] = p[1 + i] * (i & 1 ? 5u : 1u);
	rx_slot++;
	chain(0, slot, RX_DATA + slot * SLOT, sizes, n);
	kick();
}

static void send_packet(const uint8_t *p)
{
	uint32_t len = p[2] * 4u, split = p[3] % 64;
	uint32_t sizes[2] = {split, VSOCK_HLEN + len - split};
	unsigned slot = tx_slot % 4;
	uint8_t *at = guest + TX_DATA + slot * SLOT;
	struct vsock_packet packet = {
		.src_cid = CID,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = p[1] & 15,
		.dst_port = p[1] & 16 ? HOST_PORT + 1 : HOST_PORT,
		.len = p[3] & 64              ? len + 1
			: p[0] == VSOCK_OP_RW ? len
					      : 0,
		.type = p[3] & 128 ? VSOCK_TYPE_DGRAM : VSOCK_TYPE_STREAM,
		.op = p[0] % 9,
		.flags = p[1] >> 5,
		.buf_alloc = 1 << 16,
	};

	if (is_full(1))
		return;
	tx_slot++;
	vsock_packet_write(&packet, at);
	if (split > VSOCK_HLEN + len)
		sizes[0] = VSOCK_HLEN + len, sizes[1] = 0;
	chain(1, slot, TX_DATA + slot * SLOT, sizes, 2);
	kick();
}

/* ---- the hosts ---- */

static void host_write(const uint8_t *p)
{
	static const uint8_t zeros[0x2000];

	if (n_hosts)
		os_send(hosts[p[0] % n_hosts], zeros, p[1] * 32u, 0);
	run();
}

static void host_read(void)
{
	uint8_t scratch[4096];

	for (unsigned i = 0; i < n_hosts; i++) {
		while (recv(hosts[i], scratch, sizeof(scratch), 0) > 0)
			;
	}
	run();
}

static void host_close(void)
{
	if (!n_hosts)
		return;
	close(hosts[0]);
	memmove(hosts, hosts + 1, (HOSTS - 1) * sizeof(*hosts));
	n_hosts--;
	run();
}

/* ---- steps ---- */

static size_t write_memory(const uint8_t *p, size_t size)
{
	size_t len = p[1] < size - 2 ? p[1] : size - 2;

	by_hand = true;
	memcpy(guest + (size_t)p[0] * 0x100, p + 2, len);
	kick();
	return 2 + len;
}

static void step_without_operand(uint8_t what)
{
	if (what == 4) {
		host_read();
	} else if (what == 5) {
		host_close();
	} else if (what == 6) {
		unmake();
		make(true);
		resume();
	} else {
		/* A second connection's session, in place of the first. */
		resume();
	}
}

static size_t step(const uint8_t *p, size_t size)
{
	uint8_t what = p[0] % 8;

	if (what >= 4) {
		step_without_operand(what);
		return 1;
	}
	if (size < 8)
		return size;
	if (what == 0)
		return 1 + write_memory(p + 1, size - 1);
	if (what == 1)
		offer_rx(p + 1);
	else if (what == 2)
		send_packet(p + 1);
	else
		host_write(p + 1);
	return 6;
}

static void start(void)
{
	int fds[2];

	loop = loop_new();
	memory_fd = os_shm_create("fuzz", MEM_SIZE);
	flows_fd = os_shm_create("fuzz-flows", FLOW_MEMORY_SIZE);
	guest = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	if (!loop || guest == MAP_FAILED || flows_fd < 0 || os_pipe(kick_fds) < 0 ||
		os_pipe(call_fds) < 0 || os_set_nonblock(kick_fds[0], true) < 0 ||
		os_set_nonblock(kick_fds[1], true) < 0 || os_set_nonblock(call_fds[0], true) < 0 ||
		os_set_nonblock(call_fds[1], true) < 0 ||
		os_socketpair(AF_UNIX, SOCK_STREAM, true, fds) < 0)
		abort();
	session.fd = fds[0];
	set_up_session();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	uint8_t scratch[4096];

	if (!loop)
		start();
	memset(guest, 0, MEM_SIZE);
	while (read(kick_fds[0], scratch, sizeof(scratch)) > 0)
		;
	tx_slot = rx_slot = 0;
	by_hand = false;
	make(false);
	resume();
	for (size_t at = 0; at < size;) {
		at += step(bytes + at, size - at);
		while (read(call_fds[0], scratch, sizeof(scratch)) > 0)
			;
	}
	run();
	if (!by_hand && used_of(1)->idx != avail_of(1)->idx)
		abort();
	while (n_hosts)
		host_close();
	unmake();
	return 0;
}
