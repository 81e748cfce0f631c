/* SPDX-License-Identifier: MIT */
/*
 * DNS over TCP (RFC 7766) for the guest: our end of the socketpair that the TCP engine splices.
 *
 * A connection may ask several questions at once and gets answers as they come. It is read while
 * fewer than PIPELINE questions are under way and OUT_HIGH bytes wait, so what one holds is
 * bounded. It ends ten seconds after the last byte moved with nothing under way, on a question
 * that is no question, and after the guest's FIN once all is answered.
 *
 * Events only queue the task; one function, serve(), does all the work of a turn.
 */
#include "common/be.h"
#include "common/os.h"
#include "dataplane/stack/dns_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPELINE 8u
#define OUT_HIGH (32u << 10)
#define IN_SIZE (2u + DNS_QUERY_MAX)

struct dns_conn {
	struct dns *dns;
	struct dns_conn *next, **at;
	int fd;
	struct event *readable, *writable;
	struct timer idle;
	struct task work;
	unsigned under_way;
	bool eof;
	bool broken; /* to be closed by serve() */

	uint8_t *out; /* answers with their lengths */
	size_t out_len, out_size;
	size_t in_len;
	uint8_t in[IN_SIZE];
};

static void conn_close(struct dns_conn *c)
{
	struct dns *dns = c->dns;

	dns_queries_cancel(dns, c);
	loop_cancel(dns->loop, &c->work);
	timer_disarm(loop_wheel(dns->loop), &c->idle);
	if (c->readable)
		event_free(c->readable);
	if (c->writable)
		event_free(c->writable);
	close(c->fd);
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	dns->conn_count--;
	free(c->out);
	free(c);
}

void dns_conns_free(struct dns *dns)
{
	while (dns->conns)
		conn_close(dns->conns);
}

static void touch(struct dns_conn *c)
{
	timer_arm(loop_wheel(c->dns->loop), &c->idle, DNS_TCP_IDLE_MS);
}

static void on_idle(struct timer *timer)
{
	struct dns_conn *c = (struct dns_conn *)((char *)timer - offsetof(struct dns_conn, idle));

	if (c->under_way)
		touch(c); /* the upstreams' deadlines decide */
	else
		conn_close(c);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct dns_conn *c = arg;

	(void)fd;
	(void)what;
	loop_defer(c->dns->loop, &c->work);
}

/* ---- out ---- */

static bool reserve(struct dns_conn *c, size_t n)
{
	size_t size = c->out_size ? c->out_size : 1024;
	uint8_t *out;

	while (size < c->out_len + n)
		size *= 2;
	if (size == c->out_size)
		return true;
	out = realloc(c->out, size);
	if (!out)
		return false;
	c->out = out;
	c->out_size = size;
	return true;
}

void dns_conn_answer(struct dns_conn *c, const uint8_t *msg, size_t len)
{
	c->under_way--;
	loop_defer(c->dns->loop, &c->work);
	if (!reserve(c, len + 2)) {
		c->broken = true;
		return;
	}
	store_be16(c->out + c->out_len, (uint16_t)len);
	memcpy(c->out + c->out_len + 2, msg, len);
	c->out_len += len + 2;
}

static void write_out(struct dns_conn *c)
{
	ssize_t n;

	if (!c->out_len)
		return;
	n = os_send(c->fd, c->out, c->out_len, 0);
	if (n < 0) {
		if (n != -EAGAIN && n != -EWOULDBLOCK && n != -EINTR && n != -ENOBUFS)
			c->broken = true;
		return;
	}
	c->out_len -= (size_t)n;
	memmove(c->out, c->out + n, c->out_len);
	touch(c);
	if (!c->out_len) {
		free(c->out);
		c->out = NULL;
		c->out_size = 0;
	}
}

/* ---- in ---- */

static bool may_ask(const struct dns_conn *c)
{
	return !c->broken && c->under_way < PIPELINE && c->out_len < OUT_HIGH;
}

static void read_in(struct dns_conn *c)
{
	ssize_t n;

	if (c->eof || c->in_len == IN_SIZE)
		return;
	n = recv(c->fd, c->in + c->in_len, IN_SIZE - c->in_len, 0);
	if (n > 0) {
		c->in_len += (size_t)n;
		touch(c);
	} else if (n == 0) {
		c->eof = true;
	} else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
		c->broken = true;
	}
}

/* Whether a whole question waits in the buffer. */
static bool has_question(const struct dns_conn *c)
{
	return c->in_len >= 2 && c->in_len - 2 >= load_be16(c->in);
}

/* Asks what is whole in the buffer. */
static void ask_all(struct dns_conn *c)
{
	struct dns_asker asker = {.conn = c};
	size_t at = 0;

	while (may_ask(c) && c->in_len - at >= 2) {
		size_t len = load_be16(c->in + at);
		unsigned before = c->under_way;

		if (len < DNS_HEADER_LEN || len > DNS_QUERY_MAX) {
			c->broken = true;
			break;
		}
		if (c->in_len - at - 2 < len)
			break;
		if (load_be16(c->in + at + 4) & DNS_QR) {
			c->broken = true; /* an answer: nobody that asks sends that */
			break;
		}
		c->under_way = before + 1;
		dns_handle(c->dns, &asker, c->in + at + 2, len);
		at += 2 + len;
	}
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
}

/* ---- a turn ---- */

static void set_event(struct event *event, bool on)
{
	if (on && !event_pending(event, EV_READ | EV_WRITE, NULL))
		event_add(event, NULL);
	else if (!on)
		event_del(event);
}

static void serve(struct task *task)
{
	struct dns_conn *c = (struct dns_conn *)((char *)task - offsetof(struct dns_conn, work));

	write_out(c);
	if (may_ask(c))
		read_in(c);
	ask_all(c);
	write_out(c);
	if (may_ask(c) && has_question(c))
		loop_defer(c->dns->loop, &c->work);
	else if (c->broken || (c->eof && !c->under_way && !c->out_len)) {
		conn_close(c);
		return;
	}
	set_event(c->readable, !c->eof && may_ask(c) && c->in_len < IN_SIZE);
	set_event(c->writable, c->out_len > 0);
}

int dns_tcp_accept(struct dns *dns)
{
	struct dns_conn *c;
	int fds[2], rc;

	if (dns->conn_count >= DNS_TCP_MAX) {
		counter_inc(dns->counters, COUNTER_DNS_BOUNDS);
		return -EAGAIN;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	rc = os_socketpair(AF_UNIX, SOCK_STREAM, true, fds);
	if (rc < 0) {
		free(c);
		return rc;
	}
	c->dns = dns;
	c->fd = fds[0];
	c->idle.fire = on_idle;
	c->work.run = serve;
	c->next = dns->conns;
	c->at = &dns->conns;
	if (c->next)
		c->next->at = &c->next;
	dns->conns = c;
	dns->conn_count++;
	c->readable = event_new(loop_base(dns->loop), c->fd, EV_READ | EV_PERSIST, on_event, c);
	c->writable = event_new(loop_base(dns->loop), c->fd, EV_WRITE | EV_PERSIST, on_event, c);
	if (!c->readable || !c->writable || event_add(c->readable, NULL) < 0) {
		conn_close(c);
		close(fds[1]);
		return -ENOMEM;
	}
	touch(c);
	counter_inc(dns->counters, COUNTER_DNS_TCP_CONNECTIONS);
	return fds[1];
}
