/* SPDX-License-Identifier: MIT */
/*
 * A whole worker in its sandbox serves a vhost-user front-end, tells the test (its netctld) of the
 * session, is killed, and another one goes on with that.
 */
#include "common/unix_socket.h"
#include "dataplane/vsock/packet.h"
#include "tests/unit/vhost_frontend.h"
#include "tests/unit/worker_rig.h"

#define RX 0u
#define TX 1u
#define RING 16u
#define BUFFER 4200u

static uint8_t kept[4096]; /* a VhostSession, packed */
static size_t kept_len, n_kept;
static int kept_fds[FRAME_FDS_MAX];
static unsigned ups;
static uint16_t rx_seen;

static void refuse(uint64_t id, const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	(void)env;
	(void)fds;
	(void)n_fds;
	rpc_reply_status(worker.rpc, id, -ENOENT, "nobody is here");
}

static void drop_kept(void)
{
	while (n_kept)
		close(kept_fds[--n_kept]);
}

static void on_event(const Netdp__Envelope *env, int *fds, size_t n_fds)
{
	if (env->body_case == NETDP__ENVELOPE__BODY_VSOCK_CHANGED)
		ups += env->vsock_changed->up;
	if (env->body_case != NETDP__ENVELOPE__BODY_VHOST_SESSION)
		return;
	drop_kept();
	kept_len = netdp__vhost_session__pack(env->vhost_session, kept);
	ck_assert_uint_le(kept_len, sizeof(kept));
	for (; n_kept < n_fds; n_kept++) {
		kept_fds[n_kept] = fds[n_kept];
		fds[n_kept] = -1;
	}
}

static void set_vhost(int fd, bool listener)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VsockSet msg = NETDP__VSOCK_SET__INIT;

	msg.kind = NETDP__VSOCK_KIND__VSOCK_VHOST;
	msg.listener = listener;
	msg.cid = RIG_CID;
	env.body_case = NETDP__ENVELOPE__BODY_VSOCK_SET;
	env.vsock_set = &msg;
	ck_assert_int_eq(worker_ask(&env, &fd, 1), 0);
	close(fd);
}

static int resume_kept(void)
{
	Netdp__Envelope env = NETDP__ENVELOPE__INIT;
	Netdp__VhostResume msg = NETDP__VHOST_RESUME__INIT;
	int err;

	msg.session = netdp__vhost_session__unpack(NULL, kept_len, kept);
	ck_assert_ptr_nonnull(msg.session);
	env.body_case = NETDP__ENVELOPE__BODY_VHOST_RESUME;
	env.vhost_resume = &msg;
	err = worker_ask(&env, kept_fds, n_kept);
	netdp__vhost_session__free_unpacked(msg.session, NULL);
	return err;
}

static void begin_worker(void)
{
	worker.request = refuse;
	worker.event_fds = on_event;
	worker_setup();
	loop = rig.loop;
}

static void kill_worker(void)
{
	worker.left = true;
	kill(worker.pid, SIGKILL);
	ck_assert_int_eq(waitpid(worker.pid, NULL, 0), worker.pid);
	rpc_free(worker.rpc);
	close(worker.lifeline);
	loop_free(rig.loop);
}

static void bring_up(void)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, false, fds), 0);
	vmm = fds[0];
	set_vhost(fds[1], false);
	negotiate(BIT(0));
	ck_assert(ask_mem_table(mem_ranges, 2));
	for (unsigned i = 0; i < 2; i++) {
		set_ring(i, 0);
		enable_ring(i);
	}
	for (uint16_t i = 0; i < 8; i++) {
		driver[RX].desc[i] = (struct virtq_desc){
			DATA_AT + i * BUFFER, BUFFER, VIRTQ_DESC_WRITE, 0};
		driver_offer(&driver[RX], i);
	}
	do_kick(RX);
}

/* Asks for what is not there; the answer must come. */
static void ask_in_vain(uint32_t port)
{
	struct vsock_packet packet = {.src_cid = RIG_CID,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = port,
		.dst_port = 5000,
		.type = VSOCK_TYPE_STREAM,
		.op = VSOCK_OP_REQUEST};
	uint32_t at = 0x90000;

	vsock_packet_write(&packet, guest.bytes + at);
	driver[TX].desc[0] = (struct virtq_desc){at, VSOCK_HLEN, 0, 0};
	driver_offer(&driver[TX], 0);
	do_kick(TX);
	UNTIL(__atomic_load_n(&driver[RX].used->idx, __ATOMIC_ACQUIRE) != rx_seen);
	at = DATA_AT + driver[RX].used->ring[rx_seen++ % RING].id * BUFFER;
	vsock_packet_read(&packet, guest.bytes + at);
	ck_assert_uint_eq(packet.op, VSOCK_OP_RST);
	ck_assert_uint_eq(packet.dst_port, port);
}

static void setup(void)
{
	guest_setup();
	for (unsigned i = 0; i < FRONTEND_QUEUES; i++) {
		driver[i] = driver_new(i, RING);
		kick[i] = call[i] = -1;
	}
	ups = 0;
	rx_seen = 0;
	begin_worker();
	bring_up();
}

static void teardown(void)
{
	worker_teardown();
	drop_kept();
	for (unsigned i = 0; i < 2; i++) {
		close(kick[i]);
		close(call[i]);
	}
	close(vmm);
	guest_teardown();
}

START_TEST(a_session_outlives_its_worker)
{
	char path[] = "/tmp/nct-vhost-XXXXXX";

	ask_in_vain(1000);
	/* Connection, two regions, a kick and a call for each of two rings. */
	UNTIL(n_kept == 7);
	kill_worker();
	begin_worker();
	ck_assert_ptr_nonnull(mkdtemp(path));
	ck_assert_int_eq(rmdir(path), 0);
	set_vhost(unix_listen(path, SOCK_STREAM, 0600), true);
	unlink(path);
	ups = 0;
	ck_assert_int_eq(resume_kept(), 0);
	UNTIL(ups == 1);
	ask_in_vain(1001);
	/* The front-end's next words are answered as if nothing had been. */
	ck_assert_uint_eq(get(VHOST_USER_GET_QUEUE_NUM), 3);
}
END_TEST

START_TEST(what_is_no_session_is_refused)
{
	UNTIL(n_kept == 7);
	close(kept_fds[--n_kept]);
	ck_assert_int_eq(resume_kept(), -EINVAL);
	/* The one that there is goes on. */
	ask_in_vain(1000);
}
END_TEST

START_TEST(a_vmm_that_leaves_ends_the_session)
{
	UNTIL(n_kept == 7);
	close(vmm);
	UNTIL(n_kept == 0);
	vmm = os_dup(STDIN_FILENO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_worker");
	TCase *t = tcase_create("worker");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_session_outlives_its_worker);
	tcase_add_test(t, what_is_no_session_is_refused);
	tcase_add_test(t, a_vmm_that_leaves_ends_the_session);
	suite_add_tcase(s, t);
	return run_suite(s);
}
