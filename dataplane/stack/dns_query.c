/* SPDX-License-Identifier: MIT */
/*
 * A question under way at the upstreams.
 *
 *	        ┌──────────── next upstream (2 s, unreachable, SERVFAIL, REFUSED, NOTIMP) ◄──┐
 *	        ▼                                                                            │
 *	start ─► UDP: fresh socket, fresh id ──answer──► TC, and asked by TCP? ──► TCP ──────┤
 *	                                                      │ no                  │ answer │
 *	                                                      ▼                     ▼        ▼
 *	                                                  delivered             delivered  SERVFAIL
 *
 * An answer is believed if it comes from the upstream's address and port to the socket of just
 * this question (the kernel sees to both: the socket is connected), and repeats the id and the
 * question. All else on that socket is counted and ignored. The last upstream's answer is passed
 * on whatever it says.
 */
#include "common/be.h"
#include "common/clock.h"
#include "common/os.h"
#include "dataplane/stack/dns_state.h"
#include "dataplane/stack/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATAGRAMS_MAX 8 /* looked at before others get a turn */

struct dns_query {
	struct dns *dns;
	struct dns_query *next, **at;             /* in dns->queries */
	struct dns_query *next_asker, **at_asker; /* in its bucket, for UDP askers */
	struct dns_asker asker;
	struct dns_query_info info;
	size_t upstream;   /* place in the list */
	uint16_t id;       /* as the upstream sees it */
	uint64_t begun_us; /* clock_us() */

	int fd; /* -1: none */
	struct event *readable;
	struct egress_request *connecting;
	struct timer deadline;

	uint8_t *in; /* TCP: the answer with its length, as far as it came */
	size_t in_len, in_want;

	size_t len;
	uint8_t msg[]; /* two bytes of length for TCP, then the question */
};

static void ask(struct dns_query *q);
static void ask_next(struct dns_query *q);

/* ---- life and death ---- */

static uint16_t random_id(struct dns *dns)
{
	if (!dns->ids_left) {
		os_random(dns->ids, sizeof(dns->ids));
		dns->ids_left = sizeof(dns->ids) / sizeof(dns->ids[0]);
	}
	return dns->ids[--dns->ids_left];
}

static struct dns_query **bucket_of(struct dns *dns, const struct dns_asker *asker, uint16_t id)
{
	uint8_t key[20];

	memcpy(key, asker->from.guest.addr.b, 16);
	store_be16(key + 16, asker->from.guest.port);
	store_be16(key + 18, id);
	return &dns->by_asker[siphash(&dns->key, key, sizeof(key)) & (DNS_BUCKETS - 1)];
}

/* Lets go of the present upstream's socket. */
static void hang_up(struct dns_query *q)
{
	if (q->readable)
		event_free(q->readable);
	if (q->connecting)
		egress_cancel(q->connecting);
	if (q->fd >= 0)
		close(q->fd);
	free(q->in);
	q->readable = NULL;
	q->connecting = NULL;
	q->fd = -1;
	q->in = NULL;
	q->in_len = q->in_want = 0;
}

static void query_free(struct dns_query *q)
{
	hang_up(q);
	timer_disarm(loop_wheel(q->dns->loop), &q->deadline);
	*q->at = q->next;
	if (q->next)
		q->next->at = q->at;
	if (q->at_asker) {
		*q->at_asker = q->next_asker;
		if (q->next_asker)
			q->next_asker->at_asker = q->at_asker;
	}
	q->dns->query_count--;
	free(q);
}

void dns_queries_cancel(struct dns *dns, const struct dns_conn *conn)
{
	struct dns_query *q = dns->queries, *next;

	for (; q; q = next) {
		next = q->next;
		if (!conn || q->asker.conn == conn)
			query_free(q);
	}
}

static void on_deadline(struct timer *timer)
{
	struct dns_query *q =
		(struct dns_query *)((char *)timer - offsetof(struct dns_query, deadline));

	ask_next(q);
}

static void link_query(struct dns_query *q)
{
	struct dns *dns = q->dns;
	struct dns_query **bucket = bucket_of(dns, &q->asker, q->info.id);

	q->next = dns->queries;
	q->at = &dns->queries;
	if (q->next)
		q->next->at = &q->next;
	dns->queries = q;
	dns->query_count++;
	if (q->asker.conn)
		return;
	q->next_asker = *bucket;
	q->at_asker = bucket;
	if (q->next_asker)
		q->next_asker->at_asker = &q->next_asker;
	*bucket = q;
}

static bool same_asker(const struct dns_from *a, const struct dns_from *b)
{
	return a->proxy == b->proxy && endpoint_eq(&a->guest, &b->guest) &&
		endpoint_eq(&a->asked, &b->asked);
}

static struct dns_query *find(struct dns *dns, const struct dns_asker *asker, uint16_t id)
{
	struct dns_query *q = *bucket_of(dns, asker, id);

	for (; q; q = q->next_asker) {
		if (q->info.id == id && same_asker(&q->asker.from, &asker->from))
			break;
	}
	return q;
}

int dns_query_start(struct dns *dns, const struct dns_asker *asker,
	const struct dns_query_info *info, const uint8_t *msg, size_t len)
{
	struct dns_query *q = asker->conn ? NULL : find(dns, asker, info->id);

	if (q && dns_question_eq(&q->info.question, &info->question))
		return -EALREADY;
	if (q) /* the socket reuses the id, so nobody waits for the old answer */
		query_free(q);
	if (dns->query_count >= DNS_QUERIES_MAX)
		return -ENOBUFS;
	q = calloc(1, sizeof(*q) + 2 + len);
	if (!q)
		return -ENOMEM;
	q->dns = dns;
	q->asker = *asker;
	q->info = *info;
	q->fd = -1;
	q->deadline.fire = on_deadline;
	q->begun_us = clock_us();
	q->len = len;
	store_be16(q->msg, (uint16_t)len);
	memcpy(q->msg + 2, msg, len);
	link_query(q);
	counter_inc(dns->counters, COUNTER_DNS_FORWARDED);
	ask(q);
	return 0;
}

/* ---- the answer ---- */

/* Ends it with an answer of our own. */
static void fail(struct dns_query *q, enum dns_rcode rcode)
{
	struct dns *dns = q->dns;
	struct dns_asker asker = q->asker;
	struct dns_query_info info = q->info;
	uint8_t question[DNS_UDP_SIZE];

	counter_time(dns->counters, HISTOGRAM_DNS, clock_us() - q->begun_us);
	memcpy(question, q->msg + 2, q->info.question_end);
	query_free(q);
	dns_deliver_error(dns, &asker, &info, question, rcode);
}

/* Hands a message over; the query is gone, also where msg is its own buffer. */
static void deliver(struct dns_query *q, uint8_t *msg, size_t len)
{
	struct dns *dns = q->dns;
	struct dns_asker asker = q->asker;
	struct dns_query_info info = q->info;
	uint8_t *in = q->in;

	counter_time(dns->counters, HISTOGRAM_DNS, clock_us() - q->begun_us);
	q->in = NULL;
	query_free(q);
	dns_cache_put(dns->cache, &info, msg, len, loop_now(dns->loop));
	dns_pass_on(dns, &asker, &info, msg, len);
	free(in);
}

/* Whether a message answers this query. Servers that could not read the question may leave it out
 * where they say so. */
static bool is_answer(
	const struct dns_query *q, const uint8_t *msg, size_t len, struct dns_header *h)
{
	struct dns_cursor c = {msg, len, 0};
	struct dns_question question;

	if (!dns_read_header(&c, h) || !(h->flags & DNS_QR) || h->id != q->id)
		return false;
	if (h->questions == 0)
		return (h->flags & DNS_RCODE) != DNS_NOERROR;
	return h->questions == 1 && dns_read_question(&c, &question) &&
		c.at == q->info.question_end && dns_question_eq(&question, &q->info.question);
}

static bool is_failure(uint16_t flags)
{
	unsigned rcode = flags & DNS_RCODE;

	return rcode == DNS_SERVFAIL || rcode == DNS_REFUSED || rcode == DNS_NOTIMP;
}

static void ask_tcp(struct dns_query *q);

/* False where msg is no answer to q, which then goes on waiting. */
static bool take_answer(struct dns_query *q, uint8_t *msg, size_t len, bool by_tcp)
{
	struct dns_header h;

	if (!is_answer(q, msg, len, &h)) {
		counter_inc(q->dns->counters, COUNTER_DNS_STRANGE_ANSWERS);
		return false;
	}
	if (is_failure(h.flags) && q->upstream + 1 < q->dns->upstream_count)
		ask_next(q);
	else if (h.questions == 0)
		fail(q, (enum dns_rcode)(h.flags & DNS_RCODE));
	else if (h.flags & DNS_TC && q->asker.conn && !by_tcp)
		ask_tcp(q);
	else
		deliver(q, msg, len);
	return true;
}

/* ---- UDP ---- */

static void on_datagram(evutil_socket_t fd, short what, void *arg)
{
	struct dns_query *q = arg;

	(void)what;
	for (int i = 0; i < DATAGRAMS_MAX; i++) {
		ssize_t n = recv((int)fd, q->dns->buf, sizeof(q->dns->buf), 0);

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			return;
		if (n < 0) { /* refused, unreachable */
			ask_next(q);
			return;
		}
		if (take_answer(q, q->dns->buf, (size_t)n, false))
			return;
	}
}

static bool await(struct dns_query *q, event_callback_fn fn)
{
	struct event_base *base = loop_base(q->dns->loop);

	q->readable = event_new(base, q->fd, EV_READ | EV_PERSIST, fn, q);
	return q->readable && event_add(q->readable, NULL) == 0;
}

static bool ask_udp(struct dns_query *q)
{
	q->fd = egress_dial(q->dns->egress, EGRESS_OPERATOR, IP_PROTO_UDP,
		&q->dns->upstreams[q->upstream], NULL, NULL, NULL, NULL);
	if (q->fd < 0)
		return false;
	q->id = random_id(q->dns);
	store_be16(q->msg + 2, q->id);
	return await(q, on_datagram) && os_send(q->fd, q->msg + 2, q->len, 0) == (ssize_t)q->len;
}

/* Asks the present upstream, or the first after it that can be asked at all. */
static void ask(struct dns_query *q)
{
	for (; q->upstream < q->dns->upstream_count; q->upstream++) {
		hang_up(q);
		if (ask_udp(q)) {
			timer_arm(loop_wheel(q->dns->loop), &q->deadline, DNS_UPSTREAM_MS);
			return;
		}
	}
	fail(q, DNS_SERVFAIL);
}

static void ask_next(struct dns_query *q)
{
	q->upstream++;
	ask(q);
}

/* ---- TCP ---- */

/* Reads towards in_want. 1 when it is there, 0 when there is more to come, -1 at the end. */
static int read_some(struct dns_query *q)
{
	ssize_t n = recv(q->fd, q->in + q->in_len, q->in_want - q->in_len, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	q->in_len += (size_t)n;
	return q->in_len == q->in_want;
}

static void on_stream(evutil_socket_t fd, short what, void *arg)
{
	struct dns_query *q = arg;
	uint8_t *more;
	int rc = read_some(q);

	(void)fd;
	(void)what;
	if (rc > 0 && q->in_want == 2) {
		q->in_want += load_be16(q->in);
		more = realloc(q->in, q->in_want);
		if (more)
			q->in = more;
		rc = more && q->in_want > 2 ? read_some(q) : -1;
	}
	if (rc > 0)
		rc = take_answer(q, q->in + 2, q->in_len - 2, true) ? 0 : -1;
	if (rc < 0)
		ask_next(q);
}

static void on_connected(void *arg, int fd)
{
	struct dns_query *q = arg;

	q->connecting = NULL;
	q->fd = fd;
	q->in = fd < 0 ? NULL : malloc(2);
	q->in_want = 2;
	/* A question fits any fresh socket's buffer. */
	if (!q->in || os_send(fd, q->msg, q->len + 2, 0) != (ssize_t)q->len + 2 ||
		!await(q, on_stream))
		ask_next(q);
}

static void ask_tcp(struct dns_query *q)
{
	int fd;

	hang_up(q);
	timer_arm(loop_wheel(q->dns->loop), &q->deadline, DNS_UPSTREAM_MS);
	q->id = random_id(q->dns);
	store_be16(q->msg + 2, q->id);
	fd = egress_dial(q->dns->egress, EGRESS_OPERATOR, IP_PROTO_TCP,
		&q->dns->upstreams[q->upstream], NULL, on_connected, q, &q->connecting);
	if (fd != -EINPROGRESS)
		on_connected(q, fd);
}
