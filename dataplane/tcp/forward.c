/* SPDX-License-Identifier: MIT */
/*
 * Forwards: listening sockets that netctld bound and handed over. A client is accepted and the
 * guest asked at once; a guest that refuses resets the client.
 *
 * The guest sees the client's own address. Where that would confuse it (loopback, its own subnet,
 * another family, a 4-tuple in use) or the operator says so, the client appears as the gateway, on
 * a port of 61000 to 65535.
 *
 * Accepting pauses while TCP_ACCEPTING_MAX handshakes are under way, and for a moment when
 * descriptors run out; clients then wait in the kernel's backlog.
 */
#include "dataplane/tcp/tcp_internal.h"

#include "common/os.h"
#include "common/tcp_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_EACH 64 /* a turn */
#define ACCEPT_PAUSE_MS 100

static bool taken(const struct tcp *tcp, uint16_t guest_port, const struct endpoint *remote)
{
	struct flow_key key = {.guest = {tcp->net->guest, guest_port}, .remote = *remote};

	return flow_table_find(tcp->flows, &key) != NULL;
}

/* As whom the guest sees a client. False where every port of the gateway's is in use. */
static bool choose_source(
	struct tcp_listener *l, const struct endpoint *client, struct endpoint *out)
{
	struct tcp *tcp = l->tcp;
	const unsigned ports = 65536 - TCP_SNAT_PORT_FIRST;

	if (!l->forward.snat && !l->forward.unix_listener && addr_is_v4(&client->addr) &&
		!addr_is_loopback(&client->addr) && !addr_is_unspecified(&client->addr) &&
		!prefix_contains(&tcp->net->subnet, &client->addr) &&
		!taken(tcp, l->forward.to_port, client)) {
		*out = *client;
		return true;
	}
	out->addr = tcp->net->gateway;
	for (unsigned i = 0; i < ports; i++) {
		out->port = (uint16_t)(TCP_SNAT_PORT_FIRST + tcp->next_snat_port++ % ports);
		if (!taken(tcp, l->forward.to_port, out))
			return true;
	}
	return false;
}

static void pause_accept(struct tcp_listener *l)
{
	if (l->paused)
		return;
	event_del(l->ready);
	l->paused = true;
}

void forward_resume(struct tcp *tcp)
{
	if (tcp->accepting >= TCP_ACCEPTING_MAX || timer_armed(&tcp->accept_timer))
		return;
	for (struct tcp_listener *l = tcp->listeners; l; l = l->next) {
		if (l->paused && event_add(l->ready, NULL) == 0)
			l->paused = false;
	}
}

static void out_of_fds(struct tcp *tcp)
{
	counter_inc(tcp->counters, COUNTER_TCP_NO_FDS);
	for (struct tcp_listener *l = tcp->listeners; l; l = l->next)
		pause_accept(l);
	timer_arm(loop_wheel(tcp->loop), &tcp->accept_timer, ACCEPT_PAUSE_MS);
}

/* The last EGRESS_RESERVED_FDS descriptors are for other things than flows. */
static bool eats_reserve(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
		(rlim_t)fd + EGRESS_RESERVED_FDS >= limit.rlim_cur;
}

static void accepted(struct tcp_listener *l, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct endpoint client = {.port = 0}, source;

	if (!l->forward.unix_listener)
		tcp_socket_splice(fd);
	if (endpoint_from_sockaddr(sa, len, &client) < 0 && !l->forward.unix_listener)
		close(fd);
	else if (!link_is_up(l->tcp->out->link) || !choose_source(l, &client, &source))
		close(fd); /* nobody there to ask: a RST, by the linger option */
	else
		handshake_accepted(l, fd, &source);
}

static void on_acceptable(evutil_socket_t listener, short what, void *arg)
{
	struct tcp_listener *l = arg;
	struct tcp *tcp = l->tcp;

	(void)what;
	for (int i = 0; i < ACCEPT_EACH; i++) {
		struct sockaddr_storage ss = {0};
		socklen_t len = sizeof(ss);
		int fd;

		if (tcp->accepting >= TCP_ACCEPTING_MAX) {
			pause_accept(l);
			return;
		}
		fd = os_accept((int)listener, (struct sockaddr *)&ss, &len);
		if (fd >= 0 && eats_reserve(fd)) {
			close(fd);
			fd = -EMFILE;
		}
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
			out_of_fds(tcp);
			return;
		}
		if (fd == -EAGAIN)
			return;
		if (fd >= 0)
			accepted(l, fd, (struct sockaddr *)&ss, len);
	}
}

static struct tcp_listener **find(const struct tcp *tcp, const char *id)
{
	struct tcp_listener **at = (struct tcp_listener **)(uintptr_t)&tcp->listeners;

	while (*at && strcmp((*at)->forward.id, id) != 0)
		at = &(*at)->next;
	return at;
}

int tcp_forward_add(struct tcp *tcp, int fd, const struct worker_forward *forward)
{
	struct tcp_listener **at = find(tcp, forward->id), *l = NULL;
	int err = -EEXIST, listening = 0;
	socklen_t len = sizeof(listening);

	if (*at)
		goto fail;
	err = -EINVAL;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening ||
		os_set_nonblock(fd, true) < 0)
		goto fail;
	err = -ENOMEM;
	l = calloc(1, sizeof(*l));
	if (!l)
		goto fail;
	l->ready = event_new(loop_base(tcp->loop), fd, EV_READ | EV_PERSIST, on_acceptable, l);
	if (!l->ready || event_add(l->ready, NULL) < 0)
		goto fail;
	event_priority_set(l->ready, LOOP_DATA);
	l->tcp = tcp;
	l->forward = *forward;
	l->fd = fd;
	*at = l;
	tcp->listener_count++;
	return 0;
fail:
	if (l && l->ready)
		event_free(l->ready);
	free(l);
	close(fd);
	return err;
}

int tcp_forward_delete(struct tcp *tcp, const char *id)
{
	struct tcp_listener **at = find(tcp, id), *l = *at;

	if (!l)
		return -ENOENT;
	*at = l->next;
	event_free(l->ready);
	close(l->fd);
	free(l);
	tcp->listener_count--;
	return 0;
}

size_t tcp_forward_count(const struct tcp *tcp)
{
	return tcp->listener_count;
}

const struct worker_forward *tcp_forward_at(const struct tcp *tcp, size_t index, int *fd)
{
	const struct tcp_listener *l = tcp->listeners;

	while (l && index--)
		l = l->next;
	if (!l)
		return NULL;
	*fd = l->fd;
	return &l->forward;
}
