/* SPDX-License-Identifier: MIT */
/*
 * The one door: see dial.h.
 *
 * A TCP dial is socket, two options, connect, and connect once more: to an address of this machine
 * the handshake happens inside the first call, though that says EINPROGRESS, and the second call
 * learns how it went. So local connections cost no event, no request and no turn of the loop, and a refusal by
 * the host itself is known before the caller's SYN handler returns. Only a connect that is still
 * under way then becomes a request: an event, a timer, and a place in the count of half-open ones.
 *
 * A flow that goes by a proxy (proxy.h) is a request from its beginning: it waits for a tunnel
 * (tunnel.h), and counts as half-open to its destination, not to the proxy. What comes out is a
 * socket at the flow's first byte, so that nothing beyond this file knows that there was a proxy. Where
 * the proxy is of no use and the operator said that the flow may then go straight there, the request
 * waits for a second one, that does.
 */
#include "dataplane/egress/dial.h"

#include "common/be.h"
#include "common/clock.h"
#include "common/os.h"
#include "common/siphash.h"
#include "common/tcp_socket.h"
#include "dataplane/egress/dial_internal.h"
#include "dataplane/egress/names.h"
#include "dataplane/egress/route.h"
#include "dataplane/egress/tunnel.h"
#include "dataplane/stack/frame.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define REQUEST_BUCKETS 256u /* a power of two */

struct egress_request {
	struct egress *egress;
	struct egress_request *next, **prev; /* in its bucket, by destination */
	struct endpoint dst;                 /* for the host */
	struct event *ready;
	struct timer deadline;
	egress_done_fn done;
	void *arg;
	int fd;            /* -1: not its own */
	bool counted;      /* as half-open */
	uint64_t begun_us; /* clock_us(); 0: nobody asks how long it takes */
	/* by a proxy */
	struct tunnel *tunnel;
	struct egress_request *direct; /* instead of it */
	struct endpoint straight;      /* where that would go */
	bool direct_on_failure;
	uint8_t server;
};

struct egress {
	struct loop *loop;
	struct counters *counters;
	const struct net *net;
	struct egress_policy policy;
	uint64_t fd_limit; /* RLIMIT_NOFILE */
	size_t half_open;
	struct proxies *proxies; /* NULL: all flows go straight there */
	struct proxy_log troubles;
	struct egress_relays relays;
	struct siphash_key seed; /* of the buckets, since guests choose destinations */
	struct egress_request *requests[REQUEST_BUCKETS];
};

struct egress *egress_new(struct loop *loop, struct counters *counters, const struct net *net)
{
	struct egress *e = calloc(1, sizeof(*e));
	struct rlimit limit;

	if (!e)
		return NULL;
	e->loop = loop;
	e->counters = counters;
	e->net = net;
	e->fd_limit = 1024;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		e->fd_limit = limit.rlim_cur;
	os_random(&e->seed, sizeof(e->seed));
	egress_policy_init(&e->policy, loop, net);
	proxy_log_init(&e->troubles, loop);
	return e;
}

static struct egress_request *first_of(struct egress_request *r, bool counted)
{
	while (r && r->counted != counted)
		r = r->next;
	return r;
}

static void cancel_all(struct egress *e, bool counted)
{
	struct egress_request *r;

	for (size_t i = 0; i < REQUEST_BUCKETS; i++) {
		while ((r = first_of(e->requests[i], counted)))
			egress_cancel(r);
	}
}

void egress_free(struct egress *e)
{
	if (!e)
		return;
	cancel_all(e, true); /* with what waits for a proxy goes the connect to that */
	cancel_all(e, false);
	egress_policy_clear(&e->policy);
	proxy_log_clear(&e->troubles);
	proxies_unref(e->proxies);
	free(e);
}

/* ---- verdicts ---- */

int egress_policy_set(struct egress *e, const void *table, size_t len, uint64_t document)
{
	return egress_policy_replace(&e->policy, table, len, document);
}

void egress_set_names(struct egress *e, const struct policy_names *names)
{
	e->policy.names = *names;
}

const struct policy_names *egress_names(const struct egress *e)
{
	return &e->policy.names;
}

const void *egress_table(const struct egress *e)
{
	return e->policy.table;
}

void egress_restart_counts(struct egress *e)
{
	egress_policy_restart_counts(&e->policy);
}

const struct rule_counts *egress_rule_counts(const struct egress *e)
{
	return &e->policy.counts;
}

void egress_on_refused(struct egress *e, egress_refused_fn fn, void *arg)
{
	e->policy.refused = fn;
	e->policy.refused_arg = arg;
}

void egress_report_refusals(struct egress *e)
{
	egress_policy_report(&e->policy);
}

struct policy_verdict egress_check(
	const struct egress *e, enum egress_who who, uint8_t proto, const struct endpoint *dst)
{
	struct endpoint judged = egress_judged(e->net, who, dst);

	return egress_policy_judge(&e->policy, proto, &judged);
}

static void refused(
	struct egress *e, uint8_t proto, const struct endpoint *dst, int32_t by, const char *name)
{
	counter_inc(e->counters, COUNTER_EGRESS_REFUSED_POLICY);
	egress_policy_note(&e->policy, proto, dst, by, name);
}

/* The verdict with its consequences: 0 or -EACCES. */
static int admit(struct egress *e, enum egress_who who, uint8_t proto, const struct endpoint *dst,
	struct egress_pass *pass)
{
	struct policy_verdict verdict = egress_check(e, who, proto, dst);

	if (verdict.allow) {
		egress_policy_enter(&e->policy, &verdict, pass);
		return 0;
	}
	refused(e, proto, dst, verdict.by, verdict.name);
	return -EACCES;
}

bool egress_stands(struct egress *e, enum egress_who who, uint8_t proto, const struct endpoint *dst,
	struct egress_pass *pass)
{
	struct endpoint judged = egress_judged(e->net, who, dst);
	struct policy_verdict verdict = egress_policy_judge_pass(&e->policy, proto, &judged, pass);

	if (verdict.allow)
		egress_policy_enter(&e->policy, &verdict, pass);
	return verdict.allow;
}

bool egress_admit_as(struct egress *e, enum egress_who who, uint8_t proto,
	const struct endpoint *dst, const char *name, struct egress_pass *pass)
{
	struct endpoint judged = egress_judged(e->net, who, dst);
	struct policy_verdict verdict = egress_policy_judge_as(&e->policy, proto, &judged, name);

	if (!verdict.allow) {
		refused(e, proto, dst, verdict.by, name);
		return false;
	}
	egress_policy_enter(&e->policy, &verdict, pass);
	pass->verified = true;
	return true;
}

bool egress_admit_nameless(struct egress *e, enum egress_who who, uint8_t proto,
	const struct endpoint *dst, struct egress_pass *pass)
{
	struct endpoint judged = egress_judged(e->net, who, dst);
	struct policy_verdict verdict = egress_policy_judge_as(&e->policy, proto, &judged, "");

	if (!verdict.allow) {
		egress_refuse(e, proto, dst, pass); /* of the rule that let it in for its name */
		return false;
	}
	egress_policy_enter(&e->policy, &verdict, pass);
	pass->verified = true;
	return true;
}

void egress_refuse(
	struct egress *e, uint8_t proto, const struct endpoint *dst, const struct egress_pass *pass)
{
	refused(e, proto, dst, pass->verdict.by, pass->verdict.name);
}

void egress_refuse_name(
	struct egress *e, uint8_t proto, const struct endpoint *asked, const char *name)
{
	int32_t by = policy_table_name_denied_by(e->policy.table, name);

	egress_policy_note(&e->policy, proto, asked, by, name);
}

void egress_account(struct egress *e, const struct egress_pass *pass, uint64_t tx, uint64_t rx)
{
	struct rule_count *count = egress_policy_count(&e->policy, pass);

	if (!count)
		return;
	count->tx_bytes += tx;
	count->rx_bytes += rx;
}

void egress_leave(struct egress_pass *pass)
{
	free((void *)(uintptr_t)pass->verdict.name);
	*pass = (struct egress_pass){.era = 0};
}

/* ---- half-open connects ---- */

static size_t bucket_of(const struct egress *e, const struct endpoint *dst)
{
	uint8_t key[18];

	memcpy(key, dst->addr.b, 16);
	store_be16(key + 16, dst->port);
	return siphash(&e->seed, key, sizeof(key)) & (REQUEST_BUCKETS - 1);
}

static bool half_open_full(const struct egress *e, const struct endpoint *dst)
{
	unsigned same = 0;

	if (e->half_open >= EGRESS_HALF_OPEN_MAX)
		return true;
	if (e->half_open < EGRESS_HALF_OPEN_EACH)
		return false;
	for (const struct egress_request *r = e->requests[bucket_of(e, dst)]; r; r = r->next)
		same += r->counted && endpoint_eq(&r->dst, dst);
	return same >= EGRESS_HALF_OPEN_EACH;
}

static void request_free(struct egress_request *r)
{
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	r->egress->half_open -= r->counted;
	timer_disarm(loop_wheel(r->egress->loop), &r->deadline);
	if (r->ready)
		event_free(r->ready);
	free(r);
}

void egress_cancel(struct egress_request *r)
{
	int fd = r->fd;

	if (r->tunnel)
		tunnel_cancel(r->tunnel);
	if (r->direct)
		egress_cancel(r->direct);
	request_free(r);
	if (fd >= 0)
		close(fd);
}

static void connected(struct egress *e, uint64_t begun_us)
{
	counter_time(e->counters, HISTOGRAM_CONNECT, clock_us() - begun_us);
}

static void finish(struct egress_request *r, int error)
{
	egress_done_fn done = r->done;
	void *arg = r->arg;
	int fd = r->fd;

	if (error)
		counter_inc(r->egress->counters, COUNTER_EGRESS_FAILED);
	else if (r->begun_us)
		connected(r->egress, r->begun_us);
	request_free(r);
	if (error && fd >= 0)
		close(fd);
	done(arg, error ? error : fd);
}

static void on_deadline(struct timer *timer)
{
	struct egress_request *r = (struct egress_request *)((char *)timer -
		offsetof(struct egress_request, deadline));

	finish(r, -ETIMEDOUT);
}

static int connect_error(int err)
{
	return err == EACCES || err == EAGAIN ? -EPERM : -err;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct egress_request *r = arg;
	int err = 0;
	socklen_t len = sizeof(err);

	(void)what;
	if (getsockopt((int)fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	finish(r, err ? connect_error(err) : 0);
}

/* A place among the requests; counted: one more half-open connect to dst. NULL without memory. */
static struct egress_request *request_new(struct egress *e, const struct endpoint *dst, int fd,
	bool counted, egress_done_fn done, void *arg)
{
	struct egress_request **head = &e->requests[bucket_of(e, dst)], *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct egress_request){
		.egress = e,
		.next = *head,
		.prev = head,
		.dst = *dst,
		.deadline = {.fire = on_deadline},
		.done = done,
		.arg = arg,
		.fd = fd,
		.counted = counted,
	};
	if (r->next)
		r->next->prev = &r->next;
	*head = r;
	e->half_open += counted;
	return r;
}

static int await(struct egress *e, int fd, const struct endpoint *dst, bool counted,
	egress_done_fn done, void *arg, struct egress_request **out)
{
	struct egress_request *r = request_new(e, dst, fd, counted, done, arg);

	if (!r)
		return -EMFILE;
	r->ready = event_new(loop_base(e->loop), fd, EV_WRITE, on_ready, r);
	if (!r->ready || event_add(r->ready, NULL) < 0) {
		request_free(r);
		return -EMFILE;
	}
	timer_arm(loop_wheel(e->loop), &r->deadline, EGRESS_CONNECT_MS);
	*out = r;
	return -EINPROGRESS;
}

size_t egress_half_open(const struct egress *e)
{
	return e->half_open;
}

/* ---- sockets ---- */

/*
 * A socket, unless that would eat into the reserve: the kernel gives out the lowest free number,
 * so a high one means that nearly all are taken. The operator's may use half of the reserve.
 */
static int open_socket(struct egress *e, enum egress_who who, int family, int type, int protocol)
{
	uint64_t reserve = who == EGRESS_OPERATOR ? EGRESS_RESERVED_FDS / 2 : EGRESS_RESERVED_FDS;
	int fd = os_socket(family, type, protocol, true);

	if (fd >= 0 && (uint64_t)fd + reserve < e->fd_limit)
		return fd;
	if (fd >= 0) {
		close(fd);
		fd = -EMFILE;
	}
	switch (fd) {
	case -ENFILE:
	case -ENOBUFS:
	case -ENOMEM:
		fd = -EMFILE;
		/* fallthrough */
	case -EMFILE:
		counter_inc(e->counters, COUNTER_EGRESS_NO_FDS);
		return fd;
	case -EACCES:
	case -EPERM:
		return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6 ? -EPROTONOSUPPORT
									      : -EPERM;
	default:
		return fd;
	}
}

/* 0, -EINPROGRESS, or the error. Only stream sockets are ever in progress. */
static int start_connect(int fd, const struct endpoint *host)
{
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(host, &ss);

	if (connect(fd, (struct sockaddr *)&ss, len) == 0)
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return connect_error(errno);
	if (connect(fd, (struct sockaddr *)&ss, len) == 0 || errno == EISCONN)
		return 0;
	if (errno == EALREADY || errno == EINPROGRESS || errno == EINTR)
		return -EINPROGRESS;
	return connect_error(errno);
}

/* counted: it is the flow's own connect, and bounded as such. */
static int dial_tcp(struct egress *e, enum egress_who who, const struct endpoint *host,
	bool counted, egress_done_fn done, void *arg, struct egress_request **request)
{
	int fd, rc;

	if (counted && half_open_full(e, host)) {
		counter_inc(e->counters, COUNTER_EGRESS_HALF_OPEN);
		return -EAGAIN;
	}
	fd = open_socket(e, who, addr_family(&host->addr), SOCK_STREAM, IPPROTO_TCP);
	if (fd < 0)
		return fd;
	if (who != EGRESS_OPERATOR)
		tcp_socket_splice(fd);
	rc = start_connect(fd, host);
	if (rc == 0)
		return fd;
	if (rc == -EINPROGRESS)
		rc = await(e, fd, host, counted, done, arg, request);
	if (rc != -EINPROGRESS) {
		counter_inc(e->counters, COUNTER_EGRESS_FAILED);
		close(fd);
	}
	return rc;
}

int egress_dial_host(struct egress *e, const struct endpoint *host, egress_done_fn done, void *arg,
	struct egress_request **request)
{
	return dial_tcp(e, EGRESS_GUEST, host, false, done, arg, request);
}

static int dial_datagram(
	struct egress *e, enum egress_who who, uint8_t proto, const struct endpoint *host)
{
	int family = addr_family(&host->addr), protocol = IPPROTO_UDP;
	int fd, rc;

	if (proto == IP_PROTO_ICMP)
		protocol = family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	fd = open_socket(e, who, family, SOCK_DGRAM, protocol);
	if (fd < 0)
		return fd;
	rc = start_connect(fd, host);
	if (rc < 0) {
		counter_inc(e->counters, COUNTER_EGRESS_FAILED);
		close(fd);
		return rc;
	}
	return fd;
}

/* ---- by a proxy ---- */

static void on_direct(void *arg, int fd)
{
	struct egress_request *r = arg;

	r->direct = NULL;
	r->fd = fd < 0 ? -1 : fd;
	finish(r, fd < 0 ? fd : 0);
}

/* The proxy was of no use. */
static void go_straight(struct egress_request *r)
{
	int fd = egress_dial_host(r->egress, &r->straight, on_direct, r, &r->direct);

	counter_inc(r->egress->counters, COUNTER_PROXY_FALLBACKS);
	if (fd != -EINPROGRESS)
		on_direct(r, fd);
}

static void on_tunnel(void *arg, const struct tunnel_end *end)
{
	struct egress_request *r = arg;
	struct egress *e = r->egress;

	r->tunnel = NULL;
	if (end->fd >= 0) {
		counter_inc(e->counters, COUNTER_PROXY_TUNNELS);
		r->fd = end->fd;
		finish(r, 0);
		return;
	}
	if (end->of_no_use)
		egress_proxy_trouble(e, r->server, end->trouble);
	else
		counter_inc(e->counters, COUNTER_PROXY_REFUSED);
	if (end->of_no_use && r->direct_on_failure)
		go_straight(r);
	else
		finish(r, end->fd);
}

static int dial_by_proxy(struct egress *e, const struct proxy_choice *choice,
	const struct endpoint *dst, const struct endpoint *straight, egress_done_fn done, void *arg,
	struct egress_request **request)
{
	struct egress_request *r;

	if (half_open_full(e, dst)) {
		counter_inc(e->counters, COUNTER_EGRESS_HALF_OPEN);
		return -EAGAIN;
	}
	r = request_new(e, dst, -1, true, done, arg);
	if (!r)
		return -EMFILE;
	r->server = choice->server->index;
	r->straight = *straight;
	r->direct_on_failure = e->proxies->direct_on_failure;
	r->tunnel = tunnel_new(e, e->loop, e->proxies, choice->server, SOCKS5_CONNECT, dst,
		choice->name, on_tunnel, r);
	if (!r->tunnel) {
		request_free(r);
		return -EMFILE;
	}
	*request = r;
	return -EINPROGRESS;
}

/* What a proxy is told is what the policy has judged: a name where it was the name, an address where
 * a rule of the VM's own has admitted that. Else the name that the guest has asked for. */
static struct proxy_choice choose(const struct egress *e, uint8_t proto, const struct endpoint *dst,
	const struct egress_pass *pass)
{
	const struct policy_verdict *verdict = &pass->verdict;
	const char *name = verdict->by_name ? verdict->name : NULL;

	if (!e->proxies)
		return (struct proxy_choice){.server = NULL};
	if (!name)
		name = names_best(&e->policy.names, &dst->addr);
	return proxies_choose(e->proxies, proto, dst, name, verdict->by_name || verdict->by < 0);
}

/* 0 where it may go straight there after all. */
static int unfit(struct egress *e, const struct proxy_choice *choice)
{
	egress_proxy_trouble(e, choice->server->index, PROXY_UNFIT);
	if (!e->proxies->direct_on_failure)
		return -EHOSTUNREACH;
	counter_inc(e->counters, COUNTER_PROXY_FALLBACKS);
	return 0;
}

/* A guest's connect is timed, whichever way it goes. */
static int dial_timed(struct egress *e, enum egress_who who, const struct proxy_choice *choice,
	const struct endpoint *dst, const struct endpoint *via, egress_done_fn done, void *arg,
	struct egress_request **request)
{
	uint64_t begun_us = clock_us();
	int rc = choice->server ? dial_by_proxy(e, choice, dst, via, done, arg, request)
				: dial_tcp(e, who, via, true, done, arg, request);

	if (who == EGRESS_OPERATOR)
		return rc;
	if (rc >= 0)
		connected(e, begun_us);
	else if (rc == -EINPROGRESS)
		(*request)->begun_us = begun_us;
	return rc;
}

/* A permitted flow's way. */
static int dial(struct egress *e, enum egress_who who, uint8_t proto, const struct endpoint *dst,
	const struct egress_pass *pass, egress_done_fn done, void *arg,
	struct egress_request **request)
{
	struct egress_route route = egress_route(e->net, who, dst);
	struct proxy_choice choice = {.server = NULL};
	int rc;

	counter_inc(e->counters, COUNTER_EGRESS_DIALS);
	if (who != EGRESS_OPERATOR)
		choice = choose(e, proto, &route.via, pass);
	if (choice.unfit) {
		rc = unfit(e, &choice);
		if (rc < 0)
			return rc;
		choice.server = NULL;
	}
	if (proto == IP_PROTO_TCP)
		return dial_timed(e, who, &choice, dst, &route.via, done, arg, request);
	if (proto == IP_PROTO_UDP || proto == IP_PROTO_ICMP)
		return dial_datagram(e, who, proto, &route.via);
	return -EPROTONOSUPPORT;
}

int egress_dial(struct egress *e, enum egress_who who, uint8_t proto, const struct endpoint *dst,
	struct egress_pass *pass, egress_done_fn done, void *arg, struct egress_request **request)
{
	int rc;

	if (who != EGRESS_OPERATOR) {
		rc = admit(e, who, proto, dst, pass);
		if (rc < 0)
			return rc;
	}
	rc = dial(e, who, proto, dst, pass, done, arg, request);
	if (rc < 0 && rc != -EINPROGRESS && who != EGRESS_OPERATOR)
		egress_leave(pass);
	return rc;
}

bool egress_proxies_set(struct egress *e, struct proxies *proxies)
{
	bool same = proxies_equal(e->proxies, proxies);

	if (same) {
		proxies_unref(proxies);
		return false;
	}
	proxies_unref(e->proxies);
	e->proxies = proxies;
	return true;
}

struct proxies *egress_proxies(const struct egress *e)
{
	return e->proxies;
}

bool egress_fake_ip(const struct egress *e)
{
	return e->proxies && e->proxies->fake_ip;
}

void egress_on_proxy_trouble(struct egress *e, proxy_trouble_fn fn, void *arg)
{
	e->troubles.tell = fn;
	e->troubles.arg = arg;
}

struct egress_relays *egress_relays(struct egress *e)
{
	return &e->relays;
}

void egress_proxy_trouble(struct egress *e, uint8_t server, enum proxy_trouble trouble)
{
	counter_inc(
		e->counters, trouble == PROXY_UNFIT ? COUNTER_PROXY_UNFIT : COUNTER_PROXY_FAILED);
	proxy_log_note(&e->troubles, server, trouble);
}

/* ---- UDP ---- */

int egress_udp_way(struct egress *e, const struct endpoint *host, const struct egress_pass *pass,
	struct proxy_choice *choice)
{
	int rc;

	*choice = choose(e, IP_PROTO_UDP, host, pass);
	if (!choice->unfit)
		return 0;
	rc = unfit(e, choice);
	*choice = (struct proxy_choice){.server = NULL};
	return rc;
}
/* ---- UDP ---- */

int egress_udp_open(struct egress *e, int family, uint16_t port)
{
	struct endpoint own = {
		.addr = family == AF_INET ? addr_from_v4(0) : addr_any, .port = port};
	struct sockaddr_storage ss;
	socklen_t len = endpoint_to_sockaddr(&own, &ss);
	int fd = open_socket(e, EGRESS_GUEST, family, SOCK_DGRAM, IPPROTO_UDP);
	int on = 1;

	if (fd < 0)
		return fd;
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len) == 0)
		return fd;
	own.port = 0; /* taken, or privileged */
	len = endpoint_to_sockaddr(&own, &ss);
	if (bind(fd, (struct sockaddr *)&ss, len) == 0)
		return fd;
	close(fd);
	counter_inc(e->counters, COUNTER_EGRESS_FAILED);
	return -EADDRINUSE;
}

int egress_udp_permit(struct egress *e, enum egress_who who, const struct endpoint *dst,
	struct endpoint *host, struct egress_pass *pass)
{
	int rc = admit(e, who, IP_PROTO_UDP, dst, pass);

	if (rc == 0)
		*host = egress_to_host(e, who, dst);
	return rc;
}

struct endpoint egress_to_host(
	const struct egress *e, enum egress_who who, const struct endpoint *dst)
{
	return egress_route(e->net, who, dst).via;
}

struct endpoint egress_from_host(const struct egress *e, const struct endpoint *src)
{
	struct endpoint seen = *src;

	if (addr_is_loopback(&src->addr))
		seen.addr = e->net->gateway;
	return seen;
}
