/* SPDX-License-Identifier: MIT */
/*
 * The forwarder against stub upstreams on loopback: what it asks, whom it believes, and what the
 * guest gets when they are slow, wrong or gone.
 */
#include "common/be.h"
#include "common/clock.h"
#include "common/os.h"
#include "dataplane/stack/dns.h"
#include "dataplane/stack/dns_message.h"
#include "dataplane/stack/timer_wheel.h"
#include "tests/unit/check_main.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct loop *loop;
static struct counters counters;
static struct net net;
static struct egress *egress;
static struct dns *dns;
static const struct dns_from asker = {{{{[15] = 1}}, 4242}, {{{[15] = 2}}, 53}, 0};

/* ---- a stub upstream ---- */

enum stub_mode {
	ANSWER,      /* one A record, 192.0.2.1 */
	SILENT,      /* nothing */
	WRONG_FIRST, /* a wrong id, a wrong question, junk, then the answer */
	FAILING,     /* SERVFAIL */
	NO_QUESTION, /* FORMERR without the question */
	TRUNCATING,  /* TC by UDP, the answer by TCP */
	LONG,        /* 100 A records */
	LOOPING,     /* an A record whose name points at itself */
	TTL_ZERO,    /* one A record, of no time */
};

struct stub {
	enum stub_mode mode;
	struct endpoint at;
	int udp, listener, tcp;
	struct event *on_udp, *on_listener, *on_tcp;
	unsigned asked, asked_tcp;
	uint16_t last_id;
	uint16_t last_port;
	uint8_t query[4096];
};

static struct stub stubs[3];

static size_t build(struct stub *s, const uint8_t *query, size_t len, unsigned records,
	uint16_t flags, uint8_t *buf)
{
	static const uint8_t rdata[4] = {192, 0, 2, 1};
	struct dns_query_info info;
	struct dns_answer a;

	ck_assert_int_eq(dns_query_parse(query, len, &info), DNS_NOERROR);
	s->last_id = info.id;
	dns_answer_begin(&a, buf, 4096, query, &info, flags);
	for (unsigned i = 0; i < records; i++)
		dns_answer_add(&a, DNS_A, s->mode == TTL_ZERO ? 0 : 60, rdata, 4);
	if (s->mode == LOOPING)
		store_be16(buf + info.question_end, (uint16_t)(0xc000 | info.question_end));
	return dns_answer_end(&a, s->mode == FAILING ? DNS_SERVFAIL : DNS_NOERROR);
}

static void send_wrong(
	int fd, const struct sockaddr *to, socklen_t to_len, uint8_t *buf, size_t len)
{
	buf[0] ^= 1;
	sendto(fd, buf, len, 0, to, to_len);
	buf[0] ^= 1;
	buf[DNS_HEADER_LEN + 1] ^= 1;
	sendto(fd, buf, len, 0, to, to_len);
	buf[DNS_HEADER_LEN + 1] ^= 1;
	sendto(fd, "junk", 4, 0, to, to_len);
	sendto(fd, "", 0, 0, to, to_len);
	buf[2] ^= 0x80; /* not even an answer */
	sendto(fd, buf, len, 0, to, to_len);
	buf[2] ^= 0x80;
}

static void stub_udp(evutil_socket_t fd, short what, void *arg)
{
	struct stub *s = arg;
	struct sockaddr_in from = {0};
	socklen_t from_len = sizeof(from);
	uint8_t buf[4096];
	ssize_t n = recvfrom(
		fd, s->query, sizeof(s->query), 0, (struct sockaddr *)&from, &from_len);
	size_t len;

	(void)what;
	ck_assert_int_gt(n, 0);
	s->asked++;
	s->last_port = ntohs(from.sin_port);
	if (s->mode == SILENT)
		return;
	len = build(s, s->query, (size_t)n, s->mode == LONG ? 100 : s->mode != TRUNCATING,
		s->mode == TRUNCATING ? DNS_TC : 0, buf);
	if (s->mode == NO_QUESTION) {
		buf[3] |= DNS_FORMERR;
		memset(buf + 4, 0, 8);
		len = DNS_HEADER_LEN;
	}
	if (s->mode == WRONG_FIRST)
		send_wrong(fd, (struct sockaddr *)&from, from_len, buf, len);
	sendto(fd, buf, len, 0, (struct sockaddr *)&from, from_len);
}

static void stub_tcp(evutil_socket_t fd, short what, void *arg)
{
	struct stub *s = arg;
	uint8_t buf[4096 + 2];
	ssize_t n = recv(fd, s->query, sizeof(s->query), 0);
	size_t len;

	(void)what;
	if (n <= 0) {
		event_free(s->on_tcp);
		s->on_tcp = NULL;
		close(fd);
		return;
	}
	ck_assert_int_eq(load_be16(s->query), n - 2);
	s->asked_tcp++;
	len = build(s, s->query + 2, (size_t)n - 2, 2, 0, buf + 2);
	store_be16(buf, (uint16_t)len);
	/* In pieces, as TCP may. */
	os_send(fd, buf, 1, 0);
	usleep(1000);
	os_send(fd, buf + 1, 20, 0);
	usleep(1000);
	os_send(fd, buf + 21, len + 2 - 21, 0);
}

static void stub_accept(evutil_socket_t fd, short what, void *arg)
{
	struct stub *s = arg;

	(void)what;
	s->tcp = os_accept(fd, NULL, NULL);
	s->on_tcp = event_new(loop_base(loop), s->tcp, EV_READ | EV_PERSIST, stub_tcp, s);
	event_add(s->on_tcp, NULL);
}

/* Both on one port of the kernel's choice; it is a choice for UDP, and somebody's TCP may have it. */
static bool stub_bind(struct stub *s, struct sockaddr_in *sin)
{
	socklen_t len = sizeof(*sin);

	sin->sin_port = 0;
	s->udp = os_socket(AF_INET, SOCK_DGRAM, 0, true);
	ck_assert_int_eq(bind(s->udp, (struct sockaddr *)sin, len), 0);
	getsockname(s->udp, (struct sockaddr *)sin, &len);
	s->listener = os_socket(AF_INET, SOCK_STREAM, 0, true);
	if (bind(s->listener, (struct sockaddr *)sin, len) == 0 && listen(s->listener, 8) == 0)
		return true;
	ck_assert_int_eq(errno, EADDRINUSE);
	close(s->udp);
	close(s->listener);
	return false;
}

static void stub_start(struct stub *s)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int tries = 1;

	memset(s, 0, sizeof(*s));
	while (!stub_bind(s, &sin))
		ck_assert_int_lt(tries++, 100);
	endpoint_from_sockaddr((struct sockaddr *)&sin, sizeof(sin), &s->at);
	s->on_udp = event_new(loop_base(loop), s->udp, EV_READ | EV_PERSIST, stub_udp, s);
	event_add(s->on_udp, NULL);
	s->on_listener = event_new(
		loop_base(loop), s->listener, EV_READ | EV_PERSIST, stub_accept, s);
	event_add(s->on_listener, NULL);
}

static void stub_stop(struct stub *s)
{
	if (s->on_tcp) {
		event_free(s->on_tcp);
		close(s->tcp);
	}
	event_free(s->on_udp);
	event_free(s->on_listener);
	close(s->udp);
	close(s->listener);
}

static void use(size_t n)
{
	struct endpoint list[3] = {stubs[0].at, stubs[1].at, stubs[2].at};

	ck_assert_int_eq(dns_upstreams_set(dns, list, n), 0);
}

/* ---- the guest ---- */

static uint8_t got[65536];
static size_t got_len, answers, wanted;
static size_t names_told;

static void on_answer(void *arg, const struct dns_from *to, const uint8_t *msg, size_t len)
{
	(void)arg;
	ck_assert(endpoint_eq(&to->guest, &asker.guest));
	ck_assert(endpoint_eq(&to->asked, &asker.asked));
	ck_assert_uint_eq(to->proxy, asker.proxy);
	memcpy(got, msg, len);
	got_len = len;
	if (++answers == wanted)
		loop_stop(loop);
}

static void on_names(void *arg, const struct dns_name *names, size_t count)
{
	(void)arg;
	names_told += count;
	ck_assert_str_eq(names[0].name, "www.example.org");
	loop_stop(loop);
}

static size_t make_query(uint8_t *buf, uint16_t id, const char *name)
{
	struct dns_wire w;

	ck_assert_int_eq(dns_wire_parse(name, &w), 0);
	memset(buf, 0, DNS_HEADER_LEN);
	store_be16(buf, id);
	store_be16(buf + 2, DNS_RD);
	store_be16(buf + 4, 1);
	memcpy(buf + DNS_HEADER_LEN, w.b, w.len);
	store_be16(buf + DNS_HEADER_LEN + w.len, DNS_A);
	store_be16(buf + DNS_HEADER_LEN + w.len + 2, DNS_CLASS_IN);
	return DNS_HEADER_LEN + w.len + 4u;
}

static void query(uint16_t id, const char *name)
{
	uint8_t buf[512];
	size_t len = make_query(buf, id, name);

	dns_udp_query(dns, &asker, buf, len);
}

static void time_over(struct timer *timer)
{
	(void)timer;
	loop_stop(loop);
}

/* Runs the loop until n answers came, or for at most so long. */
static void run_for(size_t n, unsigned ms)
{
	struct timer limit = {.fire = time_over};

	wanted = n;
	if (answers >= n)
		return;
	timer_arm(loop_wheel(loop), &limit, ms);
	ck_assert_int_eq(loop_run(loop), 0);
	timer_disarm(loop_wheel(loop), &limit);
}

static void expect_answer(uint16_t id, unsigned rcode, unsigned records)
{
	ck_assert_uint_ge(got_len, DNS_HEADER_LEN);
	ck_assert_uint_eq(load_be16(got), id);
	ck_assert_uint_eq(load_be16(got + 2) & (DNS_QR | DNS_RCODE), DNS_QR | rcode);
	ck_assert_uint_eq(load_be16(got + 6), records);
}

static void setup(void)
{
	struct dns_events events = {NULL, on_answer, NULL};

	memset(&net, 0, sizeof(net));
	memset(&counters, 0, sizeof(counters));
	addr_parse("10.0.2.2", &net.gateway);
	loop = loop_new();
	egress = egress_new(loop, &counters, &net);
	dns = dns_new(loop, egress, &counters, &net, &events);
	for (int i = 0; i < 3; i++)
		stub_start(&stubs[i]);
	answers = got_len = names_told = 0;
}

static void teardown(void)
{
	for (int i = 0; i < 3; i++)
		stub_stop(&stubs[i]);
	dns_free(dns);
	egress_free(egress);
	loop_free(loop);
}

/* ---- UDP ---- */

START_TEST(an_answer_comes_back_under_the_guests_id)
{
	use(1);
	query(7, "www.example.org");
	ck_assert_uint_eq(dns_queries(dns), 1);
	run_for(1, 1000);
	ck_assert_uint_eq(answers, 1);
	expect_answer(7, DNS_NOERROR, 1);
	ck_assert_uint_eq(dns_queries(dns), 0);
	ck_assert_uint_eq(stubs[0].asked, 1);
}
END_TEST

START_TEST(ids_and_ports_are_fresh)
{
	static const char *const names[] = {"a.example", "b.example", "c.example", "d.example"};
	uint16_t ids[4], ports[4];

	use(1);
	for (unsigned i = 0; i < 4; i++) {
		query(7, names[i]);
		run_for(i + 1, 1000);
		ids[i] = stubs[0].last_id;
		ports[i] = stubs[0].last_port;
	}
	ck_assert(ids[0] != ids[1] || ids[1] != ids[2] || ids[2] != ids[3]);
	ck_assert(ports[0] != ports[1] || ports[1] != ports[2] || ports[2] != ports[3]);
}
END_TEST

START_TEST(what_was_answered_is_not_asked_again)
{
	use(1);
	query(1, "www.example.org");
	run_for(1, 1000);
	query(2, "WWW.example.org");
	ck_assert_uint_eq(answers, 2); /* at once */
	expect_answer(2, DNS_NOERROR, 1);
	ck_assert_uint_eq(stubs[0].asked, 1);
	use(1); /* other upstreams may know better */
	query(3, "www.example.org");
	run_for(3, 1000);
	dns_reset(dns); /* another guest */
	query(4, "www.example.org");
	run_for(4, 1000);
	ck_assert_uint_eq(stubs[0].asked, 3);
	ck_assert_uint_eq(counters.value[COUNTER_DNS_ANSWERED_FROM_CACHE], 1);
}
END_TEST

START_TEST(only_the_right_answer_is_believed)
{
	stubs[0].mode = WRONG_FIRST;
	use(1);
	query(7, "www.example.org");
	run_for(1, 1000);
	expect_answer(7, DNS_NOERROR, 1);
	ck_assert_uint_eq(counters.value[COUNTER_DNS_STRANGE_ANSWERS], 5);
}
END_TEST

START_TEST(a_failing_upstream_is_followed_by_the_next)
{
	stubs[0].mode = FAILING;
	use(2);
	query(7, "www.example.org");
	run_for(1, 1000);
	expect_answer(7, DNS_NOERROR, 1);
	ck_assert_uint_eq(stubs[0].asked, 1);
	ck_assert_uint_eq(stubs[1].asked, 1);
}
END_TEST

START_TEST(a_dead_upstream_is_followed_by_the_next_at_once)
{
	uint64_t start = clock_ms();

	use(2);
	event_del(stubs[0].on_udp);
	close(stubs[0].udp);
	query(7, "www.example.org");
	run_for(1, 1000);
	expect_answer(7, DNS_NOERROR, 1);
	ck_assert_uint_lt(clock_ms() - start, 500);
	stubs[0].udp = os_socket(AF_INET, SOCK_DGRAM, 0, true);
}
END_TEST

START_TEST(a_silent_upstream_is_given_two_seconds)
{
	uint64_t start = loop_now(loop); /* what the wait is counted from */

	stubs[0].mode = SILENT;
	use(2);
	query(7, "www.example.org");
	run_for(1, 4000);
	expect_answer(7, DNS_NOERROR, 1);
	ck_assert_uint_ge(clock_ms() - start, DNS_UPSTREAM_MS);
	ck_assert_uint_lt(clock_ms() - start, DNS_UPSTREAM_MS + 1900);
}
END_TEST

START_TEST(when_all_fail_the_last_word_is_passed_on)
{
	stubs[0].mode = stubs[1].mode = FAILING;
	use(2);
	query(7, "www.example.org");
	run_for(1, 1000);
	expect_answer(7, DNS_SERVFAIL, 1); /* the stub's own answer, records and all */
	stubs[2].mode = NO_QUESTION;
	dns_upstreams_set(dns, &stubs[2].at, 1);
	query(8, "www.example.org");
	run_for(2, 1000);
	expect_answer(8, DNS_FORMERR, 0);
	ck_assert_uint_eq(load_be16(got + 4), 1);
	use(0);
	query(9, "www.example.org");
	ck_assert_uint_eq(answers, 3);
	expect_answer(9, DNS_SERVFAIL, 0);
	ck_assert_uint_eq(counters.value[COUNTER_DNS_SERVFAIL], 1);
}
END_TEST

START_TEST(repetitions_are_asked_once)
{
	stubs[0].mode = SILENT;
	use(1);
	query(7, "www.example.org");
	query(7, "www.example.org");
	ck_assert_uint_eq(dns_queries(dns), 1);
	query(7, "other.example.org");
	ck_assert_uint_eq(dns_queries(dns), 1);
	query(8, "www.example.org");
	ck_assert_uint_eq(dns_queries(dns), 2);
	run_for(1, 100);
	ck_assert_uint_eq(answers, 0);
}
END_TEST

START_TEST(questions_under_way_are_bounded)
{
	stubs[0].mode = SILENT;
	use(1);
	for (unsigned i = 0; i < DNS_QUERIES_MAX + 5; i++)
		query((uint16_t)i, "www.example.org");
	ck_assert_uint_le(dns_queries(dns), DNS_QUERIES_MAX);
	ck_assert_uint_ge(answers, 5);
	expect_answer(DNS_QUERIES_MAX + 4, DNS_SERVFAIL, 0);
	ck_assert_uint_ge(counters.value[COUNTER_DNS_SERVFAIL], 5);
}
END_TEST

START_TEST(long_answers_are_cut_for_udp)
{
	uint8_t buf[512];
	size_t len = make_query(buf, 7, "www.example.org");

	stubs[0].mode = LONG;
	use(1);
	dns_udp_query(dns, &asker, buf, len);
	run_for(1, 1000);
	expect_answer(7, DNS_NOERROR, 0);
	ck_assert(load_be16(got + 2) & DNS_TC);
	ck_assert_uint_eq(got_len, len);
	memset(buf + len, 0, 11);
	store_be16(buf + 10, 1);
	store_be16(buf + len + 1, DNS_OPT);
	store_be16(buf + len + 3, 4096);
	dns_udp_query(dns, &asker, buf, len + 11);
	run_for(2, 1000);
	expect_answer(7, DNS_NOERROR, 100);
	ck_assert(!(load_be16(got + 2) & DNS_TC));
}
END_TEST

START_TEST(truncation_is_passed_on_to_udp)
{
	stubs[0].mode = TRUNCATING;
	use(1);
	query(7, "www.example.org");
	run_for(1, 1000);
	expect_answer(7, DNS_NOERROR, 0);
	ck_assert(load_be16(got + 2) & DNS_TC);
	ck_assert_uint_eq(stubs[0].asked_tcp, 0);
}
END_TEST

START_TEST(nonsense_is_answered_or_dropped)
{
	uint8_t buf[512];
	size_t len = make_query(buf, 7, "www.example.org");

	use(1);
	dns_udp_query(dns, &asker, buf, 11);
	ck_assert_uint_eq(answers, 0);
	dns_udp_query(dns, &asker, buf, len - 1);
	expect_answer(7, DNS_FORMERR, 0);
	store_be16(buf + 2, 5 << 11);
	dns_udp_query(dns, &asker, buf, len);
	expect_answer(7, DNS_REFUSED, 0);
	store_be16(buf + 2, DNS_QR);
	dns_udp_query(dns, &asker, buf, len);
	ck_assert_uint_eq(answers, 2);
	ck_assert_uint_eq(counters.value[COUNTER_DNS_MALFORMED], 4);
	ck_assert_uint_eq(stubs[0].asked, 0);
}
END_TEST

START_TEST(local_names_are_not_asked_of_anyone)
{
	struct addr a;
	struct dns_host host = {"db.internal", &a, 1};

	addr_parse("10.9.8.7", &a);
	use(1);
	ck_assert_int_eq(dns_hosts_set(dns, &host, 1, false), 0);
	query(7, "DB.internal");
	expect_answer(7, DNS_NOERROR, 1);
	query(8, "host.internal");
	expect_answer(8, DNS_NXDOMAIN, 0);
	ck_assert_int_eq(dns_hosts_set(dns, NULL, 0, true), 0);
	query(9, "host.internal");
	expect_answer(9, DNS_NOERROR, 1);
	query(10, "db.internal");
	run_for(4, 1000);
	ck_assert_uint_eq(stubs[0].asked, 1);
}
END_TEST

START_TEST(answers_feed_the_name_log)
{
	struct dns_events events = {NULL, on_answer, on_names};

	dns_free(dns);
	dns = dns_new(loop, egress, &counters, &net, &events);
	use(1);
	query(7, "WWW.example.org");
	run_for(1, 1000);
	run_for(2, 3000); /* on_names stops it */
	ck_assert_uint_eq(names_told, 1);
	dns_names_walk(dns, on_names, NULL);
	ck_assert_uint_eq(names_told, 2);
}
END_TEST

START_TEST(an_answer_that_cannot_be_read_is_no_name_and_not_kept)
{
	stubs[0].mode = LOOPING;
	use(1);
	for (unsigned i = 0; i < 2; i++) {
		query((uint16_t)i, "www.example.org");
		run_for(i + 1, 1000);
		expect_answer((uint16_t)i, DNS_NOERROR, 1);
	}
	ck_assert_uint_eq(stubs[0].asked, 2);
	dns_names_walk(dns, on_names, NULL);
	ck_assert_uint_eq(names_told, 0);
}
END_TEST

START_TEST(a_ttl_of_zero_is_a_name_for_a_while_and_not_kept)
{
	stubs[0].mode = TTL_ZERO;
	use(1);
	for (unsigned i = 0; i < 2; i++) {
		query((uint16_t)i, "www.example.org");
		run_for(i + 1, 1000);
	}
	ck_assert_uint_eq(stubs[0].asked, 2);
	dns_names_walk(dns, on_names, NULL);
	ck_assert_uint_eq(names_told, 1);
}
END_TEST

/* ---- names in the policy ---- */

/* Allows a.example and *.b.example, denies d.b.example; the rest by default. */
static void set_policy(bool default_allow)
{
	static const char *const denied[] = {"d.b.example"};
	static const char *const allowed[] = {"a.example", "*.b.example"};
	struct policy_rule rules[] = {{.names = denied, .n_names = 1, .by = 0},
		{.allow = true, .names = allowed, .n_names = 2, .by = 1}};
	struct policy_input in = {.rules = rules,
		.n_rules = 2,
		.default_allow = default_allow,
		.default_by = POLICY_BY_DEFAULT};
	uint8_t *blob;
	size_t len;

	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	ck_assert_int_eq(egress_policy_set(egress, blob, len, 0), 0);
	free(blob);
}

static struct endpoint endpoint(const char *text)
{
	struct endpoint e;

	ck_assert_int_eq(endpoint_parse(text, &e), 0);
	return e;
}

START_TEST(any_resolver_is_ours_while_the_policy_has_names)
{
	struct endpoint own = endpoint("10.0.2.2:53"), other = endpoint("192.0.2.53:53");
	struct endpoint dot = endpoint("192.0.2.53:853");

	ck_assert(dns_answers_for(dns, &own));
	ck_assert(!dns_answers_for(dns, &other));
	set_policy(false);
	ck_assert(dns_answers_for(dns, &own));
	ck_assert(dns_answers_for(dns, &other));
	ck_assert(!dns_answers_for(dns, &dot));
}
END_TEST

static char refused_name[256];
static int32_t refused_by;
static uint32_t refused_count;

static void on_refused(void *arg, uint8_t proto, const struct endpoint *dst, int32_t by,
	const char *name, uint32_t count)
{
	(void)arg;
	ck_assert_uint_eq(proto, POLICY_PROTO_UDP);
	ck_assert(endpoint_eq(dst, &asker.asked));
	snprintf(refused_name, sizeof(refused_name), "%s", name);
	refused_by = by;
	refused_count = count;
}

START_TEST(a_name_that_no_rule_could_admit_does_not_exist)
{
	use(1);
	set_policy(false);
	egress_on_refused(egress, on_refused, NULL);
	query(1, "evil.example");
	query(2, "EVIL.example");
	expect_answer(2, DNS_NXDOMAIN, 0);
	ck_assert_uint_eq(load_be16(got + 8), 0); /* no SOA: nobody keeps it */
	egress_report_refusals(egress);
	ck_assert_str_eq(refused_name, "evil.example");
	ck_assert_int_eq(refused_by, POLICY_BY_DEFAULT);
	ck_assert_uint_eq(refused_count, 2);
	query(3, "d.b.example");
	expect_answer(3, DNS_NXDOMAIN, 0);
	egress_report_refusals(egress);
	ck_assert_int_eq(refused_by, 0);
	query(4, "x.a.example");
	expect_answer(4, DNS_NXDOMAIN, 0);
	query(5, "2.2.0.10.in-addr.arpa"); /* the gateway's own name */
	expect_answer(5, DNS_NOERROR, 0);
	ck_assert_uint_eq(answers, 5);
	ck_assert_uint_eq(counters.value[COUNTER_DNS_UNLISTED], 4);
	ck_assert_uint_eq(stubs[0].asked, 0);
}
END_TEST

START_TEST(a_name_that_a_rule_admits_is_asked_for)
{
	static const char *const names[] = {"A.EXAMPLE", "x.b.example", "y.B.example"};

	use(1);
	set_policy(false);
	for (unsigned i = 0; i < 3; i++) {
		query((uint16_t)i, names[i]);
		run_for(i + 1, 1000);
		expect_answer((uint16_t)i, DNS_NOERROR, 1);
	}
	ck_assert_uint_eq(stubs[0].asked, 3);
}
END_TEST

START_TEST(other_names_are_answered_where_they_are_to_be)
{
	use(1);
	set_policy(false);
	dns_answer_unlisted(dns, true);
	query(1, "evil.example");
	run_for(1, 1000);
	expect_answer(1, DNS_NOERROR, 1);
	dns_answer_unlisted(dns, false);
	set_policy(true); /* any address is allowed */
	query(2, "evil2.example");
	run_for(2, 1000);
	expect_answer(2, DNS_NOERROR, 1);
	query(3, "d.b.example");
	expect_answer(3, DNS_NXDOMAIN, 0);
}
END_TEST

/* ---- TCP ---- */

static size_t tcp_got_len;

static void on_guest_tcp(evutil_socket_t fd, short what, void *arg)
{
	ssize_t n = recv(fd, got + tcp_got_len, sizeof(got) - tcp_got_len, 0);

	(void)what;
	(void)arg;
	if (n > 0)
		tcp_got_len += (size_t)n;
	if (n == 0)
		loop_stop(loop);
}

/* Sends bytes, perhaps a FIN, and gathers what comes back until the service closes or ms passed. */
static void exchange(const uint8_t *bytes, size_t len, bool fin, unsigned ms)
{
	int fd = dns_tcp_accept(dns);
	struct event *ev;

	ck_assert_int_ge(fd, 0);
	tcp_got_len = 0;
	ev = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_guest_tcp, NULL);
	event_add(ev, NULL);
	ck_assert_int_eq(os_send(fd, bytes, len, 0), (ssize_t)len);
	if (fin)
		shutdown(fd, SHUT_WR);
	run_for(SIZE_MAX, ms);
	event_free(ev);
	close(fd);
	run_for(SIZE_MAX, 20);
}

static size_t framed_query(uint8_t *buf, uint16_t id, const char *name)
{
	size_t len = make_query(buf + 2, id, name);

	store_be16(buf, (uint16_t)len);
	return len + 2;
}

START_TEST(tcp_questions_are_answered_after_the_fin)
{
	uint8_t buf[1024];
	size_t len = framed_query(buf, 1, "www.example.org");

	len += framed_query(buf + len, 2, "host.internal");
	use(1);
	exchange(buf, len, true, 2000);
	/* The local one comes first. */
	ck_assert_uint_ge(tcp_got_len, 4);
	ck_assert_uint_eq(load_be16(got + 2), 2);
	len = 2u + load_be16(got);
	ck_assert_uint_eq(load_be16(got + len + 2), 1);
	ck_assert_uint_eq(tcp_got_len, len + 2 + load_be16(got + len));
	ck_assert_uint_eq(load_be16(got + len + 8), 1);
}
END_TEST

START_TEST(truncation_leads_to_tcp_upstream)
{
	uint8_t buf[512];
	size_t len = framed_query(buf, 1, "www.example.org");

	stubs[0].mode = TRUNCATING;
	use(1);
	exchange(buf, len, true, 2000);
	ck_assert_uint_eq(stubs[0].asked, 1);
	ck_assert_uint_eq(stubs[0].asked_tcp, 1);
	ck_assert_uint_eq(load_be16(got), tcp_got_len - 2);
	ck_assert_uint_eq(load_be16(got + 2), 1);
	ck_assert_uint_eq(load_be16(got + 8), 2);
	ck_assert(!(load_be16(got + 4) & DNS_TC));
}
END_TEST

START_TEST(more_questions_than_the_pipeline_are_all_answered)
{
	uint8_t buf[8192];
	size_t len = 0, at = 0;
	unsigned n = 0;

	for (uint16_t i = 0; i < 100; i++)
		len += framed_query(buf + len, i, i & 1 ? "www.example.org" : "host.internal");
	use(1);
	exchange(buf, len, true, 4000);
	for (; at < tcp_got_len; n++)
		at += 2u + load_be16(got + at);
	ck_assert_uint_eq(at, tcp_got_len);
	ck_assert_uint_eq(n, 100);
}
END_TEST

START_TEST(nonsense_ends_a_tcp_connection)
{
	uint8_t buf[512] = {0, 5, 1, 2, 3, 4, 5};
	size_t len;

	exchange(buf, 7, false, 2000);
	ck_assert_uint_eq(tcp_got_len, 0);
	store_be16(buf, 65535);
	exchange(buf, 7, false, 2000);
	ck_assert_uint_eq(tcp_got_len, 0);
	len = framed_query(buf, 1, "www.example.org");
	exchange(buf, len - 1, true, 2000); /* cut short by FIN */
	ck_assert_uint_eq(tcp_got_len, 0);
}
END_TEST

START_TEST(a_guest_that_leaves_takes_its_questions_along)
{
	uint8_t buf[512];
	size_t len = framed_query(buf, 1, "www.example.org");
	int fd = dns_tcp_accept(dns);

	stubs[0].mode = SILENT;
	use(1);
	ck_assert_int_eq(os_send(fd, buf, len, 0), (ssize_t)len);
	run_for(1, 50);
	ck_assert_uint_eq(dns_queries(dns), 1);
	dns_free(dns);
	dns = NULL;
	close(fd);
}
END_TEST

START_TEST(tcp_connections_are_bounded)
{
	int fds[DNS_TCP_MAX];

	for (unsigned i = 0; i < DNS_TCP_MAX; i++)
		ck_assert_int_ge(fds[i] = dns_tcp_accept(dns), 0);
	ck_assert_int_eq(dns_tcp_accept(dns), -EAGAIN);
	close(fds[0]);
	run_for(1, 50);
	ck_assert_int_ge(fds[0] = dns_tcp_accept(dns), 0);
	for (unsigned i = 0; i < DNS_TCP_MAX; i++)
		close(fds[i]);
}
END_TEST

static Suite *dns_suite(void)
{
	Suite *s = suite_create("dns");
	TCase *udp = tcase_create("udp"), *tcp = tcase_create("tcp");

	tcase_set_timeout(udp, 30);
	tcase_add_checked_fixture(udp, setup, teardown);
	tcase_add_test(udp, an_answer_comes_back_under_the_guests_id);
	tcase_add_test(udp, ids_and_ports_are_fresh);
	tcase_add_test(udp, what_was_answered_is_not_asked_again);
	tcase_add_test(udp, only_the_right_answer_is_believed);
	tcase_add_test(udp, a_failing_upstream_is_followed_by_the_next);
	tcase_add_test(udp, a_dead_upstream_is_followed_by_the_next_at_once);
	tcase_add_test(udp, a_silent_upstream_is_given_two_seconds);
	tcase_add_test(udp, when_all_fail_the_last_word_is_passed_on);
	tcase_add_test(udp, repetitions_are_asked_once);
	tcase_add_test(udp, questions_under_way_are_bounded);
	tcase_add_test(udp, long_answers_are_cut_for_udp);
	tcase_add_test(udp, truncation_is_passed_on_to_udp);
	tcase_add_test(udp, nonsense_is_answered_or_dropped);
	tcase_add_test(udp, local_names_are_not_asked_of_anyone);
	tcase_add_test(udp, answers_feed_the_name_log);
	tcase_add_test(udp, an_answer_that_cannot_be_read_is_no_name_and_not_kept);
	tcase_add_test(udp, a_ttl_of_zero_is_a_name_for_a_while_and_not_kept);
	tcase_add_test(udp, any_resolver_is_ours_while_the_policy_has_names);
	tcase_add_test(udp, a_name_that_no_rule_could_admit_does_not_exist);
	tcase_add_test(udp, a_name_that_a_rule_admits_is_asked_for);
	tcase_add_test(udp, other_names_are_answered_where_they_are_to_be);
	suite_add_tcase(s, udp);
	tcase_set_timeout(tcp, 30);
	tcase_add_checked_fixture(tcp, setup, teardown);
	tcase_add_test(tcp, tcp_questions_are_answered_after_the_fin);
	tcase_add_test(tcp, truncation_leads_to_tcp_upstream);
	tcase_add_test(tcp, more_questions_than_the_pipeline_are_all_answered);
	tcase_add_test(tcp, nonsense_ends_a_tcp_connection);
	tcase_add_test(tcp, a_guest_that_leaves_takes_its_questions_along);
	tcase_add_test(tcp, tcp_connections_are_bounded);
	suite_add_tcase(s, tcp);
	return s;
}

int main(void)
{
	return run_suite(dns_suite());
}
