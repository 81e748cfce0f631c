/* SPDX-License-Identifier: MIT */
/* TSI streams whose guest must name the server: what reaches the host, and what is reset. */
#include "tests/unit/tsi_rig.h"

#include "dataplane/egress/verify.h"
#include "tests/unit/verify_rig.h"

#define GOOD "GET / HTTP/1.1\r\nHost: good.org\r\n\r\n"
#define EVIL "GET / HTTP/1.1\r\nHost: evil.org\r\n\r\n"

static int server, far;

static bool admit_good(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)log;
	(void)flow;
	return match(arg, "good.org");
}

/* The server is at the gateway's address, which only a rule can forbid. */
static void policy(const char *rule)
{
	const struct policy_names names = {.admit = admit_good};
	const char *rules[] = {rule, "-10.0.2.2"};
	size_t len;
	uint8_t *blob = names_table(rules, 2, &len);

	egress_set_names(host.egress, &names);
	ck_assert_int_eq(egress_policy_set(host.egress, blob, len, 0), 0);
	free(blob);
}

static void setup(void)
{
	tsi_setup();
	policy("good.org");
	server = tsi_server(SOCK_STREAM, 5);
	tsi_stream(TSI_SVM, server);
	far = tsi_accept(server);
}

static void teardown(void)
{
	close(far);
	close(server);
	tsi_teardown();
}

static void send_text(const char *text)
{
	guest_rw(TSI_SVM, TSI_STREAM_PORT, text, (uint32_t)strlen(text));
}

static void expect_at_host(const void *bytes, size_t len)
{
	static uint8_t buf[1 << 20];

	host_read(far, buf, len);
	ck_assert_int_eq(memcmp(buf, bytes, len), 0);
}

static void expect_nothing_at_host(void)
{
	uint8_t byte;

	rig_run(5);
	ck_assert_int_eq(recv(far, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void expect_refused(void)
{
	uint8_t byte;

	guest_expect(VSOCK_OP_RST, TSI_SVM);
	rig_run(5);
	ck_assert_int_eq(recv(far, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	ck_assert_uint_eq(rig_count(COUNTER_EGRESS_REFUSED_POLICY), 1);
}

START_TEST(hello_in_packets_goes_when_it_is_whole)
{
	struct hello h = hello_to("good.org");

	for (size_t i = 0; i + 1 < h.len; i++)
		guest_rw(TSI_SVM, TSI_STREAM_PORT, h.b + i, 1);
	expect_nothing_at_host();
	guest_rw(TSI_SVM, TSI_STREAM_PORT, h.b + h.len - 1, 1);
	expect_at_host(h.b, h.len);
	h.len = 0;
	hello_put_record(&h, 23, "sealed", 6);
	hello_put(&h, "what the guest pleases", 22);
	guest_rw(TSI_SVM, TSI_STREAM_PORT, h.b, (uint32_t)h.len);
	expect_at_host(h.b, h.len);
}
END_TEST

START_TEST(another_server_name_is_reset_and_nothing_of_it_goes)
{
	struct hello h = hello_to("evil.org");

	guest_rw(TSI_SVM, TSI_STREAM_PORT, h.b, (uint32_t)h.len);
	expect_refused();
}
END_TEST

START_TEST(second_request_is_reset)
{
	send_text(GOOD);
	expect_at_host(GOOD, strlen(GOOD));
	send_text(EVIL);
	expect_refused();
}
END_TEST

START_TEST(pipelined_request_is_reset_and_the_first_goes)
{
	send_text(GOOD EVIL);
	guest_expect(VSOCK_OP_RST, TSI_SVM);
	expect_at_host(GOOD, strlen(GOOD));
}
END_TEST

START_TEST(other_protocols_are_reset)
{
	send_text("EHLO me\r\n");
	expect_refused();
}
END_TEST

START_TEST(silence_is_reset_though_the_server_speaks)
{
	ck_assert_int_eq(os_send(far, "hello", 5, 0), 5);
	guest_expect(VSOCK_OP_RW, TSI_SVM);
	tsi_later(VERIFY_WAIT_MS + 100);
	expect_refused();
}
END_TEST

START_TEST(an_end_inside_a_head_is_reset)
{
	send_text("GET / HTTP/1.1\r\n");
	rig_run(2);
	guest_send(VSOCK_OP_SHUTDOWN, TSI_SVM, TSI_STREAM_PORT, VSOCK_SHUT_SEND);
	expect_refused();
}
END_TEST

START_TEST(verify_dns_looks_at_nothing)
{
	int other;

	policy("~good.org");
	tsi_stream(TSI_SVM + 1, server);
	other = tsi_accept(server);
	close(far);
	far = other;
	tsi_later(2 * VERIFY_WAIT_MS);
	guest_rw(TSI_SVM + 1, TSI_STREAM_PORT, "EHLO me\r\n", 9);
	expect_at_host("EHLO me\r\n", 9);
}
END_TEST

START_TEST(a_strict_policy_finds_streams_that_stand)
{
	int spoken, silent;

	policy("~good.org");
	tsi_stream(TSI_SVM + 1, server);
	spoken = tsi_accept(server);
	tsi_stream(TSI_SVM + 2, server);
	silent = tsi_accept(server);
	guest_rw(TSI_SVM + 1, TSI_STREAM_PORT, "EHLO", 4);
	rig_run(3);
	policy("good.org");
	tsi_recheck(host.tsi);
	guest_expect(VSOCK_OP_RST, TSI_SVM + 1);
	guest_rw(TSI_SVM + 2, TSI_STREAM_PORT, EVIL, (uint32_t)strlen(EVIL));
	guest_expect(VSOCK_OP_RST, TSI_SVM + 2);
	send_text(GOOD);
	expect_at_host(GOOD, strlen(GOOD));
	close(spoken);
	close(silent);
}
END_TEST

static Suite *tsi_verify_suite(void)
{
	Suite *s = suite_create("tsi_verify");
	TCase *tc = tcase_create("tsi_verify");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, hello_in_packets_goes_when_it_is_whole);
	tcase_add_test(tc, another_server_name_is_reset_and_nothing_of_it_goes);
	tcase_add_test(tc, second_request_is_reset);
	tcase_add_test(tc, pipelined_request_is_reset_and_the_first_goes);
	tcase_add_test(tc, other_protocols_are_reset);
	tcase_add_test(tc, silence_is_reset_though_the_server_speaks);
	tcase_add_test(tc, an_end_inside_a_head_is_reset);
	tcase_add_test(tc, verify_dns_looks_at_nothing);
	tcase_add_test(tc, a_strict_policy_finds_streams_that_stand);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(tsi_verify_suite());
}
