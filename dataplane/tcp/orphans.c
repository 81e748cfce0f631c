/* SPDX-License-Identifier: MIT */
/*
 * The flows of a dead predecessor. Their host sides died with it; the guest does not know yet, and
 * one that only waits for data would never ask. A bare ACK out of its window makes it answer with
 * its own numbers (RFC 5961's challenge ACK), that answer belongs to no flow, and our RST for it
 * carries exactly the number that the guest believes. Each is asked twice, in case a frame is lost.
 */
#include "dataplane/tcp/tcp_internal.h"

#include "common/os.h"

#include <stdlib.h>

#define ORPHANS_EACH 64 /* a turn */
#define ORPHAN_ROUNDS 2
#define ORPHAN_PAUSE_MS 700 /* longer than a kernel's limit on such answers, 500 ms a connection */

void orphans_stop(struct tcp *tcp)
{
	loop_cancel(tcp->loop, &tcp->orphan_task);
	timer_disarm(loop_wheel(tcp->loop), &tcp->orphan_timer);
	free(tcp->orphans);
	tcp->orphans = NULL;
	tcp->orphan_count = tcp->orphan_at = 0;
}

static void ask(struct tcp *tcp, const struct flow_key *key)
{
	struct output_ip ip = {
		.src = key->remote.addr,
		.dst = key->guest.addr,
		.proto = IP_PROTO_TCP,
		.frag = IP4_DF,
	};
	uint32_t numbers[2];
	struct tcp_hdr *h;

	/* The file may have been written by a captured worker. */
	if (!net_guest_source(tcp->net, &key->guest.addr) || !addr_is_v4(&key->remote.addr) ||
		flow_table_find(tcp->flows, key))
		return;
	h = (struct tcp_hdr *)output_begin(tcp->out, &ip, TCP_HLEN);
	if (!h)
		return;
	os_random(numbers, sizeof(numbers));
	*h = (struct tcp_hdr){
		.src = be16(key->remote.port),
		.dst = be16(key->guest.port),
		.seq = be32(numbers[0]),
		.ack = be32(numbers[1]),
		.offset = TCP_HLEN / 4 << 4,
		.flags = TCP_ACK,
	};
	output_end(tcp->out, TCP_HLEN, OUTPUT_CSUM_TCP);
}

static void run(struct task *task)
{
	struct tcp *tcp = (struct tcp *)((char *)task - offsetof(struct tcp, orphan_task));

	for (int i = 0; i < ORPHANS_EACH && tcp->orphan_at < tcp->orphan_count; i++)
		ask(tcp, &tcp->orphans[tcp->orphan_at++]);
	if (tcp->orphan_at < tcp->orphan_count) {
		loop_defer(tcp->loop, task);
	} else if (++tcp->orphan_rounds < ORPHAN_ROUNDS) {
		tcp->orphan_at = 0;
		timer_arm(loop_wheel(tcp->loop), &tcp->orphan_timer, ORPHAN_PAUSE_MS);
	} else {
		orphans_stop(tcp);
	}
}

static void again(struct timer *timer)
{
	struct tcp *tcp = (struct tcp *)((char *)timer - offsetof(struct tcp, orphan_timer));

	loop_defer(tcp->loop, &tcp->orphan_task);
}

void orphans_take(struct tcp *tcp)
{
	struct flow_key key;
	size_t room = 0;
	uint32_t slot = 0;

	orphans_stop(tcp);
	tcp->orphan_task.run = run;
	tcp->orphan_timer.fire = again;
	tcp->orphan_rounds = 0;
	while (flow_memory_next(tcp->memory, &slot, &key)) {
		if (tcp->orphan_count == room) {
			size_t grown = room ? room * 2 : 64;
			struct flow_key *more = realloc(tcp->orphans, grown * sizeof(*more));

			if (!more)
				break;
			tcp->orphans = more;
			room = grown;
		}
		tcp->orphans[tcp->orphan_count++] = key;
		flow_memory_clear(tcp->memory, slot - 1);
	}
}

void orphans_start(struct tcp *tcp)
{
	if (tcp->orphan_count)
		loop_defer(tcp->loop, &tcp->orphan_task);
}
