/* SPDX-License-Identifier: MIT */
/* What a guest's bytes must say of the server, under `verify: strict`. */
#include "dataplane/egress/verify.h"
#include "dataplane/stack/timer_wheel.h"
#include "tests/unit/verify_rig.h"

#include <stdio.h>

#define GOOD "GET / HTTP/1.1\r\nHost: good.org\r\n\r\n"
#define EVIL "GET / HTTP/1.1\r\nHost: evil.org\r\n\r\n"
#define CHUNKED "POST / HTTP/1.1\r\nHost: good.org\r\nTransfer-Encoding:\tChunked\r\n\r\n"

static struct loop *loop;
static struct counters counters;
static struct net net;
static struct egress *egress;
static struct egress_pass pass;
static struct verify *v;
static size_t memory;
static unsigned late;
static uint8_t went[100000]; /* to the host */
static size_t n_went;

static bool admit_good(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)log;
	(void)flow;
	return match(arg, "good.org");
}

static void on_late(void *arg)
{
	(void)arg;
	late++;
}

static struct verify *begin(void)
{
	struct verify_flow flow = {
		.loop = loop,
		.counters = &counters,
		.egress = egress,
		.who = EGRESS_GUEST,
		.pass = &pass,
		.memory = &memory,
		.late = on_late,
	};

	ck_assert_int_eq(endpoint_parse("192.0.2.1:443", &flow.dst), 0);
	return verify_new(&flow);
}

static void policy(const char *const *rules, size_t n)
{
	size_t len;
	uint8_t *blob = names_table(rules, n, &len);

	ck_assert_int_eq(egress_policy_set(egress, blob, len, 0), 0);
	free(blob);
}

static void another_flow(void)
{
	struct endpoint dst = {.port = 443}, host;

	verify_free(v);
	ck_assert_uint_eq(memory, 0);
	egress_leave(&pass);
	ck_assert_int_eq(addr_parse("192.0.2.1", &dst.addr), 0);
	dst.port = 80; /* UDP, which needs no connect */
	ck_assert_int_eq(egress_udp_permit(egress, EGRESS_GUEST, &dst, &host, &pass), 0);
	v = begin();
	n_went = 0;
}

static void setup(void)
{
	struct policy_names names = {.admit = admit_good};

	memset(&counters, 0, sizeof(counters));
	memset(&net, 0, sizeof(net));
	ck_assert_int_eq(addr_parse("10.0.2.2", &net.gateway), 0);
	late = 0;
	memory = 0;
	loop = loop_new();
	egress = egress_new(loop, &counters, &net);
	egress_set_names(egress, &names);
	policy((const char *[]){"good.org", "*.good.org"}, 2);
	another_flow();
}

static void teardown(void)
{
	verify_free(v);
	v = NULL;
	ck_assert_uint_eq(memory, 0);
	egress_leave(&pass);
	egress_free(egress);
	loop_free(loop);
}

/* The guest says this in pieces. Whether the flow goes on. */
static bool say_pieces(const void *bytes, size_t len, size_t piece)
{
	const uint8_t *p = bytes;

	while (len) {
		size_t n = len < piece ? len : piece;

		len -= n;
		while (n) {
			struct verify_span span;

			if (!verify_feed(v, p, n, &span))
				return false;
			ck_assert_uint_gt(span.taken, 0);
			ck_assert_uint_le(span.taken, n);
			ck_assert_uint_le(n_went + span.len, sizeof(went));
			if (span.len)
				memcpy(went + n_went, span.bytes, span.len);
			n_went += span.len;
			p += span.taken;
			n -= span.taken;
		}
	}
	return true;
}

static bool say(const char *text)
{
	return say_pieces(text, strlen(text), 1 << 20);
}

static bool say_hello(const struct hello *h)
{
	return say_pieces(h->b, h->len, 1 << 20);
}

static void expect_went(const void *bytes, size_t len)
{
	ck_assert_uint_eq(n_went, len);
	ck_assert(memcmp(went, bytes, len) == 0);
}

static void later(uint64_t ms)
{
	timer_wheel_run(loop_wheel(loop), loop_now(loop) + ms);
}

/* ---- TLS ---- */

START_TEST(server_name_of_the_policy_goes)
{
	struct hello h = hello_to("good.org");

	ck_assert(verify_wanted(&pass));
	ck_assert(say_hello(&h));
	expect_went(h.b, h.len);
	ck_assert(pass.verified);
	ck_assert_uint_eq(counters.value[COUNTER_VERIFY_TLS_HELLOS], 1);
	another_flow();
	h = hello_to("WWW.Good.ORG");
	ck_assert(say_hello(&h));
	ck_assert_str_eq(pass.verdict.name, "www.good.org");
	ck_assert_int_eq(pass.verdict.by, 1);
}
END_TEST

START_TEST(another_server_name_does_not)
{
	static const char *const names[] = {"evil.org", "a.b.good.org", "good.org.evil.org",
		"192.0.2.1", "*.good.org", "good.org:443", "bücher.good.org"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct hello h = hello_to(names[i]);

		another_flow();
		ck_assert_msg(!say_hello(&h), "%s", names[i]);
		ck_assert_uint_eq(n_went, 0);
	}
	ck_assert_uint_eq(counters.value[COUNTER_VERIFY_REFUSED_NAME], 3);
	ck_assert_uint_eq(counters.value[COUNTER_VERIFY_REFUSED_NAMELESS], 4);
	ck_assert_uint_eq(counters.value[COUNTER_EGRESS_REFUSED_POLICY], 7);
}
END_TEST

START_TEST(hello_in_pieces_is_the_same)
{
	static const size_t sizes[] = {1, 2, 3, 5, 7, 64, 511};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			struct hello good = hello_records(
				&(struct hello_form){.name = "good.org", .padding = 300}, sizes[i]);
			struct hello evil = hello_records(
				&(struct hello_form){.name = "evil.org", .padding = 300}, sizes[i]);

			another_flow();
			ck_assert(say_pieces(good.b, good.len, sizes[k]));
			expect_went(good.b, good.len);
			another_flow();
			ck_assert(!say_pieces(evil.b, evil.len, sizes[k]));
			ck_assert_uint_eq(n_went, 0);
		}
	}
}
END_TEST

START_TEST(hello_without_a_name_goes_by_address)
{
	struct hello h = hello_to(NULL);

	ck_assert(!say_hello(&h));
	ck_assert_uint_eq(n_went, 0);
	policy((const char *[]){"good.org", "/192.0.2.0/24"}, 2);
	another_flow();
	ck_assert_int_eq(pass.verdict.by, 0);
	ck_assert(say_hello(&h));
	expect_went(h.b, h.len);
	ck_assert_int_eq(pass.verdict.by, 1);
	ck_assert_ptr_null(pass.verdict.name);
}
END_TEST

START_TEST(behind_application_data_nothing_is_looked_at)
{
	struct hello h = hello_to("good.org");

	hello_put_record(&h, 20, "\1", 1);
	ck_assert(say_hello(&h));
	ck_assert(!verify_settled(v));
	hello_put_record(&h, 23, "sealed", 6);
	ck_assert(say_pieces(h.b + h.len - 11, 11, 1));
	ck_assert(verify_settled(v));
	hello_put(&h, "whatever", 8);
	ck_assert(say("whatever"));
	expect_went(h.b, h.len);
}
END_TEST

START_TEST(behind_tls_1_2_key_exchange_neither)
{
	struct hello h = hello_to("good.org");

	hello_put_record(&h, 22, "\20\0\0\1k", 5);
	ck_assert(say_hello(&h));
	ck_assert(verify_settled(v));
	expect_went(h.b, h.len);
}
END_TEST

/* A TLS 1.2 session that is resumed: the encrypted Finished follows, whatever it begins with. */
START_TEST(encrypted_finished_is_no_hello)
{
	struct hello h = hello_to("good.org");
	uint8_t finished[40] = {1, 0xfe, 9, 9, 9};

	hello_put_record(&h, 20, "\1", 1);
	hello_put_record(&h, 22, finished, sizeof(finished));
	ck_assert(say_pieces(h.b, h.len, 1));
	ck_assert(!verify_settled(v));
	hello_put_record(&h, 23, "sealed", 6);
	ck_assert(say_pieces(h.b + h.len - 11, 11, 1));
	ck_assert(verify_settled(v));
	expect_went(h.b, h.len);
}
END_TEST

/* Servers read it, whatever its lengths look like to us. */
START_TEST(second_hello_is_not_taken_for_an_encrypted_finished)
{
	struct hello first = hello_to("good.org"), message, h;

	hello_put_record(&first, 20, "\1", 1);
	for (int i = 0; i < 4; i++) {
		message = hello_message(
			&(struct hello_form){.name = "evil.org", .padding = i == 0 ? 17000 : 60});
		if (i == 1)
			hello_put(&message, "\x18\0\0\1", 5); /* another message, in its record */
		if (i == 2)
			message.b[4] = 2; /* its major version */
		h = (struct hello){.len = 0};
		if (i == 3) { /* a record that is short enough, and its rest */
			message.b[4] = 2;
			hello_put_record(&h, 22, message.b, 40);
			hello_put_record(&h, 22, message.b + 40, message.len - 40);
		} else if (i == 0) {
			hello_put_record(&h, 22, message.b, 16384);
			hello_put_record(&h, 22, message.b + 16384, message.len - 16384);
		} else {
			hello_put_record(&h, 22, message.b, message.len);
		}
		another_flow();
		ck_assert(say_hello(&first));
		ck_assert_msg(!say_hello(&h), "%d", i);
	}
}
END_TEST

START_TEST(second_hello_is_judged_too)
{
	struct hello good = hello_to("good.org"), evil = hello_to("evil.org");
	size_t first = good.len;

	ck_assert(say_hello(&good));
	ck_assert(!say_hello(&evil));
	expect_went(good.b, first);
	another_flow();
	hello_put_record(&good, 20, "\1", 1);
	first = good.len;
	ck_assert(say_hello(&good));
	ck_assert(!say_pieces(evil.b, evil.len, 1));
	expect_went(good.b, first);
	another_flow();
	evil = hello_records(&(struct hello_form){.name = "evil.org"}, 3);
	ck_assert(say_hello(&good));
	ck_assert(!say_hello(&evil));
	another_flow();
	ck_assert(say_hello(&good));
	ck_assert(!verify_settled(v));
	good = hello_to("good.org");
	ck_assert(say_hello(&good));
	ck_assert(verify_settled(v)); /* there is no third */
}
END_TEST

START_TEST(early_data_does_not_hide_a_second_hello)
{
	struct hello h = hello_records(
		&(struct hello_form){.name = "good.org", .early = true}, 9999);
	struct hello evil = hello_to("evil.org");
	static const uint8_t sealed[12000];

	hello_put_record(&h, 23, sealed, sizeof(sealed));
	hello_put_record(&h, 23, sealed, 0);
	ck_assert(say_pieces(h.b, h.len, 1000));
	ck_assert(!verify_settled(v));
	ck_assert(!say_hello(&evil));
	expect_went(h.b, h.len);
}
END_TEST

static void expect_bad(const struct hello *h, const char *what)
{
	another_flow();
	ck_assert_msg(!say_hello(h) || !verify_end(v), "%s", what);
	ck_assert_msg(n_went == 0, "%s", what);
}

START_TEST(malformed_hellos_are_refused)
{
	struct hello h, good = hello_to("good.org");

	h = hello_records(&(struct hello_form){.name = "good.org", .twice = true}, 16384);
	expect_bad(&h, "the extension twice");
	h = hello_records(&(struct hello_form){.name = "good.org", .two = true}, 16384);
	expect_bad(&h, "two names");
	h = hello_records(
		&(struct hello_form){.name = "good.org\0.evil.org", .name_len = 18}, 16384);
	expect_bad(&h, "a NUL");
	h = hello_records(&(struct hello_form){.name = "good.org", .padding = 16320}, 16384);
	expect_bad(&h, "a giant");
	h = hello_records(&(struct hello_form){.name = "good.org", .padding = 30000}, 1000);
	expect_bad(&h, "a giant of many records");
	h = (struct hello){.len = 0};
	hello_put_record(&h, 21, "\1\0", 2);
	hello_put(&h, good.b, good.len);
	expect_bad(&h, "an alert first");
	h = (struct hello){.len = 0};
	hello_put_record(&h, 22, "", 0);
	hello_put(&h, good.b, good.len);
	expect_bad(&h, "an empty record");
	h = good;
	hello_put(&h, "x", 1);
	store_be16(h.b + 3, load_be16(h.b + 3) + 1);
	expect_bad(&h, "a byte behind it");
	h = (struct hello){.len = 0};
	hello_put(&h, "\x16\3\1\xff\xff\1", 6);
	expect_bad(&h, "a giant record");
	/* Whatever is cut off or changed: nothing is read beyond, nothing goes by mistake. */
	for (size_t cut = 1; cut < good.len; cut++) {
		h = good;
		h.len = cut;
		expect_bad(&h, "cut short");
	}
	for (size_t at = 0; at < 9; at++) {
		h = good;
		h.b[at] ^= 0x40;
		if (at != 2) /* the minor version of the record, which nobody looks at */
			expect_bad(&h, "a header that is wrong");
	}
	for (size_t at = 43; at < good.len - 8; at++) {
		h = good;
		h.b[at]++;
		another_flow();
		if (say_hello(&h))
			ck_assert_str_eq(pass.verdict.name, "good.org");
	}
}
END_TEST

/* ---- HTTP ---- */

START_TEST(each_request_is_judged)
{
	ck_assert(say(GOOD));
	ck_assert(say("GET /2 HTTP/1.1\r\nhOST:  www.GOOD.org.:8080 \r\n\r\n"));
	ck_assert_str_eq(pass.verdict.name, "www.good.org");
	ck_assert(!verify_settled(v));
	n_went = 0;
	ck_assert(!say(EVIL));
	ck_assert_uint_eq(n_went, 0);
	ck_assert_uint_eq(counters.value[COUNTER_VERIFY_HTTP_REQUESTS], 3);
}
END_TEST

START_TEST(pipelined_requests_are_judged)
{
	for (size_t piece = 1; piece < 80; piece += 13) {
		another_flow();
		ck_assert(!say_pieces(GOOD "\r\n" GOOD EVIL, strlen(GOOD "\r\n" GOOD EVIL), piece));
		expect_went(GOOD "\r\n" GOOD, strlen(GOOD "\r\n" GOOD));
	}
}
END_TEST

START_TEST(bodies_pass_and_hide_nothing)
{
	static const char *const before[] = {
		"POST / HTTP/1.1\r\nHost: good.org\r\nContent-Length: 36\r\n\r\n" EVIL "!!",
		"POST / HTTP/1.1\r\nHost: good.org\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: good.org\r\n\r\n"
		"22\r\n" EVIL "\r\n1;x=\"y\"\r\nz\r\n00\r\n\r\n",
		CHUNKED "A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
		"PUT / HTTP/1.0\r\nHost: good.org\r\nContent-Length: 3\r\n\r\nabc",
	};
	char all[500];

	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		for (size_t piece = 1; piece < 300; piece = piece * 2 + 1) {
			another_flow();
			snprintf(all, sizeof(all), "%s" GOOD EVIL, before[i]);
			ck_assert(!say_pieces(all, strlen(all), piece));
			expect_went(all, strlen(before[i]) + strlen(GOOD));
		}
	}
}
END_TEST

START_TEST(a_long_body_passes)
{
	static uint8_t body[60000];

	ck_assert(say("POST / HTTP/1.1\r\nHost: good.org\r\nContent-Length: 60000\r\n\r\n"));
	n_went = 0;
	ck_assert(say_pieces(body, sizeof(body), 1460));
	expect_went(body, sizeof(body));
	ck_assert_uint_eq(memory, 0);
	ck_assert(!say(EVIL));
}
END_TEST

START_TEST(absolute_targets_must_agree_with_the_host)
{
	ck_assert(say("GET http://good.org/x HTTP/1.1\r\nHost: good.org\r\n\r\n"));
	ck_assert(say("GET http://GOOD.org:80?q HTTP/1.1\r\nHost: good.org\r\n\r\n"));
	ck_assert(say("GET http://www.good.org HTTP/1.0\r\n\r\n"));
	ck_assert(!say("GET http://evil.org/ HTTP/1.1\r\nHost: good.org\r\n\r\n"));
	another_flow();
	ck_assert(!say("GET http://good.org/ HTTP/1.1\r\nHost: evil.org\r\n\r\n"));
	another_flow();
	ck_assert(!say("GET http://evil.org/ HTTP/1.0\r\n\r\n"));
}
END_TEST

START_TEST(hosts_that_are_no_name_go_by_address)
{
	static const char *const requests[] = {
		"GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.1\r\nX: y\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
	};

	for (int by_address = 0; by_address < 2; by_address++) {
		if (by_address)
			policy((const char *[]){"good.org", "/192.0.2.1"}, 2);
		for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
			another_flow();
			ck_assert_int_eq(say(requests[i]), by_address);
		}
	}
	ck_assert_uint_eq(counters.value[COUNTER_VERIFY_REFUSED_NAMELESS], 6);
}
END_TEST

START_TEST(what_could_be_misread_is_refused)
{
#define AS_HOST "Host: good.org\r\n"
	static const char *const bad[] = {
		"GET / HTTP/1.1\r\n" AS_HOST AS_HOST "\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "host: evil.org\r\n\r\n",
		"GET / HTTP/1.1\r\nHost : good.org\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: good.org\r\n evil.org\r\n\r\n",
		"GET / HTTP/1.1\r\n Host: good.org\r\n\r\n",
		"GET / HTTP/1.1\nHost: good.org\n\n",
		"GET / HTTP/1.1\r\nX: y\nHost: good.org\r\n\r\n",
		"GET / HTTP/1.1\r\nX: y\rHost: good.org\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "X: \1\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "nothing\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST ": y\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "Content-Length: 1, 1\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "Content-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "Content-Length: 0x1\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "Content-Length:\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "Content-Length: 18446744073709551617\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST
		"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "Transfer-Encoding: gzip, chunked\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST "Transfer-Encoding: identity\r\n\r\n",
		"GET / HTTP/1.1\r\n" AS_HOST
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.0\r\n" AS_HOST "Transfer-Encoding: chunked\r\n\r\n",
		"GET  / HTTP/1.1\r\n" AS_HOST "\r\n",
		"GET / x HTTP/1.1\r\n" AS_HOST "\r\n",
		"GET / HTTP/1.1 \r\n" AS_HOST "\r\n",
		"GET / HTTP/1.2\r\n" AS_HOST "\r\n",
		"GET / HTTP/2.0\r\n" AS_HOST "\r\n",
		"GET x HTTP/1.1\r\n" AS_HOST "\r\n",
		"GET /\r\n" AS_HOST "\r\n",
		"CONNECT good.org:443 HTTP/1.1\r\n" AS_HOST "Content-Length: 1\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"SSH-2.0-OpenSSH_9.6\r\n",
		"EHLO good.org\r\n",
		"*1\r\n$4\r\nPING\r\n",
		"\x80\x2e\1\3\1",
		"\5\1",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		another_flow();
		ck_assert_msg(!say(bad[i]), "%s", bad[i]);
		ck_assert_msg(n_went == 0, "%s", bad[i]);
	}
	ck_assert_uint_eq(
		counters.value[COUNTER_VERIFY_REFUSED_PROTOCOL], sizeof(bad) / sizeof(bad[0]));
}
END_TEST

START_TEST(malformed_chunks_are_refused)
{
	static const char head[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" AS_HOST
				   "\r\n";
	static const char *const bad[] = {"\r\n", "x\r\n", "1 \r\nx\r\n", " 1\r\nx\r\n", "-1\r\n",
		"0x1\r\n", "1\nx\n", "1\r\nxy\r\n", "1\r\nx\n", "1\r\nx0\r\n\r\n",
		"1000000000000000\r\n", "0\r\nnothing\r\n", "0\r\n folded: x\r\n", "1;\1\r\n",
		"0\r\nHost: evil.org\r\n", "0\r\ncontent-length: 1\r\n",
		"0\r\nTransfer-Encoding: chunked\r\n"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		another_flow();
		ck_assert(say(head));
		ck_assert_msg(!say(bad[i]), "%s", bad[i]);
	}
}
END_TEST

#define UPGRADE "GET / HTTP/1.1\r\n" AS_HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

START_TEST(upgrade_frees_what_is_no_request)
{
	struct hello evil = hello_to("evil.org"), good = hello_to("good.org");

	ck_assert(say(UPGRADE));
	ck_assert(!verify_settled(v));
	ck_assert(say("\x81\x85mask....."));
	ck_assert(verify_settled(v));
	another_flow();
	ck_assert(say(UPGRADE GOOD));
	ck_assert(!say("\x81\x85mask.....")); /* that was refused */
	another_flow();
	ck_assert(!say(UPGRADE EVIL));
	another_flow();
	ck_assert(say(UPGRADE));
	ck_assert(!say_hello(&evil));
	another_flow();
	ck_assert(say(UPGRADE));
	ck_assert(say_hello(&good));
	another_flow();
	ck_assert(say(UPGRADE));
	ck_assert(!say("PRI * HTTP/2.0\r\n"));
}
END_TEST

/* Some servers pass over blanks before a request, and what is a blank to them varies. */
START_TEST(upgrade_does_not_free_a_request_behind_a_blank)
{
	static const char blanks[] = "\t\v\f\x1c\x1d\x1e\x1f \x85\xa0";

	for (size_t i = 0; i < sizeof(blanks) - 1; i++) {
		another_flow();
		ck_assert(say(UPGRADE));
		ck_assert_msg(!say_pieces(&blanks[i], 1, 1), "%d", blanks[i]);
	}
}
END_TEST

START_TEST(connect_means_its_target_and_frees_nothing)
{
	static const char to_good[] = "CONNECT www.good.org:443 HTTP/1.1\r\n\r\n";
	struct hello evil = hello_to("evil.org"), good = hello_to("good.org");

	ck_assert(say(to_good));
	ck_assert_str_eq(pass.verdict.name, "www.good.org");
	ck_assert(say_hello(&good));
	another_flow();
	ck_assert(say(to_good));
	ck_assert(!say_hello(&evil));
	another_flow();
	ck_assert(say(to_good));
	ck_assert(say(GOOD));
	ck_assert(!say(EVIL));
	another_flow();
	ck_assert(say(to_good));
	ck_assert(!say("\x81\x85mask....."));
	another_flow();
	ck_assert(!say("CONNECT evil.org:443 HTTP/1.1\r\n" AS_HOST "\r\n"));
	another_flow();
	ck_assert(!say("CONNECT evil.org:443 HTTP/1.1\r\n\r\n"));
	another_flow();
	ck_assert(say(GOOD));
	ck_assert(!say_hello(&good)); /* nobody asked for another protocol */
}
END_TEST

/* ---- bounds ---- */

START_TEST(silence_is_refused_after_ten_seconds)
{
	later(VERIFY_WAIT_MS - 100);
	ck_assert_uint_eq(late, 0);
	later(VERIFY_WAIT_MS + 100);
	ck_assert_uint_eq(late, 1);
	ck_assert_uint_eq(counters.value[COUNTER_VERIFY_LATE], 1);
	ck_assert_uint_eq(counters.value[COUNTER_EGRESS_REFUSED_POLICY], 1);
}
END_TEST

START_TEST(half_a_unit_does_not_stop_the_clock)
{
	ck_assert(say("\r\nGET / HT"));
	later(VERIFY_WAIT_MS + 100);
	ck_assert_uint_eq(late, 1);
}
END_TEST

START_TEST(between_requests_there_is_time)
{
	ck_assert(say(GOOD));
	later(20 * VERIFY_WAIT_MS);
	ck_assert_uint_eq(late, 0);
	ck_assert(say("GET "));
	later(21 * VERIFY_WAIT_MS + 100);
	ck_assert_uint_eq(late, 1);
}
END_TEST

START_TEST(giant_heads_are_refused)
{
	static char head[70000];
	size_t n = (size_t)snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nX: ");

	memset(head + n, 'x', sizeof(head) - n);
	ck_assert(!say_pieces(head, sizeof(head), 1460));
	ck_assert_uint_le(memory, VERIFY_HELD_MAX);
	ck_assert_uint_eq(n_went, 0);
	ck_assert_uint_eq(counters.value[COUNTER_VERIFY_BOUNDS], 1);
	another_flow();
	ck_assert(say_pieces(head, 30000, 30000));
	ck_assert(say("\r\n" AS_HOST "\r\n"));
	ck_assert_uint_eq(n_went, 30000 + strlen("\r\n" AS_HOST "\r\n"));
}
END_TEST

START_TEST(all_flows_share_a_bound)
{
	static uint8_t half[VERIFY_HELD_MAX - 8];
	struct verify *many[VERIFY_MEMORY_MAX / VERIFY_HELD_MAX], *mine = v;
	size_t n = sizeof(many) / sizeof(many[0]);

	memset(half, 'G', sizeof(half));
	for (size_t i = 0; i < n; i++) {
		v = many[i] = begin();
		ck_assert(say_pieces(half, sizeof(half), sizeof(half)));
	}
	ck_assert_uint_eq(memory, VERIFY_MEMORY_MAX);
	v = mine;
	ck_assert(!say("G"));
	ck_assert_uint_eq(counters.value[COUNTER_VERIFY_BOUNDS], 1);
	for (size_t i = 0; i < n; i++)
		verify_free(many[i]);
}
END_TEST

START_TEST(an_end_inside_a_unit_is_refused)
{
	ck_assert(verify_end(v)); /* it said nothing */
	ck_assert(say(GOOD));
	ck_assert(verify_end(v));
	ck_assert(say("POST / HTTP/1.1\r\n" AS_HOST "Content-Length: 9\r\n\r\nhalf"));
	ck_assert(verify_end(v));
	ck_assert(say("\1\2\3\4\5"));
	ck_assert(say("GET / HTTP/1.1\r\n" AS_HOST "\r"));
	ck_assert(verify_held(v) > 0);
	ck_assert(!verify_end(v));
}
END_TEST

/* ---- policy ---- */

START_TEST(deny_rules_and_swaps_count)
{
	policy((const char *[]){"!bad.good.org", "good.org", "*.good.org"}, 3);
	another_flow();
	ck_assert(say("GET / HTTP/1.1\r\nHost: ok.good.org\r\n\r\n"));
	ck_assert(!say("GET / HTTP/1.1\r\nHost: bad.good.org\r\n\r\n"));
	another_flow();
	ck_assert(say(GOOD));
	policy((const char *[]){"*.good.org"}, 1);
	ck_assert(!say(GOOD)); /* a request is judged when it comes */
	policy((const char *[]){"~good.org"}, 1);
	another_flow();
	ck_assert(!verify_wanted(&pass));
}
END_TEST

static Suite *verify_suite(void)
{
	Suite *s = suite_create("verify");
	TCase *tc = tcase_create("verify");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, server_name_of_the_policy_goes);
	tcase_add_test(tc, another_server_name_does_not);
	tcase_add_test(tc, hello_in_pieces_is_the_same);
	tcase_add_test(tc, hello_without_a_name_goes_by_address);
	tcase_add_test(tc, behind_application_data_nothing_is_looked_at);
	tcase_add_test(tc, behind_tls_1_2_key_exchange_neither);
	tcase_add_test(tc, encrypted_finished_is_no_hello);
	tcase_add_test(tc, second_hello_is_not_taken_for_an_encrypted_finished);
	tcase_add_test(tc, second_hello_is_judged_too);
	tcase_add_test(tc, early_data_does_not_hide_a_second_hello);
	tcase_add_test(tc, malformed_hellos_are_refused);
	tcase_add_test(tc, each_request_is_judged);
	tcase_add_test(tc, pipelined_requests_are_judged);
	tcase_add_test(tc, bodies_pass_and_hide_nothing);
	tcase_add_test(tc, a_long_body_passes);
	tcase_add_test(tc, absolute_targets_must_agree_with_the_host);
	tcase_add_test(tc, hosts_that_are_no_name_go_by_address);
	tcase_add_test(tc, what_could_be_misread_is_refused);
	tcase_add_test(tc, malformed_chunks_are_refused);
	tcase_add_test(tc, upgrade_frees_what_is_no_request);
	tcase_add_test(tc, upgrade_does_not_free_a_request_behind_a_blank);
	tcase_add_test(tc, connect_means_its_target_and_frees_nothing);
	tcase_add_test(tc, silence_is_refused_after_ten_seconds);
	tcase_add_test(tc, half_a_unit_does_not_stop_the_clock);
	tcase_add_test(tc, between_requests_there_is_time);
	tcase_add_test(tc, giant_heads_are_refused);
	tcase_add_test(tc, all_flows_share_a_bound);
	tcase_add_test(tc, an_end_inside_a_unit_is_refused);
	tcase_add_test(tc, deny_rules_and_swaps_count);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(verify_suite());
}
