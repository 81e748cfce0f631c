/* SPDX-License-Identifier: MIT */
/*
 * The worker's counters: plain numbers that only grow, one per thing that can happen. Each has a
 * dotted name under which `netctl stats` shows it.
 */
#ifndef DATAPLANE_COUNTERS_H
#define DATAPLANE_COUNTERS_H

#include "dataplane/histogram.h"

#include <stdint.h>

#define COUNTERS(X)                                                                                \
	/* the link */                                                                             \
	X(LINK_RX_FRAMES, "link.rx.frames")                                                        \
	X(LINK_RX_BYTES, "link.rx.bytes")                                                          \
	X(LINK_TX_FRAMES, "link.tx.frames")                                                        \
	X(LINK_TX_BYTES, "link.tx.bytes")                                                          \
	X(LINK_UPS, "link.ups")                                                                    \
	X(LINK_REFUSED, "link.refused")                                                            \
	X(DROP_LINK_DOWN, "drop.link_down")                                                        \
	X(DROP_QUEUE_FULL, "drop.queue_full")                                                      \
	X(DROP_FRAME_LENGTH, "drop.frame_length")                                                  \
	X(DROP_LINK_ERROR, "drop.link_error")                                                      \
	/* frames and packets */                                                                   \
	X(DROP_ETHERTYPE, "drop.ethertype")                                                        \
	X(DROP_DST_MAC, "drop.dst_mac")                                                            \
	X(DROP_MALFORMED, "drop.malformed")                                                        \
	X(DROP_CHECKSUM, "drop.checksum")                                                          \
	X(DROP_SOURCE, "drop.source")                                                              \
	X(DROP_PROTOCOL, "drop.protocol")                                                          \
	X(DROP_MULTICAST, "drop.multicast")                                                        \
	X(ARP_REPLIES, "arp.replies")                                                              \
	/* fragments */                                                                            \
	X(FRAGMENTS_IN, "fragment.in")                                                             \
	X(FRAGMENTS_OUT, "fragment.out")                                                           \
	X(FRAGMENTS_REASSEMBLED, "fragment.reassembled")                                           \
	X(DROP_FRAGMENT_OVERLAP, "drop.fragment_overlap")                                          \
	X(DROP_FRAGMENT_BOUNDS, "drop.fragment_bounds")                                            \
	X(DROP_FRAGMENT_TIMEOUT, "drop.fragment_timeout")                                          \
	/* DHCP */                                                                                 \
	X(DHCP_REQUESTS, "dhcp.requests")                                                          \
	X(DHCP_REPLIES, "dhcp.replies")                                                            \
	X(DHCP_MALFORMED, "dhcp.malformed")                                                        \
	/* DNS */                                                                                  \
	X(DNS_QUERIES, "dns.queries")                                                              \
	X(DNS_ANSWERED_LOCALLY, "dns.answered_locally")                                            \
	X(DNS_ANSWERED_FROM_CACHE, "dns.answered_from_cache")                                      \
	X(DNS_UNLISTED, "dns.unlisted")                                                            \
	X(DNS_ECH_STRIPPED, "dns.ech_stripped")                                                    \
	X(DNS_FORWARDED, "dns.forwarded")                                                          \
	X(DNS_MALFORMED, "dns.malformed")                                                          \
	X(DNS_SERVFAIL, "dns.servfail")                                                            \
	X(DNS_BOUNDS, "dns.bounds")                                                                \
	X(DNS_STRANGE_ANSWERS, "dns.strange_answers")                                              \
	X(DNS_TCP_CONNECTIONS, "dns.tcp_connections")                                              \
	/* egress */                                                                               \
	X(EGRESS_DIALS, "egress.dials")                                                            \
	X(EGRESS_REFUSED_POLICY, "egress.refused_by_policy")                                       \
	X(EGRESS_FAILED, "egress.failed")                                                          \
	X(EGRESS_HALF_OPEN, "egress.half_open_bound")                                              \
	X(EGRESS_NO_FDS, "egress.no_fds")                                                          \
	/* names on the wire */                                                                    \
	X(VERIFY_TLS_HELLOS, "verify.tls_hellos")                                                  \
	X(VERIFY_HTTP_REQUESTS, "verify.http_requests")                                            \
	X(VERIFY_REFUSED_NAME, "verify.refused_name")                                              \
	X(VERIFY_REFUSED_NAMELESS, "verify.refused_nameless")                                      \
	X(VERIFY_REFUSED_PROTOCOL, "verify.refused_protocol")                                      \
	X(VERIFY_LATE, "verify.late")                                                              \
	X(VERIFY_BOUNDS, "verify.bounds")                                                          \
	/* proxies */                                                                              \
	X(PROXY_TUNNELS, "proxy.tunnels")                                                          \
	X(PROXY_REFUSED, "proxy.refused")                                                          \
	X(PROXY_FAILED, "proxy.failed")                                                            \
	X(PROXY_UNFIT, "proxy.unfit")                                                              \
	X(PROXY_FALLBACKS, "proxy.fallbacks")                                                      \
	X(PROXY_ASSOCIATIONS, "proxy.associations")                                                \
	X(PROXY_UDP_TX, "proxy.udp.tx.datagrams")                                                  \
	X(PROXY_UDP_RX, "proxy.udp.rx.datagrams")                                                  \
	X(PROXY_UDP_DROPPED, "proxy.udp.dropped")                                                  \
	/* ICMP */                                                                                 \
	X(ICMP_ECHO_REQUESTS, "icmp.echo_requests")                                                \
	X(ICMP_ECHO_REPLIES, "icmp.echo_replies")                                                  \
	X(ICMP_ERRORS_SENT, "icmp.errors_sent")                                                    \
	X(ICMP_BOUNDS, "icmp.bounds")                                                              \
	/* UDP */                                                                                  \
	X(UDP_FLOWS, "udp.flows")                                                                  \
	X(UDP_TX_DATAGRAMS, "udp.tx.datagrams")                                                    \
	X(UDP_RX_DATAGRAMS, "udp.rx.datagrams")                                                    \
	X(UDP_TX_BYTES, "udp.tx.bytes")                                                            \
	X(UDP_RX_BYTES, "udp.rx.bytes")                                                            \
	X(UDP_BOUNDS, "udp.bounds")                                                                \
	X(UDP_STRANGERS, "udp.strangers")                                                          \
	X(UDP_SEND_ERRORS, "udp.send_errors")                                                      \
	/* TCP */                                                                                  \
	X(TCP_OUT, "tcp.out")                                                                      \
	X(TCP_IN, "tcp.in")                                                                        \
	X(TCP_ESTABLISHED, "tcp.established")                                                      \
	X(TCP_REFUSED, "tcp.refused")                                                              \
	X(TCP_TX_BYTES, "tcp.tx.bytes")                                                            \
	X(TCP_RX_BYTES, "tcp.rx.bytes")                                                            \
	X(TCP_RETRANSMITS, "tcp.retransmits")                                                      \
	X(TCP_TIMEOUTS, "tcp.timeouts")                                                            \
	X(TCP_RST_SENT, "tcp.rst_sent")                                                            \
	X(TCP_RST_RECEIVED, "tcp.rst_received")                                                    \
	X(TCP_OUT_OF_ORDER, "tcp.out_of_order")                                                    \
	X(TCP_BAD_SEGMENTS, "tcp.bad_segments")                                                    \
	X(TCP_SPILLED_BYTES, "tcp.spilled_bytes")                                                  \
	X(TCP_BOUNDS, "tcp.bounds")                                                                \
	X(TCP_NO_FDS, "tcp.no_fds")                                                                \
	X(TCP_CHALLENGE_ACKS, "tcp.challenge_acks")                                                \
	/* vsock */                                                                                \
	X(VSOCK_UPS, "vsock.ups")                                                                  \
	X(VSOCK_VMM_REFUSED, "vsock.vmm_refused")                                                  \
	X(VSOCK_IN, "vsock.in")                                                                    \
	X(VSOCK_OUT, "vsock.out")                                                                  \
	X(VSOCK_RX_PACKETS, "vsock.rx.packets")                                                    \
	X(VSOCK_RX_BYTES, "vsock.rx.bytes")                                                        \
	X(VSOCK_TX_PACKETS, "vsock.tx.packets")                                                    \
	X(VSOCK_TX_BYTES, "vsock.tx.bytes")                                                        \
	X(VSOCK_REFUSED, "vsock.refused")                                                          \
	X(VSOCK_RST_SENT, "vsock.rst_sent")                                                        \
	X(VSOCK_RST_RECEIVED, "vsock.rst_received")                                                \
	X(VSOCK_BAD_PACKETS, "vsock.bad_packets")                                                  \
	X(VSOCK_CREDIT_OVERRUNS, "vsock.credit_overruns")                                          \
	X(VSOCK_TIMEOUTS, "vsock.timeouts")                                                        \
	X(VSOCK_BOUNDS, "vsock.bounds")                                                            \
	X(VSOCK_DIALS, "vsock.dials")                                                              \
	X(VSOCK_DIALS_FAILED, "vsock.dials_failed")                                                \
	X(VSOCK_HOST_CLIENTS, "vsock.host_clients")                                                \
	X(VSOCK_FORWARDED, "vsock.forwarded")                                                      \
	X(VSOCK_BAD_LINES, "vsock.bad_lines")                                                      \
	X(VSOCK_NO_FDS, "vsock.no_fds")                                                            \
	X(VSOCK_RELAYS, "vsock.relays")                                                            \
	X(VSOCK_RELAYED_BYTES, "vsock.relayed_bytes")                                              \
	X(VSOCK_ENV_READS, "vsock.env_reads")                                                      \
	/* TSI */                                                                                  \
	X(TSI_REQUESTS, "tsi.requests")                                                            \
	X(TSI_MALFORMED, "tsi.malformed")                                                          \
	X(TSI_BOUNDS, "tsi.bounds")                                                                \
	X(TSI_CONNECTS, "tsi.connects")                                                            \
	X(TSI_CONNECT_FAILED, "tsi.connect_failed")                                                \
	X(TSI_CONNECT_TIMEOUTS, "tsi.connect_timeouts")                                            \
	X(TSI_UNCLAIMED, "tsi.unclaimed")                                                          \
	X(TSI_LISTENS, "tsi.listens")                                                              \
	X(TSI_LISTEN_FAILED, "tsi.listen_failed")                                                  \
	X(TSI_LISTEN_TIMEOUTS, "tsi.listen_timeouts")                                              \
	X(TSI_ACCEPTED, "tsi.accepted")                                                            \
	X(TSI_NO_FDS, "tsi.no_fds")                                                                \
	X(TSI_TX_DATAGRAMS, "tsi.tx.datagrams")                                                    \
	X(TSI_TX_BYTES, "tsi.tx.bytes")                                                            \
	X(TSI_RX_DATAGRAMS, "tsi.rx.datagrams")                                                    \
	X(TSI_RX_BYTES, "tsi.rx.bytes")                                                            \
	X(TSI_SEND_ERRORS, "tsi.send_errors")                                                      \
	X(TSI_STRANGERS, "tsi.strangers")                                                          \
	X(TSI_TOO_LONG, "tsi.too_long")                                                            \
	X(TSI_DROPPED, "tsi.dropped")                                                              \
	/* limits */                                                                               \
	X(LIMIT_IN_WAITS, "limit.in.waits")                                                        \
	X(LIMIT_OUT_WAITS, "limit.out.waits")                                                      \
	X(DROP_LIMIT_IN, "drop.limit_in")                                                          \
	X(DROP_LIMIT_OUT, "drop.limit_out")                                                        \
	X(LIMIT_FLOWS, "limit.flows")                                                              \
	X(LIMIT_NEW_FLOWS, "limit.new_flows")                                                      \
	/* attached sockets */                                                                     \
	X(ATTACH_ACCEPTED, "attach.accepted")                                                      \
	X(ATTACH_REFUSED, "attach.refused")                                                        \
	/* control */                                                                              \
	X(EVENTS_DROPPED, "control.events_dropped")

enum counter {
#define COUNTER_ENUM(id, name) COUNTER_##id,
	COUNTERS(COUNTER_ENUM)
#undef COUNTER_ENUM
		COUNTER_COUNT
};

struct counters {
	uint64_t value[COUNTER_COUNT];
	struct histogram histogram[HISTOGRAM_COUNT];
};

extern const char *const counter_names[COUNTER_COUNT];
extern const char *const histogram_names[HISTOGRAM_COUNT];

static inline void counter_add(struct counters *c, enum counter id, uint64_t n)
{
	c->value[id] += n;
}

static inline void counter_inc(struct counters *c, enum counter id)
{
	c->value[id]++;
}

static inline void counter_time(struct counters *c, enum histogram_id id, uint64_t us)
{
	histogram_add(&c->histogram[id], us);
}

#endif
