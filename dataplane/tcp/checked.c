/* SPDX-License-Identifier: MIT */
/*
 * Flows whose guest must name the server (egress/verify.h): between a segment and the host socket
 * stands the verifier. What it holds back is acknowledged, as spilled bytes are, and bounded by
 * itself; the window goes on as the host's buffer allows. Once it has seen all that matters (the
 * ClientHello of a TLS connection) it goes, and the flow is one like any other.
 */
#include "dataplane/tcp/tcp_internal.h"

static void on_late(void *arg)
{
	flow_reset(arg);
}

bool checked_begin(struct tcp_flow *f)
{
	struct verify_flow flow = {
		.loop = f->tcp->loop,
		.counters = f->tcp->counters,
		.egress = f->tcp->egress,
		.who = EGRESS_GUEST,
		.dst = f->entry.key.remote,
		.pass = &f->pass,
		.memory = &f->tcp->unverified,
		.late = on_late,
		.arg = f,
	};

	if (!verify_wanted(&f->pass))
		return true;
	f->verify = verify_new(&flow);
	return f->verify != NULL;
}

/*
 * Whether all of it could be spilled. What was judged must not be said again in other words, so a
 * segment is taken up to what the verifier has seen, and not at all where memory ends before.
 */
static bool room_for(const struct tcp_flow *f, uint32_t len)
{
	return f->tcp->spilled + verify_held(f->verify) + len <= TCP_SPILL_MAX;
}

/* False: the flow is gone. */
static bool forward(struct tcp_flow *f, const struct verify_span *span)
{
	ssize_t n = splice_write(f, span->bytes, (uint32_t)span->len);

	if (n < 0)
		return false;
	if ((size_t)n == span->len)
		return true;
	flow_reset(f); /* no memory after all */
	return false;
}

bool checked_input(struct tcp_flow *f, const uint8_t *data, uint32_t len)
{
	struct verify_span span;

	if (!room_for(f, len)) {
		window_ack_owed(f, TCP_ACK_SOON);
		return true;
	}
	for (; len; data += span.taken, len -= (uint32_t)span.taken) {
		if (!verify_feed(f->verify, data, len, &span)) {
			flow_reset(f);
			return false;
		}
		if (span.len && !forward(f, &span))
			return false;
		splice_taken(f, (uint32_t)span.taken);
	}
	if (verify_settled(f->verify))
		checked_end(f);
	return true;
}

bool checked_fin(struct tcp_flow *f)
{
	if (!f->verify || verify_end(f->verify))
		return true;
	flow_reset(f);
	return false;
}

bool checked_stands(struct tcp_flow *f)
{
	bool wanted = f->state == TCP_ESTABLISHED && verify_wanted(&f->pass) && !f->pass.verified &&
		!f->verify;

	/* Whom its first bytes named nobody knows any more. */
	return !wanted || (!f->tx_bytes && checked_begin(f));
}

void checked_end(struct tcp_flow *f)
{
	verify_free(f->verify);
	f->verify = NULL;
}
