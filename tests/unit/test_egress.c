/* SPDX-License-Identifier: MIT */
/* The one door: what the policy forbids is not opened, and connects end as they should. */
#include "common/clock.h"
#include "common/os.h"
#include "common/policy_table.h"
#include "common/tcp_socket.h"
#include "dataplane/egress/dial.h"
#include "dataplane/stack/frame.h"
#include "tests/unit/check_main.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct loop *loop;
static struct counters counters;
static struct net net;
static struct egress *egress;

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

static void set_policy(enum policy_preset preset)
{
	struct policy_rule rules[POLICY_PRESET_RULES_MAX];
	struct policy_input in = {.rules = rules, .default_by = POLICY_BY_PRESET};
	uint8_t *blob;
	size_t len;

	in.n_rules = policy_preset_rules(preset, NULL, 0, rules, &in.default_allow);
	ck_assert_int_eq(policy_table_compile(&in, &blob, &len, NULL), 0);
	ck_assert_int_eq(egress_policy_set(egress, blob, len), 0);
	free(blob);
}

static void setup(void)
{
	memset(&net, 0, sizeof(net));
	memset(&counters, 0, sizeof(counters));
	ck_assert_int_eq(prefix_parse("10.0.2.0/24", false, &net.subnet), 0);
	ck_assert_int_eq(addr_parse("10.0.2.2", &net.gateway), 0);
	loop = loop_new();
	egress = egress_new(loop, &counters, &net);
	done_calls = 0;
	done_fd = 0;
	set_policy(POLICY_OPEN);
}

static void teardown(void)
{
	egress_free(egress);
	loop_free(loop);
}

/* A listening socket (or a bound UDP one) on 127.0.0.1; its port in *port. */
static int serve(int type, uint16_t *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = os_socket(AF_INET, type, 0, true);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, len), 0);
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static struct endpoint gateway(uint16_t port)
{
	return (struct endpoint){net.gateway, port};
}

static int dial(uint8_t proto, struct endpoint dst, struct egress_request **request)
{
	return egress_dial(egress, EGRESS_GUEST, proto, &dst, done, NULL, request);
}

START_TEST(local_connects_stand_at_once)
{
	struct egress_request *request = NULL;
	struct linger linger;
	socklen_t len = sizeof(linger);
	uint16_t port;
	int server = serve(SOCK_STREAM, &port), fd, peer, on = 0;
	char byte;

	net.host_access = true;
	fd = dial(IP_PROTO_TCP, gateway(port), &request);
	ck_assert_int_ge(fd, 0);
	ck_assert_ptr_null(request);
	ck_assert_uint_eq(egress_half_open(egress), 0);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len), 0);
	ck_assert(linger.l_onoff && linger.l_linger == 0);
	len = sizeof(on);
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	ck_assert_int_ne(on, 0);
	peer = accept(server, NULL, NULL);
	ck_assert_int_ge(peer, 0);
	tcp_socket_close_orderly(fd);
	ck_assert_int_eq(recv(peer, &byte, 1, 0), 0);
	close(peer);
	close(server);
}
END_TEST

START_TEST(refusals_are_known_at_once)
{
	struct egress_request *request = NULL;
	uint16_t port;
	int server = serve(SOCK_STREAM, &port);

	close(server);
	net.host_access = true;
	ck_assert_int_eq(dial(IP_PROTO_TCP, gateway(port), &request), -ECONNREFUSED);
	ck_assert_uint_eq(counters.value[COUNTER_EGRESS_FAILED], 1);
	ck_assert_uint_eq(egress_half_open(egress), 0);
}
END_TEST

static struct egress_refusal reported[400];
static size_t n_reported;

static void refused(
	void *arg, uint8_t proto, const struct endpoint *dst, int32_t by, uint32_t count)
{
	(void)arg;
	reported[n_reported++] = (struct egress_refusal){*dst, by, count, proto};
	loop_stop(loop);
}

START_TEST(forbidden_flows_are_refused_and_reported_once_a_second)
{
	struct endpoint host;
	int32_t by;

	n_reported = 0;
	egress_on_refused(egress, refused, NULL);
	set_policy(POLICY_PUBLIC);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(dial(IP_PROTO_TCP, at("192.168.1.1:80"), NULL), -EACCES);
	ck_assert_int_eq(
		egress_udp_permit(egress, EGRESS_GUEST,
			&(struct endpoint){at("10.9.9.9:53").addr, at("10.9.9.9:53").port}, &host),
		-EACCES);
	ck_assert_int_eq(dial(IP_PROTO_TCP, gateway(22), NULL), -EACCES);
	ck_assert_uint_eq(n_reported, 0);
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(n_reported, 3);
	ck_assert_uint_eq(reported[0].count, 5);
	ck_assert_int_eq(reported[0].by, POLICY_BY_PRESET);
	ck_assert_uint_eq(reported[0].dst.port, 80);
	ck_assert_uint_eq(reported[1].proto, IP_PROTO_UDP);
	ck_assert_int_eq(reported[2].by, POLICY_BY_HOST_ACCESS);
	ck_assert_uint_eq(counters.value[COUNTER_EGRESS_REFUSED_POLICY], 7);
	ck_assert(!egress_check(egress, EGRESS_GUEST, IP_PROTO_TCP,
		&(struct endpoint){at("10.0.0.1:1").addr, at("10.0.0.1:1").port}, &by));
	ck_assert_uint_eq(counters.value[COUNTER_EGRESS_REFUSED_POLICY], 7);
}
END_TEST

START_TEST(reports_are_bounded)
{
	n_reported = 0;
	egress_on_refused(egress, refused, NULL);
	set_policy(POLICY_NONE);
	for (uint16_t i = 1; i <= 300; i++) {
		struct endpoint dst = at("1.1.1.1:1");

		dst.port = i;
		ck_assert_int_eq(dial(IP_PROTO_TCP, dst, NULL), -EACCES);
	}
	ck_assert_int_eq(loop_run(loop), 0);
	ck_assert_uint_eq(n_reported, EGRESS_REFUSALS_MAX + 1);
	ck_assert_uint_eq(reported[EGRESS_REFUSALS_MAX].count, 300 - EGRESS_REFUSALS_MAX);
	ck_assert(addr_is_unspecified(&reported[EGRESS_REFUSALS_MAX].dst.addr));
}
END_TEST

START_TEST(no_policy_denies_and_a_bad_one_changes_nothing)
{
	struct egress *fresh = egress_new(loop, &counters, &net);
	struct endpoint dst = at("1.1.1.1:80");

	ck_assert(!egress_check(fresh, EGRESS_GUEST, IP_PROTO_TCP, &dst, NULL));
	egress_free(fresh);
	ck_assert(egress_check(egress, EGRESS_GUEST, IP_PROTO_TCP, &dst, NULL));
	ck_assert_int_eq(egress_policy_set(egress, "nonsense", 8), -EINVAL);
	ck_assert_int_eq(egress_policy_set(egress, NULL, 0), -EINVAL);
	ck_assert(egress_check(egress, EGRESS_GUEST, IP_PROTO_TCP, &dst, NULL));
}
END_TEST

START_TEST(operators_need_no_permission)
{
	uint16_t port;
	int server = serve(SOCK_STREAM, &port), fd;
	struct endpoint dst = at("127.0.0.1:1");

	dst.port = port;
	set_policy(POLICY_NONE);
	fd = egress_dial(egress, EGRESS_OPERATOR, IP_PROTO_TCP, &dst, done, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(
		egress_dial(egress, EGRESS_GUEST, IP_PROTO_TCP, &dst, done, NULL, NULL), -EACCES);
	close(server);
}
END_TEST

/* Fills a listener's backlog, after which the kernel leaves further connects in SYN_SENT. */
static void fill_backlog(uint16_t port, int fds[8])
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < 8; i++) {
		fds[i] = os_socket(AF_INET, SOCK_STREAM, 0, true);
		(void)connect(fds[i], (struct sockaddr *)&sin, sizeof(sin));
	}
	usleep(20000);
}

static void close_all(const int *fds, int n)
{
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

START_TEST(half_open_connects_are_bounded_and_can_be_cancelled)
{
	struct egress_request *requests[EGRESS_HALF_OPEN_EACH + 1];
	uint16_t port;
	int server = serve(SOCK_STREAM, &port), fillers[8];

	net.host_access = true;
	fill_backlog(port, fillers);
	for (unsigned i = 0; i < EGRESS_HALF_OPEN_EACH; i++)
		ck_assert_int_eq(dial(IP_PROTO_TCP, gateway(port), &requests[i]), -EINPROGRESS);
	ck_assert_int_eq(dial(IP_PROTO_TCP, gateway(port), &requests[64]), -EAGAIN);
	ck_assert_uint_eq(egress_half_open(egress), EGRESS_HALF_OPEN_EACH);
	ck_assert_uint_eq(counters.value[COUNTER_EGRESS_HALF_OPEN], 1);
	egress_cancel(requests[7]);
	ck_assert_uint_eq(egress_half_open(egress), EGRESS_HALF_OPEN_EACH - 1);
	ck_assert_int_eq(dial(IP_PROTO_TCP, gateway(port), &requests[7]), -EINPROGRESS);
	ck_assert_uint_eq(done_calls, 0);
	close_all(fillers, 8);
	close(server);
}
END_TEST

START_TEST(pending_connects_call_back)
{
	struct egress_request *request = NULL;
	uint16_t port;
	int server = serve(SOCK_STREAM, &port), fillers[8];
	uint64_t start = clock_ms();

	net.host_access = true;
	fill_backlog(port, fillers);
	ck_assert_int_eq(dial(IP_PROTO_TCP, gateway(port), &request), -EINPROGRESS);
	ck_assert_ptr_nonnull(request);
	close_all(fillers, 8);
	for (int fd = 0; fd >= 0;) {
		fd = os_accept(server, NULL, NULL);
		if (fd >= 0)
			close(fd);
	}
	ck_assert_int_eq(loop_run(loop), 0); /* the SYN is sent again after a second */
	ck_assert_uint_eq(done_calls, 1);
	ck_assert_int_ge(done_fd, 0);
	ck_assert_uint_lt(clock_ms() - start, 5000);
	ck_assert_uint_eq(egress_half_open(egress), 0);
	close(done_fd);
	close(server);
}
END_TEST

START_TEST(new_flows_leave_a_reserve_of_fds)
{
	struct rlimit limit, small;
	struct endpoint dst = at("127.0.0.1:9");
	int fds[256], n = 0, fd;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	small = limit;
	small.rlim_cur = 256;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &small), 0);
	egress_free(egress);
	egress = egress_new(loop, &counters, &net);
	while ((fd = egress_udp_open(egress, AF_INET, 0)) >= 0)
		fds[n++] = fd;
	ck_assert_int_eq(fd, -EMFILE);
	ck_assert_uint_eq(counters.value[COUNTER_EGRESS_NO_FDS], 1);
	fd = egress_dial(egress, EGRESS_OPERATOR, IP_PROTO_UDP, &dst, NULL, NULL, NULL);
	ck_assert_int_ge(fd, 256 - EGRESS_RESERVED_FDS);
	close(fd);
	close_all(fds, n);
	setrlimit(RLIMIT_NOFILE, &limit);
}
END_TEST

static uint16_t bound_port(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct endpoint e;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	ck_assert_int_eq(endpoint_from_sockaddr((struct sockaddr *)&ss, len, &e), 0);
	return e.port;
}

START_TEST(udp_keeps_the_guests_port_where_free)
{
	uint16_t port;
	int taken = serve(SOCK_DGRAM, &port), fd;

	fd = egress_udp_open(egress, AF_INET, port);
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_ne(bound_port(fd), port);
	close(fd);
	close(taken);
	fd = egress_udp_open(egress, AF_INET, port);
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(bound_port(fd), port);
	close(fd);
}
END_TEST

START_TEST(the_gateway_is_loopback_and_back)
{
	struct endpoint host, seen, there = gateway(80), far = at("1.1.1.1:53");

	net.host_access = true;
	ck_assert_int_eq(egress_udp_permit(egress, EGRESS_GUEST, &there, &host), 0);
	ck_assert(addr_is_loopback(&host.addr));
	ck_assert_uint_eq(host.port, 80);
	seen = egress_from_host(egress, &host);
	ck_assert(endpoint_eq(&seen, &there));
	host = egress_to_host(egress, EGRESS_GUEST, &far);
	ck_assert(endpoint_eq(&host, &far));
}
END_TEST

START_TEST(pings_are_a_connected_socket_or_an_honest_no)
{
	int fd;

	net.host_access = true;
	fd = dial(IP_PROTO_ICMP, gateway(0), NULL);
	ck_assert(fd >= 0 || fd == -EPROTONOSUPPORT);
	if (fd >= 0)
		close(fd);
	ck_assert_int_eq(dial(47, at("1.1.1.1:0"), NULL), -EACCES);
}
END_TEST

START_TEST(a_guest_without_a_network_means_the_hosts_loopback)
{
	static const struct {
		const char *named, *host;
	} cases[] = {{"127.0.0.1", "127.0.0.1"}, {"127.0.0.53", "127.0.0.53"}, {"::1", "::1"},
		{"0.0.0.0", "127.0.0.1"}, {"::", "::1"}, {"10.0.2.2", "127.0.0.1"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct endpoint dst = {.port = 80}, to;
		struct addr want;

		addr_parse(cases[i].named, &dst.addr);
		addr_parse(cases[i].host, &want);
		to = egress_to_host(egress, EGRESS_TSI, &dst);
		ck_assert(addr_eq(&to.addr, &want));
		net.host_access = true;
		ck_assert(egress_check(egress, EGRESS_TSI, IP_PROTO_TCP, &dst, NULL));
		ck_assert(egress_check(egress, EGRESS_GUEST, IP_PROTO_TCP, &dst, NULL) == (i == 5));
		net.host_access = false;
		ck_assert(!egress_check(egress, EGRESS_TSI, IP_PROTO_TCP, &dst, NULL));
	}
}
END_TEST

static Suite *egress_suite(void)
{
	Suite *s = suite_create("egress");
	TCase *tc = tcase_create("egress");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, local_connects_stand_at_once);
	tcase_add_test(tc, refusals_are_known_at_once);
	tcase_add_test(tc, forbidden_flows_are_refused_and_reported_once_a_second);
	tcase_add_test(tc, reports_are_bounded);
	tcase_add_test(tc, no_policy_denies_and_a_bad_one_changes_nothing);
	tcase_add_test(tc, operators_need_no_permission);
	tcase_add_test(tc, half_open_connects_are_bounded_and_can_be_cancelled);
	tcase_add_test(tc, pending_connects_call_back);
	tcase_add_test(tc, new_flows_leave_a_reserve_of_fds);
	tcase_add_test(tc, udp_keeps_the_guests_port_where_free);
	tcase_add_test(tc, the_gateway_is_loopback_and_back);
	tcase_add_test(tc, pings_are_a_connected_socket_or_an_honest_no);
	tcase_add_test(tc, a_guest_without_a_network_means_the_hosts_loopback);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(egress_suite());
}
