/* SPDX-License-Identifier: MIT */
/*
 * Segments that came out of order, kept until the gap before them is filled, and told to the guest
 * by selective acknowledgement (RFC 2018). A guest that overruns its NIC's queue loses a burst at a
 * time; without this it would have to send the whole window again, a timeout a burst.
 *
 * The list is sorted and without overlaps: what is held already is not held twice. Its memory
 * counts against the same bound as the spill buffers.
 */
#include "dataplane/tcp/tcp_internal.h"

#include <stdlib.h>
#include <string.h>

#define REORDER_BYTES_MAX (4u << 20) /* a flow */
#define REORDER_SEGMENTS_MAX 4096u

struct held {
	struct held *next;
	uint32_t seq, len;
	uint8_t data[];
};

struct reorder {
	struct held *first;
	struct held *last; /* where in-order arrivals behind a gap go, without a search */
	size_t bytes, segments;
	uint32_t recent; /* a sequence number in the segment that came last */
};

static void drop_first(struct tcp_flow *f)
{
	struct reorder *r = f->reorder;
	struct held *h = r->first;

	r->first = h->next;
	if (!r->first)
		r->last = NULL;
	r->bytes -= h->len;
	r->segments--;
	f->tcp->spilled -= h->len;
	free(h);
}

void reorder_free(struct tcp_flow *f)
{
	if (!f->reorder)
		return;
	while (f->reorder->first)
		drop_first(f);
	free(f->reorder);
	f->reorder = NULL;
}

/* The place in the list behind everything that begins at or before seq; *before is what does. */
static struct held **place(struct reorder *r, uint32_t seq, struct held **before)
{
	struct held **at = &r->first;

	*before = NULL;
	if (r->last && seq_le(r->last->seq, seq)) {
		*before = r->last;
		return &r->last->next;
	}
	while (*at && seq_le((*at)->seq, seq)) {
		*before = *at;
		at = &(*at)->next;
	}
	return at;
}

void reorder_put(struct tcp_flow *f, uint32_t seq, const uint8_t *data, uint32_t len)
{
	struct held **at, *before, *h;
	struct reorder *r;

	if (!f->reorder)
		f->reorder = calloc(1, sizeof(*f->reorder));
	r = f->reorder;
	if (!r || !len)
		return;
	at = place(r, seq, &before);
	if (before && seq_lt(seq, before->seq + before->len)) {
		uint32_t covered = before->seq + before->len - seq;

		if (covered >= len)
			return;
		seq += covered;
		data += covered;
		len -= covered;
	}
	if (*at && seq_lt((*at)->seq, seq + len))
		len = (*at)->seq - seq;
	if (!len || r->bytes + len > REORDER_BYTES_MAX || r->segments >= REORDER_SEGMENTS_MAX ||
		f->tcp->spilled + len > TCP_SPILL_MAX)
		return;
	h = malloc(sizeof(*h) + len);
	if (!h)
		return;
	h->seq = seq;
	h->len = len;
	memcpy(h->data, data, len);
	h->next = *at;
	*at = h;
	if (!h->next)
		r->last = h;
	r->bytes += len;
	r->segments++;
	r->recent = seq;
	f->tcp->spilled += len;
}

bool reorder_next(struct tcp_flow *f, const uint8_t **data, uint32_t *len)
{
	while (f->reorder && f->reorder->first) {
		struct held *h = f->reorder->first;
		uint32_t old = f->rcv_nxt - h->seq;

		if (seq_lt(f->rcv_nxt, h->seq))
			return false;
		if (old < h->len) {
			*data = h->data + old;
			*len = h->len - old;
			return true;
		}
		drop_first(f);
	}
	reorder_free(f);
	return false;
}

unsigned reorder_blocks(const struct tcp_flow *f, struct sack_block blocks[SACK_BLOCKS_MAX])
{
	const struct held *h = f->reorder ? f->reorder->first : NULL;
	unsigned n = 0;

	while (h) {
		struct sack_block block = {h->seq, h->seq + h->len};

		for (h = h->next; h && h->seq == block.end; h = h->next)
			block.end += h->len;
		/* The block with the latest arrival comes first, and is never the one left out. */
		if (n && seq_le(block.begin, f->reorder->recent) &&
			seq_lt(f->reorder->recent, block.end)) {
			unsigned move = n < SACK_BLOCKS_MAX ? n : SACK_BLOCKS_MAX - 1;

			memmove(blocks + 1, blocks, move * sizeof(*blocks));
			blocks[0] = block;
			n = move + 1;
		} else if (n < SACK_BLOCKS_MAX) {
			blocks[n++] = block;
		}
	}
	return n;
}
