/* SPDX-License-Identifier: MIT */
/*
 * gvproxy's HTTP API for tools that speak it, of each VM at RUNTIME/vms/NAME/gvproxy.sock.
 *
 *	POST /services/forwarder/expose     {"local":":8080","remote":"192.168.127.2:80","protocol":"tcp"}
 *	POST /services/forwarder/unexpose   {"local":":8080","protocol":"tcp"}
 *	GET  /services/forwarder/all        [{"local","remote","protocol"},…], sorted
 *	GET  /services/dhcp/leases, /leases {"10.0.2.15":"52:54:00:12:34:56"}
 *
 * What is exposed are ordinary forwards, in the store as others are; all forwards to a port of the
 * guest's show. As in gvproxy: protocol is tcp (also where absent), udp or unix, whose remote is
 * tcp://HOST:PORT and whose local is here a path below RUNTIME/vms/NAME/; success is 200 with no body,
 * a failure 400 or 500 with a line of text; unknown fields are ignored. A local without a host is
 * 0.0.0.0. A VM has one guest: remote's host is its address, or empty, or 192.168.127.2, by which tools
 * know gvproxy's.
 */
#ifndef CTL_API_GVPROXY_H
#define CTL_API_GVPROXY_H

#include "ctl/netctld.h"

/* Serves all VMs that there are, and those to come. 0 or -1 without memory. */
int gvproxy_start(struct netctld *daemon);
/* Closes all sockets and removes their paths; may be called again. */
void gvproxy_stop(struct netctld *daemon);

#endif
