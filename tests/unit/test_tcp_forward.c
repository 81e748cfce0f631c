/* SPDX-License-Identifier: MIT */
/* TCP's other beginnings: forwards, whose clients the guest is asked about; and DNS over TCP. */
#include "tests/unit/tcp_rig.h"

#include "common/unix_socket.h"

static uint16_t port; /* of the forward's listener */

static struct worker_forward forward(const char *id, uint16_t to, bool snat)
{
	struct worker_forward f = {.proto = IP_PROTO_TCP, .to_port = to, .snat = snat};

	snprintf(f.id, sizeof(f.id), "%s", id);
	return f;
}

static void add(const char *id, int fd, uint16_t to)
{
	struct worker_forward f = forward(id, to, false);
	struct error err;

	ck_assert_int_eq(worker_forward_add(rig.worker, &f, fd, &err), 0);
}

static void setup(void)
{
	rig_setup();
	rig_freeze(); /* only rig_sleep() lets time pass, however slow the machine */
	add("web", rig_listen(&port, 512), 80);
}

static void connect_to_port(int fd)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = {htonl(INADDR_LOOPBACK)}};

	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0)
		ck_assert_int_eq(errno, EINPROGRESS);
}

static int client(void)
{
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	ck_assert_int_ge(fd, 0);
	connect_to_port(fd);
	return fd;
}

/* The SYN that asks the guest, as its kernel would note it. */
static struct peer asked(void)
{
	struct peer p = {.window = 512, .our_wscale = 7, .seq = 0xffffff00};

	do {
		ck_assert_msg(recv_packet(1000), "the guest was not asked");
	} while (!(seen.flags & TCP_SYN));
	ck_assert_uint_eq(seen.flags, TCP_SYN);
	p.remote = seen.src;
	p.remote_port = seen.sport;
	p.port = seen.dport;
	take_syn(&p);
	return p;
}

static void accept_syn(struct peer *p)
{
	uint16_t window = p->window;

	p->window = 65535; /* never scaled in a SYN */
	send_raw(p,
		(struct out){.flags = TCP_SYN | TCP_ACK,
			.seq = p->seq,
			.ack = p->ack,
			.options = syn_options,
			.options_len = 12});
	p->window = window;
	p->seq++;
	recv_segment(p);
	ck_assert_uint_eq(seen.flags, TCP_ACK);
	ck_assert_uint_eq(seen.ack, p->seq);
	ck_assert_uint_eq(seen.seq, p->ack);
}

START_TEST(a_client_is_the_guests)
{
	int fd = client();
	struct peer p = asked();
	uint8_t buf[16];

	ck_assert_uint_eq(p.port, 80);
	ck_assert_uint_eq(seen.mss, 1460);
	ck_assert(seen.has_wscale && seen.sack_ok);
	accept_syn(&p);
	host_write(fd, "GET /", 5);
	ck_assert_uint_eq(guest_read(&p, buf, 5), 5);
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

/* A loopback address would be a martian to the guest: the gateway stands in, from 61000 on. */
START_TEST(a_loopback_client_comes_from_the_gateway)
{
	int a = client(), b = client();
	struct peer p = asked(), q = asked();

	ck_assert_uint_eq(p.remote, GATEWAY);
	ck_assert_uint_eq(q.remote, GATEWAY);
	ck_assert_uint_ge(p.remote_port, 61000);
	ck_assert_uint_ge(q.remote_port, 61000);
	ck_assert_uint_ne(p.remote_port, q.remote_port);
	close(a);
	close(b);
}
END_TEST

START_TEST(bytes_sent_before_the_guest_answered_wait_for_it)
{
	int fd = client();
	struct peer p = asked();
	uint8_t buf[8];

	RIG_UNTIL(os_send(fd, "early", 5, 0) == 5 || rig_flows() == 1);
	rig_run(5);
	recv_nothing(&p);
	accept_syn(&p);
	if (guest_read(&p, buf, 5) == 5)
		ck_assert_int_eq(memcmp(buf, "early", 5), 0);
	close(fd);
}
END_TEST

START_TEST(a_guest_that_refuses_resets_the_client)
{
	int fd = client();
	struct peer p = asked();

	send_raw(&p, (struct out){.flags = TCP_RST | TCP_ACK, .seq = 0, .ack = p.ack + 1});
	send_raw(&p, (struct out){.flags = TCP_RST, .seq = 0, .ack = p.ack});
	rig_run(3);
	ck_assert_uint_eq(rig_flows(), 1); /* not our number, or none */
	send_raw(&p, (struct out){.flags = TCP_RST | TCP_ACK, .seq = 0, .ack = p.ack});
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	ck_assert_uint_eq(rig_flows(), 0);
	ck_assert_uint_eq(rig_count(COUNTER_TCP_REFUSED), 1);
	close(fd);
}
END_TEST

START_TEST(a_guest_that_does_not_answer_is_asked_six_times)
{
	int fd = client(), asks = 1;
	struct peer p = asked();

	for (int i = 0; i < 8; i++) {
		rig_sleep(210u << i);
		while (recv_for(&p, 3)) {
			if (seen.flags == TCP_SYN)
				asks++;
		}
	}
	ck_assert_int_eq(asks, 6);
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	ck_assert_uint_eq(rig_flows(), 0);
	close(fd);
}
END_TEST

START_TEST(a_wrong_syn_ack_is_reset_by_its_number_and_asked_again)
{
	int fd = client();
	struct peer p = asked();

	send_raw(&p, (struct out){.flags = TCP_SYN | TCP_ACK, .seq = 1, .ack = p.ack + 9});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_RST);
	ck_assert_uint_eq(seen.seq, p.ack + 9);
	rig_sleep(210);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_SYN);
	accept_syn(&p);
	close(fd);
}
END_TEST

START_TEST(a_repeated_syn_ack_is_acknowledged)
{
	int fd = client();
	struct peer p = asked();

	accept_syn(&p);
	send_raw(&p, (struct out){.flags = TCP_SYN | TCP_ACK, .seq = p.seq - 1, .ack = p.ack});
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_ACK);
	ck_assert_uint_eq(seen.ack, p.seq);
	close(fd);
}
END_TEST

START_TEST(a_client_that_left_meanwhile_is_told_to_the_guest)
{
	int fd = client();
	struct peer p = asked();

	host_reset(fd);
	rig_run(3);
	accept_syn(&p);
	recv_flag(&p, TCP_RST);
	ck_assert_uint_eq(rig_flows(), 0);
}
END_TEST

/* ---- bounds ---- */

START_TEST(accept_pauses_at_256_and_goes_on)
{
	static struct peer peers[256];
	static int fds[300];

	for (int i = 0; i < 300; i++)
		fds[i] = client();
	for (int i = 0; i < 256; i++)
		peers[i] = asked();
	rig_run(20);
	ck_assert_uint_eq(rig_flows(), 256);
	/* One that is answered and one that is refused make two places. */
	recv_rest(&peers[0]);
	accept_syn(&peers[0]);
	send_raw(&peers[1], (struct out){.flags = TCP_RST | TCP_ACK, .ack = peers[1].ack});
	RIG_UNTIL(rig_flows() == 257);
	rig_run(20);
	ck_assert_uint_eq(rig_flows(), 257);
	for (int i = 0; i < 300; i++)
		close(fds[i]);
}
END_TEST

START_TEST(without_a_guest_a_client_is_reset)
{
	int fd;

	shutdown(rig.guest, SHUT_RDWR);
	rig_run(3);
	fd = client();
	ck_assert_int_eq(host_next(fd), -ECONNRESET);
	close(fd);
}
END_TEST

START_TEST(a_deleted_forward_refuses_and_its_flows_go_on)
{
	int fd = client(), late;
	struct peer p = asked();
	struct error err;
	uint8_t buf[4];

	accept_syn(&p);
	ck_assert_int_eq(worker_forward_delete(rig.worker, "web", &err), 0);
	ck_assert_int_lt(worker_forward_delete(rig.worker, "web", &err), 0);
	late = client();
	ck_assert_int_eq(host_next(late), -ECONNREFUSED);
	send_segment(&p, TCP_ACK, "on", 2);
	ck_assert_uint_eq(host_read(fd, buf, 2), 2);
	close(late);
	close(fd);
}
END_TEST

START_TEST(a_forward_needs_a_listening_socket_and_an_id_of_its_own)
{
	struct worker_forward f = forward("web", 81, false), g = forward("other", 81, false);
	uint16_t other;
	struct error err;
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	ck_assert_int_lt(worker_forward_add(rig.worker, &f, rig_listen(&other, 5), &err), 0);
	ck_assert_int_eq(err.status, 409);
	ck_assert_int_lt(worker_forward_add(rig.worker, &g, fd, &err), 0);
	ck_assert_int_lt(os_dup(fd), 0); /* closed */
	ck_assert_uint_eq(worker_forward_count(rig.worker), 1);
}
END_TEST

/* A send buffer of 4 KiB takes what is spilled in many parts. */
START_TEST(spilled_bytes_leave_as_the_host_takes_them)
{
	int size = 4096, fd = rig_listen(&port, 5);
	uint8_t *buf = malloc(60000);
	struct peer p;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	add("small", fd, 83);
	fd = os_socket(AF_INET, SOCK_STREAM, 0, true);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	connect_to_port(fd);
	p = asked();
	accept_syn(&p);
	for (uint32_t at = 0; at < 60000; at += 1000)
		send_segment(&p, TCP_ACK, pattern(60000) + at, 1000);
	rig_run(5);
	recv_rest(&p);
	send_raw(&p, (struct out){.flags = TCP_ACK, .seq = p.seq - 1, .ack = p.ack});
	recv_segment(&p);
	ck_assert_uint_eq(seen.ack, p.seq); /* all was inside the window */
	ck_assert_uint_gt(rig_count(COUNTER_TCP_SPILLED_BYTES), 40000);
	ck_assert_uint_eq(host_read(fd, buf, 60000), 60000);
	ck_assert_int_eq(memcmp(buf, pattern(60000), 60000), 0);
	close(fd);
	free(buf);
}
END_TEST

/* ---- unix clients ---- */

START_TEST(a_unix_client_comes_from_the_gateway)
{
	char directory[] = "/tmp/netctl-fwd-XXXXXX", path[64];
	struct worker_forward f = forward("sock", 90, false);
	struct error err;
	struct peer p;
	uint8_t *buf = malloc(300000);
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
	f.unix_listener = true;
	ck_assert_int_eq(
		worker_forward_add(rig.worker, &f, unix_listen(path, SOCK_STREAM, 0), &err), 0);
	fd = unix_connect(path, SOCK_STREAM, 100, true);
	ck_assert_int_ge(fd, 0);
	p = asked();
	ck_assert_uint_eq(p.remote, GATEWAY);
	ck_assert_uint_eq(p.port, 90);
	accept_syn(&p);
	/* Peeked and consumed as a TCP socket's bytes are, and sent again on loss. */
	ck_assert_int_gt(os_send(fd, pattern(5000), 5000, 0), 0);
	recv_segment(&p);
	recv_rest(&p);
	rig_sleep(210);
	recv_segment(&p);
	ck_assert_uint_eq(seen.seq, p.ack);
	ck_assert_int_eq(memcmp(seen.data, pattern(5000), seen.len), 0);
	p.ack += 5000;
	send_ack(&p);
	rig_run(3);
	host_write(fd, pattern(100000), 100000);
	ck_assert_uint_eq(guest_read(&p, buf, 100000), 100000);
	ck_assert_int_eq(memcmp(buf, pattern(100000), 100000), 0);
	shutdown(fd, SHUT_WR);
	recv_flag(&p, TCP_FIN);
	p.ack++;
	send_segment(&p, TCP_ACK | TCP_FIN, "bye", 3);
	ck_assert_uint_eq(host_read(fd, buf, 3), 3);
	ck_assert_int_eq(host_next(fd), 0);
	RIG_UNTIL(rig_flows() == 0);
	close(fd);
	free(buf);
	unlink(path);
	rmdir(directory);
}
END_TEST

/* ---- whose address the guest sees ---- */

/* An address of this machine other than loopback, by which a client can come from one. */
static uint32_t find_address(void)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(0xc0000201)}};
	socklen_t len = sizeof(in);
	int fd = os_socket(AF_INET, SOCK_DGRAM, 0, true);

	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0 ||
		getsockname(fd, (struct sockaddr *)&in, &len) < 0)
		in.sin_addr.s_addr = 0;
	close(fd);
	return ntohl(in.sin_addr.s_addr);
}

static int client_from(uint32_t addr, uint16_t to)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons(to), .sin_addr = {htonl(addr)}};
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	if (connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0)
		ck_assert_int_eq(errno, EINPROGRESS);
	return fd;
}

static int listen_any(uint16_t *to)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	*to = ntohs(in.sin_port);
	return fd;
}

START_TEST(a_client_keeps_its_address_unless_snat_is_asked_for)
{
	struct worker_forward f = forward("snat", 82, true);
	struct sockaddr_in own = {0};
	socklen_t len = sizeof(own);
	struct error err;
	struct peer p;
	uint16_t to;
	int fd;

	uint32_t own_v4 = find_address();
	if (!own_v4 || own_v4 >> 8 == GATEWAY >> 8)
		return; /* a machine without a network */
	add("any", listen_any(&to), 81);
	fd = client_from(own_v4, to);
	p = asked();
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&own, &len), 0);
	ck_assert_uint_eq(p.remote, own_v4);
	ck_assert_uint_eq(p.remote_port, ntohs(own.sin_port));
	close(fd);
	ck_assert_int_eq(worker_forward_add(rig.worker, &f, listen_any(&to), &err), 0);
	fd = client_from(own_v4, to);
	p = asked();
	ck_assert_uint_eq(p.remote, GATEWAY);
	ck_assert_uint_eq(p.port, 82);
	close(fd);
}
END_TEST

/* ---- DNS over TCP: a flow whose host side is a socketpair ---- */

START_TEST(dns_over_tcp_is_a_flow_like_any_other)
{
	/* id 7, RD, one question: no.such.internal, A; there is no upstream. */
	static const uint8_t query[] = {0, 34, 0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 'n', 'o', 4,
		's', 'u', 'c', 'h', 8, 'i', 'n', 't', 'e', 'r', 'n', 'a', 'l', 0, 0, 1, 0, 1};
	struct peer p = new_peer(GATEWAY, 53);
	uint8_t buf[512];

	send_syn(&p);
	recv_segment(&p);
	ck_assert_uint_eq(seen.flags, TCP_SYN | TCP_ACK);
	take_syn(&p);
	send_ack(&p);
	/* In two parts, and twice. */
	send_segment(&p, TCP_ACK, query, 9);
	send_segment(&p, TCP_ACK, query + 9, sizeof(query) - 9);
	ck_assert_uint_eq(guest_read(&p, buf, 14), 14);
	ck_assert_uint_eq(load_be16(buf + 2), 7);
	ck_assert_uint_eq(buf[4] & 0x80, 0x80);
	/* The guest's end: the service closes, and the flow with it. */
	send_segment(&p, TCP_ACK | TCP_FIN, NULL, 0);
	recv_flag(&p, TCP_FIN);
	p.ack = seen.seq + (uint32_t)seen.len + 1;
	send_ack(&p);
	RIG_UNTIL(rig_flows() == 0);
	ck_assert_uint_eq(rig_count(COUNTER_DNS_TCP_CONNECTIONS), 1);
}
END_TEST

START_TEST(an_idle_dns_connection_ends_by_itself)
{
	struct peer p = new_peer(GATEWAY, 53);

	send_syn(&p);
	recv_segment(&p);
	take_syn(&p);
	send_ack(&p);
	rig_run(2);
	rig_sleep(11000);
	recv_flag(&p, TCP_FIN);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp_forward");
	TCase *c = tcase_create("client"), *b = tcase_create("bounds"),
	      *a = tcase_create("address");
	TCase *d = tcase_create("dns");

	tcase_add_checked_fixture(c, setup, rig_teardown);
	tcase_set_timeout(c, 20);
	tcase_add_test(c, a_client_is_the_guests);
	tcase_add_test(c, a_loopback_client_comes_from_the_gateway);
	tcase_add_test(c, bytes_sent_before_the_guest_answered_wait_for_it);
	tcase_add_test(c, a_guest_that_refuses_resets_the_client);
	tcase_add_test(c, a_guest_that_does_not_answer_is_asked_six_times);
	tcase_add_test(c, a_wrong_syn_ack_is_reset_by_its_number_and_asked_again);
	tcase_add_test(c, a_repeated_syn_ack_is_acknowledged);
	tcase_add_test(c, a_client_that_left_meanwhile_is_told_to_the_guest);
	suite_add_tcase(s, c);
	tcase_add_checked_fixture(b, setup, rig_teardown);
	tcase_set_timeout(b, 20);
	tcase_add_test(b, accept_pauses_at_256_and_goes_on);
	tcase_add_test(b, without_a_guest_a_client_is_reset);
	tcase_add_test(b, spilled_bytes_leave_as_the_host_takes_them);
	tcase_add_test(b, a_deleted_forward_refuses_and_its_flows_go_on);
	tcase_add_test(b, a_forward_needs_a_listening_socket_and_an_id_of_its_own);
	suite_add_tcase(s, b);
	tcase_add_checked_fixture(a, setup, rig_teardown);
	tcase_add_test(a, a_unix_client_comes_from_the_gateway);
	tcase_add_test(a, a_client_keeps_its_address_unless_snat_is_asked_for);
	suite_add_tcase(s, a);
	tcase_add_checked_fixture(d, rig_setup, rig_teardown);
	tcase_set_timeout(d, 20);
	tcase_add_test(d, dns_over_tcp_is_a_flow_like_any_other);
	tcase_add_test(d, an_idle_dns_connection_ends_by_itself);
	suite_add_tcase(s, d);
	return run_suite(s);
}
