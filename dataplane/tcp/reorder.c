/* SPDX-License-Identifier: MIT */
/*
 * Segments that came out of order, kept until the gap before them is filled, and told to the guest
 * by selective acknowledgement (RFC 2018). A guest that overruns its NIC's queue loses a burst at a
 * time; without this it would have to send the whole window again, a timeout a burst.
 *
 * They are kept as runs, in a sorted list without overlaps. A segment that continues a run is
 * appended to it, so the list is as long as there are gaps, and no longer: a guest that sends
 * every other byte finds it full. All memory counts against the same bound as the spill buffers.
 */
#include "dataplane/tcp/tcp_internal.h"

#include <stdlib.h>
#include <string.h>

#define REORDER_BYTES_MAX (4u << 20) /* a flow */
#define REORDER_RUNS_MAX 512u

struct run {
	struct run *next;
	uint32_t seq, len;
	uint32_t size; /* of data */
	uint8_t *data;
};

struct reorder {
	struct run *first;
	struct run *last; /* where in-order arrivals behind a gap go, without a search */
	size_t bytes;     /* of memory */
	unsigned runs;
	uint32_t recent; /* a sequence number in the segment that came last */
};

/* Takes memory from the bounds. */
static bool charge(struct tcp_flow *f, size_t bytes)
{
	struct reorder *r = f->reorder;

	if (r->bytes + bytes > REORDER_BYTES_MAX || f->tcp->spilled + bytes > TCP_SPILL_MAX)
		return false;
	r->bytes += bytes;
	f->tcp->spilled += bytes;
	return true;
}

static void discharge(struct tcp_flow *f, size_t bytes)
{
	f->reorder->bytes -= bytes;
	f->tcp->spilled -= bytes;
}

static void drop_first(struct tcp_flow *f)
{
	struct reorder *r = f->reorder;
	struct run *run = r->first;

	r->first = run->next;
	if (!r->first)
		r->last = NULL;
	r->runs--;
	discharge(f, sizeof(*run) + run->size);
	free(run->data);
	free(run);
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
static struct run **place(struct reorder *r, uint32_t seq, struct run **before)
{
	struct run **at = &r->first;

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

static bool append(struct tcp_flow *f, struct run *run, const uint8_t *data, uint32_t len)
{
	uint32_t need = run->len + len, size = need;
	uint8_t *grown;

	if (need > run->size) {
		/* By doubling, since it may come byte by byte, as far as the bounds allow. */
		if (size < 2 * run->size)
			size = 2 * run->size;
		if (!charge(f, size - run->size)) {
			size = need;
			if (!charge(f, size - run->size))
				return false;
		}
		grown = realloc(run->data, size);
		if (!grown) {
			discharge(f, size - run->size);
			return false;
		}
		run->data = grown;
		run->size = size;
	}
	memcpy(run->data + run->len, data, len);
	run->len += len;
	return true;
}

/* A new run at its place in the list. */
static bool insert(
	struct tcp_flow *f, struct run **at, uint32_t seq, const uint8_t *data, uint32_t len)
{
	struct reorder *r = f->reorder;
	struct run *run;

	if (r->runs >= REORDER_RUNS_MAX || !charge(f, sizeof(*run)))
		return false;
	run = calloc(1, sizeof(*run));
	if (!run || !append(f, run, data, len)) {
		discharge(f, sizeof(*run));
		free(run);
		return false;
	}
	run->seq = seq;
	run->next = *at;
	*at = run;
	if (!run->next)
		r->last = run;
	r->runs++;
	return true;
}

void reorder_put(struct tcp_flow *f, uint32_t seq, const uint8_t *data, uint32_t len)
{
	if (!f->reorder && len)
		f->reorder = calloc(1, sizeof(*f->reorder));
	if (!f->reorder)
		return;
	while (len) {
		struct run *before, **at = place(f->reorder, seq, &before);
		uint32_t covered = 0, gap;

		if (before && seq_lt(seq, before->seq + before->len))
			covered = before->seq + before->len - seq;
		if (covered >= len)
			return;
		seq += covered;
		data += covered;
		len -= covered;
		gap = len;
		if (*at && seq_lt((*at)->seq, seq + len))
			gap = (*at)->seq - seq;
		if (gap && before && before->seq + before->len == seq) {
			if (!append(f, before, data, gap))
				return;
		} else if (gap && !insert(f, at, seq, data, gap)) {
			return;
		}
		if (gap)
			f->reorder->recent = seq;
		seq += gap;
		data += gap;
		len -= gap;
	}
}

bool reorder_next(struct tcp_flow *f, const uint8_t **data, uint32_t *len)
{
	while (f->reorder && f->reorder->first) {
		struct run *run = f->reorder->first;
		uint32_t old = f->rcv_nxt - run->seq;

		if (seq_lt(f->rcv_nxt, run->seq))
			return false;
		if (old < run->len) {
			*data = run->data + old;
			*len = run->len - old;
			return true;
		}
		drop_first(f);
	}
	reorder_free(f);
	return false;
}

unsigned reorder_blocks(const struct tcp_flow *f, struct sack_block blocks[SACK_BLOCKS_MAX])
{
	const struct run *h = f->reorder ? f->reorder->first : NULL;
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
