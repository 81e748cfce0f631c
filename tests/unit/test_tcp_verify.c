/* SPDX-License-Identifier: MIT */
/* TCP flows whose guest must name the server: what reaches the host, and what is reset. */
#include "tests/unit/tcp_rig.h"

#include "dataplane/worker_internal.h"
#include "tests/unit/verify_rig.h"

#define GOOD "GET / HTTP/1.1\r\nHost: good.org\r\n\r\n"
#define EVIL "GET / HTTP/1.1\r\nHost: evil.org\r\n\r\n"

static struct peer p;
static int host;

static bool admit_good(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)log;
	(void)flow;
	return match(arg, "good.org");
}

/* The server is at the gateway's address, which only a rule can forbid. */
static void policy(const char *rule, bool cut)
{
	const struct policy_names names = {.admit = admit_good};
	const char *rules[] = {rule, "-10.0.2.2"};
	struct error err;
	size_t len;
	uint8_t *blob = names_table(rules, 2, &len);

	egress_set_names(rig.worker->egress, &names);
	ck_assert_int_eq(worker_policy_set(rig.worker, blob, len, 0, cut, &err), 0);
	free(blob);
}

static void setup(void)
{
	rig_setup();
	policy("good.org", false);
	rig_freeze();
	p = connect_peer(&host);
}

static void teardown(void)
{
	close(host);
	rig_teardown();
}

static void send_bytes(const void *bytes, size_t len)
{
	send_segment(&p, TCP_ACK | TCP_PSH, bytes, len);
}

static void send_text(const char *text)
{
	send_bytes(text, strlen(text));
}

static void expect_at_host(const void *bytes, size_t len)
{
	static uint8_t buf[8 << 20];

	ck_assert_uint_eq(host_read(host, buf, len), len);
	ck_assert_int_eq(memcmp(buf, bytes, len), 0);
}

static void expect_nothing_at_host(void)
{
	uint8_t byte;

	rig_run(3);
	ck_assert_int_eq(recv(host, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void expect_refused(void)
{
	recv_flag(&p, TCP_RST);
	ck_assert_int_eq(host_next(host), -ECONNRESET);
	ck_assert_uint_eq(rig_flows(), 0);
	rig_sleep(1100);
	ck_assert_uint_eq(rig.refusals, 1);
	ck_assert_uint_eq(rig_count(COUNTER_EGRESS_REFUSED_POLICY), 1);
}

START_TEST(hello_in_segments_goes_when_it_is_whole)
{
	struct hello h = hello_to("good.org");

	for (size_t i = 0; i < 40; i++)
		send_bytes(h.b + i, 1);
	rig_sleep(10); /* the delayed ACK */
	do {
		recv_segment(&p);
	} while (seen.ack != p.seq); /* it is ours by now */
	expect_nothing_at_host();
	send_bytes(h.b + 40, h.len - 40);
	expect_at_host(h.b, h.len);
	hello_put_record(&h, 23, "sealed", 6);
	send_bytes(h.b + h.len - 11, 11);
	send_bytes(pattern(5000), 1400); /* no more TLS than the guest pleases */
	expect_at_host(h.b + h.len - 11, 11);
	expect_at_host(pattern(1400), 1400);
}
END_TEST

START_TEST(another_server_name_is_reset_and_nothing_of_it_goes)
{
	struct hello h = hello_to("evil.org");

	send_bytes(h.b, 50);
	send_bytes(h.b + 50, h.len - 50);
	expect_refused();
}
END_TEST

START_TEST(order_is_made_before_it_is_looked_at)
{
	struct hello h = hello_to("good.org"), evil = hello_to("evil.org");
	uint32_t base = p.seq;

	send_raw(&p,
		(struct out){.flags = TCP_ACK,
			.seq = base + 60,
			.ack = p.ack,
			.data = h.b + 60,
			.len = h.len - 60});
	send_raw(&p,
		(struct out){.flags = TCP_ACK, .seq = base, .ack = p.ack, .data = h.b, .len = 30});
	/* What has been taken stays, whatever is said in its place. */
	send_raw(&p,
		(struct out){
			.flags = TCP_ACK, .seq = base, .ack = p.ack, .data = evil.b, .len = 30});
	expect_nothing_at_host();
	send_raw(&p,
		(struct out){.flags = TCP_ACK,
			.seq = base + 20,
			.ack = p.ack,
			.data = h.b + 20,
			.len = 40});
	expect_at_host(h.b, h.len);
}
END_TEST

START_TEST(second_request_on_a_kept_connection_is_reset)
{
	uint8_t buf[2];

	send_text(GOOD);
	expect_at_host(GOOD, strlen(GOOD));
	host_write(host, "ok", 2);
	ck_assert_uint_eq(guest_read(&p, buf, 2), 2);
	send_text(EVIL);
	expect_refused();
}
END_TEST

START_TEST(pipelined_request_is_reset_and_the_first_goes)
{
	send_text(GOOD EVIL);
	recv_flag(&p, TCP_RST);
	expect_at_host(GOOD, strlen(GOOD));
	ck_assert_int_eq(host_next(host), -ECONNRESET);
}
END_TEST

START_TEST(silence_is_reset_though_the_server_speaks)
{
	uint8_t buf[6];

	host_write(host, "hello\n", 6);
	ck_assert_uint_eq(guest_read(&p, buf, 6), 6);
	rig_sleep(VERIFY_WAIT_MS - 100);
	recv_nothing(&p);
	rig_sleep(200);
	expect_refused();
	ck_assert_uint_eq(rig_count(COUNTER_VERIFY_LATE), 1);
}
END_TEST

START_TEST(other_protocols_are_reset)
{
	send_text("SSH-2.0-OpenSSH_9.6\r\n");
	expect_refused();
	ck_assert_uint_eq(rig_count(COUNTER_VERIFY_REFUSED_PROTOCOL), 1);
}
END_TEST

START_TEST(an_end_inside_a_hello_is_reset)
{
	struct hello h = hello_to("good.org");

	send_bytes(h.b, h.len - 1);
	send_segment(&p, TCP_ACK | TCP_FIN, NULL, 0);
	expect_refused();
}
END_TEST

START_TEST(an_end_behind_a_request_is_an_end)
{
	send_segment(&p, TCP_ACK | TCP_FIN, GOOD, strlen(GOOD));
	expect_at_host(GOOD, strlen(GOOD));
	ck_assert_int_eq(host_next(host), 0);
}
END_TEST

/* Far more than the host's buffer takes, so that much is spilled behind the verifier. */
START_TEST(a_body_that_the_host_takes_slowly)
{
	static const char head[] =
		"POST / HTTP/1.1\r\nHost: good.org\r\nContent-Length: 3000000\r\n\r\n";
	size_t size = 3000000, sent = 0, have = 0;
	static uint8_t got[3000000];

	recv_rest(&p);
	send_text(head);
	expect_at_host(head, strlen(head));
	while (have < size) {
		/* As far as the window goes; its scale is 8. */
		while (sent < size) {
			size_t n = size - sent < 1400 ? size - sent : 1400;

			if ((int32_t)(p.edge - p.seq) < (int32_t)n)
				break;
			send_bytes(pattern(size) + sent, n);
			sent += n;
		}
		have += host_read(host, got + have, size - have < 9999 ? size - have : 9999);
		while (recv_for(&p, 1)) {
			uint32_t edge = seen.ack + ((uint32_t)seen.window << 8);

			if ((int32_t)(edge - p.edge) > 0)
				p.edge = edge;
		}
	}
	ck_assert_int_eq(memcmp(got, pattern(size), size), 0);
	send_text(GOOD);
	expect_at_host(GOOD, strlen(GOOD));
	send_text(EVIL);
	recv_flag(&p, TCP_RST);
}
END_TEST

START_TEST(verify_dns_looks_at_nothing)
{
	uint8_t buf[4];
	int other;

	policy("~good.org", false);
	p = connect_peer(&other);
	close(host);
	host = other;
	rig_sleep(2 * VERIFY_WAIT_MS);
	host_write(host, "220 ", 4);
	ck_assert_uint_eq(guest_read(&p, buf, 4), 4);
	send_text("EHLO\r\n");
	expect_at_host("EHLO\r\n", 6);
}
END_TEST

START_TEST(a_strict_policy_finds_flows_that_stand)
{
	struct peer spoken, silent;
	int spoken_host, silent_host;

	policy("~good.org", false);
	spoken = connect_peer(&spoken_host);
	silent = connect_peer(&silent_host);
	send_segment(&spoken, TCP_ACK, "EHLO", 4);
	rig_run(3);
	send_text(GOOD);
	policy("good.org", true);
	recv_flag(&spoken, TCP_RST); /* whom it speaks to cannot be known any more */
	send_segment(&silent, TCP_ACK, GOOD EVIL, strlen(GOOD EVIL));
	recv_flag(&silent, TCP_RST);
	recv_rest(&p);
	expect_at_host(GOOD, strlen(GOOD)); /* this one is known */
	send_text(GOOD);
	expect_at_host(GOOD, strlen(GOOD));
	close(spoken_host);
	close(silent_host);
}
END_TEST

static Suite *tcp_verify_suite(void)
{
	Suite *s = suite_create("tcp_verify");
	TCase *tc = tcase_create("tcp_verify");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, hello_in_segments_goes_when_it_is_whole);
	tcase_add_test(tc, another_server_name_is_reset_and_nothing_of_it_goes);
	tcase_add_test(tc, order_is_made_before_it_is_looked_at);
	tcase_add_test(tc, second_request_on_a_kept_connection_is_reset);
	tcase_add_test(tc, pipelined_request_is_reset_and_the_first_goes);
	tcase_add_test(tc, silence_is_reset_though_the_server_speaks);
	tcase_add_test(tc, other_protocols_are_reset);
	tcase_add_test(tc, an_end_inside_a_hello_is_reset);
	tcase_add_test(tc, an_end_behind_a_request_is_an_end);
	tcase_add_test(tc, a_body_that_the_host_takes_slowly);
	tcase_add_test(tc, verify_dns_looks_at_nothing);
	tcase_add_test(tc, a_strict_policy_finds_flows_that_stand);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(tcp_verify_suite());
}
