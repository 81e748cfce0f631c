/* SPDX-License-Identifier: MIT */
/* Sockets that somebody else accepted, handed to a TCP port of the guest's; bytes put back. */
#include "dataplane/attach.h"
#include "dataplane/tcp/host_side.h"
#include "tests/unit/tcp_rig.h"

static unsigned answers;
static int answer;

static void on_done(void *arg, int err)
{
	ck_assert_ptr_eq(arg, &answers);
	answers++;
	answer = err;
}

static void setup(void)
{
	rig_setup();
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	answers = 0;
	answer = 1;
}

/* Hands over a unix socket; the far end is the client's. */
static int attach_unix(const void *prefix, size_t len)
{
	struct attach attach = {.port = 80, .prefix = prefix, .prefix_len = len};
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(worker_stream_attach(rig.worker, &attach, fds[0], on_done, &answers), 0);
	return fds[1];
}

/* The SYN that asks the guest. */
static struct peer asked(void)
{
	struct peer p = {.window = 512, .our_wscale = 7, .seq = 0xffffff00};

	do {
		ck_assert_msg(recv_packet(1000), "the guest was not asked");
	} while (!(seen.flags & TCP_SYN));
	p.remote = seen.src;
	p.remote_port = seen.sport;
	p.port = seen.dport;
	take_syn(&p);
	return p;
}

static void accept_syn(struct peer *p)
{
	uint16_t window = p->window;

	p->window = 65535;
	send_raw(p,
		(struct out){.flags = TCP_SYN | TCP_ACK,
			.seq = p->seq,
			.ack = p->ack,
			.options = syn_options,
			.options_len = 12});
	p->window = window;
	p->seq++;
}

START_TEST(the_prefix_comes_first_and_then_the_socket)
{
	int fd = attach_unix("GET ", 4);
	struct peer p = asked();
	uint8_t buf[32];

	host_write(fd, "/ HTTP", 6);
	rig_run(5);
	ck_assert_uint_eq(answers, 0);
	ck_assert_uint_eq(p.port, 80);
	ck_assert_uint_eq(p.remote, GATEWAY);
	accept_syn(&p);
	ck_assert_uint_eq(guest_read(&p, buf, 10), 10);
	ck_assert_mem_eq(buf, "GET / HTTP", 10);
	ck_assert_uint_eq(answers, 1);
	ck_assert_int_eq(answer, 0);
	host_write(fd, "/1.1", 4);
	ck_assert_uint_eq(guest_read(&p, buf, 4), 4);
	ck_assert_mem_eq(buf, "/1.1", 4);
	send_segment(&p, TCP_ACK, "200", 3);
	ck_assert_uint_eq(host_read(fd, buf, 3), 3);
	send_segment(&p, TCP_ACK | TCP_FIN, NULL, 0);
	ck_assert_int_eq(host_next(fd), 0);
	close(fd);
	recv_flag(&p, TCP_FIN);
	p.ack = seen.seq + 1;
	send_ack(&p);
	RIG_UNTIL(rig_flows() == 0);
}
END_TEST

START_TEST(a_prefix_does_not_wait_for_the_socket)
{
	int fd = attach_unix("hello", 5);
	struct peer p = asked();
	uint8_t buf[8];

	accept_syn(&p);
	ck_assert_uint_eq(guest_read(&p, buf, 5), 5);
	ck_assert_mem_eq(buf, "hello", 5);
	close(fd);
}
END_TEST

START_TEST(a_prefix_alone_and_the_end)
{
	int fd = attach_unix("bye", 3);
	struct peer p = asked();
	uint8_t buf[8];

	close(fd);
	accept_syn(&p);
	ck_assert_uint_eq(guest_read(&p, buf, 3), 3);
	recv_flag(&p, TCP_FIN);
	ck_assert_uint_eq(seen.seq, p.ack);
}
END_TEST

/* What is sent again begins in the prefix and ends in the socket. */
START_TEST(a_prefix_is_sent_again_until_it_is_acknowledged)
{
	const uint8_t *bytes = pattern(5000);
	int fd = attach_unix(bytes, 2000);
	struct peer p = asked();
	uint8_t buf[5000];
	size_t at;

	host_write(fd, bytes + 2000, 3000);
	accept_syn(&p);
	recv_rest(&p);
	rig_sleep(300);
	recv_segment(&p);
	ck_assert_uint_eq(seen.seq, p.ack);
	ck_assert_mem_eq(seen.data, bytes, seen.len);
	p.ack += 1000;
	send_ack(&p);
	rig_sleep(1000);
	recv_segment(&p);
	ck_assert_uint_eq(seen.seq, p.ack);
	ck_assert_uint_gt(seen.len, 1000);
	ck_assert_mem_eq(seen.data, bytes + 1000, seen.len);
	p.ack += (uint32_t)seen.len;
	send_ack(&p);
	at = 1000 + seen.len;
	rig_sleep(3000);
	ck_assert_uint_eq(guest_read(&p, buf, 5000 - at), 5000 - at);
	ck_assert_mem_eq(buf, bytes + at, 5000 - at);
	close(fd);
}
END_TEST

START_TEST(the_clients_own_address_is_seen)
{
	struct endpoint client = {.port = 4242};
	struct attach attach = {.port = 80, .client = &client};
	struct peer p;
	int fds[2];

	client.addr = addr_from_v4(0xc0a80107);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(worker_stream_attach(rig.worker, &attach, fds[0], on_done, &answers), 0);
	p = asked();
	ck_assert_uint_eq(p.remote, 0xc0a80107);
	ck_assert_uint_eq(p.remote_port, 4242);
	close(fds[1]);
}
END_TEST

START_TEST(a_refusal_is_told)
{
	int fd = attach_unix("x", 1);
	struct peer p = asked();

	send_raw(&p, (struct out){.flags = TCP_RST | TCP_ACK, .ack = p.ack});
	RIG_UNTIL(answers == 1);
	ck_assert_int_eq(answer, -ECONNREFUSED);
	ck_assert_int_eq(host_next(fd), 0);
	ck_assert_uint_eq(rig_flows(), 0);
	close(fd);
}
END_TEST

START_TEST(the_guest_has_five_seconds)
{
	int fd = attach_unix("x", 1);
	struct peer p = asked();

	for (int i = 0; i < 49; i++)
		rig_sleep(100);
	ck_assert_uint_eq(answers, 0);
	rig_sleep(200);
	ck_assert_uint_eq(answers, 1);
	ck_assert_int_eq(answer, -ECONNREFUSED);
	recv_flag(&p, TCP_RST);
	ck_assert_int_eq(host_next(fd), 0);
	accept_syn(&p);
	rig_run(5);
	ck_assert_uint_eq(answers, 1);
	close(fd);
}
END_TEST

START_TEST(what_cannot_be_is_said_at_once)
{
	struct attach attach = {.port = 80};
	struct error err;
	int fds[2], datagram = os_socket(AF_INET, SOCK_DGRAM, 0, true);

	ck_assert_int_eq(
		worker_stream_attach(rig.worker, &attach, datagram, on_done, &answers), -EINVAL);
	attach.to = (struct vsock_target){VSOCK_TO_PORT, 52};
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(
		worker_stream_attach(rig.worker, &attach, fds[0], on_done, &answers), -ENOTCONN);
	ck_assert_int_eq(host_next(fds[1]), 0);
	close(fds[1]);
	attach.to = (struct vsock_target){0};
	ck_assert_int_eq(worker_link_set(rig.worker, LINK_KIND_NONE, -1, false, 0, &err), 0);
	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	ck_assert_int_eq(
		worker_stream_attach(rig.worker, &attach, fds[0], on_done, &answers), -ENOTCONN);
	close(fds[1]);
	ck_assert_uint_eq(answers, 0);
}
END_TEST

START_TEST(those_under_way_are_told_of_the_worker_s_end)
{
	close(attach_unix("x", 1));
	worker_free(rig.worker);
	ck_assert_uint_eq(answers, 1);
	ck_assert_int_eq(answer, -ECONNREFUSED);
	rig.worker = NULL;
}
END_TEST

/* ---- host_side.h alone ---- */

static struct host_side host;
static int far;

static void start_host(bool peek_offset)
{
	int fds[2];

	ck_assert_int_eq(os_socketpair(AF_UNIX, SOCK_STREAM, true, fds), 0);
	far = fds[1];
	host_side_init(&host, fds[0], false);
	if (!peek_offset) {
		host_side_os_peek_offset(fds[0], -1);
		host.peek_offset = false;
	}
	ck_assert_int_eq(host_side_put_back(&host, "abcdef", 6), 0);
}

START_TEST(what_was_put_back_is_peeked_and_consumed_first)
{
	char buf[16];

	start_host(_i);
	ck_assert_int_eq(host_side_peek(&host, buf, 4, 0), 4);
	ck_assert_int_eq(host_side_peek(&host, buf + 4, 12, 4), 2);
	ck_assert_mem_eq(buf, "abcdef", 6);
	ck_assert_int_eq(host_side_peek(&host, buf, 16, 6), -EAGAIN);
	ck_assert_int_eq(os_send(far, "ghijkl", 6, 0), 6);
	ck_assert_int_eq(host_side_peek(&host, buf, 2, 6), 2);
	ck_assert_mem_eq(buf, "gh", 2);
	ck_assert_int_eq(host_side_peek_again(&host, buf, 5, 3, 8), 5);
	ck_assert_mem_eq(buf, "defgh", 5);
	ck_assert_int_eq(host_side_consume(&host, 4), 0);
	ck_assert_int_eq(host_side_peek_again(&host, buf, 4, 0, 4), 4);
	ck_assert_mem_eq(buf, "efgh", 4);
	ck_assert_int_eq(host_side_peek(&host, buf, 16, 4), 4);
	ck_assert_mem_eq(buf, "ijkl", 4);
	ck_assert_int_eq(host_side_consume(&host, 3), 0);
	ck_assert_int_eq(host_side_peek_again(&host, buf, 5, 0, 5), 5);
	ck_assert_mem_eq(buf, "hijkl", 5);
	ck_assert_int_eq(host_side_consume(&host, 5), 0);
	close(far);
	ck_assert_int_eq(host_side_peek(&host, buf, 16, 0), 0);
	host_side_close(&host);
}
END_TEST

START_TEST(the_end_comes_behind_what_was_put_back)
{
	char buf[16];

	start_host(_i);
	close(far);
	ck_assert_int_eq(host_side_peek(&host, buf, 16, 0), 6);
	ck_assert_int_eq(host_side_consume(&host, 6), 0);
	ck_assert_int_eq(host_side_peek(&host, buf, 16, 0), 0);
	host_side_close(&host);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("attach");
	TCase *t = tcase_create("attach");
	TCase *h = tcase_create("put back");

	tcase_add_checked_fixture(t, setup, rig_teardown);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, the_prefix_comes_first_and_then_the_socket);
	tcase_add_test(t, a_prefix_does_not_wait_for_the_socket);
	tcase_add_test(t, a_prefix_alone_and_the_end);
	tcase_add_test(t, a_prefix_is_sent_again_until_it_is_acknowledged);
	tcase_add_test(t, the_clients_own_address_is_seen);
	tcase_add_test(t, a_refusal_is_told);
	tcase_add_test(t, the_guest_has_five_seconds);
	tcase_add_test(t, what_cannot_be_is_said_at_once);
	tcase_add_test(t, those_under_way_are_told_of_the_worker_s_end);
	suite_add_tcase(s, t);
	tcase_add_loop_test(h, what_was_put_back_is_peeked_and_consumed_first, 0, 2);
	tcase_add_loop_test(h, the_end_comes_behind_what_was_put_back, 0, 2);
	suite_add_tcase(s, h);
	return run_suite(s);
}
