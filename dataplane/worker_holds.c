/* SPDX-License-Identifier: MIT */
/* What a worker holds: forwards, and figures of all that lives in it. See worker.h. */
#include "dataplane/worker_internal.h"

#include "dataplane/vsock/forward.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- forwards: TCP's, the vsock's and UDP's in one list ---- */

static bool forward_exists(const struct worker *w, const char *id)
{
	const struct worker_forward *forward;
	int fd;

	for (size_t i = 0; (forward = worker_forward_at(w, i, &fd)); i++) {
		if (strcmp(forward->id, id) == 0)
			return true;
	}
	return false;
}

static int forward_add(struct worker *w, const struct worker_forward *forward, int fd)
{
	if (forward_exists(w, forward->id)) {
		close(fd);
		return -EEXIST;
	}
	if (forward->to.kind != VSOCK_TO_NOTHING)
		return vsock_forward_add(vsock_forwards(w->vsock), fd, forward);
	if (forward->proto == IP_PROTO_TCP)
		return tcp_forward_add(w->tcp, fd, forward);
	return udp_forward_add(w->udp, fd, forward);
}

int worker_forward_add(
	struct worker *w, const struct worker_forward *forward, int fd, struct error *err)
{
	int rc;

	if (forward->proto != IP_PROTO_TCP && forward->to.kind != VSOCK_TO_NOTHING) {
		close(fd);
		return error_set(err, 400, "to",
			"forward %s/%s: UDP leads to a port of the guest's, not to its vsock",
			w->config.vm, forward->id);
	}
	rc = forward_add(w, forward, fd);
	if (rc < 0)
		return error_set(err, rc == -EEXIST ? 409 : 400, "", "forward %s/%s: %s",
			w->config.vm, forward->id,
			rc == -EINVAL ? "not a listening socket" : errno_text(rc));
	return 0;
}

int worker_forward_delete(struct worker *w, const char *id, struct error *err)
{
	if (tcp_forward_delete(w->tcp, id) == 0 || udp_forward_delete(w->udp, id) == 0 ||
		vsock_forward_delete(vsock_forwards(w->vsock), id) == 0)
		return 0;
	return error_set(err, 404, "", "forward %s/%s: no such forward", w->config.vm, id);
}

size_t worker_forward_count(const struct worker *w)
{
	return tcp_forward_count(w->tcp) + vsock_forward_count(vsock_forwards(w->vsock)) +
		udp_forward_count(w->udp);
}

const struct worker_forward *worker_forward_at(const struct worker *w, size_t index, int *fd)
{
	size_t tcp = tcp_forward_count(w->tcp);
	size_t vsock = vsock_forward_count(vsock_forwards(w->vsock));

	if (index < tcp)
		return tcp_forward_at(w->tcp, index, fd);
	if (index < tcp + vsock)
		return vsock_forward_at(vsock_forwards(w->vsock), index - tcp, fd);
	return udp_forward_at(w->udp, index - tcp - vsock, fd);
}

/* ---- figures ---- */

const struct counters *worker_counters(const struct worker *w)
{
	return &w->counters;
}

void worker_busy(const struct worker *w, struct busy *busy)
{
	*busy = (struct busy){0};
	tcp_busy(w->tcp, busy);
	vsock_busy(w->vsock, busy);
	busy->pending += (uint32_t)dns_queries(w->dns);
	busy->queued += (uint32_t)link_queued(w->link);
}

size_t worker_vsock_count(const struct worker *w)
{
	return vsock_count(w->vsock);
}

void worker_flow_counts(const struct worker *w, uint32_t *tcp, uint32_t *udp, uint32_t *icmp)
{
	*tcp = (uint32_t)tcp_flow_count(w->tcp);
	*udp = (uint32_t)udp_flow_count(w->udp);
	*icmp = (uint32_t)icmp_flow_count(w->icmp);
}

static bool next_flow(
	const struct worker *w, unsigned proto, uint32_t *slot, struct flow_info *info)
{
	switch (proto) {
	case 0:
		return tcp_flow_next(w->tcp, slot, info);
	case 1:
		return udp_flow_next(w->udp, slot, info);
	default:
		return icmp_flow_next(w->icmp, slot, info);
	}
}

/* The cursor's top two bits say which protocol is being walked, the others where. vsock is the last. */
size_t worker_flows(const struct worker *w, uint32_t *cursor, struct flow_info *out, size_t max)
{
	unsigned proto = *cursor >> 30;
	uint32_t slot = *cursor & (UINT32_MAX >> 2);
	size_t n = 0;

	while (proto < 4 && n < max) {
		if (proto == 3) {
			n += vsock_flows(w->vsock, &slot, out + n, max - n);
			proto += n < max;
		} else if (next_flow(w, proto, &slot, &out[n])) {
			n++;
		} else {
			proto++;
			slot = 0;
		}
	}
	*cursor = proto < 4 ? (uint32_t)proto << 30 | slot : 0;
	return n;
}
