/* SPDX-License-Identifier: MIT */
/*
 * ARP (RFC 826): the gateway's address is ours, and the only one that we answer for.
 *
 * A guest that probes whether its own address is free (RFC 5227) hears nothing, and so keeps it;
 * one that probes for the gateway's is told. Announcements need no answer: classify.c has learned
 * the guest's MAC from the frame already.
 */
#ifndef DATAPLANE_STACK_ARP_H
#define DATAPLANE_STACK_ARP_H

#include "dataplane/stack/output.h"

struct arp;

struct arp *arp_new(struct output *out, const struct net *net, struct counters *counters);
void arp_free(struct arp *arp);

/* A frame of ethertype ARP, Ethernet header included; len is not trusted to be anything. */
void arp_input(struct arp *arp, const uint8_t *frame, size_t len);

/* Asks the guest for its MAC. Whatever it answers, classify.c learns the sender from. */
void arp_ask(struct output *out);

#endif
