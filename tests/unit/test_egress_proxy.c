/* SPDX-License-Identifier: MIT */
/* Flows through the door that go by a proxy: what comes out, what fails, and that nothing is left. */
#include "common/os.h"
#include "dataplane/egress/dial.h"
#include "dataplane/egress/dial_internal.h"
#include "dataplane/egress/tunnel.h"
#include "dataplane/egress/udp_relay.h"
#include "dataplane/stack/frame.h"
#include "tests/unit/check_main.h"
#include "tests/unit/rig_clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct loop *loop;
static struct counters counters;
static struct net net;
static struct egress *egress;
static const char *logged; /* the name of every address, or NULL */

/* A proxy that says what the test wants, whatever it is told. */
static struct {
	int listener, client;
	uint16_t port;
	struct event *accepts, *hears;
	const char *answers[4]; /* one each time it hears something */
	size_t lens[4], next;
	bool hangs_up; /* after the last */
	char heard[512];
	size_t heard_len;
} fake;

static int done_fd;
static unsigned done_calls;

static void done(void *arg, int fd)
{
	(void)arg;
	done_fd = fd;
	done_calls++;
	loop_stop(loop);
}

static struct endpoint at(const char *text)
{
	struct endpoint e;

	ck_assert_int_eq(endpoint_parse(text, &e), 0);
	return e;
}

static bool admit_logged(void *log, const struct policy_flow *flow,
	bool (*match)(void *arg, const char *name), void *arg)
{
	(void)log;
	(void)flow;
	return logged && match(arg, logged);
}

/* ---- the proxy ---- */

static void on_hears(evutil_socket_t fd, short what, void *arg)
{
	ssize_t n = recv(fd, fake.heard + fake.heard_len, sizeof(fake.heard) - fake.heard_len, 0);

	(void)what;
	(void)arg;
	if (n <= 0) {
		event_del(fake.hears);
		return;
	}
	fake.heard_len += (size_t)n;
	if (fake.next < 4 && fake.answers[fake.next]) {
		os_send(fd, fake.answers[fake.next], fake.lens[fake.next], 0);
		fake.next++;
	} else if (fake.hangs_up) {
		event_del(fake.hears);
		close(fd);
		fake.client = -1;
	}
}

static void on_accepts(evutil_socket_t fd, short what, void *arg)
{
	(void)what;
	(void)arg;
	if (fake.hears) /* an earlier client hears nothing more, but keeps its connection */
		event_free(fake.hears);
	fake.client = accept(fd, NULL, NULL);
	fake.hears = event_new(loop_base(loop), fake.client, EV_READ | EV_PERSIST, on_hears, NULL);
	event_add(fake.hears, NULL);
}

static void answer(const char *bytes, size_t len)
{
	size_t i = 0;

	while (fake.answers[i])
		i++;
	fake.answers[i] = bytes;
	fake.lens[i] = len;
}

static int serve(uint16_t *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = os_socket(AF_INET, SOCK_STREAM, 0, true);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, len), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static uint16_t nobodys_port(void)
{
	uint16_t port;

	close(serve(&port));
	return port;
}

static struct proxies *one(enum proxy_kind kind, uint16_t port)
{
	struct proxies *p = proxies_new(0);

	p->n_servers = 1;
	p->servers[0].kind = kind;
	p->servers[0].n_addrs = 1;
	p->servers[0].addrs[0] = (struct endpoint){addr_from_v4(0x7f000001), port};
	for (int i = 0; i < PROXY_FLOWS; i++)
		p->of[i] = 1;
	return p;
}

static void setup(void)
{
	struct policy_rule rules[POLICY_PRESET_RULES_MAX];
	struct policy_input in = {.rules = rules, .default_by = POLICY_BY_PRESET};
	struct policy_names names = {.admit = admit_logged};
	uint8_t *blob;
	size_t len;

	memset(&fake, 0, sizeof(fake));
	memset(&net, 0, sizeof(net));
	memset(&counters, 0, sizeof(counters));
	ck_assert_int_eq(addr_parse("10.0.2.2", &net.gateway), 0);
	loop = loop_new();
	egress = egress_new(loop, &counters, &net);
	egress_set_names(egress, &names);
	logged = NULL;
	done_calls = 0;
	done_fd = 0;
	in.n_rules = policy_preset_rules(POLICY_OPEN, NULL, 0, rules, &in.default_allow);
	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	ck_assert_int_eq(egress_policy_set(egress, blob, len, 0), 0);
	free(blob);
	fake.client = -1;
	fake.listener = serve(&fake.port);
	fake.accepts = event_new(
		loop_base(loop), fake.listener, EV_READ | EV_PERSIST, on_accepts, NULL);
	event_add(fake.accepts, NULL);
}

static void teardown(void)
{
	egress_free(egress);
	event_free(fake.accepts);
	if (fake.hears)
		event_free(fake.hears);
	if (fake.client >= 0)
		close(fake.client);
	close(fake.listener);
	loop_free(loop);
}

/* ---- dials ---- */

static int dial(const char *dst, struct egress_request **request)
{
	struct egress_pass pass = {.era = 0};
	struct endpoint to = at(dst);
	int fd = egress_dial(egress, EGRESS_GUEST, IP_PROTO_TCP, &to, &pass, done, NULL, request);

	egress_leave(&pass);
	return fd;
}

/* What becomes of a dial by this proxy. */
static int outcome(struct proxies *proxies)
{
	struct egress_request *request;

	egress_proxies_set(egress, proxies);
	ck_assert_int_eq(dial("192.0.2.1:443", &request), -EINPROGRESS);
	ck_assert_uint_eq(egress_half_open(egress), 1);
	ck_assert_uint_eq(done_calls, 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(done_calls, 1);
	ck_assert_uint_eq(egress_half_open(egress), 0);
	return done_fd;
}

#define SOCKS_OK "\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"

START_TEST(the_flow_begins_at_its_first_byte)
{
	char got[16];
	int fd;

	answer("\x05\x00", 2);
	answer(SOCKS_OK "first", 15);
	logged = "page.example";
	fd = outcome(one(PROXY_SOCKS5, fake.port));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 5);
	ck_assert_mem_eq(got, "first", 5);
	ck_assert_int_eq(os_send(fd, "mine", 4, 0), 4);
	ck_assert_mem_eq(fake.heard, "\x05\x01\x00\x05\x01\x00\x03\x0cpage.example\x01\xbb", 22);
	ck_assert_uint_eq(fake.heard_len, 22);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_TUNNELS], 1);
	close(fd);
}
END_TEST

START_TEST(http_connect)
{
	char got[16];
	int fd;

	answer("HTTP/1.1 200 OK\r\n\r\nfirst", 24);
	fd = outcome(one(PROXY_HTTP, fake.port));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 5);
	ck_assert_ptr_nonnull(memmem(fake.heard, fake.heard_len, "CONNECT 192.0.2.1:443 ", 22));
	close(fd);
}
END_TEST

START_TEST(what_the_proxy_refuses)
{
	answer("\x05\x00", 2);
	answer("\x05\x05\x00\x01\0\0\0\0\0\0", 10);
	ck_assert_int_eq(outcome(one(PROXY_SOCKS5, fake.port)), -ECONNREFUSED);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_REFUSED], 1);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_FAILED], 0);
}
END_TEST

static unsigned told[PROXY_TROUBLES];

static void on_trouble(void *arg, uint8_t server, enum proxy_trouble trouble, uint32_t count)
{
	(void)arg;
	ck_assert_uint_eq(server, 0);
	told[trouble] += count;
	loop_stop(loop);
}

/* Once a second, with a count. */
static void expect_told(enum proxy_trouble trouble, unsigned count)
{
	memset(told, 0, sizeof(told));
	egress_on_proxy_trouble(egress, on_trouble, NULL);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(told[trouble], count);
}

START_TEST(a_dead_proxy_is_no_way_there)
{
	uint16_t port = nobodys_port();

	ck_assert_int_eq(outcome(one(PROXY_SOCKS5, port)), -EHOSTUNREACH);
	done_calls = 0;
	ck_assert_int_eq(outcome(one(PROXY_SOCKS5, port)), -EHOSTUNREACH);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_FAILED], 2);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_FALLBACKS], 0);
	expect_told(PROXY_UNREACHABLE, 2);
}
END_TEST

START_TEST(one_that_stays_dead_is_told_less_often)
{
	uint16_t port = nobodys_port();

	outcome(one(PROXY_SOCKS5, port));
	expect_told(PROXY_UNREACHABLE, 1);
	for (unsigned i = 1; i <= 3; i++) {
		done_calls = 0;
		outcome(one(PROXY_SOCKS5, port));
		rig_ahead_ns += 2000000000;
		ck_assert_uint_eq(told[PROXY_UNREACHABLE], 1);
	}
	rig_ahead_ns += 10000000000;
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(told[PROXY_UNREACHABLE], 1 + 3);
}
END_TEST

START_TEST(one_without_an_address)
{
	struct proxies *p = one(PROXY_SOCKS5, 1);

	p->servers[0].n_addrs = 0;
	ck_assert_int_eq(outcome(p), -EHOSTUNREACH);
	expect_told(PROXY_UNRESOLVED, 1);
}
END_TEST

START_TEST(one_that_hangs_up)
{
	answer("\x05\x00", 2);
	fake.hangs_up = true;
	ck_assert_int_eq(outcome(one(PROXY_SOCKS5, fake.port)), -EHOSTUNREACH);
	expect_told(PROXY_BROKEN, 1);
}
END_TEST

START_TEST(one_that_speaks_something_else)
{
	answer("HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	ck_assert_int_eq(outcome(one(PROXY_SOCKS5, fake.port)), -EHOSTUNREACH);
	expect_told(PROXY_BROKEN, 1);
}
END_TEST

START_TEST(one_that_does_not_know_us)
{
	answer("HTTP/1.1 407 Who?\r\n\r\n", 21);
	ck_assert_int_eq(outcome(one(PROXY_HTTP, fake.port)), -EHOSTUNREACH);
	expect_told(PROXY_DENIED, 1);
}
END_TEST

static void later(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	rig_ahead_ns += (uint64_t)TUNNEL_ANSWER_MS * 1000000;
}

START_TEST(one_that_says_nothing)
{
	struct timeval soon = {.tv_usec = 100000};

	event_base_once(loop_base(loop), -1, EV_TIMEOUT, later, NULL, &soon);
	ck_assert_int_eq(outcome(one(PROXY_SOCKS5, fake.port)), -EHOSTUNREACH);
	expect_told(PROXY_TIMEOUT, 1);
}
END_TEST

START_TEST(the_next_address_is_tried)
{
	struct proxies *p = one(PROXY_HTTP, nobodys_port());

	p->servers[0].addrs[1] = p->servers[0].addrs[0];
	p->servers[0].addrs[1].port = fake.port;
	p->servers[0].n_addrs = 2;
	answer("HTTP/1.1 200 OK\r\n\r\n", 19);
	ck_assert_int_ge(outcome(p), 0);
	close(done_fd);
}
END_TEST

static void stop_soon(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	loop_stop(loop);
}

START_TEST(what_is_under_way_can_be_cancelled)
{
	struct timeval soon = {.tv_usec = 20000};
	struct egress_request *request;

	egress_proxies_set(egress, one(PROXY_SOCKS5, fake.port));
	ck_assert_int_eq(dial("192.0.2.1:443", &request), -EINPROGRESS);
	egress_cancel(request);
	ck_assert_uint_eq(egress_half_open(egress), 0);
	ck_assert_int_eq(dial("192.0.2.1:443", &request), -EINPROGRESS);
	ck_assert_int_eq(dial("192.0.2.2:443", &request), -EINPROGRESS);
	event_base_once(loop_base(loop), -1, EV_TIMEOUT, stop_soon, NULL, &soon);
	loop_run(loop);
	egress_proxies_set(egress, NULL); /* what goes on keeps its own */
	ck_assert_uint_eq(done_calls, 0);
} /* and the rest goes with the door */
END_TEST

START_TEST(the_proxys_other_flows_do_not_count)
{
	struct egress_request *request;
	char dst[32];

	egress_proxies_set(egress, one(PROXY_SOCKS5, fake.port));
	for (unsigned i = 0; i < 2 * EGRESS_HALF_OPEN_EACH; i++) {
		snprintf(dst, sizeof(dst), "192.0.2.%u:443", i);
		ck_assert_int_eq(dial(dst, &request), -EINPROGRESS);
	}
	for (unsigned i = 1; i < EGRESS_HALF_OPEN_EACH; i++)
		ck_assert_int_eq(dial("192.0.2.1:443", &request), -EINPROGRESS);
	ck_assert_int_eq(dial("192.0.2.1:443", &request), -EAGAIN);
}
END_TEST

START_TEST(what_no_proxy_carries)
{
	struct egress_pass pass = {.verdict = {.allow = true, .by = POLICY_BY_PRESET}};
	struct endpoint dst = at("192.0.2.1:53");
	struct proxy_choice choice;
	struct proxies *p;

	egress_proxies_set(egress, one(PROXY_HTTP, fake.port));
	ck_assert_int_eq(egress_udp_way(egress, &dst, &pass, &choice), -EHOSTUNREACH);
	ck_assert_int_eq(
		egress_dial(egress, EGRESS_GUEST, IP_PROTO_ICMP, &dst, &pass, NULL, NULL, NULL),
		-EHOSTUNREACH);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_UNFIT], 2);
	p = one(PROXY_HTTP, fake.port);
	p->direct_on_failure = true;
	egress_proxies_set(egress, p);
	ck_assert_int_eq(egress_udp_way(egress, &dst, &pass, &choice), 0);
	ck_assert_ptr_null(choice.server);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_FALLBACKS], 1);
}
END_TEST

START_TEST(the_same_settings_change_nothing)
{
	ck_assert(egress_proxies_set(egress, one(PROXY_HTTP, 1)));
	ck_assert(!egress_proxies_set(egress, one(PROXY_HTTP, 1)));
	ck_assert(egress_proxies_set(egress, one(PROXY_HTTP, 2)));
	ck_assert(egress_proxies_set(egress, NULL));
}
END_TEST

/* ---- associations ---- */

static struct udp_relay relay;
static struct udp_peers peers;
static unsigned stood, ended;

static bool on_stands(struct udp_relay *r)
{
	(void)r;
	stood++;
	loop_stop(loop);
	return true;
}

static void on_ended(struct udp_relay *r)
{
	(void)r;
	ended++;
	loop_stop(loop);
}

static const struct udp_relay_events relay_events = {on_stands, on_ended};

static struct udp_peer *peer(const char *text)
{
	struct egress_pass pass = {.verdict = {.allow = true, .by = POLICY_BY_PRESET}};
	struct endpoint host = at(text);

	if (!udp_peers_find(&peers, &host))
		ck_assert_int_eq(udp_peers_add(&peers, &host, &pass, UDP_PEERS_MAX), 0);
	return udp_peers_find(&peers, &host);
}

/* A datagram from the relay that says it is from there. */
static struct udp_peer *from(const char *text, const char *name)
{
	struct endpoint src = at(text);
	uint8_t datagram[SOCKS5_UDP_HEAD_MAX + 4];
	size_t n = socks5_udp_head(datagram, &src, name), head;
	struct udp_peer *found = udp_relay_from(&relay, &peers, datagram, n + 4, &head);

	if (found)
		ck_assert_uint_eq(head, n);
	return found;
}

static void associate(void)
{
	memset(&peers, 0, sizeof(peers));
	stood = ended = 0;
	answer("\x05\x00", 2);
	answer("\x05\x00\x00\x01\x00\x00\x00\x00\x12\x34", 10);
	egress_proxies_set(egress, one(PROXY_SOCKS5, fake.port));
	udp_relay_init(&relay, egress, loop, &counters, &relay_events);
}

static void dissociate(void)
{
	udp_relay_clear(&relay);
	udp_peers_clear(&peers);
}

START_TEST(an_association_stands_until_its_connection_ends)
{
	struct iovec piece = {"hold", 4};
	struct udp_relay_held *held;
	int on = 0;
	socklen_t len = sizeof(on);

	associate();
	ck_assert_int_eq(udp_relay_way(&relay, peer("192.0.2.1:53")), 1);
	ck_assert(!udp_relay_stands(&relay));
	udp_relay_hold(&relay, &peer("192.0.2.1:53")->host, &piece, 1, 4);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(stood, 1);
	ck_assert(udp_relay_stands(&relay));
	ck_assert_int_eq(getsockopt(relay.control, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
	ck_assert_int_ne(on, 0); /* a proxy that went silently is missed */
	/* No address is the proxy's own. */
	ck_assert(endpoint_eq(
		udp_relay_at(&relay), &(struct endpoint){addr_from_v4(0x7f000001), 0x1234}));
	held = udp_relay_next(&relay);
	ck_assert_uint_eq(held->len, 4);
	free(held);
	ck_assert_ptr_null(udp_relay_next(&relay));
	ck_assert_int_eq(udp_relay_way(&relay, peer("192.0.2.1:53")), 1);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_ASSOCIATIONS], 1);
	close(fake.client);
	fake.client = -1;
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(ended, 1);
	ck_assert(!udp_relay_stands(&relay));
	dissociate();
}
END_TEST

START_TEST(names_are_bounded_over_all_associations)
{
	associate();
	egress_relays(egress)->n_names = UDP_RELAYS_NAMES_MAX - 1;
	logged = "a.example";
	ck_assert_int_eq(udp_relay_way(&relay, peer("192.0.2.1:53")), 1);
	logged = "b.example"; /* in the place of the first */
	ck_assert_int_eq(udp_relay_way(&relay, peer("192.0.2.2:53")), 1);
	ck_assert_uint_eq(egress_relays(egress)->n_names, UDP_RELAYS_NAMES_MAX);
	dissociate();
	ck_assert_uint_eq(egress_relays(egress)->n_names, UDP_RELAYS_NAMES_MAX - 1);
	egress_relays(egress)->n_names = UDP_RELAYS_NAMES_MAX;
	egress_proxies_set(egress, one(PROXY_SOCKS5, fake.port));
	ck_assert_int_eq(udp_relay_way(&relay, peer("192.0.2.3:53")), -ENOMEM);
	dissociate();
	egress_relays(egress)->n_names = 0;
}
END_TEST

START_TEST(answers_are_their_peers)
{
	associate();
	udp_relay_way(&relay, peer("192.0.2.1:53"));
	logged = "b.example";
	udp_relay_way(&relay, peer("192.0.2.2:99"));
	loop_run(loop);
	ck_assert_ptr_eq(from("192.0.2.1:53", NULL), peer("192.0.2.1:53"));
	ck_assert_ptr_null(from("192.0.2.1:54", NULL));
	/* Told by name: from wherever that is, and from there only. */
	ck_assert_ptr_eq(from("198.51.100.7:99", NULL), peer("192.0.2.2:99"));
	ck_assert_ptr_eq(from("198.51.100.7:99", NULL), peer("192.0.2.2:99"));
	ck_assert_ptr_null(from("198.51.100.8:99", NULL));
	ck_assert_ptr_eq(from("0.0.0.0:99", "b.example"), peer("192.0.2.2:99"));
	ck_assert_ptr_null(from("0.0.0.0:99", "c.example"));
	dissociate();
}
END_TEST

START_TEST(a_new_association_meets_its_peers_anew)
{
	uint8_t head[SOCKS5_UDP_HEAD_MAX];
	size_t n;

	associate();
	logged = "b.example";
	udp_relay_way(&relay, peer("192.0.2.2:99"));
	loop_run(loop);
	close(fake.client);
	fake.client = -1;
	loop_run(loop);
	ck_assert_ptr_null(from("192.0.2.2:99", NULL));
	ck_assert_int_eq(udp_relay_way(&relay, peer("192.0.2.2:99")), 1);
	n = udp_relay_head(&relay, &peer("192.0.2.2:99")->host, head);
	ck_assert_ptr_nonnull(memmem(head, n, "b.example", 9));
	dissociate();
}
END_TEST

START_TEST(what_is_held_is_bounded)
{
	static uint8_t large[40000];
	struct iovec small = {"x", 1}, big = {large, sizeof(large)};
	struct endpoint host = at("192.0.2.1:53");

	associate();
	for (unsigned i = 0; i < UDP_RELAY_HELD_MAX + 5; i++)
		udp_relay_hold(&relay, &host, &small, 1, 1);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_UDP_DROPPED], 5);
	dissociate();
	associate();
	udp_relay_hold(&relay, &host, &big, 1, sizeof(large));
	udp_relay_hold(&relay, &host, &big, 1, sizeof(large));
	ck_assert_uint_eq(relay.n_held, 1);
	dissociate();
}
END_TEST

START_TEST(associations_are_bounded)
{
	static struct udp_relay many[UDP_RELAYS_MAX + 1];

	associate();
	for (size_t i = 0; i <= UDP_RELAYS_MAX; i++) {
		udp_relay_init(&many[i], egress, loop, &counters, &relay_events);
		peer("192.0.2.1:53")->relay = UDP_PEER_UNMET;
		ck_assert_int_eq(udp_relay_way(&many[i], peer("192.0.2.1:53")),
			i < UDP_RELAYS_MAX ? 1 : -EAGAIN);
	}
	udp_relay_clear(&many[0]);
	ck_assert_int_eq(udp_relay_way(&many[UDP_RELAYS_MAX], peer("192.0.2.1:53")), 1);
	for (size_t i = 1; i <= UDP_RELAYS_MAX; i++)
		udp_relay_clear(&many[i]);
	dissociate();
}
END_TEST

START_TEST(without_an_association_nothing_goes)
{
	associate();
	fake.answers[1] = "\x05\x07\x00\x01\0\0\0\0\0\0";
	udp_relay_way(&relay, peer("192.0.2.1:53"));
	loop_run(loop);
	ck_assert_uint_eq(ended, 1);
	ck_assert_uint_eq(counters.value[COUNTER_PROXY_UNFIT], 1);
	ck_assert_int_eq(udp_relay_way(&relay, peer("192.0.2.1:53")), 1); /* tried again */
	dissociate();
	fake.next = 0;
	associate();
	fake.answers[1] = "\x05\x07\x00\x01\0\0\0\0\0\0";
	egress_proxies(egress)->direct_on_failure = true;
	udp_relay_way(&relay, peer("192.0.2.1:53"));
	loop_run(loop);
	ck_assert_int_eq(udp_relay_way(&relay, peer("192.0.2.1:53")), 0);
	dissociate();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("egress by proxies");
	TCase *tcp = tcase_create("tcp"), *udp = tcase_create("udp");

	tcase_set_timeout(tcp, 30);
	tcase_add_checked_fixture(tcp, setup, teardown);
	tcase_add_test(tcp, the_flow_begins_at_its_first_byte);
	tcase_add_test(tcp, http_connect);
	tcase_add_test(tcp, what_the_proxy_refuses);
	tcase_add_test(tcp, a_dead_proxy_is_no_way_there);
	tcase_add_test(tcp, one_that_stays_dead_is_told_less_often);
	tcase_add_test(tcp, one_without_an_address);
	tcase_add_test(tcp, one_that_hangs_up);
	tcase_add_test(tcp, one_that_speaks_something_else);
	tcase_add_test(tcp, one_that_does_not_know_us);
	tcase_add_test(tcp, one_that_says_nothing);
	tcase_add_test(tcp, the_next_address_is_tried);
	tcase_add_test(tcp, what_is_under_way_can_be_cancelled);
	tcase_add_test(tcp, the_proxys_other_flows_do_not_count);
	tcase_add_test(tcp, what_no_proxy_carries);
	tcase_add_test(tcp, the_same_settings_change_nothing);
	suite_add_tcase(s, tcp);
	tcase_set_timeout(udp, 30);
	tcase_add_checked_fixture(udp, setup, teardown);
	tcase_add_test(udp, an_association_stands_until_its_connection_ends);
	tcase_add_test(udp, names_are_bounded_over_all_associations);
	tcase_add_test(udp, answers_are_their_peers);
	tcase_add_test(udp, a_new_association_meets_its_peers_anew);
	tcase_add_test(udp, what_is_held_is_bounded);
	tcase_add_test(udp, associations_are_bounded);
	tcase_add_test(udp, without_an_association_nothing_goes);
	suite_add_tcase(s, udp);
	return run_suite(s);
}
