/* SPDX-License-Identifier: MIT */
/* One VM's data plane, put together. See worker.h. */
#include "dataplane/worker_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAMES_BATCH 64
#define TELL_MS 100
#define BARRIER_PASSES 2 /* what this pass has begun, and what that has queued */

/* ---- what the modules report ---- */

static void on_frame(void *arg, const uint8_t *frame, size_t len, const struct link_meta *meta)
{
	struct worker *w = arg;

	if (w->configured && !w->resetting)
		classify_frame(&w->classify, frame, len, meta);
}

static const struct mac broadcast = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

/* Another guest may come up on the link next: nothing of this one's stays. */
static void end_flows(struct worker *w)
{
	struct net *net = &w->config.net;

	tcp_reset(w->tcp);
	udp_reset(w->udp);
	icmp_reset(w->icmp);
	fragments_reset(w->fragments);
	if (!net->guest_mac_fixed) {
		net->guest_mac_known = false;
		net->guest_mac = broadcast;
	}
}

static void on_link_changed(void *arg, bool up, const char *text)
{
	struct worker *w = arg;

	if (up) {
		arp_ask(&w->out);
		tcp_link_up(w->tcp);
	} else {
		end_flows(w);
	}
	w->events.link_changed(w->events.arg, up, link_kind(w->link), text, false);
}

static void on_link_refused(void *arg)
{
	struct worker *w = arg;

	w->events.link_changed(
		w->events.arg, true, link_kind(w->link), "refused: link in use", true);
}

static void on_link_returned(void *arg, int fd)
{
	struct worker *w = arg;

	w->events.link_returned(w->events.arg, fd);
}

static void on_link_room(void *arg)
{
	struct worker *w = arg;

	tcp_room(w->tcp);
	udp_room(w->udp);
}

/*
 * The guest decides how often its MAC changes and how often it asks for its lease, and netctld is
 * everybody's: it hears of both at once, then at most every TELL_MS, and always of the latest.
 */
static void tell(struct worker *w)
{
	struct worker_lease lease;

	if (timer_armed(&w->tell_timer) || !(w->mac_untold || w->lease_untold))
		return;
	timer_arm(loop_wheel(w->loop), &w->tell_timer, TELL_MS);
	if (w->mac_untold && w->config.net.guest_mac_known)
		w->events.guest_seen(w->events.arg, &w->config.net.guest_mac);
	if (w->lease_untold) {
		dhcp_lease(w->dhcp, &lease); /* also where it was given up */
		w->events.lease(w->events.arg, &lease);
	}
	w->mac_untold = w->lease_untold = false;
}

static void on_tell_timer(struct timer *timer)
{
	tell((struct worker *)((char *)timer - offsetof(struct worker, tell_timer)));
}

static void on_guest_seen(void *arg, const struct mac *mac)
{
	struct worker *w = arg;

	(void)mac;
	tcp_guest_seen(w->tcp);
	w->mac_untold = true;
	tell(w);
}

static void on_lease(void *arg, const struct worker_lease *lease)
{
	struct worker *w = arg;

	(void)lease;
	w->lease_untold = true;
	tell(w);
}

static void on_dns_answer(void *arg, const struct dns_from *from, const uint8_t *msg, size_t len)
{
	struct worker *w = arg;

	if (from->proxy)
		tsi_dns_answer(vsock_tsi(w->vsock), from, msg, len);
	else
		udp_deliver(w->udp, &from->asked, &from->guest, msg, len);
}

static void on_proxy_trouble(void *arg, uint8_t server, enum proxy_trouble trouble, uint32_t count)
{
	struct worker *w = arg;

	if (w->events.proxy_trouble)
		w->events.proxy_trouble(w->events.arg, server, trouble, count);
}

static void on_refused(void *arg, uint8_t proto, const struct endpoint *dst, int32_t by,
	const char *name, uint32_t count)
{
	struct worker *w = arg;

	w->events.refused(w->events.arg, proto, dst, by, name, count);
}

static void on_vsock_changed(
	void *arg, enum vsock_kind kind, bool up, const char *text, bool refused)
{
	struct worker *w = arg;

	if (w->events.vsock_changed)
		w->events.vsock_changed(w->events.arg, kind, up, text, refused);
}

static void on_vsock_session(void *arg)
{
	struct worker *w = arg;

	if (w->events.vsock_session)
		w->events.vsock_session(w->events.arg);
}

static bool on_vsock_dial(void *arg, unsigned question, bool vmm, uint32_t port)
{
	struct worker *w = arg;

	return w->events.vsock_dial && w->events.vsock_dial(w->events.arg, question, vmm, port);
}

static bool on_env_get(void *arg)
{
	struct worker *w = arg;

	return w->events.env_get(w->events.arg);
}

struct names_sink {
	void (*fn)(void *arg, const struct worker_name *names, size_t count);
	void *arg;
};

/* dns.h's names, whose text is borrowed, as worker.h's, a few at a time. */
static void forward_names(const struct names_sink *sink, const struct dns_name *names, size_t count)
{
	struct worker_name batch[NAMES_BATCH];

	while (count) {
		size_t n = count < NAMES_BATCH ? count : NAMES_BATCH;

		for (size_t i = 0; i < n; i++) {
			batch[i].addr = names[i].addr;
			batch[i].until_ms = names[i].until_ms;
			snprintf(batch[i].name, sizeof(batch[i].name), "%s", names[i].name);
		}
		sink->fn(sink->arg, batch, n);
		names += n;
		count -= n;
	}
}

static void on_names(void *arg, const struct dns_name *names, size_t count)
{
	struct worker *w = arg;
	struct names_sink sink = {w->events.names, w->events.arg};

	forward_names(&sink, names, count);
}

/* ---- reset ---- */

static void reset_queues(struct worker *w)
{
	link_reset(w->link);
	vsock_reset_end(w->vsock);
	w->resetting = false;
	if (link_is_up(w->link) && !w->config.net.guest_mac_known)
		arp_ask(&w->out);
	w->reset_done(w->reset_arg);
}

static void on_barrier(struct task *task)
{
	struct worker *w = (struct worker *)((char *)task - offsetof(struct worker, barrier));

	if (++w->barrier_passes < BARRIER_PASSES)
		loop_defer(w->loop, task);
	else
		reset_queues(w);
}

int worker_reset(struct worker *w, void (*done)(void *arg), void *arg)
{
	struct worker_lease none = {0};

	if (w->resetting)
		return -EALREADY;
	w->resetting = true;
	w->reset_done = done;
	w->reset_arg = arg;
	vsock_reset_begin(w->vsock);
	end_flows(w);
	dns_reset(w->dns);
	dhcp_restore(w->dhcp, &none);
	egress_report_refusals(w->egress);
	egress_restart_counts(w->egress);
	timer_disarm(loop_wheel(w->loop), &w->tell_timer);
	w->mac_untold = w->lease_untold = false;
	w->barrier_passes = 0;
	loop_defer(w->loop, &w->barrier);
	return 0;
}

/* ---- life ---- */

/* All that a guest may have too many of. What TSI has dialled and the guest not claimed is none of the
 * mux's yet. */
static size_t count_flows(void *arg)
{
	const struct worker *w = arg;

	return tcp_flow_count(w->tcp) + udp_flow_count(w->udp) + icmp_flow_count(w->icmp) +
		vsock_count(w->vsock) + tsi_pending(worker_tsi(w)) + tsi_proxy_count(worker_tsi(w));
}

static bool make_stack(struct worker *w)
{
	struct net *net = &w->config.net;
	struct dns_events dns_events = {.arg = w, .answer = on_dns_answer, .names = on_names};
	struct dhcp_events dhcp_events = {.arg = w, .lease = on_lease};
	struct tcp_env env;

	w->egress = egress_new(w->loop, &w->counters, net);
	w->dns = w->egress ? dns_new(w->loop, w->egress, &w->counters, net, &dns_events) : NULL;
	w->icmp = w->dns ? icmp_new(w->loop, &w->out, net, &w->counters, w->egress) : NULL;
	if (!w->icmp)
		return false;
	egress_on_refused(w->egress, on_refused, w);
	egress_on_proxy_trouble(w->egress, on_proxy_trouble, w);
	w->names = (struct names){w->dns, w->egress};
	egress_set_names(w->egress, &(struct policy_names){names_admit, &w->names});
	w->udp = udp_new(w->loop, &w->out, net, &w->counters, w->egress, w->dns, w->icmp);
	env = (struct tcp_env){
		.loop = w->loop,
		.out = &w->out,
		.net = net,
		.counters = &w->counters,
		.egress = w->egress,
		.dns = w->dns,
		.icmp = w->icmp,
		.limits = &w->limits,
	};
	w->tcp = tcp_new(&env);
	w->arp = arp_new(&w->out, net, &w->counters);
	w->dhcp = dhcp_new(&w->out, net, &w->counters, &dhcp_events);
	w->fragments = fragments_new(w->loop, &w->counters);
	w->classify = (struct classify){
		.net = net,
		.counters = &w->counters,
		.arp = w->arp,
		.dhcp = w->dhcp,
		.fragments = w->fragments,
		.icmp = w->icmp,
		.udp = w->udp,
		.tcp = w->tcp,
		.guest_seen = on_guest_seen,
		.arg = w,
	};
	icmp_set_limits(w->icmp, &w->limits);
	if (w->udp)
		udp_set_limits(w->udp, &w->limits);
	return w->udp && w->tcp && w->arp && w->dhcp && w->fragments;
}

static bool make_vsock(struct worker *w)
{
	struct vsock_parts parts = {
		.loop = w->loop,
		.counters = &w->counters,
		.egress = w->egress,
		.dns = w->dns,
		.net = &w->config.net,
		.limits = &w->limits,
	};
	struct vsock_events events = {
		.arg = w,
		.env_get = on_env_get,
		.dial = on_vsock_dial,
		.changed = on_vsock_changed,
		.session = on_vsock_session,
		.tsi = w->events.tsi,
	};

	w->vsock = vsock_new(&parts, &events);
	w->attaches = w->vsock ? attaches_new(w->loop, &w->counters, w->tcp, w->vsock) : NULL;
	return w->attaches != NULL;
}

struct worker *worker_new(const struct worker_events *events)
{
	struct worker *w = calloc(1, sizeof(*w));
	struct link_events link_events = {
		.arg = w,
		.frame = on_frame,
		.changed = on_link_changed,
		.refused = on_link_refused,
		.returned = on_link_returned,
		.room = on_link_room,
	};

	if (!w)
		return NULL;
	w->events = *events;
	w->tell_timer.fire = on_tell_timer;
	w->barrier.run = on_barrier;
	w->loop = loop_new();
	w->link = w->loop ? link_new(w->loop, &w->counters, &link_events) : NULL;
	w->out = (struct output){.link = w->link, .net = &w->config.net};
	if (w->loop)
		limits_init(&w->limits, w->loop, &w->counters, count_flows, w);
	w->captures = w->link ? captures_new(w->loop, w->link, "") : NULL;
	if (!w->captures || !make_stack(w) || !make_vsock(w)) {
		worker_free(w);
		return NULL;
	}
	return w;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	vsock_free(w->vsock);
	tcp_free(w->tcp);
	captures_free(w->captures);
	attaches_free(w->attaches);
	udp_free(w->udp);
	if (w->icmp)
		icmp_free(w->icmp);
	if (w->fragments)
		fragments_free(w->fragments);
	arp_free(w->arp);
	dhcp_free(w->dhcp);
	if (w->dns)
		dns_free(w->dns);
	egress_free(w->egress);
	limits_clear(&w->limits);
	link_free(w->link);
	flow_memory_free(w->memory);
	loop_free(w->loop);
	free(w);
}

struct loop *worker_loop(struct worker *w)
{
	return w->loop;
}

/* ---- configuration ---- */

int worker_configure(struct worker *w, const struct worker_config *config, int flow_memory_fd,
	bool reset_flows, struct error *err)
{
	if (w->configured) {
		if (flow_memory_fd >= 0)
			close(flow_memory_fd);
		return error_set(err, 409, "", "worker %s: configured already", w->config.vm);
	}
	if (flow_memory_fd >= 0) {
		w->memory = flow_memory_open(flow_memory_fd);
		if (!w->memory)
			return error_set(err, 400, "", "worker %s: the flow memory is no such file",
				config->vm);
	}
	w->config = *config;
	if (!config->net.guest_mac_known)
		w->config.net.guest_mac = broadcast;
	captures_set_name(w->captures, config->vm);
	link_set_memory(w->link, w->memory);
	tcp_set_memory(w->tcp, w->memory, reset_flows);
	vsock_set_memory(w->vsock, w->memory, reset_flows);
	w->configured = true;
	return 0;
}

const struct worker_config *worker_config(const struct worker *w)
{
	return &w->config;
}

bool worker_configured(const struct worker *w)
{
	return w->configured;
}

static int set_mtu(struct worker *w, int fd, uint16_t mtu, struct error *err)
{
	if (mtu && mtu < 68) {
		if (fd >= 0)
			close(fd);
		return error_set(err, 400, "mtu", "vm %s: MTU %u is below 68", w->config.vm, mtu);
	}
	if (mtu)
		w->config.net.mtu = mtu;
	return 0;
}

static int wrong_kind(const struct worker *w, int rc, struct error *err)
{
	return error_set(err, 400, "link", "vm %s: the link's descriptor is of the wrong kind: %s",
		w->config.vm, errno_text(rc));
}

int worker_link_set(struct worker *w, enum link_kind kind, int fd, bool listener, uint16_t mtu,
	struct error *err)
{
	int rc;

	if (set_mtu(w, fd, mtu, err) < 0)
		return -1;
	rc = link_attach(w->link, kind, fd, listener);
	return rc < 0 ? wrong_kind(w, rc, err) : 0;
}

int worker_link_resume(struct worker *w, int fd, uint16_t mtu, struct error *err)
{
	const struct net *net = &w->config.net;
	int rc;

	if (set_mtu(w, fd, mtu, err) < 0)
		return -1;
	if (!net->guest_mac_known) {
		/* Without it no frame's start can be told. Better a VMM that connects again. */
		close(fd);
		return error_set(
			err, 409, "link", "vm %s: the guest's MAC is not known", w->config.vm);
	}
	rc = link_resume(w->link, fd, &net->gateway_mac, &net->guest_mac);
	return rc < 0 ? wrong_kind(w, rc, err) : 0;
}

const struct link *worker_link(const struct worker *w)
{
	return w->link;
}

int worker_vsock_set(struct worker *w, enum vsock_kind kind, int fd, bool listener,
	uint64_t guest_cid, struct error *err)
{
	int rc = vsock_set(w->vsock, kind, fd, listener, guest_cid);

	if (rc == -EDOM)
		return error_set(err, 400, "vsock.cid", "vm %s: no guest has CID %llu",
			w->config.vm, (unsigned long long)guest_cid);
	if (rc < 0)
		return error_set(
			err, 400, "vsock", "vm %s: vsock: %s", w->config.vm, errno_text(rc));
	return 0;
}

struct tsi *worker_tsi(const struct worker *w)
{
	return vsock_tsi(w->vsock);
}

int worker_vsock_resume(struct worker *w, const struct vhost_session *session, struct error *err)
{
	int rc = vsock_resume(w->vsock, session);

	if (rc < 0)
		return error_set(err, 400, "vsock", "vm %s: the VMM's session cannot go on: %s",
			w->config.vm, errno_text(rc));
	return 0;
}

struct vsock *worker_vsock(const struct worker *w)
{
	return w->vsock;
}

void worker_env_answer(struct worker *w, const void *document, size_t len)
{
	vsock_env_arrived(w->vsock, document, len);
}

int worker_stream_attach(struct worker *w, const struct attach *attach, int fd,
	void (*done)(void *arg, int err), void *arg)
{
	return attach_start(w->attaches, attach, fd, done, arg);
}

int worker_capture(struct worker *w, const struct capture_wish *wish, int fd)
{
	return captures_start(w->captures, wish, fd);
}

struct egress *worker_egress(const struct worker *w)
{
	return w->egress;
}

int worker_policy_set(struct worker *w, const void *table, size_t len, uint64_t document,
	bool cut_existing, struct error *err)
{
	if (egress_policy_set(w->egress, table, len, document) < 0)
		return error_set(
			err, 400, "policy", "vm %s: the policy table is damaged", w->config.vm);
	if (cut_existing) {
		tcp_recheck(w->tcp);
		udp_recheck(w->udp);
		icmp_recheck(w->icmp);
		tsi_recheck(worker_tsi(w));
	}
	return 0;
}

void worker_proxies_set(struct worker *w, struct proxies *proxies, bool same_proxies)
{
	struct proxies *before = egress_proxies(w->egress);
	bool stays = same_proxies && proxies_same_ways(before, proxies);

	if (!egress_proxies_set(w->egress, proxies) || stays)
		return;
	udp_reroute(w->udp);
	tsi_reroute(worker_tsi(w));
}

int worker_limits_set(struct worker *w, const struct limits_config *limits, struct error *err)
{
	if (limits_set(&w->limits, limits) < 0)
		return error_set(err, 400, "limits", "vm %s: a rate is %u to %llu bit/s",
			w->config.vm, LIMITS_RATE_MIN, (unsigned long long)LIMITS_RATE_MAX);
	return 0;
}

int worker_hosts_set(struct worker *w, const struct worker_host *hosts, size_t count,
	bool host_access, struct error *err)
{
	struct dns_host *copy = calloc(count ? count : 1, sizeof(*copy));
	int rc;

	if (!copy)
		return error_set(err, 500, "", "vm %s: out of memory", w->config.vm);
	for (size_t i = 0; i < count; i++)
		copy[i] = (struct dns_host){hosts[i].name, hosts[i].addrs, hosts[i].addr_count};
	rc = dns_hosts_set(w->dns, copy, count, host_access);
	free(copy);
	if (rc < 0)
		return error_set(
			err, 400, "hosts", "vm %s: hosts: %s", w->config.vm, errno_text(rc));
	w->config.net.host_access = host_access;
	return 0;
}

int worker_dns_set(struct worker *w, const struct worker_dns *dns, struct error *err)
{
	struct net *net = &w->config.net;

	if (dns_upstreams_set(w->dns, dns->upstreams, dns->upstream_count) < 0)
		return error_set(
			err, 400, "dns.upstreams", "vm %s: too many DNS upstreams", w->config.vm);
	memset(net->search, 0, sizeof(net->search));
	for (size_t i = 0; i < dns->search_count && i < NET_SEARCH_MAX; i++)
		snprintf(net->search[i], sizeof(net->search[i]), "%s", dns->search[i]);
	dns_answer_unlisted(w->dns, dns->answer_unlisted);
	return 0;
}

void worker_lease_restore(struct worker *w, const struct worker_lease *lease)
{
	dhcp_restore(w->dhcp, lease);
}

bool worker_lease_now(const struct worker *w, struct worker_lease *out)
{
	return dhcp_lease(w->dhcp, out);
}

void worker_mac_restore(struct worker *w, const struct mac *mac)
{
	struct net *net = &w->config.net;

	if (net->guest_mac_fixed)
		return;
	net->guest_mac = *mac;
	net->guest_mac_known = true;
}

void worker_names_restore(struct worker *w, const struct worker_name *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct dns_name name = {.addr = names[i].addr,
			.until_ms = names[i].until_ms,
			.name = names[i].name};

		dns_names_restore(w->dns, &name, 1);
	}
}

static void walk_names(void *arg, const struct dns_name *names, size_t count)
{
	forward_names(arg, names, count);
}

void worker_names_walk(const struct worker *w,
	void (*fn)(void *arg, const struct worker_name *names, size_t count), void *arg)
{
	struct names_sink sink = {fn, arg};

	dns_names_walk(w->dns, walk_names, &sink);
}

/* ---- the end ---- */

void worker_shutdown(struct worker *w, bool abrupt)
{
	if (!abrupt) {
		tcp_shutdown(w->tcp);
		vsock_shutdown(w->vsock);
	}
	loop_stop(w->loop);
}
